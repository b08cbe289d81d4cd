//! The command line of `kms-sim`: one run per process. `cargo xtask sim` is what people use; it builds this
//! with the simulator's flags and starts one process per seed. One JSON line on stdout, the rest on stderr.

use clap::{Parser, Subcommand};
use kms_sim::{
    library,
    plan::Plan,
    run::report::{HARNESS, HELD, USAGE},
};
use std::{
    io::{self, Write},
    path::PathBuf,
};

#[derive(Parser)]
#[command(name = "kms-sim", about = "One simulated run of the key management service", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the plan that a scenario and a seed make.
    Plan {
        /// A name in scenarios/, or the path of a scenario or plan file.
        scenario: String,
        /// The seed.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Run one seed and print its report as one JSON line.
    Run {
        /// A name in scenarios/, or the path of a scenario or plan file.
        scenario: String,
        /// The seed; of a plan file, that of everything not in the plan.
        #[arg(long)]
        seed: Option<u64>,
        /// Print each event of the run, a line each, before the report.
        #[arg(long)]
        trace: bool,
        /// Where a run that did not hold leaves plan, history, trace tail and verdicts.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// List the scenarios as JSON.
    Scenarios,
    /// Run a self-test with a planted leak of determinism, and print its trace hash.
    Leak {
        /// none, map, clock or thread.
        leak: String,
        /// The seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// Runs the command line; gives the exit status.
pub fn run() -> u8 {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are not errors; where they cannot be printed there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { HELD };
        }
    };
    match args.command {
        Command::Plan { scenario, seed } => with_plan(&scenario, seed, |plan| out(&plan.to_string())),
        Command::Run { scenario, seed, trace, out } => {
            with_plan(&scenario, seed, |plan| simulated::run(&plan, trace, out.as_deref()))
        }
        Command::Scenarios => scenarios(),
        Command::Leak { leak, seed } => simulated::leak(&leak, seed),
    }
}

fn say(text: &str) {
    // Nobody to tell if stderr is closed.
    let _ = writeln!(io::stderr(), "{text}");
}

fn out(text: &str) -> u8 {
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        Ok(()) => HELD,
        Err(_) => HARNESS,
    }
}

fn with_plan(scenario: &str, seed: Option<u64>, then: impl FnOnce(Plan) -> u8) -> u8 {
    match library::plan(scenario, seed) {
        Ok(plan) => then(plan),
        Err(error) => {
            say(&format!("kms-sim: {error}"));
            USAGE
        }
    }
}

fn scenarios() -> u8 {
    let listed = library::scenario_files(&library::scenarios_dir())
        .map_err(|error| format!("scenarios/: {error}"))
        .and_then(|files| {
            files
                .iter()
                .map(|path| library::scenario(path).map_err(|error| error.to_string()))
                .collect::<Result<Vec<_>, _>>()
        });
    match listed {
        Ok(list) => {
            let rows: Vec<_> = list
                .iter()
                .map(|scenario| {
                    serde_json::json!({
                        "name": scenario.name,
                        "about": scenario.about,
                        "promises": scenario.promises,
                        "long": scenario.long,
                    })
                })
                .collect();
            out(&serde_json::Value::Array(rows).to_string())
        }
        Err(error) => {
            say(&format!("kms-sim: {error}"));
            USAGE
        }
    }
}

#[cfg(madsim)]
mod simulated {
    use super::{HARNESS, USAGE, out, say};
    use kms_sim::{
        plan::Plan,
        run::{report, sim},
        world::leaks::{self, Leak},
    };
    use std::{io, path::Path};

    pub(super) fn run(plan: &Plan, trace: bool, dir: Option<&Path>) -> u8 {
        let sink = trace.then(|| Box::new(io::BufWriter::new(io::stdout())) as Box<dyn io::Write + Send>);
        let outcome = sim::run(plan, sink);
        let exit = outcome.report.exit;
        if let (Some(dir), true) = (dir, exit != report::HELD)
            && let Err(error) = report::leave(dir, plan, &outcome.history, &outcome.left, &outcome.report)
        {
            say(&format!("kms-sim: {}: {error}", dir.display()));
        }
        match serde_json::to_string(&outcome.report) {
            Ok(line) => out(&line).max(exit),
            Err(error) => {
                say(&format!("kms-sim: {error}"));
                HARNESS
            }
        }
    }

    pub(super) fn leak(name: &str, seed: u64) -> u8 {
        match name.parse::<Leak>() {
            Ok(leak) => out(&format!("{:032x}", leaks::trace_hash(leak, seed))),
            Err(error) => {
                say(&format!("kms-sim: {error}"));
                USAGE
            }
        }
    }
}

#[cfg(not(madsim))]
mod simulated {
    use super::{USAGE, say};
    use kms_sim::plan::Plan;
    use std::path::Path;

    fn refuse() -> u8 {
        say("kms-sim: built without the simulator: use `cargo xtask sim`");
        USAGE
    }

    pub(super) fn run(_: &Plan, _: bool, _: Option<&Path>) -> u8 {
        refuse()
    }

    pub(super) fn leak(_: &str, _: u64) -> u8 {
        refuse()
    }
}
