//! One connection to a database: who may ask what (hosts: Commit, Get, Scan, Resolve, Keyring, PutKeyring, Damaged;
//! the head: its link; a database that is filled: FillBegin; a replica: Follow; the operator: Status, Order, ReadEpoch), and the answers. Requests of a host run
//! side by side.

use super::{
    directory::Directory,
    feed,
    fill::{self, Filling},
    head::{Event, From, Waiting},
    keyring as put_keyring, orders,
    read::{self, Query},
    replace, status, tail, terminate,
    view::Shared,
};
use crate::{
    config::NodeConfig,
    crypto::OperatorVerifier,
    env::Env,
    limits::{HOST_REQUESTS_MAX, ms},
    record::CommitId,
    store::{
        codec,
        engine::{Engine, KEYRING_DIR, Loaded, STORE_DIR},
        epoch::DbId,
        log::{Attempt, Entry},
        termination::is_termination,
    },
    wire::{
        epoch::Order,
        frame::{self, FrameError, FrameReader},
        keyring::KeyringObject,
        message::{Body, Commit, ENVELOPE_VERSION, Empty, Envelope, Fate, NotDone, NotRead, Pong},
        silence::Silence,
        tls::{NodeTls, Peer, PeerRole},
    },
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use prost::Message;
use std::sync::{Arc, Mutex, Weak};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, mpsc, oneshot},
};
use uuid::Uuid;

/// What stands behind the connections of a database node: a store, one that is being filled, or nothing.
#[derive(Clone)]
pub(super) struct Behind {
    /// The open store; `None` while the node is Blank or reopens its store.
    pub(super) member: Option<(Arc<Shared>, Option<mpsc::UnboundedSender<Event>>)>,
    pub(super) node: Arc<Node>,
}

/// What a database node is whatever its store.
pub(super) struct Node {
    pub(super) env: Env,
    pub(super) config: NodeConfig,
    pub(super) tls: Arc<NodeTls>,
    pub(super) operator: OperatorVerifier,
    /// Names this start of the process.
    pub(super) start: [u8; 16],
    pub(super) filling: Filling,
    /// Who may touch the data directory.
    pub(super) directory: Directory,
    /// The database whose log is another history than its peer's: it stays so when its store is opened again.
    pub(super) diverged: Arc<Mutex<Option<DbId>>>,
    /// One order at a time brings a database to the end of its source's log.
    pub(super) catching_up: tokio::sync::Mutex<()>,
    /// Rung when a fill is complete.
    pub(super) filled: Notify,
    /// The store that is open, for whoever asks how it is; keeps nothing open.
    pub(super) shown: Mutex<Weak<Shared>>,
    /// Ends the incarnation, to go on with another store (or what is on the disk).
    pub(super) ended: mpsc::UnboundedSender<Option<Box<(Engine, Loaded)>>>,
}

impl Node {
    /// An entry that replaces the witness (R17a), or ends the service of a domain, is taken with the operator's signature, and not
    /// without.
    pub(super) fn check(&self, entry: &Entry) -> Result<(), String> {
        let checked = entry.check(&self.operator, &self.config.region);
        checked.map_err(|error| format!("an entry may not stand in this log: {error}"))
    }

    /// Ends the incarnation.
    pub(super) fn end_with(&self, store: Option<(Engine, Loaded)>) {
        // The receiver is gone only if the node is ending.
        let _ = self.ended.send(store.map(Box::new));
    }
}

/// Serves one connection until it ends; returns why.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    behind: Behind,
    stream: S,
    peer: &Peer,
) -> String {
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = FrameReader::new(read);
    let mut answers = FuturesUnordered::new();
    let mut silence = Silence::new(behind.node.env.clone(), behind.node.config.limits.connection_idle());
    loop {
        silence.restart();
        let outgoing = tokio::select! {
            biased;
            Some(answer) = answers.next(), if !answers.is_empty() => answer,
            frame = reader.next(), if answers.len() < HOST_REQUESTS_MAX => {
                let envelope = match frame {
                    Ok(Some(envelope)) => envelope,
                    Ok(None) => return "closed by the peer".to_owned(),
                    Err(error) => return error.to_string(),
                };
                if envelope.version != ENVELOPE_VERSION || envelope.region != behind.node.config.region {
                    return "another version or region".to_owned();
                }
                if let (PeerRole::Database, Some(Body::Hello(hello))) = (peer.role, &envelope.body) {
                    let Some((shared, _)) = &behind.member else {
                        return "blank: no store here".to_owned();
                    };
                    return tail::serve(shared, &mut reader, &mut write, &envelope, hello).await;
                }
                if let (PeerRole::Database, Some(Body::FillBegin(begin))) = (peer.role, &envelope.body) {
                    let Some((shared, _)) = &behind.member else {
                        return "blank: no store here".to_owned();
                    };
                    return fill::serve(shared, &mut write, &envelope, begin).await;
                }
                if let (PeerRole::Replica, Some(Body::Follow(follow))) = (peer.role, &envelope.body) {
                    let Some((shared, _)) = &behind.member else {
                        return "blank: no store here".to_owned();
                    };
                    return feed::serve(shared, &mut reader, &mut write, &envelope, follow).await;
                }
                if let Some(Body::Ping(number)) = envelope.body {
                    behind.pong(envelope.call, number)
                } else {
                    answers.push(behind.clone().request(peer.role, envelope));
                    continue;
                }
            }
            () = silence.lasted(), if answers.len() < HOST_REQUESTS_MAX => return "the peer is silent".to_owned(),
        };
        if let Err(error) = send(&behind.node.env, &mut write, &outgoing).await {
            return error;
        }
    }
}

