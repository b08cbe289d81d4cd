//! Secrets as they leave a domain and come into one. The data of versions comes in first, under an id that follows from the one it had: so
//! an import that is broken off goes on where it was, and nothing is seen of a secret before all of it is there. With the secret a mark is
//! written that its id is used: no other path comes to the same data, no data is added to it, and once deleted it does not come back.

use super::{
    change::DESTROYED_AT_ONCE,
    document::Document,
    path::{ID_BYTES, SecretPath, brought_key, config_key, version_key, version_prefix},
    record::{BroughtRecord, ConfigRecord, Doomed, Secret, SecretRecord, VersionRecord},
    settings::{CustomMetadata, Settings, Span, VERSIONS_MAX},
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
    error::Error,
    limits::SCAN_MAX_RECORDS,
    record::RecordKey,
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

/// Ranges of versions that are to be destroyed when a secret comes in: its record lists them.
const FOREIGN_MAX: usize = 64;

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
    let dates = versions.numbers().filter_map(|number| versions.get(number));
    let dates = dates.flat_map(|meta| [Some(meta.created_s), meta.deactivates_s]).flatten();
    check_dates(dates.map(Duration::from_secs))?;
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
        number @ 1..=VERSIONS_MAX => Ok(Brought { id: id_of(&from.secret)?, number, data }),
        _ => Err(Error::bad(format!("number of a version is none from 1 to {VERSIONS_MAX}"))),
    }
}

impl HostService {
    /// Data of versions from `draining` on that the secret's record lists, and what is left of it.
    pub(in crate::engine) async fn drained(
        &self,
        domain: Uuid,
        (id, numbers): Draining,
        listed: &SecretRecord,
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
                        let leaves = numbers.contains(&number) && listed.has_data(&id, number);
                        let data = opened.data.filter(|_| leaves);
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

    /// Brings in the data of a version, unless its secret is there already.
    pub(in crate::engine) async fn bring_version(
        &self,
        domain: Uuid,
        from: &Brought,
        dry: bool,
    ) -> Result<Outcome, Error> {
        let id = id_here(&*self.domain_key(domain).await?, &from.id);
        let (key, mark) = (version_key(domain, &id, from.number), brought_key(domain, &id));
        let data = from.data.text()?;
        let until = self.write_deadline();
        for _ in 0..ATTEMPTS {
            let held: Held<VersionRecord> = self.held(domain, &key).await?;
            if let Some(there) = held.value {
                let same = there.data.is_some_and(|there| there.same(&data));
                return Ok(if same { Outcome::Present } else { Outcome::Conflict });
            }
            if self.is_used(domain, &mark).await? {
                return Ok(Outcome::Conflict);
            }
            if dry {
                return Ok(Outcome::New);
            }
            let mut batch = self.batch(domain).await?;
            batch.put(&key, None, &VersionRecord { data: Some(data.duplicate()) })?;
            batch.expect(&mark, None);
            if let Attempt::Done = batch.commit(until).await? {
                return Ok(Outcome::New);
            }
            if !self.time_left(until) {
                break;
            }
        }
        Err(Error::refused("import: conflicts until the deadline"))
    }

    /// Whether a secret was brought in under the id of this mark.
    async fn is_used(&self, domain: Uuid, mark: &RecordKey) -> Result<bool, Error> {
        Ok(self.held::<BroughtRecord>(domain, mark).await?.version.is_some())
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
        let (key, mark) = (self.secret_at(domain, &secret.path).await?, brought_key(domain, &secret.id));
        let until = self.write_deadline();
        for _ in 0..ATTEMPTS {
            let held: Held<SecretRecord> = self.held(domain, &key).await?;
            let before = held.value.unwrap_or(SecretRecord { secret: None, doomed: Vec::new() });
            if let Some(there) = &before.secret {
                // It came in before; or it never left.
                let same = [secret.id, was].contains(&there.id) && there.created_s == secret.created_s;
                return Ok(if same { Outcome::Present } else { Outcome::Conflict });
            }
            // It was brought in before, and deleted here; or it is at another path.
            if self.is_used(domain, &mark).await? {
                return Ok(Outcome::Conflict);
            }
            let Some(mut foreign) = self.foreign_data(domain, &secret, dry).await? else {
                return Ok(Outcome::Conflict);
            };
            if dry {
                return Ok(Outcome::New);
            }
            let mut batch = self.batch(domain).await?;
            self.destroy_some(domain, &mut batch, &mut foreign, DESTROYED_AT_ONCE).await?;
            let left = !foreign.is_empty();
            let doomed = [before.doomed, foreign].concat();
            batch.put(&key, held.version, &SecretRecord { secret: Some(secret.clone()), doomed })?;
            batch.put(&mark, None, &BroughtRecord)?;
            if let Attempt::Done = batch.commit(until).await? {
                if left {
                    // Whoever changes the secret next goes on with what this does not come to.
                    let _ = self.sweep(domain, &key).await;
                }
                return Ok(Outcome::New);
            }
            if !self.time_left(until) {
                break;
            }
        }
        Err(Error::refused("import: conflicts until the deadline"))
    }

    /// Data under the secret's id that it does not list, left over by an import of another state of it: it is to be destroyed. None if
    /// the secret cannot come in: something of it was destroyed here; data of it is not there, which a `dry` run does not ask for; there is
    /// data behind its last version, where it would be in the way of the next ones; or too much is left over.
    async fn foreign_data(
        &self,
        domain: Uuid,
        secret: &Secret,
        dry: bool,
    ) -> Result<Option<Vec<Doomed>>, Error> {
        let versions = &secret.versions;
        let mut missing: BTreeSet<u32> =
            versions.numbers().filter(|number| versions.has_data(*number)).collect();
        let mut foreign: Vec<Doomed> = Vec::new();
        let mut after = version_key(domain, &secret.id, 0);
        loop {
            let found = self.stored_versions(domain, secret.id, after, SCAN_MAX_RECORDS).await?;
            for &(_, number, _, gone) in &found.records {
                if gone || number > versions.current() {
                    return Ok(None);
                }
                match foreign.last_mut() {
                    _ if missing.remove(&number) => {}
                    Some(last) if last.until == number => last.until += 1,
                    _ => foreign.push(Doomed { id: secret.id, from: number, until: number + 1 }),
                }
            }
            match found.records.last() {
                Some((key, ..)) if found.more => after = key.clone(),
                _ => break,
            }
        }
        let fits = (missing.is_empty() || dry) && foreign.len() <= FOREIGN_MAX;
        Ok(fits.then_some(foreign))
    }
}
