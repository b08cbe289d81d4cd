//! Carries out a plan's faults on a world, each from its start to its end, and heals. Overlapping faults add
//! up: a node stays down until the last fault that holds it down has ended. Throws no dice, judges nothing.

mod hold;

use crate::{
    actions::{Actions, CutMode, StoreTrouble},
    history::Micros,
    plan::{Act, Fault, Heal, Plan},
    scenario::{Places, REPLICA, WITNESS},
};
use hold::Held;
use kms::config::Zone;
use std::{collections::BTreeMap, future::Future};

/// How often a power cut waiting for a disk operation is looked at.
const WATCH_US: Micros = 2_000;
/// After this long without the disk operation, the power is cut anyway.
const WATCH_LIMIT_US: Micros = 3_000_000;

/// What the nemesis did, as counts for the run's report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Probe name to count.
    pub counts: BTreeMap<&'static str, u64>,
    /// Nodes still held down (not healed), sorted.
    pub left_down: Vec<String>,
}

/// Runs the faults phase: `from` is its start in true time, `sleep` sleeps for that many microseconds of true
/// time. Returns at the end of the phase, healed as the plan says.
pub async fn carry_out<S, F>(plan: &Plan, world: &dyn Actions, from: Micros, sleep: S) -> Done
where
    S: Fn(Micros) -> F,
    F: Future<Output = ()>,
{
    let mut nemesis = Nemesis {
        plan,
        world,
        held: Held::new(plan.clocks.clone()),
        armed: BTreeMap::new(),
        done: Done::default(),
    };
    let phase_end = from + plan.phases.faults_us;
    for (at, step) in timeline(plan) {
        nemesis.wait_until(from + at, &sleep).await;
        nemesis.take(step);
    }
    nemesis.wait_until(phase_end, &sleep).await;
    nemesis.heal();
    nemesis.done.left_down = nemesis.held.down_nodes();
    nemesis.done
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    // Ends come first: a fault that starts as another ends is not ended by it.
    End(usize),
    Start(usize),
}

/// Starts and ends inside the faults phase, in order.
fn timeline(plan: &Plan) -> Vec<(Micros, Step)> {
    let mut steps = Vec::new();
    for (index, fault) in plan.faults.iter().enumerate() {
        if fault.at_us < plan.phases.faults_us {
            steps.push((fault.at_us, Step::Start(index)));
            if let Some(until) = fault.until_us.filter(|until| *until < plan.phases.faults_us) {
                // An end in the same instant as its own start must still follow it.
                steps.push((until.max(fault.at_us + 1), Step::End(index)));
            }
        }
    }
    steps.sort();
    steps
}

struct Nemesis<'a> {
    plan: &'a Plan,
    world: &'a dyn Actions,
    held: Held,
    /// Power cuts waiting for their disk operation: fault -> when it strikes anyway.
    armed: BTreeMap<usize, Micros>,
    done: Done,
}

