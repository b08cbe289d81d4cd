//! The operations of the service, one file each, over the replicated store: what a key is, when it may be
//! used, what is answered while a write is in doubt. Takes only authorised requests and knows no protocol.

pub mod access;
mod activate;
mod create;
mod datakey;
mod deactivate;
mod decrypt;
mod delete;
mod domain;
mod encrypt;
mod export;
mod get;
mod leased;
pub mod lifecycle;
mod list;
mod lru;
mod parsed;
mod patience;
mod payload;
mod random;
mod read;
mod rename;
mod seal;
pub mod secrets;
mod shape;
mod sign;
pub mod transfer;
mod write;

use self::{
    encrypt::Usable,
    leased::LeasedKeys,
    parsed::{Moment, ParsedKeys},
    patience::Patience,
};
use crate::{
    crypto::asymmetric::{PrivateKey, PublicKey},
    env::Env,
    error::{Code, Error},
    limits::Limits,
    store::api::{RecordStore, StoreHealth},
    vault::{DomainError, DomainKey, KIND_SERVICE_KEY, Keyring, RootKey, RootSource, record_key},
};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

pub(crate) use create::random_id;
pub use create::{Carried, CarriedFormat, NewKey, SIZES};
pub use deactivate::Reason;
pub use export::Way;
pub use list::{KeyPage, ListQuery, StateFilter};
pub use payload::{Class, KeyRecord, KeyType, KeyView, Operations};
pub use seal::SealState;
pub use shape::{Context, KeyName};
pub use sign::{MESSAGE_MAX_BYTES, Message, Signature, SignatureFormat, ToVerify};

/// The key management service of one host.
pub struct HostService {
    env: Env,
    store: Arc<dyn RecordStore>,
    keyring: Keyring,
    leased: Arc<LeasedKeys>,
    parsed: ParsedKeys,
    source: Arc<RootSource>,
    limits: Limits,
    access: access::Kept,
}

impl HostService {
    /// The service over a store: under a root key, or sealed.
    pub fn new(
        env: Env,
        store: Arc<dyn RecordStore>,
        (root, source): (Option<RootKey>, RootSource),
        limits: Limits,
    ) -> HostService {
        let keyring = Keyring::new(root, Arc::clone(&store));
        let (leased, parsed) = (Arc::new(LeasedKeys::new(&limits)), ParsedKeys::new(&limits));
        let (source, access) = (Arc::new(source), access::Kept::default());
        HostService { env, store, keyring, leased, parsed, source, limits, access }
    }

    /// What can be done at the moment, as far as this host knows: nothing while it is sealed.
    pub fn health(&self) -> StoreHealth {
        let moment = self.moment();
        self.leased.sweep(moment.0);
        self.parsed.sweep(&moment);
        let health = self.store.health();
        let open = !self.keyring.is_sealed();
        StoreHealth { can_read: health.can_read && open, can_write: health.can_write && open }
    }

    /// Wall time, microseconds since the Unix epoch.
    fn wall_us(&self) -> u64 {
        self.env.clock.wall().as_micros().try_into().unwrap_or(u64::MAX)
    }

    /// Wall time, seconds since the Unix epoch.
    fn wall_s(&self) -> u64 {
        self.wall_us() / 1_000_000
    }

    /// Now, for keys that are kept.
    fn moment(&self) -> Moment {
        (self.env.now(), self.store.epoch())
    }

    /// The private half of a key that may be used.
    ///
    /// # Errors
    /// `WrongUse` if it has none.
    fn private_half(&self, of: &Usable) -> Result<Arc<PrivateKey>, Error> {
        self.parsed.private(&self.moment(), of.which(), || of.private())
    }

    /// The public half of a key that may be used.
    ///
    /// # Errors
    /// `WrongUse` if it has none.
    fn public_half(&self, of: &Usable) -> Result<Arc<PublicKey>, Error> {
        self.parsed.public(&self.moment(), of.which(), || of.public())
    }

    fn write_deadline(&self) -> crate::env::Mono {
        self.env.now() + Duration::from_millis(self.limits.write_deadline_ms)
    }

    /// Drops what was kept of another epoch (R19). Keys that were read are kept with theirs.
    fn epoch_changed(&self) {
        self.keyring.clear();
        self.leased.clear();
    }

    /// Drops what is kept of a key: it is destroyed.
    fn forget_key(&self, domain: Uuid, id: Uuid) {
        self.leased.forget_key(&record_key(KIND_SERVICE_KEY, domain, id));
        self.parsed.forget_key(domain, id);
    }

    /// The answer to whatever is asked of a domain whose service has ended. Its key is forgotten. To clients it is a domain
    /// that is not there, as it is in a region that was restored from before its end.
    fn ended(&self, domain: Uuid) -> Error {
        self.keyring.forget(domain);
        self.leased.forget(domain);
        self.parsed.forget(domain);
        Error::new(Code::DomainNotFound, "OKMS domain not found: its service has ended")
    }

    /// The key of a domain. A host that has not got it yet asks again while a database catches up, as a read does.
    async fn domain_key(&self, domain: Uuid) -> Result<Arc<DomainKey>, Error> {
        let mut patience = Patience::new(&self.env, &self.limits);
        loop {
            return match self.keyring.domain(domain).await {
                Ok(key) => Ok(key),
                Err(DomainError::Unreachable(why)) if why.passes() && patience.pause().await => continue,
                Err(DomainError::Unreachable(why)) => Err(Error::refused(format!("keyring: {why}"))),
                Err(DomainError::Sealed) => Err(HostService::sealed_error()),
                Err(DomainError::Ended) => Err(self.ended(domain)),
                Err(DomainError::NotFound) => Err(Error::new(Code::DomainNotFound, "OKMS domain not found")),
                Err(DomainError::Damaged) => Err(Error::integrity("keyring object")),
            };
        }
    }
}
