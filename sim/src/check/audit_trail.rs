//! No audit, no answer: every operation that was answered, done or not, stands in the spool of exactly one host, once, with the domain, the
//! resource and the outcome that the client saw; no power cut and no full disk takes it away; and every spool is whole.
//!
//! An entry without an answer is possible. Not asked of operations that were refused (503) or whose outcome is unknown: nothing may have
//! been recorded. Does not check: who asked (only that somebody is named), times, what a spool has been told to forget.

use super::{CheckInput, subject};
use crate::{
    history::{AuditEntry, Call, Op, Outcome},
    report::Verdict,
};
use std::collections::BTreeMap;

/// Judges. Exercised: the operations looked for.
pub fn check(input: &CheckInput<'_>) -> Verdict {
    let mut verdict = Verdict::new("audit", "audit_trail");
    let mut by_request: BTreeMap<&str, Vec<(&str, &AuditEntry)>> = BTreeMap::new();
    for spool in &input.history.audits {
        for finding in &spool.findings {
            verdict.broken("not-whole", &[], format!("the spool of {}: {finding}", spool.host));
        }
        for entry in &spool.entries {
            by_request.entry(&entry.request).or_default().push((&spool.host, entry));
        }
        verdict.count("entries", spool.entries.len() as u64);
    }
    for op in &input.history.ops {
        let (Some(status), Some(request)) = (status(&op.outcome), input.history.requests.get(&op.id)) else {
            continue;
        };
        verdict.exercised += 1;
        match by_request.get(request.as_str()).map(Vec::as_slice) {
            None => {
                verdict.broken(
                    "not-recorded",
                    &[op.id],
                    format!("op {} was answered and is in no spool", op.id),
                );
            }
            Some([(host, entry)]) => {
                if let Some(wrong) = wrong(input, op, entry, &status) {
                    let text = format!("op {} stands in the spool of {host} with {wrong}", op.id);
                    verdict.broken("recorded-wrong", &[op.id], text);
                }
            }
            Some(all) => {
                let text = format!("op {} stands in the spools {} times", op.id, all.len());
                verdict.broken("recorded-twice", &[op.id], text);
            }
        }
    }
    verdict
}

/// More requests than a host takes: nothing is done for them, nor recorded.
const TOO_MANY: u32 = 50_434_049;

/// The statuses of answers after which there is an entry.
fn status(outcome: &Outcome) -> Option<std::ops::RangeInclusive<u16>> {
    match outcome {
        Outcome::Ok(_) => Some(200..=299),
        Outcome::Rejected { code: TOO_MANY, .. } => None,
        Outcome::Rejected { status, .. } if (400..500).contains(status) => Some(*status..=*status),
        _ => None,
    }
}

fn wrong(
    input: &CheckInput<'_>,
    op: &Op,
    entry: &AuditEntry,
    status: &std::ops::RangeInclusive<u16>,
) -> Option<String> {
    if !status.contains(&entry.status) {
        return Some(format!("status {}", entry.status));
    }
    if input.domains.get(&op.client).is_some_and(|domain| *domain != entry.domain) {
        return Some(format!("domain {:?}", entry.domain));
    }
    // A secret is told by a hash of its path.
    let key = subject(op).filter(|_| !matches!(op.call, Call::Secret { .. }));
    if key.is_some_and(|key| !op.call.makes_record() && !entry.urn.ends_with(key)) {
        return Some(format!("the resource {:?}", entry.urn));
    }
    (entry.identities == 0).then(|| "nobody who asked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::testing::{Build, S},
        history::AuditRead,
    };

    fn entry(request: &str, status: u16) -> AuditEntry {
        AuditEntry { request: request.into(), domain: "d".into(), urn: "urn:k".into(), identities: 1, status }
    }

    /// One operation on a key, answered with `status`, and one spool.
    fn judged(outcome: Outcome, entries: Vec<AuditEntry>, findings: Vec<String>) -> Verdict {
        let mut build = Build::new();
        build.op(Call::Get { key: "k".into() }, S, 2 * S, outcome);
        build.history.requests.insert(0, "r".into());
        build.domains = build.history.ops.iter().map(|op| (op.client, "d".to_owned())).collect();
        build.history.audits.push(AuditRead { host: "host-a1".into(), findings, entries });
        check(&build.input())
    }

    fn kinds(verdict: &Verdict) -> Vec<&str> {
        verdict.violations.iter().map(|violation| violation.kind.as_str()).collect()
    }

    #[test]
    fn what_was_answered_stands_in_one_spool_once() {
        let rejected = || Outcome::Rejected { status: 404, code: 1 };
        assert!(kinds(&judged(rejected(), vec![entry("r", 404)], vec![])).is_empty());
        assert_eq!(kinds(&judged(rejected(), vec![], vec![])), ["not-recorded"]);
        assert_eq!(kinds(&judged(rejected(), vec![entry("r", 200)], vec![])), ["recorded-wrong"]);
        assert_eq!(
            kinds(&judged(rejected(), vec![entry("r", 404), entry("r", 404)], vec![])),
            ["recorded-twice"]
        );
        let other = AuditEntry { domain: "e".into(), ..entry("r", 404) };
        assert_eq!(kinds(&judged(rejected(), vec![other], vec![])), ["recorded-wrong"]);
        let nobody = AuditEntry { identities: 0, ..entry("r", 404) };
        assert_eq!(kinds(&judged(rejected(), vec![nobody], vec![])), ["recorded-wrong"]);
        let another = AuditEntry { urn: "urn:other".into(), ..entry("r", 404) };
        assert_eq!(kinds(&judged(rejected(), vec![another], vec![])), ["recorded-wrong"]);
    }

    #[test]
    fn what_was_refused_or_is_unknown_need_not_be_there() {
        assert!(kinds(&judged(Outcome::Refused, vec![], vec![])).is_empty());
        assert!(kinds(&judged(Outcome::Unknown, vec![entry("r", 504)], vec![])).is_empty());
        assert!(kinds(&judged(Outcome::Rejected { status: 429, code: TOO_MANY }, vec![], vec![])).is_empty());
    }

    #[test]
    fn a_spool_that_is_not_whole_is_a_finding() {
        let found = judged(Outcome::Refused, vec![], vec!["entry 3 is missing".into()]);
        assert_eq!(kinds(&found), ["not-whole"]);
    }
}
