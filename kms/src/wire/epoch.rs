//! What is said about epochs: the operator's signed statements, what the witness knows, and the messages
//! of a fill. Fields are never renumbered: some of this is stored.

use super::{message::Position, restore::BackupName};

/// Number and random id of an epoch. Two epochs of one number and different ids are two histories.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Epoch {
    /// Number.
    #[prost(uint64, tag = "1")]
    pub no: u64,
    /// Id, 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub id: Vec<u8>,
}

/// What the operator signs to register an epoch (R11).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EpochStatement {
    /// Region.
    #[prost(string, tag = "1")]
    pub region: String,
    /// The new epoch.
    #[prost(message, optional, tag = "2")]
    pub epoch: Option<Epoch>,
    /// The epoch it follows: what must stand at the witness.
    #[prost(message, optional, tag = "3")]
    pub previous: Option<Epoch>,
    /// Database id of the source.
    #[prost(bytes = "vec", tag = "4")]
    pub source: Vec<u8>,
    /// Database id of the target.
    #[prost(bytes = "vec", tag = "5")]
    pub target: Vec<u8>,
    /// Database id of the head, once active.
    #[prost(bytes = "vec", tag = "6")]
    pub head: Vec<u8>,
    /// Database id of the tail, once active.
    #[prost(bytes = "vec", tag = "7")]
    pub tail: Vec<u8>,
    /// Id of the one witness that the members listen to (R17a).
    #[prost(bytes = "vec", tag = "8")]
    pub witness: Vec<u8>,
    /// Wall time, Unix milliseconds; for people.
    #[prost(uint64, tag = "9")]
    pub made_ms: u64,
}

/// What the operator signs to make an epoch active (R15).
#[derive(Clone, PartialEq, prost::Message)]
pub struct ActiveStatement {
    /// Region.
    #[prost(string, tag = "1")]
    pub region: String,
    /// The epoch.
    #[prost(message, optional, tag = "2")]
    pub epoch: Option<Epoch>,
    /// Where both members' logs ended: the first entry of the epoch follows.
    #[prost(message, optional, tag = "3")]
    pub position: Option<Position>,
    /// Wall time, Unix milliseconds; for people.
    #[prost(uint64, tag = "4")]
    pub made_ms: u64,
}

/// What the operator signs about every other database of earlier epochs (R13).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FenceStatement {
    /// Region.
    #[prost(string, tag = "1")]
    pub region: String,
    /// The epoch it is made for.
    #[prost(message, optional, tag = "2")]
    pub epoch: Option<Epoch>,
    /// Each database that is no longer to serve.
    #[prost(message, repeated, tag = "3")]
    pub fenced: Vec<Fenced>,
    /// Wall time, Unix milliseconds.
    #[prost(uint64, tag = "4")]
    pub made_ms: u64,
}

/// Why a database can no longer serve.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Fenced {
    /// Database id.
    #[prost(bytes = "vec", tag = "1")]
    pub db_id: Vec<u8>,
    /// It answered that it is retired; else a person states that its process is not running.
    #[prost(bool, tag = "2")]
    pub retired: bool,
}

/// What the operator signs to let a database serve although nobody answers it (R10).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AloneStatement {
    /// Region.
    #[prost(string, tag = "1")]
    pub region: String,
    /// The epoch that the database is in.
    #[prost(message, optional, tag = "2")]
    pub epoch: Option<Epoch>,
    /// Database id.
    #[prost(bytes = "vec", tag = "3")]
    pub db_id: Vec<u8>,
    /// Names this start of the database: the statement is worth nothing after the next one.
    #[prost(bytes = "vec", tag = "4")]
    pub start: Vec<u8>,
    /// Wall time, Unix milliseconds.
    #[prost(uint64, tag = "5")]
    pub made_ms: u64,
}

/// What the operator signs to have another witness listened to (R17a). In force once the chain has committed it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WitnessStatement {
    /// Region.
    #[prost(string, tag = "1")]
    pub region: String,
    /// The active epoch whose members are to listen to another one.
    #[prost(message, optional, tag = "2")]
    pub epoch: Option<Epoch>,
    /// Id of the witness that they listen to.
    #[prost(bytes = "vec", tag = "3")]
    pub from: Vec<u8>,
    /// Id of the one that takes its place.
    #[prost(bytes = "vec", tag = "4")]
    pub to: Vec<u8>,
    /// Wall time, Unix milliseconds; for people.
    #[prost(uint64, tag = "5")]
    pub made_ms: u64,
}

/// What the operator signs to end the service of a domain (G14). In force once the chain has committed it; kept as a record.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TerminateStatement {
    /// Region.
    #[prost(string, tag = "1")]
    pub region: String,
    /// Domain id, 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub domain: Vec<u8>,
    /// Wall time, Unix milliseconds: the domain's records are kept so many days longer.
    #[prost(uint64, tag = "3")]
    pub made_ms: u64,
}

