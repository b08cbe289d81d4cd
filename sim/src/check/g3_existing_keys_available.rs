//! G3: while one host, one database or one zone is lost, or the zones are cut from each other, reads and
//! crypto operations on existing keys, and reads of existing secrets, are answered; and of course while nothing is lost. Measures the redirect
//! window: from the loss to the invocation of the last operation that failed.
//!
//! Excused, and counted: operations in flight at the loss or invoked inside the redirect window, operations
//! whose key has (for lists: any key has) a write in doubt, keys whose stored bytes were swapped.
//! Does not check: what the answers say (G10, G11; a definite 4xx is an answer), which host answered, anything
//! while more than one zone is hurt or a node of another zone is still recovering, or anything is slow.

use super::{
    CheckInput,
    doubt::Doubts,
    end_of, subject,
    swapped::Swaps,
    timeline::{Loss, Timeline, last_before},
};
use crate::{
    history::{Call, Micros, Op, Outcome},
    report::Verdict,
};
use std::collections::BTreeMap;

/// Judges.
pub fn check(input: &CheckInput<'_>, timeline: &Timeline) -> Verdict {
    let mut verdict = Verdict::new("G3", "g3_existing_keys_available");
    let doubts = Doubts::new(input, timeline);
    let swaps = Swaps::new(input.history);
    let existing = existing_since(input);
    // Loss to the last failure invoked in its window.
    let mut windows: BTreeMap<Micros, Micros> = BTreeMap::new();
    for op in input.history.ops.iter().filter(|op| !op.call.is_write()) {
        if !on_existing_key(op, &existing) {
            continue;
        }
        let end = end_of(op, input.history);
        let loss = timeline.worst_loss(op.invoked, end);
        if loss == Loss::Beyond {
            verdict.count("not_judged", 1);
            continue;
        }
        let last_loss = last_before(timeline.loss_starts(), op.invoked);
        if let Some(start) = last_loss
            && loss != Loss::Nothing
        {
            windows.entry(start).or_insert(0);
        }
        if answered(&op.outcome) {
            if loss != Loss::Nothing {
                verdict.exercised += 1;
                verdict.count(&format!("answered_without_{}", loss.word()), 1);
                if matches!(op.call, Call::Secret { .. } | Call::Secrets) {
                    verdict.count("secrets_answered_in_a_loss", 1);
                }
            }
            continue;
        }
        if let Some(excuse) = excuse(input, timeline, &doubts, &swaps, op, end) {
            verdict.count(excuse, 1);
            if excuse == "failed_in_window"
                && let Some(start) = last_loss
            {
                let window = windows.entry(start).or_insert(0);
                *window = (*window).max(op.invoked - start);
            }
            continue;
        }
        verdict.exercised += u64::from(loss != Loss::Nothing);
        let since = last_loss.map_or("no loss before".to_owned(), |at| {
            format!("{} ms after the last loss", (op.invoked - at) / 1000)
        });
        let kind = if loss == Loss::Nothing { "failed-while-whole" } else { "failed" };
        let text = format!(
            "op {} failed ({}) with {} lost, invoked {since}",
            op.id,
            word(&op.outcome),
            loss.word().replace('_', " ")
        );
        verdict.broken(kind, &[op.id], text);
    }
    verdict.spans("redirect_window", windows.into_values().collect());
    verdict
}

/// When each key was acknowledged to exist, at first.
fn existing_since<'a>(input: &CheckInput<'a>) -> BTreeMap<&'a str, Micros> {
    let mut since: BTreeMap<&str, Micros> = BTreeMap::new();
    for op in &input.history.ops {
        if let (true, Outcome::Ok(_), Some(key), Some(done)) =
            (op.call.makes_record(), &op.outcome, subject(op), op.done)
        {
            let first = since.entry(key).or_insert(done);
            *first = (*first).min(done);
        }
    }
    since
}

/// Lists and random bytes need no key; everything else needs one that was there before.
fn on_existing_key(op: &Op, existing: &BTreeMap<&str, Micros>) -> bool {
    match op.call.key() {
        Some(key) => existing.get(key).is_some_and(|since| *since < op.invoked),
        None => op.call.is_list() || matches!(op.call, Call::Random { .. }),
    }
}

fn answered(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Ok(_) => true,
        Outcome::Rejected { status, .. } => (400..500).contains(status) && *status != 429,
        Outcome::Refused | Outcome::SaidUnknown | Outcome::Unknown => false,
    }
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok(_) => "answered".to_owned(),
        Outcome::Rejected { status, .. } => format!("status {status}"),
        Outcome::Refused => "refused".to_owned(),
        Outcome::SaidUnknown => "'outcome unknown'".to_owned(),
        Outcome::Unknown => "no answer".to_owned(),
    }
}

