//! Takes a key out of use, or declares it compromised. It still decrypts what it encrypted.

use super::{
    HostService,
    lifecycle::{Event, Next, State},
    write::Change,
};
use crate::{
    error::Error,
    iam::{Authorized, action},
};

/// Why a key is deactivated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason(u32);

/// Words, numbered as KMIP's revocation reason codes.
const WORDS: [(u32, &str); 7] = [
    (1, "unspecified"),
    (2, "key_compromise"),
    (3, "ca_compromise"),
    (4, "affiliation_changed"),
    (5, "superseded"),
    (6, "cessation_of_operation"),
    (7, "privilege_withdrawn"),
];

impl Reason {
    /// The reason of a word.
    pub fn of_word(word: &str) -> Option<Reason> {
        WORDS.iter().find(|(_, text)| *text == word).map(|(number, _)| Reason(*number))
    }

    /// Whether the material is not to be trusted any more.
    pub fn is_compromise(self) -> bool {
        matches!(self.0, 2 | 3)
    }
}

impl HostService {
    /// Deactivates a key. On a key that is out of use already it is success without a change, unless the
    /// reason is a compromise and none was declared.
    ///
    /// # Errors
    /// `KeyNotFound`, `WrongState` when destroyed, `Refused`, `Unknown`.
    pub async fn deactivate(
        &self,
        may: &Authorized<action::Deactivate>,
        reason: Reason,
    ) -> Result<(), Error> {
        let id = *may.of();
        let now = self.wall_us();
        let event = if reason.is_compromise() { Event::Compromise } else { Event::Deactivate };
        self.update_key(may.domain(), id, |mut record| match record.view.state.after(event)? {
            Next::Stay => Ok(Change::Keep(())),
            Next::Go(state) => {
                let dates = &mut record.view.dates;
                dates.deactivated_us.get_or_insert(now);
                if state == State::Compromised {
                    dates.compromised_us = Some(now);
                }
                record.view.state = state;
                record.reason = reason.0;
                Ok(Change::Put(record, ()))
            }
        })
        .await
    }
}
