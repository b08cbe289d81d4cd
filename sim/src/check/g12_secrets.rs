//! The part of G12 about secrets: data of a version whose deletion was acknowledged, or of a secret whose deletion was, is in no answer to
//! what is asked later, whichever interface is asked, whether or not the path is used again. Judged apart from the order of all else (G11):
//! every value is unique, so that one answer is enough.
//!
//! Does not check: values that were sent more than once (counted), versions that a deletion may have met under another number (the
//! secret was deleted meanwhile), what a region lost with its last moments.

use super::{end_of, in_doubt};
use crate::{
    history::{Answer, Ask, Call, History, Micros, Op, Outcome, VersionState},
    report::Verdict,
    veiled,
};
use std::collections::{BTreeMap, BTreeSet};

/// A value that nobody may see any more.
struct Gone {
    destroyed_by: u64,
    since: Micros,
    asked_later: bool,
}

/// Adds to the verdict.
pub(super) fn check(history: &History, verdict: &mut Verdict) {
    let mut by_path: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in &history.ops {
        if let Call::Secret { path, .. } = &op.call {
            by_path.entry(path).or_default().push(op);
        }
    }
    for ops in by_path.values() {
        secret(history, ops, verdict);
    }
}

fn secret(history: &History, ops: &[&Op], verdict: &mut Verdict) {
    let mut gone = destroyed(history, ops, verdict);
    for op in ops {
        let (Call::Secret { ask: Ask::Read { .. }, .. }, answered) = (&op.call, answered(&op.outcome)) else {
            continue;
        };
        gone.values_mut().filter(|gone| answered && op.invoked > gone.since).for_each(|gone| {
            gone.asked_later = true;
        });
        let Outcome::Ok(Answer::Secret(view)) = &op.outcome else { continue };
        for mark in view.versions.iter().filter_map(|version| version.value.as_ref()) {
            if let Some(gone) = gone.get(mark).filter(|gone| op.invoked > gone.since) {
                let text = format!(
                    "op {} shows data of a secret that op {} destroyed {} ms before",
                    op.id,
                    gone.destroyed_by,
                    (op.invoked - gone.since) / 1000
                );
                verdict.broken("data-returned", &[gone.destroyed_by, op.id], text);
            }
        }
    }
    let asked = gone.values().filter(|gone| gone.asked_later).count() as u64;
    verdict.exercised += asked;
    verdict.count("values_destroyed", gone.len() as u64);
    verdict.count("values_destroyed_and_asked_for", asked);
}

fn answered(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Ok(_) | Outcome::Rejected { status: 400..500, .. })
}

/// What was written, and destroyed with an acknowledgement, by what it is known by.
fn destroyed(history: &History, ops: &[&Op], verdict: &mut Verdict) -> BTreeMap<String, Gone> {
    let mut sent: BTreeMap<&str, usize> = BTreeMap::new();
    for tag in ops.iter().filter_map(|op| tag(op)) {
        *sent.entry(tag).or_default() += 1;
    }
    let again: BTreeSet<&str> = sent.iter().filter(|(_, sent)| **sent > 1).map(|(value, _)| *value).collect();
    verdict.count("values_sent_again", again.len() as u64);
    let mut gone = BTreeMap::new();
    for op in ops {
        let (Some(tag), Some(number)) = (tag(op), number(op)) else { continue };
        if again.contains(tag) {
            continue;
        }
        let later = ops.iter().filter(|later| later.invoked > end_of(op, history));
        let by =
            later.filter(|later| destroys(ops, op, number, later)).map(|by| (end_of(by, history), by.id));
        if let Some((since, destroyed_by)) = by.min() {
            gone.insert(veiled::mark(tag), Gone { destroyed_by, since, asked_later: false });
        }
    }
    gone
}

/// The tag of what an operation would write.
fn tag(op: &Op) -> Option<&str> {
    match &op.call {
        Call::Secret { ask: Ask::Create { value, .. } | Ask::Write { value, .. }, .. } => Some(value),
        _ => None,
    }
}

/// The number that a version was given.
fn number(op: &Op) -> Option<u32> {
    match &op.outcome {
        Outcome::Ok(Answer::Secret(view)) => view.current,
        _ => None,
    }
}

