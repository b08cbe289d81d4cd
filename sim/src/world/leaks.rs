//! Planted leaks of determinism, to show that `--twice` or the world itself catches them. Not reachable from any
//! scenario.

use super::run;
use std::{collections::HashSet, time::Duration};

/// A way to be different in each process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leak {
    /// No leak: the control.
    None,
    /// The order of a map whose hasher is not seeded by the simulation.
    Map,
    /// A clock read straight from the kernel.
    Clock,
    /// A thread of the operating system.
    Thread,
}

impl std::str::FromStr for Leak {
    type Err = String;

    fn from_str(name: &str) -> Result<Leak, String> {
        match name {
            "none" => Ok(Leak::None),
            "map" => Ok(Leak::Map),
            "clock" => Ok(Leak::Clock),
            "thread" => Ok(Leak::Thread),
            _ => Err(format!("no leak is called {name}: none, map, clock, thread")),
        }
    }
}

/// Runs a few simulated steps with a leak in them; the hash of the trace. A thread is refused: this panics.
pub fn trace_hash(leak: Leak, seed: u64) -> u128 {
    // Seeded by the machine, as a map made before the simulation would be.
    let foreign = std::hash::RandomState::new();
    run(seed, move |world| async move {
        let env = world.env("harness");
        for step in 0..20u64 {
            let nap = match leak {
                Leak::None => step,
                Leak::Map => first_of_unseeded_map(&foreign),
                Leak::Clock => kernel_clock_ns() % 1_000,
                Leak::Thread => value_of_a_thread(),
            };
            env.sleep(Duration::from_micros(nap)).await;
        }
        world.trace_hash()
    })
}

#[expect(clippy::disallowed_methods, reason = "the leak that is planted")]
fn first_of_unseeded_map(hasher: &std::hash::RandomState) -> u64 {
    let mut set = HashSet::with_hasher(hasher.clone());
    set.extend(0..100u64);
    set.iter().next().copied().unwrap_or(0)
}

fn kernel_clock_ns() -> u64 {
    super::hook::kernel_clock_ns()
}

#[expect(clippy::disallowed_methods, reason = "the leak that is planted")]
fn value_of_a_thread() -> u64 {
    match std::thread::spawn(|| 1).join() {
        Ok(value) => value,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}
