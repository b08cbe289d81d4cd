//! The project's commands: `cargo xtask sim | datasheet | test | model | openapi | clients | ci | tidy | planted | crash | bench`.
//!
//! Runs processes and reads what they print; it links neither the service nor the simulator, so it builds
//! in seconds and never sees their cfgs. It sets the compiler flags and target directories that the two
//! kinds of build need, and nothing else sets them.

#![expect(clippy::disallowed_methods, reason = "xtask is a command-line tool, not part of the service")]

mod bench;
mod ci;
mod clients;
mod crash;
mod datasheet;
mod interrupt;
mod model;
mod openapi;
mod planted;
mod region;
mod say;
mod shell;
mod sim;
mod test;
mod tidy;
mod venv;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Exit statuses, the same for every command. The numbers are printed and documented; they never change.
pub mod exit {
    /// Every promise held, every step passed.
    pub const HELD: u8 = 0;
    /// The command line was wrong, or something it names does not exist.
    pub const USAGE: u8 = 1;
    /// A promise was broken (or, for `ci` and `test`, a step failed; for `planted`, a bug was not found).
    pub const BROKEN: u8 = 2;
    /// Writes were not accepted again within the bound after the heal.
    pub const NO_PROGRESS: u8 = 3;
    /// The same seed did two different things.
    pub const NOT_DETERMINISTIC: u8 = 4;
    /// The harness itself failed: nothing is known about the promises.
    pub const HARNESS: u8 = 5;

    /// The status in words.
    pub fn word(code: u8) -> &'static str {
        match code {
            HELD => "held",
            USAGE => "usage",
            BROKEN => "a promise broken",
            NO_PROGRESS => "no progress",
            NOT_DETERMINISTIC => "not deterministic",
            _ => "harness error",
        }
    }
}

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The project's commands",
    after_help = "Exit status: 0 held, 1 usage, 2 a promise broken or a step failed, 3 no progress, 4 not deterministic, 5 harness error."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run scenarios in the simulator and judge every promise
    Sim(sim::Args),
    /// Run the scenarios that lose something and write what was measured to reports/datasheet.md
    Datasheet(datasheet::Args),
    /// Run all tests: unit, integration, conformance, and a short scenario regression
    Test(test::Args),
    /// Search the protocol's model exhaustively: what must hold holds, each rule switched off breaks a promise
    Model(model::Args),
    /// Hold a running region to the description of the REST interface that it serves, with schemathesis
    Openapi(openapi::Args),
    /// Have the public command line client do all that it can against a running region
    Clients(clients::Args),
    /// Everything a change must pass: format, clippy, tidy, docs, model, tests, the served description, the public client, a sample of planted bugs
    Ci(ci::Args),
    /// Check the rules of the code base that the compiler cannot
    Tidy,
    /// Prove the checkers: plant known bugs and see that each is found
    Planted(planted::Args),
    /// Kill real processes under load and judge the history with the simulator's checkers
    Crash(crash::Args),
    /// Benchmarks, and the simulator's speed
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap says 2 for a usage error; here 2 means a broken promise.
            let asked = !error.use_stderr();
            let _ = error.print();
            return ExitCode::from(if asked { exit::HELD } else { exit::USAGE });
        }
    };
    let result = match cli.command {
        Command::Sim(args) => sim::run(args),
        Command::Datasheet(args) => datasheet::run(args),
        Command::Test(args) => test::run(&args),
        Command::Model(args) => model::run(&args),
        Command::Openapi(args) => openapi::run(&args),
        Command::Clients(args) => clients::run(&args),
        Command::Ci(args) => ci::run(&args),
        Command::Tidy => tidy::run(),
        Command::Planted(args) => planted::run(args),
        Command::Crash(args) => crash::run(&args),
        Command::Bench(args) => bench::run(&args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            say::err(format_args!("xtask: {failure}"));
            ExitCode::from(failure.exit)
        }
    }
}
