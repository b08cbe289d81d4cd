//! Writes what was planned. Refuses a directory that already holds a node.

use super::{DATA_DIR, FileSpec, InitError, KEYRING_DIR, NODE_FILE, NodeBundle, STORE_DIR};
use crate::{
    env::Disk,
    store::{
        engine,
        witness::{WITNESS_FILE, encode_file},
    },
};
use std::path::Path;

/// Writes a node's files into `dir`; a database's store and keyring too. `node.toml` comes
/// last: a directory without it is not a node.
///
/// # Errors
/// [`InitError::Exists`] if `dir` holds a node or a store already; else what the disk or the store says.
pub fn install(disk: &dyn Disk, dir: &Path, node: &NodeBundle) -> Result<(), InitError> {
    let data = dir.join(DATA_DIR);
    for file in node.files.iter().map(|file| dir.join(&file.path)) {
        if disk.read(&file).map_err(|error| InitError::Disk(file.clone(), error))?.is_some() {
            return Err(InitError::Exists(file));
        }
    }
    if !disk.list(&data).map_err(|error| InitError::Disk(data.clone(), error))?.is_empty() {
        return Err(InitError::Exists(data));
    }
    disk.create_dir(dir).map_err(|error| InitError::Disk(dir.into(), error))?;
    if let Some(genesis) = &node.genesis {
        let store = data.join(STORE_DIR);
        let keyring = store.join(KEYRING_DIR);
        disk.create_dir(&data).map_err(|error| InitError::Disk(data.clone(), error))?;
        engine::create(disk, &data, genesis).map_err(|error| InitError::Store(data.clone(), error))?;
        disk.create_dir(&keyring).map_err(|error| InitError::Disk(keyring.clone(), error))?;
        for (domain, sealed) in &node.keyring {
            let path = keyring.join(domain.to_string());
            disk.write_atomic(&path, sealed, true).map_err(|error| InitError::Disk(path, error))?;
        }
        for made in [&keyring, &store, &data] {
            disk.sync_dir(made).map_err(|error| InitError::Disk(made.clone(), error))?;
        }
    }
    if let Some(state) = &node.witness {
        let path = data.join(WITNESS_FILE);
        disk.create_dir(&data).map_err(|error| InitError::Disk(data.clone(), error))?;
        disk.write_atomic(&path, &encode_file(state), false).map_err(|error| InitError::Disk(path, error))?;
    }
    let (last, others): (Vec<_>, Vec<_>) =
        node.files.iter().cloned().partition(|file| file.path == Path::new(NODE_FILE));
    write_files(disk, dir, &others)?;
    write_files(disk, dir, &last)
}

/// Writes files below `dir`, which is made if need be.
///
/// # Errors
/// [`InitError::Disk`].
pub fn write_files(disk: &dyn Disk, dir: &Path, files: &[FileSpec]) -> Result<(), InitError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |error| InitError::Disk(path, error)
    };
    disk.create_dir(dir).map_err(failed(dir))?;
    for file in files {
        let path = dir.join(&file.path);
        if let Some(parent) = path.parent() {
            disk.create_dir(parent).map_err(failed(parent))?;
        }
        disk.write_atomic(&path, &file.contents, file.private).map_err(failed(&path))?;
    }
    disk.sync_dir(dir).map_err(failed(dir))?;
    let parent = dir.parent().unwrap_or(Path::new("/"));
    disk.sync_dir(parent).map_err(failed(parent))
}
