//! Verification: everything a backup needs is read, opened and checked, and nothing is kept. What only a host can tell - whether
//! a record opens - it does not tell.

use super::{
    names::Found,
    place::{BackupPlace, ReadError},
};
use crate::store::log::Position;
use std::collections::{BTreeMap, BTreeSet};

/// What was verified of one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Which.
    pub found: Found,
    /// Rows of its snapshot.
    pub rows: u64,
    /// Log entries after it.
    pub entries: u64,
    /// Bytes of the objects read, manifests not counted.
    pub bytes: u64,
    /// Where it leads to.
    pub position: Position,
}

/// What was found of all manifests of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Manifests that open.
    pub read: u64,
    /// Backups that do not open, with the reason.
    pub broken: Vec<(Found, ReadError)>,
    /// Backups that name no backup before them, or one that is not there or another one now, although older ones are listed.
    pub gaps: Vec<Found>,
    /// Backups that no later one goes on from: of attempts that were given up and arrived all the same.
    pub beside: Vec<Found>,
}

impl BackupPlace {
    /// Verifies one backup: its chain, hashes, seals, row checksums, digest and positions.
    ///
    /// # Errors
    /// The first thing that is not as it must be.
    pub async fn verify(&self, found: Found) -> Result<Verified, ReadError> {
        self.forget_keys();
        let backup = self.open(found).await?;
        let (mut rows, mut row_count, mut entry_count) = (backup.rows(), 0, 0);
        loop {
            let page = rows.next().await?;
            if page.is_empty() {
                break;
            }
            row_count += page.len() as u64;
        }
        let mut entries = backup.entries();
        while entries.next().await?.is_some() {
            entry_count += 1;
        }
        let position = backup.manifest().position;
        Ok(Verified { found, rows: row_count, entries: entry_count, bytes: backup.bytes(), position })
    }

    /// Reads every manifest and follows the hash chain over all days. Looks at no rows and no entries.
    ///
    /// # Errors
    /// The store's own, and a backup key that is not this region's; what is wrong with single backups is in the answer.
    pub async fn check_chain(&self) -> Result<Chain, ReadError> {
        self.forget_keys();
        let mut chain = Chain::default();
        let mut hashes = BTreeMap::new();
        let mut named = BTreeSet::new();
        let (mut oldest, mut newest) = (None, None);
        for found in self.backups().await? {
            let (manifest, hash) = match self.manifest(found).await {
                Ok(read) => read,
                Err(error) if error.is_of_backup() => {
                    chain.broken.push((found, error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            chain.read += 1;
            let linked = match (oldest, manifest.previous) {
                (None, _) => true,
                (Some(oldest), Some(before)) => {
                    before.found.number < oldest || hashes.get(&before.found) == Some(&before.sha256)
                }
                // Two attempts at the first one.
                (Some(oldest), None) => found.number == oldest,
            };
            if !linked {
                chain.gaps.push(found);
            }
            named.extend(manifest.previous.map(|before| before.found));
            hashes.insert(found, hash);
            oldest = oldest.or(Some(found.number));
            newest = Some(found);
        }
        let is_beside = |found: &&Found| !named.contains(*found) && Some(**found) != newest;
        chain.beside = hashes.keys().filter(is_beside).copied().collect();
        Ok(chain)
    }
}
