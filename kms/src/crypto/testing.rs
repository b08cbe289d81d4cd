//! A world for unit tests of what stands on this module: entropy that repeats, a clock that stands still, and
//! nothing else.

use crate::env::{
    BoxFuture, Clock, Disk, Entropy, Env, Mono, Net, ObjectError, Objects, Purpose, StoreConfig, Stores,
    Tasks,
};
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A world of counted bytes and nothing else.
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, _purpose: Purpose, buffer: &mut [u8]) -> io::Result<()> {
        for chunk in buffer.chunks_mut(32) {
            let n = self.0.fetch_add(1, Ordering::Relaxed);
            let block = crate::crypto::sha256(&n.to_be_bytes());
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }
}

impl Clock for Counting {
    fn now(&self) -> Mono {
        Mono::default()
    }
    fn wall(&self) -> Duration {
        Duration::ZERO
    }
    fn sleep_until(&self, _at: Mono) -> crate::env::BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

pub(crate) fn counting() -> Env {
    let real = || Arc::new(Nothing);
    let counting = Arc::new(Counting(AtomicU64::new(0)));
    Env {
        net: real(),
        clock: counting.clone(),
        tasks: real(),
        entropy: counting,
        disk: real(),
        stores: real(),
    }
}

/// No network, no tasks, no disk, no object store.
struct Nothing;

impl Net for Nothing {
    fn bind<'a>(
        &'a self,
        _address: &'a str,
    ) -> crate::env::BoxFuture<'a, io::Result<Box<dyn crate::env::Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
    fn connect<'a>(&'a self, _address: &'a str) -> crate::env::BoxFuture<'a, io::Result<crate::env::Stream>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

impl Stores for Nothing {
    fn open<'a>(&'a self, config: &'a StoreConfig) -> BoxFuture<'a, Result<Arc<dyn Objects>, ObjectError>> {
        let place = config.region.clone();
        Box::pin(async { Err(ObjectError::Refused { place, why: "there is none here".to_owned() }) })
    }
}

impl Tasks for Nothing {
    fn spawn(&self, _name: &'static str, _work: crate::env::BoxFuture<'static, ()>) -> crate::env::Aborter {
        Arc::new(|| {})
    }
    fn blocking(
        &self,
        _name: &'static str,
        work: Box<dyn FnOnce() + Send>,
    ) -> crate::env::BoxFuture<'static, ()> {
        Box::pin(async { work() })
    }
}

impl Disk for Nothing {
    fn open(&self, _path: &Path, _mode: crate::env::OpenMode) -> io::Result<Box<dyn crate::env::BlockFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok((path == Path::new("bad.key")).then(|| b"okms-root-key-v1 c2hvcnQ=\n".to_vec()))
    }
    fn write_atomic(&self, _path: &Path, _contents: &[u8], _private: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn list(&self, _dir: &Path) -> io::Result<Vec<std::path::PathBuf>> {
        Ok(Vec::new())
    }
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// An operator's key, always the same.
pub fn operator_key() -> super::OperatorKey {
    // PKCS #8 v1 of an Ed25519 seed (RFC 8410, 7).
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    super::OperatorKey::from_pkcs8(&[&head[..], &[5; 32]].concat()).expect("a key")
}
