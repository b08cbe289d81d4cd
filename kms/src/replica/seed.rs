//! A replica's beginning: the records of its source as they are at one position, taken into a store of its own beside the old
//! one, and put in its place when they are all there and read back right. The old one is kept.

use super::{
    Node,
    follow::Source,
    kept::{Kept, Trouble, keep_keyring},
    status::SeedStatus,
};
use crate::{
    env::{Panicked, Purpose},
    store::{
        engine::{Engine, EngineError, FILLING_DIR, Filler, Loaded, RowDigest, promote},
        epoch::{DbId, Epoch, Identity, Phase, Registered},
        held::{Closed, Held},
        log::Position,
        replacement::Replaced,
    },
    wire::{
        epoch::{FillPart, Signed},
        message::Body,
    },
};
use tokio::io::{AsyncRead, AsyncWrite};

/// What the source says of the snapshot.
pub(super) struct Snapshot {
    pub(super) epoch: Registered,
    pub(super) activation: Signed,
    pub(super) lineage: Vec<(Epoch, Position)>,
    pub(super) replaced: Option<Replaced>,
    pub(super) at: Position,
    pub(super) rows: u64,
}

/// Takes all of it. The store that was there is closed, and put aside.
pub(super) async fn take<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    node: &Node,
    source: &mut Source<'_, R, W>,
    snapshot: Snapshot,
    (kept, closing): (&mut Option<Kept>, &mut Vec<Closed>),
) -> Result<(), Trouble> {
    tracing::info!(at = ?snapshot.at, rows = snapshot.rows, "the replica begins with a snapshot");
    node.desk.note(|status| {
        status.seed = Some(SeedStatus { rows_total: snapshot.rows, ..SeedStatus::default() });
    });
    let done = fill(node, source, snapshot, (kept, closing)).await;
    node.desk.note(|status| status.seed = None);
    done
}

async fn fill<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    node: &Node,
    source: &mut Source<'_, R, W>,
    snapshot: Snapshot,
    (kept, closing): (&mut Option<Kept>, &mut Vec<Closed>),
) -> Result<(), Trouble> {
    let env = &node.env;
    let mut identity = Identity {
        region: node.config.region.clone(),
        db_id: DbId(env.random(Purpose::Public).map_err(|error| Trouble::Disk(error.to_string()))?),
        head: false,
        phase: Phase::Filling,
        epoch: snapshot.epoch,
        activation: Some(snapshot.activation),
        fence: None,
        lineage: snapshot.lineage,
        filled: None,
        alone: Vec::new(),
        replaced: snapshot.replaced,
    };
    let (disk, data, keep) =
        (env.disk.clone(), node.config.data_dir.clone(), node.config.limits.log_keep_entries);
    let made = identity.clone();
    let created = env.blocking("seed", move || Engine::create_filling(&*disk, &data, &made, keep)).await;
    let (held, closed) = Held::new(created.map_err(panicked)??);
    closing.push(closed);
    let digest = take_rows(node, source, &held).await?;
    identity.filled = Some(snapshot.at);
    identity.phase = Phase::Replica;
    let (stored, at) = (identity.clone(), snapshot.at);
    let filled = held.run(env, "seed", move |engine| {
        // Read back what the disk has.
        if engine.digest()? != digest {
            return Err(EngineError::Damaged);
        }
        Filler(engine).begin_log(at)?;
        engine.set_identity(&stored)
    });
    filled.await?;
    // The old store is closed before it is put aside, and so is the new one, to be opened where it stands then.
    let old = kept.take().map(|old| (old.identity().db_id, old.epoch().no));
    drop(held);
    for closed in closing.drain(..) {
        let _ = closed.await;
    }
    let (disk, data) = (env.disk.clone(), node.config.data_dir.clone());
    let opened = env.blocking("seed", move || {
        promote(&*disk, &data, old)?;
        Engine::open(&*disk, &data, keep)
    });
    let opened = opened.await.map_err(panicked)??;
    let (engine, loaded): (Engine, Loaded) =
        opened.ok_or_else(|| Trouble::Disk("own disk: the store is gone".to_owned()))?;
    let (store, closed) = Kept::new(engine, loaded);
    closing.push(closed);
    node.desk.stands(&store);
    let records = store.records(node).await;
    tracing::info!(last = ?store.last(), records, "the replica has its snapshot");
    *kept = Some(store);
    Ok(())
}

/// Takes the parts until the end; their digest is the source's.
async fn take_rows<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    node: &Node,
    source: &mut Source<'_, R, W>,
    held: &Held,
) -> Result<[u8; 32], Trouble> {
    let dir = node.config.data_dir.join(FILLING_DIR);
    let mut digest = RowDigest::default();
    loop {
        match source.next().await.map_err(Trouble::Source)? {
            Body::FillPart(FillPart { rows, keyring, .. }) => {
                keep_keyring(node, &dir, keyring).await?;
                let rows: Vec<_> = rows.into_iter().map(|row| (row.key, row.value)).collect();
                let (count, bytes) =
                    (rows.len() as u64, rows.iter().map(|(key, row)| (key.len() + row.len()) as u64).sum());
                let taken = held.run(&node.env, "seed", move |engine| {
                    for (key, row) in &rows {
                        digest.add(key, row);
                    }
                    if !rows.is_empty() {
                        Filler(engine).rows(&rows)?;
                    }
                    Ok(digest)
                });
                digest = taken.await?;
                node.desk.note(|status| {
                    if let Some(seed) = &mut status.seed {
                        seed.rows += count;
                        let more: u64 = bytes;
                        seed.bytes += more;
                    }
                });
            }
            Body::FillEnd(end) => {
                let digest = digest.finish();
                return if end.digest == digest {
                    Ok(digest)
                } else {
                    Err(Trouble::Source("the rows taken are not those the source has".to_owned()))
                };
            }
            _ => {
                let what = "the source sent something else than a part of a snapshot";
                return Err(Trouble::Source(what.to_owned()));
            }
        }
    }
}

fn panicked(_: Panicked) -> Trouble {
    Trouble::Disk("own disk: panicked".to_owned())
}
