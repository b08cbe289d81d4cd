//! Tombstones on their way to the backup stores: soon after an entry that ends records is durable here, an anchor of it is in each store,
//! whatever becomes of backups. What is to be put is read from the replica's own log, from its beginning at each start: what a store
//! already has is left out, so nothing is forgotten that the log still keeps.

use super::{Origin, store::Keeper};
use crate::{
    backup::{Anchor, BackupPlace, EntryId, Name},
    env::Mono,
    limits::{BACKUP_KEEP_MS, ms},
    store::log::{Entry, Position},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    time::Duration,
};

/// How often it is looked whether there is something new.
const LOOK: Duration = ms(500);
/// First pause after an anchor that could not be put; doubled up to [`RETRY_MAX`].
const RETRY: Duration = ms(1_000);
/// See [`RETRY`].
const RETRY_MAX: Duration = ms(5_000);
/// No backup is of before an entry that is older than this: it needs no anchor any more.
const WANTED_MS: u64 = BACKUP_KEEP_MS + 2 * 86_400_000;

/// Some of a log.
pub(super) struct Logged {
    /// Names what they are from: of another store everything is looked at again.
    pub(super) mark: u64,
    /// Where they end.
    pub(super) end: Position,
    /// In order.
    pub(super) entries: Vec<Entry>,
}

/// What one store has and is to have.
struct Due {
    /// Up to where the log was looked at, and which log.
    at: Option<(u64, Position)>,
    waiting: BTreeMap<(u64, EntryId), Anchor>,
    /// What the store has; `None`: that is not known.
    there: Option<BTreeSet<(u64, EntryId)>>,
    again: Mono,
    pause: Duration,
}

/// Sees to the anchors of one store until it is dropped.
pub(super) async fn keep(keeper: &Keeper, origin: &dyn Origin) -> Infallible {
    let env = keeper.env();
    let mut due = Due { at: None, waiting: BTreeMap::new(), there: None, again: env.now(), pause: RETRY };
    loop {
        while let Some(Logged { mark, end, entries }) = origin.log(due.at).await {
            let over = entries.is_empty();
            due.at = Some((mark, end));
            let oldest = env.wall_ms().saturating_sub(WANTED_MS);
            let wanted = |entry: &&Entry| entry.at_ms == 0 || entry.at_ms >= oldest;
            let anchors = entries.iter().filter(wanted).filter_map(Anchor::of);
            due.waiting.extend(anchors.map(|anchor| (anchor.id(), anchor)));
            if over {
                break;
            }
        }
        if !due.waiting.is_empty() && due.again <= env.now() {
            let trouble = put(keeper, &mut due).await.err();
            due.pause = if trouble.is_some() { due.pause } else { RETRY };
            if trouble.is_some() {
                due.again = env.now() + due.pause;
                due.pause = (due.pause * 2).min(RETRY_MAX);
            }
            let left = due.waiting.len();
            keeper
                .unanchored(trouble.map(|why| format!("{left} tombstones are not in the store yet: {why}")));
        }
        env.sleep(LOOK).await;
    }
}

/// Puts what is waiting, the oldest first.
async fn put(keeper: &Keeper, due: &mut Due) -> Result<(), String> {
    let place: BackupPlace = keeper.beside().await.map_err(|error| error.to_string())?;
    // What is deleted there must be gone.
    if let Some(why) = place.keeps().await.map_err(|error| error.to_string())? {
        return Err(format!("the store is not used: {why}"));
    }
    let there = match &mut due.there {
        Some(there) => there,
        unknown => {
            let listed = place.anchors().await.map_err(|error| error.to_string())?;
            let id = |name| if let Name::Anchor(_, seq, id) = name { Some((seq, id)) } else { None };
            unknown.insert(listed.into_iter().filter_map(id).collect())
        }
    };
    while let Some(first) = due.waiting.first_entry() {
        if !there.contains(first.key()) {
            place.put_anchor(first.get()).await.map_err(|error| error.to_string())?;
            tracing::info!(store = keeper.region(), seq = first.key().0, "tombstones are anchored");
            there.insert(*first.key());
        }
        first.remove();
    }
    Ok(())
}
