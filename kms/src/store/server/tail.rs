//! The tail of the chain: takes the head's entries over one link at a time (R6), makes each durable, then
//! visible, then confirms it (R2). Its durable commit is the commit.

use super::view::Shared;
use crate::{
    env::Purpose,
    limits::{BATCH_MAX_BYTES, ms},
    store::{
        engine::EngineError,
        log::{Entry, Position},
    },
    wire::{
        frame::{self, FrameReader},
        message::{Append, Body, Entries, Envelope, Hello, Pong, Welcome},
    },
};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Serves the link that began with `hello`, until it ends. Returns why.
pub(super) async fn serve<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    reader: &mut FrameReader<R>,
    write: &mut W,
    envelope: &Envelope,
    hello: &Hello,
) -> String {
    let [head, _] = shared.genesis.members;
    if shared.genesis.head || !shared.same_epoch(envelope) || hello.db_id != head {
        shared.loud("loud:not-a-member");
        return "the peer is not the head of this epoch".to_owned();
    }
    let nonce = match shared.env.random::<16>(Purpose::Public) {
        Ok(nonce) => nonce.to_vec(),
        Err(error) => return error.to_string(),
    };
    // R6: end any older link first, wait for its last append, and only then read where this log ends.
    let link = {
        let mut view = shared.view();
        view.link += 1;
        view.link
    };
    let last = {
        let _writer = shared.writer.lock().await;
        shared.view().last
    };
    let welcome =
        Welcome { nonce: nonce.clone(), db_id: shared.genesis.db_id.to_vec(), last: Some(last.out()) };
    if let Err(error) = frame::write(write, &shared.envelope(0, Body::Welcome(welcome))).await {
        return error.to_string();
    }
    let mut tail = Tail { shared: shared.clone(), nonce, link, started: false, catch_up: 0 };
    loop {
        let silence = ms(shared.config.limits.detection_ms * 2);
        let envelope = match shared.env.timeout(silence, reader.next()).await {
            Ok(Ok(Some(envelope))) => envelope,
            Ok(Ok(None)) => return "closed by the head".to_owned(),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "the head is silent".to_owned(),
        };
        if !shared.same_epoch(&envelope) {
            return "the head is in another epoch".to_owned();
        }
        let answer = match tail.handle(envelope).await {
            Ok(answer) => answer,
            Err(why) => return why,
        };
        if let Some(body) = answer
            && let Err(error) = frame::write(write, &shared.envelope(0, body)).await
        {
            return error.to_string();
        }
    }
}

struct Tail {
    shared: Arc<Shared>,
    nonce: Vec<u8>,
    link: u64,
    started: bool,
    /// The head's confirmed index: below it this tail serves nothing (R6).
    catch_up: u64,
}

impl Tail {
    async fn handle(&mut self, envelope: Envelope) -> Result<Option<Body>, String> {
        match envelope.body {
            Some(Body::Ping(number)) => {
                let view = self.shared.view();
                let pong = Pong { number, last: view.last.seq, serving: view.serving, writable: false };
                Ok(Some(Body::Pong(pong)))
            }
            Some(Body::Start(start)) if start.nonce == self.nonce => {
                self.started = true;
                self.catch_up = start.confirmed;
                let mut view = self.shared.view();
                if view.last.seq < start.confirmed {
                    view.serving = false;
                    drop(view);
                    self.shared.loud("loud:tail-below-confirmed");
                }
                Ok(None)
            }
            Some(Body::Append(append)) if self.started && append.nonce == self.nonce => {
                self.append(append).await.map(Some)
            }
            Some(Body::Fetch(after)) => self.fetch(after).await.map(Some),
            _ => Err("the head sent what does not fit here".to_owned()),
        }
    }

    /// R2. Only the newest link's entries, only the next one, only on the same history.
    async fn append(&mut self, append: Append) -> Result<Body, String> {
        let shared = self.shared.clone();
        let _writer = shared.writer.lock().await;
        let last = {
            let view = shared.view();
            if view.link != self.link {
                return Err("a newer link has begun".to_owned());
            }
            view.last
        };
        if append.seq <= last.seq {
            return self.confirm_again(append).await;
        }
        if append.seq != last.seq + 1 || append.previous != last.hash {
            shared.loud("loud:append-does-not-fit");
            return Err("an entry does not follow this log".to_owned());
        }
        let entry = Entry::decode(last, append.entry).map_err(|error| error.to_string())?;
        let position = entry.position;
        shared
            .engine("commit", move |engine| engine.append_and_apply(&entry))
            .await
            .map_err(|error| error.to_string())?;
        // Durable: now visible, then confirmed.
        self.advance(position);
        Ok(Body::Confirm(position.out()))
    }

    fn advance(&self, position: Position) {
        let mut view = self.shared.view();
        assert_eq!(view.last.seq + 1, position.seq, "the tail's log has no holes");
        view.last = position;
        view.confirmed = position;
        if self.catch_up > 0 && position.seq >= self.catch_up {
            view.serving = true;
        }
        drop(view);
        self.shared.confirmed.send_replace(position.seq);
    }

    /// Repeats are confirmed again, if they are the entries that stand here.
    async fn confirm_again(&self, append: Append) -> Result<Body, String> {
        let seq = append.seq;
        let stored = self
            .shared
            .engine("position", move |engine| Ok((engine.position_at(seq - 1)?, engine.position_at(seq)?)))
            .await
            .map_err(|error: EngineError| error.to_string())?;
        match stored {
            (Some(previous), Some(stored)) if previous.after(&append.entry) == stored => {
                Ok(Body::Confirm(stored.out()))
            }
            _ => {
                self.shared.loud("loud:not-a-prefix");
                self.shared.view().serving = false;
                Err("a repeated entry is not the one that stands here".to_owned())
            }
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
