//! The world as a nemesis sees it: `Actions`, and the faults that plan steps do not name yet.

use super::{OperatorOrder, World, executor::HARNESS, locked};
use crate::{
    actions::{Actions, CutMode, StoreTrouble},
    history::{Micros, Stop, What},
};

impl Actions for World {
    fn now(&self) -> Micros {
        self.0.now_us()
    }

    fn nodes(&self) -> Vec<String> {
        let nodes = locked(&self.0.nodes);
        nodes.names.iter().filter(|(_, index)| **index != HARNESS).map(|(name, _)| name.clone()).collect()
    }

    fn is_up(&self, node: &str) -> bool {
        self.0.find(node).life().is_some_and(|life| !life.was_asked_to_stop())
    }

    fn kill(&self, node: &str) {
        if let Some(life) = self.0.find(node).life() {
            self.0.end(&life, Stop::Kill);
        }
    }

    fn power_cut(&self, node: &str) {
        self.0.power_off(&self.0.find(node));
    }

    fn power_cut_after(&self, node: &str, operations: u64) {
        self.0.order_power_cut(&self.0.find(node), Some(operations));
    }

    fn cancel_power_cut(&self, node: &str) {
        self.0.order_power_cut(&self.0.find(node), None);
    }

    fn boot(&self, node: &str) {
        self.0.boot(&self.0.find(node));
    }

    fn shutdown(&self, node: &str) {
        self.0.ask_stop(&self.0.find(node));
    }

    fn pause(&self, node: &str) {
        self.0.set_paused(&self.0.find(node), true);
    }

    fn resume(&self, node: &str) {
        self.0.set_paused(&self.0.find(node), false);
    }

    fn cut(&self, from: &str, to: &str, mode: CutMode) {
        self.0.cut(self.0.find(from).index, self.0.find(to).index, mode);
    }

    fn join(&self, from: &str, to: &str) {
        self.0.join(self.0.find(from).index, self.0.find(to).index);
    }

    fn join_all(&self) {
        for (from, to) in self.0.cuts() {
            self.0.join(from, to);
        }
    }

    fn slow(&self, from: &str, to: &str, extra_us: Micros) {
        self.0.slow_link(self.0.find(from).index, self.0.find(to).index, extra_us);
    }

    fn slow_disk(&self, node: &str, extra_us: Micros) {
        self.set_disk_faults(node, |faults| faults.extra_us = extra_us);
    }

    fn fail_syncs(&self, node: &str, failing: bool) {
        self.set_disk_faults(node, |faults| faults.fail_syncs = failing);
    }

    fn fill_disk(&self, node: &str, full: bool) {
        self.set_disk_faults(node, |faults| faults.capacity_bytes = full.then_some(0));
        let node = node.to_owned();
        self.happened(if full { What::DiskFull { node } } else { What::DiskFreed { node } });
    }

    fn set_wall_offset(&self, node: &str, offset_us: i64) {
        let node = self.0.find(node);
        let (now_ns, epoch_s) = (self.0.now_ns(), self.0.settings.epoch_s);
        locked(&node.deviation).set_wall(now_ns, epoch_s, offset_us);
        self.0.trace_text("wall-offset", node.index, 0, &offset_us.to_string());
    }

    fn lose_disk(&self, node: &str) {
        self.exchange_disk(node);
        self.happened(What::DiskLost { node: node.to_owned() });
    }

    fn return_disk(&self, node: &str) {
        if self.put_back_disk(node) {
            self.happened(What::DiskReturned { node: node.to_owned() });
        }
    }

    fn remember_disk(&self, node: &str) {
        self.keep_disk_state(node);
    }

    fn roll_back_disk(&self, node: &str) {
        if self.restore_disk_state(node) {
            self.happened(What::DiskRolledBack { node: node.to_owned() });
        }
    }

    fn replace_machine(&self, node: &str, near: &[String], peer: &str, wakes_us: Option<Micros>) {
        self.replace(node, near, peer, wakes_us);
    }

    fn switch_off_old(&self, node: &str) {
        World::switch_off_old(self, node);
    }

    fn rebuild(&self, node: &str, abandon: bool, instead: bool, interrupt_us: Option<Micros>) {
        self.give(OperatorOrder::Rebuild { node: node.to_owned(), abandon, instead, interrupt_us });
    }

    fn replace_witness(&self, interrupt_us: Option<Micros>) {
        self.give(OperatorOrder::ReplaceWitness { interrupt_us });
    }

    fn terminate_domain(&self, draw: u64) {
        self.give(OperatorOrder::TerminateDomain { draw });
    }

    fn seal(&self, node: &str, sealed: bool) {
        self.give(OperatorOrder::Seal { node: node.to_owned(), sealed });
    }

    fn rotate_shares(&self) {
        self.give(OperatorOrder::RotateShares);
    }

    fn create_domain(&self, draw: u64) {
        self.give(OperatorOrder::CreateDomain { draw });
    }

    fn restore(&self, backup: bool, interrupt_us: Option<Micros>) {
        self.give(OperatorOrder::Restore { backup, interrupt_us });
    }

    fn trouble_store(&self, store: &str, trouble: StoreTrouble) {
        self.set_store_faults(store, |faults| {
            faults.unavailable = trouble.cut;
            faults.extra_us = trouble.extra_us;
            faults.midway_per_mille = trouble.midway.into();
            faults.damaged_per_mille = trouble.altered.into();
            faults.missing_per_mille = trouble.hidden.into();
        });
    }

    fn lose_store(&self, store: &str) {
        World::lose_store(self, store);
    }

    fn damage_store(&self, store: &str, objects: u32, draw: u64) -> u32 {
        self.hurt_objects(store, objects, draw)
    }

    fn swap_records(&self, node: &str, draw: u64) -> Vec<String> {
        let keys = self.swap(node, draw);
        if !keys.is_empty() {
            let what = What::Swapped { node: node.to_owned(), keys: keys.clone() };
            self.0.record(self.0.find(node).index, what);
        }
        keys
    }
}

impl World {
    fn give(&self, order: OperatorOrder) {
        match locked(&self.0.operator).as_ref() {
            Some(operator) => operator(order),
            None => panic!("no operator was hired for this world"),
        }
    }

    /// Lets a node's clocks drift against true time, parts per million; -1,000,000 freezes the wall clock.
    /// The monotonic clock never runs slower than a tenth of true time.
    pub fn set_drift(&self, node: &str, wall_ppm: i64, mono_ppm: i64) {
        let node = self.0.find(node);
        locked(&node.deviation).set_drift(self.0.now_ns(), wall_ppm, mono_ppm);
        self.0.trace_text("drift", node.index, 0, &format!("{wall_ppm} {mono_ppm}"));
    }
}
