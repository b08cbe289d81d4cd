//! Copies bytes both ways between two streams, half-closes included.

use crate::env::{Env, Stream};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes},
    sync::Notify,
};

/// One full TLS record and a little.
const BUFFER_BYTES: usize = 17 << 10;

/// Copies until both ends have closed, or `grace` after one has, or an error. Then both are dropped.
pub(super) async fn pass(env: &Env, client: Stream, host: Stream, grace: Duration) {
    let ended = Arc::new(Notify::new());
    let mut client = Ending { stream: client, ended: ended.clone() };
    let mut host = Ending { stream: host, ended: ended.clone() };
    tokio::select! {
        biased;
        copied = copy_bidirectional_with_sizes(&mut client, &mut host, BUFFER_BYTES, BUFFER_BYTES) => {
            if let Err(error) = copied {
                tracing::debug!(%error, "connection broken");
            }
        }
        () = async {
            ended.notified().await;
            env.sleep(grace).await;
        } => tracing::debug!("half-closed connection closed"),
    }
}

/// A stream that tells when its other end has closed.
struct Ending {
    stream: Stream,
    ended: Arc<Notify>,
}

impl AsyncRead for Ending {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let room = buffer.remaining() > 0;
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if room && buffer.filled().len() == before {
            self.ended.notify_one();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ending {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
