//! The head's side of the chain link: connects to the tail, greets (R6), carries appends, pings. Reconnects
//! with a capped backoff. Decides nothing: what it hears goes to the head's task.

use super::{head::Event, view::Shared};
use crate::{
    config::Zone,
    env::Mono,
    limits::ms,
    store::{backoff::Backoff, log::Position},
    wire::{
        frame::{self, FrameError, FrameReader},
        message::{Body, Envelope, Hello, Welcome},
        tls::{Expected, NodeTls, PeerRole},
    },
};
use std::{collections::VecDeque, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum LinkEnd {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("deadline passed")]
    Deadline,
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("closed by the tail")]
    Closed,
    #[error("{0}")]
    Peer(&'static str),
    #[error("no pong within the detection bound")]
    Silent,
    #[error("dropped by the head")]
    Dropped,
}

/// Keeps a link to the tail for as long as the incarnation lives.
pub(super) async fn run(shared: Arc<Shared>, tls: Arc<NodeTls>, events: mpsc::UnboundedSender<Event>) {
    let mut backoff = Backoff::new(&shared.config.limits);
    let mut id = 0;
    loop {
        id += 1;
        let before = shared.env.now();
        let end = if shared.identity().active() {
            link(&shared, &tls, &events, id).await
        } else {
            LinkEnd::Peer("the epoch is not active")
        };
        if events.send(Event::Down { link: id }).is_err() {
            return;
        }
        tracing::info!(link = id, %end, "chain link ended");
        backoff.pause(&shared.env, before).await;
    }
}

async fn link(
    shared: &Arc<Shared>,
    tls: &NodeTls,
    events: &mpsc::UnboundedSender<Event>,
    id: u64,
) -> LinkEnd {
    let env = &shared.env;
    let limits = &shared.config.limits;
    // What changes under the link ends it: the identity, or a reason to compare anew.
    let mut changes = shared.link.subscribe();
    let epoch = shared.epoch();
    let Some(address) = shared.config.peers.tail.as_deref() else {
        return LinkEnd::Peer("no tail configured");
    };
    let connect = async {
        let stream = env.net.connect(address).await?;
        tls.connect(stream, &Expected { role: PeerRole::Database, zone: Some(Zone::B) }).await
    };
    let (stream, _peer) = match env.timeout(ms(limits.connect_ms), connect).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => return LinkEnd::Connect(error),
        Err(_) => return LinkEnd::Deadline,
    };
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = FrameReader::new(read);
    let greet = greet(shared, &mut reader, &mut write);
    let (nonce, tail) = match env.timeout(ms(limits.connect_ms), greet).await {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(end)) => return end,
        Err(_) => return LinkEnd::Deadline,
    };
    let (out, orders) = mpsc::unbounded_channel();
    if events.send(Event::Welcome { link: id, epoch, nonce, tail, out }).is_err() {
        return LinkEnd::Dropped;
    }
    tokio::select! {
        biased;
        _ = changes.changed() => LinkEnd::Dropped,
        end = carry(shared, &mut reader, &mut write, events, orders, id) => end,
    }
}

/// Hello, Welcome.
async fn greet<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    reader: &mut FrameReader<R>,
    write: &mut W,
) -> Result<(Vec<u8>, Position), LinkEnd> {
    let last = shared.view().last;
    let hello = Hello {
        db_id: shared.identity().db_id.0.to_vec(),
        last: Some(last.out()),
        joined: shared.view().joined,
    };
    frame::write(write, &shared.envelope(0, Body::Hello(hello))).await?;
    let envelope = reader.next().await?.ok_or(LinkEnd::Closed)?;
    let Some(Body::Welcome(welcome)) = &envelope.body else {
        return Err(LinkEnd::Peer("the tail did not welcome this head"));
    };
    check_welcome(shared, &envelope, welcome)
}

