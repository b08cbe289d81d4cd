//! The follower: connects to the tail, or to the head while that is not to be had, and takes what is committed. Changes the source
//! when one does not feed it, or is of an older epoch than the witness knows. Never takes anything out of its log: a log that
//! is not the source's is for a person to look at.

use super::{
    Node,
    kept::{Kept, Trouble, keep_keyring, storage},
    seed,
};
use crate::{
    config::Zone,
    env::Mono,
    limits::ms,
    store::{
        backoff::Backoff,
        codec::Malformed,
        engine::{Engine, EngineError, STORE_DIR, promote},
        epoch::{BadStatement, DbId, Epoch, Phase, Registered, lineage_in},
        held::Closed,
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
use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};
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
    /// What is here is of no use for following: begin with a snapshot.
    Seed(String),
    /// A person has said so.
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
    let mut closing: Vec<Closed> = Vec::new();
    let mut want = Want::Follow;
    loop {
        let stop = {
            let life = life(&node, &mut closing, &mut want);
            tokio::select! {
                biased;
                _ = stopping.changed() => true,
                why = life => {
                    tracing::error!(%why, "the replica's store failed; opening it again");
                    false
                }
            }
        };
        // Not before the last holder has let go may the store be opened again.
        for closed in closing.drain(..) {
            let _ = closed.await;
        }
        if stop {
            return;
        }
        node.env.sleep(ms(node.config.limits.backoff_max_ms)).await;
    }
}

/// Opens the store, and finishes putting a complete snapshot in its place.
async fn open(node: &Node, closing: &mut Vec<Closed>) -> Result<Option<Kept>, EngineError> {
    let (disk, data, keep) =
        (node.env.disk.clone(), node.config.data_dir.clone(), node.config.limits.log_keep_entries);
    let opened = node.env.blocking("open", move || {
        let filled = Engine::open_filling(&*disk, &data, keep)?;
        let complete = filled.is_some_and(|(_, filled)| filled.identity.phase == Phase::Replica);
        if complete {
            let old = Engine::open(&*disk, &data, keep).ok().flatten();
            let old = old.map(|(_, old)| (old.identity.db_id, old.identity.epoch().no));
            promote(&*disk, &data, old)?;
        }
        match Engine::open(&*disk, &data, keep)? {
            Some((_, loaded)) if loaded.identity.phase != Phase::Replica => {
                let what =
                    format!("{} holds the store of a {}", data.display(), loaded.identity.phase.word());
                let what = what + ", not of a replica: give it a data directory of its own";
                Err(EngineError::Io(std::io::Error::other(what)))
            }
            store => Ok(store),
        }
    });
    let opened = opened.await.map_err(|_| std::io::Error::other("storage panicked while opening"))??;
    Ok(opened.map(|(engine, loaded)| {
        let (kept, closed) = Kept::new(engine, loaded);
        closing.push(closed);
        kept
    }))
}

/// One life of the store; answers why it ended.
async fn life(node: &Arc<Node>, closing: &mut Vec<Closed>, want: &mut Want) -> String {
    let mut kept = match open(node, closing).await {
        Ok(kept) => kept,
        Err(error @ EngineError::Corrupt { .. }) => {
            tracing::error!(target: "kms::probe", name = "loud:replica-corrupt", %error, "the replica's store cannot be used: it begins with a snapshot");
            *want = Want::Seed;
            None
        }
        Err(error) => {
            node.desk.note(|status| "failed".clone_into(&mut status.phase));
            return error.to_string();
        }
    };
    match &kept {
        Some(kept) => node.desk.stands(kept),
        None => node.desk.note(|status| "blank".clone_into(&mut status.phase)),
    }
    let mut backoff = Backoff::new(&node.config.limits);
    let mut zone = Zone::B;
    loop {
        if *want == Want::Person {
            node.desk.note(|status| "diverged".clone_into(&mut status.phase));
            node.reseed.notified().await;
            *want = Want::Ordered;
        }
        let before = node.env.now();
        let end = connection(node, zone, (&mut kept, closing), want).await;
        node.desk.note(|status| (status.source, status.seed) = (None, None));
        let why = match end {
            End::Link(why) => why,
            End::Store(why) => return why,
            End::Seed(why) => {
                *want = Want::Seed;
                why
            }
            End::Ordered => {
                *want = Want::Ordered;
                "an operator has ordered a snapshot".to_owned()
            }
            End::Diverged(why) => {
                tracing::error!(target: "kms::probe", name = "loud:replica-diverged", %why, "the replica follows no longer: see `kms replica reseed`");
                *want = Want::Person;
                why
            }
        };
        tracing::info!(zone = zone.word(), %why, "the replica lost its source");
        node.desk.note(|status| status.trouble = Some(why));
        zone = zone.other();
        backoff.pause(&node.env, before).await;
    }
}

