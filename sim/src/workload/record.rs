//! The recorder: gives each operation its number and its times, and keeps the history the checkers judge.
//! Knows nothing of HTTP; refuses to let an outcome be set twice.

use crate::{
    access::Said,
    history::{Call, History, Micros, Op, Outcome, Phase},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// True time, microseconds since the start of the run.
pub type TrueTime = Arc<dyn Fn() -> Micros + Send + Sync>;
/// Told of each secret before it is sent: label and bytes.
pub type OnNeedle = Arc<dyn Fn(&str, &[u8]) + Send + Sync>;

/// Shared by all clients of a run. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Mutex<Inner>>,
    time: TrueTime,
    needle: OnNeedle,
}

struct Inner {
    ops: Vec<Op>,
    denials: Vec<Said>,
    phase: Phase,
    probes: BTreeMap<String, u64>,
    /// What the service calls requests; `None`: nobody asks.
    requests: Option<BTreeMap<u64, String>>,
}

impl Recorder {
    /// An empty history.
    pub fn new(time: TrueTime, needle: OnNeedle) -> Recorder {
        let (ops, denials, probes) = (Vec::new(), Vec::new(), BTreeMap::new());
        let inner = Inner { ops, denials, phase: Phase::Load, probes, requests: None };
        Recorder { inner: Arc::new(Mutex::new(inner)), time, needle }
    }

    /// The same, keeping what the service calls requests.
    #[must_use]
    pub fn with_requests(self) -> Recorder {
        self.lock().requests = Some(BTreeMap::new());
        self
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while it was held is a harness error that surfaces elsewhere; the data are plain.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True time.
    pub fn now(&self) -> Micros {
        (self.time)()
    }

    /// Registers a secret.
    pub fn needle(&self, label: &str, bytes: &[u8]) {
        (self.needle)(label, bytes);
    }

    /// Sets the phase of the operations invoked from now on.
    pub fn set_phase(&self, phase: Phase) {
        self.lock().phase = phase;
    }

    /// An operation is about to be sent.
    pub fn begin(&self, client: u32, call: Call) -> u64 {
        let invoked = self.now();
        let mut inner = self.lock();
        let id = inner.ops.len() as u64;
        let phase = inner.phase;
        inner.ops.push(Op { id, client, call, invoked, done: None, outcome: Outcome::Unknown, phase });
        id
    }

    /// Its answer is there, or will not come.
    pub fn end(&self, id: u64, outcome: Outcome) {
        let now = self.now();
        let mut inner = self.lock();
        let Some(op) = usize::try_from(id).ok().and_then(|index| inner.ops.get_mut(index)) else { return };
        assert!(op.done.is_none(), "operation {id} ended twice");
        op.done = Some(now);
        op.outcome = outcome;
    }

    /// What the service calls the request of an operation.
    pub fn called(&self, id: u64, request: String) {
        if let Some(requests) = &mut self.lock().requests {
            requests.insert(id, request);
        }
    }

    /// It was denied in these words.
    pub fn denied(&self, op: u64, status: u16, text: String) {
        self.lock().denials.push(Said { op, status, text });
    }

    /// Counts something worth knowing.
    pub fn probe(&self, name: &str) {
        *self.lock().probes.entry(name.to_owned()).or_insert(0) += 1;
    }

    /// All probes so far.
    pub fn probes(&self) -> BTreeMap<String, u64> {
        self.lock().probes.clone()
    }

    /// Looks at the operations so far, in order of invocation.
    pub fn with_ops<T>(&self, look: impl FnOnce(&[Op]) -> T) -> T {
        look(&self.lock().ops)
    }

    /// One operation.
    pub fn op(&self, id: u64) -> Option<Op> {
        self.lock().ops.get(usize::try_from(id).ok()?).cloned()
    }

    /// The client's latest operation.
    pub fn last_of(&self, client: u32) -> Option<Op> {
        self.lock().ops.iter().rev().find(|op| op.client == client).cloned()
    }

    /// The history so far, while it goes on.
    pub fn history(&self) -> History {
        History { ops: self.lock().ops.clone(), end: self.now(), ..History::default() }
    }

    /// Takes the history, at the end; events and phases are the caller's to add.
    pub fn take_history(&self) -> History {
        let mut inner = self.lock();
        let (ops, denials) = (std::mem::take(&mut inner.ops), std::mem::take(&mut inner.denials));
        let requests = inner.requests.take().unwrap_or_default();
        drop(inner);
        History { ops, denials, requests, end: self.now(), ..History::default() }
    }
}
