//! Reads a key's attributes. Never its material. A destroyed key still answers: its tombstone is kept.

use super::{HostService, KeyRecord, KeyView};
use crate::{
    error::Error,
    iam::{Authorized, action},
    vault::{KIND_SERVICE_KEY, record_key},
};

impl HostService {
    /// The attributes of a key.
    ///
    /// # Errors
    /// `KeyNotFound`, `Refused`, `Integrity`.
    pub async fn get(&self, may: &Authorized<action::Get>) -> Result<KeyView, Error> {
        let id = *may.of();
        let key = record_key(KIND_SERVICE_KEY, may.domain(), id);
        self.decide_record(may.domain(), &key, |found: Option<KeyRecord>| match found {
            Some(record) => Ok(record.view),
            None => Err(Error::key_not_found()),
        })
        .await?
    }
}
