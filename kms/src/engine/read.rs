//! Reads, also while a write is in doubt: the operation's answer is computed under each outcome and given
//! only if both agree; otherwise the other zone is asked; otherwise the request is refused. A blob that does
//! not open is reported, and the other zone's is used. Answers nothing from a blob that did not open.
//!
//! A database that is behind serves in a moment: it gets the one entry that it lacks within milliseconds of its peer's
//! return. While one says so, both are asked again, for as long as a read may wait (W).

use super::{HostService, patience::Patience};
use crate::{
    crypto::SecretBytes,
    env::BoxFuture,
    error::Error,
    record::{RecordKey, SealedRecord, Version},
    store::api::{Page, Place, ReadError, Reading},
    vault::{BadSeal, DomainKey, Opened, Payload, open},
};
use uuid::Uuid;

/// Times a read starts over because the epoch changed under it.
const EPOCH_RETRIES: u32 = 3;

/// Whether two answers are the same for the caller.
pub(super) trait Same {
    /// In constant time where secrets are compared.
    fn same(&self, other: &Self) -> bool;

    /// An answer that tells both, if there is such a one: it is given where no place tells which of them is true.
    fn both(self, _other: Self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }
}

impl Same for SecretBytes {
    fn same(&self, other: &Self) -> bool {
        SecretBytes::same(self, other)
    }
}

impl Same for super::KeyView {
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

impl<T: Same> Same for Result<T, Error> {
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Ok(one), Ok(two)) => one.same(two),
            (Err(one), Err(two)) => one == two,
            _ => false,
        }
    }
}

/// A record and its version, or that there is none.
pub(super) struct Held<T> {
    pub(super) value: Option<T>,
    pub(super) version: Option<Version>,
}

/// What is only taken when there is one outcome.
pub(super) struct Sole<T>(pub(super) T);

impl<T> Same for Sole<T> {
    fn same(&self, _other: &Self) -> bool {
        false
    }
}

/// What stood in the way of an answer, over both places.
#[derive(Default)]
struct Trouble {
    damaged: u32,
    in_doubt: bool,
    /// A database serves as soon as it has caught up.
    behind: bool,
    last: Option<ReadError>,
}

impl Trouble {
    fn note(&mut self, error: ReadError) {
        self.behind |= error == ReadError::Behind;
        self.last = Some(error);
    }

    fn error(&self) -> Error {
        if self.in_doubt {
            tracing::debug!(target: "kms::probe", name = "in-doubt-answer", answered = false);
            return Error::refused("a write to what was read is in doubt");
        }
        match self.last {
            Some(error) => Error::refused(format!("read: {error}")),
            None if self.damaged > 0 => Error::integrity("no copy opens"),
            None => Error::refused("read: no place"),
        }
    }
}

