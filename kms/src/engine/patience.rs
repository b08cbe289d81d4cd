//! How long a host asks databases again that say they serve in a moment: as long as a read may wait (W).

use crate::{
    env::{Env, Mono},
    limits::{Limits, ms},
};

/// First and longest pause before databases are asked again, milliseconds.
const PAUSE_MS: (u64, u64) = (5, 40);

/// How long databases are asked again while one of them catches up.
pub(super) struct Patience<'a> {
    env: &'a Env,
    until: Mono,
    next_ms: u64,
}

impl Patience<'_> {
    pub(super) fn new<'a>(env: &'a Env, limits: &Limits) -> Patience<'a> {
        Patience { env, until: env.now() + ms(limits.read_wait_ms), next_ms: PAUSE_MS.0 }
    }

    /// Waits before the next round; at once `false` when it is over.
    pub(super) async fn pause(&mut self) -> bool {
        let again = self.env.now() + ms(self.next_ms);
        if again >= self.until {
            return false;
        }
        self.env.clock.sleep_until(again).await;
        self.next_ms = (self.next_ms * 2).min(PAUSE_MS.1);
        true
    }
}
