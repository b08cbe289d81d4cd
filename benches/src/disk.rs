//! A disk that counts and times what passes through it, and bare syncs to compare with. Changes nothing of
//! what it passes on.

use kms::env::{BlockFile, Clock, Disk, Env, Mono, OpenMode};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What went through one disk since the start.
#[derive(Debug, Default)]
pub struct Counters {
    syncs: AtomicU64,
    sync_ns: AtomicU64,
    writes: AtomicU64,
    written_bytes: AtomicU64,
    write_ns: AtomicU64,
    resizes: AtomicU64,
    spans: Mutex<Vec<(Mono, Mono)>>,
}

/// The counters at one moment, or what was added between two.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// `sync_data` calls.
    pub syncs: u64,
    /// Time in them, nanoseconds.
    pub sync_ns: u64,
    /// `write` calls.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Time in `write`, nanoseconds.
    pub write_ns: u64,
    /// `set_len` calls.
    pub resizes: u64,
}

impl Counters {
    /// As they are now.
    pub fn now(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            syncs: load(&self.syncs),
            sync_ns: load(&self.sync_ns),
            writes: load(&self.writes),
            written_bytes: load(&self.written_bytes),
            write_ns: load(&self.write_ns),
            resizes: load(&self.resizes),
        }
    }

    /// Takes out when each `sync_data` since the last call began and ended.
    pub fn take_syncs(&self) -> Vec<(Mono, Mono)> {
        std::mem::take(&mut *self.spans.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::ops::Sub for Counts {
    type Output = Counts;
    fn sub(self, before: Counts) -> Counts {
        Counts {
            syncs: self.syncs - before.syncs,
            sync_ns: self.sync_ns - before.sync_ns,
            writes: self.writes - before.writes,
            written_bytes: self.written_bytes - before.written_bytes,
            write_ns: self.write_ns - before.write_ns,
            resizes: self.resizes - before.resizes,
        }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        self.syncs += more.syncs;
        self.sync_ns += more.sync_ns;
        self.writes += more.writes;
        self.written_bytes += more.written_bytes;
        self.write_ns += more.write_ns;
        self.resizes += more.resizes;
    }
}

/// `env` with a disk that counts, and whose data syncs take so much longer.
pub fn counted(env: &Env, slower: Duration) -> (Env, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let disk = Arc::new(CountingDisk {
        disk: env.disk.clone(),
        clock: env.clock.clone(),
        counters: counters.clone(),
        slower,
    });
    (Env { disk, ..env.clone() }, counters)
}

struct CountingDisk {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    slower: Duration,
}

impl Disk for CountingDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn BlockFile>> {
        let file = self.disk.open(path, mode)?;
        let (clock, counters) = (self.clock.clone(), self.counters.clone());
        Ok(Box::new(CountingFile { file, clock, counters, slower: self.slower }))
    }
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.disk.read(path)
    }
    fn write_atomic(&self, path: &Path, contents: &[u8], private: bool) -> io::Result<()> {
        self.disk.write_atomic(path, contents, private)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}

struct CountingFile {
    file: Box<dyn BlockFile>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    slower: Duration,
}

impl CountingFile {
    fn timed<T>(&self, total_ns: &AtomicU64, work: impl FnOnce() -> T) -> (T, (Mono, Mono)) {
        let before = self.clock.now();
        let done = work();
        let after = self.clock.now();
        let spent = after.since(before).as_nanos();
        total_ns.fetch_add(u64::try_from(spent).unwrap_or(u64::MAX), Ordering::Relaxed);
        (done, (before, after))
    }
}

impl BlockFile for CountingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, buffer)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.counters.resizes.fetch_add(1, Ordering::Relaxed);
        self.file.set_len(len)
    }
    #[expect(clippy::disallowed_methods, reason = "a slow disk keeps its caller's thread")]
    fn sync_data(&self) -> io::Result<()> {
        if !self.slower.is_zero() {
            std::thread::sleep(self.slower);
        }
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        let (done, span) = self.timed(&self.counters.sync_ns, || self.file.sync_data());
        self.counters.spans.lock().unwrap_or_else(PoisonError::into_inner).push(span);
        done
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.counters.writes.fetch_add(1, Ordering::Relaxed);
        self.counters.written_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.timed(&self.counters.write_ns, || self.file.write(offset, data)).0
    }
}

/// One block of a bare write.
const BLOCK_BYTES: usize = 4 << 10;
/// Blocks of the file that bare syncs go to; all of them exist before anything is measured.
const BLOCKS: u64 = 256;

/// The least a durable write costs: 4 KiB over existing blocks, and `sync_data`.
pub struct BareFile {
    env: Env,
    file: Arc<dyn BlockFile>,
    next: u64,
}

impl BareFile {
    /// Makes the file in `dir`, all its blocks written and durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(env: &Env, dir: &Path) -> io::Result<BareFile> {
        let file = env.disk.open(&dir.join("bare.file"), OpenMode::CreateNew)?;
        file.set_len(BLOCKS * BLOCK_BYTES as u64)?;
        for block in 0..BLOCKS {
            file.write(block * BLOCK_BYTES as u64, &[1; BLOCK_BYTES])?;
        }
        file.sync_data()?;
        env.disk.sync_dir(dir)?;
        Ok(BareFile { env: env.clone(), file: file.into(), next: 0 })
    }

    /// Writes one block, syncs; returns the time of that alone, without the way to the blocking thread.
    ///
    /// # Panics
    /// If the disk fails.
    pub async fn sync(&mut self) -> Duration {
        let (file, clock) = (self.file.clone(), self.env.clock.clone());
        // A stride, so that no two neighbours are written in a row.
        let (block, fill) = (self.next * 37 % BLOCKS, self.next as u8);
        self.next += 1;
        let work = move || {
            let before = clock.now();
            file.write(block * BLOCK_BYTES as u64, &[fill; BLOCK_BYTES])?;
            file.sync_data()?;
            Ok::<_, io::Error>(clock.now().since(before))
        };
        let done = self.env.blocking("bare sync", work).await.expect("a bare sync does not panic");
        done.expect("the disk takes a bare sync")
    }
}
