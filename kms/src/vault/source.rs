//! Where a host has its root key from: a file that holds it, or one that holds it sealed and the shares that people give.

use super::{
    RootKey, RootKeyError,
    unseal::{SealedRoot, ShareSet, UnsealError, UnsealKey, UnsealShare, Unsealing},
};
use crate::{config::NodeConfig, env::Disk};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The root key's place.
pub struct RootSource {
    disk: Arc<dyn Disk>,
    place: Place,
    /// Whoever rotates. Never held together with what is asked for: a disk may hang.
    rotating: Mutex<()>,
}

enum Place {
    File(PathBuf),
    Shares(PathBuf, Mutex<Kept>),
}

struct Kept {
    sealed: SealedRoot,
    unsealing: Unsealing,
}

/// How many shares there are, and how many were given since the host was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharesGiven {
    /// The set that is wanted.
    pub set: ShareSet,
    /// Different ones given so far.
    pub given: u8,
}

/// Why another set of shares was not put in the place of the one there is.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The host has its root key in a file.
    #[error("this host is not unsealed by shares: its node.toml names a root key file")]
    NoShares,
    /// The old key does not open what is kept.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// The new file was not written; the old one stands.
    #[error(
        "the newly sealed root key was not written: {0}. The shares of before are still the ones that count"
    )]
    Disk(io::Error),
}

impl RootSource {
    /// The source that a host's configuration names, and the root key if it is to be had without anybody's help.
    ///
    /// # Errors
    /// [`RootKeyError`] says what to do.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: &NodeConfig,
    ) -> Result<(Option<RootKey>, RootSource), RootKeyError> {
        let place = match (&config.root_key, &config.sealed_root) {
            (Some(path), _) => Place::File(path.clone()),
            (None, Some(path)) => {
                let kept = Kept { sealed: read_sealed_root(&*disk, path)?, unsealing: Unsealing::default() };
                Place::Shares(path.clone(), Mutex::new(kept))
            }
            (None, None) => return Err(RootKeyError::Missing(PathBuf::from("node.toml"))),
        };
        let source = RootSource { disk, place, rotating: Mutex::default() };
        Ok((source.by_itself()?, source))
    }

    /// The root key, if it is to be had without anybody's help.
    ///
    /// # Errors
    /// [`RootKeyError`] says what to do.
    pub fn by_itself(&self) -> Result<Option<RootKey>, RootKeyError> {
        match &self.place {
            Place::File(path) => RootKey::load(&*self.disk, path).map(Some),
            Place::Shares(..) => Ok(None),
        }
    }

    /// What shares are wanted; none, if the key is in a file.
    pub fn shares(&self) -> Option<SharesGiven> {
        let kept = self.kept()?;
        Some(SharesGiven { set: kept.sealed.set(), given: kept.unsealing.given() })
    }

    /// Takes a share; the root key, once there are enough.
    ///
    /// # Errors
    /// [`UnsealError`]: it was not taken.
    pub fn take(&self, share: UnsealShare) -> Result<Option<RootKey>, UnsealError> {
        let Some(mut kept) = self.kept() else { return Err(UnsealError::NoneWanted) };
        let Kept { sealed, unsealing } = &mut *kept;
        unsealing.take(sealed, share)
    }

    /// Forgets the shares given so far.
    pub fn forget(&self) {
        if let Some(mut kept) = self.kept() {
            kept.unsealing = Unsealing::default();
        }
    }

    /// Seals the root key under a new key instead of the old one, whose shares open nothing from then on. Writes to the disk. Repeating
    /// it changes nothing.
    ///
    /// # Errors
    /// [`RotateError`]: nothing has changed.
    pub fn rotate(&self, env: &crate::env::Env, old: &UnsealKey, new: &UnsealKey) -> Result<(), RotateError> {
        let _turn = self.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        let (Place::Shares(path, _), Some(before)) =
            (&self.place, self.kept().map(|kept| kept.sealed.clone()))
        else {
            return Err(RotateError::NoShares);
        };
        if before.set() == new.set() {
            // It was done before; whether by the same key shows when it opens.
            return new.open(&before).map(drop).map_err(RotateError::Unseal);
        }
        let root = old.open(&before)?;
        let sealed = new.seal(env, &root).map_err(UnsealError::Entropy)?;
        self.disk.write_atomic(path, sealed.file().as_bytes(), true).map_err(RotateError::Disk)?;
        if let Some(mut kept) = self.kept() {
            *kept = Kept { sealed, unsealing: Unsealing::default() };
        }
        Ok(())
    }

    fn kept(&self) -> Option<MutexGuard<'_, Kept>> {
        match &self.place {
            Place::File(_) => None,
            Place::Shares(_, kept) => Some(kept.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

/// Reads a file with a sealed root key.
///
/// # Errors
/// [`RootKeyError`] says what to do.
pub fn read_sealed_root(disk: &dyn Disk, path: &Path) -> Result<SealedRoot, RootKeyError> {
    let contents = disk
        .read(path)
        .map_err(|error| RootKeyError::Read(path.into(), error))?
        .ok_or_else(|| RootKeyError::SealedMissing(path.into()))?;
    SealedRoot::parse(&contents).ok_or_else(|| RootKeyError::SealedFormat(path.into()))
}
