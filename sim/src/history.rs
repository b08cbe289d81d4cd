//! What the clients saw, and what was done to the world: the input of every checker.
//!
//! Times are microseconds of true simulated time (no node's clock) since the start of the run. For runs
//! against real processes they are microseconds of the harness's monotonic clock.

use crate::access::{Attempt, Change, Said};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Microseconds since the start of the run.
pub type Micros = u64;

/// Everything one run left for the checkers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct History {
    /// Client operations, in order of invocation. `ops[i].id == i`.
    pub ops: Vec<Op>,
    /// What happened to nodes and links, in order.
    pub events: Vec<WorldEvent>,
    /// What was durable on the databases' disks whenever one of them went down.
    #[serde(default)]
    pub images: Vec<DiskImage>,
    /// What was durable on the replica's disk, now and then.
    #[serde(default)]
    pub copies: Vec<DiskImage>,
    /// What became of the objects of the backup stores, and of the stores, in order.
    #[serde(default)]
    pub stores: Vec<StoreEvent>,
    /// Backups that were read in full, now and then and at the end.
    #[serde(default)]
    pub backups: Vec<BackupRead>,
    /// Where keys of domains were found, now and then.
    #[serde(default)]
    pub keys: Vec<KeysSeen>,
    /// The ids of requests, by operation, where hosts keep an audit.
    #[serde(default)]
    pub requests: BTreeMap<u64, String>,
    /// What was in the hosts' spools at the end.
    #[serde(default)]
    pub audits: Vec<AuditRead>,
    /// Denials, as they were said.
    #[serde(default)]
    pub denials: Vec<Said>,
    /// True wall time at the start of the run, Unix milliseconds.
    #[serde(default)]
    pub wall_from_ms: u64,
    /// When the load began: before, everybody asked in turn.
    #[serde(default)]
    pub load_from: Micros,
    /// When the faults phase began.
    pub faults_from: Micros,
    /// When everything was healed (end of the faults phase).
    pub healed_at: Micros,
    /// End of the run.
    pub end: Micros,
}

/// The durable contents of one database's disk at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskImage {
    /// Whose disk.
    pub node: String,
    /// The database that had gone down; empty in an image of the replica, which is looked at now and then.
    pub down: String,
    /// What was acknowledged by then must be in it.
    pub acknowledged_before: Micros,
    /// The version counter of each record, by the id at the end of its key.
    pub records: BTreeMap<String, u64>,
    /// Why the store in the image cannot be read, if so.
    pub unreadable: Option<String>,
}

/// Which domains' sealed keys were on all disks and in all backup stores at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysSeen {
    /// When.
    pub at: Micros,
    /// The place (a node, or `store` and the region of one) and the domain.
    pub keys: BTreeSet<(String, String)>,
}

/// Something happened to a backup store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreEvent {
    /// When.
    pub at: Micros,
    /// The region of the store.
    pub store: String,
    /// What.
    pub what: StoreWhat,
}

/// What happened to a backup store.
#[expect(missing_docs, reason = "fields say what they are")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreWhat {
    /// A node made or replaced an object.
    Put { node: String, name: String, bytes: u64 },
    /// A node deleted an object that was there.
    Deleted { node: String, name: String },
    /// From here on it does not do what it should.
    Troubled,
    /// From here on it does.
    Well,
    /// It was emptied.
    Lost,
    /// An object was altered, or vanished, for good.
    Hurt { name: String, gone: bool },
}

/// A backup, read in full from a copy of its store by the service's own reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRead {
    /// When it was read.
    pub at: Micros,
    /// The region of the store.
    pub store: String,
    /// The name of its manifest.
    pub name: String,
    /// Why it cannot be read, if so.
    pub trouble: Option<String>,
    /// The version counter of each record that it leads to, by the id at the end of its key.
    pub records: BTreeMap<String, u64>,
}

/// A host's spool, read by the service's own reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRead {
    /// The host.
    pub host: String,
    /// What is wrong with it.
    pub findings: Vec<String>,
    /// What it says was done.
    pub entries: Vec<AuditEntry>,
}

