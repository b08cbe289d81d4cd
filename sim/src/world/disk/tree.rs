//! The bytes of a disk: inodes, directories, and pages shared between what the operating system shows
//! (cached) and what is on the platter (durable), with a log of everything that is one but not yet the other.

use super::super::node::Life;
use super::{ImageFile, errno};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Component, Path, PathBuf},
    sync::{Arc, Weak, atomic::Ordering},
};

/// Granularity of sharing between cached and durable bytes.
pub(super) const PAGE_BYTES: usize = 4_096;
/// What a disk writes whole or not at all.
pub(super) const SECTOR_BYTES: u64 = 512;

const ROOT: u64 = 1;

pub(super) type Page = [u8; PAGE_BYTES];

/// Contents of a file; absent pages are zeros.
#[derive(Clone, Default)]
pub(super) struct Pages {
    pub(super) len: u64,
    pub(super) pages: Vec<Option<Arc<Page>>>,
}

impl Pages {
    fn read(&self, offset: u64, buffer: &mut [u8]) {
        each_page(offset, buffer.len(), |page, within, range| {
            match self.pages.get(page).and_then(Option::as_ref) {
                Some(bytes) => {
                    buffer[range.clone()].copy_from_slice(&bytes[within..within + range.len()]);
                }
                None => buffer[range].fill(0),
            }
        });
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(usize::MAX)];
        self.read(0, &mut bytes);
        bytes
    }

    /// Writes without changing the length; what lies beyond it is dropped.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let fits = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(data.len());
        each_page(offset, fits, |page, within, range| {
            if self.pages.len() <= page {
                self.pages.resize(page + 1, None);
            }
            let slot = self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            let length = range.len();
            Arc::make_mut(slot)[within..within + length].copy_from_slice(&data[range]);
        });
    }

    /// Puts one whole page in its place, which must lie inside the length.
    fn put(&mut self, page: usize, bytes: Arc<Page>) {
        if self.pages.len() <= page {
            self.pages.resize(page + 1, None);
        }
        self.pages[page] = Some(bytes);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let keep = len.div_ceil(PAGE_BYTES as u64) as usize;
            self.pages.truncate(keep);
            let within = (len % PAGE_BYTES as u64) as usize;
            if within > 0
                && let Some(Some(last)) = self.pages.get_mut(keep - 1)
            {
                Arc::make_mut(last)[within..].fill(0);
            }
        }
        self.len = len;
    }
}

fn each_page(offset: u64, len: usize, mut visit: impl FnMut(usize, usize, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < len {
        let at = offset + done as u64;
        let within = (at % PAGE_BYTES as u64) as usize;
        let count = (PAGE_BYTES - within).min(len - done);
        visit((at / PAGE_BYTES as u64) as usize, within, done..done + count);
        done += count;
    }
}

/// A change of a file that a power cut may lose.
pub(super) enum FileChange {
    Write { offset: u64, data: Data },
    SetLen(u64),
}

/// What was written. A database writes whole pages most of the time; they are shared with the cached bytes.
pub(super) enum Data {
    Page(Arc<Page>),
    Bytes(Vec<u8>),
}

impl Data {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Data::Page(page) => &page[..],
            Data::Bytes(bytes) => bytes,
        }
    }
}

/// A change of a directory that a power cut may lose.
#[derive(Clone)]
pub(super) enum NameChange {
    Link(String, u64),
    Unlink(String),
    /// Atomic: both or neither.
    Rename(String, String, u64),
}

pub(super) enum Body {
    File { cached: Pages, durable: Pages, log: Vec<FileChange> },
    Dir { cached: BTreeMap<String, u64>, durable: BTreeMap<String, u64>, log: Vec<NameChange> },
}

pub(super) struct Inode {
    pub(super) body: Body,
    path: String,
    lock: Option<(u64, Weak<Life>)>,
}

/// See the module.
pub(super) struct Tree {
    pub(super) inodes: BTreeMap<u64, Inode>,
    next: u64,
}

impl Default for Tree {
    fn default() -> Self {
        let root = Inode { body: Body::dir(), path: String::new(), lock: None };
        Tree { inodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1 }
    }
}

impl Body {
    fn dir() -> Body {
        Body::Dir { cached: BTreeMap::new(), durable: BTreeMap::new(), log: Vec::new() }
    }

    fn file() -> Body {
        Body::File { cached: Pages::default(), durable: Pages::default(), log: Vec::new() }
    }
}

