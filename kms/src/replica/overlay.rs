//! What was ended for good, over a backup. Tombstones (G12): the anchors of all stores, read and put over what the backup has, so that a
//! key that was destroyed after the backup was made stays destroyed. A store that cannot be read is told of: the other one has the same,
//! unless it was away. And the ends of domains' service (G14), as the operator's statements beside the backups say.

use super::{Node, kept::Trouble, status::Tombstones};
use crate::{
    backup::{Anchor, BackupPlace, Manifest, Name, ReadError, newest_anchor},
    record::RecordKey,
    store::{
        engine::{Engine, EngineError, FillRow, Filler},
        held::Held,
        row,
        termination::{Termination, is_termination, termination_key, termination_record},
    },
};
use futures_util::{StreamExt, stream};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Anchors read at a time.
const AT_ONCE: usize = 16;

/// Each store that the configuration names; what cannot be used goes to `troubles`: the other one may have all that is wanted.
pub(super) async fn stores(node: &Node, troubles: &mut Vec<String>) -> Vec<BackupPlace> {
    let mut places = Vec::new();
    let Some(backups) = node.backups.as_ref() else { return places };
    for (region, place) in backups.each().await {
        match place {
            Ok(place) => places.push(place),
            Err(why) => troubles.push(format!("the backup store in {region} cannot be used: {why}")),
        }
    }
    places
}

/// As [`stores`], but for the one that a backup was `chosen` from: that one must answer, and these may.
pub(super) async fn others(
    node: &Node,
    chosen: &BackupPlace,
    troubles: &mut Vec<String>,
) -> Vec<BackupPlace> {
    let mut places = stores(node, troubles).await;
    places.retain(|place| place.place() != chosen.place());
    places
}

/// Whether one is newer than another.
fn newer(one: &Anchor, than: Option<&Anchor>) -> bool {
    let place = |anchor: &Anchor| (anchor.epoch.no, anchor.position.seq);
    than.is_none_or(|other| place(one) > place(other))
}

/// The newest anchor of any store whose entry a backup has not.
pub(super) async fn newest_beyond(node: &Node, manifest: &Manifest) -> Option<Anchor> {
    let (mut newest, mut unread) = (None, Vec::new());
    for place in stores(node, &mut unread).await {
        match newest_of(&place).await {
            Ok(Some(anchor)) if newer(&anchor, newest.as_ref()) => newest = Some(anchor),
            Ok(_) => {}
            Err(error) => unread.push(error.to_string()),
        }
    }
    for why in unread {
        tracing::warn!(%why, "anchors cannot be read");
    }
    newest.filter(|anchor| !anchor.is_in(&manifest.lineage.epochs, manifest.position))
}

async fn newest_of(place: &BackupPlace) -> Result<Option<Anchor>, ReadError> {
    match newest_anchor(&place.anchors().await?) {
        Some(name) => place.anchor(name).await.map(Some),
        None => Ok(None),
    }
}

/// Everything that is read.
#[derive(Default)]
struct Read {
    status: Tombstones,
    newest: Option<Anchor>,
    /// By epoch and position: the last one counts.
    rows: BTreeMap<(u64, u64), Vec<FillRow>>,
}

impl Read {
    async fn all_of(&mut self, place: &BackupPlace, manifest: &Manifest) -> Result<(), ReadError> {
        let names: Vec<Name> = place.anchors().await?;
        let mut read = stream::iter(names).map(|name| place.anchor(name)).buffered(AT_ONCE);
        while let Some(anchor) = read.next().await {
            match anchor {
                Ok(anchor) => self.take(anchor, manifest),
                Err(error) if error.is_of_backup() => self.status.unread.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(&mut self, anchor: Anchor, manifest: &Manifest) {
        self.status.anchors += 1;
        self.rows.insert((anchor.epoch.no, anchor.position.seq), anchor.tombstones.clone());
        let beyond = !anchor.is_in(&manifest.lineage.epochs, manifest.position);
        if beyond && newer(&anchor, self.newest.as_ref()) {
            self.newest = Some(Anchor { tombstones: Vec::new(), ..anchor });
        }
    }
}

/// Puts every tombstone that any store has an anchor of over the rows of a backup that is being taken.
pub(super) async fn put_tombstones(
    node: &Node,
    (chosen, manifest): (&BackupPlace, &Manifest),
    held: &Held,
) -> Result<Tombstones, Trouble> {
    let mut read = Read::default();
    let places = others(node, chosen, &mut read.status.unread).await;
    let done = read.all_of(chosen, manifest).await;
    done.map_err(|error| Trouble::Source(format!("the anchors of tombstones: {error}")))?;
    for place in places {
        if let Err(error) = read.all_of(&place, manifest).await {
            read.status.unread.push(format!("the anchors in {}: {error}", place.place()));
        }
    }
    let Read { mut status, newest, rows } = read;
    status.changed = held.run(&node.env, "load", move |engine| overlay(engine, rows)).await?;
    if let Some(newest) = newest {
        (status.newest_seq, status.newest_ms) = (newest.position.seq, newest.at_ms);
    }
    for why in &status.unread {
        tracing::warn!(%why, "anchors cannot be read: keys that were destroyed may be back");
    }
    let Tombstones { anchors, changed, .. } = status;
    tracing::info!(anchors, changed, "keys that were destroyed after the backup was made stay destroyed");
    Ok(status)
}

/// Nothing leads back from a tombstone, so whatever stands there goes. Answers how many records are others now.
fn overlay(engine: &Engine, rows: BTreeMap<(u64, u64), Vec<FillRow>>) -> Result<u64, EngineError> {
    // The ends of domains have the operator's signature, and do not come this way.
    let rows = rows.into_values().flatten().filter(|(key, _)| !is_termination(key));
    let last: BTreeMap<Vec<u8>, Vec<u8>> = rows.collect();
    let mut changed = Vec::new();
    for (key, stored) in last {
        let key = RecordKey(key);
        let before = engine.get(&key)?.map(|record| row::encode(&key, &record));
        if before.as_ref() != Some(&stored) {
            changed.push((key.0, stored));
        }
    }
    Filler(engine).rows(&changed)?;
    Ok(changed.len() as u64)
}

/// The records of the ends of domains' service, but for those that are there: the region knows then what it has to refuse, and which
/// keys have to go from wherever they come back. Answers all that there are then.
pub(super) fn put_ends(
    engine: &Engine,
    statements: BTreeMap<Uuid, Vec<u8>>,
) -> Result<Vec<Termination>, EngineError> {
    let mut rows = Vec::new();
    for (domain, statement) in statements {
        let key = termination_key(domain);
        if engine.get(&key)?.is_none() {
            rows.push((key.0.clone(), row::encode(&key, &termination_record(statement))));
        }
    }
    Filler(engine).rows(&rows)?;
    engine.terminated()
}
