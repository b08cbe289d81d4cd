//! The real disk, watched and made bad: syncs fail when the test says so, renames take long, and opening a file
//! that is open already is noticed.

use kms::{
    env::{BlockFile, Disk, Env, OpenMode},
    limits::ms,
};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
};

#[derive(Default)]
pub struct Faults {
    /// Every sync of a file's contents fails.
    pub fail_syncs: AtomicBool,
    /// Files that are written whole are there, and whether that lasts nobody knows: their writer is told of a failure.
    pub unsure_names: AtomicBool,
    /// Renames of directories take half a second.
    pub slow_renames: AtomicBool,
    /// A file was opened that was open.
    pub opened_twice: AtomicBool,
    /// Files opened so far.
    pub opens: AtomicU64,
    /// Open files, where they are now.
    open: Mutex<BTreeMap<u64, PathBuf>>,
}

impl Faults {
    /// How many files are open.
    pub fn open_files(&self) -> usize {
        self.open().len()
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, PathBuf>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watched {
    disk: Arc<dyn Disk>,
    faults: Arc<Faults>,
}

/// `env` with a disk that can be made bad.
pub fn watched(env: &Env) -> (Env, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let disk = Arc::new(Watched { disk: env.disk.clone(), faults: faults.clone() });
    (Env { disk, ..env.clone() }, faults)
}

struct File {
    file: Box<dyn BlockFile>,
    number: u64,
    faults: Arc<Faults>,
}

impl Drop for File {
    fn drop(&mut self) {
        self.faults.open().remove(&self.number);
    }
}

impl BlockFile for File {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, buffer)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.faults.fail_syncs.load(Ordering::Relaxed) {
            return Err(io::Error::other("made to fail"));
        }
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
}

impl Disk for Watched {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn BlockFile>> {
        if self.faults.open().values().any(|open| open == path) {
            self.faults.opened_twice.store(true, Ordering::Relaxed);
        }
        let file = self.disk.open(path, mode)?;
        let number = self.faults.opens.fetch_add(1, Ordering::Relaxed);
        self.faults.open().insert(number, path.to_path_buf());
        Ok(Box::new(File { file, number, faults: self.faults.clone() }))
    }
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.disk.read(path)
    }
    fn write_atomic(&self, path: &Path, contents: &[u8], private: bool) -> io::Result<()> {
        self.disk.write_atomic(path, contents, private)?;
        if self.faults.unsure_names.load(Ordering::Relaxed) {
            return Err(io::Error::other("made to fail"));
        }
        Ok(())
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if from.is_dir() && self.faults.slow_renames.load(Ordering::Relaxed) {
            let (_keep, never) = mpsc::channel::<()>();
            let _ = never.recv_timeout(ms(500));
        }
        self.disk.rename(from, to)?;
        for open in self.faults.open().values_mut() {
            if let Ok(rest) = open.strip_prefix(from) {
                *open = if rest.as_os_str().is_empty() { to.to_path_buf() } else { to.join(rest) };
            }
        }
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)?;
        // Whoever has it open has a file without a name.
        self.faults.open().retain(|_, open| open != path);
        Ok(())
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}
