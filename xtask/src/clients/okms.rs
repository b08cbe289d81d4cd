//! The client: where it comes from, how it is asked, which commands it has.
//!
//! It is asked as a person would, with a configuration file and arguments, in a home directory of the run: nothing of the caller's own
//! configuration or environment reaches it.

use crate::interrupt::Children;
use crate::shell::{self, Failure, harness};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The module that the client is.
const MODULE: &str = "github.com/ovh/okms-cli";
/// Its package, which is installed where there is no client.
const PACKAGE: &str = "github.com/ovh/okms-cli/cmd/okms";
/// The version that the table was written for.
pub const VERSION: &str = "v0.4.4";
/// The groups of commands that must all be tried.
pub const GROUPS: [&str; 4] = ["keys", "secrets", "vault", "x509"];
/// Longest that one command may take: five tries of 30 s would be longer, and are a failure.
const ANSWERS_WITHIN: Duration = Duration::from_secs(90);
/// Longest that it may take to install the client.
const INSTALLED_WITHIN: Duration = Duration::from_secs(600);

/// A program that was asked, and what it said.
pub struct Answer {
    /// What was asked, as one would type it.
    pub asked: String,
    /// Whether it ended with 0.
    pub succeeded: bool,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Answer {
    /// What it printed, if it ended well.
    ///
    /// # Errors
    /// What it complained of.
    pub fn text(&self) -> Result<&str, String> {
        if self.succeeded { Ok(self.out.trim_end_matches('\n')) } else { Err(self.told("failed")) }
    }

    /// What it printed, as JSON, if it ended well.
    ///
    /// # Errors
    /// What it complained of, or why that is no JSON.
    pub fn json(&self) -> Result<Value, String> {
        serde_json::from_str(self.text()?).map_err(|error| self.told(&format!("not JSON ({error})")))
    }

    /// Whether it was refused, and told why with all of these words.
    ///
    /// # Errors
    /// What it said instead.
    pub fn refused(&self, words: &[&str]) -> Result<(), String> {
        if self.succeeded {
            return Err(self.told("ended with 0 and should not"));
        }
        if self.err.contains("panic:") || self.err.contains("goroutine ") {
            return Err(self.told("the client panicked"));
        }
        match words.iter().find(|word| !self.err.contains(**word)) {
            Some(word) => Err(self.told(&format!("is refused, but `{word}` is not said"))),
            None => Ok(()),
        }
    }

    /// A sentence about it with what it said.
    pub fn told(&self, what: &str) -> String {
        let mut text = what.to_owned();
        for (name, said) in [("stdout", &self.out), ("stderr", &self.err)] {
            let said = said.trim();
            if !said.is_empty() {
                let cut: String = said.chars().take(600).collect();
                let _ = write!(text, "; {name}: {cut}");
            }
        }
        text
    }
}

/// Runs a program to its end, with nothing on its input, and gives back what it said.
///
/// # Errors
/// When it cannot be started.
pub fn heard(command: &mut Command, within: Duration) -> Result<Answer, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let asked = shell::shown_without_environment(command);
    let children = Children::watched();
    let (over, ended) = mpsc::channel::<()>();
    let watched = children.clone();
    let watch = std::thread::spawn(move || {
        if ended.recv_timeout(within) == Err(mpsc::RecvTimeoutError::Timeout) {
            watched.kill_overdue(within);
        }
    });
    let heard = children.run(command, |stdout, stderr| {
        let errors = std::thread::spawn(move || all_of(stderr));
        (all_of(stdout), errors.join().unwrap_or_default())
    });
    drop(over);
    let _ = watch.join();
    let ((out, mut err), ended) = heard.map_err(|error| harness(format!("{asked}: {error}")))?;
    if ended.overdue {
        let _ = write!(err, "\nkilled after {} s", within.as_secs());
    }
    Ok(Answer { asked, succeeded: ended.status.success(), out, err })
}

