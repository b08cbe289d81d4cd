//! The table at the end: promise x scenario, measured windows, what happened how often, and speed.

use super::report::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Failed seeds listed per scenario.
const FAILED_SHOWN: usize = 20;

/// Everything the table shows, added up over runs.
#[derive(Default)]
pub struct Summary {
    runs: BTreeMap<String, u64>,
    cells: BTreeMap<(Promise, String), Cell>,
    measures: BTreeMap<(Promise, String), Vec<f64>>,
    probes: BTreeMap<(String, String), Probe>,
    counts: BTreeMap<String, u64>,
    failed: BTreeMap<String, BTreeSet<u64>>,
    exit: u8,
    sim_seconds: f64,
    cpu_seconds: f64,
    peak_rss_kib: u64,
}

/// A promise's name, ordered by its number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Promise(u64, String);

impl Promise {
    /// The promise of this name.
    pub fn new(name: &str) -> Promise {
        let digits: String = name.chars().filter(char::is_ascii_digit).collect();
        Promise(digits.parse().unwrap_or(u64::MAX), name.to_owned())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.1
    }
}

/// What the checkers of a promise found.
#[derive(Default)]
pub struct Cell {
    /// How often its precondition was met.
    pub exercised: u64,
    /// How often it was broken.
    pub violations: u64,
    /// How often a checker could not decide.
    pub undecided: u64,
}

#[derive(Default)]
struct Probe {
    sum: u64,
    seeds: u64,
}

/// What a checker's findings amount to.
pub fn verdict(cell: &Cell) -> &'static str {
    match cell {
        Cell { violations: 1.., .. } => "BROKEN",
        Cell { undecided: 1.., .. } => "UNDECIDED",
        Cell { exercised: 1.., .. } => "held",
        _ => "not exercised",
    }
}

impl Summary {
    /// Notes that a scenario is meant to exercise a promise, so that silence shows as *not exercised*.
    pub fn expect(&mut self, scenario: &str, promises: &[String]) {
        for promise in promises {
            self.cells.entry((Promise::new(promise), scenario.to_owned())).or_default();
        }
    }

    /// Adds one run.
    pub fn add(&mut self, report: &Report) {
        *self.runs.entry(report.scenario.clone()).or_default() += 1;
        self.exit = self.exit.max(report.exit);
        if report.exit != 0 {
            self.failed.entry(report.scenario.clone()).or_default().insert(report.seed);
        }
        self.sim_seconds += report.sim_seconds;
        self.cpu_seconds += report.cpu_seconds;
        self.peak_rss_kib = self.peak_rss_kib.max(report.peak_rss_kib);
        for verdict in &report.verdicts {
            let promise = Promise::new(&verdict.promise);
            let cell = self.cells.entry((promise.clone(), report.scenario.clone())).or_default();
            cell.exercised += verdict.exercised;
            cell.violations += verdict.violations.len() as u64;
            cell.undecided += u64::from(verdict.harness_error.is_some());
            for (name, value) in &verdict.measures {
                self.measures.entry((promise.clone(), name.clone())).or_default().push(*value);
            }
        }
        for (name, count) in &report.probes {
            let probe = self.probes.entry((report.scenario.clone(), name.clone())).or_default();
            probe.sum += count;
            probe.seeds += u64::from(*count > 0);
        }
        for (name, count) in &report.counts {
            *self.counts.entry(name.clone()).or_default() += count;
        }
    }

    /// Runs added.
    pub fn runs(&self) -> u64 {
        self.runs.values().sum()
    }

    /// Runs that did not hold.
    pub fn failures(&self) -> u64 {
        self.failed.values().map(|seeds| seeds.len() as u64).sum()
    }

    /// The worst status of all runs.
    pub fn exit(&self) -> u8 {
        self.exit
    }

    /// The whole, for people.
    pub fn text(&self) -> String {
        let mut text = grid(&self.promise_rows());
        let measures = self.measure_rows();
        if measures.len() > 1 {
            let _ = write!(text, "\nmeasured, over runs\n{}", grid(&measures));
        }
        let sums = self.sum_lines();
        if !sums.is_empty() {
            let _ = write!(text, "\ncounted, over runs\n{sums}");
        }
        let probes = self.probe_lines();
        if !probes.is_empty() {
            let _ = write!(text, "\nwhat happened, and in how many seeds\n{probes}");
        }
        for (scenario, seeds) in &self.failed {
            let shown: Vec<String> = seeds.iter().take(FAILED_SHOWN).map(u64::to_string).collect();
            let more = if seeds.len() > FAILED_SHOWN { " ..." } else { "" };
            let _ = writeln!(
                text,
                "\nfailed: {scenario} seeds {}{more} ({} in all)",
                shown.join(" "),
                seeds.len()
            );
        }
        let counts: Vec<String> = self.counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
        if !counts.is_empty() {
            let _ = writeln!(text, "\noperations: {}", counts.join(", "));
        }
        let _ = writeln!(
            text,
            "{:.0} simulated s in {:.1} CPU s: {:.0} simulated s per CPU s; peak memory of a run {} MiB",
            self.sim_seconds,
            self.cpu_seconds,
            self.speed(),
            self.peak_rss_kib / 1024
        );
        text
    }

