//! One database's durable state on redb, behind a journal: identity, log, records. Synchronous; every method
//! may block, and after any error but [`EngineError::Damaged`] the engine must be dropped and opened again.
//!
//! Layout of `store.redb`: table `meta` (identity, confirmed index, where the kept log begins, number of the
//! newest journal record taken over), `log` (sequence -> history hash and entry bytes), `records` (key -> row,
//! see [`super::row`]), `attempts` (commit id -> sequence, for the kept log). Changes of the log are durable
//! when they are in `store.journal` (see `journal.rs`); redb follows before they are read.

mod bulk;
mod counts;
mod files;
mod follow;
mod identity;
mod journal;
mod keyring;

use super::{
    api::Page,
    codec::Malformed,
    epoch::Identity,
    log::{Entry, Position},
    row,
    termination::{KIND_TERMINATION, Termination},
};
use crate::{
    env::BlockFile,
    limits::{SCAN_MAX_BYTES, STORE_CACHE_BYTES},
    record::{CommitId, RecordKey, SealedRecord},
};
pub use bulk::{FillRow, Filler, RowDigest, Snapshot};
pub use counts::Count;
pub use files::{
    FILLING_DIR, KEYRING_DIR, STORE_DIR, STORE_FILE, create, discard, discard_filling, keyring_objects,
    promote,
};
pub use follow::records_in;
pub use journal::JOURNAL_FILE;
use journal::{Change, Journal};
pub use keyring::{BEGUN, Beside, Lies, begun};
use redb::{Database, ReadTransaction, StorageBackend, TableDefinition};
use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use uuid::Uuid;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new(row::RECORDS_TABLE);
const ATTEMPTS: TableDefinition<&[u8; 16], u64> = TableDefinition::new("attempts");

const CONFIRMED: &str = "confirmed";
const BASE: &str = "base";
const TAKEN: &str = "journal";

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The disk or redb failed. Drop the engine, open it again.
    #[error("store: {0}")]
    Storage(Box<redb::Error>),
    /// The disk failed outside redb.
    #[error("store: {0}")]
    Io(#[from] io::Error),
    /// What is stored is not what this program writes.
    #[error("store {path}: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// One record's row does not match its checksum. The engine is still good.
    #[error("stored record damaged")]
    Damaged,
    /// `kms init` found a store already there.
    #[error("{0} exists: a store is never overwritten")]
    Exists(PathBuf),
}

impl EngineError {
    /// Whether what is stored cannot be what was written: opening it again helps nobody.
    pub fn is_corrupt(&self) -> bool {
        match self {
            EngineError::Corrupt { .. } => true,
            EngineError::Storage(error) => matches!(**error, redb::Error::Corrupted(_)),
            _ => false,
        }
    }
}

fn redb_error(error: impl Into<redb::Error>) -> EngineError {
    EngineError::Storage(Box::new(error.into()))
}

/// What a store holds when it is opened.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Identity and epoch.
    pub identity: Identity,
    /// End of the log.
    pub last: Position,
    /// Confirmed position (head); equals `last` at the tail.
    pub confirmed: Position,
    /// The entry above `confirmed`, if there is one (head).
    pub pending: Option<Entry>,
    /// The domains whose service has ended, as applied.
    pub terminated: Vec<Termination>,
}

/// How many times what is kept anyway is kept for a replica that is being fed.
const FEED_KEEPS: u64 = 16;

/// An open store.
pub struct Engine {
    database: Database,
    path: PathBuf,
    /// Confirmed entries kept in the log for a peer that forgot some (F26).
    keep: u64,
    /// What is after this is kept too, within [`FEED_KEEPS`]: a replica is being fed; `u64::MAX` if none is.
    fed: AtomicU64,
    /// Held while something is made durable.
    journal: Mutex<Journal>,
    /// Changes that are in the journal and that nobody has begun to take over, in order. Held for a moment only.
    behind: Mutex<Vec<follow::Behind>>,
    /// Held while changes are taken over, never across a sync; true after that failed.
    following: Mutex<bool>,
    /// Of what redb has taken over.
    counts: counts::Counts,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.path.display())
    }
}

/// redb's storage on a file of the seam.
struct Backend(Box<dyn BlockFile>);

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

/// `check`: reads every page first, and compares it with its checksum.
fn open_redb(file: Box<dyn BlockFile>, check: bool) -> Result<Database, EngineError> {
    Database::builder()
        .set_cache_size(STORE_CACHE_BYTES)
        .set_check_integrity_on_open(check)
        .create_with_backend(Backend(file))
        .map_err(redb_error)
}

impl Engine {
    fn corrupt(&self, what: impl Into<String>) -> EngineError {
        EngineError::Corrupt { path: self.path.clone(), what: what.into() }
    }

