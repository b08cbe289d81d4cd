//! What a state of the model consists of: databases, the witness, who rebuilds, the network, what clients saw,
//! and what is left of each budget. Holds no rule.

use crate::history::History;
use crate::log::{Epoch, Log};
use std::hash::{Hash, Hasher};

/// Databases that may ever exist: the first head and tail, and three that are filled later.
pub const DATABASES: usize = 5;
/// The first head.
pub const HEAD: u8 = 0;
/// The first tail.
pub const TAIL: u8 = 1;
/// The first database that a rebuild may fill.
pub const SPARE: u8 = 2;
/// As a source: the copy in another region.
pub const REPLICA: u8 = 7;
/// No database.
pub const NOBODY: u8 = 6;

/// What a database is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// No store on the disk.
    #[default]
    Blank,
    /// A new store, filled by a rebuild whose epoch it does not know to be active.
    Filling,
    /// A member of its epoch.
    Member,
    /// Serves nothing any more.
    Retired,
}

/// Its place in the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Orders writes.
    #[default]
    Head,
    /// Its durable commit is the commit.
    Tail,
}

impl Role {
    /// The other one.
    pub fn other(self) -> Role {
        match self {
            Role::Head => Role::Tail,
            Role::Tail => Role::Head,
        }
    }
}

/// An answer on its way to a database that asked since its start. A crash loses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// `ReadEpoch` answered by the witness.
    Witness(Witness),
    /// A peer vouches for this epoch.
    Vouched(Epoch),
}

/// A database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// Durable: what it is.
    pub phase: Phase,
    /// Durable: its place in the chain.
    pub role: Role,
    /// Durable: its epoch.
    pub epoch: Epoch,
    /// Durable: whether it knows that its epoch is active.
    pub active: bool,
    /// Its log; durable up to `synced`.
    pub log: Log,
    /// Durable: entries the head knows to be confirmed.
    pub confirmed: u8,
    /// Durable entries of the log. Less than the log only where a defect writes before it syncs.
    pub synced: u8,
    /// Whether its process runs.
    pub up: bool,
    /// Volatile: someone who may know has said, since this start, that its epoch is current.
    pub joined: bool,
    /// Volatile: has compared its log with its peer's since this start. Always true where disks are honest.
    pub compared: bool,
    /// Volatile: the nonce of the link; 0 for none, and where links are not modelled.
    pub link: u8,
    /// Volatile, at a tail: whether `Start` was received on this link.
    pub started: bool,
    /// Volatile: it has granted a lease since its start that is not over.
    pub granted: bool,
    /// Volatile: what it was told and has not acted upon.
    pub answer: Option<Answer>,
}

/// One word instead of fifteen: hashing is what a search does most.
impl Hash for Database {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let told = self.answer.is_some();
        let flags = [self.active, self.up, self.joined, self.compared, self.started, self.granted, told];
        let flags = flags.iter().fold(0, |bits, flag| bits << 1 | u8::from(*flag));
        let small = [self.confirmed, self.synced, self.link, self.phase as u8 * 2 + self.role as u8];
        let small = small.iter().fold(0, |bits, number| bits << 4 | u64::from(*number));
        let (epoch, log) = (u64::from(self.epoch.bits()), u64::from(self.log.bits()));
        hasher.write_u64(small << 32 | log << 16 | epoch << 8 | u64::from(flags));
        if let Some(answer) = self.answer {
            answer.hash(hasher);
        }
    }
}

impl Database {
    /// A member of the first epoch.
    pub fn first(role: Role, link: u8) -> Database {
        Database {
            phase: Phase::Member,
            role,
            epoch: Epoch::FIRST,
            active: true,
            up: true,
            joined: true,
            compared: true,
            link,
            started: link != 0,
            ..Database::default()
        }
    }

    /// Loses what is not durable.
    pub fn stop(&mut self) {
        self.up = false;
        self.joined = false;
        self.compared = false;
        self.link = 0;
        self.started = false;
        self.granted = false;
        self.answer = None;
        self.log = self.log.prefix(self.synced);
        self.confirmed = self.confirmed.min(self.synced);
    }

    /// Serves nothing from now on, durably.
    pub fn retire(&mut self) {
        self.stop();
        self.phase = Phase::Retired;
        self.active = false;
    }

    /// Makes a log durable.
    pub fn store(&mut self, log: Log) {
        self.log = log;
        self.synced = log.len();
    }

    /// Whether an entry is in doubt.
    pub fn in_doubt(&self) -> bool {
        self.role == Role::Head && self.confirmed < self.log.len()
    }
}

