//! Who may do what, as the host knows it: it keeps what it has read of a domain's access document, and goes by it for `access_fresh_ms` on its
//! monotonic clock after it began to ask for the stamp. Then it asks for the stamp, and reads the rest again if that is another one. If no
//! database answers, requests are refused: nothing is decided on older knowledge. So a change holds everywhere within
//! `access_fresh_ms` and one read after it was acknowledged.

mod change;
mod credentials;
mod inventory;
mod load;
mod record;

use self::{
    load::{Outcome, Outcomes},
    record::{CredentialRecord, credential_key},
};
use super::{HostService, read::Same};
use crate::{
    env::Mono,
    error::{Code, Error},
    iam::{Bearer, Credential, Document, Identity, Rights},
    limits::{ACCESS_CREDENTIALS_MAX, ACCESS_DOMAINS_MAX, ACCESS_KEPT_MAX_BYTES, ms},
    store::api::KnownEpoch,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

pub use change::Asked;
pub use inventory::Inventory;
pub use record::{CredentialRecord as SealedCredential, Part, PartRecord, StampRecord};

/// Who asks, as the request says.
#[derive(Clone, Copy)]
pub enum Who<'a> {
    /// Somebody with an access certificate.
    Certificate(&'a Identity),
    /// Somebody with a token, which is not believed yet.
    Token(&'a Bearer),
}

/// What the host knows of the access of domains.
#[derive(Default)]
pub(super) struct Kept {
    domains: Mutex<Domains>,
}

#[derive(Default)]
struct Domains {
    slots: BTreeMap<Uuid, Arc<Slot>>,
    /// Counts uses.
    uses: u64,
}

/// One domain.
#[derive(Default)]
struct Slot {
    /// Whoever asks the databases; the others wait for the answer.
    asking: tokio::sync::Mutex<()>,
    known: Mutex<Option<Fresh>>,
    /// How asking last failed, and when.
    failed: Mutex<Option<(Mono, Error)>>,
    used: Mutex<u64>,
}

/// What is known, and since when.
#[derive(Clone)]
struct Fresh {
    /// When the stamp was asked for.
    asked: Mono,
    /// When all was answered.
    answered: Mono,
    epoch: KnownEpoch,
    state: Arc<State>,
}

/// What belongs to one version of the stamp.
struct State {
    outcomes: Vec<Outcome>,
    credentials: Mutex<BTreeMap<Uuid, Arc<Bearing>>>,
}

/// What a certificate is good for.
struct Bearing {
    /// None: nobody has registered it.
    credential: Option<Credential>,
    rights: Rights,
}

impl State {
    fn documents(&self) -> impl Iterator<Item = &Document> {
        self.outcomes.iter().map(|outcome| &*outcome.document)
    }

    fn bytes(&self) -> u64 {
        self.outcomes.iter().map(|outcome| outcome.bytes).sum()
    }

    fn rights(&self, domain: Uuid, identities: &BTreeSet<String>) -> Rights {
        Rights::new(domain, self.documents(), identities)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    fn slot(&self, domain: Uuid) -> Arc<Slot> {
        let mut domains = lock(&self.domains);
        domains.uses += 1;
        let uses = domains.uses;
        let slot = Arc::clone(domains.slots.entry(domain).or_default());
        *lock(&slot.used) = uses;
        slot
    }

    /// Forgets what was used longest ago, until the bounds hold.
    fn make_room(&self, but: Uuid) {
        let mut domains = lock(&self.domains);
        let bytes = |slot: &Slot| lock(&slot.known).as_ref().map_or(0, |fresh| fresh.state.bytes());
        let mut total: u64 = domains.slots.values().map(|slot| bytes(slot)).sum();
        while domains.slots.len() > ACCESS_DOMAINS_MAX || total > ACCESS_KEPT_MAX_BYTES {
            let others = domains.slots.iter().filter(|(domain, _)| **domain != but);
            let oldest = others.min_by_key(|(_, slot)| *lock(&slot.used)).map(|(domain, _)| *domain);
            match oldest.and_then(|oldest| domains.slots.remove(&oldest)) {
                Some(slot) => total = total.saturating_sub(bytes(&slot)),
                None => return,
            }
        }
    }

    /// Forgets everything: the host is sealed.
    pub(super) fn forget(&self) {
        lock(&self.domains).slots.clear();
    }

    /// Has the stamp asked for before anything else is decided in the domain.
    fn doubt(&self, domain: Uuid) {
        *lock(&self.slot(domain).known) = None;
    }
}

/// A credential under every outcome.
struct Found(Option<Credential>);

impl Same for Found {
    fn same(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl HostService {
    /// What holds in a domain, as it was at most `access_fresh_ms` ago.
    async fn access(&self, domain: Uuid) -> Result<Arc<State>, Error> {
        // Nothing is kept of domains that there are not: anybody may name any.
        self.domain_key(domain).await?;
        let slot = self.access.slot(domain);
        if let Some(state) = self.still_fresh(&slot) {
            return Ok(state);
        }
        let arrived = self.env.now();
        let _asking = slot.asking.lock().await;
        if let Some(state) = self.still_fresh(&slot) {
            return Ok(state);
        }
        // Whoever waited for one that was told nothing would be told nothing either, one after the other.
        let failed = lock(&slot.failed).clone().filter(|(ended, _)| *ended >= arrived);
        if let Some((_, error)) = failed {
            return Err(error);
        }
        let found = self.ask_access(domain, &slot).await;
        *lock(&slot.failed) = found.as_ref().err().map(|error| (self.env.now(), error.clone()));
        found
    }

    /// Asks the databases for what holds in a domain.
    async fn ask_access(&self, domain: Uuid, slot: &Slot) -> Result<Arc<State>, Error> {
        let (asked, epoch) = (self.env.now(), self.store.epoch());
        let old = lock(&slot.known).clone().filter(|old| old.epoch == epoch);
        if let Some(old) = old {
            let stamps = self.stamps(domain).await?;
            if stamps.0.iter().eq(old.state.outcomes.iter().map(|outcome| &outcome.version)) {
                let (answered, state) = (self.env.now(), old.state);
                *lock(&slot.known) = Some(Fresh { asked, answered, epoch, state: Arc::clone(&state) });
                return Ok(state);
            }
        }
        let Outcomes(outcomes) = self.documents(domain).await?;
        let state = Arc::new(State { outcomes, credentials: Mutex::default() });
        let answered = self.env.now();
        *lock(&slot.known) = Some(Fresh { asked, answered, epoch, state: Arc::clone(&state) });
        self.access.make_room(domain);
        Ok(state)
    }

    /// What is known, if it may be gone by. While a change is in doubt, it is asked for again after as long as a read may wait.
    fn still_fresh(&self, slot: &Slot) -> Option<Arc<State>> {
        let known = lock(&slot.known);
        let fresh = known.as_ref()?;
        let (now, settled) = (self.env.now(), fresh.state.outcomes.len() == 1);
        let in_time = now < fresh.asked + ms(self.limits.access_fresh_ms)
            && (settled || now < fresh.answered + ms(self.limits.read_wait_ms));
        (in_time && self.store.epoch() == fresh.epoch).then(|| Arc::clone(&fresh.state))
    }

    /// What somebody may do in a domain.
    ///
    /// # Errors
    /// `Unauthorised` if the certificate or the token is not valid, or not any more; `Forbidden` in another domain than the certificate's;
    /// `DomainNotFound`; `Refused` if no database says what holds.
    pub async fn rights(&self, who: Who<'_>, domain: Uuid) -> Result<Rights, Error> {
        let now_s = self.wall_s();
        match who {
            Who::Certificate(identity) => {
                identity.check(domain, now_s)?;
                let state = self.access(domain).await?;
                let bearing = self.bearing(&state, identity).await?;
                if let Some(credential) = &bearing.credential {
                    credential.valid(now_s)?;
                }
                Ok(bearing.rights.clone())
            }
            Who::Token(bearer) => {
                let state = self.access(domain).await.map_err(|error| match error.code() {
                    // Whoever makes up a token learns nothing of which domains there are.
                    Code::DomainNotFound => Error::new(
                        Code::Unauthorised,
                        "the bearer token is not signed by an issuer of this domain",
                    ),
                    _ => error,
                })?;
                let mut each = Vec::new();
                for outcome in &state.outcomes {
                    let identity = bearer.verify(outcome.document.known_issuers(), now_s)?;
                    let identities = BTreeSet::from([identity]);
                    each.push(Rights::new(domain, [&*outcome.document], &identities));
                }
                Ok(Rights::joined(domain, &each))
            }
        }
    }

    /// What a certificate is good for, by the state of a domain's access.
    async fn bearing(&self, state: &State, identity: &Identity) -> Result<Arc<Bearing>, Error> {
        let domain = identity.domain();
        let Some(id) = identity.credential() else {
            let rights = state.rights(domain, &BTreeSet::from([identity.urn()]));
            return Ok(Arc::new(Bearing { credential: None, rights }));
        };
        if let Some(found) = lock(&state.credentials).get(&id) {
            return Ok(Arc::clone(found));
        }
        // What is read now is of the stamp's version or newer; what becomes of it later changes the stamp.
        let key = credential_key(domain, id);
        let found = self.decide_record(domain, &key, |found: Option<CredentialRecord>| {
            Found(found.map(|record| record.0))
        });
        let Found(credential) = found.await?;
        let identities = match &credential {
            Some(credential) if !credential.identities.is_empty() => {
                credential.identities.iter().cloned().collect()
            }
            _ => BTreeSet::from([identity.urn()]),
        };
        let bearing = Arc::new(Bearing { credential, rights: state.rights(domain, &identities) });
        let mut kept = lock(&state.credentials);
        if kept.len() >= ACCESS_CREDENTIALS_MAX {
            kept.clear();
        }
        kept.insert(id, Arc::clone(&bearing));
        Ok(bearing)
    }
}
