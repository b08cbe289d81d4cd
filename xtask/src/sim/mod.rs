//! `cargo xtask sim`: builds the simulator, runs one process per seed, adds the verdicts up.
//!
//! It judges nothing itself: a run's verdicts are the checkers', and a run that says nothing is a harness
//! error, never a pass.

pub mod build;
mod junit;
pub mod pool;
pub mod report;
pub mod seeds;
pub mod table;

use crate::exit;
use crate::interrupt::Children;
use crate::say::{self, Voice};
use crate::shell::{self, Failure, usage};
use build::Scenario;
use indicatif::{ProgressBar, ProgressStyle};
use pool::{Job, Pool};
use report::Report;
use seeds::{Seed, Seeds, Shard};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use table::Summary;

/// How long a run without arguments takes, seconds of real time after the build.
const BUDGET_S: u64 = 150;
/// Failures shown one by one before the table; the others are only counted.
const FAILURES_SHOWN: u64 = 10;

/// Arguments of `cargo xtask sim`.
#[derive(clap::Args)]
#[command(
    after_help = "With no scenario: every scenario not marked `long`, seeds in turn, until 150 s are used, each at least once.\n\
    Exit status: 0 held, 1 usage, 2 a promise broken, 3 no progress, 4 not deterministic, 5 harness error; the highest of all runs.\n\n\
    Examples:\n  cargo xtask sim\n  cargo xtask sim zone-loss --seeds 1000\n  cargo xtask sim zone-loss --seed 7 --trace\n  cargo xtask sim crash-storm --seeds 1000 --twice --json"
)]
pub struct Args {
    /// Scenarios: names in scenarios/ or scenarios/stories/, `stories` for all of those, or paths of scenario or plan files
    scenarios: Vec<String>,
    /// Seeds 1 to N, or A to B without B [default with a scenario: 20]
    #[arg(long, value_name = "N|A..B", conflicts_with = "seed")]
    seeds: Option<Seeds>,
    /// One seed: a number, or a commit hash (its first 16 hexadecimal digits)
    #[arg(long, value_name = "N|HASH")]
    seed: Option<Seed>,
    /// Processes at a time [default: one per core]
    #[arg(long, value_name = "J")]
    jobs: Option<usize>,
    /// Run each seed in two processes and compare the trace hashes
    #[arg(long)]
    twice: bool,
    /// Print the trace on stdout; everything else goes to stderr
    #[arg(long, conflicts_with = "json")]
    trace: bool,
    /// JSON Lines on stdout (one report per run, then a summary); everything else goes to stderr
    #[arg(long)]
    json: bool,
    /// Write a JUnit file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Run the k-th of n parts only; `--merge` joins the parts' JSON Lines
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
    /// The world to simulate in
    #[arg(long, value_name = "WORLD", default_value = "madsim", value_parser = ["madsim", "turmoil"])]
    world: String,
    /// Where a failing run leaves its folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seconds of real time to use with no scenario or seeds given
    #[arg(long, value_name = "S", default_value_t = BUDGET_S)]
    budget: u64,
    /// Use this simulator instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Run nothing: print the table of results that `--json` wrote
    #[arg(long, value_name = "FILE", num_args = 1..)]
    merge: Vec<PathBuf>,
}

impl Args {
    /// These scenarios (none = all that are not long) with these seeds, everything else as by default.
    pub fn of(scenarios: Vec<String>, seeds: std::ops::Range<u64>) -> Args {
        Args {
            scenarios,
            seeds: Some(Seeds(seeds)),
            seed: None,
            jobs: None,
            twice: false,
            trace: false,
            json: false,
            junit: None,
            shard: None,
            world: "madsim".into(),
            out: None,
            budget: BUDGET_S,
            binary: None,
            merge: Vec::new(),
        }
    }

    /// The same with so many processes at a time, and with this simulator.
    pub fn with(self, jobs: Option<usize>, binary: Option<PathBuf>) -> Args {
        Args { jobs, binary, ..self }
    }
}

/// The line that replays a run.
pub fn replay(scenario: &str, seed: u64) -> String {
    let path = Path::new(scenario);
    let shown = path.strip_prefix(shell::root()).unwrap_or(path).display();
    format!("cargo xtask sim {shown} --seed {seed}")
}

/// Runs the command and answers its exit status.
///
/// # Errors
/// On a wrong command line, or when the simulator does not build.
pub fn run(args: Args) -> Result<u8, Failure> {
    let voice = Voice { quiet_stdout: args.json || args.trace };
    if !args.merge.is_empty() {
        return merge(&args, voice);
    }
    if args.world == "turmoil" {
        return Err(usage("the turmoil world is not built yet: only --world madsim runs scenarios"));
    }
    let made = make(&args, voice, args.junit.is_some())?;
    finish(&args, voice, made)
}

/// Runs that were made.
pub struct Made {
    /// The results.
    pub tally: Tally,
    /// The commit of the tree.
    pub commit: String,
    /// Whether not all of them were.
    pub interrupted: bool,
    title: String,
}

