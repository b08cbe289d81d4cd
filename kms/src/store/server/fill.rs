//! A fill (R14): the source sends its records as they are at its confirmed position, its keyring, and every
//! entry above; the target takes them into a new store beside whatever it has, and serves nothing of it. A
//! database of the epoch before, whose log is a beginning of the source's, takes the entries alone.

use super::{
    connection::Node,
    directory::{Filled, InFilling},
    status::FillStatus,
    view::Shared,
};
use crate::{
    config::Zone,
    limits::{BATCH_MAX_BYTES, ms},
    store::{
        backoff::Backoff,
        engine::{Engine, EngineError, FILLING_DIR, Filler, KEYRING_DIR, Loaded, RowDigest},
        epoch::{DbId, Identity, Phase, Registered, lineage_in, lineage_out},
        giving::{Keys, PATIENCE, give_keyring, give_rows, say},
        log::{Entry, Position},
        termination::{check_row, erase_keys_beside},
    },
    wire::{
        epoch as wire,
        frame::{self, FrameReader},
        message::{Body, ENVELOPE_VERSION, Envelope},
        tls::{Expected, PeerRole},
    },
};
use futures_util::future::join;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};

/// The store of a node that is being filled, or was and waits for its epoch to become active.
#[derive(Default)]
pub(super) struct Filling(Mutex<State>);

#[derive(Default)]
struct State {
    /// What was ordered.
    epoch: Option<Registered>,
    /// Ends the fill when it is dropped.
    task: Option<crate::env::Task<()>>,
    progress: FillStatus,
    /// The filled store, open.
    filled: Option<(Filled, Loaded)>,
    /// It is being put in its place.
    taken: bool,
}

impl Filling {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A store that was found filled when the process started.
    pub(super) fn found(&self, filled: Filled, loaded: Loaded) {
        let mut state = self.state();
        state.epoch = Some(loaded.identity.epoch.clone());
        state.progress = complete(&loaded);
        state.filled = Some((filled, loaded));
    }

    /// For people.
    pub(super) fn status(&self) -> Option<FillStatus> {
        let state = self.state();
        state.epoch.as_ref().map(|_| state.progress.clone())
    }

    /// The epoch of the filled store.
    pub(super) fn waits_for(&self) -> Option<Registered> {
        let state = self.state();
        state.filled.as_ref().and(state.epoch.clone())
    }

    /// Takes the filled store out, if it is of `epoch`.
    pub(super) fn take(&self, epoch: &Registered) -> Option<(Filled, Loaded)> {
        let mut state = self.state();
        let taken = state.filled.take_if(|(_, loaded)| loaded.identity.epoch == *epoch);
        // How far it is stands until it is in its place: whoever asks meanwhile is not to take the database for a blank one.
        state.taken |= taken.is_some();
        taken
    }

    /// What was taken is in its place, or is found by whoever opens the directory.
    pub(super) fn forget_taken(&self) {
        let mut state = self.state();
        if state.taken {
            *state = State::default();
        }
    }

    /// Forgets what was ordered; a fill under way ends, a filled store is closed.
    pub(super) fn clear(&self) {
        let old = std::mem::take(&mut *self.state());
        drop(old);
    }

    fn note(&self, change: impl FnOnce(&mut FillStatus)) {
        change(&mut self.state().progress);
    }
}

fn complete(loaded: &Loaded) -> FillStatus {
    FillStatus {
        epoch: loaded.identity.epoch().to_string(),
        db_id: loaded.identity.db_id.to_string(),
        filled: true,
        last: loaded.last.seq,
        hash: hex::encode(loaded.last.hash),
        ..FillStatus::default()
    }
}

/// Begins to fill a new store, unless that is under way or done.
pub(super) fn begin(node: &Arc<Node>, epoch: &Registered, (head, target): (bool, DbId)) {
    let mut state = node.filling.state();
    if state.epoch.as_ref() == Some(epoch) {
        return;
    }
    *state = State { epoch: Some(epoch.clone()), ..State::default() };
    state.progress.epoch = epoch.record.epoch.to_string();
    state.progress.db_id = target.to_string();
    let work = keep_filling(node.clone(), epoch.clone(), (head, target));
    state.task = Some(node.env.spawn("fill", work).abort_on_drop());
}

