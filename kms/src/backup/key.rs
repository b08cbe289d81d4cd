//! The backup key and the day keys. The backup key is 32 random bytes in a file of its own: it opens day keys and no
//! record, so who makes backups can read no customer's data. Each UTC day has a random key, a small object beside the
//! backups, sealed under the backup key; what it sealed is unreadable once that object is destroyed.
//!
//! Day key object: format 1 (u8), id of the backup key (8 bytes), nonce (12 bytes), ciphertext (32 bytes), tag (16 bytes).

use super::names::{Day, DayKeyId, Name};
use crate::{
    crypto::{
        Canonical, NONCE_BYTES, SealingKey, Secret, SecretBytes, TAG_BYTES, equal, hkdf_expand, keyed_hash,
    },
    env::{Disk, Env, Purpose},
    vault::key_file,
};
use std::{
    io,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const FILE_FORMAT: &str = "okms-backup-key-v1";
const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 8;
const LEN: usize = 1 + KEY_ID_BYTES + NONCE_BYTES + 32 + TAG_BYTES;

/// The key above all day keys of a region's backups.
pub struct BackupKey(Secret<32>);

/// Why there is no backup key. Says what to do, and nothing of the file's contents.
#[derive(Debug, thiserror::Error)]
pub enum BackupKeyError {
    /// No file.
    #[error("no backup key at {0}: `kms init` writes it once per region; restore it from its safe copy")]
    Missing(PathBuf),
    /// The file could not be read.
    #[error("cannot read the backup key {0}: {1}")]
    Read(PathBuf, io::Error),
    /// Not a backup key file.
    #[error(
        "{0} is not a backup key: expected one line `{FILE_FORMAT} <base64 of 32 bytes>`; restore it from its safe copy"
    )]
    Format(PathBuf),
}

impl BackupKey {
    /// A new backup key.
    ///
    /// # Errors
    /// When there is no randomness to be had.
    pub fn generate(env: &Env) -> io::Result<BackupKey> {
        Ok(BackupKey(Secret::random(env)?))
    }

    /// The contents of a backup key file. The caller writes it as a private file and nowhere else.
    pub fn file(&self) -> Zeroizing<Vec<u8>> {
        key_file::encode(FILE_FORMAT, &self.0)
    }

    /// Reads a backup key file.
    ///
    /// # Errors
    /// [`BackupKeyError`] says what to do.
    pub fn load(disk: &dyn Disk, path: &Path) -> Result<BackupKey, BackupKeyError> {
        let contents = disk
            .read(path)
            .map_err(|error| BackupKeyError::Read(path.into(), error))?
            .ok_or_else(|| BackupKeyError::Missing(path.into()))?;
        let contents = Zeroizing::new(contents);
        BackupKey::parse(&contents).ok_or_else(|| BackupKeyError::Format(path.into()))
    }

    /// Reads the contents of a backup key file.
    pub fn parse(contents: &[u8]) -> Option<BackupKey> {
        key_file::parse(FILE_FORMAT, contents).map(BackupKey)
    }

    /// Tells one backup key from another, and nothing else of it.
    fn id(&self) -> [u8; KEY_ID_BYTES] {
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&keyed_hash(&self.0, b"okms/backup-key-id/v1")[..KEY_ID_BYTES]);
        id
    }
}

/// The key of the backups of a day.
pub struct DayKey {
    day: Day,
    id: DayKeyId,
    key: Secret<32>,
}

/// Why a day key object does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDayKey {
    /// Another backup key sealed it.
    #[error("sealed under another backup key: use the backup key file of this region")]
    OtherBackupKey,
    /// Altered, of another day or region, or no day key.
    #[error("the day's key is damaged: use the other store, or another day's backup")]
    Damaged,
}

fn bound_to(region: &str, day: Day, id: DayKeyId) -> Canonical {
    Canonical::new("okms/backup-day-key/v1")
        .add(&[VERSION])
        .add(region.as_bytes())
        .add(day.to_string().as_bytes())
        .add(&id.0)
}

fn sealing_key(backup: &BackupKey, region: &str, day: Day, id: DayKeyId) -> SealingKey {
    SealingKey::new(&hkdf_expand(&backup.0, &[bound_to(region, day, id).bytes()]))
}

impl DayKey {
    /// A new key for a day, and the object that keeps it, sealed.
    ///
    /// # Errors
    /// When there is no randomness to be had.
    pub fn make(env: &Env, backup: &BackupKey, region: &str, day: Day) -> io::Result<(DayKey, Vec<u8>)> {
        let id = DayKeyId(env.random(Purpose::Public)?);
        let nonce: [u8; NONCE_BYTES] = env.random(Purpose::Public)?;
        let key = Secret::random(env)?;
        let mut sealed = SecretBytes::new(key.expose().to_vec()).into_sealable();
        sealing_key(backup, region, day, id).seal(nonce, bound_to(region, day, id).bytes(), &mut sealed);
        let mut object = Vec::with_capacity(LEN);
        object.push(VERSION);
        object.extend_from_slice(&backup.id());
        object.extend_from_slice(&nonce);
        object.extend_from_slice(&sealed);
        Ok((DayKey { day, id, key }, object))
    }

    /// Opens a day key object.
    ///
    /// # Errors
    /// [`BadDayKey`] if it is not the one of this name, region and backup key.
    pub fn open(
        backup: &BackupKey,
        region: &str,
        day: Day,
        id: DayKeyId,
        object: &[u8],
    ) -> Result<DayKey, BadDayKey> {
        let object: &[u8; LEN] = object.try_into().map_err(|_| BadDayKey::Damaged)?;
        let (&[version], rest) = object.split_first_chunk::<1>().ok_or(BadDayKey::Damaged)?;
        let (by, rest) = rest.split_first_chunk::<KEY_ID_BYTES>().ok_or(BadDayKey::Damaged)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(BadDayKey::Damaged)?;
        if version != VERSION {
            return Err(BadDayKey::Damaged);
        }
        if !equal(by, &backup.id()) {
            return Err(BadDayKey::OtherBackupKey);
        }
        let mut sealed = SecretBytes::new(sealed.to_vec());
        let clear = sealing_key(backup, region, day, id)
            .open(*nonce, bound_to(region, day, id).bytes(), sealed.expose_mut())
            .map_err(|_| BadDayKey::Damaged)?;
        let key = Secret::copy_from(clear).ok_or(BadDayKey::Damaged)?;
        Ok(DayKey { day, id, key })
    }

    /// Its day.
    pub fn day(&self) -> Day {
        self.day
    }

    /// Its id.
    pub fn id(&self) -> DayKeyId {
        self.id
    }

    /// The object that keeps it.
    pub fn name(&self) -> Name {
        Name::DayKey(self.day, self.id)
    }

    /// A key for one object.
    pub(super) fn derive(&self, info: &Canonical) -> SealingKey {
        SealingKey::new(&hkdf_expand(&self.key, &[info.bytes()]))
    }
}
