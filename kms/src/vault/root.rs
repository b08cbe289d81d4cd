//! The root key: 32 random bytes that seal domain keys. Comes from a file, or is unsealed by shares; never printed, never sent.

use super::key_file;
use crate::{
    crypto::{Canonical, Secret, hkdf_expand},
    env::{Disk, Env},
};
use std::{
    io,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const FORMAT: &str = "okms-root-key-v1";

/// The key above all domain keys of a region.
pub struct RootKey(pub(super) Secret<32>);

/// Why there is no root key. Says what to do, and nothing of the file's contents.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    /// No file.
    #[error(
        "no root key at {0}: `kms init` writes it once per region; copy it from another host of the region"
    )]
    Missing(PathBuf),
    /// The file could not be read.
    #[error("cannot read the root key {0}: {1}")]
    Read(PathBuf, io::Error),
    /// Not a root key file.
    #[error(
        "{0} is not a root key: expected one line `{FORMAT} <base64 of 32 bytes>`; restore it from its safe copy"
    )]
    Format(PathBuf),
    /// No file with the sealed root key.
    #[error(
        "no sealed root key at {0}: copy it from another host of the region; it opens nothing without the shares"
    )]
    SealedMissing(PathBuf),
    /// Not a file with a sealed root key.
    #[error(
        "{0} is not a sealed root key: copy it from another host of the region; it opens nothing without the shares"
    )]
    SealedFormat(PathBuf),
}

impl RootKey {
    /// A new root key.
    ///
    /// # Errors
    /// When there is no randomness to be had.
    pub fn generate(env: &Env) -> io::Result<RootKey> {
        Ok(RootKey(Secret::random(env)?))
    }

    /// A key for another purpose than sealing domain keys; `whose` tells its holders apart.
    pub fn subkey(&self, purpose: &str, whose: &[u8]) -> Secret<32> {
        let info = Canonical::new("okms/root-subkey/v1").add(purpose.as_bytes()).add(whose);
        hkdf_expand(&self.0, &[info.bytes()])
    }

    /// The contents of a root key file. The caller writes it as a private file and nowhere else.
    pub fn file(&self) -> Zeroizing<Vec<u8>> {
        key_file::encode(FORMAT, &self.0)
    }

    /// Reads a root key file.
    ///
    /// # Errors
    /// [`RootKeyError`] says what to do.
    pub fn load(disk: &dyn Disk, path: &Path) -> Result<RootKey, RootKeyError> {
        let contents = disk
            .read(path)
            .map_err(|error| RootKeyError::Read(path.into(), error))?
            .ok_or_else(|| RootKeyError::Missing(path.into()))?;
        let contents = Zeroizing::new(contents);
        RootKey::parse(&contents).ok_or_else(|| RootKeyError::Format(path.into()))
    }

    /// Reads the contents of a root key file.
    pub fn parse(contents: &[u8]) -> Option<RootKey> {
        key_file::parse(FORMAT, contents).map(RootKey)
    }
}
