//! The follower: connects to the tail, or to the head while that is not to be had, and takes what is committed. Changes the source
//! when one does not feed it, or is of an older epoch than the witness knows. Never takes anything out of its log: a log that
//! is not the source's is for a person to look at.

use super::{
    Node,
    kept::{Closing, Kept, Trouble, keep_keyring, storage},
    orders::{self, Command},
    seed,
};
use crate::{
    config::Zone,
    env::Mono,
    limits::{CONNECTION_IDLE_MS, ms},
    store::{
        backoff::Backoff,
        codec::Malformed,
        engine::{Engine, EngineError, STORE_DIR, discard_filling, promote},
        epoch::{BadStatement, DbId, Epoch, Phase, Registered, lineage_in},
        log::Position,
        replacement::Replaced,
        witness,
    },
    wire::{
        epoch::{FillPart, Signed},
        feed::{Feed, Feeding, Follow, Unfed},
        frame::{self, FrameReader},
        message::Body,
        tls::{Expected, PeerRole},
    },
};
use std::{
    collections::{BTreeSet, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

/// Why a connection to a source ended.
enum End {
    /// Ask again, the other one.
    Link(String),
    /// Close the store and open it again.
    Store(String),
    /// The source does not keep what is lacking here.
    TooFar,
    /// The source lacks what is here.
    Behind,
    /// A person wants a snapshot.
    Ordered,
    /// What is here is another history. Nothing is followed until a person says so.
    Diverged(String),
}

/// How it goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    /// From where the log ends.
    Follow,
    /// With a snapshot, since the log does not reach to what is kept.
    Seed,
    /// With a snapshot, since a person has said so: of another history too, if that is not an older one.
    Ordered,
    /// Not at all, before a person says so.
    Person,
}

/// Follows until the node is asked to stop; the store is closed then.
pub(super) async fn keep(node: Arc<Node>, mut stopping: watch::Receiver<bool>) {
    let mut closing = Closing::default();
    let mut want = Want::Follow;
    loop {
        let mut at_once = false;
        let stop = {
            let life = life(&node, &mut closing, &mut want);
            tokio::select! {
                biased;
                _ = stopping.changed() => true,
                over = life => {
                    if let Over::Failed(why) = &over {
                        tracing::error!(%why, "the replica's store failed; opening it again");
                        node.desk.note(|status| {
                            "failed".clone_into(&mut status.phase);
                            status.trouble = Some(why.clone());
                        });
                    }
                    at_once = matches!(over, Over::Ordered);
                    false
                }
            }
        };
        node.desk.unshare();
        // Not before the last holder has let go may the store be opened again.
        node.opened.closes();
        closing.all().await;
        if stop {
            return;
        }
        if at_once {
            continue;
        }
        let pause = ms(node.config.limits.backoff_max_ms);
        tokio::select! {
            biased;
            _ = stopping.changed() => return,
            () = node.env.sleep(pause) => {}
        }
    }
}

/// Opens the store. A complete snapshot that was not put in its place is, if it has more than what stands there.
async fn open(node: &Node, closing: &mut Closing) -> Result<Option<Kept>, EngineError> {
    let (disk, data, keep) =
        (node.env.disk.clone(), node.config.data_dir.clone(), node.config.limits.log_keep_entries);
    let opened = closing.blocking(&node.env, "open", move || {
        let filled = Engine::open_filling(&*disk, &data, keep)?.map(|(_, filled)| filled);
        let filled = filled.filter(|filled| filled.identity.phase == Phase::Replica);
        let store = Engine::open(&*disk, &data, keep);
        let Some(filled) = filled else {
            return store;
        };
        let old = match store {
            Ok(Some((engine, old))) if old.last.seq > filled.last.seq => {
                discard_filling(&*disk, &data)?;
                return Ok(Some((engine, old)));
            }
            store => store.ok().flatten().map(|(_, old)| (old.identity.db_id, old.identity.epoch().no)),
        };
        promote(&*disk, &data, old)?;
        Engine::open(&*disk, &data, keep)
    });
    let Some((engine, loaded)) = opened.await? else { return Ok(None) };
    let identity = &loaded.identity;
    if identity.phase != Phase::Replica {
        let (data, what) = (node.config.data_dir.display(), identity.phase.word());
        let why = format!("{data} holds the store of a {what}: give the replica a data directory of its own");
        return Err(EngineError::Io(std::io::Error::other(why)));
    }
    let (kept, closed) = Kept::new(engine, loaded);
    closing.store(closed);
    Ok(Some(kept))
}

/// What has been found out about the sources since one of them last fed.
#[derive(Default)]
struct Tried {
    /// Times that one did not keep what is lacking.
    too_far: u32,
    /// Those that lack what was fed.
    behind: BTreeSet<Zone>,
}

/// Why a life of the store ended.
enum Over {
    /// It is to be closed and opened again.
    Failed(String),
    /// Somebody has ordered something while it was at work: what was under way goes on to its end on the disk, so the disk is
    /// read again.
    Ordered,
}

/// One life of the store; answers why it ended.
async fn life(node: &Arc<Node>, closing: &mut Closing, want: &mut Want) -> Over {
    let mut kept = match open(node, closing).await {
        Ok(kept) => kept,
        Err(error) if error.is_corrupt() || node.reseed.stands() => {
            tracing::error!(target: "kms::probe", name = "loud:replica-corrupt", %error, "the replica's store cannot be used: it begins with a snapshot");
            *want = Want::Seed;
            None
        }
        Err(error) => return Over::Failed(error.to_string()),
    };
    match &kept {
        Some(kept) if kept.identity().region != node.config.region => {
            tracing::error!(region = kept.identity().region, "the replica's store is of another region");
            *want = Want::Person;
        }
        Some(kept) => {
            node.desk.stands(kept);
            node.opened.now(kept);
        }
        None => node.desk.note(|status| "blank".clone_into(&mut status.phase)),
    }
    let mut backoff = Backoff::new(&node.config.limits);
    let (mut zone, mut tried, mut given_up) = (Zone::B, Tried::default(), None);
    loop {
        while let Some(command) = node.commands.take() {
            if let Err(why) = orders::carry_out(node, (&mut kept, closing), &mut given_up, command).await {
                return Over::Failed(why);
            }
        }
        // R12, R17: what the region is to be made of stands still.
        if kept.as_ref().is_some_and(|kept| !kept.identity().active() && given_up != Some(kept.epoch())) {
            let why = "the region is being made anew from this replica: see `kms restore region`";
            node.desk.note(|status| status.trouble = Some(why.to_owned()));
            node.commands.any().await;
            continue;
        }
        if *want == Want::Person {
            node.desk.unshare();
            node.desk.note(|status| "diverged".clone_into(&mut status.phase));
            tokio::select! {
                biased;
                () = node.commands.any() => continue,
                () = node.reseed.heard() => {}
            }
        }
        if node.reseed.stands() {
            // A person does not trust what is here.
            node.desk.unshare();
            *want = Want::Ordered;
        }
        if let Some(kept) = &mut kept {
            kept.erase(node).await;
        }
        let before = node.env.now();
        let end = tokio::select! {
            biased;
            () = node.commands.any() => return Over::Ordered,
            end = connection(node, zone, (&mut kept, &mut *closing), (want, &mut tried)) => end,
        };
        node.desk.note(|status| (status.source, status.seed) = (None, None));
        let why = match end {
            End::Link(why) => why,
            End::Store(why) => return Over::Failed(why),
            End::Ordered => "an operator has ordered a snapshot".to_owned(),
            End::TooFar => {
                tried.too_far += 1;
                // The other one may keep more: a database that was filled keeps nothing from before.
                if tried.too_far > 1 && *want == Want::Follow {
                    *want = Want::Seed;
                }
                "the source does not keep what this log lacks".to_owned()
            }
            End::Behind if tried.behind.insert(zone) && tried.behind.len() < 2 => {
                "the source lacks what was fed already".to_owned()
            }
            End::Behind => {
                *want = Want::Person;
                loud("neither database has what was fed to this replica")
            }
            End::Diverged(why) => {
                *want = Want::Person;
                loud(why)
            }
        };
        tracing::info!(zone = zone.word(), %why, "the replica lost its source");
        node.desk.note(|status| status.trouble = Some(why));
        zone = zone.other();
        tokio::select! {
            biased;
            () = node.commands.any() => {}
            () = backoff.pause(&node.env, before) => {}
        }
    }
}

fn loud(why: impl Into<String>) -> String {
    let why = why.into();
    tracing::error!(target: "kms::probe", name = "loud:replica-diverged", %why, "the replica follows no longer: see `kms replica reseed`");
    why
}

/// A connection to a database.
pub(super) struct Source<'a, R, W> {
    node: &'a Node,
    reader: FrameReader<R>,
    write: W,
}

