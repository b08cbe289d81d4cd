//! Brings in what was taken out of a domain: each record for itself, and never over something that is there. Sent again, a record that is
//! there already is `present`: an import that was broken off goes on by beginning again.

use super::{Outcome, key};
use crate::{
    container::{self, Record},
    engine::{
        HostService, KeyRecord,
        secrets::{Brought, Secret, secret_brought, version_brought},
    },
    error::{Code, Error},
    iam::{Authorized, action},
    limits::{IMPORT_AT_ONCE, IMPORT_RECORDS_MAX},
    vault::{KIND_SERVICE_KEY, record_key},
};
use futures_util::future::join_all;
use uuid::Uuid;

/// A record that was read and checked.
enum Checked {
    Key(Box<KeyRecord>),
    Config(container::SecretConfig),
    Version(Brought),
    Secret(Box<Secret>),
}

fn checked(record: Record) -> Result<Checked, Error> {
    Ok(match record {
        Record::Key(key) => Checked::Key(Box::new(key::brought(*key)?)),
        Record::SecretConfig(config) => Checked::Config(config),
        Record::SecretVersion(version) => Checked::Version(version_brought(&version)?),
        Record::Secret(secret) => Checked::Secret(Box::new(secret_brought(*secret)?)),
        Record::Policy(_) | Record::Group(_) | Record::Issuer(_) | Record::Credential(_) | Record::End(_) => {
            return Err(Error::bad("an import takes keys, secretConfig, secrets and secretVersions"));
        }
    })
}

/// What is said where something may have been written: never that nothing was.
fn half_done(error: Error) -> Error {
    match error.code() {
        Code::Integrity | Code::Internal => error,
        // Asked again it would be the same.
        Code::Full => {
            Error::new(Code::Full, "some of it is there: the domain has as many keys, or secrets, as it may")
        }
        _ => Error::new(Code::Unknown, "outcome unknown: some of it may be there; send all of it again")
            .because(error.detail().unwrap_or_default().to_owned()),
    }
}

impl HostService {
    /// Brings in records, or says what would become of them. All are checked before the first is written; secrets are written after
    /// everything else, so that the data of their versions may come with them.
    ///
    /// # Errors
    /// `BadArgument` if one is not as documented, `Refused`: nothing was done. `Unknown`, `Integrity`: some may be there; send all again. `Full`:
    /// some may be there, and there is no room for more.
    pub async fn import_records(
        &self,
        may: &Authorized<action::DomainImport>,
        records: Vec<Record>,
        dry: bool,
    ) -> Result<Vec<Outcome>, Error> {
        let domain = may.domain();
        if records.len() > IMPORT_RECORDS_MAX {
            return Err(Error::bad(format!("more than {IMPORT_RECORDS_MAX} records")));
        }
        let many = records.len();
        // Numbers of RSA keys are checked: that takes a while.
        let all = self.env.blocking("check-import", move || records.into_iter().map(checked).collect());
        let all: Result<Vec<Checked>, Error> = all.await.map_err(|_| Error::internal("a check panicked"))?;
        let (secrets, others): (Vec<_>, Vec<_>) =
            all?.into_iter().enumerate().partition(|(_, record)| matches!(record, Checked::Secret(_)));
        let mut outcomes = vec![Outcome::Conflict; many];
        let mut wrote = false;
        for records in [others, secrets] {
            let mut records = records.into_iter().peekable();
            while records.peek().is_some() {
                let some: Vec<_> = records.by_ref().take(IMPORT_AT_ONCE).collect();
                let each = some
                    .into_iter()
                    .map(|(at, record)| async move { (at, self.bring(domain, record, dry).await) });
                // All of them come to their end, whatever becomes of one.
                let mut failed = None;
                for (at, brought) in join_all(each).await {
                    match brought {
                        Ok(outcome) => {
                            wrote |= outcome == Outcome::New && !dry;
                            outcomes[at] = outcome;
                        }
                        Err(error) => {
                            wrote |= error.code() == Code::Unknown;
                            failed = failed.or(Some(error));
                        }
                    }
                }
                if let Some(error) = failed {
                    return Err(if wrote { half_done(error) } else { error });
                }
            }
        }
        Ok(outcomes)
    }

    async fn bring(&self, domain: Uuid, record: Checked, dry: bool) -> Result<Outcome, Error> {
        match record {
            Checked::Key(key) => self.bring_key(domain, &key, dry).await,
            Checked::Config(config) => self.bring_config(domain, config, dry).await,
            Checked::Version(version) => self.bring_version(domain, &version, dry).await,
            Checked::Secret(secret) => self.bring_secret(domain, *secret, dry).await,
        }
    }

    async fn bring_key(&self, domain: Uuid, record: &KeyRecord, dry: bool) -> Result<Outcome, Error> {
        let key = record_key(KIND_SERVICE_KEY, domain, record.view.id);
        let there = async || {
            let held = self.held::<KeyRecord>(domain, &key).await?;
            Ok::<_, Error>(held.value.map(|there| match key::is_same(&there, record) {
                true => Outcome::Present,
                false => Outcome::Conflict,
            }))
        };
        match there().await? {
            Some(outcome) => return Ok(outcome),
            None if dry => return Ok(Outcome::New),
            None => {}
        }
        match self.insert(domain, &key, record, || Error::new(Code::Conflict, "taken")).await {
            Ok(()) => Ok(Outcome::New),
            Err(error) if error.code() == Code::Conflict => Ok(there().await?.unwrap_or(Outcome::Conflict)),
            Err(error) => Err(error),
        }
    }
}
