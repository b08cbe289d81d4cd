//! How redb follows the journal: changes are taken over in memory, many at a time, before anything that they
//! concern is read, and durably at a checkpoint. Both in one redb transaction with the number of the newest
//! change taken over, so that opening knows which records of the journal are still to be replayed.

use super::{
    ATTEMPTS, BASE, CONFIRMED, Change, Engine, EngineError, FEED_KEEPS, Journal, LOG, META, RECORDS, TAKEN,
    base_out,
    counts::Counts,
    journal::{Replayed, replay},
    open_redb, redb_error,
};
use crate::{
    env::BlockFile,
    limits::LOG_TRUNCATE_STEP,
    record::{RecordKey, SealedRecord},
    store::{
        log::{Entry, Position},
        row,
    },
};
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};
use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// A change that redb has not taken over yet, with the number of its journal record.
pub(super) type Behind = (u64, Change);

/// Most changes that redb may be behind; they are in memory.
const BEHIND_MAX: usize = 32;
/// Numbers of journal records that one opening may use.
const NUMBERS: u64 = 1 << 32;

/// The number of the newest journal record that a store file has taken over.
fn taken(database: &Database, path: &Path) -> Result<u64, EngineError> {
    let read = database.begin_read().map_err(redb_error)?;
    let meta = read.open_table(META).map_err(redb_error)?;
    let stored = meta.get(TAKEN).map_err(redb_error)?;
    let number = stored.and_then(|stored| stored.value().try_into().ok());
    let missing = || EngineError::Corrupt { path: path.into(), what: "no number of a journal".to_owned() };
    Ok(u64::from_be_bytes(number.ok_or_else(missing)?))
}

fn put_taken(write: &WriteTransaction, number: u64) -> Result<(), EngineError> {
    let mut meta = write.open_table(META).map_err(redb_error)?;
    meta.insert(TAKEN, number.to_be_bytes().as_slice()).map_err(redb_error)?;
    Ok(())
}

impl Engine {
    /// Over an open redb that has taken over all up to journal record `number`.
    fn over(
        database: Database,
        journal: Box<dyn BlockFile>,
        number: u64,
        (path, keep): (PathBuf, u64),
    ) -> Engine {
        let journal = Mutex::new(Journal::new(journal, number));
        Engine {
            database,
            path,
            keep,
            fed: AtomicU64::new(u64::MAX),
            journal,
            behind: Mutex::default(),
            following: Mutex::default(),
            counts: Counts::default(),
        }
    }

    /// A new store in an open redb without tables. `identity` as it is stored.
    pub(super) fn begin(
        database: Database,
        journal: Box<dyn BlockFile>,
        place: (PathBuf, u64),
        identity: (&str, &[u8]),
    ) -> Result<Engine, EngineError> {
        let engine = Engine::over(database, journal, 0, place);
        engine.write(|write| {
            let mut meta = write.open_table(META).map_err(redb_error)?;
            meta.insert(identity.0, identity.1).map_err(redb_error)?;
            meta.insert(CONFIRMED, 0_u64.to_be_bytes().as_slice()).map_err(redb_error)?;
            write.open_table(LOG).map_err(redb_error)?;
            write.open_table(RECORDS).map_err(redb_error)?;
            write.open_table(ATTEMPTS).map_err(redb_error)?;
            Ok(())
        })?;
        Ok(engine)
    }

    /// The store in an open redb, with all that its journal holds, durably in redb.
    pub(super) fn resume(
        database: Database,
        journal: Box<dyn BlockFile>,
        place: (PathBuf, u64),
        journal_path: &Path,
    ) -> Result<Engine, EngineError> {
        let taken = taken(&database, &place.0)?;
        let replayed = replay(&*journal, journal_path, taken)?;
        let number = taken + replayed.len() as u64;
        let engine = Engine::over(database, journal, number, place);
        *engine.behind() = (taken + 1..).zip(engine.changes(replayed)?).collect();
        // What the journal shows may be in the system's memory only, after a sync that failed. Here it becomes
        // durable, in pages that are written anew.
        engine.journal().number = (number / NUMBERS + 1) * NUMBERS;
        engine.write(|_| Ok(()))?;
        engine.count_all()?;
        Ok(engine)
    }

    /// What was replayed, checked against the log.
    fn changes(&self, replayed: Vec<Replayed>) -> Result<Vec<Change>, EngineError> {
        let mut changes = Vec::with_capacity(replayed.len());
        let mut end = self.end()?;
        let mut appended: Option<Entry> = None;
        let elsewhere = |what: &str, at: Position| {
            Err(self.corrupt(format!("its journal {what} {at:?}, which does not follow from it")))
        };
        for said in replayed {
            match said {
                Replayed::Append(entry) | Replayed::Apply(entry) if entry.previous != end => {
                    return elsewhere("appends", entry.position);
                }
                Replayed::Append(entry) => {
                    end = entry.position;
                    appended = Some(entry.clone());
                    changes.push(Change::Append(entry));
                }
                Replayed::Apply(entry) => {
                    end = entry.position;
                    changes.push(Change::Apply(entry));
                }
                Replayed::Confirm(at) => {
                    let entry = match appended.take() {
                        Some(entry) => Some(entry),
                        None => self.entry(at.seq)?,
                    };
                    match entry.filter(|entry| entry.position == at) {
                        Some(entry) => changes.push(Change::Confirm(entry)),
                        None => return elsewhere("confirms", at),
                    }
                }
            }
        }
        Ok(changes)
    }