fn excuse(
    input: &CheckInput<'_>,
    timeline: &Timeline,
    doubts: &Doubts,
    swaps: &Swaps,
    op: &Op,
    end: Micros,
) -> Option<&'static str> {
    let starts = timeline.loss_starts();
    if op.done.is_none() && end - op.invoked < input.bounds.redirect_us {
        return Some("run_ended");
    }
    if starts.iter().any(|at| op.invoked < *at && *at <= end) {
        return Some("failed_in_flight");
    }
    let listing = op.call.is_list();
    let in_doubt = match op.call.key() {
        Some(key) => doubts.touches(Some(key), op.invoked, end),
        None => listing && doubts.touches(None, op.invoked, end),
    };
    // It is answered at once that the answer is in doubt; that nobody answers is no consequence of a doubt.
    if in_doubt && op.outcome == Outcome::Refused {
        return Some("failed_in_doubt");
    }
    if op.call.key().map_or(listing && swaps.any(), |key| swaps.touched(key, end)) {
        return Some("failed_damaged");
    }
    let window = |at| op.invoked - at < input.bounds.redirect_us;
    last_before(starts, op.invoked).is_some_and(window).then_some("failed_in_window")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Build, MS, S, assert_held, encrypt, kinds, ok_key, rejected, rename};
    use crate::history::What;

    fn judged(build: &Build) -> Verdict {
        let input = build.input();
        check(&input, &Timeline::new(&input))
    }

    fn lost(nodes: &[&str]) -> Build {
        let mut build = Build::new();
        build.created("k", "n", S);
        for node in nodes {
            build.down(node, 10 * S).up(node, 40 * S);
        }
        build
    }

    #[test]
    fn answers_during_each_single_loss_hold() {
        for nodes in [vec!["host-a1"], vec!["db-a"], vec!["db-b", "host-b1", "host-b2"]] {
            let mut build = lost(&nodes);
            build.read("k", 11 * S, Outcome::Unknown);
            build.read("k", 20 * S, ok_key("k", "n", "active"));
            build.op(encrypt("k"), 21 * S, 22 * S, rejected(409));
            let verdict = judged(&build);
            assert_held(&verdict);
            assert_eq!(verdict.exercised, 2);
            assert_eq!(verdict.measures["redirect_window_ms_max"], 1000.0);
        }
        let mut build = lost(&[]);
        build.cut("db-a", "db-b", 10 * S);
        build.read("k", 20 * S, ok_key("k", "n", "active"));
        assert_eq!(judged(&build).measures["answered_without_zone_link_count"], 1.0);
    }

    #[test]
    fn failing_outside_the_window_is_a_violation() {
        for outcome in [Outcome::Unknown, Outcome::Refused, Outcome::SaidUnknown, rejected(500)] {
            let mut build = lost(&["db-a"]);
            build.read("k", 14 * S, outcome);
            assert_eq!(kinds(&judged(&build)), ["failed"]);
        }
    }

    #[test]
    fn failing_with_nothing_lost_is_a_violation_but_exercises_nothing() {
        let mut build = lost(&[]);
        build.read("k", 20 * S, Outcome::Unknown);
        let verdict = judged(&build);
        assert_eq!((kinds(&verdict), verdict.exercised), (vec!["failed-while-whole"], 0));
    }

    #[test]
    fn in_flight_in_doubt_and_damaged_are_excused() {
        let mut build = lost(&["db-b"]);
        build.op(encrypt("k"), 10 * S - MS, 12 * S, Outcome::Unknown);
        build.op(rename("k", "m"), 10 * S - MS, 12 * S, Outcome::Unknown);
        build.read("k", 11 * S, Outcome::Refused);
        build.read("k", 20 * S, Outcome::Refused);
        let verdict = judged(&build);
        assert_eq!(kinds(&verdict), Vec::<&str>::new());
        assert_eq!(verdict.measures["redirect_window_ms_max"], 0.0);
        assert_eq!(verdict.measures["failed_in_flight_count"], 1.0);
        assert_eq!(verdict.measures["failed_in_doubt_count"], 2.0);
        build.read("k", 21 * S, Outcome::Unknown);
        assert_eq!(kinds(&judged(&build)), ["failed"]);
        let mut build = lost(&["db-b"]);
        build.event(9 * S, What::Swapped { node: "db-a".into(), keys: vec![hex::encode("k")] });
        build.read("k", 20 * S, rejected(500));
        assert_eq!(judged(&build).measures["failed_damaged_count"], 1.0);
    }

    #[test]
    fn two_zones_hurt_are_not_judged() {
        let mut build = lost(&["db-a"]);
        build.down("host-b1", 20 * S);
        build.read("k", 30 * S, Outcome::Unknown);
        let verdict = judged(&build);
        assert_eq!((kinds(&verdict), verdict.exercised), (vec![], 0));
    }

    #[test]
    fn keys_that_did_not_exist_are_not_judged() {
        let mut build = lost(&["db-a"]);
        build.read("unknown", 20 * S, Outcome::Unknown);
        assert_eq!(kinds(&judged(&build)), Vec::<&str>::new());
    }
}
