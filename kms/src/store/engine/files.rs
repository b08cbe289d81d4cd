//! The directories of a database: `store` is the one it serves from, `filling` one that is being filled,
//! `retired-<id>-<epoch>` what it served from before. Makes and moves whole stores; never overwrites one (F9).

use super::{Engine, EngineError, JOURNAL_FILE, Loaded, identity, journal, open_redb};
use crate::{
    env::{BlockFile, Disk, OpenMode},
    store::epoch::{DbId, Identity, Phase},
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Name of the directory of the store in a database's data directory.
pub const STORE_DIR: &str = "store";
/// Name of the directory of a store that is being filled.
pub const FILLING_DIR: &str = "filling";
/// Name of the store file in a store's directory.
pub const STORE_FILE: &str = "store.redb";
/// Name of the directory of keyring objects beside it.
pub const KEYRING_DIR: &str = "keyring";

/// Bytes that [`write_again`] moves at a time.
const AGAIN_BYTES: usize = 1 << 20;
/// redb's header, which names the newest commit, lies in the first block.
const HEADER_BYTES: u64 = 4096;

/// Writes the whole file as it reads, and syncs it. After a sync that failed, an operating system may show
/// blocks that never reached the disk and that no later sync writes, because it takes them for clean; a store
/// opened on them would be lost at the next power cut, although all its own syncs had succeeded. Written
/// again, they are dirty again. The header goes last, so that what it names is there first.
fn write_again(file: &dyn BlockFile) -> io::Result<()> {
    let end = file.len()?;
    let header = end.min(HEADER_BYTES);
    copy_onto_itself(file, header, end)?;
    file.sync_data()?;
    copy_onto_itself(file, 0, header)?;
    file.sync_data()
}

fn copy_onto_itself(file: &dyn BlockFile, from: u64, until: u64) -> io::Result<()> {
    let mut buffer = vec![0; AGAIN_BYTES];
    let mut at = from;
    while at < until {
        let count = usize::try_from(until - at).map_or(AGAIN_BYTES, |left| left.min(AGAIN_BYTES));
        let part = &mut buffer[..count];
        file.read(at, part)?;
        file.write(at, part)?;
        at += count as u64;
    }
    Ok(())
}

fn holds(disk: &dyn Disk, dir: &Path, name: &str) -> io::Result<bool> {
    Ok(disk.list(dir)?.iter().any(|entry| entry.as_path() == Path::new(name)))
}

/// Makes a new store in `data`. Only `kms init` calls this (F7).
///
/// # Errors
/// [`EngineError::Exists`] if there is one; the disk's errors.
pub fn create(disk: &dyn Disk, data: &Path, identity: &Identity) -> Result<(), EngineError> {
    let dir = data.join(STORE_DIR);
    if holds(disk, &dir, STORE_FILE)? {
        return Err(EngineError::Exists(dir.join(STORE_FILE)));
    }
    drop(make(disk, &dir, identity, u64::MAX)?);
    disk.sync_dir(data)?;
    Ok(())
}

/// A new store in `dir`, open.
fn make(disk: &dyn Disk, dir: &Path, identity: &Identity, keep: u64) -> Result<Engine, EngineError> {
    disk.create_dir(dir)?;
    // A crash while redb creates its file leaves it unreadable, so that happens under another name.
    let unfinished = dir.join(format!("{STORE_FILE}.new"));
    if holds(disk, dir, &format!("{STORE_FILE}.new"))? {
        disk.remove(&unfinished)?;
    }
    // Whoever finds the store file finds its journal.
    let log = journal::create(disk, dir)?;
    disk.sync_dir(dir)?;
    let database = open_redb(disk.open(&unfinished, OpenMode::CreateNew)?, true)?;
    let path = dir.join(STORE_FILE);
    let stored = identity::encode(identity);
    let engine = Engine::begin(database, log, (path.clone(), keep), (identity::KEY, &stored))?;
    disk.rename(&unfinished, &path)?;
    disk.sync_dir(dir)?;
    Ok(engine)
}

fn open(disk: &dyn Disk, dir: &Path, keep: u64) -> Result<Option<(Engine, Loaded)>, EngineError> {
    let path = dir.join(STORE_FILE);
    let file = match disk.open(&path, OpenMode::Existing) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if file.is_empty()? {
        return Err(EngineError::Corrupt { path, what: "the file is empty".to_owned() });
    }
    // Nobody can tell whether the process before this one, or this one's last attempt, met a failed sync.
    write_again(&*file)?;
    let log = journal::open(disk, dir)?;
    let engine = Engine::resume(open_redb(file, true)?, log, (path, keep), &dir.join(JOURNAL_FILE))?;
    let loaded = engine.load()?;
    Ok(Some((engine, loaded)))
}

impl Engine {
    /// Opens the store in `data`; `None` if there is none (the node is Blank). `keep` confirmed entries
    /// stay in the log.
    ///
    /// # Errors
    /// The disk's, redb's, or [`EngineError::Corrupt`].
    pub fn open(disk: &dyn Disk, data: &Path, keep: u64) -> Result<Option<(Engine, Loaded)>, EngineError> {
        open(disk, &data.join(STORE_DIR), keep)
    }

    /// Opens the store in `filling`, if there is one that was filled to the end; what else is there goes
    /// with the next fill (R14: a crash starts over).
    ///
    /// # Errors
    /// Those of the disk. A store that cannot be read is none: it holds nothing that its source has not.
    pub fn open_filling(
        disk: &dyn Disk,
        data: &Path,
        keep: u64,
    ) -> Result<Option<(Engine, Loaded)>, EngineError> {
        match open(disk, &data.join(FILLING_DIR), keep) {
            Ok(found) => Ok(found.filter(|(_, loaded)| loaded.identity.filled.is_some())),
            Err(EngineError::Io(error)) => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "an unfinished fill cannot be read; it will start over");
                Ok(None)
            }
        }
    }

    /// Makes the store of a fill, in `filling`.
    ///
    /// # Errors
    /// The disk's or redb's.
    pub fn create_filling(
        disk: &dyn Disk,
        data: &Path,
        identity: &Identity,
        keep: u64,
    ) -> Result<Engine, EngineError> {
        assert_eq!(identity.phase, Phase::Filling, "a fill begins as one");
        discard_filling(disk, data)?;
        let dir = data.join(FILLING_DIR);
        disk.create_dir(data)?;
        // The machine may be new: then nobody has made the name of this directory durable yet.
        if let Some(parent) = data.parent() {
            disk.sync_dir(parent)?;
        }
        // Its name is durable with that of the store file: else the keys that are put there would go with the power.
        disk.create_dir(&dir.join(KEYRING_DIR))?;
        let engine = make(disk, &dir, identity, keep)?;
        disk.sync_dir(data)?;
        Ok(engine)
    }
}

