//! What a replica says of itself, and how old what it has may be at most.

use super::{BackupStatus, Node, kept::Kept};
use crate::{
    env::{Env, Mono, Purpose},
    store::{epoch::DbId, held::Held, log::Position, termination::TerminatedStatus},
};
use serde::{Deserialize, Serialize};
use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

/// What `kms status` shows of a replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaStatus {
    /// Node id.
    pub node: String,
    /// Names this start of the process, hex.
    pub start: String,
    /// Region it stands in.
    pub place: String,
    /// `blank`, `replica`, `diverged` (its log is not the region's: a person decides) or `failed`.
    pub phase: String,
    /// Epoch it follows, number and id.
    pub epoch: String,
    /// Number of that epoch.
    pub epoch_no: u64,
    /// Id of that epoch, hex.
    pub epoch_id: String,
    /// Whether the epoch is known to be active; if not, the region is being made anew from this replica.
    pub active: bool,
    /// Whether the fence of that epoch is stored here.
    pub fenced: bool,
    /// Id of its store, hex.
    pub db_id: String,
    /// End of its log.
    pub last: u64,
    /// History hash there, hex.
    pub hash: String,
    /// End of what its source knows to be committed, as last heard.
    pub source_last: u64,
    /// Zone of the database it follows; none while it follows nobody.
    pub source: Option<String>,
    /// All that was acknowledged longer ago than this is here, milliseconds; none if it never caught up since its start.
    pub lag_ms: Option<u64>,
    /// A snapshot that is being taken.
    pub seed: Option<SeedStatus>,
    /// What was read of tombstones when it began with a backup, since its start.
    pub tombstones: Option<Tombstones>,
    /// Why it does not follow at the moment.
    pub trouble: Option<String>,
    /// The domains whose service has ended, and whether their keys are gone from this disk.
    pub terminated: Vec<TerminatedStatus>,
    /// The stores that it puts backups in; none: it makes no backups.
    pub backups: Vec<BackupStatus>,
}

/// The tombstones that were put over a backup: keys that were destroyed stay destroyed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tombstones {
    /// Anchors read, of all stores.
    pub anchors: u64,
    /// Destroyed keys that the backup had not as destroyed.
    pub changed: u64,
    /// Position of the newest entry that is not in the backup and has an anchor; 0: none is known.
    pub newest_seq: u64,
    /// When that was written, by the head's clock, Unix milliseconds; 0: not known.
    pub newest_ms: u64,
    /// What could not be read, and why: keys that were destroyed may be back.
    pub unread: Vec<String>,
    /// Domains of which there are records and no store has the key: nothing opens those records.
    pub keyless: Vec<Uuid>,
}

/// How far a snapshot is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeedStatus {
    /// Rows taken.
    pub rows: u64,
    /// Rows there are.
    pub rows_total: u64,
    /// Bytes of rows taken.
    pub bytes: u64,
}

/// What changes of it, as the follower knows it.
#[derive(Default)]
struct State {
    status: ReplicaStatus,
    /// All that was committed at this time is here.
    caught_up: Option<Mono>,
    /// Number of the newest epoch that the witness is known to call active.
    newest: u64,
}

/// The store that backups may be made from, with a number that rises with each change.
type Shared = (u64, Option<(DbId, Held)>);

/// Where the follower leaves what people may ask, and backups are made from.
pub(super) struct Desk {
    env: Env,
    state: Mutex<State>,
    shared: watch::Sender<Shared>,
    /// Rung when the keys of domains are gone from this disk: they are to go from the backup stores.
    pub(super) keys_gone: Notify,
}

