//! The operating system's clocks. Corrects nothing: a wrong wall clock is passed on as it is.
//!
//! The monotonic clock goes on while the machine sleeps: what is good for a while (a lease, R21) is not good any more when it wakes.

use crate::env::{BoxFuture, Clock, Mono};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Goes on while the machine sleeps; on Linux `CLOCK_MONOTONIC` does not.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

pub(super) struct OsClock {
    origin: Duration,
}

fn read() -> Duration {
    // The kernel gives no time before its start.
    Duration::try_from(clock_gettime(CLOCK)).unwrap_or_default()
}

impl OsClock {
    pub(super) fn new() -> Self {
        OsClock { origin: read() }
    }
}

impl Clock for OsClock {
    fn now(&self) -> Mono {
        Mono(read().saturating_sub(self.origin))
    }

    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn sleep_until(&self, at: Mono) -> BoxFuture<'static, ()> {
        let at = self.origin.saturating_add(at.0);
        Box::pin(async move {
            // The timer's own clock may stand still while the machine sleeps: it is late then, and never early.
            loop {
                tokio::time::sleep(at.saturating_sub(read())).await;
                if read() >= at {
                    return;
                }
            }
        })
    }
}
