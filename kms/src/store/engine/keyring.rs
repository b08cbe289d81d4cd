//! The sealed key of a new domain beside a store (R23). At the head it is *begun* first, under another name that nobody is given, and
//! stands under its own only when the other database has it. Nothing here is ever written over by something else.

use super::KEYRING_DIR;
use crate::{env::Disk, limits::DOMAINS_MAX};
use std::{collections::BTreeSet, io, path::Path};
use uuid::Uuid;

/// What the name of a key ends with that is begun.
pub const BEGUN: &str = ".begun";

/// What lies beside a store after a step.
#[derive(Debug, PartialEq, Eq)]
pub struct Lies {
    /// The sealed key of the domain, durable if it is the one that was to be put.
    pub sealed: Vec<u8>,
    /// It stands under its own name since this step, and did not before.
    pub new: bool,
}

/// The keyring of a store, for what is done about one domain.
pub struct Beside<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    domain: Uuid,
}

/// The domains whose keys are begun beside the store in `dir`.
///
/// # Errors
/// The disk's.
pub fn begun(disk: &dyn Disk, dir: &Path) -> io::Result<BTreeSet<Uuid>> {
    let names = disk.list(&dir.join(KEYRING_DIR))?;
    Ok(names.iter().filter_map(|name| name.to_str()?.strip_suffix(BEGUN)?.parse().ok()).collect())
}

impl Beside<'_> {
    /// The keyring of the store in `dir`.
    pub fn new<'a>(disk: &'a dyn Disk, dir: &'a Path, domain: Uuid) -> Beside<'a> {
        Beside { disk, dir, domain }
    }

    fn own_name(&self) -> String {
        self.domain.to_string()
    }

    fn begun_name(&self) -> String {
        format!("{}{BEGUN}", self.domain)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.disk.read(&self.dir.join(KEYRING_DIR).join(name))
    }

    /// Also what is there already is written once more: whoever wrote it may have been broken off before it was durable.
    fn write(&self, name: &str, sealed: &[u8]) -> io::Result<()> {
        let keyring = self.dir.join(KEYRING_DIR);
        self.disk.create_dir(&keyring)?;
        self.disk.write_atomic(&keyring.join(name), sealed, true)?;
        self.disk.sync_dir(self.dir)
    }

    /// Begins with a key, unless one is begun or stands there: answers the one that counts. `None`: there are too many domains.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(&self, sealed: Vec<u8>) -> io::Result<Option<Lies>> {
        let (own, begun) = (self.own_name(), self.begun_name());
        let (name, sealed) = match (self.read(&begun)?, self.read(&own)?) {
            (Some(there), _) => (begun, there),
            (None, Some(there)) => (own, there),
            (None, None) if self.disk.list(&self.dir.join(KEYRING_DIR))?.len() >= DOMAINS_MAX => {
                return Ok(None);
            }
            (None, None) => (begun, sealed),
        };
        self.write(&name, &sealed)?;
        Ok(Some(Lies { sealed, new: false }))
    }

    /// Puts a key, unless one stands there: answers the one that does.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep(&self, sealed: Vec<u8>) -> io::Result<Lies> {
        let own = self.own_name();
        let there = self.read(&own)?;
        let lies = Lies { new: there.is_none(), sealed: there.unwrap_or(sealed) };
        self.write(&own, &lies.sealed)?;
        Ok(lies)
    }

    /// Has the key that was begun stand under its own name. Another one, or none, is left as it is, and is the answer.
    ///
    /// # Errors
    /// The disk's.
    pub fn end(&self, sealed: Vec<u8>) -> io::Result<Option<Lies>> {
        let (own, begun) = (self.own_name(), self.begun_name());
        let (standing, first) = (self.read(&own)?, self.read(&begun)?);
        let there = standing.clone().or_else(|| first.clone());
        if there.as_ref() != Some(&sealed) || first.as_ref().is_some_and(|first| *first != sealed) {
            return Ok(there.map(|sealed| Lies { sealed, new: false }));
        }
        self.write(&own, &sealed)?;
        if first.is_some() {
            // Not before the other name is durable: where it is begun, nothing is written in the domain.
            let keyring = self.dir.join(KEYRING_DIR);
            self.disk.remove(&keyring.join(&begun))?;
            self.disk.sync_dir(&keyring)?;
        }
        Ok(Some(Lies { sealed, new: first.is_some() }))
    }
}
