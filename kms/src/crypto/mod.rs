//! The only door to cryptographic libraries: typed, sized, with randomness from [`crate::env::Env`]. Offers
//! no primitive without authentication, and no comparison of secrets that is not constant-time.

pub mod asymmetric;
pub mod carried;
pub mod jwe;
mod operator;
mod secret;
pub mod shares;

use ring::{aead, digest, hkdf, hmac};

pub use operator::{BadOperatorKey, OperatorKey, OperatorVerifier};
pub use secret::{Secret, SecretBytes};

/// Length of an AES-256-GCM nonce, bytes.
pub const NONCE_BYTES: usize = 12;
/// Length of an AES-256-GCM tag, bytes.
pub const TAG_BYTES: usize = 16;

/// Authentication failed, or an input has an impossible length. Says no more on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("does not open")]
pub struct DoesNotOpen;

/// An AES-256-GCM key (NIST SP 800-38D), expanded.
pub struct SealingKey(aead::LessSafeKey);

impl SealingKey {
    /// A key from 256 bits.
    pub fn new(key: &Secret<32>) -> SealingKey {
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, key.expose());
        SealingKey(aead::LessSafeKey::new(key.expect("AES-256-GCM takes 32 bytes")))
    }

    /// Encrypts `text` in place and appends the tag. A nonce must never come twice under one key: callers
    /// draw it at random under a key that is used for few messages.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], text: &mut Vec<u8>) {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(nonce, aead::Aad::from(aad), text)
            .expect("texts are far below 64 GiB");
    }

    /// Decrypts `sealed` (text and tag) in place; the text is the returned slice.
    ///
    /// # Errors
    /// [`DoesNotOpen`] when key, nonce, associated data, text or tag is not what was sealed.
    pub fn open<'a>(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], DoesNotOpen> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, aead::Aad::from(aad), sealed).map_err(|_| DoesNotOpen)
    }
}

struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-SHA256 (RFC 5869), extract and expand to 256 bits. `info` is the concatenation of its parts.
pub fn hkdf(material: &[u8], salt: &[u8], info: &[&[u8]]) -> Secret<32> {
    expand(&hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(material), info)
}

/// HKDF-SHA256 expand only: for material that is uniformly random already (RFC 5869, 3.3).
pub fn hkdf_expand(key: &Secret<32>, info: &[&[u8]]) -> Secret<32> {
    expand(&hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, key.expose()), info)
}

fn expand(prk: &hkdf::Prk, info: &[&[u8]]) -> Secret<32> {
    let mut out = Secret::zero();
    prk.expand(info, Len(32))
        .and_then(|okm| okm.fill(out.expose_mut()))
        .expect("32 bytes are below the limit of HKDF");
    out
}

/// SHA-256.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}

/// HMAC-SHA256 (RFC 2104): a hash that only holders of `key` can compute.
pub fn keyed_hash(key: &Secret<32>, data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()), data).as_ref());
    out
}

/// Whether two byte strings are equal, in time that depends on their lengths alone.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    use subtle::ConstantTimeEq;
    a.ct_eq(b).into()
}

/// Byte strings in a form that is read back in one way only: each is preceded by its length (u32,
/// big-endian). What associated data and HKDF infos are made of.
pub struct Canonical(Vec<u8>);

impl Canonical {
    /// Starts with the name of the format.
    pub fn new(format: &str) -> Canonical {
        Canonical(Vec::with_capacity(192)).add(format.as_bytes())
    }

    /// Adds one part.
    ///
    /// # Panics
    /// If the part is 4 GiB or more, which no bound of the service lets through.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "reads as a sentence; there is no `+` here")]
    pub fn add(mut self, part: &[u8]) -> Canonical {
        let len = u32::try_from(part.len()).expect("parts are below 4 GiB");
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend_from_slice(part);
        self
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
