//! The feed of a replica (R18), from the database's side: what is committed, in order and without holes, and nothing of a head's
//! that its tail may not have. A replica that has nothing gets the records as they are at one position first, while the
//! region goes on. Nobody waits for a replica: what it is slow to take stays in the log.

use super::view::Shared;
use crate::{
    limits::{FEED_AHEAD_BYTES, FEED_PART_BYTES, ms},
    store::{
        codec,
        engine::{Engine, EngineError},
        epoch::{Epoch, lineage_out},
        giving::{Keys, give_keyring, give_rows},
        log::{Entry, Position},
    },
    wire::{
        epoch as wire,
        feed::{Feed, Feeding, Follow, Unfed},
        frame::{self, FrameReader},
        message::{Body, Envelope, Pong},
        silence::Silence,
    },
};
use std::{collections::VecDeque, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

/// Why a feed ends.
enum End {
    /// The replica is told.
    Unfed(Unfed),
    /// The connection is of no use any more, or must be made anew.
    Broken(String),
    /// A domain was made: the next feed, which begins with its key, goes on here.
    Made,
}

impl From<String> for End {
    fn from(why: String) -> End {
        End::Broken(why)
    }
}

/// Serves the replica that began with `follow`, until the connection ends. Returns why.
pub(super) async fn serve<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    reader: &mut FrameReader<R>,
    write: &mut W,
    envelope: &Envelope,
    follow: &Follow,
) -> String {
    // One replica is fed at a time: whoever asks last has lost the connections before.
    let mut newest = shared.feed.subscribe();
    shared.feed.send_modify(|feed| *feed += 1);
    let own = *newest.borrow_and_update();
    // Before the keys are read that it gives.
    let keyring = shared.keyring.subscribe();
    let mut feed = FeedOf { shared, reader, write, epoch: shared.epoch(), keyring };
    let work = async {
        match feed.begin(envelope, follow).await {
            Ok(at) => feed.run(at).await,
            Err(end) => end,
        }
    };
    let end = tokio::select! {
        biased;
        _ = newest.changed() => return "a newer feed has begun".to_owned(),
        end = work => end,
    };
    let goes_on = matches!(end, End::Made);
    let why = match end {
        End::Broken(why) => why,
        End::Made => "a domain was made: the next feed begins with its key".to_owned(),
        End::Unfed(why) => {
            // It may be gone; it asks again either way.
            let _ = feed.say(Body::Unfed(why as i32)).await;
            format!("the replica is not fed: {why:?}")
        }
    };
    if *shared.feed.borrow() == own {
        shared.view().replica = None;
        if goes_on {
            // The log is kept for it, as for one that is slow: what it has just loaded may take longer than a log lasts.
            return why;
        }
        let over = |engine: &Engine| {
            engine.fed(None);
            Ok(())
        };
        let _ = shared.engine("feed", over).await;
    }
    why
}

struct FeedOf<'a, R, W> {
    shared: &'a Arc<Shared>,
    reader: &'a mut FrameReader<R>,
    write: &'a mut W,
    /// What is fed is of this epoch.
    epoch: Epoch,
    /// Changes when a domain is made whose key this feed has not given (R23).
    keyring: watch::Receiver<u64>,
}

