//! `cargo xtask planted`: a checker is trusted when it finds the bug that was planted for it.
//!
//! All bugs are built into one copy of the tree, each behind a switch that committed source does not have;
//! then each is run alone, and none, over the same seeds.

pub mod header;
mod tree;

use crate::exit;
use crate::interrupt::Children;
use crate::say;
use crate::shell::{self, Failure, usage};
use crate::sim::pool::{Job, Pool};
use crate::sim::report::Report;
use crate::sim::{Progress, cores, table};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use tree::Bug;

/// Seeds in which the checker meant must fail for a bug to count as found.
const FOUND: u64 = 2;

/// Arguments of `cargo xtask planted`.
#[derive(clap::Args)]
#[command(
    after_help = "A bug is found when the checker meant for it fails in at least 2 seeds; then its remaining seeds are left out, unless --full.\n\
    The same seeds without a bug must pass. Exit status: 0 all found, 1 usage, 2 one not found or a seed fails without a bug, 5 harness error."
)]
pub struct Args {
    /// Bugs, as in sim/planted/<ID>.patch [default: all]
    ids: Vec<String>,
    /// Seeds per bug, 1 to N, over its scenarios in turn
    #[arg(long, value_name = "N", default_value_t = 100)]
    seeds: u64,
    /// So many bugs only, chosen by the commit, none that needs a scenario marked `long`
    #[arg(long, value_name = "N", conflicts_with = "ids")]
    sample: Option<usize>,
    /// Run every seed of every bug
    #[arg(long)]
    full: bool,
    /// Processes at a time [default: one per core]
    #[arg(long, value_name = "J")]
    jobs: Option<usize>,
}

/// Runs the command and answers its exit status.
///
/// # Errors
/// On a wrong command line, or when the patched tree does not build.
pub fn run(args: Args) -> Result<u8, Failure> {
    let root = shell::root();
    let all = tree::bugs(&root)?;
    let commit = shell::commit(&root);
    let long: BTreeSet<String> = crate::sim::build::scenarios(&root)?
        .into_iter()
        .filter(|scenario| scenario.long)
        .map(|scenario| scenario.name)
        .collect();
    let chosen = choose(&all, &args, &commit, |name| long.contains(name))?;
    let names: Vec<&str> = chosen.iter().map(|bug| bug.header.id.as_str()).collect();
    say::out(format_args!("planted {}: seeds 1..{}, commit {commit}", names.join(" "), args.seeds + 1));
    let binary = tree::build(&root, &all)?;
    let pool = Pool {
        binary,
        jobs: args.jobs.unwrap_or_else(cores),
        out: None,
        twice: false,
        trace: false,
        children: Children::watched(),
    };
    let found = hunt(&pool, &chosen, &args);
    let clean = without(&pool, &found);
    if pool.children.stopped() {
        say::out("interrupted: what follows is what ended before");
    }
    let code = verdict(&chosen, &found, &clean, pool.children.stopped());
    say::out(format_args!(
        "planted: {} bugs, commit {commit}, exit {code} ({})",
        chosen.len(),
        exit::word(code)
    ));
    Ok(code)
}

/// The bugs asked for; a sample starts at a place that the commit decides and goes round those that no `long` scenario is run for.
fn choose<'a>(
    all: &'a [Bug],
    args: &Args,
    commit: &str,
    is_long: impl Fn(&str) -> bool,
) -> Result<Vec<&'a Bug>, Failure> {
    if let Some(count) = args.sample {
        let short = |bug: &&Bug| !bug.header.scenarios.iter().any(|scenario| is_long(scenario));
        let all: Vec<&Bug> = all.iter().filter(short).collect();
        let start = commit.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        return Ok((0..count.min(all.len()))
            .map(|step| all[(start % all.len() + step) % all.len()])
            .collect());
    }
    if args.ids.is_empty() {
        return Ok(all.iter().collect());
    }
    let find = |id: &String| {
        all.iter().find(|bug| bug.header.id == *id).ok_or_else(|| usage(format!("no sim/planted/{id}.patch")))
    };
    args.ids.iter().map(find).collect()
}

/// What became of one bug.
#[derive(Default)]
struct Hunt {
    runs: u64,
    /// Seeds in which the checker meant failed.
    meant: BTreeSet<u64>,
    /// Seeds in which each checker failed.
    by: BTreeMap<String, u64>,
    /// Runs without a verdict.
    harness: u64,
    /// Scenario and seed of each run.
    pairs: BTreeSet<(String, u64)>,
}

fn hunt(pool: &Pool, bugs: &[&Bug], args: &Args) -> Vec<Hunt> {
    let mut hunts: Vec<Hunt> = bugs.iter().map(|_| Hunt::default()).collect();
    let found: Vec<AtomicBool> = bugs.iter().map(|_| AtomicBool::new(false)).collect();
    let mut progress = Progress::new(Some(args.seeds * bugs.len() as u64), None);
    // Seeds outside, bugs inside: all bugs advance together, and each leaves when it is found.
    let jobs = (1..=args.seeds)
        .flat_map(|seed| (0..bugs.len()).map(move |tag| (seed, tag)))
        .filter(|(_, tag)| args.full || !found[*tag].load(Ordering::SeqCst))
        .map(|(seed, tag)| job(&bugs[tag].header, seed, tag));
    let (mut runs, mut failures) = (0, 0);
    pool.run(jobs, |job, report| {
        let (hunt, header) = (&mut hunts[job.tag], &bugs[job.tag].header);
        note(hunt, header, job, &report);
        if hunt.meant.len() as u64 >= FOUND {
            found[job.tag].store(true, Ordering::SeqCst);
        }
        runs += 1;
        failures += u64::from(report.exit != exit::HELD);
        progress.step(runs, failures);
    });
    progress.finish();
    hunts
}

