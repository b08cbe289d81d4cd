//! A stream for hyper with the patience of a server: a head that does not come to its
//! end, a connection at rest for too long and a peer that does not read end with an error. Time comes from
//! the node's clock. Knows nothing of HTTP beyond "a request is being served".

use crate::{
    env::{BoxFuture, Env, Mono},
    limits::{KEEP_ALIVE_MS, ms},
    wire::hyper_io::HyperIo,
};
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite};

/// Between requests.
const RESTING: u8 = 0;
/// The first bytes of a request were read.
const HEAD: u8 = 1;
/// A request is being served; its own deadlines hold.
const SERVING: u8 = 2;

/// What a connection is doing, shared between its stream and its service.
#[derive(Clone)]
pub(super) struct Activity(Arc<AtomicU8>);

impl Activity {
    /// A connection that owes its first request.
    pub(super) fn new() -> Activity {
        Activity(Arc::new(AtomicU8::new(HEAD)))
    }

    /// A request's head was read.
    pub(super) fn serving(&self) {
        self.0.store(SERVING, Ordering::Relaxed);
    }

    /// The answer is ready.
    pub(super) fn resting(&self) {
        self.0.store(RESTING, Ordering::Relaxed);
    }
}

struct Alarm {
    at: Mono,
    sleep: BoxFuture<'static, ()>,
}

/// A stream for hyper that runs out of patience.
pub(super) struct Patient<S> {
    inner: HyperIo<S>,
    env: Env,
    activity: Activity,
    /// Several requests share the connection (HTTP/2): only rest is limited here, bodies elsewhere.
    shared: bool,
    idle: Duration,
    /// When the phase that is being timed began; none if it begins when something is next waited for.
    since: Option<Mono>,
    reading: Option<Alarm>,
    writing: Option<Alarm>,
}

impl<S> Patient<S> {
    /// Wraps a stream. `idle` is the time a head, or an unread answer, may take.
    pub(super) fn new(inner: S, env: Env, activity: Activity, shared: bool, idle: Duration) -> Self {
        let since = Some(env.now());
        let inner = HyperIo::new(inner);
        Patient { inner, env, activity, shared, idle, since, reading: None, writing: None }
    }

    /// A phase begins. On a connection of one request at a time the next read is tried at once, and asks the clock if it has to wait.
    fn begin(&mut self) {
        self.since = self.shared.then(|| self.env.now());
    }

    /// What follows from having read something: the first bytes after a rest begin a head, and a head's time
    /// runs on however many bytes trickle in.
    fn has_read(&mut self) {
        let phase = self.activity.0.load(Ordering::Relaxed);
        if self.shared || phase != HEAD {
            self.begin();
        }
        if !self.shared && phase == RESTING {
            self.activity.0.store(HEAD, Ordering::Relaxed);
        }
    }

    /// Ready once a read has waited for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let patience = match self.activity.0.load(Ordering::Relaxed) {
            SERVING => return Poll::Pending,
            HEAD => self.idle,
            _ => ms(KEEP_ALIVE_MS),
        };
        let end = *self.since.get_or_insert_with(|| self.env.now()) + patience;
        // An alarm that rings early is asked again; one that would ring late is replaced.
        loop {
            match &mut self.reading {
                Some(alarm) if alarm.at <= end => {
                    ready!(alarm.sleep.as_mut().poll(cx));
                    if self.env.now() >= end {
                        return Poll::Ready(());
                    }
                    self.reading = None;
                }
                _ => {
                    let sleep = self.env.clock.sleep_until(end);
                    self.reading = Some(Alarm { at: end, sleep });
                }
            }
        }
    }

    /// The result of a write, or an error once writing has been stuck for too long.
    fn patiently<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing = None;
            // Rest is counted from the last answer, not from the request before it.
            if self.activity.0.load(Ordering::Relaxed) != HEAD {
                self.begin();
            }
            return written;
        }
        let (env, idle) = (&self.env, self.idle);
        let alarm = self.writing.get_or_insert_with(|| {
            let at = env.now() + idle;
            Alarm { at, sleep: env.clock.sleep_until(at) }
        });
        ready!(alarm.sleep.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> hyper::rt::Read for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match this.inner.poll_fill(cx, &mut cursor) {
            Poll::Ready(count) => {
                if count? > 0 {
                    this.has_read();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                ready!(this.poll_patience(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = hyper::rt::Write::poll_write(Pin::new(&mut self.inner), cx, data);
        self.patiently(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        hyper::rt::Write::is_write_vectored(&self.inner)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = hyper::rt::Write::poll_write_vectored(Pin::new(&mut self.inner), cx, parts);
        self.patiently(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = hyper::rt::Write::poll_flush(Pin::new(&mut self.inner), cx);
        self.patiently(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = hyper::rt::Write::poll_shutdown(Pin::new(&mut self.inner), cx);
        self.patiently(cx, shut)
    }
}

/// Runs the streams of an HTTP/2 connection as tasks of the node.
#[derive(Clone)]
pub(super) struct NodeExecutor(pub(super) Env);

impl<F> hyper::rt::Executor<F> for NodeExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, work: F) {
        self.0.spawn("rest-stream", work);
    }
}
