//! Frames between nodes: u32 big-endian length, then one prost [`Envelope`]. Refuses frames above
//! [`FRAME_MAX_BYTES`] before reading them.

use super::message::Envelope;
use crate::{
    env::Env,
    limits::{FRAME_MAX_BYTES, PROGRESS_BYTES},
};
use bytes::{Buf, BufMut, BytesMut};
use prost::Message;
use std::{io, time::Duration};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const LENGTH_BYTES: usize = 4;
const READ_CHUNK_BYTES: usize = 8 << 10;

/// Why bytes were not a frame. The connection they came on is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer announced more than [`FRAME_MAX_BYTES`].
    #[error("frame of {0} bytes announced")]
    TooLong(usize),
    /// Not an [`Envelope`].
    #[error("frame does not decode: {0}")]
    Decode(#[from] prost::DecodeError),
    /// The stream ended within a frame.
    #[error("stream ended within a frame")]
    Truncated,
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Takes one frame off the front of `buffer`; `None` if it is not complete yet.
///
/// # Errors
/// [`FrameError::TooLong`], [`FrameError::Decode`].
pub fn decode(buffer: &mut BytesMut) -> Result<Option<Envelope>, FrameError> {
    let Some(head) = buffer.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes(*head) as usize;
    if len > FRAME_MAX_BYTES {
        return Err(FrameError::TooLong(len));
    }
    if buffer.len() < LENGTH_BYTES + len {
        buffer.reserve(LENGTH_BYTES + len - buffer.len());
        return Ok(None);
    }
    // In place: a buffer that is not shared is used again.
    let envelope = Envelope::decode(&buffer[LENGTH_BYTES..LENGTH_BYTES + len])?;
    buffer.advance(LENGTH_BYTES + len);
    Ok(Some(envelope))
}

/// Appends the frame of `envelope` to `buffer`.
///
/// # Errors
/// [`FrameError::TooLong`] if it would not be accepted.
pub fn encode(envelope: &Envelope, buffer: &mut BytesMut) -> Result<(), FrameError> {
    let len = envelope.encoded_len();
    if len > FRAME_MAX_BYTES {
        return Err(FrameError::TooLong(len));
    }
    buffer.reserve(LENGTH_BYTES + len);
    buffer.put_u32(len as u32);
    envelope.encode_raw(buffer);
    Ok(())
}

/// Reads frames off a stream. [`FrameReader::next`] may be dropped at any await point: nothing is lost.
pub struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `stream`.
    pub fn new(stream: R) -> Self {
        FrameReader { stream, buffer: BytesMut::new() }
    }

    /// The next frame; `None` once the peer has closed between frames.
    ///
    /// # Errors
    /// [`FrameError`].
    pub async fn next(&mut self) -> Result<Option<Envelope>, FrameError> {
        loop {
            if let Some(envelope) = decode(&mut self.buffer)? {
                return Ok(Some(envelope));
            }
            self.buffer.reserve(READ_CHUNK_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::Truncated) };
            }
        }
    }
}

/// Writes one frame and flushes, piece by piece, each within `patience`: a large frame on a slow link is not
/// taken for a silent peer.
///
/// # Errors
/// [`FrameError`]; `TimedOut` when a piece was not taken in time. The stream is of no further use then.
pub async fn write_patiently<W: AsyncWrite + Unpin>(
    env: &Env,
    stream: &mut W,
    envelope: &Envelope,
    patience: Duration,
) -> Result<(), FrameError> {
    let mut buffer = BytesMut::new();
    encode(envelope, &mut buffer)?;
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    for piece in buffer.chunks(PROGRESS_BYTES) {
        env.timeout(patience, stream.write_all(piece)).await.map_err(late)??;
    }
    env.timeout(patience, stream.flush()).await.map_err(late)??;
    Ok(())
}

/// Writes one frame and flushes.
///
/// # Errors
/// [`FrameError`]; the stream is of no further use then.
pub async fn write<W: AsyncWrite + Unpin>(stream: &mut W, envelope: &Envelope) -> Result<(), FrameError> {
    let mut buffer = BytesMut::new();
    encode(envelope, &mut buffer)?;
    stream.write_all(&buffer).await?;
    stream.flush().await?;
    Ok(())
}