fn all_of(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether there is such a program, in `PATH`.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// The client: the one that is named, else one in `PATH`, else one that go installs, or has installed, below `home`. Or why there is none.
///
/// # Errors
/// When the one that is named is not there.
pub fn find(named: Option<&Path>, install: bool, home: &Path) -> Result<Result<PathBuf, String>, Failure> {
    if let Some(named) = named {
        let file = std::path::absolute(named)?;
        return if file.is_file() {
            Ok(Ok(file))
        } else {
            Err(shell::usage(format!("{}: no such client", named.display())))
        };
    }
    if let Some(found) = on_path("okms") {
        return Ok(Ok(found));
    }
    let installed = home.join("bin").join(VERSION).join("okms");
    if installed.is_file() {
        return Ok(Ok(installed));
    }
    if !install {
        return Ok(Err("there is no okms in PATH, and none is installed".into()));
    }
    if on_path("go").is_none() {
        return Ok(Err("there is neither okms nor go to install it with".into()));
    }
    let mut install = Command::new("go");
    install.arg("install").arg(format!("{PACKAGE}@{VERSION}"));
    install.env("GOPATH", home.join("go")).env("GOCACHE", home.join("cache"));
    install.env("GOBIN", home.join("bin").join(VERSION)).env("GOFLAGS", "-modcacherw").env("GOWORK", "off");
    std::fs::create_dir_all(home)?;
    install.current_dir(home);
    crate::say::err(format_args!("$ {}", shell::shown(&install)));
    let answer = heard(&mut install, INSTALLED_WITHIN)?;
    if answer.succeeded && installed.is_file() {
        return Ok(Ok(installed));
    }
    crate::say::err(answer.err.trim_end());
    Ok(Err(format!("go cannot install {PACKAGE}@{VERSION}")))
}

/// What a program was built of.
pub enum Built {
    /// The client, in this version.
    Client(String),
    /// Something else, which stands in for it.
    Other(String),
    /// Nobody here can tell.
    Unknown,
}

/// What go finds in the program of what it was built of: a released client and one that go installed call themselves differently.
///
/// # Errors
/// When go cannot be started.
pub fn built(program: &Path) -> Result<Built, Failure> {
    let Some(go) = on_path("go") else { return Ok(Built::Unknown) };
    let answer = heard(Command::new(go).args(["version", "-m"]).arg(program), ANSWERS_WITHIN)?;
    Ok(if answer.succeeded { built_of(&answer.out) } else { Built::Other("no program of go's".into()) })
}

fn built_of(text: &str) -> Built {
    let module = text.lines().find_map(|line| line.trim().strip_prefix("mod")).map(str::trim);
    let mut words = module.unwrap_or_default().split_whitespace();
    match (words.next(), words.next()) {
        (Some(MODULE), version) => Built::Client(version.unwrap_or("of no version").to_owned()),
        (Some(other), _) => Built::Other(other.to_owned()),
        _ => Built::Unknown,
    }
}

/// The client, as one identity.
pub struct Client {
    /// The program.
    pub program: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Where it runs, and its home.
    pub home: PathBuf,
}

impl Client {
    /// Asks `command` with these arguments.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ask(&self, command: &str, arguments: &[&str]) -> Result<Answer, Failure> {
        let mut asked = self.bare();
        asked.arg("-c").arg(&self.config).args(command.split(' ')).args(arguments);
        heard(&mut asked, ANSWERS_WITHIN)
    }

    /// What it says of itself: its version, and its help of `command`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn help(&self, command: &str) -> Result<String, Failure> {
        let mut asked = self.bare();
        asked.args(command.split(' ')).arg("--help");
        Ok(heard(&mut asked, ANSWERS_WITHIN)?.out)
    }

    /// Its version, as it tells it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn version(&self) -> Result<String, Failure> {
        let mut asked = self.bare();
        asked.arg("version");
        Ok(heard(&mut asked, ANSWERS_WITHIN)?.out.trim().replace('\n', ", "))
    }

    fn bare(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.home).env("HOME", &self.home);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KMS_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Every command of its own that stands below [`GROUPS`] and does something, by its help.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn commands(&self) -> Result<BTreeSet<String>, Failure> {
        let mut found = BTreeSet::new();
        let mut todo: Vec<String> = GROUPS.map(str::to_owned).to_vec();
        while let Some(command) = todo.pop() {
            let help = self.help(&command)?;
            // For a command that is not there, the help is that of what is above it.
            let its_own = help.contains(&format!(" {command} [command]"));
            let below = commands_in(&help);
            if below.is_empty() || !its_own {
                found.insert(command);
            } else {
                todo.extend(below.into_iter().map(|name| format!("{command} {name}")));
            }
        }
        Ok(found)
    }
}

/// The commands that a help text lists, without those that every program of this kind has.
fn commands_in(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| line.trim() != "Available Commands:").skip(1);
    let listed = lines.take_while(|line| line.starts_with("  "));
    let names = listed.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| !["help", "completion"].contains(name)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_from_a_help_text() {
        let help = "Manage domain keys\n\nUsage:\n  okms keys [command]\n\nAvailable Commands:\n  activate    Activate one\n  \
                    help        Help about any command\n  list        List domain keys\n\nFlags:\n  -d, --debug   debug\n";
        assert_eq!(commands_in(help), ["activate", "list"]);
        assert!(commands_in("Usage:\n  okms keys list [flags]\n\nFlags:\n  -A, --all\n").is_empty());
    }

    #[test]
    fn what_a_program_was_built_of_is_read() {
        let text = "okms: go1.26.0\n\tpath\tgithub.com/ovh/okms-cli/cmd/okms\n\tmod\tgithub.com/ovh/okms-cli\tv0.4.4\th1:x\n";
        assert!(matches!(built_of(text), Built::Client(version) if version == "v0.4.4"));
        let text = "okms: go1.26.0\n\tpath\tother\n\tmod\tother\t(devel)\n";
        assert!(matches!(built_of(text), Built::Other(module) if module == "other"));
        assert!(matches!(built_of("okms: go1.26.0\n"), Built::Unknown));
    }

    #[test]
    fn a_refusal_is_one_only_with_its_words_and_without_a_panic() {
        let answer = |succeeded, err: &str| Answer {
            asked: String::new(),
            succeeded,
            out: String::new(),
            err: err.to_owned(),
        };
        assert!(answer(false, "Error: ID=key_not_found, Code=17190913").refused(&["17190913"]).is_ok());
        assert!(answer(true, "17190913").refused(&["17190913"]).is_err());
        assert!(answer(false, "Error: EOF").refused(&["17190913"]).is_err());
        assert!(answer(false, "panic: 17190913").refused(&["17190913"]).is_err());
    }
}
