//! Lets hyper read and write a stream that speaks tokio's traits. Copies what it reads once, because hyper's
//! uninitialised buffers cannot be filled without unsafe code.

use hyper::rt::ReadBufCursor;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Largest read handed to hyper at a time.
const BUFFER_BYTES: usize = 8 << 10;

/// The adapter.
pub struct HyperIo<S> {
    stream: S,
    buffer: Box<[u8]>,
}

impl<S> HyperIo<S> {
    /// Wraps a stream.
    pub fn new(stream: S) -> Self {
        HyperIo { stream, buffer: vec![0; BUFFER_BYTES].into_boxed_slice() }
    }
}

impl<S: AsyncRead + Unpin> HyperIo<S> {
    /// Reads once; how many bytes went into `target`, 0 at the end of the stream.
    ///
    /// # Errors
    /// The stream's own.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<usize>> {
        let len = target.remaining().min(self.buffer.len());
        let mut part = ReadBuf::new(&mut self.buffer[..len]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        target.put_slice(part.filled());
        Poll::Ready(Ok(part.filled().len()))
    }
}

impl<S: AsyncRead + Unpin> hyper::rt::Read for HyperIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut target: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_fill(cx, &mut target).map_ok(|_| ())
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for HyperIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }
}
