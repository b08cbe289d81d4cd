//! `cargo xtask ci`: everything a change must pass, the same by hand and on a build server.
//!
//! A step whose tool is not installed is left out and said so; every other step must pass. The last line is
//! `N passed, N failed`.

use crate::interrupt::Children;
use crate::shell::{self, Failure, World};
use crate::sim::table;
use crate::{clients, exit, model, openapi, planted, say, test, tidy};
use clap::Parser;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

/// Arguments of `cargo xtask ci`.
#[derive(clap::Args)]
pub struct Args {
    /// Only these steps: format, clippy, clippy-sim, tidy, docs, model, test, openapi, clients, planted
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    only: Vec<String>,
}

/// How a step ended.
enum End {
    Passed,
    Failed(String),
    LeftOut(String),
}

struct Step {
    name: &'static str,
    /// Component of the toolchain that it needs, as a cargo subcommand.
    needs: Option<&'static str>,
    run: fn(&Path) -> Result<End, Failure>,
}

const STEPS: [Step; 10] = [
    Step { name: "format", needs: Some("fmt"), run: |root| real(root, &["fmt", "--all", "--check"]) },
    Step {
        name: "clippy",
        needs: Some("clippy"),
        run: |root| real(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    },
    Step { name: "clippy-sim", needs: Some("clippy"), run: clippy_sim },
    Step { name: "tidy", needs: None, run: |_| tidy::run().map(by_code) },
    Step { name: "docs", needs: None, run: docs },
    Step { name: "model", needs: None, run: |_| model::run(&model::Args::default()).map(by_code) },
    Step { name: "test", needs: None, run: |_| test::run(&test::Args::default()).map(by_code) },
    Step { name: "openapi", needs: None, run: described },
    Step { name: "clients", needs: None, run: public_clients },
    Step { name: "planted", needs: None, run: planted_sample },
];

/// Runs the command and answers its exit status.
///
/// # Errors
/// On the name of a step that does not exist.
pub fn run(args: &Args) -> Result<u8, Failure> {
    if let Some(unknown) = args.only.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        return Err(shell::usage(format!("no step `{unknown}`; there are: {}", names.join(", "))));
    }
    let root = shell::root();
    let mut rows = vec![["step", "seconds", "end"].map(str::to_owned).to_vec()];
    let (mut passed, mut failed) = (0, 0);
    let children = Children::watched();
    for step in
        STEPS.iter().filter(|step| args.only.is_empty() || args.only.iter().any(|name| name == step.name))
    {
        if children.stopped() {
            say::out("interrupted: the steps after this one did not run");
            failed += 1;
            break;
        }
        say::out(format_args!("== {}", step.name));
        let started = Instant::now();
        // A tool that cannot be started fails its step, not the steps after it.
        let end = end_of(step, &root).unwrap_or_else(|failure| End::Failed(failure.to_string()));
        let word = match end {
            End::Passed => {
                passed += 1;
                "passed".to_owned()
            }
            End::Failed(why) => {
                failed += 1;
                format!("FAILED: {why}")
            }
            End::LeftOut(why) => {
                say::out(format_args!("!!! step `{}` is LEFT OUT: {why}", step.name));
                format!("LEFT OUT: {why}")
            }
        };
        rows.push(vec![step.name.to_owned(), format!("{:.1}", started.elapsed().as_secs_f64()), word]);
    }
    say::out(format_args!("\nci, commit {}\n{}", shell::commit(&root), table::grid(&rows)));
    say::out(format_args!("{passed} passed, {failed} failed"));
    Ok(if failed == 0 { exit::HELD } else { exit::BROKEN })
}

fn end_of(step: &Step, root: &Path) -> Result<End, Failure> {
    if let Some(tool) = step.needs {
        let mut probe = shell::cargo(root, World::Real, &[tool, "--version"]);
        let installed = probe.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success();
        if !installed {
            return Ok(End::LeftOut(format!("`cargo {tool}` is not installed")));
        }
    }
    (step.run)(root)
}

fn ended(passed: bool) -> End {
    if passed { End::Passed } else { End::Failed("see above".into()) }
}

