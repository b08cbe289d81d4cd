//! Between wire messages and the store's own types. Everything that comes from outside is checked here.

use crate::{
    record::{CommitId, Expect, RecordKey, SealedRecord, Transaction, Version},
    store::api::Page,
    wire::message as wire,
};

/// A message with a field of the wrong length, or one missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub &'static str);

/// Exactly 16 bytes.
pub fn id16(bytes: &[u8]) -> Result<[u8; 16], Malformed> {
    bytes.try_into().map_err(|_| Malformed("an id is not 16 bytes"))
}

/// Exactly 32 bytes.
pub fn hash32(bytes: &[u8]) -> Result<[u8; 32], Malformed> {
    bytes.try_into().map_err(|_| Malformed("a hash is not 32 bytes"))
}

fn version_in(version: &wire::Version) -> Result<Version, Malformed> {
    Ok(Version { counter: version.counter, commit_id: CommitId(id16(&version.commit_id)?) })
}

/// To the wire.
pub fn version_out(version: Version) -> wire::Version {
    wire::Version { counter: version.counter, commit_id: version.commit_id.0.to_vec() }
}

/// From the wire.
pub fn record_in(record: wire::Record) -> Result<(RecordKey, SealedRecord), Malformed> {
    let version = version_in(record.version.as_ref().ok_or(Malformed("a record without a version"))?)?;
    Ok((RecordKey(record.key), SealedRecord { version, blob: record.blob }))
}

/// To the wire.
pub fn record_out(key: &RecordKey, record: &SealedRecord) -> wire::Record {
    wire::Record { key: key.0.clone(), version: Some(version_out(record.version)), blob: record.blob.clone() }
}

/// From the wire; well-formedness is checked by [`Transaction::check`].
pub fn transaction_in(transaction: &wire::Transaction) -> Result<Transaction, Malformed> {
    let expect = |expect: &wire::Expect| {
        let version = expect.version.as_ref().map(version_in).transpose()?;
        Ok(Expect { key: RecordKey(expect.key.clone()), version })
    };
    Ok(Transaction {
        expect: transaction.expect.iter().map(expect).collect::<Result<_, Malformed>>()?,
        put: transaction.put.iter().cloned().map(record_in).collect::<Result<_, _>>()?,
        delete: transaction.delete.iter().map(|key| RecordKey(key.clone())).collect(),
        ends: transaction.ends.iter().map(|key| RecordKey(key.clone())).collect(),
    })
}

/// To the wire.
pub fn transaction_out(transaction: &Transaction) -> wire::Transaction {
    let expect = |expect: &Expect| wire::Expect {
        key: expect.key.0.clone(),
        version: expect.version.map(version_out),
    };
    wire::Transaction {
        expect: transaction.expect.iter().map(expect).collect(),
        put: transaction.put.iter().map(|(key, record)| record_out(key, record)).collect(),
        delete: transaction.delete.iter().map(|key| key.0.clone()).collect(),
        ends: transaction.ends.iter().map(|key| key.0.clone()).collect(),
    }
}

/// From the wire.
pub fn page_in(page: wire::Page) -> Result<Page, Malformed> {
    let records = page.records.into_iter().map(record_in).collect::<Result<_, _>>()?;
    Ok(Page { records, more: page.more })
}

/// To the wire.
pub fn page_out(page: &Page) -> wire::Page {
    wire::Page {
        records: page.records.iter().map(|(key, record)| record_out(key, record)).collect(),
        more: page.more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn keys() -> impl Strategy<Value = RecordKey> {
        vec(proptest::num::u8::ANY, 0..20).prop_map(RecordKey)
    }

    fn versions() -> impl Strategy<Value = Version> {
        (0u64.., 0u128..).prop_map(|(counter, id)| Version { counter, commit_id: CommitId(id.to_be_bytes()) })
    }

    proptest! {
        #[test]
        fn transactions_read_back(
            expect in vec((keys(), proptest::option::of(versions())), 0..4),
            put in vec((keys(), versions(), vec(proptest::num::u8::ANY, 0..40)), 0..4),
            delete in vec(keys(), 0..4),
            ends in vec(keys(), 0..4),
        ) {
            let transaction = Transaction {
                expect: expect.into_iter().map(|(key, version)| Expect { key, version }).collect(),
                put: put.into_iter().map(|(key, version, blob)| (key, SealedRecord { version, blob })).collect(),
                delete,
                ends,
            };
            prop_assert_eq!(transaction_in(&transaction_out(&transaction)), Ok(transaction));
        }
    }

    #[test]
    fn a_transaction_of_an_earlier_build_ends_nothing() {
        let wire = wire::Transaction { delete: vec![vec![1]], ..wire::Transaction::default() };
        assert_eq!(transaction_in(&wire).map(|transaction| transaction.ends), Ok(vec![]));
    }
}
