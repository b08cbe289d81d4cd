//! Messages between a replica and the database that feeds it (R18). Fields are never renumbered.

use super::{
    epoch::{Lineage, Signed},
    message::Position,
};

/// Replica to database, first message: feed me.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Follow {
    /// Id of the replica's store, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub replica: Vec<u8>,
    /// End of its log; none = it has nothing, or nothing of use: a snapshot comes first.
    #[prost(message, optional, tag = "2")]
    pub at: Option<Position>,
}

/// Database to replica: what follows is of this epoch.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Feeding {
    /// The operator's statement that registered the epoch.
    #[prost(message, optional, tag = "1")]
    pub epoch: Option<Signed>,
    /// The statement that made it active.
    #[prost(message, optional, tag = "2")]
    pub activation: Option<Signed>,
    /// Epochs of the log.
    #[prost(message, repeated, tag = "3")]
    pub lineage: Vec<Lineage>,
    /// Where the feed goes on: what was asked for, or the position of the snapshot that comes first.
    #[prost(message, optional, tag = "4")]
    pub at: Option<Position>,
    /// The rows of that snapshot; they come in `FillPart`s, closed by a `FillEnd`. Keyring objects come in any case.
    #[prost(uint64, tag = "5")]
    pub rows: u64,
    /// The statement, committed in this epoch, that named another witness (R17a), if the snapshot holds it.
    #[prost(message, optional, tag = "6")]
    pub replaced: Option<Signed>,
}

/// Database to replica: entries, in order and without gaps.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Feed {
    /// As stored.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub entries: Vec<Vec<u8>>,
    /// End of what the database knows to be committed.
    #[prost(message, optional, tag = "2")]
    pub end: Option<Position>,
}

/// Why a database does not feed a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Unfed {
    /// Not said (never sent).
    Unspecified = 0,
    /// It is no serving member of an active epoch.
    NotServing = 1,
    /// The replica has followed a newer epoch than this database's.
    OlderEpoch = 2,
    /// What the replica lacks is no longer kept: it needs a snapshot.
    TooFarBehind = 3,
    /// The replica's log is another history.
    Diverged = 4,
    /// The replica has more than this database's log.
    Behind = 5,
}
