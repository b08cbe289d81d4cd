//! What the tasks of one database share: identity, engine, and the part of the state that readers need.
//! The lock is held for moments, never across an await.

use crate::{
    config::NodeConfig,
    env::Env,
    record::{RecordKey, SealedRecord},
    store::{
        Genesis,
        engine::{Engine, EngineError, Loaded},
        log::{Entry, Position},
    },
    wire::message::{Body, ENVELOPE_VERSION, Envelope},
};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, oneshot, watch};

/// A batch that is in the head's log and not confirmed.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) entry: Entry,
    pub(super) changes: BTreeMap<RecordKey, Option<SealedRecord>>,
}

/// Why a member does not serve. Each reason is lifted by what gave it, and by nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Withheld {
    /// The epoch is not known active (R8, R10).
    pub(super) epoch: bool,
    /// This log lacks synced entries that the peer has (R6); ends when it has them again.
    pub(super) behind: bool,
    /// This log and the peer's are not one history. For good.
    pub(super) diverged: bool,
    /// The store failed; ends with this incarnation.
    pub(super) failed: bool,
}

/// The state readers see.
#[derive(Debug)]
pub(super) struct View {
    /// Whether reads are answered (R8): Member and joined, and nothing withholds it.
    pub(super) withheld: Withheld,
    /// End of the durable log.
    pub(super) last: Position,
    /// Head: end of what is confirmed. Tail: equals `last`.
    pub(super) confirmed: Position,
    /// Head: the batch in doubt (R1: at most one).
    pub(super) pending: Option<Arc<Pending>>,
    /// Head: link up (R5). For pongs and refusals; no safety rests on it.
    pub(super) writable: bool,
    /// Tail: how far the head says it has confirmed. An attempt above it is not acknowledged (R3), whoever
    /// asks.
    pub(super) head_confirmed: u64,
    /// The last loud event, for `kms status`.
    pub(super) loud: Option<&'static str>,
}

impl View {
    /// Whether reads are answered (R8).
    pub(super) fn serving(&self) -> bool {
        let Withheld { epoch, behind, diverged, failed } = self.withheld;
        !(epoch || behind || diverged || failed)
    }
}

/// An open store. `_closed` goes after it: its receiver ends when the last holder, work on a blocking thread included, has let
/// go and the file is closed.
struct Open {
    engine: Engine,
    _closed: oneshot::Sender<Infallible>,
}

/// Everything the tasks of one incarnation of a database share.
pub(super) struct Shared {
    pub(super) env: Env,
    pub(super) config: NodeConfig,
    pub(super) genesis: Genesis,
    engine: Arc<Open>,
    view: Mutex<View>,
    /// Counts confirmations; readers wait on it.
    pub(super) confirmed: watch::Sender<u64>,
    /// Tail: which link may append (R6). Counts handshakes; an older link ends when it changes.
    pub(super) link: watch::Sender<u64>,
    /// One writer at a time (tail appends, copies).
    pub(super) writer: tokio::sync::Mutex<()>,
    /// Ends the incarnation: the store failed and must be opened again.
    pub(super) fatal: mpsc::UnboundedSender<String>,
}

impl Shared {
    /// The receiver ends when the store is closed: not before may it be opened again.
    pub(super) fn new(
        env: Env,
        config: NodeConfig,
        engine: Engine,
        loaded: &Loaded,
        fatal: mpsc::UnboundedSender<String>,
    ) -> (Shared, oneshot::Receiver<Infallible>) {
        let pending =
            loaded.pending.clone().map(|entry| Arc::new(Pending { changes: entry.changes(), entry }));
        // A Member counts as joined once open; an epoch not known active serves nothing (R8, R10).
        let view = View {
            withheld: Withheld { epoch: !loaded.epoch_active, ..Withheld::default() },
            last: loaded.last,
            confirmed: loaded.confirmed,
            pending,
            writable: false,
            head_confirmed: 0,
            loud: None,
        };
        assert!(view.confirmed.seq <= view.last.seq, "confirmed <= last");
        let (open, closed) = oneshot::channel();
        let shared = Shared {
            env,
            config,
            genesis: loaded.genesis.clone(),
            engine: Arc::new(Open { engine, _closed: open }),
            view: Mutex::new(view),
            confirmed: watch::Sender::new(loaded.confirmed.seq),
            link: watch::Sender::new(0),
            writer: tokio::sync::Mutex::new(()),
            fatal,
        };
        (shared, closed)
    }

    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch of this store.
    pub(super) fn epoch(&self) -> (u64, [u8; 16]) {
        (self.genesis.epoch_no, self.genesis.epoch_id)
    }

    /// A message of this database: region, epoch, and how far the committed log is known to reach.
    pub(super) fn envelope(&self, call: u64, body: Body) -> Envelope {
        let seen = self.view().confirmed.seq;
        Envelope {
            version: ENVELOPE_VERSION,
            region: self.genesis.region.clone(),
            epoch_no: self.genesis.epoch_no,
            epoch_id: self.genesis.epoch_id.to_vec(),
            call,
            seen,
            body: Some(body),
        }
    }

    /// Whether a message of the peer belongs to this region and this very epoch.
    pub(super) fn same_epoch(&self, envelope: &Envelope) -> bool {
        envelope.region == self.genesis.region
            && envelope.epoch_no == self.genesis.epoch_no
            && envelope.epoch_id == self.genesis.epoch_id
    }

    /// Something that honest disks and one epoch make impossible. Said loudly, counted by the simulator.
    pub(super) fn loud(&self, what: &'static str) {
        tracing::error!(target: "kms::probe", name = what, node = %self.config.node_id, "integrity alarm");
        self.view().loud = Some(what);
    }

    /// Runs work on the engine where it may block. Any failure but a damaged record ends the incarnation:
    /// the store is closed, opened again, verified.
    pub(super) async fn engine<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Engine) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let open = self.engine.clone();
        let done = self.env.blocking(name, move || work(&open.engine)).await;
        let result = done.unwrap_or_else(|_| {
            Err(EngineError::Io(std::io::Error::other(format!("storage panicked in {name}"))))
        });
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
