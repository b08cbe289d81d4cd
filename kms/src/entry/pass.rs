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
    sync::{Notify, watch},
};

/// One full TLS record and a little.
const BUFFER_BYTES: usize = 17 << 10;

/// A connection on which nothing has moved for this long after the host's last bytes rests between requests.
const REST: Duration = Duration::from_millis(20);

/// Who spoke last on a connection, and how often anybody has. Says nothing of what was said.
#[derive(Clone)]
pub(super) struct Traffic(watch::Sender<(bool, u64)>);

impl Traffic {
    pub(super) fn new() -> Traffic {
        Traffic(watch::Sender::new((false, 0)))
    }

    fn heard(&self, from_client: bool) {
        self.0.send_modify(|(client_last, count)| {
            *client_last = from_client;
            *count += 1;
        });
    }

    /// Done once no request seems to be unanswered: the host spoke last, and then nobody for [`REST`].
    pub(super) async fn rests(&self, env: &Env) {
        let mut moves = self.0.subscribe();
        loop {
            // The sender is `self`: it does not go away.
            let _ = moves.wait_for(|(client_last, _)| !client_last).await;
            if env.timeout(REST, moves.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// Copies until both ends have closed, or `grace` after one has, or an error. Then both are dropped.
pub(super) async fn pass(env: &Env, client: Stream, host: Stream, grace: Duration, traffic: &Traffic) {
    let ended = Arc::new(Notify::new());
    let mut client =
        Ending { stream: client, ended: ended.clone(), traffic: traffic.clone(), is_client: true };
    let mut host = Ending { stream: host, ended: ended.clone(), traffic: traffic.clone(), is_client: false };
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

/// A stream that tells when its other end has spoken, and when it has closed.
struct Ending {
    stream: Stream,
    ended: Arc<Notify>,
    traffic: Traffic,
    is_client: bool,
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
        if buffer.filled().len() > before {
            self.traffic.heard(self.is_client);
        } else if room {
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
