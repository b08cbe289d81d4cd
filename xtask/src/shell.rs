//! Starting other programs: the workspace root, cargo with the right flags, git facts.
//!
//! No command gets a terminal's input, and every command is printed before it runs.

use crate::{exit, say};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a command of ours stopped.
#[derive(Debug)]
pub struct Failure {
    /// What to tell the caller.
    pub what: String,
    /// The exit status that says it.
    pub exit: u8,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        harness(error.to_string())
    }
}

/// The caller asked for something that is not there.
pub fn usage(what: impl Into<String>) -> Failure {
    Failure { what: what.into(), exit: exit::USAGE }
}

/// A tool we need failed.
pub fn harness(what: impl Into<String>) -> Failure {
    Failure { what: what.into(), exit: exit::HARNESS }
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    // Cargo sets the variable for `cargo xtask`; the compiled-in path serves a binary started by hand.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// The commit of the tree, short, with `-dirty` if the tree differs from it.
pub fn commit(root: &Path) -> String {
    let Some(hash) = git(root, &["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    let dirty = git(root, &["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty());
    if dirty { format!("{hash}-dirty") } else { hash }
}

/// What git answers, or `None` where it fails or is not installed.
pub fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(root).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Which cfg the simulator's crates are compiled with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// The ordinary one: production and everything that does not run inside the simulator.
    Real,
    /// `--cfg madsim`, with target directory and profile of its own.
    Madsim,
}

/// `cargo` in the workspace, with the flags of `world`. The first argument is the subcommand.
pub fn cargo(root: &Path, world: World, arguments: &[&str]) -> Command {
    cargo_into(root, world, &root.join("target/sim"), arguments)
}

/// [`cargo`] with another target directory for the simulated world.
pub fn cargo_into(directory: &Path, world: World, target: &Path, arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(directory).stdin(Stdio::null());
    // Facts about this process that would make a build script or rustc rerun.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(name);
    }
    let (subcommand, rest) = arguments.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
    command.arg(subcommand);
    if world == World::Madsim {
        let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        command.env("RUSTFLAGS", format!("{flags} --cfg madsim").trim());
        command.arg("--profile").arg("sim").arg("--target-dir").arg(target);
    }
    command.args(rest);
    command
}

/// Prints a command, runs it with its output passed on, and says whether it succeeded.
///
/// # Errors
/// When the program cannot be started.
pub fn run(command: &mut Command) -> Result<bool, Failure> {
    say::err(format_args!("$ {}", shown(command)));
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| harness(format!("{name}: {error}")))?;
    Ok(status.success())
}

/// Where cargo puts what it builds for the real world.
///
/// # Errors
/// When cargo cannot say.
pub fn target(root: &Path) -> Result<PathBuf, Failure> {
    let mut command = cargo(root, World::Real, &["metadata", "--no-deps", "--format-version", "1"]);
    let output = command.output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| harness(format!("cargo metadata: {error}")))?;
    let directory = metadata.get("target_directory").and_then(serde_json::Value::as_str);
    directory.map(PathBuf::from).ok_or_else(|| harness("cargo metadata names no target directory"))
}

/// A command as one would type it.
pub fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}='{}'", name.to_string_lossy(), value.to_string_lossy()));
        }
    }
    words.push(shown_without_environment(command));
    words.join(" ")
}

/// [`shown`], without what is set in its environment.
pub fn shown_without_environment(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or_default().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| {
        let word = word.to_string_lossy();
        if word.contains(' ') { format!("'{word}'") } else { word.into_owned() }
    }));
    words.join(" ")
}

/// Every file of the tree that git tracks or would track; without git, all but build output.
pub fn files(root: &Path) -> Vec<PathBuf> {
    let listed = git(root, &["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let mut files: Vec<PathBuf> = match listed {
        Some(names) => names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect(),
        None => {
            let mut found = Vec::new();
            walk(root, Path::new(""), &mut found);
            found
        }
    };
    // A tracked file may have been deleted from the tree.
    files.retain(|file| root.join(file).is_file());
    files.sort();
    files.dedup();
    files
}

fn walk(root: &Path, under: &Path, found: &mut Vec<PathBuf>) {
    let skipped = ["target", ".git", "reports/runs", "reports/failures"].map(Path::new);
    if skipped.contains(&under) {
        return;
    }
    let Ok(entries) = std::fs::read_dir(root.join(under)) else { return };
    for entry in entries.flatten() {
        let path = under.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(root, &path, found),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
}

/// A file as text, or an empty string where it is not there or not text.
pub fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["build", "-p", "a b"]).env("RUSTFLAGS", "--cfg madsim");
        assert_eq!(shown(&command), "RUSTFLAGS='--cfg madsim' cargo build -p 'a b'");
    }

    #[test]
    fn flags_of_the_simulated_world_stand_before_other_arguments() {
        let command = cargo_into(
            Path::new("."),
            World::Madsim,
            Path::new("t"),
            &["clippy", "-p", "x", "--", "-D", "w"],
        );
        assert!(shown(&command).ends_with("clippy --profile sim --target-dir t -p x -- -D w"));
    }
}
