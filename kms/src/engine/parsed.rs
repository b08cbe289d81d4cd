//! Keys that were read from their DER, kept for the next operation with them: reading a key on a curve costs twice a signature
//! with it. Keeps no state and
//! decides nothing: who asks has read the record at a database, for this operation, and names the version that was read there. What that
//! version holds never changes, since a version is one attempt at one write.
//!
//! Bounded in keys, in bytes and in time; the one that was used longest ago goes first. Private halves are wiped when the last operation that uses
//! them has ended. A key that lies idle for too long goes when the next one is used, or the entry asks for the host's
//! health, whichever is first.

use super::lru::Lru;
use crate::{
    crypto::asymmetric::{PrivateKey, PublicKey},
    env::Mono,
    limits::{Limits, ms},
    record::Version,
    store::api::KnownEpoch,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use uuid::Uuid;

/// What one version of one key is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Which {
    pub(super) domain: Uuid,
    pub(super) id: Uuid,
    pub(super) version: Version,
}

impl Which {
    /// The first that a domain, or a key of it, can have.
    fn first(domain: Uuid, id: Uuid) -> Which {
        let version = Version { counter: 0, commit_id: crate::record::CommitId([0; 16]) };
        Which { domain, id, version }
    }
}

/// What of a key was read so far.
#[derive(Default)]
struct Halves {
    private: Option<Arc<PrivateKey>>,
    public: Option<Arc<PublicKey>>,
}

impl Halves {
    fn bytes(&self) -> usize {
        let private = self.private.as_ref().map_or(0, |key| key.memory_bytes());
        private + self.public.as_ref().map_or(0, |key| key.memory_bytes())
    }
}

#[derive(Default)]
struct Held {
    /// What is kept is of this epoch, by number and id.
    epoch: KnownEpoch,
    keys: Lru<Which, Halves>,
    /// The host is sealed: whoever is still at work keeps nothing.
    closed: bool,
}

impl Held {
    /// Drops all of a domain, or of one key of it.
    fn drop_of(&mut self, domain: Uuid, id: Option<Uuid>) {
        let first = Which::first(domain, id.unwrap_or(Uuid::nil()));
        self.keys.remove_from(&first, |which| which.domain == domain && id.is_none_or(|id| which.id == id));
    }
}

/// The keys that a host has read.
pub(super) struct ParsedKeys {
    keys_max: usize,
    bytes_max: usize,
    idle: Duration,
    held: Mutex<Held>,
}

/// The moment of an operation: the time, and the epoch that the store knows of.
pub(super) type Moment = (Mono, KnownEpoch);

impl ParsedKeys {
    pub(super) fn new(limits: &Limits) -> ParsedKeys {
        ParsedKeys {
            keys_max: limits.parsed_keys_max as usize,
            bytes_max: usize::try_from(limits.parsed_keys_max_bytes).unwrap_or(usize::MAX),
            idle: ms(limits.parsed_key_idle_ms),
            held: Mutex::default(),
        }
    }

    fn all(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is held, without what is of another epoch or has lain idle.
    fn held(&self, (now, epoch): &Moment) -> MutexGuard<'_, Held> {
        let mut held = self.all();
        if held.epoch != *epoch {
            *held = Held { epoch: epoch.clone(), closed: held.closed, ..Held::default() };
        }
        held.keys.expire(*now, self.idle);
        held
    }

    /// Drops what has lain idle.
    pub(super) fn sweep(&self, moment: &Moment) {
        drop(self.held(moment));
    }

    /// Drops all keys, and takes no more: the host is sealed.
    pub(super) fn close(&self) {
        *self.all() = Held { closed: true, ..Held::default() };
    }

    /// Takes keys again.
    pub(super) fn open(&self) {
        self.all().closed = false;
    }

    /// Drops all keys of a domain: its service has ended.
    pub(super) fn forget(&self, domain: Uuid) {
        self.all().drop_of(domain, None);
    }

    /// Drops every version of a key: it is destroyed.
    pub(super) fn forget_key(&self, domain: Uuid, id: Uuid) {
        self.all().drop_of(domain, Some(id));
    }

