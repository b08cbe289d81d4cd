//! What is in the backups that were read: everything acknowledged before they were made, in the order of the log, and nothing else. What
//! cannot be read must have been hurt.

use super::stores::{Log, Made, Object};
use crate::{
    check::{
        CheckInput,
        g4_third_copy::{Writes, in_order, nothing_else},
        region_loss::RegionLoss,
        spans::Spans,
    },
    history::{BackupRead, DiskImage, Micros},
    report::Verdict,
};
use kms::backup::{AttemptId, Name};
use std::collections::BTreeMap;

/// Judges every backup that was read.
pub(super) fn check(
    input: &CheckInput<'_>,
    logs: &BTreeMap<&str, Log<'_>>,
    feed: &Spans,
    verdict: &mut Verdict,
) {
    let writes = Writes::of(input);
    for read in &input.history.backups {
        let found = logs.get(read.store.as_str()).and_then(|log| {
            let backup = log.manifests.iter().find(|backup| backup.name == read.name)?;
            Some((log, backup))
        });
        let Some((log, backup)) = found else {
            let text = format!("{} was read from {}, and nobody put it there", read.name, read.store);
            verdict.broken("unknown-object", &[], text);
            continue;
        };
        verdict.count("backups_read", 1);
        match &read.trouble {
            Some(_) if log.may_stand_on_hurt(backup, read.at) => {
                verdict.count("backups_hurt_and_refused", 1);
            }
            Some(why) => {
                let text = format!("{} in {} at {} s: {why}", read.name, read.store, read.at / 1_000_000);
                verdict.broken("unreadable", &[], text);
            }
            None if log.stands_on_hurt(backup, read.at) => {
                let text = format!("{} in {} was damaged, and verifies", read.name, read.store);
                verdict.broken("damage-unseen", &[], text);
            }
            None => right(input, feed, &writes, backup, read, verdict),
        }
    }
}

fn right(
    input: &CheckInput<'_>,
    feed: &Spans,
    writes: &Writes<'_>,
    backup: &Made<'_>,
    read: &BackupRead,
    verdict: &mut Verdict,
) {
    let image = DiskImage {
        node: format!("backup {} in {}", backup.found.number, read.store),
        down: String::new(),
        acknowledged_before: backup.made,
        records: read.records.clone(),
        unreadable: None,
    };
    verdict.exercised += 1;
    let due = backup.made.saturating_sub(input.bounds.lag_us);
    if !feed.touches(due, backup.made) {
        verdict.count("backups_that_must_hold_all", 1);
        for op in writes.missing(&image, due) {
            let text = format!(
                "op {}, acknowledged {} ms before it was made, is not in {}",
                op.id,
                (backup.made - op.done.unwrap_or(backup.made)) / 1000,
                image.node
            );
            verdict.broken("lacks", &[op.id], text);
        }
    }
    // What was acknowledged after it was made may be in it, and what it lacks of that is no hole.
    in_order(writes, &image, verdict);
    let void_from = RegionLoss::of(input).and_then(|loss| loss.replica_is_void_from());
    nothing_else(input, &image, void_from, verdict);
}

impl Log<'_> {
    /// Whether something that the backup may stand on had been hurt by then: an object of its day since the last snapshot that was
    /// certainly the one before it, or a key of the day.
    fn may_stand_on_hurt(&self, backup: &Made<'_>, by: Micros) -> bool {
        let mut from = 0;
        for earlier in &self.manifests {
            let calm = !self.flaky.touches(earlier.made, earlier.put);
            if earlier.put <= backup.put && calm && self.is_run_start(earlier) {
                from = from.max(earlier.made);
            }
        }
        // Begun before everything was lost, and put after it.
        if self.lost.iter().any(|lost| backup.made <= *lost && *lost <= backup.put) {
            return true;
        }
        let day = Some(backup.found.day);
        self.objects.iter().any(|object| {
            let of_it = object.day() == day
                && (object.is_day_key() || object.put >= from && object.put <= backup.put);
            of_it && object.hurt.is_some_and(|at| at <= by)
        })
    }

    /// Whether the backup's own objects had been hurt by then.
    fn stands_on_hurt(&self, backup: &Made<'_>, by: Micros) -> bool {
        self.objects.iter().any(|object| {
            let hurt = object.hurt.is_some_and(|at| at <= by);
            hurt && attempt(object) == Some(backup.found.id) && object.put <= backup.put
        })
    }

    /// Whether it made a full snapshot of its own.
    fn is_run_start(&self, backup: &Made<'_>) -> bool {
        self.objects
            .iter()
            .any(|object| matches!(object.read, Some(Name::FullIndex(_, _, id)) if id == backup.found.id))
    }
}

fn attempt(object: &Object<'_>) -> Option<AttemptId> {
    match object.read? {
        Name::DayKey(..) | Name::Anchor(..) => None,
        Name::FullIndex(_, _, id) | Name::FullPart(_, _, id, _) | Name::Log(_, _, _, id) => Some(id),
        Name::Manifest(found) => Some(found.id),
    }
}
