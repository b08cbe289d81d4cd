//! Secrets as they are sealed into records: one record with what is known of a secret, one for the data of each version, one for the
//! configuration of the domain. A version's record becomes a tombstone when its data is destroyed. The record of a secret that
//! was deleted is not ended for good, since its path may be used again: it keeps nothing but what is left to be destroyed. A mark says of
//! an id that a secret was brought in under it: no second one ever is.

use super::{
    path::{ID_BYTES, SecretPath},
    settings::{CustomMetadata, Settings, Span},
    versions::Versions,
};
use crate::{
    crypto::SecretBytes,
    engine::write::Ends,
    vault::{Header, KIND_SECRET, KIND_SECRET_BROUGHT, KIND_SECRET_CONFIG, KIND_SECRET_VERSION, Payload},
};
use prost::Message;
use zeroize::Zeroize;

/// Data of versions that are gone from the index and not yet tombstones: numbers from `from` up to, not including, `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doomed {
    pub(super) id: [u8; ID_BYTES],
    pub(super) from: u32,
    pub(super) until: u32,
}

/// A secret without its data.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    pub(super) path: SecretPath,
    /// In the keys of its versions' records; another one when the path is used again.
    pub(super) id: [u8; ID_BYTES],
    pub(super) settings: Settings,
    pub(super) custom: CustomMetadata,
    pub(super) created_s: u64,
    pub(super) updated_s: u64,
    pub(super) versions: Versions,
}

/// What is kept under the hash of a path.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretRecord {
    /// The secret, if there is one.
    pub(super) secret: Option<Secret>,
    /// What is still to be destroyed.
    pub(super) doomed: Vec<Doomed>,
}

impl SecretRecord {
    /// Whether it lists a version of the secret with this id as one that has data.
    pub(super) fn has_data(&self, id: &[u8; ID_BYTES], number: u32) -> bool {
        self.secret.as_ref().is_some_and(|secret| secret.id == *id && secret.versions.has_data(number))
    }
}

/// The data of one version, or its tombstone.
pub struct VersionRecord {
    /// A JSON object; `None` when it is gone.
    pub(super) data: Option<SecretBytes>,
}

/// The configuration of the secrets of a domain.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ConfigRecord(pub(super) Settings);

/// That a secret was brought in: its id is in the key. It stays when the secret is deleted.
pub struct BroughtRecord;

impl Ends for SecretRecord {
    fn has_ended(&self) -> bool {
        false
    }
}

impl Ends for VersionRecord {
    fn has_ended(&self) -> bool {
        self.data.is_none()
    }
}

/// A copy of before the import has neither it nor the secret: then the secret may come in again.
impl Ends for BroughtRecord {
    fn has_ended(&self) -> bool {
        false
    }
}

impl Ends for ConfigRecord {
    fn has_ended(&self) -> bool {
        false
    }
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StoredSettings {
    #[prost(bool, optional, tag = "1")]
    cas_required: Option<bool>,
    #[prost(uint32, optional, tag = "2")]
    max_versions: Option<u32>,
    #[prost(string, optional, tag = "3")]
    deactivate_after: Option<String>,
}

impl StoredSettings {
    fn of(settings: &Settings) -> StoredSettings {
        StoredSettings {
            cas_required: settings.cas_required,
            max_versions: settings.max_versions,
            deactivate_after: settings.deactivate_after.as_ref().map(|span| span.text().to_owned()),
        }
    }