fn job(header: &header::Header, seed: u64, tag: usize) -> Job {
    let turn = usize::try_from(seed).unwrap_or(0) % header.scenarios.len();
    let scenario = header.scenarios[turn].clone();
    let extra = vec!["--planted".into(), header.id.clone()];
    Job { name: scenario.clone(), scenario, seed, extra, tag }
}

fn note(hunt: &mut Hunt, header: &header::Header, job: &Job, report: &Report) {
    hunt.runs += 1;
    hunt.pairs.insert((job.scenario.clone(), job.seed));
    let mut named = BTreeSet::new();
    for verdict in report.verdicts.iter().filter(|verdict| !verdict.violations.is_empty()) {
        if header.meant(&verdict.checker, &verdict.promise) {
            hunt.meant.insert(job.seed);
        }
        named.insert(verdict.promise.clone());
    }
    // Writes that never come back are a verdict of the run itself.
    if report.exit == exit::NO_PROGRESS {
        if header.meant("progress", "") {
            hunt.meant.insert(job.seed);
        }
        named.insert("progress".to_owned());
    }
    if named.is_empty() && report.exit != exit::HELD {
        hunt.harness += 1;
        named.insert(exit::word(report.exit).to_owned());
    }
    for name in named {
        *hunt.by.entry(name).or_default() += 1;
    }
}

/// The same scenarios and seeds with no bug: what failed.
fn without(pool: &Pool, hunts: &[Hunt]) -> Vec<String> {
    let pairs: BTreeSet<&(String, u64)> = hunts.iter().flat_map(|hunt| &hunt.pairs).collect();
    let mut progress = Progress::new(Some(pairs.len() as u64), None);
    let jobs = pairs.into_iter().map(|(scenario, seed)| Job {
        scenario: scenario.clone(),
        name: scenario.clone(),
        seed: *seed,
        extra: Vec::new(),
        tag: 0,
    });
    let (mut runs, mut failed) = (0, Vec::new());
    pool.run(jobs, |job, report| {
        runs += 1;
        if report.exit != exit::HELD {
            failed.push(format!("{} seed {}: {}", job.scenario, job.seed, report.reason()));
        }
        progress.step(runs, failed.len() as u64);
    });
    progress.finish();
    say::out(format_args!("without a bug: {} of {runs} runs failed", failed.len()));
    failed
}

fn verdict(bugs: &[&Bug], hunts: &[Hunt], clean: &[String], interrupted: bool) -> u8 {
    let head = ["bug", "rule", "checker meant", "found in", "first seed", "failed by", "verdict"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut code = exit::HELD;
    for (bug, hunt) in bugs.iter().zip(hunts) {
        let found = hunt.meant.len() as u64 >= FOUND;
        if !found {
            code = code.max(exit::BROKEN);
        }
        let by: Vec<String> = hunt.by.iter().map(|(name, seeds)| format!("{name} {seeds}")).collect();
        rows.push(vec![
            bug.header.id.clone(),
            bug.header.rules.join(" "),
            bug.header.checkers.join(" "),
            format!("{} of {}", hunt.meant.len(), hunt.runs),
            hunt.meant.first().map_or_else(|| "-".to_owned(), u64::to_string),
            by.join(", "),
            if found { "found".into() } else { "NOT FOUND".into() },
        ]);
        if !found && hunt.harness > 0 && hunt.harness == hunt.runs {
            code = exit::HARNESS;
        }
    }
    say::out(table::grid(&rows));
    for line in clean.iter().take(10) {
        say::out(format_args!("fails without a bug: {line}"));
        code = code.max(exit::BROKEN);
    }
    if interrupted { exit::HARNESS } else { code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_checker_meant_counts() {
        let head = "# id: a\n# promise: G1\n# checker: g1\n# scenario: calm\n# about: x\n";
        let header = header::Header::parse(head).expect("a header");
        let mut hunt = Hunt::default();
        let report = |promise: &str| {
            let line = format!(
                r#"{{"exit":2,"verdicts":[{{"promise":"{promise}","violations":[{{"kind":"k"}}]}}]}}"#
            );
            Report::parse(&line).expect("a report")
        };
        note(&mut hunt, &header, &job(&header, 1, 0), &report("G2"));
        note(&mut hunt, &header, &job(&header, 2, 0), &report("G1"));
        note(&mut hunt, &header, &job(&header, 3, 0), &Report::harness("calm", 3, "died".into()));
        assert_eq!(hunt.meant, BTreeSet::from([2]));
        assert_eq!((hunt.runs, hunt.harness, hunt.by["G2"]), (3, 1, 1));
    }
}
