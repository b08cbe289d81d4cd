//! G11: the history of each key, as all clients saw it, is one that a single correct key could have had; that of each secret one of a
//! single correct secret, whichever interface was asked.
//! Unknown outcomes happen at most once; refused writes never; list items count as reads; attributes that
//! never change are the same in every view. Counts what clients that try again made twice, for want of an id.
//!
//! Does not check: order between different keys (linearizability is per record), pages as one atomic read,
//! dates of state changes, the text of errors, plaintexts (G10). Statuses 401, 403, 408, 429 and 5xx are
//! taken to say nothing about the key. A history too hard to decide is a harness
//! error, never a pass.

use super::{
    linear::{
        Analysis, RecordHistory,
        attributes::views,
        search::{Decision, Machine},
    },
    tries::Tries,
};
use crate::{
    history::{Answer, Call, History, Outcome},
    report::Verdict,
};
use std::collections::{BTreeMap, BTreeSet};

/// Judges.
pub fn check(history: &History, analysis: &Analysis) -> Verdict {
    let mut verdict = Verdict::new("G11", "g11_one_history");
    let mut search = Search::default();
    for (key, history) in &analysis.keys {
        search.record(&mut verdict, &format!("key {key}"), history);
    }
    for history in analysis.secrets.values() {
        // The path of a secret is one.
        let first = history.items.first().map_or(0, |(item, _)| item.op);
        search.record(&mut verdict, &format!("the secret of op {first}"), history);
    }
    let Search { undecided, visited_max } = search;
    for (key, op) in &analysis.invented {
        verdict.broken("invented", &[*op], format!("op {op} shows key {key}, which nobody asked to create"));
    }
    for mismatch in &analysis.mismatches {
        let [one, other] = mismatch.ops;
        let text = format!("key {}: ops {one} and {other} show different `{}`", mismatch.key, mismatch.field);
        verdict.broken("attribute-changed", &mismatch.ops, text);
    }
    verdict.count("keys", analysis.keys.len() as u64);
    if !analysis.secrets.is_empty() {
        verdict.count("secrets", analysis.secrets.len() as u64);
        let steps = analysis.secrets.values().map(|history| history.items.len() as u64);
        verdict.count("secret_steps", steps.sum());
    }
    tried_again(history, &mut verdict);
    verdict.count("views_compared", analysis.views_compared);
    verdict.measures.insert("configurations_max".to_owned(), visited_max as f64);
    if !undecided.is_empty() {
        verdict.harness_error = Some(format!("undecided after {visited_max} configurations: {undecided:?}"));
    }
    verdict
}

#[derive(Default)]
struct Search {
    undecided: Vec<String>,
    visited_max: usize,
}

impl Search {
    fn record<S: Machine>(&mut self, verdict: &mut Verdict, name: &str, history: &RecordHistory<S>) {
        verdict.exercised += history.items.len() as u64;
        self.visited_max = self.visited_max.max(history.visited);
        match &history.decision {
            Decision::Linearizable => {}
            Decision::Undecided => self.undecided.push(name.to_owned()),
            Decision::Violated(stuck) => {
                let mut ops = stuck.after.clone();
                ops.push(stuck.op);
                let text = format!(
                    "{name}: no order explains op {}; the longest one ends with ops {:?}, it was then {} \
                     (overlapping and not yet placed: {:?})",
                    stuck.op,
                    stuck.after,
                    stuck.state.word(),
                    stuck.beside
                );
                verdict.broken("not-linearizable", &ops, text);
            }
        }
    }
}

