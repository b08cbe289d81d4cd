//! The end of a domain's service (G14): what the operator states, the record by which it travels with every copy of the region's
//! records, and the key objects that go. The record is the truth, a key file that is gone the effect: whoever holds a
//! store deletes the file whenever it looks. Decides nothing about when it may be stated.

use super::{
    codec::Malformed,
    engine::{FILLING_DIR, KEYRING_DIR, STORE_DIR},
    epoch::{BadStatement, Statement},
    log::Entry,
    row,
};
use crate::{
    crypto::OperatorVerifier,
    env::Disk,
    record::{CommitId, Expect, RecordKey, SealedRecord, Transaction, Version},
    wire::epoch as wire,
};
use prost::Message;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io, path::Path};
use uuid::Uuid;

/// What the keys of these records begin with. No host writes such a record, and none is ever changed or removed.
pub const KIND_TERMINATION: u8 = 0xf0;

/// What a statement says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Termination {
    /// Whose service has ended.
    pub domain: Uuid,
    /// When that was stated, Unix milliseconds: its records go so many days later.
    pub made_ms: u64,
}

/// A statement that an entry or a row must have and has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// R17a.
    #[error("it replaces the witness: {0}")]
    Witness(BadStatement),
    /// See the module.
    #[error("it ends the service of a domain: {0}")]
    Termination(BadStatement),
}

/// Where the record of a domain's end is kept.
pub fn termination_key(domain: Uuid) -> RecordKey {
    RecordKey([&[KIND_TERMINATION], domain.as_bytes().as_slice()].concat())
}

/// The record of a domain's end: the operator's signed statement.
pub fn termination_record(statement: Vec<u8>) -> SealedRecord {
    SealedRecord { version: Version { counter: 1, commit_id: CommitId([0; 16]) }, blob: statement }
}

/// Whether a key is of this kind, well formed or not.
pub fn is_termination(key: &[u8]) -> bool {
    key.first() == Some(&KIND_TERMINATION)
}

/// The domain that a record, or all records with a prefix, belong to: kind and domain id are what their keys begin with. None
/// for the records of this module.
pub fn domain_of(key: &[u8]) -> Option<Uuid> {
    if is_termination(key) {
        return None;
    }
    key.get(1..17).and_then(|id| Uuid::from_slice(id).ok())
}

impl Termination {
    /// Reads a record's blob without a look at the signature.
    ///
    /// # Errors
    /// `Malformed` if it is another statement, or none.
    fn read(blob: &[u8]) -> Result<Termination, Malformed> {
        let signed = wire::Signed::decode(blob).map_err(|_| Malformed("no signed statement"))?;
        match Statement::read(&signed)? {
            (_, Statement::Terminate(termination)) => Ok(termination),
            _ => Err(Malformed("another statement than that of a domain's end")),
        }
    }

    /// The statement in a stored row, by its domain; none if the row cannot be read.
    pub(super) fn statement_of_row(key: &RecordKey, stored: &[u8]) -> Option<(Uuid, Vec<u8>)> {
        let domain = Uuid::from_slice(key.0.strip_prefix(&[KIND_TERMINATION])?).ok()?;
        row::decode(key, stored).ok().map(|record| (domain, record.blob))
    }

    /// What a stored row says; all that its key says if the row cannot be read: it is the end of that domain in any case.
    pub(super) fn of_row(key: &RecordKey, stored: &[u8]) -> Option<Termination> {
        let domain = Uuid::from_slice(key.0.strip_prefix(&[KIND_TERMINATION])?).ok()?;
        let read = row::decode(key, stored).ok().and_then(|record| Termination::read(&record.blob).ok());
        Some(Termination { domain, made_ms: read.map_or(u64::MAX, |read| read.made_ms) })
    }

    /// The transaction by which the chain commits it, once for each domain; whoever attempts it puts its id in.
    pub fn transaction(self, signed: &wire::Signed) -> Transaction {
        let key = termination_key(self.domain);
        let record = termination_record(signed.encode_to_vec());
        Transaction {
            expect: vec![Expect { key: key.clone(), version: None }],
            put: vec![(key, record)],
            delete: Vec::new(),
            ends: Vec::new(),
        }
    }
}

/// Whether the operator of `region` has signed that what `key` names is so.
fn verify(
    key: &RecordKey,
    record: Option<&SealedRecord>,
    operator: &OperatorVerifier,
    region: &str,
) -> Result<(), BadStatement> {
    let record = record.ok_or(BadStatement::Other)?;
    let domain = key.0.strip_prefix(&[KIND_TERMINATION]).and_then(|id| Uuid::from_slice(id).ok());
    verify_blob(domain.ok_or(BadStatement::Other)?, &record.blob, operator, region)
}

/// Whether `blob` is a statement of the operator of `region` that the service of `domain` has ended.
///
/// # Errors
/// [`BadStatement`].
pub fn verify_blob(
    domain: Uuid,
    blob: &[u8],
    operator: &OperatorVerifier,
    region: &str,
) -> Result<(), BadStatement> {
    let signed = wire::Signed::decode(blob);
    let signed = signed.map_err(|_| BadStatement::Malformed(Malformed("no signed statement")))?;
    match Statement::verify(&signed, operator, region)? {
        Statement::Terminate(said) if said.domain == domain => Ok(()),
        _ => Err(BadStatement::Other),
    }
}

