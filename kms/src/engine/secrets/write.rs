//! Makes secrets and versions of them, changes settings and metadata, merges patches. Everything that a write depends on is checked
//! inside one transaction: that the path is free, the number that the client expects (`cas`), the domain's settings.

use super::{
    change::{Needs, Now, Plan, Write},
    document::Document,
    path::SecretPath,
    read::same_secret,
    record::Secret,
    settings::{CustomMetadata, Effective, Settings, Span},
    versions::{VersionState, Versions},
    view::{Described, VersionView},
};
use crate::{
    crypto::SecretBytes,
    engine::HostService,
    error::{Code, Error},
    iam::{Authorized, action},
};
use std::collections::BTreeMap;

/// A secret to be made, where that may be done.
pub struct NewSecret {
    /// The data of its first version.
    pub data: Document,
    /// What is set for it.
    pub settings: Settings,
    /// Custom metadata.
    pub custom: CustomMetadata,
}

/// What is to become of custom metadata.
#[derive(Clone)]
pub enum CustomChange {
    /// It stays.
    Keep,
    /// This instead.
    Replace(CustomMetadata),
    /// Some entries set, some removed.
    Patch(BTreeMap<String, Option<String>>),
}

/// What is to become of a setting.
#[derive(Clone)]
pub enum Setting<T> {
    /// It stays.
    Keep,
    /// As if it had never been set.
    Unset,
    /// This instead.
    Set(T),
}

impl<T> Setting<T> {
    fn over(self, old: Option<T>) -> Option<T> {
        match self {
            Setting::Keep => old,
            Setting::Unset => None,
            Setting::Set(new) => Some(new),
        }
    }
}

/// Changes to what is set for a secret.
#[derive(Clone)]
pub struct MetadataChange {
    /// Whether a write must name the version that it replaces.
    pub cas_required: Setting<bool>,
    /// How many versions are kept.
    pub max_versions: Setting<u32>,
    /// How long a version is active.
    pub deactivate_after: Setting<Span>,
    /// Custom metadata.
    pub custom: CustomChange,
}

impl MetadataChange {
    /// What is set in `newer` is set; the rest stays.
    pub fn setting(newer: Settings, custom: CustomChange) -> MetadataChange {
        fn of<T>(value: Option<T>) -> Setting<T> {
            value.map_or(Setting::Keep, Setting::Set)
        }
        MetadataChange {
            cas_required: of(newer.cas_required),
            max_versions: of(newer.max_versions),
            deactivate_after: of(newer.deactivate_after),
            custom,
        }
    }

    fn apply(self, secret: &mut Secret) -> Result<(), Error> {
        let old = std::mem::take(&mut secret.settings);
        secret.settings = Settings {
            cas_required: self.cas_required.over(old.cas_required),
            max_versions: self.max_versions.over(old.max_versions),
            deactivate_after: self.deactivate_after.over(old.deactivate_after),
        };
        secret.settings.check()?;
        secret.custom = match self.custom {
            CustomChange::Keep => std::mem::take(&mut secret.custom),
            CustomChange::Replace(custom) => custom,
            CustomChange::Patch(changes) => secret.custom.patched(&changes)?,
        };
        Ok(())
    }
}

/// A new version, and what there is to say of its secret.
#[derive(Clone)]
pub struct Written {
    /// The version.
    pub version: VersionView,
    /// Custom metadata of the secret.
    pub custom: CustomMetadata,
}

/// What a patch came to.
pub enum Patched {
    /// A new version.
    Done(Written),
    /// The current version has no data that could be patched.
    Gone(Written),
}

/// May make a secret, or another version of one, or both. What is needed is known when it is known what is there.
pub struct MayWrite {
    /// Whether a secret may be made.
    pub create: Result<Authorized<action::SecretCreate>, Error>,
    /// Whether a version may be made.
    pub version: Result<Authorized<action::SecretVersionCreate>, Error>,
}

/// Compares the number a client expects with the one that is.
fn check_cas(cas: Option<u32>, current: u32, required: bool) -> Result<(), Error> {
    match cas {
        Some(cas) if cas == current => Ok(()),
        Some(_) => {
            Err(Error::new(Code::CasMismatch, "check-and-set parameter did not match the current version"))
        }
        None if required => {
            Err(Error::new(Code::CasRequired, "check-and-set parameter required for this call"))
        }
        None => Ok(()),
    }
}

fn new_secret(now: &Now<'_>, path: &SecretPath) -> Secret {
    Secret {
        path: path.clone(),
        id: now.fresh_id,
        settings: Settings::default(),
        custom: CustomMetadata::default(),
        created_s: now.now_s,
        updated_s: now.now_s,
        versions: Versions::new(now.now_s),
    }
}

