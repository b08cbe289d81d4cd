//! Lines for people. A closed pipe (`| head`) ends nothing with a panic.

use std::fmt::Display;
use std::io::Write;

/// One line on stdout.
pub fn out(line: impl Display) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}

/// One line on stderr.
pub fn err(line: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Where the lines for people go: stdout, or stderr when stdout carries JSON Lines or a trace.
#[derive(Clone, Copy)]
pub struct Voice {
    /// Whether stdout is taken.
    pub quiet_stdout: bool,
}

impl Voice {
    /// One line for people.
    pub fn line(self, line: impl Display) {
        if self.quiet_stdout { err(line) } else { out(line) }
    }
}
