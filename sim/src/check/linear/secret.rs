//! The life of one secret as clients may see it: its versions, their states, the custom metadata. Knows nothing of time, and of no
//! version that deactivates itself (the load makes none).
//!
//! Follows docs/secrets.md. The native interface tells of what is not there; that of Vault's clients passes it over.

use super::search::Machine;
use crate::history::VersionState;

/// Versions that are kept where nothing else is said (docs/secrets.md).
const KEPT: usize = 10;

/// A secret at one moment. Data and custom metadata are numbers: a report must not print them. Of a path without a secret all is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Secret {
    there: bool,
    /// Versions that are not kept any more.
    dropped: u32,
    /// State and data of the versions that are, by their numbers.
    versions: Vec<(VersionState, u32)>,
    /// The custom metadata; 0 without.
    note: u32,
}

/// A write.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "fields say what they are")]
pub enum Change {
    /// Make it where there is none.
    Create { value: u32, note: u32 },
    /// A further version; `make`: the first one too.
    Add { value: u32, cas: Option<u32>, make: bool },
    /// A version's state, of the current one if no number is given; `strict`: it has to be there.
    Set { version: Option<u32>, state: VersionState, strict: bool },
    /// Custom metadata; `make`: where there is no secret too.
    Note { note: u32, make: bool },
    /// All of it.
    Delete,
}

/// What an answer showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Number of the current version.
    pub current: Option<u32>,
    /// Number of the oldest version, once one was dropped; until then 0.
    pub oldest: Option<u32>,
    /// Custom metadata.
    pub note: Option<u32>,
    /// Number, state, and data if it was shown.
    pub versions: Vec<(u32, VersionState, Option<u32>)>,
    /// Whether there were no other versions.
    pub all: bool,
}

/// Why a change was rejected, as the answer said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is no such secret.
    NoSecret,
    /// There is no such version.
    NoVersion,
    /// There is a secret.
    Exists,
    /// The version is deleted, for good.
    Deleted,
    /// Another version is the current one.
    Mismatch,
}

/// An answer that says something about the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// This was shown.
    Shown(Shown),
    /// There is no such secret.
    Missing,
    /// There is no such version; `active`: or none whose data may be read.
    NoVersion {
        /// Its number; `None`: the current one.
        version: Option<u32>,
        /// Whether a version without readable data counts.
        active: bool,
    },
    /// A change was rejected.
    Denied(Change, Why),
    /// No state explains it.
    Never,
}

impl Secret {
    fn current(&self) -> u32 {
        self.dropped + u32::try_from(self.versions.len()).unwrap_or(u32::MAX)
    }

    fn place(&self, version: Option<u32>) -> Option<usize> {
        let before = version.unwrap_or(self.current()).checked_sub(self.dropped)?.checked_sub(1)?;
        usize::try_from(before).ok().filter(|place| *place < self.versions.len())
    }

    fn get(&self, version: Option<u32>) -> Option<(VersionState, u32)> {
        self.versions.get(self.place(version)?).copied()
    }

    fn add(mut self, value: u32) -> Secret {
        self.versions.push((VersionState::Active, value));
        if self.versions.len() > KEPT {
            self.versions.remove(0);
            self.dropped += 1;
        }
        self
    }

    fn set(mut self, version: Option<u32>, state: VersionState, strict: bool) -> Option<Secret> {
        let Some(place) = self.place(version) else { return (!strict).then_some(self) };
        let before = &mut self.versions[place].0;
        if *before == VersionState::Deleted && state != VersionState::Deleted {
            return (!strict).then_some(self);
        }
        *before = state;
        Some(self)
    }

