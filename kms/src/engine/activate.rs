//! Makes a key active (again). Success on an active key, without a write.

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
    /// Activates a key; a compromise once declared is taken back by it.
    ///
    /// # Errors
    /// `KeyNotFound`, `WrongState` when destroyed, `Refused`, `Unknown`.
    pub async fn activate(&self, may: &Authorized<action::Activate>) -> Result<(), Error> {
        let id = *may.of();
        let now = self.wall_us();
        self.update_key(may.domain(), id, |mut record| match record.view.state.after(Event::Activate)? {
            Next::Stay => Ok(Change::Keep(())),
            Next::Go(state) => {
                record.view.state = state;
                record.view.dates.activated_us = Some(now);
                record.view.dates.deactivated_us = None;
                record.view.dates.compromised_us = None;
                record.reason = 0;
                Ok(Change::Put(record, ()))
            }
        })
        .await
    }
}