/// Removes the files of an unfinished or abandoned fill.
///
/// # Errors
/// The disk's.
pub fn discard_filling(disk: &dyn Disk, data: &Path) -> io::Result<()> {
    discard(disk, &data.join(FILLING_DIR))
}

/// Removes the files of a store that nobody needs; its directory stays, empty.
///
/// # Errors
/// The disk's.
pub fn discard(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let keyring = dir.join(KEYRING_DIR);
    for (parent, names) in [(keyring.as_path(), disk.list(&keyring)?), (dir, disk.list(dir)?)] {
        for name in names {
            if name.as_path() != Path::new(KEYRING_DIR) {
                disk.remove(&parent.join(name))?;
            }
        }
    }
    Ok(())
}

/// Puts the filled store in the place of the one that was served from, which is kept as `retired-<id>-<epoch
/// number>`; answers where, if there was one. Open files stay open. Does the rest if it was interrupted before.
///
/// # Errors
/// The disk's; called again, it goes on.
pub fn promote(disk: &dyn Disk, data: &Path, old: Option<(DbId, u64)>) -> io::Result<Option<PathBuf>> {
    let mut kept = None;
    if holds(disk, &data.join(STORE_DIR), STORE_FILE)? {
        let name = match old {
            Some((id, epoch)) => format!("retired-{id}-{epoch}"),
            None => "retired-unreadable".to_owned(),
        };
        let free = free_name(disk, data, &name)?;
        disk.rename(&data.join(STORE_DIR), &free)?;
        disk.sync_dir(data)?;
        kept = Some(free);
    }
    disk.rename(&data.join(FILLING_DIR), &data.join(STORE_DIR))?;
    disk.sync_dir(data)?;
    Ok(kept)
}

fn free_name(disk: &dyn Disk, data: &Path, name: &str) -> io::Result<PathBuf> {
    let mut candidate = name.to_owned();
    let mut number = 1;
    while holds(disk, data, &candidate)? {
        number += 1;
        candidate = format!("{name}-{number}");
    }
    Ok(data.join(candidate))
}

/// The sealed domain keys beside the store in `dir`, by domain id as text.
///
/// # Errors
/// The disk's.
pub fn keyring_objects(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let keyring = dir.join(KEYRING_DIR);
    let mut objects = Vec::new();
    for name in disk.list(&keyring)? {
        if let Some(sealed) = disk.read(&keyring.join(&name))? {
            objects.push((name, sealed));
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Remembers what is written and synced.
    struct Watched {
        bytes: Vec<u8>,
        done: Mutex<Vec<String>>,
    }

    impl BlockFile for Watched {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.len() as u64)
        }
        fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            let at = usize::try_from(offset).map_err(io::Error::other)?;
            buffer.copy_from_slice(&self.bytes[at..at + buffer.len()]);
            Ok(())
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Err(io::Error::other("its length must stay"))
        }
        fn sync_data(&self) -> io::Result<()> {
            self.done.lock().map_err(|_| io::Error::other("poisoned"))?.push("sync".to_owned());
            Ok(())
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            let at = usize::try_from(offset).map_err(io::Error::other)?;
            assert_eq!(data, &self.bytes[at..at + data.len()], "the same bytes");
            let line = format!("{at}..{}", at + data.len());
            self.done.lock().map_err(|_| io::Error::other("poisoned"))?.push(line);
            Ok(())
        }
    }

    #[test]
    fn everything_is_written_again_and_the_header_last() -> io::Result<()> {
        let cases: [(usize, &[&str]); 3] = [
            (4096 + AGAIN_BYTES + 7, &["4096..1052672", "1052672..1052679", "sync", "0..4096", "sync"]),
            (4096, &["sync", "0..4096", "sync"]),
            (100, &["sync", "0..100", "sync"]),
        ];
        for (len, expected) in cases {
            let bytes = (0..len).map(|at| at as u8).collect();
            let file = Watched { bytes, done: Mutex::default() };
            write_again(&file)?;
            assert_eq!(file.done.into_inner().map_err(|_| io::Error::other("poisoned"))?, expected);
        }
        Ok(())
    }
}
