//! The seam: everything the service asks of the world, as six small traits, and no logic.
//!
//! [`Env`] is passed at start to everything that runs. Nothing below may reach the network, a disk, a
//! clock, randomness or a thread in any other way (`clippy.toml` bans the direct calls).

mod clock;
mod disk;
mod entropy;
mod net;
mod objects;
mod tasks;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

pub use clock::{Clock, Mono};
pub use disk::{BlockFile, Disk, OpenMode};
pub use entropy::{Entropy, Purpose};
pub use net::{Accepted, Io, Listener, Net, Stream};
pub use objects::{
    BadName, Keeping, Listed, OBJECT_LIST_MAX, OBJECT_MAX_BYTES, OBJECT_NAME_MAX_BYTES, ObjectError,
    ObjectName, Objects, S3Config, StoreAt, StoreConfig, Stores,
};
pub use tasks::{Aborter, Panicked, Task, Tasks};

/// A boxed future that may be sent between threads; what the object-safe traits of the seam return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The world of one node. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Streams to other processes.
    pub net: Arc<dyn Net>,
    /// Monotonic and wall time.
    pub clock: Arc<dyn Clock>,
    /// Concurrent tasks and blocking work.
    pub tasks: Arc<dyn Tasks>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Object stores in other places.
    pub stores: Arc<dyn Stores>,
}

/// A deadline passed before the future was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("deadline passed")]
pub struct Elapsed;

impl Env {
    /// Monotonic time of this node.
    pub fn now(&self) -> Mono {
        self.clock.now()
    }

    /// Wall time of this node, Unix milliseconds.
    pub fn wall_ms(&self) -> u64 {
        u64::try_from(self.clock.wall().as_millis()).unwrap_or(u64::MAX)
    }

    /// Sleeps for `span` of monotonic time.
    pub async fn sleep(&self, span: Duration) {
        self.clock.sleep_until(self.now() + span).await;
    }

    /// Runs `work` until it is done or `at` has passed, whichever is first.
    ///
    /// # Errors
    /// [`Elapsed`] once `at` has passed; the work is dropped then.
    pub async fn deadline<T>(&self, at: Mono, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            // The clock is asked only for work that is not done at once.
            () = async { self.clock.sleep_until(at).await } => Err(Elapsed),
        }
    }

    /// As [`Env::deadline`], `span` from now.
    ///
    /// # Errors
    /// [`Elapsed`] once `span` has passed.
    pub async fn timeout<T>(&self, span: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.sleep(span) => Err(Elapsed),
        }
    }

    /// Starts `work` as a task of this node; its name appears in traces.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        tasks::spawn(&*self.tasks, name, work)
    }

    /// Runs synchronous work (disk, heavy CPU) where it blocks nobody.
    ///
    /// # Errors
    /// [`Panicked`] when `work` panicked: the caller decides what that means (a store closes and reopens).
    pub async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        tasks::blocking(&*self.tasks, name, work).await
    }

    /// Random bytes.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn random<const N: usize>(&self, purpose: Purpose) -> std::io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.entropy.fill(purpose, &mut bytes)?;
        Ok(bytes)
    }
}
