//! RSA and elliptic-curve keys: made, read from what clients import, signed and verified with, and RSA keys that carry other keys. A key is
//! checked when it is made of what somebody sent, and never again. Keeps nothing: keys are sealed as PKCS #8 (RFC 5958) and
//! shown as SPKI (RFC 5280) or JWK (RFC 7518, 6).

mod algorithm;
mod ec;
mod jwk;
mod rsa_key;
mod whole;

use super::SecretBytes;
use crate::env::{Env, Purpose};
use ec::{EcPrivate, EcPublic};
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa_key::{RsaPrivate, RsaPublic};
use std::{io, sync::OnceLock};
use whole::WholeSigner;

pub use algorithm::{Curve, Hash, SignatureAlgorithm};
pub use jwk::{BadJwk, Jwk, JwkKey};
pub use rsa_key::{OaepHash, RSA_BITS};

/// What was sent is no key of this kind, or not one that may be used. Says what is wrong with it, and nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadKey(pub &'static str);

/// Why nothing was signed, wrapped or unwrapped.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The algorithm is not one of this key.
    #[error("the algorithm is not one of this key")]
    WrongAlgorithm,
    /// A digest of another length than the algorithm's.
    #[error("the digest has not the length of the algorithm's hash")]
    DigestLength,
    /// It does not open, for whatever reason.
    #[error("does not open")]
    DoesNotOpen,
    /// No randomness was to be had.
    #[error("entropy: {0}")]
    Entropy(#[from] io::Error),
}

/// Randomness of the seam, as the crates of these keys want it.
struct Draws<'a>(&'a Env);

impl TryRng for Draws<'_> {
    type Error = io::Error;

    fn try_next_u32(&mut self) -> Result<u32, io::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, io::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), io::Error> {
        self.0.entropy.fill(Purpose::Secret, into)
    }
}

impl TryCryptoRng for Draws<'_> {}

/// The shape of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// RSA, with the bits of its modulus.
    Rsa(u32),
    /// On a curve.
    Ec(Curve),
}

/// A private key.
pub struct PrivateKey {
    kind: Kind,
    /// What signs whole messages, made when the first one is signed; nothing, if that takes no such key.
    whole: OnceLock<Option<WholeSigner>>,
}

enum Kind {
    Rsa(RsaPrivate),
    Ec(Box<EcPrivate>),
}

impl From<RsaPrivate> for PrivateKey {
    fn from(key: RsaPrivate) -> PrivateKey {
        PrivateKey { kind: Kind::Rsa(key), whole: OnceLock::new() }
    }
}

impl From<EcPrivate> for PrivateKey {
    fn from(key: EcPrivate) -> PrivateKey {
        PrivateKey { kind: Kind::Ec(Box::new(key)), whole: OnceLock::new() }
    }
}

/// A public key.
#[derive(Clone, PartialEq)]
pub enum PublicKey {
    /// RSA.
    Rsa(RsaPublic),
    /// On a curve.
    Ec(EcPublic),
}

impl PrivateKey {
    /// Makes a key. For RSA it takes from tenths of a second (2048) to many seconds (4096): not for a thread that others wait for.
    ///
    /// # Errors
    /// When there is no randomness to be had.
    ///
    /// # Panics
    /// If the bits of an RSA key are none of [`RSA_BITS`].
    pub fn generate(env: &Env, shape: Shape) -> io::Result<PrivateKey> {
        Ok(match shape {
            Shape::Rsa(bits) => RsaPrivate::generate(env, bits)?.into(),
            Shape::Ec(curve) => EcPrivate::generate(env, curve)?.into(),
        })
    }

    /// Its shape.
    pub fn shape(&self) -> Shape {
        self.public().shape()
    }

