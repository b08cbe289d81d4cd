//! What a database does when its log is not what it must be: it serves nothing and says so, loudly; the head tells
//! the tail (R6). Two histories are for good, as far as this start goes: a person decides which one is right. A log
//! that lacks synced entries serves again once it has them. Mends nothing itself.

use super::view::Shared;
use crate::store::{engine::EngineError, log::Position};
use std::sync::PoisonError;

impl Shared {
    /// This log and the peer's are not one history: no program can know which one is right.
    pub(super) fn diverged(&self, what: &'static str) {
        *self.diverged.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.identity().db_id);
        self.view().withheld.diverged = true;
        self.loud(what);
    }

    /// This log lacks synced entries.
    pub(super) fn lacking(&self, what: &'static str) {
        self.view().withheld.behind = true;
        self.loud(what);
    }

    /// R15, R16: both logs ended at `begins` when the epoch became active. A log that ends below lost synced entries
    /// since; one with another hash there is another history.
    ///
    /// # Errors
    /// The engine's; the incarnation ends then.
    pub(super) async fn compare_with_beginning(&self, begins: Position) -> Result<(), EngineError> {
        if begins.seq == 0 {
            return Ok(());
        }
        match self.engine("position", move |engine| engine.position_at(begins.seq)).await? {
            Some(ours) if ours == begins => {}
            Some(_) => self.diverged("loud:not-the-activated-log"),
            None if self.view().last.seq < begins.seq => self.lacking("loud:below-activation"),
            // So far back that it is no longer kept.
            None => {}
        }
        Ok(())
    }

    /// Where the log must reach at least, whatever the peer has: where the epoch began.
    pub(super) fn must_reach(&self) -> u64 {
        self.identity().begins().map_or(0, |begins| begins.seq)
    }
}
