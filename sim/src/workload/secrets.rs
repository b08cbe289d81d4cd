//! Draws a client's operations on secrets: on some of its own, and on hot ones that all clients of the domain write. A path that is
//! free again after its secret was deleted is used again. Every path, value and piece of metadata is unique and a needle.

use super::wire_secrets::{EXISTS, NO_SECRET};
use crate::{
    dice::Dice,
    history::{Answer, Ask, Call, Dialect, Op, Outcome, VersionState},
    veiled,
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Own secrets that a client goes on using.
const RECENT_MAX: usize = 12;
/// Of the hot records of a load, so many times fewer are secrets: each has versions.
const HOT_OF: u32 = 2;

/// What is done to a secret that is there.
#[derive(Clone, Copy)]
enum Kind {
    Make,
    Write,
    WriteIf,
    Read,
    ReadVersion,
    Describe,
    Set(VersionState),
    Note,
    Delete,
    List,
}

/// With weights.
const MIX: [(Kind, u32); 12] = [
    (Kind::Make, 4),
    (Kind::Write, 4),
    (Kind::WriteIf, 5),
    (Kind::Read, 6),
    (Kind::ReadVersion, 5),
    (Kind::Describe, 3),
    (Kind::Set(VersionState::Deactivated), 3),
    (Kind::Set(VersionState::Active), 2),
    (Kind::Set(VersionState::Deleted), 2),
    (Kind::Note, 2),
    (Kind::Delete, 1),
    (Kind::List, 1),
];

/// A secret, as far as somebody knows.
#[derive(Debug, Clone)]
struct Known {
    path: String,
    /// Number of the current version; 0: there is no such secret.
    current: u32,
}

impl Known {
    /// At a path that nobody ever used.
    fn new(dice: &mut Dice) -> Known {
        // Of even and odd length, as paths are written in URLs in two ways.
        let length = 24 + dice.below(2) as usize;
        Known { path: format!("{}/{}", dice.word(6), dice.word(length)), current: 0 }
    }

    fn learn(&mut self, op: &Op) {
        match (&op.call, &op.outcome) {
            (Call::Secret { ask: Ask::Delete, .. }, Outcome::Ok(_)) => self.current = 0,
            (_, Outcome::Ok(Answer::Secret(view))) => self.current = view.current.unwrap_or(self.current),
            (_, Outcome::Rejected { code: NO_SECRET, .. }) => self.current = 0,
            (_, Outcome::Rejected { code: EXISTS, .. }) => self.current = self.current.max(1),
            _ => {}
        }
    }
}

/// What the clients of one domain know together: the hot secrets.
#[derive(Clone)]
pub(super) struct Shelf(Arc<Mutex<Vec<Known>>>);

impl Shelf {
    pub(super) fn new(seed: u64, domain: usize, hot_records: u32) -> Shelf {
        let mut dice = Dice::named(seed, &format!("hot-secrets-{domain}"));
        let hot = (0..hot_records.div_ceil(HOT_OF)).map(|_| Known::new(&mut dice)).collect();
        Shelf(Arc::new(Mutex::new(hot)))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One client's source of operations on secrets.
pub(super) struct Secrets {
    hot_percent: u64,
    shelf: Shelf,
    own: VecDeque<Known>,
    client: u32,
    serial: u64,
}

type OnNeedle<'a> = &'a mut dyn FnMut(&str, &str);

impl Secrets {
    pub(super) fn new(client: u32, hot_percent: u32, shelf: Shelf) -> Secrets {
        Secrets { hot_percent: hot_percent.into(), shelf, own: VecDeque::new(), client, serial: 0 }
    }

    /// The next operation; `secret` is told of each path, value and piece of metadata in it.
    pub(super) fn next(&mut self, dice: &mut Dice, secret: OnNeedle<'_>) -> Call {
        let kind = dice.weighted(MIX.iter().map(|(kind, weight)| (kind, *weight)));
        let kind = kind.copied().unwrap_or(Kind::List);
        if matches!(kind, Kind::List) {
            return Call::Secrets;
        }
        let hot = dice.chance(self.hot_percent, 100);
        let known = if hot { dice.pick(&self.shelf.lock()).cloned() } else { self.of_own(kind, dice) };
        let known = known.unwrap_or_else(|| Known::new(dice));
        if let Some((_, name)) = known.path.split_once('/') {
            secret("secret path", name);
        }
        let dialect = if dice.chance(1, 3) { Dialect::Vault } else { Dialect::Native };
        let ask = self.ask(kind, dialect, &known, dice, secret);
        Call::Secret { path: known.path, dialect, ask }
    }

    /// `None` for a new one.
    fn of_own(&self, kind: Kind, dice: &mut Dice) -> Option<Known> {
        if matches!(kind, Kind::Make) && dice.chance(3, 4) {
            return None;
        }
        let own: Vec<&Known> = self.own.iter().collect();
        dice.pick(&own).map(|known| (*known).clone())
    }

    fn ask(
        &mut self,
        kind: Kind,
        dialect: Dialect,
        known: &Known,
        dice: &mut Dice,
        secret: OnNeedle<'_>,
    ) -> Ask {
        // Now and then it is asked all the same.
        if known.current == 0 && !dice.chance(1, 8) || matches!(kind, Kind::Make) && dice.chance(7, 8) {
            let note = dialect == Dialect::Native && dice.chance(1, 2);
            let note = note.then(|| self.tag("secret metadata", dice, secret));
            return Ask::Create { value: self.tag("secret value", dice, secret), note };
        }
        let version = 1 + dice.below(u64::from(known.current.max(1))) as u32;
        match kind {
            Kind::Make | Kind::Write => {
                Ask::Write { value: self.tag("secret value", dice, secret), cas: None }
            }
            Kind::WriteIf => {
                // One in four expects what is not the current one any more, or not yet.
                let off = if dice.chance(1, 4) { dice.below(3) as u32 } else { 1 };
                let cas = (known.current + off).saturating_sub(1);
                Ask::Write { value: self.tag("secret value", dice, secret), cas: Some(cas) }
            }
            Kind::Read => Ask::Read { version: None },
            Kind::ReadVersion => Ask::Read { version: Some(version) },
            Kind::Set(VersionState::Deactivated) if dialect == Dialect::Vault && dice.chance(1, 2) => {
                Ask::Set { version: None, state: VersionState::Deactivated }
            }
            Kind::Set(state) => Ask::Set { version: Some(version), state },
            Kind::Note => Ask::Note { note: self.tag("secret metadata", dice, secret) },
            Kind::Delete => Ask::Delete,
            Kind::Describe | Kind::List => Ask::Describe,
        }
    }

    /// Unique by the client and a serial number; what it stands for is told as a secret.
    fn tag(&mut self, label: &str, dice: &mut Dice, secret: OnNeedle<'_>) -> String {
        self.serial += 1;
        let tag = format!("{}{}x{}", dice.word(12), self.client, self.serial);
        secret(label, &veiled::text(&tag));
        tag
    }

    /// Learns from how an operation ended.
    pub(super) fn learn(&mut self, op: &Op) {
        let Call::Secret { path, .. } = &op.call else { return };
        let mut hot = self.shelf.lock();
        if let Some(known) = hot.iter_mut().find(|known| known.path == *path) {
            return known.learn(op);
        }
        if self.own.iter().all(|known| known.path != *path) {
            self.own.push_back(Known { path: path.clone(), current: 0 });
            if self.own.len() > RECENT_MAX {
                self.own.pop_front();
            }
        }
        if let Some(known) = self.own.iter_mut().find(|known| known.path == *path) {
            known.learn(op);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Phase, SecretView};
    use std::collections::BTreeSet;

    fn calls(count: u64) -> (Vec<Call>, Vec<String>) {
        let (mut dice, shelf) = (Dice::named(1, "secrets"), Shelf::new(1, 0, 8));
        let mut source = Secrets::new(3, 25, shelf);
        let (mut made, mut needles) = (Vec::new(), Vec::new());
        for id in 0..count {
            let call = source.next(&mut dice, &mut |_, text| needles.push(text.to_owned()));
            made.push(call.clone());
            let view = SecretView { current: Some(1 + (id % 5) as u32), ..SecretView::default() };
            let outcome = match &call {
                Call::Secret { ask: Ask::Delete, .. } => Outcome::Ok(Answer::Done),
                _ => Outcome::Ok(Answer::Secret(view)),
            };
            let (invoked, done) = (id, Some(id));
            source.learn(&Op { id, client: 3, call, invoked, done, outcome, phase: Phase::Load });
        }
        (made, needles)
    }

    #[test]
    fn every_kind_is_drawn_in_both_dialects_and_repeats() {
        let (made, _) = calls(4_000);
        assert_eq!(made, calls(4_000).0);
        let mut kinds = BTreeSet::new();
        for call in &made {
            if let Call::Secret { dialect, ask, .. } = call {
                kinds.insert(format!("{dialect:?} {:?}", std::mem::discriminant(ask)));
            }
        }
        assert_eq!(kinds.len(), 14, "{kinds:?}");
        assert!(made.contains(&Call::Secrets));
        let stale = |call: &&Call| matches!(call, Call::Secret { ask: Ask::Write { cas: Some(_), .. }, .. });
        assert!(made.iter().filter(stale).count() > 100);
    }

    #[test]
    fn needles_are_long_and_none_stands_in_a_call_but_paths() {
        let (made, needles) = calls(1_000);
        assert!(needles.iter().all(|needle| needle.len() >= 16));
        let calls = format!("{made:?}");
        let values = needles.iter().filter(|needle| needle.len() == 40);
        assert!(values.clone().count() > 200 && values.into_iter().all(|value| !calls.contains(value)));
    }

    #[test]
    fn a_path_is_used_again_after_a_deletion() {
        let (made, _) = calls(6_000);
        let mut deleted = BTreeSet::new();
        let again = made.iter().any(|call| match call {
            Call::Secret { path, ask: Ask::Delete, .. } => {
                deleted.insert(path.clone());
                false
            }
            Call::Secret { path, ask: Ask::Create { .. }, .. } => deleted.contains(path),
            _ => false,
        });
        assert!(again);
    }
}
