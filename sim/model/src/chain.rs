//! Rules of the chain: writing (R1 to R4, R7), reading (R8), hosts (R19, R20). Each function takes a step or
//! refuses it, and says which.

use crate::defect::Defect;
use crate::history::{self, DELETE, Write};
use crate::log::{Log, bit};
use crate::protocol::Protocol;
use crate::state::{Database, Kind, Message, Phase, REPLICA, Role, State};

/// A version, as a write meets it.
fn met(version: u8, tombstones: bool) -> u8 {
    if version == DELETE && !tombstones { history::ABSENT } else { version }
}

/// Versions that may be the true one at a head: confirmed, and after each entry in doubt.
fn outcomes(database: &Database) -> impl Iterator<Item = u8> {
    let log = database.log;
    (database.confirmed..=log.len()).map(move |length| log.prefix(length).last())
}

impl Protocol {
    /// R4, R12: whether a database takes writes.
    fn takes_writes(&self, database: &Database) -> bool {
        database.up
            && database.phase == Phase::Member
            && database.role == Role::Head
            && database.joined
            && (database.compared || self.lacks(Defect::AppendUncompared))
            && (database.active || self.lacks(Defect::WriteBeforeActive))
            && database.log.len() < Log::MAX
    }

    fn fits(&self, write: Write, version: u8) -> bool {
        met(version, !self.lacks(Defect::Forgetful)) == write.expect
    }

    /// R1, R4: a write reaches a database, once.
    pub(crate) fn commit(&self, state: &mut State, id: u8, at: u8) -> bool {
        let Some(write) = self.write(id) else { return false };
        let database = *state.at(at);
        if state.history.asked & bit(id) != 0 || !self.takes_writes(&database) {
            return false;
        }
        if self.fits(write, database.log.last()) {
            return self.append(state, id, at);
        }
        // Answered only if true under every outcome; else the write is refused, which changes nothing.
        let certain = outcomes(&database).all(|version| !self.fits(write, version));
        if certain || self.lacks(Defect::ConflictInDoubt) {
            state.history.conflict(write, self.bounds.writes);
            return true;
        }
        false
    }

    fn append(&self, state: &mut State, id: u8, at: u8) -> bool {
        let database = state.change(at);
        if !self.bounds.pipelined && database.in_doubt() {
            return false;
        }
        let log = database.log.with(id);
        database.log = log;
        if !self.lacks(Defect::ForwardBeforeSync) {
            database.synced = log.len();
        }
        let (epoch, nonce) = (database.epoch, database.link);
        if self.bounds.leases == 0 {
            state.send(Message { kind: Kind::Append, epoch, nonce, log });
        }
        state.history.ask(id, self.bounds.writes);
        if self.lacks(Defect::AcknowledgeBeforeTail) {
            state.history.acknowledge(id, self.bounds.writes);
        }
        true
    }

    /// R20: the request of a write that was appended arrives again. A commit id that is in the log is never
    /// appended again; its answer, unknown, changes nothing.
    pub(crate) fn repeat(&self, state: &mut State, id: u8, at: u8) -> bool {
        let Some(write) = self.write(id) else { return false };
        let database = *state.at(at);
        let may_happen = bit(id) & state.history.asked & !state.history.conflicted & !state.history.lost != 0;
        let known = database.log.holds(id) && !self.lacks(Defect::Forgetful);
        if state.spent.repeats == self.bounds.repeats || !may_happen || known || !self.takes_writes(&database)
        {
            return false;
        }
        state.spent.repeats += 1;
        self.fits(write, database.log.last()) && self.append(state, id, at)
    }

    /// The client's connection ends; only where a host would then send again.
    pub(crate) fn hang_up(&self, state: &mut State, id: u8) -> bool {
        let open = self.lacks(Defect::ResendConflict) && state.history.open() & bit(id) != 0;
        if open {
            state.history.hung_up |= bit(id);
        }
        open
    }

    /// R19: never done. The second answer is taken for the answer to the first.
    pub(crate) fn resend(&self, state: &mut State, id: u8, at: u8) -> bool {
        let Some(write) = self.write(id) else { return false };
        let database = *state.at(at);
        if state.history.open() & bit(id) == 0 {
            return false;
        }
        if self.lacks(Defect::ResendRefused) {
            // The link may be down at any time.
            state.history.refuse(id, self.bounds.writes);
            return true;
        }
        let hung_up = state.history.hung_up & bit(id) != 0;
        if !hung_up || !self.takes_writes(&database) || outcomes(&database).any(|v| self.fits(write, v)) {
            return false;
        }
        state.history.conflict(write, self.bounds.writes);
        true
    }

    /// R4: never done. A deadline passes, and the client is told "refused".
    pub(crate) fn refuse(&self, state: &mut State, id: u8) -> bool {
        let open = self.refuses() && state.history.open() & bit(id) != 0;
        if open {
            state.history.refuse(id, self.bounds.writes);
        }
        open
    }

    /// A message arrives.
    pub(crate) fn deliver(&self, state: &mut State, message: Message, at: u8) -> bool {
        match message.kind {
            Kind::Append => self.take_append(state, message, at),
            Kind::Confirm => self.take_confirm(state, message, at),
            Kind::Welcome => self.take_welcome(state, message, at),
            Kind::Start => self.take_start(state, message, at),
            Kind::Record => self.take_record(state, message, at),
        }
    }

