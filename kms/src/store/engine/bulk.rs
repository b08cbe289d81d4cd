//! Whole stores in pieces: what a source reads out for a fill, and how the target takes it (R14). Many rows
//! share one commit and one sync; a crash in between leaves a store that is not filled.

use super::{Engine, EngineError, RECORDS, redb_error};
use crate::store::{
    log::{Entry, Position},
    row,
};
use redb::{Durability, ReadTransaction, ReadableTable, ReadableTableMetadata};
use ring::digest::{Context, SHA256};
use std::ops::Bound;

/// A record key and its row as stored.
pub type FillRow = (Vec<u8>, Vec<u8>);

/// A hash over rows in key order, however they were cut into pages. Each row counts by its checksum, which is a hash of
/// all of it: whoever adds a row checks it too, or has.
pub struct RowDigest(Context);

impl Default for RowDigest {
    fn default() -> Self {
        RowDigest(Context::new(&SHA256))
    }
}

impl RowDigest {
    /// Takes the next row.
    pub fn add(&mut self, key: &[u8], row: &[u8]) {
        for part in [key, row::checksum(row)] {
            self.0.update(&(part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
    }

    /// The hash over all rows taken.
    pub fn finish(self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.0.finish().as_ref());
        hash
    }
}

/// The records as they are at one position, whatever is written meanwhile. The store keeps what they are made of until this is
/// dropped, which must be before the store is closed.
pub struct Snapshot {
    read: ReadTransaction,
    at: Position,
}

impl Snapshot {
    /// What it shows: the state at this confirmed position.
    pub fn at(&self) -> Position {
        self.at
    }

    /// Number of its records.
    ///
    /// # Errors
    /// Storage errors.
    pub fn records(&self) -> Result<u64, EngineError> {
        self.read.open_table(RECORDS).map_err(redb_error)?.len().map_err(redb_error)
    }

    /// Rows in key order, those after `after`, until `bytes` are exceeded (at least one if there is one).
    ///
    /// # Errors
    /// [`EngineError::Damaged`] if a row does not match its checksum; storage errors.
    pub fn rows_after(&self, after: Option<&[u8]>, bytes: usize) -> Result<Vec<FillRow>, EngineError> {
        let records = self.read.open_table(RECORDS).map_err(redb_error)?;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut rows, mut taken) = (Vec::new(), 0);
        for item in records.range::<&[u8]>((start, Bound::Unbounded)).map_err(redb_error)? {
            let (key, stored) = item.map_err(redb_error)?;
            let row: FillRow = (key.value().to_vec(), stored.value().to_vec());
            row::check(&row.0, &row.1).map_err(|_| EngineError::Damaged)?;
            taken += row.0.len() + row.1.len();
            rows.push(row);
            if taken > bytes {
                break;
            }
        }
        Ok(rows)
    }
}

impl Engine {
    /// The records as they are at the confirmed position.
    ///
    /// # Errors
    /// Storage errors.
    pub fn snapshot(&self) -> Result<Snapshot, EngineError> {
        let read = self.read()?;
        let at = self.confirmed_in(&read)?;
        Ok(Snapshot { read, at })
    }

    /// As [`Snapshot::rows_after`], of the records as they are now.
    ///
    /// # Errors
    /// As there.
    pub fn rows_after(&self, after: Option<&[u8]>, bytes: usize) -> Result<Vec<FillRow>, EngineError> {
        self.snapshot()?.rows_after(after, bytes)
    }

    /// Reads every row once more and answers their digest.
    ///
    /// # Errors
    /// As [`Engine::rows_after`].
    pub fn digest(&self) -> Result<[u8; 32], EngineError> {
        let read = self.read()?;
        let records = read.open_table(RECORDS).map_err(redb_error)?;
        let mut digest = RowDigest::default();
        for item in records.iter().map_err(redb_error)? {
            let (key, stored) = item.map_err(redb_error)?;
            row::check(key.value(), stored.value()).map_err(|_| EngineError::Damaged)?;
            digest.add(key.value(), stored.value());
        }
        Ok(digest.finish())
    }
}

/// Rows of a fill on their way into a store.
pub struct Filler<'a>(pub &'a Engine);

impl Filler<'_> {
    /// Takes rows. Not durable before the next commit that syncs.
    ///
    /// # Errors
    /// [`EngineError::Damaged`] if a row does not match its checksum; storage errors.
    pub fn rows(&self, rows: &[FillRow]) -> Result<(), EngineError> {
        let mut write = self.0.database.begin_write().map_err(redb_error)?;
        write.set_durability(Durability::None).map_err(redb_error)?;
        {
            let mut records = write.open_table(RECORDS).map_err(redb_error)?;
            for (key, stored) in rows {
                row::check(key, stored).map_err(|_| EngineError::Damaged)?;
                let before = records.insert(key.as_slice(), stored.as_slice()).map_err(redb_error)?;
                if before.is_none() {
                    self.0.counts.made(key);
                }
            }
        }
        write.commit().map_err(redb_error)
    }

    /// Does to the rows what entries do that follow them. Not durable before the next commit that syncs, and not in the log.
    ///
    /// # Errors
    /// Storage errors.
    pub fn changes(&self, entries: &[Entry]) -> Result<(), EngineError> {
        let mut write = self.0.database.begin_write().map_err(redb_error)?;
        write.set_durability(Durability::None).map_err(redb_error)?;
        for entry in entries {
            self.0.put_records(&write, entry)?;
        }
        write.commit().map_err(redb_error)
    }

    /// The rows taken show the state at `at`: the log begins there.
    ///
    /// # Errors
    /// Storage errors.
    pub fn begin_log(&self, at: Position) -> Result<(), EngineError> {
        self.0.write(|write| {
            Engine::put_base(write, at)?;
            Engine::put_confirmed(write, at.seq)
        })
    }
}

impl Engine {
    /// Number of records.
    ///
    /// # Errors
    /// Storage errors.
    pub fn records(&self) -> Result<u64, EngineError> {
        let read = self.read()?;
        read.open_table(RECORDS).map_err(redb_error)?.len().map_err(redb_error)
    }
}
