//! Which backup a replica restores: what an operator asks about it, and what is answered. Fields are never renumbered.

use super::{epoch::WitnessState, message::Position};

/// Operator to replica: which backup would be restored?
#[derive(Clone, PartialEq, prost::Message)]
pub struct BackupWanted {
    /// Region of the store; empty = the one with the newest that can be read.
    #[prost(string, tag = "1")]
    pub store: String,
    /// Made then or before, Unix milliseconds; none = the newest.
    #[prost(uint64, optional, tag = "2")]
    pub at_ms: Option<u64>,
}

/// One backup in one store.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BackupName {
    /// Region of the store.
    #[prost(string, tag = "1")]
    pub store: String,
    /// Name of its manifest.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// Replica to operator: this one.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BackupSeen {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub backup: Option<BackupName>,
    /// When it was made, Unix milliseconds.
    #[prost(uint64, tag = "2")]
    pub made_ms: u64,
    /// Wall time of its newest log entry, Unix milliseconds; 0 if that is not known.
    #[prost(uint64, tag = "3")]
    pub newest_ms: u64,
    /// It holds everything up to here.
    #[prost(message, optional, tag = "4")]
    pub position: Option<Position>,
    /// Its epoch, as a witness would know it.
    #[prost(message, optional, tag = "5")]
    pub known: Option<WitnessState>,
    /// Its store has a newer one.
    #[prost(bool, tag = "6")]
    pub older: bool,
    /// Position of the newest anchor whose entry it has not; 0 = none is known.
    #[prost(uint64, tag = "7")]
    pub anchor_seq: u64,
    /// When that entry was written, Unix milliseconds; 0 if that is not known.
    #[prost(uint64, tag = "8")]
    pub anchor_ms: u64,
    /// Stores asked, and backups in them, that could not be read and may be newer: why not.
    #[prost(string, repeated, tag = "9")]
    pub unread: Vec<String>,
    /// Number of the epoch that the entry of that anchor was written in; 0 = none is known.
    #[prost(uint64, tag = "10")]
    pub anchor_epoch_no: u64,
}
