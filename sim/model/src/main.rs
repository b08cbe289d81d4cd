//! `kms-model list | check [NAME..] [--long] | trace DEFECT`: searches the protocol's model and says what holds and
//! what breaks. It knows no rule and judges nothing that was not searched to the end.

use clap::{Parser, Subcommand};
use kms_model::protocol::Protocol;
use kms_model::run::{self, Found};
use kms_model::table::{CONFIGURATIONS, Configuration, DEFECTS, Planted};
use kms_model::words;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// All that was asked for holds, or is found.
const HELD: u8 = 0;
/// The command line is wrong.
const USAGE: u8 = 1;
/// A configuration does not hold, or a defect is not found.
const BROKEN: u8 = 2;

#[derive(Parser)]
#[command(
    name = "kms-model",
    about = "The protocol of the replicated record store, searched exhaustively within bounds",
    after_help = "Exit status: 0 all holds and every defect is found, 1 usage, 2 something does not hold or is not found."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the configurations and the defects
    List,
    /// Search configurations and defects; all of them if none is named
    Check {
        /// Configurations and defects, by name or id
        names: Vec<String>,
        /// The wide bounds: minutes, and gigabytes of memory
        #[arg(long)]
        long: bool,
        /// Searches at a time [default: one for each processor]
        #[arg(long, value_name = "N")]
        threads: Option<usize>,
    },
    /// Print the shortest way to what a defect breaks
    Trace {
        /// A defect, by name or id
        defect: String,
    },
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked = !error.use_stderr();
            let _ = error.print();
            return ExitCode::from(if asked { HELD } else { USAGE });
        }
    };
    ExitCode::from(match cli.command {
        Command::List => list(),
        Command::Check { names, long, threads } => check(&names, long, threads),
        Command::Trace { defect } => trace(&defect),
    })
}

fn out(line: impl std::fmt::Display) {
    // A closed pipe ends nothing.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn err(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn list() -> u8 {
    out("configurations, which hold:");
    for configuration in CONFIGURATIONS {
        out(format_args!("  {:<18} {}", configuration.name, configuration.about));
    }
    out("defects, each of which must break a promise:");
    for defect in DEFECTS {
        out(format_args!("  {:<4} {:<22} {:<9} {}", defect.id, defect.name, defect.rule, defect.says));
    }
    HELD
}

fn trace(name: &str) -> u8 {
    let Some(defect) = DEFECTS.iter().find(|defect| defect.is(name)) else {
        err(format_args!("no defect `{name}`; `kms-model list` lists them"));
        return USAGE;
    };
    let found = run::defect(defect, &|_, _| {});
    out(format_args!("{} {} ({}): {}", defect.id, defect.name, defect.rule, defect.says));
    tell(&Protocol::with(defect.bounds, defect.defect, defect.promises), &found);
    if found.broken.is_some() { HELD } else { BROKEN }
}

fn tell(model: &Protocol, found: &Found) {
    match &found.broken {
        Some((_, trace)) => words::trace(model, trace).iter().for_each(out),
        None => out(format_args!("     nothing breaks in {} states", found.states)),
    }
}

/// What is searched.
enum Job {
    Holds(&'static Configuration),
    /// The bounds of a defect, with the rule off, and then on.
    Breaks(&'static Planted),
}

/// Everything named; everything there is where nothing is named. The largest searches come first.
fn chosen(names: &[String]) -> Result<Vec<Job>, String> {
    let mut unknown: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut wanted = |is: &dyn Fn(&str) -> bool| {
        unknown.retain(|name| !is(name));
        names.is_empty() || names.iter().any(|name| is(name))
    };
    let mut jobs = Vec::new();
    for configuration in CONFIGURATIONS.iter().rev() {
        if wanted(&|name| name == configuration.name) {
            jobs.push(Job::Holds(configuration));
        }
    }
    for defect in DEFECTS {
        if wanted(&|name| defect.is(name)) {
            jobs.push(Job::Breaks(defect));
        }
    }
    match unknown.first() {
        Some(name) => Err(format!("no configuration or defect `{name}`; `kms-model list` lists them")),
        None if jobs.is_empty() => Err("nothing to search".into()),
        None => Ok(jobs),
    }
}

fn check(names: &[String], long: bool, threads: Option<usize>) -> u8 {
    let jobs = match chosen(names) {
        Ok(jobs) => jobs,
        Err(what) => {
            err(what);
            return USAGE;
        }
    };
    let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let next = AtomicUsize::new(0);
    let lines = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len()) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(place) else { return };
                    let (line, well) = match job {
                        Job::Holds(which) => hold(which, long),
                        Job::Breaks(which) => breaks(which),
                    };
                    if matches!(job, Job::Holds(_)) {
                        err(&line);
                    }
                    lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((place, line, well));
                }
            });
        }
    });
    let lines = lines.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report(&jobs, lines)
}

fn report(jobs: &[Job], mut lines: Vec<(usize, String, bool)>) -> u8 {
    lines.sort();
    let holds = |place: usize| matches!(jobs.get(place), Some(Job::Holds(_)));
    let (mut configurations, defects): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| holds(line.0));
    configurations.reverse();
    for (title, part) in [
        ("configuration           states  depth  seconds", &configurations),
        ("id   defect                 rule      breaks                 steps   states", &defects),
    ] {
        if !part.is_empty() {
            out(title);
            part.iter().for_each(|(_, line, _)| out(line));
        }
    }
    let well = |part: &[(usize, String, bool)]| part.iter().filter(|(_, _, well)| *well).count();
    let (held, found) = (well(&configurations), well(&defects));
    out(format_args!(
        "{held} of {} configurations hold, {found} of {} defects are found",
        configurations.len(),
        defects.len()
    ));
    if held + found == jobs.len() { HELD } else { BROKEN }
}

fn hold(which: &Configuration, long: bool) -> (String, bool) {
    let progress = |states: usize, depth: usize| {
        err(format_args!("{}: {states} states, depth {depth}", which.name));
    };
    let found = run::configuration(which, long, &progress);
    let seconds = found.took.as_secs_f64();
    let mut line = format!("{:<18} {:>11} {:>6} {seconds:>8.1}", which.name, found.states, found.depth);
    if !found.missed.is_empty() {
        line += &format!("  NOT REACHED: {:?}", found.missed);
    }
    if let Some((promise, trace)) = &found.broken {
        line += &format!("  BROKEN: {}", promise.name());
        let bounds = if long { which.long } else { which.short };
        for sentence in words::trace(&Protocol::sound(bounds), trace) {
            line += "\n";
            line += &sentence;
        }
    }
    (line, found.missed.is_empty() && found.broken.is_none())
}

fn breaks(which: &Planted) -> (String, bool) {
    let found = run::defect(which, &|_, _| {});
    let without = run::same_bounds(which);
    let broken = found.broken.as_ref().map(|(promise, _)| promise.name());
    let mut line = format!(
        "{:<4} {:<22} {:<9} {:<22} {:>5} {:>8}",
        which.id,
        which.name,
        which.rule,
        broken.unwrap_or("NOTHING: NOT FOUND"),
        found.depth,
        found.states
    );
    if without.broken.is_some() {
        line += "  and breaks with the rule on";
    }
    (line, broken.is_some() && without.broken.is_none())
}
