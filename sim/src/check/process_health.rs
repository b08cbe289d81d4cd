//! No process ends by itself, none panics (nor lives on after a panic in blocking work, as databases do by opening their
//! store again: that would hide a broken assertion), no answer is an internal error or unreadable, and with honest disks nothing happens that the
//! protocol calls loud. Not a promise to customers: a finding about the service in any run.
//!
//! Does not check: processes that hang (G2, G3 and G13 see that), memory, logs. Internal errors about keys
//! whose stored bytes were swapped are damage reported, not a finding.

use super::{CheckInput, swapped::Swaps, timeline::Timeline};
use crate::{
    history::{Outcome, What},
    report::Verdict,
};

/// Judges. Exercised: the nodes watched.
pub fn check(input: &CheckInput<'_>, _timeline: &Timeline) -> Verdict {
    let mut verdict = Verdict::new("health", "process_health");
    verdict.exercised = input.topology.nodes.len() as u64;
    let swaps = Swaps::new(input.history);
    for event in &input.history.events {
        let at = event.at / 1000;
        match &event.what {
            What::Exited { node, why } => {
                let kind = if why.contains("panic") { "panic" } else { "exited" };
                let text = format!("{node} ended by itself at {at} ms: {}", first_line(why));
                verdict.broken(kind, &[], text);
            }
            What::Panicked { node, text } => {
                verdict.broken(
                    "panic",
                    &[],
                    format!("{node} lived through a panic at {at} ms: {}", first_line(text)),
                );
            }
            _ => {}
        }
    }
    for (name, count) in input.probes.iter().filter(|(name, _)| name.starts_with("loud:")) {
        verdict.count("loud", *count);
        if *count > 0 && input.honest_disks && !swaps.any() {
            verdict.broken("loud", &[], format!("{name} {count} times, with honest disks"));
        }
    }
    for op in &input.history.ops {
        if let Outcome::Rejected { status, .. } = op.outcome
            && status < 400
        {
            let text =
                format!("op {} was answered {status} with a body that is not the documented one", op.id);
            verdict.broken("malformed-answer", &[op.id], text);
        }
        if let Outcome::Rejected { status: 500, .. } = op.outcome {
            let damaged = op.call.key().map_or(swaps.any(), |key| swaps.touched(key, op.invoked));
            if damaged {
                verdict.count("damage_reported", 1);
            } else {
                verdict.broken("internal-error", &[op.id], format!("op {} was answered 500", op.id));
            }
        }
    }
    verdict
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Build, S, assert_held, kinds, rejected};

    fn judged(build: &Build) -> Verdict {
        let input = build.input();
        check(&input, &Timeline::new(&input))
    }

    #[test]
    fn exits_loud_events_and_internal_errors() {
        let mut build = Build::new();
        build.probes.insert("commit".into(), 4);
        assert_held(&judged(&build));
        build.event(S, What::Exited { node: "db-a".into(), why: "thread panicked at x\nsecond line".into() });
        build.event(S, What::Exited { node: "db-b".into(), why: "cannot listen".into() });
        build.event(S, What::Panicked { node: "db-b".into(), text: "the log has no holes".into() });
        build.probes.insert("loud:not-a-prefix".into(), 1);
        build.read("k", S, rejected(500));
        build.read("k", S, rejected(200));
        let verdict = judged(&build);
        assert_eq!(
            kinds(&verdict),
            ["panic", "exited", "panic", "loud", "internal-error", "malformed-answer"]
        );
        assert!(!verdict.violations[0].text.contains("second"));
    }

    #[test]
    fn dishonest_disks_and_swapped_bytes_excuse() {
        let mut build = Build::new();
        build.probes.insert("loud:not-a-prefix".into(), 1);
        build.honest_disks = false;
        build.event(S, What::Swapped { node: "db-a".into(), keys: vec![hex::encode("k")] });
        build.read("k", 2 * S, rejected(500));
        assert_held(&judged(&build));
    }
}
