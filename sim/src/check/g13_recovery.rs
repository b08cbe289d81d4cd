//! G13: once everything is repaired, key writes are accepted again within the recovery bound, by themselves,
//! and go on being accepted. Judged for every stretch without any fault that follows a fault which hurt
//! writes, the one after the final heal among them. Measures the time from repair to the first acknowledged
//! key write. The same after each activation of an epoch, with a bound of its own: the operator's command ends there, and
//! nobody is to wait for anything else.
//!
//! Does not check: stretches shorter than the bound, stretches in which no write was accepted in time
//! but nobody tried in the last second before the bound or waited at it either, or only so late that a prompt success came after it
//! (not exercised), runs that leave something broken (no such stretch), recovery of reads (G3).

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

/// Judges one activation, undisturbed until `until`; the time from it to the first acknowledged key write, if it was judged.
fn activation(input: &CheckInput<'_>, verdict: &mut Verdict, at: Micros, until: Micros) -> Option<Micros> {
    let bound = at + input.bounds.activation_us;
    if until < bound {
        return None;
    }
    // One that waits since before the activation may be the first to be acknowledged.
    let writes = input.history.ops.iter().filter(|op| op.call.is_key_write());
    let writes: Vec<&Op> =
        writes.filter(|op| op.invoked < until && end_of(op, input.history) >= at).collect();
    if let Some(late) = writes.iter().find(|op| op.invoked >= bound && failed(op, until, input)) {
        let text = format!(
            "op {}, invoked {} ms after an epoch had become active, was not accepted",
            late.id,
            (late.invoked - at) / 1000
        );
        verdict.broken("late-after-activation", &[late.id], text);
    }
    let claim = Claim {
        from: at,
        bound,
        since: "an epoch became active",
        write: "key write",
        kind: "late-after-activation",
        unasked: "activations_without_writes",
    };
    claim.judge(input, verdict, &writes)
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
    let claim = Claim {
        from,
        bound,
        since: "everything was repaired",
        write: "write",
        kind: "not-accepting",
        unasked: "stretches_without_writes",
    };
    claim.judge(input, verdict, judged)
}

/// One of the writes was acknowledged in time.
struct Claim {
    /// When it became possible, and when one had to be.
    from: Micros,
    bound: Micros,
    /// What made it possible, and what was to be accepted: for people.
    since: &'static str,
    write: &'static str,
    /// How a violation is called.
    kind: &'static str,
    /// Where it is counted that nobody asked.
    unasked: &'static str,
}

impl Claim {
    /// The time to the first acknowledged write, if it was judged and there was one.
    fn judge(&self, input: &CheckInput<'_>, verdict: &mut Verdict, writes: &[&Op]) -> Option<Micros> {
        let Claim { from, bound, since, write, .. } = *self;
        let (done, tried) = match first(input, writes, from, bound) {
            First::NotAsked => {
                verdict.count(self.unasked, 1);
                return None;
            }
            First::Until(done) => (Some(done), None),
            First::Late { done, tried } => (done, Some(tried)),
        };
        verdict.exercised += 1;
        if let Some(tried) = tried {
            let took = done.map_or("none at all".to_owned(), |done| {
                format!("the first only after {} ms", (done - from) / 1000)
            });
            let text = format!(
                "{since} at {} ms, and no {write} was acknowledged within {} ms: {took}",
                from / 1000,
                (bound - from) / 1000
            );
            verdict.broken(self.kind, &tried, text);
        }
        done.map(|done| done - from)
    }
}

/// What those who wrote saw of a recovery.
enum First {
    /// A write was acknowledged then, within the bound.
    Until(Micros),
    /// None was within the bound, though these were tried; one was then, or none at all.
    Late { done: Option<Micros>, tried: Vec<u64> },
    /// Nobody asked when it would have shown.
    NotAsked,
}

/// When the first of the writes was acknowledged: after `from`, which is when it became possible, and by `bound`.
fn first(input: &CheckInput<'_>, writes: &[&Op], from: Micros, bound: Micros) -> First {
    let accepted = writes.iter().filter(|op| matches!(op.outcome, Outcome::Ok(_)));
    let done = accepted.map(|op| end_of(op, input.history)).min();
    if let Some(done) = done.filter(|done| *done <= bound) {
        return First::Until(done);
    }
    // Without an attempt shortly before the bound, or one that still waits then, a late first success proves nothing.
    let last_moment = bound.saturating_sub(input.bounds.refusal_us);
    let in_time = |op: &Op| op.invoked >= last_moment || end_of(op, input.history) > bound;
    // Nor does one that was answered as fast as ever, and only began late: with success, or that such a key is there, or is not.
    let at_once = |op: &Op| {
        let answered = matches!(&op.outcome, Outcome::Ok(_))
            || matches!(&op.outcome, Outcome::Rejected { status, .. } if (400..500).contains(status));
        answered && end_of(op, input.history) - op.invoked <= 1000 * input.limits.stall_ms
    };
    let tried =
        writes.iter().filter(|op| (from..=bound).contains(&op.invoked) && in_time(op) && !at_once(op));
    let tried: Vec<u64> = tried.map(|op| op.id).take(5).collect();
    if tried.is_empty() { First::NotAsked } else { First::Late { done, tried } }
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

    /// Active after 30 s.
    fn rebuilt() -> Build {
        let mut build = Build::new();
        let node = || "db-b".to_owned();
        build.event(10 * S, What::DiskLost { node: node() });
        build.event(20 * S, What::Rebuild { node: node(), step: Rebuild::Begun });
        build.event(30 * S, What::Rebuild { node: node(), step: Rebuild::Activating });
        build.event(30 * S, What::Rebuild { node: node(), step: Rebuild::Activated });
        build
    }

    #[test]
    fn after_an_activation_writes_are_accepted_soon() {
        let refused_then_accepted = |at: Micros| {
            let mut build = rebuilt();
            write(&mut build, 31 * S + 500 * MS, Outcome::Refused);
            write(&mut build, at, ok_key("k", "k", "active"));
            build
        };
        let verdict = judged(&refused_then_accepted(31 * S + 900 * MS));
        assert_held(&verdict);
        assert_eq!(verdict.measures["activation_ms_max"], 1910.0);
        let mut late = refused_then_accepted(32 * S + 300 * MS);
        assert_eq!(kinds(&judged(&late)), ["late-after-activation"]);
        // With something else wrong meanwhile there is no such bound.
        late.down("db-a", 31 * S).up("db-a", 32 * S);
        assert_held(&judged(&late));
        let mut again = refused_then_accepted(31 * S + 900 * MS);
        write(&mut again, 32 * S + 100 * MS, Outcome::Refused);
        assert_eq!(kinds(&judged(&again)), ["late-after-activation"]);
    }

    #[test]
    fn after_an_activation_those_who_ask_and_wait_count() {
        let one = |invoked: Micros, answered: Micros| {
            let mut build = rebuilt();
            build.op(create("k", "k"), invoked, answered, ok_key("k", "k", "active"));
            judged(&build)
        };
        let waited_too_long = one(30 * S + 100 * MS, 32 * S + 300 * MS);
        assert_eq!(kinds(&waited_too_long), ["late-after-activation"]);
        let asked_late = one(31 * S + 999 * MS, 32 * S + 4 * MS);
        assert_held(&asked_late);
        assert!(!asked_late.measures.contains_key("activation_ms_max"), "nobody was refused");
        assert_eq!(asked_late.measures["activations_without_writes_count"], 1.0);
        let waited_since_before = one(25 * S, 30 * S + 50 * MS);
        assert_eq!(waited_since_before.measures["activation_ms_max"], 50.0);
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
