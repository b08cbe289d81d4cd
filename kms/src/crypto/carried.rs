//! Keys on their way in and out: compact JWE (RFC 7516) whose content key is encrypted by RSA-OAEP to a transport key (RFC 7518, 4.3). Takes
//! what any JOSE library makes with `RSA-OAEP` or `RSA-OAEP-256` and AES-GCM; makes A256GCM.

use super::{
    NONCE_BYTES, SealingKey, Secret, SecretBytes, TAG_BYTES,
    asymmetric::{KeyError, OaepHash, PrivateKey, PublicKey},
};
use crate::env::{Env, Purpose};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use ring::aead;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest header read, base64url characters.
const HEADER_MAX_CHARS: usize = 1024;

/// Why a token cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum BadToken {
    /// It is none, or of a kind that is not offered.
    #[error("{0}")]
    Form(&'static str),
    /// It does not open with this key, for whatever reason.
    #[error("does not open")]
    DoesNotOpen,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    enc: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    /// Extensions that must be understood: none is.
    #[serde(default, skip_serializing)]
    crit: Option<serde::de::IgnoredAny>,
    /// Compression, which is not offered: it tells lengths.
    #[serde(default, skip_serializing)]
    zip: Option<serde::de::IgnoredAny>,
}

impl OaepHash {
    /// Its name as `alg`.
    pub fn word(self) -> &'static str {
        match self {
            OaepHash::Sha1 => "RSA-OAEP",
            OaepHash::Sha256 => "RSA-OAEP-256",
        }
    }

    /// The hash of a name.
    pub fn of_word(word: &str) -> Option<OaepHash> {
        [OaepHash::Sha1, OaepHash::Sha256].into_iter().find(|hash| hash.word() == word)
    }
}

/// Encrypts `text` to a transport key, whose id the header names.
///
/// # Errors
/// `WrongAlgorithm` if it is no RSA key; `Entropy`.
pub fn seal(
    env: &Env,
    (id, to): (Uuid, &PublicKey),
    hash: OaepHash,
    text: SecretBytes,
) -> Result<String, KeyError> {
    let key = Secret::<32>::random(env)?;
    let nonce: [u8; NONCE_BYTES] = env.random(Purpose::Public)?;
    let header = Header {
        alg: hash.word().to_owned(),
        enc: "A256GCM".to_owned(),
        kid: Some(id.to_string()),
        crit: None,
        zip: None,
    };
    let header = B64.encode(serde_json::to_vec(&header).map_err(std::io::Error::other)?);
    let carried = to.wrap(env, hash, &SecretBytes::new(key.expose().to_vec()))?;
    let mut body = text.into_sealable();
    SealingKey::new(&key).seal(nonce, header.as_bytes(), &mut body);
    let (ciphertext, tag) = body.split_at(body.len() - TAG_BYTES);
    let parts = [carried.as_slice(), &nonce, ciphertext, tag].map(|part| B64.encode(part));
    Ok(format!("{header}.{}", parts.join(".")))
}

/// Opens what was encrypted to a transport key.
///
/// # Errors
/// [`BadToken`].
pub fn open(env: &Env, with: &PrivateKey, token: &str) -> Result<SecretBytes, BadToken> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, carried, iv, ciphertext, tag] = parts[..] else {
        return Err(BadToken::Form("it is no compact JWE: five parts with dots between them"));
    };
    let (hash, algorithm) = read_header(header)?;
    let decode =
        |part: &str| B64.decode(part).map_err(|_| BadToken::Form("a part of the JWE is not base64url"));
    let (carried, iv, tag) = (decode(carried)?, decode(iv)?, decode(tag)?);
    let mut body = SecretBytes::new([decode(ciphertext)?, tag.clone()].concat());
    let nonce = aead::Nonce::try_assume_unique_for_key(&iv)
        .map_err(|_| BadToken::Form("the initialization vector must have 96 bits"))?;
    if tag.len() != TAG_BYTES {
        return Err(BadToken::Form("the authentication tag must have 128 bits"));
    }
    let key = with.unwrap(env, hash, &carried).map_err(|_| BadToken::DoesNotOpen)?;
    let key = aead::UnboundKey::new(algorithm, key.expose()).map_err(|_| BadToken::DoesNotOpen)?;
    let key = aead::LessSafeKey::new(key);
    let opened = key.open_in_place(nonce, aead::Aad::from(header.as_bytes()), body.expose_mut());
    let len = opened.map_err(|_| BadToken::DoesNotOpen)?.len();
    body.truncate(len);
    Ok(body)
}

fn read_header(text: &str) -> Result<(OaepHash, &'static aead::Algorithm), BadToken> {
    let bad = BadToken::Form("the header of the JWE is none");
    if text.len() > HEADER_MAX_CHARS {
        return Err(bad);
    }
    let Ok(bytes) = B64.decode(text) else { return Err(bad) };
    let Ok(header) = serde_json::from_slice::<Header>(&bytes) else { return Err(bad) };
    if header.crit.is_some() || header.zip.is_some() {
        return Err(BadToken::Form("crit and zip are not offered in the header of the JWE"));
    }
    let hash = OaepHash::of_word(&header.alg)
        .ok_or(BadToken::Form("alg of the JWE must be RSA-OAEP or RSA-OAEP-256"))?;
    let algorithm = match header.enc.as_str() {
        "A128GCM" => &aead::AES_128_GCM,
        "A256GCM" => &aead::AES_256_GCM,
        _ => return Err(BadToken::Form("enc of the JWE must be A128GCM or A256GCM")),
    };
    Ok((hash, algorithm))
}
