//! One database's durable state on redb: identity, log, records. Synchronous; every method may block, and
//! after any error but [`EngineError::Damaged`] the engine must be dropped and opened again.
//!
//! Layout of `store.redb`: table `meta` (identity, confirmed index), `log` (sequence -> history hash and
//! entry bytes), `records` (key -> row, see [`super::row`]), `attempts` (commit id -> sequence).

use super::{
    Genesis,
    api::Page,
    codec::{self, Malformed},
    log::{Entry, Position},
    row,
};
use crate::{
    env::{BlockFile, Disk, OpenMode},
    limits::{SCAN_MAX_BYTES, STORE_CACHE_BYTES},
    record::{CommitId, RecordKey, SealedRecord},
};
use prost::Message;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, WriteTransaction};
use std::{
    fmt, io,
    path::{Path, PathBuf},
};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new(row::RECORDS_TABLE);
const ATTEMPTS: TableDefinition<&[u8; 16], u64> = TableDefinition::new("attempts");

const IDENTITY: &str = "identity";
const CONFIRMED: &str = "confirmed";
const FORMAT: u32 = 1;
/// Name of the store file in a database's data directory.
pub const STORE_FILE: &str = "store.redb";
/// Name of the directory of keyring objects beside it.
pub const KEYRING_DIR: &str = "keyring";

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

fn redb_error(error: impl Into<redb::Error>) -> EngineError {
    EngineError::Storage(Box::new(error.into()))
}

/// Who a store is, as `kms init` made it.
#[derive(Clone, PartialEq, prost::Message)]
struct Identity {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(string, tag = "2")]
    region: String,
    #[prost(bytes = "vec", tag = "3")]
    db_id: Vec<u8>,
    #[prost(bool, tag = "4")]
    head: bool,
    #[prost(uint64, tag = "5")]
    epoch_no: u64,
    #[prost(bytes = "vec", tag = "6")]
    epoch_id: Vec<u8>,
    #[prost(bool, tag = "7")]
    epoch_active: bool,
    #[prost(bytes = "vec", repeated, tag = "8")]
    members: Vec<Vec<u8>>,
}

/// What a store holds when it is opened.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Identity and epoch.
    pub genesis: Genesis,
    /// Whether the epoch is known active.
    pub epoch_active: bool,
    /// End of the log.
    pub last: Position,
    /// Confirmed position (head); equals `last` at the tail.
    pub confirmed: Position,
    /// The entry above `confirmed`, if there is one (head).
    pub pending: Option<Entry>,
}

