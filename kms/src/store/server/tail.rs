//! The tail of the chain: takes the head's entries over one link at a time (R6), makes each durable, then
//! visible, then confirms it (R2). Its durable commit is the commit.

use super::view::Shared;
use crate::{
    env::{BoxFuture, Purpose},
    limits::{BATCH_MAX_BYTES, ms},
    store::{
        engine::EngineError,
        epoch::Phase,
        log::{Entry, Position},
    },
    wire::{
        frame::{self, FrameReader},
        message::{Apart, Append, Body, Entries, Envelope, Halt, Hello, Pong, Welcome},
        silence::Silence,
    },
};
use std::{collections::VecDeque, convert::Infallible, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

/// Entries taken ahead of their confirmations: the one in flight, and what is sent again.
const QUEUE_MAX: usize = 64;

/// Serves the link that began with `hello`, until it ends. Returns why.
pub(super) async fn serve<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    reader: &mut FrameReader<R>,
    write: &mut W,
    envelope: &Envelope,
    hello: &Hello,
) -> String {
    if let Err(why) = fits(shared, envelope, hello) {
        return why.to_owned();
    }
    let nonce = match shared.env.random::<16>(Purpose::Public) {
        Ok(nonce) => nonce.to_vec(),
        Err(error) => return error.to_string(),
    };
    let head = match Position::read(hello.last.as_ref()) {
        Ok(head) => head,
        Err(error) => return error.to_string(),
    };
    // R6: end any older link first, wait for its last append, and only then read where this log ends.
    let mut fence = shared.link.subscribe();
    shared.link.send_modify(|link| *link += 1);
    let link = *fence.borrow_and_update();
    let (last, joined) = {
        let _writer = shared.writer.lock().await;
        match shared.engine("position", move |engine| engine.position_at(head.seq)).await {
            Ok(Some(ours)) if ours != head => shared.diverged("loud:not-a-prefix"),
            // Whether the head has this log's end is for the head to see.
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
        let mut view = shared.view();
        if view.last.seq < envelope.seen {
            // This log lacks what the head has confirmed. The head may not be able to send it again: nothing
            // is served from here until it has.
            view.head_confirmed = view.head_confirmed.max(envelope.seen);
            view.withheld.behind = true;
        }
        (view.last, view.joined)
    };
    let db_id = shared.identity().db_id.0.to_vec();
    let welcome = Welcome { nonce: nonce.clone(), db_id, last: Some(last.out()), joined };
    let mut tail = Tail { shared: shared.clone(), nonce, link, started: false };
    if let Err(why) = tail.say(write, Body::Welcome(welcome)).await {
        return why;
    }
    let mut working = None;
    let Err(why) = tail.run(reader, write, fence, &mut working).await;
    // An append that has begun ends, also when nobody waits for its confirmation any more: what is durable
    // must show in `last` before the next link is welcomed (R6).
    if let Some(append) = working {
        let _ = append.await;
    }
    why
}

/// R6: only the two members of one epoch that both know to be active link up.
fn fits(shared: &Shared, envelope: &Envelope, hello: &Hello) -> Result<(), &'static str> {
    let identity = shared.identity();
    if shared.head || hello.db_id != identity.epoch.record.members[0].0 || !shared.same_epoch(envelope) {
        // While a region is rebuilt, or an old database has come back, this is to be expected.
        if envelope.epoch_no == identity.epoch().no && identity.active() {
            shared.loud("loud:not-a-member");
        }
        shared.ask.notify_one();
        return Err("the peer is not the head of this epoch");
    }
    if identity.phase != Phase::Member || !identity.active() {
        shared.ask.notify_one();
        return Err("this epoch is not known to be active here");
    }
    Ok(())
}

/// An append under way.
type Working = BoxFuture<'static, Result<Body, String>>;

/// One link, from the tail's side.
struct Tail {
    shared: Arc<Shared>,
    nonce: Vec<u8>,
    link: u64,
    started: bool,
}

impl Tail {
    async fn say<W: AsyncWrite + Unpin>(&self, write: &mut W, body: Body) -> Result<(), String> {
        let patience = ms(self.shared.config.limits.detection_ms);
        let envelope = self.shared.envelope(0, body);
        let written = frame::write_patiently(&self.shared.env, write, &envelope, patience).await;
        written.map_err(|error| error.to_string())
    }

