//! Data keys: random keys handed out with a sealed copy, and opened again. The service keeps none of them.

use super::{
    HostService, KeyType, Operations,
    encrypt::{Usable, Use},
};
use crate::{
    crypto::{SecretBytes, jwe::JwePurpose},
    error::{Code, Error},
    iam::{Authorized, action},
};

/// Smallest data key, bits.
pub const DATA_KEY_MIN_BITS: u32 = 64;
/// Largest data key, bits.
pub const DATA_KEY_MAX_BITS: u32 = 4096;

/// Data keys come of symmetric keys: an RSA key with the same operation carries keys in and out of the service.
fn symmetric(usable: &Usable) -> Result<(), Error> {
    match usable.view().kind {
        KeyType::Oct(_) => Ok(()),
        KeyType::Of(_) => Err(Error::new(Code::WrongUse, "data keys are made of oct keys alone")),
    }
}

impl HostService {
    /// Makes a data key: the sealed blob, and the key in clear.
    ///
    /// # Errors
    /// `BadArgument`, `KeyNotFound`, `WrongState`, `WrongUse`, `Refused`, `Integrity`.
    pub async fn create_data_key(
        &self,
        may: &Authorized<action::CreateDataKey>,
        bits: u32,
    ) -> Result<(String, SecretBytes), Error> {
        let id = *may.of();
        if !(DATA_KEY_MIN_BITS..=DATA_KEY_MAX_BITS).contains(&bits) || !bits.is_multiple_of(8) {
            return Err(Error::bad("size must be a multiple of 8 from 64 to 4096"));
        }
        let usable = self.to_use(may.domain(), id, (Operations::WRAP, Use::Protect)).await?;
        symmetric(&usable)?;
        let key = SecretBytes::random(&self.env, bits as usize / 8)?;
        let blob = usable.jwe().seal(&self.env, JwePurpose::DataKey, &[], key.duplicate())?;
        Ok((blob, key))
    }

    /// Opens the blob of a data key.
    ///
    /// # Errors
    /// `DecryptFailed`, `KeyNotFound`, `WrongState`, `WrongUse`, `Refused`, `Integrity`.
    pub async fn decrypt_data_key(
        &self,
        may: &Authorized<action::DecryptDataKey>,
        blob: &str,
    ) -> Result<SecretBytes, Error> {
        let id = *may.of();
        let how = (JwePurpose::DataKey, Operations::UNWRAP);
        self.open_message(may.domain(), id, how, &[], blob).await
    }
}
