//! G1, at the moment it matters: whenever a database goes down, whatever had been acknowledged by then is
//! durable on each database's disk by itself - on the one that is down, and on the one that is not, so that
//! either zone's disks could be lost at that moment.
//!
//! Does not check: what the records hold (they are sealed; `g1_two_zone_durability` reads them), activations
//! and deactivations (they may change nothing, and then write nothing), moments at which no database fails.

use super::{CheckInput, subject};
use crate::{
    history::{Call, DiskImage, Outcome},
    report::Verdict,
};
use std::collections::BTreeMap;

/// Judges.
pub fn check(input: &CheckInput<'_>) -> Verdict {
    let mut verdict = Verdict::new("G1", "g1_crash_images");
    for image in &input.history.images {
        verdict.count("images", 1);
        if let Some(why) = &image.unreadable {
            let text = format!("the disk of {} when {} went down: {why}", image.node, image.down);
            verdict.broken("unreadable-image", &[], text);
            continue;
        }
        for (key, (writes, last)) in acknowledged(input, image) {
            verdict.exercised += 1;
            let stored = image.records.get(key).copied().unwrap_or(0);
            if stored < writes {
                let text = format!(
                    "key {key}: {writes} acknowledged writes, the last of them op {last}, but the disk of {} \
                     has {stored} when {} went down",
                    image.node, image.down
                );
                verdict.broken("not-on-both-disks", &[last], text);
            }
        }
    }
    verdict
}

/// Per key: how many writes were acknowledged before the image, and the last of them.
fn acknowledged<'a>(input: &CheckInput<'a>, image: &DiskImage) -> BTreeMap<&'a str, (u64, u64)> {
    let mut writes: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for op in &input.history.ops {
        let counts = matches!(
            op.call,
            Call::Create { .. } | Call::CreateUnnamed { .. } | Call::Rename { .. } | Call::Delete { .. }
        );
        let before = op.done.is_some_and(|done| done <= image.acknowledged_before);
        if let (true, true, Outcome::Ok(_), Some(key)) = (counts, before, &op.outcome, subject(op)) {
            let (count, last) = writes.entry(key).or_default();
            *count += 1;
            *last = op.id;
        }
    }
    writes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Build, S, assert_held, kinds, ok_key, rename};
    use crate::report::Judgement;

    fn with_image(counter: Option<u64>, at: u64) -> Build {
        let mut build = Build::new();
        build.created("k", "n", S);
        build.op(rename("k", "m"), 3 * S, 4 * S, ok_key("k", "m", "active"));
        build.history.images.push(DiskImage {
            node: "db-b".into(),
            down: "db-a".into(),
            acknowledged_before: at,
            records: counter.map(|counter| ("k".to_owned(), counter)).into_iter().collect(),
            unreadable: None,
        });
        build
    }

    #[test]
    fn without_an_image_nothing_is_exercised() {
        assert_eq!(check(&Build::new().input()).judgement(), Judgement::NotExercised);
    }

    #[test]
    fn what_was_acknowledged_later_is_not_asked_for() {
        assert_held(&check(&with_image(Some(1), 3 * S).input()));
        assert_held(&check(&with_image(Some(2), 5 * S).input()));
    }

    #[test]
    fn an_acknowledged_write_that_one_disk_lacks_is_a_violation() {
        assert_eq!(kinds(&check(&with_image(Some(1), 5 * S).input())), ["not-on-both-disks"]);
        assert_eq!(kinds(&check(&with_image(None, 3 * S).input())), ["not-on-both-disks"]);
    }

    #[test]
    fn a_disk_that_cannot_be_read_is_a_violation() {
        let mut build = with_image(None, 5 * S);
        build.history.images[0].unreadable = Some("no table".into());
        assert_eq!(kinds(&check(&build.input())), ["unreadable-image"]);
    }
}
