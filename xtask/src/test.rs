//! `cargo xtask test`: unit, integration and conformance tests in both worlds, and a short regression over
//! scenarios and the plans of bugs found before.

use crate::interrupt::Children;
use crate::shell::{self, Failure, World};
use crate::{exit, say, sim};
use std::path::Path;
use std::time::Instant;

/// Seeds of each scenario.
const SCENARIO_SEEDS: u64 = 1;
/// Seeds of each story in scenarios/stories.
const STORY_SEEDS: u64 = 2;
/// Scheduler seeds of each plan in scenarios/regressions.
const PLAN_SEEDS: u64 = 20;

/// Arguments of `cargo xtask test`.
#[derive(clap::Args, Default)]
pub struct Args {
    /// Leave out everything that needs the simulator's own build
    #[arg(long)]
    no_sim: bool,
}

/// Runs the command and answers its exit status.
///
/// # Errors
/// When a tool cannot be started.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let root = shell::root();
    let mut suites: Vec<(&str, Suite)> = vec![
        // One call: packages built apart are built with other features of what they depend on, all of it anew.
        ("kms on the real machine; plans, checkers and reports of kms-sim; kms-model; xtask", |root| {
            let packages = ["-p", "kms", "-p", "kms-sim", "-p", "kms-model", "-p", "xtask"];
            cargo_test(root, World::Real, &[&["test"][..], &packages].concat())
        }),
    ];
    if cfg!(target_os = "linux") && !args.no_sim {
        suites.push(("kms-sim in the simulated world: conformance, world, runs", |root| {
            cargo_test(root, World::Madsim, &["test", "-p", "kms-sim"])
        }));
        suites
            .push(("scenarios, 1 seed each", |_| sim::run(sim::Args::of(Vec::new(), 1..SCENARIO_SEEDS + 1))));
        suites.push(("stories, 2 seeds each", |_| {
            sim::run(sim::Args::of(vec!["stories".to_owned()], 1..STORY_SEEDS + 1))
        }));
        suites.push(("plans of bugs found before, 20 seeds each", plans));
    }
    let mut lines = Vec::new();
    let mut worst = exit::HELD;
    let children = Children::watched();
    for (name, suite) in suites {
        if children.stopped() {
            say::out("interrupted: the suites after this one did not run");
            worst = worst.max(exit::HARNESS);
            break;
        }
        let started = Instant::now();
        let code = suite(&root)?;
        worst = worst.max(code);
        let word = if code == exit::HELD { "passed" } else { "FAILED" };
        let line = format!("test {name}: {word} in {:.1} s", started.elapsed().as_secs_f64());
        say::out(&line);
        lines.push(line);
    }
    say::out("");
    lines.iter().for_each(say::out);
    Ok(worst)
}

type Suite = fn(&Path) -> Result<u8, Failure>;

fn cargo_test(root: &Path, world: World, arguments: &[&str]) -> Result<u8, Failure> {
    let passed = shell::run(&mut shell::cargo(root, world, arguments))?;
    Ok(if passed { exit::HELD } else { exit::BROKEN })
}

fn plans(root: &Path) -> Result<u8, Failure> {
    let mut plans: Vec<String> = shell::files(root)
        .into_iter()
        .filter(|file| file.starts_with("scenarios/regressions"))
        .filter(|file| file.extension().is_some_and(|extension| extension == "plan"))
        .map(|file| root.join(file).to_string_lossy().into_owned())
        .collect();
    plans.sort();
    if plans.is_empty() {
        say::out("no plan in scenarios/regressions");
        return Ok(exit::HELD);
    }
    sim::run(sim::Args::of(plans, 1..PLAN_SEEDS + 1))
}
