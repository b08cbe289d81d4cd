//! Nodes and their lives: a node is a machine with a disk and clocks; a life is one run of its process, from
//! boot to its end. Starts and ends lives; a dead life's disk is fenced before anything of it is dropped.

use super::{
    Inner, Main, NodeSpec, World,
    disk::NodeDisk,
    entropy::NodeEntropy,
    executor::Task,
    locked,
    net::NodeNet,
    objects::NodeStores,
    tasks::NodeTasks,
    timer::{Deviation, Due, NodeClock},
};
use crate::history::{Stop, What};
use kms::env::{BoxFuture, Env};
use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// One run of a node's process, or the outside's access to the node, which never ends.
pub(super) struct Life {
    pub(super) node: usize,
    /// 0 for the outside, else counts boots.
    pub(super) number: u64,
    pub(super) external: bool,
    /// Of the node.
    pub(super) paused: Arc<AtomicBool>,
    /// Tasks may be started and streams made.
    pub(super) alive: AtomicBool,
    /// The disk answers nothing but errors.
    pub(super) fenced: AtomicBool,
    pub(super) tasks: Mutex<BTreeMap<u64, Arc<Task>>>,
    /// Cost of the disk operations of the blocking work that runs now, ns.
    pub(super) disk_cost_ns: AtomicU64,
    /// Its disk operations on a disk that a fault makes slow.
    pub(super) disk_slow: AtomicU64,
    /// The blocking work that runs now.
    pub(super) blocking: Mutex<Option<&'static str>>,
    stop: Mutex<Stopping>,
}

#[derive(Default)]
struct Stopping {
    asked: bool,
    wakers: Vec<Waker>,
}

impl Life {
    /// Whether somebody wants it to end.
    pub(super) fn was_asked_to_stop(&self) -> bool {
        locked(&self.stop).asked
    }

    fn new(node: usize, number: u64, paused: &Arc<AtomicBool>) -> Arc<Life> {
        Arc::new(Life {
            node,
            number,
            external: number == 0,
            paused: paused.clone(),
            alive: AtomicBool::new(true),
            fenced: AtomicBool::new(false),
            tasks: Mutex::default(),
            disk_cost_ns: AtomicU64::new(0),
            disk_slow: AtomicU64::new(0),
            blocking: Mutex::new(None),
            stop: Mutex::default(),
        })
    }

    /// Drops every task of the life.
    pub(super) fn drop_tasks(&self) {
        loop {
            let Some((_, task)) = locked(&self.tasks).pop_first() else { return };
            task.doom();
        }
    }
}

/// A machine.
pub(super) struct Node {
    pub(super) index: usize,
    /// As it was added; its name then stays that of its streams.
    pub(super) spec: NodeSpec,
    /// What it is called now.
    name: Mutex<String>,
    pub(super) disk: Arc<super::disk::DiskCell>,
    pub(super) outside: Arc<Life>,
    pub(super) deviation: Arc<Mutex<Deviation>>,
    pub(super) paused: Arc<AtomicBool>,
    pub(super) state: Mutex<NodeState>,
}

/// What changes about a machine.
pub(super) struct NodeState {
    pub(super) life: Option<Arc<Life>>,
    pub(super) lives: u64,
    /// The machine has power (its process may be dead all the same).
    pub(super) powered: bool,
    main: Option<Main>,
    parked: Vec<Arc<Task>>,
}

/// Orders that wait for the end of the poll that gave them.
pub(super) enum Deferred {
    /// The disk was cut inside an operation of this life.
    PowerCut(Arc<Life>),
}

impl Node {
    pub(super) fn new(index: usize, spec: NodeSpec, epoch_s: u64) -> Arc<Node> {
        let paused = Arc::default();
        Arc::new(Node {
            index,
            disk: Arc::default(),
            outside: Life::new(index, 0, &paused),
            deviation: Arc::new(Mutex::new(Deviation::new(epoch_s, spec.wall_offset_us))),
            paused,
            name: Mutex::new(spec.name.clone()),
            state: Mutex::new(NodeState {
                life: None,
                lives: 0,
                powered: true,
                main: None,
                parked: Vec::new(),
            }),
            spec,
        })
    }

    pub(super) fn set_main(&self, main: Main) {
        locked(&self.state).main = Some(main);
    }

    pub(super) fn name(&self) -> String {
        locked(&self.name).clone()
    }

    pub(super) fn rename(&self, name: &str) {
        name.clone_into(&mut locked(&self.name));
    }

    pub(super) fn powered(&self) -> bool {
        locked(&self.state).powered
    }

    pub(super) fn life(&self) -> Option<Arc<Life>> {
        locked(&self.state).life.clone()
    }
}

impl Inner {
    /// The world as one life of a node sees it.
    pub(super) fn env(self: &Arc<Self>, life: &Arc<Life>) -> Env {
        let node = self.node(life.node);
        let label = format!("{}/{}", node.spec.name, life.number);
        let origin_s = super::Stream::new(self.seed, &format!("clock/{label}")).range(1, 100_000);
        let inner = || self.clone();
        Env {
            net: Arc::new(NodeNet { inner: inner(), life: life.clone() }),
            clock: Arc::new(NodeClock {
                inner: inner(),
                life: life.clone(),
                deviation: node.deviation.clone(),
                origin_ns: origin_s * 1_000_000_000,
            }),
            tasks: Arc::new(NodeTasks { inner: inner(), life: life.clone() }),
            entropy: Arc::new(NodeEntropy::new(self, life.node, label)),
            disk: Arc::new(NodeDisk { inner: inner(), cell: node.disk.clone(), life: life.clone() }),
            stores: Arc::new(NodeStores { inner: inner(), life: life.clone() }),
        }
    }

