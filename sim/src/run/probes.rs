//! Counts of what the run exercised: how often a cut fell between append and confirmation or inside a commit,
//! whether a reader was shown an in-doubt record, whether a key write came later than the detection bound. Computed from
//! the history's events; judges nothing.

use crate::history::{History, Micros, Stop, What};
use std::collections::BTreeMap;

/// Probe of the head: an entry was made durable in its log.
pub const APPEND: &str = "append";
/// Probe of the head: an entry's confirmation was recorded.
pub const CONFIRM: &str = "confirm";
/// Probe of the head: a reader was shown a record with a write in doubt.
pub const IN_DOUBT_READ: &str = "in-doubt-read";

/// Adds the run's coverage to its probe counts. `operation_cuts` are nodes cut inside a disk operation.
pub fn coverage(history: &History, detection_us: Micros, counts: &mut BTreeMap<String, u64>) {
    let mut unconfirmed = false;
    let mut down: BTreeMap<&str, Micros> = BTreeMap::new();
    let mut losses: Vec<(Micros, Micros)> = Vec::new();
    for event in &history.events {
        match &event.what {
            What::Probe { name, .. } if name == APPEND => unconfirmed = true,
            What::Probe { name, .. } if name == CONFIRM => unconfirmed = false,
            What::Down { node, how } if node.starts_with("db-") => {
                if unconfirmed && *how != Stop::Shutdown && event.at < history.healed_at {
                    *counts.entry("cut-between-append-and-confirmation".to_owned()).or_insert(0) += 1;
                }
                down.entry(node).or_insert(event.at);
            }
            What::Up { node } => {
                if let Some(since) = down.remove(node.as_str()) {
                    losses.push((since, event.at));
                }
            }
            _ => {}
        }
    }
    losses.extend(down.values().map(|since| (*since, history.end)));
    let late =
        history.ops.iter().filter(|op| op.call.is_key_write() && op.invoked < history.healed_at).filter(
            |op| losses.iter().any(|(since, until)| op.invoked > since + detection_us && op.invoked < *until),
        );
    let late = late.count() as u64;
    if late > 0 {
        counts.insert("key-write-later-than-detection".to_owned(), late);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Call, Op, Outcome, Phase, WorldEvent};

    #[test]
    fn cuts_between_append_and_confirmation_and_late_writes_are_counted() {
        let probe = |name: &str| What::Probe { name: name.to_owned(), node: "db-a".to_owned() };
        let down = || What::Down { node: "db-b".to_owned(), how: Stop::PowerCut };
        let up = || What::Up { node: "db-b".to_owned() };
        let whats = [
            (10, probe(APPEND)),
            (20, probe(CONFIRM)),
            (30, down()),
            (40, up()),
            (50, probe(APPEND)),
            (60, down()),
            (900, up()),
        ];
        let create = |id, invoked| Op {
            id,
            client: 0,
            call: Call::CreateUnnamed { name: "n".to_owned() },
            invoked,
            done: None,
            outcome: Outcome::Unknown,
            phase: Phase::Load,
        };
        let history = History {
            ops: vec![create(0, 35), create(1, 65), create(2, 700), create(3, 950)],
            events: whats.into_iter().map(|(at, what)| WorldEvent { at, what }).collect(),
            healed_at: 1000,
            end: 1000,
            ..History::default()
        };
        let mut counts = BTreeMap::new();
        coverage(&history, 500, &mut counts);
        assert_eq!(counts["cut-between-append-and-confirmation"], 1);
        assert_eq!(counts["key-write-later-than-detection"], 1);
    }
}