impl HostService {
    /// Answers from whatever `fetch` reads, by the rules above. `answer` is called for every outcome met, and may be
    /// called again.
    pub(super) async fn decide<'s, T, A: Same>(
        &'s self,
        domain: Uuid,
        fetch: impl Fn(Place) -> BoxFuture<'s, Result<Reading<T>, ReadError>>,
        answer: impl Fn(&DomainKey, Place, T) -> Result<A, BadSeal>,
    ) -> Result<A, Error> {
        let mut patience = Patience::new(&self.env, &self.limits);
        loop {
            match self.round(domain, &fetch, &answer).await? {
                Ok(answer) => return Ok(answer),
                Err(trouble) if trouble.behind && patience.pause().await => {}
                Err(trouble) => return Err(trouble.error()),
            }
        }
    }

    /// Asks each zone once: the answer, or what stood in its way.
    async fn round<'s, T, A: Same>(
        &'s self,
        domain: Uuid,
        fetch: &impl Fn(Place) -> BoxFuture<'s, Result<Reading<T>, ReadError>>,
        answer: &impl Fn(&DomainKey, Place, T) -> Result<A, BadSeal>,
    ) -> Result<Result<A, Trouble>, Error> {
        let mut trouble = Trouble::default();
        let mut either = None;
        let mut epochs = 0;
        let mut places = [Place::Near, Place::Far].into_iter();
        let mut next = places.next();
        while let Some(place) = next {
            let key = self.domain_key(domain).await?;
            let epoch = self.store.epoch();
            let fetched = fetch(place).await;
            let fetched = if self.store.epoch() == epoch { fetched } else { Err(ReadError::EpochChanged) };
            match fetched {
                Ok(Reading::Settled(found)) => match answer(&key, place, found) {
                    Ok(answer) => return Ok(Ok(answer)),
                    Err(BadSeal) => trouble.damaged += 1,
                },
                Ok(Reading::InDoubt { confirmed, pending }) => {
                    match (answer(&key, place, confirmed), answer(&key, place, pending)) {
                        (Ok(one), Ok(two)) if one.same(&two) => {
                            tracing::debug!(target: "kms::probe", name = "in-doubt-answer", answered = true);
                            return Ok(Ok(one));
                        }
                        (Ok(one), Ok(two)) => {
                            trouble.in_doubt = true;
                            either = one.both(two).or(either);
                        }
                        _ => trouble.damaged += 1,
                    }
                }
                Err(ReadError::EpochChanged) => {
                    self.epoch_changed();
                    if epochs < EPOCH_RETRIES {
                        epochs += 1;
                        continue;
                    }
                    trouble.note(ReadError::EpochChanged);
                }
                Err(ReadError::Damaged) => trouble.damaged += 1,
                Err(ReadError::InDoubt) => trouble.in_doubt = true,
                Err(ReadError::Terminated) => return Err(self.ended(domain)),
                Err(error) => trouble.note(error),
            }
            next = places.next();
        }
        Ok(either.ok_or(trouble))
    }

    /// Answers from one record; `None` is a place never used in this domain.
    pub(super) async fn decide_record<T: Payload, A: Same>(
        &self,
        domain: Uuid,
        key: &RecordKey,
        answer: impl Fn(Option<T>) -> A,
    ) -> Result<A, Error> {
        self.decide_opened(domain, key, |found| answer(found.map(Opened::into_value))).await
    }

    /// The same, for an answer that depends on the version.
    pub(super) async fn decide_opened<T: Payload, A: Same>(
        &self,
        domain: Uuid,
        key: &RecordKey,
        answer: impl Fn(Option<Opened<T>>) -> A,
    ) -> Result<A, Error> {
        self.decide(
            domain,
            |place| self.store.get(place, key.clone()),
            |domain_key, place, found: Option<SealedRecord>| match found {
                None => Ok(answer(None)),
                Some(record) => Ok(answer(Some(self.open_record::<T>(domain_key, place, key, &record)?))),
            },
        )
        .await
    }

    /// Opens a record, or reports it to the database that served it.
    pub(super) fn open_record<T: Payload>(
        &self,
        domain_key: &DomainKey,
        place: Place,
        key: &RecordKey,
        record: &SealedRecord,
    ) -> Result<Opened<T>, BadSeal> {
        open(domain_key, key, record).inspect_err(|_| {
            tracing::warn!(?place, ?key, version = record.version.counter, "stored record does not open");
            self.store.report_damaged(place, key.clone(), record);
        })
    }

    /// One record that no write in doubt can change: what writes are based on, and definite denials. A place
    /// whose record `take` cannot open counts as damaged.
    pub(super) async fn settled<T>(
        &self,
        domain: Uuid,
        key: &RecordKey,
        take: impl Fn(&DomainKey, Place, Option<SealedRecord>) -> Result<T, BadSeal>,
    ) -> Result<T, Error> {
        self.decide(
            domain,
            |place| self.store.get(place, key.clone()),
            |domain_key, place, found| take(domain_key, place, found).map(Sole),
        )
        .await
        .map(|Sole(taken)| taken)
    }

    /// One page of records that no write in doubt can change.
    pub(super) async fn settled_scan<T>(
        &self,
        domain: Uuid,
        prefix: Vec<u8>,
        after: Option<RecordKey>,
        limit: usize,
        take: impl Fn(&DomainKey, Place, Page) -> Result<T, BadSeal>,
    ) -> Result<T, Error> {
        self.decide(
            domain,
            |place| self.store.scan(place, prefix.clone(), after.clone(), limit),
            |domain_key, place, page| take(domain_key, place, page).map(Sole),
        )
        .await
        .map(|Sole(taken)| taken)
    }

    /// A record as it is settled, and its version.
    pub(super) async fn held<T: Payload>(&self, domain: Uuid, key: &RecordKey) -> Result<Held<T>, Error> {
        let opened = self
            .settled(domain, key, |domain_key, place, found: Option<SealedRecord>| {
                found.map(|record| self.open_record::<T>(domain_key, place, key, &record)).transpose()
            })
            .await?;
        let version = opened.as_ref().map(|opened| opened.version());
        Ok(Held { value: opened.map(|opened| opened.into_value()), version })
    }
}
