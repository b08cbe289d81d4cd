//! `cargo xtask tidy`: rules of the code base that the compiler cannot check. Each rule is one function over
//! the tree; the same functions run as a test of this crate.
//!
//! It reads source as text with comments and strings taken out; it does not resolve macros or re-exports.

mod bugs;
mod layers;
mod manifest;
mod source;
mod words;

use crate::exit;
use crate::say;
use crate::shell::{self, Failure};
use std::fmt;
use std::path::{Path, PathBuf};

/// A rule broken at a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// File, relative to the root.
    pub file: PathBuf,
    /// Line from 1, or 0 where the whole file is meant.
    pub line: usize,
    /// What is wrong and what to do.
    pub what: String,
}

impl Finding {
    fn new(file: impl Into<PathBuf>, line: usize, what: impl Into<String>) -> Finding {
        Finding { file: file.into(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.what),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.what),
        }
    }
}

/// The tree under check.
pub struct Tree {
    root: PathBuf,
    files: Vec<PathBuf>,
}

impl Tree {
    fn of(root: &Path) -> Tree {
        Tree { root: root.to_owned(), files: shell::files(root) }
    }

    fn text(&self, file: impl AsRef<Path>) -> String {
        shell::text(&self.root.join(file))
    }

    fn under<'a>(&'a self, folder: &'a str, extension: &'a str) -> impl Iterator<Item = &'a PathBuf> {
        self.files.iter().filter(move |file| {
            file.starts_with(folder) && file.extension().is_some_and(|have| have == extension)
        })
    }
}

/// What the rules had to say.
#[derive(Default)]
pub struct Outcome {
    /// Rules broken.
    pub findings: Vec<Finding>,
    /// Things to know that fail nothing.
    pub notes: Vec<String>,
}

type Rule = fn(&Tree, &mut Outcome);

/// Every rule, with the sentence it stands for.
const RULES: [(&str, Rule); 11] = [
    ("a module of kms uses only what stands below it (ARCHITECTURE.md)", layers::order),
    ("the simulator reaches the service by the paths production uses", layers::simulator),
    ("no file over 800 lines, none over 600 without a note", source::length),
    ("a file of kms, sim or xtask begins by saying what it is for", source::heads),
    ("unsafe code only in the simulator's hook", source::unsafe_code),
    ("no unfinished code, no switched-off test, no path of somebody's machine", words::forbidden),
    ("links between documents lead somewhere", words::links),
    ("a dependency has a reason and comes from crates.io", manifest::reasons),
    ("production links neither a simulator nor what a simulator cannot repeat", manifest::production),
    ("a scenario's file is named as the scenario", manifest::scenarios),
    ("each rule of the protocol has a planted bug or a reason, and the reverse", bugs::coverage),
];

/// Applies every rule.
pub fn check(root: &Path) -> Outcome {
    let tree = Tree::of(root);
    let mut outcome = Outcome::default();
    for (_, rule) in RULES {
        rule(&tree, &mut outcome);
    }
    outcome.findings.sort();
    outcome
}

/// Runs the command and answers its exit status.
///
/// # Errors
/// Never; findings are a status.
pub fn run() -> Result<u8, Failure> {
    let outcome = check(&shell::root());
    for note in &outcome.notes {
        say::out(format_args!("note: {note}"));
    }
    for finding in &outcome.findings {
        say::out(finding);
    }
    let count = outcome.findings.len();
    say::out(format_args!("tidy: {} rules, {count} findings", RULES.len()));
    Ok(if count == 0 { exit::HELD } else { exit::BROKEN })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let findings: Vec<String> = check(&shell::root()).findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
    }
}
