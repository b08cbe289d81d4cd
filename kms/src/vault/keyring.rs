//! The root key of a host, while it is unsealed, and the domain keys opened with it, fetched from the databases when first asked for.
//! Trusts no database: an object that does not open is asked for in the other zone.

use super::{DomainKey, RootKey, new_domain_key, open_domain_key};
use crate::{
    env::Env,
    store::api::{KeyringStep, KnownEpoch, Place, PutError, ReadError, RecordStore},
};
use std::{
    collections::BTreeMap,
    io,
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
    /// The host has no root key at the moment.
    #[error("sealed")]
    Sealed,
}

/// Why a domain is not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The host has no root key at the moment.
    #[error("sealed")]
    Sealed,
    /// Its service has ended: it never begins again.
    #[error("the service of the domain has ended")]
    Ended,
    /// A database does not take the step, so the domain is not there. A repeat goes on.
    #[error("{0:?}: {1}")]
    Not(KeyringStep, PutError),
    /// No answer to the last step: whether the domain is there is not known.
    #[error("the last step was not answered")]
    Unknown,
    /// What lies at a database does not open under the root key, or is records without their key.
    #[error("a key that lies there does not open, or records lie there without their key")]
    Damaged,
    /// The databases have different keys for it.
    #[error("{0:?}: another key lies there")]
    Differing(KeyringStep),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] io::Error),
}

impl CreateError {
    fn of(step: KeyringStep, error: PutError) -> CreateError {
        match (step, error) {
            (_, PutError::Not(ReadError::Terminated)) => CreateError::Ended,
            (_, PutError::Not(ReadError::Damaged)) => CreateError::Damaged,
            (KeyringStep::End, PutError::NoAnswer) => CreateError::Unknown,
            _ => CreateError::Not(step, error),
        }
    }
}

/// The root key, and the domain keys that this host has opened with it.
pub struct Keyring {
    store: Arc<dyn RecordStore>,
    opened: RwLock<Opened>,
}

/// Keys, and the epoch that they were asked for in: a region that was restored may not have all of them any more.
#[derive(Default)]
struct Opened {
    /// None: the host is sealed, and there are no keys either.
    root: Option<Arc<RootKey>>,
    epoch: KnownEpoch,
    keys: BTreeMap<Uuid, Arc<DomainKey>>,
}

impl Keyring {
    /// An empty keyring, under a root key or sealed.
    pub fn new(root: Option<RootKey>, store: Arc<dyn RecordStore>) -> Keyring {
        let opened = Opened { root: root.map(Arc::new), ..Opened::default() };
        Keyring { store, opened: RwLock::new(opened) }
    }

    /// Whether there is no root key.
    pub fn is_sealed(&self) -> bool {
        self.opened.read().unwrap_or_else(PoisonError::into_inner).root.is_none()
    }

    /// Begins to serve under a root key. No effect on one that is unsealed: it has that key.
    pub fn unseal(&self, root: RootKey) {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        opened.root.get_or_insert_with(|| Arc::new(root));
    }

