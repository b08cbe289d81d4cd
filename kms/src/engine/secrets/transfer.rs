//! Secrets as they leave a domain and come into one. The data of versions comes in first, under an id that follows from the one it had: so
//! an import that is broken off goes on where it was, and nothing is seen of a secret before all of it is there.

use super::{
    document::Document,
    path::{ID_BYTES, SecretPath, config_key, version_key, version_prefix},
    record::{ConfigRecord, Secret, SecretRecord, VersionRecord},
    settings::{CustomMetadata, Settings, Span},
    versions::Versions,
};
use crate::{
    container,
    crypto::keyed_hash,
    engine::{
        HostService,
        read::Held,
        transfer::{Outcome, check_dates},
        write::{ATTEMPTS, Attempt},
    },
    error::{Code, Error},
    limits::SCAN_MAX_RECORDS,
    vault::DomainKey,
};
use std::{collections::BTreeSet, ops::Range, time::Duration};
use uuid::Uuid;

impl Settings {
    fn carried(&self) -> container::SecretConfig {
        container::SecretConfig {
            cas_required: self.cas_required,
            max_versions: self.max_versions,
            deactivate_version_after: self.deactivate_after.as_ref().map(|span| span.text().to_owned()),
        }
    }

    fn brought(from: container::SecretConfig) -> Result<Settings, Error> {
        let settings = Settings {
            cas_required: from.cas_required,
            max_versions: from.max_versions,
            deactivate_after: from.deactivate_version_after.map(Span::new).transpose()?,
        };
        settings.check()?;
        Ok(settings)
    }
}

impl ConfigRecord {
    /// As it leaves; none if nothing is set.
    pub(in crate::engine) fn carried(&self) -> Option<container::SecretConfig> {
        (self.0 != Settings::default()).then(|| self.0.carried())
    }
}

/// Versions of a secret whose data is still to leave: the secret's id, and their numbers.
pub(in crate::engine) type Draining = ([u8; ID_BYTES], Range<u32>);

impl SecretRecord {
    /// The secret as it leaves, and whose data is to follow it.
    pub(in crate::engine) fn carried(&self) -> Option<(container::Secret, Draining)> {
        let secret = self.secret.as_ref()?;
        let numbers = secret.versions.numbers();
        let carried = container::Secret {
            id: hex::encode(secret.id),
            path: secret.path.text().to_owned(),
            config: secret.settings.carried(),
            custom_metadata: secret.custom.entries().clone(),
            created_s: secret.created_s,
            updated_s: secret.updated_s,
            first_version: numbers.start,
            versions: secret.versions.carried(),
        };
        Some((carried, (secret.id, numbers)))
    }
}

fn id_of(text: &str) -> Result<[u8; ID_BYTES], Error> {
    let mut id = [0; ID_BYTES];
    hex::decode_to_slice(text, &mut id)
        .map_err(|_| Error::bad("id of a secret is not 16 bytes in hexadecimal"))?;
    Ok(id)
}

/// The id that a secret has once it has come in.
fn id_here(key: &DomainKey, id: &[u8; ID_BYTES]) -> [u8; ID_BYTES] {
    let whole = keyed_hash(&key.subkey("imported-secret"), id);
    let mut here = [0; ID_BYTES];
    here.copy_from_slice(&whole[..ID_BYTES]);
    here
}

/// A secret that is to come in, read and checked; its id is the one that it had.
pub(in crate::engine) fn brought(from: container::Secret) -> Result<Secret, Error> {
    check_dates([from.created_s, from.updated_s].map(Duration::from_secs))?;
    let versions = Versions::brought(from.created_s, from.first_version, &from.versions)
        .ok_or_else(|| Error::bad("versions of a secret are not as documented"))?;
    Ok(Secret {
        path: SecretPath::new(from.path)?,
        id: id_of(&from.id)?,
        settings: Settings::brought(from.config)?,
        custom: CustomMetadata::new(from.custom_metadata)?,
        created_s: from.created_s,
        updated_s: from.updated_s,
        versions,
    })
}

/// The data of a version that is to come in.
pub(in crate::engine) struct Brought {
    id: [u8; ID_BYTES],
    number: u32,
    data: Document,
}

/// Reads and checks the data of a version.
pub(in crate::engine) fn version_brought(from: &container::SecretVersion) -> Result<Brought, Error> {
    let data =
        Document::read(&from.data.0).ok_or_else(|| Error::bad("data of a version is no JSON object"))?;
    data.text()?;
    match from.number {
        0 => Err(Error::bad("number of a version begins with 1")),
        number => Ok(Brought { id: id_of(&from.secret)?, number, data }),
    }
}

impl HostService {
    /// Data of versions from `draining` on, and what is left of it.
    pub(in crate::engine) async fn drained(
        &self,
        domain: Uuid,
        (id, numbers): Draining,
    ) -> Result<(Vec<container::SecretVersion>, Option<Draining>), Error> {
        let after = version_key(domain, &id, numbers.start.saturating_sub(1));
        let (found, last) = self
            .settled_scan(
                domain,
                version_prefix(domain, &id),
                Some(after),
                SCAN_MAX_RECORDS,
                |key, place, page| {
                    let mut found = Vec::new();
                    let mut last = None;
                    for (record_key, record) in &page.records {
                        let number = super::path::version_number(record_key).ok_or(crate::vault::BadSeal)?;
                        last = Some(number).filter(|number| page.more && *number + 1 < numbers.end);
                        let opened =
                            self.open_record::<VersionRecord>(key, place, record_key, record)?.into_value();
                        let data = opened.data.filter(|_| numbers.contains(&number));
                        found.extend(data.map(|data| (number, data)));
                    }
                    Ok((found, last))
                },
            )
            .await?;
        let carried = |(number, data)| container::SecretVersion {
            secret: hex::encode(id),
            number,
            data: container::Carried(data),
        };
        Ok((found.into_iter().map(carried).collect(), last.map(|last| (id, last + 1..numbers.end))))
    }

