//! Building the simulator, and finding the scenarios.

use crate::shell::{self, Failure, World, harness, usage};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Where scripted stories are: scenarios that each replay one trace. They run by name or as the group `stories`.
const STORIES: &str = "scenarios/stories";

/// A scenario file, as far as a runner must know it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name, or the path given on the command line.
    pub argument: String,
    /// Its name.
    pub name: String,
    /// Run only when named.
    pub long: bool,
    /// The promises it is meant to exercise.
    pub promises: Vec<String>,
}

/// Every scenario of `scenarios/`, by name.
///
/// # Errors
/// When a file does not parse.
pub fn scenarios(root: &Path) -> Result<Vec<Scenario>, Failure> {
    folder(root, "scenarios")
}

/// Every story of `scenarios/stories`, by name.
///
/// # Errors
/// When a file does not parse.
pub fn stories(root: &Path) -> Result<Vec<Scenario>, Failure> {
    folder(root, STORIES)
}

fn folder(root: &Path, folder: &str) -> Result<Vec<Scenario>, Failure> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(root.join(folder)).map_err(|_| usage(format!("no folder {folder}/")))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            found.push(scenario(&path, stem)?);
        }
    }
    found.sort_by(|left, right| left.name.cmp(&right.name));
    if found.is_empty() {
        return Err(usage(format!("no scenario in {folder}/")));
    }
    Ok(found)
}

/// The scenario of a name, or of the path of a scenario or plan file.
///
/// # Errors
/// When there is none, or it does not parse.
pub fn named(root: &Path, argument: &str) -> Result<Scenario, Failure> {
    for folder in ["scenarios", STORIES] {
        let inside = root.join(folder).join(format!("{argument}.toml"));
        if inside.is_file() {
            return scenario(&inside, argument.to_owned());
        }
    }
    let path = Path::new(argument);
    if path.is_file() {
        let path = path.canonicalize()?;
        let shown = path.to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "plan") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(Scenario { argument: shown, name, long: false, promises: Vec::new() });
        }
        return scenario(&path, shown);
    }
    let known: Vec<String> = scenarios(root)?.into_iter().map(|scenario| scenario.name).collect();
    Err(usage(format!("no scenario `{argument}`; there are: {}, and `stories`", known.join(", "))))
}

fn scenario(path: &Path, argument: String) -> Result<Scenario, Failure> {
    let table: toml::Table =
        shell::text(path).parse().map_err(|error| usage(format!("{}: {error}", path.display())))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = table.get("name").and_then(toml::Value::as_str).map_or(stem, str::to_owned);
    let promises = table.get("promises").and_then(toml::Value::as_array).map_or_else(Vec::new, |list| {
        list.iter().filter_map(|promise| promise.as_str().map(str::to_owned)).collect()
    });
    let long = table.get("long").and_then(toml::Value::as_bool).unwrap_or(false);
    Ok(Scenario { argument, name, long, promises })
}

/// Builds the simulator and answers where it is. Cargo's progress goes to stderr.
///
/// # Errors
/// When it does not build, or the platform cannot run it.
pub fn simulator(root: &Path) -> Result<PathBuf, Failure> {
    if !cfg!(target_os = "linux") {
        return Err(usage("the simulator runs on Linux only (x86_64 and aarch64); `kms` itself runs here"));
    }
    let mut command = shell::cargo(root, World::Madsim, &["build", "-p", "kms-sim", "--bin", "kms-sim"]);
    command.stdout(Stdio::null());
    if !shell::run(&mut command)? {
        return Err(harness("the simulator does not build"));
    }
    Ok(root.join("target/sim/sim/kms-sim"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scenario_is_a_usage_error() {
        let failure = named(Path::new("/nonexistent"), "no-such-scenario").expect_err("no such scenario");
        assert_eq!(failure.exit, crate::exit::USAGE);
    }
}