/// The secret with one more version: what is written.
fn with_version<A>(
    now: &Now<'_>,
    mut secret: Secret,
    holds: &Effective,
    data: SecretBytes,
    answer: impl FnOnce(&Secret, u32) -> A,
) -> Result<Plan<A>, Error> {
    let after = holds.deactivate_after.as_ref().and_then(Span::seconds);
    let (number, dropped) = secret
        .versions
        .add(now.now_s, after, holds.max_versions, now.taken)
        .ok_or_else(|| Error::new(Code::Conflict, "the secret has had 24000 versions: there are no more"))?;
    let secret = secret.touched(now.now_s);
    let answer = answer(&secret, number);
    Ok(Plan::Write(Box::new(Write {
        secret: Some(secret),
        add: Some((number, data)),
        dropped,
        destroyed: Vec::new(),
        answer,
    })))
}

fn written(now: &Now<'_>, secret: &Secret, number: u32) -> Result<Written, Error> {
    let version = secret.version(number, now.now_s).ok_or_else(|| Error::internal("version not there"))?;
    Ok(Written { version, custom: secret.custom.clone() })
}

impl HostService {
    /// Makes a secret with its first version.
    ///
    /// # Errors
    /// `BadArgument`, `Conflict` when there is one at this path, `Refused`, `Unknown`.
    pub async fn create_secret(
        &self,
        may: &Authorized<action::SecretCreate>,
        new: NewSecret,
    ) -> Result<Described, Error> {
        new.settings.check()?;
        let (data, path) = (new.data.text()?, may.of());
        self.change_secret(may.domain(), path, Needs::Secret, |now| {
            if now.secret.is_some() {
                return Err(Error::new(Code::Conflict, "a secret with this path exists"));
            }
            let mut secret = new_secret(now, path);
            secret.settings = new.settings.clone();
            secret.custom = new.custom.clone();
            let holds = secret.settings.within(now.domain);
            with_version(now, secret, &holds, data.duplicate(), |secret, number| {
                secret.described(number, now.now_s, now.domain)
            })
        })
        .await
    }

    /// Changes what is set for a secret, adds a version, or both at once. The evidence for each is asked for by who has it.
    ///
    /// # Errors
    /// `SecretNotFound`, `CasMismatch`, `CasRequired`, `BadArgument`, `Refused`, `Unknown`.
    pub async fn update_secret(
        &self,
        metadata: Option<(Authorized<action::SecretUpdateMetadata>, MetadataChange)>,
        version: Option<(Authorized<action::SecretVersionCreate>, Document)>,
        cas: Option<u32>,
    ) -> Result<Described, Error> {
        let (domain, path) = match (&metadata, &version) {
            (Some((may, _)), Some((other, _))) => {
                (may.domain(), same_secret((may.domain(), may.of()), (other.domain(), other.of()))?.clone())
            }
            (Some((may, _)), None) => (may.domain(), may.of().clone()),
            (None, Some((may, _))) => (may.domain(), may.of().clone()),
            (None, None) => return Err(Error::bad("give metadata, a version, or both")),
        };
        let data = version.map(|(_, data)| data.text()).transpose()?;
        self.change_secret(domain, &path, Needs::Secret, |now| {
            let before = now.secret.ok_or_else(Error::secret_not_found)?;
            check_cas(cas, before.versions.current(), before.settings.within(now.domain).cas_required)?;
            let mut secret = before.clone();
            if let Some((_, change)) = &metadata {
                change.clone().apply(&mut secret)?;
            }
            let holds = secret.settings.within(now.domain);
            match &data {
                Some(data) => with_version(now, secret, &holds, data.duplicate(), |secret, number| {
                    secret.described(number, now.now_s, now.domain)
                }),
                None if secret == *before => Ok(Plan::Keep(secret.described(0, now.now_s, now.domain))),
                None => {
                    let secret = secret.touched(now.now_s);
                    let answer = secret.described(0, now.now_s, now.domain);
                    Ok(Plan::Write(Box::new(Write::of(secret, answer))))
                }
            }
        })
        .await
    }

    /// Adds a version to a secret that is there.
    ///
    /// # Errors
    /// `SecretNotFound`, `CasMismatch`, `CasRequired`, `BadArgument`, `Conflict` after 24000 versions, `Refused`, `Unknown`.
    pub async fn add_version(
        &self,
        may: &Authorized<action::SecretVersionCreate>,
        data: Document,
        cas: Option<u32>,
    ) -> Result<Written, Error> {
        let path = may.of();
        let data = data.text()?;
        self.change_secret(may.domain(), path, Needs::Secret, |now| {
            let secret = now.secret.ok_or_else(Error::secret_not_found)?;
            write_version(now, secret.clone(), &data, cas)
        })
        .await
    }

