//! Runs the simulation: one ready queue from which a random task is taken at each step (so interleavings are
//! explored), and one heap of timed events that is advanced only when nothing is ready. It runs as the root
//! future of madsim's runtime, which lends its virtual clock and random bytes to every libc caller.
//!
//! Tasks are not madsim's own: those sleep at least 1 ms, leak a timer for each poll of a sleep, drop a
//! killed node's futures some time later, and end the whole simulation when one of them panics.

use super::{Inner, World, locked, node::Life};
use kms::env::BoxFuture;
use std::{
    any::Any,
    cell::{Cell, RefCell},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::{
        Arc, Mutex, Once, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// The tasks that can be polled, in no particular order.
#[derive(Default)]
pub(super) struct Ready {
    list: Mutex<Vec<Arc<Task>>>,
}

impl Ready {
    /// Puts tasks back that were put aside while queued.
    pub(super) fn extend(&self, tasks: Vec<Arc<Task>>) {
        locked(&self.list).extend(tasks);
    }

    pub(super) fn clear(&self) {
        let tasks = std::mem::take(&mut *locked(&self.list));
        drop(tasks);
    }
}

/// A future of one life of a node. Number 0 is the run's own root future, which is kept elsewhere.
pub(super) struct Task {
    pub(super) number: u64,
    pub(super) name: &'static str,
    pub(super) life: Arc<Life>,
    ready: Arc<Ready>,
    queued: AtomicBool,
    doomed: AtomicBool,
    future: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            let ready = self.ready.clone();
            locked(&ready.list).push(self);
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.load(Ordering::Relaxed) {
            Arc::clone(self).wake();
        }
    }
}

impl Task {
    pub(super) fn new(
        ready: &Arc<Ready>,
        number: u64,
        name: &'static str,
        life: &Arc<Life>,
        future: Option<BoxFuture<'static, ()>>,
    ) -> Arc<Task> {
        Arc::new(Task {
            number,
            name,
            life: life.clone(),
            ready: ready.clone(),
            queued: AtomicBool::new(false),
            doomed: AtomicBool::new(false),
            future: Mutex::new(future),
        })
    }

    /// Drops the future: now, or after the poll it is in.
    pub(super) fn doom(&self) {
        self.doomed.store(true, Ordering::Relaxed);
        let future = match self.future.try_lock() {
            Ok(mut future) => future.take(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
            // It is being polled: `poll` sees the mark.
            Err(TryLockError::WouldBlock) => return,
        };
        drop_future(&self.life, future);
        locked(&self.life.tasks).remove(&self.number);
    }

    fn poll(self: &Arc<Self>) -> Result<(), Panic> {
        self.queued.store(false, Ordering::Relaxed);
        let mut slot = locked(&self.future);
        let Some(future) = slot.as_mut() else { return Ok(()) };
        let waker = Waker::from(self.clone());
        let _at = Current::enter(&self.life);
        let polled =
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
        if matches!(polled, Ok(Poll::Pending)) && !self.doomed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let future = slot.take();
        drop(slot);
        locked(&self.life.tasks).remove(&self.number);
        drop_future(&self.life, future);
        polled.map(|_| ()).map_err(|payload| Panic::new(payload, self.name))
    }
}

/// Drops a future whose destructors may panic: a dead process' panic changes nothing.
fn drop_future(life: &Life, future: Option<BoxFuture<'static, ()>>) {
    let _at = Current::enter(life);
    // The panic's text is in the trace by way of the hook; the process it belonged to is gone.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(future)));
}

/// A panic of a task.
pub(super) struct Panic {
    payload: Box<dyn Any + Send>,
    /// Task, text and place.
    pub(super) text: String,
}

impl Panic {
    fn new(payload: Box<dyn Any + Send>, task: &str) -> Panic {
        let text = last_panic().unwrap_or_else(|| "panic".to_owned());
        Panic { payload, text: format!("panic in task {task}: {text}") }
    }
}

/// Text and place of the last panic inside a node, once.
pub(super) fn last_panic() -> Option<String> {
    LAST_PANIC.take()
}

thread_local! {
    /// Whose code runs, and whether it is a life (whose panic is a finding) or the outside (an error of the harness).
    static CURRENT: Cell<(usize, bool)> = const { Cell::new((HARNESS, false)) };
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The index of the harness among the nodes.
pub(super) const HARNESS: usize = 0;

/// Marks whose code runs, for logs and panics.
struct Current((usize, bool));

impl Current {
    fn enter(life: &Life) -> Current {
        Current(CURRENT.replace((life.node, !life.external)))
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// The node whose code runs now.
pub(super) fn current_node() -> usize {
    CURRENT.get().0
}

/// Keeps the text of panics in nodes, and leaves those of the harness to the hook that was there.
pub(super) fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !CURRENT.try_with(Cell::get).is_ok_and(|(_, life)| life) {
                return before(info);
            }
            let text = info.payload_as_str().unwrap_or("panic without a text");
            let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line()));
            LAST_PANIC.set(Some(text.to_owned() + &place.unwrap_or_default()));
        }));
    });
}

impl Inner {
    /// Takes a random ready task; those of paused nodes are put aside.
    fn pick(&self) -> Option<Arc<Task>> {
        loop {
            let task = {
                let mut list = locked(&self.ready.list);
                let at = match list.len() {
                    0 => return None,
                    1 => 0,
                    many => locked(&self.scheduler).range(0, many as u64 - 1) as usize,
                };
                list.swap_remove(at)
            };
            if task.life.external || !self.park(&task) {
                return Some(task);
            }
        }
    }

    /// Every step costs a little simulated time, so that a busy loop cannot stop the clock.
    fn charge_poll(&self) {
        let cost = self.settings.poll_cost_ns;
        self.now_ns.fetch_add(cost, Ordering::Relaxed);
        super::run::sync_clock(self.now_ns());
    }
}

/// Runs `root` and every task until `root` is done.
pub(super) fn drive<F: Future>(world: &World, root: F) -> F::Output {
    let inner = &world.0;
    watch_panics();
    let mut root = pin!(root);
    let root_task = Task::new(&inner.ready, 0, "root", &inner.node(HARNESS).outside, None);
    let root_waker = Waker::from(root_task);
    root_waker.wake_by_ref();
    loop {
        let Some(task) = inner.pick() else {
            assert!(inner.fire_next(), "nothing left to happen: every task waits for ever");
            inner.run_deferred();
            continue;
        };
        inner.charge_poll();
        locked(&inner.polls).count(task.name, 0);
        if task.number == 0 {
            task.queued.store(false, Ordering::Relaxed);
            if let Poll::Ready(output) = root.as_mut().poll(&mut Context::from_waker(&root_waker)) {
                return output;
            }
        } else if let Err(panic) = task.poll() {
            if task.life.external {
                resume_unwind(panic.payload);
            }
            inner.exited(&task.life, panic.text);
        }
        inner.run_deferred();
        inner.fire_due();
    }
}