/// Tries until it is done: whatever breaks, it starts over.
async fn keep_filling(node: Arc<Node>, epoch: Registered, as_whom: (bool, DbId)) {
    let mut backoff = Backoff::new(&node.config.limits);
    loop {
        let before = node.env.now();
        // Work of a fill that was given up may still be at it.
        let right = node.directory.filling().await;
        match fill(&node, &epoch, as_whom, right).await {
            Ok((filled, loaded)) => {
                tracing::info!(epoch = %epoch.record.epoch, last = ?loaded.last, "filled; waiting for the epoch to become active");
                let mut state = node.filling.state();
                if state.epoch.as_ref() == Some(&epoch) {
                    let (rows, rows_total, bytes) =
                        (state.progress.rows, state.progress.rows_total, state.progress.bytes);
                    state.progress = FillStatus { rows, rows_total, bytes, ..complete(&loaded) };
                    state.filled = Some((filled, loaded));
                    node.filled.notify_one();
                }
                return;
            }
            Err(why) => {
                tracing::warn!(%why, "the fill starts over");
                node.filling.note(|progress| progress.trouble = Some(why));
            }
        }
        backoff.pause(&node.env, before).await;
    }
}

/// The stream of parts from the source.
struct Parts<R> {
    node: Arc<Node>,
    reader: FrameReader<R>,
    epoch: Registered,
}

