//! What was done by whom: one entry for each request, in a hash-chained, sealed spool on the host's disk, durable before the answer
//! leaves. A host that cannot record cannot serve. Decides nothing about requests; hands entries out to those who have the root key.
//!
//! One task writes. Whatever waits when it has written goes into its next write, so that many requests share one sync.

mod event;
mod forward;
mod read;
mod recorder;
mod segment;
mod spool;

pub use event::{Entry, Event, Kind, Level};
pub use read::{Finding, Read, Verified, read};
pub use recorder::Recorder;
pub use segment::{AuditKey, Link};
pub use spool::AUDIT_DIR;

use crate::{
    config::AuditConfig,
    env::{Env, Mono, Task},
    limits::{AUDIT_PATIENCE_MS, AUDIT_STALL_MS, ms},
};
use forward::Forwarder;
use spool::{Place, Spool, SpoolError};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};

/// Most entries in one write. Far below what a frame holds: an entry has about half a KiB, at most a few.
const BATCH_MAX: usize = 128;
/// Requests that may wait for the writer.
const QUEUE_MAX: usize = 4_096;
/// How often a spool that failed is opened anew, and one that is full, or nearly, looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often segments that are too old are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);

/// Whether entries are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They are.
    Recording,
    /// The spool has the bytes it may have: somebody must prune it.
    Full,
    /// A write failed or does not end; it is tried again.
    Failed,
}

impl State {
    /// For `/healthz` and metrics.
    pub fn word(self) -> &'static str {
        match self {
            State::Recording => "ok",
            State::Full => "full",
            State::Failed => "failed",
        }
    }
}

/// The entry is not known to be durable: the answer must not be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit entry could not be recorded")]
pub struct NotRecorded;

/// What a spool has, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether it records.
    pub state: State,
    /// Bytes of all segments.
    pub bytes: u64,
    /// The newest entry.
    pub head: Link,
    /// Sequence of the newest entry that was sent on; none if entries are not.
    pub forwarded: Option<u64>,
}

struct Known {
    state: State,
    crowded: bool,
    bytes: u64,
    head: Link,
    /// Since when a write is under way.
    writing: Option<Mono>,
}

struct Waiting {
    event: Event,
    done: Option<oneshot::Sender<Result<(), NotRecorded>>>,
}

/// A host's way to its spool. Dropping it ends the writing, after what waits.
pub struct Audit {
    env: Env,
    queue: mpsc::Sender<Waiting>,
    known: Arc<Mutex<Known>>,
    /// Entries of requests whose clients had left, that found no room in the queue.
    lost: AtomicU64,
    forwarded: Option<(Arc<AtomicU64>, Task<()>)>,
    _writer: Task<()>,
}

impl Audit {
    /// Opens the spool below `data_dir`, or makes it. If that fails the host starts all the same, unable to serve, and it is
    /// tried again. Whoever writes has the pen, of which a host has one.
    pub async fn start(
        env: &Env,
        data_dir: &Path,
        key: AuditKey,
        config: AuditConfig,
        pen: OwnedMutexGuard<()>,
    ) -> Audit {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let known =
            Known { state: State::Failed, crowded: false, bytes: 0, head: Link::default(), writing: None };
        let known = Arc::new(Mutex::new(known));
        let (key, head) = (Arc::new(key), Arc::new(AtomicU64::new(0)));
        let forwarding = config.forward.clone();
        let mut writer = Writer {
            env: env.clone(),
            data_dir: data_dir.into(),
            key: Arc::clone(&key),
            config,
            head: Arc::clone(&head),
            spool: None,
            known: Arc::clone(&known),
            looked: env.now(),
            tidied: None,
            _pen: pen,
        };
        writer.open().await;
        let forwarded = forwarding.map(|to| {
            let (place, sent) = (Place::new(env, data_dir), Arc::new(AtomicU64::new(0)));
            let forwarder = Forwarder { place, key, to, sent: Arc::clone(&sent), head, stream: None };
            (sent, forward::start(env, forwarder))
        });
        let task = env.spawn("audit", writer.run(waiting));
        Audit { env: env.clone(), queue, known, lost: AtomicU64::new(0), forwarded, _writer: task }
    }

