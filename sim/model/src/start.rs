//! Rules of a start: crash and restart, whom a database believes (R10, R16), and the handshake of a link (R6).

use crate::defect::Defect;
use crate::log::{Epoch, Log};
use crate::protocol::Protocol;
use crate::state::{Answer, HEAD, Kind, Message, Phase, Role, State, TAIL, Witness};

impl Protocol {
    /// A database stops.
    pub(crate) fn crash(&self, state: &mut State, at: u8) -> bool {
        let allowed = self.bounds.may_crash >> at & 1 == 1 && state.spent.crashes < self.bounds.crashes;
        if !allowed || !matches!(state.at(at).phase, Phase::Member | Phase::Filling) {
            return false;
        }
        state.spent.crashes += 1;
        halt(state, at);
        let database = state.change(at);
        if self.bounds.forget_active && database.epoch != Epoch::FIRST {
            database.active = false;
        }
        if self.lacks(Defect::FillForgotten) && database.phase == Phase::Filling {
            database.store(Log::default());
        }
        if self.lacks(Defect::EpochForgotten) && (at == HEAD || at == TAIL) && database.epoch != Epoch::FIRST
        {
            database.epoch = Epoch::FIRST;
            database.active = true;
        }
        true
    }

    /// A database stops and its disk forgets the last entry.
    pub(crate) fn rollback(&self, state: &mut State, at: u8) -> bool {
        let database = state.at(at);
        let allowed = state.spent.rollbacks < self.bounds.rollbacks && !database.log.is_empty();
        if !allowed || database.phase != Phase::Member {
            return false;
        }
        state.spent.rollbacks += 1;
        let database = state.change(at);
        database.store(database.log.prefix(database.log.len() - 1));
        halt(state, at);
        true
    }

    /// A disk is lost, and the process with it.
    pub(crate) fn lose_disk(&self, state: &mut State, at: u8) -> bool {
        let allowed = self.bounds.may_lose >> at & 1 == 1 && state.spent.losses < self.bounds.losses;
        if !allowed || state.at(at).phase == Phase::Blank {
            return false;
        }
        state.spent.losses += 1;
        let role = state.at(at).role;
        *state.change(at) = crate::state::Database { role, ..Default::default() };
        true
    }

    /// R10: a database starts, and serves nothing yet.
    pub(crate) fn restart(&self, state: &mut State, at: u8) -> bool {
        let links = self.bounds.nonces > 0;
        let database = state.change(at);
        match database.phase {
            Phase::Member | Phase::Filling => {}
            Phase::Blank if self.lacks(Defect::BlankStarts) && (at == HEAD || at == TAIL) => {
                database.phase = Phase::Member;
                database.epoch = Epoch::FIRST;
                database.active = true;
            }
            Phase::Retired if self.bounds.retire => {}
            Phase::Blank | Phase::Retired => return false,
        }
        database.up = true;
        // Where links are modelled there is one epoch and no witness: the handshake alone decides.
        database.joined = links || (self.lacks(Defect::NoJoin) && database.phase == Phase::Member);
        database.compared = !links;
        if self.lacks(Defect::TrustWholeLog) {
            database.confirmed = database.log.len();
        }
        true
    }

    /// `ReadEpoch`: asked by a database that would learn from the answer.
    pub(crate) fn ask_witness(&self, state: &mut State, at: u8) -> bool {
        let answer = Answer::Witness(state.witness);
        self.told(state, at, answer)
    }

    /// R10: a joined peer of the same epoch vouches.
    pub(crate) fn ask_peer(&self, state: &mut State, at: u8, peer: u8) -> bool {
        let (database, other) = (state.at(at), state.at(peer));
        let may = other.up && other.phase == Phase::Member;
        let knows = other.joined || self.lacks(Defect::VouchUnjoined);
        if at == peer || !may || !knows || other.epoch != database.epoch {
            return false;
        }
        let answer = Answer::Vouched(other.epoch);
        self.told(state, at, answer)
    }

    /// An answer is given. It has its effect at once, or later if bounds say so; never after a crash.
    fn told(&self, state: &mut State, at: u8, answer: Answer) -> bool {
        if !state.at(at).up {
            return false;
        }
        if !self.bounds.late {
            return self.heed(state, at, answer);
        }
        // An answer that means nothing to the database is not waited for.
        let mut trial = state.clone();
        if !self.heed(&mut trial, at, answer) || trial == *state {
            return false;
        }
        state.change(at).answer = Some(answer);
        true
    }

    /// A late answer arrives.
    pub(crate) fn heed_late(&self, state: &mut State, at: u8) -> bool {
        let Some(answer) = state.change(at).answer.take() else { return false };
        // Without effect it is still gone.
        self.heed(state, at, answer);
        true
    }

    fn heed(&self, state: &mut State, at: u8, answer: Answer) -> bool {
        match answer {
            Answer::Witness(record) => self.heed_witness(state, at, record),
            Answer::Vouched(epoch) => self.heed_peer(state, at, epoch),
        }
    }

    fn heed_peer(&self, state: &mut State, at: u8, epoch: Epoch) -> bool {
        let database = state.change(at);
        if database.epoch != epoch {
            return false;
        }
        if self.lacks(Defect::VouchMeansActive) && database.phase == Phase::Filling {
            database.phase = Phase::Member;
            database.active = true;
        }
        if database.phase == Phase::Member {
            database.joined = true;
        }
        self.resolve(state, at);
        true
    }

