//! G12: a key whose destruction was acknowledged before its region was lost stays destroyed when the region is made anew of a backup of
//! before: it encrypts and decrypts nothing, is shown as destroyed or not at all, and its id is not given to another key. Owed for what was
//! acknowledged longer before the loss than it takes to get to the replica, which had to be fed well, and from there to a store that was well
//! from then on until the region was there again.
//!
//! Of secrets, in every run: what `g12_secrets` says.
//!
//! Asks the history as it was told to clients: to other checkers the outcomes before a loss are unknown.
//!
//! Does not check: destructions of a region that is not lost (G11), or that is made anew of the replica (G1 and G11 ask for those).

use super::{
    CheckInput,
    g7_backups::{documented, stores::Log},
    g12_secrets,
    region_loss::RegionLoss,
};
use crate::{
    history::{Answer, Call, KeyView, Micros, Op, Outcome},
    report::Verdict,
};
use std::collections::BTreeMap;

/// Judges. `kept`: without the outcomes of a lost region's last moments.
pub fn check(input: &CheckInput<'_>, kept: &CheckInput<'_>) -> Verdict {
    let mut verdict = Verdict::new("G12", "g12_no_resurrection");
    g12_secrets::check(kept.history, &mut verdict);
    if let Some(region) = input.topology.backups_of.as_deref()
        && let Some(loss) = RegionLoss::of(input)
        && let Some((back, true)) = loss.back
    {
        let places = documented(region).iter();
        let logs: Vec<Log<'_>> = places.map(|place| Log::of(input.history, place)).collect();
        judge(input, (&loss, back), &logs, &mut verdict);
    }
    verdict
}

