//! `cargo xtask openapi`: holds a running region to the document that it serves.
//!
//! Starts `kms dev` on 127.0.0.1 in a directory of its own, and has schemathesis ask it whatever the document allows and much of what
//! it does not, with all checks. Schemathesis comes from PyPI into a virtual environment below target/, in pinned versions. Where there is
//! no python3, or no registry to install from, nothing is proven and the command says so; that is not a failure.

use crate::interrupt::Children;
use crate::region::Region;
use crate::shell::{self, Failure, World, harness};
use crate::venv::environment;
use crate::{exit, say};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Cases that are drawn for each operation in the short form, beside those that every run has.
const SHORT_EXAMPLES: u32 = 5;

/// Arguments of `cargo xtask openapi`.
#[derive(clap::Args)]
pub struct Args {
    /// Cases drawn for each operation in each phase
    #[arg(long, value_name = "N", default_value_t = SHORT_EXAMPLES, value_parser = clap::value_parser!(u32).range(1..))]
    examples: u32,
    /// Seed of what is drawn [default: 1, so that two runs ask the same]
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Only operations whose id has this in it
    #[arg(long, value_name = "TEXT")]
    operation: Option<String>,
}

impl Default for Args {
    fn default() -> Args {
        Args { examples: SHORT_EXAMPLES, seed: 1, operation: None }
    }
}

/// What came of it.
pub enum Came {
    /// The region keeps to the document.
    Held,
    /// It does not; what was seen is in this directory.
    Broken(PathBuf),
    /// Nothing was asked, for this reason.
    NotExercised(String),
}

/// Runs the command and answers its exit status.
///
/// # Errors
/// When the region cannot be built or started.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let root = shell::root();
    let commit = shell::commit(&root);
    say::out(format_args!("openapi, seed {}, {} examples, commit {commit}", args.seed, args.examples));
    let (code, word) = match come(&root, args)? {
        Came::Held => (exit::HELD, "held".to_owned()),
        Came::Broken(run) => (exit::BROKEN, format!("BROKEN; see {}", run.display())),
        Came::NotExercised(why) => (exit::HELD, format!("NOT EXERCISED: {why}")),
    };
    say::out(format_args!("openapi, seed {}, commit {commit}: {word}", args.seed));
    Ok(code)
}

/// Holds the region to the document.
///
/// # Errors
/// When the region cannot be built or started.
pub fn come(root: &Path, args: &Args) -> Result<Came, Failure> {
    let target = shell::target(root)?;
    let home = target.join("openapi");
    let tools = root.join("xtask/schemathesis");
    let python = match environment(&home, &tools.join("requirements.txt"))? {
        Ok(python) => python,
        Err(why) => return Ok(Came::NotExercised(why)),
    };
    if !shell::run(&mut shell::cargo(root, World::Real, &["build", "-p", "kms", "--bin", "kms"]))? {
        return Err(harness("kms does not build"));
    }
    // One directory for each run: nothing that was generated once is there for another one.
    let name = |n: u32| home.join(format!("run-{}-{n}", std::process::id()));
    let run = (1..).map(name).find(|run| !run.exists()).unwrap_or_else(|| name(0));
    fs::create_dir_all(&run)?;
    let region = Region::start(&target.join("debug/kms"), &run)?;
    let kept_to = ask(&python, &tools, &region, &run, args)?;
    drop(region);
    let log = shell::text(&run.join("kms.log"));
    if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
        say::out(format_args!("a node of the region panicked: {line}"));
        return Ok(Came::Broken(run));
    }
    if !kept_to {
        return Ok(Came::Broken(run));
    }
    fs::remove_dir_all(&run)?;
    Ok(Came::Held)
}

/// Has schemathesis ask; whether the region kept to the document.
fn ask(python: &Path, tools: &Path, region: &Region, run: &Path, args: &Args) -> Result<bool, Failure> {
    let client = region.directory.join("region/clients");
    let mut command = Command::new(python);
    command.args(["-m", "schemathesis.cli", "--config-file"]).arg(tools.join("schemathesis.toml"));
    command.arg("run").arg(format!("{}/openapi.json", region.address));
    command.arg("--request-cert").arg(client.join("client-1.crt"));
    command.arg("--request-cert-key").arg(client.join("client-1.key"));
    command.arg("--tls-verify").arg(region.directory.join("region/ca.pem"));
    command.args(["--checks", "all", "--max-examples", &args.examples.to_string()]);
    command.args(["--seed", &args.seed.to_string(), "--report", "ndjson", "--report-dir"]);
    command.arg(run.join("report"));
    if let Some(text) = &args.operation {
        command.arg("--include-operation-id-regex").arg(text);
    }
    command.current_dir(run).stdin(Stdio::null());
    command.env("KMS_DOMAIN", &region.domain).env("SCHEMATHESIS_HOOKS", tools.join("hooks.py"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    say::err(format_args!("$ {}", shell::shown(&command)));
    let (_, ended) = Children::watched().run(&mut command, |_, _| ())?;
    match ended.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(harness(format!("schemathesis could not ask ({}); see {}", ended.status, run.display()))),
    }
}
