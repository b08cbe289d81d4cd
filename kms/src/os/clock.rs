//! The operating system's clocks. Corrects nothing: a wrong wall clock is passed on as it is.

use crate::env::{BoxFuture, Clock, Mono};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(super) struct OsClock {
    origin: Instant,
}

impl OsClock {
    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    pub(super) fn new() -> Self {
        OsClock { origin: Instant::now() }
    }
}

impl Clock for OsClock {
    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn now(&self) -> Mono {
        Mono(Instant::now().saturating_duration_since(self.origin))
    }

    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn sleep_until(&self, at: Mono) -> BoxFuture<'static, ()> {
        let at = self.origin.checked_add(at.0);
        Box::pin(async move {
            match at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        })
    }
}
