//! What a nemesis can do to a world. The simulated world does it for real (in simulated time); tests of the
//! nemesis use one that writes down what it was asked.

use crate::history::Micros;

/// How a cut link treats the streams on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutMode {
    /// Bytes wait; they arrive, in order, after the link is joined again.
    Hold,
    /// Streams are reset when bytes would have to cross.
    Reset,
}

/// What is wrong with a backup store. Ratios are per thousand operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreTrouble {
    /// It does not answer.
    pub cut: bool,
    /// More for each operation.
    pub extra_us: Micros,
    /// Puts and deletes that fail midway.
    pub midway: u32,
    /// Gets that hand out altered bytes.
    pub altered: u32,
    /// Gets that find nothing.
    pub hidden: u32,
}

/// Faults and their ends. Names are node names; an unknown name is a harness error and panics.
pub trait Actions {
    /// True simulated time.
    fn now(&self) -> Micros;
    /// All node names, sorted.
    fn nodes(&self) -> Vec<String>;
    /// Whether the node's process runs, and was not asked to stop.
    fn is_up(&self, node: &str) -> bool;
    /// Ends the process; the disk keeps all writes; peers see the connections end.
    fn kill(&self, node: &str);
    /// Power off now; peers see silence.
    fn power_cut(&self, node: &str);
    /// Power off inside the `operations`-th disk operation from now (1 = the next one). Replaces an
    /// earlier order for the node.
    fn power_cut_after(&self, node: &str, operations: u64);
    /// Withdraws [`Actions::power_cut_after`] if it has not struck yet.
    fn cancel_power_cut(&self, node: &str);
    /// Starts the process (a new incarnation) if it is down; one that was asked to stop and has not is killed
    /// first.
    fn boot(&self, node: &str);
    /// Asks the process to stop cleanly; it is down afterwards.
    fn shutdown(&self, node: &str);
    /// Stops scheduling the node; its connections stay.
    fn pause(&self, node: &str);
    /// Ends [`Actions::pause`].
    fn resume(&self, node: &str);
    /// Cuts the link one way.
    fn cut(&self, from: &str, to: &str, mode: CutMode);
    /// Ends a one-way cut.
    fn join(&self, from: &str, to: &str);
    /// Ends every cut.
    fn join_all(&self);
    /// Adds latency to a link, one way, until set to 0.
    fn slow(&self, from: &str, to: &str, extra_us: Micros);
    /// Adds to each disk operation of a node, until set to 0.
    fn slow_disk(&self, node: &str, extra_us: Micros);
    /// Makes the node's disk fail syncs with an I/O error until told otherwise.
    fn fail_syncs(&self, node: &str, failing: bool);
    /// Makes the node's disk take nothing more until told otherwise.
    fn fill_disk(&self, node: &str, full: bool);
    /// Shifts the node's wall clock against true time, microseconds (may be negative).
    fn set_wall_offset(&self, node: &str, offset_us: i64);
    /// While the node is down: takes its disk out and puts an empty one in, with the node's configuration and
    /// certificates on it.
    fn lose_disk(&self, node: &str);
    /// While the node is down: puts the disk back that was taken out first, in exchange for the present one.
    fn return_disk(&self, node: &str);
    /// Remembers what is durable on the node's disk.
    fn remember_disk(&self, node: &str);
    /// While the node is down: its disk shows what [`Actions::remember_disk`] remembered.
    fn roll_back_disk(&self, node: &str);
    /// A new machine takes the name, the address and the place of `node`, with an empty disk, and starts. The old one goes
    /// on, running or not: `near` go on finding it, and only they. If it is to wake, off as it is, it starts after so long, and
    /// for a moment `peer` finds it too.
    fn replace_machine(&self, node: &str, near: &[String], peer: &str, wakes_us: Option<Micros>);
    /// Switches the machine off that was replaced as `node`.
    fn switch_off_old(&self, node: &str);
    /// An operator makes the database of `node` anew, or abandons that; tries until it is done. `instead`: in place of a
    /// registered rebuild of the other one, whose source is lost. It stops after `interrupt_us`, and another operator
    /// begins, if that is given.
    fn rebuild(&self, node: &str, abandon: bool, instead: bool, interrupt_us: Option<Micros>);
    /// An operator replaces the witness by the blank one in its place; tries until it is done. It stops after `interrupt_us`, and
    /// another operator begins, if that is given.
    fn replace_witness(&self, interrupt_us: Option<Micros>);
    /// An operator ends the service of a domain, of all but the first the one that `draw` says; tries until it is done.
    fn terminate_domain(&self, draw: u64);
    /// An operator seals a host, and its keepers leave it so; or they may unseal it again.
    fn seal(&self, node: &str, sealed: bool);
    /// An operator puts another set of shares in the place of the one there is, at every host; tries until it is done.
    fn rotate_shares(&self);
    /// An operator makes a domain, whose id is drawn by `draw`, and its first credential; tries until it is done.
    fn create_domain(&self, draw: u64);
    /// An operator makes the lost region anew, from the replica or from a backup.
    fn restore(&self, backup: bool, interrupt_us: Option<Micros>);
    /// Sets all that is wrong with the backup store in a region.
    fn trouble_store(&self, store: &str, trouble: StoreTrouble);
    /// Empties the backup store in a region.
    fn lose_store(&self, store: &str);
    /// So many objects of the backup store in a region are altered or vanish; `draw` picks which. Returns how many did.
    fn damage_store(&self, store: &str, objects: u32, draw: u64) -> u32;
    /// While the node is down: puts stored record blobs in each other's place, or an older version's blob in
    /// a newer row, repairing unkeyed checksums as an intruder would. `draw` picks which. Returns the record
    /// keys touched (hex), empty if there was nothing to swap.
    fn swap_records(&self, node: &str, draw: u64) -> Vec<String>;
}
