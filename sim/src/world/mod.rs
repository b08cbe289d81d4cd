//! The simulated world behind `kms::env`: network, disks, clocks, entropy and tasks of any number of nodes, and
//! object stores, in one thread, driven by one seed. Runs the service unchanged; contains nothing of the service.
//!
//! Everything random comes from named streams of the seed. Everything that happens goes into the trace hash.

mod act;
mod disk;
mod entropy;
mod executor;
#[cfg(madsim)]
pub mod hook;
#[cfg(madsim)]
pub mod leaks;
mod log;
mod net;
mod node;
mod objects;
mod replaced;
mod run;
mod secrecy;
mod stores;
pub mod swap;
mod tally;
mod tasks;
mod timer;
mod trace;

pub use disk::{DiskFaults, ImageFile};
pub use entropy::Stream;
pub use log::LogLayer;
pub use node::Machine;
pub use objects::StoreFaults;
pub use replaced::spare;
pub use run::{run, run_with};
pub use secrecy::{Leak, Secrecy};
pub use trace::{CHECKPOINT_EVENTS, TAIL_EVENTS, TraceTail, first_difference};

use crate::history::{Micros, What, WorldEvent};
use executor::Ready;
use kms::env::{BoxFuture, Env};
use node::{Deferred, Node};
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
};
use timer::Timers;

/// What `boot` runs: the node's program; returns why it ended.
pub type Main = Arc<dyn Fn(Env) -> BoxFuture<'static, String> + Send + Sync>;

/// What an operator is asked to do, by [`crate::actions::Actions::rebuild`] and its like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorOrder {
    /// Make a database anew.
    Rebuild {
        /// Whose.
        node: String,
        /// Give a registered rebuild up instead.
        abandon: bool,
        /// In place of a registered rebuild of the other database, whose source is lost.
        instead: bool,
        /// Stop in the middle after this long, for another operator to go on.
        interrupt_us: Option<Micros>,
    },
    /// Replace the witness.
    ReplaceWitness {
        /// As above.
        interrupt_us: Option<Micros>,
    },
    /// End the service of a domain.
    TerminateDomain {
        /// Which one of all but the first.
        draw: u64,
    },
    /// Seal a host, or leave it to its keepers again.
    Seal {
        /// Which.
        node: String,
        /// Seal it.
        sealed: bool,
    },
    /// Put another set of shares in the place of the one there is.
    RotateShares,
    /// Make a domain.
    CreateDomain {
        /// Its id is drawn by this.
        draw: u64,
    },
    /// Make the lost region anew.
    Restore {
        /// Of a backup, not of what the replica has.
        backup: bool,
        /// As above.
        interrupt_us: Option<Micros>,
    },
}

/// Takes an order and sees to it in a task of its own.
pub type Hired = Box<dyn Fn(OperatorOrder) + Send>;

/// One machine.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// `db-a`, `host-b2`, `client-1`, ...
    pub name: String,
    /// Its address, without a port.
    pub ip: String,
    /// `a` or `b`; `None` for an entry or a client, which are one inter-zone hop from both.
    pub zone: Option<char>,
    /// Its region.
    pub region: String,
    /// Wall clock against true time, microseconds.
    pub wall_offset_us: i64,
}

/// Bounds of a delay, microseconds, both included; drawn uniformly.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Least.
    pub low_us: u64,
    /// Most.
    pub high_us: u64,
}

impl Span {
    /// From `low_us` to `high_us`.
    pub const fn new(low_us: u64, high_us: u64) -> Span {
        Span { low_us, high_us }
    }
}

