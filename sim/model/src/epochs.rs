//! Rules of a rebuild and a restore: register (R11), adopt (R12, on the answer of the witness), fence (R13), fill
//! (R14), activate (R15), restore (R17). An operator's step that is too late is refused by the witness.

use crate::defect::Defect;
use crate::log::{Epoch, Log, bit};
use crate::protocol::Protocol;
use crate::state::{Database, Kind, Message, NOBODY, Operator, Phase, REPLICA, Role, SPARE, State, Witness};

fn mask(at: u8) -> u8 {
    bit(at + 1)
}

impl Protocol {
    /// R11: compare-and-set at the witness. The source is a member of the last active epoch. The target is a new
    /// database, or, when a pending epoch is abandoned, the other member.
    pub(crate) fn register(&self, state: &mut State, source: u8, target: u8) -> bool {
        let record = state.witness;
        let spent = state.spent.registers;
        if spent == self.bounds.registers
            || self.bounds.sources >> source & 1 == 0
            || (record.source == REPLICA && !record.active)
            || !record.has(source)
            || source == target
        {
            return false;
        }
        let new = target == SPARE + state.spent.targets;
        let abandoned = self.bounds.abandon && !record.active;
        let back = abandoned && record.has(target) && state.at(target).phase == Phase::Member;
        if !(new && (self.bounds.renew || spent == 0) || back) {
            return false;
        }
        let number = match (self.lacks(Defect::NoCompareAndSet), record.active) {
            // Each operator counts on from what it knew.
            (true, false) => record.epoch.number(),
            _ => record.epoch.number() + 1,
        };
        let epoch = Epoch::new(number, spent + 1);
        state.spent.registers += 1;
        state.spent.targets += u8::from(new);
        state.witness = Witness { epoch, active: false, source, target, ..record };
        let role = state.at(source).role.other();
        let fenced = if self.lacks(Defect::FenceBeforeRegister) { state.seen_off } else { 0 };
        let operator = Operator { epoch, source, target, role, fenced, filled: false };
        let slot = usize::from(self.lacks(Defect::NoCompareAndSet) && state.operators[0].is_some());
        state.operators[slot] = Some(operator);
        if self.lacks(Defect::OldOrderJoins) {
            state.send(Message { kind: Kind::Record, epoch, nonce: source, log: Log::default() });
        }
        true
    }

    /// Never done: an operator looks before registering, and counts on it later.
    pub(crate) fn see_off(&self, state: &mut State, at: u8) -> bool {
        let database = state.at(at);
        let counts = self.lacks(Defect::FenceBeforeRegister) && state.spent.registers == 0;
        if !counts || database.up || database.phase != Phase::Member {
            return false;
        }
        state.seen_off |= mask(at);
        true
    }

    /// R13: whether the fence must name a database: one that may serve in an earlier epoch, or that was made a
    /// member of one and has not learned it yet.
    fn must_fence(&self, state: &State, operator: &Operator, at: u8) -> bool {
        let unlearned = state.witness.has(at) && !self.lacks(Defect::UnlearnedUnfenced);
        at != operator.source
            && at != operator.target
            && match state.at(at).phase {
                Phase::Member => true,
                Phase::Filling => unlearned,
                Phase::Blank | Phase::Retired => false,
            }
    }

    fn may_fence(&self, state: &State, operator: &Operator, at: u8) -> bool {
        let source = state.at(operator.source);
        let adopted = source.phase == Phase::Member && source.epoch == operator.epoch;
        let missing = operator.fenced & mask(at) == 0;
        let early = self.lacks(Defect::FenceBeforeAdopt);
        !self.lacks(Defect::NoFence)
            && missing
            && (adopted || early)
            && self.must_fence(state, operator, at)
            && !self.lacks(Defect::FenceBeforeRegister)
    }

    /// R13: the operator states that a database does not run now. It is true.
    pub(crate) fn fence_off(&self, state: &mut State, slot: u8, at: u8) -> bool {
        let Some(operator) = state.operators[usize::from(slot)] else { return false };
        if state.at(at).up || !self.may_fence(state, &operator, at) {
            return false;
        }
        let fenced = operator.fenced | mask(at);
        state.operators[usize::from(slot)] = Some(Operator { fenced, ..operator });
        true
    }

