//! The model: bounds, perhaps one rule switched off, and the dispatch of a step to its rule.

use crate::action::Action;
use crate::bounds::Bounds;
use crate::defect::Defect;
use crate::goal;
use crate::history::Write;
use crate::promise::{self, Promise};
use crate::state::State;
use stateright::{Model, Property};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The protocol within bounds.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// What may happen.
    pub bounds: Bounds,
    /// The rule that is switched off.
    pub defect: Option<Defect>,
    /// What must hold.
    pub promises: &'static [Promise],
    /// Goals that some state has reached. Bits.
    pub reached: Arc<AtomicU32>,
}

impl Protocol {
    /// The rules as they are.
    pub fn sound(bounds: Bounds) -> Protocol {
        Protocol { bounds, defect: None, promises: &Promise::ALL, reached: Arc::default() }
    }

    /// With one rule off; only these promises are looked at.
    pub fn with(bounds: Bounds, defect: Defect, promises: &'static [Promise]) -> Protocol {
        Protocol { defect: Some(defect), promises, ..Protocol::sound(bounds) }
    }

    /// Whether the rule is off.
    pub fn lacks(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// Whether hosts send attempts again.
    pub fn resends(&self) -> bool {
        self.lacks(Defect::ResendConflict) || self.lacks(Defect::ResendRefused)
    }

    /// Whether hosts turn a timeout into a refusal.
    pub fn refuses(&self) -> bool {
        self.lacks(Defect::TimeoutRefused)
    }

    /// A write of the program.
    pub fn write(&self, id: u8) -> Option<Write> {
        self.bounds.writes.iter().copied().find(|write| write.id == id)
    }

    /// The state after a step; nothing if the rules do not take it.
    pub fn step(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        let taken = match action {
            Action::Commit { id, at } => self.commit(&mut next, id, at),
            Action::Repeat { id, at } => self.repeat(&mut next, id, at),
            Action::HangUp { id } => self.hang_up(&mut next, id),
            Action::Resend { id, at } => self.resend(&mut next, id, at),
            Action::Refuse { id } => self.refuse(&mut next, id),
            Action::Deliver { message, at } => self.deliver(&mut next, message, at),
            Action::Sync { at } => self.sync(&mut next, at),
            Action::Read { at } => self.read(&mut next, at),
            Action::Crash { at } => self.crash(&mut next, at),
            Action::Rollback { at } => self.rollback(&mut next, at),
            Action::Restart { at } => self.restart(&mut next, at),
            Action::LoseDisk { at } => self.lose_disk(&mut next, at),
            Action::AskWitness { at } => self.ask_witness(&mut next, at),
            Action::AskPeer { at, peer } => self.ask_peer(&mut next, at, peer),
            Action::Heed { at } => self.heed_late(&mut next, at),
            Action::Hello { at } => self.hello(&mut next, at),
            Action::Register { source, target } => self.register(&mut next, source, target),
            Action::SeeOff { at } => self.see_off(&mut next, at),
            Action::FenceOff { operator, at } => self.fence_off(&mut next, operator, at),
            Action::FenceRetired { operator, at } => self.fence_retired(&mut next, operator, at),
            Action::Fill { operator } => self.fill(&mut next, operator),
            Action::Activate { operator } => self.activate(&mut next, operator),
            Action::Grant { at } => self.grant(&mut next, at),
            Action::UseLease => self.use_lease(&mut next),
            Action::EndLease => self.end_lease(&mut next),
            Action::Forward { at } => self.forward(&mut next, at),
            Action::Follow { from } => self.follow(&mut next, from),
            Action::Restore => self.restore(&mut next),
        };
        (taken && next != *state).then_some(next)
    }

    /// The promise that a state breaks.
    pub fn broken(&self, state: &State) -> Option<Promise> {
        self.promises.iter().copied().find(|promise| !promise::holds(*promise, &self.bounds, state))
    }
}

/// Name of the one property: the first state that breaks anything ends the search.
pub const PROMISES: &str = "promises";

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(self.bounds.nonces > 0)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.candidates(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.step(state, action)
    }

    fn properties(&self) -> Vec<Property<Protocol>> {
        vec![Property::always(PROMISES, |model, state| {
            let goals = goal::of(state);
            if goals & !model.reached.load(Ordering::Relaxed) != 0 {
                model.reached.fetch_or(goals, Ordering::Relaxed);
            }
            model.broken(state).is_none()
        })]
    }
}
