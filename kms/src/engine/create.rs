//! Makes a key. With a client's id this is the one request that may be repeated blindly: the second time it
//! answers "conflict". Imports nothing yet.

use super::{
    Context, HostService, KeyName, KeyRecord, KeyView, Operations, lifecycle::State, payload::Dates,
};
use crate::{
    crypto::SecretBytes,
    env::Purpose,
    error::{Code, Error},
    iam::{Authorized, action},
    vault::{KIND_SERVICE_KEY, record_key},
};
use uuid::Uuid;

/// Sizes of symmetric keys, bits.
pub const SIZES: [u32; 3] = [128, 192, 256];

/// A symmetric key to be made.
pub struct NewKey {
    /// Id of the client's choosing.
    pub id: Option<Uuid>,
    /// Friendly name.
    pub name: KeyName,
    /// Kept with the key.
    pub context: Option<Context>,
    /// Size, bits; one of [`SIZES`].
    pub size: u32,
    /// Permitted operations; [`Operations::NONE`] means the default, encrypt and decrypt.
    pub operations: Operations,
}

impl HostService {
    /// Makes a key, active at once.
    ///
    /// # Errors
    /// `BadArgument`, `Conflict` when the id is taken, `Refused`, `Unknown`.
    pub async fn create(&self, may: &Authorized<action::Create>, new: NewKey) -> Result<KeyView, Error> {
        if !SIZES.contains(&new.size) {
            return Err(Error::bad("size must be 128, 192 or 256"));
        }
        let operations = match new.operations {
            Operations::NONE => Operations::ENCRYPT.with(Operations::DECRYPT),
            asked if Operations::SYMMETRIC.allow(asked) => asked,
            _ => {
                return Err(Error::bad(
                    "operations of an oct key are encrypt, decrypt, wrapKey and unwrapKey",
                ));
            }
        };
        let id = match new.id {
            Some(id) => id,
            None => random_id(self.env.random(Purpose::Public)?),
        };
        let now = self.wall_us();
        let view = KeyView {
            id,
            name: new.name.into_string(),
            size: new.size,
            operations,
            state: State::Active,
            dates: Dates { created_us: now, activated_us: Some(now), ..Dates::default() },
        };
        let material = SecretBytes::random(&self.env, new.size as usize / 8)?;
        let context = new.context.map(Context::into_string);
        let record = KeyRecord { view, context, reason: 0, material };
        let key = record_key(KIND_SERVICE_KEY, may.domain(), id);
        self.insert(may.domain(), &key, &record, || Error::new(Code::Conflict, "a key with this id exists"))
            .await?;
        Ok(record.view)
    }
}

/// A version 4 UUID of random bits (RFC 9562, 5.4).
pub(crate) fn random_id(mut bytes: [u8; 16]) -> Uuid {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uuid::from_bytes(bytes)
}