    /// Whether an entry would be recorded now. Asked before anything is done for a request.
    pub fn state(&self) -> State {
        let known = lock(&self.known);
        let stalled = |since: Mono| self.env.now().since(since) > ms(AUDIT_STALL_MS);
        if known.writing.is_some_and(stalled) { State::Failed } else { known.state }
    }

    /// Whether there is so little room left that it is kept for those whom a domain knows: anybody can ask for what is refused, and each
    /// refusal is an entry.
    pub fn is_crowded(&self) -> bool {
        lock(&self.known).crowded
    }

    /// What the spool has.
    pub fn standing(&self) -> Standing {
        let state = self.state();
        let known = lock(&self.known);
        let forwarded = self.forwarded.as_ref().map(|(sent, _)| sent.load(Ordering::Relaxed));
        Standing { state, bytes: known.bytes, head: known.head, forwarded }
    }

    /// Records an event; it is durable when this returns `Ok`.
    ///
    /// # Errors
    /// [`NotRecorded`]: it may be in the spool or not, and no answer may be given.
    pub async fn record(&self, event: Event) -> Result<(), NotRecorded> {
        let (done, told) = oneshot::channel();
        // At once or not at all: nobody may leave between the request and its entry.
        self.queue.try_send(Waiting { event, done: Some(done) }).map_err(|_| NotRecorded)?;
        let told = self.env.timeout(ms(AUDIT_PATIENCE_MS), told).await;
        told.map_err(|_| NotRecorded)?.map_err(|_| NotRecorded)?
    }

    /// Records what was done for a client that left before it had an answer; nobody waits for it.
    pub fn leave(&self, event: Event) {
        let request_id = event.request_id.clone();
        if self.queue.try_send(Waiting { event, done: None }).is_err() {
            let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::error!(request_id, lost, "audit: no entry of a request whose client had left");
        }
    }
}

fn lock(known: &Mutex<Known>) -> std::sync::MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The task that writes.
struct Writer {
    env: Env,
    data_dir: PathBuf,
    key: Arc<AuditKey>,
    config: AuditConfig,
    /// None after a failure, until it could be opened again.
    spool: Option<Spool>,
    known: Arc<Mutex<Known>>,
    /// Sequence of the newest entry, for whoever sends entries on.
    head: Arc<AtomicU64>,
    looked: Mono,
    /// When old segments were last looked for.
    tidied: Option<Mono>,
    _pen: OwnedMutexGuard<()>,
}

