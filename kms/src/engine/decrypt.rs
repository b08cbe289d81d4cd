//! Opens what a key encrypted: with active, deactivated and compromised keys, while the material exists.
//! Every failure to open is one error, whatever the reason.

use super::{Context, HostService, Operations, encrypt::Use};
use crate::{
    crypto::{SecretBytes, jwe::JwePurpose},
    error::{Code, Error},
    iam::{Authorized, action},
};
use uuid::Uuid;

impl HostService {
    /// Material to process with, under every outcome, and the message opened with it.
    pub(super) async fn open_message(
        &self,
        domain: Uuid,
        id: Uuid,
        (purpose, operation): (JwePurpose, Operations),
        context: &[u8],
        message: &str,
    ) -> Result<SecretBytes, Error> {
        let usable = self.to_use(domain, id, (operation, Use::Process)).await?;
        usable
            .jwe()
            .open(purpose, context, message)
            .map_err(|_| Error::new(Code::DecryptFailed, "this key and context do not decrypt it"))
    }

    /// Decrypts what [`HostService::encrypt`] made.
    ///
    /// # Errors
    /// `DecryptFailed`, `KeyNotFound`, `WrongState`, `WrongUse`, `Refused`, `Integrity`.
    pub async fn decrypt(
        &self,
        may: &Authorized<action::Decrypt>,
        ciphertext: &str,
        context: &Context,
    ) -> Result<SecretBytes, Error> {
        let id = *may.of();
        let how = (JwePurpose::Encrypt, Operations::DECRYPT);
        self.open_message(may.domain(), id, how, context.bytes(), ciphertext).await
    }
}