    /// Answers pings also while an entry is on its way to the disk: a slow disk is a stall, not a silence.
    async fn run<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        reader: &mut FrameReader<R>,
        write: &mut W,
        mut fence: watch::Receiver<u64>,
        working: &mut Option<Working>,
    ) -> Result<Infallible, String> {
        let mut silence =
            Silence::new(self.shared.env.clone(), ms(self.shared.config.limits.detection_ms * 2));
        let mut queue: VecDeque<Append> = VecDeque::new();
        loop {
            silence.restart();
            if working.is_none()
                && let Some(next) = queue.pop_front()
            {
                *working = Some(Box::pin(append(self.shared.clone(), self.link, next)));
            }
            let answer = tokio::select! {
                biased;
                _ = fence.changed(), if working.is_none() => return Err("a newer link has begun".to_owned()),
                done = async {
                    match working.as_mut() {
                        Some(work) => work.await,
                        None => std::future::pending().await,
                    }
                } => {
                    *working = None;
                    Some(done?)
                }
                // A head that sends much again is slowed down, not turned away.
                frame = reader.next(), if queue.len() < QUEUE_MAX => {
                    let envelope = match frame {
                        Ok(Some(envelope)) => envelope,
                        Ok(None) => return Err("closed by the head".to_owned()),
                        Err(error) => return Err(error.to_string()),
                    };
                    self.handle(envelope, &mut queue).await?
                }
                () = silence.lasted(), if queue.len() < QUEUE_MAX => return Err("the head is silent".to_owned()),
            };
            if let Some(body) = answer {
                self.say(write, body).await?;
            }
        }
    }

    async fn handle(
        &mut self,
        envelope: Envelope,
        queue: &mut VecDeque<Append>,
    ) -> Result<Option<Body>, String> {
        if !self.shared.same_epoch(&envelope) {
            return Err("the head is in another epoch".to_owned());
        }
        {
            let mut view = self.shared.view();
            view.head_confirmed = view.head_confirmed.max(envelope.seen);
        }
        match envelope.body {
            Some(Body::Ping(number)) => {
                let view = self.shared.view();
                let (last, serving) = (view.last.seq, view.serving());
                let pong = Pong { number, last, serving, ..Pong::default() };
                Ok(Some(Body::Pong(pong)))
            }
            Some(Body::Start(start)) if start.nonce == self.nonce => {
                let must_reach = self.shared.must_reach();
                let forgot = {
                    let mut view = self.shared.view();
                    if view.withheld.diverged {
                        return Err("this log and the head's are not one history".to_owned());
                    }
                    // The head has joined, or knows that this tail has (R10).
                    view.joined = true;
                    view.catch_up_to = start.last.max(must_reach);
                    view.withheld.behind = view.last.seq < view.catch_up_to;
                    view.agreed();
                    view.last.seq < start.confirmed
                };
                self.started = true;
                if forgot {
                    self.shared.loud("loud:tail-below-confirmed");
                }
                Ok(None)
            }
            Some(Body::Append(append)) if self.started && append.nonce == self.nonce => {
                queue.push_back(append);
                Ok(None)
            }
            Some(Body::Fetch(after)) => self.fetch(after).await.map(Some),
            Some(Body::Halt(halt)) if halt.nonce == self.nonce => Err(self.halt(&halt)),
            _ => Err("the head sent what does not fit here".to_owned()),
        }
    }

    /// R6: the head cannot go on from this log: it serves no longer.
    fn halt(&self, halt: &Halt) -> String {
        if halt.why() == Apart::TooFarBehind {
            self.shared.lacking("loud:too-far-behind");
            "the head does not keep what this log lacks".to_owned()
        } else {
            self.shared.diverged("loud:not-a-prefix");
            "this log and the head's are not one history".to_owned()
        }
    }

    /// R6: the head lost synced entries and asks for them.
    async fn fetch(&self, after: u64) -> Result<Body, String> {
        let entries = self
            .shared
            .engine("fetch", move |engine| match engine.position_at(after)? {
                Some(from) => engine.entries_after(from, BATCH_MAX_BYTES),
                None => Ok(Vec::new()),
            })
            .await
            .map_err(|error| error.to_string())?;
        let entry = |entry: &Entry| Append {
            nonce: self.nonce.clone(),
            seq: entry.position.seq,
            previous: entry.previous.hash.to_vec(),
            entry: entry.bytes.clone(),
        };
        Ok(Body::Entries(Entries { entries: entries.iter().map(entry).collect() }))
    }
}

/// R2. Only the newest link's entries, only the next one, only on the same history.
async fn append(shared: Arc<Shared>, link: u64, append: Append) -> Result<Body, String> {
    let _writer = shared.writer.lock().await;
    if *shared.link.borrow() != link {
        return Err("a newer link has begun".to_owned());
    }
    let last = shared.view().last;
    if append.seq <= last.seq {
        return confirm_again(&shared, append).await;
    }
    if append.seq == last.seq + 1 && append.previous != last.hash {
        shared.diverged("loud:not-a-prefix");
        return Err("an entry follows another history".to_owned());
    }
    if append.seq != last.seq + 1 {
        shared.loud("loud:append-does-not-fit");
        return Err("an entry does not follow this log".to_owned());
    }
    let entry = Entry::decode(last, append.entry).map_err(|error| error.to_string())?;
    shared.check(&entry)?;
    let entry = shared.append_and_apply("commit", entry).await.map_err(|error| error.to_string())?;
    // Durable: now visible, then confirmed.
    advance(&shared, &entry);
    Ok(Body::Confirm(entry.position.out()))
}

fn advance(shared: &Shared, entry: &Entry) {
    let position = entry.position;
    let mut view = shared.view();
    assert_eq!(view.last.seq + 1, position.seq, "the tail's log has no holes");
    view.last = position;
    view.confirmed = position;
    if view.withheld.behind && position.seq >= view.catch_up_to {
        view.withheld.behind = false;
        view.agreed();
    }
    view.applied(entry);
    drop(view);
    shared.confirmed.send_replace(position.seq);
}

/// Repeats are confirmed again, if they are the entries that stand here.
async fn confirm_again(shared: &Shared, append: Append) -> Result<Body, String> {
    let seq = append.seq;
    let before = seq.checked_sub(1).ok_or("an entry without a number")?;
    let stored = shared
        .engine("position", move |engine| Ok((engine.position_at(before)?, engine.position_at(seq)?)))
        .await
        .map_err(|error: EngineError| error.to_string())?;
    match stored {
        (Some(previous), Some(stored)) if previous.after(&append.entry) == stored => {
            Ok(Body::Confirm(stored.out()))
        }
        _ => {
            shared.diverged("loud:not-a-prefix");
            Err("a repeated entry is not the one that stands here".to_owned())
        }
    }
}
