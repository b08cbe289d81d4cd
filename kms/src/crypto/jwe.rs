//! Ciphertexts and data keys as clients hold them: compact JWE (RFC 7516) with `dir` and `A256GCM`, a fresh
//! key per message derived from the service key and a random salt. Opens only what this module made: any
//! other serialisation of a header is refused, and every failure is the same error.
//!
//! A message's nonce is the beginning of its salt. Once it was drawn apart: whatever it is, it is accepted.

use super::{Canonical, DoesNotOpen, NONCE_BYTES, SealingKey, Secret, SecretBytes, TAG_BYTES, hkdf, sha256};
use crate::env::{Env, Purpose};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use std::{
    fmt::{self, Write},
    io,
    sync::OnceLock,
};
use uuid::Uuid;

const SALT_BYTES: usize = 32;
/// Characters of a salt in base64url.
const SALT_CHARS: usize = 43;
/// Room for the longest header.
const HEADER_MAX_BYTES: usize = 160;

/// Room behind a message, for whoever writes it into something larger.
const SPARE_BYTES: usize = 32;

/// What a message is. Part of its key, so that neither opens as the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwePurpose {
    /// Made by `encrypt`, opened by `decrypt`.
    Encrypt,
    /// Made by `datakey`, opened by `datakey/decrypt`.
    DataKey,
}

/// The service key a message is bound to.
pub struct JweKey<'a> {
    /// Key id.
    pub id: Uuid,
    /// Key version; 0 until keys can be rotated.
    pub version: u32,
    /// Its material, of any length.
    pub material: &'a SecretBytes,
}

impl JweKey<'_> {
    fn message_key(&self, purpose: JwePurpose, salt: &[u8], context: &[u8]) -> Secret<32> {
        let context_hash = hash_of_context(context);
        let word: &[u8] = match purpose {
            JwePurpose::Encrypt => b"encrypt",
            JwePurpose::DataKey => b"datakey",
        };
        let info = Canonical::new("okms/jwe/v1")
            .add(self.id.as_bytes())
            .add(&self.version.to_be_bytes())
            .add(&context_hash)
            .add(word);
        hkdf(self.material.expose(), salt, &[info.bytes()])
    }

    /// The one serialisation of the protected header.
    fn header(&self, salt: &[u8; SALT_BYTES]) -> Header {
        let mut header = Header { bytes: [0; HEADER_MAX_BYTES], len: 0 };
        header.put(br#"{"alg":"dir","enc":"A256GCM","kid":""#);
        header.put(self.id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        header.put(br#"","x-key-ver":"#);
        // There is room for the longest number.
        let _ = write!(header, "{}", self.version);
        header.put(br#","x-salt":""#);
        let mut text = [0; SALT_CHARS];
        B64.encode_slice(salt, &mut text).expect("43 characters");
        header.put(&text);
        header.put(br#""}"#);
        header
    }

    /// Encrypts; `context` must be the same when the message is opened.
    ///
    /// # Errors
    /// When there is no randomness to be had.
    pub fn seal(
        &self,
        env: &Env,
        purpose: JwePurpose,
        context: &[u8],
        text: SecretBytes,
    ) -> io::Result<String> {
        let salt: [u8; SALT_BYTES] = env.random(Purpose::Public)?;
        // No key is used for two messages, since every salt is drawn: any nonce will do.
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&salt[..NONCE_BYTES]);
        let header = self.header(&salt);
        let mut body = text.into_sealable();
        let header = header.text();
        let bytes = header.len() + NONCE_BYTES + body.len() + TAG_BYTES;
        // Each part has up to two characters more than a third of its bytes, and there are four dots.
        let mut out = Token(Vec::with_capacity(bytes * 4 / 3 + 4 * 2 + 4 + SPARE_BYTES));
        out.part(header);
        SealingKey::new(&self.message_key(purpose, &salt, context)).seal(nonce, &out.0, &mut body);
        let (ciphertext, tag) = body.split_at(body.len() - TAG_BYTES);
        out.0.push(b'.');
        for part in [&nonce[..], ciphertext, tag] {
            out.0.push(b'.');
            out.part(part);
        }
        String::from_utf8(out.0).map_err(io::Error::other)
    }

    /// Decrypts.
    ///
    /// # Errors
    /// [`DoesNotOpen`], whatever the reason.
    pub fn open(
        &self,
        purpose: JwePurpose,
        context: &[u8],
        message: &str,
    ) -> Result<SecretBytes, DoesNotOpen> {
        let mut parts = message.split('.');
        let mut part = || parts.next().ok_or(DoesNotOpen);
        let (header, encrypted_key, iv, ciphertext, tag) = (part()?, part()?, part()?, part()?, part()?);
        if part().is_ok() || !encrypted_key.is_empty() {
            return Err(DoesNotOpen);
        }
        let clear = B64.decode(header).map_err(|_| DoesNotOpen)?;
        let salt: [u8; SALT_BYTES] = exact(salt_of(&clear).ok_or(DoesNotOpen)?)?;
        if self.header(&salt).text() != clear {
            return Err(DoesNotOpen);
        }
        let nonce: [u8; NONCE_BYTES] = exact(iv)?;
        let mut body = Vec::with_capacity(ciphertext.len() + TAG_BYTES);
        B64.decode_vec(ciphertext, &mut body).map_err(|_| DoesNotOpen)?;
        body.extend_from_slice(&exact::<TAG_BYTES>(tag)?);
        let mut body = SecretBytes::new(body);
        let key = SealingKey::new(&self.message_key(purpose, &salt, context));
        let len = key.open(nonce, header.as_bytes(), body.expose_mut())?.len();
        body.truncate(len);
        Ok(body)
    }
}

/// A protected header.
struct Header {
    bytes: [u8; HEADER_MAX_BYTES],
    len: usize,
}

impl Header {
    fn put(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        self.bytes[self.len..end].copy_from_slice(part);
        self.len = end;
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Write for Header {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.put(part.as_bytes());
        Ok(())
    }
}

/// A compact serialisation that is being written.
struct Token(Vec<u8>);

impl Token {
    fn part(&mut self, bytes: &[u8]) {
        let from = self.0.len();
        self.0.resize(from + bytes.len().div_ceil(3) * 4, 0);
        let written = B64.encode_slice(bytes, &mut self.0[from..]).expect("there is room for padding too");
        self.0.truncate(from + written);
    }
}

/// The hash of a context, which is a part of keys. Most messages have none.
fn hash_of_context(context: &[u8]) -> [u8; 32] {
    static OF_NONE: OnceLock<[u8; 32]> = OnceLock::new();
    let hash = || sha256(Canonical::new("okms/context/v1").add(context).bytes());
    if context.is_empty() { *OF_NONE.get_or_init(hash) } else { hash() }
}

/// The salt's text inside a header of the one accepted form: what stands between the last quotes.
fn salt_of(header: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(header).ok()?.strip_suffix("\"}")?;
    let (_, salt) = text.rsplit_once('"')?;
    Some(salt)
}

fn exact<const N: usize>(text: &str) -> Result<[u8; N], DoesNotOpen> {
    let mut buffer = [0; SALT_BYTES + 16];
    let len = B64.decode_slice(text, &mut buffer).map_err(|_| DoesNotOpen)?;
    buffer[..len].try_into().map_err(|_| DoesNotOpen)
}
