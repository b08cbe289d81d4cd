//! Timed events: one heap ordered by (time, sequence), with real cancellation; and the clocks of the nodes,
//! which may each be wrong in their own way. Knows nothing of what the events do.

use super::{
    Inner, locked,
    net::{Attempt, Conn},
    node::Life,
};
use kms::env::{BoxFuture, Clock, Mono};
use std::{
    collections::BTreeMap,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, atomic::Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// When, and a number that orders events of one moment.
pub(super) type Key = (u64, u64);

/// Something to be done at a moment.
pub(super) type Call = Box<dyn FnOnce(&Arc<Inner>) + Send>;

/// What happens at a moment.
pub(super) enum Due {
    /// A task of a node sleeps no longer.
    Wake(usize, Waker),
    /// Frames of a stream's direction arrive.
    Frames(Arc<Conn>, usize),
    /// A request to connect arrives.
    Syn(Arc<Attempt>),
    /// Its answer arrives.
    SynAnswer(Arc<Attempt>, io::Result<Arc<Conn>>),
    /// Anything else.
    Call(Call),
}

/// The heap.
#[derive(Default)]
pub(super) struct Timers {
    heap: BTreeMap<Key, Due>,
    sequence: u64,
}

impl Timers {
    /// When the first event is due.
    fn first_ns(&self) -> u64 {
        self.heap.first_key_value().map_or(u64::MAX, |(key, _)| key.0)
    }

    pub(super) fn clear(&mut self) -> BTreeMap<Key, Due> {
        std::mem::take(&mut self.heap)
    }
}

impl Inner {
    /// Orders `due` at `at_ns` of true time (now, if that has passed).
    pub(super) fn at(&self, at_ns: u64, due: Due) -> Key {
        let mut timers = locked(&self.timers);
        timers.sequence += 1;
        let key = (at_ns.max(self.now_ns()), timers.sequence);
        timers.heap.insert(key, due);
        self.first_due_ns.fetch_min(key.0, Ordering::Relaxed);
        key
    }

    /// Withdraws an event.
    pub(super) fn cancel(&self, key: Key) {
        let due = locked(&self.timers).heap.remove(&key);
        drop(due);
    }

    /// Fires what is due by now.
    pub(super) fn fire_due(self: &Arc<Self>) {
        // Asked after every step of a task: the heap only when it may have something.
        while self.first_due_ns.load(Ordering::Relaxed) <= self.now_ns() {
            let due = {
                let mut timers = locked(&self.timers);
                let due = match timers.heap.first_entry() {
                    Some(first) if first.key().0 <= self.now_ns() => Some(first.remove()),
                    _ => None,
                };
                self.first_due_ns.store(timers.first_ns(), Ordering::Relaxed);
                due
            };
            match due {
                Some(due) => self.fire(due),
                None => return,
            }
        }
    }

    /// Moves time to the next event and fires all of that moment; false if there is none.
    pub(super) fn fire_next(self: &Arc<Self>) -> bool {
        let Some(&(at_ns, _)) = locked(&self.timers).heap.keys().next() else { return false };
        self.set_now(at_ns);
        self.fire_due();
        true
    }

    fn fire(self: &Arc<Self>, due: Due) {
        match due {
            Due::Wake(node, waker) => {
                self.trace("timer", node, node, 0, 0, &[]);
                waker.wake();
            }
            Due::Frames(conn, direction) => self.deliver(&conn, direction),
            Due::Syn(attempt) => self.syn(&attempt),
            Due::SynAnswer(attempt, answer) => self.syn_answer(&attempt, answer),
            Due::Call(call) => call(self),
        }
    }
}

/// How a node's clocks deviate from true time. Both run on segments `value + (true - since) * rate`.
#[derive(Debug, Clone)]
pub(super) struct Deviation {
    wall: Segment,
    mono: Segment,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    since_ns: u64,
    value_ns: i128,
    /// Parts per million against true time: 0 is right, -1,000,000 stands still.
    drift_ppm: i64,
}

impl Segment {
    fn read(&self, now_ns: u64) -> i128 {
        let passed = i128::from(now_ns.saturating_sub(self.since_ns));
        // Nearly every clock is right, and the division is the dearest part of asking one.
        if self.drift_ppm == 0 {
            return self.value_ns + passed;
        }
        self.value_ns + passed + passed * i128::from(self.drift_ppm) / 1_000_000
    }

    fn turn(&mut self, now_ns: u64, value_ns: i128, drift_ppm: i64) {
        *self = Segment { since_ns: now_ns, value_ns, drift_ppm };
    }
}

impl Deviation {
    pub(super) fn new(epoch_s: u64, wall_offset_us: i64) -> Deviation {
        let wall = i128::from(epoch_s) * 1_000_000_000 + i128::from(wall_offset_us) * 1_000;
        Deviation {
            wall: Segment { since_ns: 0, value_ns: wall, drift_ppm: 0 },
            mono: Segment { since_ns: 0, value_ns: 0, drift_ppm: 0 },
        }
    }

    pub(super) fn set_wall(&mut self, now_ns: u64, epoch_s: u64, offset_us: i64) {
        let right = i128::from(epoch_s) * 1_000_000_000 + i128::from(now_ns);
        self.wall.turn(now_ns, right + i128::from(offset_us) * 1_000, self.wall.drift_ppm);
    }

    pub(super) fn set_drift(&mut self, now_ns: u64, wall_ppm: i64, mono_ppm: i64) {
        self.wall.turn(now_ns, self.wall.read(now_ns), wall_ppm);
        self.mono.turn(now_ns, self.mono.read(now_ns), mono_ppm.max(-900_000));
    }

    fn wall(&self, now_ns: u64) -> u64 {
        u64::try_from(self.wall.read(now_ns)).unwrap_or(0)
    }

    fn mono(&self, now_ns: u64) -> u64 {
        u64::try_from(self.mono.read(now_ns)).unwrap_or(0)
    }

    /// The true time at which the monotonic clock shows `mono_ns`, if its rate stays as it is.
    fn true_time(&self, mono_ns: u64) -> u64 {
        let ahead = i128::from(mono_ns) - self.mono.value_ns;
        if self.mono.drift_ppm == 0 {
            return self.mono.since_ns.saturating_add(u64::try_from(ahead.max(0)).unwrap_or(u64::MAX));
        }
        let rate = 1_000_000 + i128::from(self.mono.drift_ppm);
        let passed = (ahead * 1_000_000 + rate - 1).div_euclid(rate).max(0);
        self.mono.since_ns.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

/// The clocks of one life of a node; its monotonic clock has an origin of its own.
pub(super) struct NodeClock {
    pub(super) inner: Arc<Inner>,
    pub(super) life: Arc<Life>,
    pub(super) deviation: Arc<Mutex<Deviation>>,
    pub(super) origin_ns: u64,
}

impl Clock for NodeClock {
    fn now(&self) -> Mono {
        let passed = locked(&self.deviation).mono(self.inner.now_ns());
        Mono(Duration::from_nanos(self.origin_ns + passed))
    }

    fn wall(&self) -> Duration {
        Duration::from_nanos(locked(&self.deviation).wall(self.inner.now_ns()))
    }

    fn sleep_until(&self, at: Mono) -> BoxFuture<'static, ()> {
        let at_ns = u64::try_from(at.0.as_nanos()).unwrap_or(u64::MAX).saturating_sub(self.origin_ns);
        Box::pin(Sleep {
            inner: self.inner.clone(),
            node: self.life.node,
            deviation: self.deviation.clone(),
            at_ns,
            ordered: None,
        })
    }
}

/// Done once the node's monotonic clock shows a time. Dropping it removes its event.
struct Sleep {
    inner: Arc<Inner>,
    node: usize,
    deviation: Arc<Mutex<Deviation>>,
    at_ns: u64,
    ordered: Option<(Key, Waker)>,
}

impl Sleep {
    fn withdraw(&mut self) {
        if let Some((key, _)) = self.ordered.take() {
            self.inner.cancel(key);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let now_ns = self.inner.now_ns();
        let (shown, wake_at) = {
            let deviation = locked(&self.deviation);
            (deviation.mono(now_ns), deviation.true_time(self.at_ns).max(now_ns + 1))
        };
        if shown >= self.at_ns {
            self.withdraw();
            return Poll::Ready(());
        }
        let stands = self
            .ordered
            .as_ref()
            .is_some_and(|(key, waker)| key.0 == wake_at && key.0 > now_ns && waker.will_wake(cx.waker()));
        if !stands {
            self.withdraw();
            let key = self.inner.at(wake_at, Due::Wake(self.node, cx.waker().clone()));
            self.ordered = Some((key, cx.waker().clone()));
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.withdraw();
    }
}

#[cfg(test)]
mod tests {
    use super::Deviation;

    #[test]
    fn true_time_is_the_inverse_of_mono() {
        let mut deviation = Deviation::new(1_000, 0);
        deviation.set_drift(5_000, 0, 250_000);
        for mono in [5_000, 5_001, 6_250, 1_000_000] {
            let at = deviation.true_time(mono);
            assert!(deviation.mono(at) >= mono && (at == 5_000 || deviation.mono(at - 1) < mono), "{mono}");
        }
    }

    #[test]
    fn wall_steps_drifts_and_freezes() {
        let mut deviation = Deviation::new(100, -2_000_000);
        assert_eq!(deviation.wall(0), 98_000_000_000);
        deviation.set_wall(1_000, 100, 5);
        assert_eq!(deviation.wall(2_000), 100_000_007_000);
        deviation.set_drift(2_000, -1_000_000, 0);
        assert_eq!(deviation.wall(9_000), 100_000_007_000);
        assert_eq!(deviation.mono(9_000), 9_000);
    }
}
