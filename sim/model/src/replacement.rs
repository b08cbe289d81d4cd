//! R17a by itself: a witness W is replaced by V while operators rebuild either zone with either of them, and W lives on, as a
//! witness that comes back would. A model of its own, beside [`crate::protocol`]: records, targets and leases
//! have no part in it, and two witnesses would square the states of the other one.

use stateright::{Model, Property};

const HEAD: usize = 0;
const TAIL: usize = 1;
const W: usize = 0;
const V: usize = 1;
/// The epoch in which the witness is replaced; others are numbered from 1.
const FIRST: u8 = 0;

/// A rule that is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// V is told when the head has the entry.
    InstalledAtAppend,
    /// V is told when the tail has the entry: it is committed, but the head does not know.
    InstalledByTail,
    /// The tail does not listen to V for having the entry.
    TailForgets,
    /// A source adopts what is registered anywhere.
    AdoptsFromAny,
    /// A database joins by whichever witness answers.
    JoinsByAny,
}

/// A database of the first epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Member {
    up: bool,
    joined: bool,
    retired: bool,
    /// The entry that replaces W is in its log.
    has: bool,
    /// Head: and is confirmed.
    confirmed: bool,
    /// What it has adopted.
    epoch: u8,
}

/// W or V.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Witness {
    /// It answers.
    there: bool,
    pending: Option<u8>,
    active: u8,
}

/// An epoch that was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Registered {
    at: usize,
    source: usize,
    /// The other member was seen not to run, or to have retired, after the source had adopted.
    fenced: bool,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    members: [Member; 2],
    witnesses: [Witness; 2],
    epochs: Vec<Registered>,
    crashes: u8,
}

impl State {
    /// How many epochs were made active after the first.
    fn followed(&self) -> usize {
        self.witnesses.iter().filter(|witness| witness.active != FIRST).count()
    }
}

/// A step.
#[expect(missing_docs, reason = "the rules' own words; numbers are places in the state")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Append,
    Deliver,
    Confirm,
    Install,
    Register { at: usize, source: usize },
    Adopt { member: usize, epoch: u8 },
    Fence { epoch: u8 },
    Activate { epoch: u8 },
    Crash { member: usize },
    Boot { member: usize },
    AskWitness { member: usize, at: usize },
    AskPeer { member: usize },
}

/// The rules within bounds.
#[derive(Clone, Copy, Debug)]
pub struct Replacement {
    /// Crashes of databases; each may start again at any later time.
    pub crashes: u8,
    /// Registrations at both witnesses.
    pub registers: usize,
    /// The rule that is switched off.
    pub defect: Option<Defect>,
}