/// An entry of a host's audit, as far as verdicts depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The request's id.
    pub request: String,
    /// The domain.
    pub domain: String,
    /// What it was about.
    pub urn: String,
    /// Who asked.
    pub identities: usize,
    /// The answer's status.
    pub status: u16,
}

/// One client operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Op {
    /// Index in [`History::ops`].
    pub id: u64,
    /// The client, or a checker's own reader.
    pub client: u32,
    /// What was asked.
    pub call: Call,
    /// When it was sent.
    pub invoked: Micros,
    /// When the answer was there; `None` if the run ended first.
    pub done: Option<Micros>,
    /// The answer; [`Outcome::Unknown`] if the run ended first.
    pub outcome: Outcome,
    /// The load phase, or an end check reading one database alone.
    pub phase: Phase,
}

/// When an operation was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Before and during faults.
    Load,
    /// After the heal, while recovery is measured.
    Settle,
    /// End check with zone b's database off: the head alone answers.
    HeadAlone,
    /// End check with zone a's database off: the tail alone answers.
    TailAlone,
}

/// A request. Keys are client-chosen UUIDs unless said otherwise.
#[expect(missing_docs, reason = "fields are named as in the REST API")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Create an AES-256 key with a client-chosen id.
    Create { key: String, name: String },
    /// Create without an id: the service chooses.
    CreateUnnamed { name: String },
    /// Read attributes.
    Get { key: String },
    /// One page of the list, from `after` (a continuation token of the service).
    List { state: String, token: Option<String>, max: u32 },
    /// Rename.
    Rename { key: String, name: String },
    /// Activate.
    Activate { key: String },
    /// Deactivate, with a revocation reason.
    Deactivate { key: String, reason: String },
    /// Destroy.
    Delete { key: String },
    /// Encrypt; plaintext and context are the clear strings.
    Encrypt { key: String, plaintext: String, context: String },
    /// Decrypt a ciphertext that operation `from` answered.
    Decrypt { key: String, from: u64, context: String },
    /// Make a data key of so many bits.
    DataKey { key: String, bits: u32 },
    /// Unwrap the data key that operation `from` answered.
    DataKeyDecrypt { key: String, from: u64 },
    /// Sign a message; how is said by the key's id.
    Sign { key: String, message: String },
    /// Ask whether what operation `from` answered is a signature of the message.
    Verify { key: String, message: String, from: u64 },
    /// Random bytes.
    Random { length: u32 },
    /// Something about a secret, in the words of one of the two interfaces.
    Secret { path: String, dialect: Dialect, ask: Ask },
    /// The first page of secrets.
    Secrets,
    /// The same, asked for in another domain than one's own.
    Abroad { domain: String, call: Box<Call> },
}

/// An interface to secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dialect {
    /// `/v2/secret`.
    Native,
    /// `/v1/secret`, as clients of Vault's KV version 2 know it.
    Vault,
}

/// What is asked of a secret. Data and custom metadata stand here as tags (see [`crate::veiled`]).
#[expect(missing_docs, reason = "fields say what they are")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Make it, with a first version; natively perhaps with custom metadata.
    Create { value: String, note: Option<String> },
    /// One more version, if the current one has the number `cas`. Vault's clients make the secret so, too.
    Write { value: String, cas: Option<u32> },
    /// A version with its data; the current one if no number is given.
    Read { version: Option<u32> },
    /// What is known of it without data; of Vault's clients, all its versions.
    Describe,
    /// Set the state of a version; of Vault's clients, without a number deactivate the current one.
    Set { version: Option<u32>, state: VersionState },
    /// Replace the custom metadata. Vault's clients make a secret without versions so.
    Note { note: String },
    /// Delete it with all its versions.
    Delete,
}

/// The state of a version of a secret.
#[expect(missing_docs, reason = "named as in the native interface")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VersionState {
    Active,
    Deactivated,
    Deleted,
}

impl Ask {
    /// Whether it is a write.
    pub fn is_write(&self) -> bool {
        !matches!(self, Ask::Read { .. } | Ask::Describe)
    }
}

