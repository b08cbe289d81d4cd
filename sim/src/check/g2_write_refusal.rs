//! G2: a write invoked after the chain broke is never acknowledged while it is broken; invoked later than the
//! detection bound after the last loss it is refused, within the refusal bound; nothing of a refused request
//! ever appears; losing hosts alone refuses nothing; without any fault nothing is refused at all.
//!
//! Does not check: definite rejections (404, 409) of writes while the chain is broken (their truth is G11's);
//! writes while a slow link or disk is in force, or shortly after a host was paused; that a refused change of
//! a state is not applied (G11 never applies a refused write).

use super::{
    CheckInput, Topology,
    already::Already,
    end_of,
    linear::attributes::views,
    region_loss::RegionLoss,
    spans::Spans,
    timeline::{Timeline, last_before},
};
use crate::{
    history::{Ask, Call, Micros, Op, Outcome},
    report::Verdict,
};
use std::collections::BTreeMap;

/// Judges.
pub fn check(input: &CheckInput<'_>, timeline: &Timeline) -> Verdict {
    let mut verdict = Verdict::new("G2", "g2_write_refusal");
    let mut judge = Judge::new(input, timeline);
    for op in input.history.ops.iter().filter(|op| op.call.is_write()) {
        judge.write(&mut verdict, op);
    }
    verdict.spans("refusal", judge.refusals);
    appeared(input, &mut verdict);
    if input.calm {
        calm(input, &mut verdict);
    }
    verdict
}

struct Judge<'a> {
    input: &'a CheckInput<'a>,
    timeline: &'a Timeline,
    /// Moments at which a refusal has a reason, recovery included.
    excused: Spans,
    /// Moments at which a host that lives may turn clients away.
    turned_away: Spans,
    /// Moments at which at least one host is lost.
    hosts_lost: Spans,
    /// Moments at which anything was wrong, recovery included.
    disturbed: Spans,
    already: Already<'a>,
    refusals: Vec<Micros>,
}