fn storage(error: EngineError) -> End {
    End::Broken(format!("own disk: {error}"))
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> FeedOf<'_, R, W> {
    async fn say(&mut self, body: Body) -> Result<(), End> {
        let envelope = self.shared.envelope(0, body);
        let patience = self.shared.config.limits.connection_idle();
        let written = frame::write_patiently(&self.shared.env, self.write, &envelope, patience).await;
        written.map_err(|error| End::Broken(error.to_string()))
    }

    /// Whether this database may feed anybody (R18): a serving member of an epoch that is known active, and still the one that
    /// the replica was told.
    fn may_feed(&self) -> bool {
        let view = self.shared.view();
        view.serving() && view.identity.active() && view.identity.epoch() == self.epoch
    }

    /// R23: a domain's key goes before its first record, and only the beginning of a feed gives keys.
    fn has_all_keys(&self) -> Result<(), End> {
        match self.keyring.has_changed() {
            Ok(false) => Ok(()),
            _ => Err(End::Made),
        }
    }

    /// Finds where the replica stands in this log; sends a snapshot if it stands nowhere. Answers where the feed goes on.
    async fn begin(&mut self, envelope: &Envelope, follow: &Follow) -> Result<Position, End> {
        let malformed = |error: codec::Malformed| End::Broken(error.to_string());
        codec::id16(&follow.replica).map_err(malformed)?;
        if !self.may_feed() {
            return Err(End::Unfed(Unfed::NotServing));
        }
        if envelope.epoch_no > self.epoch.no {
            self.shared.ask.notify_one();
            return Err(End::Unfed(Unfed::OlderEpoch));
        }
        let at = follow.at.as_ref().map(|at| Position::read(Some(at))).transpose().map_err(malformed)?;
        match at {
            Some(at) => {
                self.stands_here(at).await?;
                self.announce(at, 0).await?;
                give_keyring(&**self.shared, self.write, Keys::OfDomains).await?;
                Ok(at)
            }
            None => self.snapshot().await,
        }
    }

    async fn stands_here(&mut self, at: Position) -> Result<(), End> {
        let ours = self.shared.engine("feed", move |engine| {
            // From here on what the replica lacks is kept.
            engine.fed(Some(at.seq));
            Ok((engine.position_at(at.seq)?, engine.base()?))
        });
        match ours.await.map_err(storage)? {
            (Some(ours), _) if ours == at => Ok(()),
            (Some(_), _) => Err(End::Unfed(Unfed::Diverged)),
            (None, base) if at.seq < base.seq => Err(End::Unfed(Unfed::TooFarBehind)),
            // A tail has all that was ever fed, and a head's log all that its tail's has: this one lost some.
            (None, _) => Err(End::Unfed(Unfed::Behind)),
        }
    }

    async fn announce(&mut self, at: Position, rows: u64) -> Result<(), End> {
        let identity = self.shared.identity();
        let feeding = Feeding {
            epoch: Some(identity.epoch.signed.clone()),
            activation: identity.activation.clone(),
            lineage: lineage_out(&identity.lineage),
            at: Some(at.out()),
            rows,
            replaced: identity.replaced.as_ref().map(|replaced| replaced.signed.clone()),
        };
        self.say(Body::Feeding(feeding)).await
    }

    async fn snapshot(&mut self) -> Result<Position, End> {
        let taken = self.shared.engine("feed", |engine| {
            let snapshot = engine.snapshot()?;
            engine.fed(Some(snapshot.at().seq));
            Ok((snapshot.records()?, snapshot))
        });
        let (rows, snapshot) = taken.await.map_err(storage)?;
        let at = snapshot.at();
        self.announce(at, rows).await?;
        give_keyring(&**self.shared, self.write, Keys::OfDomains).await?;
        let digest = give_rows(&**self.shared, self.write, snapshot).await?;
        self.say(Body::FillEnd(wire::FillEnd { digest: digest.to_vec() })).await?;
        Ok(at)
    }

    /// Sends what is committed after `at`, as it comes.
    async fn run(&mut self, mut at: Position) -> End {
        let (env, limits) = (self.shared.env.clone(), &self.shared.config.limits);
        let mut changes = self.shared.link.subscribe();
        let mut confirmed = self.shared.confirmed.subscribe();
        let mut keyring = self.keyring.clone();
        let mut silence = Silence::new(env.clone(), limits.connection_idle());
        // What was sent and not yet taken: where each part ended, and its bytes.
        let mut sent: VecDeque<(u64, usize)> = VecDeque::new();
        self.shared.view().replica = Some(at.seq);
        loop {
            if !self.may_feed() {
                return End::Unfed(Unfed::NotServing);
            }
            if let Err(end) = self.has_all_keys() {
                return end;
            }
            confirmed.borrow_and_update();
            let end = self.shared.view().confirmed;
            let ahead: usize = sent.iter().map(|(_, bytes)| bytes).sum();
            if at.seq < end.seq && ahead < FEED_AHEAD_BYTES {
                match self.part(at, end).await {
                    Ok((to, bytes)) => {
                        at = to;
                        sent.push_back((at.seq, bytes));
                        continue;
                    }
                    Err(end) => return end,
                }
            }
            let heard = tokio::select! {
                biased;
                // Perhaps into another epoch.
                _ = changes.changed() => continue,
                _ = keyring.changed() => continue,
                heard = self.reader.next() => heard,
                // Entries that are committed together travel together.
                _ = async { let _ = confirmed.changed().await; env.sleep(ms(limits.feed_ms)).await }, if at.seq >= end.seq => continue,
                () = silence.lasted() => return End::Broken("the replica is silent".to_owned()),
            };
            silence.restart();
            let body = match heard {
                Ok(Some(envelope)) => envelope.body,
                Ok(None) => return End::Broken("closed by the replica".to_owned()),
                Err(error) => return End::Broken(error.to_string()),
            };
            let said = match body {
                Some(Body::Ping(number)) => {
                    let (serving, last) = (self.may_feed(), self.shared.view().confirmed.seq);
                    self.say(Body::Pong(Pong { number, last, serving, ..Pong::default() })).await
                }
                Some(Body::Took(position)) if position.seq <= at.seq => {
                    sent.retain(|(seq, _)| *seq > position.seq);
                    self.shared.view().replica = Some(position.seq);
                    let seq = position.seq;
                    let taken = move |engine: &Engine| {
                        engine.fed(Some(seq));
                        Ok(())
                    };
                    self.shared.engine("feed", taken).await.map_err(storage)
                }
                _ => Err(End::Broken("the replica sent what a replica does not send".to_owned())),
            };
            if let Err(end) = said {
                return end;
            }
        }
    }

    /// Sends some entries after `at`, none above `end`; answers where they end, and their bytes.
    async fn part(&mut self, at: Position, end: Position) -> Result<(Position, usize), End> {
        let read = self.shared.engine("feed", move |engine| engine.entries_from(at, FEED_PART_BYTES));
        let mut entries = match read.await.map_err(storage)? {
            (Some(ours), entries) if ours == at => entries,
            (Some(_), _) => return Err(End::Unfed(Unfed::Diverged)),
            (None, _) => return Err(End::Unfed(Unfed::TooFarBehind)),
        };
        // After they were read: what is in them was written after its domain was made.
        self.has_all_keys()?;
        // R18: what the head has not heard to be confirmed, its tail may not have.
        entries.retain(|entry| entry.position.seq <= end.seq);
        let to = entries.last().map_or(at, |entry| entry.position);
        let bytes = entries.iter().map(|entry: &Entry| entry.bytes.len()).sum();
        let entries = entries.into_iter().map(|entry| entry.bytes).collect();
        self.say(Body::Feed(Feed { entries, end: Some(end.out()) })).await?;
        Ok((to, bytes))
    }
}
