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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, watch};

/// A batch that is in the head's log and not confirmed.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) entry: Entry,
    pub(super) changes: BTreeMap<RecordKey, Option<SealedRecord>>,
}

/// The state readers see.
#[derive(Debug)]
pub(super) struct View {
    /// Whether reads are answered (R8): Member and joined, and not stopped by a comparison.
    pub(super) serving: bool,
    /// End of the durable log.
    pub(super) last: Position,
    /// Head: end of what is confirmed. Tail: equals `last`.
    pub(super) confirmed: Position,
    /// Head: the batch in doubt (R1: at most one).
    pub(super) pending: Option<Arc<Pending>>,
    /// Head: link up (R5). For pongs and refusals; no safety rests on it.
    pub(super) writable: bool,
    /// Tail: which link may append (R6). Counts handshakes.
    pub(super) link: u64,
    /// The last loud event, for `kms status`.
    pub(super) loud: Option<&'static str>,
}

/// Everything the tasks of one incarnation of a database share.
pub(super) struct Shared {
    pub(super) env: Env,
    pub(super) config: NodeConfig,
    pub(super) genesis: Genesis,
    pub(super) engine: Arc<Engine>,
    view: Mutex<View>,
    /// Counts confirmations; readers wait on it.
    pub(super) confirmed: watch::Sender<u64>,
    /// One writer at a time (tail appends, copies).
    pub(super) writer: tokio::sync::Mutex<()>,
    /// Ends the incarnation: the store failed and must be opened again.
    pub(super) fatal: mpsc::UnboundedSender<String>,
}

impl Shared {
    pub(super) fn new(
        env: Env,
        config: NodeConfig,
        engine: Engine,
        loaded: &Loaded,
        fatal: mpsc::UnboundedSender<String>,
    ) -> Shared {
        let pending =
            loaded.pending.clone().map(|entry| Arc::new(Pending { changes: entry.changes(), entry }));
        // A Member counts as joined once open; an epoch not known active serves nothing (R8, R10).
        let view = View {
            serving: loaded.epoch_active,
            last: loaded.last,
            confirmed: loaded.confirmed,
            pending,
            writable: false,
            link: 0,
            loud: None,
        };
        assert!(view.confirmed.seq <= view.last.seq, "confirmed <= last");
        Shared {
            env,
            config,
            genesis: loaded.genesis.clone(),
            engine: Arc::new(engine),
            view: Mutex::new(view),
            confirmed: watch::Sender::new(loaded.confirmed.seq),
            writer: tokio::sync::Mutex::new(()),
            fatal,
        }
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
        let engine = self.engine.clone();
        let done = self.env.blocking(name, move || work(&engine)).await;
        let result = done.unwrap_or_else(|_| {
            Err(EngineError::Io(std::io::Error::other(format!("storage panicked in {name}"))))
        });
        if let Err(error) = &result
            && !matches!(error, EngineError::Damaged)
        {
            self.view().serving = false;
            // The receiver is gone only if the incarnation is ending already.
            let _ = self.fatal.send(format!("{name}: {error}"));
        }
        result
    }
}