impl Call {
    /// The record it names, if it names one: a key by its id, a secret by its path.
    pub fn key(&self) -> Option<&str> {
        match self {
            Call::Create { key, .. }
            | Call::Get { key }
            | Call::Rename { key, .. }
            | Call::Activate { key }
            | Call::Deactivate { key, .. }
            | Call::Delete { key }
            | Call::Encrypt { key, .. }
            | Call::Decrypt { key, .. }
            | Call::DataKey { key, .. }
            | Call::DataKeyDecrypt { key, .. }
            | Call::Sign { key, .. }
            | Call::Verify { key, .. } => Some(key),
            Call::Secret { path, .. } => Some(path),
            Call::CreateUnnamed { .. }
            | Call::List { .. }
            | Call::Random { .. }
            | Call::Secrets
            | Call::Abroad { .. } => None,
        }
    }

    /// Whether it changes a record (every state change follows the two-zone rule).
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            Call::Create { .. }
                | Call::CreateUnnamed { .. }
                | Call::Rename { .. }
                | Call::Activate { .. }
                | Call::Deactivate { .. }
                | Call::Delete { .. }
        ) || matches!(self, Call::Secret { ask, .. } if ask.is_write())
    }

    /// Whether it makes a record that is there from then on: a key, or a secret.
    pub fn makes_record(&self) -> bool {
        self.is_key_write()
            || matches!(self, Call::Secret { ask: Ask::Create { .. } | Ask::Write { .. }, .. })
    }

    /// Whether it is a page of a list.
    pub fn is_list(&self) -> bool {
        matches!(self, Call::List { .. } | Call::Secrets)
    }

    /// Whether it makes key material (a key write in the documentation's sense).
    pub fn is_key_write(&self) -> bool {
        matches!(self, Call::Create { .. } | Call::CreateUnnamed { .. })
    }
}

/// A key as `get` and `list` show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Key id.
    pub id: String,
    /// Friendly name.
    pub name: String,
    /// `active`, `deactivated`, `compromised`, `destroyed`, ...
    pub state: String,
    /// Everything else, as canonical JSON (sorted keys), for equality only.
    pub rest: String,
}

/// What an answer shows of a secret. What it does not show is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretView {
    /// The number of the current version; 0 before the first.
    pub current: Option<u32>,
    /// The number of the oldest version that is kept, once one was dropped; until then 0.
    pub oldest: Option<u32>,
    /// The mark of the custom metadata; empty without any.
    pub note: Option<String>,
    /// Versions.
    pub versions: Vec<VersionView>,
    /// Whether there are no others.
    pub all: bool,
}

/// One version of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// Its number.
    pub number: u32,
    /// Its state.
    pub state: VersionState,
    /// The mark of its data; empty if the answer should have had some.
    pub value: Option<String>,
}

/// What a success said.
#[expect(missing_docs, reason = "fields say what they are")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// No body.
    Done,
    /// One key.
    Key(KeyView),
    /// A page.
    Page { keys: Vec<KeyView>, token: String, truncated: bool },
    /// A ciphertext (JWE).
    Ciphertext(String),
    /// A plaintext, decoded to the clear string (lossy for binary: hex then).
    Plaintext(String),
    /// A data key: its blob, and its plaintext in hex.
    DataKey { blob: String, plaintext_hex: String },
    /// A signature, base64.
    Signature(String),
    /// Whether it is one.
    Verified(bool),
    /// Random bytes, hex.
    Bytes(String),
    /// A secret.
    Secret(SecretView),
    /// Secrets by their paths.
    Secrets { page: Vec<(String, SecretView)> },
}

/// How an operation ended, in the words of DESIGN 2.
#[expect(missing_docs, reason = "fields say what they are")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Acknowledged.
    Ok(Answer),
    /// A definite answer other than success or refusal: 4xx, or 5xx that says nothing was done to a read.
    Rejected { status: u16, code: u32 },
    /// Refused: 503 with the documented code. Nothing of it will ever appear.
    Refused,
    /// 504 with the documented code, said by the service.
    SaidUnknown,
    /// Timeout, reset, connection refused by the entry, or the run ended: nothing was said.
    Unknown,
}