    /// The whole, as the last line of `--json`.
    pub fn json(&self, commit: &str) -> serde_json::Value {
        let promises: BTreeMap<&str, serde_json::Value> = self
            .promises()
            .into_iter()
            .map(|promise| {
                let cell = self.total(&promise);
                let value = serde_json::json!({
                    "exercised": cell.exercised, "violations": cell.violations, "verdict": verdict(&cell),
                });
                (self.name(&promise), value)
            })
            .collect();
        serde_json::json!({
            "summary": true, "commit": commit, "exit": self.exit, "runs": self.runs, "failures": self.failures(), "failed": self.failed,
            "promises": promises, "sim_seconds": self.sim_seconds, "cpu_seconds": self.cpu_seconds,
            "sim_seconds_per_cpu_second": self.speed(), "peak_rss_kib": self.peak_rss_kib,
        })
    }

    fn speed(&self) -> f64 {
        if self.cpu_seconds > 0.0 { self.sim_seconds / self.cpu_seconds } else { 0.0 }
    }

    fn promises(&self) -> BTreeSet<Promise> {
        self.cells.keys().map(|(promise, _)| promise.clone()).collect()
    }

    fn name(&self, promise: &Promise) -> &str {
        let found = self.cells.keys().find(|(other, _)| other == promise);
        found.map_or("", |(other, _)| other.1.as_str())
    }

    fn total(&self, promise: &Promise) -> Cell {
        let mut total = Cell::default();
        for cell in self.cells.iter().filter(|((other, _), _)| other == promise).map(|(_, cell)| cell) {
            total.exercised += cell.exercised;
            total.violations += cell.violations;
            total.undecided += cell.undecided;
        }
        total
    }

    fn promise_rows(&self) -> Vec<Vec<String>> {
        let scenarios: Vec<&String> = self.runs.keys().collect();
        let mut head = vec!["promise".to_owned()];
        head.extend(scenarios.iter().map(|name| (*name).clone()));
        head.push("verdict".into());
        let mut runs = vec!["seeds".to_owned()];
        runs.extend(self.runs.values().map(u64::to_string));
        runs.push(String::new());
        let mut rows = vec![head, runs];
        for promise in self.promises() {
            let mut row = vec![promise.1.clone()];
            for scenario in &scenarios {
                let cell = self.cells.get(&(promise.clone(), (*scenario).clone()));
                row.push(match cell {
                    None => "-".into(),
                    Some(Cell { violations: 0, undecided: 0, exercised }) => exercised.to_string(),
                    Some(Cell { violations: 0, undecided, exercised }) => {
                        format!("{exercised} ({undecided}?)")
                    }
                    Some(Cell { violations, exercised, .. }) => format!("{exercised} ({violations} BROKEN)"),
                });
            }
            row.push(verdict(&self.total(&promise)).into());
            rows.push(row);
        }
        rows
    }

    /// One row per window. Names that carry a quantile (`refusal_ms_p50`, `_p99`, `_max`) share a row with
    /// the number of samples (`refusal_count`); of several runs the p50 is the middle run's, the p99 and the
    /// largest are the worst run's.
    fn measure_rows(&self) -> Vec<Vec<String>> {
        let mut rows =
            vec![["promise", "window", "samples", "p50", "p99", "max"].map(str::to_owned).to_vec()];
        let mut windows: BTreeMap<(&Promise, String), [Option<&Vec<f64>>; 4]> = BTreeMap::new();
        for ((promise, name), values) in self.measures.iter().filter(|((_, name), _)| !is_sum(name)) {
            let (base, quantile) = split_quantile(name);
            windows.entry((promise, base)).or_default()[quantile] = Some(values);
        }
        for ((promise, name), parts) in windows {
            let bare = parts[3].is_some();
            let at = |part: usize, share: f64| {
                let values = parts[part].or(parts[3]);
                values.map_or_else(|| "-".to_owned(), |values| format!("{:.1}", quantile(values, share)))
            };
            let samples = self.samples(promise, &name).or(parts[3].map(|values| values.len() as f64));
            rows.push(vec![
                promise.1.clone(),
                name,
                samples.map_or_else(|| "-".to_owned(), |samples| format!("{samples:.0}")),
                at(0, 0.5),
                at(1, if bare { 0.99 } else { 1.0 }),
                at(2, 1.0),
            ]);
        }
        rows
    }

