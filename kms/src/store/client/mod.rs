//! The store as a host sees it: one kept connection to each database, reads at either, writes at the head.
//! An attempt is sent at most once (R19): after its first byte the only answers are committed, a definite
//! answer of that very exchange, or unknown.

mod channel;

use crate::{
    config::{ConfigError, NodeConfig, Zone},
    env::{BoxFuture, Env, Mono},
    limits::{Limits, ms},
    record::{CommitId, RecordKey, SealedRecord, Transaction},
    store::{
        api::{
            CommitError, KeyringStep, KnownEpoch, Leased, Page, Place, PutError, ReadError, Reading,
            RecordStore, Refusal, StoreHealth,
        },
        codec,
    },
    wire::{
        keyring::{KeyringObject, PutKeyring},
        message::{Body, Commit, Damaged, Envelope, Fate, NotDone, NotRead, Read, Scan},
        tls::NodeTls,
    },
};
use channel::{Channel, Lost};
use std::sync::{Arc, Mutex, PoisonError};

/// What all messages of this host carry: the epoch it knows and the greatest committed position seen (R9).
#[derive(Debug, Clone, Default)]
struct Seen {
    epoch_no: u64,
    epoch_id: Arc<[u8]>,
    seq: u64,
}

/// State that both channels share.
struct Knowledge {
    region: String,
    limits: Limits,
    seen: Mutex<Seen>,
}

impl Knowledge {
    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of an answer's epoch and position. Within an epoch positions only grow.
    fn learn(&self, envelope: &Envelope) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if envelope.epoch_no > seen.epoch_no {
            let epoch_id = envelope.epoch_id.as_slice().into();
            *seen = Seen { epoch_no: envelope.epoch_no, epoch_id, seq: envelope.seen };
        } else if envelope.epoch_no == seen.epoch_no && *envelope.epoch_id == *seen.epoch_id {
            seen.seq = seen.seq.max(envelope.seen);
        }
    }
}

/// The replicated store over the network.
pub struct StoreClient {
    env: Env,
    zone: Zone,
    knowledge: Arc<Knowledge>,
    head: Arc<Channel>,
    tail: Arc<Channel>,
}

impl StoreClient {
    /// Starts the connections of the host of `config`. Returns at once; [`RecordStore::health`] tells when
    /// they stand.
    ///
    /// # Errors
    /// When the configuration names no databases.
    pub fn start(env: Env, config: &NodeConfig, tls: Arc<NodeTls>) -> Result<Arc<StoreClient>, ConfigError> {
        let needs = |field| ConfigError::Needs { path: "node.toml".into(), role: config.role, field };
        let head = config.peers.head.clone().ok_or_else(|| needs("peers.head"))?;
        let tail = config.peers.tail.clone().ok_or_else(|| needs("peers.tail"))?;
        let zone = config.zone.ok_or_else(|| needs("zone"))?;
        let knowledge = Arc::new(Knowledge {
            region: config.region.clone(),
            limits: config.limits.clone(),
            seen: Mutex::default(),
        });
        let open = |zone, address| Channel::open(env.clone(), knowledge.clone(), tls.clone(), zone, address);
        Ok(Arc::new(StoreClient {
            head: open(Zone::A, head),
            tail: open(Zone::B, tail),
            env,
            zone,
            knowledge,
        }))
    }

    fn channel(&self, place: Place) -> &Arc<Channel> {
        match (place, self.zone) {
            (Place::Near, Zone::A) | (Place::Far, Zone::B) => &self.head,
            (Place::Near, Zone::B) | (Place::Far, Zone::A) => &self.tail,
        }
    }

    /// One read request; retried once if the host had yet to learn the epoch.
    async fn ask(&self, place: Place, body: Body) -> Result<Body, ReadError> {
        let knew_epoch = self.knowledge.seen().epoch_no > 0;
        let deadline = self.env.now() + ms(self.knowledge.limits.read_attempt_ms);
        let answer = self.channel(place).request(body.clone(), deadline).await;
        match answer {
            Ok(Body::NotRead(why)) if why == NotRead::EpochChanged as i32 && !knew_epoch => {
                self.channel(place).request(body, deadline).await.map_err(|_| ReadError::Unreachable)
            }
            Ok(body) => Ok(body),
            Err(_) => Err(ReadError::Unreachable),
        }
    }

