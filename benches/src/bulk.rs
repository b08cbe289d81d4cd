//! Many records in stores that nobody has open, put there as a fill puts them. Seals nothing: to a database a
//! sealed record is random bytes.

use crate::report;
use kms::{
    env::{Env, Purpose},
    record::{CommitId, SealedRecord, Version},
    store::{
        engine::{Engine, FillRow, Filler},
        row,
    },
    vault::{KIND_SERVICE_KEY, record_key},
};
use std::path::PathBuf;
use uuid::Uuid;

/// Blob of each record.
pub const BLOB_BYTES: usize = 1 << 10;
/// Bytes of a row: the blob, a key of 33 bytes, a head of 56.
pub const ROW_BYTES: u64 = BLOB_BYTES as u64 + 89;
/// Records in one commit.
const COMMIT_RECORDS: u64 = 1_000;
/// Records between two lines about how far it is.
const TELL_RECORDS: u64 = 250_000;

/// Puts the same `count` records into the store in each of these data directories; all are there when its log begins. Tells
/// how far it is.
///
/// # Panics
/// If there is no store, or the disk fails.
pub fn put_records(env: &Env, data: &[PathBuf], count: u64) {
    let open = |data: &PathBuf| Engine::open(&*env.disk, data, u64::MAX).expect("it opens").expect("a store");
    let stores: Vec<_> = data.iter().map(open).collect();
    // Of a domain that no host knows.
    let domain = Uuid::from_bytes(env.random(Purpose::Public).expect("randomness"));
    for first in (0..count).step_by(COMMIT_RECORDS as usize) {
        let numbers = first..count.min(first + COMMIT_RECORDS);
        let rows: Vec<FillRow> = numbers.map(|number| record(env, domain, number)).collect();
        for (engine, _) in &stores {
            Filler(engine).rows(&rows).expect("rows are taken");
        }
        let so_far = first + rows.len() as u64;
        if so_far.is_multiple_of(TELL_RECORDS) {
            report::line(format_args!("  {so_far} of {count} records"));
        }
    }
    // Its sync makes the rows durable too.
    for (engine, loaded) in &stores {
        Filler(engine).begin_log(loaded.last).expect("the log begins");
    }
}

fn record(env: &Env, domain: Uuid, number: u64) -> FillRow {
    let mut blob = vec![0; BLOB_BYTES];
    env.entropy.fill(Purpose::Public, &mut blob).expect("randomness");
    // In order, as a fill inserts.
    let key = record_key(KIND_SERVICE_KEY, domain, Uuid::from_u128(u128::from(number) << 64));
    let commit_id = CommitId(env.random(Purpose::Public).expect("randomness"));
    let sealed = SealedRecord { version: Version { counter: 1, commit_id }, blob };
    let stored = row::encode(&key, &sealed);
    (key.0, stored)
}
