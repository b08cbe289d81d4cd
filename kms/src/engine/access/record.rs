//! The access document of a domain as it is sealed into records: one for each policy, group, issuer and credential, and a stamp that each
//! change of any of them writes too. What was deleted leaves an empty record, since its name may be used again; what is left of a
//! revoked credential is a tombstone, which no restore brings back.

use crate::{
    crypto::{SecretBytes, keyed_hash},
    engine::write::Ends,
    error::Error,
    iam::{Credential, Document, Group, Issuer, Policy},
    record::RecordKey,
    vault::{
        DomainKey, Header, KIND_ACCESS_STAMP, KIND_CREDENTIAL, KIND_GROUP, KIND_ISSUER, KIND_POLICY, Payload,
        record_key,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// What is kept under a name.
pub trait Part: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + 'static {
    /// Kind of its records.
    const KIND: u8;
    /// For people.
    const WORD: &'static str;
    /// Its name.
    fn name(&self) -> &str;
    /// Checks one of a domain.
    ///
    /// # Errors
    /// `BadArgument` says what is wrong.
    fn check(&self, domain: Uuid) -> Result<(), Error>;
    /// All that a document has, by name.
    fn all_of(document: &Document) -> &[Self];
}

macro_rules! parts {
    ($($part:ty: $kind:expr, $word:literal, $all:ident, $check:expr;)*) => { $(
        impl Part for $part {
            const KIND: u8 = $kind;
            const WORD: &'static str = $word;
            fn name(&self) -> &str {
                &self.name
            }
            fn check(&self, domain: Uuid) -> Result<(), Error> {
                $check(self, domain)
            }
            fn all_of(document: &Document) -> &[$part] {
                document.$all()
            }
        }
    )* };
}

parts! {
    Policy: KIND_POLICY, "policy", policies, Policy::check;
    Group: KIND_GROUP, "group", groups, |group: &Group, _| group.check();
    Issuer: KIND_ISSUER, "issuer", issuers, |issuer: &Issuer, _| issuer.known().map(|_| ());
}

/// What a record of a part holds; `None`: it was deleted.
pub struct PartRecord<T>(pub(in crate::engine) Option<T>);

/// What a record of a credential holds.
pub struct CredentialRecord(pub(in crate::engine) Credential);

/// What all changes of a domain's access write: its version is theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampRecord {
    /// Policies, groups and issuers that there are.
    pub(super) parts: u32,
    /// Their bytes together.
    pub(super) bytes: u64,
}

fn header(kind: u8, flags: u8) -> Header {
    Header { kind, algorithm: 0, usage: 0, flags }
}

/// As JSON. Nothing here is what JSON cannot say.
pub(super) fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

impl<T: Part> Payload for PartRecord<T> {
    fn header(&self) -> Header {
        header(T::KIND, u8::from(self.0.is_none()))
    }

    fn encode(&self) -> SecretBytes {
        SecretBytes::new(encoded(&self.0))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(PartRecord)
    }
}

impl Payload for CredentialRecord {
    fn header(&self) -> Header {
        header(KIND_CREDENTIAL, u8::from(self.0.revoked_s.is_some()))
    }

    fn encode(&self) -> SecretBytes {
        SecretBytes::new(encoded(&self.0))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(CredentialRecord)
    }
}

impl Payload for StampRecord {
    fn header(&self) -> Header {
        header(KIND_ACCESS_STAMP, 0)
    }

    fn encode(&self) -> SecretBytes {
        SecretBytes::new(encoded(self))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl<T: Part> Ends for PartRecord<T> {
    fn has_ended(&self) -> bool {
        false
    }
}

impl Ends for CredentialRecord {
    fn has_ended(&self) -> bool {
        self.0.revoked_s.is_some()
    }
}

impl Ends for StampRecord {
    fn has_ended(&self) -> bool {
        false
    }
}

/// Where the stamp of a domain is kept.
pub(super) fn stamp_key(domain: Uuid) -> RecordKey {
    record_key(KIND_ACCESS_STAMP, domain, Uuid::nil())
}

/// Where a part is kept: under the keyed hash of its name.
pub(super) fn part_key<T: Part>(domain_key: &DomainKey, name: &str) -> RecordKey {
    let hash = keyed_hash(&domain_key.subkey("access-name"), name.as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    record_key(T::KIND, domain_key.domain(), Uuid::from_bytes(id))
}

/// Where a credential is kept: its id tells nothing.
pub(super) fn credential_key(domain: Uuid, id: Uuid) -> RecordKey {
    record_key(KIND_CREDENTIAL, domain, id)
}
