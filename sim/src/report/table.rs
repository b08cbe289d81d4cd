//! Puts the reports of many runs together: promise by scenario, with counts, windows and a verdict. Reads
//! reports tolerantly (fields it does not know are ignored) and never calls "held" what no run exercised.

use super::{Judgement, Verdict};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

/// The part of a run's report that the table needs.
#[derive(Debug, Clone, Deserialize)]
pub struct RunSummary {
    /// Scenario name.
    pub scenario: String,
    /// Seed.
    #[serde(default)]
    pub seed: u64,
    /// Exit status of the run.
    #[serde(default)]
    pub exit: i32,
    /// Verdicts of the checkers.
    #[serde(default)]
    pub verdicts: Vec<Verdict>,
}

/// One checker over all runs of one scenario.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// Runs with a verdict of this checker.
    pub runs: u64,
    /// Runs in which the precondition was met at least once.
    pub runs_exercised: u64,
    /// Sum of the times it was met.
    pub exercised: u64,
    /// Seeds of runs that broke it, with the kinds.
    pub broken: BTreeMap<u64, BTreeSet<String>>,
    /// Seeds of runs it could not decide.
    pub undecided: BTreeSet<u64>,
    /// Merged figures.
    pub measures: BTreeMap<String, f64>,
}

impl Cell {
    /// The verdict over all runs.
    pub fn judgement(&self) -> Judgement {
        if !self.broken.is_empty() {
            Judgement::Broken
        } else if !self.undecided.is_empty() {
            Judgement::HarnessError
        } else if self.exercised == 0 {
            Judgement::NotExercised
        } else {
            Judgement::Held
        }
    }

    fn add(&mut self, seed: u64, verdict: &Verdict) {
        self.runs += 1;
        self.runs_exercised += u64::from(verdict.exercised > 0);
        self.exercised += verdict.exercised;
        if !verdict.violations.is_empty() {
            let kinds = verdict.violations.iter().map(|violation| violation.kind.clone());
            self.broken.entry(seed).or_default().extend(kinds);
        }
        if verdict.harness_error.is_some() {
            self.undecided.insert(seed);
        }
        for (name, value) in &verdict.measures {
            let merged = match self.measures.get(name) {
                Some(before) => merge_measure(name, *before, *value),
                None => *value,
            };
            self.measures.insert(name.clone(), merged);
        }
    }
}

/// How two runs' figures become one, by the end of the name: `_count` and `_bytes` are added; everything
/// else keeps the greater. So a merged `_p50` or `_p99` is the worst run's, an upper bound of the true one.
pub fn merge_measure(name: &str, one: f64, other: f64) -> f64 {
    if name.ends_with("_count") || name.ends_with("_bytes") { one + other } else { one.max(other) }
}

/// Promise by scenario.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// (promise, checker) to scenario to cell.
    pub rows: BTreeMap<(String, String), BTreeMap<String, Cell>>,
    /// Runs per scenario.
    pub runs: BTreeMap<String, u64>,
    /// (scenario, seed, exit status) of runs that ended without verdicts or with a status other than 0.
    pub failed: BTreeSet<(String, u64, i32)>,
}

impl Table {
    /// Merges reports.
    pub fn of(reports: impl IntoIterator<Item = RunSummary>) -> Table {
        let mut table = Table::default();
        for report in reports {
            table.add(report);
        }
        table
    }

    /// Merges one more report.
    pub fn add(&mut self, report: RunSummary) {
        *self.runs.entry(report.scenario.clone()).or_default() += 1;
        if report.exit != 0 || report.verdicts.is_empty() {
            self.failed.insert((report.scenario.clone(), report.seed, report.exit));
        }
        for verdict in &report.verdicts {
            let row = self.rows.entry((verdict.promise.clone(), verdict.checker.clone())).or_default();
            row.entry(report.scenario.clone()).or_default().add(report.seed, verdict);
        }
    }

    /// Merges one report given as JSON.
    ///
    /// # Errors
    /// The JSON is not a report.
    pub fn add_json(&mut self, report: &str) -> Result<(), serde_json::Error> {
        self.add(serde_json::from_str(report)?);
        Ok(())
    }

    /// Whether a promise broke, or a run failed otherwise.
    pub fn failed(&self) -> bool {
        !self.failed.is_empty()
            || self
                .rows
                .values()
                .flat_map(BTreeMap::values)
                .any(|cell| matches!(cell.judgement(), Judgement::Broken | Judgement::HarnessError))
    }

    /// The table as text: one line per promise, checker and scenario.
    pub fn render(&self) -> String {
        let mut lines = vec![
            ["promise", "scenario", "runs", "exercised", "in runs", "verdict", "figures"].map(str::to_owned),
        ];
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|((promise, checker), _)| (promise_order(promise), checker.clone()));
        for ((promise, _), scenarios) in rows {
            for (scenario, cell) in scenarios {
                lines.push([
                    promise.clone(),
                    scenario.clone(),
                    cell.runs.to_string(),
                    cell.exercised.to_string(),
                    cell.runs_exercised.to_string(),
                    verdict_words(cell),
                    figures(cell),
                ]);
            }
        }
        let mut text = layout(&lines);
        for (scenario, seed, exit) in &self.failed {
            let _ = writeln!(text, "failed: {scenario} seed {seed}, exit status {exit}");
        }
        text
    }
}

