//! What the intruder of `swap-records` knows of a stored row: its layout and its unkeyed checksum. Holds no key,
//! so it can neither open nor make a sealed blob.

use crate::world::swap::{RowCodec, SwapError};
use kms::{
    env::Disk,
    record::{RecordKey, SealedRecord},
    store::{engine::Engine, row},
};
use std::path::PathBuf;

/// The rows of the records table.
pub struct StoredRows {
    /// The database's data directory.
    pub data: PathBuf,
}

impl RowCodec for StoredRows {
    fn settle(&self, disk: &dyn Disk) -> Result<(), SwapError> {
        // Opening takes the journal over into the store file.
        Engine::open(disk, &self.data, u64::MAX).map(drop).map_err(SwapError::new)
    }

    fn table(&self) -> &'static str {
        row::RECORDS_TABLE
    }

    fn blob(&self, key: &[u8], stored: &[u8]) -> Option<Vec<u8>> {
        row::decode(&RecordKey(key.to_vec()), stored).ok().map(|record| record.blob)
    }

    fn with_blob(&self, key: &[u8], stored: &[u8], blob: &[u8]) -> Vec<u8> {
        let key = RecordKey(key.to_vec());
        match row::decode(&key, stored) {
            Ok(record) => row::encode(&key, &SealedRecord { version: record.version, blob: blob.to_vec() }),
            Err(row::Damaged) => stored.to_vec(),
        }
    }
}
