//! How far a fill has come, as source and target say, and how long it may stand still. Only looks.

use crate::{
    limits::ms,
    store::{
        exchange::NoAnswer,
        server::{DatabaseStatus, FillStatus},
    },
};
use std::time::Duration;

/// A fill that does not move for so long does not go on by itself.
const NO_PROGRESS: Duration = ms(60_000);
/// A new store is read back as a whole before it counts as filled, and says nothing meanwhile.
const READING_BACK: Duration = ms(30 * 60_000);

pub(super) type Answer = Result<DatabaseStatus, NoAnswer>;

/// How far a fill has come; equal marks are no progress.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    logs: (u64, u64),
    fill: FillStatus,
}

impl Mark {
    /// `None`: nobody knows.
    pub(super) fn of(source: &Answer, target: &Answer) -> Option<Mark> {
        let (Ok(source), Ok(target)) = (source, target) else { return None };
        let fill = FillStatus { trouble: None, ..target.fill.clone().unwrap_or_default() };
        Some(Mark { logs: (source.last, target.last), fill })
    }

    pub(super) fn patience(&self) -> Duration {
        let fill = &self.fill;
        let all_there = fill.rows_total > 0 && fill.rows >= fill.rows_total && !fill.filled;
        if all_there { READING_BACK } else { NO_PROGRESS }
    }
}

/// What a database says about why a fill does not go on.
pub(super) fn trouble(source: &Answer, target: &Answer) -> Option<String> {
    match (source, target) {
        (Ok(_), Ok(target)) => target.fill.as_ref().and_then(|fill| fill.trouble.clone()),
        (Err(error), _) => Some(format!("the source: {error}")),
        (_, Err(error)) => Some(format!("the target: {error}")),
    }
}
