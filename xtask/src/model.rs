//! `cargo xtask model`: builds the protocol's model in release and searches it: every configuration must hold, every
//! rule switched off must break a promise. Judges nothing itself: it passes on what the model's program says.

use crate::shell::{self, Failure, World, harness};
use crate::{exit, say};
use std::time::Instant;

/// What the short run may take on two cores. Longer is said, and fails nothing: other work may share them.
const BUDGET_SECONDS: f64 = 60.0;

/// Arguments of `cargo xtask model`.
#[derive(clap::Args, Default)]
pub struct Args {
    /// Only these configurations and defects, by name or id [default: all]
    names: Vec<String>,
    /// The wide bounds: minutes, and gigabytes of memory
    #[arg(long)]
    long: bool,
    /// List configurations and defects instead
    #[arg(long, conflicts_with_all = ["names", "long", "trace"])]
    list: bool,
    /// Print the shortest way to what a defect breaks instead
    #[arg(long, value_name = "DEFECT", conflicts_with_all = ["names", "long"])]
    trace: Option<String>,
}

impl Args {
    fn words(&self) -> Vec<String> {
        if self.list {
            return vec!["list".into()];
        }
        if let Some(defect) = &self.trace {
            return vec!["trace".into(), defect.clone()];
        }
        let mut words = vec!["check".to_owned()];
        words.extend(self.names.iter().cloned());
        words.extend(self.long.then(|| "--long".to_owned()));
        words
    }
}

/// Runs the command and answers its exit status.
///
/// # Errors
/// When the model does not build.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let root = shell::root();
    let target = shell::target(&root)?;
    // As the simulator is built, to share with it what both are made of.
    let build = ["build", "-p", "kms-model"];
    if !shell::run(&mut shell::cargo(&root, World::Madsim, &build))? {
        return Err(harness("kms-model does not build"));
    }
    let mut command = std::process::Command::new(target.join("sim/sim/kms-model"));
    command.args(args.words()).current_dir(&root).stdin(std::process::Stdio::null());
    say::err(format_args!("$ {}", shell::shown(&command)));
    let started = Instant::now();
    let status = command.status()?;
    let seconds = started.elapsed().as_secs_f64();
    if !args.long && seconds > BUDGET_SECONDS {
        say::out(format_args!(
            "note: {seconds:.0} s, more than the {BUDGET_SECONDS:.0} s meant for the short run"
        ));
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(exit::HARNESS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_passed_on() {
        let args = Args { names: vec!["chain".into()], long: true, ..Args::default() };
        assert_eq!(args.words(), ["check", "chain", "--long"]);
        assert_eq!(Args::default().words(), ["check"]);
        assert_eq!(Args { list: true, ..Args::default() }.words(), ["list"]);
        assert_eq!(Args { trace: Some("Q1".into()), ..Args::default() }.words(), ["trace", "Q1"]);
    }
}
