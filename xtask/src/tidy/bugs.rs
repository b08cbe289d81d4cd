//! The table of docs/protocol-coverage.md against the patches of sim/planted: both ends agree.

use super::{Finding, Outcome, Tree};
use crate::planted::header::Header;
use std::collections::{BTreeMap, BTreeSet};

const TABLE: &str = "docs/protocol-coverage.md";
/// Rules that must have a row: those the store is built to.
const BUILT: [&str; 23] = [
    "R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15", "R16",
    "R17", "R17a", "R18", "R19", "R20", "R21", "R22",
];

/// A row: a rule or promise, the bugs that break it, and why there is none.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    line: usize,
    rule: String,
    bugs: Vec<String>,
    reason: String,
}

/// Every rule has a bug or a reason; every bug of the table is a patch that names the rule, and the reverse.
pub fn coverage(tree: &Tree, outcome: &mut Outcome) {
    let rows = rows(&tree.text(TABLE));
    let mut headers = BTreeMap::new();
    for file in tree.under("sim/planted", "patch") {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if stem == "guard" {
            continue;
        }
        match Header::parse(&tree.text(file)) {
            Ok(header) if header.id == stem => drop(headers.insert(stem, header)),
            Ok(header) => {
                outcome.findings.push(Finding::new(file, 1, format!("its id is `{}`", header.id)));
            }
            Err(error) => outcome.findings.push(Finding::new(file, 1, error)),
        }
    }
    outcome.findings.extend(gaps(&rows));
    let guard = tree.files.iter().any(|file| file.ends_with("sim/planted/guard.patch"));
    if guard {
        outcome.findings.extend(disagreements(&rows, &headers));
    } else {
        outcome.notes.push("sim/planted has no guard.patch: its table is not compared with patches".into());
    }
}

/// Rules without a row, and rows without a bug or a reason.
fn gaps(rows: &[Row]) -> Vec<Finding> {
    let known: BTreeSet<&str> = rows.iter().map(|row| row.rule.as_str()).collect();
    let missing = BUILT.iter().filter(|rule| !known.contains(**rule));
    let mut findings: Vec<Finding> =
        missing.map(|rule| Finding::new(TABLE, 0, format!("no row for {rule}"))).collect();
    for row in rows.iter().filter(|row| row.bugs.is_empty() && row.reason.is_empty()) {
        findings.push(Finding::new(TABLE, row.line, format!("{} has neither a bug nor a reason", row.rule)));
    }
    findings
}

fn disagreements(rows: &[Row], headers: &BTreeMap<String, Header>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for row in rows {
        for bug in &row.bugs {
            match headers.get(bug) {
                None => findings.push(Finding::new(TABLE, row.line, format!("no sim/planted/{bug}.patch"))),
                Some(header) if !header.breaks(&row.rule) => {
                    let what = format!("sim/planted/{bug}.patch does not name {}", row.rule);
                    findings.push(Finding::new(TABLE, row.line, what));
                }
                Some(_) => {}
            }
        }
    }
    for (id, header) in headers {
        let file = format!("sim/planted/{id}.patch");
        for rule in &header.rules {
            if !rows.iter().any(|row| row.rule == *rule && row.bugs.contains(id)) {
                findings.push(Finding::new(&file, 0, format!("{TABLE} does not list it under {rule}")));
            }
        }
        if !rows.iter().any(|row| row.bugs.contains(id)) {
            findings.push(Finding::new(&file, 0, format!("not in {TABLE}")));
        }
    }
    findings
}

/// Rows of every table whose first cell is a rule, a promise, or the audit, which is promised beside those. Bugs are the words in backticks.
fn rows(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let is_rule = cells.first().is_some_and(|cell| {
            let mut characters = cell.chars();
            let numbered = characters.next().is_some_and(|first| first == 'R' || first == 'G')
                && characters.next().is_some_and(|digit| digit.is_ascii_digit());
            numbered || *cell == "audit"
        });
        if !line.trim_start().starts_with('|') || !is_rule || cells.len() < 4 {
            continue;
        }
        rows.push(Row {
            line: number + 1,
            rule: cells[0].to_owned(),
            bugs: cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect(),
            reason: cells[3].to_owned(),
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "| rule | says | planted bug | reason |\n|---|---|---|---|\n| R1 | x | `a`, `b` | |\n| R2 | y | | later |\n| R3 | z | | |\n";

    #[test]
    fn rows_and_gaps_are_found() {
        let rows = rows(TEXT);
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0].bugs, ["a", "b"]);
        let gaps: Vec<String> = gaps(&rows).iter().map(ToString::to_string).collect();
        assert!(gaps.iter().any(|gap| gap.contains("R3 has neither")), "{gaps:?}");
        assert!(gaps.iter().any(|gap| gap.contains("no row for R20")), "{gaps:?}");
    }

    #[test]
    fn both_ends_must_agree() {
        let header = |id: &str, rules: &[&str]| Header {
            id: id.into(),
            rules: rules.iter().map(|rule| (*rule).to_owned()).collect(),
            ..Header::default()
        };
        let headers = BTreeMap::from([
            ("a".to_owned(), header("a", &["R1", "R2"])),
            ("c".to_owned(), header("c", &[])),
        ]);
        let found: Vec<String> =
            disagreements(&rows(TEXT), &headers).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("no sim/planted/b.patch"), "{found:?}");
        assert!(found[1].contains("does not list it under R2"), "{found:?}");
        assert!(found[2].contains("not in docs/"), "{found:?}");
    }
}