/// A source that was heard says something at least this often.
fn patience(node: &Node) -> Duration {
    ms(node.config.limits.detection_ms * 4)
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Source<'_, R, W> {
    /// The next message of a beginning: a part of a snapshot may be slowed down.
    pub(super) async fn next(&mut self) -> Result<Body, String> {
        let frame = self.node.env.timeout(ms(CONNECTION_IDLE_MS), self.reader.next()).await;
        let envelope = match frame.map_err(|_| "the source is silent".to_owned())? {
            Ok(Some(envelope)) => envelope,
            Ok(None) => return Err("the source closed the connection".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        if envelope.region != self.node.config.region {
            return Err("the source is of another region".to_owned());
        }
        envelope.body.ok_or_else(|| "an empty message".to_owned())
    }

    async fn say(&mut self, epoch: Option<&Kept>, body: Body) -> Result<(), String> {
        let mut envelope = self.node.envelope(0, body);
        if let Some(kept) = epoch {
            (envelope.epoch_no, envelope.epoch_id) = (kept.epoch().no, kept.epoch().id.to_vec());
        }
        let written =
            frame::write_patiently(&self.node.env, &mut self.write, &envelope, patience(self.node)).await;
        written.map_err(|error| error.to_string())
    }
}

/// Follows the database of `zone` until something ends that.
async fn connection(
    node: &Arc<Node>,
    zone: Zone,
    (kept, closing): (&mut Option<Kept>, &mut Closing),
    (want, tried): (&mut Want, &mut Tried),
) -> End {
    let mut source = match connect(node, zone).await {
        Ok(source) => source,
        Err(why) => return End::Link(why),
    };
    if let Err(end) = begin(node, &mut source, (&mut *kept, closing), want).await {
        return end;
    }
    *tried = Tried::default();
    let Some(kept) = kept else { return End::Link("no store after a snapshot".to_owned()) };
    node.desk.note(|status| {
        status.source = Some(zone.word().to_owned());
        status.trouble = None;
    });
    tracing::info!(zone = zone.word(), last = ?kept.last(), "the replica follows");
    let Err(end) = follow(node, &mut source, kept).await;
    end
}

async fn connect(
    node: &Arc<Node>,
    zone: Zone,
) -> Result<Source<'_, impl AsyncRead + Unpin, impl AsyncWrite + Unpin>, String> {
    let peers = &node.config.peers;
    let address = if zone == Zone::A { &peers.head } else { &peers.tail };
    let address = address.as_deref().ok_or("no address of the source in [peers]")?;
    let connect = async {
        let stream = node.env.net.connect(address).await?;
        node.tls.connect(stream, &Expected { role: PeerRole::Database, zone: Some(zone) }).await
    };
    let (stream, _) = match node.env.timeout(ms(node.config.limits.connect_ms), connect).await {
        Ok(connected) => connected.map_err(|error| format!("{address}: {error}"))?,
        Err(_) => return Err(format!("{address} does not answer")),
    };
    let (read, write) = tokio::io::split(stream);
    Ok(Source { node, reader: FrameReader::new(read), write })
}

/// What a source says of the feed that it begins, verified.
struct Begun {
    epoch: Registered,
    activation: Signed,
    lineage: Vec<(Epoch, Position)>,
    replaced: Option<Replaced>,
    at: Position,
    rows: u64,
}

impl Begun {
    fn read(node: &Node, feeding: &Feeding) -> Result<Begun, String> {
        let (operator, region) = (&node.operator, node.config.region.as_str());
        let missing = || "the source names no active epoch".to_owned();
        let text = |error: BadStatement| error.to_string();
        let malformed = |error: Malformed| error.to_string();
        let epoch = feeding.epoch.as_ref().ok_or_else(missing)?;
        let epoch = Registered::verify(epoch, operator, region).map_err(text)?;
        let activation = feeding.activation.clone().ok_or_else(missing)?;
        epoch.activated_by(&activation, operator, region).map_err(text)?;
        let replaced = feeding.replaced.as_ref();
        let replaced = replaced.map(|signed| Replaced::verify(signed, operator, region)).transpose();
        Ok(Begun {
            epoch,
            activation,
            lineage: lineage_in(&feeding.lineage).map_err(malformed)?,
            replaced: replaced.map_err(text)?,
            at: Position::read(feeding.at.as_ref()).map_err(malformed)?,
            rows: feeding.rows,
        })
    }
}

/// Finds out where the source can go on from, and takes a snapshot if there is no such place.
async fn begin<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    node: &Arc<Node>,
    source: &mut Source<'_, R, W>,
    (kept, closing): (&mut Option<Kept>, &mut Closing),
    want: &mut Want,
) -> Result<(), End> {
    let from = kept.as_ref().filter(|_| *want == Want::Follow);
    let replica = kept.as_ref().map_or(DbId([0; 16]), |kept| kept.identity().db_id);
    let ask = Follow { replica: replica.0.to_vec(), at: from.map(|kept| kept.last().out()) };
    source.say(kept.as_ref(), Body::Follow(ask)).await.map_err(End::Link)?;
    let begun = match source.next().await.map_err(End::Link)? {
        Body::Feeding(feeding) => Begun::read(node, &feeding).map_err(End::Link)?,
        Body::Unfed(why) => return Err(unfed(why)),
        _ => return Err(End::Link("the source sent something else than the beginning of a feed".to_owned())),
    };
    let new = begun.epoch.record.epoch;
    if new.no < node.desk.newest() {
        return Err(End::Link(format!("the source is in epoch {new}, and the witness knows a newer one")));
    }
    if let Some(own) = kept.as_ref().map(Kept::epoch) {
        // R18: never back, and never into another epoch of the same number.
        if new.no < own.no {
            return Err(End::Link(format!("the source is in epoch {new}, the replica in {own}")));
        }
        if new.no == own.no && new != own && *want != Want::Ordered {
            return Err(End::Diverged(format!("the source is in epoch {new}, the replica in {own}")));
        }
    }
    match &mut *kept {
        Some(kept) if *want == Want::Follow => go_on(node, source, kept, begun).await,
        _ => {
            let Begun { epoch, activation, lineage, replaced, at, rows } = begun;
            let snapshot = seed::Snapshot { epoch, activation, lineage, replaced, at, rows };
            // What a person has judged, or nobody could read, may be wanted later; what was merely too old has nothing of its own.
            let keeps_old = *want == Want::Ordered || kept.is_none();
            seed::take(node, source, snapshot, (kept, closing), keeps_old).await.map_err(End::from)?;
            *want = Want::Follow;
            node.reseed.done();
            Ok(())
        }
    }
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> End {
        match trouble {
            Trouble::Disk(why) => End::Store(why),
            Trouble::Source(why) => End::Link(why),
        }
    }
}

