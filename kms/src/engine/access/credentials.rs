//! Credentials: registered, listed, revoked. A host signs no certificate: whoever registers one has signed it.

use super::{
    change::not_found,
    record::{CredentialRecord, credential_key},
};
use crate::{
    engine::{HostService, read::Sole, write::ATTEMPTS},
    error::{Code, Error},
    iam::{Administrator, Credential},
    limits::SCAN_MAX_RECORDS,
    record::CommitId,
    vault::{KIND_CREDENTIAL, record_prefix},
};
use uuid::Uuid;

/// One page of credentials, and whether there are more.
pub type CredentialPage = (Vec<Credential>, bool);

impl HostService {
    /// Registers an access certificate.
    ///
    /// # Errors
    /// `BadArgument`, `Conflict` if it is registered, `DomainNotFound`, `Refused`, `Unknown`.
    pub async fn register_credential(
        &self,
        _: &Administrator,
        domain: Uuid,
        credential: Credential,
    ) -> Result<(), Error> {
        credential.check()?;
        let taken = || Error::new(Code::Conflict, "this credential is registered already");
        self.set_credential(domain, credential.id, |before| match before {
            None => Ok(Some(credential.clone())),
            Some(_) => Err(taken()),
        })
        .await
    }

    /// Revokes a credential, for good: no restore brings it back.
    ///
    /// # Errors
    /// `AccessNotFound`, `DomainNotFound`, `Refused`, `Unknown`.
    pub async fn revoke_credential(&self, _: &Administrator, domain: Uuid, id: Uuid) -> Result<(), Error> {
        let now_s = self.wall_s();
        self.set_credential(domain, id, |before| match before {
            None => Err(not_found("credential")),
            Some(credential) if credential.revoked_s.is_some() => Ok(None),
            Some(credential) => Ok(Some(Credential { revoked_s: Some(now_s), ..credential })),
        })
        .await
    }

    /// Changes a credential together with the stamp; `None` leaves all as it is.
    async fn set_credential(
        &self,
        domain: Uuid,
        id: Uuid,
        change: impl Fn(Option<Credential>) -> Result<Option<Credential>, Error>,
    ) -> Result<(), Error> {
        let key = credential_key(domain, id);
        let until = self.write_deadline();
        let mut mine: Vec<CommitId> = Vec::new();
        for _ in 0..ATTEMPTS {
            let stamp = self.stamp(domain).await?;
            let held = self.held::<CredentialRecord>(domain, &key).await?;
            if held.version.is_some_and(|version| mine.contains(&version.commit_id)) {
                self.access.doubt(domain);
                return Ok(());
            }
            let Some(credential) = change(held.value.map(|record| record.0))? else { return Ok(()) };
            let mut batch = self.batch(domain).await?;
            self.put_stamp(domain, &mut batch, stamp, false).await?;
            batch.put(&key, held.version, &CredentialRecord(credential))?;
            mine.push(batch.id());
            if self.commit_access(domain, batch, until).await? {
                return Ok(());
            }
            if !self.time_left(until) {
                break;
            }
        }
        Err(Error::refused("credential: conflicts until the deadline"))
    }

    /// One credential.
    ///
    /// # Errors
    /// `AccessNotFound`, `DomainNotFound`, `Refused`, `Integrity`.
    pub async fn credential(&self, _: &Administrator, domain: Uuid, id: Uuid) -> Result<Credential, Error> {
        let held = self.held::<CredentialRecord>(domain, &credential_key(domain, id)).await?;
        held.value.map(|record| record.0).ok_or_else(|| not_found("credential"))
    }

    /// Up to a hundred credentials in the order of their ids, after one.
    ///
    /// # Errors
    /// `DomainNotFound`, `Refused`, `Integrity`.
    pub async fn credentials(
        &self,
        _: &Administrator,
        domain: Uuid,
        after: Option<Uuid>,
    ) -> Result<CredentialPage, Error> {
        let (prefix, after) =
            (record_prefix(KIND_CREDENTIAL, domain), after.map(|id| credential_key(domain, id)));
        self.decide(
            domain,
            |place| self.store.scan(place, prefix.clone(), after.clone(), SCAN_MAX_RECORDS),
            |domain_key, place, page| {
                let mut found = Vec::with_capacity(page.records.len());
                for (key, record) in &page.records {
                    found.push(
                        self.open_record::<CredentialRecord>(domain_key, place, key, record)?.into_value().0,
                    );
                }
                Ok(Sole((found, page.more)))
            },
        )
        .await
        .map(|Sole(page)| page)
    }
}
