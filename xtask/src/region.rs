//! A region for one command: `kms dev` on free ports of 127.0.0.1, in a directory of the run.

use crate::say;
use crate::shell::{self, Failure, harness};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long the region may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Ports in a row that a region uses, with room.
const PORTS: u16 = 16;

/// A region that runs until this is dropped.
pub struct Region {
    child: Child,
    /// `https://` and where its entry listens.
    pub address: String,
    /// Its domain.
    pub domain: String,
    /// What `kms dev --dir` was given.
    pub directory: PathBuf,
}

impl Drop for Region {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Region {
    /// Starts `kms dev` in `run`, on ports that nobody uses, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(kms: &Path, run: &Path) -> Result<Region, Failure> {
        let directory = run.join("region");
        let port = free_ports()?;
        let mut command = Command::new(kms);
        command.arg("dev").arg("--dir").arg(&directory);
        command.args(["--hosts-per-zone", "1", "--port", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(run.join("kms.log"))?);
        say::err(format_args!("$ {}", shell::shown(&command)));
        let child = command.spawn()?;
        let mut region = Region { child, address: String::new(), domain: String::new(), directory };
        let Some(stdout) = region.child.stdout.take() else { return Err(harness("kms has no output")) };
        let (told, tells) = mpsc::channel();
        std::thread::spawn(move || {
            // Read to the end, so that the region never waits for a reader.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(place) = place(&line) {
                    let _ = told.send(place);
                }
            }
        });
        match tells.recv_timeout(READY_WITHIN) {
            Ok(place) => {
                (region.address, region.domain) = place;
                Ok(region)
            }
            Err(_) => Err(harness(format!("`kms dev` does not come up; see {}", run.display()))),
        }
    }
}

/// Address and domain, if this is the line of `kms dev` that says them.
fn place(line: &str) -> Option<(String, String)> {
    let (before, domain) = line.split_once(", domain ")?;
    let (_, address) = before.split_once(" runs: ")?;
    Some((address.to_owned(), domain.trim().to_owned()))
}

/// The first of some ports in a row that nobody uses now.
fn free_ports() -> Result<u16, Failure> {
    for _ in 0..100 {
        let first = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let Some(last) = first.checked_add(PORTS) else { continue };
        let free = (first..last).map(|port| TcpListener::bind(("127.0.0.1", port)));
        if free.collect::<Result<Vec<_>, _>>().is_ok() {
            return Ok(first);
        }
    }
    Err(harness("no free ports on 127.0.0.1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_where_a_region_is_is_understood() {
        let line =
            "Region eu-west-rbx runs: https://127.0.0.1:8443, domain 6f9619ff-8b86-4011-b42d-00c04fc964ff";
        let (address, domain) = place(line).expect("a place");
        assert_eq!(address, "https://127.0.0.1:8443");
        assert_eq!(domain, "6f9619ff-8b86-4011-b42d-00c04fc964ff");
        assert!(place("A new region was made.").is_none());
    }
}
