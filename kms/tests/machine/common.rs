//! What the integration tests share: scratch directories, a seeded world, a small region.

use kms::{
    env::{Entropy, Env, Purpose},
    init::{Addresses, AdminAt, Bundle, FileSpec, RegionSpec},
    limits::Limits,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// A directory of its own, removed at the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::DirBuilder::new().recursive(true).create(&dir).expect("scratch directory");
        Scratch(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Repeats itself for the same seed. Fit for tests only.
pub struct Seeded(Mutex<u64>);

impl Entropy for Seeded {
    fn fill(&self, _purpose: Purpose, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.0.lock().expect("not poisoned");
        for byte in buffer {
            // splitmix64
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (z ^ (z >> 31)) as u8;
        }
        Ok(())
    }
}

pub fn seeded(env: &Env, seed: u64) -> Env {
    Env { entropy: Arc::new(Seeded(Mutex::new(seed))), ..env.clone() }
}

pub fn spec() -> RegionSpec {
    RegionSpec {
        audit: true,
        witness_with_replica: false,
        shares: None,
        replica: None,
        backups: None,
        region: "eu-west-rbx".to_owned(),
        hosts_per_zone: 2,
        domains: 1,
        clients: 1,
        addresses: Addresses::Loopback { rest_port: 8443, node_port: 8444 },
        admin: AdminAt::Loopback,
        names: Vec::new(),
        limits: Limits::default(),
    }
}

pub fn bundle(env: &Env, spec: &RegionSpec) -> Bundle {
    kms::init::plan_region(env, spec).expect("a plan")
}

pub fn file<'a>(files: &'a [FileSpec], name: &str) -> &'a [u8] {
    &files.iter().find(|file| file.path == Path::new(name)).unwrap_or_else(|| panic!("no {name}")).contents
}
