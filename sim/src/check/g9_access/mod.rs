//! G9: whatever somebody asks for is decided as the policies of the domain say, by a model of their own (`model.rs`): as they were at some
//! moment from the stated bound before the request was sent until it was answered. So later than the bound after a change was acknowledged nothing is
//! decided as before it: no success after a revocation, no denial after a grant; and as long as nobody knows whether a change was made,
//! either will do. A denial is told in the same words whatever is there; a list shows what may be read and leaves nothing of that out; what was
//! denied never happens; nobody does anything in another domain than their own, or sees anything of it.
//!
//! Does not check: that requests are answered in a loss (G2, G3), order between policies and keys, tokens that end while they are used,
//! limits of policies, what an operator is shown, storage operators (G8 and G10 look for what they could read or swap).

mod model;
#[cfg(test)]
mod tests;

use super::{CheckInput, end_of};
use crate::{
    access::Bearer,
    history::{Answer, Call, KeyView, Micros, Op, Outcome},
    report::Verdict,
};
use kms::limits::ms;
use model::{Domain, May, Need, Needs, Standing, World, decide, domains, needs, standing};
use std::collections::{BTreeMap, BTreeSet};

const FORBIDDEN: u16 = 403;
const UNAUTHORISED: u16 = 401;

/// What an answer says of the decision behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Whoever asked may.
    Allowed,
    Denied,
    Nobody,
    /// Nothing: it was not decided, or nobody was told.
    Nothing,
}

fn said(outcome: &Outcome) -> Said {
    match outcome {
        Outcome::Ok(_) => Said::Allowed,
        Outcome::Rejected { status: UNAUTHORISED, .. } => Said::Nobody,
        Outcome::Rejected { status: FORBIDDEN, .. } => Said::Denied,
        Outcome::Rejected { status: 408 | 429, .. } => Said::Nothing,
        Outcome::Rejected { status, .. } if (400..500).contains(status) => Said::Allowed,
        _ => Said::Nothing,
    }
}

/// Judges.
pub fn check(input: &CheckInput<'_>) -> Verdict {
    let mut verdict = Verdict::new("G9", "g9_access");
    if input.bearers.is_empty() {
        return verdict;
    }
    let judge = Judge {
        input,
        domains: domains(input.history),
        fresh_us: u64::try_from(ms(input.limits.access_fresh_ms).as_micros()).unwrap_or(u64::MAX),
        there: there(input),
        owners: owners(input),
    };
    let mut stale = Vec::new();
    for op in &input.history.ops {
        judge.one(op, &mut verdict, &mut stale);
    }
    verdict.spans("old_knowledge", stale);
    words(input, &mut verdict);
    happened(&judge, &mut verdict);
    tenants(input, &judge.owners, &mut verdict);
    verdict
}

/// The domain of whoever made, or may have made, a key or secret.
fn owners<'a>(input: &CheckInput<'a>) -> BTreeMap<&'a str, &'a str> {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for op in input.history.ops.iter().filter(|op| op.call.makes_record()) {
        if let (Some(name), Some(domain)) = (super::subject(op), input.domains.get(&op.client))
            && (matches!(op.outcome, Outcome::Ok(_)) || super::in_doubt(&op.outcome))
        {
            owners.entry(name).or_insert(domain);
        }
    }
    owners
}

/// When each key and secret was there, and is for good: nobody may have destroyed it.
fn there<'a>(input: &CheckInput<'a>) -> BTreeMap<&'a str, Micros> {
    let mut there: BTreeMap<&str, Micros> = BTreeMap::new();
    for op in &input.history.ops {
        if let (true, Outcome::Ok(_), Some(key), Some(done)) =
            (op.call.makes_record(), &op.outcome, super::subject(op), op.done)
        {
            there.entry(key).or_insert(done);
        }
    }
    for op in &input.history.ops {
        let gone = match &op.call {
            Call::Delete { key } => Some(key),
            Call::Secret { path, ask: crate::history::Ask::Delete, .. } => Some(path),
            _ => None,
        };
        let may_be = matches!(op.outcome, Outcome::Ok(_)) || super::in_doubt(&op.outcome);
        if let (Some(gone), true) = (gone, may_be) {
            there.remove(gone.as_str());
        }
    }
    there
}

struct Judge<'a> {
    input: &'a CheckInput<'a>,
    domains: BTreeMap<&'a str, Domain<'a>>,
    fresh_us: Micros,
    there: BTreeMap<&'a str, Micros>,
    owners: BTreeMap<&'a str, &'a str>,
}

