//! Where an export is: all that the next page needs to know, so that no host keeps anything of it and any host makes the next page. The key
//! above all frames is in it, and nowhere else but in the head for its owner; so a cursor is sealed under a key of its domain. A made-up or
//! foreign one does not open.

use crate::{
    container::{ContentKey, Counts},
    crypto::{Canonical, NONCE_BYTES, SealingKey, Secret, SecretBytes, TAG_BYTES, hkdf_expand},
    engine::secrets::Draining,
    env::{Env, Purpose},
    error::Error,
    record::RecordKey,
    vault::DomainKey,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde::{Deserialize, Serialize};

const NAME: &str = "okms/export-cursor/v1";
const SALT_BYTES: usize = 32;
const CONTENT_BYTES: usize = 32;
/// Each cursor has a key of its own, by its salt.
const NONCE: [u8; NONCE_BYTES] = [0; NONCE_BYTES];
/// Longest cursor, characters.
const CURSOR_MAX_CHARS: usize = 2048;

/// See the module.
#[derive(Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The number of the next frame, and the hash of what is before it.
    pub(super) number: u64,
    pub(super) before: [u8; 32],
    /// Which kind of records is next, by its place in the order of export.
    pub(super) kind: usize,
    /// The record of that kind that was looked at last.
    pub(super) after: Option<Vec<u8>>,
    /// The secret of that record is still to give the data of these.
    pub(super) draining: Option<Draining>,
    pub(super) counts: Counts,
}

fn sealing_key(key: &DomainKey, salt: &[u8]) -> SealingKey {
    SealingKey::new(&hkdf_expand(&key.subkey("export-cursor"), &[Canonical::new(NAME).add(salt).bytes()]))
}

impl Cursor {
    /// Where the next page begins, and the key above all frames; sealed.
    pub(super) fn text(&self, env: &Env, key: &DomainKey, content: &ContentKey) -> Result<String, Error> {
        let json = serde_json::to_vec(self).map_err(|_| Error::internal("a cursor is not written"))?;
        let salt: [u8; SALT_BYTES] = env.random(Purpose::Public)?;
        // Never grown, and encrypted in place: nothing of the key is left behind.
        let mut sealed = Vec::with_capacity(CONTENT_BYTES + json.len() + TAG_BYTES);
        sealed.extend_from_slice(content.secret().expose());
        sealed.extend_from_slice(&json);
        sealing_key(key, &salt).seal(NONCE, NAME.as_bytes(), &mut sealed);
        Ok(B64.encode([&salt[..], &sealed].concat()))
    }

    /// Opens one of this domain.
    pub(super) fn read(key: &DomainKey, text: &str) -> Result<(Cursor, ContentKey), Error> {
        let foreign = || Error::bad("cursor is not one of an export of this domain");
        if text.len() > CURSOR_MAX_CHARS {
            return Err(foreign());
        }
        let bytes = B64.decode(text).map_err(|_| foreign())?;
        let (salt, sealed) = bytes.split_at_checked(SALT_BYTES).ok_or_else(foreign)?;
        let mut sealed = SecretBytes::new(sealed.to_vec());
        let opened = sealing_key(key, salt).open(NONCE, NAME.as_bytes(), sealed.expose_mut());
        let opened = opened.map_err(|_| foreign())?;
        let other = || Error::bad("cursor is one of another build");
        let (content, json) = opened.split_at_checked(CONTENT_BYTES).ok_or_else(other)?;
        let content = Secret::copy_from(content).map(ContentKey::new).ok_or_else(other)?;
        Ok((serde_json::from_slice(json).map_err(|_| other())?, content))
    }

    /// The record that was looked at last.
    pub(super) fn looked_at(&self) -> Option<RecordKey> {
        self.after.clone().map(RecordKey)
    }

    /// Goes on after a record; with none, to the next kind.
    pub(super) fn go_on(&mut self, after: Option<RecordKey>) {
        self.kind += usize::from(after.is_none());
        self.after = after.map(|key| key.0);
    }
}