/// `G2` before `G11`, everything without a number last.
fn promise_order(promise: &str) -> (u32, String) {
    let number = promise.strip_prefix('G').and_then(|digits| digits.parse().ok()).unwrap_or(u32::MAX);
    (number, promise.to_owned())
}

fn verdict_words(cell: &Cell) -> String {
    let seeds = |seeds: Vec<String>| seeds.into_iter().take(3).collect::<Vec<_>>().join(", ");
    match cell.judgement() {
        Judgement::Broken => {
            let kinds: BTreeSet<_> = cell.broken.values().flatten().cloned().collect();
            let kinds = kinds.into_iter().collect::<Vec<_>>().join(", ");
            let named = seeds(cell.broken.keys().map(u64::to_string).collect());
            format!("BROKEN in {} ({kinds}; seeds {named})", cell.broken.len())
        }
        Judgement::HarnessError => {
            let named = seeds(cell.undecided.iter().map(u64::to_string).collect());
            format!("harness error in {} (seeds {named})", cell.undecided.len())
        }
        other => other.words().to_owned(),
    }
}

fn figures(cell: &Cell) -> String {
    let mut parts = Vec::new();
    for (name, p50) in &cell.measures {
        let Some(stem) = name.strip_suffix("_ms_p50") else { continue };
        let get = |suffix: &str| cell.measures.get(&format!("{stem}_ms_{suffix}")).copied().unwrap_or(0.0);
        parts.push(format!("{stem} {:.0}/{:.0}/{:.0} ms", p50, get("p99"), get("max")));
    }
    for (name, value) in &cell.measures {
        if let Some(stem) = name.strip_suffix("_count")
            && !cell.measures.contains_key(&format!("{stem}_ms_p50"))
        {
            parts.push(format!("{stem} {value:.0}"));
        }
    }
    parts.join(", ")
}

fn layout(lines: &[[String; 7]]) -> String {
    let mut widths = [0usize; 7];
    for line in lines {
        for (width, text) in widths.iter_mut().zip(line) {
            *width = (*width).max(text.chars().count());
        }
    }
    let mut out = String::new();
    for line in lines {
        let mut row = String::new();
        for (index, (text, width)) in line.iter().zip(widths).enumerate() {
            let numeric = (2..=4).contains(&index);
            let _ = if numeric { write!(row, "{text:>width$}  ") } else { write!(row, "{text:<width$}  ") };
        }
        out.push_str(row.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(scenario: &str, seed: u64, exercised: u64, broken: bool) -> RunSummary {
        let mut verdict = Verdict::new("G2", "g2_write_refusal");
        verdict.exercised = exercised;
        verdict.spans("refusal", vec![1_000 * (seed + 1)]);
        if broken {
            verdict.broken("acknowledged", &[4], "op 4".to_owned());
        }
        RunSummary {
            scenario: scenario.to_owned(),
            seed,
            exit: if broken { 2 } else { 0 },
            verdicts: vec![verdict],
        }
    }

    #[test]
    fn merges_counts_and_keeps_the_worst_span() {
        let table = Table::of([report("zone-loss", 1, 5, false), report("zone-loss", 2, 0, false)]);
        let cell = &table.rows[&("G2".to_owned(), "g2_write_refusal".to_owned())]["zone-loss"];
        assert_eq!((cell.runs, cell.exercised, cell.runs_exercised), (2, 5, 1));
        assert_eq!(cell.measures["refusal_count"], 2.0);
        assert_eq!(cell.measures["refusal_ms_max"], 3.0);
        assert!(!table.failed());
        assert!(table.render().contains("held"));
    }

    #[test]
    fn what_was_not_exercised_is_not_held() {
        let text = Table::of([report("calm", 1, 0, false)]).render();
        assert!(text.contains("not exercised") && !text.contains("held"), "{text}");
    }

    #[test]
    fn a_broken_run_names_its_seed_and_kind() {
        let table = Table::of([report("zone-loss", 7, 3, true), report("zone-loss", 8, 3, false)]);
        let text = table.render();
        assert!(text.contains("BROKEN in 1 (acknowledged; seeds 7)"), "{text}");
        assert!(table.failed());
    }

    #[test]
    fn a_run_without_verdicts_fails_the_table() {
        let mut table = Table::default();
        table.add_json(r#"{"scenario":"calm","seed":3,"exit":5,"other":1}"#).expect("tolerant");
        assert!(table.failed());
        assert!(table.render().contains("failed: calm seed 3, exit status 5"));
        assert!(table.add_json("{}").is_err());
    }

    #[test]
    fn promises_sort_by_number() {
        let mut names = ["health", "G11", "G2"];
        names.sort_by_key(|name| promise_order(name));
        assert_eq!(names, ["G2", "G11", "health"]);
    }
}