/// What the world is like when nothing is wrong.
#[derive(Debug, Clone)]
pub struct WorldSettings {
    /// One way, inside a node.
    pub same_node: Span,
    /// One way, inside a zone.
    pub same_zone: Span,
    /// One way, between zones of a region.
    pub same_region: Span,
    /// One way, between regions.
    pub other_region: Span,
    /// Segments lost and sent again, per million.
    pub loss_per_million: u64,
    /// What a lost segment costs.
    pub retransmit: Span,
    /// After a cut is joined, until the streams on the link move again.
    pub rejoin: Span,
    /// Bytes per millisecond of one stream; 0 = no limit.
    pub bytes_per_ms: u64,
    /// Unread bytes in flight in one direction of a stream.
    pub window_bytes: usize,
    /// A read of cached bytes, and one write.
    pub disk_access: Span,
    /// A sync without dirty sectors, or of a directory.
    pub disk_sync: Span,
    /// More for each dirty 4 KiB of a sync.
    pub disk_sync_page_us: u64,
    /// One operation of an object store, there and back.
    pub store_access: Span,
    /// More for each MiB that goes to or comes from an object store, microseconds.
    pub store_mib_us: u64,
    /// Hand-over of blocking work to its thread and back.
    pub blocking: Span,
    /// One step of a task, nanoseconds.
    pub poll_cost_ns: u64,
    /// True wall time at the start of the run, Unix seconds.
    pub epoch_s: u64,
    /// A process asked to stop is killed after this.
    pub shutdown_grace_us: u64,
    /// Ends of file names whose bytes are not searched for secrets: private keys on the nodes that own them.
    pub secret_files: Vec<String>,
}

impl Default for WorldSettings {
    fn default() -> Self {
        WorldSettings {
            same_node: Span::new(15, 40),
            same_zone: Span::new(100, 250),
            same_region: Span::new(300, 700),
            other_region: Span::new(4_000, 7_000),
            loss_per_million: 0,
            retransmit: Span::new(2_000, 220_000),
            rejoin: Span::new(1_000, 200_000),
            bytes_per_ms: 0,
            window_bytes: 256 << 10,
            disk_access: Span::new(5, 20),
            disk_sync: Span::new(300, 600),
            disk_sync_page_us: 5,
            store_access: Span::new(8_000, 60_000),
            store_mib_us: 20_000,
            blocking: Span::new(5, 30),
            poll_cost_ns: 200,
            epoch_s: 1_760_000_000,
            shutdown_grace_us: 10_000_000,
            secret_files: ["root.key", "backup.key", "node.key", ".pem"].map(str::to_owned).to_vec(),
        }
    }
}

/// A handle of the world. Cheap to clone.
#[derive(Clone)]
pub struct World(Arc<Inner>);

pub(crate) struct Inner {
    seed: u64,
    settings: WorldSettings,
    now_ns: AtomicU64,
    next_task: AtomicU64,
    ready: Arc<Ready>,
    scheduler: Mutex<Stream>,
    disk_stream: Mutex<Stream>,
    timers: Mutex<Timers>,
    /// Not later than the first of `timers` is due.
    first_due_ns: AtomicU64,
    nodes: Mutex<Nodes>,
    net: Mutex<net::NetState>,
    stores: Mutex<objects::StoreState>,
    trace: Mutex<trace::Trace>,
    polls: Mutex<tally::Tally>,
    secrecy: Mutex<secrecy::Secrecy>,
    events: Mutex<Vec<WorldEvent>>,
    probes: Mutex<BTreeMap<String, u64>>,
    deferred: Mutex<Vec<Deferred>>,
    swapper: Mutex<Option<Box<dyn swap::Swapper>>>,
    /// Woken when a node goes down.
    down_watcher: Mutex<Option<Waker>>,
    operator: Mutex<Option<Hired>>,
}

#[derive(Default)]
struct Nodes {
    list: Vec<Arc<Node>>,
    names: BTreeMap<String, usize>,
    addresses: BTreeMap<String, usize>,
    /// Who reaches another machine at an address than everybody else does.
    astray: BTreeMap<(usize, String), usize>,
}

