//! Whether the host has its root key. Without it nothing is served: every request is refused, and `/healthz` says so.

use super::HostService;
use crate::{
    error::{Code, Error},
    iam::Administrator,
    vault::{
        RootKey, RotateError, SharesGiven,
        unseal::{UnsealError, UnsealKey, UnsealShare},
    },
};
use std::sync::Arc;

/// How a host stands to its root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealState {
    /// It has none at the moment.
    pub sealed: bool,
    /// What shares it wants; none, if its key is in a file.
    pub shares: Option<SharesGiven>,
}

impl HostService {
    /// Whether it has no root key, and so can open nothing.
    pub fn is_sealed(&self) -> bool {
        self.keyring.is_sealed()
    }

    /// The answer to every client, while it is sealed.
    pub fn sealed_error() -> Error {
        Error::new(Code::Refused, "refused: this host is sealed until operators unseal it").because("sealed")
    }

    /// How it stands.
    pub fn seal_state(&self) -> SealState {
        SealState { sealed: self.is_sealed(), shares: self.source.shares() }
    }

    /// Forgets the root key, all keys opened with it, and what was read with those. They are wiped as soon as the requests that use
    /// them have ended.
    pub fn seal(&self, _may: &Administrator) {
        self.keyring.seal();
        self.leased.clear();
        self.parsed.close();
        self.access.forget();
        self.source.forget();
    }

    /// Takes a share; the root key, once there are enough.
    ///
    /// # Errors
    /// `BadArgument` if it is no share of this region's, or those given do not open the key; `WrongState` if this host wants none.
    pub fn take_share(&self, _may: &Administrator, share: UnsealShare) -> Result<Option<RootKey>, Error> {
        self.source.take(share).map_err(unsealing)
    }

    /// Reads the root key's file again.
    ///
    /// # Errors
    /// `WrongState` if the key is not in a file; `Internal` if it does not read: the log says why.
    pub fn root_in_file(&self, _may: &Administrator) -> Result<RootKey, Error> {
        let root = self.source.by_itself().map_err(|error| Error::internal(error.to_string()))?;
        let sentence = "this host is unsealed by shares: its root key is in no file";
        root.ok_or_else(|| Error::new(Code::WrongState, sentence))
    }

    /// Begins to serve under a root key. No effect on a host that is unsealed: it has that key.
    pub fn unseal(&self, root: RootKey) {
        self.parsed.open();
        self.keyring.unseal(root);
    }

    /// Forgets the shares given so far.
    pub fn forget_shares(&self, _may: &Administrator) {
        self.source.forget();
    }

    /// Puts another set of shares in the place of the one there is. Works on a sealed host too: whoever has the old key could unseal it.
    ///
    /// # Errors
    /// `BadArgument` if the old key is not the one; `WrongState` if this host wants no shares; `Internal` if the disk refuses.
    pub async fn rotate_shares(
        &self,
        _may: &Administrator,
        old: UnsealKey,
        new: UnsealKey,
    ) -> Result<(), Error> {
        let (source, env) = (Arc::clone(&self.source), self.env.clone());
        let rotated = self.env.blocking("rotate-shares", move || source.rotate(&env, &old, &new)).await;
        let rotated = rotated.map_err(|_| Error::internal("the rotation of shares panicked"))?;
        rotated.map_err(|error| match error {
            RotateError::NoShares => Error::new(Code::WrongState, error.to_string()),
            RotateError::Unseal(error) => unsealing(error),
            RotateError::Disk(_) => {
                let sentence = "the newly sealed root key is not known to be written: the shares of before may still count";
                Error::new(Code::Internal, sentence).because(error.to_string())
            }
        })
    }
}

fn unsealing(error: UnsealError) -> Error {
    match error {
        UnsealError::NoneWanted => Error::new(Code::WrongState, error.to_string()),
        UnsealError::Entropy(error) => error.into(),
        _ => Error::bad(error.to_string()),
    }
}