impl Judge<'_> {
    /// What a domain's access may have been for an operation; `None`: too much to tell.
    fn worlds<'d>(&self, op: &Op, domain: &Domain<'d>) -> Option<Vec<World<'d>>> {
        domain.worlds(op.invoked.saturating_sub(self.fresh_us), end_of(op, self.input.history))
    }

    /// Whether it may not be done, whatever became of its answer.
    fn forbids(&self, op: &Op) -> bool {
        if matches!(op.call, Call::Abroad { .. }) {
            return true;
        }
        let input = self.input;
        let may = || {
            let (bearer, home) = (input.bearers.get(&op.client)?, input.domains.get(&op.client)?);
            let worlds = self.worlds(op, self.domains.get(home.as_str())?)?;
            Some(decide(&standing(home, bearer, &worlds), &needs(home, &op.call)?))
        };
        may().is_some_and(|may| !may.allow)
    }

    fn one(&self, op: &Op, verdict: &mut Verdict, stale: &mut Vec<Micros>) {
        let input = self.input;
        let (Some(bearer), Some(home)) = (input.bearers.get(&op.client), input.domains.get(&op.client))
        else {
            return;
        };
        let Some(domain) = self.domains.get(home.as_str()) else { return };
        let calm = op.done.is_some_and(|done| done < input.history.faults_from);
        let answer = said(&op.outcome);
        if answer == Said::Nothing {
            if calm {
                let text = format!("op {} was not decided although nothing was wrong", op.id);
                verdict.broken("not-decided", &[op.id], text);
            }
            return;
        }
        let Some(needs) = needs(home, &op.call) else { return abroad(op, bearer, answer, verdict) };
        let Some(worlds) = self.worlds(op, domain) else { return verdict.count("too_many_worlds", 1) };
        let standing = standing(home, bearer, &worlds);
        let may = decide(&standing, &needs);
        if !fits(answer, may) {
            let kind = broken(answer, may, &op.outcome);
            verdict.exercised += 1;
            let text =
                format!("op {} of client {} was {answer:?}, and may be {may:?} only", op.id, op.client);
            return verdict.broken(kind, &[op.id], text);
        }
        if may.is_certain() {
            verdict.exercised += 1;
            verdict.count(if may.allow { "allowed" } else { "denied" }, 1);
            if op.done.is_some_and(|done| done < input.history.load_from) {
                verdict.count("decided_in_calm", 1);
                self.exactly(op, may, verdict);
            }
        } else {
            verdict.count("either", 1);
            // Whoever is told what held before is told so by a host that has not heard.
            let known = domain.worlds(op.invoked, end_of(op, input.history));
            let known = known.map(|worlds| decide(&model::standing(home, bearer, &worlds), &needs));
            if known.is_some_and(|known| !fits(answer, known)) {
                let last = domain.acknowledged.iter().filter(|at| **at <= op.invoked).max();
                stale.extend(last.map(|at| op.invoked - at));
            }
        }
        self.list(op, home, (&needs, &standing), verdict);
    }

    /// Before the load visitors ask in turn, and nothing is wrong: what is allowed is done, as far as what is asked for is there.
    fn exactly(&self, op: &Op, may: May, verdict: &mut Verdict) {
        let is_there = op.call.key().is_none_or(|key| op.call.is_key_write() || self.there.contains_key(key));
        // An active key is not destroyed, and a path is not used twice.
        let is_late = match &op.call {
            Call::Delete { .. } => true,
            Call::Secret { ask, .. } => matches!(ask, crate::history::Ask::Create { .. }),
            _ => false,
        };
        let of_visitor = !self.input.is_of_load(op.client);
        if may.allow && of_visitor && is_there && !is_late && !matches!(op.outcome, Outcome::Ok(_)) {
            let text = format!("op {} is allowed, and was answered {:?} in a calm moment", op.id, op.outcome);
            verdict.broken("not-done", &[op.id], text);
        }
    }

    /// What a list shows may be read, and what may be read and is there is shown.
    fn list(&self, op: &Op, home: &str, (needs, standing): (&Needs, &Standing<'_>), verdict: &mut Verdict) {
        let Needs::Some(action, begin) = needs else { return };
        let (shown, ends) = match &op.outcome {
            Outcome::Ok(Answer::Page { keys, truncated, .. }) => {
                let last = keys.last().map(|key| key.id.as_str()).filter(|_| *truncated);
                (keys.iter().map(|key| key.id.as_str()).collect::<BTreeSet<_>>(), last)
            }
            Outcome::Ok(Answer::Secrets { page }) => {
                let paths = page.iter().map(|(path, _)| path.as_str()).collect::<BTreeSet<_>>();
                // A full page may have another one behind it, in an order that says nothing.
                let last = (paths.len() >= 100).then_some("");
                (paths, last)
            }
            _ => return,
        };
        let may = |name: &str| {
            let need = Need { action, resource: format!("{begin}{name}") };
            decide(standing, &Needs::One(vec![vec![need]]))
        };
        for name in &shown {
            verdict.exercised += 1;
            if !may(name).allow {
                let text = format!("op {} of client {} lists what may not be read", op.id, op.client);
                verdict.broken("listed", &[op.id], text);
            }
        }
        let whole = match &op.call {
            Call::List { state, token, .. } => state == "all" && token.is_none(),
            _ => true,
        };
        if self.input.is_of_load(op.client) || !whole {
            return;
        }
        let keys = matches!(op.call, Call::List { .. });
        let is_covered = |name: &str| ends.is_none_or(|end| name <= end);
        let here = |name: &str| self.owners.get(name).is_some_and(|domain| *domain == home);
        let sort = |name: &str| keys != name.contains('/');
        let there = self.there.iter().filter(|(name, since)| sort(name) && **since < op.invoked);
        for name in there.map(|(name, _)| *name) {
            if is_covered(name) && here(name) && !shown.contains(name) {
                let may = may(name);
                if may.allow && may.is_certain() {
                    let text = format!("op {} of client {} leaves out what may be read", op.id, op.client);
                    verdict.broken("left-out", &[op.id], text);
                }
            }
        }
    }
}