/// What became of requests that were sent more than once. With an id a further try makes nothing new: that is judged. Without one it
/// may, which is counted, by the name that all tries gave the key.
fn tried_again(history: &History, verdict: &mut Verdict) {
    let tries = Tries::of(history);
    verdict.count("creates_tried_again", tries.creates().filter(|tries| *tries > 1).count() as u64);
    let unnamed: BTreeMap<&str, usize> = tries.unnamed().filter(|(_, tries)| *tries > 1).collect();
    verdict.count("creates_without_id_tried_again", unnamed.len() as u64);
    let mut made: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for op in &history.ops {
        for view in views(&op.outcome) {
            if unnamed.contains_key(view.name.as_str()) {
                made.entry(&view.name).or_default().insert(&view.id);
            }
        }
    }
    verdict.count("keys_made_twice", made.values().map(|ids| ids.len() as u64 - 1).sum());
    let mut named: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for op in &history.ops {
        if let (Call::Create { key, .. }, Outcome::Ok(Answer::Key(_))) = (&op.call, &op.outcome) {
            named.entry(key).or_default().push(op.id);
        }
    }
    for (key, ops) in named.into_iter().filter(|(_, ops)| ops.len() > 1) {
        verdict.broken(
            "made-twice",
            &ops,
            format!("key {key}: ops {ops:?} were both told that they made it"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{
        linear::analyse,
        testing::{Build, S, assert_held, create, kinds, ok_key, rejected, rename, view},
    };
    use crate::history::KeyView;
    use crate::report::Judgement;

    fn judged(build: &Build, search_max: usize) -> Verdict {
        check(&build.history, &analyse(&build.history, &build.domains, search_max))
    }

    #[test]
    fn what_was_made_twice_is_counted_without_an_id_and_broken_with_one() {
        let mut build = Build::new();
        let unnamed = || Call::CreateUnnamed { name: "n".into() };
        build.op(unnamed(), S, 2 * S, Outcome::Unknown);
        build.op(unnamed(), 3 * S, 4 * S, ok_key("x", "n", "active"));
        let page = vec![view("x", "n", "active"), view("y", "n", "active")];
        let page = Outcome::Ok(Answer::Page { keys: page, token: String::new(), truncated: false });
        build.op(Call::List { state: "all".into(), token: None, max: 20 }, 5 * S, 6 * S, page);
        let verdict = judged(&build, 100);
        assert_held(&verdict);
        assert_eq!(verdict.measures["creates_without_id_tried_again_count"], 1.0);
        assert_eq!(verdict.measures["keys_made_twice_count"], 1.0);
        build.op(create("k", "m"), 7 * S, 8 * S, Outcome::Unknown);
        build.op(create("k", "m"), 9 * S, 10 * S, rejected(409));
        assert_eq!(judged(&build, 100).measures["creates_tried_again_count"], 1.0);
        assert_held(&judged(&build, 100));
        let mut build = Build::new();
        build.created("k", "n", S);
        build.created("k", "n", 2 * S);
        assert_eq!(kinds(&judged(&build, 100)), ["not-linearizable", "made-twice"]);
    }

    #[test]
    fn held_broken_and_nothing() {
        let mut build = Build::new();
        assert_eq!(judged(&build, 100).judgement(), Judgement::NotExercised);
        build.created("k", "n", S);
        build.read("k", 2 * S, ok_key("k", "n", "active"));
        assert_held(&judged(&build, 100));
        build.read("k", 3 * S, ok_key("k", "m", "active"));
        assert_eq!(kinds(&judged(&build, 100)), ["not-linearizable"]);
    }

    #[test]
    fn invented_keys_and_changed_attributes() {
        let mut build = Build::new();
        build.created("k", "n", S);
        let rest = r#"{"size":128}"#.to_owned();
        build.read("k", 2 * S, Outcome::Ok(Answer::Key(KeyView { rest, ..view("k", "n", "active") })));
        assert_eq!(kinds(&judged(&build, 100)), ["attribute-changed"]);
        build.read("x", 3 * S, ok_key("x", "n", "active"));
        let verdict = judged(&build, 100);
        assert_eq!(kinds(&verdict), ["not-linearizable", "invented", "attribute-changed"]);
    }

    #[test]
    fn undecided_is_a_harness_error() {
        let mut build = Build::new();
        build.created("k", "n", S);
        for number in 0..4 {
            let name = format!("n{number}");
            build.op(rename("k", &name), 2 * S, 3 * S, Outcome::Ok(Answer::Done));
        }
        build.read("k", 4 * S, ok_key("k", "never", "active"));
        let verdict = judged(&build, 2);
        assert_eq!(verdict.judgement(), Judgement::HarnessError);
    }
}