/// Makes the runs that the arguments name, with a bar; `keep` keeps each report.
///
/// # Errors
/// On a wrong command line, or when the simulator does not build.
pub fn make(args: &Args, voice: Voice, keep: bool) -> Result<Made, Failure> {
    let root = shell::root();
    let work = Work::of(args, &root)?;
    let binary = match &args.binary {
        Some(binary) => {
            binary.canonicalize().map_err(|error| usage(format!("{}: {error}", binary.display())))?
        }
        None => build::simulator(&root)?,
    };
    let commit = shell::commit(&root);
    let title = work.title(&commit);
    voice.line(format_args!("sim {title}"));
    let pool = Pool {
        binary,
        jobs: if args.trace { 1 } else { args.jobs.unwrap_or_else(cores) },
        out: Some(match &args.out {
            Some(out) => std::path::absolute(out)?,
            None => root.join("reports/failures"),
        }),
        twice: args.twice,
        trace: args.trace,
        children: Children::watched(),
    };
    let mut tally = Tally::new(&work, args.json, keep, voice);
    pool.run(work.jobs(), |job, report| tally.add(job, report));
    tally.progress.finish();
    Ok(Made { tally, commit, interrupted: pool.children.stopped(), title })
}

fn finish(args: &Args, voice: Voice, made: Made) -> Result<u8, Failure> {
    let Made { tally: Tally { summary, reports, .. }, commit, interrupted, title } = made;
    if interrupted {
        voice.line("interrupted: what follows is what ended before");
    }
    if summary.runs() == 0 && !interrupted {
        return Err(usage("nothing to run: the shard is empty"));
    }
    voice.line(summary.text());
    if args.json {
        say::out(summary.json(&commit));
    }
    if let Some(path) = &args.junit {
        std::fs::write(path, junit::text(&reports))?;
    }
    let mut code = summary.exit();
    if interrupted && code == exit::HELD {
        code = exit::HARNESS;
    }
    voice.line(format_args!(
        "sim {title}: {} runs, {} failed, exit {code} ({})",
        summary.runs(),
        summary.failures(),
        exit::word(code)
    ));
    Ok(code)
}

/// Prints what `--json` wrote, of several shards too.
fn merge(args: &Args, voice: Voice) -> Result<u8, Failure> {
    let mut summary = Summary::default();
    for path in &args.merge {
        let text =
            std::fs::read_to_string(path).map_err(|error| usage(format!("{}: {error}", path.display())))?;
        text.lines().filter_map(Report::parse).for_each(|report| summary.add(&report));
    }
    if summary.runs() == 0 {
        return Err(usage("no report in these files"));
    }
    voice.line(summary.text());
    Ok(summary.exit())
}

/// Processors of this machine.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What is to be run.
pub struct Work {
    scenarios: Vec<Scenario>,
    seeds: std::ops::Range<u64>,
    shard: Option<Shard>,
    /// Stop taking seeds after this, once each scenario had one.
    budget: Option<Duration>,
}

impl Work {
    fn of(args: &Args, root: &Path) -> Result<Work, Failure> {
        let all = args.scenarios.is_empty();
        let scenarios = if all {
            build::scenarios(root)?.into_iter().filter(|scenario| !scenario.long).collect()
        } else {
            let mut named = Vec::new();
            for name in &args.scenarios {
                match name.as_str() {
                    "stories" => named.extend(build::stories(root)?),
                    name => named.push(build::named(root, name)?),
                }
            }
            named
        };
        let given = match (&args.seeds, args.seed) {
            (Some(seeds), _) => Some(seeds.0.clone()),
            // The last seed of all cannot be written as a half-open range; nobody will miss it.
            (None, Some(Seed(seed))) => Some(seed.min(u64::MAX - 1)..seed.saturating_add(1)),
            (None, None) => None,
        };
        let budget = (all && given.is_none()).then(|| Duration::from_secs(args.budget));
        let seeds = given.unwrap_or(if budget.is_some() { 1..u64::MAX } else { 1..21 });
        Ok(Work { scenarios, seeds, shard: args.shard, budget })
    }

    /// Runs in all, where that is known before.
    fn count(&self) -> Option<u64> {
        if self.budget.is_some() {
            return None;
        }
        let runs = (self.seeds.end - self.seeds.start).checked_mul(self.scenarios.len() as u64)?;
        match self.shard {
            Some(shard) => Some((0..runs).filter(|index| shard.has(*index)).count() as u64),
            None => Some(runs),
        }
    }