/// Whether a stored row may be taken from another node: the end of a domain has the operator's signature.
///
/// # Errors
/// [`BadEntry`].
pub fn check_row(
    key: &[u8],
    stored: &[u8],
    operator: &OperatorVerifier,
    region: &str,
) -> Result<(), BadEntry> {
    if !is_termination(key) {
        return Ok(());
    }
    let key = RecordKey(key.to_vec());
    let record = row::decode(&key, stored).ok();
    verify(&key, record.as_ref(), operator, region).map_err(BadEntry::Termination)
}

impl Entry {
    /// Whether it may stand in a log: another witness, and the end of a domain, have the operator's signature; nothing takes that
    /// back.
    ///
    /// # Errors
    /// [`BadEntry`].
    pub fn check(&self, operator: &OperatorVerifier, region: &str) -> Result<(), BadEntry> {
        self.check_witness(operator, region).map_err(BadEntry::Witness)?;
        for attempt in &self.batch {
            let transaction = &attempt.transaction;
            let puts = transaction.put.iter().map(|(key, record)| (key, Some(record)));
            for (key, record) in puts.chain(transaction.delete.iter().map(|key| (key, None))) {
                if is_termination(&key.0) {
                    verify(key, record, operator, region).map_err(BadEntry::Termination)?;
                }
            }
        }
        Ok(())
    }

    /// The domains whose service ends with it.
    pub fn terminations(&self) -> Vec<Termination> {
        let puts = self.batch.iter().flat_map(|attempt| &attempt.transaction.put);
        puts.filter(|(key, _)| is_termination(&key.0))
            .filter_map(|(_, record)| Termination::read(&record.blob).ok())
            .collect()
    }
}

/// A domain whose service has ended, as one holder of a store knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TerminatedStatus {
    /// The domain.
    pub domain: Uuid,
    /// When that was stated, Unix milliseconds.
    pub made_ms: u64,
    /// Its key is not on this disk any more.
    pub erased: bool,
}

/// The domains whose service has ended, and whether their keys are gone from this disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended(BTreeMap<Uuid, (u64, bool)>);

impl Ended {
    /// Those that a store has the records of. Whether their keys are gone is to be looked at again.
    pub fn new(all: impl IntoIterator<Item = Termination>) -> Ended {
        Ended(all.into_iter().map(|end| (end.domain, (end.made_ms, false))).collect())
    }

    /// Takes note of what an entry says; true if it says something.
    pub fn applied(&mut self, entry: &Entry) -> bool {
        let ends = entry.terminations();
        for end in &ends {
            self.0.entry(end.domain).or_insert((end.made_ms, false));
        }
        !ends.is_empty()
    }

    /// Whether the service of a domain has ended.
    pub fn has(&self, domain: Uuid) -> bool {
        self.0.contains_key(&domain)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = Termination> {
        self.0.iter().map(|(domain, (made_ms, _))| Termination { domain: *domain, made_ms: *made_ms })
    }

    /// Those whose keys may still be on this disk.
    pub fn unerased(&self) -> Vec<Uuid> {
        self.0.iter().filter(|(_, (_, erased))| !erased).map(|(domain, _)| *domain).collect()
    }

    /// The keys of these are gone from this disk.
    pub fn erased(&mut self, domains: &[Uuid]) {
        for domain in domains {
            if let Some((_, erased)) = self.0.get_mut(domain) {
                *erased = true;
            }
        }
    }

    /// For people.
    pub fn status(&self) -> Vec<TerminatedStatus> {
        let status = |(domain, (made_ms, erased)): (&Uuid, &(u64, bool))| TerminatedStatus {
            domain: *domain,
            made_ms: *made_ms,
            erased: *erased,
        };
        self.0.iter().map(status).collect()
    }
}

/// Deletes the keys of domains beside every store in `data`: the one that is served from, one that is being filled, and those
/// that were put aside. Durable when it returns.
///
/// # Errors
/// The disk's; called again, it goes on.
pub fn erase_keys(disk: &dyn Disk, data: &Path, domains: &[Uuid]) -> io::Result<()> {
    for name in disk.list(data)? {
        let text = name.to_string_lossy();
        if text == STORE_DIR || text == FILLING_DIR || text.starts_with("retired-") {
            erase_keys_beside(disk, &data.join(&name), domains)?;
        }
    }
    Ok(())
}

/// Deletes the keys of domains beside the store in `dir`. Durable when it returns.
///
/// # Errors
/// The disk's; called again, it goes on.
pub fn erase_keys_beside(disk: &dyn Disk, dir: &Path, domains: &[Uuid]) -> io::Result<()> {
    if !disk.list(dir)?.iter().any(|name| name.as_path() == Path::new(KEYRING_DIR)) {
        return Ok(());
    }
    let keyring = dir.join(KEYRING_DIR);
    for name in disk.list(&keyring)? {
        let text = name.to_string_lossy();
        // A write that was cut off leaves another name that begins so.
        if domains.iter().any(|domain| text.trim_start_matches('.').starts_with(&domain.to_string())) {
            match disk.remove(&keyring.join(&name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    // Also if nothing was there: it may have been removed by a try whose sync failed.
    disk.sync_dir(&keyring)
}
