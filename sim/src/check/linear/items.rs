//! From operations to steps per key. Refused operations leave no step (they are never applied); reads without
//! an answer say nothing; pages become one read per key that they cover.

use super::{
    attributes::views,
    model::{Change, Check, Filter, Life, State, Use},
    search::{Item, Step},
};
use crate::{
    check::{end_of, in_doubt},
    history::{Answer, Call, History, KeyView, Micros, Op, Outcome, Phase},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

type ByKey = BTreeMap<String, Vec<(Item, Phase)>>;

/// The steps of every key, and ids shown that no create explains.
pub(super) fn by_key(history: &History, domains: &BTreeMap<u32, String>) -> (ByKey, BTreeMap<String, u64>) {
    let mut collect =
        Collect { history, domains, out: ByKey::new(), names: BTreeMap::new(), born: BTreeMap::new() };
    let invented = collect.births();
    for op in &history.ops {
        collect.operation(op);
    }
    collect.pages();
    (collect.out, invented)
}

/// Whether a decrypt asks for what some encrypt gave: same key, same context, a ciphertext that exists; a verification likewise.
pub fn decrypt_is_proper(history: &History, op: &Op) -> bool {
    let source = |from: u64| history.ops.get(usize::try_from(from).unwrap_or(usize::MAX));
    match &op.call {
        Call::Decrypt { key, from, context } => source(*from).is_some_and(|source| {
            matches!((&source.call, &source.outcome),
                (Call::Encrypt { key: k, context: c, .. }, Outcome::Ok(Answer::Ciphertext(_)))
                    if k == key && c == context)
        }),
        Call::DataKeyDecrypt { key, from } => source(*from).is_some_and(|source| {
            matches!((&source.call, &source.outcome),
                (Call::DataKey { key: k, .. }, Outcome::Ok(Answer::DataKey { .. })) if k == key)
        }),
        Call::Verify { key, message, from } => source(*from).is_some_and(|source| {
            matches!((&source.call, &source.outcome),
                (Call::Sign { key: k, message: m }, Outcome::Ok(Answer::Signature(_))) if k == key && m == message)
        }),
        _ => false,
    }
}

/// A step of an operation, with the phase it was made in.
pub(super) fn item<C, K>(history: &History, op: &Op, step: Step<C, K>) -> (Item<C, K>, Phase) {
    let ret = match step {
        Step::Perhaps(_) => Micros::MAX,
        _ => end_of(op, history),
    };
    (Item { op: op.id, call: op.invoked, ret, step }, op.phase)
}

struct Collect<'a> {
    history: &'a History,
    domains: &'a BTreeMap<u32, String>,
    out: ByKey,
    /// Names as numbers, over all keys.
    names: BTreeMap<&'a str, u32>,
    /// Invocation of the first create that may have made the key, and its client.
    born: BTreeMap<&'a str, (Micros, u32)>,
}

