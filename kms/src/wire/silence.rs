//! How long a peer has said nothing: one timer per connection, that is set again when it rings early instead
//! of at each frame. Ends nothing itself.

use crate::env::{BoxFuture, Env, Mono};
use std::time::Duration;

/// A peer's silence.
pub struct Silence {
    env: Env,
    span: Duration,
    since: Mono,
    alarm: BoxFuture<'static, ()>,
}

impl Silence {
    /// A silence of `span`, counted from now, is too long.
    pub fn new(env: Env, span: Duration) -> Silence {
        let since = env.now();
        let alarm = env.clock.sleep_until(since + span);
        Silence { env, span, since, alarm }
    }

    /// Counts from now.
    pub fn restart(&mut self) {
        self.since = self.env.now();
    }

    /// Done once it has lasted for the span. May be dropped at any await point.
    pub async fn lasted(&mut self) {
        loop {
            self.alarm.as_mut().await;
            let end = self.since + self.span;
            self.alarm = self.env.clock.sleep_until(end);
            if self.env.now() >= end {
                return;
            }
        }
    }
}
