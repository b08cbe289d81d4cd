//! The life of a key: states of NIST SP 800-57, and which operation leads where. The table is the whole of
//! it; nothing else decides about states.

use crate::error::{Code, Error};

/// State of a key. A REST key is active from its creation; pre-active belongs to KMIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Not yet for use.
    PreActive,
    /// May protect and process.
    Active,
    /// May only process what it protected.
    Deactivated,
    /// As deactivated, and not to be trusted.
    Compromised,
    /// No material any more.
    Destroyed,
    /// No material any more, and was compromised.
    DestroyedCompromised,
}

/// All states, in the order of the table below.
pub const STATES: [State; 6] = [
    State::PreActive,
    State::Active,
    State::Deactivated,
    State::Compromised,
    State::Destroyed,
    State::DestroyedCompromised,
];

/// What may happen to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// `activate`.
    Activate,
    /// `deactivate` for any reason but a compromise.
    Deactivate,
    /// `deactivate` because of a compromise.
    Compromise,
    /// `DELETE`.
    Destroy,
}

/// Where an event leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Success without a change: the key is there already, or beyond.
    Stay,
    /// A new state, to be written.
    Go(State),
}

impl State {
    /// The word in bodies and attributes.
    pub fn word(self) -> &'static str {
        match self {
            State::PreActive => "pre_active",
            State::Active => "active",
            State::Deactivated => "deactivated",
            State::Compromised => "compromised",
            State::Destroyed => "destroyed",
            State::DestroyedCompromised => "destroyed_compromised",
        }
    }

    /// The state of a word.
    pub fn of_word(word: &str) -> Option<State> {
        STATES.into_iter().find(|state| state.word() == word)
    }

    /// Whether new things may be protected: encrypt, wrap.
    pub fn may_protect(self) -> bool {
        self == State::Active
    }

    /// Whether what was protected may be processed: decrypt, unwrap.
    pub fn may_process(self) -> bool {
        matches!(self, State::Active | State::Deactivated | State::Compromised)
    }

    /// Whether the material is gone for good.
    pub fn is_destroyed(self) -> bool {
        matches!(self, State::Destroyed | State::DestroyedCompromised)
    }

    /// Where `event` leads from here.
    ///
    /// # Errors
    /// [`Code::WrongState`] (409) when the event is not allowed here.
    pub fn after(self, event: Event) -> Result<Next, Error> {
        use {Event as E, Next::*, State as S};
        match (self, event) {
            (S::Active, E::Activate) => Ok(Stay),
            (S::PreActive | S::Deactivated | S::Compromised, E::Activate) => Ok(Go(S::Active)),
            (S::PreActive | S::Active, E::Deactivate) => Ok(Go(S::Deactivated)),
            (S::Deactivated | S::Compromised, E::Deactivate) => Ok(Stay),
            (S::PreActive | S::Active | S::Deactivated, E::Compromise) => Ok(Go(S::Compromised)),
            (S::Compromised, E::Compromise) => Ok(Stay),
            (S::PreActive | S::Deactivated, E::Destroy) => Ok(Go(S::Destroyed)),
            (S::Compromised, E::Destroy) => Ok(Go(S::DestroyedCompromised)),
            (S::Active, E::Destroy) => {
                Err(Error::new(Code::WrongState, "an active key cannot be deleted: deactivate it first"))
            }
            (S::Destroyed | S::DestroyedCompromised, _) => {
                Err(Error::new(Code::WrongState, "the key is destroyed"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_the_destroyed_states() {
        for state in [State::Destroyed, State::DestroyedCompromised] {
            for event in [Event::Activate, Event::Deactivate, Event::Compromise, Event::Destroy] {
                assert!(state.after(event).is_err());
            }
            assert!(!state.may_process() && !state.may_protect());
        }
    }

    #[test]
    fn the_documented_walk() {
        let go = |state: State, event| state.after(event).expect("allowed");
        assert_eq!(go(State::Active, Event::Activate), Next::Stay);
        assert_eq!(go(State::Active, Event::Deactivate), Next::Go(State::Deactivated));
        assert_eq!(go(State::Deactivated, Event::Compromise), Next::Go(State::Compromised));
        assert_eq!(go(State::Compromised, Event::Activate), Next::Go(State::Active));
        assert_eq!(State::Active.after(Event::Destroy).map_err(|error| error.code()), Err(Code::WrongState));
        assert_eq!(go(State::Compromised, Event::Destroy), Next::Go(State::DestroyedCompromised));
    }

    #[test]
    fn words_read_back() {
        for state in STATES {
            assert_eq!(State::of_word(state.word()), Some(state));
        }
        assert_eq!(State::of_word("all"), None);
    }
}
