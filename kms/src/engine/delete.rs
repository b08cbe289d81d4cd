//! Destroys a key: its material is gone with this write, a tombstone stays for good so that the id can never
//! mean another key. Refused while the key is active.

use super::{
    HostService,
    lifecycle::{Event, Next},
    write::Change,
};
use crate::{
    error::Error,
    iam::{Authorized, action},
};

impl HostService {
    /// Destroys a key.
    ///
    /// # Errors
    /// `KeyNotFound`, `WrongState` when active or destroyed already, `Refused`, `Unknown`.
    pub async fn delete(&self, may: &Authorized<action::Delete>) -> Result<(), Error> {
        let id = *may.of();
        let now = self.wall_us();
        let done = self
            .update_key(may.domain(), id, |mut record| match record.view.state.after(Event::Destroy)? {
                Next::Stay => Ok(Change::Keep(())),
                Next::Go(state) => {
                    record.view.state = state;
                    record.view.dates.destroyed_us = Some(now);
                    record.destroy();
                    Ok(Change::Put(record, ()))
                }
            })
            .await;
        // Whatever became of it: a key that is still there is read again.
        self.forget_key(may.domain(), id);
        done
    }
}
