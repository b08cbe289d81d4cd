//! The loss of a whole region, and what may be missing once it was made anew from a copy elsewhere. Between the copy and the loss
//! lies a window whose writes may be gone: to every checker but those of the loss itself they are writes whose outcome nobody knows, and
//! answers of that time say nothing. What was acknowledged before the window is asked for as ever.

use super::{CheckInput, g4_third_copy::troubled_before, in_doubt};
use crate::history::{Answer, Call, History, Micros, Op, Outcome, Rebuild, What};
use std::collections::BTreeSet;

/// A lost region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionLoss {
    /// When both databases' disks were gone.
    pub at: Micros,
    /// Everything acknowledged before is owed.
    pub owed_before: Micros,
    /// Everything acknowledged before was at the replica.
    pub carried_before: Micros,
    /// When it was made anew, and whether of a backup.
    pub back: Option<(Micros, bool)>,
}

impl RegionLoss {
    /// The region that was lost in a run, if one was.
    pub fn of(input: &CheckInput<'_>) -> Option<RegionLoss> {
        let mut lost: BTreeSet<&str> = BTreeSet::new();
        let (mut at, mut back) = (None, None);
        for event in &input.history.events {
            match &event.what {
                What::DiskLost { node } if input.topology.is_database(node) && at.is_none() => {
                    lost.insert(node);
                    at = (lost.len() == 2).then_some(event.at);
                }
                What::Rebuild { node, step: Rebuild::Activated } => {
                    lost.remove(node.as_str());
                }
                What::Restored { backup } if back.is_none() => back = Some((event.at, *backup)),
                _ => {}
            }
        }
        let at = at?;
        let of_backup = back.is_some_and(|(_, backup)| backup);
        let carried_before = due(input, at);
        let owed_before =
            if of_backup { at.saturating_sub(input.bounds.backup_window_us) } else { carried_before };
        Some(RegionLoss { at, owed_before, carried_before, back })
    }

    /// From when on nobody owes what the replica had: the region was made anew of a backup, which is older.
    pub fn replica_is_void_from(&self) -> Option<Micros> {
        self.back.filter(|(_, backup)| *backup).map(|_| self.at)
    }

    /// Whether an operation's outcome may have been lost with the region.
    fn is_in_window(&self, op: &Op) -> bool {
        op.invoked <= self.at && op.done.is_none_or(|done| done >= self.owed_before)
    }
}

/// What was acknowledged before is at the replica when the region is lost at `at`: older than the lag bound, reckoned from the last time
/// that it was fed as it should be.
fn due(input: &CheckInput<'_>, at: Micros) -> Micros {
    let troubled = troubled_before(input, at);
    let mut due = at.saturating_sub(input.bounds.lag_us);
    while let Some((from, _)) =
        troubled.iter().find(|(from, until)| *from < at && *until >= due && *from < due + input.bounds.lag_us)
    {
        let earlier = from.saturating_sub(input.bounds.lag_us);
        if earlier >= due {
            break;
        }
        due = earlier;
    }
    due
}

/// The history with the window's outcomes taken out; `None` if no region was lost.
pub fn forgiven(input: &CheckInput<'_>) -> Option<History> {
    let loss = RegionLoss::of(input)?;
    let mut history = input.history.clone();
    for op in history.ops.iter_mut().filter(|op| loss.is_in_window(op)) {
        let definite = matches!(op.outcome, Outcome::Rejected { .. } | Outcome::Refused);
        if op.call.is_write() && definite && !in_doubt(&op.outcome) {
            // Nothing of it is there, and why not is no longer of interest.
            op.outcome = Outcome::Refused;
        } else {
            // The service had chosen an id: what is seen of that key later was made by this.
            if let (Call::CreateUnnamed { name }, Outcome::Ok(Answer::Key(view))) = (&op.call, &op.outcome) {
                op.call = Call::Create { key: view.id.clone(), name: name.clone() };
            }
            op.outcome = Outcome::Unknown;
            op.done = None;
        }
    }
    Some(history)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Build, S, get, ok_key, rejected, rename};

    fn lost(build: &mut Build, at: Micros) {
        for node in ["db-a", "db-b"] {
            build.event(at, What::DiskLost { node: node.into() });
        }
    }

    #[test]
    fn one_disk_is_no_region() {
        let mut build = Build::new();
        build.event(9 * S, What::DiskLost { node: "db-a".into() });
        assert_eq!(RegionLoss::of(&build.input()), None);
        build.event(10 * S, What::Rebuild { node: "db-a".into(), step: Rebuild::Activated });
        build.event(11 * S, What::DiskLost { node: "db-b".into() });
        assert_eq!(RegionLoss::of(&build.input()), None);
        assert!(forgiven(&build.input()).is_none());
    }

    #[test]
    fn the_window_is_the_lag_or_begins_where_the_feed_was_last_well() {
        let mut build = Build::new();
        lost(&mut build, 60 * S);
        let loss = RegionLoss::of(&build.input()).expect("a loss");
        assert_eq!((loss.at, loss.owed_before), (60 * S, 58 * S));
        let mut build = Build::new();
        build.down("replica", 40 * S);
        lost(&mut build, 60 * S);
        build.event(70 * S, What::Restored { backup: true });
        let loss = RegionLoss::of(&build.input()).expect("a loss");
        assert_eq!(loss.back, Some((70 * S, true)));
        assert_eq!(loss.owed_before, 0, "five minutes");
    }

    #[test]
    fn what_the_window_said_is_taken_back_and_nothing_else() {
        let mut build = Build::new();
        build.created("k", "n", 10 * S);
        let late = build.op(rename("k", "m"), 59 * S, 59 * S + 1, ok_key("k", "m", "active"));
        let read = build.op(get("k"), 59 * S, 59 * S + 2, ok_key("k", "m", "active"));
        let no = build.op(rename("x", "m"), 59 * S, 59 * S + 3, rejected(404));
        let after = build.op(get("k"), 61 * S, 62 * S, ok_key("k", "n", "active"));
        lost(&mut build, 60 * S);
        let history = forgiven(&build.input()).expect("a loss");
        let outcome = |id: u64| &history.ops[id as usize].outcome;
        assert!(matches!(outcome(0), Outcome::Ok(_)) && matches!(outcome(after), Outcome::Ok(_)));
        assert_eq!(*outcome(late), Outcome::Unknown);
        assert_eq!(*outcome(read), Outcome::Unknown);
        assert_eq!(*outcome(no), Outcome::Refused);
    }
}