    fn malformed(&self, error: Malformed) -> EngineError {
        self.corrupt(error.0)
    }

    fn load(&self) -> Result<Loaded, EngineError> {
        let identity = self.identity()?;
        let last = self.end()?;
        let confirmed = if identity.head { self.confirmed_in(&self.read()?)? } else { last };
        if last.seq > confirmed.seq + 1 {
            return Err(self.corrupt("more than one entry above the confirmed index"));
        }
        let pending = self.entries_after(confirmed, usize::MAX)?.pop();
        Ok(Loaded { identity, last, confirmed, pending, terminated: self.terminated()? })
    }

    /// The confirmed position, as one view shows it.
    fn confirmed_in(&self, read: &ReadTransaction) -> Result<Position, EngineError> {
        let meta = read.open_table(META).map_err(redb_error)?;
        let confirmed = meta.get(CONFIRMED).map_err(redb_error)?;
        let confirmed = confirmed.and_then(|bytes| bytes.value().try_into().ok());
        let confirmed = u64::from_be_bytes(confirmed.ok_or_else(|| self.corrupt("no confirmed index"))?);
        let position = self.position_in(read, confirmed)?;
        position.ok_or_else(|| self.corrupt("confirmed index outside the log"))
    }

    /// Where the kept log begins: the position before its first entry (F26).
    ///
    /// # Errors
    /// Storage errors.
    pub fn base(&self) -> Result<Position, EngineError> {
        self.base_in(&self.read()?)
    }

    fn base_in(&self, read: &ReadTransaction) -> Result<Position, EngineError> {
        let meta = read.open_table(META).map_err(redb_error)?;
        let base = meta.get(BASE).map_err(redb_error)?;
        match base {
            Some(stored) => base_read(stored.value()).ok_or_else(|| self.corrupt("where the log begins")),
            None => Ok(Position::ORIGIN),
        }
    }

    /// The position at `seq`; `None` if the log does not reach it, or no longer does.
    ///
    /// # Errors
    /// Storage errors.
    pub fn position_at(&self, seq: u64) -> Result<Option<Position>, EngineError> {
        self.position_in(&self.read()?, seq)
    }

    fn position_in(&self, read: &ReadTransaction, seq: u64) -> Result<Option<Position>, EngineError> {
        let log = read.open_table(LOG).map_err(redb_error)?;
        let Some(value) = log.get(seq).map_err(redb_error)? else {
            return Ok(Some(self.base_in(read)?).filter(|base| base.seq == seq));
        };
        let hash = value.value().first_chunk::<32>().ok_or_else(|| self.corrupt("short log entry"))?;
        Ok(Some(Position { seq, hash: *hash }))
    }

    /// The entries after `from`, in order, until `max_bytes` are exceeded (at least one if there is one).
    /// Each entry's hash is computed anew and compared with the stored one.
    ///
    /// # Errors
    /// Storage errors; [`EngineError::Corrupt`] if the chain of hashes is broken.
    pub fn entries_after(&self, from: Position, max_bytes: usize) -> Result<Vec<Entry>, EngineError> {
        self.entries_in(&self.read()?, from, max_bytes)
    }

    /// What stands at `from.seq`, and the entries after it if that is `from`, as [`Engine::entries_after`]; both of one view,
    /// whatever leaves the log meanwhile.
    ///
    /// # Errors
    /// As there.
    pub fn entries_from(
        &self,
        from: Position,
        max_bytes: usize,
    ) -> Result<(Option<Position>, Vec<Entry>), EngineError> {
        let read = self.read()?;
        let ours = self.position_in(&read, from.seq)?;
        let entries = if ours == Some(from) { self.entries_in(&read, from, max_bytes)? } else { Vec::new() };
        Ok((ours, entries))
    }

