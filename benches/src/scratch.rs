//! A directory of a benchmark's own.

use kms::env::Env;
use std::path::{Path, PathBuf};

/// A directory that is removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it below `base`, under a name that no other process uses.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn new(env: &Env, base: &Path, name: &str) -> Scratch {
        let dir = base.join(format!("{name}-{}", std::process::id()));
        env.disk.create_dir(&dir).expect("a scratch directory");
        Scratch(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
