//! What a datasheet shows beside what was measured: the names of the promises, and the bounds that the checkers
//! judge by, as docs/promises.md lists them. It judges by none of them.

use crate::shell;
use std::path::Path;

/// What a scenario's backups are apart if it says nothing, milliseconds.
const BACKUP_INTERVAL_MS: u64 = 240_000;
/// What the newest backup may be older than that, milliseconds.
const BACKUP_SLACK_MS: u64 = 60_000;

/// Id and name of each promise, from the first table of docs/promises.md.
pub fn promises(document: &str) -> Vec<(String, String)> {
    let rows = document.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| G")?.split('|').map(str::trim);
        let (id, name) = (cells.next()?, cells.next()?);
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        is_id.then(|| (format!("G{id}"), name.to_owned()))
    });
    rows.collect()
}

/// How far apart the backups of a scenario are.
pub fn backup_interval_ms(root: &Path, scenario: &str) -> u64 {
    let text = shell::text(&root.join("scenarios").join(format!("{scenario}.toml")));
    let table: toml::Table = text.parse().unwrap_or_default();
    let set = table.get("limits").and_then(|limits| limits.get("backup_interval_ms"));
    set.and_then(toml::Value::as_integer)
        .and_then(|set| u64::try_from(set).ok())
        .unwrap_or(BACKUP_INTERVAL_MS)
}

/// A window in words, and its bound.
pub struct Window {
    /// What is measured, from when to when.
    pub what: &'static str,
    /// What it is judged by; `None`: it is measured only.
    pub bound: Option<String>,
}

/// What is known of a window of a promise. The unit of `name` is not in it.
pub fn window(promise: &str, name: &str, backup_interval_ms: u64) -> Option<Window> {
    let of = |what, bound: &str| Some(Window { what, bound: Some(bound.to_owned()) });
    let only = |what| Some(Window { what, bound: None });
    match (promise, name) {
        ("G2", "refusal") => {
            of("refusal of a key write that was invoked later than the detection bound", "1 s")
        }
        ("G3", "redirect_window") => of("clients of a lost host are at another one", "3 s"),
        ("G4", "lag") => of("an acknowledged write is at the replica, its link being well", "2 s"),
        ("G4", "write_without_replica") => of("a key write while nothing but the replica is away", "250 ms"),
        ("G7", "age") => Some(Window {
            what: "age of the newest backup of a store, when the next one is there",
            bound: Some(format!("{} s", (backup_interval_ms + BACKUP_SLACK_MS) / 1000)),
        }),
        ("G13", "recovery") => {
            of("from the repair to the first acknowledged key write", "5 s, if anybody tried")
        }
        ("G13", "activation") => of(
            "from an epoch's activation to the first acknowledged key write; scenarios in which few write wait for one",
            "2 s, for writes begun later",
        ),
        ("G5" | "G6", "restored_after") => {
            only("from the loss to the region made anew, the operator's waiting included")
        }
        ("G5" | "G6", "writes_accepted_after") => only("from the loss to the first acknowledged key write"),
        _ => None,
    }
}

/// What may be lost with a region, by the promise that was exercised.
pub fn loss(promise: &str) -> Option<&'static str> {
    match promise {
        "G5" => Some("2 s, from the last time that the replica was fed as it should be"),
        "G6" => Some("300 s"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_promise_once() {
        let all = promises(&shell::text(&shell::root().join("docs/promises.md")));
        let ids: Vec<String> = all.iter().map(|(id, _)| id.clone()).collect();
        let expected: Vec<String> = (1..=14).map(|number| format!("G{number}")).collect();
        assert_eq!(ids, expected);
        assert_eq!(all[0].1, "two-zone durability");
    }

    #[test]
    fn a_scenario_may_make_backups_more_often() {
        let root = shell::root();
        assert_eq!(backup_interval_ms(&root, "backup-store-loss"), 10_000);
        assert_eq!(backup_interval_ms(&root, "region-and-replica-loss"), BACKUP_INTERVAL_MS);
        let bound = |interval| window("G7", "age", interval).and_then(|window| window.bound);
        assert_eq!(bound(BACKUP_INTERVAL_MS).as_deref(), Some("300 s"));
    }
}
