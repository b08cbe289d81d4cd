//! What the tasks of one database share: identity, engine, and the part of the state that readers need.
//! The lock is held for moments, never across an await.

use super::{connection::Node, leases::Leases};
use crate::{
    config::NodeConfig,
    crypto::OperatorVerifier,
    env::{Env, Mono},
    limits::{LEASES_OVER, Limits},
    record::{RecordKey, SealedRecord},
    store::{
        engine::{Engine, EngineError, Loaded, STORE_DIR},
        epoch::{DbId, Epoch, Identity, Phase},
        giving::Giver,
        held::{Closed, Held},
        log::{Entry, Position},
        termination::{BadEntry, Ended, termination_key},
    },
    wire::message::{Body, ENVELOPE_VERSION, Envelope, NotRead},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, mpsc, watch};
use uuid::Uuid;

/// A batch that is in the head's log and not confirmed.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) entry: Entry,
    pub(super) changes: BTreeMap<RecordKey, Option<SealedRecord>>,
}

/// Why a joined member does not serve. Each reason is lifted by what gave it, and by nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Withheld {
    /// This log lacks synced entries that the peer, or a host, has seen (R6, R9); ends when it has them again.
    pub(super) behind: bool,
    /// This log and the peer's are not one history. For good.
    pub(super) diverged: bool,
    /// The store failed; ends with this incarnation.
    pub(super) failed: bool,
}

/// The state readers see.
#[derive(Debug)]
pub(super) struct View {
    /// Who this store is, as it is durable.
    pub(super) identity: Arc<Identity>,
    /// Somebody who may know has said, since this start, that the epoch is current (R10).
    pub(super) joined: bool,
    /// It has joined by an operator's statement alone: the witness is still asked.
    pub(super) alone: bool,
    /// What else keeps it from serving.
    pub(super) withheld: Withheld,
    /// End of the durable log.
    pub(super) last: Position,
    /// Head: end of what is confirmed. Tail: equals `last`.
    pub(super) confirmed: Position,
    /// Head: the batch in doubt (R1: at most one).
    pub(super) pending: Option<Arc<Pending>>,
    /// Head: what hosts may use without asking (R21).
    pub(super) leases: Leases,
    /// Head: link up (R5). For pongs and refusals; no safety rests on it.
    pub(super) writable: bool,
    /// Tail: how far the head says it has confirmed. An attempt above it is not acknowledged (R3), whoever
    /// asks.
    pub(super) head_confirmed: u64,
    /// Tail: where the head's log ended when the link began.
    pub(super) catch_up_to: u64,
    /// How far the replica that is fed from here has taken the log, durably; for people.
    pub(super) replica: Option<u64>,
    /// The domains whose service has ended.
    pub(super) ended: Ended,
    /// Head: the domains whose keys are begun (R23). Nothing is written in them.
    pub(super) begun: BTreeSet<Uuid>,
    /// The last loud event, for `kms status`, until what gave rise to it is over.
    pub(super) loud: Option<&'static str>,
}

impl Withheld {
    /// Whether this log can be relied on, as far as is known.
    pub(super) fn nothing(self) -> bool {
        self.word().is_none()
    }

    /// The weightiest reason, for `kms status`.
    pub(super) fn word(self) -> Option<&'static str> {
        let Withheld { behind, diverged, failed } = self;
        [(diverged, "diverged"), (behind, "behind"), (failed, "failed")]
            .into_iter()
            .find_map(|(is, word)| is.then_some(word))
    }
}

impl View {
    /// Whether reads are answered (R8): a member, joined, in an epoch that is active or of which it is the source.
    pub(super) fn serving(&self) -> bool {
        let current = self.identity.active() || self.identity.is_source();
        let member = self.identity.phase == Phase::Member && current;
        member && self.joined && self.withheld.nothing()
    }

    /// What a host is answered that reads, if not what it asks for. `Behind` says that nothing is missing but entries, which
    /// the peer has.
    pub(super) fn not_read(&self) -> Option<NotRead> {
        let Withheld { behind, diverged, failed } = self.withheld;
        let entries = behind && !diverged && !failed && self.joined && self.identity.phase == Phase::Member;
        match (self.serving(), entries) {
            (true, _) => None,
            (false, true) => Some(NotRead::Behind),
            (false, false) => Some(NotRead::NotServing),
        }
    }

    /// The peer's log and this one agree: what was said loudly is over, unless it still keeps this one from serving.
    pub(super) fn agreed(&mut self) {
        if self.withheld.nothing()
            && let Some(what) = self.loud.take()
        {
            tracing::info!(what, "the integrity alarm is over");
        }
    }