/// The world is one thread's, so a poisoned lock only means that a panic is on its way up.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A world without nodes. Nothing moves before [`run`] drives it.
    pub fn new(seed: u64, settings: WorldSettings) -> World {
        let world = World(Arc::new(Inner {
            seed,
            now_ns: AtomicU64::new(0),
            next_task: AtomicU64::new(1),
            ready: Arc::default(),
            scheduler: Mutex::new(Stream::new(seed, "scheduler")),
            disk_stream: Mutex::new(Stream::new(seed, "disk")),
            timers: Mutex::default(),
            first_due_ns: AtomicU64::new(u64::MAX),
            nodes: Mutex::default(),
            net: Mutex::new(net::NetState::new(seed)),
            stores: Mutex::new(objects::StoreState::new(seed)),
            trace: Mutex::new(trace::Trace::new()),
            polls: Mutex::default(),
            secrecy: Mutex::new(secrecy::Secrecy::new()),
            events: Mutex::default(),
            probes: Mutex::default(),
            deferred: Mutex::default(),
            swapper: Mutex::default(),
            down_watcher: Mutex::default(),
            operator: Mutex::default(),
            settings,
        }));
        world.add_node(NodeSpec {
            name: "harness".to_owned(),
            ip: "127.0.0.1".to_owned(),
            zone: None,
            region: String::new(),
            wall_offset_us: 0,
        });
        world
    }

    /// Adds a machine, powered, without a process. Names and addresses are unique.
    pub fn add_node(&self, spec: NodeSpec) {
        let mut nodes = locked(&self.0.nodes);
        let index = nodes.list.len();
        locked(&self.0.trace).name(index, &spec.name);
        let twice = nodes.names.insert(spec.name.clone(), index).is_some()
            || nodes.addresses.insert(spec.ip.clone(), index).is_some();
        assert!(!twice, "node {} or its address {} exists", spec.name, spec.ip);
        locked(&self.0.net).add_node(&self.0.settings, &nodes.list, &spec);
        nodes.list.push(Node::new(index, spec, self.0.settings.epoch_s));
    }

    /// What `boot` runs on the node.
    pub fn set_main(&self, node: &str, main: Main) {
        self.0.find(node).set_main(main);
    }

    /// The node as the outside sees it: to install files before it boots (they are durable at once), and for
    /// clients, which are not booted. Its tasks last until the run ends, its disk never fails.
    pub fn env(&self, node: &str) -> Env {
        let node = self.0.find(node);
        self.0.env(&node.outside)
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// True wall time at the start of the run, Unix milliseconds.
    pub fn wall_from_ms(&self) -> u64 {
        self.0.settings.epoch_s * 1_000
    }

    /// A named stream of the seed (for the workload, the faults, ...).
    pub fn stream(&self, name: &str) -> Stream {
        Stream::new(self.0.seed, name)
    }

    /// Everything that was done to the world so far, in order.
    pub fn events(&self) -> Vec<WorldEvent> {
        locked(&self.0.events).clone()
    }

    /// Writes down what was done to the world.
    pub fn happened(&self, what: What) {
        self.0.record(executor::HARNESS, what);
    }

    /// Who sees to rebuilds.
    pub fn hire(&self, operator: Hired) {
        *locked(&self.0.operator) = Some(operator);
    }

    /// Whether a process of the node exists, paused or leaving as it may be.
    pub fn is_running(&self, node: &str) -> bool {
        self.0.find(node).life().is_some()
    }

    /// Counts something a checker wants to know of; `node` may be the harness.
    pub fn probe(&self, name: &str, node: &str) {
        let node = self.0.find(node);
        self.0.probe(name, &node);
    }

    /// Counts of all probes.
    pub fn probes(&self) -> BTreeMap<String, u64> {
        locked(&self.0.probes).clone()
    }

    /// The node whose code runs now (for logs); `harness` outside of any.
    pub fn current_node(&self) -> String {
        self.0.node(executor::current_node()).name()
    }

    /// Puts a line of the harness into the trace: a client outcome, a checker's step.
    pub fn note(&self, kind: &'static str, text: &str) {
        self.0.trace_text(kind, executor::current_node(), 0, text);
    }

    /// Registers a secret; false if it is too short to be searched for, or known.
    pub fn needle(&self, label: &str, bytes: &[u8]) -> bool {
        locked(&self.0.secrecy).add(label, bytes)
    }

    /// Secrets found in clear so far. [`World::search_disks`] first, at the end.
    pub fn leaks(&self) -> Vec<Leak> {
        locked(&self.0.secrecy).leaks()
    }

    /// Needles known, bytes searched: how much the secrecy check was exercised.
    pub fn searched(&self) -> (u64, u64) {
        locked(&self.0.secrecy).counts()
    }

    /// The hash of everything that happened.
    pub fn trace_hash(&self) -> u128 {
        locked(&self.0.trace).hash()
    }

    /// Events in the trace so far.
    pub fn trace_events(&self) -> u64 {
        locked(&self.0.trace).events()
    }

    /// The hash after each thousand events; see [`first_difference`].
    pub fn trace_checkpoints(&self) -> Vec<u64> {
        locked(&self.0.trace).checkpoints()
    }

    /// What the world was busy with, per simulated second: events of the trace and polls of tasks, by name.
    pub fn profile(&self) -> BTreeMap<String, f64> {
        let seconds = self.0.now_ns() as f64 / 1e9;
        let mut profile = BTreeMap::new();
        locked(&self.0.trace).tally().add_to(&mut profile, "event", seconds);
        locked(&self.0.polls).add_to(&mut profile, "poll", seconds);
        profile
    }

    /// Takes the last events so far.
    pub fn take_trace_tail(&self) -> TraceTail {
        locked(&self.0.trace).take_tail()
    }

    /// Writes every event from now on as a line.
    pub fn trace_to(&self, sink: Option<Box<dyn io::Write + Send>>) {
        locked(&self.0.trace).set_sink(sink);
    }

    /// The next node that went down after the first `seen` events, and when; for one watcher at a time.
    pub async fn next_down(&self, seen: &mut usize) -> (String, Micros) {
        std::future::poll_fn(|context| {
            let events = locked(&self.0.events);
            while let Some(event) = events.get(*seen) {
                *seen += 1;
                if let What::Down { node, .. } = &event.what {
                    return Poll::Ready((node.clone(), event.at));
                }
            }
            *locked(&self.0.down_watcher) = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// What swaps records of a database at rest; see [`swap`].
    pub fn set_swapper(&self, swapper: Box<dyn swap::Swapper>) {
        *locked(&self.0.swapper) = Some(swapper);
    }
}

impl Inner {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    fn now_us(&self) -> u64 {
        self.now_ns() / 1_000
    }

    fn set_now(&self, at_ns: u64) {
        self.now_ns.fetch_max(at_ns, Ordering::Relaxed);
    }

    fn node(&self, index: usize) -> Arc<Node> {
        locked(&self.nodes).list[index].clone()
    }

    /// Unknown names are errors of the harness.
    fn find(&self, name: &str) -> Arc<Node> {
        let nodes = locked(&self.nodes);
        match nodes.names.get(name) {
            Some(index) => nodes.list[*index].clone(),
            None => panic!("no node is called {name}"),
        }
    }

    fn requeue(&self, tasks: Vec<Arc<executor::Task>>) {
        self.ready.extend(tasks);
    }

    fn record(&self, node: usize, what: What) {
        self.trace_text("world", node, 0, &format!("{what:?}"));
        let down = matches!(what, What::Down { .. });
        locked(&self.events).push(WorldEvent { at: self.now_us(), what });
        if down && let Some(watcher) = locked(&self.down_watcher).take() {
            watcher.wake();
        }
    }

    fn probe(&self, name: &str, node: &Node) {
        *locked(&self.probes).entry(name.to_owned()).or_default() += 1;
        self.record(node.index, What::Probe { name: name.to_owned(), node: node.name() });
    }

    fn trace(&self, kind: &'static str, from: usize, to: usize, a: u64, b: u64, bytes: &[u8]) {
        locked(&self.trace).event(self.now_ns(), kind, from, to, a, b, bytes, None);
    }

    fn trace_text(&self, kind: &'static str, node: usize, a: u64, text: &str) {
        locked(&self.trace).event(self.now_ns(), kind, node, node, a, 0, &[], Some(text));
    }
}
