//! Verdicts: what a checker hands back, and how the verdicts of many runs are put together. Judges nothing
//! itself, and knows nothing of scenarios beyond their names.

pub mod table;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One way in which a promise was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Stable word for the way it broke; shrinking compares (checker, kind), never the text.
    pub kind: String,
    /// What happened, for a person. Names operations by number; holds no names, contexts or plaintexts.
    pub text: String,
    /// Operations involved, as indices into the history.
    pub ops: Vec<u64>,
}

/// What one checker says about one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The promise judged (`G1`...), or `health`.
    pub promise: String,
    /// The checker's file name.
    pub checker: String,
    /// How often the promise's precondition was met. 0 = not exercised, whatever the violations say.
    pub exercised: u64,
    /// Ways it broke; at most [`VIOLATIONS_MAX`] are kept, `violations_count` in the measures has them all.
    pub violations: Vec<Violation>,
    /// Figures. The end of the name says how runs merge: see [`table::merge_measure`].
    pub measures: BTreeMap<String, f64>,
    /// The checker could not decide. Never a pass.
    pub harness_error: Option<String>,
}

/// Violations kept per verdict; the first ones are the interesting ones.
pub const VIOLATIONS_MAX: usize = 20;

/// A verdict in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// The precondition was never met.
    NotExercised,
    /// Met, and held each time.
    Held,
    /// The checker could not decide.
    HarnessError,
    /// Broken at least once.
    Broken,
}

impl Judgement {
    /// The words shown in tables.
    pub fn words(self) -> &'static str {
        match self {
            Judgement::NotExercised => "not exercised",
            Judgement::Held => "held",
            Judgement::HarnessError => "harness error",
            Judgement::Broken => "BROKEN",
        }
    }
}

impl Verdict {
    /// A verdict that has seen nothing yet.
    pub fn new(promise: &str, checker: &str) -> Verdict {
        Verdict {
            promise: promise.to_owned(),
            checker: checker.to_owned(),
            exercised: 0,
            violations: Vec::new(),
            measures: BTreeMap::new(),
            harness_error: None,
        }
    }

    /// Adds a violation.
    pub fn broken(&mut self, kind: &str, ops: &[u64], text: String) {
        self.count("violations", 1);
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { kind: kind.to_owned(), text, ops: ops.to_vec() });
        }
    }

    /// Adds to the measure `<name>_count`.
    pub fn count(&mut self, name: &str, by: u64) {
        *self.measures.entry(format!("{name}_count")).or_insert(0.0) += by as f64;
    }

    /// Sets `<name>_ms_p50`, `_p99` and `_max` and `<name>_count` from samples in microseconds; nothing if
    /// there are none.
    pub fn spans(&mut self, name: &str, mut samples_us: Vec<u64>) {
        if samples_us.is_empty() {
            return;
        }
        samples_us.sort_unstable();
        self.count(name, samples_us.len() as u64);
        for (suffix, permille) in [("p50", 500), ("p99", 990), ("max", 1000)] {
            let value = quantile(&samples_us, permille);
            self.measures.insert(format!("{name}_ms_{suffix}"), value as f64 / 1000.0);
        }
    }

    /// The verdict in one word.
    pub fn judgement(&self) -> Judgement {
        if !self.violations.is_empty() {
            Judgement::Broken
        } else if self.harness_error.is_some() {
            Judgement::HarnessError
        } else if self.exercised == 0 {
            Judgement::NotExercised
        } else {
            Judgement::Held
        }
    }
}

/// The smallest sample that at least `permille` of the sorted samples do not exceed; 0 of none.
pub fn quantile(sorted: &[u64], permille: usize) -> u64 {
    let rank = (sorted.len() * permille).div_ceil(1000).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

/// Exit status of a run with these verdicts: 0 held, 2 a promise broken, 5 a checker could not decide.
pub fn exit_code(verdicts: &[Verdict]) -> i32 {
    match verdicts.iter().map(Verdict::judgement).max() {
        Some(Judgement::Broken) => 2,
        Some(Judgement::HarnessError) => 5,
        _ => 0,
    }
}

/// Promises of a scenario that no verdict exercised, in the scenario's order.
pub fn not_exercised(verdicts: &[Verdict], promises: &[String]) -> Vec<String> {
    let exercised = |promise: &String| {
        verdicts.iter().any(|verdict| &verdict.promise == promise && verdict.exercised > 0)
    };
    promises.iter().filter(|promise| !exercised(promise)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        assert_eq!(quantile(&[], 500), 0);
        assert_eq!(quantile(&[7], 500), 7);
        assert_eq!(quantile(&[1, 2, 3, 4], 500), 2);
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(quantile(&hundred, 990), 99);
        assert_eq!(quantile(&hundred, 1000), 100);
    }

    #[test]
    fn judgements_and_exit_codes() {
        let mut verdict = Verdict::new("G1", "g1_two_zone_durability");
        assert_eq!(verdict.judgement(), Judgement::NotExercised);
        assert_eq!(exit_code(std::slice::from_ref(&verdict)), 0);
        verdict.exercised = 3;
        assert_eq!(verdict.judgement(), Judgement::Held);
        verdict.harness_error = Some("undecided".to_owned());
        assert_eq!(exit_code(std::slice::from_ref(&verdict)), 5);
        for _ in 0..30 {
            verdict.broken("lost", &[1], "lost".to_owned());
        }
        assert_eq!(verdict.violations.len(), VIOLATIONS_MAX);
        assert_eq!(verdict.measures["violations_count"], 30.0);
        assert_eq!(exit_code(std::slice::from_ref(&verdict)), 2);
        let text = serde_json::to_string(&verdict).expect("serialises");
        assert_eq!(serde_json::from_str::<Verdict>(&text).expect("parses"), verdict);
    }

    #[test]
    fn a_promise_without_an_exercised_verdict_is_named() {
        let mut seen = Verdict::new("G2", "x");
        seen.exercised = 1;
        let verdicts = [Verdict::new("G1", "y"), seen];
        let promises: Vec<String> = ["G1", "G2", "G13"].map(str::to_owned).into();
        assert_eq!(not_exercised(&verdicts, &promises), ["G1", "G13"]);
    }
}