    /// `entry` was applied, durably, and with it whom this database listens to (R17a), and whose service has ended.
    pub(super) fn applied(&mut self, entry: &Entry) {
        self.ended.applied(entry);
        if let Some(identity) = self.identity.after(entry) {
            tracing::info!(witness = %hex::encode(identity.witness()), "another witness is listened to");
            self.identity = Arc::new(identity);
        }
    }

    /// Whether the end of a domain's service is in the log and not confirmed: nothing may be answered that is not true
    /// under both outcomes.
    pub(super) fn ending(&self, domain: Option<Uuid>) -> bool {
        let pending = self.pending.as_ref().zip(domain);
        pending.is_some_and(|(pending, domain)| pending.changes.contains_key(&termination_key(domain)))
    }

    /// Whether the service of a domain has ended, for certain.
    pub(super) fn has_ended(&self, domain: Option<Uuid>) -> bool {
        domain.is_some_and(|domain| self.ended.has(domain))
    }

    /// Grants a lease on a record that no write in the log is about to change. What waits to be appended is looked at by
    /// [`Leases::grant`].
    pub(super) fn lease(&mut self, key: &RecordKey, now: Mono, until: Mono) -> bool {
        self.accepting() && self.leases.grant(key, now, until)
    }

    /// Whether writes are taken (R12): not before the epoch is known active here.
    pub(super) fn accepting(&self) -> bool {
        self.serving() && self.identity.active()
    }
}

/// Everything the tasks of one incarnation of a database share.
pub(super) struct Shared {
    pub(super) env: Env,
    pub(super) config: NodeConfig,
    /// Whether it is the head: roles never swap.
    pub(super) head: bool,
    /// Wakes the task that asks the witness.
    pub(super) ask: Notify,
    engine: Held,
    view: Mutex<View>,
    /// Counts confirmations; readers wait on it.
    pub(super) confirmed: watch::Sender<u64>,
    /// Counts handshakes (tail: which link may append, R6), changes of the identity, and reasons to compare anew;
    /// an older link ends when it changes.
    pub(super) link: watch::Sender<u64>,
    /// Counts the feeds of a replica: an older one ends when it changes.
    pub(super) feed: watch::Sender<u64>,
    /// Counts the domain keys that were put: a feed that began before ends when it changes (R23).
    pub(super) keyring: watch::Sender<u64>,
    /// One writer at a time: batches, copies, changes of the identity, and domain keys.
    pub(super) writer: tokio::sync::Mutex<()>,
    /// See [`Node::diverged`].
    pub(super) diverged: Arc<Mutex<Option<DbId>>>,
    /// Whose word replaces a witness (R17a).
    pub(super) operator: OperatorVerifier,
    /// Ends the incarnation: the store failed and must be opened again.
    pub(super) fatal: mpsc::UnboundedSender<String>,
}

impl Shared {
    /// The receiver ends when the store is closed: not before may it be opened again.
    pub(super) fn new(
        node: &Node,
        (engine, loaded): (Engine, &Loaded),
        fatal: mpsc::UnboundedSender<String>,
    ) -> (Shared, Closed) {
        let pending =
            loaded.pending.clone().map(|entry| Arc::new(Pending { changes: entry.changes(), entry }));
        let diverged =
            *node.diverged.lock().unwrap_or_else(PoisonError::into_inner) == Some(loaded.identity.db_id);
        // Nobody has said since this start that the epoch is current (R10), unless a person did, about this start, before the
        // store was opened again.
        let alone = loaded.identity.may_serve_alone(&node.start);
        let view = View {
            identity: Arc::new(loaded.identity.clone()),
            joined: alone,
            alone,
            withheld: Withheld { diverged, ..Withheld::default() },
            last: loaded.last,
            confirmed: loaded.confirmed,
            pending,
            // What was granted before this start, or by the head of another epoch, is over by then.
            leases: Leases::new(node.env.now() + LEASES_OVER),
            writable: false,
            head_confirmed: 0,
            catch_up_to: 0,
            replica: None,
            ended: Ended::new(loaded.terminated.iter().copied()),
            begun: BTreeSet::new(),
            loud: diverged.then_some("loud:not-a-prefix"),
        };
        assert!(view.confirmed.seq <= view.last.seq, "confirmed <= last");
        let (engine, closed) = Held::new(engine);
        let shared = Shared {
            env: node.env.clone(),
            config: node.config.clone(),
            head: loaded.identity.head,
            ask: Notify::new(),
            engine,
            view: Mutex::new(view),
            confirmed: watch::Sender::new(loaded.confirmed.seq),
            link: watch::Sender::new(0),
            feed: watch::Sender::new(0),
            keyring: watch::Sender::new(0),
            writer: tokio::sync::Mutex::new(()),
            diverged: node.diverged.clone(),
            operator: node.operator,
            fatal,
        };
        (shared, closed)
    }

    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who this store is.
    pub(super) fn identity(&self) -> Arc<Identity> {
        self.view().identity.clone()
    }

