//! Tasks on the tokio runtime that was current when the world was made.

use crate::env::{Aborter, BoxFuture, Tasks};
use std::sync::Arc;
use tokio::runtime::Handle;

pub(super) struct OsTasks {
    runtime: Handle,
}

impl OsTasks {
    pub(super) fn current() -> Self {
        OsTasks { runtime: Handle::current() }
    }
}

impl Tasks for OsTasks {
    fn spawn(&self, _name: &'static str, work: BoxFuture<'static, ()>) -> Aborter {
        let task = self.runtime.spawn(work).abort_handle();
        Arc::new(move || task.abort())
    }

    fn blocking(&self, _name: &'static str, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        // Started here, not at the first poll: the work runs even if nobody waits for it.
        let task = self.runtime.spawn_blocking(work);
        Box::pin(async move {
            // A panic inside shows as a missing result at the caller (`Panicked`).
            let _ = task.await;
        })
    }
}
