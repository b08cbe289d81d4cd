//! How many requests a host takes: a bucket of tokens for each domain, by the client's certificate, and one for all who show none. Says
//! no before anything is done.

use crate::{env::Mono, limits::Limits};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};
use uuid::Uuid;

/// A request takes this much out of its bucket, so that filling counts in microseconds.
const REQUEST: u64 = 1_000_000;

struct Bucket {
    /// In [`REQUEST`] parts.
    level: u64,
    filled: Mono,
}

/// The buckets of a host. One for each domain that has a certificate, so their number is bounded.
pub(super) struct Rates {
    domain: (u32, u32),
    strangers: (u32, u32),
    buckets: Mutex<BTreeMap<Option<Uuid>, Bucket>>,
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Rates {
        Rates {
            domain: (limits.domain_requests_per_s, limits.domain_burst),
            strangers: (limits.stranger_requests_per_s, limits.stranger_requests_per_s),
            buckets: Mutex::new(BTreeMap::new()),
        }
    }

    /// Whether one more request is taken, of this domain or of a stranger.
    pub(super) fn takes(&self, domain: Option<Uuid>, now: Mono) -> bool {
        let (per_s, burst) = if domain.is_some() { self.domain } else { self.strangers };
        if per_s == 0 {
            return true;
        }
        let brim = u64::from(burst).saturating_mul(REQUEST);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(domain).or_insert(Bucket { level: brim, filled: now });
        let us = u64::try_from(now.since(bucket.filled).as_micros()).unwrap_or(u64::MAX);
        bucket.level = us.saturating_mul(u64::from(per_s)).saturating_add(bucket.level).min(brim);
        bucket.filled = now;
        match bucket.level.checked_sub(REQUEST) {
            Some(left) => {
                bucket.level = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn buckets_fill_at_their_rate_up_to_their_burst_and_are_apart() {
        let limits = Limits { domain_requests_per_s: 2, domain_burst: 3, ..Limits::default() };
        let rates = Rates::new(&limits);
        let (one, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        let at = |ms| Mono(Duration::from_millis(ms));
        let taken = |domain, ms| (0..10).filter(|_| rates.takes(domain, at(ms))).count();
        assert_eq!(taken(one, 0), 3);
        assert_eq!(taken(other, 0), 3, "another domain's bucket is its own");
        assert_eq!(taken(one, 499), 0);
        assert_eq!(taken(one, 500), 1);
        assert_eq!(taken(one, 100_000), 3, "never more than the burst");
        assert_eq!(taken(None, 0), 10, "strangers have another");
        let any = Rates::new(&Limits { domain_requests_per_s: 0, ..Limits::default() });
        assert!((0..100_000).all(|_| any.takes(one, at(0))));
    }
}
