//! A whole run of a correct, toy service through every checker: nothing is found. Then one answer is altered
//! at a time, and the checker meant for it, and its kind, must show.

use super::{
    check_all,
    testing::{Build, MS, S, rejected, view},
};
use crate::{
    history::{Answer, Call, Micros, Outcome, Phase},
    report::{Judgement, Verdict, exit_code},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

const LOST: (Micros, Micros) = (20 * S, 50 * S);
const END: Micros = 90 * S;

/// One key of the toy service.
#[derive(Clone)]
struct Toy {
    name: String,
    state: &'static str,
    sealed: Vec<u64>,
}

struct Run {
    build: Build,
    dice: ChaCha8Rng,
    keys: BTreeMap<String, Toy>,
    names: u64,
}

fn done() -> Outcome {
    Outcome::Ok(Answer::Done)
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut build = Build::new();
        build.history.faults_from = 5 * S;
        build.history.healed_at = LOST.1;
        build.history.end = 200 * S;
        build.searched.needles = 10;
        build.searched.bytes.insert("disk".into(), 1000);
        for node in ["db-b", "host-b1", "host-b2"] {
            build.down(node, LOST.0).up(node, LOST.1);
        }
        build.down("db-b", 100 * S).up("db-b", 110 * S).down("db-a", 120 * S).up("db-a", 130 * S);
        Run { build, dice: ChaCha8Rng::seed_from_u64(seed), keys: BTreeMap::new(), names: 0 }
    }

    fn key(&mut self) -> String {
        let number = if self.dice.random_bool(0.4) {
            self.dice.random_range(0..8)
        } else {
            self.dice.random_range(8..200)
        };
        format!("key-{number:03}")
    }

    fn call(&mut self) -> Call {
        let key = self.key();
        self.names += 1;
        let name = format!("name-{}", self.names);
        let sealed = self.keys.get(&key).map(|toy| toy.sealed.clone()).unwrap_or_default();
        match self.dice.random_range(0..20) {
            0..3 => Call::Create { key, name },
            3..7 => Call::Get { key },
            7..9 => Call::Rename { key, name },
            9 => Call::Activate { key },
            10 => Call::Deactivate { key, reason: "superseded".into() },
            11 if self.names.is_multiple_of(7) => Call::Delete { key },
            12..16 => Call::Encrypt { key, plaintext: name, context: "c".into() },
            16..19 if !sealed.is_empty() => {
                let from = sealed[self.dice.random_range(0..sealed.len())];
                Call::Decrypt { key, from, context: "c".into() }
            }
            19 => Call::List { state: "all".into(), token: None, max: 20 },
            _ => Call::Get { key },
        }
    }

    /// The correct answer; applies writes.
    fn answer(&mut self, call: &Call, id: u64) -> Outcome {
        if let Call::List { max, .. } = call {
            let max = *max as usize;
            let shown: Vec<_> =
                self.keys.iter().take(max).map(|(key, toy)| view(key, &toy.name, toy.state)).collect();
            let truncated = self.keys.len() > max;
            let token = shown.last().map(|view| view.id.clone()).unwrap_or_default();
            return Outcome::Ok(Answer::Page { keys: shown, token, truncated });
        }
        let Some(key) = call.key() else { return done() };
        if let Call::Create { name, .. } = call {
            if self.keys.contains_key(key) {
                return rejected(409);
            }
            self.keys.insert(key.into(), Toy { name: name.clone(), state: "active", sealed: vec![] });
            return Outcome::Ok(Answer::Key(view(key, name, "active")));
        }
        let Some(toy) = self.keys.get_mut(key) else { return rejected(404) };
        let dead = toy.state == "destroyed";
        match call {
            Call::Get { .. } => Outcome::Ok(Answer::Key(view(key, &toy.name, toy.state))),
            _ if dead => rejected(409),
            Call::Rename { name, .. } => {
                toy.name = name.clone();
                Outcome::Ok(Answer::Key(view(key, name, toy.state)))
            }
            Call::Activate { .. } => {
                toy.state = "active";
                done()
            }
            Call::Deactivate { .. } => {
                toy.state = "deactivated";
                done()
            }
            Call::Delete { .. } | Call::Encrypt { .. }
                if (toy.state == "active") == matches!(call, Call::Delete { .. }) =>
            {
                rejected(409)
            }
            Call::Delete { .. } => {
                toy.state = "destroyed";
                done()
            }
            Call::Encrypt { .. } => {
                toy.sealed.push(id);
                Outcome::Ok(Answer::Ciphertext("jwe".into()))
            }
            Call::Decrypt { from, .. } => {
                let Call::Encrypt { plaintext, .. } = &self.build.history.ops[*from as usize].call else {
                    return rejected(400);
                };
                Outcome::Ok(Answer::Plaintext(plaintext.clone()))
            }
            _ => done(),
        }
    }

    fn load(&mut self) {
        let mut at = S;
        while at < END {
            let call = self.call();
            let (before, after) = (self.dice.random_range(0..40) * MS, self.dice.random_range(1..40) * MS);
            let id = self.build.history.ops.len() as u64;
            let broken = (LOST.0..LOST.1 + S).contains(&(at - before)) && call.is_write();
            let outcome = match () {
                () if broken && at - before < LOST.0 + 400 * MS => {
                    // Unknown: half of them happen all the same.
                    if self.dice.random_bool(0.5) {
                        self.answer(&call, id);
                    }
                    Outcome::SaidUnknown
                }
                () if broken => Outcome::Refused,
                () => self.answer(&call, id),
            };
            self.build.op(call, at - before, at + after, outcome);
            at += 20 * MS;
        }
        let invoked_order = |op: &crate::history::Op| op.id;
        assert!(self.build.history.ops.is_sorted_by_key(invoked_order));
    }

    fn end_checks(&mut self) {
        let keys: Vec<(String, Toy)> = self.keys.clone().into_iter().collect();
        for (phase, from) in [(Phase::HeadAlone, 101 * S), (Phase::TailAlone, 121 * S)] {
            for (index, (key, toy)) in keys.iter().enumerate() {
                let at = from + index as u64 * 20 * MS;
                let call = Call::Get { key: key.clone() };
                let outcome = self.answer(&call, 0);
                self.build.op_in(phase, call, at, at + 5 * MS, outcome);
                if let (Some(from), true) = (toy.sealed.last(), toy.state != "destroyed") {
                    let call = Call::Decrypt { key: key.clone(), from: *from, context: "c".into() };
                    let outcome = self.answer(&call, 0);
                    self.build.op_in(phase, call, at + 6 * MS, at + 9 * MS, outcome);
                }
            }
        }
    }

    fn played(seed: u64) -> Build {
        let mut run = Run::new(seed);
        run.load();
        run.end_checks();
        run.build
    }
}

