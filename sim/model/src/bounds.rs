//! What a configuration allows to happen, and how often. Everything within the bounds is explored.

use crate::history::Write;

/// Bounds of a search. All that is not named does not happen.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Writes that clients may send, each at most once.
    pub writes: &'static [Write],
    /// Whether the head appends while an entry is in doubt.
    pub pipelined: bool,
    /// Crashes, each with an optional restart.
    pub crashes: u8,
    /// Which databases may crash. Bits.
    pub may_crash: u8,
    /// Disks lost.
    pub losses: u8,
    /// Which may be lost. Bits.
    pub may_lose: u8,
    /// Crashes that silently lose the last entry, in addition to `crashes`.
    pub rollbacks: u8,
    /// Registrations of a new epoch.
    pub registers: u8,
    /// Which databases may be named as source. Bits.
    pub sources: u8,
    /// Whether a rebuild may be abandoned: the next epoch with the old database as target.
    pub abandon: bool,
    /// Whether a later rebuild may name a new target.
    pub renew: bool,
    /// Whether running databases may be retired by the fence, instead of being found off.
    pub retire: bool,
    /// Whether answers of witness and peers may arrive late.
    pub late: bool,
    /// Whether a crash loses the flag that a later epoch is active.
    pub forget_active: bool,
    /// Whether a joined peer may vouch.
    pub vouch: bool,
    /// Whether the region is lost once, and restored from the third copy.
    pub restore: bool,
    /// Whether there is a third copy.
    pub replica: bool,
    /// Nonces; 0: links are not modelled, and every message that fits is taken.
    pub nonces: u8,
    /// Commit requests that arrive again.
    pub repeats: u8,
    /// Leases granted, one at a time.
    pub leases: u8,
}

/// Every database.
pub const ALL: u8 = 0b1_1111;
/// The first head.
pub const HEAD_ONLY: u8 = 0b0001;
/// The first tail.
pub const TAIL_ONLY: u8 = 0b0010;
/// Both first members.
pub const FIRST_TWO: u8 = 0b0011;

/// Nothing but writes and reads.
pub const CALM: Bounds = Bounds {
    writes: &[],
    pipelined: false,
    crashes: 0,
    may_crash: ALL,
    losses: 0,
    may_lose: ALL,
    rollbacks: 0,
    registers: 0,
    sources: ALL,
    abandon: false,
    renew: true,
    retire: false,
    late: false,
    forget_active: false,
    vouch: true,
    restore: false,
    replica: false,
    nonces: 0,
    repeats: 0,
    leases: 0,
};
