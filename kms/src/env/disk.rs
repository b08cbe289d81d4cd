//! Files. Every call may block: use them inside [`super::Env::blocking`] once the node serves.
//!
//! What is written survives a power cut only after `sync_data` (contents) and `sync_dir` (names).

use std::{
    io,
    path::{Path, PathBuf},
};

/// How a [`BlockFile`] is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Must not exist.
    CreateNew,
    /// Must exist.
    Existing,
}

/// The disk of one node. Paths are relative to nothing: pass what the configuration says.
pub trait Disk: Send + Sync {
    /// Opens a random-access file, with an exclusive lock where the world has locks.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound`, `WouldBlock` (another process holds it), or the disk's own.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn BlockFile>>;
    /// The whole of a small file; `None` if there is none.
    ///
    /// # Errors
    /// The disk's own.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// Replaces a small file so that after a power cut it holds either the old or the new contents:
    /// temporary name, sync, rename, sync of the directory. `private` files are readable by the owner only.
    ///
    /// # Errors
    /// The disk's own; the old contents are in place then.
    fn write_atomic(&self, path: &Path, contents: &[u8], private: bool) -> io::Result<()>;
    /// The names (not paths) in a directory, sorted; empty if there is no such directory.
    ///
    /// # Errors
    /// The disk's own.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Creates a directory and its parents; fine if it exists.
    ///
    /// # Errors
    /// The disk's own.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Renames a file or directory. Durable after [`Disk::sync_dir`] of both parents.
    ///
    /// # Errors
    /// The disk's own.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after [`Disk::sync_dir`] of the parent.
    ///
    /// # Errors
    /// The disk's own; `NotFound` if there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the directory's entries durable.
    ///
    /// # Errors
    /// The disk's own.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A random-access file: what an embedded store needs, and no more.
pub trait BlockFile: Send + Sync {
    /// Length in bytes.
    ///
    /// # Errors
    /// The disk's own.
    fn len(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` past the end, or the disk's own.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Grows (with zeros) or shrinks.
    ///
    /// # Errors
    /// The disk's own, `StorageFull` among them.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// The disk's own; afterwards nothing unsynced may be trusted.
    fn sync_data(&self) -> io::Result<()>;
    /// Writes at `offset`.
    ///
    /// # Errors
    /// The disk's own.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// The disk's own.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}