    /// Reads PKCS #8, DER.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn from_pkcs8(der: &[u8]) -> Result<PrivateKey, BadKey> {
        if let Some(key) = RsaPrivate::from_pkcs8(der)? {
            return Ok(key.into());
        }
        EcPrivate::from_pkcs8(der).map(PrivateKey::from)
    }

    /// As PKCS #8, DER.
    pub fn to_pkcs8(&self) -> SecretBytes {
        match &self.kind {
            Kind::Rsa(key) => key.to_pkcs8(),
            Kind::Ec(key) => key.to_pkcs8(),
        }
    }

    /// Reads PKCS #1, DER (RFC 8017, A.1.2); an RSA key, then.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn from_pkcs1(der: &[u8]) -> Result<PrivateKey, BadKey> {
        RsaPrivate::from_pkcs1(der).map(PrivateKey::from)
    }

    /// As PKCS #1, DER; `None` if it is no RSA key.
    pub fn to_pkcs1(&self) -> Option<SecretBytes> {
        match &self.kind {
            Kind::Rsa(key) => Some(key.to_pkcs1()),
            Kind::Ec(_) => None,
        }
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        match &self.kind {
            Kind::Rsa(key) => PublicKey::Rsa(key.public()),
            Kind::Ec(key) => PublicKey::Ec(key.public()),
        }
    }

    /// What it takes in memory, bytes, about: what caches are bounded by.
    pub fn memory_bytes(&self) -> usize {
        match self.shape() {
            // The numbers themselves, and what the libraries work out beforehand for each modulus: 16 times the modulus and 6 times, by their
            // fields. What signs messages is counted whether it was made or not.
            Shape::Rsa(bits) => 1_024 + bits as usize / 8 * 22,
            Shape::Ec(_) => 1_536,
        }
    }

    /// Signs a digest. ECDSA: `r` and `s` side by side (IEEE P1363), by the deterministic nonces of RFC 6979; RSA: PKCS #1 v1.5, or PSS with a salt
    /// as long as the hash (RFC 7518, 3).
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn sign(&self, env: &Env, algorithm: SignatureAlgorithm, digest: &[u8]) -> Result<Vec<u8>, KeyError> {
        if digest.len() != algorithm.hash().bytes() {
            return Err(KeyError::DigestLength);
        }
        match &self.kind {
            Kind::Rsa(key) => key.sign(env, algorithm, digest),
            Kind::Ec(key) => key.sign(algorithm, digest),
        }
    }

    /// Signs a message. As [`PrivateKey::sign`] signs its digest, but that the nonces of ECDSA are random.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn sign_message(
        &self,
        env: &Env,
        algorithm: SignatureAlgorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let whole = self.whole.get_or_init(|| WholeSigner::new(&self.kind)).as_ref();
        match whole.and_then(|whole| whole.sign(algorithm, message)) {
            Some(signature) => Ok(signature),
            None => self.sign(env, algorithm, &algorithm.hash().digest(message)),
        }
    }

    /// Opens what [`PublicKey::wrap`] made (RSA-OAEP; RFC 8017, 7.1).
    ///
    /// # Errors
    /// [`KeyError::DoesNotOpen`], whatever the reason; `WrongAlgorithm` with a key on a curve.
    pub fn unwrap(&self, env: &Env, hash: OaepHash, wrapped: &[u8]) -> Result<SecretBytes, KeyError> {
        match &self.kind {
            Kind::Rsa(key) => key.unwrap(env, hash, wrapped),
            Kind::Ec(_) => Err(KeyError::WrongAlgorithm),
        }
    }
}

impl PublicKey {
    /// Its shape.
    pub fn shape(&self) -> Shape {
        match self {
            PublicKey::Rsa(key) => Shape::Rsa(key.bits()),
            PublicKey::Ec(key) => Shape::Ec(key.curve()),
        }
    }

    /// Reads SPKI, DER.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn from_spki(der: &[u8]) -> Result<PublicKey, BadKey> {
        if let Some(key) = RsaPublic::from_spki(der)? {
            return Ok(PublicKey::Rsa(key));
        }
        EcPublic::from_spki(der).map(PublicKey::Ec)
    }

    /// As SPKI, DER.
    pub fn to_spki(&self) -> Vec<u8> {
        match self {
            PublicKey::Rsa(key) => key.to_spki(),
            PublicKey::Ec(key) => key.to_spki(),
        }
    }

    /// What it takes in memory, bytes, about.
    pub fn memory_bytes(&self) -> usize {
        match self.shape() {
            Shape::Rsa(bits) => 1_024 + bits as usize / 8 * 6,
            Shape::Ec(_) => 1_024,
        }
    }

    /// Whether a signature of a digest is this key's. Anything that is no signature is none of this key.
    ///
    /// # Errors
    /// `WrongAlgorithm`, `DigestLength`.
    pub fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<bool, KeyError> {
        if digest.len() != algorithm.hash().bytes() {
            return Err(KeyError::DigestLength);
        }
        match self {
            PublicKey::Rsa(key) => key.verify(algorithm, digest, signature),
            PublicKey::Ec(key) => key.verify(algorithm, digest, signature),
        }
    }

    /// Encrypts a short key by RSA-OAEP.
    ///
    /// # Errors
    /// `WrongAlgorithm` with a key on a curve, `Entropy`.
    pub fn wrap(&self, env: &Env, hash: OaepHash, key: &SecretBytes) -> Result<Vec<u8>, KeyError> {
        match self {
            PublicKey::Rsa(with) => with.wrap(env, hash, key),
            PublicKey::Ec(_) => Err(KeyError::WrongAlgorithm),
        }
    }
}

#[cfg(test)]
mod tests;
