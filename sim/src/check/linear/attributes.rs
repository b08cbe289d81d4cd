//! The part of a key that never changes must look the same in every view of it. Compares fields that two
//! views both have; says nothing about names, states and the dates of state changes.

use crate::history::{Answer, History, KeyView, Outcome};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Attributes that change with the state.
const MUTABLE: [&str; 6] =
    ["state", "activation_date", "deactivation_date", "compromise_date", "destroy_date", "keys"];

/// A key shown with two values of one fixed field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Key id.
    pub key: String,
    /// Field.
    pub field: String,
    /// The operation that showed it first, and the one that showed it otherwise.
    pub ops: [u64; 2],
}

/// Every key view in the answer of an operation.
pub fn views(outcome: &Outcome) -> &[KeyView] {
    match outcome {
        Outcome::Ok(Answer::Key(view)) => std::slice::from_ref(view),
        Outcome::Ok(Answer::Page { keys, .. }) => keys,
        _ => &[],
    }
}

/// All mismatches, at most one per key and field. `compared` counts the views compared with an earlier one.
pub fn mismatches(history: &History) -> (Vec<Mismatch>, u64) {
    // By key: fields with the operation that showed them first, and the last text seen.
    let mut fields_of: BTreeMap<&str, BTreeMap<String, (Value, u64)>> = BTreeMap::new();
    let mut last_of: BTreeMap<&str, &str> = BTreeMap::new();
    let mut found: Vec<Mismatch> = Vec::new();
    let mut compared = 0;
    for op in &history.ops {
        for view in views(&op.outcome) {
            compared += u64::from(fields_of.contains_key(view.id.as_str()));
            let fields = fields_of.entry(&view.id).or_default();
            let last = last_of.entry(&view.id).or_default();
            // The same text again says nothing new. A tombstone may have lost what the key had.
            if *last == view.rest || view.state.starts_with("destroyed") {
                continue;
            }
            *last = &view.rest;
            for (field, value) in fixed_fields(&view.rest) {
                let (before, op_before) = fields.entry(field.clone()).or_insert((value.clone(), op.id));
                let known = |mismatch: &Mismatch| mismatch.key == view.id && mismatch.field == field;
                if *before != value && !found.iter().any(known) {
                    let ops = [*op_before, op.id];
                    found.push(Mismatch { key: view.id.clone(), field, ops });
                }
            }
        }
    }
    (found, compared)
}

fn fixed_fields(rest: &str) -> Vec<(String, Value)> {
    let Ok(Value::Object(mut top)) = serde_json::from_str::<Value>(rest) else {
        return vec![("not an object".to_owned(), Value::Bool(rest.is_empty()))];
    };
    let attributes = match top.remove("attributes") {
        Some(Value::Object(attributes)) => attributes,
        _ => Map::new(),
    };
    let top = top.into_iter();
    top.chain(attributes.into_iter().map(|(name, value)| (format!("attributes.{name}"), value)))
        .filter(|(name, _)| !MUTABLE.contains(&name.trim_start_matches("attributes.")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Build, S, ok_key, view};

    fn with_rest(rest: &str) -> Outcome {
        let rest = rest.to_owned();
        Outcome::Ok(Answer::Key(KeyView { rest, ..view("k", "n", "active") }))
    }

    #[test]
    fn a_changed_size_or_creation_date_is_found_and_dates_of_states_are_not() {
        let mut build = Build::new();
        build.created("k", "n", S);
        let creation = r#""original_creation_date":"2026-01-01T00:00:00Z""#;
        build.read("k", 2 * S, ok_key("k", "n", "active"));
        let later = format!(r#"{{"attributes":{{{creation},"deactivation_date":"x"}},"size":256}}"#);
        build.read("k", 3 * S, with_rest(&later));
        assert_eq!(mismatches(&build.history), (vec![], 2));
        let op = build.read("k", 4 * S, with_rest(r#"{"attributes":{},"size":128}"#));
        let (found, _) = mismatches(&build.history);
        assert_eq!(found, [Mismatch { key: "k".into(), field: "size".into(), ops: [0, op] }]);
        build.read("k", 5 * S, with_rest(r#"{"attributes":{"original_creation_date":"y"}}"#));
        assert_eq!(mismatches(&build.history).0[1].field, "attributes.original_creation_date");
    }
}