/// The source goes on from the end of this log.
async fn go_on<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    node: &Arc<Node>,
    source: &mut Source<'_, R, W>,
    kept: &mut Kept,
    begun: Begun,
) -> Result<(), End> {
    if begun.at != kept.last() {
        return Err(End::Link("the source goes on from elsewhere than asked".to_owned()));
    }
    if begun.epoch.record.epoch != kept.epoch() {
        // Durably, before anything of the new epoch is taken.
        let changed = kept.change_epoch(node, &begun.epoch, &begun.activation, begun.lineage).await;
        changed.map_err(|error| End::Store(storage(error)))?;
        node.desk.stands(kept);
        node.opened.now(kept);
    }
    match source.next().await.map_err(End::Link)? {
        Body::FillPart(FillPart { keyring, .. }) => {
            let dir = node.config.data_dir.join(STORE_DIR);
            keep_keyring(node, (&dir, kept.ended()), keyring).await.map_err(End::from)
        }
        _ => Err(End::Link("the source sent something else than its keyring".to_owned())),
    }
}

fn unfed(why: i32) -> End {
    match Unfed::try_from(why) {
        Ok(Unfed::TooFarBehind) => End::TooFar,
        Ok(Unfed::Diverged) => End::Diverged("this log is not the beginning of the source's".to_owned()),
        Ok(Unfed::OlderEpoch) => End::Link("the source is of an older epoch".to_owned()),
        Ok(Unfed::Behind) => End::Behind,
        _ => End::Link("the source serves nothing at the moment".to_owned()),
    }
}

