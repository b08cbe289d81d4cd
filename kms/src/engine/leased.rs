//! Keys that this host holds a lease on (PROTOCOL R21): until it ends, nothing of them changes anywhere, so they are used without asking a
//! database. A lease is asked for beside an operation that has read its key the usual way, and only for keys that are used again and again;
//! no operation ever waits for one. Without a lease, for whatever reason, each operation reads through.
//!
//! Bounded in keys, bytes and idle time; the one that was used longest ago goes first, and its material is wiped when the last operation
//! that uses it has ended.

use super::{KeyRecord, lru::Lru};
use crate::{
    env::Mono,
    limits::{LEASED_KEYS_MAX, LEASED_KEYS_MAX_BYTES, Limits, ms},
    record::{RecordKey, Version},
    store::api::KnownEpoch,
    vault::{KIND_SERVICE_KEY, record_prefix},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use uuid::Uuid;

/// A key that is used again within this time is worth a lease.
const WORTH: Duration = ms(1_000);
/// What a key takes besides its material, bytes.
const KEY_BYTES: usize = 512;

/// A key as it stands while the lease lasts.
pub(super) struct LeasedKey {
    pub(super) record: Arc<KeyRecord>,
    pub(super) version: Version,
    pub(super) until: Mono,
    /// The epoch that the lease is of.
    pub(super) epoch: KnownEpoch,
}

/// What there is to do with a key that is about to be used.
#[derive(Default)]
pub(super) struct Look {
    /// It may be used as it is.
    pub(super) held: Option<Arc<LeasedKey>>,
    /// A lease, or the next one, is to be asked for. The number is given back with the answer.
    pub(super) ask: Option<u64>,
}

#[derive(Default)]
struct Slot {
    key: Option<Arc<LeasedKey>>,
    asked: bool,
}

#[derive(Default)]
struct Held {
    keys: Lru<RecordKey, Slot>,
    /// Rises when all is forgotten: what was asked for before is not kept.
    generation: u64,
}

/// The keys that a host holds a lease on, or may soon.
pub(super) struct LeasedKeys {
    lease: Duration,
    held: Mutex<Held>,
}

impl LeasedKeys {
    pub(super) fn new(limits: &Limits) -> LeasedKeys {
        LeasedKeys { lease: ms(limits.lease_ms), held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for a key that is used now.
    pub(super) fn look(&self, key: &RecordKey, now: Mono, epoch: &KnownEpoch) -> Look {
        if self.lease.is_zero() {
            return Look::default();
        }
        let mut held = self.held();
        held.keys.expire(now, WORTH);
        let again = held.keys.has(key);
        let slot = held.keys.used(key, now);
        let usable = slot.key.as_ref().filter(|key| now < key.until && key.epoch == *epoch).cloned();
        let ended = usable.is_none() && slot.key.take().is_some();
        let ends_soon = usable.as_ref().is_none_or(|key| key.until.since(now) * 2 < self.lease);
        let ask = again && ends_soon && !slot.asked;
        slot.asked |= ask;
        if ended {
            held.keys.weigh(key, 0);
        }
        held.keys.fit(LEASED_KEYS_MAX, LEASED_KEYS_MAX_BYTES);
        Look { held: usable, ask: ask.then_some(held.generation) }
    }

    /// What became of a lease that was asked for: the key, or none.
    pub(super) fn answered(&self, generation: u64, at: &RecordKey, key: Option<LeasedKey>) {
        let mut held = self.held();
        if held.generation != generation {
            return;
        }
        let Some(slot) = held.keys.get(at) else { return };
        slot.asked = false;
        let Some(key) = key else { return };
        let bytes = KEY_BYTES + key.record.material.expose().len();
        slot.key = Some(Arc::new(key));
        held.keys.weigh(at, bytes);
        held.keys.fit(LEASED_KEYS_MAX, LEASED_KEYS_MAX_BYTES);
    }

    /// Drops what lies idle.
    pub(super) fn sweep(&self, now: Mono) {
        self.held().keys.expire(now, WORTH);
    }

    /// Drops a key: it is destroyed.
    pub(super) fn forget_key(&self, at: &RecordKey) {
        self.held().keys.remove(at);
    }

    /// Drops all keys of a domain: its service has ended.
    pub(super) fn forget(&self, domain: Uuid) {
        let of_it = record_prefix(KIND_SERVICE_KEY, domain);
        self.held().keys.remove_from(&RecordKey(of_it.clone()), |key| key.0.starts_with(&of_it));
    }

    /// Drops all keys, and what was asked for.
    pub(super) fn clear(&self) {
        let mut held = self.held();
        *held = Held { generation: held.generation + 1, ..Held::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::SecretBytes,
        engine::{
            lifecycle::State,
            payload::{Dates, Flags, KeyType, KeyView, Operations},
        },
        record::CommitId,
        vault::record_key,
    };

    fn of_epoch(no: u64, id: u8) -> KnownEpoch {
        (no, [id].into())
    }

    fn at(millis: u64) -> Mono {
        Mono(ms(millis))
    }

    fn key(until: Mono, bytes: usize) -> LeasedKey {
        let view = KeyView {
            id: Uuid::nil(),
            name: "k".to_owned(),
            kind: KeyType::Oct(256),
            public: None,
            operations: Operations::ENCRYPT,
            flags: Flags::default(),
            state: State::Active,
            dates: Dates::default(),
        };
        let material = SecretBytes::new(vec![7; bytes]);
        let record = Arc::new(KeyRecord { view, context: None, reason: 0, material });
        let version = Version { counter: 1, commit_id: CommitId([1; 16]) };
        LeasedKey { record, version, until, epoch: of_epoch(1, 1) }
    }

    fn place(id: u8) -> RecordKey {
        record_key(KIND_SERVICE_KEY, Uuid::from_u128(5), Uuid::from_bytes([id; 16]))
    }

    fn keys() -> (LeasedKeys, KnownEpoch) {
        (LeasedKeys::new(&Limits::default()), of_epoch(1, 1))
    }

    #[test]
    fn a_key_is_worth_a_lease_when_it_is_used_again_and_is_used_until_that_ends() {
        let (keys, epoch) = keys();
        let first = keys.look(&place(1), at(0), &epoch);
        assert!(first.held.is_none() && first.ask.is_none());
        assert!(keys.look(&place(1), at(1_000), &epoch).ask.is_none(), "not again soon");
        let asked = keys.look(&place(1), at(1_010), &epoch);
        assert!(asked.held.is_none());
        assert!(keys.look(&place(1), at(1_011), &epoch).ask.is_none(), "it is asked for already");
        keys.answered(asked.ask.expect("asked"), &place(1), Some(key(at(1_110), 32)));
        let used = keys.look(&place(1), at(1_020), &epoch);
        assert!(used.held.is_some() && used.ask.is_none());
        let soon = keys.look(&place(1), at(1_070), &epoch);
        assert!(
            soon.held.is_some() && soon.ask.is_some(),
            "the next lease is asked for while this one lasts"
        );
        keys.answered(soon.ask.expect("asked"), &place(1), None);
        assert!(keys.look(&place(1), at(1_109), &epoch).held.is_some());
        assert_eq!(keys.held().keys.count(), (1, KEY_BYTES + 32));
        assert!(keys.look(&place(1), at(1_110), &epoch).held.is_none(), "it has ended");
        assert_eq!(keys.held().keys.count(), (1, 0), "and is kept no longer");
        keys.forget_key(&place(1));
        assert_eq!(keys.held().keys.count(), (0, 0));
    }

    #[test]
    fn nothing_of_another_epoch_is_used() {
        let (keys, epoch) = keys();
        keys.look(&place(1), at(0), &epoch);
        let ask = keys.look(&place(1), at(1), &epoch).ask.expect("asked");
        keys.answered(ask, &place(1), Some(key(at(100), 32)));
        assert!(keys.look(&place(1), at(2), &epoch).held.is_some());
        assert!(keys.look(&place(1), at(3), &of_epoch(2, 2)).held.is_none());
        assert!(keys.look(&place(1), at(3), &of_epoch(1, 9)).held.is_none());
    }

    #[test]
    fn what_was_asked_for_before_all_was_forgotten_is_not_kept() {
        let (keys, epoch) = keys();
        keys.look(&place(1), at(0), &epoch);
        let ask = keys.look(&place(1), at(1), &epoch).ask.expect("asked");
        keys.clear();
        keys.look(&place(1), at(2), &epoch);
        keys.answered(ask, &place(1), Some(key(at(100), 32)));
        let again = keys.look(&place(1), at(3), &epoch);
        assert!(again.held.is_none() && again.ask.is_some());
        keys.forget(Uuid::from_u128(4));
        assert_eq!(keys.held().keys.count().0, 1);
        keys.forget(Uuid::from_u128(5));
        assert_eq!(keys.held().keys.count(), (0, 0));
    }

    #[test]
    fn an_idle_key_goes_by_itself() {
        let (keys, epoch) = keys();
        keys.look(&place(1), at(0), &epoch);
        keys.look(&place(2), at(500), &epoch);
        keys.sweep(at(1_000));
        assert_eq!(keys.held().keys.count().0, 1);
    }

    #[test]
    fn keys_and_bytes_are_bounded() {
        let (keys, epoch) = keys();
        let many = |n: usize| RecordKey(n.to_be_bytes().to_vec());
        for n in 0..LEASED_KEYS_MAX + 10 {
            keys.look(&many(n), at(0), &epoch);
        }
        assert_eq!(keys.held().keys.count().0, LEASED_KEYS_MAX);
        assert!(!keys.held().keys.has(&many(9)) && keys.held().keys.has(&many(10)));
        let (keys, epoch) = self::keys();
        for n in 0..200 {
            keys.look(&many(n), at(0), &epoch);
            let ask = keys.look(&many(n), at(1), &epoch).ask.expect("asked");
            keys.answered(ask, &many(n), Some(key(at(100), LEASED_KEYS_MAX_BYTES / 100)));
        }
        let (count, bytes) = keys.held().keys.count();
        assert!(count > 90 && bytes <= LEASED_KEYS_MAX_BYTES);
    }
}
