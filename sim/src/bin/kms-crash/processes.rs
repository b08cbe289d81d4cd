//! Real processes as a world of which killing, starting, a deleted data directory and its rebuild are asked. Draws
//! nothing and judges nothing.

use super::rebuilding::Rebuilding;
use kms::{
    env::{Env, Mono},
    init,
};
use kms_sim::{
    actions::{Actions, CutMode, StoreTrouble},
    history::{Micros, Rebuild, Stop, What, WorldEvent},
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A process's log, in its folder.
pub const LOG_FILE: &str = "log";

/// The folder of the operator's files, beside those of the nodes.
pub const OPERATOR_DIR: &str = "operator";

/// Real processes as a world.
pub struct Processes {
    kms: PathBuf,
    dir: PathBuf,
    /// The id of each database's first store.
    stores: BTreeMap<String, String>,
    env: Env,
    start: Mono,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    running: BTreeMap<String, Child>,
    rebuilding: Vec<Rebuilding>,
    events: Vec<WorldEvent>,
}

impl Processes {
    /// No process yet; each node's folder is below `dir`, and the operator's is. `stores`: the id of each
    /// database's first store.
    pub fn new(kms: PathBuf, dir: PathBuf, stores: BTreeMap<String, String>, env: Env) -> Processes {
        let start = env.now();
        Processes { kms, dir, stores, env, start, state: RefCell::default() }
    }

    /// Looks how far the operators are, and writes it down. To be called often.
    pub fn look(&self) {
        let now = self.now();
        let mut state = self.state.borrow_mut();
        let mut rebuilding = std::mem::take(&mut state.rebuilding);
        rebuilding.retain_mut(|operator| {
            let (steps, goes_on) = operator.look(now);
            for step in steps {
                self.record(&mut state, What::Rebuild { node: operator.node().to_owned(), step });
            }
            goes_on
        });
        state.rebuilding = rebuilding;
    }

    /// When the clock of the history began.
    pub fn start(&self) -> Mono {
        self.start
    }

    /// When something was first killed.
    pub fn first_kill(&self) -> Option<Micros> {
        let state = self.state.borrow();
        let down = |event: &&WorldEvent| matches!(event.what, What::Down { .. });
        state.events.iter().find(down).map(|event| event.at)
    }

    /// What happened so far; processes that have ended by themselves are noticed now.
    pub fn events(&self) -> Vec<WorldEvent> {
        for node in self.nodes() {
            let _ = self.is_up(&node);
        }
        self.state.borrow().events.clone()
    }

    fn record(&self, state: &mut State, what: What) {
        state.events.push(WorldEvent { at: self.now(), what });
    }

    #[expect(clippy::disallowed_methods, reason = "the log file of a real process")]
    fn spawn(&self, node: &str) -> io::Result<Child> {
        let dir: &Path = &self.dir.join(node);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join(LOG_FILE))?;
        Command::new(&self.kms)
            .arg("serve")
            .arg("--config")
            .arg(dir.join(init::NODE_FILE))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        state.rebuilding.clear();
        for child in state.running.values_mut() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Actions for Processes {
    fn now(&self) -> Micros {
        micros(&self.env, self.start)
    }
    fn nodes(&self) -> Vec<String> {
        self.state.borrow().running.keys().cloned().collect()
    }
    fn is_up(&self, node: &str) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(child) = state.running.get_mut(node) else { return false };
        match child.try_wait() {
            Ok(None) => true,
            ended => {
                state.running.remove(node);
                let why = format!("{ended:?}");
                self.record(&mut state, What::Exited { node: node.to_owned(), why });
                false
            }
        }
    }
    fn kill(&self, node: &str) {
        if !self.is_up(node) {
            return;
        }
        let mut state = self.state.borrow_mut();
        if let Some(mut child) = state.running.remove(node) {
            // It may have ended in this instant.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.record(&mut state, What::Down { node: node.to_owned(), how: Stop::Kill });
    }
    fn power_cut(&self, node: &str) {
        self.kill(node);
    }
    fn boot(&self, node: &str) {
        let spawned = self.spawn(node);
        let mut state = self.state.borrow_mut();
        match spawned {
            Ok(child) => {
                state.running.insert(node.to_owned(), child);
                self.record(&mut state, What::Up { node: node.to_owned() });
            }
            Err(error) => {
                let why = format!("cannot start: {error}");
                self.record(&mut state, What::Exited { node: node.to_owned(), why });
            }
        }
    }
    fn shutdown(&self, node: &str) {
        self.kill(node);
    }
    fn lose_disk(&self, node: &str) {
        let mut state = self.state.borrow_mut();
        let what = match std::fs::remove_dir_all(self.dir.join(node).join(init::DATA_DIR)) {
            Ok(()) => What::DiskLost { node: node.to_owned() },
            Err(error) => {
                What::Exited { node: node.to_owned(), why: format!("its data directory stays: {error}") }
            }
        };
        self.record(&mut state, what);
    }
    fn rebuild(&self, node: &str, _: bool, _: bool, _: Option<Micros>) {
        let store = self.stores.get(node).cloned().unwrap_or_default();
        let operator =
            Rebuilding::new(self.kms.clone(), &self.dir.join(OPERATOR_DIR), node, store, self.now());
        let mut state = self.state.borrow_mut();
        state.rebuilding.push(operator);
        self.record(&mut state, What::Rebuild { node: node.to_owned(), step: Rebuild::Begun });
    }
    // The plans have kills and one lost disk; the end checks and the heal ask for these of nodes and links without faults.
    fn power_cut_after(&self, _: &str, _: u64) {}
    fn cancel_power_cut(&self, _: &str) {}
    fn pause(&self, _: &str) {}
    fn resume(&self, _: &str) {}
    fn cut(&self, _: &str, _: &str, _: CutMode) {}
    fn join(&self, _: &str, _: &str) {}
    fn join_all(&self) {}
    fn slow(&self, _: &str, _: &str, _: Micros) {}
    fn slow_disk(&self, _: &str, _: Micros) {}
    fn fail_syncs(&self, _: &str, _: bool) {}
    fn fill_disk(&self, _: &str, _: bool) {}
    fn set_wall_offset(&self, _: &str, _: i64) {}
    fn return_disk(&self, _: &str) {}
    fn replace_machine(&self, _: &str, _: &[String], _: &str, _: Option<Micros>) {}
    fn switch_off_old(&self, _: &str) {}
    fn replace_witness(&self, _: Option<Micros>) {}

    fn terminate_domain(&self, _: u64) {}
    fn seal(&self, _: &str, _: bool) {}
    fn rotate_shares(&self) {}
    fn create_domain(&self, _: u64) {}
    fn restore(&self, _: bool, _: Option<Micros>) {}
    fn remember_disk(&self, _: &str) {}
    fn roll_back_disk(&self, _: &str) {}
    fn trouble_store(&self, _: &str, _: StoreTrouble) {}
    fn lose_store(&self, _: &str) {}
    fn damage_store(&self, _: &str, _: u32, _: u64) -> u32 {
        0
    }
    fn swap_records(&self, _: &str, _: u64) -> Vec<String> {
        Vec::new()
    }
}

/// Microseconds since `start`.
pub fn micros(env: &Env, start: Mono) -> Micros {
    u64::try_from(env.now().since(start).as_micros()).unwrap_or(Micros::MAX)
}