    /// R10, R12, R16: what a database does when the witness has told it where things stand.
    fn heed_witness(&self, state: &mut State, at: u8, record: Witness) -> bool {
        let member = record.active && record.has(at);
        let source = !record.active && record.source == at;
        let database = state.change(at);
        let own = database.epoch == record.epoch;
        let newer = record.epoch.number() > database.epoch.number();
        match database.phase {
            Phase::Blank => return false,
            // R11: a member of the last active epoch that has retired for a rebuild that came to nothing is
            // revived as the source of the next one.
            Phase::Retired if newer && source && record.has(at) => {
                database.phase = Phase::Member;
                database.epoch = record.epoch;
                database.joined = true;
            }
            Phase::Retired => return false,
            // A member of the new epoch learns (R16), or the source adopts (R12) and is joined thereby.
            Phase::Member if (own || newer) && (member || source) => {
                database.epoch = record.epoch;
                database.active = member;
                database.joined = true;
            }
            Phase::Filling if own && member => {
                database.phase = Phase::Member;
                database.active = true;
                database.joined = true;
            }
            Phase::Member | Phase::Filling if newer && record.active => {
                database.retire();
                return true;
            }
            // Newer and pending: a database that has not joined waits, one that has goes on.
            Phase::Member | Phase::Filling => return false,
        }
        if member {
            self.learned(state, at);
        }
        self.resolve(state, at);
        true
    }

    /// A head that has learned that its epoch is active sends what is in doubt again, in this epoch (R7).
    pub(crate) fn learned(&self, state: &mut State, at: u8) {
        let database = *state.at(at);
        if database.role == Role::Head && self.bounds.leases == 0 {
            for length in database.confirmed + 1..=database.log.len() {
                let log = database.log.prefix(length);
                state.send(Message { kind: Kind::Append, epoch: database.epoch, nonce: 0, log });
            }
        }
    }

    /// Never done: a signed order or record that was not asked for since the start makes its addressee, whose id
    /// stands where a link has its nonce, serve.
    pub(crate) fn take_record(&self, state: &mut State, message: Message, at: u8) -> bool {
        let database = state.change(at);
        if message.nonce != at {
            return false;
        }
        if self.lacks(Defect::OldOrderJoins) {
            let newer = message.epoch.number() > database.epoch.number();
            if database.phase != Phase::Member || !newer {
                return false;
            }
            database.epoch = message.epoch;
            database.active = false;
            database.joined = true;
            return true;
        }
        if database.phase != Phase::Filling || database.epoch != message.epoch {
            return false;
        }
        database.phase = Phase::Member;
        database.active = true;
        database.joined = true;
        true
    }

    /// R6: a tail that receives a `Hello` ends its link, and only then says what it has.
    pub(crate) fn hello(&self, state: &mut State, at: u8) -> bool {
        let database = *state.at(at);
        if database.role != Role::Tail
            || database.phase != Phase::Member
            || !state.at(HEAD).up
            || state.spent.nonces == self.bounds.nonces
        {
            return false;
        }
        state.spent.nonces += 1;
        let nonce = state.spent.nonces;
        let database = state.change(at);
        database.link = nonce;
        database.started = false;
        let (epoch, log) = (database.epoch, database.log);
        state.send(Message { kind: Kind::Welcome, epoch, nonce, log });
        true
    }

    /// R6: the head compares. A tail ahead of it is copied from.
    pub(crate) fn take_welcome(&self, state: &mut State, message: Message, at: u8) -> bool {
        let database = state.change(at);
        if database.role != Role::Head || database.phase != Phase::Member || database.link >= message.nonce {
            return false;
        }
        if database.log.begins(message.log) {
            database.store(message.log);
        } else if !message.log.begins(database.log) {
            // Neither is a prefix: both stop, loudly.
            database.retire();
            state.change(TAIL).retire();
            return true;
        }
        database.link = message.nonce;
        database.compared = true;
        let (epoch, nonce, log) = (database.epoch, database.link, database.log);
        state.send(Message { kind: Kind::Start, epoch, nonce, log });
        if self.lacks(Defect::ServeBehindHead) {
            state.send(Message { kind: Kind::Append, epoch, nonce, log });
        }
        true
    }

    /// R6: the link begins. The tail has compared once it has what the head had.
    pub(crate) fn take_start(&self, state: &mut State, message: Message, at: u8) -> bool {
        let confirmed = state.at(HEAD).confirmed;
        let database = state.change(at);
        let fits = database.link == message.nonce && database.log.begins(message.log);
        if database.phase != Phase::Member || database.started || !fits {
            return false;
        }
        database.started = true;
        if self.lacks(Defect::ServeBehindHead) {
            database.compared |= database.log.len() >= confirmed;
            return true;
        }
        database.store(message.log);
        database.compared = true;
        let (epoch, log) = (database.epoch, database.log);
        state.send(Message { kind: Kind::Confirm, epoch, nonce: 0, log });
        true
    }
}

/// A database stops. What was on its way to a head on the connection of this start is never read.
fn halt(state: &mut State, at: u8) {
    state.change(at).stop();
    if state.at(at).role == Role::Head {
        state.network.retain(|message| message.kind != Kind::Welcome);
    }
}
