//! A replica's beginning: the records of its source as they are at one position, taken into a store of its own beside the old
//! one, and put in its place when they are all there and read back right.

use super::{
    Node,
    follow::Source,
    kept::{Closing, Kept, Trouble, keep_keyring},
    status::SeedStatus,
};
use crate::{
    env::{Disk, Purpose},
    store::{
        engine::{Engine, EngineError, FILLING_DIR, Filler, RowDigest, discard, promote},
        epoch::{DbId, Epoch, Identity, Phase, Registered},
        held::Held,
        log::Position,
        replacement::Replaced,
        termination::{Ended, Termination, check_row, erase_keys_beside},
    },
    wire::{
        epoch::{FillPart, Signed},
        message::Body,
    },
};
use std::path::Path;
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

/// Takes all of it. The store that was there is put aside, and kept if `keeps_old`.
pub(super) async fn take<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    node: &Node,
    source: &mut Source<'_, R, W>,
    snapshot: Snapshot,
    (kept, closing): (&mut Option<Kept>, &mut Closing),
    keeps_old: bool,
) -> Result<(), Trouble> {
    tracing::info!(at = ?snapshot.at, rows = snapshot.rows, "the replica begins with a snapshot");
    node.desk.note(|status| {
        status.seed = Some(SeedStatus { rows_total: snapshot.rows, ..SeedStatus::default() });
    });
    let done = fill(node, source, snapshot, (kept, closing), keeps_old).await;
    node.desk.note(|status| status.seed = None);
    done
}

async fn fill<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    node: &Node,
    source: &mut Source<'_, R, W>,
    snapshot: Snapshot,
    (kept, closing): (&mut Option<Kept>, &mut Closing),
    keeps_old: bool,
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
        before: None,
    };
    // A fill that broke off may still be at it.
    closing.others().await;
    let (disk, data, keep) =
        (env.disk.clone(), node.config.data_dir.clone(), node.config.limits.log_keep_entries);
    let made = identity.clone();
    let created =
        closing.blocking(env, "seed", move || Engine::create_filling(&*disk, &data, &made, keep)).await;
    let (held, closed) = Held::new(created?);
    let place = closing.other(closed);
    let digest = take_rows(node, source, &held).await?;
    identity.filled = Some(snapshot.at);
    identity.phase = Phase::Replica;
    let (stored, at) = (identity.clone(), snapshot.at);
    let (disk, dir) = (env.disk.clone(), node.config.data_dir.join(FILLING_DIR));
    let filled = held.run(env, "seed", move |engine| {
        // Read back before it counts.
        if engine.digest()? != digest {
            return Err(EngineError::Damaged);
        }
        Filler(engine).begin_log(at)?;
        complete(engine, (&*disk, &dir), &stored)
    });
    let terminated = filled.await?;
    put_in_place(node, (kept, closing), (held, place), (identity, at, terminated), keeps_old).await
}

/// The store that was filled in `dir` is what `identity` says, durably, and has no keys of domains whose service has ended:
/// answers which those are.
pub(super) fn complete(
    engine: &Engine,
    (disk, dir): (&dyn Disk, &Path),
    identity: &Identity,
) -> Result<Vec<Termination>, EngineError> {
    let terminated = engine.terminated()?;
    let ended: Vec<_> = terminated.iter().map(|end| end.domain).collect();
    erase_keys_beside(disk, dir, &ended)?;
    engine.set_identity(identity)?;
    Ok(terminated)
}

/// A store that was filled takes the place of the one that is there, which is kept beside it if `keeps_old`. It goes on open under its new
/// name; the old one goes when its last holder lets go.
pub(super) async fn put_in_place(
    node: &Node,
    (kept, closing): (&mut Option<Kept>, &mut Closing),
    (held, place): (Held, usize),
    (identity, at, terminated): (Identity, Position, Vec<Termination>),
    keeps_old: bool,
) -> Result<(), Trouble> {
    let env = &node.env;
    // Nobody may take the keyring of a directory that moves for the region's.
    node.desk.unshare();
    let old = kept.take().map(|old| (old.identity().db_id, old.epoch().no));
    let (disk, data) = (env.disk.clone(), node.config.data_dir.clone());
    let promoted = closing.blocking(env, "seed", move || {
        let aside = promote(&*disk, &data, old)?;
        match aside {
            // It had nothing that the snapshot has not.
            Some(aside) if !keeps_old => Ok(discard(&*disk, &aside)?),
            _ => Ok(()),
        }
    });
    promoted.await?;
    let mut store = Kept::filled(held, (identity, at), terminated);
    closing.in_use(place);
    store.erase(node).await;
    node.desk.stands(&store);
    node.opened.now(&store);
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
                keep_keyring(node, (&dir, &Ended::default()), keyring).await?;
                for row in &rows {
                    check_row(&row.key, &row.value, &node.operator, &node.config.region)
                        .map_err(|error| Trouble::Source(format!("a row may not stand here: {error}")))?;
                }
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
