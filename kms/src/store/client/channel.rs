//! One kept connection from a host to one database: requests side by side, ping and pong, reconnecting with
//! a capped backoff. Says of each request whether a byte of it can have left this process.

use super::Knowledge;
use crate::{
    config::Zone,
    env::{Env, Mono, Task},
    limits::{HOST_REQUESTS_MAX, ms},
    store::backoff::Backoff,
    wire::{
        frame::{self, FrameReader},
        message::{Body, ENVELOPE_VERSION, Envelope, Pong},
        tls::{Expected, NodeTls, PeerRole},
    },
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot},
};

/// No answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// No byte of it was sent: no connection, or no recent pong (R19).
    NotSent,
    /// It was (or may have been) sent.
    NoAnswer,
}

/// What the database last said of itself, while it is within earshot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DatabaseState {
    pub(super) serving: bool,
    pub(super) writable: bool,
    pub(super) leases: bool,
}

struct Order {
    body: Body,
    answer: Option<oneshot::Sender<Result<Body, Lost>>>,
}

#[derive(Default)]
struct Line {
    orders: Option<mpsc::UnboundedSender<Order>>,
    /// When the newest ping that was echoed had been sent.
    heard: Option<Mono>,
    state: DatabaseState,
}

/// A connection that is kept up.
pub(super) struct Channel {
    env: Env,
    knowledge: Arc<Knowledge>,
    line: Arc<Mutex<Line>>,
    _keeper: Task<()>,
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channel {
    pub(super) fn open(
        env: Env,
        knowledge: Arc<Knowledge>,
        tls: Arc<NodeTls>,
        zone: Zone,
        address: String,
    ) -> Arc<Channel> {
        let line = Arc::new(Mutex::new(Line::default()));
        let keeper =
            Keeper { env: env.clone(), knowledge: knowledge.clone(), tls, zone, address, line: line.clone() };
        let keeper = env.spawn("store-channel", keeper.run()).abort_on_drop();
        Arc::new(Channel { env, knowledge, line, _keeper: keeper })
    }

    /// What the database said of itself; nothing if no pong came within the detection bound.
    pub(super) fn state(&self) -> DatabaseState {
        let line = lock(&self.line);
        if self.fresh(&line) { line.state } else { DatabaseState::default() }
    }

    fn fresh(&self, line: &Line) -> bool {
        let bound = ms(self.knowledge.limits.detection_ms);
        line.heard.is_some_and(|sent| self.env.now().since(sent) <= bound)
    }

    fn order(&self, order: Order) -> Result<(), Lost> {
        let line = lock(&self.line);
        let orders = line.orders.as_ref().filter(|_| self.fresh(&line)).ok_or(Lost::NotSent)?;
        orders.send(order).map_err(|_| Lost::NotSent)
    }

    /// Sends a request and waits for its answer until `deadline`.
    pub(super) async fn request(&self, body: Body, deadline: Mono) -> Result<Body, Lost> {
        let (answer, answered) = oneshot::channel();
        self.order(Order { body, answer: Some(answer) })?;
        match self.env.deadline(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Lost::NoAnswer),
        }
    }

    /// Sends a message whose answer nobody needs, if there is a connection.
    pub(super) fn tell(&self, body: Body) {
        // Without a connection the report is lost; the next reader makes another.
        let _ = self.order(Order { body, answer: None });
    }
}

struct Keeper {
    env: Env,
    knowledge: Arc<Knowledge>,
    tls: Arc<NodeTls>,
    zone: Zone,
    address: String,
    line: Arc<Mutex<Line>>,
}

impl Keeper {
    async fn run(self) {
        let mut backoff = Backoff::new(&self.knowledge.limits);
        loop {
            let before = self.env.now();
            let why = self.connection().await;
            *lock(&self.line) = Line::default();
            tracing::info!(database = %self.address, %why, "connection to a database ended");
            backoff.pause(&self.env, before).await;
        }
    }

