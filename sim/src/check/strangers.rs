//! Who may do what, to every checker but G9's: whatever was denied, or asked for in another domain, was never asked. What visitors list is
//! not all that there is. While an operator's change of a domain's access is under way or in doubt, hosts may refuse what hangs on it, which
//! is so of visitors alone: what the load's clients may do is never changed.

use super::{CheckInput, ended};
use crate::{
    access::Attempt,
    history::{Call, History, Micros, Outcome, What},
};
use kms::limits::ms;
use std::collections::BTreeMap;

/// The history without all that; `None` if everybody may do everything.
pub(super) fn forgiven(input: &CheckInput<'_>) -> Option<History> {
    if input.bearers.is_empty() {
        return None;
    }
    let doubts = doubts(input);
    let mut history = input.history.clone();
    for op in &mut history.ops {
        let visits = input.bearers.contains_key(&op.client) && !input.is_of_load(op.client);
        let denied = matches!(op.outcome, Outcome::Rejected { status: 401 | 403, .. });
        let abroad = matches!(op.call, Call::Abroad { .. });
        let done = op.done.unwrap_or(input.history.end);
        let in_doubt = |spans: &Vec<(Micros, Micros)>| {
            spans.iter().any(|(from, until)| *from <= done && op.invoked <= *until)
        };
        let refused = matches!(op.outcome, Outcome::Refused)
            && input
                .domains
                .get(&op.client)
                .and_then(|domain| doubts.get(domain.as_str()))
                .is_some_and(in_doubt);
        if denied || abroad || visits && (op.call.is_list() || refused) {
            ended::never_asked(op);
        }
    }
    Some(history)
}

/// From the begin of a change until it is known what came of it and hosts have asked again.
fn doubts<'a>(input: &CheckInput<'a>) -> BTreeMap<&'a str, Vec<(Micros, Micros)>> {
    let slack = u64::try_from(ms(input.limits.access_fresh_ms).as_micros()).unwrap_or(u64::MAX);
    let mut all: BTreeMap<&str, Vec<(Micros, Micros)>> = BTreeMap::new();
    for event in &input.history.events {
        let What::Access { domain, step, .. } = &event.what else { continue };
        let spans = all.entry(domain).or_default();
        match step {
            Attempt::Begun => spans.push((event.at, Micros::MAX)),
            // Whatever was in doubt before is settled by what follows it.
            Attempt::Acknowledged => {
                spans.iter_mut().for_each(|(_, until)| *until = (*until).min(event.at.saturating_add(slack)));
            }
            Attempt::Refused => {
                if let Some((_, until)) = spans.last_mut() {
                    *until = event.at.saturating_add(slack);
                }
            }
            Attempt::Unknown => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::{Bearer, Change},
        check::testing::{Build, S, get, ok_key, rejected},
    };

    #[test]
    fn only_what_hangs_on_access_is_forgotten() {
        let mut build = Build::new();
        build.domains = (1..4).map(|client| (client, "x".to_owned())).collect();
        assert!(forgiven(&build.input()).is_none());
        build.bearers = (1..4).map(|client| (client, Bearer::Certificate(client.to_string()))).collect();
        build.visitors_from = 2;
        let gone = Change::GroupGone { name: "g".into() };
        for (at, step) in [
            (10 * S, Attempt::Begun),
            (11 * S, Attempt::Unknown),
            (20 * S, Attempt::Begun),
            (21 * S, Attempt::Acknowledged),
        ] {
            build.event(at, What::Access { domain: "x".into(), change: gone.clone(), step });
        }
        let ops = [
            (2, get("k"), 15 * S, Outcome::Refused, true),
            (1, get("k"), 15 * S, Outcome::Refused, false),
            (2, get("k"), 23 * S, Outcome::Refused, false),
            (2, get("k"), 15 * S, ok_key("k", "n", "active"), false),
            (1, get("k"), 15 * S, rejected(403), true),
            (1, Call::Secrets, 15 * S, rejected(500), false),
            (2, Call::Secrets, 15 * S, rejected(500), true),
        ];
        for (client, call, at, outcome, _) in &ops {
            build.op(call.clone(), *at, at + S / 2, outcome.clone());
            if let Some(op) = build.history.ops.last_mut() {
                op.client = *client;
            }
        }
        let history = forgiven(&build.input()).expect("visitors");
        for ((.., call, _, _, forgotten), op) in ops.iter().zip(&history.ops) {
            assert_eq!(op.call != *call, *forgotten, "{op:?}");
        }
    }
}