    /// The runs: every scenario with the first seed, then with the second, and so on.
    fn jobs(&self) -> impl Iterator<Item = Job> + Send + '_ {
        let start = Instant::now();
        let first = self.seeds.start;
        let pairs = self.seeds.clone().flat_map(|seed| self.scenarios.iter().map(move |found| (seed, found)));
        (0_u64..)
            .zip(pairs)
            .take_while(move |(_, (seed, _))| {
                *seed == first || self.budget.is_none_or(|budget| start.elapsed() < budget)
            })
            .filter(|(index, _)| self.shard.is_none_or(|shard| shard.has(*index)))
            .map(|(_, (seed, scenario))| Job {
                scenario: scenario.argument.clone(),
                name: scenario.name.clone(),
                seed,
                extra: Vec::new(),
                tag: 0,
            })
    }

    fn title(&self, commit: &str) -> String {
        let names: Vec<&str> = self.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
        let seeds = match (self.budget, self.seeds.end - self.seeds.start) {
            (Some(budget), _) => format!("seeds 1.. for {} s", budget.as_secs()),
            (None, 1) => format!("seed {}", self.seeds.start),
            (None, _) => format!("seeds {}..{}", self.seeds.start, self.seeds.end),
        };
        format!("{} {seeds}, commit {commit}", names.join(" "))
    }
}

/// Results as they come in.
pub struct Tally {
    summary: Summary,
    /// The reports, without what they said as printed, if they are kept.
    pub reports: Vec<Report>,
    keep: bool,
    json: bool,
    voice: Voice,
    progress: Progress,
}

impl Tally {
    fn new(work: &Work, json: bool, keep: bool, voice: Voice) -> Tally {
        let mut summary = Summary::default();
        for scenario in &work.scenarios {
            summary.expect(&scenario.name, &scenario.promises);
        }
        let progress = Progress::new(work.count(), work.budget);
        Tally { summary, reports: Vec::new(), keep, json, voice, progress }
    }

    fn add(&mut self, job: &Job, mut report: Report) {
        // The simulator knows a scenario by the name inside its file; so do the results.
        if report.scenario.is_empty() {
            report.scenario.clone_from(&job.name);
        }
        self.summary.add(&report);
        if self.json {
            say::out(&report.raw);
        }
        if report.exit != exit::HELD && self.summary.failures() <= FAILURES_SHOWN {
            let text = format!(
                "{} seed {}: {} ({})\n  replay: {}",
                report.scenario,
                report.seed,
                report.reason(),
                exit::word(report.exit),
                replay(&job.scenario, report.seed)
            ) + if report.exit == exit::NOT_DETERMINISTIC { " --twice" } else { "" };
            self.progress.bar.suspend(|| self.voice.line(text));
        }
        self.progress.step(self.summary.runs(), self.summary.failures());
        if self.keep {
            report.raw = serde_json::Value::Null;
            self.reports.push(report);
        }
    }
}

/// A bar on a terminal, a line now and then elsewhere. Always on stderr.
pub struct Progress {
    bar: ProgressBar,
    total: Option<u64>,
    started: Instant,
    budget: Option<Duration>,
    last: Instant,
}

impl Progress {
    /// For so many runs, or for so long.
    pub fn new(total: Option<u64>, budget: Option<Duration>) -> Progress {
        let length = total.or(budget.map(|budget| budget.as_secs())).unwrap_or(0);
        let bar = ProgressBar::new(length);
        if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        let now = Instant::now();
        Progress { bar, total, started: now, budget, last: now }
    }

    /// So many runs have ended, so many of them badly.
    pub fn step(&mut self, runs: u64, failures: u64) {
        let position = match self.budget {
            Some(budget) => self.started.elapsed().min(budget).as_secs(),
            None => runs,
        };
        let of = self.total.map_or_else(String::new, |total| format!("/{total}"));
        let message = format!("{runs}{of} runs, {failures} failed");
        self.bar.set_position(position);
        if !std::io::stderr().is_terminal() && self.last.elapsed() > Duration::from_secs(15) {
            self.last = Instant::now();
            say::err(&message);
        }
        self.bar.set_message(message);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(seeds: std::ops::Range<u64>, budget: Option<Duration>, shard: Option<Shard>) -> Work {
        let scenario = |name: &str| Scenario {
            argument: name.into(),
            name: name.into(),
            long: false,
            promises: Vec::new(),
        };
        Work { scenarios: vec![scenario("a"), scenario("b")], seeds, shard, budget }
    }

    #[test]
    fn each_scenario_runs_at_least_once_whatever_the_budget() {
        let work = work(1..u64::MAX, Some(Duration::ZERO), None);
        let jobs: Vec<(String, u64)> = work.jobs().map(|job| (job.name, job.seed)).collect();
        assert_eq!(jobs, [("a".into(), 1), ("b".into(), 1)]);
    }

    #[test]
    fn shards_cover_all_runs_once() {
        let shards: Vec<Shard> = ["1/3", "2/3", "3/3"].iter().filter_map(|text| text.parse().ok()).collect();
        let mut seen: Vec<(u64, String)> = Vec::new();
        for shard in shards {
            let part = work(1..5, None, Some(shard));
            assert_eq!(part.count(), Some(part.jobs().count() as u64));
            seen.extend(part.jobs().map(|job| (job.seed, job.name)));
        }
        seen.sort();
        let all: Vec<(u64, String)> = work(1..5, None, None).jobs().map(|job| (job.seed, job.name)).collect();
        assert_eq!(seen, all);
    }
}
