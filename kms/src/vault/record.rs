//! Sealing and opening of records. Each version of each record has a key of its own; everything that tells
//! what a record is and where it belongs is authenticated, so a row in another row's place, another version
//! or a changed header does not open.
//!
//! Blob: format 1 (u8), kind (u8), algorithm (u8), usage (u16, big-endian), flags (u8), nonce (12 bytes),
//! ciphertext, tag (16 bytes).

use super::{BadSeal, DomainKey};
use crate::{
    crypto::{Canonical, NONCE_BYTES, SealingKey, SecretBytes, TAG_BYTES, hkdf_expand},
    env::{Env, Purpose},
    record::{RecordKey, SealedRecord, Version},
};
use std::io;

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 6;

/// The clear, authenticated part of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What sort of record.
    pub kind: u8,
    /// Algorithm of a key, in the numbering of its kind.
    pub algorithm: u8,
    /// Permitted operations, one bit each.
    pub usage: u16,
    /// Restrictions such as `extractable`, one bit each.
    pub flags: u8,
}

impl Header {
    fn bytes(self) -> [u8; HEADER_BYTES] {
        let [usage_high, usage_low] = self.usage.to_be_bytes();
        [FORMAT, self.kind, self.algorithm, usage_high, usage_low, self.flags]
    }

    fn parse(bytes: [u8; HEADER_BYTES]) -> Option<Header> {
        let [format, kind, algorithm, usage_high, usage_low, flags] = bytes;
        let usage = u16::from_be_bytes([usage_high, usage_low]);
        (format == FORMAT).then_some(Header { kind, algorithm, usage, flags })
    }
}

/// What a record can hold.
pub trait Payload: Sized {
    /// The header that goes with this payload; checked again when it is opened.
    fn header(&self) -> Header;
    /// The bytes to seal.
    fn encode(&self) -> SecretBytes;
    /// Reads back what [`Payload::encode`] wrote.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// Evidence: this value was sealed by a host of this region, as this version of this record.
pub struct Opened<T> {
    value: T,
    version: Version,
}

impl<T> Opened<T> {
    /// The value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// The value, given up.
    pub fn into_value(self) -> T {
        self.value
    }

    /// The version that was opened.
    pub fn version(&self) -> Version {
        self.version
    }
}

fn sealing_key(domain: &DomainKey, key: &RecordKey, version: Version) -> SealingKey {
    let info = Canonical::new("okms/record/v1")
        .add(domain.domain.as_bytes())
        .add(&key.0)
        .add(&version.counter.to_be_bytes())
        .add(&version.commit_id.0);
    SealingKey::new(&hkdf_expand(&domain.key, &[info.bytes()]))
}

fn associated_data(domain: &DomainKey, key: &RecordKey, version: Version, header: Header) -> Canonical {
    Canonical::new("okms/record/v1")
        .add(&[FORMAT])
        .add(domain.domain.as_bytes())
        .add(&key.0)
        .add(&version.counter.to_be_bytes())
        .add(&version.commit_id.0)
        .add(&[header.kind])
        .add(&[header.algorithm])
        .add(&header.usage.to_be_bytes())
        .add(&[header.flags])
}

/// Seals a payload as one version of one record. A commit id is drawn per attempt, so no two payloads are
/// ever sealed under one derived key; the nonce is random all the same.
///
/// # Errors
/// When there is no randomness to be had.
pub fn seal<T: Payload>(
    env: &Env,
    domain: &DomainKey,
    key: &RecordKey,
    version: Version,
    payload: &T,
) -> io::Result<SealedRecord> {
    let nonce: [u8; NONCE_BYTES] = env.random(Purpose::Public)?;
    let header = payload.header();
    let mut sealed = payload.encode().into_sealable();
    let aad = associated_data(domain, key, version, header);
    sealing_key(domain, key, version).seal(nonce, aad.bytes(), &mut sealed);
    let mut blob = Vec::with_capacity(HEADER_BYTES + NONCE_BYTES + sealed.len());
    blob.extend_from_slice(&header.bytes());
    blob.extend_from_slice(&nonce);
    blob.extend_from_slice(&sealed);
    Ok(SealedRecord { version, blob })
}

/// Opens a record that a database served under `key`.
///
/// # Errors
/// [`BadSeal`] when anything of it is not as it was sealed.
pub fn open<T: Payload>(
    domain: &DomainKey,
    key: &RecordKey,
    record: &SealedRecord,
) -> Result<Opened<T>, BadSeal> {
    let (header, rest) = record.blob.split_first_chunk::<HEADER_BYTES>().ok_or(BadSeal)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(BadSeal)?;
    let header = Header::parse(*header).ok_or(BadSeal)?;
    if sealed.len() < TAG_BYTES {
        return Err(BadSeal);
    }
    let mut sealed = super::secret_copy(sealed);
    let aad = associated_data(domain, key, record.version, header);
    let clear = sealing_key(domain, key, record.version)
        .open(*nonce, aad.bytes(), sealed.expose_mut())
        .map_err(|_| BadSeal)?;
    let value = T::decode(clear).ok_or(BadSeal)?;
    if value.header() != header {
        return Err(BadSeal);
    }
    Ok(Opened { value, version: record.version })
}
