//! Encrypts up to 4 KiB with an active key. While a write to the key is in doubt it goes on as long as the
//! key is usable, with the same material, under either outcome.

use super::{Context, HostService, KeyRecord, Operations, lifecycle::State, read::Same};
use crate::{
    crypto::{
        SecretBytes,
        jwe::{JweKey, JwePurpose},
    },
    error::{Code, Error},
    iam::{Authorized, action},
    vault::{KIND_SERVICE_KEY, record_key},
};
use uuid::Uuid;

/// Largest plaintext, bytes.
pub const PLAINTEXT_MAX_BYTES: usize = 4096;

/// Material that may be used for what was asked.
pub(super) struct Usable {
    id: Uuid,
    pub(super) material: SecretBytes,
}

impl Usable {
    /// The key as a message is bound to it.
    pub(super) fn jwe(&self) -> JweKey<'_> {
        JweKey { id: self.id, version: 0, material: &self.material }
    }
}

impl Same for Usable {
    fn same(&self, other: &Self) -> bool {
        self.material.same(&other.material)
    }
}

/// The material of a key, if its state and operations allow the use.
pub(super) fn usable(
    found: Option<KeyRecord>,
    operation: Operations,
    state_allows: fn(State) -> bool,
) -> Result<Usable, Error> {
    let record = found.ok_or_else(Error::key_not_found)?;
    if !state_allows(record.view.state) {
        let sentence = format!("the key is {}", record.view.state.word().replace('_', " "));
        return Err(Error::new(Code::WrongState, sentence));
    }
    if !record.view.operations.allow(operation) {
        return Err(Error::new(Code::WrongUse, "the key's operations do not include this one"));
    }
    Ok(Usable { id: record.view.id, material: record.material })
}

impl HostService {
    /// Material to protect with, under every outcome.
    pub(super) async fn to_protect(
        &self,
        domain: Uuid,
        id: Uuid,
        operation: Operations,
    ) -> Result<Usable, Error> {
        let key = record_key(KIND_SERVICE_KEY, domain, id);
        self.decide_record(domain, &key, |found| usable(found, operation, State::may_protect)).await?
    }

    /// Encrypts `plaintext`; the answer is a compact JWE.
    ///
    /// # Errors
    /// `BadArgument`, `KeyNotFound`, `WrongState`, `WrongUse`, `Refused`, `Integrity`.
    pub async fn encrypt(
        &self,
        may: &Authorized<action::Encrypt>,
        id: Uuid,
        plaintext: SecretBytes,
        context: &Context,
    ) -> Result<String, Error> {
        if plaintext.expose().len() > PLAINTEXT_MAX_BYTES {
            return Err(Error::bad("plaintext is longer than 4096 bytes"));
        }
        let usable = self.to_protect(may.domain(), id, Operations::ENCRYPT).await?;
        Ok(usable.jwe().seal(&self.env, JwePurpose::Encrypt, context.bytes(), plaintext)?)
    }
}