    /// The entry at `seq`.
    fn entry(&self, seq: u64) -> Result<Option<Entry>, EngineError> {
        let Some(before) = seq.checked_sub(1) else { return Ok(None) };
        let Some(previous) = self.position_at(before)? else { return Ok(None) };
        Ok(self.entries_after(previous, 0)?.into_iter().next())
    }

    /// When the entry at `at` was made, by its head's wall clock, Unix milliseconds; 0 if the log does not hold it.
    ///
    /// # Errors
    /// Storage errors.
    pub fn made_ms(&self, at: Position) -> Result<u64, EngineError> {
        Ok(self.entry(at.seq)?.map_or(0, |entry| entry.at_ms))
    }

    /// Where the log ends.
    pub(super) fn end(&self) -> Result<Position, EngineError> {
        let base = self.base()?;
        let read = self.read()?;
        let log = read.open_table(LOG).map_err(redb_error)?;
        let last = log.last().map_err(redb_error)?.map_or(base.seq, |(seq, _)| seq.value());
        self.position_at(last)?.ok_or_else(|| self.corrupt("log without an end"))
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn following(&self) -> MutexGuard<'_, bool> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn behind(&self) -> MutexGuard<'_, Vec<Behind>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change durable: in the journal, or in redb if it is larger than a journal.
    pub(super) fn record(&self, change: Change) -> Result<(), EngineError> {
        let mut journal = self.journal();
        let record = change.record(journal.number + 1);
        if !journal.has_room(&record) {
            self.checkpoint(&mut journal, |_| Ok(()))?;
        }
        if !journal.has_room(&record) {
            return self.checkpoint(&mut journal, |write| self.take(write, &change));
        }
        journal.write(&record)?;
        let count = {
            let mut behind = self.behind();
            behind.push((journal.number, change));
            behind.len()
        };
        if count >= BEHIND_MAX { self.follow() } else { Ok(()) }
    }

    /// Changes something beside the log, durably.
    pub(super) fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        self.checkpoint(&mut self.journal(), change)
    }

    /// One redb commit that syncs: all that is in the journal, and `change`. Readers go on meanwhile.
    fn checkpoint(
        &self,
        journal: &mut Journal,
        change: impl FnOnce(&WriteTransaction) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        self.follow()?;
        let write = self.database.begin_write().map_err(redb_error)?;
        change(&write)?;
        put_taken(&write, journal.number)?;
        write.commit().map_err(redb_error)?;
        journal.begin_again();
        Ok(())
    }

    /// Takes over what redb is behind, in memory.
    fn follow(&self) -> Result<(), EngineError> {
        let mut failed = self.following();
        if *failed {
            return Err(EngineError::Io(std::io::Error::other("the store could not follow its journal")));
        }
        let changes = std::mem::take(&mut *self.behind());
        if changes.is_empty() {
            return Ok(());
        }
        *failed = true;
        self.take_over(&changes)?;
        *failed = false;
        Ok(())
    }

    fn take_over(&self, changes: &[Behind]) -> Result<(), EngineError> {
        let Some((newest, _)) = changes.last() else { return Ok(()) };
        let mut write = self.database.begin_write().map_err(redb_error)?;
        write.set_durability(Durability::None).map_err(redb_error)?;
        for (_, change) in changes {
            self.take(&write, change)?;
        }
        // Whatever makes this durable, closing the file included, makes the number durable with it.
        put_taken(&write, *newest)?;
        write.commit().map_err(redb_error)
    }

    /// A view of all that is durable.
    pub(super) fn read(&self) -> Result<ReadTransaction, EngineError> {
        self.follow()?;
        self.database.begin_read().map_err(redb_error)
    }

    /// A view of all that is durable and that `concerns` says matters. Redb follows first only if some of that is still to be
    /// taken over.
    pub(super) fn read_what(
        &self,
        concerns: impl Fn(&Change) -> bool,
    ) -> Result<ReadTransaction, EngineError> {
        // What is being taken over is no longer in the list: this waits for it.
        let following = self.following();
        let failed = *following;
        let needed = self.behind().iter().any(|(_, change)| concerns(change));
        if failed || needed {
            drop(following);
            return self.read();
        }
        self.database.begin_read().map_err(redb_error)
    }

    fn take(&self, write: &WriteTransaction, change: &Change) -> Result<(), EngineError> {
        match change {
            Change::Append(entry) => Self::put_log(write, entry),
            Change::Confirm(entry) => self.apply(write, entry),
            Change::Apply(entry) => {
                Self::put_log(write, entry)?;
                self.apply(write, entry)
            }
        }
    }

