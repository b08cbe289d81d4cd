//! What must hold in every state: three promises to clients, one about the third copy, and the invariants that
//! the code asserts. Says nothing about time, nor that anything ever happens.

use crate::bounds::Bounds;
use crate::state::{Database, Phase, Role, State};

/// Something that holds in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// G11: what all clients saw is one history.
    OneHistory,
    /// G1: each member that has a disk has everything acknowledged.
    Durable,
    /// G2: nothing refused is in any log.
    Refused,
    /// G5: the third copy and the order of commits do not part.
    ThirdCopy,
    /// No two epochs of one number are active.
    OneEpoch,
    /// In an active epoch, the tail's log begins the head's.
    Prefix,
    /// In an active epoch, the tail has what the head knows confirmed.
    Confirmed,
    /// An abandoned rebuild's old member always compares well.
    Comparable,
}

impl Promise {
    /// All of them.
    pub const ALL: [Promise; 8] = [
        Promise::OneHistory,
        Promise::Durable,
        Promise::Refused,
        Promise::ThirdCopy,
        Promise::OneEpoch,
        Promise::Prefix,
        Promise::Confirmed,
        Promise::Comparable,
    ];

    /// Its name in the documents.
    pub fn name(self) -> &'static str {
        match self {
            Promise::OneHistory => "G11",
            Promise::Durable => "G1",
            Promise::Refused => "G2",
            Promise::ThirdCopy => "G5",
            Promise::OneEpoch => "one active epoch",
            Promise::Prefix => "tail prefix of head",
            Promise::Confirmed => "confirmed in tail",
            Promise::Comparable => "old member fits",
        }
    }

    /// What it means that it is broken.
    pub fn when_broken(self) -> &'static str {
        match self {
            Promise::OneHistory => "no single history explains what clients saw",
            Promise::Durable => "an acknowledged write is missing from a member of the active epoch",
            Promise::Refused => "a write that was refused is in a log",
            Promise::ThirdCopy => "the third copy has what is not in the order of commits",
            Promise::OneEpoch => "two epochs of one number are active",
            Promise::Prefix => "the tail's log is not a prefix of the head's",
            Promise::Confirmed => "the head counts as confirmed what the tail does not have",
            Promise::Comparable => "the logs of source and old member do not fit each other",
        }
    }
}

/// Whether a promise holds in a state.
pub fn holds(promise: Promise, bounds: &Bounds, state: &State) -> bool {
    let databases = &state.databases;
    match promise {
        Promise::OneHistory => state.history.is_one(),
        Promise::Durable => durable(bounds, state),
        Promise::Refused => databases.iter().all(|d| d.log.set() & state.history.refused == 0),
        Promise::ThirdCopy => state.replica.agrees(state.order),
        Promise::OneEpoch => databases.iter().filter(|d| d.active).all(|one| {
            databases
                .iter()
                .filter(|d| d.active)
                .all(|d| d.epoch == one.epoch || d.epoch.number() != one.epoch.number())
        }),
        Promise::Prefix => pairs(state).all(|(head, tail)| {
            // A disk that forgot leaves either one behind until they compare.
            if bounds.rollbacks > 0 { tail.log.agrees(head.log) } else { tail.log.begins(head.log) }
        }),
        Promise::Confirmed => {
            bounds.rollbacks > 0 || pairs(state).all(|(head, tail)| head.confirmed <= tail.log.len())
        }
        Promise::Comparable => state.operators.iter().flatten().all(|operator| {
            let old = state.witness.has(operator.source)
                && state.witness.has(operator.target)
                && [operator.source, operator.target].iter().all(|id| state.at(*id).phase == Phase::Member);
            !old || crate::epochs::comparable(state, operator)
        }),
    }
}

fn durable(bounds: &Bounds, state: &State) -> bool {
    // What a lost region took with it is the business of G5.
    let acknowledged = state.history.acknowledged & !state.history.lost;
    let members = [state.witness.head, state.witness.tail].map(|id| state.at(id));
    let with_disk = members.iter().filter(|member| member.phase != Phase::Blank);
    if bounds.rollbacks > 0 {
        // One disk has lied: the other one has it.
        return acknowledged & !with_disk.fold(0, |set, member| set | member.log.set()) == 0;
    }
    with_disk.into_iter().all(|member| acknowledged & !member.log.set() == 0)
}

/// Heads and tails of one active epoch.
fn pairs(state: &State) -> impl Iterator<Item = (&Database, &Database)> {
    let member = |d: &&Database| d.phase == Phase::Member && d.active;
    let heads = state.databases.iter().filter(move |d| member(d) && d.role == Role::Head);
    heads.flat_map(move |head| {
        let tails = state.databases.iter().filter(move |d| member(d) && d.role == Role::Tail);
        tails.filter(|tail| tail.epoch == head.epoch).map(move |tail| (head, tail))
    })
}