impl<'a> Collect<'a> {
    fn name(&mut self, name: &'a str) -> u32 {
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX).saturating_add(1);
        *self.names.entry(name).or_insert(next)
    }

    fn add(&mut self, key: &str, op: &Op, step: Step) {
        self.out.entry(key.to_owned()).or_default().push(item(self.history, op, step));
    }

    /// Finds out who made which key. Ids that were shown and that nobody asked for are matched with creates
    /// without an id whose outcome is unknown, each used once; what is left was invented.
    fn births(&mut self) -> BTreeMap<String, u64> {
        let history = self.history;
        let mut nameless: Vec<(&Op, &str)> = Vec::new();
        for op in &history.ops {
            match (&op.call, &op.outcome) {
                (Call::CreateUnnamed { name }, outcome) if in_doubt(outcome) => nameless.push((op, name)),
                (Call::Create { .. } | Call::CreateUnnamed { .. }, _) => {
                    if let Some(key) = crate::check::subject(op) {
                        self.born.entry(key).or_insert((op.invoked, op.client));
                    }
                }
                _ => {}
            }
        }
        let mut shown: BTreeMap<&str, (u64, Vec<&str>)> = BTreeMap::new();
        for op in &history.ops {
            for view in views(&op.outcome).iter().filter(|view| !self.born.contains_key(view.id.as_str())) {
                shown.entry(&view.id).or_insert((op.id, Vec::new())).1.push(&view.name);
            }
        }
        let mut invented = BTreeMap::new();
        for (id, (op, names)) in shown {
            let named = nameless.iter().position(|(_, name)| names.contains(name));
            match named.or(if nameless.is_empty() { None } else { Some(0) }) {
                Some(index) => {
                    let (create, name) = nameless.swap_remove(index);
                    self.born.insert(id, (create.invoked, create.client));
                    let name = self.name(name);
                    self.add(id, create, Step::Perhaps(Change::Create(name)));
                }
                None => {
                    invented.insert(id.to_owned(), op);
                }
            }
        }
        invented
    }

    fn operation(&mut self, op: &'a Op) {
        let Some(key) = crate::check::subject(op) else { return };
        let step = match (&op.call, self.change(&op.call)) {
            (_, Some(change)) => self.write(op, change),
            (Call::Get { .. }, _) => self.read(op),
            (Call::Encrypt { .. } | Call::DataKey { .. } | Call::Sign { .. }, _) => used(op, Use::Protect),
            (Call::Decrypt { .. } | Call::DataKeyDecrypt { .. } | Call::Verify { .. }, _) => {
                decrypt_is_proper(self.history, op).then(|| used(op, Use::Open)).flatten()
            }
            _ => None,
        };
        if let Some(step) = step {
            self.add(key, op, step);
        }
    }

    fn change(&mut self, call: &'a Call) -> Option<Change> {
        Some(match call {
            Call::Create { name, .. } | Call::CreateUnnamed { name } => Change::Create(self.name(name)),
            Call::Rename { name, .. } => Change::Rename(self.name(name)),
            Call::Activate { .. } => Change::Activate,
            Call::Deactivate { reason, .. }
                if matches!(reason.as_str(), "key_compromise" | "ca_compromise") =>
            {
                Change::Compromise
            }
            Call::Deactivate { .. } => Change::Deactivate,
            Call::Delete { .. } => Change::Delete,
            _ => return None,
        })
    }

    fn write(&mut self, op: &'a Op, change: Change) -> Option<Step> {
        match &op.outcome {
            Outcome::Ok(Answer::Key(view)) => match self.state(view) {
                Some(state) => Some(Step::Changed(change, Some(Check::Shown(state)))),
                None => Some(Step::Saw(Check::Never)),
            },
            Outcome::Ok(_) => Some(Step::Changed(change, None)),
            outcome if in_doubt(outcome) => Some(Step::Perhaps(change)),
            Outcome::Rejected { status, .. } if says_nothing(*status) => None,
            Outcome::Rejected { status, .. } => Some(Step::Saw(Check::Denied { change, status: *status })),
            _ => None,
        }
    }

    fn read(&mut self, op: &'a Op) -> Option<Step> {
        match &op.outcome {
            Outcome::Ok(Answer::Key(view)) => {
                Some(Step::Saw(self.state(view).map_or(Check::Never, Check::Shown)))
            }
            Outcome::Ok(_) => Some(Step::Saw(Check::Never)),
            // 400: a malformed id names no key.
            Outcome::Rejected { status: 400 | 404, .. } => Some(Step::Saw(Check::Missing)),
            Outcome::Rejected { status, .. } if says_nothing(*status) => None,
            Outcome::Rejected { .. } => Some(Step::Saw(Check::Never)),
            _ => None,
        }
    }

    fn state(&mut self, view: &'a KeyView) -> Option<State> {
        let name = self.name(&view.name);
        Life::parse(&view.state).map(|life| State { life, name })
    }

    fn pages(&mut self) {
        let history = self.history;
        let mut last_of_token: BTreeMap<&str, &str> = BTreeMap::new();
        for op in &history.ops {
            if let Outcome::Ok(Answer::Page { keys, token, truncated: true }) = &op.outcome
                && let Some(last) = keys.last()
            {
                last_of_token.insert(token, &last.id);
            }
        }
        for op in &history.ops {
            let (Call::List { state, token, .. }, Outcome::Ok(Answer::Page { keys, truncated, .. })) =
                (&op.call, &op.outcome)
            else {
                continue;
            };
            let filter = filter(state);
            for view in keys {
                let state = self.state(view).filter(|state| listed(filter, state.life));
                self.add(&view.id, op, Step::Saw(state.map_or(Check::Never, Check::Shown)));
            }
            let after = token.as_deref().map(|token| last_of_token.get(token).copied());
            if let Some((range, filter)) = coverage(keys, *truncated, after, filter) {
                self.absences(op, keys, range, filter);
            }
        }
    }

    fn absences(&mut self, op: &Op, keys: &[KeyView], range: Range<'_>, filter: Filter) {
        let shown: BTreeSet<&str> = keys.iter().map(|view| view.id.as_str()).collect();
        let end = end_of(op, self.history);
        let missing: Vec<&str> = self
            .born
            .range::<str, _>(range)
            .filter(|(key, (born, _))| *born <= end && !shown.contains(**key))
            .filter(|(_, (_, client))| self.domains.get(client) == self.domains.get(&op.client))
            .map(|(key, _)| *key)
            .collect();
        for key in missing {
            self.add(key, op, Step::Saw(Check::Unlisted(filter)));
        }
    }
}

