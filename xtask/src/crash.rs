//! `cargo xtask crash`: kills real processes under load, starts them again, and has the simulator's checkers
//! judge what the clients saw. Builds the service as users do (`-p kms` alone) and the driver beside it.

use crate::shell::{self, Failure, World, harness};
use crate::{exit, say};

/// Arguments of `cargo xtask crash`.
#[derive(clap::Args)]
pub struct Args {
    /// Rounds of load, kill -9, restart and check
    #[arg(long, value_name = "N", default_value_t = 10)]
    rounds: u64,
    /// Seed of what is killed when [default: drawn by the driver and printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Half way through, delete the data directory of this zone's database (a or b) under load, and have
    /// `kms rebuild zone` make it anew
    #[arg(long, value_name = "ZONE")]
    lose_disk: Option<String>,
    /// Kill a debug build, with its assertions, instead of a release build
    #[arg(long)]
    debug: bool,
}

/// Runs the command and answers its exit status.
///
/// # Errors
/// When something does not build.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let root = shell::root();
    let target = shell::target(&root)?;
    let (profile, folder) = if args.debug { ("dev", "debug") } else { ("release", "release") };
    // The driver is not what is measured: it is built as the tests are.
    for (profile, package, binary) in [(profile, "kms", "kms"), ("dev", "kms-sim", "kms-crash")] {
        let arguments = ["build", "--profile", profile, "-p", package, "--bin", binary];
        if !shell::run(&mut shell::cargo(&root, World::Real, &arguments))? {
            return Err(harness(format!("{package} does not build")));
        }
    }
    let commit = shell::commit(&root);
    say::out(format_args!("crash {} rounds, commit {commit}", args.rounds));
    let mut command = std::process::Command::new(target.join("debug/kms-crash"));
    command.arg("--kms").arg(target.join(folder).join("kms"));
    command.arg("--rounds").arg(args.rounds.to_string());
    command.arg("--out").arg(root.join("reports/failures"));
    if let Some(seed) = args.seed {
        command.arg("--seed").arg(seed.to_string());
    }
    if let Some(zone) = &args.lose_disk {
        command.arg("--lose-disk").arg(zone);
    }
    command.current_dir(&root).stdin(std::process::Stdio::null());
    say::err(format_args!("$ {}", shell::shown(&command)));
    let status = command.status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::HARNESS);
    say::out(format_args!(
        "crash {} rounds, commit {commit}, exit {code} ({})",
        args.rounds,
        exit::word(code)
    ));
    Ok(code)
}
