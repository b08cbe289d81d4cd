//! Another set of shares: what a rotation begins with, and what it goes on with when it was broken off. The region must end with one
//! set, whose shares are all there: hosts that want shares of different sets are unsealed by different people, and shares that nobody
//! has unseal nothing.

use super::unseal::{HostSeal, UnsealShare};
use crate::{
    env::Disk,
    operator::admin::AdminError,
    vault::unseal::{ShareSet, UnsealError, share_file},
};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Why no other set of shares is put in the place of the one there is. No host was told anything.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The directory does not read.
    #[error("{0}: {1}")]
    Read(PathBuf, io::Error),
    /// A file of it holds no share.
    #[error("{0}: {1}")]
    NoShare(PathBuf, UnsealError),
    /// It holds shares of more than one set.
    #[error("{0} holds shares of more than one set: name a directory with those of the new set alone")]
    Mixed(PathBuf),
    /// It holds shares of the set that is to be replaced.
    #[error("{0} holds shares of set {1}, which is the one to replace: name another directory")]
    OldOnes(PathBuf, String),
    /// Not all shares of the new set are there, and a host wants them.
    #[error(
        "{dir} has {there} of the {count} shares of set {set}, and host {host} wants that set already: put the others back as share-1.txt to share-{count}.txt"
    )]
    Needed {
        /// The directory.
        dir: PathBuf,
        /// How many of them are there.
        there: usize,
        /// How many there should be.
        count: u8,
        /// Their set.
        set: String,
        /// The host.
        host: String,
    },
    /// Not all shares of the new set are there, and no host wants them.
    #[error(
        "{dir} has {there} of the {count} shares of set {set}: they were not all written, or some were moved. No host wants that set: delete those files, and run this again"
    )]
    Useless {
        /// The directory.
        dir: PathBuf,
        /// How many of them are there.
        there: usize,
        /// How many there should be.
        count: u8,
        /// Their set.
        set: String,
    },
    /// A host has its root key in a file.
    #[error("host {0} is not unsealed by shares: its node.toml names a root key file")]
    NoShares(String),
    /// A host wants shares of neither set.
    #[error(
        "host {host} wants shares of set {wanted}; those given are of set {old}, and {dir} has none of set {wanted}. If the shares were being replaced, name the directory that has the new ones (--out), all of them; or give shares of set {wanted}"
    )]
    OtherSet {
        /// The host.
        host: String,
        /// The set that it wants.
        wanted: String,
        /// The set that is to be replaced.
        old: String,
        /// The directory.
        dir: PathBuf,
    },
    /// A host that may want any set.
    #[error(
        "host {0} does not say which shares it wants ({1}): a new set is begun only when every host of operator.toml has said so. Wait for it; if it is gone for good, take it out of operator.toml"
    )]
    Silent(String, AdminError),
}

/// The shares of the new set that a rotation goes on with; none, if it is to make some.
///
/// `hosts` are all hosts of the region, as they stand; `old` is the set that is to be replaced.
///
/// # Errors
/// [`RotationError`] if the region could end with more than one set, or with one whose shares are not all there.
pub fn begun(
    disk: &dyn Disk,
    hosts: Vec<HostSeal>,
    old: ShareSet,
    dir: &Path,
) -> Result<Option<Vec<UnsealShare>>, RotationError> {
    let new = shares_of(disk, dir)?;
    let set = new.first().map(UnsealShare::set);
    if let Some(set) = set.filter(|set| *set == old) {
        return Err(RotationError::OldOnes(dir.into(), set.name()));
    }
    let whole = set.is_none_or(|set| numbers(&new) == (1..=set.count).collect());
    let (old, name) = (old.name(), set.map(|set| set.name()));
    let mut silent = None;
    for HostSeal { address: host, state } in hosts {
        let wanted = match state {
            Ok(state) => state.shares.ok_or(RotationError::NoShares(host.clone()))?.set,
            Err(error) => {
                silent = silent.or(Some(RotationError::Silent(host, error)));
                continue;
            }
        };
        match set {
            Some(set) if name.as_ref() == Some(&wanted) && !whole => {
                let (dir, there, count) = (dir.into(), new.len(), set.count);
                return Err(RotationError::Needed { dir, there, count, set: wanted, host });
            }
            _ if wanted == old || name.as_ref() == Some(&wanted) => {}
            _ => return Err(RotationError::OtherSet { host, wanted, old, dir: dir.into() }),
        }
    }
    match (set, silent) {
        (Some(_), _) if whole => Ok(Some(new)),
        (_, Some(silent)) => Err(silent),
        (Some(set), None) => {
            let (dir, there, count) = (dir.into(), new.len(), set.count);
            Err(RotationError::Useless { dir, there, count, set: set.name() })
        }
        (None, None) => Ok(None),
    }
}

/// The hosts that do not say that they want shares of this set.
pub fn without<'hosts>(hosts: &'hosts [HostSeal], set: &ShareSet) -> Vec<&'hosts str> {
    let wants = |host: &HostSeal| {
        host.state
            .as_ref()
            .is_ok_and(|state| state.shares.as_ref().is_some_and(|shares| shares.set == set.name()))
    };
    hosts.iter().filter(|host| !wants(host)).map(|host| host.address.as_str()).collect()
}

fn numbers(shares: &[UnsealShare]) -> BTreeSet<u8> {
    shares.iter().map(UnsealShare::index).collect()
}

/// The shares in a directory, by number, each once.
fn shares_of(disk: &dyn Disk, dir: &Path) -> Result<Vec<UnsealShare>, RotationError> {
    let mut shares = Vec::<UnsealShare>::new();
    for number in crate::vault::unseal::SHARES {
        let path = dir.join(share_file(number));
        let read = disk.read(&path).map_err(|error| RotationError::Read(path.clone(), error))?;
        let Some(line) = read.map(Zeroizing::new) else { continue };
        let share = std::str::from_utf8(&line).map_err(|_| UnsealError::NoShare).and_then(UnsealShare::parse);
        let share = share.map_err(|error| RotationError::NoShare(path.clone(), error))?;
        match shares.first() {
            Some(first) if first.set() != share.set() => return Err(RotationError::Mixed(dir.into())),
            _ if numbers(&shares).contains(&share.index()) => {
                return Err(RotationError::NoShare(path, UnsealError::Twice(share.index())));
            }
            _ => shares.push(share),
        }
    }
    Ok(shares)
}
