//! The key hierarchy - root key, domain keys, one derived key per record version - and the sealing and
//! opening of records. Refuses to hand out anything that was not authenticated: what it opens comes as
//! [`Opened`], which nothing else can make. Knows no operations and no clients.

mod domain;
pub(crate) mod key_file;
mod keyring;
mod record;
mod root;
mod source;
pub mod unseal;

use crate::{crypto::SecretBytes, record::RecordKey};
use uuid::Uuid;

pub use domain::{DomainKey, new_domain_key, open_domain_key};
pub use keyring::{CreateError, DomainError, Keyring};
pub use record::{Header, Opened, Payload, open, seal};
pub use root::{RootKey, RootKeyError};
pub use source::{RootSource, RotateError, SharesGiven, read_sealed_root};

/// Stored data did not open: altered, swapped, of another version, or under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stored data does not open")]
pub struct BadSeal;

pub use crate::record::{KIND_SECRET, KIND_SERVICE_KEY};
/// The data of one version of a secret.
pub const KIND_SECRET_VERSION: u8 = 3;
/// The configuration of a domain's secrets.
pub const KIND_SECRET_CONFIG: u8 = 4;
/// That a secret was brought in.
pub const KIND_SECRET_BROUGHT: u8 = 5;

/// What the parts of a domain's access document are versioned by.
pub const KIND_ACCESS_STAMP: u8 = 16;
/// A policy.
pub const KIND_POLICY: u8 = 17;
/// A group of identities.
pub const KIND_GROUP: u8 = 18;
/// An issuer of bearer tokens.
pub const KIND_ISSUER: u8 = 19;
/// An access certificate that was registered.
pub const KIND_CREDENTIAL: u8 = 20;

/// Where a record of a kind is kept: kind, domain, id. No names: keys are stored in clear.
pub fn record_key(kind: u8, domain: Uuid, id: Uuid) -> RecordKey {
    let mut key = record_prefix(kind, domain);
    key.extend_from_slice(id.as_bytes());
    RecordKey(key)
}

/// What the keys of all records of a kind in a domain begin with.
pub fn record_prefix(kind: u8, domain: Uuid) -> Vec<u8> {
    let mut key = Vec::with_capacity(33);
    key.push(kind);
    key.extend_from_slice(domain.as_bytes());
    key
}

/// The id a record key ends with; `None` if it is not of this kind and domain.
pub fn record_id(kind: u8, domain: Uuid, key: &RecordKey) -> Option<Uuid> {
    let id = key.0.strip_prefix(record_prefix(kind, domain).as_slice())?;
    Uuid::from_slice(id).ok()
}

/// A copy of `clear` that is wiped on drop.
fn secret_copy(clear: &[u8]) -> SecretBytes {
    SecretBytes::new(clear.to_vec())
}

#[cfg(test)]
mod tests;
