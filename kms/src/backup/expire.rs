//! Carries a retention plan out on one store: keys first. What could not be deleted is told, and found again the next time.

use super::{
    place::BackupPlace,
    retention::{Plan, plan},
};
use crate::env::{ObjectError, ObjectName};

/// Objects in a row that are not deleted before the rest is left for the next time. Keys are tried each time, all of them.
const FAILURES_MAX: u32 = 3;

/// What became of a retention plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// Day keys destroyed.
    pub destroyed: u64,
    /// Other objects deleted.
    pub deleted: u64,
    /// Keys that may still be there: an alarm, for their days ought to be unreadable.
    pub keys_left: Vec<(ObjectName, ObjectError)>,
    /// Other objects that may still be there.
    pub left: Vec<(ObjectName, ObjectError)>,
    /// Objects that nothing of this build made.
    pub unknown: Vec<ObjectName>,
    /// Backups that claim to be made after now.
    pub from_future: Vec<ObjectName>,
}

impl BackupPlace {
    /// Destroys and deletes what has expired at `now_ms`, Unix milliseconds.
    ///
    /// # Errors
    /// When the store cannot be listed. What could not be deleted is in the answer.
    pub async fn expire(&self, now_ms: u64) -> Result<Expired, ObjectError> {
        let Plan { destroy, delete, unknown, from_future } = plan(&self.list("").await?, now_ms);
        let mut done = Expired { unknown, from_future, ..Expired::default() };
        if !destroy.is_empty() {
            self.forget_keys();
        }
        for name in destroy {
            match self.patiently(|| self.store.delete(&name)).await {
                Ok(()) => done.destroyed += 1,
                Err(error) => done.keys_left.push((name, error)),
            }
        }
        let mut failed = 0;
        for name in delete {
            let deleted = match done.left.last() {
                // Thousands that are asked for in vain would keep a store from its next backup for hours.
                Some((_, error)) if failed >= FAILURES_MAX => Err(error.clone()),
                _ => self.patiently(|| self.store.delete(&name)).await,
            };
            match deleted {
                Ok(()) => (done.deleted, failed) = (done.deleted + 1, 0),
                Err(error) => {
                    done.left.push((name, error));
                    failed += 1;
                }
            }
        }
        Ok(done)
    }
}