impl Writer {
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        let mut batch = Vec::new();
        loop {
            let next_look = self.looked + LOOK;
            let got = tokio::select! {
                biased;
                got = waiting.recv_many(&mut batch, BATCH_MAX) => Some(got),
                () = async { self.env.clock.sleep_until(next_look).await } => None,
            };
            match got {
                Some(0) => return,
                Some(_) => self.write(std::mem::take(&mut batch)).await,
                None => {}
            }
            if self.env.now() >= next_look {
                self.look().await;
            }
        }
    }

    async fn open(&mut self) {
        let place = Place::new(&self.env, &self.data_dir);
        let (key, config) = (Arc::clone(&self.key), self.config.clone());
        self.say_writing(true);
        let opened = self.env.blocking("audit-open", move || Spool::open(place, key, config)).await;
        self.say_writing(false);
        match opened.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(spool) => {
                tracing::info!(head = %spool.head(), bytes = spool.bytes(), "audit: recording");
                self.took_over(spool);
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn write(&mut self, batch: Vec<Waiting>) {
        let Some(mut spool) = self.spool.take() else {
            return tell(batch, Err(NotRecorded));
        };
        let (events, waiting): (Vec<Event>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.event, waiting.done)).unzip();
        let (env, key) = (self.env.clone(), Arc::clone(&self.key));
        self.say_writing(true);
        let written = self.env.blocking("audit-write", move || {
            let encode = |first: u64| {
                let numbered = (first..).zip(events);
                numbered
                    .map(|(sequence, event)| event::entry(&env, key.host(), sequence, event).encode())
                    .collect()
            };
            let written = spool.append(encode);
            (spool, written)
        });
        let written = written.await;
        self.say_writing(false);
        let done = match written {
            Ok((spool, Ok(()))) => {
                self.took_over(spool);
                Ok(())
            }
            Ok((spool, Err(SpoolError::Full))) => {
                self.took_over(spool);
                lock(&self.known).state = State::Full;
                Err(NotRecorded)
            }
            Ok((_, Err(SpoolError::Io(error)))) => {
                self.failed(&error);
                Err(NotRecorded)
            }
            Err(panic) => {
                self.failed(&io::Error::other(panic));
                Err(NotRecorded)
            }
        };
        for waiting in waiting.into_iter().flatten() {
            // Who asked may have left.
            let _ = waiting.send(done);
        }
    }

    /// What is done while nobody waits, and at least as often as [`LOOK`] says.
    async fn look(&mut self) {
        self.looked = self.env.now();
        let (full, crowded) = {
            let known = lock(&self.known);
            (known.state == State::Full, known.crowded)
        };
        let Some(mut spool) = self.spool.take() else { return self.open().await };
        let lately = self.tidied.is_some_and(|at| self.looked.since(at) < TIDY_EVERY);
        if lately && !full && !crowded {
            self.spool = Some(spool);
            return;
        }
        // Requests wait meanwhile: what is old is looked for seldom as long as there are any.
        let whole = full || !lately;
        if whole {
            self.tidied = Some(self.looked);
        }
        let tidied = self.env.blocking("audit-tidy", move || {
            let gone = if whole { spool.tidy() } else { spool.recount().map(|()| 0) };
            (spool, gone)
        });
        match tidied.await {
            Ok((spool, gone)) => {
                match gone {
                    Ok(0) => {}
                    Ok(gone) => tracing::info!(gone, "audit: segments that were too old are gone"),
                    Err(error) => tracing::warn!(%error, "audit: looking for old segments"),
                }
                self.took_over(spool);
            }
            Err(panic) => self.failed(&io::Error::other(panic)),
        }
    }

    fn took_over(&mut self, spool: Spool) {
        let mut known = lock(&self.known);
        let state = if spool.has_room() { State::Recording } else { State::Full };
        if state == State::Full && known.state != State::Full {
            tracing::error!(
                bytes = spool.bytes(),
                "audit: the spool is FULL and this host cannot serve: export it, then `kms audit prune`"
            );
        }
        let crowded = spool.is_crowded();
        if crowded && !known.crowded {
            let bytes = spool.bytes();
            tracing::warn!(
                bytes,
                "audit: the spool is nearly full, and who shows no valid certificate or token is refused: export it, then `kms audit prune`"
            );
        }
        known.state = state;
        known.crowded = crowded;
        known.bytes = spool.bytes();
        known.head = spool.head();
        self.head.store(known.head.sequence, Ordering::Relaxed);
        drop(known);
        self.spool = Some(spool);
    }

    fn failed(&mut self, error: &io::Error) {
        tracing::error!(%error, "audit: CANNOT RECORD and this host cannot serve; trying again");
        self.spool = None;
        self.looked = self.env.now();
        lock(&self.known).state = State::Failed;
    }

    fn say_writing(&self, writing: bool) {
        lock(&self.known).writing = writing.then(|| self.env.now());
    }
}

fn tell(batch: Vec<Waiting>, done: Result<(), NotRecorded>) {
    for waiting in batch.into_iter().filter_map(|waiting| waiting.done) {
        let _ = waiting.send(done);
    }
}

/// Removes the segments of a spool whose entries were all recorded before `before_ms`, never the last one. The chain stays verifiable:
/// what it goes on from is recorded. Returns how many went. For the operator's command; a running host takes notice.
///
/// # Errors
/// `WouldBlock` while the host does the same; `InvalidData` if a segment to be removed does not open; or the disk's.
pub fn prune(env: &Env, data_dir: &Path, key: &AuditKey, before_ms: u64) -> io::Result<u64> {
    Place::new(env, data_dir).prune(key, before_ms)
}