impl<R: AsyncRead + Unpin> Parts<R> {
    async fn next(&mut self) -> Result<Body, String> {
        let frame = self.node.env.timeout(PATIENCE, self.reader.next()).await;
        let envelope = match frame.map_err(|_| "the source is silent".to_owned())? {
            Ok(Some(envelope)) => envelope,
            Ok(None) => return Err("the source closed the connection: see its log".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let epoch = self.epoch.record.epoch;
        if envelope.epoch_no != epoch.no || envelope.epoch_id != epoch.id {
            return Err("the source is in another epoch".to_owned());
        }
        envelope.body.ok_or_else(|| "an empty message".to_owned())
    }
}

/// Where the source of the epoch is: the other database, or in a restore the replica (R17).
fn source<'a>(node: &'a Node, epoch: &Registered) -> Result<(&'a str, Expected), String> {
    let peers = &node.config.peers;
    let database = |zone| Expected { role: PeerRole::Database, zone: Some(zone) };
    let (address, expected) = match node.config.zone {
        _ if epoch.record.is_restore() => {
            let replica = peers.replica.as_deref();
            let address = replica
                .ok_or("no address of the replica: add `replica` to [peers] in node.toml, and start again")?;
            return Ok((address, Expected { role: PeerRole::Replica, zone: None }));
        }
        Some(Zone::A) => (peers.tail.as_deref(), database(Zone::B)),
        _ => (peers.head.as_deref(), database(Zone::A)),
    };
    Ok((address.ok_or("no address of the other database in [peers]")?, expected))
}

async fn connect(
    node: &Arc<Node>,
    (epoch, target): (&Registered, DbId),
    from: Option<Position>,
) -> Result<(Parts<impl AsyncRead + Unpin + use<>>, wire::FillHead), String> {
    let (address, expected) = source(node, epoch)?;
    let connect = async {
        let stream = node.env.net.connect(address).await?;
        node.tls.connect(stream, &expected).await
    };
    let limit = ms(node.config.limits.connect_ms);
    let (stream, _) = match node.env.timeout(limit, connect).await {
        Ok(connected) => connected.map_err(|error| format!("the source, {address}: {error}"))?,
        Err(_) => return Err(format!("the source, {address}, does not answer")),
    };
    let (read, mut write) = tokio::io::split(stream);
    let begin = Envelope {
        version: ENVELOPE_VERSION,
        region: node.config.region.clone(),
        epoch_no: epoch.record.epoch.no,
        epoch_id: epoch.record.epoch.id.to_vec(),
        body: Some(Body::FillBegin(wire::FillBegin {
            target: target.0.to_vec(),
            from: from.map(Position::out),
        })),
        ..Envelope::default()
    };
    frame::write(&mut write, &begin).await.map_err(|error| error.to_string())?;
    let mut parts = Parts { node: node.clone(), reader: FrameReader::new(read), epoch: epoch.clone() };
    match parts.next().await? {
        Body::FillHead(head) => Ok((parts, head)),
        _ => Err("the source sent something else than the beginning of a fill".to_owned()),
    }
}

fn storage(error: EngineError) -> String {
    format!("own disk: {error}")
}

async fn blocking<T: Send + 'static>(
    node: &Node,
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, String> {
    match node.env.blocking("fill", work).await {
        Ok(done) => done.map_err(storage),
        Err(_) => Err("storage panicked".to_owned()),
    }
}

/// Fills a new store from the beginning to the end.
async fn fill(
    node: &Arc<Node>,
    epoch: &Registered,
    (head, target): (bool, DbId),
    right: InFilling,
) -> Result<(Filled, Loaded), String> {
    let (mut parts, begin) = connect(node, (epoch, target), None).await?;
    let malformed = |error: crate::store::codec::Malformed| error.to_string();
    let at = Position::read(begin.at.as_ref()).map_err(malformed)?;
    let last = Position::read(begin.last.as_ref()).map_err(malformed)?;
    let lineage = lineage_in(&begin.lineage).map_err(malformed)?;
    let mut identity = Identity {
        region: node.config.region.clone(),
        db_id: target,
        head,
        phase: Phase::Filling,
        epoch: epoch.clone(),
        activation: None,
        fence: None,
        lineage,
        filled: None,
        alone: Vec::new(),
        replaced: None,
        before: None,
    };
    node.filling.note(|progress| {
        (progress.rows, progress.rows_total, progress.bytes) = (0, begin.rows, 0);
        progress.trouble = None;
    });
    let (disk, data, keep) =
        (node.env.disk.clone(), node.config.data_dir.clone(), node.config.limits.log_keep_entries);
    let made = identity.clone();
    // Whatever works on the store has a share in it, and with it in the right to `filling`.
    let store = blocking(node, move || {
        let engine = Engine::create_filling(&*disk, &data, &made, keep)?;
        Ok(Arc::new(Filled::new(engine, right)))
    });
    let filled = store.await?;
    let (digest, mut entries) = take_parts(node, &mut parts, &filled).await?;
    drop(parts);
    let store = filled.clone();
    blocking(node, move || {
        // Read back what the disk has, before entries change it.
        if store.engine.digest()? == digest {
            Filler(&store.engine).begin_log(at)
        } else {
            Err(EngineError::Damaged)
        }
    })
    .await?;
    let mut end = at;
    for bytes in entries.drain(..) {
        let entry = Entry::decode(end, bytes).map_err(malformed)?;
        node.check(&entry)?;
        end = entry.position;
        let store = filled.clone();
        blocking(node, move || store.engine.append_and_apply(&entry)).await?;
    }
    if end != last {
        return Err("the entries do not lead to the end of the source's log".to_owned());
    }
    identity.filled = Some(last);
    let (store, stored) = (filled.clone(), identity.clone());
    let (disk, dir) = (node.env.disk.clone(), node.config.data_dir.join(FILLING_DIR));
    let terminated = blocking(node, move || {
        let terminated = store.engine.terminated()?;
        // The source may not have deleted them yet.
        let ended: Vec<_> = terminated.iter().map(|end| end.domain).collect();
        erase_keys_beside(&*disk, &dir, &ended)?;
        // Its sync makes the rows durable too.
        store.engine.set_identity(&stored)?;
        Ok(terminated)
    });
    let terminated = terminated.await?;
    let loaded = Loaded { identity, last, confirmed: last, pending: None, terminated };
    let filled = Arc::try_unwrap(filled).map_err(|_| "the filled store is still in use".to_owned())?;
    Ok((filled, loaded))
}

/// Takes rows, keyring objects and entries until the end; the digest of the rows has been compared.
async fn take_parts<R: AsyncRead + Unpin>(
    node: &Arc<Node>,
    parts: &mut Parts<R>,
    filled: &Arc<Filled>,
) -> Result<([u8; 32], Vec<Vec<u8>>), String> {
    let (mut digest, mut entries) = (RowDigest::default(), Vec::new());
    let mut next = parts.next().await?;
    loop {
        match next {
            Body::FillPart(mut part) => {
                entries.append(&mut part.entries);
                // The next part is received meanwhile.
                let (taken, received) = join(take_part(node, filled, part, digest), parts.next()).await;
                (digest, next) = (taken?, received?);
            }
            Body::FillEnd(end) => {
                let digest = digest.finish();
                if end.digest != digest {
                    return Err("the rows taken are not those the source has".to_owned());
                }
                return Ok((digest, entries));
            }
            _ => return Err("the source sent something else than a part of a fill".to_owned()),
        }
    }
}

/// Takes the rows and keyring objects of one part.
async fn take_part(
    node: &Arc<Node>,
    filled: &Arc<Filled>,
    part: wire::FillPart,
    mut digest: RowDigest,
) -> Result<RowDigest, String> {
    let (mut rows, mut bytes) = (Vec::with_capacity(part.rows.len()), 0);
    for row in part.rows {
        bytes += (row.key.len() + row.value.len()) as u64;
        check_row(&row.key, &row.value, &node.operator, &node.config.region)
            .map_err(|error| format!("a row may not stand here: {error}"))?;
        rows.push((row.key, row.value));
    }
    let (count, store) = (rows.len() as u64, filled.clone());
    let taken = blocking(node, move || {
        for (key, row) in &rows {
            digest.add(key, row);
        }
        if !rows.is_empty() {
            Filler(&store.engine).rows(&rows)?;
        }
        Ok(digest)
    });
    let digest = taken.await?;
    node.filling.note(|progress| {
        progress.rows += count;
        progress.bytes += bytes;
    });
    keep_keyring(node, filled, part.keyring).await?;
    Ok(digest)
}

async fn keep_keyring(
    node: &Arc<Node>,
    filled: &Arc<Filled>,
    objects: Vec<wire::FillRow>,
) -> Result<(), String> {
    if objects.is_empty() {
        return Ok(());
    }
    let (disk, dir) = (node.env.disk.clone(), node.config.data_dir.join(FILLING_DIR).join(KEYRING_DIR));
    let share = filled.clone();
    blocking(node, move || {
        for object in objects {
            let domain = crate::store::codec::id16(&object.key)
                .map_err(|error| std::io::Error::other(error.to_string()))?;
            let name = uuid::Uuid::from_bytes(domain).to_string();
            disk.write_atomic(&dir.join(name), &object.value, true)?;
        }
        drop(share);
        Ok(())
    })
    .await
}

/// Brings a database of the epoch before, whose log must be a beginning of the source's, to the source's end
/// (R11, abandon). It serves nothing any more. Whatever breaks it off, the view says how far the log has come. One
/// at a time: see [`Node::catching_up`].
pub(super) async fn catch_up(
    node: &Arc<Node>,
    shared: &Arc<Shared>,
    epoch: &Registered,
) -> Result<(), String> {
    let from = shared.view().last;
    let (mut parts, begin) = connect(node, (epoch, epoch.record.target), Some(from)).await?;
    let last = Position::read(begin.last.as_ref()).map_err(|error| error.to_string())?;
    let mut entries = Vec::new();
    loop {
        match parts.next().await? {
            Body::FillPart(part) => entries.extend(part.entries),
            Body::FillEnd(_) => break,
            _ => return Err("the source sent something else than a part of a fill".to_owned()),
        }
    }
    let _writer = shared.writer.lock().await;
    let pending = shared.view().pending.clone();
    if let Some(pending) = pending {
        // The source has it, so it is committed.
        let entry = pending.entry.clone();
        shared.engine("fill", move |engine| engine.confirm(&entry)).await.map_err(storage)?;
        let mut view = shared.view();
        (view.confirmed, view.pending) = (pending.entry.position, None);
        view.applied(&pending.entry);
    }
    for bytes in entries {
        let before = shared.view().last;
        let entry = Entry::decode(before, bytes).map_err(|error| error.to_string())?;
        node.check(&entry)?;
        let entry = shared.append_and_apply("fill", entry).await.map_err(storage)?;
        let mut view = shared.view();
        (view.last, view.confirmed) = (entry.position, entry.position);
        view.applied(&entry);
    }
    let end = shared.view().last;
    if end == last { Ok(()) } else { Err("the entries do not lead to the source's end".to_owned()) }
}

/// Sends everything to the target that the registered epoch names; returns why it ended.
pub(super) async fn serve<W: AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    write: &mut W,
    envelope: &Envelope,
    begin: &wire::FillBegin,
) -> String {
    match send_all(shared, write, envelope, begin).await {
        Ok(()) => "the fill is sent".to_owned(),
        Err(why) => {
            tracing::warn!(%why, "a fill ended");
            why
        }
    }
}

