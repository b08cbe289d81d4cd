//! Writes: read what is settled, compute, seal under a fresh commit id, commit; after a conflict start over
//! while there is time. An attempt is sent once and has one of three ends - done, definitely not, unknown -
//! and unknown is never told as refused.

use super::{HostService, KeyRecord};
use crate::{
    env::{Mono, Purpose},
    error::{Code, Error},
    record::{CommitId, Expect, RecordKey, SealedRecord, Transaction, Version},
    store::api::{CommitError, Refusal},
    vault::{DomainKey, KIND_SERVICE_KEY, Payload, record_key, seal},
};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// Attempts at one write: each lost to another writer of the same record.
pub(super) const ATTEMPTS: usize = 8;

/// What is told of a quota.
const FULL: &str =
    "the domain has as many keys, or secrets, as it may: whoever runs the service sets the number";

/// What an operation makes of a record.
pub(super) enum Change<T, A> {
    /// Nothing to write; the answer is true already.
    Keep(A),
    /// The record as it shall be, and the answer once it is.
    Put(T, A),
}

/// How one attempt ended, where there is more to say than an error.
pub(super) enum Attempt {
    /// It is committed.
    Done,
    /// Another writer was faster: read again.
    Conflict,
    /// The region was made anew meanwhile: read again.
    EpochChanged,
}

/// What may be kept in records and end for good.
pub(super) trait Ends {
    /// Whether nothing leads back from it, and a copy of before must not either: a tombstone.
    fn has_ended(&self) -> bool;
}

/// One attempt at changing records of a domain together.
pub(super) struct Batch<'s> {
    service: &'s HostService,
    domain: Uuid,
    domain_key: Arc<DomainKey>,
    id: CommitId,
    transaction: Transaction,
}

impl Batch<'_> {
    /// Writes a record that is as `before` now.
    pub(super) fn put<T: Payload + Ends>(
        &mut self,
        key: &RecordKey,
        before: Option<Version>,
        record: &T,
    ) -> Result<(), Error> {
        let counter = before.map_or(0, |version| version.counter) + 1;
        let version = Version { counter, commit_id: self.id };
        let sealed: SealedRecord = seal(&self.service.env, &self.domain_key, key, version, record)?;
        self.expect(key, before);
        self.transaction.put.push((key.clone(), sealed));
        if record.has_ended() {
            self.transaction.ends.push(key.clone());
        }
        Ok(())
    }

    /// Nothing of it is done unless a record is as `before`.
    pub(super) fn expect(&mut self, key: &RecordKey, before: Option<Version>) {
        self.transaction.expect.push(Expect { key: key.clone(), version: before });
    }

    /// Its commit id: all its puts bear it.
    pub(super) fn id(&self) -> CommitId {
        self.id
    }

    /// Commits.
    pub(super) async fn commit(self, until: Mono) -> Result<Attempt, Error> {
        let Batch { service, domain, id, transaction, .. } = self;
        // The store keeps the deadline itself and resolves before it; past it the outcome is unknown.
        let grace = Duration::from_millis(service.limits.read_attempt_ms);
        match service.env.deadline(until + grace, service.store.commit(id, transaction)).await {
            Ok(Ok(())) => Ok(Attempt::Done),
            Ok(Err(CommitError::Conflict)) => Ok(Attempt::Conflict),
            Ok(Err(CommitError::Refused(Refusal::EpochChanged))) => {
                service.epoch_changed();
                Ok(Attempt::EpochChanged)
            }
            Ok(Err(CommitError::Refused(Refusal::Terminated))) => Err(service.ended(domain)),
            Ok(Err(CommitError::Refused(Refusal::Full))) => Err(Error::new(Code::Full, FULL)),
            Ok(Err(CommitError::Refused(refusal))) => Err(Error::refused(format!("commit: {refusal}"))),
            Ok(Err(CommitError::Unknown)) => Err(Error::unknown("commit")),
            Err(_) => Err(Error::unknown("commit: no answer by the deadline")),
        }
    }
}

impl HostService {
    /// An attempt at changing records of a domain.
    pub(super) async fn batch(&self, domain: Uuid) -> Result<Batch<'_>, Error> {
        let (id, domain_key) = (CommitId(self.env.random(Purpose::Public)?), self.domain_key(domain).await?);
        Ok(Batch { service: self, domain, domain_key, id, transaction: Transaction::default() })
    }

    /// Whether another attempt may begin: none does past the deadline.
    pub(super) fn time_left(&self, until: Mono) -> bool {
        self.env.now() < until
    }

    /// Writes a record whose place must not be taken, by another one or a tombstone; if it is, that is `taken`.
    pub(super) async fn insert<T: Payload + Ends>(
        &self,
        domain: Uuid,
        key: &RecordKey,
        record: &T,
        taken: fn() -> Error,
    ) -> Result<(), Error> {
        let until = self.write_deadline();
        let mut mine = Vec::new();
        for _ in 0..ATTEMPTS {
            let mut batch = self.batch(domain).await?;
            batch.put(key, None, record)?;
            mine.push(batch.id());
            match batch.commit(until).await? {
                Attempt::Done => return Ok(()),
                Attempt::Conflict => {
                    // Who has the place is asked of the settled state; a blob need not open to be there.
                    let found = self
                        .settled(domain, key, |_, _, found| Ok(found.map(|sealed| sealed.version)))
                        .await?;
                    match found {
                        Some(version) if mine.contains(&version.commit_id) => return Ok(()),
                        Some(_) => return Err(taken()),
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

    /// Changes a record: `change` is asked again after each conflict, with the record as it is then. If there is none, that is
    /// `missing`.
    pub(super) async fn update<T: Payload + Ends, A>(
        &self,
        domain: Uuid,
        key: &RecordKey,
        missing: fn() -> Error,
        change: impl Fn(T) -> Result<Change<T, A>, Error>,
    ) -> Result<A, Error> {
        let until = self.write_deadline();
        for _ in 0..ATTEMPTS {
            let held = self.held::<T>(domain, key).await?;
            match change(held.value.ok_or_else(missing)?)? {
                Change::Keep(answer) => return Ok(answer),
                Change::Put(record, answer) => {
                    let mut batch = self.batch(domain).await?;
                    batch.put(key, held.version, &record)?;
                    match batch.commit(until).await? {
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

    /// Changes a service key, as [`HostService::update`] does.
    pub(super) async fn update_key<A>(
        &self,
        domain: Uuid,
        id: Uuid,
        change: impl Fn(KeyRecord) -> Result<Change<KeyRecord, A>, Error>,
    ) -> Result<A, Error> {
        let key = record_key(KIND_SERVICE_KEY, domain, id);
        self.update(domain, &key, Error::key_not_found, change).await
    }
}
