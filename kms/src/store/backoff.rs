//! Pauses between attempts to connect: doubled up to a bound, with jitter, and short again after a connection
//! that lasted. Connects nothing itself.

use crate::{
    env::{Env, Mono, Purpose},
    limits::{Limits, ms},
};
use std::time::Duration;

/// The pauses of one link.
pub struct Backoff {
    first_ms: u64,
    max_ms: u64,
    pause_ms: u64,
}

impl Backoff {
    /// Starts at the ping interval, ends at `backoff_max_ms`.
    pub fn new(limits: &Limits) -> Backoff {
        Backoff { first_ms: limits.ping_ms, max_ms: limits.backoff_max_ms, pause_ms: limits.ping_ms }
    }

    /// Waits after an attempt that began at `began` has ended.
    pub async fn pause(&mut self, env: &Env, began: Mono) {
        self.after(env.now().since(began));
        // Jitter keeps two ends from meeting in step for ever.
        let jitter = env.random::<1>(Purpose::Public).map_or(0, |[byte]| u64::from(byte));
        env.sleep(ms(self.pause_ms / 2 + self.pause_ms * jitter / 512)).await;
    }

    fn after(&mut self, lived: Duration) {
        self.pause_ms =
            if lived > ms(self.max_ms * 2) { self.first_ms } else { (self.pause_ms * 2).min(self.max_ms) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_bound_and_begin_again_after_a_long_life() {
        let limits = Limits { ping_ms: 100, backoff_max_ms: 1_000, ..Limits::default() };
        let mut backoff = Backoff::new(&limits);
        let mut pauses = Vec::new();
        for _ in 0..5 {
            backoff.after(ms(1));
            pauses.push(backoff.pause_ms);
        }
        assert_eq!(pauses, [200, 400, 800, 1_000, 1_000]);
        backoff.after(ms(2_001));
        assert_eq!(backoff.pause_ms, 100);
    }
}