    /// Puts a task of a paused node aside; false if the node is not paused.
    pub(super) fn park(&self, task: &Arc<Task>) -> bool {
        if !task.life.paused.load(Ordering::Relaxed) {
            return false;
        }
        let node = self.node(task.life.node);
        locked(&node.state).parked.push(task.clone());
        true
    }

    pub(super) fn set_paused(&self, node: &Node, paused: bool) {
        if node.paused.swap(paused, Ordering::Relaxed) == paused {
            return;
        }
        let name = node.name();
        self.record(
            node.index,
            if paused { What::Paused { node: name } } else { What::Resumed { node: name } },
        );
        if !paused {
            let parked = std::mem::take(&mut locked(&node.state).parked);
            self.requeue(parked);
        }
    }

    /// Starts the process.
    pub(super) fn boot(self: &Arc<Self>, node: &Arc<Node>) {
        if let Some(life) = node.life() {
            if !life.was_asked_to_stop() {
                return;
            }
            // Asked to stop and not done yet (perhaps it is paused): whoever starts it again does not wait.
            self.end(&life, Stop::Kill);
        }
        let (life, main, was_off) = {
            let mut state = locked(&node.state);
            assert!(state.life.is_none(), "a node has one life at a time");
            let Some(main) = state.main.clone() else { panic!("node {} has no main to boot", node.name()) };
            state.lives += 1;
            let life = Life::new(node.index, state.lives, &node.paused);
            state.life = Some(life.clone());
            let was_off = !std::mem::replace(&mut state.powered, true);
            (life, main, was_off)
        };
        self.record(node.index, What::Up { node: node.name() });
        if was_off {
            self.machine_back(node.index);
        }
        let running = main(self.env(&life));
        let (weak, owner) = (Arc::downgrade(self), Arc::downgrade(&life));
        let work: BoxFuture<'static, ()> = Box::pin(async move {
            let why = running.await;
            if let (Some(inner), Some(life)) = (weak.upgrade(), owner.upgrade()) {
                inner.returned(&life, why);
            }
        });
        self.spawn(&life, "main", work);
    }

    /// The main function returned.
    fn returned(self: &Arc<Self>, life: &Arc<Life>, why: String) {
        if locked(&life.stop).asked {
            self.end(&life.clone(), Stop::Shutdown);
        } else {
            self.exited(life, why);
        }
    }

    /// A process ended by itself.
    pub(super) fn exited(self: &Arc<Self>, life: &Arc<Life>, why: String) {
        let node = self.node(life.node);
        self.record(node.index, What::Exited { node: node.name(), why });
        self.end(life, Stop::Kill);
    }

    /// Ends a life, if it still lasts: fences its disk, ends its streams, drops its tasks.
    pub(super) fn end(self: &Arc<Self>, life: &Arc<Life>, how: Stop) {
        let node = self.node(life.node);
        if life.external || !life.alive.swap(false, Ordering::Relaxed) {
            return;
        }
        life.fenced.store(true, Ordering::Relaxed);
        if how == Stop::PowerCut {
            self.crash_disk(&node);
        }
        let parked = {
            let mut state = locked(&node.state);
            state.life = None;
            state.powered = how != Stop::PowerCut;
            std::mem::take(&mut state.parked)
        };
        drop(parked);
        self.record(node.index, What::Down { node: node.name(), how });
        self.set_paused(&node, false);
        self.end_streams(life, how);
        life.drop_tasks();
    }

    /// Power off: also possible when only the machine runs.
    pub(super) fn power_off(self: &Arc<Self>, node: &Arc<Node>) {
        if let Some(life) = node.life() {
            return self.end(&life, Stop::PowerCut);
        }
        if std::mem::replace(&mut locked(&node.state).powered, false) {
            self.crash_disk(node);
            self.record(node.index, What::Down { node: node.name(), how: Stop::PowerCut });
        }
    }

    /// Asks the process to stop; ends it if it has not after the settings' grace.
    pub(super) fn ask_stop(self: &Arc<Self>, node: &Arc<Node>) {
        let Some(life) = node.life() else { return };
        let wakers = {
            let mut stop = locked(&life.stop);
            if std::mem::replace(&mut stop.asked, true) {
                return;
            }
            std::mem::take(&mut stop.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
        let late = self.now_ns() + self.settings.shutdown_grace_us * 1_000;
        self.at(
            late,
            Due::Call(Box::new(move |inner| {
                if life.alive.load(Ordering::Relaxed) {
                    inner.end(&life, Stop::Kill);
                }
            })),
        );
    }

    /// Carries out what was put off to the end of the poll.
    pub(super) fn run_deferred(self: &Arc<Self>) {
        while let Some(order) = { locked(&self.deferred).pop() } {
            match order {
                Deferred::PowerCut(life) => self.end(&life, Stop::PowerCut),
            }
        }
    }
}

/// A machine, whatever it is called by now.
#[derive(Clone)]
pub struct Machine(Weak<Node>);

impl Machine {
    /// Done when its present process is asked to stop; what a `main` waits for beside its service.
    pub fn stopping(&self) -> BoxFuture<'static, ()> {
        let life = self.0.upgrade().and_then(|node| node.life());
        Box::pin(StopAsked { life: life.map(|life| Arc::downgrade(&life)).unwrap_or_default() })
    }
}

impl World {
    /// The machine that is called so now.
    pub fn machine(&self, node: &str) -> Machine {
        Machine(Arc::downgrade(&self.0.find(node)))
    }
}

struct StopAsked {
    life: Weak<Life>,
}

impl Future for StopAsked {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(life) = self.life.upgrade() else { return Poll::Pending };
        let mut stop = locked(&life.stop);
        if stop.asked {
            return Poll::Ready(());
        }
        stop.wakers.push(cx.waker().clone());
        Poll::Pending
    }
}