fn by_code(code: u8) -> End {
    if code == exit::HELD { End::Passed } else { End::Failed(exit::word(code).into()) }
}

fn real(root: &Path, arguments: &[&str]) -> Result<End, Failure> {
    shell::run(&mut shell::cargo(root, World::Real, arguments)).map(ended)
}

fn clippy_sim(root: &Path) -> Result<End, Failure> {
    if !cfg!(target_os = "linux") {
        return Ok(End::LeftOut("the simulator is built on Linux only".into()));
    }
    let arguments = ["clippy", "-p", "kms-sim", "--all-targets", "--", "-D", "warnings"];
    shell::run(&mut shell::cargo(root, World::Madsim, &arguments)).map(ended)
}

fn docs(root: &Path) -> Result<End, Failure> {
    let mut command = shell::cargo(
        root,
        World::Real,
        &["doc", "--no-deps", "-p", "kms", "-p", "kms-sim", "-p", "kms-model"],
    );
    command.env("RUSTDOCFLAGS", "-D warnings");
    shell::run(&mut command).map(ended)
}

/// The description of the REST interface, in the short form. A machine whose disks stand still for a moment makes a region refuse, which is a
/// 503: what is broken must be so twice, with the same requests.
fn described(root: &Path) -> Result<End, Failure> {
    let mut came = openapi::come(root, &openapi::Args::default())?;
    if let openapi::Came::Broken(run) = &came {
        say::out(format_args!("openapi: broken, see {}; asked once more", run.display()));
        came = openapi::come(root, &openapi::Args::default())?;
    }
    Ok(match came {
        openapi::Came::Held => End::Passed,
        openapi::Came::Broken(run) => End::Failed(format!("see {}", run.display())),
        openapi::Came::NotExercised(why) => End::LeftOut(format!("not exercised: {why}")),
    })
}

/// Clients that others wrote against a region. As with the description, what is broken must be so twice.
fn public_clients(root: &Path) -> Result<End, Failure> {
    // What others publish does not decide whether a change passes: no okms is installed here. Libraries are pinned, and no others.
    let args = clients::Args::without_installing();
    let is_broken = |(_, came): &(&str, clients::Came)| matches!(came, clients::Came::Broken(_));
    let mut came = clients::come(root, &args)?;
    if came.iter().any(is_broken) {
        say::out("clients: broken; asked once more");
        came = clients::come(root, &args)?;
    }
    let (mut held, mut broken, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    for (name, came) in came {
        match came {
            clients::Came::Held => held.push(name),
            clients::Came::Broken(run) => broken.push(format!("{name}: see {}", run.display())),
            clients::Came::NotExercised(why) => left_out.push(format!("{name} not exercised: {why}")),
        }
    }
    Ok(match (broken.is_empty(), left_out.is_empty()) {
        (false, _) => End::Failed(broken.join("; ")),
        (true, false) if held.is_empty() => End::LeftOut(left_out.join("; ")),
        (true, false) => End::LeftOut(format!("{}; held: {}", left_out.join("; "), held.join(", "))),
        (true, true) => End::Passed,
    })
}

/// Three planted bugs, chosen by the commit.
fn planted_sample(root: &Path) -> Result<End, Failure> {
    if !root.join("sim/planted/guard.patch").is_file() {
        return Ok(End::LeftOut("no patches in sim/planted".into()));
    }
    let Ok(sample) = Sample::try_parse_from(["planted", "--sample", "3"]) else {
        return Ok(End::Failed("its arguments do not parse".into()));
    };
    planted::run(sample.args).map(by_code)
}

/// [`planted::Args`] as from a command line.
#[derive(Parser)]
struct Sample {
    #[command(flatten)]
    args: planted::Args,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_parses() {
        assert!(Sample::try_parse_from(["planted", "--sample", "3"]).is_ok());
    }

    #[test]
    fn a_step_that_does_not_exist_is_a_usage_error() {
        let failure = run(&Args { only: vec!["fromat".into()] }).expect_err("no such step");
        assert_eq!(failure.exit, exit::USAGE);
    }
}