    async fn read(&self, place: Place, body: Body) -> Result<Reading<Page>, ReadError> {
        match self.ask(place, body).await? {
            Body::Read(read) => reading(read),
            Body::NotRead(why) => Err(not_read(why)),
            _ => Err(ReadError::Unreachable),
        }
    }

    async fn attempt(&self, id: CommitId, transaction: Transaction) -> Result<(), CommitError> {
        let deadline = self.env.now() + ms(self.knowledge.limits.write_deadline_ms);
        let message =
            Commit { commit_id: id.0.to_vec(), transaction: Some(codec::transaction_out(&transaction)) };
        // Some time is kept for asking what became of it.
        let patience =
            ms(self.knowledge.limits.read_attempt_ms.min(self.knowledge.limits.write_deadline_ms / 2));
        let answer_by = Mono(deadline.0.saturating_sub(patience));
        match self.head.request(Body::Commit(message), answer_by).await {
            Ok(Body::Committed(_)) => Ok(()),
            Ok(Body::Conflict(_)) => Err(CommitError::Conflict),
            Ok(Body::NotDone(why)) => Err(CommitError::Refused(refusal(why))),
            Ok(Body::BadRequest(why)) => {
                tracing::error!(%why, "the head does not take what this host sends");
                Err(CommitError::Refused(Refusal::NotServing))
            }
            Err(Lost::NotSent) => Err(CommitError::Refused(Refusal::NoHead)),
            // Sent, and no definite answer in that exchange: from here on committed or unknown.
            Ok(_) | Err(Lost::NoAnswer) => self.resolve(id, deadline).await,
        }
    }

    /// R19: asks both databases for the attempt's fate until the deadline; never sends it again.
    async fn resolve(&self, id: CommitId, deadline: Mono) -> Result<(), CommitError> {
        let mut pause_ms = 10;
        while self.env.now() < deadline {
            for channel in [&self.tail, &self.head] {
                let ask_by = deadline.min(self.env.now() + ms(self.knowledge.limits.read_wait_ms));
                let answer = channel.request(Body::Resolve(id.0.to_vec()), ask_by).await;
                if let Ok(Body::Fate(fate)) = answer
                    && fate == Fate::Applied as i32
                {
                    return Ok(());
                }
            }
            self.env.clock.sleep_until(deadline.min(self.env.now() + ms(pause_ms))).await;
            pause_ms = (pause_ms * 2).min(100);
        }
        Err(CommitError::Unknown)
    }
}

fn reading(read: Read) -> Result<Reading<Page>, ReadError> {
    // An answer that does not decode is as good as none.
    let page = |page| codec::page_in(page).map_err(|_| ReadError::Unreachable);
    let confirmed = page(read.confirmed.ok_or(ReadError::Unreachable)?)?;
    match read.pending.map(page).transpose()? {
        None => Ok(Reading::Settled(confirmed)),
        Some(pending) if pending == confirmed => Ok(Reading::Settled(confirmed)),
        Some(pending) => Ok(Reading::InDoubt { confirmed, pending }),
    }
}

fn not_read(why: i32) -> ReadError {
    match NotRead::try_from(why) {
        Ok(NotRead::EpochChanged) => ReadError::EpochChanged,
        Ok(NotRead::Behind) => ReadError::Behind,
        Ok(NotRead::Damaged) => ReadError::Damaged,
        Ok(NotRead::Terminated) => ReadError::Terminated,
        Ok(NotRead::InDoubt) => ReadError::InDoubt,
        Ok(NotRead::NotServing | NotRead::Unspecified) | Err(_) => ReadError::NotServing,
    }
}

fn refusal(why: i32) -> Refusal {
    match NotDone::try_from(why) {
        Ok(NotDone::NoTail) => Refusal::NoTail,
        Ok(NotDone::Stalled) => Refusal::Stalled,
        Ok(NotDone::InDoubt) => Refusal::InDoubt,
        Ok(NotDone::EpochChanged) => Refusal::EpochChanged,
        Ok(NotDone::Behind) => Refusal::Behind,
        Ok(NotDone::Terminated) => Refusal::Terminated,
        Ok(NotDone::Full) => Refusal::Full,
        Ok(NotDone::NotServing | NotDone::Unspecified) | Err(_) => Refusal::NotServing,
    }
}

