//! The journal beside the store file. What the log acknowledges is one write and one sync here; redb takes it
//! over in memory before it is read, and makes it durable with its next commit that syncs (a checkpoint),
//! after which the journal begins again at its start. Opening replays what redb had not made durable.
//!
//! A file of [`STORE_JOURNAL_BYTES`], written once when it is made, so that no later write changes its length.
//! A record begins at a block of [`BLOCK_BYTES`], so that a torn write never touches an earlier one:
//!
//! ```text
//! 0   8  magic
//! 8   8  number, big endian: one more than that of the record before
//! 16  1  kind: 1 append, 2 confirm, 3 append and apply
//! 17  3  zero
//! 20  4  length of what follows the sum, big endian
//! 24 32  SHA-256 over the 24 bytes above and what follows
//! 56     position (sequence number, hash) before the entry, and the entry as in the log;
//!        for kind 2 the entry's own position alone
//! ```
//!
//! The store file holds the number up to which it has taken records over. Numbers never come twice in a file:
//! each opening leaves the rest of 2^32 of them out, so a record that an earlier process left behind, at any
//! place, is never taken for a newer one.

use super::EngineError;
use crate::{
    env::{BlockFile, Disk, OpenMode},
    limits::STORE_JOURNAL_BYTES,
    record::{CommitId, RecordKey, Transaction},
    store::log::{Entry, Position},
};
use ring::digest::{Context, SHA256};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Name of the journal in a store's directory.
pub const JOURNAL_FILE: &str = "store.journal";

const BLOCK_BYTES: usize = 4096;
const MAGIC: [u8; 8] = *b"kms-jrnl";
const SUM_AT: usize = 24;
const HEAD_BYTES: usize = SUM_AT + 32;
const POSITION_BYTES: usize = 8 + 32;

/// A change of the log, as journaled.
#[derive(Debug)]
pub(super) enum Change {
    /// R1: the entry is in the log, unconfirmed.
    Append(Entry),
    /// R3: the entry is confirmed and applied.
    Confirm(Entry),
    /// R2: both at once.
    Apply(Entry),
}

/// What a record says, as read back. A confirmation names its entry, which stands before it or in the store.
#[derive(Debug)]
pub(super) enum Replayed {
    Append(Entry),
    Confirm(Position),
    Apply(Entry),
}

impl Change {
    /// Whether it changes a record whose key is `meant`.
    pub(super) fn writes(&self, meant: impl Fn(&RecordKey) -> bool) -> bool {
        match self {
            // Records are as before.
            Change::Append(_) => false,
            Change::Confirm(entry) | Change::Apply(entry) => entry.batch.iter().any(|attempt| {
                let Transaction { put, delete, .. } = &attempt.transaction;
                put.iter().any(|(key, _)| meant(key)) || delete.iter().any(&meant)
            }),
        }
    }

    /// Whether it puts an attempt into the log.
    pub(super) fn logs(&self, id: CommitId) -> bool {
        match self {
            Change::Append(entry) | Change::Apply(entry) => {
                entry.batch.iter().any(|attempt| attempt.id == id)
            }
            Change::Confirm(_) => false,
        }
    }

    /// The record that says so.
    pub(super) fn record(&self, number: u64) -> Vec<u8> {
        let (kind, at, rest) = match self {
            Change::Append(entry) => (1, entry.previous, &entry.bytes[..]),
            Change::Confirm(entry) => (2, entry.position, &[][..]),
            Change::Apply(entry) => (3, entry.previous, &entry.bytes[..]),
        };
        let length = POSITION_BYTES + rest.len();
        let mut record = Vec::with_capacity(HEAD_BYTES + length);
        record.extend_from_slice(&MAGIC);
        record.extend_from_slice(&number.to_be_bytes());
        record.extend_from_slice(&[kind, 0, 0, 0]);
        // More than a journal holds is never written to it.
        record.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        record.resize(HEAD_BYTES, 0);
        record.extend_from_slice(&at.seq.to_be_bytes());
        record.extend_from_slice(&at.hash);
        record.extend_from_slice(rest);
        let sum = sum(&record[..SUM_AT], &record[HEAD_BYTES..]);
        record[SUM_AT..HEAD_BYTES].copy_from_slice(&sum);
        record
    }
}

