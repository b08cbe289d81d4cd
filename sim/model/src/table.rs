//! The configurations that must hold and the defects that must be found. Both lists are closed: the command
//! refuses to call an empty or a shortened one a success.

use crate::bounds::{Bounds, CALM, FIRST_TWO, HEAD_ONLY, TAIL_ONLY};
use crate::defect::Defect;
use crate::goal::Goal;
use crate::history::{CREATE, REMOVE, REMOVE_UPDATED, RIVAL, UPDATE, Write};
use crate::promise::Promise;

/// A configuration whose whole state space holds.
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it lets happen.
    pub about: &'static str,
    /// Bounds of the short run.
    pub short: Bounds,
    /// Bounds of the long run.
    pub long: Bounds,
    /// Moments it must reach.
    pub goals: &'static [Goal],
}

/// A defect, where it is looked for, and what it must break.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    /// Its id in the documents.
    pub id: &'static str,
    /// Its name on the command line.
    pub name: &'static str,
    /// The rule that is off.
    pub rule: &'static str,
    /// What is done instead.
    pub says: &'static str,
    /// The rule that is off, in the model.
    pub defect: Defect,
    /// The promise that must break; only these are looked at.
    pub promises: &'static [Promise],
    /// Where it is looked for.
    pub bounds: Bounds,
}

impl Planted {
    /// Whether it is called so.
    pub fn is(&self, name: &str) -> bool {
        self.name == name || self.id.eq_ignore_ascii_case(name)
    }
}

// What is shortened by accident does not compile.
const _: () = assert!(CONFIGURATIONS.len() == 14 && DEFECTS.len() == Defect::COUNT);

const ONE: &[Write] = &[CREATE];
const TWO: &[Write] = &[CREATE, UPDATE];
const RIVALS: &[Write] = &[CREATE, RIVAL];
const THREE: &[Write] = &[CREATE, RIVAL, UPDATE];
const CREATE_DELETE: &[Write] = &[CREATE, REMOVE];
const FOUR: &[Write] = &[CREATE, RIVAL, UPDATE, REMOVE];
const FOUR_LONG: &[Write] = &[CREATE, RIVAL, UPDATE, REMOVE_UPDATED];