    fn shows(&self, shown: &Shown) -> bool {
        let oldest = if self.dropped > 0 { self.dropped + 1 } else { 0 };
        let version = |(number, state, value): &(u32, VersionState, Option<u32>)| {
            self.get(Some(*number)).is_some_and(|(is, data)| {
                // Data of a version that is not active is never shown.
                is == *state && value.is_none_or(|value| value == data && is == VersionState::Active)
            })
        };
        self.there
            && shown.current.is_none_or(|current| current == self.current())
            && shown.oldest.is_none_or(|shown| shown == oldest)
            && shown.note.is_none_or(|note| note == self.note)
            && shown.versions.iter().all(version)
            && (!shown.all || shown.versions.len() == self.versions.len())
    }

    fn denies(&self, change: &Change, why: Why) -> bool {
        let makes = matches!(
            change,
            Change::Create { .. } | Change::Add { make: true, .. } | Change::Note { make: true, .. }
        );
        match (why, change) {
            (Why::NoSecret, _) => !self.there && !makes,
            (Why::NoVersion, Change::Set { version, strict: true, .. }) => {
                self.there && self.get(*version).is_none()
            }
            (Why::Exists, Change::Create { .. }) => self.there,
            (Why::Deleted, Change::Set { version, state, strict: true }) => {
                *state != VersionState::Deleted
                    && self.get(*version).is_some_and(|(is, _)| is == VersionState::Deleted)
            }
            (Why::Mismatch, Change::Add { cas: Some(cas), make, .. }) => {
                (self.there || *make) && *cas != self.current()
            }
            _ => false,
        }
    }
}

impl Machine for Secret {
    type Change = Change;
    type Check = Check;

    fn initial() -> Secret {
        Secret::default()
    }

    fn after(&self, change: &Change) -> Option<Secret> {
        let before = self.clone();
        match *change {
            Change::Create { .. } if self.there => None,
            Change::Create { value, note } => Some(Secret { there: true, note, ..before }.add(value)),
            Change::Add { make: false, .. } | Change::Note { make: false, .. } if !self.there => None,
            Change::Add { cas: Some(cas), .. } if cas != self.current() => None,
            Change::Add { value, .. } => Some(Secret { there: true, ..before }.add(value)),
            Change::Note { note, .. } => Some(Secret { there: true, note, ..before }),
            Change::Set { .. } | Change::Delete if !self.there => None,
            Change::Set { version, state, strict } => before.set(version, state, strict),
            Change::Delete => Some(Secret::default()),
        }
    }

    fn explains(&self, check: &Check) -> bool {
        match check {
            Check::Shown(shown) => self.shows(shown),
            Check::Missing => !self.there,
            Check::NoVersion { version, active } => {
                let readable = |(state, _)| !active || state == VersionState::Active;
                self.there && !self.get(*version).is_some_and(readable)
            }
            Check::Denied(change, why) => self.denies(change, *why),
            Check::Never => false,
        }
    }

    fn named(check: &Check) -> Option<u32> {
        match check {
            Check::Shown(shown) => shown.note,
            _ => None,
        }
    }

    fn names(change: &Change) -> Option<u32> {
        match change {
            Change::Note { note, make: false } => Some(*note),
            _ => None,
        }
    }