    /// Brings in what is set for all secrets.
    pub(in crate::engine) async fn bring_config(
        &self,
        domain: Uuid,
        from: container::SecretConfig,
        dry: bool,
    ) -> Result<Outcome, Error> {
        let (settings, key) = (Settings::brought(from)?, config_key(domain));
        let until = self.write_deadline();
        for _ in 0..ATTEMPTS {
            let held: Held<ConfigRecord> = self.held(domain, &key).await?;
            match held.value {
                Some(ConfigRecord(there)) if there == settings => return Ok(Outcome::Present),
                Some(ConfigRecord(there)) if there != Settings::default() => return Ok(Outcome::Conflict),
                _ if dry => return Ok(Outcome::New),
                _ => {}
            }
            let mut batch = self.batch(domain).await?;
            batch.put(&key, held.version, &ConfigRecord(settings.clone()))?;
            if let Attempt::Done = batch.commit(until).await? {
                return Ok(Outcome::New);
            }
            if !self.time_left(until) {
                break;
            }
        }
        Err(Error::refused("import: conflicts until the deadline"))
    }

    /// Brings in the data of a version.
    pub(in crate::engine) async fn bring_version(
        &self,
        domain: Uuid,
        from: &Brought,
        dry: bool,
    ) -> Result<Outcome, Error> {
        let id = id_here(&*self.domain_key(domain).await?, &from.id);
        let key = version_key(domain, &id, from.number);
        let data = from.data.text()?;
        let there = async || {
            let held: Held<VersionRecord> = self.held(domain, &key).await?;
            Ok::<_, Error>(held.value.map(|there| match there.data {
                Some(there) if there.same(&data) => Outcome::Present,
                Some(_) | None => Outcome::Conflict,
            }))
        };
        match there().await? {
            Some(outcome) => return Ok(outcome),
            None if dry => return Ok(Outcome::New),
            None => {}
        }
        let record = VersionRecord { data: Some(data.duplicate()) };
        match self.insert(domain, &key, &record, || Error::new(Code::Conflict, "taken")).await {
            Ok(()) => Ok(Outcome::New),
            Err(error) if error.code() == Code::Conflict => Ok(there().await?.unwrap_or(Outcome::Conflict)),
            Err(error) => Err(error),
        }
    }

    /// Brings in a secret, the data of whose versions is there already.
    pub(in crate::engine) async fn bring_secret(
        &self,
        domain: Uuid,
        mut secret: Secret,
        dry: bool,
    ) -> Result<Outcome, Error> {
        let was = secret.id;
        secret.id = id_here(&*self.domain_key(domain).await?, &was);
        let key = self.secret_at(domain, &secret.path).await?;
        let until = self.write_deadline();
        let mut looked = false;
        for _ in 0..ATTEMPTS {
            let held: Held<SecretRecord> = self.held(domain, &key).await?;
            let before = held.value.unwrap_or(SecretRecord { secret: None, doomed: Vec::new() });
            if let Some(there) = &before.secret {
                // It came in before; or it never left.
                let same = [secret.id, was].contains(&there.id) && there.created_s == secret.created_s;
                return Ok(if same { Outcome::Present } else { Outcome::Conflict });
            }
            // It was brought in before, and deleted here.
            if before.doomed.iter().any(|doomed| doomed.id == secret.id) {
                return Ok(Outcome::Conflict);
            }
            if !looked && !self.brought_whole(domain, &secret, dry).await? {
                return Ok(Outcome::Conflict);
            }
            looked = true;
            if dry {
                return Ok(Outcome::New);
            }
            let mut batch = self.batch(domain).await?;
            let record = SecretRecord { secret: Some(secret.clone()), doomed: before.doomed };
            batch.put(&key, held.version, &record)?;
            if let Attempt::Done = batch.commit(until).await? {
                return Ok(Outcome::New);
            }
            if !self.time_left(until) {
                break;
            }
        }
        Err(Error::refused("import: conflicts until the deadline"))
    }

    /// Whether nothing of it was destroyed here.
    ///
    /// # Errors
    /// `BadArgument` if the data of a version is not there yet, unless it is a `dry` run.
    async fn brought_whole(&self, domain: Uuid, secret: &Secret, dry: bool) -> Result<bool, Error> {
        let mut missing: BTreeSet<u32> = secret
            .versions
            .numbers()
            .filter(|number| secret.versions.get(*number).is_some_and(|meta| !meta.deleted))
            .collect();
        let mut after = version_key(domain, &secret.id, 0);
        loop {
            let found = self.stored_versions(domain, secret.id, after, SCAN_MAX_RECORDS).await?;
            for (_, number, _, gone) in &found.records {
                if *gone {
                    return Ok(false);
                }
                missing.remove(number);
            }
            match found.records.last() {
                Some((key, ..)) if found.more => after = key.clone(),
                _ => break,
            }
        }
        match missing.is_empty() || dry {
            true => Ok(true),
            false => Err(Error::bad("the data of a version is not there: send it before its secret")),
        }
    }
}
