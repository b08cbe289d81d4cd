//! Secrets as clients see them, computed at a moment: a version whose time has come reads as deactivated.

use super::{
    path::ID_BYTES,
    record::Secret,
    settings::{CustomMetadata, Effective, Settings},
    versions::{VersionMeta, VersionState},
};

/// One version without its data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VersionView {
    /// Number.
    pub number: u32,
    /// Dates.
    pub meta: VersionMeta,
    /// State at the moment of the answer.
    pub state: VersionState,
}

/// A secret without its data.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretView {
    /// Path.
    pub path: String,
    /// What is set for it.
    pub settings: Settings,
    /// Custom metadata.
    pub custom: CustomMetadata,
    /// When it was made, Unix seconds.
    pub created_s: u64,
    /// When it was last changed, Unix seconds.
    pub updated_s: u64,
    /// Number of the newest version; 0 before the first.
    pub current: u32,
    /// Number of the oldest version that is kept, once there was an older one; until then 0.
    pub oldest: u32,
}

/// A secret and one of its versions.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretAndVersion {
    /// The secret.
    pub secret: SecretView,
    /// The version, if there is any.
    pub version: Option<VersionView>,
}

/// A secret and what holds for it in its domain.
pub struct Described {
    /// The secret and a version.
    pub is: SecretAndVersion,
    /// What holds for it.
    pub holds: Effective,
}

impl Secret {
    pub(super) fn view(&self) -> SecretView {
        SecretView {
            path: self.path.text().to_owned(),
            settings: self.settings.clone(),
            custom: self.custom.clone(),
            created_s: self.created_s,
            updated_s: self.updated_s,
            current: self.versions.current(),
            oldest: self.versions.oldest(),
        }
    }

    /// One version; 0 is the current one.
    pub(super) fn version(&self, number: u32, now_s: u64) -> Option<VersionView> {
        let number = if number == 0 { self.versions.current() } else { number };
        let meta = self.versions.get(number)?;
        Some(VersionView { number, meta, state: meta.state(now_s) })
    }

    pub(super) fn all_versions(&self, now_s: u64) -> Vec<VersionView> {
        self.versions.numbers().filter_map(|number| self.version(number, now_s)).collect()
    }

    pub(super) fn described(&self, number: u32, now_s: u64, domain: &Settings) -> Described {
        let is = SecretAndVersion { secret: self.view(), version: self.version(number, now_s) };
        Described { is, holds: self.settings.within(domain) }
    }

    /// The secret changed at a moment.
    pub(super) fn touched(mut self, now_s: u64) -> Secret {
        self.updated_s = self.updated_s.max(now_s);
        self
    }

    /// The id in the keys of its versions.
    pub(super) fn id(&self) -> [u8; ID_BYTES] {
        self.id
    }
}
