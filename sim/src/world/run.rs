//! Starts and ends a run: a fresh thread (std's hash seeds are per thread), madsim's runtime around it for the
//! libc clock and random bytes, the `syscall` hook for ring, and a teardown that drops every node.

use super::{World, WorldSettings, executor::drive, locked};
use crate::history::Stop;
use std::{future::Future, panic::resume_unwind};

/// Stack of the simulation's thread, bytes.
const STACK_BYTES: usize = 64 << 20;

/// [`run_with`] the default settings.
pub fn run<F>(seed: u64, f: impl FnOnce(World) -> F + Send) -> F::Output
where
    F: Future,
    F::Output: Send,
{
    run_with(seed, WorldSettings::default(), f)
}

/// Runs the future that `f` makes of a new world until it is done, then ends every node. One process should
/// run one seed: some counters of the libraries are per process. A panic inside is passed on.
pub fn run_with<F>(seed: u64, settings: WorldSettings, f: impl FnOnce(World) -> F + Send) -> F::Output
where
    F: Future,
    F::Output: Send,
{
    std::thread::scope(|scope| {
        let work = move || within(seed, || simulate(seed, settings, f));
        let thread = std::thread::Builder::new()
            .name("simulation".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(output)) => output,
            Ok(Err(payload)) => resume_unwind(payload),
            Err(error) => panic!("the simulation's thread: {error}"),
        }
    })
}

fn simulate<F: Future>(seed: u64, settings: WorldSettings, f: impl FnOnce(World) -> F) -> F::Output {
    let world = World::new(seed, settings);
    let _ending = Ending(world.clone());
    drive(&world, f(world.clone()))
}

/// Ends the world when its run does, however that ends: tasks hold the world, and the world them.
struct Ending(World);

impl Drop for Ending {
    fn drop(&mut self) {
        let inner = &self.0.0;
        locked(&inner.trace).flush();
        let nodes = locked(&inner.nodes).list.clone();
        for node in &nodes {
            if let Some(life) = node.life() {
                inner.end(&life, Stop::Kill);
            }
            node.outside.drop_tasks();
        }
        inner.ready.clear();
        let timers = locked(&inner.timers).clear();
        drop(timers);
        inner.net_clear();
    }
}

/// Runs `work` where libc's clock and random bytes are the simulation's.
#[cfg(madsim)]
fn within<T>(seed: u64, work: impl FnOnce() -> T) -> T {
    let _armed = super::hook::arm(seed);
    let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
    runtime.block_on(async {
        super::hook::check();
        work()
    })
}

/// Without madsim (unit tests of the world itself) libc stays the machine's.
#[cfg(not(madsim))]
fn within<T>(_seed: u64, work: impl FnOnce() -> T) -> T {
    work()
}

/// Sets libc's clocks to the simulation's time.
#[cfg(madsim)]
pub(super) fn sync_clock(now_ns: u64) {
    thread_local! {
        static CLOCK: madsim::time::TimeHandle = madsim::time::TimeHandle::current();
    }
    let now = std::time::Duration::from_nanos(now_ns);
    CLOCK.with(|clock| {
        let ahead = now.saturating_sub(clock.elapsed());
        if !ahead.is_zero() {
            clock.advance(ahead);
        }
    });
}

/// Without madsim libc's clocks are the machine's.
#[cfg(not(madsim))]
pub(super) fn sync_clock(_now_ns: u64) {}
