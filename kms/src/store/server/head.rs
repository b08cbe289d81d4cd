//! The head of the chain: orders transactions into batches, one in flight end to end (R1), counts the
//! tail's confirmations (R3), and refuses before it appends whatever cannot be confirmed soon (R4, R5).
//!
//! One task owns the queue, the batch in flight and all writes to the engine. It never drops a batch that
//! was appended (R7), and never answers twice.

mod batch;
mod replace;

pub(super) use replace::Replacing;

use super::view::{Pending, Shared};
use crate::{
    env::{Env, Mono},
    limits::ms,
    store::{
        engine::{Engine, EngineError},
        epoch::Epoch,
        log::{Attempt, Entry, Position},
        termination::domain_of,
    },
    wire::message::{Apart, Append, Body, Empty, Halt, NotDone, Start},
};
use batch::{Quotas, form_and_append, overlaps};
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// A commit that waits to be appended. Its answer is given once, through the sender.
pub(super) struct Waiting {
    pub(super) attempt: Attempt,
    pub(super) answer: oneshot::Sender<Body>,
    pub(super) until: Mono,
    /// Encoded size, bytes.
    pub(super) size: usize,
    pub(super) from: From,
}

/// Who asks for a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Host,
    /// This program, for an operator or by itself: also about domains whose service has ended.
    Within,
}

impl Waiting {
    fn about(&self, domain: impl Fn(Uuid) -> bool) -> bool {
        self.attempt.transaction.keys().filter_map(|key| domain_of(&key.0)).any(domain)
    }
}

/// What reaches the head's task.
pub(super) enum Event {
    /// A host asks for a commit.
    Commit(Waiting),
    /// The operator has another witness listened to (R17a).
    Replace(Replacing),
    /// A link has greeted; the tail stands at `tail`.
    Welcome { link: u64, epoch: Epoch, nonce: Vec<u8>, tail: Position, out: mpsc::UnboundedSender<Body> },
    /// The tail sent entries that this head asked for.
    Entries { link: u64, entries: Vec<Append> },
    /// The tail is durable up to here.
    Confirm { link: u64, position: Position },
    /// The tail echoed a ping that was sent at `sent`.
    Pong { link: u64, sent: Mono },
    /// The link is gone.
    Down { link: u64 },
}

/// A link whose handshake is done.
struct Link {
    id: u64,
    /// The epoch it was made in; it counts in no other.
    epoch: Epoch,
    nonce: Vec<u8>,
    out: mpsc::UnboundedSender<Body>,
    /// When the newest ping that was echoed had been sent.
    alive: Option<Mono>,
    pongs: u32,
    /// Handshake settled: the logs agree or are being brought together.
    started: bool,
}

/// The batch in flight.
struct InFlight {
    pending: Arc<Pending>,
    since: Mono,
    waiters: Vec<oneshot::Sender<Body>>,
}

/// The head's task.
pub(super) struct Head {
    shared: Arc<Shared>,
    queue: VecDeque<Waiting>,
    /// Goes before the queue.
    replacing: VecDeque<Replacing>,
    in_flight: Option<InFlight>,
    link: Option<Link>,
    /// When the first of what is held back for a lease may be appended.
    held_until: Option<Mono>,
}

fn refuse(answer: oneshot::Sender<Body>, why: NotDone) {
    // A host that no longer waits has its own answer: unknown.
    let _ = answer.send(Body::NotDone(why as i32));
}

impl Head {
    pub(super) fn new(shared: Arc<Shared>) -> Head {
        let pending = shared.view().pending.clone();
        let since = shared.env.now();
        let in_flight = pending.map(|pending| InFlight { pending, since, waiters: Vec::new() });
        let (queue, replacing) = (VecDeque::new(), VecDeque::new());
        Head { shared, queue, replacing, in_flight, link: None, held_until: None }
    }

    fn env(&self) -> &Env {
        &self.shared.env
    }

