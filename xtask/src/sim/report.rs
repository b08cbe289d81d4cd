//! What one run of the simulator says: one JSON line. Unknown fields are kept for `--json` and otherwise
//! ignored, so that the simulator may say more than this reads.

use crate::exit;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One run, as the simulator printed it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Name of the scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The run's own exit status.
    pub exit: u8,
    /// Hash over everything that happened.
    pub trace_hash: String,
    /// Simulated time, seconds.
    pub sim_seconds: f64,
    /// Processor time, seconds.
    pub cpu_seconds: f64,
    /// Largest memory, KiB.
    pub peak_rss_kib: u64,
    /// What each checker found.
    pub verdicts: Vec<Verdict>,
    /// How often each interesting thing happened.
    pub probes: BTreeMap<String, u64>,
    /// Operations by outcome.
    pub counts: BTreeMap<String, u64>,
    /// Why the run failed, in one sentence.
    pub failure: Option<String>,
    /// Everything, as printed.
    #[serde(skip)]
    pub raw: serde_json::Value,
}

/// What one checker found in one run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// The promise, such as `G1`.
    pub promise: String,
    /// The checker.
    pub checker: String,
    /// How often the promise's precondition was met.
    pub exercised: u64,
    /// Where it was broken.
    pub violations: Vec<Violation>,
    /// Windows and times, by name with the unit last.
    pub measures: BTreeMap<String, f64>,
    /// Why the checker could not decide.
    pub harness_error: Option<String>,
}

/// One place where a promise was broken.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Violation {
    /// Which way of breaking it.
    pub kind: String,
    /// A sentence.
    pub text: String,
}

impl Report {
    /// Reads a line; `None` if it is not a report.
    pub fn parse(line: &str) -> Option<Report> {
        let line = line.trim();
        if !line.starts_with('{') {
            return None;
        }
        let raw: serde_json::Value = serde_json::from_str(line).ok()?;
        raw.get("verdicts")?;
        let mut report: Report = serde_json::from_value(raw.clone()).ok()?;
        report.raw = raw;
        Some(report)
    }

    /// A report of a run that said nothing itself.
    pub fn harness(scenario: &str, seed: u64, failure: String) -> Report {
        let mut report = Report {
            scenario: scenario.to_owned(),
            seed,
            exit: exit::HARNESS,
            failure: Some(failure),
            ..Report::default()
        };
        report.raw = serde_json::to_value(&report).unwrap_or_default();
        report
    }

    /// Raises the exit status, and says why unless a reason is there already.
    pub fn fail(&mut self, code: u8, why: &str) {
        self.exit = self.exit.max(code);
        if self.failure.is_none() {
            self.failure = Some(why.to_owned());
        }
        if let Some(object) = self.raw.as_object_mut() {
            object.insert("exit".into(), self.exit.into());
            object.insert("failure".into(), self.failure.clone().into());
        }
    }

    /// Why the run failed, in a sentence.
    pub fn reason(&self) -> String {
        let violation = self.verdicts.iter().find_map(|verdict| {
            let first = verdict.violations.first()?;
            Some(format!("{} {}: {}", verdict.promise, first.kind, first.text))
        });
        let error = || {
            self.verdicts.iter().find_map(|verdict| {
                Some(format!("{} undecided: {}", verdict.promise, verdict.harness_error.as_ref()?))
            })
        };
        violation
            .or_else(|| self.failure.clone())
            .or_else(error)
            .unwrap_or_else(|| exit::word(self.exit).to_owned())
    }

    /// Brings the status in line with the verdicts: a violation is never reported as held, nor is a checker
    /// that could not decide. A violation stands even where another checker could not.
    pub fn settle(&mut self) {
        if self.verdicts.iter().any(|verdict| !verdict.violations.is_empty()) {
            self.exit = self.exit.max(exit::BROKEN);
        } else if self.verdicts.iter().any(|verdict| verdict.harness_error.is_some()) {
            self.exit = self.exit.max(exit::HARNESS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_and_unknown_fields_are_kept() {
        let line = r#"{"scenario":"calm","seed":3,"exit":0,"verdicts":[{"promise":"G1","exercised":2}],"failure":null,"new":1}"#;
        let report = Report::parse(line).expect("a report");
        assert_eq!((report.scenario.as_str(), report.seed, report.verdicts[0].exercised), ("calm", 3, 2));
        assert_eq!(report.raw["new"], 1);
        assert!(Report::parse("12 net db-a -> db-b 33 bytes").is_none());
        assert!(Report::parse(r#"{"level":"warn"}"#).is_none());
    }

    #[test]
    fn a_violation_is_never_held() {
        let line = r#"{"exit":0,"verdicts":[{"promise":"G2","violations":[{"kind":"late","text":"2 s"}]}]}"#;
        let mut report = Report::parse(line).expect("a report");
        report.settle();
        assert_eq!(report.exit, exit::BROKEN);
        assert_eq!(report.reason(), "G2 late: 2 s");
    }
}