fn fits(answer: Said, may: May) -> bool {
    match answer {
        Said::Allowed => may.allow,
        Said::Denied => may.deny,
        Said::Nobody => may.nobody,
        Said::Nothing => true,
    }
}

fn broken(answer: Said, may: May, outcome: &Outcome) -> &'static str {
    match answer {
        Said::Allowed if matches!(outcome, Outcome::Ok(_)) => "served",
        // It was told something of what is there, or not there.
        Said::Allowed => "discloses",
        _ if may.allow => "denied",
        _ => "other-denial",
    }
}

/// Nothing of another domain is done; whether it is there is not said.
fn abroad(op: &Op, bearer: &Bearer, answer: Said, verdict: &mut Verdict) {
    verdict.exercised += 1;
    verdict.count("abroad", 1);
    let right = match bearer {
        Bearer::Certificate(_) => Said::Denied,
        Bearer::Token { .. } | Bearer::Nobody(_) => Said::Nobody,
    };
    if answer != right {
        let text =
            format!("op {} of client {} in another domain was {answer:?}, not {right:?}", op.id, op.client);
        verdict.broken("abroad", &[op.id], text);
    }
}

/// Denials are told in the same words: nothing of what is asked for is in them.
fn words(input: &CheckInput<'_>, verdict: &mut Verdict) {
    let mut first: Option<&str> = None;
    for denial in &input.history.denials {
        verdict.count("denials_compared", 1);
        let names = input.domains.values().any(|domain| denial.text.contains(domain.as_str()));
        let asked = usize::try_from(denial.op).ok().and_then(|at| input.history.ops.get(at));
        let key = asked.and_then(|op| match &op.call {
            Call::Abroad { call, .. } => call.key(),
            call => call.key(),
        });
        let other = denial.status == FORBIDDEN && *first.get_or_insert(&denial.text) != denial.text;
        if names || other || key.is_some_and(|key| denial.text.contains(key)) {
            let text = format!("op {} was denied in words that tell of what was asked for", denial.op);
            verdict.broken("discloses", &[denial.op], text);
        }
    }
}

/// Keys, and what they are called, as an answer shows them.
fn views(outcome: &Outcome) -> &[KeyView] {
    match outcome {
        Outcome::Ok(Answer::Key(view)) => std::slice::from_ref(view),
        Outcome::Ok(Answer::Page { keys, .. }) => keys,
        _ => &[],
    }
}

/// What was denied never happened: no name that was sent with it is ever seen. Nor what had to be denied, and nobody was told.
fn happened(judge: &Judge<'_>, verdict: &mut Verdict) {
    let input = judge.input;
    let mut denied: BTreeMap<&str, u64> = BTreeMap::new();
    for op in &input.history.ops {
        let call = match &op.call {
            Call::Abroad { call, .. } => &**call,
            call => call,
        };
        let never = match said(&op.outcome) {
            Said::Denied | Said::Nobody => true,
            Said::Nothing => judge.forbids(op),
            Said::Allowed => false,
        };
        if let (true, Call::Create { name, .. } | Call::CreateUnnamed { name } | Call::Rename { name, .. }) =
            (never, call)
        {
            denied.insert(name, op.id);
        }
    }
    verdict.count("denied_writes", denied.len() as u64);
    for op in &input.history.ops {
        for view in views(&op.outcome) {
            if let Some(by) = denied.get(view.name.as_str()) {
                let text = format!("op {} shows what op {by} was denied", op.id);
                verdict.broken("done-though-denied", &[*by, op.id], text);
            }
        }
    }
}

/// Nobody is shown a key or a secret of another domain.
fn tenants(input: &CheckInput<'_>, owners: &BTreeMap<&str, &str>, verdict: &mut Verdict) {
    for op in &input.history.ops {
        let Some(home) = input.domains.get(&op.client) else { continue };
        let paths = match &op.outcome {
            Outcome::Ok(Answer::Secrets { page }) => page.iter().map(|(path, _)| path.as_str()).collect(),
            _ => Vec::new(),
        };
        let ids = views(&op.outcome).iter().map(|view| view.id.as_str());
        for name in ids.chain(paths) {
            if owners.get(name).is_some_and(|owner| owner != home) {
                let text = format!("op {} shows something of another domain to client {}", op.id, op.client);
                verdict.broken("tenant", &[op.id], text);
            }
        }
    }
}
