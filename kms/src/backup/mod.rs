//! Backups in object stores: their format, and how one is written to a store, found again, verified, read and expired. Each store
//! has a chain of its own, so either is enough. Opens no record and decides no schedule; what a backup is made of is handed
//! in, and what is read is handed out. The format is described in `docs/backup-format.md`.

mod anchor;
mod expire;
mod frames;
mod full;
mod key;
mod keyring;
mod manifest;
mod names;
mod place;
mod read;
mod retention;
mod seal;
mod segment;
mod verify;
mod write;

pub use anchor::{Anchor, newest_anchor};
pub use expire::Expired;
pub use full::{FullIndex, PartEntry};
pub use key::{BackupKey, BackupKeyError};
pub use keyring::{KeyringKept, KeyringLeft, domain_of, ended_of};
pub use manifest::{Lineage, Manifest, Part, Previous};
pub use names::{AttemptId, Day, EntryId, Found, KEYRING, Name, TOMBSTONES, keyring};
pub use place::{BackupPlace, ReadError};
pub use read::{Backup, Entries, Rows};
pub use retention::{Plan, expires_ms, plan};
pub use verify::{Chain, Verified};
pub use write::{Source, SourceError, Standing, WriteError, Written};

/// A backup's contents are not what they must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
