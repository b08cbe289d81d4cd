//! A node's simulated disk behind `kms::env::Disk`: counts and charges operations, injects faults, searches and
//! traces what is written. What survives a power cut is decided in `power`; the bytes are kept in `tree`.

mod media;
mod power;
mod tree;

use super::{
    Inner, World, locked,
    node::{Deferred, Life, Node},
};
use kms::env::{BlockFile, Disk, OpenMode};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::Ordering},
};
use tree::{PAGE_BYTES, Tree};

/// Faults of a disk, other than power cuts.
#[derive(Debug, Clone, Default)]
pub struct DiskFaults {
    /// Syncs fail with EIO; what was unsynced is then kept or lost, for ever.
    pub fail_syncs: bool,
    /// Writes fail with EIO and change nothing.
    pub fail_writes: bool,
    /// Reads fail with EIO.
    pub fail_reads: bool,
    /// Bytes the disk holds; growing beyond fails with ENOSPC.
    pub capacity_bytes: Option<u64>,
    /// More for each operation, microseconds.
    pub extra_us: u64,
}

/// One file of a disk image.
#[derive(Debug, Clone)]
pub struct ImageFile {
    /// Its path: of what is durable, one that is durable. Its last known one if it has none.
    pub path: String,
    /// True: what a power cut now would surely leave; false: what the operating system shows.
    pub durable: bool,
    /// A power cut now would surely leave a name of it, by whatever path.
    pub named: bool,
    /// Contents.
    pub bytes: Vec<u8>,
}

/// The state of a node's disk; outlives every life.
#[derive(Default)]
pub(super) struct DiskCell(Mutex<DiskState>);

#[derive(Default)]
struct DiskState {
    tree: Tree,
    faults: DiskFaults,
    /// Operations that change something, made by processes of the node.
    operations: u64,
    cut_at: Option<u64>,
    busy_until_ns: u64,
    /// Other disks of this machine, and whether the one in it is good for anything.
    media: media::Media,
}

/// What an operation is about to do, for the trace.
#[derive(Clone, Copy)]
struct Operation<'a> {
    kind: &'static str,
    file: u64,
    offset: u64,
    data: &'a [u8],
    changes: bool,
}

/// A disk as one life of the node sees it.
pub(super) struct NodeDisk {
    pub(super) inner: Arc<Inner>,
    pub(super) cell: Arc<DiskCell>,
    pub(super) life: Arc<Life>,
}

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

/// What a process sees after the power went: nobody acts on it.
fn power_lost() -> io::Error {
    io::Error::other("power lost")
}

impl NodeDisk {
    /// Starts an operation: true if the power goes inside it.
    fn begin(&self, state: &mut DiskState, operation: Operation<'_>) -> io::Result<bool> {
        let Operation { kind, file, offset, data, changes } = operation;
        if self.life.fenced.load(Ordering::Relaxed) {
            return Err(power_lost());
        }
        let node = self.life.node;
        self.inner.trace(kind, node, node, file, offset, data);
        if !data.is_empty() && !state.tree.is_secret(file, &self.inner.settings.secret_files) {
            let place = || format!("disk {}:{}", self.inner.node(node).name(), state.tree.path(file));
            locked(&self.inner.secrecy).scan(self.inner.now_us(), data, place);
        }
        if self.life.external {
            return Ok(false);
        }
        let span = if kind.starts_with("sync") {
            self.inner.settings.disk_sync
        } else {
            self.inner.settings.disk_access
        };
        let cost = locked(&self.inner.disk_stream).range(span.low_us * 1_000, span.high_us * 1_000);
        self.charge(cost);
        if state.faults.extra_us > 0 {
            self.life.disk_slow.fetch_add(1, Ordering::Relaxed);
        }
        if !changes {
            return if state.faults.fail_reads { Err(errno(libc::EIO)) } else { Ok(false) };
        }
        state.operations += 1;
        if state.cut_at == Some(state.operations) {
            state.cut_at = None;
            return Ok(true);
        }
        if state.faults.fail_writes && !kind.starts_with("sync") {
            return Err(errno(libc::EIO));
        }
        Ok(false)
    }

    fn charge(&self, cost_ns: u64) {
        self.life.disk_cost_ns.fetch_add(cost_ns, Ordering::Relaxed);
    }

    /// The power went inside an operation: the disk keeps what it keeps, and the node dies with this poll.
    fn cut(&self, state: &mut DiskState) -> io::Error {
        self.life.fenced.store(true, Ordering::Relaxed);
        state.tree.power_cut(&mut locked(&self.inner.disk_stream));
        self.inner.trace_text("disk-cut", self.life.node, state.operations, "");
        if let Some(work) = *locked(&self.life.blocking) {
            self.inner.probe(&format!("cut-inside:{work}"), &self.inner.node(self.life.node));
        }
        locked(&self.inner.deferred).push(Deferred::PowerCut(self.life.clone()));
        power_lost()
    }