/// Configurations, in the order in which they run.
pub const CONFIGURATIONS: &[Configuration] = &[
    Configuration {
        name: "chain",
        about: "four writes, many in flight, every message late, repeated or lost",
        short: Bounds { writes: FOUR, pipelined: true, ..CALM },
        long: Bounds { writes: FOUR_LONG, pipelined: true, ..CALM },
        goals: &[Goal::Acknowledged, Goal::Conflict, Goal::AllAsked],
    },
    Configuration {
        name: "crashes",
        about: "four writes, many in flight, crashes and restarts, late answers of witness and peers",
        short: Bounds { writes: FOUR, pipelined: true, crashes: 3, late: true, ..CALM },
        long: Bounds { writes: FOUR_LONG, pipelined: true, crashes: 5, late: true, ..CALM },
        goals: &[Goal::Acknowledged, Goal::Conflict, Goal::AllAsked, Goal::Rejoined],
    },
    Configuration {
        name: "one-batch",
        about: "one batch in flight, crashes, a disk lost",
        short: Bounds { writes: FOUR, crashes: 3, losses: 1, ..CALM },
        long: Bounds { writes: FOUR_LONG, crashes: 5, losses: 1, late: true, ..CALM },
        goals: &[Goal::Acknowledged, Goal::Conflict, Goal::AllAsked, Goal::Rejoined],
    },
    Configuration {
        name: "repeats",
        about: "requests of writes arrive again, after a delete too",
        short: Bounds { writes: FOUR, pipelined: true, repeats: 2, crashes: 1, ..CALM },
        long: Bounds { writes: FOUR_LONG, pipelined: true, repeats: 3, crashes: 3, ..CALM },
        goals: &[Goal::Acknowledged, Goal::AllAsked],
    },
    Configuration {
        name: "rebuild-tail",
        about: "zone b made anew from H; crashes, a disk lost",
        short: Bounds {
            writes: TWO,
            registers: 1,
            sources: HEAD_ONLY,
            crashes: 2,
            losses: 1,
            retire: true,
            ..CALM
        },
        long: Bounds {
            writes: FOUR_LONG,
            pipelined: true,
            registers: 1,
            sources: HEAD_ONLY,
            crashes: 3,
            losses: 1,
            retire: true,
            late: true,
            ..CALM
        },
        goals: &[Goal::SecondEpoch, Goal::SourceOff, Goal::TargetOff, Goal::Retired, Goal::DiskReplaced],
    },
    Configuration {
        name: "rebuild-head",
        about: "zone a made anew from T; crashes, a disk lost",
        short: Bounds {
            writes: RIVALS,
            registers: 1,
            sources: TAIL_ONLY,
            crashes: 2,
            losses: 1,
            retire: true,
            ..CALM
        },
        long: Bounds {
            writes: FOUR_LONG,
            pipelined: true,
            registers: 1,
            sources: TAIL_ONLY,
            crashes: 3,
            losses: 1,
            retire: true,
            late: true,
            ..CALM
        },
        goals: &[
            Goal::SecondEpoch,
            Goal::NewHead,
            Goal::SourceOff,
            Goal::TargetOff,
            Goal::Retired,
            Goal::DiskReplaced,
        ],
    },
    Configuration {
        name: "two-rebuilds",
        about: "any member rebuilt, then any member again: two operators, overtaking, four databases",
        short: Bounds { writes: RIVALS, registers: 2, crashes: 2, retire: true, ..CALM },
        long: Bounds { writes: THREE, registers: 2, crashes: 3, losses: 1, retire: true, late: true, ..CALM },
        goals: &[Goal::ThirdEpoch, Goal::Overtaken, Goal::NewHead, Goal::SourceOff, Goal::TargetOff],
    },
    Configuration {
        name: "abandoned",
        about: "a rebuild given up: the next epoch has the old database as target, or a new one",
        short: Bounds { writes: RIVALS, registers: 2, crashes: 2, abandon: true, retire: true, ..CALM },
        long: Bounds {
            writes: THREE,
            registers: 3,
            crashes: 2,
            losses: 1,
            abandon: true,
            retire: true,
            ..CALM
        },
        goals: &[Goal::ThirdEpoch, Goal::OldPair, Goal::Overtaken, Goal::SourceOff],
    },
    Configuration {
        name: "flag-forgotten",
        about: "two rebuilds, where a crash loses the flag that the epoch is active: it must be asked for, never guessed",
        short: Bounds { writes: RIVALS, registers: 2, crashes: 2, retire: true, forget_active: true, ..CALM },
        long: Bounds {
            writes: RIVALS,
            registers: 2,
            crashes: 3,
            retire: true,
            late: true,
            forget_active: true,
            ..CALM
        },
        goals: &[Goal::ThirdEpoch, Goal::SourceOff, Goal::TargetOff],
    },
    Configuration {
        name: "replica",
        about: "a third copy follows while zones are made anew",
        short: Bounds { writes: RIVALS, registers: 1, crashes: 1, retire: true, replica: true, ..CALM },
        long: Bounds {
            writes: THREE,
            registers: 2,
            crashes: 2,
            losses: 1,
            retire: true,
            replica: true,
            ..CALM
        },
        goals: &[Goal::SecondEpoch, Goal::NewHead],
    },
    Configuration {
        name: "restore",
        about: "the region lost and restored from the third copy; its databases start again later",
        short: Bounds { writes: THREE, crashes: 1, replica: true, restore: true, ..CALM },
        long: Bounds {
            writes: FOUR_LONG,
            pipelined: true,
            crashes: 3,
            losses: 1,
            replica: true,
            restore: true,
            late: true,
            ..CALM
        },
        goals: &[Goal::Restored, Goal::Lost, Goal::Retired],
    },
    Configuration {
        name: "leases",
        about: "a host holds a lease, while the head crashes or a zone is made anew",
        short: Bounds { writes: TWO, registers: 1, crashes: 2, retire: true, leases: 2, ..CALM },
        long: Bounds {
            writes: THREE,
            registers: 2,
            crashes: 2,
            losses: 1,
            retire: true,
            late: true,
            leases: 2,
            ..CALM
        },
        goals: &[Goal::Acknowledged, Goal::SecondEpoch, Goal::NewHead],
    },
    Configuration {
        name: "everything",
        about: "rebuilds, abandoned or not, before or after a restore; crashes, a disk lost, a third copy",
        short: Bounds {
            writes: RIVALS,
            registers: 1,
            crashes: 1,
            losses: 1,
            retire: true,
            replica: true,
            restore: true,
            ..CALM
        },
        long: Bounds {
            writes: RIVALS,
            registers: 2,
            crashes: 1,
            losses: 1,
            abandon: true,
            retire: true,
            late: true,
            replica: true,
            restore: true,
            ..CALM
        },
        goals: &[Goal::ThirdEpoch, Goal::Restored, Goal::Lost, Goal::DiskReplaced, Goal::Retired],
    },
    Configuration {
        name: "rollback",
        about: "a disk forgets its last entry; links with nonces, a database compares before it serves",
        short: Bounds { writes: THREE, rollbacks: 1, crashes: 1, nonces: 3, ..CALM },
        long: Bounds { writes: FOUR_LONG, pipelined: true, rollbacks: 1, crashes: 2, nonces: 4, ..CALM },
        goals: &[Goal::Acknowledged, Goal::Rejoined, Goal::Mended],
    },
];