    /// The private half of a version: kept, or read now.
    ///
    /// # Errors
    /// Those of reading it.
    pub(super) fn private<E>(
        &self,
        moment: &Moment,
        which: Which,
        read: impl FnOnce() -> Result<PrivateKey, E>,
    ) -> Result<Arc<PrivateKey>, E> {
        self.either(moment, which, |halves| &mut halves.private, read, PrivateKey::memory_bytes)
    }

    /// The public half of a version: kept, or read now.
    ///
    /// # Errors
    /// Those of reading it.
    pub(super) fn public<E>(
        &self,
        moment: &Moment,
        which: Which,
        read: impl FnOnce() -> Result<PublicKey, E>,
    ) -> Result<Arc<PublicKey>, E> {
        self.either(moment, which, |halves| &mut halves.public, read, PublicKey::memory_bytes)
    }

    fn either<K, E>(
        &self,
        moment: &Moment,
        which: Which,
        half: impl Fn(&mut Halves) -> &mut Option<Arc<K>>,
        read: impl FnOnce() -> Result<K, E>,
        bytes: impl FnOnce(&K) -> usize,
    ) -> Result<Arc<K>, E> {
        {
            let mut held = self.held(moment);
            if held.keys.has(&which)
                && let Some(key) = half(held.keys.used(&which, moment.0)).clone()
            {
                return Ok(key);
            }
        }
        // Without the lock: others need not wait for it. Two that read one key at a time keep it once.
        let key = Arc::new(read()?);
        if bytes(&key) > self.bytes_max || self.keys_max == 0 {
            return Ok(key);
        }
        let mut held = self.held(moment);
        if held.closed {
            return Ok(key);
        }
        if !held.keys.has(&which) {
            // An earlier version is not asked for again.
            held.drop_of(which.domain, Some(which.id));
        }
        let halves = held.keys.used(&which, moment.0);
        *half(halves) = Some(Arc::clone(&key));
        let bytes = halves.bytes();
        held.keys.weigh(&which, bytes);
        held.keys.fit(self.keys_max, self.bytes_max);
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::{
            asymmetric::{Curve, Shape},
            testing::counting,
        },
        record::CommitId,
    };
    use std::{cell::Cell, convert::Infallible};

    /// A cache, and a moment of it.
    struct World {
        keys: ParsedKeys,
        key: PrivateKey,
        moment: Moment,
        reads: Cell<u32>,
    }

    impl World {
        fn new(limits: Limits) -> World {
            let key = PrivateKey::generate(&counting(), Shape::Ec(Curve::P256)).expect("made");
            let keys = ParsedKeys::new(&limits);
            World { keys, key, moment: (Mono::default(), (1, [1].into())), reads: Cell::new(0) }
        }

        fn ask(&self, which: Which) -> Arc<PrivateKey> {
            let read = || {
                self.reads.set(self.reads.get() + 1);
                Ok::<_, Infallible>(PrivateKey::from_pkcs8(self.key.to_pkcs8().expose()).expect("reads"))
            };
            self.keys.private(&self.moment, which, read).expect("reads")
        }

        /// Asks, and says whether it had to be read.
        fn read(&self, which: Which) -> bool {
            let before = self.reads.get();
            self.ask(which);
            self.reads.get() > before
        }

        fn count(&self) -> (usize, usize) {
            self.keys.held(&self.moment).keys.count()
        }
    }

    fn which(domain: u128, id: u128, counter: u64) -> Which {
        let version = Version { counter, commit_id: CommitId([counter as u8; 16]) };
        Which { domain: Uuid::from_u128(domain), id: Uuid::from_u128(id), version }
    }

    #[test]
    fn one_version_of_one_key_is_read_once() {
        let world = World::new(Limits::default());
        assert!(world.read(which(1, 1, 1)));
        assert!(!world.read(which(1, 1, 1)));
        assert!(world.read(which(1, 2, 1)), "another key");
        assert!(world.read(which(2, 1, 1)), "another domain");
        assert!(world.read(which(1, 1, 2)), "another version");
        let mut other = which(1, 1, 2);
        other.version.commit_id = CommitId([9; 16]);
        assert!(world.read(other), "the same counter by another attempt");
        assert_eq!(world.count().0, 3, "of a key only the version that was asked for last");
        assert!(world.read(which(1, 1, 1)), "and so the first is read again");
    }