    /// R13: a running database is asked to retire, and does.
    pub(crate) fn fence_retired(&self, state: &mut State, slot: u8, at: u8) -> bool {
        let Some(operator) = state.operators[usize::from(slot)] else { return false };
        if !self.bounds.retire || !state.at(at).up || !self.may_fence(state, &operator, at) {
            return false;
        }
        state.change(at).retire();
        true
    }

    /// R14: all of the source, entries in doubt included. With the old database as target, nothing is copied:
    /// the logs are compared as in a handshake, and what is in doubt is sent again in the new epoch.
    pub(crate) fn fill(&self, state: &mut State, slot: u8) -> bool {
        let Some(operator) = state.operators[usize::from(slot)] else { return false };
        if operator.filled {
            return false;
        }
        if operator.source == REPLICA {
            self.fill_region(state, &operator);
        } else if state.at(operator.target).phase == Phase::Member {
            if !self.adopted(state, &operator) || !comparable(state, &operator) {
                return false;
            }
        } else if !self.fill_new(state, &operator) {
            return false;
        }
        state.operators[usize::from(slot)] = Some(Operator { filled: true, ..operator });
        true
    }

    fn adopted(&self, state: &State, operator: &Operator) -> bool {
        let source = state.at(operator.source);
        source.up && source.phase == Phase::Member && source.epoch == operator.epoch
    }

    fn fill_new(&self, state: &mut State, operator: &Operator) -> bool {
        if !self.adopted(state, operator) || state.at(operator.target).phase != Phase::Blank {
            return false;
        }
        let source = state.change(operator.source);
        if self.lacks(Defect::FillConfirmedOnly) && source.role == Role::Head {
            // Both sides keep what is confirmed, so both are equal.
            source.store(source.log.prefix(source.confirmed));
        }
        let log = source.log;
        *state.change(operator.target) = filling(operator.role, operator.epoch, log);
        if self.lacks(Defect::CountBeforeActive) || self.lacks(Defect::WriteBeforeActive) {
            state.send(Message { kind: Kind::Confirm, epoch: operator.epoch, nonce: 0, log });
        }
        true
    }

    fn fill_region(&self, state: &mut State, operator: &Operator) {
        for (at, role) in [(operator.target, Role::Head), (operator.target + 1, Role::Tail)] {
            *state.change(at) = filling(role, operator.epoch, state.replica);
        }
    }

    /// R15: filled, fenced, and still what the witness has as pending.
    pub(crate) fn activate(&self, state: &mut State, slot: u8) -> bool {
        let Some(operator) = state.operators[usize::from(slot)] else { return false };
        let fenced = self.lacks(Defect::NoFence)
            || operator.source == REPLICA
            || (0..state.databases.len() as u8)
                .all(|at| operator.fenced & mask(at) != 0 || !self.must_fence(state, &operator, at));
        let leased = state.lease.is_some() && !self.lacks(Defect::ActivateUnderLease);
        let pending = state.witness.epoch == operator.epoch && !state.witness.active;
        if !operator.filled || !fenced || leased || !(pending || self.lacks(Defect::NoCompareAndSet)) {
            return false;
        }
        let (head, tail) = match (operator.source, operator.role) {
            (REPLICA, _) => (operator.target, operator.target + 1),
            (source, Role::Head) => (operator.target, source),
            (source, Role::Tail) => (source, operator.target),
        };
        state.operators[usize::from(slot)] = None;
        state.witness = Witness {
            epoch: operator.epoch,
            active: true,
            source: operator.source,
            target: operator.target,
            head,
            tail,
            ..state.witness
        };
        let log = state.at(tail).log;
        self.note_commit(state, log);
        if self.lacks(Defect::OldRecordServes) {
            let target = operator.target;
            state.send(Message {
                kind: Kind::Record,
                epoch: operator.epoch,
                nonce: target,
                log: Log::default(),
            });
        }
        true
    }

