//! The end of a domain's service, to every checker but its own: from the moment that an operator begins it, nothing that clients of the
//! domain are told counts. What they were told before is asked for as ever, but nobody reads their keys at the end.

use super::{CheckInput, in_doubt};
use crate::history::{Answer, Call, History, Micros, Op, Outcome, Termination, What};
use std::collections::BTreeMap;

/// When an operator began to end the service of each domain, and when the first was told that it has ended.
pub(super) fn terminations<'a>(input: &CheckInput<'a>) -> BTreeMap<&'a str, (Micros, Option<Micros>)> {
    let mut all: BTreeMap<&str, (Micros, Option<Micros>)> = BTreeMap::new();
    for event in &input.history.events {
        if let What::Termination { domain, step } = &event.what {
            let (_, ended) = all.entry(domain).or_insert((event.at, None));
            if *step == Termination::Ended {
                ended.get_or_insert(event.at);
            }
        }
    }
    all
}

/// The history without what clients of such domains were told since; `None` if there is no such domain.
pub(super) fn forgiven(input: &CheckInput<'_>) -> Option<History> {
    let terminations = terminations(input);
    if terminations.is_empty() {
        return None;
    }
    let mut history = input.history.clone();
    for op in &mut history.ops {
        let begun = input.domains.get(&op.client).and_then(|domain| terminations.get(domain.as_str()));
        if let Some((begun, _)) = begun
            && op.done.is_none_or(|done| done > *begun)
        {
            forget(op);
        }
    }
    Some(history)
}

fn forget(op: &mut Op) {
    let happened = matches!(op.outcome, Outcome::Ok(_)) || in_doubt(&op.outcome);
    if op.call.is_write() && happened {
        // It may be seen by whoever looks at disks; the service may have chosen an id.
        if let (Call::CreateUnnamed { name }, Outcome::Ok(Answer::Key(view))) = (&op.call, &op.outcome) {
            op.call = Call::Create { key: view.id.clone(), name: name.clone() };
        }
        (op.outcome, op.done) = (Outcome::Unknown, None);
    } else {
        never_asked(op);
    }
}

/// Whatever it was, it is an answer about nothing.
pub(super) fn never_asked(op: &mut Op) {
    op.call = Call::Random { length: 0 };
    op.done = Some(op.done.unwrap_or(op.invoked).max(op.invoked));
    op.outcome = Outcome::Rejected { status: 404, code: 0 };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Build, S, get, ok_key, rejected, rename};

    #[test]
    fn only_what_the_domain_was_told_since_is_forgotten() {
        let mut build = Build::new();
        build.domains = BTreeMap::from([(1, "x".to_owned()), (2, "y".to_owned())]);
        assert!(forgiven(&build.input()).is_none());
        let begun = What::Termination { domain: "x".into(), step: Termination::Begun };
        build.event(10 * S, begun);
        build.created("k", "n", S);
        build.op(get("k"), 9 * S, 11 * S, ok_key("k", "n", "active"));
        build.op(rename("k", "m"), 9 * S, 12 * S, ok_key("k", "m", "active"));
        build.op(rename("k", "o"), 13 * S, 14 * S, rejected(404));
        build.op(get("k"), 13 * S, 14 * S, rejected(404));
        for op in &mut build.history.ops {
            op.client = 1;
        }
        build.op(get("k"), 13 * S, 14 * S, Outcome::Refused);
        if let Some(other) = build.history.ops.last_mut() {
            other.client = 2;
        }
        let history = forgiven(&build.input()).expect("a domain");
        let outcomes: Vec<&Outcome> = history.ops.iter().map(|op| &op.outcome).collect();
        let nothing = Outcome::Rejected { status: 404, code: 0 };
        assert!(matches!(outcomes[0], Outcome::Ok(_)));
        assert_eq!(outcomes[1..], [&nothing, &Outcome::Unknown, &nothing, &nothing, &Outcome::Refused]);
        assert_eq!(history.ops[2].done, None);
        assert!(matches!(history.ops[3].call, Call::Random { .. }));
        assert!(matches!(history.ops[5].call, Call::Get { .. }));
        assert_eq!(terminations(&build.input()), BTreeMap::from([("x", (10 * S, None))]));
    }
}
