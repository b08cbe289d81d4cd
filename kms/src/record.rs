//! Records, versions and transactions: what the replicated store keeps. Everything in a record's blob is
//! sealed before it gets here; a database sees keys, versions and ciphertext only.

use crate::limits::{RECORD_KEY_MAX_BYTES, RECORD_MAX_BYTES, TRANSACTION_MAX_BYTES, TRANSACTION_MAX_RECORDS};
use std::fmt;

/// 128 random bits, drawn by the host for one attempt at one transaction, and never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub [u8; 16]);

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The version of a record. The counter alone may recur (lost attempts, restores), so the commit id is
/// part of it everywhere: in expectations, in associated data, in key derivation (PROTOCOL R20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 1 for a record that was absent, else one more than the version replaced.
    pub counter: u64,
    /// The attempt that wrote it.
    pub commit_id: CommitId,
}

/// Service keys: the first byte of their record keys. The domain follows; the store counts by both, and no domain has more of these than it
/// may.
pub const KIND_SERVICE_KEY: u8 = 1;
/// What is known of a secret, without its data; likewise.
pub const KIND_SECRET: u8 = 2;

/// Where a record is kept. Ordered bytewise for scans; of what it is made up the store knows kind and domain alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey(pub Vec<u8>);

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

/// A record as stored: a version and a sealed blob.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedRecord {
    /// Which attempt wrote it, and how often it was written.
    pub version: Version,
    /// Sealed bytes (see `vault`).
    pub blob: Vec<u8>,
}

impl fmt::Debug for SealedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedRecord({:?}, {} bytes)", self.version, self.blob.len())
    }
}

/// What must hold of one record for a transaction to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// The record.
    pub key: RecordKey,
    /// Its version; `None` = it must be absent.
    pub version: Option<Version>,
}

/// A set of changes applied together or not at all. Pure: holds no choice that is made while applying.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// Conditions. Every record that is put or deleted must be among them.
    pub expect: Vec<Expect>,
    /// Records written.
    pub put: Vec<(RecordKey, SealedRecord)>,
    /// Records removed.
    pub delete: Vec<RecordKey>,
    /// Records, of those written, that are ended for good by this: what is written is a tombstone, and nothing of the record is ever to
    /// come back. A store does nothing with it; the third copy carries tombstones to the backup regions.
    pub ends: Vec<RecordKey>,
}

/// Why a transaction is not well formed. The sender is wrong; nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Nothing in it.
    #[error("empty transaction")]
    Empty,
    /// More than [`TRANSACTION_MAX_RECORDS`] entries.
    #[error("more than {TRANSACTION_MAX_RECORDS} records in a transaction")]
    TooMany,
    /// A record key is empty or longer than [`RECORD_KEY_MAX_BYTES`].
    #[error("record key of {0} bytes")]
    KeyLength(usize),
    /// A blob is longer than [`RECORD_MAX_BYTES`].
    #[error("record of {0} bytes")]
    BlobLength(usize),
    /// The blobs together are longer than [`TRANSACTION_MAX_BYTES`].
    #[error("transaction of {0} bytes")]
    TotalLength(usize),
    /// A record is named twice among the conditions or among the changes.
    #[error("record {0:?} named twice")]
    Twice(RecordKey),
    /// A change without a condition.
    #[error("record {0:?} changed without an expectation")]
    Unconditional(RecordKey),
    /// A record is ended that is not put.
    #[error("record {0:?} ended and not put")]
    EndsUnput(RecordKey),
    /// A put whose version does not follow from the expected one and the commit id.
    #[error("record {0:?} put with a version that does not follow")]
    Version(RecordKey),
}

impl Transaction {
    /// The keys of all records that it is about.
    pub fn keys(&self) -> impl Iterator<Item = &RecordKey> {
        // Whatever is changed is expected: see [`Transaction::check`].
        self.expect.iter().map(|expect| &expect.key)
    }

    /// Checks that the transaction is well formed for the attempt `id`.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, id: CommitId) -> Result<(), Malformed> {
        let entries = self.expect.len() + self.put.len() + self.delete.len();
        if self.expect.is_empty() || self.put.is_empty() && self.delete.is_empty() {
            return Err(Malformed::Empty);
        }
        if entries > TRANSACTION_MAX_RECORDS {
            return Err(Malformed::TooMany);
        }
        let mut expected = std::collections::BTreeMap::new();
        for expect in &self.expect {
            let len = expect.key.0.len();
            if len == 0 || len > RECORD_KEY_MAX_BYTES {
                return Err(Malformed::KeyLength(len));
            }
            if expected.insert(&expect.key, expect.version).is_some() {
                return Err(Malformed::Twice(expect.key.clone()));
            }
        }
        let mut changed = std::collections::BTreeSet::new();
        for key in self.put.iter().map(|(key, _)| key).chain(&self.delete) {
            if !expected.contains_key(key) {
                return Err(Malformed::Unconditional(key.clone()));
            }
            if !changed.insert(key) {
                return Err(Malformed::Twice(key.clone()));
            }
        }
        let mut ended = std::collections::BTreeSet::new();
        for key in &self.ends {
            if !self.put.iter().any(|(put, _)| put == key) {
                return Err(Malformed::EndsUnput(key.clone()));
            }
            if !ended.insert(key) {
                return Err(Malformed::Twice(key.clone()));
            }
        }
        let total: usize = self.put.iter().map(|(_, record)| record.blob.len()).sum();
        if total > TRANSACTION_MAX_BYTES {
            return Err(Malformed::TotalLength(total));
        }
        for (key, record) in &self.put {
            if record.blob.len() > RECORD_MAX_BYTES {
                return Err(Malformed::BlobLength(record.blob.len()));
            }
            let before = expected.get(key).copied().flatten().map_or(0, |version| version.counter);
            if before.checked_add(1) != Some(record.version.counter) || record.version.commit_id != id {
                return Err(Malformed::Version(key.clone()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_put_is_ended_and_once() {
        let (id, key) = (CommitId([1; 16]), |name: &[u8]| RecordKey(name.to_vec()));
        let transaction = |ends: &[&[u8]]| Transaction {
            expect: vec![
                Expect { key: key(b"k"), version: None },
                Expect { key: key(b"d"), version: Some(Version { counter: 4, commit_id: id }) },
            ],
            put: vec![(
                key(b"k"),
                SealedRecord { version: Version { counter: 1, commit_id: id }, blob: vec![7] },
            )],
            delete: vec![key(b"d")],
            ends: ends.iter().map(|name| key(name)).collect(),
        };
        assert_eq!(transaction(&[]).check(id), Ok(()));
        assert_eq!(transaction(&[b"k"]).check(id), Ok(()));
        for unput in [b"d", b"x", b""] as [&[u8]; 3] {
            assert_eq!(transaction(&[unput]).check(id), Err(Malformed::EndsUnput(key(unput))));
        }
        assert_eq!(transaction(&[b"k", b"k"]).check(id), Err(Malformed::Twice(key(b"k"))));
    }
}
