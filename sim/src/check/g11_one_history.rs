//! G11: the history of each key, as all clients saw it, is one that a single correct key could have had.
//! Unknown outcomes happen at most once; refused writes never; list items count as reads; attributes that
//! never change are the same in every view.
//!
//! Does not check: order between different keys (linearizability is per record), pages as one atomic read,
//! dates of state changes, the text of errors, plaintexts (G10). Statuses 401, 403, 408, 429 and 5xx are
//! taken to say nothing about the key. A history too hard to decide is a harness
//! error, never a pass.

use super::linear::{Analysis, search::Decision};
use crate::report::Verdict;

/// Judges.
pub fn check(analysis: &Analysis) -> Verdict {
    let mut verdict = Verdict::new("G11", "g11_one_history");
    let mut undecided = Vec::new();
    let mut visited_max = 0;
    for (key, history) in &analysis.keys {
        verdict.exercised += history.items.len() as u64;
        visited_max = visited_max.max(history.visited);
        match &history.decision {
            Decision::Linearizable => {}
            Decision::Undecided => undecided.push(key.as_str()),
            Decision::Violated(stuck) => {
                let mut ops = stuck.after.clone();
                ops.push(stuck.op);
                let text = format!(
                    "key {key}: no order explains op {}; the longest one ends with ops {:?}, the key then {} \
                     (overlapping and not yet placed: {:?})",
                    stuck.op,
                    stuck.after,
                    stuck.state.life.word(),
                    stuck.beside
                );
                verdict.broken("not-linearizable", &ops, text);
            }
        }
    }
    for (key, op) in &analysis.invented {
        verdict.broken("invented", &[*op], format!("op {op} shows key {key}, which nobody asked to create"));
    }
    for mismatch in &analysis.mismatches {
        let [one, other] = mismatch.ops;
        let text = format!("key {}: ops {one} and {other} show different `{}`", mismatch.key, mismatch.field);
        verdict.broken("attribute-changed", &mismatch.ops, text);
    }
    verdict.count("keys", analysis.keys.len() as u64);
    verdict.count("views_compared", analysis.views_compared);
    verdict.measures.insert("configurations_max".to_owned(), visited_max as f64);
    if !undecided.is_empty() {
        verdict.harness_error = Some(format!("undecided after {visited_max} configurations: {undecided:?}"));
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{
        linear::analyse,
        testing::{Build, S, assert_held, kinds, ok_key, rename, view},
    };
    use crate::history::{Answer, KeyView, Outcome};
    use crate::report::Judgement;

    #[test]
    fn held_broken_and_nothing() {
        let mut build = Build::new();
        assert_eq!(check(&analyse(&build.history, &build.domains, 100)).judgement(), Judgement::NotExercised);
        build.created("k", "n", S);
        build.read("k", 2 * S, ok_key("k", "n", "active"));
        assert_held(&check(&analyse(&build.history, &build.domains, 100)));
        build.read("k", 3 * S, ok_key("k", "m", "active"));
        assert_eq!(kinds(&check(&analyse(&build.history, &build.domains, 100))), ["not-linearizable"]);
    }

    #[test]
    fn invented_keys_and_changed_attributes() {
        let mut build = Build::new();
        build.created("k", "n", S);
        let rest = r#"{"size":128}"#.to_owned();
        build.read("k", 2 * S, Outcome::Ok(Answer::Key(KeyView { rest, ..view("k", "n", "active") })));
        assert_eq!(kinds(&check(&analyse(&build.history, &build.domains, 100))), ["attribute-changed"]);
        build.read("x", 3 * S, ok_key("x", "n", "active"));
        let verdict = check(&analyse(&build.history, &build.domains, 100));
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
        let verdict = check(&analyse(&build.history, &build.domains, 2));
        assert_eq!(verdict.judgement(), Judgement::HarnessError);
    }
}
