//! `kms-sim`: one simulated run per process. See [`cli`].

mod cli;

fn main() -> std::process::ExitCode {
    cli::run().into()
}
