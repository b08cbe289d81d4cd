//! What was tried of each command, and how it went.
//!
//! A step asks the client one thing and looks at what it printed. A command is `ok` if at least one step of it was done and all were
//! right: so a command that nobody tried, and one whose steps could not be reached, is not ok.

use super::okms::{Answer, Client};
use crate::say;
use crate::shell::Failure;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A step that others need did not succeed, which has been told. The rest of its story cannot be done.
pub struct Missed;

/// How a story ends.
pub type Story = Result<(), Missed>;

/// What was tried of one command.
#[derive(Default)]
pub struct Row {
    /// Steps that were right.
    pub right: u32,
    /// Steps that were wrong.
    pub wrong: u32,
    /// What is the client's own fault, and was seen.
    pub quirks: BTreeSet<String>,
}

impl Row {
    /// In a word.
    pub fn word(&self) -> String {
        match (self.right, self.wrong) {
            (0, 0) => "NOT TRIED".into(),
            (right, 0) => format!("ok ({right})"),
            (right, wrong) => format!("FAILED ({wrong} of {})", right + wrong),
        }
    }

    fn ok(&self) -> bool {
        self.right > 0 && self.wrong == 0
    }
}

/// The client as one identity, and what was tried with it.
pub struct Session {
    /// The client.
    pub client: Client,
    /// How it says who it is: `mTLS`, `token`.
    pub how: &'static str,
    /// openssl, if there is one.
    pub openssl: Option<PathBuf>,
    /// By command.
    pub rows: BTreeMap<String, Row>,
    failure: Option<Failure>,
}

impl Session {
    /// One in which nothing was tried.
    pub fn new(client: Client, how: &'static str, openssl: Option<PathBuf>) -> Session {
        Session { client, how, openssl, rows: BTreeMap::new(), failure: None }
    }

    /// Asks the client and gives what `look` finds in its answer.
    ///
    /// # Errors
    /// When the client cannot be started, or `look` says what is wrong with the answer: both are told here.
    pub fn step<T>(
        &mut self,
        command: &str,
        what: &str,
        arguments: &[&str],
        look: impl FnOnce(&Answer) -> Result<T, String>,
    ) -> Result<T, Missed> {
        let answer = match self.client.ask(command, arguments) {
            Ok(answer) => answer,
            Err(failure) => {
                self.wrong(command, what, &failure.what);
                self.failure.get_or_insert(failure);
                return Err(Missed);
            }
        };
        match look(&answer) {
            Ok(found) => {
                self.rows.entry(command.to_owned()).or_default().right += 1;
                Ok(found)
            }
            Err(why) => {
                self.wrong(command, what, &format!("{why}\n      $ {}", answer.asked));
                Err(Missed)
            }
        }
    }

    /// [`Session::step`], when nothing depends on it.
    pub fn check(
        &mut self,
        command: &str,
        what: &str,
        arguments: &[&str],
        look: impl FnOnce(&Answer) -> Result<(), String>,
    ) {
        let _ = self.step(command, what, arguments, look);
    }

    /// Counts something that was found by other means than the client's words.
    pub fn found(&mut self, command: &str, what: &str, found: Result<(), String>) {
        match found {
            Ok(()) => self.rows.entry(command.to_owned()).or_default().right += 1,
            Err(why) => self.wrong(command, what, &why),
        }
    }

    /// Says that the client was seen to do something of its own that the service can do nothing about.
    pub fn quirk(&mut self, command: &str, what: &str) {
        self.rows.entry(command.to_owned()).or_default().quirks.insert(what.to_owned());
    }

    fn wrong(&mut self, command: &str, what: &str, why: &str) {
        say::out(format_args!("  {}: {command}: {what}: {why}", self.how));
        self.rows.entry(command.to_owned()).or_default().wrong += 1;
    }

    /// The first thing that kept the client from being started.
    pub fn failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }
}

/// The rows of the table, and how many of them are ok and are not.
pub struct Sum {
    /// Header and rows.
    pub rows: Vec<Vec<String>>,
    /// What the client does of its own, with the command.
    pub quirks: Vec<String>,
    /// Commands times identities that are ok.
    pub ok: u32,
    /// And those that are not.
    pub not_ok: u32,
}

/// Adds up: every command that the client has, and every one that was tried, with each identity.
pub fn sum(commands: &BTreeSet<String>, sessions: &[Session]) -> Sum {
    let mut header = vec!["command".to_owned()];
    header.extend(sessions.iter().map(|session| session.how.to_owned()));
    let mut sum = Sum { rows: vec![header], quirks: Vec::new(), ok: 0, not_ok: 0 };
    let tried = sessions.iter().flat_map(|session| session.rows.keys());
    let all: BTreeSet<&String> = commands.iter().chain(tried).collect();
    let nothing = Row::default();
    let mut quirks = BTreeSet::new();
    for command in all {
        let mut cells = vec![command.clone()];
        for session in sessions {
            let row = session.rows.get(command).unwrap_or(&nothing);
            // A command that the help does not list is one that the table is wrong about.
            let listed = commands.contains(command);
            cells.push(if listed { row.word() } else { format!("NOT LISTED, {}", row.word()) });
            if row.ok() && listed {
                sum.ok += 1
            } else {
                sum.not_ok += 1
            }
            quirks.extend(row.quirks.iter().map(|quirk| format!("{command}: {quirk}")));
        }
        sum.rows.push(cells);
    }
    sum.quirks = quirks.into_iter().collect();
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(rows: &[(&str, u32, u32)]) -> Session {
        let client = Client { program: "okms".into(), config: "c".into(), home: ".".into() };
        let mut session = Session::new(client, "mTLS", None);
        for (command, right, wrong) in rows {
            let row = Row { right: *right, wrong: *wrong, quirks: BTreeSet::new() };
            session.rows.insert((*command).to_owned(), row);
        }
        session
    }

    fn commands(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_command_that_nobody_tried_is_not_ok() {
        let sum = sum(&commands(&["keys get", "keys list"]), &[session(&[("keys get", 2, 0)])]);
        assert_eq!((sum.ok, sum.not_ok), (1, 1));
        assert_eq!(sum.rows[2], ["keys list", "NOT TRIED"]);
    }

    #[test]
    fn one_wrong_step_is_enough() {
        let sum = sum(&commands(&["keys get"]), &[session(&[("keys get", 7, 1)])]);
        assert_eq!((sum.ok, sum.not_ok), (0, 1));
        assert_eq!(sum.rows[1], ["keys get", "FAILED (1 of 8)"]);
    }

    #[test]
    fn a_command_that_the_client_does_not_list_is_not_ok() {
        let sum = sum(&commands(&[]), &[session(&[("keys got", 1, 0)])]);
        assert_eq!((sum.ok, sum.not_ok), (0, 1));
    }

    #[test]
    fn a_client_that_cannot_be_started_makes_a_wrong_step() {
        let mut session = session(&[]);
        session.client.program = "/nonexistent/okms".into();
        assert!(session.step("keys list", "lists", &[], |_| Ok(())).is_err());
        assert_eq!(session.rows["keys list"].wrong, 1);
        assert!(session.failure().is_some());
    }
}
