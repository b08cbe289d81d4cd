//! A directory as an object store: an object is a file, its name a path below the root. Writes and
//! deletes by [`Disk`], so what it answers is on the medium, deletions included. Keeps no older version and locks nothing; whether the file system below
//! takes snapshots it cannot know. Directories that became empty stay.

use crate::env::{
    BoxFuture, Disk, Keeping, Listed, OBJECT_LIST_MAX, OBJECT_MAX_BYTES, ObjectError, ObjectName, Objects,
};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// See the module.
pub(super) struct Directory(Arc<Inner>);

struct Inner {
    place: String,
    root: PathBuf,
    disk: Arc<dyn Disk>,
    /// Directories whose names are known to be durable.
    durable: Mutex<BTreeSet<PathBuf>>,
}

impl Directory {
    pub(super) fn new(place: String, root: PathBuf, disk: Arc<dyn Disk>) -> Directory {
        Directory(Arc::new(Inner { place, root, disk, durable: Mutex::default() }))
    }

    /// Runs file work where it blocks nobody.
    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn work<'a, T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, ObjectError> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, ObjectError>> {
        let inner = self.0.clone();
        Box::pin(async move {
            let place = inner.place.clone();
            match tokio::task::spawn_blocking(move || work(&inner)).await {
                Ok(done) => done,
                Err(error) => Err(ObjectError::Other { place, why: error.to_string() }),
            }
        })
    }
}

impl Objects for Directory {
    fn place(&self) -> &str {
        &self.0.place
    }

    fn put<'a>(&'a self, name: &'a ObjectName, contents: Vec<u8>) -> BoxFuture<'a, Result<(), ObjectError>> {
        let name = name.clone();
        self.work(move |inner| {
            inner.bounded(&name, contents.len() as u64)?;
            let path = inner.path(&name);
            let written = inner.room(path.parent().unwrap_or(&inner.root)).and_then(|()| {
                // Sealed or not, it is nobody else's on this machine.
                inner.disk.write_atomic(&path, &contents, true)
            });
            written.map_err(|error| inner.error(&error))
        })
    }

    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Vec<u8>>, ObjectError>> {
        let name = name.clone();
        self.work(move |inner| {
            let path = inner.path(&name);
            let Some(bytes) = inner.size(&path).map_err(|error| inner.error(&error))? else {
                return Ok(None);
            };
            inner.bounded(&name, bytes)?;
            inner.disk.read(&path).map_err(|error| inner.error(&error))
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a ObjectName>,
    ) -> BoxFuture<'a, Result<Vec<Listed>, ObjectError>> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        self.work(move |inner| {
            let mut names = BTreeSet::new();
            let prefix = prefix.trim_end_matches('/');
            inner.names(prefix, &mut names).map_err(|error| inner.error(&error))?;
            let later = names.into_iter().filter(|name| after.as_ref().is_none_or(|after| name > after));
            let mut listed = Vec::new();
            for name in later {
                // One that went meanwhile is not there.
                if let Some(bytes) = inner.size(&inner.path(&name)).map_err(|error| inner.error(&error))? {
                    listed.push(Listed { name, bytes });
                }
                if listed.len() == OBJECT_LIST_MAX {
                    break;
                }
            }
            Ok(listed)
        })
    }

    fn delete<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(), ObjectError>> {
        let name = name.clone();
        self.work(move |inner| {
            let path = inner.path(&name);
            let removed = match inner.disk.remove(&path) {
                Ok(()) => inner.disk.sync_dir(path.parent().unwrap_or(&inner.root)),
                Err(error) if is_absent(&error) => Ok(()),
                Err(error) => Err(error),
            };
            removed.map_err(|error| inner.error(&error))
        })
    }

    fn keeping(&self) -> BoxFuture<'_, Result<Keeping, ObjectError>> {
        Box::pin(async { Ok(Keeping::default()) })
    }
}

/// No file of that name; one of the parts before its last may be a file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

impl Inner {
    fn path(&self, name: &ObjectName) -> PathBuf {
        self.root.join(name.as_str())
    }

    fn bounded(&self, name: &ObjectName, bytes: u64) -> Result<(), ObjectError> {
        if bytes <= OBJECT_MAX_BYTES as u64 {
            return Ok(());
        }
        Err(ObjectError::TooLarge { place: self.place.clone(), name: name.clone(), bytes })
    }

    fn error(&self, error: &io::Error) -> ObjectError {
        let (place, why) = (self.place.clone(), format!("{}: {error}", self.root.display()));
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ObjectError::Refused { place, why }
            }
            io::ErrorKind::Interrupted | io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                ObjectError::Unavailable { place, why }
            }
            _ => ObjectError::Other { place, why },
        }
    }

    /// Makes a directory below the root, and its name durable.
    fn room(&self, dir: &Path) -> io::Result<()> {
        if self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(dir) {
            return Ok(());
        }
        self.disk.create_dir(dir)?;
        let mut below = dir;
        let mut ours = true;
        while let Some(above) = below.parent().filter(|above| !above.as_os_str().is_empty()) {
            match self.disk.sync_dir(above) {
                Err(error) if ours => return Err(error),
                // Nobody knows which of those above the root were made just now, and some may not be ours to open.
                _ => {}
            }
            ours &= below != self.root;
            below = above;
        }
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).insert(dir.to_owned());
        Ok(())
    }

    fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        match std::fs::metadata(path) {
            Ok(about) => Ok(about.is_file().then_some(about.len())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every object in the directory that is called `dir` as part of a name.
    fn names(&self, dir: &str, names: &mut BTreeSet<ObjectName>) -> io::Result<()> {
        let children = match self.disk.list(&self.root.join(dir)) {
            Ok(children) => children,
            Err(error) if is_absent(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        for child in children {
            let Some(child) = child.to_str() else { continue };
            let name = if dir.is_empty() { child.to_owned() } else { format!("{dir}/{child}") };
            // What is no name is a write that was broken off, or somebody else's.
            let Ok(checked) = ObjectName::new(name.as_str()) else { continue };
            match std::fs::metadata(self.root.join(&name)) {
                Ok(about) if about.is_dir() => self.names(&name, names)?,
                Ok(_) => drop(names.insert(checked)),
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
