//! Simulated TCP: addresses, listeners, connecting, and the links between nodes with their latency and cuts.
//! A link may be cut one way; what waits on it moves on when it is joined. Datagrams do not exist.

mod conn;
mod link;

pub(super) use conn::Conn;
pub(super) use link::Held;

use super::{
    Inner, NodeSpec, Span, Stream, WorldSettings, locked,
    node::{Life, Node},
    timer::Due,
};
use crate::{actions::CutMode, history::Stop};
use conn::SimStream;
use kms::env::{Accepted, BoxFuture, Listener, Net};
use link::Link;
use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// Connections a listener keeps before it accepts them.
const BACKLOG: usize = 1_024;
/// First and longest pause between two requests to connect to a machine that does not answer, microseconds.
const SYN_RETRY_US: (u64, u64) = (1_000_000, 8_000_000);
/// First port given to clients and to listeners that ask for port 0.
const EPHEMERAL: u16 = 32_768;

/// Everything about the network but the connections themselves.
pub(super) struct NetState {
    stream: Stream,
    links: Vec<Vec<Link>>,
    listeners: BTreeMap<(usize, u16), Arc<Accepting>>,
    conns: BTreeMap<u64, Weak<Conn>>,
    next_conn: u64,
    next_port: Vec<u16>,
    /// Streams whose peer's machine has no power.
    dark: BTreeMap<usize, Vec<(Arc<Conn>, usize)>>,
}

/// A listening socket.
struct Accepting {
    life: Arc<Life>,
    open: AtomicBool,
    queue: Mutex<(VecDeque<Arc<Conn>>, Option<Waker>)>,
}

/// A request to connect.
pub(in crate::world) struct Attempt {
    life: Arc<Life>,
    to: usize,
    port: u16,
    client_address: String,
    state: Mutex<AttemptState>,
}

#[derive(Default)]
struct AttemptState {
    given_up: bool,
    answer: Option<io::Result<Arc<Conn>>>,
    waker: Option<Waker>,
    tries: u32,
}

impl NetState {
    pub(super) fn new(seed: u64) -> NetState {
        NetState {
            stream: Stream::new(seed, "network"),
            links: Vec::new(),
            listeners: BTreeMap::new(),
            conns: BTreeMap::new(),
            next_conn: 1,
            next_port: Vec::new(),
            dark: BTreeMap::new(),
        }
    }

    pub(super) fn add_node(&mut self, settings: &WorldSettings, others: &[Arc<Node>], spec: &NodeSpec) {
        let place = |other: &NodeSpec| -> Span {
            match () {
                () if other.region != spec.region => settings.other_region,
                () if other.zone.is_some() && other.zone == spec.zone => settings.same_zone,
                () => settings.same_region,
            }
        };
        for (index, other) in others.iter().enumerate() {
            self.links[index].push(Link::new(place(&other.spec)));
        }
        let mut row: Vec<Link> = others.iter().map(|other| Link::new(place(&other.spec))).collect();
        row.push(Link::new(settings.same_node));
        self.links.push(row);
        self.next_port.push(EPHEMERAL);
    }

    fn port(&mut self, node: usize) -> u16 {
        let port = self.next_port[node];
        self.next_port[node] = port.checked_add(1).unwrap_or(EPHEMERAL);
        port
    }

    /// When something sent now would arrive.
    fn arrival(&mut self, settings: &WorldSettings, now_ns: u64, from: usize, to: usize) -> u64 {
        let link = &self.links[from][to];
        let mut us = self.stream.range(link.span.low_us * 1_000, link.span.high_us * 1_000);
        us += link.extra_us * 1_000;
        if self.stream.chance(settings.loss_per_million, 1_000_000) {
            us += self.stream.range(settings.retransmit.low_us, settings.retransmit.high_us) * 1_000;
        }
        now_ns + us
    }

    fn forget_closed(&mut self) {
        self.conns.retain(|_, conn| conn.upgrade().is_some_and(|conn| !conn.is_over()));
    }
}

/// `host:port`; the host is a node's address or name, or means the node itself.
fn parse(inner: &Inner, own: usize, address: &str) -> io::Result<(usize, u16)> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, format!("not an address: {address}"));
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let port = port.parse().map_err(|_| bad())?;
    if matches!(host, "0.0.0.0" | "[::]" | "localhost" | "127.0.0.1" | "") {
        return Ok((own, port));
    }
    let nodes = locked(&inner.nodes);
    // Most worlds have nobody astray: no key is made for those.
    let astray = if nodes.astray.is_empty() { None } else { nodes.astray.get(&(own, host.to_owned())) };
    match astray.or_else(|| nodes.addresses.get(host)).or_else(|| nodes.names.get(host)) {
        Some(node) => Ok((*node, port)),
        None => {
            Err(io::Error::new(io::ErrorKind::HostUnreachable, format!("no node has the address {host}")))
        }
    }
}

