//! Paths of secrets, and where the records of a secret are kept. A path never stands in a record key: the key holds a keyed
//! hash of it, which only hosts can compute. Refuses paths that could be read in two ways.

use crate::{
    crypto::keyed_hash,
    engine::HostService,
    error::Error,
    record::RecordKey,
    vault::{
        DomainKey, KIND_SECRET, KIND_SECRET_BROUGHT, KIND_SECRET_CONFIG, KIND_SECRET_VERSION, record_prefix,
    },
};
use uuid::Uuid;

pub use crate::iam::{PATH_MAX_CHARS, SecretPath};

/// Bytes of a hashed path, and of the id of a secret.
pub(super) const ID_BYTES: usize = 16;

/// The hash of a path under the domain's key for lookups.
pub(super) fn path_hash(path: &SecretPath, domain: &DomainKey) -> [u8; ID_BYTES] {
    let whole = keyed_hash(&domain.subkey("secret-path"), path.text().as_bytes());
    let mut id = [0; ID_BYTES];
    id.copy_from_slice(&whole[..ID_BYTES]);
    id
}

impl HostService {
    /// The id of a path in its domain, which tells nobody without the domain's key what the path is; none as long as that key is not
    /// at hand. Asks nobody.
    pub fn secret_id(&self, domain: Uuid, path: &SecretPath) -> Option<Uuid> {
        self.keyring.kept(domain).map(|key| Uuid::from_bytes(path_hash(path, &key)))
    }
}

/// A folder: what secrets below it begin with. The root is the empty one.
#[derive(Clone, PartialEq, Eq)]
pub struct Folder(String);

impl Folder {
    /// The folder above all secrets.
    pub fn root() -> Folder {
        Folder(String::new())
    }

    /// Reads a folder, with a slash at its end or without.
    ///
    /// # Errors
    /// `BadArgument` as for a path.
    pub fn new(text: &str) -> Result<Folder, Error> {
        let plain = text.strip_suffix('/').unwrap_or(text);
        if plain.is_empty() {
            return Ok(Folder::root());
        }
        SecretPath::new(plain.to_owned()).map(|path| Folder(format!("{}/", path.text())))
    }

    /// What of `path` is seen in this folder: the name of a secret, or that of a folder with a slash at its end.
    pub(super) fn child<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.0.as_str())?;
        Some(rest.find('/').map_or(rest, |slash| &rest[..=slash]))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// Where what is known of the secret with this path hash is kept.
pub(super) fn secret_key(domain: Uuid, hash: &[u8; ID_BYTES]) -> RecordKey {
    let mut key = record_prefix(KIND_SECRET, domain);
    key.extend_from_slice(hash);
    RecordKey(key)
}

/// What the keys of all versions of a secret begin with.
pub(super) fn version_prefix(domain: Uuid, id: &[u8; ID_BYTES]) -> Vec<u8> {
    let mut key = record_prefix(KIND_SECRET_VERSION, domain);
    key.extend_from_slice(id);
    key
}

/// Where the data of one version of a secret is kept.
pub(super) fn version_key(domain: Uuid, id: &[u8; ID_BYTES], number: u32) -> RecordKey {
    let mut key = version_prefix(domain, id);
    key.extend_from_slice(&number.to_be_bytes());
    RecordKey(key)
}

/// The number a version's key ends with.
pub(super) fn version_number(key: &RecordKey) -> Option<u32> {
    key.0.last_chunk::<4>().map(|number| u32::from_be_bytes(*number))
}

/// Where it is kept that the secret with this id was brought in.
pub(super) fn brought_key(domain: Uuid, id: &[u8; ID_BYTES]) -> RecordKey {
    let mut key = record_prefix(KIND_SECRET_BROUGHT, domain);
    key.extend_from_slice(id);
    RecordKey(key)
}

/// Where the configuration of a domain's secrets is kept.
pub(super) fn config_key(domain: Uuid) -> RecordKey {
    RecordKey(record_prefix(KIND_SECRET_CONFIG, domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_in_one_way_only() {
        for good in ["a", "foo/bar", "a.b:c=d@e_f-g/0", "version", &"a".repeat(255)] {
            assert!(SecretPath::new(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "a/./b", "..", "a b", "a%2Fb", "é", "a\nb", &"a".repeat(256)] {
            assert!(SecretPath::new(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn folders_show_their_direct_children() {
        let folder = |text: &str| Folder::new(text).expect("a folder");
        assert_eq!(folder("").child("a/b"), Some("a/"));
        assert_eq!(folder("a").child("a/b"), Some("b"));
        assert_eq!(folder("a/").child("a/b/c/d"), Some("b/"));
        assert_eq!(folder("a").child("a"), None);
        assert_eq!(folder("a").child("ab/c"), None);
        assert!(Folder::new("a//").is_err() && Folder::new("a b").is_err());
    }

    #[test]
    fn the_versions_of_a_secret_are_in_the_order_of_their_numbers() {
        let (domain, id) = (Uuid::from_u128(1), [7; ID_BYTES]);
        let keys: Vec<_> = [1, 2, 255, 256, 24_000].map(|n| version_key(domain, &id, n)).into();
        assert!(keys.is_sorted());
        assert_eq!(version_number(&keys[3]), Some(256));
        assert!(keys.iter().all(|key| key.0.starts_with(&version_prefix(domain, &id))));
    }
}
