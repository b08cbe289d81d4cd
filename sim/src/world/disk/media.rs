//! Whole disks: taken out of a machine, put back, and gone back in time. The machine must be down meanwhile; what
//! it can still do with an empty disk is its own affair.

use super::{DiskState, World, locked, tree::Tree};

/// The disks of one machine that are not in it.
#[derive(Default)]
pub(super) struct Media {
    /// What a new disk holds: everything but data.
    blank: Option<Tree>,
    /// The first disk that was taken out.
    taken_out: Option<Tree>,
    /// An earlier state of the one in the machine.
    remembered: Option<Tree>,
    /// The disk in the machine is empty, or not the newest one.
    void: bool,
}

impl World {
    fn with_disk<T>(&self, node: &str, work: impl FnOnce(&mut DiskState) -> T) -> T {
        let node = self.0.find(node);
        let mut state = locked(&node.disk.0);
        work(&mut state)
    }

    /// What is on the disk now is what a new disk of this machine will hold; the disk is empty afterwards.
    pub fn set_blank_disk(&self, node: &str) {
        self.with_disk(node, |state| {
            let tree = std::mem::take(&mut state.tree);
            state.media.blank = Some(tree.durable_copy());
        });
    }

    /// Whether the disk in the machine is an empty or an old one that was not made anew since.
    pub fn disk_is_void(&self, node: &str) -> bool {
        self.with_disk(node, |state| state.media.void)
    }

    /// The disk in the machine is a new one.
    pub(in crate::world) fn disk_is_empty(&self, node: &str) {
        self.with_disk(node, |state| state.media.void = true);
    }

    /// What is on the disk counts again.
    pub fn disk_is_good(&self, node: &str) {
        self.with_disk(node, |state| state.media.void = false);
    }

    /// Puts an empty disk in.
    pub(in crate::world) fn exchange_disk(&self, node: &str) {
        self.with_disk(node, |state| {
            let blank = state.media.blank.as_ref().map(Tree::durable_copy).unwrap_or_default();
            let old = std::mem::replace(&mut state.tree, blank);
            state.media.taken_out.get_or_insert_with(|| old.durable_copy());
            state.media.remembered = None;
            state.media.void = true;
        });
    }

    /// Puts the disk back that was taken out first, and takes the present one out; false if there is none.
    pub(in crate::world) fn put_back_disk(&self, node: &str) -> bool {
        self.with_disk(node, |state| {
            let Some(old) = state.media.taken_out.take() else { return false };
            let present = std::mem::replace(&mut state.tree, old);
            state.media.taken_out = Some(present.durable_copy());
            state.media.void = true;
            true
        })
    }

    pub(in crate::world) fn keep_disk_state(&self, node: &str) {
        self.with_disk(node, |state| state.media.remembered = Some(state.tree.durable_copy()));
    }

    /// False if nothing was remembered.
    pub(in crate::world) fn restore_disk_state(&self, node: &str) -> bool {
        self.with_disk(node, |state| match state.media.remembered.take() {
            Some(earlier) => {
                state.tree = earlier;
                // Until its peer has told it what it forgot; nobody outside can see when that is.
                state.media.void = true;
                true
            }
            None => false,
        })
    }
}