    /// R17: the region is lost. Its databases are off and its entry is withdrawn, and the next epoch is
    /// registered, as one step. What the third copy lacks is gone for good.
    pub(crate) fn restore(&self, state: &mut State) -> bool {
        let target = SPARE + state.spent.targets;
        let room = usize::from(target) + 1 < state.databases.len();
        if !self.bounds.restore || state.witness.floor != Epoch::FIRST || !room {
            return false;
        }
        for database in &mut state.databases {
            database.stop();
        }
        state.spent.targets += 2;
        let epoch = Epoch::new(state.witness.epoch.number() + 1, 15);
        state.witness =
            Witness { epoch, active: false, source: REPLICA, target: NOBODY, floor: epoch, ..state.witness };
        state.operators = [None; 2];
        state.operators[0] =
            Some(Operator { epoch, source: REPLICA, target, role: Role::Head, fenced: 0, filled: false });
        let log = state.replica;
        state.history.restore(log);
        state.order = log;
        true
    }
}

/// A new store with everything in it. That it is complete is durable.
fn filling(role: Role, epoch: Epoch, log: Log) -> Database {
    Database {
        phase: Phase::Filling,
        role,
        epoch,
        active: false,
        log,
        confirmed: if role == Role::Head { log.len() } else { 0 },
        synced: log.len(),
        up: true,
        joined: false,
        compared: true,
        ..Database::default()
    }
}

/// What a handshake would find: the tail's log begins the head's, and has what the head knows confirmed.
pub fn comparable(state: &State, operator: &Operator) -> bool {
    let (source, target) = (state.at(operator.source), state.at(operator.target));
    let (head, tail) = if source.role == Role::Head { (source, target) } else { (target, source) };
    tail.log.begins(head.log) && head.confirmed <= tail.log.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Action;
    use crate::bounds::{Bounds, CALM};
    use crate::history::CREATE;
    use crate::state::{HEAD, TAIL};

    fn after(model: &Protocol, steps: &[Action]) -> State {
        steps.iter().fold(State::first(false), |state, step| {
            let mut allowed = Vec::new();
            model.candidates(&state, &mut allowed);
            assert!(allowed.contains(step), "{step:?} is not offered");
            model.step(&state, *step).unwrap_or_else(|| panic!("{step:?} is not taken"))
        })
    }

    #[test]
    fn a_member_that_retired_for_nothing_is_revived() {
        let bounds =
            Bounds { writes: &[CREATE], registers: 2, retire: true, losses: 1, abandon: true, ..CALM };
        let model = Protocol::sound(bounds);
        let (new, next) = (SPARE, SPARE + 1);
        // The fence has cost the tail its place, and then the source's disk is lost before the fill.
        let state = after(
            &model,
            &[
                Action::Register { source: HEAD, target: new },
                Action::AskWitness { at: HEAD },
                Action::FenceRetired { operator: 0, at: TAIL },
                Action::LoseDisk { at: HEAD },
                Action::Register { source: TAIL, target: next },
                Action::Restart { at: TAIL },
                Action::AskWitness { at: TAIL },
                Action::Fill { operator: 0 },
                Action::Activate { operator: 0 },
                Action::AskWitness { at: TAIL },
                Action::AskWitness { at: next },
                Action::Commit { id: 1, at: next },
            ],
        );
        assert!(model.serves(state.at(TAIL)) && model.serves(state.at(next)));
        assert_eq!(model.broken(&state), None);
    }

    #[test]
    fn an_abandoned_rebuild_leaves_the_old_pair() {
        let model = Protocol::sound(Bounds { writes: &[CREATE], registers: 2, abandon: true, ..CALM });
        let state = after(
            &model,
            &[
                Action::Commit { id: 1, at: HEAD },
                Action::Register { source: HEAD, target: SPARE },
                Action::AskWitness { at: HEAD },
                Action::Fill { operator: 0 },
                Action::Register { source: HEAD, target: TAIL },
                Action::AskWitness { at: HEAD },
                Action::Fill { operator: 0 },
                Action::Activate { operator: 0 },
                Action::AskWitness { at: HEAD },
                Action::AskWitness { at: TAIL },
            ],
        );
        // What was in doubt is sent again in the new epoch.
        let again = state.network.iter().any(|m| m.kind == Kind::Append && m.epoch == state.witness.epoch);
        assert!(again && state.at(TAIL).active && state.at(TAIL).log.is_empty());
        assert_eq!(model.broken(&state), None);
    }
}
