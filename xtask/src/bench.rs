//! `cargo xtask bench`: the criterion benchmarks and a table of their figures, the simulator's speed against its figures, and what the third copy costs creates in
//! the simulated world.
//!
//! Speed is simulated seconds per processor second of the process that runs a seed, on one core. A seed does the
//! same work each time, to the byte; what differs from run to run is what the core had to share (caches, threads of the
//! same core, a host's other guests). Each seed is run several times in turns; the figure is made of each one's least
//! time, and the median is printed beside it.

mod figures;
mod third;

use crate::interrupt::Children;
use crate::shell::{self, Failure, World, harness};
use crate::sim::pool::{Job, Pool};
use crate::sim::report::Report;
use crate::sim::{build, table};
use crate::{exit, say};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Simulated seconds per CPU second of `calm` with its load, at least.
const LOADED_SPEED: f64 = 150.0;
/// The same without load, at least.
const IDLE_SPEED: f64 = 1000.0;
/// How long nothing is asked of the region in the run without load.
const IDLE_FOR: &str = "600s";
/// Times that each seed is run.
const TURNS: u64 = 9;
/// Largest memory of a run, MiB, less than.
const MEMORY_MIB: u64 = 64;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    /// Short measurements
    #[arg(long)]
    quick: bool,
    /// Only the simulator's speed
    #[arg(long)]
    sim_only: bool,
}

/// Runs the command and answers its exit status: 2 if a figure was missed.
///
/// # Errors
/// When something does not build, or a run says nothing.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let root = shell::root();
    let mut code = exit::HELD;
    if !args.sim_only {
        let mut command = shell::cargo(&root, World::Real, &["bench", "-p", "kms-benches"]);
        if args.quick {
            command.args(["--", "--quick"]);
        }
        if !figures::run(&mut command)? {
            code = exit::BROKEN;
        }
    }
    let pool = Pool {
        binary: build::simulator(&root)?,
        jobs: 1,
        out: None,
        twice: false,
        trace: false,
        children: Children::watched(),
    };
    let seeds = if args.quick { 1 } else { 3 };
    let idle = idle(&root)?.to_string_lossy().into_owned();
    let mut rows = vec![
        [
            "simulator",
            "simulated s",
            "CPU s, least",
            "median",
            "ratio",
            "by median",
            "at least",
            "MiB",
            "below",
            "",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let turns = if args.quick { 3 } else { TURNS };
    for (scenario, name, least) in
        [("calm".to_owned(), "calm, with load", LOADED_SPEED), (idle, "calm, no load", IDLE_SPEED)]
    {
        let reports = runs(&pool, &scenario, seeds, turns);
        let (row, met) = row(name, least, &reports)?;
        rows.push(row);
        if !met {
            code = exit::BROKEN;
        }
        reports.iter().take(1).for_each(profile);
    }
    say::out(format_args!("\ncommit {}\n{}", shell::commit(&root), table::grid(&rows)));
    if !third::run(&pool, &root, if args.quick { 2 } else { 8 })? {
        code = exit::BROKEN;
    }
    Ok(code)
}

/// `calm` without load, beside what is built. For ten minutes: of a minute's cost a third would be the start.
fn idle(root: &Path) -> Result<PathBuf, Failure> {
    let text = shell::text(&root.join("scenarios/calm.toml"));
    put(root, "calm-idle.toml", &without_load(&text)?)
}

/// A scenario beside what is built.
fn put(root: &Path, name: &str, text: &str) -> Result<PathBuf, Failure> {
    let folder = root.join("target/bench");
    let path = folder.join(name);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(&path, text)?;
    Ok(path)
}

fn without_load(text: &str) -> Result<String, Failure> {
    let mut table: toml::Table = text.parse().map_err(|error| harness(format!("calm.toml: {error}")))?;
    table.insert("name".into(), "calm-idle".into());
    part(&mut table, "load")?.insert("rate_per_s".into(), 0.into());
    part(&mut table, "phases")?.insert("faults".into(), IDLE_FOR.into());
    Ok(table.to_string())
}

/// A table of `calm`.
fn part<'a>(calm: &'a mut toml::Table, name: &str) -> Result<&'a mut toml::Table, Failure> {
    let part = calm.get_mut(name).and_then(toml::Value::as_table_mut);
    part.ok_or_else(|| harness(format!("calm.toml has no [{name}]")))
}

