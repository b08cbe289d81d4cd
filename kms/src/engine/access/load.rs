//! Reads the access document of a domain from one database: the stamp, all parts, and the stamp again until it is the same. While a change is
//! in doubt both outcomes are read, and a document is made of each.

use super::record::{Part, PartRecord, StampRecord, stamp_key};
use crate::{
    engine::{HostService, read::Same},
    error::Error,
    iam::{Document, Group, Issuer, Policy},
    limits::{ACCESS_PARTS_MAX, SCAN_MAX_RECORDS},
    record::{RecordKey, SealedRecord, Version},
    store::api::{Page, Place, ReadError, Reading},
    vault::{BadSeal, DomainKey, record_prefix},
};
use std::sync::Arc;
use uuid::Uuid;

/// Times that the parts are read again because they were changed meanwhile.
const TRIES: u32 = 5;
/// Records of parts, those of deleted ones too, that are read before they count as too many.
const RECORDS_MAX: usize = 16 * ACCESS_PARTS_MAX as usize;

/// One outcome: the version of its stamp, and what it says.
#[derive(Clone)]
pub(super) struct Outcome {
    pub(super) version: Option<Version>,
    pub(super) document: Arc<Document>,
    pub(super) bytes: u64,
}

/// All outcomes: two while a change is in doubt.
pub(super) struct Outcomes(pub(super) Vec<Outcome>);

impl Same for Outcomes {
    fn same(&self, _other: &Self) -> bool {
        false
    }

    fn both(mut self, other: Self) -> Option<Self> {
        self.0.extend(other.0);
        Some(self)
    }
}

/// The versions of the stamp under each outcome.
#[derive(PartialEq)]
pub(super) struct Stamps(pub(super) Vec<Option<Version>>);

impl Same for Stamps {
    fn same(&self, other: &Self) -> bool {
        self == other
    }

    fn both(mut self, other: Self) -> Option<Self> {
        self.0.extend(other.0);
        Some(self)
    }
}

/// What one database has under one outcome.
#[derive(Clone, Default)]
struct Raw {
    stamp: Option<SealedRecord>,
    records: Vec<(RecordKey, SealedRecord)>,
}

impl HostService {
    /// The versions of a domain's stamp.
    pub(super) async fn stamps(&self, domain: Uuid) -> Result<Stamps, Error> {
        let key = stamp_key(domain);
        self.decide(
            domain,
            |place| self.store.get(place, key.clone()),
            |domain_key, place, found: Option<SealedRecord>| match found {
                None => Ok(Stamps(vec![None])),
                Some(record) => {
                    let opened = self.open_record::<StampRecord>(domain_key, place, &key, &record)?;
                    Ok(Stamps(vec![Some(opened.version())]))
                }
            },
        )
        .await
    }

    /// A domain's access document, under each outcome.
    pub(super) async fn documents(&self, domain: Uuid) -> Result<Outcomes, Error> {
        self.decide(
            domain,
            |place| Box::pin(self.raw(domain, place)),
            |domain_key, place, raw: Raw| self.document(domain_key, place, raw),
        )
        .await
    }

    /// What there is in one database, all of one moment.
    async fn raw(&self, domain: Uuid, place: Place) -> Result<Reading<Raw>, ReadError> {
        let key = stamp_key(domain);
        for _ in 0..TRIES {
            let stamp = self.store.get(place, key.clone()).await?;
            let mut sides = match stamp.clone() {
                Reading::Settled(stamp) => vec![Raw { stamp, ..Raw::default() }],
                Reading::InDoubt { confirmed, pending } => {
                    [confirmed, pending].map(|stamp| Raw { stamp, ..Raw::default() }).into()
                }
            };
            let mut whole = true;
            for kind in [Policy::KIND, Group::KIND, Issuer::KIND] {
                whole &= self.scan_all(place, record_prefix(kind, domain), &mut sides).await?;
            }
            if !whole || self.store.get(place, key.clone()).await? != stamp {
                continue;
            }
            let mut sides = sides.into_iter();
            return match (sides.next(), sides.next()) {
                (Some(confirmed), Some(pending)) => Ok(Reading::InDoubt { confirmed, pending }),
                (Some(settled), None) => Ok(Reading::Settled(settled)),
                (None, _) => Err(ReadError::Damaged),
            };
        }
        // Somebody changes it without end.
        Err(ReadError::InDoubt)
    }

