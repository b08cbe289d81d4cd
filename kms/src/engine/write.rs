//! Writes: read what is settled, compute, seal under a fresh commit id, commit; after a conflict start over
//! while there is time. An attempt is sent once and has one of three ends - done, definitely not, unknown -
//! and unknown is never told as refused.

use super::{HostService, KeyRecord};
use crate::{
    env::{Mono, Purpose},
    error::{Code, Error},
    record::{CommitId, Expect, RecordKey, SealedRecord, Transaction, Version},
    store::api::{CommitError, Refusal},
    vault::{KIND_SERVICE_KEY, record_key, seal},
};
use std::time::Duration;
use uuid::Uuid;

/// Attempts at one write: each lost to another writer of the same record.
const ATTEMPTS: usize = 8;

/// What an operation makes of a key.
pub(super) enum Change<A> {
    /// Nothing to write; the answer is true already.
    Keep(A),
    /// The key as it shall be, and the answer once it is.
    Put(KeyRecord, A),
}

/// How one attempt ended, where there is more to say than an error.
enum Attempt {
    Done,
    Conflict,
    EpochChanged,
}

impl HostService {
    /// Seals and commits one attempt.
    async fn attempt(
        &self,
        domain: Uuid,
        key: &RecordKey,
        before: Option<Version>,
        (id, until): (CommitId, Mono),
        record: &KeyRecord,
    ) -> Result<Attempt, Error> {
        let domain_key = self.domain_key(domain).await?;
        let version = Version { counter: before.map_or(0, |version| version.counter) + 1, commit_id: id };
        let sealed = seal(&self.env, &domain_key, key, version, record)?;
        let transaction = Transaction {
            expect: vec![Expect { key: key.clone(), version: before }],
            put: vec![(key.clone(), sealed)],
            delete: Vec::new(),
            // Destroyed in whatever way: nothing leads back, and a copy of before must not either.
            ends: if record.view.state.is_destroyed() { vec![key.clone()] } else { Vec::new() },
        };
        // The store keeps the deadline itself and resolves before it; past it the outcome is unknown.
        let grace = Duration::from_millis(self.limits.read_attempt_ms);
        match self.env.deadline(until + grace, self.store.commit(id, transaction)).await {
            Ok(Ok(())) => Ok(Attempt::Done),
            Ok(Err(CommitError::Conflict)) => Ok(Attempt::Conflict),
            Ok(Err(CommitError::Refused(Refusal::EpochChanged))) => {
                self.keyring.clear();
                Ok(Attempt::EpochChanged)
            }
            Ok(Err(CommitError::Refused(Refusal::Terminated))) => Err(self.ended(domain)),
            Ok(Err(CommitError::Refused(refusal))) => Err(Error::refused(format!("commit: {refusal}"))),
            Ok(Err(CommitError::Unknown)) => Err(Error::unknown("commit")),
            Err(_) => Err(Error::unknown("commit: no answer by the deadline")),
        }
    }

    fn commit_id(&self) -> Result<CommitId, Error> {
        Ok(CommitId(self.env.random(Purpose::Public)?))
    }

    /// Whether another attempt may begin: none does past the deadline.
    fn time_left(&self, until: Mono) -> bool {
        self.env.now() < until
    }

    /// Writes a key whose id must not be taken, by a key or a tombstone.
    pub(super) async fn insert(&self, domain: Uuid, record: &KeyRecord) -> Result<(), Error> {
        let key = record_key(KIND_SERVICE_KEY, domain, record.view.id);
        let until = self.write_deadline();
        let mut mine = Vec::new();
        for _ in 0..ATTEMPTS {
            let id = self.commit_id()?;
            mine.push(id);
            match self.attempt(domain, &key, None, (id, until), record).await? {
                Attempt::Done => return Ok(()),
                Attempt::Conflict => {
                    // Who has the id is asked of the settled state; a blob need not open to be there.
                    let found = self
                        .settled(domain, &key, |_, _, found| Ok(found.map(|sealed| sealed.version)))
                        .await?;
                    match found {
                        Some(version) if mine.contains(&version.commit_id) => return Ok(()),
                        Some(_) => return Err(Error::new(Code::Conflict, "a key with this id exists")),
                        None => {}
                    }
                }
                Attempt::EpochChanged => {}
            }
            if !self.time_left(until) {
                break;
            }
        }
        Err(Error::refused("create: conflicts until the deadline"))
    }

    /// Changes a key: `change` is asked again after each conflict, with the key as it is then.
    pub(super) async fn update<A>(
        &self,
        domain: Uuid,
        id: Uuid,
        change: impl Fn(KeyRecord) -> Result<Change<A>, Error>,
    ) -> Result<A, Error> {
        let key = record_key(KIND_SERVICE_KEY, domain, id);
        let until = self.write_deadline();
        for _ in 0..ATTEMPTS {
            let found = self
                .settled(domain, &key, |domain_key, place, found: Option<SealedRecord>| {
                    found.map(|record| self.open_key(domain_key, place, &key, &record)).transpose()
                })
                .await?
                .ok_or_else(Error::key_not_found)?;
            let before = found.version();
            match change(found.into_value())? {
                Change::Keep(answer) => return Ok(answer),
                Change::Put(record, answer) => {
                    let attempt = (self.commit_id()?, until);
                    match self.attempt(domain, &key, Some(before), attempt, &record).await? {
                        Attempt::Done => return Ok(answer),
                        Attempt::Conflict | Attempt::EpochChanged => {}
                    }
                }
            }
            if !self.time_left(until) {
                break;
            }
        }
        Err(Error::refused("update: conflicts until the deadline"))
    }
}