impl Nemesis<'_> {
    async fn wait_until<S, F>(&mut self, at: Micros, sleep: &S)
    where
        S: Fn(Micros) -> F,
        F: Future<Output = ()>,
    {
        loop {
            self.watch();
            let now = self.world.now();
            if now >= at {
                return;
            }
            let rest = at - now;
            sleep(if self.armed.is_empty() { rest } else { rest.min(WATCH_US) }).await;
        }
    }

    /// Looks whether a database in whose disk operation the power was to fail is down: then its fault strikes.
    fn watch(&mut self) {
        let now = self.world.now();
        let armed: Vec<(usize, Micros)> = self.armed.iter().map(|(index, limit)| (*index, *limit)).collect();
        for (index, limit) in armed {
            let Act::PowerCut { nodes, .. } = &self.plan.faults[index].act else { continue };
            let struck = databases(nodes).any(|node| !self.world.is_up(node));
            if struck || now >= limit {
                self.count(if struck { "power-cut-inside-disk-op" } else { "power-cut-by-time-limit" });
                self.armed.remove(&index);
                self.strike(index, nodes);
            }
        }
    }

    fn strike(&mut self, index: usize, nodes: &[String]) {
        for node in nodes {
            self.world.cancel_power_cut(node);
            self.held.down(node, index);
            if self.world.is_up(node) {
                self.world.power_cut(node);
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Start(index) => self.start(index),
            Step::End(index) => self.end(index),
        }
    }

    fn count(&mut self, name: &'static str) {
        *self.done.counts.entry(name).or_insert(0) += 1;
    }

    fn start(&mut self, index: usize) {
        let fault: &Fault = &self.plan.faults[index];
        self.count(fault.act.kind().word());
        let world = self.world;
        match &fault.act {
            Act::PowerCut { nodes, operation: Some(operation) } => {
                for node in databases(nodes) {
                    world.power_cut_after(node, *operation);
                }
                self.armed.insert(index, world.now() + WATCH_LIMIT_US);
            }
            Act::PowerCut { nodes, operation: None } => self.strike(index, nodes),
            Act::Kill { nodes } => self.stop(index, nodes, |node| world.kill(node)),
            Act::Shutdown { nodes } => self.stop(index, nodes, |node| world.shutdown(node)),
            Act::SwapRecords { node, draw } => {
                self.stop(index, std::slice::from_ref(node), |node| world.kill(node));
                if !world.swap_records(node, *draw).is_empty() {
                    self.count("records-swapped");
                }
            }
            Act::Pause { nodes } => nodes.iter().for_each(|node| self.held.pause(world, node, index)),
            Act::CutLink { links, mode } => {
                links.iter().for_each(|link| self.held.cut(world, link, *mode, index));
            }
            Act::SlowLink { links, extra_us } => {
                links.iter().for_each(|link| self.held.slow(world, link, index, Some(*extra_us)));
            }
            Act::SlowDisk { nodes, extra_us } => {
                nodes.iter().for_each(|node| self.held.slow_disk(world, node, index, Some(*extra_us)));
            }
            Act::WallOffset { nodes, offset_us } => {
                nodes.iter().for_each(|node| self.held.wall(world, node, index, Some(*offset_us)));
            }
            Act::FailSyncs { nodes } => {
                nodes.iter().for_each(|node| self.held.fail_syncs(world, node, index, true));
            }
            Act::FillDisk { nodes } => {
                nodes.iter().for_each(|node| self.held.fill_disk(world, node, index, true));
            }
            Act::LoseDisk { nodes } => {
                self.strike(index, nodes);
                nodes.iter().filter(|node| keeps_state(node)).for_each(|node| world.lose_disk(node));
            }
            Act::ReturnDisk { node } => {
                self.strike(index, std::slice::from_ref(node));
                world.return_disk(node);
            }
            Act::ReplaceMachine { node, wakes_us } => {
                let (hosts, other) = self.island(node);
                for link in island_links(&hosts, &other) {
                    self.held.cut(world, &link, CutMode::Hold, index);
                }
                world.replace_machine(node, &hosts, &other, *wakes_us);
            }
            Act::RememberDisk { node } => world.remember_disk(node),
            Act::RollBackDisk { node } => {
                self.strike(index, std::slice::from_ref(node));
                world.roll_back_disk(node);
            }
            Act::Rebuild { node, abandon, instead, interrupt_us } => {
                world.rebuild(node, *abandon, *instead, *interrupt_us);
            }
            Act::ReplaceWitness { interrupt_us } => world.replace_witness(*interrupt_us),
            Act::TerminateDomain { draw } => world.terminate_domain(*draw),
            Act::Seal { nodes } => nodes.iter().for_each(|node| self.held.seal(world, node, index, true)),
            Act::RotateShares { .. } => world.rotate_shares(),
            Act::CreateDomain { draw } => world.create_domain(*draw),
            Act::Restore { backup, interrupt_us } => world.restore(*backup, *interrupt_us),
            Act::CutStore { .. } | Act::SlowStore { .. } | Act::FlakyStore { .. } => {
                let trouble = trouble(&fault.act);
                for store in fault.act.stores() {
                    self.held.store(world, store, index, Some(trouble));
                }
            }
            Act::LoseStore { store } => world.lose_store(store),
            Act::DamageStore { store, objects, draw } => {
                for _ in 0..world.damage_store(store, *objects, *draw) {
                    self.count("objects-damaged");
                }
            }
        }
    }

    fn stop(&mut self, index: usize, nodes: &[String], stop: impl Fn(&str)) {
        for node in nodes {
            self.held.down(node, index);
            if self.world.is_up(node) {
                stop(node);
            }
        }
    }

    fn end(&mut self, index: usize) {
        let world = self.world;
        match &self.plan.faults[index].act {
            Act::PowerCut { nodes, .. } | Act::Kill { nodes } | Act::Shutdown { nodes } => {
                if self.armed.remove(&index).is_some() {
                    databases(nodes).for_each(|node| world.cancel_power_cut(node));
                    self.count("power-cut-never-struck");
                }
                nodes.iter().for_each(|node| self.held.up(world, node, index));
            }
            Act::SwapRecords { node, .. } => self.held.up(world, node, index),
            Act::Pause { nodes } => nodes.iter().for_each(|node| self.held.resume(world, node, index)),
            Act::CutLink { links, .. } => links.iter().for_each(|link| self.held.join(world, link, index)),
            Act::SlowLink { links, .. } => {
                links.iter().for_each(|link| self.held.slow(world, link, index, None));
            }
            Act::SlowDisk { nodes, .. } => {
                nodes.iter().for_each(|node| self.held.slow_disk(world, node, index, None));
            }
            Act::WallOffset { nodes, .. } => {
                nodes.iter().for_each(|node| self.held.wall(world, node, index, None));
            }
            Act::FailSyncs { nodes } => {
                nodes.iter().for_each(|node| self.held.fail_syncs(world, node, index, false));
            }
            Act::FillDisk { nodes } => {
                nodes.iter().for_each(|node| self.held.fill_disk(world, node, index, false));
            }
            Act::LoseDisk { nodes } => nodes.iter().for_each(|node| self.held.up(world, node, index)),
            Act::Seal { nodes } => nodes.iter().for_each(|node| self.held.seal(world, node, index, false)),
            Act::ReturnDisk { node } | Act::RollBackDisk { node } => self.held.up(world, node, index),
            Act::ReplaceMachine { node, .. } => {
                world.switch_off_old(node);
                let (hosts, other) = self.island(node);
                for link in island_links(&hosts, &other) {
                    self.held.join(world, &link, index);
                }
            }
            act @ (Act::CutStore { .. } | Act::SlowStore { .. } | Act::FlakyStore { .. }) => {
                act.stores().iter().for_each(|store| self.held.store(world, store, index, None));
            }
            // A memory has no end, what is gone for good is, and what an operator does ends when it is done.
            Act::RememberDisk { .. }
            | Act::Rebuild { .. }
            | Act::ReplaceWitness { .. }
            | Act::TerminateDomain { .. }
            | Act::RotateShares { .. }
            | Act::CreateDomain { .. }
            | Act::Restore { .. }
            | Act::LoseStore { .. }
            | Act::DamageStore { .. } => {}
        }
    }

    /// The hosts of a database's zone, and the other zone's database.
    fn island(&self, node: &str) -> (Vec<String>, String) {
        let own = if node == Places::database(Zone::A) { Zone::A } else { Zone::B };
        (self.plan.places().hosts(own), Places::database(own.other()))
    }

    fn heal(&mut self) {
        self.watch();
        let heals = |fault: &Fault| match &self.plan.phases.heal {
            Heal::All => true,
            Heal::None => false,
            Heal::Kinds(kinds) => kinds.contains(&fault.act.kind()),
        };
        let still: Vec<usize> = (0..self.plan.faults.len())
            .filter(|index| {
                let fault = &self.plan.faults[*index];
                let ended = fault.until_us.is_some_and(|until| until < self.plan.phases.faults_us);
                !ended && fault.at_us < self.plan.phases.faults_us && heals(fault)
            })
            .collect();
        for index in still {
            self.end(index);
        }
        if self.plan.phases.heal == Heal::All {
            heal_all(self.world, &self.plan.nodes());
        }
    }
}

