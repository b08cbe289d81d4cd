//! G1: whatever was acknowledged is read from each database alone, the same from both, and what was made with
//! the head alone opens with the tail alone and the other way round. Of secrets: every version that was acknowledged is there with the
//! data that was sent.
//!
//! Does not check: disks destroyed during the run (the end phases turn a database off, which shows that the
//! other has everything), keys never read in both end phases (counted), keys whose stored bytes were swapped
//! (only that nothing wrong is answered, not that something is).

use super::{CheckInput, doubt::Doubts, end_of, linear, subject, swapped::Swaps, timeline::Timeline};
use crate::{
    history::{Answer, Ask, Call, KeyView, Op, Outcome, Phase},
    report::Verdict,
};
use linear::{
    Analysis, RecordHistory,
    search::{Decision, Machine},
};
use std::collections::{BTreeMap, BTreeSet};

const ENDS: [Phase; 2] = [Phase::HeadAlone, Phase::TailAlone];

/// What one end phase said about one key or secret.
#[derive(Default)]
struct Reads<'a> {
    asked: Vec<&'a Op>,
    answered: bool,
    view: Option<(u64, &'a KeyView)>,
}

/// Judges.
pub fn check(input: &CheckInput<'_>, timeline: &Timeline, analysis: &Analysis) -> Verdict {
    let mut verdict = Verdict::new("G1", "g1_two_zone_durability");
    let doubts = Doubts::new(input, timeline);
    let swaps = Swaps::new(input.history);
    let reads = end_reads(input);
    let acknowledged: BTreeSet<&str> = input
        .history
        .ops
        .iter()
        .filter(|op| op.call.is_write() && matches!(op.outcome, Outcome::Ok(_)))
        .filter_map(subject)
        .collect();
    for record in acknowledged {
        let nothing = [Reads::default(), Reads::default()];
        let [head, tail] = reads.get(record).unwrap_or(&nothing);
        let secret = analysis.secrets.get(record);
        let (name, of) = match secret {
            // The path of a secret is one.
            Some(secret) => {
                let first = secret.items.first().map_or(0, |(item, _)| item.op);
                (format!("the secret of op {first}"), "secrets")
            }
            None => (format!("key {record}"), "keys"),
        };
        if head.answered && tail.answered {
            verdict.exercised += 1;
            if secret.is_some() {
                verdict.count("secrets_read_in_both", 1);
            }
        } else {
            verdict.count(&format!("{of}_not_read_in_both"), 1);
        }
        if let (Some((one, head)), Some((other, tail))) = (&head.view, &tail.view)
            && head != tail
        {
            let text = format!("{name}: ops {one} and {other} show different attributes of it");
            verdict.broken("views-differ", &[*one, *other], text);
        }
        for reads in [head, tail] {
            unreadable(input, &mut verdict, (&doubts, &swaps), (record, &name), reads);
        }
        match secret {
            Some(secret) => lost(&mut verdict, secret, &name),
            None => analysis.keys.get(record).into_iter().for_each(|key| lost(&mut verdict, key, &name)),
        }
    }
    for op in input.history.ops.iter().filter(|op| ENDS.contains(&op.phase)) {
        material(input, &mut verdict, &reads, op);
    }
    verdict
}