    /// Ends an operation of the name space. The outside's changes are durable at once.
    fn end(&self, state: &mut DiskState, cut: bool) -> io::Result<()> {
        if cut {
            return Err(self.cut(state));
        }
        if self.life.external {
            state.tree.settle();
        }
        Ok(())
    }

    fn name_operation(&self, kind: &'static str, path: &Path, state: &mut DiskState) -> io::Result<bool> {
        let text = path.to_string_lossy();
        self.begin(state, Operation { kind, file: 0, offset: 0, data: text.as_bytes(), changes: true })
    }

    fn sync_file(&self, state: &mut DiskState, file: u64) -> io::Result<()> {
        let cut = self.begin(state, Operation { kind: "sync", file, offset: 0, data: &[], changes: true })?;
        if cut {
            return Err(self.cut(state));
        }
        if state.faults.fail_syncs && !self.life.external {
            state.tree.fail_sync(file, &mut locked(&self.inner.disk_stream));
            return Err(errno(libc::EIO));
        }
        let pages = state.tree.sync(file);
        self.charge(pages * self.inner.settings.disk_sync_page_us * 1_000);
        Ok(())
    }

    fn write_file(&self, state: &mut DiskState, file: u64, offset: u64, data: &[u8]) -> io::Result<()> {
        let cut = self.begin(state, Operation { kind: "write", file, offset, data, changes: true })?;
        let grows = (offset + data.len() as u64).saturating_sub(state.tree.len(file)?);
        self.room(state, grows)?;
        state.tree.write(file, offset, data)?;
        self.end_write(state, file, cut)
    }

    fn end_write(&self, state: &mut DiskState, file: u64, cut: bool) -> io::Result<()> {
        if self.life.external {
            state.tree.sync(file);
        }
        if cut { Err(self.cut(state)) } else { Ok(()) }
    }

    fn room(&self, state: &DiskState, more: u64) -> io::Result<()> {
        match state.faults.capacity_bytes {
            Some(capacity) if more > 0 && state.tree.used_bytes() + more > capacity => {
                Err(errno(libc::ENOSPC))
            }
            _ => Ok(()),
        }
    }
}

impl Disk for NodeDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn BlockFile>> {
        let state = &mut *locked(&self.cell.0);
        let changes = mode == OpenMode::CreateNew;
        let text = path.to_string_lossy();
        let data = text.as_bytes();
        let cut = self.begin(state, Operation { kind: "open", file: 0, offset: 0, data, changes })?;
        let file = match mode {
            OpenMode::CreateNew => state.tree.create(path)?,
            OpenMode::Existing => state.tree.find_file(path)?,
        };
        self.end(state, cut)?;
        let lock = state.tree.lock(file, &self.life)?;
        Ok(Box::new(SimFile {
            disk: NodeDisk { inner: self.inner.clone(), cell: self.cell.clone(), life: self.life.clone() },
            file,
            lock,
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let state = &mut *locked(&self.cell.0);
        let text = path.to_string_lossy();
        let data = text.as_bytes();
        self.begin(state, Operation { kind: "read", file: 0, offset: 0, data, changes: false })?;
        let file = match state.tree.find_file(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut contents = vec![0; usize::try_from(state.tree.len(file)?).unwrap_or(usize::MAX)];
        state.tree.read(file, 0, &mut contents)?;
        Ok(Some(contents))
    }

    fn write_atomic(&self, path: &Path, contents: &[u8], _private: bool) -> io::Result<()> {
        let state = &mut *locked(&self.cell.0);
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let cut = self.name_operation("create", &temporary, state)?;
        if state.tree.find_file(&temporary).is_ok() {
            state.tree.remove(&temporary)?;
        }
        let file = state.tree.create(&temporary)?;
        state.tree.rename_hint(file, path);
        self.end(state, cut)?;
        self.write_file(state, file, 0, contents)?;
        self.sync_file(state, file)?;
        let cut = self.name_operation("rename", path, state)?;
        state.tree.rename(&temporary, path)?;
        self.end(state, cut)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let cut = self.name_operation("sync-dir", directory, state)?;
        if cut {
            return Err(self.cut(state));
        }
        state.tree.sync_dir(directory)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = &mut *locked(&self.cell.0);
        let text = dir.to_string_lossy();
        let data = text.as_bytes();
        self.begin(state, Operation { kind: "list", file: 0, offset: 0, data, changes: false })?;
        state.tree.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let state = &mut *locked(&self.cell.0);
        let cut = self.name_operation("mkdir", dir, state)?;
        state.tree.create_dir(dir)?;
        self.end(state, cut)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = &mut *locked(&self.cell.0);
        let cut = self.name_operation("rename", to, state)?;
        state.tree.rename(from, to)?;
        self.end(state, cut)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let state = &mut *locked(&self.cell.0);
        let cut = self.name_operation("remove", path, state)?;
        state.tree.remove(path)?;
        self.end(state, cut)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let state = &mut *locked(&self.cell.0);
        let cut = self.name_operation("sync-dir", dir, state)?;
        if cut {
            return Err(self.cut(state));
        }
        if state.faults.fail_syncs && !self.life.external {
            return Err(errno(libc::EIO));
        }
        state.tree.sync_dir(dir)
    }
}

/// An open file; holds its lock until it is dropped or its process is dead.
struct SimFile {
    disk: NodeDisk,
    file: u64,
    lock: u64,
}

impl BlockFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        if self.disk.life.fenced.load(Ordering::Relaxed) {
            return Err(power_lost());
        }
        locked(&self.disk.cell.0).tree.len(self.file)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = &mut *locked(&self.disk.cell.0);
        let operation = Operation { kind: "read-at", file: self.file, offset, data: &[], changes: false };
        self.disk.begin(state, operation)?;
        state.tree.read(self.file, offset, buffer)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let state = &mut *locked(&self.disk.cell.0);
        let operation = Operation { kind: "set-len", file: self.file, offset: len, data: &[], changes: true };
        let cut = self.disk.begin(state, operation)?;
        self.disk.room(state, len.saturating_sub(state.tree.len(self.file)?))?;
        state.tree.set_len(self.file, len)?;
        self.disk.end_write(state, self.file, cut)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync_file(&mut locked(&self.disk.cell.0), self.file)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write_file(&mut locked(&self.disk.cell.0), self.file, offset, data)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        locked(&self.disk.cell.0).tree.unlock(self.file, self.lock);
    }
}

impl Inner {
    /// Decides what a power cut leaves on a node's disk.
    pub(super) fn crash_disk(&self, node: &Node) {
        let state = &mut *locked(&node.disk.0);
        state.cut_at = None;
        state.busy_until_ns = 0;
        state.tree.power_cut(&mut locked(&self.disk_stream));
    }

