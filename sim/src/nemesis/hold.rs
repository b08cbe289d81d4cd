//! Which faults hold what: a node is started again, a link joined, a disk made fast, when the last fault that
//! holds it has ended. Refuses to boot a node that another fault keeps down.

use crate::{
    actions::{Actions, CutMode, StoreTrouble},
    history::Micros,
};
use std::collections::{BTreeMap, BTreeSet};

type Link = (String, String);

/// Holders by what they hold; a fault is known by its index in the plan.
#[derive(Debug, Default)]
pub(super) struct Held {
    down: BTreeMap<String, BTreeSet<usize>>,
    paused: BTreeMap<String, BTreeSet<usize>>,
    cut: BTreeMap<Link, BTreeSet<usize>>,
    slow: BTreeMap<Link, BTreeMap<usize, Micros>>,
    slow_disk: BTreeMap<String, BTreeMap<usize, Micros>>,
    wall: BTreeMap<String, BTreeMap<usize, i64>>,
    failing: BTreeMap<String, BTreeSet<usize>>,
    full: BTreeMap<String, BTreeSet<usize>>,
    sealed: BTreeMap<String, BTreeSet<usize>>,
    stores: BTreeMap<String, BTreeMap<usize, StoreTrouble>>,
    /// Wall clock errors without any fault.
    clocks: BTreeMap<String, i64>,
}

impl Held {
    pub(super) fn new(clocks: BTreeMap<String, i64>) -> Held {
        Held { clocks, ..Held::default() }
    }

    pub(super) fn down_nodes(&self) -> Vec<String> {
        self.down.iter().filter(|(_, holders)| !holders.is_empty()).map(|(node, _)| node.clone()).collect()
    }

    pub(super) fn down(&mut self, node: &str, by: usize) {
        self.down.entry(node.to_owned()).or_default().insert(by);
    }

    pub(super) fn up(&mut self, world: &dyn Actions, node: &str, by: usize) {
        let last = release(&mut self.down, node, by);
        if last && !world.is_up(node) {
            world.boot(node);
            if self.paused.get(node).is_some_and(|holders| !holders.is_empty()) {
                world.pause(node);
            }
        }
    }

    pub(super) fn pause(&mut self, world: &dyn Actions, node: &str, by: usize) {
        self.paused.entry(node.to_owned()).or_default().insert(by);
        if world.is_up(node) {
            world.pause(node);
        }
    }

    pub(super) fn resume(&mut self, world: &dyn Actions, node: &str, by: usize) {
        if release(&mut self.paused, node, by) && world.is_up(node) {
            world.resume(node);
        }
    }

    pub(super) fn cut(&mut self, world: &dyn Actions, link: &Link, mode: CutMode, by: usize) {
        let holders = self.cut.entry(link.clone()).or_default();
        if holders.insert(by) && holders.len() == 1 {
            world.cut(&link.0, &link.1, mode);
        }
    }

    pub(super) fn join(&mut self, world: &dyn Actions, link: &Link, by: usize) {
        if let Some(holders) = self.cut.get_mut(link)
            && holders.remove(&by)
            && holders.is_empty()
        {
            world.join(&link.0, &link.1);
        }
    }

    pub(super) fn slow(&mut self, world: &dyn Actions, link: &Link, by: usize, extra: Option<Micros>) {
        let holders = self.slow.entry(link.clone()).or_default();
        set(holders, by, extra);
        world.slow(&link.0, &link.1, holders.values().copied().max().unwrap_or(0));
    }

    pub(super) fn slow_disk(&mut self, world: &dyn Actions, node: &str, by: usize, extra: Option<Micros>) {
        let holders = self.slow_disk.entry(node.to_owned()).or_default();
        set(holders, by, extra);
        world.slow_disk(node, holders.values().copied().max().unwrap_or(0));
    }

    pub(super) fn wall(&mut self, world: &dyn Actions, node: &str, by: usize, offset: Option<i64>) {
        let holders = self.wall.entry(node.to_owned()).or_default();
        set(holders, by, offset);
        let fault = holders.last_key_value().map_or(0, |(_, offset)| *offset);
        world.set_wall_offset(node, self.clocks.get(node).copied().unwrap_or(0) + fault);
    }

    /// Troubles of a store add up; of each figure the worst counts.
    pub(super) fn store(
        &mut self,
        world: &dyn Actions,
        store: &str,
        by: usize,
        trouble: Option<StoreTrouble>,
    ) {
        let holders = self.stores.entry(store.to_owned()).or_default();
        set(holders, by, trouble);
        let worse = |one: StoreTrouble, other: &StoreTrouble| StoreTrouble {
            cut: one.cut || other.cut,
            extra_us: one.extra_us.max(other.extra_us),
            midway: one.midway.max(other.midway),
            altered: one.altered.max(other.altered),
            hidden: one.hidden.max(other.hidden),
        };
        world.trouble_store(store, holders.values().fold(StoreTrouble::default(), worse));
    }

    pub(super) fn seal(&mut self, world: &dyn Actions, node: &str, by: usize, sealed: bool) {
        world.seal(node, still(&mut self.sealed, node, by, sealed));
    }

    pub(super) fn fail_syncs(&mut self, world: &dyn Actions, node: &str, by: usize, failing: bool) {
        world.fail_syncs(node, still(&mut self.failing, node, by, failing));
    }

    pub(super) fn fill_disk(&mut self, world: &dyn Actions, node: &str, by: usize, full: bool) {
        world.fill_disk(node, still(&mut self.full, node, by, full));
    }
}

/// Whether anybody does it, now that one begins or ends.
fn still(all: &mut BTreeMap<String, BTreeSet<usize>>, node: &str, by: usize, does: bool) -> bool {
    let holders = all.entry(node.to_owned()).or_default();
    if does {
        holders.insert(by);
    } else {
        holders.remove(&by);
    }
    !holders.is_empty()
}

fn set<T>(holders: &mut BTreeMap<usize, T>, by: usize, value: Option<T>) {
    match value {
        Some(value) => holders.insert(by, value),
        None => holders.remove(&by),
    };
}

/// Whether `by` was the last holder.
fn release(held: &mut BTreeMap<String, BTreeSet<usize>>, node: &str, by: usize) -> bool {
    held.get_mut(node).is_some_and(|holders| holders.remove(&by) && holders.is_empty())
}
