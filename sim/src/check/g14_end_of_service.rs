//! G14: once an operator was told that the service of a domain has ended, no operation of that domain that is invoked later succeeds,
//! anywhere, for ever: also after the region was lost and made anew from before its end. Once every place has been well for the erasure bound, no
//! place has the domain's key: no disk of a database or of the replica, whatever store on it, and no backup store.
//!
//! Does not check: operations invoked before the operator was told, random bytes (no data of a domain), that records are deleted 30 days
//! later, disks that were taken out of their machines, anything after a loss of the region that came before a backup store had the
//! time to hear of the end (the erasure bound, with the replica and that store well).

use super::{
    CheckInput, FaultOf, OtherFault,
    ended::terminations,
    g4_third_copy::{feed_troubled, troubles},
    region_loss::RegionLoss,
    spans::Spans,
    timeline::Timeline,
};
use crate::{
    history::{Call, KeysSeen, Micros, Outcome, StoreWhat},
    report::Verdict,
};
use std::collections::BTreeMap;

/// Judges.
pub fn check(input: &CheckInput<'_>, timeline: &Timeline) -> Verdict {
    let mut verdict = Verdict::new("G14", "g14_end_of_service");
    for (domain, (begun, ended)) in terminations(input) {
        let Some(ended) = ended else {
            verdict.count("terminations_never_told", 1);
            continue;
        };
        verdict.spans("told_after", vec![ended - begun]);
        // A region that is lost before anybody beside it has heard has lost the end too, as any write of its last moments.
        let lost = RegionLoss::of(input).map(|loss| loss.at).filter(|at| *at >= ended);
        let until = lost.filter(|at| !is_told_elsewhere(input, timeline, ended, *at)).unwrap_or(Micros::MAX);
        if until < Micros::MAX {
            verdict.count("ends_lost_with_the_region", 1);
        }
        served(input, domain, (ended, until), &mut verdict);
        for seen in input.history.keys.iter().filter(|seen| seen.at < until) {
            keys((input, timeline), (domain, ended), seen, &mut verdict);
        }
    }
    verdict
}

/// No answer after the end.
fn served(input: &CheckInput<'_>, domain: &str, (ended, until): (Micros, Micros), verdict: &mut Verdict) {
    let of_domain = |client| input.domains.get(&client).is_some_and(|of| of == domain);
    for op in
        input.history.ops.iter().filter(|op| op.invoked > ended && op.invoked < until && of_domain(op.client))
    {
        if matches!(op.call, Call::Random { .. }) {
            continue;
        }
        match &op.outcome {
            Outcome::Ok(_) => {
                verdict.exercised += 1;
                let text = format!(
                    "op {} of domain {domain} was answered, invoked {} ms after its service had ended",
                    op.id,
                    (op.invoked - ended) / 1000
                );
                verdict.broken("served", &[op.id], text);
            }
            Outcome::Rejected { status: 404, .. } => {
                verdict.exercised += 1;
                verdict.count("answered_that_it_has_ended", 1);
            }
            Outcome::Rejected { .. } => verdict.count("answered_otherwise", 1),
            Outcome::Refused | Outcome::SaidUnknown | Outcome::Unknown => verdict.count("not_answered", 1),
        }
    }
}