    /// The epoch of this store.
    pub(super) fn epoch(&self) -> Epoch {
        self.view().identity.epoch()
    }

    /// A message of this database: region, epoch, and how far the committed log is known to reach.
    pub(super) fn envelope(&self, call: u64, body: Body) -> Envelope {
        let view = self.view();
        let epoch = view.identity.epoch();
        Envelope {
            version: ENVELOPE_VERSION,
            region: self.config.region.clone(),
            epoch_no: epoch.no,
            epoch_id: epoch.id.to_vec(),
            call,
            seen: view.confirmed.seq,
            body: Some(body),
        }
    }

    /// Whether a message of the peer belongs to this region and this very epoch.
    pub(super) fn same_epoch(&self, envelope: &Envelope) -> bool {
        let epoch = self.epoch();
        envelope.region == self.config.region
            && envelope.epoch_no == epoch.no
            && envelope.epoch_id == epoch.id
    }

    /// R9: a host has seen what this log lacks. Serves nothing until the log was compared with the peer's.
    pub(super) fn found_behind(&self) {
        self.lacking("loud:behind");
        // Ends the link, so that the next one compares.
        self.link.send_modify(|link| *link += 1);
    }

    /// Makes a changed identity durable, then visible. No batch is being written meanwhile; links of the
    /// epoch before end.
    pub(super) async fn change_identity(
        &self,
        change: impl FnOnce(&View, &mut Identity) -> Result<(), String>,
    ) -> Result<(), String> {
        let _writer = self.writer.lock().await;
        let mut identity = Identity::clone(&self.identity());
        change(&self.view(), &mut identity)?;
        if identity == *self.identity() {
            return Ok(());
        }
        let stored = identity.clone();
        let done = self.engine("identity", move |engine| engine.set_identity(&stored)).await;
        done.map_err(|error| error.to_string())?;
        tracing::info!(epoch = %identity.epoch(), phase = identity.phase.word(), active = identity.active(), "identity changed");
        {
            let mut view = self.view();
            view.identity = Arc::new(identity);
            // A head of the epoch before may have granted leases until now.
            view.leases.wait_until(self.env.now() + LEASES_OVER);
        }
        self.link.send_modify(|link| *link += 1);
        self.ask.notify_one();
        Ok(())
    }

    /// Something that honest disks and one epoch make impossible. Said loudly, once while it lasts, and counted by
    /// the simulator.
    pub(super) fn loud(&self, what: &'static str) {
        let before = self.view().loud.replace(what);
        if before == Some(what) {
            return;
        }
        tracing::error!(target: "kms::probe", name = what, node = %self.config.node_id, "integrity alarm");
    }

    /// Whether an entry from the chain may stand in this log: one that replaces the witness (R17a), or ends the service of a
    /// domain, has the operator's signature.
    pub(super) fn check(&self, entry: &Entry) -> Result<(), String> {
        entry.check(&self.operator, &self.config.region).map_err(|error| {
            self.loud(match error {
                BadEntry::Witness(_) => "loud:witness-without-a-statement",
                BadEntry::Termination(_) => "loud:termination-without-a-statement",
            });
            format!("an entry may not stand here: {error}")
        })
    }

    /// Appends and applies; the entry comes back when it is durable.
    pub(super) async fn append_and_apply(
        &self,
        name: &'static str,
        entry: Entry,
    ) -> Result<Entry, EngineError> {
        self.engine(name, move |engine| engine.append_and_apply(&entry).map(|()| entry)).await
    }

    /// Runs work on the engine where it may block. Any failure but a damaged record ends the incarnation:
    /// the store is closed, opened again, verified.
    pub(super) async fn engine<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Engine) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let result = self.engine.run(&self.env, name, work).await;
        if let Err(error) = &result
            && !matches!(error, EngineError::Damaged)
        {
            self.view().withheld.failed = true;
            // The receiver is gone only if the incarnation is ending already.
            let _ = self.fatal.send(format!("{name}: {error}"));
        }
        result
    }
}

impl Giver for Shared {
    fn env(&self) -> &Env {
        &self.env
    }

    fn limits(&self) -> &Limits {
        &self.config.limits
    }

    fn store_dir(&self) -> PathBuf {
        self.config.data_dir.join(STORE_DIR)
    }

    fn epoch(&self) -> Epoch {
        self.epoch()
    }

    fn envelope(&self, call: u64, body: Body) -> Envelope {
        self.envelope(call, body)
    }

    async fn work<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Engine) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        self.engine(name, work).await
    }
}
