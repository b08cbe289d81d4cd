//! Object stores: whole objects under names, in places that fail on their own. What backups are kept in.
//!
//! A store keeps one version of an object, and only until it is deleted: erasure must erase. What a caller
//! knows after an error is in [`ObjectError`]; it never knows that nothing happened.

use super::BoxFuture;
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf, sync::Arc};

/// Largest object, bytes.
pub const OBJECT_MAX_BYTES: usize = 8 << 20;
/// Longest name of an object, bytes.
pub const OBJECT_NAME_MAX_BYTES: usize = 200;
/// Most objects in one answer to [`Objects::list`].
pub const OBJECT_LIST_MAX: usize = 1_000;

/// The name of an object: parts joined by `/`, each of `a-z 0-9 . _ -`, none empty, none that begins with a dot or ends with
/// `.tmp`. Ordered bytewise. No name may be another one's directory (`a` beside `a/b`): a store may be one of files.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName(String);

/// Not a name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a name of an object: parts of a-z 0-9 . _ - joined by /, {OBJECT_NAME_MAX_BYTES} bytes at most")]
pub struct BadName;

impl ObjectName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`BadName`].
    pub fn new(name: impl Into<String>) -> Result<ObjectName, BadName> {
        let name = name.into();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let good = |part: &str| {
            !part.is_empty() && !part.starts_with('.') && !part.ends_with(".tmp") && part.bytes().all(plain)
        };
        let holds = name.len() <= OBJECT_NAME_MAX_BYTES && name.split('/').all(good);
        if holds { Ok(ObjectName(name)) } else { Err(BadName) }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a store did not do what it was asked. Whether a put or a delete happened is then not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// No answer, or one that says "later".
    #[error("object store {place} does not answer ({why}): try again")]
    Unavailable {
        /// Region of the store.
        place: String,
        /// What happened.
        why: String,
    },
    /// It will not, however often it is asked.
    #[error("object store {place} refuses ({why}): correct its credentials, its rights or the configuration")]
    Refused {
        /// Region of the store.
        place: String,
        /// What it says.
        why: String,
    },
    /// The object is larger than [`OBJECT_MAX_BYTES`].
    #[error(
        "object {name} in {place} has {bytes} bytes, more than {OBJECT_MAX_BYTES}: nothing of this build made it"
    )]
    TooLarge {
        /// Region of the store.
        place: String,
        /// Which.
        name: ObjectName,
        /// Its size.
        bytes: u64,
    },
    /// Anything else.
    #[error("object store {place}: {why}: look into it, then try again")]
    Other {
        /// Region of the store.
        place: String,
        /// What happened.
        why: String,
    },
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name.
    pub name: ObjectName,
    /// Its size, bytes.
    pub bytes: u64,
}

/// What a store does with objects that were replaced or deleted. Erasing must erase, so one that keeps them is
/// refused at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keeping {
    /// Older versions of objects are kept, or were once.
    pub versions: bool,
    /// Objects can be locked against deletion.
    pub locks: bool,
}

/// One object store.
pub trait Objects: Send + Sync {
    /// Region of the store, as configured.
    fn place(&self) -> &str;
    /// Makes or replaces an object as a whole; durable when it returns. Readers see the old one or the new one.
    ///
    /// # Errors
    /// [`ObjectError`]; the object may be there all the same, or get there later.
    fn put<'a>(&'a self, name: &'a ObjectName, contents: Vec<u8>) -> BoxFuture<'a, Result<(), ObjectError>>;
    /// The whole of an object; `None` if there is none.
    ///
    /// # Errors
    /// [`ObjectError`].
    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Vec<u8>>, ObjectError>>;
    /// The first [`OBJECT_LIST_MAX`] objects whose names begin with `prefix` and come after `after`, in the order
    /// of their names; fewer only if there are no more. `prefix` is empty or ends with `/`.
    ///
    /// # Errors
    /// [`ObjectError`].
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a ObjectName>,
    ) -> BoxFuture<'a, Result<Vec<Listed>, ObjectError>>;
    /// Deletes an object; fine if there is none. Durable when it returns.
    ///
    /// # Errors
    /// [`ObjectError`]; the object may be gone all the same.
    fn delete<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(), ObjectError>>;
    /// Whether the store keeps what was replaced or deleted.
    ///
    /// # Errors
    /// [`ObjectError`].
    fn keeping(&self) -> BoxFuture<'_, Result<Keeping, ObjectError>>;
}

/// Which store, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// Region that the store lies in, such as `eu-west-sbg`.
    pub region: String,
    /// What it is.
    pub at: StoreAt,
}

/// What a store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreAt {
    /// A local directory.
    Directory(PathBuf),
    /// A bucket behind the S3 protocol.
    S3(S3Config),
}

/// A bucket, and who may use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// URL of the endpoint, without the bucket: `https://s3.sbg.io.cloud.ovh.net`. `http://` only for loopback.
    pub endpoint: String,
    /// Bucket.
    pub bucket: String,
    /// Region in the store's own words, which requests are signed for: `sbg`.
    pub region: String,
    /// Access key id.
    pub key_id: String,
    /// File that holds the secret key and nothing else. The key itself is never in a configuration.
    pub secret_file: PathBuf,
    /// CA of the endpoint, PEM; without it those that browsers trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// The object stores that a node can reach.
pub trait Stores: Send + Sync {
    /// Gets hold of a store. Asks it nothing yet.
    ///
    /// # Errors
    /// [`ObjectError::Refused`] if it cannot be used as it is configured.
    fn open<'a>(&'a self, config: &'a StoreConfig) -> BoxFuture<'a, Result<Arc<dyn Objects>, ObjectError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["a", "days/2026-11-26-00.key", "manifest/2026-11-26/0001-5-ab", "a_b/c.d"] {
            assert_eq!(ObjectName::new(good).expect("a name").as_str(), good);
        }
        let long = "a".repeat(OBJECT_NAME_MAX_BYTES + 1);
        for bad in
            ["", "/a", "a/", "a//b", "A", "a b", "../a", "a/..", ".a", "a/.b", "a.tmp", "é", "a\0", &long]
        {
            assert_eq!(ObjectName::new(bad), Err(BadName), "{bad}");
        }
    }
}
