//! Where an export is: all that the next page needs to know, so that no host keeps anything of it and any host makes the next page. Bound to
//! its domain by a keyed hash: a made-up or foreign one is refused. The content key follows from the domain's key; it is not in here.

use crate::{
    container::{ContentKey, Counts},
    crypto::{Canonical, equal, hkdf_expand, keyed_hash},
    engine::secrets::Draining,
    error::Error,
    record::RecordKey,
    vault::DomainKey,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const TAG_BYTES: usize = 16;
/// Longest cursor, characters.
const CURSOR_MAX_CHARS: usize = 2048;

/// See the module.
#[derive(Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) export: Uuid,
    pub(super) recipient: [u8; 32],
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

fn tag(key: &DomainKey, json: &[u8]) -> [u8; 32] {
    keyed_hash(&key.subkey("export-cursor"), json)
}

impl Cursor {
    /// Where the next page begins.
    pub(super) fn text(&self, key: &DomainKey) -> Result<String, Error> {
        let json = serde_json::to_vec(self).map_err(|_| Error::internal("a cursor is not written"))?;
        Ok(B64.encode([&tag(key, &json)[..TAG_BYTES], &json].concat()))
    }

    /// Reads one of this domain.
    pub(super) fn read(key: &DomainKey, text: &str) -> Result<Cursor, Error> {
        let foreign = || Error::bad("cursor is not one of an export of this domain");
        if text.len() > CURSOR_MAX_CHARS {
            return Err(foreign());
        }
        let bytes = B64.decode(text).map_err(|_| foreign())?;
        let (found, json) = bytes.split_at_checked(TAG_BYTES).ok_or_else(foreign)?;
        if !equal(found, &tag(key, json)[..TAG_BYTES]) {
            return Err(foreign());
        }
        serde_json::from_slice(json).map_err(|_| Error::bad("cursor is one of another build"))
    }

    /// The key above all frames of this export.
    pub(super) fn content_key(&self, key: &DomainKey) -> ContentKey {
        let info = Canonical::new("okms/export-content/v1").add(self.export.as_bytes()).add(&self.recipient);
        ContentKey::new(hkdf_expand(&key.subkey("export-content"), &[info.bytes()]))
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