fn runs(pool: &Pool, scenario: &str, seeds: u64, turns: u64) -> Vec<Report> {
    let job = |seed| Job {
        scenario: scenario.to_owned(),
        name: scenario.to_owned(),
        seed,
        extra: Vec::new(),
        tag: 0,
    };
    let mut reports = Vec::new();
    pool.run((0..turns).flat_map(|_| 1..=seeds).map(job), |_, report| reports.push(report));
    reports
}

fn row(name: &str, least: f64, reports: &[Report]) -> Result<(Vec<String>, bool), Failure> {
    if let Some(failed) = reports.iter().find(|report| report.cpu_seconds <= 0.0) {
        return Err(harness(format!("{name}: seed {} measured nothing: {}", failed.seed, failed.reason())));
    }
    // By seed: simulated seconds, and the processor seconds of its runs.
    let mut seeds: BTreeMap<u64, (f64, Vec<f64>)> = BTreeMap::new();
    for report in reports {
        let (simulated, processor) = seeds.entry(report.seed).or_default();
        *simulated = report.sim_seconds;
        processor.push(report.cpu_seconds);
    }
    seeds.values_mut().for_each(|(_, processor)| processor.sort_by(f64::total_cmp));
    let simulated: f64 = seeds.values().map(|(simulated, _)| simulated).sum();
    let least_time: f64 = seeds.values().map(|(_, processor)| processor[0]).sum();
    let median_time: f64 = seeds.values().map(|(_, processor)| processor[processor.len() / 2]).sum();
    let memory = reports.iter().map(|report| report.peak_rss_kib).max().unwrap_or(0).div_ceil(1024);
    let ratio = simulated / least_time;
    let met = ratio >= least && memory < MEMORY_MIB;
    let row = vec![
        name.to_owned(),
        format!("{simulated:.0}"),
        format!("{least_time:.2}"),
        format!("{median_time:.2}"),
        format!("{ratio:.0}"),
        format!("{:.0}", simulated / median_time),
        format!("{least:.0}"),
        memory.to_string(),
        MEMORY_MIB.to_string(),
        if met { "met".into() } else { "MISSED".into() },
    ];
    Ok((row, met))
}

/// Where the time of a run went, if it said so.
fn profile(report: &Report) {
    if let Some(parts) = report.raw.get("profile").and_then(serde_json::Value::as_object) {
        say::out(format_args!("profile of {} seed {}:", report.scenario, report.seed));
        for (name, value) in parts {
            say::out(format_args!("  {name}: {value}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_calm_without_load() {
        let text = without_load(
            "name = \"calm\"\n[load]\nrate_per_s = 50\nmix = { create = 1 }\n[phases]\nfaults = \"60s\"\n",
        )
        .expect("toml");
        let table: toml::Table = text.parse().expect("toml");
        assert_eq!(table["load"]["rate_per_s"].as_integer(), Some(0));
        assert_eq!(table["phases"]["faults"].as_str(), Some("600s"));
        assert_eq!(table["load"]["mix"]["create"].as_integer(), Some(1));
    }

    #[test]
    fn a_figure_is_missed_by_speed_or_by_memory() {
        let report = |sim_seconds, peak_rss_kib| Report {
            sim_seconds,
            cpu_seconds: 1.0,
            peak_rss_kib,
            ..Report::default()
        };
        let met = |report| row("x", 150.0, &[report]).expect("a row").1;
        assert!(met(report(150.0, 1024)));
        assert!(!met(report(149.0, 1024)));
        assert!(!met(report(150.0, 64 * 1024)));
    }

    #[test]
    fn a_seed_counts_with_its_least_time() {
        let run = |seed, cpu_seconds| Report { seed, sim_seconds: 90.0, cpu_seconds, ..Report::default() };
        let runs = [run(1, 0.9), run(1, 0.6), run(1, 0.7), run(2, 0.6), run(2, 2.0), run(2, 1.0)];
        let (row, met) = row("x", 150.0, &runs).expect("a row");
        assert_eq!((&*row[1], &*row[2], &*row[3], &*row[4]), ("180", "1.20", "1.70", "150"));
        assert!(met);
    }
}