    /// The sum of `<stem>_count` beside the window `<stem>_ms`.
    fn samples(&self, promise: &Promise, window: &str) -> Option<f64> {
        let stem = window.strip_suffix("_ms").unwrap_or(window);
        let counts = self.measures.get(&(promise.clone(), format!("{stem}_count")))?;
        Some(counts.iter().sum())
    }

    /// Sums that are no window's number of samples, a line per promise.
    fn sum_lines(&self) -> String {
        let mut lines: BTreeMap<&Promise, Vec<String>> = BTreeMap::new();
        for ((promise, name), values) in self.measures.iter().filter(|((_, name), _)| is_sum(name)) {
            let stem = name.strip_suffix("_count").unwrap_or(name);
            let window = (promise.clone(), format!("{stem}_ms_p50"));
            if !self.measures.contains_key(&window) {
                let sum: f64 = values.iter().sum();
                lines.entry(promise).or_default().push(format!("{} {sum:.0}", stem.replace('_', " ")));
            }
        }
        lines.into_iter().map(|(promise, sums)| format!("  {}: {}\n", promise.1, sums.join(", "))).collect()
    }

    fn probe_lines(&self) -> String {
        let mut text = String::new();
        for ((scenario, name), probe) in &self.probes {
            let runs = self.runs.get(scenario).copied().unwrap_or(1).max(1);
            let share = 100.0 * probe.seeds as f64 / runs as f64;
            let _ = writeln!(text, "  {scenario}: {name}: {share:.0} % of seeds ({} in all)", probe.sum);
        }
        text
    }
}

/// Measures that add up over runs.
pub fn is_sum(name: &str) -> bool {
    name.ends_with("_count") || name.ends_with("_bytes")
}

/// The measure without its quantile, and which quantile it is (3 = none).
pub fn split_quantile(name: &str) -> (String, usize) {
    for (index, mark) in ["p50", "p99", "max"].iter().enumerate() {
        let parts: Vec<&str> = name.split('_').collect();
        if parts.contains(mark) {
            let rest: Vec<&str> = parts.into_iter().filter(|part| part != mark).collect();
            return (rest.join("_"), index);
        }
    }
    (name.to_owned(), 3)
}

/// The value below which the share lies (nearest rank).
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// Columns aligned: the first to the left, the others to the right.
pub fn grid(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let width = *width;
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let line: Vec<String> = cells.collect();
        let _ = writeln!(text, "{}", line.join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(line: &str) -> Report {
        Report::parse(line).expect("a report")
    }

    #[test]
    fn a_promise_never_exercised_says_so() {
        let mut summary = Summary::default();
        summary.expect("calm", &["G2".into(), "G11".into(), "G3".into()]);
        summary.add(&report(
            r#"{"scenario":"calm","verdicts":[{"promise":"G2","exercised":4,"measures":{"refusal_ms_p50":3,"refusal_ms_p99":9,"refusal_ms_max":11,"refusal_count":4,"late_count":2}},
            {"promise":"G3","exercised":4,"violations":[{"kind":"k"}]}],"probes":{"cut inside a commit":2}}"#,
        ));
        let text = summary.text();
        let line =
            |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
        assert!(line("G11").contains("not exercised"), "{text}");
        assert!(line("G2 ").contains("held"), "{text}");
        assert!(line("G3").contains("BROKEN"), "{text}");
        assert!(text.contains("cut inside a commit: 100 % of seeds (2 in all)"), "{text}");
        assert!(text.contains("refusal_ms        4  3.0  9.0  11.0"), "{text}");
        assert!(text.contains("G2: late 2"), "{text}");
        assert!(text.find("G3") < text.find("G11"), "promises stand in the order of their numbers");
        assert_eq!(summary.json("c")["promises"]["G11"]["verdict"], "not exercised");
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            [quantile(&values, 0.5), quantile(&values, 0.99), quantile(&values, 1.0)],
            [50.0, 99.0, 100.0]
        );
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
