//! A disk in memory whose writes and syncs the tests let fail, and whose syncs they hold up. Keeps what was written and what was synced
//! apart, so that a power cut can be told from an end.

use kms::env::{BlockFile, Disk, OpenMode};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

#[derive(Clone, Default)]
struct File {
    written: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, File>,
    open: BTreeSet<PathBuf>,
    /// The next this many writes to open files fail.
    failing_writes: u32,
    /// The next this many syncs fail.
    failing_syncs: u32,
    /// Everything that would write fails: no space left.
    full: bool,
    /// Syncs wait.
    held: bool,
    syncs: u64,
}

/// The disk.
#[derive(Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
    changed: Arc<Condvar>,
}

impl MemoryDisk {
    pub fn new(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> Arc<MemoryDisk> {
        let disk = MemoryDisk::default();
        let whole = |contents: Vec<u8>| File { synced: contents.clone(), written: contents };
        disk.lock().files = files.into_iter().map(|(path, contents)| (path, whole(contents))).collect();
        Arc::new(disk)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    pub fn fail_writes(&self, count: u32) {
        self.lock().failing_writes = count;
    }

    pub fn fail_syncs(&self, count: u32) {
        self.lock().failing_syncs = count;
    }

    pub fn fill(&self, full: bool) {
        self.lock().full = full;
    }

    /// Syncs, and what has one within it, do not end from now on, or end again.
    pub fn hold_syncs(&self, held: bool) {
        self.lock().held = held;
        self.changed.notify_all();
    }

    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// What was not synced is gone.
    pub fn cut_power(&self) {
        for file in self.lock().files.values_mut() {
            file.written = file.synced.clone();
        }
    }

    /// The files whose names end so, in order.
    pub fn names(&self, suffix: &str) -> Vec<PathBuf> {
        let ends = |path: &&PathBuf| path.to_string_lossy().ends_with(suffix);
        self.lock().files.keys().filter(ends).cloned().collect()
    }

    pub fn contents(&self, path: &Path) -> Vec<u8> {
        self.lock().files[path].written.clone()
    }

    pub fn put(&self, path: &Path, contents: Vec<u8>) {
        self.lock().files.insert(path.into(), File { synced: contents.clone(), written: contents });
    }

    pub fn take(&self, path: &Path) -> Vec<u8> {
        self.lock().files.remove(path).expect("a file").written
    }
}

fn no_space() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn BlockFile>> {
        let mut state = self.lock();
        match (mode, state.files.contains_key(path)) {
            (OpenMode::CreateNew, true) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::Existing, false) => return Err(io::ErrorKind::NotFound.into()),
            (OpenMode::CreateNew, false) => {
                state.files.insert(path.into(), File::default());
            }
            (OpenMode::Existing, true) => {}
        }
        if !state.open.insert(path.into()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Open {
            path: path.into(),
            state: Arc::clone(&self.state),
            changed: Arc::clone(&self.changed),
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.lock().files.get(path).map(|file| file.written.clone()))
    }

    fn write_atomic(&self, path: &Path, contents: &[u8], _private: bool) -> io::Result<()> {
        let held = self.lock();
        if self.changed.wait_while(held, |state| state.held).expect("not poisoned").full {
            return Err(no_space());
        }
        self.put(path, contents.to_vec());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.lock();
        Ok(state.files.keys().filter_map(|path| path.strip_prefix(dir).ok().map(Path::to_path_buf)).collect())
    }

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let file = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.into(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.lock().files.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
}

struct Open {
    path: PathBuf,
    state: Arc<Mutex<State>>,
    changed: Arc<Condvar>,
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    fn with<T>(&self, work: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.lock();
        work(state.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?)
    }
}

impl BlockFile for Open {
    fn len(&self) -> io::Result<u64> {
        self.with(|file| Ok(file.written.len() as u64))
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.with(|file| {
            let from = file.written.get(offset as usize..).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(from.get(..buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|file| {
            file.written.resize(len as usize, 0);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let held = self.lock();
        let mut state = self.changed.wait_while(held, |state| state.held).expect("not poisoned");
        if state.failing_syncs > 0 {
            state.failing_syncs -= 1;
            return Err(io::Error::other("sync failed"));
        }
        state.syncs += 1;
        let file = state.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        file.synced = file.written.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        if state.full {
            return Err(no_space());
        }
        let fails = state.failing_writes > 0;
        state.failing_writes = state.failing_writes.saturating_sub(1);
        // Half of it gets there.
        let data = if fails { &data[..data.len() / 2] } else { data };
        let file = state.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let end = offset as usize + data.len();
        if file.written.len() < end {
            file.written.resize(end, 0);
        }
        file.written[offset as usize..end].copy_from_slice(data);
        if fails { Err(io::Error::other("write failed")) } else { Ok(()) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.lock().open.remove(&self.path);
    }
}