    fn entries_in(
        &self,
        read: &ReadTransaction,
        from: Position,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, EngineError> {
        let log = read.open_table(LOG).map_err(redb_error)?;
        let (mut entries, mut previous, mut bytes) = (Vec::new(), from, 0_usize);
        for item in log.range(from.seq + 1..).map_err(redb_error)? {
            let (_, value) = item.map_err(redb_error)?;
            let (hash, stored) =
                value.value().split_first_chunk::<32>().ok_or_else(|| self.corrupt("short log entry"))?;
            let entry = Entry::decode(previous, stored.to_vec()).map_err(|error| self.malformed(error))?;
            if entry.position.hash != *hash {
                return Err(self.corrupt(format!("history hash broken at {}", entry.position.seq)));
            }
            previous = entry.position;
            bytes = bytes.saturating_add(entry.bytes.len());
            entries.push(entry);
            if bytes > max_bytes {
                break;
            }
        }
        Ok(entries)
    }

    /// A replica that is being fed has the log up to `seq`; `None`: nobody is being fed. What it lacks stays in the log for it,
    /// up to 16 times as much as is kept anyway.
    pub fn fed(&self, seq: Option<u64>) {
        self.fed.store(seq.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// R1, head: makes the entry durable, unconfirmed. Records are as before.
    ///
    /// # Errors
    /// Storage errors: the entry may or may not be there after reopening.
    pub fn append(&self, entry: &Entry) -> Result<(), EngineError> {
        self.record(Change::Append(entry.clone()))
    }

    /// R3, head: raises the confirmed index over the entry and applies it, durably.
    ///
    /// # Errors
    /// Storage errors: the entry stands in the log either way.
    pub fn confirm(&self, entry: &Entry) -> Result<(), EngineError> {
        self.record(Change::Confirm(entry.clone()))
    }

    /// R2, tail (and a head that copies what it lost): log and records in one durable step.
    ///
    /// # Errors
    /// Storage errors: the entry may or may not be there after reopening.
    pub fn append_and_apply(&self, entry: &Entry) -> Result<(), EngineError> {
        self.record(Change::Apply(entry.clone()))
    }

    /// One record.
    ///
    /// # Errors
    /// [`EngineError::Damaged`] if its row does not match its checksum; storage errors.
    pub fn get(&self, key: &RecordKey) -> Result<Option<SealedRecord>, EngineError> {
        let read = self.read_what(|change| change.writes(|written| written == key))?;
        let records = read.open_table(RECORDS).map_err(redb_error)?;
        match records.get(key.0.as_slice()).map_err(redb_error)? {
            Some(stored) => row::decode(key, stored.value()).map(Some).map_err(|_| EngineError::Damaged),
            None => Ok(None),
        }
    }

    /// The records whose key starts with `prefix` and is above `after`, at most `limit`.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn scan(&self, prefix: &[u8], after: Option<&RecordKey>, limit: usize) -> Result<Page, EngineError> {
        let read = self.read_what(|change| change.writes(|written| written.0.starts_with(prefix)))?;
        let records = read.open_table(RECORDS).map_err(redb_error)?;
        let start = match after {
            Some(after) if after.0.as_slice() >= prefix => std::ops::Bound::Excluded(after.0.as_slice()),
            _ => std::ops::Bound::Included(prefix),
        };
        let (mut page, mut bytes) = (Page::default(), 0);
        for item in records.range::<&[u8]>((start, std::ops::Bound::Unbounded)).map_err(redb_error)? {
            let (key, stored) = item.map_err(redb_error)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            if page.records.len() == limit || bytes >= SCAN_MAX_BYTES {
                page.more = true;
                break;
            }
            let key = RecordKey(key.value().to_vec());
            let record = row::decode(&key, stored.value()).map_err(|_| EngineError::Damaged)?;
            bytes += record.blob.len();
            page.records.push((key, record));
        }
        Ok(page)
    }

    /// The domains whose service has ended, by the records that say so.
    ///
    /// # Errors
    /// Storage errors.
    pub fn terminated(&self) -> Result<Vec<Termination>, EngineError> {
        self.terminations(Termination::of_row)
    }

    /// The operator's statements in those records, by domain.
    ///
    /// # Errors
    /// Storage errors.
    pub fn termination_statements(&self) -> Result<Vec<(Uuid, Vec<u8>)>, EngineError> {
        self.terminations(Termination::statement_of_row)
    }

    fn terminations<T>(
        &self,
        read_row: impl Fn(&RecordKey, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, EngineError> {
        let read = self.read()?;
        let records = read.open_table(RECORDS).map_err(redb_error)?;
        let (from, until) = ([KIND_TERMINATION], [KIND_TERMINATION + 1]);
        let mut terminated = Vec::new();
        for item in records.range::<&[u8]>(from.as_slice()..until.as_slice()).map_err(redb_error)? {
            let (key, stored) = item.map_err(redb_error)?;
            terminated.extend(read_row(&RecordKey(key.value().to_vec()), stored.value()));
        }
        Ok(terminated)
    }

    /// The sequence number under which an attempt stands in the log.
    ///
    /// # Errors
    /// Storage errors.
    pub fn attempt(&self, id: CommitId) -> Result<Option<u64>, EngineError> {
        let read = self.read_what(|change| change.logs(id))?;
        let attempts = read.open_table(ATTEMPTS).map_err(redb_error)?;
        Ok(attempts.get(&id.0).map_err(redb_error)?.map(|seq| seq.value()))
    }
}

fn base_out(base: Position) -> Vec<u8> {
    [&base.seq.to_be_bytes()[..], &base.hash].concat()
}

fn base_read(stored: &[u8]) -> Option<Position> {
    let (seq, hash) = stored.split_first_chunk::<8>()?;
    Some(Position { seq: u64::from_be_bytes(*seq), hash: hash.try_into().ok()? })
}
