//! Time, monotonic and wall apart: either may be wrong on its own.

use super::BoxFuture;
use std::{ops::Add, time::Duration};

/// A moment of one node's monotonic clock; means nothing on another node or after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mono(pub Duration);

impl Mono {
    /// Time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, span: Duration) -> Mono {
        Mono(self.0.saturating_add(span))
    }
}

/// The clocks of one node.
pub trait Clock: Send + Sync {
    /// Monotonic time since an origin of the node's choosing.
    fn now(&self) -> Mono;
    /// Wall time since the Unix epoch.
    fn wall(&self) -> Duration;
    /// Done once [`Clock::now`] is at least `at`.
    fn sleep_until(&self, at: Mono) -> BoxFuture<'static, ()>;
}