/// A connection to a database.
pub(super) struct Source<'a, R, W> {
    node: &'a Node,
    reader: FrameReader<R>,
    write: W,
}

/// Longest wait for a source that has something to say.
fn patience(node: &Node) -> Duration {
    ms(node.config.limits.detection_ms * 4)
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Source<'_, R, W> {
    /// The next message; a source that is silent is as good as gone.
    pub(super) async fn next(&mut self) -> Result<Body, String> {
        let frame = self.node.env.timeout(patience(self.node), self.reader.next()).await;
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
    (kept, closing): (&mut Option<Kept>, &mut Vec<Closed>),
    want: &mut Want,
) -> End {
    let mut source = match connect(node, zone).await {
        Ok(source) => source,
        Err(why) => return End::Link(why),
    };
    if let Err(end) = begin(node, &mut source, (&mut *kept, closing), want).await {
        return end;
    }
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
    (kept, closing): (&mut Option<Kept>, &mut Vec<Closed>),
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
            seed::take(node, source, snapshot, (kept, closing)).await.map_err(End::from)?;
            *want = Want::Follow;
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
    }
    match source.next().await.map_err(End::Link)? {
        Body::FillPart(FillPart { keyring, .. }) => {
            keep_keyring(node, &node.config.data_dir.join(STORE_DIR), keyring).await.map_err(End::from)
        }
        _ => Err(End::Link("the source sent something else than its keyring".to_owned())),
    }
}

fn unfed(why: i32) -> End {
    match Unfed::try_from(why) {
        Ok(Unfed::TooFarBehind) => End::Seed("the source does not keep what this log lacks".to_owned()),
        Ok(Unfed::Diverged) => End::Diverged("this log is not the beginning of the source's".to_owned()),
        Ok(Unfed::OlderEpoch) => End::Link("the source is of an older epoch".to_owned()),
        Ok(Unfed::Behind) => End::Link("the source lacks what was fed already".to_owned()),
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
    loop {
        if env.now() >= next {
            number += 1;
            asked.push_back((number, env.now()));
            next = env.now() + ms(limits.detection_ms);
            source.say(Some(kept), Body::Ping(number)).await.map_err(End::Link)?;
        }
        if asked.front().is_some_and(|(_, at)| env.now().since(*at) > patience(node)) {
            return Err(End::Link("the source is silent".to_owned()));
        }
        let heard = tokio::select! {
            biased;
            () = node.reseed.notified() => return Err(End::Ordered),
            () = node.newer.notified() => return Err(End::Link("the witness knows a newer epoch".to_owned())),
            heard = source.reader.next() => heard,
            () = env.clock.sleep_until(next) => continue,
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
    }
}

async fn take<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    node: &Arc<Node>,
    source: &mut Source<'_, R, W>,
    kept: &mut Kept,
    feed: Feed,
) -> Result<(), End> {
    let entries = kept.check(node, feed.entries).map_err(End::Link)?;
    kept.take(node, entries).await.map_err(|error| End::Store(storage(error)))?;
    let last = kept.last();
    tracing::debug!(target: "kms::probe", name = "replica-took", seq = last.seq);
    node.desk.stands(kept);
    source.say(Some(kept), Body::Took(last.out())).await.map_err(End::Link)
}

/// Asks the witness now and then which epoch is current: a database that was cut off goes on feeding what it has, and says
/// that it is all.
pub(super) async fn watch_the_witness(node: Arc<Node>) {
    let Some(address) = node.config.peers.witness.clone() else { return };
    let limit = ms(node.config.limits.connect_ms);
    loop {
        node.env.sleep(limit).await;
        let known = witness::read_epoch(&node.env, &node.tls, &address, &node.operator, limit).await;
        let followed = node.desk.epoch_no();
        if let Ok(known) = known
            && followed.is_some_and(|followed| known.active.record.epoch.no > followed)
        {
            node.newer.notify_waiters();
        }
    }
}
