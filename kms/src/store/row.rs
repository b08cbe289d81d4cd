//! The row of a record as stored: SHA-256 over key, version and blob, then version, then blob. The sum
//! finds accidents; the seal inside the blob (see `vault`) finds intent.

use crate::record::{CommitId, RecordKey, SealedRecord, Version};
use ring::digest::{Context, SHA256};

/// Name of the table of records in the store file.
pub const RECORDS_TABLE: &str = "records";

const SUM_BYTES: usize = 32;
const HEAD_BYTES: usize = SUM_BYTES + 8 + 16;

/// A row that is not what was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stored record does not match its checksum")]
pub struct Damaged;

fn sum(key: &[u8], version_and_blob: &[u8]) -> [u8; SUM_BYTES] {
    let mut context = Context::new(&SHA256);
    context.update(&(key.len() as u64).to_be_bytes());
    context.update(key);
    context.update(version_and_blob);
    let mut bytes = [0; SUM_BYTES];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// The row of a record.
pub fn encode(key: &RecordKey, record: &SealedRecord) -> Vec<u8> {
    let mut row = Vec::with_capacity(HEAD_BYTES + record.blob.len());
    row.resize(SUM_BYTES, 0);
    row.extend_from_slice(&record.version.counter.to_be_bytes());
    row.extend_from_slice(&record.version.commit_id.0);
    row.extend_from_slice(&record.blob);
    let sum = sum(&key.0, &row[SUM_BYTES..]);
    row[..SUM_BYTES].copy_from_slice(&sum);
    row
}

/// Checks that a row was made by [`encode`] for this very key, without copying it.
///
/// # Errors
/// [`Damaged`].
pub fn check(key: &[u8], row: &[u8]) -> Result<(), Damaged> {
    let (stored, rest) = row.split_first_chunk::<SUM_BYTES>().ok_or(Damaged)?;
    if rest.len() < HEAD_BYTES - SUM_BYTES || sum(key, rest) != *stored { Err(Damaged) } else { Ok(()) }
}

/// The checksum that a row begins with; all of a row that is too short for one.
pub fn checksum(row: &[u8]) -> &[u8] {
    row.get(..SUM_BYTES).unwrap_or(row)
}

/// The record of a row.
///
/// # Errors
/// [`Damaged`] if the row was not made by [`encode`] for this very key.
pub fn decode(key: &RecordKey, row: &[u8]) -> Result<SealedRecord, Damaged> {
    let (stored, rest) = row.split_first_chunk::<SUM_BYTES>().ok_or(Damaged)?;
    if sum(&key.0, rest) != *stored {
        return Err(Damaged);
    }
    let (counter, rest) = rest.split_first_chunk::<8>().ok_or(Damaged)?;
    let (commit_id, blob) = rest.split_first_chunk::<16>().ok_or(Damaged)?;
    let version = Version { counter: u64::from_be_bytes(*counter), commit_id: CommitId(*commit_id) };
    Ok(SealedRecord { version, blob: blob.to_vec() })
}