/// No key once every place has been well for long enough.
fn keys(
    (input, timeline): (&CheckInput<'_>, &Timeline),
    (domain, ended): (&str, Micros),
    seen: &KeysSeen,
    verdict: &mut Verdict,
) {
    if seen.at <= ended {
        return;
    }
    let well_since = ended.max(last_trouble(input, timeline, seen.at));
    if seen.at < well_since.saturating_add(input.bounds.erasure_us) {
        return verdict.count("looks_too_early", 1);
    }
    verdict.exercised += 1;
    verdict.count("looks_for_keys", 1);
    for (place, _) in seen.keys.iter().filter(|(_, of)| of == domain) {
        let text = format!(
            "{place} has the key of domain {domain}, whose service ended {} s before; every place had been well for {} s",
            (seen.at - ended) / 1_000_000,
            (seen.at - well_since) / 1_000_000
        );
        verdict.broken("key-kept", &[], text);
    }
}

/// Whether a backup store had the time to be told of an end before the region was lost.
fn is_told_elsewhere(input: &CheckInput<'_>, timeline: &Timeline, ended: Micros, lost: Micros) -> bool {
    let of_feed = last_trouble_of(input, timeline, lost - 1, |fault| fault.of != FaultOf::Stores);
    let mut stores: BTreeMap<&str, (bool, Micros)> = BTreeMap::new();
    for event in input.history.stores.iter().filter(|event| event.at < lost) {
        let (troubled, at) = stores.entry(&event.store).or_default();
        match event.what {
            StoreWhat::Put { .. } | StoreWhat::Deleted { .. } => {}
            StoreWhat::Troubled => (*troubled, *at) = (true, event.at),
            StoreWhat::Well => (*troubled, *at) = (false, event.at),
            StoreWhat::Lost | StoreWhat::Hurt { .. } => *at = event.at,
        }
    }
    let mut well = stores.values().filter(|(troubled, _)| !troubled);
    well.any(|(_, at)| ended.max(of_feed).max(*at).saturating_add(input.bounds.erasure_us) <= lost)
}

/// When something was last wrong with a place before `at`.
fn last_trouble(input: &CheckInput<'_>, timeline: &Timeline, at: Micros) -> Micros {
    let stores = input.history.stores.iter().filter(|event| event.at <= at);
    let hurt =
        stores.filter(|event| !matches!(event.what, StoreWhat::Put { .. } | StoreWhat::Deleted { .. }));
    // What a fault has no event for hurts stores too.
    let of_nodes = last_trouble_of(input, timeline, at, |_| true);
    hurt.map(|event| event.at).max().unwrap_or(0).max(of_nodes)
}

/// When something was last wrong with a node or a link of the places, or by such a fault without an event, before `at`.
fn last_trouble_of(
    input: &CheckInput<'_>,
    timeline: &Timeline,
    at: Micros,
    others: impl Fn(&OtherFault) -> bool,
) -> Micros {
    let of_places = |name: &str| input.topology.is_replica(name) || input.topology.is_database(name);
    let nodes = troubles(input, of_places, |_, _| true, others, Micros::MAX);
    let all = Spans::union([&nodes, &feed_troubled(input), &timeline.made_anew()]);
    all.iter().filter(|(from, _)| *from <= at).map(|(_, until)| until.min(at)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::StoreEvent;
    use crate::{
        check::testing::{Build, MS, S, assert_held, get, kinds, ok_key, rejected},
        history::{Termination, What},
        report::Judgement,
    };
    use std::collections::BTreeSet;

    fn judged(build: &Build) -> Verdict {
        let input = build.input();
        check(&input, &Timeline::new(&input))
    }

    fn ended() -> Build {
        let mut build = Build::new();
        build.domains = BTreeMap::from([(1, "x".to_owned()), (2, "y".to_owned())]);
        for (at, step) in [(10 * S, Termination::Begun), (11 * S, Termination::Ended)] {
            build.event(at, What::Termination { domain: "x".into(), step });
        }
        build
    }

    fn read(build: &mut Build, client: u32, at: Micros, outcome: Outcome) {
        build.op(get("k"), at, at + MS, outcome);
        if let Some(op) = build.history.ops.last_mut() {
            op.client = client;
        }
    }

    fn seen(build: &mut Build, at: Micros, place: &str) {
        let keys = BTreeSet::from([(place.to_owned(), "x".to_owned()), (place.to_owned(), "y".to_owned())]);
        build.history.keys.push(KeysSeen { at, keys });
    }

    #[test]
    fn nothing_is_served_after_the_end_and_much_before_it() {
        let mut build = ended();
        assert_eq!(judged(&build).judgement(), Judgement::NotExercised);
        read(&mut build, 1, 11 * S - MS, ok_key("k", "n", "active"));
        read(&mut build, 2, 12 * S, ok_key("k", "n", "active"));
        read(&mut build, 1, 12 * S, rejected(404));
        read(&mut build, 1, 13 * S, Outcome::Refused);
        assert_held(&judged(&build));
        read(&mut build, 1, 14 * S, ok_key("k", "n", "active"));
        assert_eq!(kinds(&judged(&build)), ["served"]);
    }

    #[test]
    fn a_key_is_gone_once_all_places_are_well() {
        let bound = Build::new().input().bounds.erasure_us;
        let mut build = ended();
        seen(&mut build, 11 * S + bound - MS, "db-a");
        assert_eq!(judged(&build).judgement(), Judgement::NotExercised, "too early");
        seen(&mut build, 11 * S + bound, "db-a");
        assert_eq!(kinds(&judged(&build)), ["key-kept"]);
        build.history.keys.pop();
        build.history.keys.push(KeysSeen { at: 11 * S + bound, keys: BTreeSet::new() });
        assert_held(&judged(&build));
        // A place that was away has the time from its return.
        let mut build = ended();
        build.down("db-b", 12 * S).up("db-b", 40 * S);
        seen(&mut build, 30 * S + bound, "db-b");
        assert_eq!(judged(&build).judgement(), Judgement::NotExercised);
        seen(&mut build, 60 * S + bound, "db-b");
        assert_eq!(kinds(&judged(&build)), ["key-kept"]);
    }

    #[test]
    fn what_the_region_took_with_it_is_not_asked_for() {
        let lost = |at: Micros| {
            let mut build = ended();
            let put = StoreWhat::Put { node: "replica".into(), name: "days/x".into(), bytes: 1 };
            build.history.stores.push(StoreEvent { at: S, store: "gra".into(), what: put });
            for node in ["db-a", "db-b"] {
                build.event(at, What::DiskLost { node: node.into() });
            }
            read(&mut build, 1, at + 9 * S, ok_key("k", "n", "active"));
            judged(&build)
        };
        assert_eq!(lost(12 * S).measures["ends_lost_with_the_region_count"], 1.0);
        assert_eq!(lost(12 * S).judgement(), Judgement::NotExercised);
        let bound = Build::new().input().bounds.erasure_us;
        assert_eq!(kinds(&lost(12 * S + bound)), ["served"]);
    }
}
