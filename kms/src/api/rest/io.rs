//! The patience of a server with one connection: a head that does not come to its end, a connection at rest for too long and a peer that does
//! not read end it. Time comes from the node's clock. Knows nothing of HTTP beyond "so many requests are being served".
//!
//! What is read and written passes a [`Patient`], which notes when that was. How long ago that may be is looked at by [`Patience`], beside
//! hyper and whatever hyper is doing: it reads while it serves, and not again when it is done.

use crate::{
    env::{BoxFuture, Env, Mono},
    wire::hyper_io::HyperIo,
};
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite};

/// What a connection is doing, shared between its stream, its service and whoever loses patience.
#[derive(Clone)]
pub(super) struct Activity(Arc<Doing>);

struct Doing {
    /// Requests that are being served; their own deadlines hold.
    serving: AtomicU32,
    /// A head is awaited: the first one, or one that has begun.
    head: AtomicBool,
    /// When the phase that is being timed began, nanoseconds of the node's clock.
    since: AtomicU64,
}

/// A request that is being served, until this is dropped.
pub(super) struct Serving(Activity);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.0.serving.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Activity {
    /// A connection that owes its first request.
    pub(super) fn new(now: Mono) -> Activity {
        let doing =
            Doing { serving: AtomicU32::new(0), head: AtomicBool::new(true), since: AtomicU64::new(0) };
        let activity = Activity(Arc::new(doing));
        activity.begin(now);
        activity
    }

    /// A request's head was read.
    pub(super) fn serve(&self) -> Serving {
        self.0.serving.fetch_add(1, Ordering::Relaxed);
        self.0.head.store(false, Ordering::Relaxed);
        Serving(self.clone())
    }

    fn is_serving(&self) -> bool {
        self.0.serving.load(Ordering::Relaxed) > 0
    }

    fn awaits_head(&self) -> bool {
        self.0.head.load(Ordering::Relaxed)
    }

    fn begin(&self, now: Mono) {
        let nanos = u64::try_from(now.0.as_nanos()).unwrap_or(u64::MAX);
        self.0.since.store(nanos, Ordering::Relaxed);
    }

    fn since(&self) -> Mono {
        Mono(Duration::from_nanos(self.0.since.load(Ordering::Relaxed)))
    }
}

struct Alarm {
    at: Mono,
    sleep: BoxFuture<'static, ()>,
}

impl Alarm {
    fn new(env: &Env, at: Mono) -> Alarm {
        Alarm { at, sleep: env.clock.sleep_until(at) }
    }
}

/// Ends once a head takes too long, or the connection rests for too long. To be polled whenever the connection was.
pub(super) struct Patience {
    env: Env,
    activity: Activity,
    /// With a head.
    head: Duration,
    /// With a connection that rests.
    rest: Duration,
    alarm: Option<Alarm>,
}

impl Patience {
    pub(super) fn new(env: Env, activity: Activity, head: Duration, rest: Duration) -> Patience {
        Patience { env, activity, head, rest, alarm: None }
    }

    /// When it ends, if nothing happens; not while something is served.
    fn end(&self) -> Option<Mono> {
        let patience = if self.activity.awaits_head() { self.head } else { self.rest };
        (!self.activity.is_serving()).then(|| self.activity.since() + patience)
    }
}

impl Future for Patience {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // An alarm that rings early is asked again; one that would ring late is replaced.
        loop {
            let end = this.end();
            match &mut this.alarm {
                Some(alarm) if end.is_none_or(|end| alarm.at <= end) => {
                    ready!(alarm.sleep.as_mut().poll(cx));
                    this.alarm = None;
                    if end.is_some_and(|end| this.env.now() >= end) {
                        return Poll::Ready(());
                    }
                }
                _ => {
                    let at = end.unwrap_or_else(|| this.env.now() + this.rest);
                    this.alarm = Some(Alarm::new(&this.env, at));
                }
            }
        }
    }
}

/// A stream for hyper that notes when it was read and written, and does not wait for a peer that does not read.
pub(super) struct Patient<S> {
    inner: HyperIo<S>,
    env: Env,
    activity: Activity,
    /// Several requests share the connection (HTTP/2): no head is timed by itself.
    shared: bool,
    /// Longest time that a write may be stuck.
    idle: Duration,
    writing: Option<Alarm>,
}

impl<S> Patient<S> {
    /// Wraps a stream.
    pub(super) fn new(inner: S, env: Env, activity: Activity, shared: bool, idle: Duration) -> Self {
        Patient { inner: HyperIo::new(inner), env, activity, shared, idle, writing: None }
    }

    /// What follows from having read something: the first bytes after a rest begin a head, and a head's time
    /// runs on however many bytes trickle in.
    fn has_read(&mut self) {
        let head = self.activity.awaits_head();
        if self.shared || !head {
            self.activity.begin(self.env.now());
        }
        if !self.shared && !head && !self.activity.is_serving() {
            self.activity.0.head.store(true, Ordering::Relaxed);
        }
    }

    /// What follows from having written something: rest is counted from the last answer, not from the request before it.
    fn has_written(&mut self) {
        if !self.activity.awaits_head() {
            self.activity.begin(self.env.now());
        }
    }

    /// The result of a write, or an error once writing has been stuck for too long.
    fn patiently<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing = None;
            return written;
        }
        let (env, idle) = (&self.env, self.idle);
        let alarm = self.writing.get_or_insert_with(|| Alarm::new(env, env.now() + idle));
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
        if ready!(this.inner.poll_fill(cx, &mut cursor))? > 0 {
            this.has_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = hyper::rt::Write::poll_write(Pin::new(&mut self.inner), cx, data);
        if written.is_ready() {
            self.has_written();
        }
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