fn check_welcome(
    shared: &Arc<Shared>,
    envelope: &Envelope,
    welcome: &Welcome,
) -> Result<(Vec<u8>, Position), LinkEnd> {
    let [_, tail] = shared.identity().epoch.record.members;
    if !shared.same_epoch(envelope) || welcome.db_id != tail.0 {
        shared.ask.notify_one();
        return Err(LinkEnd::Peer("the tail is not the member of this epoch"));
    }
    if !welcome.joined && !shared.view().joined {
        return Err(LinkEnd::Peer("neither database knows yet that the epoch is current"));
    }
    shared.view().joined = true;
    let position = Position::read(welcome.last.as_ref()).map_err(|error| LinkEnd::Peer(error.0))?;
    Ok((welcome.nonce.clone(), position))
}

/// Carries messages both ways and pings, until silence or an end.
async fn carry<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    reader: &mut FrameReader<R>,
    write: &mut W,
    events: &mpsc::UnboundedSender<Event>,
    mut orders: mpsc::UnboundedReceiver<Body>,
    id: u64,
) -> LinkEnd {
    let env = &shared.env;
    let (ping, detection) = (ms(shared.config.limits.ping_ms), ms(shared.config.limits.detection_ms));
    let mut sent: VecDeque<(u64, Mono)> = VecDeque::new();
    let mut number = 0;
    let mut heard = env.now();
    let mut next_ping = env.now();
    let mut alarm = env.clock.sleep_until(next_ping);
    loop {
        let now = env.now();
        if now.since(heard) > detection {
            return LinkEnd::Silent;
        }
        if now >= next_ping {
            number += 1;
            sent.push_back((number, now));
            next_ping = now + ping;
            alarm = env.clock.sleep_until(next_ping);
            if let Err(end) = say(shared, write, Body::Ping(number)).await {
                return end;
            }
        }
        tokio::select! {
            biased;
            order = orders.recv() => {
                let Some(body) = order else { return LinkEnd::Dropped };
                if let Err(end) = say(shared, write, body).await {
                    return end;
                }
                // A large entry held up the pings; the peer took it, so give its pong a whole bound.
                heard = heard.max(env.now());
            }
            frame = reader.next() => {
                let envelope = match frame {
                    Ok(Some(envelope)) => envelope,
                    Ok(None) => return LinkEnd::Closed,
                    Err(error) => return error.into(),
                };
                let event = match hear(shared, envelope, &mut sent, &mut heard, id) {
                    Ok(event) => event,
                    Err(end) => return end,
                };
                if let Some(event) = event && events.send(event).is_err() {
                    return LinkEnd::Dropped;
                }
            }
            () = alarm.as_mut() => alarm = env.clock.sleep_until(next_ping),
        }
    }
}

async fn say<W: AsyncWrite + Unpin>(shared: &Shared, write: &mut W, body: Body) -> Result<(), LinkEnd> {
    let envelope = shared.envelope(0, body);
    let detection = ms(shared.config.limits.detection_ms);
    Ok(frame::write_patiently(&shared.env, write, &envelope, detection).await?)
}

fn hear(
    shared: &Arc<Shared>,
    envelope: Envelope,
    sent: &mut VecDeque<(u64, Mono)>,
    heard: &mut Mono,
    id: u64,
) -> Result<Option<Event>, LinkEnd> {
    if !shared.same_epoch(&envelope) {
        return Err(LinkEnd::Peer("the tail is in another epoch"));
    }
    match envelope.body {
        Some(Body::Pong(pong)) => {
            let mut echoed = None;
            while let Some(&(number, at)) = sent.front()
                && number <= pong.number
            {
                echoed = (number == pong.number).then_some(at);
                sent.pop_front();
            }
            Ok(echoed.map(|at| {
                *heard = (*heard).max(at);
                Event::Pong { link: id, sent: at }
            }))
        }
        Some(Body::Confirm(position)) => {
            let position = Position::read(Some(&position)).map_err(|error| LinkEnd::Peer(error.0))?;
            Ok(Some(Event::Confirm { link: id, position }))
        }
        Some(Body::Entries(entries)) => Ok(Some(Event::Entries { link: id, entries: entries.entries })),
        _ => Err(LinkEnd::Peer("the tail sent what a tail does not send")),
    }
}