    fn apply(&self, write: &WriteTransaction, entry: &Entry) -> Result<(), EngineError> {
        self.put_records(write, entry)?;
        self.put_witness(write, entry)?;
        Self::put_confirmed(write, entry.position.seq)?;
        self.truncate(write, entry.position.seq)
    }

    fn put_log(write: &WriteTransaction, entry: &Entry) -> Result<(), EngineError> {
        let mut log = write.open_table(LOG).map_err(redb_error)?;
        let end = log.last().map_err(redb_error)?.map(|(seq, _)| seq.value());
        assert_eq!(entry.position.seq, end.unwrap_or(entry.previous.seq) + 1, "the log has no holes");
        let mut value = Vec::with_capacity(32 + entry.bytes.len());
        value.extend_from_slice(&entry.position.hash);
        value.extend_from_slice(&entry.bytes);
        log.insert(entry.position.seq, value.as_slice()).map_err(redb_error)?;
        let mut attempts = write.open_table(ATTEMPTS).map_err(redb_error)?;
        for attempt in &entry.batch {
            let before = attempts.insert(&attempt.id.0, entry.position.seq).map_err(redb_error)?;
            assert!(before.is_none(), "an attempt stands in the log once");
        }
        Ok(())
    }

    pub(super) fn put_records(&self, write: &WriteTransaction, entry: &Entry) -> Result<(), EngineError> {
        let mut records = write.open_table(RECORDS).map_err(redb_error)?;
        for (key, record) in entry.changes() {
            match record {
                Some(record) => {
                    let row = row::encode(&key, &record);
                    let before = records.insert(key.0.as_slice(), row.as_slice()).map_err(redb_error)?;
                    if before.is_none() {
                        self.counts.made(&key.0);
                    }
                }
                None => {
                    if records.remove(key.0.as_slice()).map_err(redb_error)?.is_some() {
                        self.counts.removed(&key.0);
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn put_confirmed(write: &WriteTransaction, seq: u64) -> Result<(), EngineError> {
        let mut meta = write.open_table(META).map_err(redb_error)?;
        meta.insert(CONFIRMED, seq.to_be_bytes().as_slice()).map_err(redb_error)?;
        Ok(())
    }

    /// Drops what is below the confirmed index by more than is kept, some entries at a time (F26).
    fn truncate(&self, write: &WriteTransaction, confirmed: u64) -> Result<(), EngineError> {
        if !confirmed.is_multiple_of(LOG_TRUNCATE_STEP.min(self.keep).max(1)) {
            return Ok(());
        }
        let held = confirmed.saturating_sub(self.keep.saturating_mul(FEED_KEEPS));
        let fed = self.fed.load(Ordering::Relaxed).max(held);
        let end = confirmed.saturating_sub(self.keep).min(fed);
        let mut log = write.open_table(LOG).map_err(redb_error)?;
        let begin = log.first().map_err(redb_error)?.map_or(u64::MAX, |(seq, _)| seq.value());
        let mut attempts = write.open_table(ATTEMPTS).map_err(redb_error)?;
        let mut base = None;
        for seq in begin..=end {
            let stored = log.remove(seq).map_err(redb_error)?;
            let stored = stored.ok_or_else(|| self.corrupt(format!("the log has a hole at {seq}")))?;
            let (hash, entry) =
                stored.value().split_first_chunk::<32>().ok_or_else(|| self.corrupt("short log entry"))?;
            for id in Entry::attempts(entry).map_err(|error| self.malformed(error))? {
                attempts.remove(&id.0).map_err(redb_error)?;
            }
            base = Some(Position { seq, hash: *hash });
        }
        if let Some(base) = base {
            Self::put_base(write, base)?;
        }
        Ok(())
    }

    pub(super) fn put_base(write: &WriteTransaction, base: Position) -> Result<(), EngineError> {
        let mut meta = write.open_table(META).map_err(redb_error)?;
        meta.insert(BASE, base_out(base).as_slice()).map_err(redb_error)?;
        Ok(())
    }
}

/// The records of a store that nobody has open, from its file and its journal. For tools that look from
/// outside; both files are changed as opening changes them.
///
/// # Errors
/// As opening; rows that do not match their checksum are left out.
pub fn records_in(
    store: Box<dyn BlockFile>,
    journal: Box<dyn BlockFile>,
) -> Result<Vec<(RecordKey, SealedRecord)>, EngineError> {
    let path = PathBuf::from(super::STORE_FILE);
    let journal_path = Path::new(super::JOURNAL_FILE);
    let engine = Engine::resume(open_redb(store, false)?, journal, (path, u64::MAX), journal_path)?;
    let read = engine.read()?;
    let mut records = Vec::new();
    for item in read.open_table(RECORDS).map_err(redb_error)?.iter().map_err(redb_error)? {
        let (key, stored) = item.map_err(redb_error)?;
        let key = RecordKey(key.value().to_vec());
        if let Ok(record) = row::decode(&key, stored.value()) {
            records.push((key, record));
        }
    }
    Ok(records)
}
