//! Searches: a configuration to the end of its state space, a defect to the first state that breaks a promise.
//! Breadth first, so that a trace is a shortest one. Nothing is sampled; a search never stops early.

use crate::action::Action;
use crate::goal::Goal;
use crate::promise::Promise;
use crate::protocol::{PROMISES, Protocol};
use crate::state::State;
use crate::table::{Configuration, Planted};
use stateright::{Checker, HasDiscoveries, Model};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How a search ended.
#[derive(Clone, Debug)]
pub struct Found {
    /// Different states seen.
    pub states: usize,
    /// Steps to the state farthest from the first, or to the one that breaks a promise.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// Goals that no state reached.
    pub missed: Vec<Goal>,
    /// The promise broken, and the way there.
    pub broken: Option<(Promise, Trace)>,
}

/// A way from the first state: each state, and the step that leaves it.
pub type Trace = Vec<(State, Option<Action>)>;

/// What is told while a search runs: states seen, and depth.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// Searches a configuration to its end.
pub fn configuration(which: &Configuration, long: bool, progress: Progress<'_>) -> Found {
    let bounds = if long { which.long } else { which.short };
    search(Protocol::sound(bounds), which.goals, progress)
}

/// Searches for the first state in which a defect breaks its promise.
pub fn defect(which: &Planted, progress: Progress<'_>) -> Found {
    search(Protocol::with(which.bounds, which.defect, which.promises), &[], progress)
}

/// Searches the bounds of a defect with the rule on: nothing may break.
pub fn same_bounds(which: &Planted) -> Found {
    search(Protocol::sound(which.bounds), &[], &|_, _| {})
}

#[expect(clippy::disallowed_methods, reason = "a command-line tool that times itself")]
fn search(model: Protocol, goals: &[Goal], progress: Progress<'_>) -> Found {
    let started = Instant::now();
    let reached = std::sync::Arc::clone(&model.reached);
    let judge = model.clone();
    // One thread: with more, the first trace found need not be a shortest one.
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs();
    let mut told = Duration::ZERO;
    while !checker.is_done() {
        std::thread::sleep(Duration::from_millis(if started.elapsed().as_secs() < 2 { 1 } else { 100 }));
        if started.elapsed() > told + Duration::from_secs(10) {
            told = started.elapsed();
            progress(checker.unique_state_count(), checker.max_depth());
        }
    }
    let checker = checker.join();
    let trace = checker.discovery(PROMISES).map(stateright::Path::into_vec);
    let broken = trace.and_then(|trace| Some((judge.broken(&trace.last()?.0)?, trace)));
    let reached = reached.load(Ordering::Relaxed);
    Found {
        states: checker.unique_state_count(),
        // stateright counts the first state as depth 1.
        depth: broken.as_ref().map_or(checker.max_depth(), |(_, trace)| trace.len()).saturating_sub(1),
        took: started.elapsed(),
        missed: goals.iter().copied().filter(|goal| reached & goal.bit() == 0).collect(),
        broken,
    }
}