fn end_reads<'a>(input: &CheckInput<'a>) -> BTreeMap<&'a str, [Reads<'a>; 2]> {
    let mut reads: BTreeMap<&str, [Reads<'a>; 2]> = BTreeMap::new();
    for op in &input.history.ops {
        let Some(end) = ENDS.iter().position(|end| *end == op.phase) else { continue };
        let record = match &op.call {
            Call::Get { key } => key,
            Call::Secret { path, ask: Ask::Describe, .. } => path,
            _ => continue,
        };
        let reads = &mut reads.entry(record).or_default()[end];
        reads.asked.push(op);
        match &op.outcome {
            Outcome::Ok(Answer::Key(view)) => {
                reads.answered = true;
                reads.view = Some((op.id, view));
            }
            Outcome::Ok(Answer::Secret(_)) => reads.answered = true,
            Outcome::Rejected { status, .. } if (400..500).contains(status) && *status != 429 => {
                reads.answered = true;
            }
            _ => {}
        }
    }
    reads
}

fn unreadable(
    input: &CheckInput<'_>,
    verdict: &mut Verdict,
    (doubts, swaps): (&Doubts, &Swaps),
    (record, name): (&str, &str),
    reads: &Reads<'_>,
) {
    let (Some(first), Some(last)) = (reads.asked.first(), reads.asked.last()) else { return };
    if reads.answered {
        return;
    }
    let until = end_of(last, input.history);
    if doubts.touches(Some(record), first.invoked, until) {
        verdict.count("keys_in_doubt", 1);
    } else if swaps.touched(record, until) {
        verdict.count("keys_damaged", 1);
    } else {
        let ops: Vec<u64> = reads.asked.iter().map(|op| op.id).collect();
        let text = format!("{name}: no read of it was answered in phase {:?} (ops {ops:?})", last.phase);
        verdict.broken("unreadable", &ops, text);
    }
}

/// The load alone has an order, but none that ends with what one database alone shows: it lost something, or
/// has something that never was.
fn lost<S: Machine>(verdict: &mut Verdict, history: &RecordHistory<S>, name: &str) {
    let load = |phase| !ENDS.contains(&phase);
    if !matches!(history.decision, Decision::Violated(_))
        || !matches!(history.holds_for(load), Decision::Linearizable)
    {
        return;
    }
    for (end, kind) in [(Phase::HeadAlone, "not-at-the-head"), (Phase::TailAlone, "not-at-the-tail")] {
        if let Decision::Violated(stuck) = history.holds_for(|phase| load(phase) || phase == end) {
            let text = format!(
                "{name}: op {} in phase {end:?} contradicts what was acknowledged; after ops {:?} it was {}",
                stuck.op,
                stuck.after,
                stuck.state.word()
            );
            let mut ops = stuck.after.clone();
            ops.push(stuck.op);
            verdict.broken(kind, &ops, text);
        }
    }
}

fn material(input: &CheckInput<'_>, verdict: &mut Verdict, reads: &BTreeMap<&str, [Reads<'_>; 2]>, op: &Op) {
    let (Call::Decrypt { key, from, .. }
    | Call::DataKeyDecrypt { key, from }
    | Call::Verify { key, from, .. }) = &op.call
    else {
        return;
    };
    if !linear::decrypt_is_proper(input.history, op) {
        return;
    }
    match &op.outcome {
        Outcome::Ok(_) => {
            verdict.count("opened", 1);
            let source = usize::try_from(*from).ok().and_then(|from| input.history.ops.get(from));
            if source.is_some_and(|source| source.phase != op.phase) {
                verdict.count("opened_from_another_phase", 1);
            }
        }
        Outcome::Rejected { status, .. }
            if (400..500).contains(status) && !matches!(status, 401 | 403 | 408 | 429) =>
        {
            let end = usize::from(op.phase == Phase::TailAlone);
            let view = reads.get(key.as_str()).and_then(|reads| reads[end].view);
            let opens = |state: &str| matches!(state, "active" | "deactivated" | "compromised");
            if view.is_some_and(|(_, view)| opens(&view.state)) {
                let text = format!(
                    "key {key}: op {} cannot open what op {from} made ({status}), in phase {:?}",
                    op.id, op.phase
                );
                verdict.broken("material-lost", &[*from, op.id], text);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{
        Build, MS, S, assert_held, decrypt, encrypt, get, kinds, ok_key, rejected, rename, view,
    };

    fn judged(build: &Build) -> Verdict {
        let input = build.input();
        check(&input, &Timeline::new(&input), &linear::analyse(&build.history, &build.domains, 10_000))
    }

    fn end_read(build: &mut Build, phase: Phase, at: u64, outcome: Outcome) -> u64 {
        build.op_in(phase, get("k"), at, at + MS, outcome)
    }

    fn with_ends(head: Outcome, tail: Outcome) -> Build {
        let mut build = Build::new();
        build.created("k", "n", S);
        build.op(rename("k", "m"), 2 * S, 3 * S, Outcome::Ok(Answer::Done));
        end_read(&mut build, Phase::HeadAlone, 150 * S, head);
        end_read(&mut build, Phase::TailAlone, 160 * S, tail);
        build
    }

    #[test]
    fn the_same_from_both_holds() {
        assert_held(&judged(&with_ends(ok_key("k", "m", "active"), ok_key("k", "m", "active"))));
    }

    #[test]
    fn lost_at_either_database() {
        let verdict = judged(&with_ends(ok_key("k", "m", "active"), rejected(404)));
        assert_eq!(kinds(&verdict), ["not-at-the-tail"]);
        assert_eq!(
            kinds(&judged(&with_ends(rejected(404), ok_key("k", "m", "active")))),
            ["not-at-the-head"]
        );
    }

    #[test]
    fn an_acknowledged_rename_lost_at_one_differs_too() {
        let verdict = judged(&with_ends(ok_key("k", "m", "active"), ok_key("k", "n", "active")));
        assert_eq!(kinds(&verdict), ["views-differ", "not-at-the-tail"]);
    }

    #[test]
    fn other_attributes_differ() {
        let mut other = view("k", "m", "active");
        other.rest = "{}".into();
        let verdict = judged(&with_ends(ok_key("k", "m", "active"), Outcome::Ok(Answer::Key(other))));
        assert_eq!(kinds(&verdict), ["views-differ"]);
    }

    #[test]
    fn no_answer_is_a_loss_unless_in_doubt_and_never_a_pass() {
        let build = with_ends(Outcome::Unknown, ok_key("k", "m", "active"));
        let verdict = judged(&build);
        assert_eq!((kinds(&verdict), verdict.exercised), (vec!["unreadable"], 0));
        let mut build = with_ends(Outcome::Unknown, ok_key("k", "m", "active"));
        build.op(rename("k", "x"), 99 * S, 100 * S, Outcome::Unknown);
        build.down("db-b", 99 * S);
        let verdict = judged(&build);
        assert_eq!((kinds(&verdict), verdict.exercised), (vec![], 0));
        assert_eq!(verdict.measures["keys_in_doubt_count"], 1.0);
    }

    #[test]
    fn an_unknown_write_may_be_there_or_not() {
        let mut build = Build::new();
        build.created("k", "n", S);
        build.op(rename("k", "m"), 2 * S, 3 * S, Outcome::Unknown);
        for (phase, at) in [(Phase::HeadAlone, 150 * S), (Phase::TailAlone, 160 * S)] {
            end_read(&mut build, phase, at, ok_key("k", "m", "active"));
        }
        assert_held(&judged(&build));
    }

    #[test]
    fn material_must_open_in_the_other_zone() {
        let mut build = with_ends(ok_key("k", "m", "active"), ok_key("k", "m", "active"));
        let ciphertext = Outcome::Ok(Answer::Ciphertext("jwe".into()));
        let from = build.op_in(Phase::HeadAlone, encrypt("k"), 155 * S, 156 * S, ciphertext);
        let plaintext = Outcome::Ok(Answer::Plaintext("clear".into()));
        build.op_in(Phase::TailAlone, decrypt("k", from), 165 * S, 166 * S, plaintext);
        let verdict = judged(&build);
        assert_held(&verdict);
        assert_eq!(verdict.measures["opened_from_another_phase_count"], 1.0);
        build.op_in(Phase::TailAlone, decrypt("k", from), 167 * S, 168 * S, rejected(400));
        assert!(kinds(&judged(&build)).contains(&"material-lost"));
    }
}