    /// Adds a version; makes the secret if there is none.
    ///
    /// # Errors
    /// As of [`HostService::add_version`], and what denies what is needed.
    pub async fn put_version(
        &self,
        may: &MayWrite,
        data: Document,
        cas: Option<u32>,
    ) -> Result<Written, Error> {
        let (domain, path) = match (&may.create, &may.version) {
            (Ok(may), Ok(other)) => {
                (may.domain(), same_secret((may.domain(), may.of()), (other.domain(), other.of()))?)
            }
            (Ok(may), Err(_)) => (may.domain(), may.of()),
            (Err(_), Ok(may)) => (may.domain(), may.of()),
            (Err(error), Err(_)) => return Err(error.clone()),
        };
        let data = data.text()?;
        self.change_secret(domain, path, Needs::Secret, |now| {
            let secret = match now.secret {
                Some(secret) => {
                    may.version.as_ref().map_err(Clone::clone)?;
                    secret.clone()
                }
                None => {
                    may.create.as_ref().map_err(Clone::clone)?;
                    new_secret(now, path)
                }
            };
            write_version(now, secret, &data, cas)
        })
        .await
    }

    /// Adds a version that is the current one changed by a merge patch.
    ///
    /// # Errors
    /// As of [`HostService::add_version`].
    pub async fn patch_version(
        &self,
        may: &Authorized<action::SecretVersionCreate>,
        patch: Document,
        cas: Option<u32>,
    ) -> Result<Patched, Error> {
        let path = may.of();
        let patch = patch.text()?;
        self.change_secret(may.domain(), path, Needs::Data, |now| {
            let secret = now.secret.ok_or_else(Error::secret_not_found)?;
            let current = secret.version(0, now.now_s).ok_or_else(Error::secret_not_found)?;
            let holds = secret.settings.within(now.domain);
            check_cas(cas, current.number, holds.cas_required)?;
            let (VersionState::Active, Some(data)) = (current.state, now.data) else {
                return Ok(Plan::Keep(Patched::Gone(written(now, secret, current.number)?)));
            };
            let unreadable = || Error::integrity("a version is no JSON object");
            let mut data = Document::read(data).ok_or_else(unreadable)?;
            data.patch(Document::read(&patch).ok_or_else(unreadable)?);
            let holds = secret.settings.within(now.domain);
            let plan = with_version(now, secret.clone(), &holds, data.text()?, |secret, number| {
                written(now, secret, number).map(Patched::Done)
            })?;
            plan.ok()
        })
        .await
    }

    /// Changes what is set for a secret; makes one without a version if there is none, and `make` says whether that is allowed.
    ///
    /// # Errors
    /// `SecretNotFound` if there is none and none is to be made, `BadArgument`, `Refused`, `Unknown`; what `make` says.
    pub async fn set_metadata(
        &self,
        may: &Authorized<action::SecretUpdateMetadata>,
        make: Option<Result<Authorized<action::SecretCreate>, Error>>,
        change: MetadataChange,
    ) -> Result<(), Error> {
        let path = may.of();
        self.change_secret(may.domain(), path, Needs::Secret, |now| {
            let mut secret = match now.secret {
                Some(secret) => secret.clone(),
                None => match &make {
                    Some(Ok(may_create)) if may_create.of() == path => new_secret(now, path),
                    Some(Ok(_)) => return Err(Error::internal("rights on two secrets")),
                    Some(Err(error)) => return Err(error.clone()),
                    None => return Err(Error::secret_not_found()),
                },
            };
            change.clone().apply(&mut secret)?;
            match now.secret {
                Some(before) if *before == secret => Ok(Plan::Keep(())),
                _ => Ok(Plan::Write(Box::new(Write::of(secret.touched(now.now_s), ())))),
            }
        })
        .await
    }
}

fn write_version(
    now: &Now<'_>,
    secret: Secret,
    data: &SecretBytes,
    cas: Option<u32>,
) -> Result<Plan<Written>, Error> {
    let holds = secret.settings.within(now.domain);
    check_cas(cas, secret.versions.current(), holds.cas_required)?;
    with_version(now, secret, &holds, data.duplicate(), |secret, number| written(now, secret, number))?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_expects_must_be_so() {
        let code = |cas, current, required| check_cas(cas, current, required).err().map(|error| error.code());
        assert_eq!(code(None, 3, false), None);
        assert_eq!(code(Some(3), 3, true), None);
        assert_eq!(code(Some(0), 0, true), None, "0 expects nothing to be there");
        assert_eq!(code(Some(2), 3, false), Some(Code::CasMismatch));
        assert_eq!(code(None, 3, true), Some(Code::CasRequired));
    }
}
