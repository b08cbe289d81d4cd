//! The scenario files on disk: finding, reading, telling a scenario from a plan. Reads only; the simulator's
//! own files are outside any simulated world.

use crate::{
    plan::Plan,
    scenario::{BadScenario, Scenario},
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// A text file of the harness.
///
/// # Errors
/// The file system's own.
#[expect(clippy::disallowed_methods, reason = "the harness reads its own files outside the simulated world")]
pub fn read(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
}

/// The `*.toml` files of a directory, sorted.
///
/// # Errors
/// The file system's own.
#[expect(clippy::disallowed_methods, reason = "the harness reads its own files; the result is sorted")]
pub fn scenario_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Where scenario names are looked up: `scenarios/` of the current directory or of one above it.
pub fn scenarios_dir() -> PathBuf {
    let mut dir = PathBuf::from("scenarios");
    for _ in 0..4 {
        if dir.is_dir() {
            return dir;
        }
        dir = Path::new("..").join(dir);
    }
    PathBuf::from("scenarios")
}

/// Why nothing could be run: usage errors.
#[derive(Debug, thiserror::Error)]
pub enum NotRunnable {
    /// Neither a file nor a name.
    #[error("no scenario `{0}`: neither a file nor a name in scenarios/")]
    Missing(String),
    /// The file could not be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, io::Error),
    /// Not a scenario.
    #[error("{0}: {1}")]
    Scenario(PathBuf, BadScenario),
    /// Not a plan.
    #[error("{0}: {1}")]
    Plan(PathBuf, crate::plan::BadPlan),
}

/// The file meant by `name`: a path, or a name under `scenarios/`, `scenarios/stories/` or
/// `scenarios/regressions/`.
///
/// # Errors
/// [`NotRunnable::Missing`].
pub fn find(name: &str) -> Result<PathBuf, NotRunnable> {
    let dir = scenarios_dir();
    [
        PathBuf::from(name),
        dir.join(format!("{name}.toml")),
        dir.join("stories").join(format!("{name}.toml")),
        dir.join("regressions").join(format!("{name}.toml")),
        dir.join("regressions").join(format!("{name}.plan")),
    ]
    .into_iter()
    .find(|path| path.is_file())
    .ok_or_else(|| NotRunnable::Missing(name.to_owned()))
}

/// Reads a scenario.
///
/// # Errors
/// [`NotRunnable`].
pub fn scenario(path: &Path) -> Result<Scenario, NotRunnable> {
    let text = read(path).map_err(|error| NotRunnable::Read(path.into(), error))?;
    Scenario::parse(&text).map_err(|error| NotRunnable::Scenario(path.into(), error))
}

/// The plan of `name` under `seed`: drawn from a scenario, or read from a `.plan` file, whose own seed gives way
/// to `seed` if one is given.
///
/// # Errors
/// [`NotRunnable`].
pub fn plan(name: &str, seed: Option<u64>) -> Result<Plan, NotRunnable> {
    let path = find(name)?;
    if path.extension().is_some_and(|extension| extension == "plan" || extension == "txt") {
        let text = read(&path).map_err(|error| NotRunnable::Read(path.clone(), error))?;
        let mut plan = Plan::parse(&text).map_err(|error| NotRunnable::Plan(path.clone(), error))?;
        plan.seed = seed.unwrap_or(plan.seed);
        return Ok(plan);
    }
    let scenario = scenario(&path)?;
    Plan::draw(&scenario, seed.unwrap_or(1)).map_err(|error| NotRunnable::Plan(path, error))
}