fn judge(
    input: &CheckInput<'_>,
    (loss, back): (&RegionLoss, Micros),
    logs: &[Log<'_>],
    verdict: &mut Verdict,
) {
    // Whichever backup was taken, it is not of later.
    let there = |made: Micros, put: Micros| (put <= loss.at).then_some(made);
    let manifests = logs.iter().flat_map(|log| &log.manifests);
    let newest = manifests.filter_map(|backup| there(backup.made, backup.put)).max().unwrap_or(0);
    let owed_before = loss.carried_before.saturating_sub(input.bounds.anchored_us);
    let mut owed: BTreeMap<&str, (&Op, Micros)> = BTreeMap::new();
    for op in &input.history.ops {
        let (Call::Delete { key }, Outcome::Ok(_), Some(done)) = (&op.call, &op.outcome, op.done) else {
            continue;
        };
        if done >= owed_before {
            verdict.count("destroyed_too_late", u64::from(done <= loss.at));
        } else if logs.iter().any(|log| !log.troubled.touches(done, back)) {
            owed.entry(key.as_str()).or_insert((op, done));
        } else {
            verdict.count("destroyed_while_no_store_was_well", 1);
        }
    }
    let later: Vec<&str> = owed.iter().filter(|(_, (_, done))| *done > newest).map(|(key, _)| *key).collect();
    verdict.count("destroyed_after_the_backup", later.len() as u64);
    let mut seen: BTreeMap<&str, bool> = later.into_iter().map(|key| (key, false)).collect();
    for op in input.history.ops.iter().filter(|op| op.invoked > back) {
        for (key, what) in said(op) {
            let Some((destroyed, done)) = owed.get(key) else { continue };
            if let Some(seen) = seen.get_mut(key)
                && !std::mem::replace(seen, true)
            {
                verdict.exercised += 1;
            }
            let kind = match what {
                Said::Destroyed => continue,
                Said::Missing => {
                    verdict.count("tombstones_missing", 1);
                    continue;
                }
                Said::Works => "works-again",
                Said::Another => "id-taken-again",
            };
            let text = format!(
                "key {key}: its destruction was acknowledged {} ms before the region was lost, and op {} found it {}",
                (loss.at - done) / 1000,
                op.id,
                if kind == "works-again" { "at work again" } else { "free to be taken" }
            );
            verdict.broken(kind, &[destroyed.id, op.id], text);
        }
    }
}

/// What an answer says of a key that was destroyed.
enum Said {
    Destroyed,
    /// There is no such key.
    Missing,
    /// Somebody made a key of that id.
    Another,
    Works,
}

fn shown(view: &KeyView) -> Said {
    if view.state.starts_with("destroyed") { Said::Destroyed } else { Said::Works }
}

fn said(op: &Op) -> Vec<(&str, Said)> {
    match (&op.call, &op.outcome) {
        (Call::Create { key, .. }, Outcome::Ok(_)) => vec![(key, Said::Another)],
        (_, Outcome::Ok(Answer::Page { keys, .. })) => {
            keys.iter().map(|view| (view.id.as_str(), shown(view))).collect()
        }
        (Call::Get { key }, Outcome::Ok(Answer::Key(view))) => vec![(key, shown(view))],
        (call, outcome) => match (call.key(), outcome) {
            (Some(key), Outcome::Ok(_)) => vec![(key, Said::Works)],
            (Some(key), Outcome::Rejected { status: 404, .. }) => vec![(key, Said::Missing)],
            (Some(key), Outcome::Rejected { status: 400..500, .. }) => vec![(key, Said::Destroyed)],
            _ => Vec::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::testing::{Build, MS, S, assert_held, encrypt, get, kinds, ok_key, rejected},
        history::{Phase, StoreEvent, StoreWhat, What},
    };

    /// A key destroyed at `at`, one backup made at 10 s, the region lost at 60 s and back at 70 s; then the key is asked for.
    fn judged(at: Micros, events: &[(&str, Micros, StoreWhat)], asked: Call, answer: Outcome) -> Verdict {
        let mut build = Build::new();
        build.topology_mut().backups_of = Some("eu-west-rbx".to_owned());
        build.created("k", "n", S);
        build.op(Call::Delete { key: "k".into() }, at - MS, at, Outcome::Ok(Answer::Done));
        for node in ["db-a", "db-b"] {
            build.event(60 * S, What::DiskLost { node: node.into() });
        }
        build.event(70 * S, What::Restored { backup: true });
        let name = format!("manifest/1970-01-01/{:020}-{:020}-{:032}", 1, 10_000, 0);
        let put = StoreWhat::Put { node: "replica".into(), name, bytes: 1 };
        let stores = ["eu-west-sbg", "eu-west-gra"];
        let all = stores.iter().map(|store| (*store, 10 * S, put.clone())).chain(events.iter().cloned());
        let event = |(store, at, what): (&str, _, _)| StoreEvent { at, store: store.to_owned(), what };
        build.history.stores = all.map(event).collect();
        build.op_in(Phase::HeadAlone, asked, 80 * S, 80 * S + MS, answer);
        check(&build.input(), &build.input())
    }

    #[test]
    fn a_key_that_stays_destroyed_is_as_it_should_be() {
        let verdict = judged(40 * S, &[], get("k"), ok_key("k", "n", "destroyed"));
        assert_held(&verdict);
        assert_held(&judged(40 * S, &[], encrypt("k"), rejected(409)));
        let earlier = judged(9 * S, &[], get("k"), ok_key("k", "n", "destroyed"));
        assert_eq!((earlier.exercised, earlier.violations.len()), (0, 0), "the backup has it: {earlier:?}");
    }

    #[test]
    fn one_that_works_again_is_not() {
        let alive = || ok_key("k", "n", "deactivated");
        assert_eq!(kinds(&judged(40 * S, &[], get("k"), alive())), ["works-again"]);
        assert_eq!(kinds(&judged(9 * S, &[], get("k"), alive())), ["works-again"]);
        let sealed = Outcome::Ok(Answer::Ciphertext("x".into()));
        assert_eq!(kinds(&judged(40 * S, &[], encrypt("k"), sealed)), ["works-again"]);
        let create = Call::Create { key: "k".into(), name: "m".into() };
        assert_eq!(kinds(&judged(40 * S, &[], create, ok_key("k", "m", "active"))), ["id-taken-again"]);
        // One store is enough.
        let lost = [("eu-west-sbg", 50 * S, StoreWhat::Lost)];
        assert_eq!(kinds(&judged(40 * S, &lost, get("k"), alive())), ["works-again"]);
    }

    #[test]
    fn nothing_is_owed_of_the_last_moments_or_without_a_store() {
        let alive = || ok_key("k", "n", "deactivated");
        assert_eq!(judged(49 * S, &[], get("k"), alive()).violations, []);
        let lost = ["eu-west-sbg", "eu-west-gra"].map(|store| (store, 50 * S, StoreWhat::Lost));
        assert_eq!(judged(40 * S, &lost, get("k"), alive()).violations, []);
    }
}
