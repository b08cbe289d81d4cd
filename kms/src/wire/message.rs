//! The messages between nodes. Fields are never renumbered: nodes of two versions meet during an upgrade.
//!
//! | between | messages |
//! |---|---|
//! | head and tail | Hello, Welcome, Start, Append, Confirm, Fetch, Entries, Halt, Ping, Pong |
//! | host and database | Commit, Get, Lease, Scan, Resolve, Keyring, PutKeyring, Damaged, Ping and their answers |
//! | replica and database | Follow, Feeding, FillPart, FillEnd, Feed, Took, Unfed, Ping, Pong |
//! | operator and replica | Status, Reseed, Backups, VerifyBackup, Order, ReadEpoch, LookAtBackup |
//! | a database that is filled from a replica | FillBegin, FillHead, FillPart, FillEnd |
//! | operator and database | Status, Order, ReadEpoch, Domains |
//! | a database that is filled and its source | FillBegin, FillHead, FillPart, FillEnd |
//! | anybody and the witness | ReadEpoch; the operator also Register, Activate, Install |
//!
//! Statements about epochs and the parts of a fill are in [`super::epoch`], the feed of a replica in [`super::feed`].

use super::{
    epoch::{FillBegin, FillEnd, FillHead, FillPart, Order, Signed, WitnessState},
    feed::{Feed, Feeding, Follow},
    keyring::{KeyringObject, PutKeyring},
    restore::{BackupSeen, BackupWanted},
};

/// What every message carries around its body.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Envelope {
    /// Version of this format: 1.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// Region of the sender.
    #[prost(string, tag = "2")]
    pub region: String,
    /// Epoch number the sender is in; 0 = it does not know one yet (a host before its first answer).
    #[prost(uint64, tag = "3")]
    pub epoch_no: u64,
    /// Epoch id, 16 bytes; empty with `epoch_no` 0.
    #[prost(bytes = "vec", tag = "4")]
    pub epoch_id: Vec<u8>,
    /// Ties an answer to its request on one connection.
    #[prost(uint64, tag = "5")]
    pub call: u64,
    /// Greatest committed sequence number the sender has seen in this epoch (R9).
    #[prost(uint64, tag = "6")]
    pub seen: u64,
    /// The message.
    #[prost(
        oneof = "Body",
        tags = "10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 30, 31, 32, 33, 34, 35, 36, 37, 40, 41, 42, 43, 44, 45, 46, 47, 48, 60, 61, 62, 63, 64, 65, 66, 67, 70, 71, 72, 73, 74, 80, 81"
    )]
    pub body: Option<Body>,
}

/// The version of [`Envelope`] written here.
pub const ENVELOPE_VERSION: u32 = 1;

