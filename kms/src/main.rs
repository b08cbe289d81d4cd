//! The program `kms`: parses the command line, sets up logs, runs one command, says how it went.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