    /// Adds all records of a prefix to each side; `false` if a change began meanwhile.
    async fn scan_all(&self, place: Place, prefix: Vec<u8>, sides: &mut [Raw]) -> Result<bool, ReadError> {
        let mut after = None;
        loop {
            let page = self.store.scan(place, prefix.clone(), after.take(), SCAN_MAX_RECORDS).await?;
            let pages = match page {
                Reading::Settled(page) => vec![page; sides.len()],
                Reading::InDoubt { confirmed, pending } if sides.len() == 2 => vec![confirmed, pending],
                Reading::InDoubt { .. } => return Ok(false),
            };
            // Both sides go on from the same place: where the one ends that ends first.
            let last = |page: &Page| page.records.last().map(|(key, _)| key.clone()).filter(|_| page.more);
            let end = pages.iter().filter_map(last).min();
            for (side, page) in sides.iter_mut().zip(pages) {
                let within = |(key, _): &(RecordKey, SealedRecord)| end.as_ref().is_none_or(|end| key <= end);
                side.records.extend(page.records.into_iter().filter(within));
                if side.records.len() > RECORDS_MAX {
                    return Err(ReadError::Damaged);
                }
            }
            match end {
                Some(_) => after = end,
                None => return Ok(true),
            }
        }
    }

    /// Reads one outcome. A domain without a stamp never had a part: if there is one, the stamp is missing.
    fn document(&self, key: &DomainKey, place: Place, raw: Raw) -> Result<Outcomes, BadSeal> {
        let domain = key.domain();
        let Some(stamp) = raw.stamp else {
            if !raw.records.is_empty() {
                tracing::warn!(?place, %domain, "access document without a stamp");
                return Err(BadSeal);
            }
            let document = Arc::new(Document::new(domain, vec![Policy::open()], Vec::new(), Vec::new()));
            return Ok(Outcomes(vec![Outcome { version: None, document, bytes: 0 }]));
        };
        let at = stamp_key(domain);
        let stamp = self.open_record::<StampRecord>(key, place, &at, &stamp)?;
        let (mut policies, mut groups, mut issuers) = (Vec::new(), Vec::new(), Vec::new());
        for (at, record) in &raw.records {
            match at.0.first() {
                Some(&Policy::KIND) => policies.extend(self.part::<Policy>(key, place, at, record)?),
                Some(&Group::KIND) => groups.extend(self.part::<Group>(key, place, at, record)?),
                _ => issuers.extend(self.part::<Issuer>(key, place, at, record)?),
            }
        }
        let parts = policies.len() + groups.len() + issuers.len();
        if parts != stamp.value().parts as usize {
            tracing::warn!(?place, %domain, parts, "access document is not whole");
            return Err(BadSeal);
        }
        policies.sort_by(|one: &Policy, other| one.name.cmp(&other.name));
        groups.sort_by(|one: &Group, other| one.name.cmp(&other.name));
        issuers.sort_by(|one: &Issuer, other| one.name.cmp(&other.name));
        let (version, bytes) = (Some(stamp.version()), stamp.value().bytes);
        let document = Arc::new(Document::new(domain, policies, groups, issuers));
        Ok(Outcomes(vec![Outcome { version, document, bytes }]))
    }

    fn part<T: Part>(
        &self,
        domain_key: &DomainKey,
        place: Place,
        key: &RecordKey,
        record: &SealedRecord,
    ) -> Result<Option<T>, BadSeal> {
        Ok(self.open_record::<PartRecord<T>>(domain_key, place, key, record)?.into_value().0)
    }
}