/// Takes what comes, durably, says so, and asks now and then whether that was all.
async fn follow<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    node: &Arc<Node>,
    source: &mut Source<'_, R, W>,
    kept: &mut Kept,
) -> Result<Infallible, End> {
    let (env, limits) = (&node.env, &node.config.limits);
    // When each question was asked that is not answered yet.
    let mut asked: VecDeque<(u64, Mono)> = VecDeque::new();
    let mut number = 0;
    let mut next = env.now();
    let mut heard_at = env.now();
    loop {
        if env.now() >= next {
            number += 1;
            asked.push_back((number, env.now()));
            next = env.now() + ms(limits.detection_ms);
            kept.erase(node).await;
            source.say(Some(kept), Body::Ping(number)).await.map_err(End::Link)?;
        }
        let silent = heard_at + patience(node);
        let heard = tokio::select! {
            biased;
            () = node.reseed.heard() => return Err(End::Ordered),
            () = node.broken.notified() => return Err(End::Store("own disk: a backup could not read the store".to_owned())),
            () = node.newer.notified() => return Err(End::Link("the witness knows a newer epoch".to_owned())),
            heard = source.reader.next() => heard,
            () = env.clock.sleep_until(next.min(silent)) => {
                if env.now() >= silent {
                    return Err(End::Link("the source is silent".to_owned()));
                }
                continue;
            }
        };
        let body = match heard {
            Ok(Some(envelope)) if envelope.region == node.config.region => envelope.body,
            Ok(Some(_)) => return Err(End::Link("the source is of another region".to_owned())),
            Ok(None) => return Err(End::Link("the source closed the connection".to_owned())),
            Err(error) => return Err(End::Link(error.to_string())),
        };
        match body {
            Some(Body::Feed(feed)) => take(node, source, kept, feed).await?,
            Some(Body::Pong(pong)) => {
                while let Some((number, at)) = asked.front().copied()
                    && number <= pong.number
                {
                    asked.pop_front();
                    // What was committed when it was asked is in what the answer says.
                    node.desk.heard(at, pong.last, kept.last());
                }
            }
            Some(Body::Unfed(why)) => return Err(unfed(why)),
            _ => return Err(End::Link("the source sent what a source does not send".to_owned())),
        }
        // Taking may have lasted: that was not the source's silence.
        heard_at = env.now();
    }
}