/// All messages.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Body {
    /// Head to tail: who I am and where I stand (R6).
    #[prost(message, tag = "10")]
    Hello(Hello),
    /// Tail to head: the link's nonce, who I am, where I stand.
    #[prost(message, tag = "11")]
    Welcome(Welcome),
    /// Head to tail: the link is accepted; appends follow.
    #[prost(message, tag = "12")]
    Start(Start),
    /// Head to tail: one log entry.
    #[prost(message, tag = "13")]
    Append(Append),
    /// Tail to head: durable up to here.
    #[prost(message, tag = "14")]
    Confirm(Position),
    /// Head to tail: send your entries after this sequence number (head lost synced entries).
    #[prost(uint64, tag = "15")]
    Fetch(u64),
    /// Tail to head: entries asked for.
    #[prost(message, tag = "16")]
    Entries(Entries),
    /// Are you there?
    #[prost(uint64, tag = "17")]
    Ping(u64),
    /// Yes; echoes the ping's number.
    #[prost(message, tag = "18")]
    Pong(Pong),
    /// Head to tail: the logs do not fit together; serve no longer (R6).
    #[prost(message, tag = "19")]
    Halt(Halt),
    /// Target to source: fill me (R14).
    #[prost(message, tag = "20")]
    FillBegin(FillBegin),
    /// Source to target: what follows.
    #[prost(message, tag = "21")]
    FillHead(FillHead),
    /// Source to target: rows, keyring objects, entries.
    #[prost(message, tag = "22")]
    FillPart(FillPart),
    /// Source to target: that was all.
    #[prost(message, tag = "23")]
    FillEnd(FillEnd),
    /// Replica to database: feed me (R18).
    #[prost(message, tag = "24")]
    Follow(Follow),
    /// Database to replica: what follows.
    #[prost(message, tag = "25")]
    Feeding(Feeding),
    /// Database to replica: entries.
    #[prost(message, tag = "26")]
    Feed(Feed),
    /// Replica to database: durable up to here.
    #[prost(message, tag = "27")]
    Took(Position),
    /// Database to replica: not from here, and why; see `Unfed`.
    #[prost(enumeration = "super::feed::Unfed", tag = "28")]
    Unfed(i32),
    /// Host to head: one attempt at one transaction.
    #[prost(message, tag = "30")]
    Commit(Commit),
    /// Host to database: one record, by key.
    #[prost(bytes = "vec", tag = "31")]
    Get(Vec<u8>),
    /// Host to database: a page of records.
    #[prost(message, tag = "32")]
    Scan(Scan),
    /// Host to database: what became of this attempt (commit id)?
    #[prost(bytes = "vec", tag = "33")]
    Resolve(Vec<u8>),
    /// Host to database: the sealed domain key, by domain id.
    #[prost(bytes = "vec", tag = "34")]
    Keyring(Vec<u8>),
    /// Host to database: a blob you served does not open.
    #[prost(message, tag = "35")]
    Damaged(Damaged),
    /// Host to database: the sealed key of a new domain, and which step this is (R23). Answered by KeyringObject with what lies
    /// there then.
    #[prost(message, tag = "37")]
    PutKeyring(PutKeyring),
    /// The attempt is committed.
    #[prost(message, tag = "40")]
    Committed(Empty),
    /// An expectation fails under every outcome.
    #[prost(message, tag = "41")]
    Conflict(Empty),
    /// Not appended, and never will be.
    #[prost(enumeration = "NotDone", tag = "42")]
    NotDone(i32),
    /// Appended, outcome not known.
    #[prost(message, tag = "43")]
    Unknown(Empty),
    /// Host to head: one record, by key, and a lease on it (R21). Sent to nobody who does not say that it grants any.
    #[prost(bytes = "vec", tag = "36")]
    Lease(Vec<u8>),
    /// Answer to Get, Lease and Scan.
    #[prost(message, tag = "44")]
    Read(Read),
    /// No read was made: see the reason.
    #[prost(enumeration = "NotRead", tag = "45")]
    NotRead(i32),
    /// Answer to Resolve.
    #[prost(enumeration = "Fate", tag = "46")]
    Fate(i32),
    /// Answer to Keyring and PutKeyring.
    #[prost(message, tag = "47")]
    KeyringObject(KeyringObject),
    /// The request was malformed, or not the sender's to make.
    #[prost(string, tag = "48")]
    BadRequest(String),
    /// Operator to database.
    #[prost(message, tag = "60")]
    Status(Empty),
    /// Answer to Status: JSON of `DatabaseStatus`.
    #[prost(string, tag = "61")]
    StatusAnswer(String),
    /// Operator to database: a step of a rebuild, with the statement that says so.
    #[prost(message, tag = "62")]
    Order(Order),
    /// The order is carried out, durably (a fill: begun).
    #[prost(message, tag = "63")]
    Done(Empty),
    /// Operator to a replica: put what you have aside, and begin with a snapshot.
    #[prost(message, tag = "64")]
    Reseed(Empty),
    /// Operator to a replica: which backups are there? Answered by StatusAnswer, JSON of a list of `StoreBackups`.
    #[prost(message, tag = "65")]
    Backups(Empty),
    /// Operator to a replica: verify a backup, or say how far you are with it. Answered by StatusAnswer, JSON of
    /// `Verification`.
    #[prost(message, tag = "66")]
    VerifyBackup(VerifyBackup),
    /// Operator to database: whose domain keys are there? Answered by StatusAnswer, JSON of a list of domain ids.
    #[prost(message, tag = "67")]
    Domains(Empty),
    /// Anybody to the witness: which epoch is current? The operator to a database: with what does the witness begin that
    /// it listens to?
    #[prost(message, tag = "70")]
    ReadEpoch(Empty),
    /// All that the witness knows.
    #[prost(message, tag = "71")]
    EpochAnswer(WitnessState),
    /// Operator to witness: register this epoch (R11).
    #[prost(message, tag = "72")]
    Register(Signed),
    /// Operator to witness: make the registered epoch active (R15).
    #[prost(message, tag = "73")]
    Activate(Signed),
    /// Operator to a witness that is to take another one's place: begin with this (R17a).
    #[prost(message, tag = "74")]
    Install(WitnessState),
    /// Operator to replica: which backup would be restored?
    #[prost(message, tag = "80")]
    LookAtBackup(BackupWanted),
    /// This one.
    #[prost(message, tag = "81")]
    BackupSeen(BackupSeen),
}

/// Nothing.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Empty {}

