//! What a host needs of the replicated store: the one trait between the service and its databases.
//! Small on purpose, so that another database can stand behind it.

use crate::{
    env::{BoxFuture, Mono},
    record::{CommitId, RecordKey, SealedRecord, Transaction},
};
use std::sync::Arc;

pub use crate::wire::keyring::KeyringStep;

/// Number and id of an epoch, as a host knows it.
pub type KnownEpoch = (u64, Arc<[u8]>);

/// Which database to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The one of the host's own zone.
    Near,
    /// The one of the other zone.
    Far,
}

/// The answer to a read (PROTOCOL R8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading<T> {
    /// True under every outcome.
    Settled(T),
    /// A write to what was read is in doubt: the answer is one of the two. The host computes its
    /// operation's answer under each, and answers only if they are equal.
    InDoubt {
        /// If the write in doubt never happens.
        confirmed: T,
        /// If it does.
        pending: T,
    },
}

/// One page of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Records in key order.
    pub records: Vec<(RecordKey, SealedRecord)>,
    /// Whether records of the prefix may follow after the last one here.
    pub more: bool,
}

/// Why a read at one database gave nothing. The host asks the other one (R19).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No connection, or no answer in time.
    #[error("database unreachable")]
    Unreachable,
    /// The database is not (or no longer) a serving member.
    #[error("database not serving")]
    NotServing,
    /// The database lacks something this host has already seen.
    #[error("database behind")]
    Behind,
    /// A newer epoch is active: everything cached is void, read again.
    #[error("epoch changed")]
    EpochChanged,
    /// The stored bytes do not match their checksum.
    #[error("stored record damaged")]
    Damaged,
    /// The service of the domain has ended. Definite.
    #[error("the service of the domain has ended")]
    Terminated,
    /// Whether it has ended is in doubt.
    #[error("whether the service of the domain has ended is in doubt")]
    InDoubt,
}

impl ReadError {
    /// Whether the same question is answered in a moment: what is missing comes by itself.
    pub fn passes(self) -> bool {
        matches!(self, ReadError::Behind | ReadError::EpochChanged)
    }
}

/// Why a write was refused. Nothing of it was stored, nothing ever will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The head cannot be reached: nothing was sent.
    #[error("head database unreachable")]
    NoHead,
    /// The head has no working link to the tail.
    #[error("the other zone's database is unavailable")]
    NoTail,
    /// The link is there, but confirmations do not come.
    #[error("the other zone's database does not confirm")]
    Stalled,
    /// The outcome would depend on a write that is in doubt, or the queue time was over.
    #[error("an earlier write is still in doubt")]
    InDoubt,
    /// The head moved to another epoch.
    #[error("epoch changed")]
    EpochChanged,
    /// The head does not serve.
    #[error("head database not serving")]
    NotServing,
    /// The head lacks something this host has already seen.
    #[error("head database behind")]
    Behind,
    /// The service of the domain has ended.
    #[error("the service of the domain has ended")]
    Terminated,
    /// The domain has as many keys, or secrets, as it may.
    #[error("the domain has as many as it may")]
    Full,
}

/// Why a step of a new domain was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// Nothing was done.
    #[error(transparent)]
    Not(ReadError),
    /// It was sent, and no answer came.
    #[error("no answer")]
    NoAnswer,
}

/// Why a commit did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// An expectation fails under every outcome. Definite.
    #[error("conflict")]
    Conflict,
    /// Definite: not stored, never will be.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// May have happened, may yet, may never.
    #[error("outcome unknown")]
    Unknown,
}

/// What a host can do at the moment, as far as it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreHealth {
    /// At least one database answers reads.
    pub can_read: bool,
    /// The head says its link is up, and has said so within the detection bound.
    pub can_write: bool,
}

/// A record that does not change for a while (PROTOCOL R21).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The record.
    pub record: SealedRecord,
    /// By the monotonic clock of who asked.
    pub until: Mono,
    /// It holds in this epoch, see [`RecordStore::epoch`], and in no other.
    pub epoch: KnownEpoch,
}

/// The store as a host sees it. An implementation sends each commit attempt at most once.
pub trait RecordStore: Send + Sync {
    /// One record; `None` if there is none.
    fn get(
        &self,
        place: Place,
        key: RecordKey,
    ) -> BoxFuture<'_, Result<Reading<Option<SealedRecord>>, ReadError>>;
    /// The records whose key starts with `prefix` and is above `after`, at most `limit`.
    fn scan(
        &self,
        place: Place,
        prefix: Vec<u8>,
        after: Option<RecordKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Reading<Page>, ReadError>>;
    /// Applies a transaction in both databases. `Ok` means both have it durably.
    fn commit(&self, id: CommitId, transaction: Transaction) -> BoxFuture<'_, Result<(), CommitError>>;
    /// The sealed domain key kept beside the log; `None` if the domain is not known there.
    fn keyring(&self, place: Place, domain: [u8; 16]) -> BoxFuture<'_, Result<Option<Vec<u8>>, ReadError>>;
    /// Takes one step of putting the sealed key of a new domain beside the logs (R23), all in one `epoch`; answers what lies there then.
    /// To be repeated without harm.
    fn put_keyring(
        &self,
        step: KeyringStep,
        epoch: KnownEpoch,
        domain: [u8; 16],
        sealed: Vec<u8>,
    ) -> BoxFuture<'_, Result<Vec<u8>, PutError>>;
    /// Tells a database that a blob it served did not open.
    fn report_damaged(&self, place: Place, key: RecordKey, record: &SealedRecord);
    /// What can be done now.
    fn health(&self) -> StoreHealth;
    /// A record that may be used until its lease ends. None: there is no record, or no lease to be had now; nothing follows from that.
    fn lease(&self, _key: RecordKey) -> BoxFuture<'_, Option<Leased>> {
        Box::pin(std::future::ready(None))
    }
    /// Number and id of the newest epoch that it knows of: what was kept of another one is void.
    fn epoch(&self) -> KnownEpoch {
        KnownEpoch::default()
    }
}
