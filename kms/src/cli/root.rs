//! The root key as a command of the operator's is given it: in a file, or sealed, with enough shares.

use super::{Failure, region::read_text};
use clap::Args;
use kms::{
    config::NodeConfig,
    env::Env,
    vault::{
        RootKey, read_sealed_root,
        unseal::{UnsealKey, UnsealShare},
    },
};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(super) struct WhichRoot {
    /// Root key file of the region's hosts
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sealed_root", "share"])]
    root_key: Option<PathBuf>,
    /// File with the sealed root key of hosts that are unsealed by shares
    #[arg(long, value_name = "FILE", requires = "share")]
    sealed_root: Option<PathBuf>,
    /// File with a share; as many as unseal a host
    #[arg(long, value_name = "FILE")]
    share: Vec<PathBuf>,
}

impl WhichRoot {
    /// The root key that is named here, or else in a host's configuration; none if it is named nowhere.
    pub(super) fn load(&self, env: &Env, config: Option<&NodeConfig>) -> Result<Option<RootKey>, Failure> {
        let configured = |of: fn(&NodeConfig) -> Option<&PathBuf>| config.and_then(of);
        let sealed = self.sealed_root.as_ref().or_else(|| configured(|config| config.sealed_root.as_ref()));
        if self.root_key.is_none()
            && let Some(sealed) = sealed
        {
            if self.share.is_empty() {
                return Err(Failure::Usage(format!(
                    "the root key in {} is sealed: give as many shares as unseal a host, each with --share",
                    sealed.display()
                )));
            }
            let sealed = read_sealed_root(&*env.disk, sealed).map_err(Failure::usage)?;
            let shares = shares_in(env, &self.share)?;
            let key = UnsealKey::combine(&shares).map_err(Failure::usage)?;
            return key.open(&sealed).map(Some).map_err(Failure::usage);
        }
        if !self.share.is_empty() {
            return Err(Failure::usage("shares open a sealed root key: name its file with --sealed-root"));
        }
        let file = self.root_key.as_ref().or_else(|| configured(|config| config.root_key.as_ref()));
        file.map(|path| RootKey::load(&*env.disk, path)).transpose().map_err(Failure::usage)
    }
}

/// The shares in these files.
pub(super) fn shares_in(env: &Env, paths: &[PathBuf]) -> Result<Vec<UnsealShare>, Failure> {
    paths.iter().map(|path| share_in(env, path)).collect()
}

/// The share in a file.
pub(super) fn share_in(env: &Env, path: &Path) -> Result<UnsealShare, Failure> {
    let text = zeroize::Zeroizing::new(read_text(&*env.disk, path)?);
    UnsealShare::parse(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}