async fn send<W: AsyncWrite + Unpin>(env: &Env, write: &mut W, envelope: &Envelope) -> Result<(), String> {
    // A peer that does not take its answers is as good as gone.
    match env.timeout(ms(5_000), frame::write(write, envelope)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(FrameError::TooLong(bytes))) => Err(format!("an answer of {bytes} bytes")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the peer does not read".to_owned()),
    }
}

impl Behind {
    fn envelope(&self, call: u64, body: Body) -> Envelope {
        match &self.member {
            Some((shared, _)) => shared.envelope(call, body),
            None => Envelope {
                version: ENVELOPE_VERSION,
                region: self.node.config.region.clone(),
                call,
                body: Some(body),
                ..Envelope::default()
            },
        }
    }

    fn pong(&self, call: u64, number: u64) -> Envelope {
        let pong = match &self.member {
            Some((shared, _)) => {
                let view = shared.view();
                let leases = shared.head && view.accepting() && shared.config.limits.lease_ms > 0;
                let (serving, writable) = (view.serving(), view.writable);
                Pong { number, last: view.last.seq, serving, writable, leases }
            }
            None => Pong { number, ..Pong::default() },
        };
        self.envelope(call, Body::Pong(pong))
    }

    async fn request(self, role: PeerRole, envelope: Envelope) -> Envelope {
        let call = envelope.call;
        let body = match (role, envelope.body.clone()) {
            (PeerRole::Host, Some(body)) => self.host(envelope, body).await,
            (PeerRole::Operator, Some(Body::Status(_))) => self.status().await,
            (PeerRole::Operator, Some(Body::Order(order))) => match self.order(order).await {
                Ok(()) => Body::Done(Empty {}),
                Err(why) => Body::BadRequest(why),
            },
            (PeerRole::Operator, Some(Body::ReadEpoch(_))) => replace::begins_with(&self),
            (PeerRole::Operator, Some(Body::Domains(_))) => terminate::domains(&self).await,
            _ => Body::BadRequest(format!("a {} may not ask this", role.word())),
        };
        self.envelope(call, body)
    }

    async fn host(&self, envelope: Envelope, body: Body) -> Body {
        let commit = matches!(body, Body::Commit(_));
        let Some((shared, events)) = &self.member else {
            return not_serving(commit);
        };
        if !shared.same_epoch(&envelope) {
            // R9: an older epoch (or none yet) learns of this one; a newer one is not known here.
            let older = envelope.epoch_no < shared.epoch().no;
            if !older {
                shared.ask.notify_one();
            }
            return match (commit, older) {
                (true, true) => Body::NotDone(NotDone::EpochChanged as i32),
                (true, false) => Body::NotDone(NotDone::Behind as i32),
                (false, true) => Body::NotRead(NotRead::EpochChanged as i32),
                (false, false) => Body::NotRead(NotRead::Behind as i32),
            };
        }
        match body {
            Body::Get(key) => {
                read::answer(shared, Query::Get(crate::record::RecordKey(key)), envelope.seen).await
            }
            Body::Lease(key) => {
                read::answer_with_lease(shared, crate::record::RecordKey(key), envelope.seen).await
            }
            Body::Scan(scan) => read::answer(shared, Query::scan(scan), envelope.seen).await,
            Body::Commit(message) => commit_attempt(shared, events.as_ref(), &message, envelope.seen).await,
            Body::Resolve(id) => resolve(shared, &id).await,
            Body::Keyring(domain) => keyring(shared, &domain).await,
            Body::PutKeyring(message) => put_keyring::put(shared, message, envelope.seen).await,
            Body::Damaged(damaged) => {
                tracing::warn!(
                    target: "kms::probe",
                    name = "damaged-report",
                    key = %hex::encode(&damaged.key),
                    "a host could not open a record served here"
                );
                Body::Committed(Empty {})
            }
            _ => Body::BadRequest("a host may not ask this".to_owned()),
        }
    }