/// Defects, in the order of the documents.
pub const DEFECTS: &[Planted] = &[
    Planted {
        id: "P1",
        name: "acknowledge-before-tail",
        rule: "R3",
        says: "a write is acknowledged when the head has it",
        defect: Defect::AcknowledgeBeforeTail,
        promises: &[Promise::Durable],
        bounds: Bounds { writes: ONE, ..CALM },
    },
    Planted {
        id: "P2",
        name: "head-serves-new",
        rule: "R8",
        says: "the head shows what is in doubt",
        defect: Defect::HeadServesNew,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, ..CALM },
    },
    Planted {
        id: "P3",
        name: "head-serves-old",
        rule: "R8",
        says: "the head shows the state before what is in doubt",
        defect: Defect::HeadServesOld,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, ..CALM },
    },
    Planted {
        id: "P4",
        name: "conflict-in-doubt",
        rule: "R4",
        says: "a conflict is answered from an entry in doubt",
        defect: Defect::ConflictInDoubt,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: RIVALS, ..CALM },
    },
    Planted {
        id: "P5",
        name: "timeout-refused",
        rule: "R4, R19",
        says: "a deadline that passes is answered `refused`",
        defect: Defect::TimeoutRefused,
        promises: &[Promise::Refused],
        bounds: Bounds { writes: ONE, ..CALM },
    },
    Planted {
        id: "P6",
        name: "trust-whole-log",
        rule: "R3",
        says: "a head that starts takes its whole log for confirmed",
        defect: Defect::TrustWholeLog,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, crashes: 1, ..CALM },
    },
    Planted {
        id: "P7",
        name: "forward-before-sync",
        rule: "R1",
        says: "the head forwards before it syncs",
        defect: Defect::ForwardBeforeSync,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, crashes: 1, ..CALM },
    },
    Planted {
        id: "P8",
        name: "confirm-before-sync",
        rule: "R2",
        says: "the tail shows and confirms before it syncs",
        defect: Defect::ConfirmBeforeSync,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, crashes: 1, ..CALM },
    },
    Planted {
        id: "P9",
        name: "all-or-none",
        rule: "R8",
        says: "the head compares none and all of what is in doubt, not what lies between",
        defect: Defect::AllOrNone,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: CREATE_DELETE, pipelined: true, ..CALM },
    },
    Planted {
        id: "P10",
        name: "follow-in-doubt",
        rule: "R18",
        says: "the third copy follows what the head has not seen confirmed",
        defect: Defect::FollowInDoubt,
        promises: &[Promise::ThirdCopy],
        bounds: Bounds {
            writes: RIVALS,
            registers: 1,
            sources: TAIL_ONLY,
            retire: true,
            replica: true,
            ..CALM
        },
    },
    Planted {
        id: "P11",
        name: "vouch-unjoined",
        rule: "R10",
        says: "a database that has not joined vouches",
        defect: Defect::VouchUnjoined,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: RIVALS, replica: true, restore: true, ..CALM },
    },
    Planted {
        id: "P12",
        name: "serve-uncompared",
        rule: "R6",
        says: "a database that starts serves before it has compared its log",
        defect: Defect::ServeUncompared,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, rollbacks: 1, nonces: 2, ..CALM },
    },
    Planted {
        id: "P13",
        name: "resend-conflict",
        rule: "R19",
        says: "a host sends an attempt again and takes the second answer for the first",
        defect: Defect::ResendConflict,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, ..CALM },
    },
    Planted {
        id: "P14",
        name: "resend-refused",
        rule: "R19",
        says: "a host sends an attempt again, and refuses when the link is down by then",
        defect: Defect::ResendRefused,
        promises: &[Promise::Refused],
        bounds: Bounds { writes: ONE, ..CALM },
    },
    Planted {
        id: "P15",
        name: "forgetful",
        rule: "R20",
        says: "no tombstones, and a commit id that is in the log is appended again",
        defect: Defect::Forgetful,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: CREATE_DELETE, repeats: 1, ..CALM },
    },
    Planted {
        id: "P16",
        name: "dead-link",
        rule: "R6",
        says: "bytes of a dead link are taken",
        defect: Defect::DeadLink,
        promises: &[Promise::Prefix],
        bounds: Bounds { writes: RIVALS, rollbacks: 1, nonces: 2, ..CALM },
    },
    Planted {
        id: "P17",
        name: "forward-under-lease",
        rule: "R21",
        says: "the head forwards under a lease, and only acknowledges after it",
        defect: Defect::ForwardUnderLease,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, leases: 1, ..CALM },
    },
    Planted {
        id: "P18",
        name: "lease-forgotten",
        rule: "R21",
        says: "a head that starts forwards at once",
        defect: Defect::LeaseForgotten,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, leases: 1, crashes: 1, ..CALM },
    },
    Planted {
        id: "Q1",
        name: "no-fence",
        rule: "R13",
        says: "a rebuild needs no fence",
        defect: Defect::NoFence,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, registers: 1, sources: HEAD_ONLY, ..CALM },
    },
    Planted {
        id: "Q2",
        name: "no-join",
        rule: "R10",
        says: "a database that starts serves at once",
        defect: Defect::NoJoin,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, registers: 1, sources: HEAD_ONLY, crashes: 1, ..CALM },
    },
    Planted {
        id: "Q3",
        name: "fence-before-register",
        rule: "R13",
        says: "the fence is stated before the epoch is registered",
        defect: Defect::FenceBeforeRegister,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, registers: 1, sources: HEAD_ONLY, crashes: 1, ..CALM },
    },
    Planted {
        id: "Q4",
        name: "fence-before-adopt",
        rule: "R13",
        says: "the fence is stated before the source has adopted the epoch",
        defect: Defect::FenceBeforeAdopt,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, registers: 1, sources: HEAD_ONLY, crashes: 1, ..CALM },
    },
    Planted {
        id: "Q6",
        name: "fill-confirmed-only",
        rule: "R14",
        says: "a rebuild leaves out what is in doubt",
        defect: Defect::FillConfirmedOnly,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, registers: 1, sources: HEAD_ONLY, retire: true, ..CALM },
    },
    Planted {
        id: "Q7",
        name: "epoch-forgotten",
        rule: "R12",
        says: "the source does not store the epoch that it adopts",
        defect: Defect::EpochForgotten,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, registers: 1, crashes: 2, retire: true, ..CALM },
    },
    Planted {
        id: "Q8",
        name: "no-compare-and-set",
        rule: "R11, R15",
        says: "registration and activation are no compare-and-set",
        defect: Defect::NoCompareAndSet,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: RIVALS, registers: 2, crashes: 1, sources: FIRST_TWO, ..CALM },
    },
    Planted {
        id: "Q9",
        name: "write-before-active",
        rule: "R12, R14",
        says: "the source writes, and counts confirmations, before the epoch is active",
        defect: Defect::WriteBeforeActive,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, registers: 1, sources: HEAD_ONLY, ..CALM },
    },
    Planted {
        id: "Q10",
        name: "blank-starts",
        rule: "R10",
        says: "a database with an empty disk makes itself a store of its old epoch",
        defect: Defect::BlankStarts,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, losses: 1, ..CALM },
    },
    Planted {
        id: "Q11",
        name: "activate-under-lease",
        rule: "R15, R21",
        says: "an epoch becomes active while a lease of an earlier one is not over",
        defect: Defect::ActivateUnderLease,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, leases: 1, registers: 1, retire: true, ..CALM },
    },
    Planted {
        id: "Q12",
        name: "count-before-active",
        rule: "R12, R14",
        says: "the source counts the confirmation of a database that is being filled",
        defect: Defect::CountBeforeActive,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, registers: 1, sources: HEAD_ONLY, ..CALM },
    },
    Planted {
        id: "X1",
        name: "fill-forgotten",
        rule: "R14, R15",
        says: "a target that crashes starts over, after the operator has compared it",
        defect: Defect::FillForgotten,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, registers: 1, sources: HEAD_ONLY, crashes: 1, retire: true, ..CALM },
    },
    Planted {
        id: "X2",
        name: "old-record-serves",
        rule: "R10, R16",
        says: "a target serves after a signed record that it has not asked for since its start",
        defect: Defect::OldRecordServes,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: RIVALS, registers: 2, sources: HEAD_ONLY, crashes: 1, retire: true, ..CALM },
    },
    Planted {
        id: "X3",
        name: "vouch-means-active",
        rule: "R10, R16",
        says: "that a peer vouches for an epoch is taken to mean that it is active",
        defect: Defect::VouchMeansActive,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, registers: 1, sources: HEAD_ONLY, ..CALM },
    },
    Planted {
        id: "X4",
        name: "serve-behind-head",
        rule: "R6",
        says: "after a rollback the tail serves once it has what the head knows confirmed",
        defect: Defect::ServeBehindHead,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, rollbacks: 1, nonces: 2, ..CALM },
    },
    Planted {
        id: "X5",
        name: "append-uncompared",
        rule: "R6",
        says: "after a rollback the head appends before it has compared its log",
        defect: Defect::AppendUncompared,
        promises: &[Promise::Prefix],
        bounds: Bounds { writes: RIVALS, rollbacks: 1, nonces: 2, ..CALM },
    },
    Planted {
        id: "X6",
        name: "old-order-joins",
        rule: "R10, R12",
        says: "a source that adopts by an order it has not asked for since its start counts as joined",
        defect: Defect::OldOrderJoins,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, registers: 2, crashes: 1, sources: FIRST_TWO, ..CALM },
    },
    Planted {
        id: "X7",
        name: "unlearned-unfenced",
        rule: "R13",
        says: "the fence leaves out a member that has not learned yet that it is one",
        defect: Defect::UnlearnedUnfenced,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: RIVALS, registers: 2, sources: HEAD_ONLY, retire: true, late: true, ..CALM },
    },
    Planted {
        id: "X8",
        name: "resolve-unjoined",
        rule: "R4, R10",
        says: "a database that has not joined tells the fate of an attempt",
        defect: Defect::ResolveUnjoined,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, replica: true, restore: true, ..CALM },
    },
    Planted {
        id: "X9",
        name: "lease-in-doubt",
        rule: "R21",
        says: "the head grants a lease on what is in doubt",
        defect: Defect::LeaseInDoubt,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, leases: 1, ..CALM },
    },
    Planted {
        id: "X10",
        name: "tail-grants",
        rule: "R21",
        says: "a tail grants leases",
        defect: Defect::TailGrants,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, leases: 1, ..CALM },
    },
    Planted {
        id: "X11",
        name: "old-peer-served",
        rule: "R12",
        says: "a source that has adopted still takes what its peer of the old epoch sends",
        defect: Defect::OldPeerServed,
        promises: &[Promise::OneHistory],
        bounds: Bounds { writes: ONE, registers: 1, sources: TAIL_ONLY, retire: true, ..CALM },
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run;
    use std::collections::BTreeSet;

    #[test]
    fn every_defect_stands_in_the_table_once() {
        for (place, planted) in DEFECTS.iter().enumerate() {
            assert_eq!(planted.defect as usize, place, "{}", planted.name);
            assert!(!planted.promises.is_empty(), "{}", planted.name);
        }
        let names: BTreeSet<&str> = DEFECTS
            .iter()
            .flat_map(|planted| [planted.id, planted.name])
            .chain(CONFIGURATIONS.iter().map(|configuration| configuration.name))
            .collect();
        assert_eq!(names.len(), 2 * DEFECTS.len() + CONFIGURATIONS.len());
    }

    #[test]
    fn every_defect_is_found_and_is_the_only_reason() {
        for planted in DEFECTS {
            assert!(run::defect(planted, &|_, _| {}).broken.is_some(), "{} is not found", planted.name);
            assert!(run::same_bounds(planted).broken.is_none(), "{} breaks without it", planted.name);
        }
    }

    #[test]
    fn a_goal_that_is_out_of_reach_is_missed() {
        let calm = Configuration { goals: &[Goal::Acknowledged, Goal::Restored], ..CONFIGURATIONS[0] };
        assert_eq!(run::configuration(&calm, false, &|_, _| {}).missed, [Goal::Restored]);
    }

    #[test]
    fn the_document_lists_everything() {
        let document = include_str!("../../../docs/model.md");
        for configuration in CONFIGURATIONS {
            assert!(document.contains(&format!("| `{}` |", configuration.name)), "{}", configuration.name);
        }
        for planted in DEFECTS {
            let row = format!("| {} `{}` |", planted.id, planted.name);
            assert!(document.contains(&row), "{}", planted.name);
        }
    }
}
