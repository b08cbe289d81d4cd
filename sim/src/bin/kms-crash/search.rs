//! The search for secrets after the processes have ended: every file of every node but its private keys, against
//! every name, context, plaintext, data key and root key of the run. Reads files; changes none.

use super::processes::LOG_FILE;
use base64::{Engine, engine::general_purpose::STANDARD};
use kms::init::Bundle;
use kms_sim::{
    check::{Leak, Searched},
    world::Secrecy,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Files that hold a secret because they are made to.
const PRIVATE: [&str; 2] = ["root.key", "node.key"];

/// The secrets of a run, collected while it runs. Cheap to clone.
#[derive(Clone, Default)]
pub struct Needles(Arc<Mutex<Labelled>>);

/// Secrets, each after its label.
type Labelled = Vec<(String, Vec<u8>)>;

impl Needles {
    /// Remembers a secret.
    pub fn add(&self, label: &str, bytes: &[u8]) {
        // The list is plain data: a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((label.to_owned(), bytes.to_vec()));
    }

    /// Remembers the root key of every host: the last word of its file.
    pub fn add_root_keys(&self, bundle: &Bundle) {
        let files = bundle.nodes.iter().flat_map(|node| &node.files);
        for file in files.filter(|file| file.path.ends_with(PRIVATE[0])) {
            let text = String::from_utf8_lossy(&file.contents);
            let key = text.split_whitespace().last().and_then(|word| STANDARD.decode(word).ok());
            if let Some(key) = key {
                self.add("root key", &key);
            }
        }
    }

    /// Searches every file below the nodes' folders.
    ///
    /// # Errors
    /// A file that cannot be read: nothing is known then.
    pub fn search(&self, dir: &Path) -> io::Result<(Vec<Leak>, Searched)> {
        let mut secrecy = Secrecy::new();
        for (label, bytes) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            secrecy.add(label, bytes);
        }
        let mut searched = Searched { needles: secrecy.counts().0, ..Searched::default() };
        let mut files = Vec::new();
        list(dir, &mut files)?;
        for file in files {
            let bytes = read(&file)?;
            let place = if file.ends_with(LOG_FILE) { "log" } else { "disk" };
            *searched.bytes.entry(place.to_owned()).or_insert(0) += bytes.len() as u64;
            secrecy.scan(0, &bytes, || format!("{place} {}", file.display()));
        }
        let leaks = secrecy.leaks().into_iter().map(|leak| Leak {
            label: leak.needle,
            place: if leak.place.starts_with("log") { "log" } else { "disk" }.to_owned(),
            context: format!("{} ({})", leak.place, leak.encoding),
        });
        Ok((leaks.collect(), searched))
    }
}

#[expect(clippy::disallowed_methods, reason = "the folders of real processes, in order")]
fn list(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = std::fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else if !PRIVATE.iter().any(|name| entry.file_name() == *name) {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the files of real processes")]
fn read(file: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(file)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes files to be searched")]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_log_is_found_and_one_in_a_key_file_is_meant_to_be_there() {
        let dir = std::env::temp_dir().join(format!("kms-crash-search-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("host-a1")).expect("a folder");
        let needles = Needles::default();
        needles.add("name", b"a name of a customer");
        std::fs::write(dir.join("host-a1/root.key"), b"a name of a customer").expect("a file");
        std::fs::write(dir.join("host-a1/store"), b"sealed").expect("a file");
        std::fs::write(dir.join("host-a1/log"), b"INFO nothing").expect("a file");
        let (leaks, searched) = needles.search(&dir).expect("searched");
        assert_eq!((leaks.len(), searched.needles, searched.bytes["log"]), (0, 1, 12));
        std::fs::write(dir.join("host-a1/log"), b"INFO a name of a customer").expect("a file");
        let (leaks, _) = needles.search(&dir).expect("searched");
        std::fs::remove_dir_all(&dir).expect("removed");
        assert_eq!(leaks.len(), 1);
        assert_eq!((leaks[0].label.as_str(), leaks[0].place.as_str()), ("name", "log"));
    }
}