/// Joins every link and starts every one of `nodes` that is down.
pub fn heal_all(world: &dyn Actions, nodes: &[String]) {
    world.join_all();
    for node in nodes {
        world.cancel_power_cut(node);
        if !world.is_up(node) {
            world.boot(node);
        }
    }
}

fn trouble(act: &Act) -> StoreTrouble {
    let well = StoreTrouble::default();
    match act {
        Act::SlowStore { extra_us, .. } => StoreTrouble { extra_us: *extra_us, ..well },
        Act::FlakyStore { midway, altered, hidden, .. } => {
            StoreTrouble { midway: *midway, altered: *altered, hidden: *hidden, ..well }
        }
        _ => StoreTrouble { cut: true, ..well },
    }
}

fn island_links(hosts: &[String], database: &str) -> Vec<(String, String)> {
    let both = |host: &String| [(host.clone(), database.to_owned()), (database.to_owned(), host.clone())];
    hosts.iter().flat_map(both).collect()
}

/// Whether the region counts on what is on the node's disk.
fn keeps_state(node: &str) -> bool {
    node.starts_with("db-") || node == WITNESS || node == REPLICA
}

fn databases(nodes: &[String]) -> impl Iterator<Item = &String> {
    nodes.iter().filter(|node| node.starts_with("db-"))
}

#[cfg(test)]
mod tests;