/// The network as one life of a node sees it.
pub(super) struct NodeNet {
    pub(super) inner: Arc<Inner>,
    pub(super) life: Arc<Life>,
}

impl Net for NodeNet {
    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let (node, mut port) = parse(&self.inner, self.life.node, address)?;
            if node != self.life.node {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
            let mut net = locked(&self.inner.net);
            if port == 0 {
                port = net.port(node);
            }
            let taken = |old: &Arc<Accepting>| {
                old.open.load(Ordering::Relaxed) && old.life.alive.load(Ordering::Relaxed)
            };
            if net.listeners.get(&(node, port)).is_some_and(taken) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let accepting = Arc::new(Accepting {
                life: self.life.clone(),
                open: AtomicBool::new(true),
                queue: Mutex::default(),
            });
            net.listeners.insert((node, port), accepting.clone());
            drop(net);
            let ip = self.inner.node(node).spec.ip.clone();
            let inner = self.inner.clone();
            Ok(Box::new(SimListener { inner, accepting, address: format!("{ip}:{port}") })
                as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<kms::env::Stream>> {
        Box::pin(async move {
            let own = self.life.node;
            let (to, port) = parse(&self.inner, own, address)?;
            let ip = self.inner.node(own).spec.ip.clone();
            let attempt = {
                let client_address = format!("{ip}:{}", locked(&self.inner.net).port(own));
                let (life, state) = (self.life.clone(), Mutex::default());
                Arc::new(Attempt { life, to, port, client_address, state })
            };
            self.inner.send_syn(&attempt);
            let conn = Connecting { inner: self.inner.clone(), attempt }.await?;
            Ok(Box::new(SimStream::new(&self.inner, conn, 0)) as kms::env::Stream)
        })
    }
}

/// Waits for the answer to a request to connect; dropping it takes the request back.
struct Connecting {
    inner: Arc<Inner>,
    attempt: Arc<Attempt>,
}

impl Future for Connecting {
    type Output = io::Result<Arc<Conn>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = locked(&self.attempt.state);
        if let Some(answer) = state.answer.take() {
            state.given_up = true;
            return Poll::Ready(answer);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        let answer = {
            let mut state = locked(&self.attempt.state);
            state.given_up = true;
            state.answer.take()
        };
        if let Some(Ok(conn)) = answer {
            self.inner.close(&conn, 0);
        }
    }
}

impl Inner {
    /// Lets go of everything that holds connections, at the end of a run.
    pub(super) fn net_clear(&self) {
        let (dark, listeners, links) = {
            let mut net = locked(&self.net);
            let links = net.links.iter_mut().flatten().map(|link| std::mem::take(&mut link.held));
            let links: Vec<_> = links.collect();
            (std::mem::take(&mut net.dark), std::mem::take(&mut net.listeners), links)
        };
        drop((dark, listeners, links));
    }

    fn send_syn(&self, attempt: &Arc<Attempt>) {
        let from = attempt.life.node;
        let at = locked(&self.net).arrival(&self.settings, self.now_ns(), from, attempt.to);
        self.trace("syn", from, attempt.to, u64::from(attempt.port), 0, &[]);
        self.at(at, Due::Syn(attempt.clone()));
    }

    /// A request to connect arrives.
    pub(super) fn syn(self: &Arc<Self>, attempt: &Arc<Attempt>) {
        let (from, to) = (attempt.life.node, attempt.to);
        if locked(&attempt.state).given_up {
            return;
        }
        let answer = {
            let mut net = locked(&self.net);
            match net.links[from][to].cut {
                Some(CutMode::Hold) => {
                    net.links[from][to].held.push(Held::Syn(attempt.clone()));
                    return;
                }
                Some(CutMode::Reset) => Some(Err(io::ErrorKind::ConnectionReset.into())),
                None if !self.node(to).powered() => None,
                None => self.accept_syn(&mut net, attempt),
            }
        };
        match answer {
            Some(answer) => self.answer_syn(attempt, answer),
            None => {
                let tries = {
                    let mut state = locked(&attempt.state);
                    state.tries += 1;
                    state.tries.min(8)
                };
                let pause = (SYN_RETRY_US.0 << (tries - 1)).min(SYN_RETRY_US.1);
                self.at(self.now_ns() + pause * 1_000, Due::Syn(attempt.clone()));
            }
        }
    }

    /// The machine runs: a listener takes the request, or nobody does. `None`: the backlog is full.
    fn accept_syn(
        self: &Arc<Self>,
        net: &mut NetState,
        attempt: &Arc<Attempt>,
    ) -> Option<io::Result<Arc<Conn>>> {
        let refused = || Some(Err(io::ErrorKind::ConnectionRefused.into()));
        let Some(accepting) = net.listeners.get(&(attempt.to, attempt.port)).cloned() else {
            return refused();
        };
        if !accepting.open.load(Ordering::Relaxed) || !accepting.life.alive.load(Ordering::Relaxed) {
            return refused();
        }
        let mut queue = locked(&accepting.queue);
        if queue.0.len() >= BACKLOG {
            return None;
        }
        let number = net.next_conn;
        net.next_conn += 1;
        let lives = [attempt.life.clone(), accepting.life.clone()];
        let conn = Conn::new(number, lives, attempt.client_address.clone());
        net.conns.insert(number, Arc::downgrade(&conn));
        if number.is_multiple_of(256) {
            net.forget_closed();
        }
        queue.0.push_back(conn.clone());
        if let Some(waker) = queue.1.take() {
            waker.wake();
        }
        Some(Ok(conn))
    }

    fn answer_syn(&self, attempt: &Arc<Attempt>, answer: io::Result<Arc<Conn>>) {
        let at = locked(&self.net).arrival(&self.settings, self.now_ns(), attempt.to, attempt.life.node);
        self.at(at, Due::SynAnswer(attempt.clone(), answer));
    }

    /// The answer to a request to connect arrives.
    pub(super) fn syn_answer(self: &Arc<Self>, attempt: &Arc<Attempt>, answer: io::Result<Arc<Conn>>) {
        let (from, to) = (attempt.life.node, attempt.to);
        {
            let mut net = locked(&self.net);
            let link = &mut net.links[to][from];
            if link.cut == Some(CutMode::Hold) {
                link.held.push(Held::Answer(attempt.clone(), answer));
                return;
            }
        }
        self.trace("syn-answer", to, from, u64::from(attempt.port), u64::from(answer.is_ok()), &[]);
        let mut state = locked(&attempt.state);
        if state.given_up {
            drop(state);
            if let Ok(conn) = answer {
                self.close(&conn, 0);
            }
            return;
        }
        state.answer = Some(answer);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Ends every stream and listener of a life: as a process' death does, or a loss of power.
    pub(super) fn end_streams(self: &Arc<Self>, life: &Arc<Life>, how: Stop) {
        let (conns, listeners) = {
            let mut net = locked(&self.net);
            net.forget_closed();
            let conns: Vec<Arc<Conn>> = net.conns.values().filter_map(Weak::upgrade).collect();
            let dead = |accepting: &Arc<Accepting>| Arc::ptr_eq(&accepting.life, life);
            let listeners: Vec<_> = net.listeners.extract_if(.., |_, accepting| dead(accepting)).collect();
            (conns, listeners)
        };
        for conn in &conns {
            for end in 0..2 {
                if conn.is_open_end(end, life) {
                    match how {
                        Stop::PowerCut => self.darken(conn, end),
                        Stop::Kill | Stop::Shutdown => self.close(conn, end),
                    }
                }
            }
        }
        drop(listeners);
    }

    /// A machine has power again: what was sent to it meanwhile is answered with a reset, some time later.
    pub(super) fn machine_back(self: &Arc<Self>, node: usize) {
        let waiting = locked(&self.net).dark.remove(&node).unwrap_or_default();
        for (conn, direction) in waiting {
            self.release(&conn, direction);
        }
    }
}

struct SimListener {
    inner: Arc<Inner>,
    accepting: Arc<Accepting>,
    address: String,
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(std::future::poll_fn(|cx| {
            let mut queue = locked(&self.accepting.queue);
            let Some(conn) = queue.0.pop_front() else {
                queue.1 = Some(cx.waker().clone());
                return Poll::Pending;
            };
            drop(queue);
            let peer = conn.client_address.clone();
            Poll::Ready(Ok((Box::new(SimStream::new(&self.inner, conn, 1)) as kms::env::Stream, peer)))
        }))
    }

    fn local_address(&self) -> String {
        self.address.clone()
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.accepting.open.store(false, Ordering::Relaxed);
        let waiting = std::mem::take(&mut locked(&self.accepting.queue).0);
        for conn in waiting {
            self.inner.close(&conn, 1);
        }
    }
}
