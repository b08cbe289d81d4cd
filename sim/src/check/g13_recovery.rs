//! G13: once everything is repaired, key writes are accepted again within the recovery bound, by themselves,
//! and go on being accepted. Judged for every stretch without any fault that follows a fault which hurt
//! writes, the one after the final heal among them. Measures the time from repair to the first acknowledged
//! key write. The same after each activation of an epoch, with a bound of its own: the operator's command ends there, and
//! nobody is to wait for anything else.
//!
//! Does not check: stretches shorter than the recovery bound, stretches in which no write was accepted in time
//! but nobody tried in the last second before the bound either, or only so late that a prompt success came after it (not exercised), runs that leave something
//! broken (no such stretch), recovery of reads (G3).

use super::{CheckInput, end_of, spans::Spans, timeline::Timeline};
use crate::{
    history::{Micros, Op, Outcome, Rebuild, What},
    report::Verdict,
};

/// Judges.
pub fn check(input: &CheckInput<'_>, timeline: &Timeline) -> Verdict {
    let mut verdict = Verdict::new("G13", "g13_recovery");
    let cuts = timeline.host_database_cuts(input.topology);
    let hurts =
        Spans::union([timeline.chain_broken(), &cuts, &timeline.made_anew(), timeline.other_faults()]);
    let fine = timeline.disturbed().complement();
    let mut times = Vec::new();
    let mut hurt_before = 0;
    for (from, until) in fine.iter() {
        let until = until.min(input.history.end);
        let hurt = from > 0 && hurts.touches(hurt_before, from.saturating_sub(1));
        // The start of the nodes is not a recovery.
        let started = from >= input.history.faults_from && from > 0;
        if hurt && started && until >= from.saturating_add(input.bounds.recovery_us) {
            times.extend(stretch(input, &mut verdict, from, until));
            hurt_before = from;
        } else if !started {
            hurt_before = from;
        }
    }
    verdict.spans("recovery", times);
    let active = |what: &What| matches!(what, What::Rebuild { step: Rebuild::Activated, .. });
    let activations = input.history.events.iter().filter(|event| active(&event.what)).map(|event| event.at);
    let mut times = Vec::new();
    for at in activations {
        let undisturbed = fine.iter().find(|(from, until)| *from <= at && at < *until);
        if let Some((_, until)) = undisturbed {
            times.extend(activation(input, &mut verdict, at, until.min(input.history.end)));
        }
    }
    verdict.spans("activation", times);
    verdict
}

/// Judges one activation, undisturbed until `until`; the time from it to the first acknowledged key write, if there was one.
fn activation(input: &CheckInput<'_>, verdict: &mut Verdict, at: Micros, until: Micros) -> Option<Micros> {
    let bound = at + input.bounds.activation_us;
    let writes = || input.history.ops.iter().filter(|op| op.call.is_key_write() && op.invoked < until);
    if let Some(late) = writes().find(|op| op.invoked >= bound && failed(op, until, input)) {
        let text = format!(
            "op {}, invoked {} ms after an epoch had become active, was not accepted",
            late.id,
            (late.invoked - at) / 1000
        );
        verdict.broken("late-after-activation", &[late.id], text);
    }
    let accepted = writes().filter(|op| matches!(op.outcome, Outcome::Ok(_)));
    let first = accepted.map(|op| end_of(op, input.history)).filter(|end| *end >= at).min()?;
    verdict.exercised += 1;
    Some(first - at)
}

/// Judges one stretch; the time to the first acknowledged key write, if it was judged and there was one.
fn stretch(input: &CheckInput<'_>, verdict: &mut Verdict, from: Micros, until: Micros) -> Option<Micros> {
    let bound = from + input.bounds.recovery_us;
    let within = |op: &&Op| op.call.is_write() && op.invoked >= from && op.invoked < until;
    let writes: Vec<&Op> = input.history.ops.iter().filter(within).collect();
    // Key writes as the promise says; other writes only if there were none.
    let key_writes: Vec<&Op> = writes.iter().copied().filter(|op| op.call.is_key_write()).collect();
    let judged = if key_writes.is_empty() { &writes } else { &key_writes };
    for op in writes.iter().filter(|op| op.invoked >= bound && failed(op, until, input)) {
        let text = format!(
            "op {}, invoked {} ms after everything was repaired, was not accepted",
            op.id,
            (op.invoked - from) / 1000
        );
        verdict.broken("refused-after-recovery", &[op.id], text);
    }
    let accepted = |op: &&&Op| matches!(op.outcome, Outcome::Ok(_));
    let first = judged.iter().filter(accepted).map(|op| end_of(op, input.history)).min();
    // Without an attempt shortly before the bound a late first success proves nothing.
    let last_moment = bound - input.bounds.refusal_us.min(input.bounds.recovery_us);
    // Nor does one that was answered as fast as ever, and only began late: with success, or that such a key is there, or is not.
    let at_once = |op: &Op| {
        let answered = matches!(&op.outcome, Outcome::Ok(_))
            || matches!(&op.outcome, Outcome::Rejected { status, .. } if (400..500).contains(status));
        answered && end_of(op, input.history) - op.invoked <= 1000 * input.limits.stall_ms
    };
    let tried: Vec<&Op> = judged
        .iter()
        .copied()
        .filter(|op| (last_moment..=bound).contains(&op.invoked) && !at_once(op))
        .collect();
    if first.is_none_or(|done| done > bound) && tried.is_empty() {
        verdict.count("stretches_without_writes", 1);
        return None;
    }
    verdict.exercised += 1;
    match first {
        Some(done) if done <= bound => Some(done - from),
        first => {
            let ops: Vec<u64> = tried.iter().map(|op| op.id).take(5).collect();
            let took = first.map_or("none at all".to_owned(), |done| {
                format!("the first only after {} ms", (done - from) / 1000)
            });
            let text = format!(
                "everything was repaired at {} ms, and no write was acknowledged within {} ms: {took}",
                from / 1000,
                input.bounds.recovery_us / 1000
            );
            verdict.broken("not-accepting", &ops, text);
            first.map(|done| done - from)
        }
    }
}