/// A place in the log and the history hash there.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Position {
    /// Sequence number; 0 = before the first entry.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// SHA-256 over the previous hash and the entry's stored bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub hash: Vec<u8>,
}

/// First message of a chain link.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    /// Database id of the head, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub db_id: Vec<u8>,
    /// End of the head's log.
    #[prost(message, optional, tag = "2")]
    pub last: Option<Position>,
    /// The head knows that its epoch is current (R10).
    #[prost(bool, tag = "3")]
    pub joined: bool,
}

/// The tail's answer to Hello.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Welcome {
    /// Names this link; the tail takes appends only with it.
    #[prost(bytes = "vec", tag = "1")]
    pub nonce: Vec<u8>,
    /// Database id of the tail.
    #[prost(bytes = "vec", tag = "2")]
    pub db_id: Vec<u8>,
    /// End of the tail's log, read after every older link was ended.
    #[prost(message, optional, tag = "3")]
    pub last: Option<Position>,
    /// The tail knows that its epoch is current (R10).
    #[prost(bool, tag = "4")]
    pub joined: bool,
}

/// The head accepts the link.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Start {
    /// From Welcome.
    #[prost(bytes = "vec", tag = "1")]
    pub nonce: Vec<u8>,
    /// The head's confirmed position: honest disks never leave a tail below it.
    #[prost(uint64, tag = "2")]
    pub confirmed: u64,
    /// The end of the head's log: a tail below it serves nothing until it has caught up (R6). It may have shown
    /// what the head does not know to be confirmed, and forgotten it.
    #[prost(uint64, tag = "3")]
    pub last: u64,
}

/// One entry of the log.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Append {
    /// From Welcome.
    #[prost(bytes = "vec", tag = "1")]
    pub nonce: Vec<u8>,
    /// Sequence number of the entry.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// History hash before the entry.
    #[prost(bytes = "vec", tag = "3")]
    pub previous: Vec<u8>,
    /// The entry as stored.
    #[prost(bytes = "vec", tag = "4")]
    pub entry: Vec<u8>,
}

/// Entries a head lost.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entries {
    /// In order, without gaps.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Append>,
}

/// The head cannot go on from where the tail's log ends.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Halt {
    /// From Welcome.
    #[prost(bytes = "vec", tag = "1")]
    pub nonce: Vec<u8>,
    /// Why.
    #[prost(enumeration = "Apart", tag = "2")]
    pub why: i32,
}

/// Answer to a ping.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Pong {
    /// The ping's number.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// End of the sender's durable log.
    #[prost(uint64, tag = "2")]
    pub last: u64,
    /// Whether the sender serves reads.
    #[prost(bool, tag = "3")]
    pub serving: bool,
    /// Whether the sender accepts writes (a head with its link up).
    #[prost(bool, tag = "4")]
    pub writable: bool,
    /// Whether the sender grants leases (the head of an active epoch).
    #[prost(bool, tag = "5")]
    pub leases: bool,
}

/// A version of a record.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Version {
    /// Counter.
    #[prost(uint64, tag = "1")]
    pub counter: u64,
    /// Commit id, 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub commit_id: Vec<u8>,
}

/// A record.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// Key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Version.
    #[prost(message, optional, tag = "2")]
    pub version: Option<Version>,
    /// Sealed bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub blob: Vec<u8>,
}

/// A condition.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Expect {
    /// Key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Version; none = absent.
    #[prost(message, optional, tag = "2")]
    pub version: Option<Version>,
}

/// A transaction.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Transaction {
    /// Conditions.
    #[prost(message, repeated, tag = "1")]
    pub expect: Vec<Expect>,
    /// Records written.
    #[prost(message, repeated, tag = "2")]
    pub put: Vec<Record>,
    /// Keys removed.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub delete: Vec<Vec<u8>>,
    /// Keys, of those written, whose records are ended for good.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub ends: Vec<Vec<u8>>,
}

/// One attempt.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Commit {
    /// Commit id, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub commit_id: Vec<u8>,
    /// What to do.
    #[prost(message, optional, tag = "2")]
    pub transaction: Option<Transaction>,
}

/// One entry of the log as stored: a batch of attempts, applied together.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogEntry {
    /// Sequence number.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// Epoch number it was written in.
    #[prost(uint64, tag = "2")]
    pub epoch_no: u64,
    /// Epoch id.
    #[prost(bytes = "vec", tag = "3")]
    pub epoch_id: Vec<u8>,
    /// The batch.
    #[prost(message, repeated, tag = "4")]
    pub batch: Vec<Commit>,
    /// The operator's statement that another witness is listened to from here on (R17a).
    #[prost(message, optional, tag = "5")]
    pub witness: Option<Signed>,
    /// When the head made it, by its wall clock, Unix milliseconds; 0 in those of earlier builds. Nothing is decided by it.
    #[prost(uint64, tag = "6")]
    pub at_ms: u64,
}

