//! Files. Every method blocks; what was written is durable only after the syncs that [`Disk`] names.

use crate::env::{BlockFile, Disk, OpenMode};
use std::{
    ffi::OsString,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

pub(super) struct OsDisk;

/// The mode of files that only the owner may read.
const PRIVATE: u32 = 0o600;
/// The mode of the others, before the umask.
const SHARED: u32 = 0o644;

impl Disk for OsDisk {
    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn BlockFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(mode == OpenMode::CreateNew)
            .mode(PRIVATE)
            .open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                format!("{} is in use by another process: stop it first", path.display()),
            ),
            TryLockError::Error(error) => error,
        })?;
        Ok(Box::new(OsFile(file)))
    }

    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(path) {
            Ok(contents) => Ok(Some(contents)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn write_atomic(&self, path: &Path, contents: &[u8], private: bool) -> io::Result<()> {
        let temporary = temporary_name(path)?;
        let written = write_new(&temporary, contents, if private { PRIVATE } else { SHARED })
            .and_then(|()| std::fs::rename(&temporary, path));
        if let Err(error) = written {
            // Best effort: a later write under the same name sweeps it away otherwise.
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        self.sync_dir(parent(path))
    }

    #[expect(clippy::disallowed_methods, reason = "the seam's production side; the names are sorted")]
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names =
            entries.map(|entry| Ok(PathBuf::from(entry?.file_name()))).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })?.sync_all()
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Unique among the writers that live now; may meet the left-over of a process that was killed.
fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| io::Error::other("a file needs a name"))?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".tmp-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    Ok(path.with_file_name(temporary))
}

#[expect(clippy::disallowed_methods, reason = "the seam's production side")]
fn write_new(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let create = || OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(path)?;
            create()?
        }
        other => other?,
    };
    file.write_all(contents)?;
    file.sync_all()
}

/// The lock is the file description's: it ends with this value, or with the process.
struct OsFile(File);

impl BlockFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}
