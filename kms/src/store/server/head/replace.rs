//! The entry that replaces the witness (R17a): appended, forwarded and confirmed as a batch is (R1-R4), alone in its
//! entry, by compare-and-set against the witness that the members listen to when it is appended.

use super::{Head, refuse};
use crate::{
    env::Mono,
    store::{
        engine::{Engine, EngineError},
        log::Entry,
        replacement::Replaced,
    },
    wire::message::{Body, Empty, NotDone},
};
use tokio::sync::oneshot;

/// A replacement that waits to be appended. Answered as a commit is; a conflict: the members listen to another witness than it
/// says, or are in another epoch.
pub(in crate::store::server) struct Replacing {
    pub(in crate::store::server) witness: Replaced,
    pub(in crate::store::server) answer: oneshot::Sender<Body>,
    pub(in crate::store::server) until: Mono,
}

impl Head {
    /// What is in the log already waits for its confirmation with those who said it first: it can be refused no more (R4).
    pub(super) fn take_replacing(&mut self, replacing: Replacing) {
        match &mut self.in_flight {
            Some(flight) if flight.pending.entry.witness.as_ref() == Some(&replacing.witness) => {
                flight.waiters.push(replacing.answer);
            }
            _ => self.replacing.push_back(replacing),
        }
    }

    /// Nothing of what waits was appended.
    pub(super) fn refuse_replacing(&mut self, why: NotDone) {
        for replacing in self.replacing.drain(..) {
            refuse(replacing.answer, why);
        }
    }

    /// Appends the next replacement if the way is free, and answers those that cannot be.
    pub(super) async fn replace(&mut self, now: Mono) -> Result<(), EngineError> {
        while let Some(late) = self.replacing.pop_front_if(|replacing| replacing.until <= now) {
            refuse(late.answer, NotDone::InDoubt);
        }
        while self.in_flight.is_none() {
            let Some(Replacing { witness, answer, .. }) = self.replacing.pop_front() else { return Ok(()) };
            let (identity, last, accepting) = {
                let view = self.shared.view();
                (view.identity.clone(), view.last, view.accepting())
            };
            if identity.replaced.as_ref() == Some(&witness) {
                // Said again: it is committed.
                let _ = answer.send(Body::Committed(Empty {}));
            } else if !accepting {
                refuse(answer, NotDone::NotServing);
            } else if !identity.fits(witness.record) {
                let _ = answer.send(Body::Conflict(Empty {}));
            } else {
                let entry = Entry::replacing(last, identity.epoch(), self.env().wall_ms(), witness);
                // From here on it is unknown, never refused: dropping who waits says so.
                let work = move |engine: &Engine| engine.append(&entry).map(|()| entry);
                let entry = self.shared.engine("commit", work).await?;
                self.forward(entry, vec![answer]);
            }
        }
        Ok(())
    }
}