impl Replacement {
    fn lacks(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// R17a: whom a database listens to.
    fn listens_to(&self, state: &State, member: usize) -> usize {
        let of = state.members[member];
        if of.epoch != FIRST {
            return state.epochs[usize::from(of.epoch) - 1].at;
        }
        let applied = if member == HEAD { of.confirmed } else { of.has && !self.lacks(Defect::TailForgets) };
        if applied { V } else { W }
    }

    fn may_install(&self, state: &State) -> bool {
        let [head, tail] = state.members;
        head.confirmed
            || head.has && self.lacks(Defect::InstalledAtAppend)
            || tail.has && self.lacks(Defect::InstalledByTail)
    }

    fn step(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        let [head, tail] = state.members;
        let fit = match action {
            Action::Append => {
                next.members[HEAD].has = true;
                head.up && head.joined && head.epoch == FIRST && !head.has
            }
            Action::Deliver => {
                next.members[TAIL].has = true;
                head.has && tail.up && !tail.retired && tail.epoch == FIRST && !tail.has
            }
            Action::Confirm => {
                next.members[HEAD].confirmed = true;
                tail.has && head.up && !head.retired && head.epoch == FIRST && !head.confirmed
            }
            Action::Install => {
                next.witnesses[V].there = true;
                self.may_install(state) && !state.witnesses[V].there
            }
            Action::Register { at, source } => {
                next.epochs.push(Registered { at, source, fenced: false });
                next.witnesses[at].pending = u8::try_from(next.epochs.len()).ok();
                let witness = state.witnesses[at];
                let free = witness.there && witness.pending.is_none() && witness.active == FIRST;
                free && state.epochs.len() < self.registers
            }
            Action::Adopt { member, epoch } => return self.adopt(next, member, epoch),
            Action::Fence { epoch } => {
                let registered = &mut next.epochs[usize::from(epoch) - 1];
                let (source, other) = (registered.source, 1 - registered.source);
                registered.fenced = true;
                let off = !state.members[other].up || state.members[other].retired;
                off && state.members[source].epoch == epoch
            }
            Action::Activate { epoch } => {
                let registered = state.epochs[usize::from(epoch) - 1];
                let witness = &mut next.witnesses[registered.at];
                let fit = registered.fenced && witness.pending == Some(epoch);
                (witness.pending, witness.active) = (None, epoch);
                fit
            }
            Action::Crash { member } => {
                next.crashes += 1;
                (next.members[member].up, next.members[member].joined) = (false, false);
                state.members[member].up && state.crashes < self.crashes
            }
            Action::Boot { member } => {
                next.members[member].up = true;
                !state.members[member].up
            }
            Action::AskWitness { member, at } => return self.ask_witness(next, member, at),
            Action::AskPeer { member } => {
                next.members[member].joined = true;
                let (one, peer) = (state.members[member], state.members[1 - member]);
                one.up && !one.retired && peer.up && peer.joined && one.epoch == peer.epoch
            }
        };
        (fit && next != *state).then_some(next)
    }

    /// R12.
    fn adopt(&self, mut next: State, member: usize, epoch: u8) -> Option<State> {
        let registered = next.epochs[usize::from(epoch) - 1];
        let of = next.members[member];
        let heard = registered.at == self.listens_to(&next, member) || self.lacks(Defect::AdoptsFromAny);
        let pending = next.witnesses[registered.at].pending == Some(epoch);
        if !heard || !pending || registered.source != member || !of.up || of.retired || of.epoch != FIRST {
            return None;
        }
        (next.members[member].epoch, next.members[member].joined) = (epoch, true);
        Some(next)
    }

    /// R10.
    fn ask_witness(&self, mut next: State, member: usize, at: usize) -> Option<State> {
        let (of, witness) = (next.members[member], next.witnesses[at]);
        let heard = at == self.listens_to(&next, member) || self.lacks(Defect::JoinsByAny);
        if !heard || !witness.there || !of.up || of.joined || of.retired {
            return None;
        }
        let member = &mut next.members[member];
        if witness.active == of.epoch && witness.pending.is_none() || witness.pending == Some(of.epoch) {
            member.joined = true;
        } else if of.epoch == FIRST && witness.active != FIRST {
            member.retired = true;
        } else {
            return None;
        }
        Some(next)
    }
}

impl Model for Replacement {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let member = Member { up: true, joined: true, ..Member::default() };
        let old = Witness { there: true, ..Witness::default() };
        vec![State {
            members: [member; 2],
            witnesses: [old, Witness::default()],
            epochs: Vec::new(),
            crashes: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend([Action::Append, Action::Deliver, Action::Confirm, Action::Install]);
        for member in [HEAD, TAIL] {
            actions.extend([Action::Crash { member }, Action::Boot { member }, Action::AskPeer { member }]);
            for at in [W, V] {
                actions.extend([Action::Register { at, source: member }, Action::AskWitness { member, at }]);
            }
        }
        for epoch in (1..).take(state.epochs.len()) {
            actions.extend([Action::Fence { epoch }, Action::Activate { epoch }]);
            actions.extend([HEAD, TAIL].map(|member| Action::Adopt { member, epoch }));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.step(state, action)
    }

    fn properties(&self) -> Vec<Property<Replacement>> {
        vec![
            Property::always("one epoch follows", |_, state: &State| state.followed() < 2),
            Property::always("nobody serves the past", |_, state: &State| {
                let past =
                    |member: &Member| member.up && member.joined && !member.retired && member.epoch == FIRST;
                state.followed() == 0 || !state.members.iter().any(past)
            }),
            Property::sometimes("V decides", |_, state: &State| state.witnesses[V].active != FIRST),
            Property::sometimes("W decides, the entry in doubt", |_, state: &State| {
                state.witnesses[W].active != FIRST && state.members[TAIL].has
            }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stateright::Checker;

    fn searched(defect: Option<Defect>) -> impl Checker<Replacement> {
        let rules = Replacement { crashes: 3, registers: 3, defect };
        rules.checker().spawn_bfs().join()
    }

    #[test]
    fn one_witness_decides_and_each_rule_is_needed() {
        let sound = searched(None);
        sound.assert_properties();
        assert!(sound.unique_state_count() > 1_000, "{}", sound.unique_state_count());
        for defect in [
            Defect::InstalledAtAppend,
            Defect::InstalledByTail,
            Defect::TailForgets,
            Defect::AdoptsFromAny,
            Defect::JoinsByAny,
        ] {
            let found = searched(Some(defect));
            let broken = ["one epoch follows", "nobody serves the past"];
            assert!(broken.iter().any(|name| found.discovery(name).is_some()), "{defect:?} is not found");
        }
    }
}
