//! The operator's signature (Ed25519, RFC 8032): signs statements about epochs, and verifies them. Knows
//! nothing of what they say.

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use std::fmt;

/// Set before what is signed, so that no signature made for something else is one of a statement.
const CONTEXT: &[u8] = b"kms operator statement v1\0";

/// A key that is none, or a signature that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadOperatorKey {
    /// Not an Ed25519 private key in PKCS #8.
    #[error("the operator's key is not an Ed25519 key (PKCS #8): use the one that `kms init` made")]
    Private,
    /// Not an Ed25519 public key.
    #[error("the operator's certificate holds no Ed25519 key: use the one that `kms init` made")]
    Public,
}

/// The operator's private key.
pub struct OperatorKey(Ed25519KeyPair);

impl OperatorKey {
    /// From PKCS #8 in DER.
    ///
    /// # Errors
    /// [`BadOperatorKey::Private`].
    pub fn from_pkcs8(der: &[u8]) -> Result<OperatorKey, BadOperatorKey> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(OperatorKey).map_err(|_| BadOperatorKey::Private)
    }

    /// From PKCS #8 in PEM.
    ///
    /// # Errors
    /// [`BadOperatorKey::Private`].
    pub fn from_pem(pem: &[u8]) -> Result<OperatorKey, BadOperatorKey> {
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| BadOperatorKey::Private)?;
        OperatorKey::from_pkcs8(key.secret_der())
    }

    /// Signs.
    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.0.sign(&[CONTEXT, text].concat()).as_ref().to_vec()
    }

    /// What others verify with.
    pub fn verifier(&self) -> OperatorVerifier {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        OperatorVerifier(key)
    }
}

/// The operator's public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OperatorVerifier([u8; 32]);

impl fmt::Debug for OperatorVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorVerifier({})", hex::encode(&self.0[..4]))
    }
}

impl OperatorVerifier {
    /// From the 32 bytes of the key.
    ///
    /// # Errors
    /// [`BadOperatorKey::Public`].
    pub fn new(key: &[u8]) -> Result<OperatorVerifier, BadOperatorKey> {
        key.try_into().map(OperatorVerifier).map_err(|_| BadOperatorKey::Public)
    }

    /// Whether the operator signed `text`.
    pub fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&[CONTEXT, text].concat(), signature).is_ok()
    }
}