impl<'a> Judge<'a> {
    fn new(input: &'a CheckInput<'a>, timeline: &'a Timeline) -> Judge<'a> {
        let topology: &Topology = input.topology;
        let hosts: Vec<&str> = topology.of_kind(super::NodeKind::Host).collect();
        let excused = Spans::union([
            timeline.chain_broken(),
            &timeline.host_database_cuts(topology),
            &timeline.databases_leaving(topology),
            timeline.other_faults(),
            &timeline.made_anew(),
            &timeline.any_paused(hosts.iter().copied()),
        ]);
        let lost: Vec<Spans> = hosts.iter().map(|host| timeline.unavailable(host)).collect();
        Judge {
            input,
            timeline,
            excused: excused.extended(input.bounds.recovery_us),
            turned_away: timeline.turned_away(input.bounds.redirect_us),
            hosts_lost: Spans::union(&lost),
            disturbed: timeline.disturbed().extended(input.bounds.recovery_us),
            already: Already::new(input.history, RegionLoss::of(input)),
            refusals: Vec::new(),
        }
    }

    fn write(&mut self, verdict: &mut Verdict, op: &Op) {
        let end = end_of(op, self.input.history);
        if let Some((broke, _)) = self.timeline.chain_broken().at(op.invoked)
            && broke < op.invoked
            && self.timeline.chain_broken().covers(op.invoked, end)
        {
            self.while_broken(verdict, op, broke, end);
        } else if self.turned_away.touches(op.invoked, end) {
            verdict.count("turned_away", 1);
        } else if !self.excused.touches(op.invoked, end) {
            self.while_whole(verdict, op, end);
        }
    }

    fn while_broken(&mut self, verdict: &mut Verdict, op: &Op, broke: Micros, end: Micros) {
        if let Outcome::Ok(_) = op.outcome {
            // Activating what is active, or deactivating what is deactivated, changes nothing: it is answered from
            // what is stored, by either database. The same holds for versions of secrets, and for a name that is the key's already.
            let setting = matches!(
                op.call,
                Call::Activate { .. }
                    | Call::Deactivate { .. }
                    | Call::Rename { .. }
                    | Call::Secret { ask: Ask::Set { .. }, .. }
            );
            if setting && self.already.possibly(op, end) {
                return verdict.count("state_already_so", 1);
            }
            verdict.exercised += 1;
            let text = format!(
                "op {} was acknowledged: invoked {} ms after the chain broke, answered before it was whole",
                op.id,
                (op.invoked - broke) / 1000
            );
            return verdict.broken("acknowledged", &[op.id], text);
        }
        let detection = self.input.limits.detection_ms * 1000;
        let lost = last_before(self.timeline.write_loss_starts(), op.invoked).unwrap_or(broke).max(broke);
        if op.invoked <= lost.saturating_add(detection) {
            return verdict.count("before_detection", 1);
        }
        // A database or link lost while the write was on its way begins a new detection span.
        if self.timeline.write_loss_starts().iter().any(|at| op.invoked < *at && *at <= end) {
            return verdict.count("loss_in_flight", 1);
        }
        if self.timeline.other_faults().touches(op.invoked, end) {
            return verdict.count("not_judged_slow", 1);
        }
        self.after_detection(verdict, op, end);
    }

    fn after_detection(&mut self, verdict: &mut Verdict, op: &Op, end: Micros) {
        let took = end - op.invoked;
        let late = took > self.input.bounds.refusal_us;
        match &op.outcome {
            Outcome::Refused => {
                verdict.exercised += 1;
                self.refusals.push(took);
                if late && self.path_lost(op.invoked, end) {
                    verdict.count("late_in_redirect_window", 1);
                } else if late {
                    let text = format!("op {} was refused only after {} ms", op.id, took / 1000);
                    verdict.broken("refused-late", &[op.id], text);
                }
            }
            Outcome::SaidUnknown => {
                verdict.exercised += 1;
                let text = format!("op {}, invoked after detection, was answered 'outcome unknown'", op.id);
                verdict.broken("unknown-after-detection", &[op.id], text);
            }
            Outcome::Unknown => {
                let cut_short = op.done.is_none() && !late;
                if cut_short || self.path_lost(op.invoked, end) {
                    verdict.count("no_answer_in_redirect_window", 1);
                } else {
                    verdict.exercised += 1;
                    let text = format!(
                        "op {}, invoked after detection, had no answer for {} ms",
                        op.id,
                        took / 1000
                    );
                    verdict.broken("no-answer", &[op.id], text);
                }
            }
            Outcome::Rejected { status, .. } if *status >= 500 => {
                verdict.exercised += 1;
                let text = format!("op {} was answered {status} instead of being refused", op.id);
                verdict.broken("not-refused", &[op.id], text);
            }
            Outcome::Rejected { .. } | Outcome::Ok(_) => verdict.count("rejected", 1),
        }
    }

    /// Whether the way from the client to a host was lost during the operation or within the redirect window
    /// before it, or no host was within reach.
    fn path_lost(&self, from: Micros, to: Micros) -> bool {
        let begins = last_before(self.timeline.path_loss_starts(), to);
        let window = begins.is_some_and(|at| at.saturating_add(self.input.bounds.redirect_us) >= from);
        window || !self.timeline.living_host().covers(from, to)
    }

    fn while_whole(&mut self, verdict: &mut Verdict, op: &Op, end: Micros) {
        let hosts_lost = self.hosts_lost.touches(op.invoked, end);
        if hosts_lost {
            verdict.exercised += 1;
            verdict.count("writes_with_hosts_lost", 1);
        }
        let word = match op.outcome {
            Outcome::Refused => "refused",
            Outcome::SaidUnknown => "answered 'outcome unknown'",
            Outcome::Unknown if op.done.is_some() && !self.disturbed.touches(op.invoked, end) => {
                "not answered"
            }
            _ => return,
        };
        let while_ = if hosts_lost { "while only hosts were lost" } else { "while nothing was lost" };
        let text = format!("op {} was {word} {while_}", op.id);
        verdict.broken("refused-without-loss", &[op.id], text);
    }
}

/// Nothing of a refused request ever appears.
fn appeared(input: &CheckInput<'_>, verdict: &mut Verdict) {
    let mut ids: BTreeMap<&str, u64> = BTreeMap::new();
    let mut names: BTreeMap<&str, u64> = BTreeMap::new();
    for op in &input.history.ops {
        for view in views(&op.outcome) {
            ids.entry(&view.id).or_insert(op.id);
            names.entry(&view.name).or_insert(op.id);
        }
    }
    // How many requests asked for a name, and how many creates of an id were not refused.
    let mut asked: BTreeMap<&str, u64> = BTreeMap::new();
    let mut possible: BTreeMap<&str, u64> = BTreeMap::new();
    for op in &input.history.ops {
        if let Some(name) = name_asked(&op.call) {
            *asked.entry(name).or_default() += 1;
        }
        if let Call::Create { key, .. } = &op.call
            && op.outcome != Outcome::Refused
        {
            *possible.entry(key).or_default() += 1;
        }
    }
    for op in input.history.ops.iter().filter(|op| op.outcome == Outcome::Refused) {
        let by_id = match &op.call {
            Call::Create { key, .. } if !possible.contains_key(key.as_str()) => ids.get(key.as_str()),
            _ => None,
        };
        let by_name = name_asked(&op.call).filter(|name| asked.get(name) == Some(&1));
        let seen = by_id.or_else(|| by_name.and_then(|name| names.get(name)));
        if op.call.is_write() {
            verdict.count("refused", 1);
        }
        if let Some(seen) = seen {
            verdict.exercised += 1;
            let text = format!("op {} was refused, and op {seen} shows what it asked for", op.id);
            verdict.broken("refused-appeared", &[op.id, *seen], text);
        }
    }
}

fn name_asked(call: &Call) -> Option<&str> {
    match call {
        Call::Create { name, .. } | Call::CreateUnnamed { name } | Call::Rename { name, .. } => Some(name),
        _ => None,
    }
}

/// Without faults every request is answered.
fn calm(input: &CheckInput<'_>, verdict: &mut Verdict) {
    for op in &input.history.ops {
        let word = match &op.outcome {
            _ if op.done.is_none() => continue,
            Outcome::Refused => "refused",
            Outcome::SaidUnknown => "answered 'outcome unknown'",
            Outcome::Unknown => "not answered",
            Outcome::Rejected { status, .. } if *status >= 500 => "answered with a server error",
            _ => {
                verdict.exercised += 1;
                continue;
            }
        };
        verdict.exercised += 1;
        verdict.broken("not-calm", &[op.id], format!("op {} was {word} although there was no fault", op.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::testing::{Build, MS, S, assert_held, create, get, kinds, ok_key, rejected, rename},
        history::What,
    };

    fn judged(build: &Build) -> Verdict {
        let input = build.input();
        check(&input, &Timeline::new(&input))
    }

    fn broken() -> Build {
        let mut build = Build::new();
        build.down("db-b", 10 * S).up("db-b", 30 * S);
        build
    }

    fn write(build: &mut Build, at: Micros, took: Micros, outcome: Outcome) {
        let key = format!("k{at}");
        build.op(create(&key, &key), at, at + took, outcome);
    }

    #[test]
    fn refused_in_time_holds_and_is_measured() {
        let mut build = broken();
        write(&mut build, 10 * S + MS, 2 * S, Outcome::SaidUnknown);
        write(&mut build, 10 * S + 200 * MS, 5 * MS, Outcome::Refused);
        write(&mut build, 12 * S, 5 * MS, Outcome::Refused);
        write(&mut build, 13 * S, 5 * MS, rejected(409));
        write(&mut build, 29 * S, 2 * S, Outcome::Ok(crate::history::Answer::Done));
        let verdict = judged(&build);
        assert_held(&verdict);
        assert_eq!(verdict.exercised, 1);
        assert_eq!(verdict.measures["refusal_ms_max"], 5.0);
        assert_eq!(verdict.measures["before_detection_count"], 2.0);
    }

    #[test]
    fn every_way_to_break_it() {
        let cases = [
            (10 * S + 1, 5 * MS, ok_key("k", "n", "active"), "acknowledged"),
            (20 * S, 1100 * MS, Outcome::Refused, "refused-late"),
            (20 * S, 5 * MS, Outcome::SaidUnknown, "unknown-after-detection"),
            (20 * S, 5 * MS, Outcome::Unknown, "no-answer"),
            (20 * S, 5 * MS, rejected(500), "not-refused"),
            (40 * S, 5 * MS, Outcome::Refused, "refused-without-loss"),
            (40 * S, 5 * MS, Outcome::SaidUnknown, "refused-without-loss"),
            (40 * S, 5 * MS, Outcome::Unknown, "refused-without-loss"),
        ];
        for (at, took, outcome, kind) in cases {
            let mut build = broken();
            write(&mut build, at, took, outcome);
            assert_eq!(kinds(&judged(&build)), [kind]);
        }
    }

    #[test]
    fn an_acknowledged_change_of_state_needs_a_key_that_may_have_been_so() {
        let activate = || Call::Activate { key: "k".into() };
        let off = Call::Deactivate { key: "k".into(), reason: "superseded".into() };
        let done = || Outcome::Ok(crate::history::Answer::Done);
        let mut build = broken();
        build.created("k", "n", S);
        build.op(activate(), 20 * S, 20 * S + MS, done());
        let verdict = judged(&build);
        assert_eq!((kinds(&verdict), verdict.measures["state_already_so_count"]), (vec![], 1.0));
        let mut build = broken();
        build.created("k", "n", S);
        build.op(off, 2 * S, 3 * S, done());
        build.op(activate(), 20 * S, 20 * S + MS, done());
        assert_eq!(kinds(&judged(&build)), ["acknowledged"]);
    }

    #[test]
    fn a_host_that_is_back_is_within_reach_once_the_entry_has_asked_it() {
        for (at, found) in [(25 * S + 400 * MS, vec![]), (25 * S + 600 * MS, vec!["no-answer"])] {
            let mut build = broken();
            for host in ["host-a1", "host-a2", "host-b1", "host-b2"] {
                build.down(host, 15 * S);
            }
            build.up("host-b2", 25 * S);
            write(&mut build, at, 5 * MS, Outcome::Unknown);
            assert_eq!(kinds(&judged(&build)), found);
        }
    }

    #[test]
    fn a_one_way_cut_breaks_the_chain_too() {
        let mut build = Build::new();
        build.cut("db-b", "db-a", 10 * S);
        write(&mut build, 11 * S, 5 * MS, ok_key("k", "n", "active"));
        assert_eq!(kinds(&judged(&build)), ["acknowledged"]);
    }

    #[test]
    fn no_answer_is_allowed_while_hosts_are_being_lost() {
        let mut build = broken();
        build.down("host-a1", 18 * S);
        write(&mut build, 20 * S, 5 * MS, Outcome::Unknown);
        let verdict = judged(&build);
        assert_eq!((kinds(&verdict), verdict.exercised), (vec![], 0));
        write(&mut build, 22 * S, 5 * MS, Outcome::Unknown);
        assert_eq!(kinds(&judged(&build)), ["no-answer"]);
    }

    #[test]
    fn a_second_loss_begins_a_new_detection_span() {
        let mut build = broken();
        build.cut("host-b1", "db-a", 20 * S);
        write(&mut build, 19 * S, 2 * S, Outcome::SaidUnknown);
        write(&mut build, 20 * S + 100 * MS, 5 * MS, Outcome::SaidUnknown);
        assert_eq!(kinds(&judged(&build)), Vec::<&str>::new());
    }

    #[test]
    fn losing_hosts_alone_refuses_nothing() {
        let mut build = Build::new();
        build.down("host-a1", 10 * S).down("host-a2", 10 * S);
        write(&mut build, 20 * S, 5 * MS, ok_key("k", "n", "active"));
        assert_held(&judged(&build));
        write(&mut build, 21 * S, 5 * MS, Outcome::Refused);
        assert_eq!(kinds(&judged(&build)), ["refused-without-loss"]);
    }

    #[test]
    fn what_was_refused_may_not_appear() {
        let mut build = broken();
        build.op(create("k", "n"), 20 * S, 20 * S + MS, Outcome::Refused);
        assert_held(&judged(&build));
        build.op(get("k"), 50 * S, 51 * S, ok_key("k", "n", "active"));
        assert_eq!(kinds(&judged(&build)), ["refused-appeared"]);

        let mut build = broken();
        build.created("k", "n", S);
        build.op(rename("k", "unique"), 20 * S, 20 * S + MS, Outcome::Refused);
        build.op(get("k"), 50 * S, 51 * S, ok_key("k", "unique", "active"));
        assert_eq!(kinds(&judged(&build)), ["refused-appeared"]);
        // Somebody else asked for the same name: it proves nothing.
        build.op(rename("k", "unique"), 40 * S, 41 * S, Outcome::Ok(crate::history::Answer::Done));
        assert_eq!(kinds(&judged(&build)), Vec::<&str>::new());
    }

    #[test]
    fn calm_means_calm() {
        let mut build = Build::new();
        build.calm = true;
        build.created("k", "n", S);
        assert_held(&judged(&build));
        for outcome in [Outcome::Unknown, rejected(503), Outcome::Refused] {
            build.read("k", 5 * S, outcome);
        }
        assert_eq!(kinds(&judged(&build)), ["not-calm", "not-calm", "not-calm"]);
    }

    #[test]
    fn a_host_that_cannot_serve_turns_clients_away_for_the_redirect_window_alone() {
        let refused_at = |at: Micros| {
            let mut build = Build::new();
            let node = "host-a1".to_owned();
            build
                .event(20 * S, What::DiskFull { node: node.clone() })
                .event(60 * S, What::DiskFreed { node });
            build.op(create("k", "n"), at, at + 5 * MS, Outcome::Refused);
            judged(&build)
        };
        assert_eq!(kinds(&refused_at(21 * S)), Vec::<&str>::new());
        assert_eq!(refused_at(21 * S).measures["turned_away_count"], 1.0);
        assert_eq!(kinds(&refused_at(30 * S)), ["refused-without-loss"]);
    }
}