impl Desk {
    /// # Errors
    /// When there is no randomness to be had.
    pub(super) fn new(env: &Env) -> io::Result<Desk> {
        let start: [u8; 16] = env.random(Purpose::Public)?;
        let (phase, start) = ("blank".to_owned(), hex::encode(start));
        let status = ReplicaStatus { phase, start, ..ReplicaStatus::default() };
        let state = Mutex::new(State { status, caught_up: None, newest: 0 });
        let (shared, keys_gone) = (watch::Sender::new((0, None)), Notify::new());
        Ok(Desk { env: env.clone(), state, shared, keys_gone })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is shown.
    pub(super) fn note(&self, change: impl FnOnce(&mut ReplicaStatus)) {
        change(&mut self.state().status);
    }

    /// Shows where the store stands.
    pub(super) fn stands(&self, kept: &Kept) {
        let (identity, last) = (kept.identity(), kept.last());
        self.shared.send_if_modified(|(number, shared)| {
            if shared.as_ref().is_some_and(|(id, _)| *id == identity.db_id) {
                return false;
            }
            (*number, *shared) = (*number + 1, Some((identity.db_id, kept.share())));
            true
        });
        self.note(|status| {
            identity.phase.word().clone_into(&mut status.phase);
            status.epoch = identity.epoch().to_string();
            status.epoch_no = identity.epoch().no;
            status.epoch_id = hex::encode(identity.epoch().id);
            (status.active, status.fenced) = (identity.active(), identity.fence.is_some());
            status.db_id = identity.db_id.to_string();
            (status.last, status.hash) = (last.seq, hex::encode(last.hash));
            status.terminated = kept.ended().status();
        });
    }

    /// Nothing may be backed up any more, and who does lets go of the store: it is to be closed, put aside, or not trusted.
    pub(super) fn unshare(&self) {
        self.shared.send_if_modified(|(number, shared)| {
            *number += u64::from(shared.is_some());
            shared.take().is_some()
        });
    }

    /// The store that may be backed up, with a number that names it.
    pub(super) fn shared(&self) -> (u64, Option<Held>) {
        let shared = self.shared.borrow();
        (shared.0, shared.1.as_ref().map(|(_, held)| held.clone()))
    }

    /// Done when the store of that number is not to be backed up any more.
    pub(super) async fn replaced(&self, number: u64) {
        // The sender is here: it cannot be gone.
        let _ = self.shared.subscribe().wait_for(|(now, _)| *now != number).await;
    }

    /// Number of the epoch that is followed; none without a store.
    pub(super) fn epoch_no(&self) -> Option<u64> {
        Some(self.state().status.epoch_no).filter(|no| *no > 0)
    }

    /// End of the log, as last shown.
    pub(super) fn last(&self) -> u64 {
        self.state().status.last
    }

    /// The witness calls epoch `no` active.
    pub(super) fn active(&self, no: u64) {
        let mut state = self.state();
        state.newest = state.newest.max(no);
    }

    /// Number of the newest epoch that is known to be active; 0 if none is.
    pub(super) fn newest(&self) -> u64 {
        self.state().newest
    }

    /// The source said, after `asked`, that its log ends at `end`; this one ends at `last`.
    pub(super) fn heard(&self, asked: Mono, end: u64, last: Position) {
        let mut state = self.state();
        state.status.source_last = end;
        // A source of the past has all of the past.
        if last.seq >= end && state.status.epoch_no >= state.newest {
            state.caught_up = Some(asked);
        }
    }
}

impl Node {
    /// For people.
    pub(super) fn status(&self) -> ReplicaStatus {
        let state = self.desk.state();
        let mut status = state.status.clone();
        let lag = state.caught_up.map(|at| self.desk.env.now().since(at).as_millis());
        drop(state);
        status.lag_ms = lag.map(|lag| u64::try_from(lag).unwrap_or(u64::MAX));
        let ended: Vec<_> = status.terminated.iter().map(|ended| ended.domain).collect();
        status.backups = self.backups.as_ref().map(|backups| backups.status(&ended)).unwrap_or_default();
        status.node.clone_from(&self.config.node_id);
        status.place = self.config.place.clone().unwrap_or_default();
        status
    }
}