    /// Forgets the root key and every opened key. They are wiped from memory as soon as the requests that use them have ended.
    pub fn seal(&self) {
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) = Opened::default();
    }

    /// Forgets every opened key (a newer epoch is active).
    pub fn clear(&self) {
        self.opened.write().unwrap_or_else(PoisonError::into_inner).keys.clear();
    }

    /// Forgets one key: the service of its domain has ended.
    pub fn forget(&self, domain: Uuid) {
        self.opened.write().unwrap_or_else(PoisonError::into_inner).keys.remove(&domain);
    }

    /// The root key, and the key of the domain if it was opened in the epoch that is current, as far as the store knows.
    fn opened(&self, domain: Uuid) -> Result<(Arc<RootKey>, Option<Arc<DomainKey>>), DomainError> {
        let epoch = self.store.epoch();
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        let root = opened.root.clone().ok_or(DomainError::Sealed)?;
        Ok((root, (opened.epoch == epoch).then(|| opened.keys.get(&domain).cloned()).flatten()))
    }

    /// The key of the domain, if it is at hand. Asks nobody.
    pub fn kept(&self, domain: Uuid) -> Option<Arc<DomainKey>> {
        self.opened(domain).ok()?.1
    }

    /// Keeps a key that was asked for in `epoch`, and none of another one; nor one of a host that was sealed meanwhile.
    fn keep(&self, epoch: KnownEpoch, key: DomainKey) -> Result<Arc<DomainKey>, DomainError> {
        let key = Arc::new(key);
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if opened.root.is_none() {
            return Err(DomainError::Sealed);
        }
        if opened.epoch != epoch {
            opened.keys.clear();
            opened.epoch = epoch;
        }
        Ok(Arc::clone(opened.keys.entry(key.domain()).or_insert(key)))
    }

    /// The sealed key of a domain that one of the databases gives, if either has one that opens.
    async fn lying(&self, root: &RootKey, domain: Uuid) -> Result<Option<Vec<u8>>, CreateError> {
        let mut unknown = None;
        for place in [Place::Near, Place::Far] {
            match self.store.keyring(place, domain.into_bytes()).await {
                Ok(Some(there)) if open_domain_key(root, domain, &there).is_ok() => return Ok(Some(there)),
                Ok(Some(_)) => unknown = Some(CreateError::Damaged),
                Ok(None) => {}
                Err(error) => unknown = Some(CreateError::of(KeyringStep::Begin, PutError::Not(error))),
            }
        }
        unknown.map_or(Ok(None), Err)
    }

    /// The key of a domain.
    ///
    /// # Errors
    /// [`DomainError`] when neither zone has one that opens.
    pub async fn domain(&self, domain: Uuid) -> Result<Arc<DomainKey>, DomainError> {
        let (root, key) = self.opened(domain)?;
        if let Some(key) = key {
            return Ok(key);
        }
        let epoch = self.store.epoch();
        let mut worst = None;
        for place in [Place::Near, Place::Far] {
            let found = match self.store.keyring(place, domain.into_bytes()).await {
                Ok(Some(object)) => open_domain_key(&root, domain, &object).map_err(|_| DomainError::Damaged),
                Ok(None) => Err(DomainError::NotFound),
                Err(ReadError::Terminated) => return Err(DomainError::Ended),
                Err(ReadError::Damaged) => Err(DomainError::Damaged),
                Err(error) => Err(DomainError::Unreachable(error)),
            };
            match found {
                Ok(key) => return self.keep(epoch, key),
                Err(error) => worst = Some(graver(worst, error)),
            }
        }
        Err(worst.unwrap_or(DomainError::NotFound))
    }

    /// Makes a domain: a key for it, sealed under the root key, lies beside the logs of both databases, durably, when this returns (R23). One
    /// that was begun before is gone on with, and one that is there stays.
    ///
    /// # Errors
    /// [`CreateError`].
    pub async fn create(&self, env: &Env, domain: Uuid) -> Result<(), CreateError> {
        let root = self.opened(domain).map_err(|_| CreateError::Sealed)?.0;
        // All steps are of one epoch: what one database was told counts for its peer of that epoch alone.
        let epoch = self.store.epoch();
        let put = async |step, sealed| {
            let put = self.store.put_keyring(step, epoch.clone(), domain.into_bytes(), sealed).await;
            put.map_err(|error| CreateError::of(step, error))
        };
        // What one of them has is what both are to have: a key that is missing beside one log is put back.
        let (step, first) = match self.lying(&root, domain).await? {
            Some(there) => (KeyringStep::Mend, there),
            None => (KeyringStep::Begin, new_domain_key(env, &root, domain)?),
        };
        let object = put(step, first).await?;
        open_domain_key(&root, domain, &object).map_err(|_| CreateError::Damaged)?;
        for step in [KeyringStep::Keep, KeyringStep::End] {
            if put(step, object.clone()).await? != object {
                return Err(CreateError::Differing(step));
            }
        }
        Ok(())
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
