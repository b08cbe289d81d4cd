//! The head of a container: whose it is, when it was begun, and the content key, encrypted to the owner's RSA key.

use super::{BadContainer, ContentKey, FORMAT, MAGIC};
use crate::{
    crypto::{
        SecretBytes,
        asymmetric::{KeyError, OaepHash, PrivateKey, PublicKey, Shape},
        sha256,
    },
    env::Env,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Least size of the owner's key, bits: 128 bits of security (NIST SP 800-57, table 2).
pub const WRAPPING_BITS_MIN: u32 = 3072;
/// Longest head, bytes of its JSON.
const JSON_MAX_BYTES: usize = 4096;
/// Magic, format (u16), length of the JSON (u32).
pub(super) const LEAD_BYTES: usize = MAGIC.len() + 2 + 4;
const ALG: &str = "RSA-OAEP-256";
const ENC: &str = "A256GCM";

/// What a head says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Head {
    /// Names this export.
    pub export_id: Uuid,
    /// Whose it is.
    pub domain: Uuid,
    /// Where it was.
    pub region: String,
    /// When the export began, RFC 3339.
    pub started: String,
    /// How the content key is encrypted.
    alg: String,
    /// How frames are sealed.
    enc: String,
    /// SHA-256 of the owner's public key (SPKI, DER), hexadecimal.
    pub recipient: String,
    /// The content key, encrypted; base64.
    encrypted_key: String,
}

/// What is said when a container is begun.
pub struct NewHead<'a> {
    /// Names this export.
    pub export_id: Uuid,
    /// Whose it is.
    pub domain: Uuid,
    /// Where it is.
    pub region: &'a str,
    /// Now, RFC 3339.
    pub started: String,
}

/// SHA-256 of a public key as SPKI in DER.
pub fn thumbprint(key: &PublicKey) -> [u8; 32] {
    sha256(&key.to_spki())
}

impl NewHead<'_> {
    /// The bytes of a head for the owner of a key.
    ///
    /// # Errors
    /// `WrongAlgorithm` if it is no RSA key of at least [`WRAPPING_BITS_MIN`] bits; `Entropy`.
    pub fn written(self, env: &Env, to: &PublicKey, key: &ContentKey) -> Result<Vec<u8>, KeyError> {
        if !matches!(to.shape(), Shape::Rsa(bits) if bits >= WRAPPING_BITS_MIN) {
            return Err(KeyError::WrongAlgorithm);
        }
        let encrypted = to.wrap(env, OaepHash::Sha256, &SecretBytes::new(key.0.expose().to_vec()))?;
        let head = Head {
            export_id: self.export_id,
            domain: self.domain,
            region: self.region.to_owned(),
            started: self.started,
            alg: ALG.to_owned(),
            enc: ENC.to_owned(),
            recipient: hex::encode(thumbprint(to)),
            encrypted_key: STANDARD.encode(encrypted),
        };
        let json = serde_json::to_vec(&head).map_err(std::io::Error::other)?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        bytes.extend_from_slice(&(json.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&json);
        Ok(bytes)
    }
}

impl Head {
    /// How long the JSON is that follows the first bytes.
    ///
    /// # Errors
    /// [`BadContainer`] if it is none, or of a later format.
    pub(super) fn lead(bytes: &[u8; LEAD_BYTES]) -> Result<usize, BadContainer> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(BadContainer::NoContainer)?;
        let (format, len) = rest.split_at(2);
        match format.try_into().map(u16::from_be_bytes) {
            Ok(FORMAT) => {}
            Ok(newer) if newer > FORMAT => return Err(BadContainer::Newer(newer)),
            _ => return Err(BadContainer::NoContainer),
        }
        let len = len.try_into().map(u32::from_be_bytes).unwrap_or(u32::MAX) as usize;
        if len > JSON_MAX_BYTES { Err(BadContainer::Head("it is too long")) } else { Ok(len) }
    }

    /// Reads the JSON.
    ///
    /// # Errors
    /// [`BadContainer::Head`].
    pub(super) fn read(json: &[u8]) -> Result<Head, BadContainer> {
        let head: Head =
            serde_json::from_slice(json).map_err(|_| BadContainer::Head("it is not as format 1 has it"))?;
        match (head.alg.as_str(), head.enc.as_str()) {
            (ALG, ENC) => Ok(head),
            _ => Err(BadContainer::Head("alg and enc must be RSA-OAEP-256 and A256GCM")),
        }
    }

    /// The content key, by the owner's private key.
    ///
    /// # Errors
    /// [`BadContainer`] if it is for another key, or does not open.
    pub fn content_key(&self, env: &Env, with: &PrivateKey) -> Result<ContentKey, BadContainer> {
        let given = hex::encode(thumbprint(&with.public()));
        if given != self.recipient {
            return Err(BadContainer::OtherKey { wanted: self.recipient.clone(), given });
        }
        let encrypted = STANDARD.decode(&self.encrypted_key).map_err(|_| BadContainer::ContentKey)?;
        let opened = with.unwrap(env, OaepHash::Sha256, &encrypted).map_err(|_| BadContainer::ContentKey)?;
        crate::crypto::Secret::copy_from(opened.expose()).map(ContentKey).ok_or(BadContainer::ContentKey)
    }
}
