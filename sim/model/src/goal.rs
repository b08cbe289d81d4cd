//! Moments that a configuration must reach, or it proves nothing: a search that never rebuilds says nothing about
//! rebuilds.

use crate::state::{Database, HEAD, Kind, Phase, REPLICA, Role, SPARE, State, TAIL};

/// Such a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A write is acknowledged.
    Acknowledged,
    /// A write is answered "conflict".
    Conflict,
    /// Everything was written that may be.
    AllAsked,
    /// A database that has crashed serves again.
    Rejoined,
    /// A confirmation is counted in the second epoch.
    SecondEpoch,
    /// The same in a third.
    ThirdEpoch,
    /// A filled target is off, in an epoch that is active at the witness.
    TargetOff,
    /// A source is off while its epoch is pending.
    SourceOff,
    /// A database has retired.
    Retired,
    /// Two operators: an epoch was pending when the next one was registered with another source.
    Overtaken,
    /// Head and tail of the first epoch are the members of a later one.
    OldPair,
    /// The first head was replaced, and the new one counts a confirmation.
    NewHead,
    /// A disk was lost, and a later epoch counts a confirmation.
    DiskReplaced,
    /// The restored region counts a confirmation.
    Restored,
    /// A write is gone with the region.
    Lost,
    /// A disk forgot an entry, and both databases serve with equal logs again.
    Mended,
}

impl Goal {
    /// Its bit.
    pub fn bit(self) -> u32 {
        1 << self as u32
    }
}

fn counted(state: &State, database: &Database, number: u8) -> bool {
    database.role == Role::Head
        && database.phase == Phase::Member
        && database.active
        && database.epoch.number() >= number
        && database.confirmed > 0
        && state.network.iter().any(|message| {
            message.kind == Kind::Confirm
                && message.epoch == database.epoch
                && message.log == database.log.prefix(database.confirmed)
        })
}

/// The moments that a state is. Bits.
pub fn of(state: &State) -> u32 {
    let history = &state.history;
    let (witness, databases) = (&state.witness, &state.databases);
    let any = |number: u8| databases.iter().any(|database| counted(state, database, number));
    let old = |id: u8| state.at(id).phase == Phase::Member && state.at(id).active;
    let second = any(2);
    let mut goals = 0;
    let mut note = |goal: Goal, reached: bool| goals |= if reached { goal.bit() } else { 0 };
    note(Goal::Acknowledged, history.acknowledged != 0);
    note(Goal::Conflict, history.conflicted != 0);
    note(Goal::AllAsked, history.asked.count_ones() >= 3);
    note(Goal::Rejoined, state.spent.crashes > 0 && databases.iter().filter(|d| d.joined).count() == 2);
    note(Goal::SecondEpoch, second);
    note(Goal::ThirdEpoch, any(3));
    note(Goal::TargetOff, witness.active && databases.iter().any(|d| d.phase == Phase::Filling && !d.up));
    let pending = !witness.active && witness.source < REPLICA;
    note(Goal::SourceOff, pending && !state.at(witness.source.min(SPARE)).up);
    note(Goal::Retired, databases.iter().any(|d| d.phase == Phase::Retired));
    let adopted = databases.iter().any(|d| d.phase == Phase::Member && !d.active && d.epoch != witness.epoch);
    note(Goal::Overtaken, pending && adopted && state.spent.registers > 1);
    let pair = old(HEAD) && old(TAIL) && state.at(HEAD).epoch == state.at(TAIL).epoch;
    note(Goal::OldPair, pair && counted(state, state.at(HEAD), 2));
    note(Goal::NewHead, second && (SPARE..5).any(|id| counted(state, state.at(id), 2)));
    note(Goal::DiskReplaced, state.spent.losses > 0 && second);
    note(Goal::Restored, witness.source == REPLICA && second);
    note(Goal::Lost, history.lost != 0);
    let equal = state.at(HEAD).log == state.at(TAIL).log;
    let both = [HEAD, TAIL].iter().all(|id| state.at(*id).joined && state.at(*id).compared);
    note(Goal::Mended, state.spent.rollbacks > 0 && equal && both && !state.at(HEAD).log.is_empty());
    goals
}