/// One of the statements above.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Statement {
    /// Register.
    #[prost(message, tag = "1")]
    Epoch(EpochStatement),
    /// Activate.
    #[prost(message, tag = "2")]
    Active(ActiveStatement),
    /// Fence.
    #[prost(message, tag = "3")]
    Fence(FenceStatement),
    /// Serve alone.
    #[prost(message, tag = "4")]
    Alone(AloneStatement),
    /// Replace the witness.
    #[prost(message, tag = "5")]
    Witness(WitnessStatement),
    /// End the service of a domain.
    #[prost(message, tag = "6")]
    Terminate(TerminateStatement),
}

/// What is signed: one statement.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Statements {
    /// The statement.
    #[prost(oneof = "Statement", tags = "1, 2, 3, 4, 5, 6")]
    pub statement: Option<Statement>,
}

/// A statement with the operator's signature. The bytes are kept as signed, never encoded again.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Signed {
    /// Encoded [`Statements`].
    #[prost(bytes = "vec", tag = "1")]
    pub bytes: Vec<u8>,
    /// Ed25519 signature, 64 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
}

/// All that the witness knows: the last active epoch and, while a rebuild is under way, the registered one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WitnessState {
    /// Region.
    #[prost(string, tag = "1")]
    pub region: String,
    /// This witness's id.
    #[prost(bytes = "vec", tag = "2")]
    pub witness: Vec<u8>,
    /// The last active epoch, as registered.
    #[prost(message, optional, tag = "3")]
    pub active: Option<Signed>,
    /// The statement that made it active.
    #[prost(message, optional, tag = "4")]
    pub activation: Option<Signed>,
    /// The registered epoch that is not active.
    #[prost(message, optional, tag = "5")]
    pub pending: Option<Signed>,
    /// The statement that made it the witness of the active epoch, if the epoch's own names another one (R17a).
    #[prost(message, optional, tag = "6")]
    pub replacement: Option<Signed>,
}

/// An order of the operator to a database, or to a replica.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Order {
    /// What to do.
    #[prost(enumeration = "OrderKind", tag = "1")]
    pub kind: i32,
    /// The statement that says so; for `Learn` the registered epoch.
    #[prost(message, optional, tag = "2")]
    pub statement: Option<Signed>,
    /// `Learn`: the activation.
    #[prost(message, optional, tag = "3")]
    pub activation: Option<Signed>,
    /// `Load`: which backup.
    #[prost(message, optional, tag = "4")]
    pub backup: Option<BackupName>,
}

/// What an operator orders a database to do: the steps of a rebuild, and what stands beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum OrderKind {
    /// Not said (never sent).
    Unspecified = 0,
    /// Source: store the registered epoch, not active (R12).
    Adopt = 1,
    /// A database of an earlier epoch: retire for good (R13).
    Retire = 2,
    /// Source: store the fence (R13).
    Fence = 3,
    /// Target: be filled from the source (R14).
    Fill = 4,
    /// Member: the epoch is active (R16).
    Learn = 5,
    /// Serve although nobody answers (R10).
    ServeAlone = 6,
    /// Head: have the chain commit that another witness is listened to (R17a).
    ReplaceWitness = 7,
    /// Replica: begin with a backup, as the source of the registered epoch (R17).
    Load = 8,
    /// Head: have the chain commit that the service of a domain has ended (G14).
    TerminateDomain = 9,
}

/// Target to source: begin a fill.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FillBegin {
    /// Database id of the target.
    #[prost(bytes = "vec", tag = "1")]
    pub target: Vec<u8>,
    /// The target has the log up to here already: only entries are asked for.
    #[prost(message, optional, tag = "2")]
    pub from: Option<Position>,
}

/// Source to target: what follows.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FillHead {
    /// The rows show the state at this position; entries follow after it.
    #[prost(message, optional, tag = "1")]
    pub at: Option<Position>,
    /// End of the source's log.
    #[prost(message, optional, tag = "2")]
    pub last: Option<Position>,
    /// Rows that follow.
    #[prost(uint64, tag = "3")]
    pub rows: u64,
    /// Epochs of the log.
    #[prost(message, repeated, tag = "4")]
    pub lineage: Vec<Lineage>,
}

/// Where an epoch begins in the log.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Lineage {
    /// The epoch.
    #[prost(message, optional, tag = "1")]
    pub epoch: Option<Epoch>,
    /// The last position of the epoch before it.
    #[prost(message, optional, tag = "2")]
    pub after: Option<Position>,
}

/// Source to target: one part of a fill.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FillPart {
    /// Rows, in key order.
    #[prost(message, repeated, tag = "1")]
    pub rows: Vec<FillRow>,
    /// Keyring objects.
    #[prost(message, repeated, tag = "2")]
    pub keyring: Vec<FillRow>,
    /// Log entries as stored, in order, after [`FillHead::at`].
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub entries: Vec<Vec<u8>>,
}

/// A key and its value as stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FillRow {
    /// Record key, or domain id.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Row, or sealed domain key.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// Source to target: that was all.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FillEnd {
    /// SHA-256 over all rows in order, each key and value with its length before it.
    #[prost(bytes = "vec", tag = "1")]
    pub digest: Vec<u8>,
}
