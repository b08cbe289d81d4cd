//! What a new store begins with. Made by `kms init` alone: no process ever initialises a store by itself.

/// Identity of a new store and of the epoch it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// Region id.
    pub region: String,
    /// Random id of this database.
    pub db_id: [u8; 16],
    /// Head or tail.
    pub head: bool,
    /// Epoch number: 1.
    pub epoch_no: u64,
    /// Random epoch id.
    pub epoch_id: [u8; 16],
    /// Database ids of head and tail in this epoch.
    pub members: [[u8; 16]; 2],
}
