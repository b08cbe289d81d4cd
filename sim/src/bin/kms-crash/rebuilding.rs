//! An operator at work on real processes: `kms rebuild zone`, run until it has done it. What it prints is read for the
//! steps that verdicts depend on.

use kms_sim::history::{Micros, Rebuild};
use std::{
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Between two tries.
const PAUSE_US: Micros = 500_000;
/// After so long somebody else has to be asked.
const LIMIT_US: Micros = 240_000_000;

/// One rebuild.
pub struct Rebuilding {
    kms: PathBuf,
    config: PathBuf,
    /// What the command prints, all tries together.
    log: PathBuf,
    node: String,
    /// The id of the store that is lost.
    store: String,
    running: Option<Child>,
    next: Micros,
    until: Micros,
    /// Bytes of the log already read.
    read: usize,
}

impl Rebuilding {
    /// `dir` is the operator's folder; `store` the id of the database that is not running and is to be replaced.
    pub fn new(kms: PathBuf, dir: &Path, node: &str, store: String, now: Micros) -> Rebuilding {
        Rebuilding {
            kms,
            config: dir.join("operator.toml"),
            log: dir.join(format!("rebuild-{node}.log")),
            node: node.to_owned(),
            store,
            running: None,
            next: now,
            until: now + LIMIT_US,
            read: 0,
        }
    }

    /// The database that is made anew.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Starts the command, or looks at what it has printed: the steps since the last look, and whether there is
    /// more to come.
    pub fn look(&mut self, now: Micros) -> (Vec<Rebuild>, bool) {
        let Some(child) = &mut self.running else {
            if now < self.next {
                return (Vec::new(), true);
            }
            return match self.start() {
                Ok(child) => {
                    self.running = Some(child);
                    (Vec::new(), true)
                }
                Err(_) => (vec![Rebuild::GivenUp], false),
            };
        };
        let ended = child.try_wait();
        let steps = self.printed();
        match ended {
            Ok(None) => (steps, true),
            Ok(Some(status)) if status.success() => (steps, false),
            _ if now < self.until => {
                self.running = None;
                self.next = now + PAUSE_US;
                (steps, true)
            }
            _ => (vec![Rebuild::GivenUp], false),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a real process and the file that it prints to")]
    fn start(&self) -> io::Result<Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let zone = self.node.trim_start_matches("db-");
        Command::new(&self.kms)
            .args(["rebuild", "zone", zone, "--not-running", &self.store, "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
    }

    /// The steps in the whole lines that were not read yet.
    #[expect(clippy::disallowed_methods, reason = "what a real process printed")]
    fn printed(&mut self) -> Vec<Rebuild> {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let new = bytes.get(self.read..).unwrap_or_default();
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.read += whole;
        String::from_utf8_lossy(&new[..whole]).lines().filter_map(step).collect()
    }
}

impl Drop for Rebuilding {
    fn drop(&mut self) {
        if let Some(child) = &mut self.running {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The step that a printed line tells of.
fn step(line: &str) -> Option<Rebuild> {
    if line.starts_with("the source has adopted") {
        Some(Rebuild::Adopted)
    } else if line.starts_with("filled: ") {
        Some(Rebuild::Activating)
    } else if line.starts_with("epoch ") && line.ends_with(" is active") {
        Some(Rebuild::Activated)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_command_tell_its_steps() {
        let lines = [
            ("epoch 2:53494ffe is registered at the witness", None),
            (
                "the source has adopted it: key writes are refused from now on, reads go on",
                Some(Rebuild::Adopted),
            ),
            ("filling: 100 %, 21 of 21 records, 0.0 MB, 0.0 MB/s, 0 s left", None),
            ("filled: both logs end at 21:465473d5", Some(Rebuild::Activating)),
            ("epoch 2:53494ffe is active", Some(Rebuild::Activated)),
        ];
        for (line, expected) in lines {
            assert_eq!(step(line), expected, "{line}");
        }
    }
}