/// An open store.
pub struct Engine {
    database: Database,
    path: PathBuf,
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

fn open_redb(file: Box<dyn BlockFile>) -> Result<Database, EngineError> {
    Database::builder()
        .set_cache_size(STORE_CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create_with_backend(Backend(file))
        .map_err(redb_error)
}

/// Bytes that [`write_again`] moves at a time.
const AGAIN_BYTES: usize = 1 << 20;
/// redb's header, which names the newest commit, lies in the first block.
const HEADER_BYTES: u64 = 4096;

/// Writes the whole file as it reads, and syncs it. After a sync that failed, an operating system may show
/// blocks that never reached the disk and that no later sync writes, because it takes them for clean; a store
/// opened on them would be lost at the next power cut, although all its own syncs had succeeded. Written
/// again, they are dirty again. The header goes last, so that what it names is there first.
fn write_again(file: &dyn BlockFile) -> io::Result<()> {
    let end = file.len()?;
    let header = end.min(HEADER_BYTES);
    copy_onto_itself(file, header, end)?;
    file.sync_data()?;
    copy_onto_itself(file, 0, header)?;
    file.sync_data()
}

fn copy_onto_itself(file: &dyn BlockFile, from: u64, until: u64) -> io::Result<()> {
    let mut buffer = vec![0; AGAIN_BYTES];
    let mut at = from;
    while at < until {
        let count = usize::try_from(until - at).map_or(AGAIN_BYTES, |left| left.min(AGAIN_BYTES));
        let part = &mut buffer[..count];
        file.read(at, part)?;
        file.write(at, part)?;
        at += count as u64;
    }
    Ok(())
}

/// Makes a new store in `dir`. Only `kms init` calls this (PROTOCOL F7).
///
/// # Errors
/// [`EngineError::Exists`] if there is one; the disk's errors.
pub fn create(disk: &dyn Disk, dir: &Path, genesis: &Genesis) -> Result<(), EngineError> {
    let path = dir.join(STORE_FILE);
    if disk.list(dir)?.iter().any(|name| name.as_path() == Path::new(STORE_FILE)) {
        return Err(EngineError::Exists(path));
    }
    disk.create_dir(dir)?;
    let unfinished = dir.join(format!("{STORE_FILE}.new"));
    if disk.list(dir)?.iter().any(|name| Some(name.as_os_str()) == unfinished.file_name()) {
        disk.remove(&unfinished)?;
    }
    let database = open_redb(disk.open(&unfinished, OpenMode::CreateNew)?)?;
    let identity = Identity {
        format: FORMAT,
        region: genesis.region.clone(),
        db_id: genesis.db_id.to_vec(),
        head: genesis.head,
        epoch_no: genesis.epoch_no,
        epoch_id: genesis.epoch_id.to_vec(),
        epoch_active: true,
        members: genesis.members.iter().map(|id| id.to_vec()).collect(),
    };
    let write = database.begin_write().map_err(redb_error)?;
    {
        let mut meta = write.open_table(META).map_err(redb_error)?;
        meta.insert(IDENTITY, identity.encode_to_vec().as_slice()).map_err(redb_error)?;
        meta.insert(CONFIRMED, 0_u64.to_be_bytes().as_slice()).map_err(redb_error)?;
        write.open_table(LOG).map_err(redb_error)?;
        write.open_table(RECORDS).map_err(redb_error)?;
        write.open_table(ATTEMPTS).map_err(redb_error)?;
    }
    write.commit().map_err(redb_error)?;
    drop(database);
    disk.rename(&unfinished, &path)?;
    disk.sync_dir(dir)?;
    Ok(())
}

impl Engine {
    /// Opens the store in `dir`; `None` if there is none (the node is Blank).
    ///
    /// # Errors
    /// The disk's, redb's, or [`EngineError::Corrupt`].
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Option<(Engine, Loaded)>, EngineError> {
        let path = dir.join(STORE_FILE);
        let file = match disk.open(&path, OpenMode::Existing) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if file.is_empty()? {
            return Err(EngineError::Corrupt { path, what: "the file is empty".to_owned() });
        }
        // Nobody can tell whether the process before this one, or this one's last attempt, met a failed sync.
        write_again(&*file)?;
        let engine = Engine { database: open_redb(file)?, path };
        let loaded = engine.load()?;
        Ok(Some((engine, loaded)))
    }

    fn corrupt(&self, what: impl Into<String>) -> EngineError {
        EngineError::Corrupt { path: self.path.clone(), what: what.into() }
    }

    fn malformed(&self, error: Malformed) -> EngineError {
        self.corrupt(error.0)
    }

    fn load(&self) -> Result<Loaded, EngineError> {
        let read = self.database.begin_read().map_err(redb_error)?;
        let meta = read.open_table(META).map_err(redb_error)?;
        let identity = meta.get(IDENTITY).map_err(redb_error)?;
        let identity = identity.ok_or_else(|| self.corrupt("no identity"))?;
        let identity = Identity::decode(identity.value()).map_err(|_| self.corrupt("identity"))?;
        if identity.format != FORMAT {
            return Err(self.corrupt(format!("format {} is not known here", identity.format)));
        }
        let confirmed = meta.get(CONFIRMED).map_err(redb_error)?;
        let confirmed = confirmed.and_then(|bytes| bytes.value().try_into().ok());
        let confirmed = u64::from_be_bytes(confirmed.ok_or_else(|| self.corrupt("no confirmed index"))?);
        let log = read.open_table(LOG).map_err(redb_error)?;
        let last = log.last().map_err(redb_error)?.map_or(0, |(seq, _)| seq.value());
        drop((meta, log, read));
        let last = self.position_at(last)?.ok_or_else(|| self.corrupt("log without an end"))?;
        let confirmed = if identity.head {
            self.position_at(confirmed)?.ok_or_else(|| self.corrupt("confirmed index above the log"))?
        } else {
            last
        };
        if last.seq > confirmed.seq + 1 {
            return Err(self.corrupt("more than one entry above the confirmed index"));
        }
        let pending = self.entries_after(confirmed, usize::MAX)?.pop();
        let id = |bytes: &[u8]| codec::id16(bytes).map_err(|error| self.malformed(error));
        let [head, tail] = identity.members.as_slice() else {
            return Err(self.corrupt("not two members"));
        };
        let genesis = Genesis {
            region: identity.region,
            db_id: id(&identity.db_id)?,
            head: identity.head,
            epoch_no: identity.epoch_no,
            epoch_id: id(&identity.epoch_id)?,
            members: [id(head)?, id(tail)?],
        };
        Ok(Loaded { genesis, epoch_active: identity.epoch_active, last, confirmed, pending })
    }

    /// The position at `seq`; `None` if the log does not reach it.
    ///
    /// # Errors
    /// Storage errors.
    pub fn position_at(&self, seq: u64) -> Result<Option<Position>, EngineError> {
        if seq == 0 {
            return Ok(Some(Position::ORIGIN));
        }
        let read = self.database.begin_read().map_err(redb_error)?;
        let log = read.open_table(LOG).map_err(redb_error)?;
        let Some(value) = log.get(seq).map_err(redb_error)? else {
            return Ok(None);
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
        let read = self.database.begin_read().map_err(redb_error)?;
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

    fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let write = self.database.begin_write().map_err(redb_error)?;
        change(&write)?;
        write.commit().map_err(redb_error)
    }

    fn put_log(write: &WriteTransaction, entry: &Entry) -> Result<(), EngineError> {
        let mut log = write.open_table(LOG).map_err(redb_error)?;
        let end = log.last().map_err(redb_error)?.map_or(0, |(seq, _)| seq.value());
        assert_eq!(entry.position.seq, end + 1, "the log has no holes");
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

    fn put_records(write: &WriteTransaction, entry: &Entry) -> Result<(), EngineError> {
        let mut records = write.open_table(RECORDS).map_err(redb_error)?;
        for (key, record) in entry.changes() {
            match record {
                Some(record) => {
                    let row = row::encode(&key, &record);
                    records.insert(key.0.as_slice(), row.as_slice()).map_err(redb_error)?;
                }
                None => {
                    records.remove(key.0.as_slice()).map_err(redb_error)?;
                }
            }
        }
        Ok(())
    }

    fn put_confirmed(write: &WriteTransaction, seq: u64) -> Result<(), EngineError> {
        let mut meta = write.open_table(META).map_err(redb_error)?;
        meta.insert(CONFIRMED, seq.to_be_bytes().as_slice()).map_err(redb_error)?;
        Ok(())
    }

    /// R1, head: makes the entry durable, unconfirmed. Records are as before.
    ///
    /// # Errors
    /// Storage errors: the entry may or may not be there after reopening.
    pub fn append(&self, entry: &Entry) -> Result<(), EngineError> {
        self.write(|write| Self::put_log(write, entry))
    }

    /// R3, head: raises the confirmed index over the entry and applies it, durably.
    ///
    /// # Errors
    /// Storage errors: the entry stands in the log either way.
    pub fn confirm(&self, entry: &Entry) -> Result<(), EngineError> {
        self.write(|write| {
            Self::put_records(write, entry)?;
            Self::put_confirmed(write, entry.position.seq)
        })
    }

    /// R2, tail (and a head that copies what it lost): log and records in one durable step.
    ///
    /// # Errors
    /// Storage errors: the entry may or may not be there after reopening.
    pub fn append_and_apply(&self, entry: &Entry) -> Result<(), EngineError> {
        self.write(|write| {
            Self::put_log(write, entry)?;
            Self::put_records(write, entry)?;
            Self::put_confirmed(write, entry.position.seq)
        })
    }

    /// One record.
    ///
    /// # Errors
    /// [`EngineError::Damaged`] if its row does not match its checksum; storage errors.
    pub fn get(&self, key: &RecordKey) -> Result<Option<SealedRecord>, EngineError> {
        let read = self.database.begin_read().map_err(redb_error)?;
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
        let read = self.database.begin_read().map_err(redb_error)?;
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

    /// The sequence number under which an attempt stands in the log.
    ///
    /// # Errors
    /// Storage errors.
    pub fn attempt(&self, id: CommitId) -> Result<Option<u64>, EngineError> {
        let read = self.database.begin_read().map_err(redb_error)?;
        let attempts = read.open_table(ATTEMPTS).map_err(redb_error)?;
        Ok(attempts.get(&id.0).map_err(redb_error)?.map(|seq| seq.value()))
    }

    /// Number of records, for `kms status`.
    ///
    /// # Errors
    /// Storage errors.
    pub fn records(&self) -> Result<u64, EngineError> {
        use redb::ReadableTableMetadata;
        let read = self.database.begin_read().map_err(redb_error)?;
        read.open_table(RECORDS).map_err(redb_error)?.len().map_err(redb_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Remembers what is written and synced.
    struct Watched {
        bytes: Vec<u8>,
        done: Mutex<Vec<String>>,
    }

    impl BlockFile for Watched {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.len() as u64)
        }
        fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            let at = usize::try_from(offset).map_err(io::Error::other)?;
            buffer.copy_from_slice(&self.bytes[at..at + buffer.len()]);
            Ok(())
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Err(io::Error::other("its length must stay"))
        }
        fn sync_data(&self) -> io::Result<()> {
            self.done.lock().map_err(|_| io::Error::other("poisoned"))?.push("sync".to_owned());
            Ok(())
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            let at = usize::try_from(offset).map_err(io::Error::other)?;
            assert_eq!(data, &self.bytes[at..at + data.len()], "the same bytes");
            let line = format!("{at}..{}", at + data.len());
            self.done.lock().map_err(|_| io::Error::other("poisoned"))?.push(line);
            Ok(())
        }
    }

    #[test]
    fn everything_is_written_again_and_the_header_last() -> io::Result<()> {
        let cases: [(usize, &[&str]); 3] = [
            (4096 + AGAIN_BYTES + 7, &["4096..1052672", "1052672..1052679", "sync", "0..4096", "sync"]),
            (4096, &["sync", "0..4096", "sync"]),
            (100, &["sync", "0..100", "sync"]),
        ];
        for (len, expected) in cases {
            let bytes = (0..len).map(|at| at as u8).collect();
            let file = Watched { bytes, done: Mutex::default() };
            write_again(&file)?;
            assert_eq!(file.done.into_inner().map_err(|_| io::Error::other("poisoned"))?, expected);
        }
        Ok(())
    }
}
