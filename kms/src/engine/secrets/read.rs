//! Reads secrets. While a write is in doubt, what is asked is answered if it is the same whether or not the write happens: an old
//! version while a new one is being made, for example. The data of a version never changes; it is there or destroyed.

use super::{
    document::Document,
    path::{SecretPath, version_key},
    record::{Secret, SecretRecord, VersionRecord},
    settings::{CustomMetadata, Settings},
    versions::VersionState,
    view::{Described, SecretAndVersion, SecretView, VersionView},
};
use crate::{
    crypto::SecretBytes,
    engine::{HostService, read::Same},
    error::{Code, Error},
    iam::{Authorized, action},
};
use uuid::Uuid;

/// An answer compared as a whole.
#[derive(PartialEq)]
pub(super) struct Whole<T>(pub(super) T);

impl<T: PartialEq> Same for Whole<T> {
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

/// What there is to say of a version with its data.
#[derive(Clone, PartialEq, Eq)]
pub struct VersionOf {
    /// The version.
    pub version: VersionView,
    /// Custom metadata of its secret.
    pub custom: CustomMetadata,
}

/// A version, and its data if it is active.
pub struct WithData {
    /// The version.
    pub of: VersionOf,
    /// Its data.
    pub data: Option<Document>,
}

impl WithData {
    fn new((custom, version, data): (CustomMetadata, VersionView, Option<Document>)) -> WithData {
        WithData { of: VersionOf { version, custom }, data }
    }
}

/// What two rights are about, if that is one secret.
pub(super) fn same_secret<'a>(
    (domain, path): (Uuid, &'a SecretPath),
    (other_domain, other): (Uuid, &SecretPath),
) -> Result<&'a SecretPath, Error> {
    match domain == other_domain && path == other {
        true => Ok(path),
        false => Err(Error::internal("rights about two secrets")),
    }
}

fn custom_of(secret: &Secret) -> CustomMetadata {
    secret.custom.clone()
}

/// What a version's record says.
enum Kept {
    Data(SecretBytes),
    Gone,
    Nothing,
}

impl Same for Kept {
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Kept::Data(one), Kept::Data(two)) => one.same(two),
            (Kept::Gone, Kept::Gone) | (Kept::Nothing, Kept::Nothing) => true,
            _ => false,
        }
    }
}

impl HostService {
    /// Answers from what is known of a secret.
    pub(super) async fn ask_secret<T: PartialEq>(
        &self,
        domain: Uuid,
        path: &SecretPath,
        answer: impl Fn(&Secret) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let key = self.secret_at(domain, path).await?;
        self.decide_record(domain, &key, |found: Option<SecretRecord>| {
            match found.and_then(|record| record.secret) {
                Some(secret) => answer(&secret).map(Whole),
                None => Err(Error::secret_not_found()),
            }
        })
        .await?
        .map(|Whole(answer)| answer)
    }

    /// A secret and one of its versions, the current one if `number` is 0.
    ///
    /// # Errors
    /// `SecretNotFound`, `VersionNotFound`, `Refused`, `Integrity`.
    pub async fn get_secret(
        &self,
        may: &Authorized<action::SecretGet>,
        number: u32,
    ) -> Result<Described, Error> {
        let path = may.of();
        let now_s = self.wall_s();
        let is = self
            .ask_secret(may.domain(), path, |secret| {
                let version = secret.version(number, now_s);
                match (version, number) {
                    (None, 1..) => Err(Error::version_not_found()),
                    _ => Ok(SecretAndVersion { secret: secret.view(), version }),
                }
            })
            .await?;
        let holds = is.secret.settings.within(&self.domain_settings(may.domain()).await?);
        Ok(Described { is, holds })
    }

    /// A secret and all of its versions, in the order of their numbers.
    ///
    /// # Errors
    /// `SecretNotFound`, `Refused`, `Integrity`.
    pub async fn get_versions(
        &self,
        may: &Authorized<action::SecretGet>,
    ) -> Result<(SecretView, Vec<VersionView>), Error> {
        let path = may.of();
        let now_s = self.wall_s();
        self.ask_secret(may.domain(), path, |secret| Ok((secret.view(), secret.all_versions(now_s)))).await
    }

    /// One version without its data.
    ///
    /// # Errors
    /// `SecretNotFound`, `VersionNotFound`, `Refused`, `Integrity`.
    pub async fn get_version(
        &self,
        may: &Authorized<action::SecretGet>,
        number: u32,
    ) -> Result<VersionView, Error> {
        let path = may.of();
        let now_s = self.wall_s();
        self.ask_secret(may.domain(), path, |secret| {
            secret.version(number, now_s).ok_or_else(Error::version_not_found)
        })
        .await
    }