/// Whether the write, with no fault before its end, was not accepted.
fn failed(op: &Op, until: Micros, input: &CheckInput<'_>) -> bool {
    let ended = op.done.is_some() && end_of(op, input.history) < until;
    ended && matches!(op.outcome, Outcome::Refused | Outcome::SaidUnknown | Outcome::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Build, MS, S, assert_held, create, kinds, ok_key, rejected};
    use crate::report::Judgement;

    fn judged(build: &Build) -> Verdict {
        let input = build.input();
        check(&input, &Timeline::new(&input))
    }

    fn healed() -> Build {
        let mut build = Build::new();
        build.down("db-b", 10 * S).up("db-b", 100 * S);
        build
    }

    fn write(build: &mut Build, at: Micros, outcome: Outcome) {
        let key = format!("k{at}");
        build.op(create(&key, &key), at, at + 10 * MS, outcome);
    }

    #[test]
    fn accepted_soon_is_measured() {
        let mut build = healed();
        write(&mut build, 100 * S, Outcome::Refused);
        write(&mut build, 101 * S, ok_key("k", "k", "active"));
        write(&mut build, 110 * S, ok_key("k", "k", "active"));
        let verdict = judged(&build);
        assert_held(&verdict);
        assert_eq!(verdict.measures["recovery_ms_max"], 1010.0);
    }

    #[test]
    fn accepted_late_or_never() {
        let mut build = healed();
        write(&mut build, 101 * S, Outcome::Refused);
        assert_eq!(judged(&build).judgement(), Judgement::NotExercised, "nobody asked when it mattered");
        write(&mut build, 104 * S + 900 * MS, Outcome::Refused);
        assert_eq!(kinds(&judged(&build)), ["not-accepting"]);
        write(&mut build, 106 * S, ok_key("k", "k", "active"));
        assert_eq!(kinds(&judged(&build)), ["not-accepting"]);
        // Nobody was refused: one began late, the other asked for what is there.
        let mut build = healed();
        write(&mut build, 104 * S + 500 * MS, rejected(409));
        write(&mut build, 105 * S - 5 * MS, ok_key("k", "k", "active"));
        assert_eq!(judged(&build).judgement(), Judgement::NotExercised);
    }

    #[test]
    fn refused_again_later() {
        for outcome in [Outcome::Refused, Outcome::SaidUnknown, Outcome::Unknown] {
            let mut build = healed();
            write(&mut build, 101 * S, ok_key("k", "k", "active"));
            write(&mut build, 120 * S, outcome);
            assert_eq!(kinds(&judged(&build)), ["refused-after-recovery"]);
        }
    }

    #[test]
    fn not_exercised_without_a_loss_a_heal_or_an_attempt() {
        let mut build = Build::new();
        write(&mut build, 50 * S, ok_key("k", "k", "active"));
        assert_eq!(judged(&build).judgement(), Judgement::NotExercised);
        let mut build = Build::new();
        build.down("db-b", 10 * S);
        write(&mut build, 50 * S, Outcome::Refused);
        assert_eq!(judged(&build).judgement(), Judgement::NotExercised);
        let mut build = healed();
        write(&mut build, 150 * S, ok_key("k", "k", "active"));
        let verdict = judged(&build);
        assert_eq!(verdict.judgement(), Judgement::NotExercised);
        assert_eq!(verdict.measures["stretches_without_writes_count"], 1.0);
    }

    #[test]
    fn after_an_activation_writes_are_accepted_soon() {
        let rebuilt = |accepted: Micros| {
            let mut build = Build::new();
            let node = || "db-b".to_owned();
            build.event(10 * S, What::DiskLost { node: node() });
            build.event(20 * S, What::Rebuild { node: node(), step: Rebuild::Begun });
            build.event(30 * S, What::Rebuild { node: node(), step: Rebuild::Activated });
            write(&mut build, 31 * S + 500 * MS, Outcome::Refused);
            write(&mut build, accepted, ok_key("k", "k", "active"));
            build
        };
        let verdict = judged(&rebuilt(31 * S + 900 * MS));
        assert_held(&verdict);
        assert_eq!(verdict.measures["activation_ms_max"], 1910.0);
        let mut build = rebuilt(34 * S);
        write(&mut build, 32 * S + 100 * MS, Outcome::Refused);
        assert_eq!(kinds(&judged(&build)), ["late-after-activation"]);
        // With something else wrong meanwhile there is no such bound.
        build.down("db-a", 31 * S).up("db-a", 32 * S);
        assert_held(&judged(&build));
    }

    #[test]
    fn the_start_of_the_run_is_no_recovery() {
        let mut build = Build::new();
        build.history.faults_from = 5 * S;
        build.up("db-a", 2 * S).up("db-b", 2 * S);
        write(&mut build, 4 * S, Outcome::Refused);
        assert_eq!(judged(&build).judgement(), Judgement::NotExercised);
    }
}