/// The witness's record, which changes by compare-and-set only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Witness {
    /// The epoch registered last.
    pub epoch: Epoch,
    /// Whether it is active; pending otherwise.
    pub active: bool,
    /// The source of the pending epoch.
    pub source: u8,
    /// The database it makes a member.
    pub target: u8,
    /// The head of the last active epoch.
    pub head: u8,
    /// The tail of the last active epoch.
    pub tail: u8,
    /// The epoch of the restore: the third copy takes nothing of an earlier one.
    pub floor: Epoch,
}

impl Witness {
    /// Whether the database is a member of the last active epoch.
    pub fn has(&self, id: u8) -> bool {
        self.head == id || self.tail == id
    }
}

/// A rebuild or restore that is under way, as the operator who runs it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    /// The epoch that was registered.
    pub epoch: Epoch,
    /// What is copied.
    pub source: u8,
    /// What becomes a member; of a restore, the head, and the tail is the next one.
    pub target: u8,
    /// The target's place.
    pub role: Role,
    /// Databases known to be retired, or seen not to run after the source adopted the epoch. Bits.
    pub fenced: u8,
    /// Whether the target has everything.
    pub filled: bool,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Head to tail: the log up to an entry.
    Append,
    /// Tail to head: the log it has.
    Confirm,
    /// Tail to head, in answer to a `Hello` of this start: the nonce and the log it has.
    Welcome,
    /// Head to tail: both logs were compared; the log the head has.
    Start,
    /// The signed record that an epoch is active. Only for the defect that trusts an old one.
    Record,
}

/// A message that was sent. It may be delivered never, late, and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// The epoch it carries.
    pub epoch: Epoch,
    /// The link it belongs to; 0 where links are not modelled.
    pub nonce: u8,
    /// The log it speaks of: what (last, hash) and the entry identify.
    pub log: Log,
}

impl Hash for Message {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let head = u32::from(self.kind as u8) << 4 | u32::from(self.nonce);
        hasher.write_u32(head << 24 | u32::from(self.epoch.bits()) << 16 | u32::from(self.log.bits()));
    }
}

/// A lease that a host holds: until its end it answers with this version and asks nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// What the host goes on using.
    pub version: u8,
    /// Whether a head granted it. A tail does only by a defect, and then no head knows.
    pub by_head: bool,
}

/// What was spent of each budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spent {
    /// Crashes.
    pub crashes: u8,
    /// Disks lost.
    pub losses: u8,
    /// Silent rollbacks of a disk.
    pub rollbacks: u8,
    /// Registrations at the witness.
    pub registers: u8,
    /// Databases named as new targets.
    pub targets: u8,
    /// Nonces drawn.
    pub nonces: u8,
    /// Requests repeated.
    pub repeats: u8,
    /// Leases granted.
    pub leases: u8,
}

/// A state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The databases, by id.
    pub databases: [Database; DATABASES],
    /// The witness.
    pub witness: Witness,
    /// Rebuilds under way: one, but for the defect that lets two go on.
    pub operators: [Option<Operator>; 2],
    /// Databases seen off before anything was registered. Only for the defect that counts this.
    pub seen_off: u8,
    /// What was sent, in order and each once.
    pub network: Vec<Message>,
    /// What clients saw.
    pub history: History,
    /// The lease that is not over.
    pub lease: Option<Lease>,
    /// The third copy's log, where it is modelled.
    pub replica: Log,
    /// The order of commits, where the third copy is modelled.
    pub order: Log,
    /// What was spent.
    pub spent: Spent,
}

impl State {
    /// A region as it was made. `links`: whether links have nonces.
    pub fn first(links: bool) -> State {
        let link = u8::from(links);
        let mut databases = [Database::default(); DATABASES];
        databases[usize::from(HEAD)] = Database::first(Role::Head, link);
        databases[usize::from(TAIL)] = Database::first(Role::Tail, link);
        State {
            databases,
            witness: Witness {
                epoch: Epoch::FIRST,
                active: true,
                source: NOBODY,
                target: NOBODY,
                head: HEAD,
                tail: TAIL,
                floor: Epoch::FIRST,
            },
            operators: [None; 2],
            seen_off: 0,
            network: Vec::new(),
            history: History::default(),
            lease: None,
            replica: Log::default(),
            order: Log::default(),
            spent: Spent { nonces: link, ..Spent::default() },
        }
    }

    /// A database.
    pub fn at(&self, id: u8) -> &Database {
        &self.databases[usize::from(id)]
    }

    /// A database, to change it.
    pub fn change(&mut self, id: u8) -> &mut Database {
        &mut self.databases[usize::from(id)]
    }

    /// Sends a message: once sent, it stays.
    pub fn send(&mut self, message: Message) {
        if let Err(place) = self.network.binary_search(&message) {
            self.network.insert(place, message);
        }
    }
}
