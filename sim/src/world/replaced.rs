//! A machine that is replaced while the old one may still run: the new one has its name, its address and an empty
//! disk, and the old one goes on out of sight. So it is when a machine that nobody reaches is taken for dead.

use super::{Inner, Node, World, locked, timer::Due};
use crate::{
    actions::CutMode,
    history::{Micros, Stop, What},
};
use std::sync::Arc;

/// For so long the other database still finds an old machine that has woken.
const PEER_FINDS_NS: u64 = 900_000_000;

/// The name of the machine that will replace `node`.
pub fn spare(node: &str) -> String {
    format!("spare-{node}")
}

/// The name of the machine that was replaced as `node`.
fn old(node: &str) -> String {
    format!("old-{node}")
}

impl World {
    /// The spare machine takes the name and the address of `node`, and starts. The old one goes on as it is, off or
    /// running: `near` still find it at the address, and it finds them; everything else is cut. If it is to wake, off as it
    /// is, it does so after that long, and `peer` finds it at the address until shortly after.
    pub(super) fn replace(&self, node: &str, near: &[String], peer: &str, wakes_us: Option<Micros>) {
        let (was, new) = (self.0.find(node), self.0.find(&spare(node)));
        if was.life().is_some() {
            self.happened(What::Down { node: node.to_owned(), how: Stop::PowerCut });
        }
        self.happened(What::DiskLost { node: node.to_owned() });
        self.0.exchange_names(node, &was, &new);
        self.0.leave_with(&was, near);
        self.0.seclude(&was, |other| near.contains(other) || wakes_us.is_some() && other == peer);
        self.disk_is_empty(node);
        if let Some(after_us) = wakes_us {
            self.0.leave_with(&was, &[peer.to_owned()]);
            self.0.wake_later(&was, self.0.find(peer).index, after_us);
        }
        self.0.boot(&new);
    }

    /// Switches off what `node` was before it was replaced.
    pub(super) fn switch_off_old(&self, node: &str) {
        self.0.power_off(&self.0.find(&old(node)));
        locked(&self.0.nodes).astray.clear();
    }

    /// Whether a machine that was replaced as `node` has a process.
    pub fn old_is_running(&self, node: &str) -> bool {
        let nodes = locked(&self.0.nodes);
        nodes.names.get(&old(node)).is_some_and(|index| nodes.list[*index].life().is_some())
    }
}

impl Inner {
    fn exchange_names(&self, node: &str, was: &Node, new: &Node) {
        let mut nodes = locked(&self.nodes);
        nodes.names.insert(node.to_owned(), new.index);
        nodes.names.insert(old(node), was.index);
        nodes.addresses.insert(was.spec.ip.clone(), new.index);
        let mut trace = locked(&self.trace);
        for (machine, name) in [(was, old(node)), (new, node.to_owned())] {
            machine.rename(&name);
            trace.name(machine.index, &name);
        }
    }

    /// `near` and the machine itself find it at the address that is now another one's.
    fn leave_with(&self, machine: &Node, near: &[String]) {
        let mut nodes = locked(&self.nodes);
        let places: Vec<usize> = near.iter().filter_map(|name| nodes.names.get(name).copied()).collect();
        for place in places.into_iter().chain([machine.index]) {
            nodes.astray.insert((place, machine.spec.ip.clone()), machine.index);
        }
    }

    fn wake_later(self: &Arc<Self>, machine: &Arc<Node>, peer: usize, after_us: Micros) {
        let (at, asleep) = (self.now_ns() + after_us * 1_000, machine.clone());
        self.at(at, Due::Call(Box::new(move |inner: &Arc<Inner>| inner.boot(&asleep))));
        let (own, address) = (machine.index, machine.spec.ip.clone());
        let forgets = move |inner: &Arc<Inner>| {
            locked(&inner.nodes).astray.remove(&(peer, address));
            locked(&inner.net).seclude(own, peer, CutMode::Hold);
        };
        self.at(at + PEER_FINDS_NS, Due::Call(Box::new(forgets)));
    }

    /// Cuts a machine from all others but those. No event: nobody outside would call it a cut of the region's links.
    fn seclude(&self, machine: &Node, spared: impl Fn(&String) -> bool) {
        let others = locked(&self.nodes).list.clone();
        let mut net = locked(&self.net);
        for other in others {
            if other.index != machine.index && !spared(&other.name()) {
                net.seclude(machine.index, other.index, CutMode::Hold);
            }
        }
    }
}
