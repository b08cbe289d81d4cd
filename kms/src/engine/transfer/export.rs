//! Takes a domain out, a page at a time. Every record is as it was at some moment between the first page and the last, and no write in doubt
//! is in it: what was acknowledged before the first page and not changed since is there; of what changes meanwhile, the state before or
//! after. A secret and the list of its versions are of one moment; data that was destroyed after that moment is not there.

use super::{cursor::Cursor, key::carried};
use crate::{
    container::{ContentKey, Counts, Frame, NewHead, Record, Text, WRAPPING_BITS_MIN, seal_frame},
    crypto::{
        Secret,
        asymmetric::{KeyError, PublicKey},
        sha256,
    },
    dates::rfc3339,
    engine::{
        HostService, KeyRecord,
        access::{Part, PartRecord, SealedCredential},
        create::random_id,
        secrets::{ConfigRecord, SecretRecord},
    },
    env::Purpose,
    error::Error,
    iam::{Authorized, Group, Issuer, Policy, action},
    limits::{EXPORT_SCANS_MAX, SCAN_MAX_RECORDS},
    record::RecordKey,
    vault::{
        KIND_CREDENTIAL, KIND_GROUP, KIND_ISSUER, KIND_POLICY, KIND_SECRET, KIND_SECRET_CONFIG,
        KIND_SERVICE_KEY, Payload, record_prefix,
    },
};
use uuid::Uuid;

/// The order of an export. Cursors count in it.
const KINDS: [u8; 7] = [
    KIND_POLICY,
    KIND_GROUP,
    KIND_ISSUER,
    KIND_CREDENTIAL,
    KIND_SECRET_CONFIG,
    KIND_SERVICE_KEY,
    KIND_SECRET,
];

/// Where an export goes on.
pub enum ExportFrom<'a> {
    /// At its beginning.
    Begin {
        /// The owner's public key.
        to: &'a PublicKey,
        /// Where the domain is, for the head.
        region: &'a str,
    },
    /// Where the last page ended.
    Cursor(&'a str),
}

/// A page: the next bytes of the container.
pub struct ExportPage {
    /// The head, if it is the first page, and a frame.
    pub data: Vec<u8>,
    /// Where the next page begins; none: the container is whole.
    pub next: Option<String>,
    /// What is in the container so far.
    pub counts: Counts,
}

/// The text of a page as it grows.
struct Sheet {
    text: Text,
    counts: Counts,
    scans: u32,
}

impl Sheet {
    fn add(&mut self, record: &Record) -> Result<(), Error> {
        self.counts.add(record);
        self.text.push(record).map_err(|error| Error::internal(format!("export: {error}")))
    }

    fn is_full(&self) -> bool {
        self.text.is_full() || self.scans >= EXPORT_SCANS_MAX
    }
}

/// Records in their order, and the last one of the page if more follow.
type Scanned<T> = (Vec<(RecordKey, T)>, Option<RecordKey>);

impl HostService {
    /// The next page of an export.
    ///
    /// # Errors
    /// `BadArgument` for a key that is none to encrypt to, or a cursor that is none; `Refused` while something is in doubt or no database
    /// answers: ask again; `Integrity`.
    pub async fn export_domain(
        &self,
        may: &Authorized<action::DomainExport>,
        from: ExportFrom<'_>,
    ) -> Result<ExportPage, Error> {
        let domain = may.domain();
        let domain_key = self.domain_key(domain).await?;
        let ((mut cursor, content), mut data) = match from {
            ExportFrom::Begin { to, region } => self.begin(domain, to, region)?,
            ExportFrom::Cursor(text) => (Cursor::read(&domain_key, text)?, Vec::new()),
        };
        let mut sheet = Sheet { text: Text::default(), counts: cursor.counts, scans: 0 };
        while cursor.kind < KINDS.len() && !sheet.is_full() {
            self.gather(domain, &mut cursor, &mut sheet).await?;
        }
        cursor.counts = sheet.counts;
        let last = cursor.kind >= KINDS.len();
        if last {
            sheet.add(&Record::End(cursor.counts))?;
        }
        let place = Frame { number: cursor.number, last, before: cursor.before };
        let frame = seal_frame(&self.env, &content, &place, sheet.text)?;
        (cursor.number, cursor.before) = (cursor.number + 1, sha256(&frame));
        data.extend_from_slice(&frame);
        let next = if last { None } else { Some(cursor.text(&self.env, &domain_key, &content)?) };
        Ok(ExportPage { data, next, counts: cursor.counts })
    }

    /// A new export, the key above all its frames, and its head.
    fn begin(
        &self,
        domain: Uuid,
        to: &PublicKey,
        region: &str,
    ) -> Result<((Cursor, ContentKey), Vec<u8>), Error> {
        let content = ContentKey::new(Secret::random(&self.env)?);
        let mut cursor = Cursor {
            number: 0,
            before: [0; 32],
            kind: 0,
            after: None,
            draining: None,
            counts: Counts::default(),
        };
        let started = rfc3339(self.env.clock.wall()).unwrap_or_default();
        let export_id = random_id(self.env.random(Purpose::Public)?);
        let head = NewHead { export_id, domain, region, started };
        let bytes = head.written(&self.env, to, &content).map_err(|error| match error {
            KeyError::WrongAlgorithm => Error::bad(format!(
                "wrappingKey must be an RSA public key of at least {WRAPPING_BITS_MIN} bits"
            )),
            error => Error::internal(error.to_string()),
        })?;
        cursor.before = sha256(&bytes);
        Ok(((cursor, content), bytes))
    }

