//! How many requests a host takes: a bucket for each domain, and one for all who show neither a certificate nor a bearer token that was
//! believed before. Says no before anything is done.

use crate::{env::Mono, limits::Limits};
use std::{
    collections::{BTreeMap, BTreeSet},
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

/// Most fingerprints in each half of [`Believed`].
const BELIEVED_MAX: usize = 2_048;

/// Bearer tokens that were believed lately, by their fingerprints: what was used longest ago goes, a half at a time.
#[derive(Default)]
struct Believed {
    newer: BTreeSet<[u8; 32]>,
    older: BTreeSet<[u8; 32]>,
}

impl Believed {
    fn has(&self, print: &[u8; 32]) -> bool {
        self.newer.contains(print) || self.older.contains(print)
    }

    fn keep(&mut self, print: [u8; 32]) {
        if self.newer.insert(print) && self.newer.len() >= BELIEVED_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
    }

    fn forget(&mut self, print: &[u8; 32]) {
        self.newer.remove(print);
        self.older.remove(print);
    }
}

/// The buckets of a host. One for each domain that has a certificate or a token, so their number is bounded.
pub(super) struct Rates {
    domain: (u32, u32),
    strangers: (u32, u32),
    buckets: Mutex<BTreeMap<Option<Uuid>, Bucket>>,
    believed: Mutex<Believed>,
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Rates {
        Rates {
            domain: (limits.domain_requests_per_s, limits.domain_burst),
            strangers: (limits.stranger_requests_per_s, limits.stranger_requests_per_s),
            buckets: Mutex::default(),
            believed: Mutex::default(),
        }
    }

    /// Whether a token was believed when it was last used: then it is no stranger's, and counts for its domain once it is believed again.
    pub(super) fn knows(&self, token: &[u8; 32]) -> bool {
        self.believed.lock().unwrap_or_else(PoisonError::into_inner).has(token)
    }

    /// A token was believed, or was not.
    pub(super) fn learn(&self, token: [u8; 32], believed: bool) {
        let mut all = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        if believed { all.keep(token) } else { all.forget(&token) }
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
        // Requests that came at about the same time are counted in any order.
        bucket.filled = bucket.filled.max(now);
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
    fn tokens_that_were_believed_are_known_and_their_number_is_bounded() {
        let rates = Rates::new(&Limits::default());
        let print = |number: usize| {
            let mut print = [0; 32];
            print[..8].copy_from_slice(&number.to_be_bytes());
            print
        };
        assert!(!rates.knows(&print(1)));
        rates.learn(print(1), true);
        assert!(rates.knows(&print(1)));
        rates.learn(print(1), false);
        assert!(!rates.knows(&print(1)), "it has expired, say");
        for number in 0..3 * BELIEVED_MAX {
            rates.learn(print(number), true);
            rates.learn(print(7), true);
        }
        let known = (0..3 * BELIEVED_MAX).filter(|number| rates.knows(&print(*number))).count();
        assert!((BELIEVED_MAX..=2 * BELIEVED_MAX).contains(&known), "{known}");
        assert!(rates.knows(&print(7)), "one that is in use stays");
    }

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
        assert_eq!(taken(one, 99_000), 0, "one that came before, and is counted after");
        assert_eq!(taken(one, 100_500), 1, "adds nothing to what fills the bucket");
        assert_eq!(taken(None, 0), 10, "strangers have another");
        let any = Rates::new(&Limits { domain_requests_per_s: 0, ..Limits::default() });
        assert!((0..100_000).all(|_| any.takes(one, at(0))));
    }
}