    /// Runs until the store fails; the failure itself is reported through [`Shared::fatal`].
    pub(super) async fn run(mut self, mut events: mpsc::UnboundedReceiver<Event>) {
        loop {
            let wake = self.next_deadline();
            let event = tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => Some(event),
                    None => return,
                },
                () = async {
                    match wake {
                        Some(at) => self.shared.env.clock.sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                } => None,
            };
            let step = {
                // The identity changes between batches, never within one (R12).
                let shared = self.shared.clone();
                let _writer = shared.writer.lock().await;
                self.step(event).await
            };
            self.publish();
            if step.is_err() {
                // Appended batches stay unknown to their hosts; queued ones were never appended.
                for waiting in self.queue.drain(..) {
                    refuse(waiting.answer, NotDone::NotServing);
                }
                self.refuse_replacing(NotDone::NotServing);
                return;
            }
        }
    }

    async fn step(&mut self, event: Option<Event>) -> Result<(), EngineError> {
        let (epoch, active) = {
            let identity = self.shared.identity();
            (identity.epoch(), identity.active())
        };
        // R12: a link counts in the epoch it was made in, and only while that is active.
        self.link.take_if(|link| !active || link.epoch != epoch);
        // What a comparison of whole logs has confirmed (R11, abandon) is in flight no more.
        let confirmed = self.shared.view().confirmed.seq;
        self.in_flight.take_if(|flight| flight.pending.entry.position.seq <= confirmed);
        match event {
            Some(Event::Commit(waiting)) => {
                self.shared.view().leases.await_also(&waiting.attempt.transaction);
                self.queue.push_back(waiting);
            }
            Some(Event::Replace(replacing)) => self.take_replacing(replacing),
            Some(event) if active => self.handle(event).await?,
            _ => {}
        }
        self.advance().await
    }

    /// R5. Why the link does not count as up, if it does not. For refusals only; safety never rests on it.
    fn not_up(&self) -> Option<NotDone> {
        let limits = &self.shared.config.limits;
        let now = self.env().now();
        let Some(link) = self.link.as_ref().filter(|link| link.started) else {
            return Some(NotDone::NoTail);
        };
        let heard = link.alive.is_some_and(|sent| now.since(sent) <= ms(limits.detection_ms));
        if !heard || link.pongs < limits.pongs_for_up {
            return Some(NotDone::NoTail);
        }
        match &self.in_flight {
            Some(flight) if now.since(flight.since) > ms(limits.stall_ms) => Some(NotDone::Stalled),
            _ => None,
        }
    }

    /// When something must be refused or may change without an event.
    fn next_deadline(&self) -> Option<Mono> {
        let limits = &self.shared.config.limits;
        let queued = self.queue.iter().map(|waiting| waiting.until);
        let queued = queued.chain(self.replacing.iter().map(|replacing| replacing.until)).min();
        let stalled = self
            .in_flight
            .as_ref()
            .filter(|_| !self.queue.is_empty() || !self.replacing.is_empty())
            .map(|flight| flight.since + ms(limits.stall_ms + 1));
        [queued, stalled, self.held_until].into_iter().flatten().min()
    }

    fn publish(&self) {
        let writable = self.not_up().is_none();
        let mut view = self.shared.view();
        view.writable = writable && view.accepting();
        if view.writable {
            view.agreed();
        }
    }

    async fn handle(&mut self, event: Event) -> Result<(), EngineError> {
        match event {
            Event::Commit(_) | Event::Replace(_) => Ok(()),
            Event::Welcome { epoch, .. } if epoch != self.shared.epoch() => Ok(()),
            Event::Welcome { link, epoch, nonce, tail, out } => {
                self.link = Some(Link { id: link, epoch, nonce, out, alive: None, pongs: 0, started: false });
                self.compare(tail).await
            }
            Event::Entries { link, entries } if self.is_current(link) => self.copy(entries).await,
            Event::Confirm { link, position } if self.is_current(link) => self.confirm(position).await,
            Event::Pong { link, sent } if self.is_current(link) => {
                if let Some(link) = &mut self.link {
                    link.alive = link.alive.max(Some(sent));
                    link.pongs = link.pongs.saturating_add(1);
                }
                Ok(())
            }
            Event::Down { link } if self.is_current(link) => {
                self.link = None;
                Ok(())
            }
            // From a link that was replaced.
            Event::Entries { .. } | Event::Confirm { .. } | Event::Pong { .. } | Event::Down { .. } => Ok(()),
        }
    }

    fn is_current(&self, link: u64) -> bool {
        self.link.as_ref().is_some_and(|current| current.id == link)
    }

    fn send(&mut self, body: Body) {
        if let Some(link) = &self.link
            && link.out.send(body).is_err()
        {
            self.link = None;
        }
    }

    /// R6: compares the tail's log with this one and brings them together, or stops loudly.
    async fn compare(&mut self, tail: Position) -> Result<(), EngineError> {
        let (last, confirmed, diverged) = {
            let view = self.shared.view();
            (view.last, view.confirmed, view.withheld.diverged)
        };
        if diverged {
            self.halt(Apart::Diverged);
            return Ok(());
        }
        if tail.seq > last.seq {
            // Honest disks never lose a synced suffix, and nothing is forwarded before its sync.
            self.shared.lacking("loud:tail-ahead");
            self.send(Body::Fetch(last.seq));
            return Ok(());
        }
        if last.seq < self.shared.must_reach() {
            // The tail cannot help: it lacks them too.
            self.shared.lacking("loud:below-activation");
            self.link = None;
            return Ok(());
        }
        let at = move |engine: &Engine| Ok((engine.base()?, engine.position_at(tail.seq)?));
        let (base, ours) = self.shared.engine("position", at).await?;
        if tail.seq < base.seq {
            // What it lacks is no longer kept. Only a rebuild helps.
            self.shared.loud("loud:too-far-behind");
            self.halt(Apart::TooFarBehind);
            return Ok(());
        }
        if ours != Some(tail) {
            self.shared.diverged("loud:not-a-prefix");
            self.halt(Apart::Diverged);
            return Ok(());
        }
        if tail.seq < confirmed.seq {
            self.shared.loud("loud:tail-below-confirmed");
        }
        self.shared.view().withheld.behind = false;
        self.start(tail, confirmed).await
    }

    /// R6: tells the tail, whose log may look well to itself, and ends the link. Said again on each new link: the tail
    /// may have restarted meanwhile.
    fn halt(&mut self, why: Apart) {
        if let Some(link) = &self.link {
            let halt = Halt { nonce: link.nonce.clone(), why: why as i32 };
            self.send(Body::Halt(halt));
        }
        self.link = None;
    }

    /// Accepts the link and sends again what the tail lacks (R7: rolled forward, never dropped).
    async fn start(&mut self, tail: Position, confirmed: Position) -> Result<(), EngineError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        link.started = true;
        let nonce = link.nonce.clone();
        let last = self.shared.view().last.seq;
        self.send(Body::Start(Start { nonce: nonce.clone(), confirmed: confirmed.seq, last }));
        let missing =
            self.shared.engine("resend", move |engine| engine.entries_after(tail, usize::MAX)).await?;
        for entry in &missing {
            self.send(append_message(&nonce, entry));
        }
        if missing.is_empty()
            && let Some(flight) = &self.in_flight
        {
            // The tail has the batch, its confirmation was lost.
            let position = flight.pending.entry.position;
            assert_eq!(position, tail, "the tail ends where the batch in flight ends");
            return self.confirm(position).await;
        }
        Ok(())
    }

    /// R6: takes entries from a tail that is ahead (this disk lost synced ones). The link is made anew
    /// afterwards, so that the logs are compared again before anything is served.
    async fn copy(&mut self, entries: Vec<Append>) -> Result<(), EngineError> {
        if entries.is_empty() {
            self.shared.loud("loud:too-far-behind");
        }
        for append in entries {
            let last = self.shared.view().last;
            if append.previous != last.hash {
                self.shared.diverged("loud:not-a-prefix");
                self.halt(Apart::Diverged);
                break;
            }
            if self.in_flight.is_some() {
                // The tail has an entry after it, so it has the batch itself.
                self.confirm(last).await?;
            }
            let Ok(entry) = Entry::decode(last, append.entry) else { break };
            if self.shared.check(&entry).is_err() {
                break;
            }
            let entry = self.shared.append_and_apply("copy", entry).await?;
            let position = entry.position;
            {
                let mut view = self.shared.view();
                view.last = position;
                view.confirmed = position;
                view.applied(&entry);
            }
            self.shared.confirmed.send_replace(position.seq);
        }
        self.link = None;
        Ok(())
    }

    /// R3: the tail has the batch durably.
    async fn confirm(&mut self, position: Position) -> Result<(), EngineError> {
        let Some(flight) = self.in_flight.take_if(|flight| flight.pending.entry.position.seq <= position.seq)
        else {
            return Ok(());
        };
        let entry = flight.pending.entry.clone();
        if entry.position != position {
            self.in_flight = Some(flight);
            self.shared.diverged("loud:confirmation-of-another-history");
            self.halt(Apart::Diverged);
            return Ok(());
        }
        let identity = self.shared.identity();
        assert!(identity.active(), "confirmations count in an active epoch only (R3)");
        assert!(entry.epoch.no <= identity.epoch().no, "an entry is of this epoch or an earlier one");
        self.shared.engine("commit", move |engine| engine.confirm(&entry)).await?;
        {
            let mut view = self.shared.view();
            assert_eq!(view.confirmed.seq + 1, position.seq, "confirmations come in order");
            assert!(position.seq <= view.last.seq, "confirmed <= last");
            view.confirmed = position;
            view.pending = None;
            view.applied(&flight.pending.entry);
        }
        tracing::debug!(target: "kms::probe", name = "confirm", node = %self.shared.config.node_id);
        self.shared.confirmed.send_replace(position.seq);
        for waiter in flight.waiters {
            let _ = waiter.send(Body::Committed(Empty {}));
        }
        Ok(())
    }

    /// Refuses what cannot go on, and appends the next batch if the way is free.
    async fn advance(&mut self) -> Result<(), EngineError> {
        let waiting = self.queue.len();
        if !self.queue.is_empty()
            && let Some(why) = self.not_up()
        {
            for waiting in self.queue.drain(..) {
                refuse(waiting.answer, why);
            }
        }
        if let Some(why) = self.not_up() {
            self.refuse_replacing(why);
        }
        let now = self.env().now();
        let mut kept = VecDeque::with_capacity(self.queue.len());
        for waiting in self.queue.drain(..) {
            if waiting.until <= now {
                refuse(waiting.answer, NotDone::InDoubt);
            } else {
                kept.push_back(waiting);
            }
        }
        self.queue = kept;
        self.refuse_ended();
        self.replace(now).await?;
        self.held_until = None;
        if self.in_flight.is_none() && !self.queue.is_empty() && self.shared.view().accepting() {
            let free = self.unleased(now);
            if !free.is_empty() {
                self.append(free).await?;
            }
        }
        // What came was added when it came.
        if self.queue.len() < waiting {
            let attempts = self.queue.iter().map(|waiting| &waiting.attempt.transaction);
            self.shared.view().leases.await_all(attempts);
        }
        Ok(())
    }

    /// R21: takes out of the queue what no lease stands against. The rest stays, with what comes after it on the same records.
    fn unleased(&mut self, now: Mono) -> VecDeque<Waiting> {
        let shared = self.shared.clone();
        let view = shared.view();
        let (mut free, mut held) = (VecDeque::new(), VecDeque::new());
        for waiting in self.queue.drain(..) {
            let at = view.leases.free_at(&waiting.attempt.transaction, now);
            self.held_until = match (self.held_until, at) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            if at.is_some() || overlaps(&held, &waiting) {
                held.push_back(waiting);
            } else {
                free.push_back(waiting);
            }
        }
        if !held.is_empty() {
            tracing::debug!(target: "kms::probe", name = "held-for-lease", node = %self.shared.config.node_id);
        }
        self.queue = held;
        free
    }

    /// What a host writes in a domain whose service has ended.
    fn refuse_ended(&mut self) {
        let (ended, kept) = {
            let view = self.shared.view();
            let queue = std::mem::take(&mut self.queue);
            let ended = |waiting: &Waiting| {
                waiting.from == From::Host && waiting.about(|domain| view.ended.has(domain))
            };
            queue.into_iter().partition::<VecDeque<_>, _>(ended)
        };
        self.queue = kept;
        for waiting in ended {
            refuse(waiting.answer, NotDone::Terminated);
        }
    }

    /// R1: evaluates, appends durably, marks pending, forwards.
    async fn append(&mut self, queue: VecDeque<Waiting>) -> Result<(), EngineError> {
        let (last, epoch) = {
            let view = self.shared.view();
            (view.last, view.identity.epoch())
        };
        let at_ms = self.env().wall_ms();
        let limits = &self.shared.config.limits;
        let quotas = Quotas { keys: limits.domain_keys_max, secrets: limits.domain_secrets_max };
        // From here on a batch is unknown, never refused (F20): dropping its waiters says so.
        let form = move |engine: &Engine| form_and_append(engine, queue, last, (epoch, at_ms), quotas);
        let formed = self.shared.engine("commit", form).await?;
        // Nothing in `later` comes after something on the same record that is held back.
        let held = std::mem::replace(&mut self.queue, formed.later);
        self.queue.extend(held);
        for answer in formed.conflicts {
            let _ = answer.send(Body::Conflict(Empty {}));
        }
        for answer in formed.full {
            refuse(answer, NotDone::Full);
        }
        for answer in formed.damaged {
            refuse(answer, NotDone::NotServing);
        }
        for answer in formed.known {
            let _ = answer.send(Body::Unknown(Empty {}));
        }
        let Some(entry) = formed.entry else {
            return Ok(());
        };
        self.forward(entry, formed.waiters);
        Ok(())
    }

    /// What was appended is pending from here on, and goes to the tail.
    fn forward(&mut self, entry: Entry, waiters: Vec<oneshot::Sender<Body>>) {
        let pending = Arc::new(Pending { changes: entry.changes(), entry });
        {
            let mut view = self.shared.view();
            assert!(view.pending.is_none(), "one batch in flight");
            assert_eq!(view.last, view.confirmed, "a batch is appended when the one before is confirmed");
            view.last = pending.entry.position;
            view.pending = Some(pending.clone());
        }
        tracing::debug!(target: "kms::probe", name = "append", node = %self.shared.config.node_id);
        let since = self.env().now();
        self.in_flight = Some(InFlight { pending: pending.clone(), since, waiters });
        if let Some(link) = &self.link {
            let message = append_message(&link.nonce, &pending.entry);
            self.send(message);
        }
    }
}

fn append_message(nonce: &[u8], entry: &Entry) -> Body {
    Body::Append(Append {
        nonce: nonce.to_vec(),
        seq: entry.position.seq,
        previous: entry.previous.hash.to_vec(),
        entry: entry.bytes.clone(),
    })
}