    fn word(&self) -> String {
        if !self.there {
            return "not there".to_owned();
        }
        let of = |state| self.versions.iter().filter(|(is, _)| *is == state).count();
        format!(
            "at version {}, {} active, {} deactivated and {} deleted",
            self.current(),
            of(VersionState::Active),
            of(VersionState::Deactivated),
            of(VersionState::Deleted)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::linear::search::{Decision, Item, Step, decide};
    use VersionState::{Active, Deactivated, Deleted};
    use proptest::prelude::*;

    fn made(changes: &[Change]) -> Secret {
        changes.iter().fold(Secret::initial(), |secret, change| secret.after(change).expect("accepted"))
    }

    fn add(value: u32) -> Change {
        Change::Add { value, cas: None, make: true }
    }

    fn set(version: u32, state: VersionState) -> Change {
        Change::Set { version: Some(version), state, strict: true }
    }

    fn shown(current: u32, versions: &[(u32, VersionState, Option<u32>)]) -> Check {
        Check::Shown(Shown { current: Some(current), versions: versions.to_vec(), ..Shown::default() })
    }

    #[test]
    fn versions_are_numbered_from_one_and_again_after_a_deletion() {
        let two = made(&[Change::Create { value: 7, note: 3 }, add(8)]);
        assert!(two.explains(&shown(2, &[(1, Active, Some(7)), (2, Active, Some(8))])));
        assert!(!two.explains(&shown(2, &[(2, Active, Some(7))])) && !two.explains(&shown(1, &[])));
        assert_eq!(two.after(&Change::Create { value: 9, note: 0 }), None);
        let again = two.after(&Change::Delete).and_then(|gone| gone.after(&add(9))).expect("made again");
        assert!(again.explains(&shown(1, &[(1, Active, Some(9))])));
        assert!(!again.explains(&Check::Shown(Shown { note: Some(3), ..Shown::default() })));
        assert!(!again.explains(&shown(3, &[])), "a number goes on after a deletion");
    }

    #[test]
    fn check_and_set_is_the_number_of_the_current_version() {
        let two = made(&[add(1), add(2)]);
        let cas = |cas, make| Change::Add { value: 3, cas: Some(cas), make };
        assert!(two.after(&cas(2, false)).is_some() && two.after(&cas(1, false)).is_none());
        assert!(two.explains(&Check::Denied(cas(1, true), Why::Mismatch)));
        assert!(!two.explains(&Check::Denied(cas(2, true), Why::Mismatch)));
        let nothing = Secret::initial();
        assert!(nothing.after(&cas(0, true)).is_some() && nothing.after(&cas(0, false)).is_none());
        assert!(nothing.explains(&Check::Denied(cas(1, true), Why::Mismatch)));
        assert!(nothing.explains(&Check::Denied(cas(1, false), Why::NoSecret)));
        assert!(!nothing.explains(&Check::Denied(cas(1, true), Why::NoSecret)));
    }

    #[test]
    fn states_lead_to_deleted_and_no_further() {
        let one = made(&[add(5), set(1, Deactivated)]);
        assert!(one.explains(&shown(1, &[(1, Deactivated, None)])));
        assert!(!one.explains(&shown(1, &[(1, Deactivated, Some(5))])), "its data is shown");
        assert!(one.explains(&Check::NoVersion { version: None, active: true }));
        assert!(!one.explains(&Check::NoVersion { version: None, active: false }));
        let back = one.after(&set(1, Active)).expect("accepted");
        assert!(back.explains(&shown(1, &[(1, Active, Some(5))])));
        let gone = back.after(&set(1, Deleted)).expect("accepted");
        assert_eq!(gone.after(&set(1, Active)), None);
        assert!(gone.explains(&Check::Denied(set(1, Active), Why::Deleted)));
        assert_eq!(gone.after(&set(1, Deleted)), Some(gone.clone()));
        let lenient = Change::Set { version: Some(1), state: Active, strict: false };
        assert_eq!(gone.after(&lenient), Some(gone.clone()));
        assert!(gone.explains(&Check::Denied(set(2, Active), Why::NoVersion)));
        assert!(!gone.explains(&Check::Denied(set(1, Deactivated), Why::NoVersion)));
    }

    #[test]
    fn ten_versions_are_kept() {
        let many = made(&(1..=13).map(add).collect::<Vec<_>>());
        let all: Vec<_> = (4..=13).map(|number| (number, Active, None)).collect();
        let view = Shown { current: Some(13), oldest: Some(4), versions: all, all: true, note: Some(0) };
        assert!(many.explains(&Check::Shown(view.clone())));
        let fewer = Shown { versions: view.versions[1..].to_vec(), ..view };
        assert!(!many.explains(&Check::Shown(fewer)));
        assert!(many.explains(&Check::NoVersion { version: Some(3), active: false }));
        assert!(!many.explains(&Check::Missing) && !many.explains(&Check::Never));
    }

    /// Changes and reads played one after the other, each inside its interval; one change in seven with an unknown outcome.
    fn played(steps: &[(u8, u8, u8, u8)]) -> (Vec<Item<Change, Check>>, Secret) {
        let (mut secret, mut items) = (Secret::initial(), Vec::new());
        for (op, (what, number, before, after)) in (0_u64..).zip(steps) {
            let (at, value) = (1_000 + op * 10, u32::try_from(op).unwrap_or(0) + 1);
            let version = Some(1 + u32::from(*number % 4));
            let state = [Active, Deactivated, Deleted][usize::from(*number % 3)];
            let strict = number % 2 == 0;
            let change = match what % 10 {
                0 => Some(Change::Create { value, note: value }),
                1..=3 => Some(Change::Add { value, cas: None, make: strict }),
                4 => Some(Change::Add { value, cas: Some(u32::from(*number % 5)), make: strict }),
                5 | 6 => Some(Change::Set { version, state, strict }),
                7 => Some(Change::Note { note: value, make: strict }),
                8 if number % 5 == 0 => Some(Change::Delete),
                _ => None,
            };
            let all = || {
                let versions = (secret.dropped + 1..).zip(&secret.versions);
                let shown = |(number, (state, value)): (u32, &(VersionState, u32))| {
                    (number, *state, (*state == Active).then_some(*value))
                };
                let (current, note) = (Some(secret.current()), Some(secret.note));
                let versions = versions.map(shown).collect();
                Check::Shown(Shown { current, note, versions, all: true, oldest: None })
            };
            let step = match (change.as_ref(), change.as_ref().and_then(|change| secret.after(change))) {
                (Some(change), Some(next)) => {
                    secret = next;
                    if after % 7 == 0 {
                        Step::Perhaps(change.clone())
                    } else {
                        Step::Changed(change.clone(), None)
                    }
                }
                _ if secret.there => Step::Saw(all()),
                _ => Step::Saw(Check::Missing),
            };
            let uncertain = matches!(step, Step::Perhaps(_));
            let ret = if uncertain { u64::MAX } else { at + u64::from(*after % 20) };
            items.push(Item { op, call: at - u64::from(*before % 20), ret, step });
        }
        (items, secret)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn played_histories_are_accepted(steps in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 0..60)) {
            let (items, _) = played(&steps);
            prop_assert_eq!(decide::<Secret>(&items, 2_000_000).0, Decision::Linearizable);
        }

        #[test]
        fn a_read_of_what_was_never_written_is_not(
            steps in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 1..40),
        ) {
            let (mut items, _) = played(&steps);
            let versions = vec![(1, Active, Some(9_999))];
            let step = Step::Saw(Check::Shown(Shown { versions, ..Shown::default() }));
            items.push(Item { op: 999, call: 5_000, ret: 5_001, step });
            prop_assert!(matches!(decide::<Secret>(&items, 2_000_000).0, Decision::Violated(_)));
        }

        #[test]
        fn a_number_ahead_of_everything_that_was_sent_is_not(
            steps in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 1..40),
        ) {
            let (mut items, secret) = played(&steps);
            let sent = items.iter().filter(|item| match &item.step {
                Step::Changed(change, _) | Step::Perhaps(change) => {
                    matches!(change, Change::Create { .. } | Change::Add { .. })
                }
                Step::Saw(_) => false,
            });
            let current = Some(sent.count() as u32 + 1);
            prop_assert!(Some(secret.current()) < current);
            let step = Step::Saw(Check::Shown(Shown { current, ..Shown::default() }));
            items.push(Item { op: 999, call: 5_000, ret: 5_001, step });
            prop_assert!(matches!(decide::<Secret>(&items, 2_000_000).0, Decision::Violated(_)));
        }
    }
}