async fn send_all<W: AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    write: &mut W,
    envelope: &Envelope,
    begin: &wire::FillBegin,
) -> Result<(), String> {
    let identity = shared.identity();
    let target = DbId::read(&begin.target).map_err(|error| error.to_string())?;
    if !shared.same_epoch(envelope) || target != identity.epoch.record.target || !identity.is_source() {
        return Err("a fill for another target or epoch was asked for".to_owned());
    }
    let (serving, last, mut at) = {
        let view = shared.view();
        (view.serving(), view.last, view.confirmed)
    };
    if identity.active() || !serving {
        return Err("this database is not the serving source of an epoch that is still to begin".to_owned());
    }
    let from = begin.from.as_ref().map(|from| Position::read(Some(from))).transpose();
    let from = from.map_err(|error| error.to_string())?;
    let failed = |error: EngineError| format!("own disk: {error}");
    if let Some(from) = from {
        let ours = shared.engine("fill", move |engine| engine.position_at(from.seq)).await.map_err(failed)?;
        if ours != Some(from) {
            return Err("the target's log is no beginning of this one: it must be filled anew".to_owned());
        }
        at = from;
    }
    let snapshot = match from {
        Some(_) => None,
        None => {
            let snapshot = shared.engine("fill", |engine| {
                let snapshot = engine.snapshot()?;
                Ok((snapshot.records()?, snapshot))
            });
            Some(snapshot.await.map_err(failed)?)
        }
    };
    let rows = snapshot.as_ref().map_or(0, |(rows, _)| *rows);
    let head = wire::FillHead {
        at: Some(at.out()),
        last: Some(last.out()),
        rows,
        lineage: lineage_out(&identity.lineage),
    };
    say(&**shared, write, Body::FillHead(head)).await?;
    let digest = match snapshot {
        Some((_, snapshot)) => {
            if snapshot.at() != at {
                return Err("the source's confirmed position moved: no longer a source that takes no writes"
                    .to_owned());
            }
            give_keyring(&**shared, write, Keys::BegunToo).await?;
            give_rows(&**shared, write, snapshot).await?
        }
        None => [0; 32],
    };
    let entries = shared.engine("fill", move |engine| engine.entries_after(at, usize::MAX)).await;
    let mut part = wire::FillPart::default();
    for entry in entries.map_err(failed)? {
        part.entries.push(entry.bytes);
        if part.entries.iter().map(Vec::len).sum::<usize>() > BATCH_MAX_BYTES {
            say(&**shared, write, Body::FillPart(std::mem::take(&mut part))).await?;
        }
    }
    say(&**shared, write, Body::FillPart(part)).await?;
    say(&**shared, write, Body::FillEnd(wire::FillEnd { digest: digest.to_vec() })).await
}