fn one(page: Page) -> Option<SealedRecord> {
    page.records.into_iter().next().map(|(_, record)| record)
}

impl RecordStore for StoreClient {
    fn get(
        &self,
        place: Place,
        key: RecordKey,
    ) -> BoxFuture<'_, Result<Reading<Option<SealedRecord>>, ReadError>> {
        Box::pin(async move {
            Ok(match self.read(place, Body::Get(key.0)).await? {
                Reading::Settled(page) => Reading::Settled(one(page)),
                Reading::InDoubt { confirmed, pending } => {
                    Reading::InDoubt { confirmed: one(confirmed), pending: one(pending) }
                }
            })
        })
    }

    fn scan(
        &self,
        place: Place,
        prefix: Vec<u8>,
        after: Option<RecordKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Reading<Page>, ReadError>> {
        let after = after.map(|key| key.0).unwrap_or_default();
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        Box::pin(async move { self.read(place, Body::Scan(Scan { prefix, after, limit })).await })
    }

    fn commit(&self, id: CommitId, transaction: Transaction) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(self.attempt(id, transaction))
    }

    fn keyring(&self, place: Place, domain: [u8; 16]) -> BoxFuture<'_, Result<Option<Vec<u8>>, ReadError>> {
        Box::pin(async move {
            match self.ask(place, Body::Keyring(domain.to_vec())).await? {
                Body::KeyringObject(object) => Ok(object.sealed),
                Body::NotRead(why) => Err(not_read(why)),
                _ => Err(ReadError::Unreachable),
            }
        })
    }

    fn put_keyring(
        &self,
        step: KeyringStep,
        (epoch_no, epoch_id): KnownEpoch,
        domain: [u8; 16],
        sealed: Vec<u8>,
    ) -> BoxFuture<'_, Result<Vec<u8>, PutError>> {
        let (domain, epoch_id) = (domain.to_vec(), epoch_id.to_vec());
        let put = PutKeyring { domain, sealed, step: step as i32, epoch_no, epoch_id };
        Box::pin(async move {
            let channel = if step == KeyringStep::Keep { &self.tail } else { &self.head };
            let deadline = self.env.now() + ms(self.knowledge.limits.write_deadline_ms);
            match channel.request(Body::PutKeyring(put), deadline).await {
                Ok(Body::KeyringObject(KeyringObject { sealed: Some(sealed) })) => Ok(sealed),
                Ok(Body::NotRead(why)) => Err(PutError::Not(not_read(why))),
                Ok(Body::BadRequest(why)) => {
                    tracing::error!(%why, "a database does not take a step of a new domain");
                    Err(PutError::Not(ReadError::NotServing))
                }
                Err(Lost::NotSent) => Err(PutError::Not(ReadError::Unreachable)),
                Ok(_) | Err(Lost::NoAnswer) => Err(PutError::NoAnswer),
            }
        })
    }

    fn lease(&self, key: RecordKey) -> BoxFuture<'_, Option<Leased>> {
        Box::pin(async move {
            let lease_ms = self.knowledge.limits.lease_ms;
            if lease_ms == 0 || !self.head.state().leases {
                return None;
            }
            // Counted from before it is asked: it was granted later than that.
            let (epoch, asked) = (self.epoch(), self.env.now());
            let until = asked + ms(lease_ms);
            let Ok(Body::Read(read)) = self.head.request(Body::Lease(key.0), until).await else {
                return None;
            };
            let until = until.min(asked + ms(read.lease_ms));
            let Ok(Reading::Settled(page)) = reading(read) else { return None };
            let holds = self.epoch() == epoch && self.env.now() < until;
            one(page).filter(|_| holds).map(|record| Leased { record, until, epoch })
        })
    }

    fn report_damaged(&self, place: Place, key: RecordKey, record: &SealedRecord) {
        let version = Some(codec::version_out(record.version));
        self.channel(place).tell(Body::Damaged(Damaged { key: key.0, version }));
    }

    fn health(&self) -> StoreHealth {
        let (head, tail) = (self.head.state(), self.tail.state());
        StoreHealth { can_read: head.serving || tail.serving, can_write: head.writable }
    }

    fn epoch(&self) -> KnownEpoch {
        let seen = self.knowledge.seen();
        (seen.epoch_no, seen.epoch_id)
    }
}
