//! The configurations that must hold, each with the bounds of the short run and of the long one.

use super::Configuration;
use crate::bounds::{Bounds, CALM, HEAD_ONLY, TAIL_ONLY};
use crate::goal::Goal;
use crate::history::{CREATE, REMOVE, REMOVE_UPDATED, RIVAL, UPDATE, Write};

const TWO: &[Write] = &[CREATE, UPDATE];
const RIVALS: &[Write] = &[CREATE, RIVAL];
const THREE: &[Write] = &[CREATE, RIVAL, UPDATE];
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
        long: Bounds { writes: THREE, registers: 2, crashes: 2, losses: 1, retire: true, late: true, ..CALM },
        goals: &[Goal::ThirdEpoch, Goal::Overtaken, Goal::NewHead, Goal::SourceOff, Goal::TargetOff],
    },
    Configuration {
        name: "abandoned",
        about: "a rebuild given up: the next epoch has the old database as target, or a new one",
        short: Bounds { writes: RIVALS, registers: 2, crashes: 2, abandon: true, retire: true, ..CALM },
        long: Bounds {
            writes: THREE,
            registers: 2,
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