fn find<'a>(verdicts: &'a [Verdict], promise: &str) -> &'a Verdict {
    verdicts.iter().find(|verdict| verdict.promise == promise).expect("every promise has a verdict")
}

#[test]
fn a_correct_service_is_found_correct() {
    for seed in 0..6 {
        let build = Run::played(seed);
        assert!(build.history.ops.len() > 4_000);
        let verdicts = check_all(&build.input());
        assert_eq!(exit_code(&verdicts), 0, "seed {seed}: {verdicts:#?}");
        for promise in ["G1", "G2", "G3", "G8", "G11", "G13", "health"] {
            assert_eq!(find(&verdicts, promise).judgement(), Judgement::Held, "{promise}");
        }
        assert_eq!(find(&verdicts, "G10").judgement(), Judgement::NotExercised);
    }
}

/// Alters the last operation for which `pick` holds.
fn altered(
    pick: impl Fn(&crate::history::Op) -> bool,
    alter: impl FnOnce(&mut crate::history::Op),
) -> Vec<Verdict> {
    let mut build = Run::played(1);
    let op = build.history.ops.iter_mut().rev().find(|op| pick(op)).expect("such an operation");
    alter(op);
    check_all(&build.input())
}

fn has(verdicts: &[Verdict], promise: &str, kind: &str) -> bool {
    find(verdicts, promise).violations.iter().any(|violation| violation.kind == kind)
}

#[test]
fn each_alteration_is_found_by_the_checker_meant_for_it() {
    let shown = |op: &crate::history::Op| matches!(op.outcome, Outcome::Ok(Answer::Key(_)));
    let tail = altered(|op| op.phase == Phase::TailAlone && shown(op), |op| op.outcome = rejected(404));
    assert!(has(&tail, "G1", "not-at-the-tail") && has(&tail, "G11", "not-linearizable"));

    let refused = |op: &crate::history::Op| op.outcome == Outcome::Refused && op.invoked < 40 * S;
    let late = altered(refused, |op| op.done = Some(op.invoked + 2 * S));
    assert!(has(&late, "G2", "refused-late"));
    let acknowledged = altered(refused, |op| op.outcome = done());
    assert!(has(&acknowledged, "G2", "acknowledged"));

    let read = |op: &crate::history::Op| !op.call.is_write() && (30 * S..40 * S).contains(&op.invoked);
    let unavailable =
        altered(|op| read(op) && matches!(op.call, Call::Decrypt { .. }), |op| op.outcome = Outcome::Unknown);
    assert!(has(&unavailable, "G3", "failed"));

    let opened = |op: &crate::history::Op| matches!(op.outcome, Outcome::Ok(Answer::Plaintext(_)));
    let wrong = altered(opened, |op| op.outcome = Outcome::Ok(Answer::Plaintext("x".into())));
    assert!(has(&wrong, "G10", "wrong-plaintext"));

    let renamed = |op: &crate::history::Op| {
        op.phase == Phase::Load && matches!(op.call, Call::Get { .. }) && shown(op) && op.invoked > 60 * S
    };
    let stale = altered(renamed, |op| {
        if let Outcome::Ok(Answer::Key(view)) = &mut op.outcome {
            view.name = "never".into();
        }
    });
    assert!(has(&stale, "G11", "not-linearizable"));

    let settled =
        |op: &crate::history::Op| op.call.is_write() && op.invoked > 60 * S && op.phase == Phase::Load;
    let refusing = altered(settled, |op| op.outcome = Outcome::Refused);
    assert!(has(&refusing, "G13", "refused-after-recovery") && has(&refusing, "G2", "refused-without-loss"));
}
