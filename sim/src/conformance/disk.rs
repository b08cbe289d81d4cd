//! Disk semantics: names, contents, locks. Says nothing of power cuts.

use super::{Failed, expect};
use kms::env::{Disk, OpenMode};
use std::{io::ErrorKind, path::Path};

/// Runs every case in `dir`, which is empty or not there.
///
/// # Errors
/// The first expectation that did not hold.
pub fn all(disk: &dyn Disk, dir: &Path) -> Result<(), Failed> {
    expect(disk.list(&dir.join("nothing"))?.is_empty(), "a directory that is not there lists as empty")?;
    disk.create_dir(&dir.join("a/b"))?;
    disk.create_dir(&dir.join("a/b"))?;
    small_files(disk, dir)?;
    block_file(disk, &dir.join("a/block"))?;
    locks(disk, &dir.join("a/locked"))
}

fn small_files(disk: &dyn Disk, dir: &Path) -> Result<(), Failed> {
    let (one, two) = (dir.join("a/one"), dir.join("a/b/two"));
    expect(disk.read(&one)?.is_none(), "a file that is not there reads as none")?;
    disk.write_atomic(&one, b"first", false)?;
    disk.write_atomic(&one, b"second, longer", true)?;
    expect(disk.read(&one)?.as_deref() == Some(b"second, longer"), "the last contents")?;
    disk.write_atomic(&one, b"", false)?;
    expect(disk.read(&one)?.as_deref() == Some(b""), "empty contents are contents")?;
    disk.write_atomic(&dir.join("a/zz"), b"z", false)?;
    let names: Vec<String> =
        disk.list(&dir.join("a"))?.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    expect(names == ["b", "one", "zz"], "list: names, sorted, no temporary ones")?;
    disk.rename(&dir.join("a/zz"), &two)?;
    expect(disk.read(&two)?.as_deref() == Some(b"z"), "a renamed file has its new name")?;
    expect(disk.read(&dir.join("a/zz"))?.is_none(), "and not its old one")?;
    disk.write_atomic(&one, b"one", false)?;
    disk.rename(&one, &two)?;
    expect(disk.read(&two)?.as_deref() == Some(b"one"), "rename replaces")?;
    disk.sync_dir(&dir.join("a"))?;
    disk.sync_dir(&dir.join("a/b"))?;
    disk.remove(&two)?;
    expect(disk.read(&two)?.is_none(), "a removed file is gone")?;
    let again = disk.remove(&two).err().map(|error| error.kind());
    expect(again == Some(ErrorKind::NotFound), "removing nothing is NotFound")?;
    let rename = disk.rename(&two, &one).err().map(|error| error.kind());
    expect(rename == Some(ErrorKind::NotFound), "renaming nothing is NotFound")?;
    disk.rename(&dir.join("a/b"), &dir.join("a/c"))?;
    expect(disk.list(&dir.join("a"))?.len() == 1, "a directory can be renamed")
}

fn block_file(disk: &dyn Disk, path: &Path) -> Result<(), Failed> {
    let missing = disk.open(path, OpenMode::Existing).err().map(|error| error.kind());
    expect(missing == Some(ErrorKind::NotFound), "opening nothing is NotFound")?;
    let file = disk.open(path, OpenMode::CreateNew)?;
    expect(file.is_empty()?, "a new file is empty")?;
    file.set_len(10_000)?;
    let mut buffer = [1; 100];
    file.read(5_000, &mut buffer)?;
    expect(buffer == [0; 100], "set_len grows with zeros")?;
    file.write(4_090, &[7; 20])?;
    file.read(4_080, &mut buffer)?;
    expect(buffer[..10] == [0; 10] && buffer[10..30] == [7; 20], "a write lands where it was put")?;
    expect(file.len()? == 10_000, "a write inside changes no length")?;
    let end = file.read(9_950, &mut buffer).err().map(|error| error.kind());
    expect(end == Some(ErrorKind::UnexpectedEof), "reading past the end is UnexpectedEof")?;
    file.write(9_990, &[9; 30])?;
    expect(file.len()? == 10_020, "a write past the end grows the file")?;
    file.sync_data()?;
    file.set_len(4_095)?;
    file.set_len(8_000)?;
    file.read(4_085, &mut buffer)?;
    expect(buffer[5..10] == [7; 5] && buffer[10..] == [0; 90], "what was cut off comes back as zeros")?;
    drop(file);
    let file = disk.open(path, OpenMode::Existing)?;
    expect(file.len()? == 8_000, "contents outlive the handle")?;
    let taken = disk.open(path, OpenMode::CreateNew).err().map(|error| error.kind());
    expect(taken == Some(ErrorKind::AlreadyExists), "creating what exists is AlreadyExists")
}

fn locks(disk: &dyn Disk, path: &Path) -> Result<(), Failed> {
    let file = disk.open(path, OpenMode::CreateNew)?;
    let second = disk.open(path, OpenMode::Existing).err().map(|error| error.kind());
    expect(second == Some(ErrorKind::WouldBlock), "an open file is locked")?;
    drop(file);
    drop(disk.open(path, OpenMode::Existing)?);
    Ok(())
}