fn names(path: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => drop(names.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    names
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Link(name, inode) => drop(names.insert(name.clone(), *inode)),
            NameChange::Unlink(name) => drop(names.remove(name)),
            NameChange::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

impl Tree {
    fn walk(&self, names: &[String]) -> io::Result<u64> {
        let mut at = ROOT;
        for name in names {
            let Some(Inode { body: Body::Dir { cached, .. }, .. }) = self.inodes.get(&at) else {
                return Err(errno(libc::ENOTDIR));
            };
            at = *cached.get(name).ok_or_else(|| errno(libc::ENOENT))?;
        }
        Ok(at)
    }

    fn parent(&self, path: &Path) -> io::Result<(u64, String)> {
        let mut names = names(path);
        let name = names.pop().ok_or_else(|| errno(libc::EINVAL))?;
        Ok((self.walk(&names)?, name))
    }

    fn change(&mut self, dir: u64, change: NameChange) -> io::Result<()> {
        match self.inodes.get_mut(&dir) {
            Some(Inode { body: Body::Dir { cached, log, .. }, .. }) => {
                change.apply(cached);
                log.push(change);
                Ok(())
            }
            _ => Err(errno(libc::ENOTDIR)),
        }
    }

    fn entry(&self, dir: u64, name: &str) -> Option<u64> {
        match self.inodes.get(&dir) {
            Some(Inode { body: Body::Dir { cached, .. }, .. }) => cached.get(name).copied(),
            _ => None,
        }
    }

    fn add(&mut self, dir: u64, name: &str, body: Body) -> io::Result<u64> {
        let number = self.next;
        self.next += 1;
        let path = match self.inodes.get(&dir) {
            Some(parent) if !parent.path.is_empty() => format!("{}/{name}", parent.path),
            _ => name.to_owned(),
        };
        self.inodes.insert(number, Inode { body, path, lock: None });
        self.change(dir, NameChange::Link(name.to_owned(), number))?;
        Ok(number)
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<u64> {
        let (dir, name) = self.parent(path)?;
        if self.entry(dir, &name).is_some() {
            return Err(errno(libc::EEXIST));
        }
        self.add(dir, &name, Body::file())
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let mut at = ROOT;
        for name in names(path) {
            at = match self.entry(at, &name) {
                Some(next) => next,
                None => self.add(at, &name, Body::dir())?,
            };
            if !matches!(self.inodes.get(&at), Some(Inode { body: Body::Dir { .. }, .. })) {
                return Err(errno(libc::EEXIST));
            }
        }
        Ok(())
    }

    pub(super) fn find_file(&self, path: &Path) -> io::Result<u64> {
        let at = self.walk(&names(path))?;
        match self.inodes.get(&at) {
            Some(Inode { body: Body::File { .. }, .. }) => Ok(at),
            _ => Err(errno(libc::EISDIR)),
        }
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        match self.walk(&names(dir)).map(|at| self.inodes.get(&at)) {
            Ok(Some(Inode { body: Body::Dir { cached, .. }, .. })) => {
                Ok(cached.keys().map(PathBuf::from).collect())
            }
            Ok(_) => Err(errno(libc::ENOTDIR)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let at = self.find_file(path)?;
        assert!(self.inodes.contains_key(&at));
        let (dir, name) = self.parent(path)?;
        self.change(dir, NameChange::Unlink(name))
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        let inode = self.entry(from_dir, &from_name).ok_or_else(|| errno(libc::ENOENT))?;
        if from_dir == to_dir {
            self.change(from_dir, NameChange::Rename(from_name, to_name, inode))?;
        } else {
            // Two directories: a power cut may leave the file in both or, as real ones may not, in none.
            self.change(to_dir, NameChange::Link(to_name, inode))?;
            self.change(from_dir, NameChange::Unlink(from_name))?;
        }
        self.rename_hint(inode, to);
        Ok(())
    }

    /// What is durable, as a disk of its own. Bytes are shared until one of the two changes.
    pub(super) fn durable_copy(&self) -> Tree {
        let copy = |inode: &Inode| {
            let body = match &inode.body {
                Body::File { durable, .. } => {
                    Body::File { cached: durable.clone(), durable: durable.clone(), log: Vec::new() }
                }
                Body::Dir { durable, .. } => {
                    Body::Dir { cached: durable.clone(), durable: durable.clone(), log: Vec::new() }
                }
            };
            Inode { body, path: inode.path.clone(), lock: None }
        };
        let inodes = self.inodes.iter().map(|(number, inode)| (*number, copy(inode))).collect();
        let mut tree = Tree { inodes, next: self.next };
        tree.collect();
        tree
    }

    /// Changes the path by which a file is reported; of a directory, those of all files in it.
    pub(super) fn rename_hint(&mut self, inode: u64, path: &Path) {
        let old = self.path(inode).to_owned();
        let new = names(path).join("/");
        let prefix = format!("{old}/");
        for child in self.inodes.values_mut() {
            if let Some(rest) = child.path.strip_prefix(&prefix) {
                child.path = format!("{new}/{rest}");
            }
        }
        if let Some(inode) = self.inodes.get_mut(&inode) {
            inode.path = names(path).join("/");
        }
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        let at = self.walk(&names(dir))?;
        match self.inodes.get_mut(&at) {
            Some(Inode { body: Body::Dir { cached, durable, log }, .. }) => {
                for change in log.drain(..) {
                    change.apply(durable);
                }
                assert!(cached == durable, "a synced directory is what it shows");
            }
            _ => return Err(errno(libc::ENOTDIR)),
        }
        self.collect();
        Ok(())
    }

    /// Makes every name durable.
    pub(super) fn settle(&mut self) {
        for inode in self.inodes.values_mut() {
            if let Body::Dir { durable, log, .. } = &mut inode.body {
                for change in log.drain(..) {
                    change.apply(durable);
                }
            }
        }
    }

    fn file(&self, file: u64) -> io::Result<(&Pages, &Pages)> {
        match self.inodes.get(&file) {
            Some(Inode { body: Body::File { cached, durable, .. }, .. }) => Ok((cached, durable)),
            _ => Err(errno(libc::ESTALE)),
        }
    }

    fn file_mut(&mut self, file: u64) -> io::Result<(&mut Pages, &mut Pages, &mut Vec<FileChange>)> {
        match self.inodes.get_mut(&file) {
            Some(Inode { body: Body::File { cached, durable, log }, .. }) => Ok((cached, durable, log)),
            _ => Err(errno(libc::ESTALE)),
        }
    }

    pub(super) fn len(&self, file: u64) -> io::Result<u64> {
        Ok(self.file(file)?.0.len)
    }

    pub(super) fn read(&self, file: u64, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (cached, _) = self.file(file)?;
        if offset.saturating_add(buffer.len() as u64) > cached.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        cached.read(offset, buffer);
        Ok(())
    }

    pub(super) fn write(&mut self, file: u64, offset: u64, data: &[u8]) -> io::Result<()> {
        let (cached, _, log) = self.file_mut(file)?;
        let end = offset + data.len() as u64;
        if end > cached.len {
            cached.set_len(end);
            log.push(FileChange::SetLen(end));
        }
        let whole = offset.is_multiple_of(PAGE_BYTES as u64) && data.len() == PAGE_BYTES;
        // A whole page is copied once, for both.
        let page = if whole { Arc::<Page>::try_from(Arc::<[u8]>::from(data)).ok() } else { None };
        let data = match page {
            Some(page) => {
                cached.put((offset / PAGE_BYTES as u64) as usize, page.clone());
                Data::Page(page)
            }
            None => {
                cached.write(offset, data);
                Data::Bytes(data.to_vec())
            }
        };
        log.push(FileChange::Write { offset, data });
        Ok(())
    }

    pub(super) fn set_len(&mut self, file: u64, len: u64) -> io::Result<()> {
        let (cached, _, log) = self.file_mut(file)?;
        cached.set_len(len);
        log.push(FileChange::SetLen(len));
        Ok(())
    }

    /// Makes a file's contents durable; how many pages that took.
    pub(super) fn sync(&mut self, file: u64) -> u64 {
        let Ok((cached, durable, log)) = self.file_mut(file) else { return 0 };
        let mut pages = 0;
        for change in std::mem::take(log) {
            match change {
                FileChange::SetLen(len) => durable.set_len(len),
                FileChange::Write { offset, data } => {
                    each_page(offset, data.bytes().len(), |page, _, _| {
                        let now = cached.pages.get(page).cloned().flatten();
                        if now.is_some() && durable.pages.len() <= page {
                            durable.pages.resize(page + 1, None);
                        }
                        if let Some(slot) = durable.pages.get_mut(page) {
                            *slot = now;
                            pages += 1;
                        }
                    });
                }
            }
        }
        durable.set_len(cached.len);
        pages
    }

    pub(super) fn lock(&mut self, file: u64, life: &Arc<Life>) -> io::Result<u64> {
        let number = self.next;
        self.next += 1;
        let inode = self.inodes.get_mut(&file).ok_or_else(|| errno(libc::ENOENT))?;
        let held = inode.lock.as_ref().and_then(|(_, owner)| owner.upgrade());
        if held.is_some_and(|owner| !owner.fenced.load(Ordering::Relaxed)) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        inode.lock = Some((number, Arc::downgrade(life)));
        Ok(number)
    }

    pub(super) fn unlock(&mut self, file: u64, lock: u64) {
        if let Some(inode) = self.inodes.get_mut(&file)
            && inode.lock.as_ref().is_some_and(|(number, _)| *number == lock)
        {
            inode.lock = None;
        }
    }

    /// Forgets inodes that no name reaches, cached or durable, and no process holds.
    pub(super) fn collect(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut next = vec![ROOT];
        while let Some(at) = next.pop() {
            let Some(Inode { body: Body::Dir { cached, durable, log }, .. }) = self.inodes.get(&at) else {
                continue;
            };
            let logged = log.iter().filter_map(|change| match change {
                NameChange::Link(_, inode) | NameChange::Rename(_, _, inode) => Some(inode),
                NameChange::Unlink(_) => None,
            });
            let named = cached.values().chain(durable.values()).chain(logged).copied();
            next.extend(named.filter(|inode| reached.insert(*inode)));
        }
        self.inodes.retain(|number, inode| reached.contains(number) || inode.lock.is_some());
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let len = |inode: &Inode| if let Body::File { cached, .. } = &inode.body { cached.len } else { 0 };
        self.inodes.values().map(len).sum()
    }

    pub(super) fn resident_pages(&self) -> u64 {
        let pages = |inode: &Inode| match &inode.body {
            Body::File { cached, .. } => cached.pages.iter().flatten().count() as u64,
            Body::Dir { .. } => 0,
        };
        self.inodes.values().map(pages).sum()
    }

    pub(super) fn path(&self, file: u64) -> &str {
        self.inodes.get(&file).map_or("", |inode| inode.path.as_str())
    }

    pub(super) fn is_secret(&self, file: u64, secret_files: &[String]) -> bool {
        let path = self.path(file);
        secret_files.iter().any(|end| path.ends_with(end.as_str()))
    }

    /// All files, as they are shown and as they are durable: these by the names that are durable, each of them.
    pub(super) fn image(&self) -> Vec<ImageFile> {
        let mut names = BTreeMap::new();
        self.durable_names(ROOT, "", &mut names);
        let mut files = Vec::new();
        for (number, inode) in &self.inodes {
            let Body::File { cached, durable, .. } = &inode.body else { continue };
            let names = names.remove(number).unwrap_or_default();
            let named = !names.is_empty();
            let kept_as = if named { names } else { vec![inode.path.clone()] };
            let shown = ImageFile { path: inode.path.clone(), durable: false, named, bytes: cached.bytes() };
            let kept = |path| ImageFile { path, durable: true, named, bytes: durable.bytes() };
            files.push(shown);
            files.extend(kept_as.into_iter().map(kept));
        }
        files
    }

    /// The paths that a power cut now would surely leave, of each file below a directory.
    fn durable_names(&self, dir: u64, path: &str, names: &mut BTreeMap<u64, Vec<String>>) {
        let Some(Inode { body: Body::Dir { durable, .. }, .. }) = self.inodes.get(&dir) else { return };
        for (name, inode) in durable {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            match self.inodes.get(inode).map(|inode| &inode.body) {
                Some(Body::File { .. }) => names.entry(*inode).or_default().push(path),
                Some(Body::Dir { .. }) => self.durable_names(*inode, &path, names),
                None => {}
            }
        }
    }

    /// Shows every stretch of pages of every file, cached, and durable where it differs, and every unsynced
    /// write.
    pub(super) fn for_each_run(&self, secret_files: &[String], mut visit: impl FnMut(&str, &[u8])) {
        let mut run = Vec::new();
        for (number, inode) in &self.inodes {
            let Body::File { cached, durable, log } = &inode.body else { continue };
            if self.is_secret(*number, secret_files) {
                continue;
            }
            for pages in [cached, durable] {
                // A page at a time, with the end of the page before it for what spans both.
                let mut carry = super::super::secrecy::VARIANT_MAX_BYTES;
                run.clear();
                for page in pages.pages.iter().flatten() {
                    carry = carry.min(run.len());
                    run.drain(..run.len() - carry);
                    run.extend_from_slice(&page[..]);
                    visit(&inode.path, &run);
                    carry = super::super::secrecy::VARIANT_MAX_BYTES;
                }
            }
            for change in log {
                if let FileChange::Write { data, .. } = change {
                    visit(&inode.path, data.bytes());
                }
            }
        }
    }
}