    /// Queues work of `cost_ns` at the disk of a node; when it will be done, hand-over included.
    pub(super) fn charge_disk(&self, node: usize, cost_ns: u64) -> u64 {
        let span = self.settings.blocking;
        let hand_over = locked(&self.disk_stream).range(span.low_us * 1_000, span.high_us * 1_000);
        let now_ns = self.now_ns();
        if cost_ns == 0 {
            return now_ns + hand_over;
        }
        let node = self.node(node);
        let mut state = locked(&node.disk.0);
        state.busy_until_ns = state.busy_until_ns.max(now_ns) + cost_ns;
        state.busy_until_ns + hand_over
    }

    /// Queues what a slow disk needs more for one operation; `None` once it is not slow any more.
    pub(super) fn charge_slow(&self, node: usize) -> Option<u64> {
        let node = self.node(node);
        let mut state = locked(&node.disk.0);
        let extra_ns = state.faults.extra_us * 1_000;
        if extra_ns == 0 {
            return None;
        }
        state.busy_until_ns = state.busy_until_ns.max(self.now_ns()) + extra_ns;
        Some(state.busy_until_ns)
    }

    pub(super) fn order_power_cut(&self, node: &Node, operations: Option<u64>) {
        let mut state = locked(&node.disk.0);
        state.cut_at = operations.map(|operations| state.operations + operations.max(1));
    }

    pub(super) fn change_faults(&self, node: &Node, change: impl FnOnce(&mut DiskFaults)) {
        let mut state = locked(&node.disk.0);
        change(&mut state.faults);
        self.trace_text("disk-faults", node.index, 0, &format!("{:?}", state.faults));
    }
}

impl World {
    /// All bytes of a node's files, cached and durable; also of files that have no name any more but might
    /// after a power cut.
    pub fn disk_image(&self, node: &str) -> Vec<ImageFile> {
        let node = self.0.find(node);
        let state = locked(&node.disk.0);
        state.tree.image()
    }

    /// Searches every disk and every object store for every needle known by now.
    pub fn search_disks(&self) {
        let nodes = locked(&self.0.nodes).list.clone();
        for node in nodes {
            let state = locked(&node.disk.0);
            let mut secrecy = locked(&self.0.secrecy);
            state.tree.for_each_run(&self.0.settings.secret_files, |path, bytes| {
                let place = || format!("disk image {}:{path}", node.name());
                secrecy.scan(self.0.now_us(), bytes, place);
            });
        }
        self.search_stores();
    }

    /// Changes the faults of a node's disk.
    pub fn set_disk_faults(&self, node: &str, change: impl FnOnce(&mut DiskFaults)) {
        self.0.change_faults(&self.0.find(node), change);
    }

    /// Operations that changed something on the node's disk so far, by its processes.
    pub fn disk_operations(&self, node: &str) -> u64 {
        locked(&self.0.find(node).disk.0).operations
    }

    /// Bytes that the files of a node take, holes aside.
    pub fn disk_used_bytes(&self, node: &str) -> u64 {
        locked(&self.0.find(node).disk.0).tree.resident_pages() * PAGE_BYTES as u64
    }
}
