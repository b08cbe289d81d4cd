//! Opened domain keys, fetched from the databases when first asked for. Trusts no database: an object that
//! does not open is asked for in the other zone.

use super::{DomainKey, RootKey, open_domain_key};
use crate::store::api::{Place, ReadError, RecordStore};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};
use uuid::Uuid;

/// Why a domain key is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// No database has an object for it, and at least one was asked.
    #[error("domain not known")]
    NotFound,
    /// No answer from either database.
    #[error("keyring unreachable: {0}")]
    Unreachable(ReadError),
    /// Its service has ended.
    #[error("the service of the domain has ended")]
    Ended,
    /// What was served does not open, and no database had a good copy.
    #[error("keyring object damaged")]
    Damaged,
}

/// The domain keys that this host has opened.
pub struct Keyring {
    root: RootKey,
    store: Arc<dyn RecordStore>,
    opened: RwLock<Opened>,
}

/// Keys, and the epoch that they were asked for in: a region that was restored may not have all of them any more.
#[derive(Default)]
struct Opened {
    epoch: (u64, Vec<u8>),
    keys: BTreeMap<Uuid, Arc<DomainKey>>,
}

impl Keyring {
    /// An empty keyring under a root key.
    pub fn new(root: RootKey, store: Arc<dyn RecordStore>) -> Keyring {
        Keyring { root, store, opened: RwLock::default() }
    }

    /// Forgets every opened key (a newer epoch is active).
    pub fn clear(&self) {
        self.opened.write().unwrap_or_else(PoisonError::into_inner).keys.clear();
    }

    /// Forgets one key: the service of its domain has ended.
    pub fn forget(&self, domain: Uuid) {
        self.opened.write().unwrap_or_else(PoisonError::into_inner).keys.remove(&domain);
    }

    /// A key that was opened in the epoch that is current, as far as the store knows.
    pub fn opened(&self, domain: Uuid) -> Option<Arc<DomainKey>> {
        let epoch = self.store.epoch();
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        (opened.epoch == epoch).then(|| opened.keys.get(&domain).cloned()).flatten()
    }

    /// Keeps a key that was asked for in `epoch`, and none of another one.
    fn keep(&self, epoch: (u64, Vec<u8>), key: DomainKey) -> Arc<DomainKey> {
        let key = Arc::new(key);
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if opened.epoch != epoch {
            *opened = Opened { epoch, keys: BTreeMap::new() };
        }
        Arc::clone(opened.keys.entry(key.domain()).or_insert(key))
    }

    /// The key of a domain.
    ///
    /// # Errors
    /// [`DomainError`] when neither zone has one that opens.
    pub async fn domain(&self, domain: Uuid) -> Result<Arc<DomainKey>, DomainError> {
        if let Some(key) = self.opened(domain) {
            return Ok(key);
        }
        let epoch = self.store.epoch();
        let mut worst = None;
        for place in [Place::Near, Place::Far] {
            let found = match self.store.keyring(place, domain.into_bytes()).await {
                Ok(Some(object)) => {
                    open_domain_key(&self.root, domain, &object).map_err(|_| DomainError::Damaged)
                }
                Ok(None) => Err(DomainError::NotFound),
                Err(ReadError::Terminated) => return Err(DomainError::Ended),
                Err(ReadError::Damaged) => Err(DomainError::Damaged),
                Err(error) => Err(DomainError::Unreachable(error)),
            };
            match found {
                Ok(key) => return Ok(self.keep(epoch, key)),
                Err(error) => worst = Some(graver(worst, error)),
            }
        }
        Err(worst.unwrap_or(DomainError::NotFound))
    }
}

/// Absence is certain only when both say so; damage is worth telling when nobody is unreachable, and of two reasons the one
/// that passes.
fn graver(first: Option<DomainError>, second: DomainError) -> DomainError {
    match (first, second) {
        (_, passing @ DomainError::Unreachable(why)) if why.passes() => passing,
        (Some(unreachable @ DomainError::Unreachable(_)), _) => unreachable,
        (_, unreachable @ DomainError::Unreachable(_)) => unreachable,
        (Some(DomainError::Damaged), _) | (_, DomainError::Damaged) => DomainError::Damaged,
        _ => DomainError::NotFound,
    }
}