/// What the nemesis did, or the world observed. Node names are those of the plan (`db-a`, `host-b2`, ...).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorldEvent {
    /// When.
    pub at: Micros,
    /// What.
    pub what: What,
}

/// A change in the world.
#[expect(missing_docs, reason = "fields say what they are")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A node stopped (killed, powered off, or its process ended).
    Down { node: String, how: Stop },
    /// A node's process was started.
    Up { node: String },
    /// A node stopped being scheduled.
    Paused { node: String },
    /// A paused node runs again.
    Resumed { node: String },
    /// Nothing gets from one node to the other any more (one way).
    Cut { from: String, to: String },
    /// The one-way cut ended.
    Joined { from: String, to: String },
    /// A machine's disk was replaced by an empty one.
    DiskLost { node: String },
    /// The disk that was taken out of a machine is in it again.
    DiskReturned { node: String },
    /// A host's disk takes nothing more.
    DiskFull { node: String },
    /// It does again.
    DiskFreed { node: String },
    /// A disk shows an earlier synced state.
    DiskRolledBack { node: String },
    /// The operator makes a database anew: how far that is.
    Rebuild { node: String, step: Rebuild },
    /// The region was made anew, of the replica's copy or of a backup: the new epoch is active.
    Restored { backup: bool },
    /// An operator ends the service of a domain: how far that is.
    Termination { domain: String, step: Termination },
    /// An operator changes who may do what in a domain: what came of an attempt.
    Access { domain: String, change: Change, step: Attempt },
    /// Keepers of shares are at work at a host: what they do, and what they see of it.
    Keepers { node: String, step: Keeping },
    /// The witness in place is the one that both databases listen to, as an operator has seen to.
    WitnessHeard,
    /// Stored blobs of a database were put in each other's place.
    Swapped { node: String, keys: Vec<String> },
    /// A node's process ended by itself (a panic, or an error): always a finding.
    Exited { node: String, why: String },
    /// Blocking work of a node panicked, and the process lived on: always a finding.
    Panicked { node: String, text: String },
    /// A probe: something a checker wants to count (see `check`).
    Probe { name: String, node: String },
}

/// What keepers of shares do to a host, and see of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keeping {
    /// An operator begins to seal it.
    Sealing,
    /// It has answered that it is sealed.
    Sealed,
    /// A share is on its way to it: of this set, of which so many are needed, with this number; without one it is not what was handed out.
    Gives {
        /// The set's name.
        set: String,
        /// How many unseal.
        needed: u8,
        /// Number of the share.
        share: Option<u8>,
    },
    /// It has forgotten the shares that it had.
    Forgot,
    /// Nothing is on its way any more.
    Gave,
    /// It has refused what it was given.
    Refused,
    /// It says that it is unsealed.
    Unsealed,
    /// It says that its root key is sealed under this set, because it was told to.
    Rotated {
        /// The set's name.
        set: String,
    },
    /// It says that it wants shares of this set.
    Wants {
        /// The set's name.
        set: String,
    },
    /// It was asked by a client of its own, from `asked` on.
    Asked {
        /// When it was asked.
        asked: Micros,
        /// Whether `/healthz` said that it serves, or that it is not sealed; `None` without an answer.
        fine: Option<bool>,
        /// Whether an operation was answered with success; `None` without an answer.
        served: Option<bool>,
    },
}

/// Steps of the end of a domain's service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Termination {
    /// The operator begins: from here on it may be refused.
    Begun,
    /// The operator was told that it has ended: nothing of it may be answered.
    Ended,
}

/// Steps of a rebuild that verdicts depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rebuild {
    /// The operator begins: from here on writes may be refused.
    Begun,
    /// The source has adopted: nothing may be acknowledged.
    Adopted,
    /// The operator is about to make the epoch active: writes may be acknowledged again.
    Activating,
    /// It is active: writes must soon be acknowledged again.
    Activated,
    /// The operator was refused before anything was changed.
    GivenUp,
}

/// How a node was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// Process killed: its disk keeps what the operating system had; peers see the connection end.
    Kill,
    /// Power cut: unsynced sectors are lost, torn or reordered; peers see silence.
    PowerCut,
    /// Asked to stop, and did.
    Shutdown,
}
