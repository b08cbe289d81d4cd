//! The figures of the criterion benchmarks that have a limit, gathered into one table as their lines go by. Judges none: the lines say themselves
//! whether the limit was met, and a shared machine is no judge.

use crate::say;
use crate::shell::{self, Failure, harness};
use crate::sim::table;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Runs the benchmarks, passes on what they print, and prints the table; whether they ended well.
pub(super) fn run(command: &mut Command) -> Result<bool, Failure> {
    say::err(format_args!("$ {}", shell::shown(command)));
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| harness(format!("cargo: {error}")))?;
    let output = child.stdout.take().ok_or_else(|| harness("cargo has no output"))?;
    let mut rows = vec![["figure", "seen", "limit", ""].map(str::to_owned).to_vec()];
    for line in BufReader::new(output).lines() {
        let line = line?;
        say::out(format_args!("{line}"));
        rows.extend(row(&line));
    }
    let ended_well = child.wait()?.success();
    if rows.len() > 1 {
        say::out(format_args!("\nfigures of the benchmarks that have a limit\n{}", table::grid(&rows)));
    }
    Ok(ended_well)
}

/// A figure with its limit, if the line is one: `ratio: WHAT = SEEN (LIMIT: met)`.
fn row(line: &str) -> Option<Vec<String>> {
    let (what, rest) = line.strip_prefix("ratio: ")?.rsplit_once(" = ")?;
    let (seen, limit) = rest.strip_suffix(')')?.rsplit_once(" (")?;
    let (limit, met) = limit.rsplit_once(": ")?;
    let met = if met == "met" { "met" } else { "MISSED" };
    Some([what, seen, limit, met].map(str::to_owned).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_with_a_limit_become_rows() {
        let cells = |line| row(line).map(|cells| cells.join("|"));
        assert_eq!(
            cells("ratio: create / bare = 1.33 by medians, 1.40 by means (limit 1.5: met)").as_deref(),
            Some("create / bare|1.33 by medians, 1.40 by means|limit 1.5|met")
        );
        assert_eq!(
            cells("ratio: sign P-256 = 0.41 (at least 0.6: missed)").as_deref(),
            Some("sign P-256|0.41|at least 0.6|MISSED")
        );
        assert_eq!(cells("ratio: encrypt / echo = 2.40 by medians, 2.50 by means"), None, "no limit");
        assert_eq!(cells("  p99: 1.20 ms without (400)"), None);
    }
}
