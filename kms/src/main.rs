//! The program `kms`: parses the command line, sets up logs, runs one command, says how it went. All memory that it gives back is wiped, so
//! that what libraries leave in theirs is not there for the next one.

#![forbid(unsafe_code)]

mod cli;

use std::{alloc::System, process::ExitCode};
use zeroizing_alloc::ZeroAlloc;

#[global_allocator]
static WIPED: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    cli::main()
}
