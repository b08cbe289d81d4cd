//! Runs added up: per promise, per window, per loss. Nothing is dropped silently: a run without verdicts is
//! among the failed, and counts for no promise.

use super::bounds;
use crate::sim::report::{Report, Verdict};
use crate::sim::table::{Cell, Promise, is_sum, quantile, split_quantile, verdict};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Below so many runs without a failure the rule of three says nothing.
const RUNS_MIN: u64 = 4;

/// Everything of an edition, as `datasheet.json` has it.
#[derive(Debug, Serialize)]
pub struct Edition {
    /// The commit that was run.
    pub commit: String,
    /// The seeds of each scenario, as `--seeds` takes them if they have no gap.
    pub seeds: String,
    /// Runs in all.
    pub runs: u64,
    /// The worst exit status.
    pub exit: u8,
    /// Simulated time, seconds.
    pub sim_seconds: f64,
    /// Runs of each scenario.
    pub scenarios: BTreeMap<String, u64>,
    /// Each promise, in order.
    pub promises: Vec<PromiseLine>,
    /// Each window that was measured.
    pub windows: Vec<WindowLine>,
    /// What the loss of a region cost.
    pub losses: Vec<LossLine>,
    /// Sums of what the checkers counted, by promise.
    pub counted: BTreeMap<String, BTreeMap<String, f64>>,
    /// Every run that did not hold.
    pub failed: Vec<FailedRun>,
}

/// How a promise fared.
#[derive(Debug, Serialize)]
pub struct PromiseLine {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `held`, `BROKEN`, `UNDECIDED` or `not exercised`.
    pub verdict: &'static str,
    /// How often its precondition was met.
    pub exercised: u64,
    /// In how many runs.
    pub runs_exercised: u64,
    /// Runs in which it was broken.
    pub runs_broken: u64,
    /// Runs in which a checker could not decide.
    pub runs_undecided: u64,
    /// With 95 % confidence a run breaks it with a lower probability; `None`: nothing can be said.
    pub broken_per_run_below: Option<f64>,
    /// How often it was met in each scenario that met it.
    pub scenarios: BTreeMap<String, ScenarioLine>,
    /// How often each checker met it.
    pub checkers: BTreeMap<String, u64>,
}

/// How a promise fared in a scenario.
#[derive(Debug, Default, Clone, Serialize)]
pub struct ScenarioLine {
    /// How often its precondition was met.
    pub exercised: u64,
    /// In how many runs.
    pub runs_exercised: u64,
}

/// A window over all runs.
#[derive(Debug, Serialize)]
pub struct WindowLine {
    /// The promise.
    pub promise: String,
    /// As the checker names it.
    pub name: String,
    /// In words.
    pub what: String,
    /// What it is judged by.
    pub bound: Option<String>,
    /// Runs that measured it.
    pub runs: u64,
    /// Samples in all.
    pub samples: u64,
    /// Whether the quantiles are those of all samples: each run had one.
    pub exact: bool,
    /// Milliseconds: see [`exact`](WindowLine::exact).
    pub p50_ms: f64,
    /// Milliseconds.
    pub p99_ms: f64,
    /// Milliseconds: of all samples.
    pub max_ms: f64,
}

/// What the losses of a region cost, one value per run that lost it and made it anew.
#[derive(Debug, Serialize)]
pub struct LossLine {
    /// The promise.
    pub promise: String,
    /// What may be lost.
    pub bound: &'static str,
    /// Losses.
    pub losses: u64,
    /// Losses that cost no write.
    pub losses_without_cost: u64,
    /// Acknowledged key writes lost: p50, p99, largest.
    pub writes: [f64; 3],
    /// From the acknowledgement of the oldest lost write to the loss, seconds: p50, p99, largest.
    pub seconds: [f64; 3],
}

/// A run that did not hold.
#[derive(Debug, Serialize)]
pub struct FailedRun {
    /// Its scenario.
    pub scenario: String,
    /// Its seed.
    pub seed: u64,
    /// Its status.
    pub exit: u8,
    /// Why.
    pub why: String,
}