fn sum(head: &[u8], rest: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(head);
    context.update(rest);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// The journal's file and where its next record goes.
pub(super) struct Journal {
    file: Box<dyn BlockFile>,
    at: usize,
    /// Number of the newest record.
    pub(super) number: u64,
    /// A write or a sync failed: what the file holds is not known any more.
    failed: bool,
}

impl Journal {
    /// A journal over an open file, after a checkpoint that took over all up to `number`.
    pub(super) fn new(file: Box<dyn BlockFile>, number: u64) -> Journal {
        Journal { file, at: 0, number, failed: false }
    }

    /// Whether the record fits behind those that are there.
    pub(super) fn has_room(&self, record: &[u8]) -> bool {
        self.at + record.len() <= STORE_JOURNAL_BYTES
    }

    /// Makes the next record durable.
    ///
    /// # Errors
    /// The disk's; the journal takes nothing more afterwards.
    pub(super) fn write(&mut self, record: &[u8]) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("the journal failed before"));
        }
        self.failed = true;
        self.file.write(self.at as u64, record)?;
        self.file.sync_data()?;
        self.failed = false;
        self.at += record.len().next_multiple_of(BLOCK_BYTES);
        self.number += 1;
        Ok(())
    }

    /// All records are in the store file, durably: the next one may overwrite them.
    pub(super) fn begin_again(&mut self) {
        self.at = 0;
    }
}

/// Makes the journal of a new store.
///
/// # Errors
/// The disk's.
pub(super) fn create(disk: &dyn Disk, dir: &Path) -> io::Result<Box<dyn BlockFile>> {
    let path = dir.join(JOURNAL_FILE);
    match disk.remove(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&path, OpenMode::CreateNew)?;
    // Written, not only grown: a write must find its place taken on a full disk, and change no length.
    let zeros = vec![0; STORE_JOURNAL_BYTES / 4];
    file.set_len(STORE_JOURNAL_BYTES as u64)?;
    for part in 0..4 {
        file.write((part * zeros.len()) as u64, &zeros)?;
    }
    file.sync_data()?;
    Ok(file)
}

/// Opens the journal of a store.
///
/// # Errors
/// The disk's; [`EngineError::Corrupt`] if there is none.
pub(super) fn open(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn BlockFile>, EngineError> {
    let path = dir.join(JOURNAL_FILE);
    match disk.open(&path, OpenMode::Existing) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(corrupt(
            &path,
            "it is missing beside its store, and with it what the store had not taken over; a store that an earlier \
             build made has none and is not opened"
                .to_owned(),
        )),
        opened => Ok(opened?),
    }
}

fn corrupt(path: &Path, what: String) -> EngineError {
    EngineError::Corrupt { path: PathBuf::from(path), what }
}

/// The records after number `taken`, in order, up to the first that was not written whole.
///
/// # Errors
/// The disk's; [`EngineError::Corrupt`] if a record is damaged that was once durable, or the store is older
/// than its journal.
pub(super) fn replay(file: &dyn BlockFile, path: &Path, taken: u64) -> Result<Vec<Replayed>, EngineError> {
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    file.read(0, &mut bytes)?;
    let (mut found, mut at, mut newest) = (Vec::new(), 0, None);
    while let Some((number, size, said)) = bytes.get(at..).and_then(read) {
        let next = newest.map_or(number, |newest| newest + 1);
        if number != next {
            break;
        }
        if number > taken {
            if found.is_empty() && number != taken + 1 {
                let what = format!("begins with record {number}, but its store has taken over {taken}");
                return Err(corrupt(path, what));
            }
            found.push(said);
        }
        newest = Some(number);
        at += size.next_multiple_of(BLOCK_BYTES);
    }
    // Each record was durable before the next was written: only the newest can be torn.
    let end = newest.unwrap_or(taken).max(taken);
    for block in (at..bytes.len()).step_by(BLOCK_BYTES) {
        if let Some((number, ..)) = read(&bytes[block..])
            && number > end
        {
            return Err(corrupt(path, format!("holds record {number}, but not those after {end}")));
        }
    }
    Ok(found)
}

/// The record at the start of `bytes`: its number, its size, what it says.
fn read(bytes: &[u8]) -> Option<(u64, usize, Replayed)> {
    let head = bytes.get(..HEAD_BYTES)?;
    if head[..8] != MAGIC {
        return None;
    }
    let number = u64::from_be_bytes(head[8..16].try_into().ok()?);
    let length = u32::from_be_bytes(head[20..24].try_into().ok()?) as usize;
    let size = HEAD_BYTES.checked_add(length)?;
    let rest = bytes.get(HEAD_BYTES..size)?;
    if sum(&head[..SUM_AT], rest) != head[SUM_AT..] {
        return None;
    }
    let (position, entry) = rest.split_at_checked(POSITION_BYTES)?;
    let (seq, hash) = position.split_first_chunk::<8>()?;
    let position = Position { seq: u64::from_be_bytes(*seq), hash: hash.try_into().ok()? };
    let entry = || Entry::decode(position, entry.to_vec()).ok();
    let said = match head[16] {
        1 => Replayed::Append(entry()?),
        2 => Replayed::Confirm(position),
        3 => Replayed::Apply(entry()?),
        _ => return None,
    };
    Some((number, size, said))
}
