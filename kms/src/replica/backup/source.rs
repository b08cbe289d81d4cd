//! What a replica's backups are made of: its own store, standing still at one position while the log goes on.

use super::{Keys, Origin, Stood, anchor::Logged};
use crate::{
    backup::{Lineage, Source, SourceError, Standing},
    env::{BoxFuture, Mono},
    limits::FILL_PART_BYTES,
    replica::{
        Node,
        kept::{keyring, storage},
    },
    store::{
        engine::{EngineError, FillRow, Snapshot},
        epoch::{Identity, Phase},
        held::Held,
        log::Position,
    },
};
use std::sync::Arc;

/// The replica as what backups come from.
pub(super) struct Replica(pub(super) Arc<Node>);

/// A view of the store. The snapshot goes before the share in the store: not after the store is closed.
struct View {
    node: Arc<Node>,
    snapshot: Arc<Snapshot>,
    held: Held,
    standing: Standing,
}

impl Clone for View {
    fn clone(&self) -> View {
        let (node, snapshot) = (self.node.clone(), self.snapshot.clone());
        View { node, snapshot, held: self.held.clone(), standing: self.standing.clone() }
    }
}

fn standing(node: &Node, identity: &Identity, position: Position, newest_ms: u64, since: Mono) -> Standing {
    Standing {
        lineage: Lineage {
            epoch: identity.epoch.signed.clone(),
            activation: identity.activation.clone(),
            witness: identity.replaced.as_ref().map(|replaced| replaced.signed.clone()),
            epochs: identity.lineage.clone(),
        },
        position,
        newest_ms,
        since: Some(since),
        made_at: node.config.place.clone().unwrap_or_default(),
    }
}

impl Replica {
    fn failed(&self, error: EngineError) -> String {
        failed(&self.0, error)
    }

    async fn stand(&self) -> Result<Stood, String> {
        let node = &self.0;
        let since = node.env.now();
        let (mark, held) = node.desk.shared();
        let held = held.ok_or("the replica has nothing that may be backed up: see its phase")?;
        let taken = held.run(&node.env, "backup", |engine| {
            let snapshot = engine.snapshot()?;
            // As it is now: an epoch that begins after the snapshot may be in it.
            let identity = engine.identity()?;
            let newest_ms = engine.made_ms(snapshot.at())?;
            Ok((snapshot, identity, newest_ms))
        });
        let (snapshot, identity, newest_ms) = taken.await.map_err(|error| self.failed(error))?;
        let (snapshot, epoch) = (Arc::new(snapshot), identity.epoch());
        let standing = standing(node, &identity, snapshot.at(), newest_ms, since);
        let view = View { node: node.clone(), snapshot, held, standing };
        if identity.phase != Phase::Replica || !identity.active() {
            return Err(format!("epoch {epoch} is not known to be active"));
        }
        if node.desk.newest() > epoch.no {
            return Err(format!("the replica is in epoch {epoch}, and the witness knows a newer one"));
        }
        // After the snapshot: the keys of all domains that it has records of are here.
        let sealed = keyring(node).await?;
        // After the keys: of one that has been erased it is known why.
        let ended = view.held.run(&node.env, "backup", |engine| engine.termination_statements());
        let ended = ended.await.map_err(|error| self.failed(error))?.into_iter().collect();
        let keys = Keys { sealed, ended, operator: node.operator };
        // The directory may have been another one's, or none, while its place was taken.
        if node.desk.shared().0 != mark {
            return Err("the replica's store is being replaced".to_owned());
        }
        Ok(Stood { sources: Box::new(move || Box::new(view.clone())), keys: Arc::new(keys), mark })
    }
}

impl Replica {
    async fn log(&self, after: Option<(u64, Position)>) -> Option<Logged> {
        let node = &self.0;
        let (mark, held) = node.desk.shared();
        let (held, after) = (held?, after.filter(|(of, _)| *of == mark).map(|(_, at)| at));
        // In one store's log a number is one entry.
        if let Some(end) = after.filter(|at| node.desk.last() == at.seq) {
            return Some(Logged { mark, end, entries: Vec::new() });
        }
        let read = held.run(&node.env, "anchors", move |engine| {
            let from = after.map_or_else(|| engine.base(), Ok)?;
            let (ours, entries) = engine.entries_from(from, FILL_PART_BYTES)?;
            if ours == Some(from) {
                return Ok((from, entries));
            }
            // The log has gone on without us.
            let base = engine.base()?;
            Ok((base, engine.entries_from(base, FILL_PART_BYTES)?.1))
        });
        let (from, entries) = read.await.map_err(|error| self.failed(error)).ok()?;
        let end = entries.last().map_or(from, |entry| entry.position);
        Some(Logged { mark, end, entries })
    }
}

/// In words; a store that failed is to be opened again.
fn failed(node: &Node, error: EngineError) -> String {
    if !matches!(error, EngineError::Damaged) {
        node.broken.notify_one();
        return storage(error);
    }
    "a record of the replica is damaged: `kms replica reseed` makes it anew".to_owned()
}

impl Origin for Replica {
    fn stand(&self) -> BoxFuture<'_, Result<Stood, String>> {
        Box::pin(Replica::stand(self))
    }

    fn log(&self, after: Option<(u64, Position)>) -> BoxFuture<'_, Option<Logged>> {
        Box::pin(Replica::log(self, after))
    }

    fn gone(&self, mark: u64) -> BoxFuture<'_, ()> {
        Box::pin(self.0.desk.replaced(mark))
    }

    fn keys_gone(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.desk.keys_gone.notified())
    }
}

impl Source for View {
    fn standing(&self) -> Standing {
        self.standing.clone()
    }

    fn rows<'a>(&'a mut self, after: Option<&'a [u8]>) -> BoxFuture<'a, Result<Vec<FillRow>, SourceError>> {
        let (snapshot, after) = (self.snapshot.clone(), after.map(<[u8]>::to_vec));
        Box::pin(async move {
            let read = move |_: &_| snapshot.rows_after(after.as_deref(), FILL_PART_BYTES);
            let rows = self.held.run(&self.node.env, "backup", read).await;
            rows.map_err(|error| SourceError(failed(&self.node, error)))
        })
    }

    fn entries(&mut self, after: Position) -> BoxFuture<'_, Result<Option<Vec<Vec<u8>>>, SourceError>> {
        Box::pin(async move {
            let read = self
                .held
                .run(&self.node.env, "backup", move |engine| engine.entries_from(after, FILL_PART_BYTES));
            let (ours, entries) = read.await.map_err(|error| SourceError(failed(&self.node, error)))?;
            let bytes = || entries.into_iter().map(|entry| entry.bytes).collect();
            Ok((ours == Some(after)).then(bytes))
        })
    }
}
