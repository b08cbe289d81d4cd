//! G5 and G6: a region that was lost and made anew has every key that was acknowledged before the window of the copy it was made of (the
//! replica: its lag; a backup: five minutes), and what is missing is the end of the commit order: no key is there whose making began after
//! the making of a missing one was acknowledged. Measures how much was lost, and how long the region was away.
//!
//! Judged by keys made, which are asked for at the end of the run, of each database alone. That renames, deactivations and destructions
//! before the window are there too is asked by G1 and G11, to whom only the window's own outcomes are unknown.
//!
//! A key that is there as a tombstone alone makes no hole: tombstones are carried to the backup stores apart from backups.
//!
//! Does not check: writes whose outcome nobody was told.

use super::{CheckInput, region_loss::RegionLoss, subject};
use crate::{
    history::{Answer, Call, Micros, Op, Outcome, Phase},
    report::Verdict,
};
use std::collections::BTreeMap;

/// Judges: G5, then G6.
pub fn check(input: &CheckInput<'_>) -> [Verdict; 2] {
    let mut verdicts =
        [Verdict::new("G5", "g5_region_loss"), Verdict::new("G6", "g6_region_and_replica_loss")];
    if let Some(loss) = RegionLoss::of(input)
        && let Some((back, backup)) = loss.back
    {
        judge(input, &loss, back, &mut verdicts[usize::from(backup)]);
    }
    verdicts
}

fn judge(input: &CheckInput<'_>, loss: &RegionLoss, back: Micros, verdict: &mut Verdict) {
    let mut there = there(input);
    // Whoever made a key of that id once more says nothing of the first one.
    for op in input.history.ops.iter().filter(|op| op.invoked > loss.at && op.call.is_key_write()) {
        if let Some(key) = subject(op) {
            there.remove(key);
        }
    }
    let creates: Vec<(&Op, Micros, &str)> =
        input.history.ops.iter().filter_map(|op| created(op, loss.at)).collect();
    let (mut lost, mut first_lost): (Vec<Micros>, Option<(Micros, u64)>) = (Vec::new(), None);
    for (op, done, key) in &creates {
        match there.get(key) {
            None => verdict.count("keys_not_read", 1),
            Some(Found::Whole | Found::Tombstone) => verdict.exercised += 1,
            Some(Found::Missing) => {
                verdict.exercised += 1;
                lost.push(loss.at.saturating_sub(*done));
                if first_lost.is_none_or(|(first, _)| *done < first) {
                    first_lost = Some((*done, op.id));
                }
                if *done < loss.owed_before {
                    let text = format!(
                        "key {key}: made and acknowledged {} ms before the region was lost, {} ms before the window of the copy, \
                         and is gone",
                        (loss.at - done) / 1000,
                        (loss.owed_before - done) / 1000
                    );
                    verdict.broken("lost-from-before-the-window", &[op.id], text);
                }
            }
        }
    }
    if let Some((acknowledged, hole)) = first_lost {
        for (op, _, key) in creates
            .iter()
            .filter(|(op, _, key)| op.invoked > acknowledged && there.get(key) == Some(&Found::Whole))
        {
            let text = format!(
                "key {key}, made by op {}, is there although op {hole}, acknowledged {} ms before that began, is not",
                op.id,
                (op.invoked - acknowledged) / 1000
            );
            verdict.broken("hole", &[hole, op.id], text);
        }
    }
    verdict.count("creates_lost", lost.len() as u64);
    verdict.spans("lost", lost);
    verdict.spans("restored_after", vec![back.saturating_sub(loss.at)]);
    let first = input.history.ops.iter().filter(|op| op.invoked > loss.at && op.call.is_key_write());
    let first = first.filter(|op| matches!(op.outcome, Outcome::Ok(_))).filter_map(|op| op.done).min();
    verdict.spans("writes_accepted_after", first.map(|first| first - loss.at).into_iter().collect());
}

/// A key made before the loss, and when that was acknowledged.
fn created(op: &Op, lost_at: Micros) -> Option<(&Op, Micros, &str)> {
    let done = op.done.filter(|done| *done <= lost_at)?;
    match (&op.call, &op.outcome) {
        (Call::Create { .. } | Call::CreateUnnamed { .. }, Outcome::Ok(_)) => Some((op, done, subject(op)?)),
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Missing,
    Tombstone,
    Whole,
}

/// Whether a key is there at the end, as far as a database alone has said.
fn there<'a>(input: &CheckInput<'a>) -> BTreeMap<&'a str, Found> {
    let mut there = BTreeMap::new();
    for op in &input.history.ops {
        let (Phase::HeadAlone | Phase::TailAlone, Call::Get { key }) = (op.phase, &op.call) else { continue };
        match &op.outcome {
            Outcome::Ok(Answer::Key(view)) => {
                let tombstone = view.state.starts_with("destroyed");
                there.insert(key.as_str(), if tombstone { Found::Tombstone } else { Found::Whole });
            }
            Outcome::Rejected { status: 404, .. } => {
                there.entry(key.as_str()).or_insert(Found::Missing);
            }
            _ => {}
        }
    }
    there
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::testing::{Build, MS, S, assert_held, get, kinds, ok_key, rejected},
        history::What,
    };

    /// Keys made at these times; the region is lost at 60 s; those of `gone` are not there at the end.
    fn judged(made: &[Micros], gone: &[usize], backup: bool) -> [Verdict; 2] {
        let mut build = Build::new();
        for (number, at) in made.iter().enumerate() {
            build.created(&format!("k{number}"), "n", *at);
        }
        for node in ["db-a", "db-b"] {
            build.event(400 * S, What::DiskLost { node: node.into() });
        }
        build.event(420 * S, What::Restored { backup });
        build.history.end = 600 * S;
        for (phase, at) in [(Phase::HeadAlone, 500 * S), (Phase::TailAlone, 510 * S)] {
            for number in 0..made.len() {
                let key = format!("k{number}");
                let outcome =
                    if gone.contains(&number) { rejected(404) } else { ok_key(&key, "n", "active") };
                build.op_in(phase, get(&key), at, at + MS, outcome);
            }
        }
        check(&build.input())
    }

    #[test]
    fn the_newest_may_be_missing() {
        let [g5, g6] = judged(&[10 * S, 399 * S], &[1], false);
        assert_held(&g5);
        assert_eq!((g5.exercised, g6.exercised), (2, 0));
        assert_eq!(g5.measures["creates_lost_count"], 1.0);
        let [_, g6] = judged(&[10 * S, 101 * S, 399 * S], &[1, 2], true);
        assert_held(&g6);
    }

    #[test]
    fn what_is_older_may_not() {
        let [g5, _] = judged(&[10 * S, 390 * S, 399 * S], &[1, 2], false);
        assert_eq!(kinds(&g5), ["lost-from-before-the-window"]);
        let [_, g6] = judged(&[10 * S, 99 * S, 399 * S], &[1, 2], true);
        assert_eq!(kinds(&g6), ["lost-from-before-the-window"]);
    }

    #[test]
    fn nor_may_there_be_a_hole() {
        let [g5, _] = judged(&[10 * S, 399 * S, 399 * S + 500 * MS], &[1], false);
        assert_eq!(kinds(&g5), ["hole"]);
        // Two at the same time may have been committed in either order.
        let [g5, _] = judged(&[10 * S, 399 * S, 399 * S + 5 * MS], &[1], false);
        assert_held(&g5);
    }
}
