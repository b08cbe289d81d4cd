//! The life of one key as clients may see it: which change is accepted in which state, and which answers are
//! true in it. Knows nothing of time.
//!
//! The table follows the documented rules of OVHcloud service keys: active at creation; deactivation with
//! `key_compromise` compromises; a destroyed key stays as a tombstone that `get` and `list` with `state=all`
//! show and that its id can never leave. Where the documentation is silent the table says [`Rule::Either`].

use super::search::Machine;

/// State of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Life {
    /// No such id.
    Absent,
    /// Works.
    Active,
    /// Decrypts only.
    Deactivated,
    /// Decrypts only, marked compromised.
    Compromised,
    /// A tombstone.
    Destroyed,
    /// The tombstone of a compromised key.
    DestroyedCompromised,
}

impl Life {
    /// From the word the service uses; `None` for words that no key of this service can have.
    pub fn parse(word: &str) -> Option<Life> {
        Some(match word {
            "active" => Life::Active,
            "deactivated" => Life::Deactivated,
            "compromised" => Life::Compromised,
            "destroyed" => Life::Destroyed,
            "destroyed_compromised" => Life::DestroyedCompromised,
            _ => return None,
        })
    }

    /// For reports.
    pub fn word(self) -> &'static str {
        match self {
            Life::Absent => "absent",
            Life::Active => "active",
            Life::Deactivated => "deactivated",
            Life::Compromised => "compromised",
            Life::Destroyed => "destroyed",
            Life::DestroyedCompromised => "destroyed and compromised",
        }
    }

    /// Whether it is a tombstone.
    pub fn is_destroyed(self) -> bool {
        matches!(self, Life::Destroyed | Life::DestroyedCompromised)
    }
}

/// A key at one moment. Names are numbers: a report must not print them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// Life-cycle state.
    pub life: Life,
    /// Which of the names seen in this key's history.
    pub name: u32,
}

/// A write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// Create with a name.
    Create(u32),
    /// Rename.
    Rename(u32),
    /// Activate.
    Activate,
    /// Deactivate for any reason but compromise.
    Deactivate,
    /// Deactivate because of a compromise (of the key, or of its CA).
    Compromise,
    /// Delete.
    Delete,
}

/// What the service must do with a change in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Accept it; the key is then in this state.
    Becomes(Life),
    /// Reject it; nothing changes.
    No,
    /// Documentation silent: either.
    Either(Life),
}

/// The life-cycle table.
pub fn rule(life: Life, change: Change) -> Rule {
    use Life::{Absent, Active, Compromised, Deactivated, Destroyed, DestroyedCompromised};
    match (change, life) {
        (Change::Create(_), Absent) => Rule::Becomes(Active),
        (Change::Create(_), _) | (_, Absent | Destroyed | DestroyedCompromised) => Rule::No,
        (Change::Rename(_), life) => Rule::Becomes(life),
        (Change::Activate, _) => Rule::Becomes(Active),
        (Change::Deactivate, Active) => Rule::Becomes(Deactivated),
        (Change::Deactivate, life) => Rule::Either(life),
        (Change::Compromise, Compromised) => Rule::Either(Compromised),
        (Change::Compromise, _) => Rule::Becomes(Compromised),
        (Change::Delete, Active) => Rule::No,
        (Change::Delete, Compromised) => Rule::Becomes(DestroyedCompromised),
        (Change::Delete, _) => Rule::Becomes(Destroyed),
    }
}

/// Which keys a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// No filter: all but tombstones.
    Present,
    /// `state=all`: tombstones too.
    All,
    /// One state.
    Only(Life),
}

/// What a key is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Encrypt, make a data key.
    Protect,
    /// Decrypt, unwrap a data key.
    Open,
}

impl Use {
    fn works(self, life: Life) -> bool {
        match self {
            Use::Protect => life == Life::Active,
            Use::Open => matches!(life, Life::Active | Life::Deactivated | Life::Compromised),
        }
    }
}

/// An answer that changes nothing and says something about the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// `get` or `list` showed it.
    Shown(State),
    /// `get` said 404.
    Missing,
    /// A page that covers its id does not have it.
    Unlisted(Filter),
    /// It worked.
    Worked(Use),
    /// It did not work.
    Failed(Use, u16),
    /// A change was rejected.
    Denied {
        /// The change.
        change: Change,
        /// HTTP status.
        status: u16,
    },
    /// No state explains it.
    Never,
}

impl Machine for State {
    type Change = Change;
    type Check = Check;

    fn initial() -> State {
        State::ABSENT
    }

    fn after(&self, change: &Change) -> Option<State> {
        let (Rule::Becomes(life) | Rule::Either(life)) = rule(self.life, *change) else { return None };
        let name = match change {
            Change::Create(name) | Change::Rename(name) => *name,
            _ => self.name,
        };
        Some(State { life, name })
    }

