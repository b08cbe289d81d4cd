//! `cargo xtask datasheet`: many runs of the scenarios that lose something, added up into `reports/datasheet.md`
//! and `reports/datasheet.json`: how often each promise was put to the test, what was measured beside the
//! bound it is judged by, and what so many runs support.
//!
//! It judges nothing: verdicts are the checkers'. An edition that was interrupted is not written.

mod bounds;
mod sheet;
mod text;

use crate::exit;
use crate::say::{self, Voice};
use crate::shell::{self, Failure, usage};
use crate::sim::{self, report::Report, seeds::Seeds};
use sheet::{Edition, Sheet};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The scenarios of an edition: all that lose or damage something and end within seconds, and the calm one.
const SCENARIOS: [&str; 36] = [
    "calm",
    "host-loss",
    "zone-loss",
    "zone-link-cut",
    "database-down",
    "cut-restart",
    "rolling-restart",
    "crash-storm",
    "every-type",
    "secrets-under-faults",
    "policy-change-under-partition",
    "credential-revoked",
    "retrying-clients",
    "audit-disk-full",
    "sealed-host",
    "stale-cache",
    "rebuild-zone",
    "taken-back",
    "zombie",
    "long-absence",
    "silent-rollback",
    "swap-records",
    "witness-loss",
    "witness-with-replica",
    "replica-cut",
    "replica-loss",
    "backup-store-loss",
    "damaged-backup",
    "region-loss",
    "witness-loss-in-restore",
    "region-and-replica-loss",
    "stale-store",
    "restore-while-restoring",
    "destroy-then-restore",
    "terminate-then-restore",
    "domain-created",
];
/// Seeds of each, if nothing is said.
const SEEDS: u64 = 20;

/// Arguments of `cargo xtask datasheet`.
#[derive(clap::Args)]
#[command(
    after_help = "With no scenario: a fixed list, every scenario but the long ones; about 50 CPU seconds per seed.\n\
    Exit status as of `cargo xtask sim`: the highest of all runs. What is interrupted writes no edition.\n\n\
    Examples:\n  cargo xtask datasheet\n  cargo xtask datasheet --seeds 1000\n  cargo xtask sim region-loss --seeds 500 --json > runs.jsonl; cargo xtask datasheet --merge runs.jsonl"
)]
pub struct Args {
    /// Scenarios, named as for `cargo xtask sim`
    scenarios: Vec<String>,
    /// Seeds 1 to N of each scenario, or A to B without B [default: 20]
    #[arg(long, value_name = "N|A..B")]
    seeds: Option<Seeds>,
    /// Processes at a time [default: one per core]
    #[arg(long, value_name = "J")]
    jobs: Option<usize>,
    /// Use this simulator instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where the two files go [default: reports]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Run nothing: make the edition of results that `cargo xtask sim --json` wrote, of one commit
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["seeds", "jobs", "binary"])]
    merge: Vec<PathBuf>,
}

/// Runs the command and answers its exit status.
///
/// # Errors
/// On a wrong command line, or when the simulator does not build or a file cannot be written.
pub fn run(args: Args) -> Result<u8, Failure> {
    let root = shell::root();
    let (reports, commit, interrupted) =
        if args.merge.is_empty() { runs(&args)? } else { merged(&args.merge)? };
    if interrupted {
        say::err(format_args!("interrupted after {} runs: no edition was written", reports.len()));
        return Ok(exit::HARNESS);
    }
    let names = bounds::promises(&shell::text(&root.join("docs/promises.md")));
    if names.is_empty() {
        return Err(shell::harness("docs/promises.md lists no promise"));
    }
    let interval = |scenario: &str| bounds::backup_interval_ms(&root, scenario);
    let mut sheet = Sheet::new(names, &interval);
    reports.iter().for_each(|report| sheet.add(report));
    let edition = sheet.edition(&commit);
    let out = args.out.clone().unwrap_or_else(|| root.join("reports"));
    write(&out, &edition)?;
    let bad = edition.failed.len();
    say::out(format_args!(
        "{} runs, {bad} failed: {} and datasheet.json",
        edition.runs,
        out.join("datasheet.md").display()
    ));
    Ok(edition.exit)
}

fn write(out: &Path, edition: &Edition) -> Result<(), Failure> {
    std::fs::create_dir_all(out)?;
    std::fs::write(out.join("datasheet.md"), text::markdown(edition))?;
    let json = serde_json::to_string_pretty(edition).map_err(|error| shell::harness(error.to_string()))?;
    std::fs::write(out.join("datasheet.json"), json + "\n")?;
    Ok(())
}

type Runs = (Vec<Report>, String, bool);

fn runs(args: &Args) -> Result<Runs, Failure> {
    let scenarios = match args.scenarios.is_empty() {
        true => SCENARIOS.map(str::to_owned).to_vec(),
        false => args.scenarios.clone(),
    };
    let seeds = args.seeds.clone().map_or(1..SEEDS + 1, |seeds| seeds.0);
    let args = sim::Args::of(scenarios, seeds).with(args.jobs, args.binary.clone());
    let made = sim::make(&args, Voice { quiet_stdout: false }, true)?;
    Ok((made.tally.reports, made.commit, made.interrupted))
}

/// The reports in these files, and the commit that their summaries name.
fn merged(files: &[PathBuf]) -> Result<Runs, Failure> {
    let (mut reports, mut commits) = (Vec::new(), BTreeSet::new());
    for file in files {
        let text =
            std::fs::read_to_string(file).map_err(|error| usage(format!("{}: {error}", file.display())))?;
        let summaries = text.lines().filter_map(summary);
        commits.extend(summaries);
        reports.extend(text.lines().filter_map(Report::parse).map(|mut report| {
            report.settle();
            report
        }));
    }
    match (reports.is_empty(), commits.len()) {
        (true, _) => Err(usage("no report in these files")),
        (false, 0) => {
            Err(usage("no summary in these files says of which commit they are: were the runs ended?"))
        }
        (false, 1) => Ok((reports, commits.into_iter().next().unwrap_or_default(), false)),
        (false, _) => {
            let commits: Vec<String> = commits.into_iter().collect();
            Err(usage(format!("these files are of several commits: {}", commits.join(", "))))
        }
    }
}

/// The commit in the last line of `--json`.
fn summary(line: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    value.get("summary")?;
    Some(value.get("commit")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_an_edition_exists_and_none_is_long() {
        let all = sim::build::scenarios(&shell::root()).expect("scenarios");
        for name in SCENARIOS {
            let found = all.iter().find(|scenario| scenario.name == name);
            assert!(found.is_some_and(|scenario| !scenario.long), "{name}");
        }
    }

    #[test]
    fn results_of_two_commits_make_no_edition() {
        let folder = std::env::temp_dir().join(format!("datasheet-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let run = r#"{"scenario":"calm","seed":1,"verdicts":[{"promise":"G1","exercised":1}]}"#;
        let one = file("one", &format!("{run}\n{{\"summary\":true,\"commit\":\"aa\"}}\n"));
        let two = file("two", &format!("{run}\n{{\"summary\":true,\"commit\":\"bb\"}}\n"));
        let none = file("none", run);
        let merged_one = merged(std::slice::from_ref(&one)).expect("one commit");
        assert_eq!((merged_one.0.len(), merged_one.1.as_str()), (1, "aa"));
        assert!(merged(&[one, two]).is_err());
        assert!(merged(&[none]).is_err(), "runs that did not end name no commit");
        let _ = std::fs::remove_dir_all(folder);
    }
}