    fn read(self) -> Option<Settings> {
        let settings = Settings {
            cas_required: self.cas_required,
            max_versions: self.max_versions,
            deactivate_after: self.deactivate_after.map(Span::new).transpose().ok()?,
        };
        settings.check().is_ok().then_some(settings)
    }
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StoredEntry {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StoredSecret {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(bytes = "vec", tag = "2")]
    id: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    settings: Option<StoredSettings>,
    #[prost(message, repeated, tag = "4")]
    custom: Vec<StoredEntry>,
    #[prost(uint64, tag = "5")]
    created_s: u64,
    #[prost(uint64, tag = "6")]
    updated_s: u64,
    #[prost(uint32, tag = "7")]
    first: u32,
    #[prost(bytes = "vec", tag = "8")]
    versions: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StoredDoomed {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    from: u32,
    #[prost(uint32, tag = "3")]
    until: u32,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StoredRecord {
    #[prost(message, optional, tag = "1")]
    secret: Option<StoredSecret>,
    #[prost(message, repeated, tag = "2")]
    doomed: Vec<StoredDoomed>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StoredVersion {
    #[prost(bytes = "vec", optional, tag = "1")]
    data: Option<Vec<u8>>,
}

impl Drop for StoredVersion {
    fn drop(&mut self) {
        self.data.zeroize();
    }
}

fn stored(secret: &Secret) -> StoredSecret {
    let (first, versions) = secret.versions.pack();
    let entry = |(name, value): (&String, &String)| StoredEntry { name: name.clone(), value: value.clone() };
    StoredSecret {
        path: secret.path.text().to_owned(),
        id: secret.id.to_vec(),
        settings: Some(StoredSettings::of(&secret.settings)),
        custom: secret.custom.entries().iter().map(entry).collect(),
        created_s: secret.created_s,
        updated_s: secret.updated_s,
        first,
        versions,
    }
}

fn read(stored: StoredSecret) -> Option<Secret> {
    let custom = stored.custom.into_iter().map(|entry| (entry.name, entry.value)).collect();
    Some(Secret {
        path: SecretPath::new(stored.path).ok()?,
        id: stored.id.try_into().ok()?,
        settings: stored.settings.unwrap_or_default().read()?,
        custom: CustomMetadata::new(custom).ok()?,
        created_s: stored.created_s,
        updated_s: stored.updated_s,
        versions: Versions::unpack(stored.created_s, stored.first, &stored.versions)?,
    })
}

impl Payload for SecretRecord {
    fn header(&self) -> Header {
        Header { kind: KIND_SECRET, algorithm: 0, usage: 0, flags: 0 }
    }

    fn encode(&self) -> SecretBytes {
        let doomed =
            |doomed: &Doomed| StoredDoomed { id: doomed.id.to_vec(), from: doomed.from, until: doomed.until };
        let stored = StoredRecord {
            secret: self.secret.as_ref().map(stored),
            doomed: self.doomed.iter().map(doomed).collect(),
        };
        SecretBytes::new(stored.encode_to_vec())
    }

    fn decode(bytes: &[u8]) -> Option<SecretRecord> {
        let stored = StoredRecord::decode(bytes).ok()?;
        let doomed = |doomed: StoredDoomed| {
            Some(Doomed { id: doomed.id.try_into().ok()?, from: doomed.from, until: doomed.until })
        };
        Some(SecretRecord {
            secret: match stored.secret {
                Some(secret) => Some(read(secret)?),
                None => None,
            },
            doomed: stored.doomed.into_iter().map(doomed).collect::<Option<_>>()?,
        })
    }
}

/// The flag of a tombstone.
const GONE: u8 = 1;

impl Payload for VersionRecord {
    fn header(&self) -> Header {
        let flags = if self.data.is_none() { GONE } else { 0 };
        Header { kind: KIND_SECRET_VERSION, algorithm: 0, usage: 0, flags }
    }

    fn encode(&self) -> SecretBytes {
        let data = self.data.as_ref().map(|data| data.expose().to_vec());
        SecretBytes::new(StoredVersion { data }.encode_to_vec())
    }

    fn decode(bytes: &[u8]) -> Option<VersionRecord> {
        let mut stored = StoredVersion::decode(bytes).ok()?;
        Some(VersionRecord { data: stored.data.take().map(SecretBytes::new) })
    }
}

impl Payload for BroughtRecord {
    fn header(&self) -> Header {
        Header { kind: KIND_SECRET_BROUGHT, algorithm: 0, usage: 0, flags: 0 }
    }

    fn encode(&self) -> SecretBytes {
        SecretBytes::new(Vec::new())
    }

    fn decode(bytes: &[u8]) -> Option<BroughtRecord> {
        bytes.is_empty().then_some(BroughtRecord)
    }
}

impl Payload for ConfigRecord {
    fn header(&self) -> Header {
        Header { kind: KIND_SECRET_CONFIG, algorithm: 0, usage: 0, flags: 0 }
    }

    fn encode(&self) -> SecretBytes {
        SecretBytes::new(StoredSettings::of(&self.0).encode_to_vec())
    }

    fn decode(bytes: &[u8]) -> Option<ConfigRecord> {
        StoredSettings::decode(bytes).ok()?.read().map(ConfigRecord)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RECORD_MAX_BYTES;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn settings((cas_required, max_versions, span): (Option<bool>, Option<u32>, Option<String>)) -> Settings {
        let deactivate_after = span.map(|span| Span::new(span).expect("a length of time"));
        Settings { cas_required, max_versions, deactivate_after }
    }

    fn secret(versions: u32) -> Secret {
        let mut index = Versions::new(1_000);
        for n in 0..versions {
            index.add(1_000 + u64::from(n), Some(7), 24_000, 0);
        }
        let custom = (0..64).map(|n| (format!("{n:a>128}"), "v".repeat(512))).collect();
        Secret {
            path: SecretPath::new("p".repeat(255)).expect("a path"),
            id: [9; ID_BYTES],
            settings: Settings::default(),
            custom: CustomMetadata::new(custom).expect("fits"),
            created_s: 1_000,
            updated_s: 2_000,
            versions: index,
        }
    }

    proptest! {
        #[test]
        fn records_read_back_as_written(
            set in (any::<Option<bool>>(), proptest::option::of(0_u32..=24_000),
                proptest::option::of("[1-9][0-9]{0,2}[dhms]")),
            custom in proptest::collection::btree_map("[a-z@%/]{1,12}", "[A-Z0-9.=-]{1,12}", 0..5),
            versions in 0_u32..20,
            doomed in proptest::collection::vec((any::<[u8; 16]>(), any::<u32>(), any::<u32>()), 0..3),
            there in any::<bool>(),
        ) {
            let (settings, custom) = (settings(set), CustomMetadata::new(custom).expect("fits"));
            let config = ConfigRecord(settings.clone());
            prop_assert!(ConfigRecord::decode(config.encode().expose()) == Some(config));
            let record = SecretRecord {
                secret: there.then(|| Secret { settings, custom, ..secret(versions) }),
                doomed: doomed.into_iter().map(|(id, from, until)| Doomed { id, from, until }).collect(),
            };
            prop_assert!(SecretRecord::decode(record.encode().expose()) == Some(record));
        }

        #[test]
        fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (SecretRecord::decode(&bytes), VersionRecord::decode(&bytes), ConfigRecord::decode(&bytes));
        }
    }

    #[test]
    fn the_largest_secret_fits_in_a_record() {
        let doomed = Doomed { id: [1; ID_BYTES], from: 1, until: 24_000 };
        let record = SecretRecord { secret: Some(secret(24_000)), doomed: vec![doomed; 16] };
        assert!(record.encode().expose().len() + 64 < RECORD_MAX_BYTES);
    }

    #[test]
    fn a_tombstone_is_one_by_its_header_and_holds_nothing() {
        let kept = VersionRecord { data: Some(SecretBytes::new(b"{}".to_vec())) };
        let gone = VersionRecord { data: None };
        assert!(gone.has_ended() && !kept.has_ended());
        assert!(gone.encode().expose().is_empty());
        assert_ne!(gone.header(), kept.header());
        let back = VersionRecord::decode(kept.encode().expose()).and_then(|record| record.data);
        assert_eq!(back.expect("data").expose(), b"{}");
        let empty = BTreeMap::<String, String>::new();
        assert!(CustomMetadata::new(empty).is_ok());
    }
}
