//! How many keys and secrets each domain has. In memory: counted when a store is opened, and kept up with what is written after that. A count
//! on the disk would not know what a build has written that does not count.

use super::{Engine, EngineError, RECORDS, journal::Change, redb_error};
use crate::{
    record::{KIND_SECRET, KIND_SERVICE_KEY, RecordKey, Transaction},
    store::log::Entry,
};
use redb::ReadableDatabase;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// Kind and domain: what a record's key begins with.
type Of = [u8; 17];

/// The kinds that are counted.
const KINDS: [u8; 2] = [KIND_SERVICE_KEY, KIND_SECRET];

/// How many records of a kind a domain has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// First byte of their keys.
    pub kind: u8,
    /// The domain.
    pub domain: Uuid,
    /// How many.
    pub records: u64,
}

/// The counts of what redb has; none that is 0.
#[derive(Default)]
pub(super) struct Counts(Mutex<BTreeMap<Of, u64>>);

/// Whose record it is; none of one that is not counted.
fn of(key: &[u8]) -> Option<&Of> {
    key.first_chunk().filter(|of: &&Of| KINDS.contains(&of[0]))
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Of, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A record was written where there was none.
    pub(super) fn made(&self, key: &[u8]) {
        if let Some(of) = of(key) {
            *self.lock().entry(*of).or_default() += 1;
        }
    }

    /// A record was removed.
    pub(super) fn removed(&self, key: &[u8]) {
        let Some(of) = of(key) else { return };
        let mut counts = self.lock();
        let left = counts.get(of).map(|count| count.saturating_sub(1));
        debug_assert!(left.is_some(), "what is removed was counted");
        match left {
            Some(left @ 1..) => drop(counts.insert(*of, left)),
            _ => drop(counts.remove(of)),
        }
    }
}

/// What an entry that redb has not taken over yet makes of a count. Its conditions hold: it was appended.
fn behind(entry: &Entry, of: &Of) -> i64 {
    let is_of = |key: &RecordKey| key.0.starts_with(of);
    let each = entry.batch.iter().map(|attempt| {
        let Transaction { expect, put, delete, .. } = &attempt.transaction;
        let was_there =
            |key: &RecordKey| expect.iter().any(|expect| expect.key == *key && expect.version.is_some());
        let made = put.iter().filter(|(key, _)| is_of(key) && !was_there(key)).count();
        let removed = delete.iter().filter(|key| is_of(key) && was_there(key)).count();
        made as i64 - removed as i64
    });
    each.sum()
}

impl Engine {
    /// Counts what redb has, one by one.
    pub(super) fn count_all(&self) -> Result<(), EngineError> {
        let mut all: BTreeMap<Of, u64> = BTreeMap::new();
        let read = self.database.begin_read().map_err(redb_error)?;
        let records = read.open_table(RECORDS).map_err(redb_error)?;
        for kind in KINDS {
            let (from, until) = ([kind], [kind + 1]);
            for item in records.range::<&[u8]>(from.as_slice()..until.as_slice()).map_err(redb_error)? {
                let (key, _) = item.map_err(redb_error)?;
                if let Some(of) = of(key.value()) {
                    *all.entry(*of).or_default() += 1;
                }
            }
        }
        *self.counts.lock() = all;
        Ok(())
    }

    /// How many records of a kind a domain has, of the kinds that are counted; 0 of any other.
    pub fn count(&self, kind: u8, domain: Uuid) -> u64 {
        let mut of = [kind; 17];
        of[1..].copy_from_slice(domain.as_bytes());
        // What is being taken over is no longer in the list: this waits for it.
        let _following = self.following();
        let taken = self.counts.lock().get(&of).copied().unwrap_or_default();
        let changes = self.behind();
        let behind = changes.iter().map(|(_, change)| match change {
            // Records are as before.
            Change::Append(_) => 0,
            Change::Confirm(entry) | Change::Apply(entry) => behind(entry, &of),
        });
        if KINDS.contains(&kind) { taken.saturating_add_signed(behind.sum()) } else { 0 }
    }

    /// All counts, in order of kinds and domains.
    ///
    /// # Errors
    /// Storage errors.
    pub fn counts(&self) -> Result<Vec<Count>, EngineError> {
        self.read()?;
        let counts = self.counts.lock();
        let count = |([kind, domain @ ..], records): (&Of, &u64)| Count {
            kind: *kind,
            domain: Uuid::from_bytes(*domain),
            records: *records,
        };
        Ok(counts.iter().map(count).collect())
    }
}