    async fn connection(&self) -> String {
        let limit = ms(self.knowledge.limits.connect_ms);
        let connect = async {
            let stream = self.env.net.connect(&self.address).await?;
            let expected = Expected { role: PeerRole::Database, zone: Some(self.zone) };
            self.tls.connect(stream, &expected).await
        };
        let stream = match self.env.timeout(limit, connect).await {
            Ok(Ok((stream, _peer))) => stream,
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "cannot connect in time".to_owned(),
        };
        let (read, write) = tokio::io::split(stream);
        let (orders, inbox) = mpsc::unbounded_channel();
        lock(&self.line).orders = Some(orders);
        let mut talk = Talk {
            keeper: self,
            waiting: BTreeMap::new(),
            pings: VecDeque::new(),
            call: 0,
            heard: self.env.now(),
        };
        let mut inbox = inbox;
        let why = talk.run(FrameReader::new(read), write, &mut inbox).await;
        lock(&self.line).orders = None;
        // Orders still in the inbox were never written.
        while let Ok(order) = inbox.try_recv() {
            if let Some(answer) = order.answer {
                let _ = answer.send(Err(Lost::NotSent));
            }
        }
        why
    }

    fn envelope(&self, call: u64, body: Body) -> Envelope {
        let seen = self.knowledge.seen();
        Envelope {
            version: ENVELOPE_VERSION,
            region: self.knowledge.region.clone(),
            epoch_no: seen.epoch_no,
            epoch_id: seen.epoch_id.to_vec(),
            call,
            seen: seen.seq,
            body: Some(body),
        }
    }
}

/// One connection's life. Dropping it tells every waiting request that no answer will come.
struct Talk<'a> {
    keeper: &'a Keeper,
    waiting: BTreeMap<u64, oneshot::Sender<Result<Body, Lost>>>,
    pings: VecDeque<(u64, Mono)>,
    call: u64,
    heard: Mono,
}

impl Talk<'_> {
    async fn run<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        mut reader: FrameReader<R>,
        mut write: W,
        inbox: &mut mpsc::UnboundedReceiver<Order>,
    ) -> String {
        let env = &self.keeper.env;
        let limits = &self.keeper.knowledge.limits;
        let (ping, detection) = (ms(limits.ping_ms), ms(limits.detection_ms));
        let mut next_ping = env.now();
        let mut alarm = env.clock.sleep_until(next_ping);
        loop {
            let now = env.now();
            if now.since(self.heard) > detection {
                return "no pong within the detection bound".to_owned();
            }
            let outgoing = if now >= next_ping {
                next_ping = now + ping;
                alarm = env.clock.sleep_until(next_ping);
                self.call += 1;
                self.pings.push_back((self.call, now));
                Some(Body::Ping(self.call))
            } else {
                tokio::select! {
                    biased;
                    frame = reader.next() => match frame {
                        Ok(Some(envelope)) => {
                            if let Err(why) = self.hear(envelope) {
                                return why;
                            }
                            None
                        }
                        Ok(None) => return "closed by the database".to_owned(),
                        Err(error) => return error.to_string(),
                    },
                    order = inbox.recv() => match order {
                        Some(order) => {
                            self.call += 1;
                            if self.waiting.len() >= HOST_REQUESTS_MAX {
                                self.waiting.retain(|_, answer| !answer.is_closed());
                            }
                            if let Some(answer) = order.answer {
                                self.waiting.insert(self.call, answer);
                            }
                            Some(order.body)
                        }
                        None => return "the host is stopping".to_owned(),
                    },
                    () = alarm.as_mut() => {
                        alarm = env.clock.sleep_until(next_ping);
                        None
                    }
                }
            };
            if let Some(body) = outgoing {
                let envelope = self.keeper.envelope(self.call, body);
                if let Err(error) = frame::write_patiently(env, &mut write, &envelope, detection).await {
                    return error.to_string();
                }
            }
        }
    }

    fn hear(&mut self, envelope: Envelope) -> Result<(), String> {
        if envelope.version != ENVELOPE_VERSION || envelope.region != self.keeper.knowledge.region {
            return Err("the database speaks another version, or is of another region".to_owned());
        }
        self.keeper.knowledge.learn(&envelope);
        match envelope.body {
            Some(Body::Pong(pong)) => {
                while let Some(&(number, sent)) = self.pings.front()
                    && number <= pong.number
                {
                    self.pings.pop_front();
                    if number == pong.number {
                        self.heard = self.heard.max(sent);
                        let mut line = lock(&self.keeper.line);
                        line.heard = line.heard.max(Some(sent));
                        let Pong { serving, writable, leases, .. } = pong;
                        line.state = DatabaseState { serving, writable, leases };
                    }
                }
                Ok(())
            }
            Some(body) => {
                if let Some(answer) = self.waiting.remove(&envelope.call) {
                    // The asker may have given up.
                    let _ = answer.send(Ok(body));
                }
                Ok(())
            }
            None => Err("an empty message".to_owned()),
        }
    }
}