type Range<'a> = (Bound<&'a str>, Bound<&'a str>);

/// Which ids a page speaks about: those after the last one of the page its token came from, up to its own last
/// one, or to the end. `after`: `None` = the first page, `Some(None)` = a token no page of this history gave.
fn coverage<'a>(
    keys: &'a [KeyView],
    truncated: bool,
    after: Option<Option<&'a str>>,
    filter: Option<Filter>,
) -> Option<(Range<'a>, Filter)> {
    let filter = filter?;
    let lower = match (after, keys.first()) {
        (None, _) => Bound::Unbounded,
        (Some(Some(last)), _) => Bound::Excluded(last),
        (Some(None), Some(first)) => Bound::Included(first.id.as_str()),
        (Some(None), None) => return None,
    };
    let upper = match (truncated, keys.last()) {
        (false, _) => Bound::Unbounded,
        (true, Some(last)) => Bound::Included(last.id.as_str()),
        (true, None) => return None,
    };
    // `BTreeMap::range` panics on a range that ends before it begins.
    match (lower, upper) {
        (Bound::Excluded(low) | Bound::Included(low), Bound::Included(high)) if low >= high => None,
        range => Some((range, filter)),
    }
}

/// `None`: a filter that this model does not know; its pages say nothing about keys they do not show.
fn filter(state: &str) -> Option<Filter> {
    match state {
        "" => Some(Filter::Present),
        "all" => Some(Filter::All),
        word => Life::parse(word).map(Filter::Only),
    }
}

fn listed(filter: Option<Filter>, life: Life) -> bool {
    match filter {
        Some(Filter::Only(only)) => only == life,
        Some(Filter::Present) => !life.is_destroyed(),
        Some(Filter::All) | None => true,
    }
}

fn used(op: &Op, what: Use) -> Option<Step> {
    match &op.outcome {
        Outcome::Ok(_) => Some(Step::Saw(Check::Worked(what))),
        Outcome::Rejected { status, .. } if says_nothing(*status) => None,
        Outcome::Rejected { status, .. } => Some(Step::Saw(Check::Failed(what, *status))),
        _ => None,
    }
}

/// Statuses that say nothing about the key: who asks, how fast, how often, or the server's own trouble (an answer that could not be read included).
pub(super) fn says_nothing(status: u16) -> bool {
    matches!(status, 401 | 403 | 408 | 429) || !(400..500).contains(&status)
}