    /// Carries an order out to its end, also when the operator has gone: stopped in the middle, the disk would
    /// have what memory has not. Only the end of the incarnation stops it, after which the disk is read again.
    async fn order(&self, order: Order) -> Result<(), String> {
        let behind = self.clone();
        let work = self.node.env.spawn("order", async move {
            let closing = behind.member.as_ref().map(|(shared, _)| shared.fatal.clone());
            let closing = async {
                match closing {
                    Some(closing) => closing.closed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                done = orders::carry_out(&behind, &order) => done,
                () = closing => Err("the store is being opened again".to_owned()),
            }
        });
        work.await.unwrap_or_else(|_| Err("the order panicked".to_owned()))
    }

    async fn status(&self) -> Body {
        match serde_json::to_string(&status::of(self).await) {
            Ok(json) => Body::StatusAnswer(json),
            Err(error) => Body::BadRequest(error.to_string()),
        }
    }
}

fn not_serving(commit: bool) -> Body {
    if commit { Body::NotDone(NotDone::NotServing as i32) } else { Body::NotRead(NotRead::NotServing as i32) }
}

/// R4: everything that can be refused without appending is refused here or in the head's task.
async fn commit_attempt(
    shared: &Arc<Shared>,
    events: Option<&mpsc::UnboundedSender<Event>>,
    message: &Commit,
    seen: u64,
) -> Body {
    let checked = codec::id16(&message.commit_id).map(CommitId).and_then(|id| {
        let transaction = message.transaction.as_ref().ok_or(codec::Malformed("an attempt is empty"))?;
        Ok(Attempt { id, transaction: codec::transaction_in(transaction)? })
    });
    let attempt = match checked {
        Ok(attempt) => attempt,
        Err(error) => return Body::BadRequest(error.to_string()),
    };
    if let Err(error) = attempt.transaction.check(attempt.id) {
        return Body::BadRequest(error.to_string());
    }
    if attempt.transaction.keys().any(|key| is_termination(&key.0)) {
        return Body::BadRequest("no host ends the service of a domain".to_owned());
    }
    {
        let view = shared.view();
        if !view.accepting() {
            return not_serving(true);
        }
        if view.last.seq < seen {
            drop(view);
            shared.found_behind();
            return Body::NotDone(NotDone::Behind as i32);
        }
        if put_keyring::is_early(&view, &attempt.transaction) {
            return Body::NotDone(NotDone::InDoubt as i32);
        }
    }
    let Some(events) = events else {
        return not_serving(true);
    };
    let (answer, answered) = oneshot::channel();
    let until = shared.env.now() + ms(shared.config.limits.queue_ms);
    let (size, from) = (message.encoded_len(), From::Host);
    let waiting = Waiting { attempt, answer, until, size, from };
    if events.send(Event::Commit(waiting)).is_err() {
        return not_serving(true);
    }
    // A dropped answer: appended, outcome not known.
    answered.await.unwrap_or(Body::Unknown(Empty {}))
}

/// R19: what became of an attempt, as far as this log tells.
async fn resolve(shared: &Arc<Shared>, id: &[u8]) -> Body {
    let Ok(id) = codec::id16(id) else {
        return Body::BadRequest("an id is not 16 bytes".to_owned());
    };
    // A log of a past epoch may call done what the region does not have.
    if !shared.view().serving() {
        return not_serving(false);
    }
    match shared.engine("resolve", move |engine| engine.attempt(CommitId(id))).await {
        Ok(Some(seq)) => {
            let view = shared.view();
            // Acknowledged means recorded as confirmed by the head (R3, R4), also when the tail is asked.
            let confirmed = if shared.head { view.confirmed.seq } else { view.head_confirmed };
            let fate = if seq <= confirmed { Fate::Applied } else { Fate::InDoubt };
            Body::Fate(fate as i32)
        }
        Ok(None) => Body::Fate(Fate::DontKnow as i32),
        Err(_) => not_serving(false),
    }
}

/// The keyring lies beside the log, never in it.
async fn keyring(shared: &Arc<Shared>, domain: &[u8]) -> Body {
    let Ok(domain) = codec::id16(domain).map(Uuid::from_bytes) else {
        return Body::BadRequest("an id is not 16 bytes".to_owned());
    };
    {
        let view = shared.view();
        let ended = || {
            let ending = view.ending(Some(domain)).then_some(NotRead::InDoubt);
            view.has_ended(Some(domain)).then_some(NotRead::Terminated).or(ending)
        };
        if let Some(why) = view.not_read().or_else(ended) {
            return Body::NotRead(why as i32);
        }
    }
    let path = shared.config.data_dir.join(STORE_DIR).join(KEYRING_DIR).join(domain.to_string());
    let disk = shared.env.disk.clone();
    match shared.env.blocking("keyring", move || disk.read(&path)).await {
        Ok(Ok(sealed)) => Body::KeyringObject(KeyringObject { sealed }),
        Ok(Err(error)) => {
            tracing::error!(%error, "cannot read a keyring object");
            not_serving(false)
        }
        Err(_) => not_serving(false),
    }
}
