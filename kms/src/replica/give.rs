//! A region made anew from this replica (R17, R14): both databases are filled from what it has, once it has adopted the epoch and
//! holds the fence. It follows nobody meanwhile, so what it has stands still.

use super::{Node, kept::Kept};
use crate::{
    config::Zone,
    env::Env,
    limits::Limits,
    store::{
        engine::{Engine, EngineError, STORE_DIR},
        epoch::{DbId, Epoch, Identity, lineage_out},
        giving::{Giver, Keys, give_keyring, give_rows, say},
        held::Held,
        log::Position,
    },
    wire::{
        epoch as wire,
        message::{Body, Envelope},
        tls::{Peer, PeerRole},
    },
};
use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};
use tokio::{io::AsyncWrite, sync::watch};

/// The open store, for those who only read it. Shares in it end when the follower closes it.
pub(super) struct Opened {
    now: Mutex<Option<Reading>>,
    /// Counts the closings.
    closed: watch::Sender<u64>,
}

/// A share in the open store, and where it stands.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) held: Held,
    pub(super) identity: Identity,
    pub(super) last: Position,
}

impl Default for Opened {
    fn default() -> Opened {
        Opened { now: Mutex::new(None), closed: watch::Sender::new(0) }
    }
}

impl Opened {
    /// The store stands so.
    pub(super) fn now(&self, kept: &Kept) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept.reading());
    }

    /// The store is to be closed: whoever reads it lets go.
    pub(super) fn closes(&self) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.closed.send_modify(|count| *count += 1);
    }

    pub(super) fn reading(&self) -> Option<Reading> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Giving<'a> {
    node: &'a Node,
    held: Held,
}

impl Giver for Giving<'_> {
    fn env(&self) -> &Env {
        &self.node.env
    }

    fn limits(&self) -> &Limits {
        &self.node.config.limits
    }

    fn store_dir(&self) -> PathBuf {
        self.node.config.data_dir.join(STORE_DIR)
    }

    fn epoch(&self) -> Epoch {
        self.node.opened.reading().map_or(Epoch { no: 0, id: [0; 16] }, |reading| reading.identity.epoch())
    }

    fn envelope(&self, call: u64, body: Body) -> Envelope {
        let epoch = Giver::epoch(self);
        let envelope = self.node.envelope(call, body);
        Envelope { epoch_no: epoch.no, epoch_id: epoch.id.to_vec(), ..envelope }
    }

    async fn work<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Engine) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        self.held.run(&self.node.env, name, work).await
    }
}

/// Sends everything to a database that the registered epoch names; returns why it ended.
pub(super) async fn serve<W: AsyncWrite + Unpin>(
    node: &Node,
    peer: &Peer,
    asked: (&Envelope, &wire::FillBegin),
    write: &mut W,
) -> String {
    let mut closed = node.opened.closed.subscribe();
    let Some(reading) = node.opened.reading() else { return "no store is open here".to_owned() };
    let done = tokio::select! {
        biased;
        _ = closed.changed() => Err("the store is being closed".to_owned()),
        done = give(node, reading, peer, asked, write) => done,
    };
    match done {
        Ok(()) => "the fill is sent".to_owned(),
        Err(why) => {
            tracing::warn!(%why, "a fill ended");
            why
        }
    }
}

/// Whether the database that asks is to be filled from here.
fn may_give(identity: &Identity, peer: &Peer, asked: (&Envelope, &wire::FillBegin)) -> Result<(), String> {
    let (envelope, begin) = asked;
    let (epoch, target) = (identity.epoch(), DbId::read(&begin.target).map_err(|error| error.to_string())?);
    let same_epoch = envelope.epoch_no == epoch.no && envelope.epoch_id == epoch.id;
    if peer.role != PeerRole::Database || !same_epoch {
        return Err("a fill for another epoch was asked for".to_owned());
    }
    if identity.epoch.record.target_at(peer.zone == Some(Zone::A)) != Some(target) {
        return Err("a fill for another target was asked for".to_owned());
    }
    let source = identity.epoch.record.is_restore() && identity.is_source() && identity.fence.is_some();
    if !source || identity.active() || begin.from.is_some() {
        return Err("this replica is not the fenced source of an epoch that is still to begin".to_owned());
    }
    Ok(())
}

async fn give<W: AsyncWrite + Unpin>(
    node: &Node,
    reading: Reading,
    peer: &Peer,
    asked: (&Envelope, &wire::FillBegin),
    write: &mut W,
) -> Result<(), String> {
    let Reading { held, identity, last } = reading;
    may_give(&identity, peer, asked)?;
    let giving = Giving { node, held };
    let snapshot = giving.work("fill", |engine| {
        let snapshot = engine.snapshot()?;
        Ok((snapshot.records()?, snapshot))
    });
    let (rows, snapshot) = snapshot.await.map_err(|error| format!("own disk: {error}"))?;
    if snapshot.at() != last {
        return Err("what this replica has moved: no longer a source that stands still".to_owned());
    }
    let head = wire::FillHead {
        at: Some(last.out()),
        last: Some(last.out()),
        rows,
        lineage: lineage_out(&identity.lineage),
    };
    say(&giving, write, Body::FillHead(head)).await?;
    give_keyring(&giving, write, Keys::OfDomains).await?;
    let digest = give_rows(&giving, write, snapshot).await?;
    say(&giving, write, Body::FillEnd(wire::FillEnd { digest: digest.to_vec() })).await
}
