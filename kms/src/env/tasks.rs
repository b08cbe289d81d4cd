//! Concurrent tasks and blocking work.

use super::BoxFuture;
use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::oneshot;

/// Where a node's tasks run.
pub trait Tasks: Send + Sync {
    /// Starts a task. Calling the returned aborter drops the future.
    fn spawn(&self, name: &'static str, work: BoxFuture<'static, ()>) -> Aborter;
    /// Runs synchronous work off the task threads; done when the work has returned.
    fn blocking(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;
}

/// Ends a task; may be called any number of times.
pub type Aborter = Arc<dyn Fn() + Send + Sync>;

/// A task's work panicked, or it was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("task panicked or was aborted")]
pub struct Panicked;

/// A running task. As a future it yields the task's value. Dropping it lets the task run on, unless
/// [`Task::abort_on_drop`] was asked for.
pub struct Task<T> {
    value: oneshot::Receiver<T>,
    aborter: Aborter,
    abort_on_drop: bool,
}

impl<T> Task<T> {
    /// Drops the task's future at its next point of rest.
    pub fn abort(&self) {
        (self.aborter)();
    }

    /// Ties the task's life to this handle.
    #[must_use]
    pub fn abort_on_drop(mut self) -> Self {
        self.abort_on_drop = true;
        self
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if self.abort_on_drop {
            self.abort();
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Panicked>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.value).poll(cx).map(|value| value.map_err(|_| Panicked))
    }
}

pub(super) fn spawn<T: Send + 'static>(
    tasks: &dyn Tasks,
    name: &'static str,
    work: impl Future<Output = T> + Send + 'static,
) -> Task<T> {
    let (send, value) = oneshot::channel();
    let aborter = tasks.spawn(
        name,
        Box::pin(async move {
            // The receiver may be gone: nobody waits for this task then.
            let _ = send.send(work.await);
        }),
    );
    Task { value, aborter, abort_on_drop: false }
}

pub(super) async fn blocking<T: Send + 'static>(
    tasks: &dyn Tasks,
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    let (send, value) = oneshot::channel();
    tasks
        .blocking(
            name,
            Box::new(move || {
                if let Ok(done) = catch_unwind(AssertUnwindSafe(work)) {
                    let _ = send.send(done);
                }
            }),
        )
        .await;
    value.await.map_err(|_| Panicked)
}