    /// R2: durable, then visible, then confirmed. A repeat is confirmed again.
    fn take_append(&self, state: &mut State, message: Message, at: u8) -> bool {
        let links = self.bounds.nonces > 0;
        let database = state.change(at);
        let serving = database.phase == Phase::Member && database.active;
        let old = self.lacks(Defect::OldPeerServed)
            && database.phase == Phase::Member
            && database.epoch > message.epoch;
        let early = database.phase == Phase::Filling && self.lacks(Defect::WriteBeforeActive);
        let linked = !links || (database.started && database.link == message.nonce);
        if database.role != Role::Tail
            || !(database.epoch == message.epoch || old)
            || !(serving || early || old)
            || !(linked || self.lacks(Defect::DeadLink))
        {
            return false;
        }
        // After a handshake everything above the tail's last may come at once.
        let next = links || message.log.len() == database.log.len() + 1;
        if message.log.len() > database.log.len() {
            if !next || !database.log.begins(message.log) {
                return false;
            }
            database.log = message.log;
            if !self.lacks(Defect::ConfirmBeforeSync) {
                database.synced = message.log.len();
            }
        } else if !message.log.begins(database.log) {
            return false;
        }
        let log = database.log;
        if serving && state.witness.tail == at {
            self.note_commit(state, log);
        }
        state.send(Message { kind: Kind::Confirm, epoch: message.epoch, nonce: 0, log });
        true
    }

    /// Keeps the order of commits, which only the promise of the third copy asks for.
    pub(crate) fn note_commit(&self, state: &mut State, log: Log) {
        let lost = !state.witness.active && state.witness.source == REPLICA;
        if self.bounds.replica && !lost && log.len() > state.order.len() {
            state.order = log;
        }
    }

    /// R3, R12: a confirmation is counted only in an epoch that is known to be active, and acknowledges.
    fn take_confirm(&self, state: &mut State, message: Message, at: u8) -> bool {
        // Who forwards under a lease would at least acknowledge after it.
        let waits = self.lacks(Defect::ForwardUnderLease) && state.lease.is_some();
        let database = state.change(at);
        let counts =
            database.active || self.lacks(Defect::WriteBeforeActive) || self.lacks(Defect::CountBeforeActive);
        if database.role != Role::Head
            || database.phase != Phase::Member
            || database.epoch != message.epoch
            || !counts
            || !message.log.begins(database.log)
            || message.log.len() <= database.confirmed
            || waits
        {
            return false;
        }
        database.confirmed = message.log.len();
        self.resolve(state, at);
        true
    }

    /// R4, R10: a joined head tells those who wait, and those who ask for an attempt's fate (`Resolve`), what is
    /// confirmed. The earliest moment is the strictest.
    pub(crate) fn resolve(&self, state: &mut State, at: u8) {
        let database = *state.at(at);
        let answers = database.joined || self.lacks(Defect::ResolveUnjoined);
        if database.role != Role::Head || !answers {
            return;
        }
        for id in database.log.prefix(database.confirmed).ids() {
            if state.history.open() & !state.history.hung_up & bit(id) != 0 {
                state.history.acknowledge(id, self.bounds.writes);
            }
        }
    }

    /// What was written is synced, where a defect let it be seen before.
    pub(crate) fn sync(&self, state: &mut State, at: u8) -> bool {
        let database = state.change(at);
        database.synced = database.log.len();
        true
    }

    /// R8, R10: whether a database answers reads.
    pub fn serves(&self, database: &Database) -> bool {
        database.up
            && database.phase == Phase::Member
            && database.joined
            && (database.compared || self.lacks(Defect::ServeUncompared))
    }

    /// R8: what a reader at this database sees; nothing where it is not told.
    pub fn answer(&self, database: &Database) -> Option<u8> {
        let last = database.log.last();
        if database.role == Role::Tail || self.lacks(Defect::HeadServesNew) {
            return Some(history::shown(last));
        }
        let confirmed = database.log.prefix(database.confirmed).last();
        let same = |version: u8| history::shown(version) == history::shown(confirmed);
        let told = match self.defect {
            Some(Defect::HeadServesOld) => true,
            Some(Defect::AllOrNone) => same(last),
            _ => outcomes(database).all(same),
        };
        told.then_some(history::shown(confirmed))
    }

    /// A reader asks a database, with no memory of what it saw elsewhere.
    pub(crate) fn read(&self, state: &mut State, at: u8) -> bool {
        let database = state.at(at);
        let Some(seen) = self.serves(database).then(|| self.answer(database)).flatten() else { return false };
        state.history.read(seen, self.bounds.writes);
        true
    }

    /// R18: the third copy follows the tail, or the head up to confirmed, in an active epoch not below its own.
    pub(crate) fn follow(&self, state: &mut State, from: u8) -> bool {
        let database = *state.at(from);
        let all = database.role == Role::Tail || self.lacks(Defect::FollowInDoubt);
        let log = if all { database.log } else { database.log.prefix(database.confirmed) };
        let current = database.epoch >= state.witness.floor;
        if database.phase != Phase::Member || !database.active || !current || !state.replica.begins(log) {
            return false;
        }
        state.replica = log;
        true
    }
}