    /// Adds what one or a few scans bring, and moves on.
    async fn gather(&self, domain: Uuid, cursor: &mut Cursor, sheet: &mut Sheet) -> Result<(), Error> {
        match KINDS[cursor.kind] {
            KIND_POLICY => self.gather_parts::<Policy>(domain, cursor, sheet, Record::Policy).await,
            KIND_GROUP => self.gather_parts::<Group>(domain, cursor, sheet, Record::Group).await,
            KIND_ISSUER => self.gather_parts::<Issuer>(domain, cursor, sheet, Record::Issuer).await,
            KIND_CREDENTIAL => {
                let line = |record: SealedCredential| Some(Record::Credential(record.0));
                self.gather_each(domain, cursor, sheet, line).await
            }
            KIND_SECRET_CONFIG => {
                let line = |record: ConfigRecord| record.carried().map(Record::SecretConfig);
                self.gather_each(domain, cursor, sheet, line).await
            }
            KIND_SERVICE_KEY => {
                let line = |record: KeyRecord| Some(Record::Key(Box::new(carried(&record))));
                self.gather_each(domain, cursor, sheet, line).await
            }
            _ => self.gather_secrets(domain, cursor, sheet).await,
        }
    }

    async fn gather_parts<T: Part>(
        &self,
        domain: Uuid,
        cursor: &mut Cursor,
        sheet: &mut Sheet,
        line: fn(T) -> Record,
    ) -> Result<(), Error> {
        self.gather_each(domain, cursor, sheet, |record: PartRecord<T>| record.0.map(line)).await
    }

    async fn gather_each<T: Payload>(
        &self,
        domain: Uuid,
        cursor: &mut Cursor,
        sheet: &mut Sheet,
        line: impl Fn(T) -> Option<Record>,
    ) -> Result<(), Error> {
        let (found, last) = self.scanned::<T>(domain, cursor, sheet).await?;
        for (_, record) in found {
            if let Some(record) = line(record) {
                sheet.add(&record)?;
            }
        }
        cursor.go_on(last);
        Ok(())
    }

    /// The next records of the kind that the cursor is at.
    async fn scanned<T: Payload>(
        &self,
        domain: Uuid,
        cursor: &Cursor,
        sheet: &mut Sheet,
    ) -> Result<Scanned<T>, Error> {
        sheet.scans += 1;
        let prefix = record_prefix(KINDS[cursor.kind], domain);
        self.settled_scan(domain, prefix, cursor.looked_at(), SCAN_MAX_RECORDS, |domain_key, place, page| {
            let last = page.records.last().map(|(key, _)| key.clone()).filter(|_| page.more);
            let mut found = Vec::with_capacity(page.records.len());
            for (key, record) in page.records {
                let opened = self.open_record::<T>(domain_key, place, &key, &record)?.into_value();
                found.push((key, opened));
            }
            Ok((found, last))
        })
        .await
    }

    /// Secrets, each followed by the data of its versions.
    async fn gather_secrets(
        &self,
        domain: Uuid,
        cursor: &mut Cursor,
        sheet: &mut Sheet,
    ) -> Result<(), Error> {
        if let (Some(_), Some(key)) = (&cursor.draining, cursor.looked_at()) {
            // As it is now: what was destroyed since the last page does not leave.
            match self.held::<SecretRecord>(domain, &key).await?.value {
                Some(record) => self.drain(domain, cursor, sheet, &record).await?,
                None => cursor.draining = None,
            }
        }
        if sheet.is_full() {
            return Ok(());
        }
        let (found, last) = self.scanned::<SecretRecord>(domain, cursor, sheet).await?;
        for (key, record) in found {
            cursor.after = Some(key.0);
            if let Some((secret, draining)) = record.carried() {
                sheet.add(&Record::Secret(Box::new(secret)))?;
                cursor.draining = Some(draining);
                self.drain(domain, cursor, sheet, &record).await?;
            }
            // What was scanned behind it is scanned again for the next page.
            if sheet.is_full() {
                return Ok(());
            }
        }
        cursor.go_on(last);
        Ok(())
    }

    /// Gives the data of the versions that the cursor says are still to leave, as far as the page goes and the secret lists them.
    async fn drain(
        &self,
        domain: Uuid,
        cursor: &mut Cursor,
        sheet: &mut Sheet,
        listed: &SecretRecord,
    ) -> Result<(), Error> {
        while let Some(draining) = cursor.draining.clone()
            && !sheet.is_full()
        {
            sheet.scans += 1;
            let (versions, left) = self.drained(domain, draining, listed).await?;
            for version in versions {
                sheet.add(&Record::SecretVersion(version))?;
            }
            cursor.draining = left;
        }
        Ok(())
    }
}