    #[test]
    fn the_one_used_longest_ago_goes_first() {
        let world = World::new(Limits { parsed_keys_max: 2, ..Limits::default() });
        let [one, two, three] = [1, 2, 3].map(|id| which(1, id, 1));
        world.ask(one);
        world.ask(two);
        world.ask(one);
        world.ask(three);
        assert_eq!(world.count().0, 2);
        assert!(!world.read(one) && !world.read(three) && world.read(two));
    }

    #[test]
    fn bytes_are_bounded_and_counted_down() {
        let each = World::new(Limits::default()).key.memory_bytes();
        let limits = Limits { parsed_keys_max_bytes: 2 * each as u64 + 1, ..Limits::default() };
        let world = World::new(limits);
        for id in 0..50 {
            world.ask(which(1, id, 1));
        }
        assert_eq!(world.count(), (2, 2 * each));
        let public =
            world.keys.public(&world.moment, which(1, 49, 1), || Ok::<_, Infallible>(world.key.public()));
        assert_eq!(public.expect("reads").shape(), world.key.shape());
        assert!(world.count().1 <= 2 * each + 1, "both halves count");
        world.keys.forget(Uuid::from_u128(1));
        assert_eq!(world.count(), (0, 0));
        let none = World::new(Limits { parsed_keys_max: 0, ..Limits::default() });
        assert!(none.read(which(1, 1, 1)) && none.read(which(1, 1, 1)));
        assert_eq!(none.count(), (0, 0));
    }

    #[test]
    fn what_ends_is_dropped_and_nothing_else() {
        let world = World::new(Limits::default());
        let all = [which(1, 1, 1), which(1, 2, 1), which(2, 1, 1), which(3, 0, 1)];
        let fill = || all.into_iter().for_each(|which| drop(world.ask(which)));
        fill();
        let last = world.ask(all[0]);
        world.keys.forget_key(Uuid::from_u128(1), Uuid::from_u128(1));
        assert_eq!(Arc::strong_count(&last), 1, "only who uses it still has it");
        assert_eq!(all.map(|which| world.read(which)), [true, false, false, false]);
        world.keys.forget(Uuid::from_u128(1));
        assert_eq!(all.map(|which| world.read(which)), [true, true, false, false]);
    }

    #[test]
    fn another_epoch_begins_with_nothing() {
        let mut world = World::new(Limits::default());
        world.ask(which(1, 1, 1));
        world.moment.1 = (1, [2].into());
        assert!(world.read(which(1, 1, 1)), "the same number by another operator");
        world.moment.1 = (2, [2].into());
        assert!(world.read(which(1, 1, 1)));
        assert_eq!(world.count().0, 1);
    }

    #[test]
    fn of_a_sealed_host_nothing_is_kept() {
        let mut world = World::new(Limits::default());
        let last = world.ask(which(1, 1, 1));
        world.keys.close();
        assert_eq!(Arc::strong_count(&last), 1, "only who uses it still has it");
        for epoch in [1, 2] {
            world.moment.1 = (epoch, [1].into());
            assert!(world.read(which(1, 1, 1)) && world.read(which(1, 1, 1)));
            assert_eq!(world.count(), (0, 0));
        }
        world.keys.open();
        assert!(world.read(which(1, 1, 1)) && !world.read(which(1, 1, 1)));
    }

    #[test]
    fn an_idle_key_goes_by_itself() {
        let idle = Duration::from_millis(Limits::default().parsed_key_idle_ms);
        let mut world = World::new(Limits::default());
        world.ask(which(1, 1, 1));
        world.moment.0 = world.moment.0 + idle / 2;
        world.ask(which(1, 2, 1));
        world.moment.0 = world.moment.0 + idle / 2;
        world.keys.sweep(&world.moment);
        assert_eq!(world.count().0, 1);
        assert!(!world.read(which(1, 2, 1)), "and one that is used stays");
    }
}