#[derive(Default)]
struct Counts {
    cell: Cell,
    runs_exercised: u64,
    runs_broken: u64,
    runs_undecided: u64,
    scenarios: BTreeMap<String, ScenarioLine>,
    checkers: BTreeMap<String, u64>,
    counted: BTreeMap<String, f64>,
}

/// A window in one run.
#[derive(Default, Clone)]
struct Measured {
    quantiles: [Option<f64>; 3],
    samples: u64,
}

#[derive(Default)]
struct Losses {
    writes: Vec<f64>,
    seconds: Vec<f64>,
}

/// Runs, as they are added.
pub struct Sheet<'a> {
    names: Vec<(String, String)>,
    backup_interval_ms: &'a dyn Fn(&str) -> u64,
    scenarios: BTreeMap<String, u64>,
    seeds: BTreeSet<u64>,
    promises: BTreeMap<Promise, Counts>,
    /// By promise, name, and what its bound hangs on.
    windows: BTreeMap<(Promise, String, u64), Vec<Measured>>,
    losses: BTreeMap<Promise, Losses>,
    failed: Vec<FailedRun>,
    sim_seconds: f64,
    exit: u8,
}

impl<'a> Sheet<'a> {
    /// For these promises, id and name; each is in the edition, whether it is ever exercised or not.
    pub fn new(names: Vec<(String, String)>, backup_interval_ms: &'a dyn Fn(&str) -> u64) -> Sheet<'a> {
        let promises = names.iter().map(|(id, _)| (Promise::new(id), Counts::default())).collect();
        Sheet {
            names,
            backup_interval_ms,
            scenarios: BTreeMap::new(),
            seeds: BTreeSet::new(),
            promises,
            windows: BTreeMap::new(),
            losses: BTreeMap::new(),
            failed: Vec::new(),
            sim_seconds: 0.0,
            exit: 0,
        }
    }

    /// Adds one run.
    pub fn add(&mut self, report: &Report) {
        *self.scenarios.entry(report.scenario.clone()).or_default() += 1;
        self.seeds.insert(report.seed);
        self.sim_seconds += report.sim_seconds;
        self.exit = self.exit.max(report.exit);
        if report.exit != 0 {
            let (scenario, why) = (report.scenario.clone(), report.reason());
            self.failed.push(FailedRun { scenario, seed: report.seed, exit: report.exit, why });
        }
        let mut of: BTreeMap<Promise, Vec<&Verdict>> = BTreeMap::new();
        for verdict in &report.verdicts {
            of.entry(Promise::new(&verdict.promise)).or_default().push(verdict);
        }
        for (promise, verdicts) in of {
            self.count(&promise, &verdicts, &report.scenario);
            for verdict in verdicts {
                self.measure(&promise, verdict, &report.scenario);
            }
        }
    }

    /// A promise may have several checkers: a run exercises it, or breaks it, once.
    fn count(&mut self, promise: &Promise, verdicts: &[&Verdict], scenario: &str) {
        let exercised: u64 = verdicts.iter().map(|verdict| verdict.exercised).sum();
        let violations: u64 = verdicts.iter().map(|verdict| verdict.violations.len() as u64).sum();
        let undecided = verdicts.iter().any(|verdict| verdict.harness_error.is_some());
        let counts = self.promises.entry(promise.clone()).or_default();
        counts.cell.exercised += exercised;
        counts.cell.violations += violations;
        counts.cell.undecided += u64::from(undecided);
        counts.runs_exercised += u64::from(exercised > 0);
        counts.runs_broken += u64::from(violations > 0);
        counts.runs_undecided += u64::from(undecided);
        if exercised > 0 {
            let line = counts.scenarios.entry(scenario.to_owned()).or_default();
            line.exercised += exercised;
            line.runs_exercised += 1;
        }
        for verdict in verdicts {
            *counts.checkers.entry(verdict.checker.clone()).or_default() += verdict.exercised;
            for (name, value) in verdict.measures.iter().filter(|(name, _)| is_sum(name)) {
                *counts.counted.entry(name.clone()).or_default() += value;
            }
        }
    }

    fn measure(&mut self, promise: &Promise, verdict: &Verdict, scenario: &str) {
        let measure = |name: &str| verdict.measures.get(name).copied();
        if bounds::loss(promise.name()).is_some() && measure("restored_after_ms_max").is_some() {
            let losses = self.losses.entry(promise.clone()).or_default();
            losses.writes.push(measure("creates_lost_count").unwrap_or(0.0));
            losses.seconds.push(measure("lost_ms_max").unwrap_or(0.0) / 1000.0);
        }
        let mut found: BTreeMap<String, Measured> = BTreeMap::new();
        for (name, value) in &verdict.measures {
            let (base, part) = split_quantile(name);
            let Some(stem) = base.strip_suffix("_ms") else { continue };
            let entry = found.entry(stem.to_owned()).or_default();
            if part < 3 {
                entry.quantiles[part] = Some(*value);
            }
            entry.samples = measure(&format!("{stem}_count")).unwrap_or(1.0) as u64;
        }
        for (stem, measured) in found {
            // The stores are named by place; what is asked of them is the same.
            let name = if stem.starts_with("age_in_") { "age".to_owned() } else { stem };
            let of = if name == "age" { (self.backup_interval_ms)(scenario) } else { 0 };
            self.windows.entry((promise.clone(), name, of)).or_default().push(measured);
        }
    }

    /// The whole.
    pub fn edition(&self, commit: &str) -> Edition {
        Edition {
            commit: commit.to_owned(),
            seeds: self.seeds(),
            runs: self.scenarios.values().sum(),
            exit: self.exit,
            sim_seconds: self.sim_seconds,
            scenarios: self.scenarios.clone(),
            promises: self.promises.iter().map(|(promise, counts)| self.promise(promise, counts)).collect(),
            windows: self
                .windows
                .iter()
                .filter_map(|((promise, name, of), runs)| window(promise, name, *of, runs))
                .collect(),
            losses: self.losses.iter().filter_map(|(promise, losses)| loss(promise, losses)).collect(),
            counted: self
                .promises
                .iter()
                .filter(|(_, counts)| !counts.counted.is_empty())
                .map(|(promise, counts)| (promise.name().to_owned(), counts.counted.clone()))
                .collect(),
            failed: self.failed.iter().map(FailedRun::again).collect(),
        }
    }

    fn seeds(&self) -> String {
        let (Some(first), Some(last)) = (self.seeds.first(), self.seeds.last()) else { return String::new() };
        let whole = last - first + 1 == self.seeds.len() as u64;
        let some = if whole { String::new() } else { format!(" ({} of them)", self.seeds.len()) };
        format!("{first}..{}{some}", last.saturating_add(1))
    }

    fn promise(&self, promise: &Promise, counts: &Counts) -> PromiseLine {
        let id = promise.name().to_owned();
        let name = self.names.iter().find(|(other, _)| *other == id).map(|(_, name)| name.clone());
        let runs = counts.runs_exercised;
        let held = counts.runs_broken == 0 && counts.runs_undecided == 0 && runs >= RUNS_MIN;
        PromiseLine {
            name: name.unwrap_or_else(|| {
                "no promise: no process ends by itself, or reports what must not be".into()
            }),
            id,
            verdict: verdict(&counts.cell),
            exercised: counts.cell.exercised,
            runs_exercised: runs,
            runs_broken: counts.runs_broken,
            runs_undecided: counts.runs_undecided,
            broken_per_run_below: held.then(|| 3.0 / runs as f64),
            scenarios: counts.scenarios.clone(),
            checkers: counts.checkers.clone(),
        }
    }
}

impl FailedRun {
    fn again(&self) -> FailedRun {
        FailedRun { scenario: self.scenario.clone(), seed: self.seed, exit: self.exit, why: self.why.clone() }
    }
}

fn window(promise: &Promise, name: &str, of: u64, runs: &[Measured]) -> Option<WindowLine> {
    let known = bounds::window(promise.name(), name, of)?;
    let part = |index: usize| -> Vec<f64> { runs.iter().filter_map(|run| run.quantiles[index]).collect() };
    let exact = runs.iter().all(|run| run.samples == 1);
    let largest = part(2);
    Some(WindowLine {
        promise: promise.name().to_owned(),
        name: name.to_owned(),
        what: known.what.to_owned(),
        bound: known.bound,
        runs: runs.len() as u64,
        samples: runs.iter().map(|run| run.samples).sum(),
        exact,
        p50_ms: quantile(&part(0), 0.5),
        p99_ms: quantile(&part(1), if exact { 0.99 } else { 1.0 }),
        max_ms: quantile(&largest, 1.0),
    })
}

fn loss(promise: &Promise, losses: &Losses) -> Option<LossLine> {
    let three = |values: &[f64]| [0.5, 0.99, 1.0].map(|share| quantile(values, share));
    Some(LossLine {
        promise: promise.name().to_owned(),
        bound: bounds::loss(promise.name())?,
        losses: losses.writes.len() as u64,
        losses_without_cost: losses.writes.iter().filter(|writes| **writes == 0.0).count() as u64,
        writes: three(&losses.writes),
        seconds: three(&losses.seconds),
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// An edition of these lines, of the promises G1 to G6 and G14.
    pub fn edition(lines: &[&str]) -> Edition {
        let ids = ["G1", "G2", "G3", "G5", "G6", "G7", "G14"];
        let names = ids.map(|id| (id.to_owned(), format!("name of {id}"))).to_vec();
        let interval = |scenario: &str| if scenario == "often" { 10_000 } else { 240_000 };
        let mut sheet = Sheet::new(names, &interval);
        for line in lines {
            let mut report = Report::parse(line).expect("a report");
            report.settle();
            sheet.add(&report);
        }
        sheet.edition("abc")
    }

    fn of<'a>(edition: &'a Edition, id: &str) -> &'a PromiseLine {
        edition.promises.iter().find(|line| line.id == id).expect("every promise has a line")
    }

    #[test]
    fn a_promise_counts_the_runs_that_met_it_and_only_those() {
        let met = r#"{"scenario":"calm","seed":1,"verdicts":[{"promise":"G1","checker":"a","exercised":5},{"promise":"G1","checker":"b","exercised":2}]}"#;
        let not = r#"{"scenario":"calm","seed":2,"verdicts":[{"promise":"G1","checker":"a","exercised":0}]}"#;
        let edition = edition(&[met, met, met, met, not]);
        let line = of(&edition, "G1");
        assert_eq!((line.exercised, line.runs_exercised, line.verdict), (28, 4, "held"));
        assert_eq!(line.broken_per_run_below, Some(0.75));
        assert_eq!(line.checkers["a"], 20);
        assert_eq!((edition.runs, edition.seeds.as_str()), (5, "1..3"));
        // Nobody met these: one has no checker at all.
        for id in ["G2", "G14"] {
            let line = of(&edition, id);
            assert_eq!((line.verdict, line.broken_per_run_below), ("not exercised", None));
        }
    }

    #[test]
    fn a_broken_promise_supports_nothing() {
        let held = r#"{"scenario":"calm","seed":1,"verdicts":[{"promise":"G2","exercised":5}]}"#;
        let broken = r#"{"scenario":"calm","seed":9,"verdicts":[{"promise":"G2","exercised":5,"violations":[{"kind":"late","text":"2 s"},{"kind":"late"}]}]}"#;
        let dead = r#"{"scenario":"calm","seed":8,"exit":5,"verdicts":[],"failure":"no end"}"#;
        let edition = edition(&[held, held, held, held, broken, dead]);
        let line = of(&edition, "G2");
        assert_eq!((line.verdict, line.runs_broken, line.broken_per_run_below), ("BROKEN", 1, None));
        assert_eq!(line.runs_exercised, 5, "a run that said nothing is none of them");
        assert_eq!(edition.exit, 5);
        assert_eq!(edition.seeds, "1..10 (3 of them)");
        let failed: Vec<(u64, &str)> =
            edition.failed.iter().map(|run| (run.seed, run.why.as_str())).collect();
        assert_eq!(failed, [(9, "G2 late: 2 s"), (8, "no end")]);
    }

    #[test]
    fn windows_of_several_samples_are_bounded_and_single_ones_exact() {
        let several = |p50: u64, p99: u64, max: u64| {
            format!(
                r#"{{"scenario":"zone-loss","verdicts":[{{"promise":"G2","exercised":1,"measures":{{"refusal_ms_p50":{p50},"refusal_ms_p99":{p99},"refusal_ms_max":{max},"refusal_count":7,"late_count":2}}}}]}}"#
            )
        };
        let (one, two, three) = (several(3, 9, 11), several(5, 30, 31), several(4, 12, 40));
        let edition = edition(&[&one, &two, &three]);
        let line = &edition.windows[0];
        assert_eq!((line.name.as_str(), line.runs, line.samples, line.exact), ("refusal", 3, 21, false));
        assert_eq!([line.p50_ms, line.p99_ms, line.max_ms], [4.0, 30.0, 40.0]);
        assert_eq!(line.bound.as_deref(), Some("1 s"));
        assert_eq!(edition.counted["G2"]["late_count"], 6.0);
    }

    #[test]
    fn a_loss_that_cost_nothing_is_counted_as_one() {
        let loss = |lost: u64, ms: u64| {
            let window = match lost {
                0 => String::new(),
                _ => format!(r#","lost_count":{lost},"lost_ms_p50":1,"lost_ms_p99":2,"lost_ms_max":{ms}"#),
            };
            format!(
                r#"{{"scenario":"region-loss","verdicts":[{{"promise":"G5","exercised":9,"measures":{{"creates_lost_count":{lost},"restored_after_count":1,"restored_after_ms_p50":{ms},"restored_after_ms_p99":{ms},"restored_after_ms_max":{ms}{window}}}}}]}}"#
            )
        };
        // No region was lost in the last one.
        let none = r#"{"scenario":"region-loss","verdicts":[{"promise":"G5","exercised":0}]}"#;
        let edition = edition(&[&loss(0, 8_000), &loss(4, 1_500), &loss(2, 500), none]);
        let line = &edition.losses[0];
        assert_eq!((line.losses, line.losses_without_cost), (3, 1));
        assert_eq!((line.writes, line.seconds), ([2.0, 4.0, 4.0], [0.5, 1.5, 1.5]));
        let restored = edition.windows.iter().find(|line| line.name == "restored_after").expect("measured");
        assert!(restored.exact && restored.max_ms == 8_000.0 && restored.p50_ms == 1_500.0);
        assert_eq!(restored.bound, None);
        assert_eq!(edition.losses.len(), 1, "G6 was not exercised");
    }

    #[test]
    fn ages_of_backups_stand_beside_the_bound_of_their_scenario() {
        let run = |scenario: &str, age: u64| {
            format!(
                r#"{{"scenario":"{scenario}","verdicts":[{{"promise":"G7","exercised":1,"measures":{{"age_in_eu_west_gra_count":3,"age_in_eu_west_gra_ms_p50":{age},"age_in_eu_west_gra_ms_p99":{age},"age_in_eu_west_gra_ms_max":{age}}}}}]}}"#
            )
        };
        let edition = edition(&[&run("often", 10_100), &run("seldom", 240_100)]);
        let bounds: Vec<Option<&str>> = edition.windows.iter().map(|line| line.bound.as_deref()).collect();
        assert_eq!(bounds, [Some("70 s"), Some("300 s")]);
    }
}