    /// A version with its data, the current one if `number` is 0. Deactivated and deleted ones come without.
    ///
    /// # Errors
    /// `SecretNotFound`, `VersionNotFound`, `Refused`, `Integrity`.
    pub async fn get_data(
        &self,
        may: &Authorized<action::SecretVersionGetData>,
        number: u32,
    ) -> Result<WithData, Error> {
        let path = may.of();
        self.data_of(may.domain(), path, number, custom_of).await.map(WithData::new)
    }

    /// A secret and one of its versions, the current one if `number` is 0, with the version's data. All of it is of one moment.
    ///
    /// # Errors
    /// `SecretNotFound`, `VersionNotFound`, `Refused`, `Integrity`.
    pub async fn get_secret_with_data(
        &self,
        may: &Authorized<action::SecretGet>,
        may_data: &Authorized<action::SecretVersionGetData>,
        number: u32,
    ) -> Result<(Described, Option<Document>), Error> {
        let path = same_secret((may.domain(), may.of()), (may_data.domain(), may_data.of()))?;
        let domain = may.domain();
        let (secret, version, data) = match self.data_of(domain, path, number, Secret::view).await {
            // A secret without any version is one all the same.
            Err(error) if error.code() == Code::VersionNotFound && number == 0 => {
                return Ok((self.get_secret(may, 0).await?, None));
            }
            found => found?,
        };
        let holds = secret.settings.within(&self.domain_settings(domain).await?);
        Ok((Described { is: SecretAndVersion { secret, version: Some(version) }, holds }, data))
    }

    /// The names in the data of a version; see [`Document::subkeys`].
    ///
    /// # Errors
    /// As of [`HostService::get_data`].
    pub async fn get_subkeys(
        &self,
        may: &Authorized<action::SecretSubKeysGet>,
        number: u32,
        depth: u32,
    ) -> Result<(VersionOf, Option<serde_json::Value>), Error> {
        let path = may.of();
        let found = self.data_of(may.domain(), path, number, custom_of).await.map(WithData::new)?;
        Ok((found.of, found.data.map(|data| data.subkeys(depth))))
    }

    /// What `of` says of a secret, a version, and the version's data if it is active.
    async fn data_of<T: PartialEq>(
        &self,
        domain: Uuid,
        path: &SecretPath,
        number: u32,
        of: impl Fn(&Secret) -> T,
    ) -> Result<(T, VersionView, Option<Document>), Error> {
        let mut looked_again = false;
        loop {
            let now_s = self.wall_s();
            let (said, mut version, id) = self
                .ask_secret(domain, path, |secret| {
                    let version = secret.version(number, now_s).ok_or_else(Error::version_not_found)?;
                    Ok((of(secret), version, secret.id()))
                })
                .await?;
            if version.state != VersionState::Active {
                return Ok((said, version, None));
            }
            let key = version_key(domain, &id, version.number);
            let kept = self
                .decide_record(domain, &key, |found: Option<VersionRecord>| match found {
                    Some(VersionRecord { data: Some(data) }) => Kept::Data(data),
                    Some(VersionRecord { data: None }) => Kept::Gone,
                    None => Kept::Nothing,
                })
                .await?;
            match kept {
                Kept::Data(text) => {
                    let data = Document::read(&text)
                        .ok_or_else(|| Error::integrity("a version is no JSON object"))?;
                    return Ok((said, version, Some(data)));
                }
                // Destroyed since the secret was read: what is known of it now says so. If it does not, a restore brought the
                // secret back from before, and the tombstone after it.
                Kept::Gone if looked_again => {
                    version.meta.deleted = true;
                    version.state = VersionState::Deleted;
                    return Ok((said, version, None));
                }
                Kept::Nothing if looked_again => return Err(Error::integrity("a version has no data")),
                Kept::Gone | Kept::Nothing => looked_again = true,
            }
        }
    }

    /// What is set for the domain.
    pub(super) async fn domain_settings(&self, domain: Uuid) -> Result<Settings, Error> {
        self.decide_record(domain, &super::path::config_key(domain), |found: Option<super::ConfigRecord>| {
            Whole(found.unwrap_or_default().0)
        })
        .await
        .map(|Whole(settings)| settings)
    }
}