/// Which backup to verify. Verifying may take minutes: the first message begins, and each later one with the same ticket asks.
#[derive(Clone, PartialEq, prost::Message)]
pub struct VerifyBackup {
    /// Drawn by who asks, 16 bytes: names this verification.
    #[prost(bytes = "vec", tag = "1")]
    pub ticket: Vec<u8>,
    /// Number of the backup; 0 = the newest.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// Region of the store; empty = both.
    #[prost(string, tag = "3")]
    pub store: String,
}

/// A page is asked for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Scan {
    /// Keys start with this.
    #[prost(bytes = "vec", tag = "1")]
    pub prefix: Vec<u8>,
    /// Keys are above this; empty = from the start.
    #[prost(bytes = "vec", tag = "2")]
    pub after: Vec<u8>,
    /// At most so many records.
    #[prost(uint32, tag = "3")]
    pub limit: u32,
}

/// Records under one outcome.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Page {
    /// In key order; at most one for a Get.
    #[prost(message, repeated, tag = "1")]
    pub records: Vec<Record>,
    /// More may follow.
    #[prost(bool, tag = "2")]
    pub more: bool,
}

/// Answer to a read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Read {
    /// The state, or the confirmed one of the two.
    #[prost(message, optional, tag = "1")]
    pub confirmed: Option<Page>,
    /// Present if a write is in doubt: the state if it happens.
    #[prost(message, optional, tag = "2")]
    pub pending: Option<Page>,
    /// From the moment that it was asked, so many milliseconds, what was read does not change; 0: no lease.
    #[prost(uint64, tag = "3")]
    pub lease_ms: u64,
}

/// A host could not open a record.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Damaged {
    /// Its key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Its version as served.
    #[prost(message, optional, tag = "2")]
    pub version: Option<Version>,
}

/// Why two logs cannot be brought together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Apart {
    /// Not said (never sent).
    Unspecified = 0,
    /// They are not one history.
    Diverged = 1,
    /// What the tail lacks is no longer kept at the head.
    TooFarBehind = 2,
}

/// Why a commit was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum NotDone {
    /// Not said (never sent).
    Unspecified = 0,
    /// No working link to the tail.
    NoTail = 1,
    /// Confirmations do not come.
    Stalled = 2,
    /// Depends on a write in doubt, or the queue time was over.
    InDoubt = 3,
    /// The sender's epoch is older.
    EpochChanged = 4,
    /// Not a serving head.
    NotServing = 5,
    /// The head lacks what the sender has seen.
    Behind = 6,
    /// The service of a domain that is written to has ended (G14).
    Terminated = 7,
    /// The domain has as many keys, or secrets, as it may.
    Full = 8,
}

/// Why nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum NotRead {
    /// Not said (never sent).
    Unspecified = 0,
    /// The sender's epoch is older.
    EpochChanged = 1,
    /// Not a serving member.
    NotServing = 2,
    /// Lacks what the sender has seen.
    Behind = 3,
    /// The stored bytes do not match their checksum.
    Damaged = 4,
    /// The service of the domain has ended (G14).
    Terminated = 5,
    /// Whether the service of the domain has ended is in doubt.
    InDoubt = 6,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Fate {
    /// Not in this log (which says nothing about the other, or the future).
    DontKnow = 0,
    /// Committed.
    Applied = 1,
    /// In the head's log, not confirmed.
    InDoubt = 2,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body whose tag is missing from the list at [`Envelope`] is written and never read.
    #[test]
    fn every_body_has_its_tag_in_the_list() {
        let source = include_str!("message.rs");
        let list = source.split("tags = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a list");
        let listed: Vec<&str> = list.split(", ").collect();
        let bodies =
            source.split("pub enum Body {").nth(1).and_then(|rest| rest.split("\n}").next()).expect("bodies");
        let tags = bodies.split("tag = \"").skip(1).filter_map(|rest| rest.split('"').next());
        let mut tags: Vec<&str> = tags.collect();
        tags.sort_unstable();
        assert_eq!(tags, listed);
        let sent = Envelope { body: Some(Body::Lease(vec![1])), ..Envelope::default() };
        let read = <Envelope as prost::Message>::decode(prost::Message::encode_to_vec(&sent).as_slice());
        assert_eq!(read.expect("reads").body, sent.body);
    }
}