/// Whether `later` destroyed for certain what `write` wrote as version `number`.
fn destroys(ops: &[&Op], write: &Op, number: u32, later: &Op) -> bool {
    let Call::Secret { ask, .. } = &later.call else { return false };
    if !matches!(later.outcome, Outcome::Ok(_)) {
        return false;
    }
    match ask {
        Ask::Delete => true,
        Ask::Set { version: Some(version), state: VersionState::Deleted } => {
            let deletes = |op: &Op| {
                matches!(op.call, Call::Secret { ask: Ask::Delete, .. })
                    && !matches!(op.outcome, Outcome::Refused | Outcome::Rejected { status: 400..500, .. })
            };
            let between = |op: &Op| {
                // Without a clear outcome it may have happened at any time.
                let open = in_doubt(&op.outcome) || op.done.is_none_or(|done| done >= write.invoked);
                op.invoked <= later.invoked && open && deletes(op)
            };
            // For Vault's clients it may have been passed over, if it was dropped: its data is gone then too.
            *version == number && !ops.iter().any(|op| between(op))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::testing::{Build, MS, S, kinds},
        history::{Dialect, SecretView, VersionView},
    };

    fn call(ask: Ask) -> Call {
        Call::Secret { path: "p".into(), dialect: Dialect::Native, ask }
    }

    fn write(build: &mut Build, tag: &str, number: u32, at: u64) {
        let version = VersionView { number, state: VersionState::Active, value: None };
        let view = SecretView { current: Some(number), versions: vec![version], ..SecretView::default() };
        let ask = Ask::Write { value: tag.into(), cas: None };
        build.op(call(ask), at, at + MS, Outcome::Ok(Answer::Secret(view)));
    }

    fn read(build: &mut Build, tag: Option<&str>, at: u64) {
        let outcome = match tag {
            Some(tag) => {
                let value = Some(veiled::mark(tag));
                let version = VersionView { number: 1, state: VersionState::Active, value };
                Outcome::Ok(Answer::Secret(SecretView { versions: vec![version], ..SecretView::default() }))
            }
            None => Outcome::Rejected { status: 404, code: 1 },
        };
        build.op(call(Ask::Read { version: Some(1) }), at, at + MS, outcome);
    }

    fn judged(build: &Build) -> Verdict {
        let mut verdict = Verdict::new("G12", "g12_no_resurrection");
        check(&build.history, &mut verdict);
        verdict
    }

    fn destroy(build: &mut Build, version: u32, at: u64, outcome: Outcome) {
        let ask = Ask::Set { version: Some(version), state: VersionState::Deleted };
        build.op(call(ask), at, at + MS, outcome);
    }

    #[test]
    fn data_that_was_destroyed_stays_away() {
        let mut build = Build::new();
        write(&mut build, "one", 1, S);
        read(&mut build, Some("one"), 2 * S);
        destroy(&mut build, 1, 3 * S, Outcome::Ok(Answer::Done));
        assert_eq!(judged(&build).exercised, 0, "nobody asked");
        read(&mut build, None, 4 * S);
        let verdict = judged(&build);
        assert_eq!((verdict.exercised, kinds(&verdict)), (1, vec![]));
        read(&mut build, Some("one"), 5 * S);
        assert_eq!(kinds(&judged(&build)), ["data-returned"]);
    }

    #[test]
    fn a_deletion_takes_all_versions_and_later_ones_are_others() {
        let mut build = Build::new();
        write(&mut build, "one", 1, S);
        write(&mut build, "two", 2, 2 * S);
        build.op(call(Ask::Delete), 3 * S, 4 * S, Outcome::Ok(Answer::Done));
        write(&mut build, "three", 1, 5 * S);
        read(&mut build, Some("three"), 6 * S);
        let verdict = judged(&build);
        assert_eq!((verdict.exercised, kinds(&verdict)), (2, vec![]));
        read(&mut build, Some("two"), 7 * S);
        assert_eq!(kinds(&judged(&build)), ["data-returned"]);
    }

    #[test]
    fn what_is_not_certain_is_not_asked_for() {
        let mut build = Build::new();
        write(&mut build, "one", 1, S);
        destroy(&mut build, 1, 2 * S, Outcome::Unknown);
        read(&mut build, Some("one"), 3 * S);
        assert_eq!(kinds(&judged(&build)), Vec::<&str>::new());
        let mut build = Build::new();
        write(&mut build, "one", 1, S);
        build.op(call(Ask::Delete), 2 * S, 3 * S, Outcome::Unknown);
        write(&mut build, "two", 1, 4 * S);
        destroy(&mut build, 1, 5 * S, Outcome::Ok(Answer::Done));
        read(&mut build, Some("one"), 6 * S);
        assert_eq!(kinds(&judged(&build)), Vec::<&str>::new(), "the other one was version 1");
        read(&mut build, Some("two"), 7 * S);
        assert_eq!(kinds(&judged(&build)), Vec::<&str>::new(), "either may be");
        let mut build = Build::new();
        write(&mut build, "one", 1, S);
        write(&mut build, "one", 2, 2 * S);
        destroy(&mut build, 1, 5 * S, Outcome::Ok(Answer::Done));
        read(&mut build, Some("one"), 6 * S);
        let verdict = judged(&build);
        assert_eq!(kinds(&verdict), Vec::<&str>::new(), "sent twice");
        assert_eq!(verdict.measures["values_sent_again_count"], 1.0);
    }
}
