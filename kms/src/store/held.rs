//! An open store that is closed when the last holder lets go of it, work on a blocking thread included: not before may it be
//! opened again. Runs work where it may block.

use super::engine::{Engine, EngineError};
use crate::env::Env;
use std::{convert::Infallible, io, sync::Arc};
use tokio::sync::oneshot;

/// A share in an open store.
#[derive(Clone)]
pub struct Held(Arc<Open>);

/// `_closed` goes after the engine: its receiver ends when the last holder has let go and the file is closed.
struct Open {
    engine: Engine,
    _closed: oneshot::Sender<Infallible>,
}

/// Ends when the store is closed.
pub type Closed = oneshot::Receiver<Infallible>;

impl Held {
    /// The first share.
    pub fn new(engine: Engine) -> (Held, Closed) {
        let (open, closed) = oneshot::channel();
        (Held(Arc::new(Open { engine, _closed: open })), closed)
    }

    /// Runs `work` on the engine. After any error but a damaged record the store is to be closed and opened again.
    ///
    /// # Errors
    /// Those of `work`; an I/O error if it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        env: &Env,
        name: &'static str,
        work: impl FnOnce(&Engine) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let held = self.0.clone();
        // What the work hands back may hold the file open: the share goes after it, also when nobody waits for it any more.
        let done = env.blocking(name, move || (work(&held.engine), held)).await;
        match done {
            Ok((done, _held)) => done,
            Err(_) => Err(EngineError::Io(io::Error::other(format!("storage panicked in {name}")))),
        }
    }
}
