//! hyper's io traits over any stream with tokio's. Moves bytes through a buffer of its own, so that it needs
//! no unsafe code; knows nothing of HTTP or TLS.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The adapter.
pub(super) struct HyperIo<S> {
    stream: S,
    buffer: Box<[u8; 16 << 10]>,
}

impl<S> HyperIo<S> {
    pub(super) fn new(stream: S) -> HyperIo<S> {
        HyperIo { stream, buffer: Box::new([0; 16 << 10]) }
    }
}

impl<S: AsyncRead + Unpin> hyper::rt::Read for HyperIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let room = this.buffer.len().min(into.remaining());
        let mut read = ReadBuf::new(&mut this.buffer[..room]);
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
        into.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for HyperIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