    fn named(check: &Check) -> Option<u32> {
        match check {
            Check::Shown(state) => Some(state.name),
            _ => None,
        }
    }

    fn names(change: &Change) -> Option<u32> {
        match change {
            Change::Rename(name) => Some(*name),
            _ => None,
        }
    }

    fn word(&self) -> String {
        self.life.word().to_owned()
    }

    fn explains(&self, check: &Check) -> bool {
        match *check {
            Check::Shown(shown) => self.shows(shown),
            Check::Missing => self.life == Life::Absent,
            Check::Unlisted(Filter::All) => self.life == Life::Absent,
            Check::Unlisted(Filter::Only(life)) => self.life != life,
            Check::Worked(what) => what.works(self.life),
            Check::Unlisted(Filter::Present) => self.life == Life::Absent || self.life.is_destroyed(),
            Check::Failed(_, 404) => self.life == Life::Absent || self.life.is_destroyed(),
            Check::Failed(what, _) => self.life != Life::Absent && !what.works(self.life),
            Check::Denied { change, status } => self.denies(change, status),
            Check::Never => false,
        }
    }
}

impl State {
    /// Before anything.
    pub const ABSENT: State = State { life: Life::Absent, name: 0 };

    /// Whether a view of this state is what was shown. A tombstone keeps the last name.
    pub fn shows(self, shown: State) -> bool {
        self == shown && self.life != Life::Absent
    }

    fn denies(self, change: Change, status: u16) -> bool {
        match (change, status) {
            (Change::Create(_), 409) => self.life != Life::Absent,
            // Whatever else is wrong with a create (400, ...) has nothing to do with the state.
            (Change::Create(_), _) => true,
            (_, 404) => self.life == Life::Absent || self.life.is_destroyed(),
            _ => self.life != Life::Absent && matches!(rule(self.life, change), Rule::No | Rule::Either(_)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_life() {
        let active = State::ABSENT.after(&Change::Create(3)).expect("created");
        assert_eq!(active, State { life: Life::Active, name: 3 });
        assert_eq!(active.after(&Change::Create(4)), None);
        assert_eq!(active.after(&Change::Delete), None);
        let compromised = active.after(&Change::Deactivate).and_then(|key| key.after(&Change::Compromise));
        assert_eq!(compromised.map(|key| key.life), Some(Life::Compromised));
        let again = compromised.and_then(|key| key.after(&Change::Activate));
        assert_eq!(again, Some(active));
        let dead = compromised.and_then(|key| key.after(&Change::Delete)).expect("destroyed");
        for change in
            [Change::Create(1), Change::Rename(1), Change::Activate, Change::Deactivate, Change::Delete]
        {
            assert_eq!(dead.after(&change), None, "{change:?}");
        }
        assert!(dead.shows(State { life: Life::DestroyedCompromised, name: 3 }));
    }

    #[test]
    fn answers_are_true_or_not() {
        let active = State { life: Life::Active, name: 1 };
        let off = State { life: Life::Deactivated, name: 1 };
        let dead = State { life: Life::Destroyed, name: 1 };
        assert!(active.explains(&Check::Worked(Use::Protect)) && !off.explains(&Check::Worked(Use::Protect)));
        assert!(off.explains(&Check::Worked(Use::Open)) && !dead.explains(&Check::Worked(Use::Open)));
        assert!(State::ABSENT.explains(&Check::Missing) && !dead.explains(&Check::Missing));
        assert!(
            dead.explains(&Check::Failed(Use::Open, 404)) && !off.explains(&Check::Failed(Use::Open, 404))
        );
        assert!(off.explains(&Check::Unlisted(Filter::Only(Life::Active))));
        assert!(!dead.explains(&Check::Unlisted(Filter::All)));
        assert!(
            dead.explains(&Check::Unlisted(Filter::Present))
                && !off.explains(&Check::Unlisted(Filter::Present))
        );
        assert!(!active.explains(&Check::Shown(State { name: 2, ..active })));
        assert!(!active.explains(&Check::Never));
    }

    #[test]
    fn denials_need_a_reason() {
        let denied = |change, status| Check::Denied { change, status };
        let active = State { life: Life::Active, name: 1 };
        assert!(!State::ABSENT.explains(&denied(Change::Create(1), 409)));
        assert!(active.explains(&denied(Change::Create(1), 409)));
        assert!(active.explains(&denied(Change::Delete, 409)));
        assert!(!active.explains(&denied(Change::Rename(2), 409)));
        assert!(!active.explains(&denied(Change::Rename(2), 404)));
    }
}