/// Entries taken between two words to the source.
const SLICE: usize = 16;

async fn take<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    node: &Arc<Node>,
    source: &mut Source<'_, R, W>,
    kept: &mut Kept,
    feed: Feed,
) -> Result<(), End> {
    let mut rest = kept.check(node, feed.entries).map_err(End::Link)?;
    while !rest.is_empty() {
        let later = rest.split_off(rest.len().min(SLICE));
        kept.take(node, rest).await.map_err(|error| End::Store(storage(error)))?;
        kept.erase(node).await;
        rest = later;
        node.desk.stands(kept);
        source.say(Some(kept), Body::Took(kept.last().out())).await.map_err(End::Link)?;
    }
    Ok(())
}

/// Asks the witness now and then which epoch is current: a database that was cut off goes on feeding what it has, and says
/// that it is all.
pub(super) async fn watch_the_witness(node: Arc<Node>) {
    let Some(address) = node.config.peers.witness.clone() else { return };
    let limit = ms(node.config.limits.connect_ms);
    loop {
        node.env.sleep(limit).await;
        let known = witness::read_epoch(&node.env, &node.tls, &address, &node.operator, limit).await;
        if let Ok(known) = known {
            let no = known.active.record.epoch.no;
            node.desk.active(no);
            if node.opened.reading().is_some_and(|reading| !reading.identity.active()) {
                node.commands.give(Command::Heard(Box::new(known)));
                continue;
            }
            if node.desk.epoch_no().is_some_and(|followed| no > followed) {
                node.newer.notify_waiters();
            }
        }
    }
}
