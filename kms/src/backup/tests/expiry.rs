//! Retention: a day goes as a whole when its last backup is old enough, keys first, and nothing else goes.

use super::{
    super::{
        testing::{Fixture, Region, now},
        *,
    },
    three,
};
use crate::{
    env::{Listed, ObjectName},
    limits::BACKUP_KEEP_MS,
};
use names::DAY_MS;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Days of backups at an interval of three hours, with failures in between, as drawn.
fn days_of_backups(days: u64, failures: &[bool]) -> (Fixture, Region) {
    let (fixture, mut region) = (Fixture::new(), Region::new());
    let mut failures = failures.iter().cycle();
    for _ in 0..days * 8 {
        region.write(50, fixture.clock.ms());
        let fails = failures.next() == Some(&true);
        fixture.store.lock().puts_left = fails.then_some(1);
        let written = now(fixture.place.write(&mut region));
        assert!(written.is_ok() || fails);
        fixture.pass(3 * 3_600_000);
    }
    fixture.store.lock().puts_left = None;
    (fixture, region)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn nothing_that_a_younger_backup_needs_is_deleted(
        days in 1u64..6, failures in proptest::collection::vec(proptest::bool::weighted(0.2), 1..9), later_ms in 0u64..8 * DAY_MS,
    ) {
        let (fixture, _) = days_of_backups(days, &failures);
        let place = fixture.elsewhere();
        let all = now(place.backups()).expect("lists");
        let now_ms = fixture.clock.ms() + BACKUP_KEEP_MS - 2 * DAY_MS + later_ms;
        fixture.clock.set(now_ms);
        let expired = now(place.expire(now_ms)).expect("lists");
        prop_assert_eq!((expired.keys_left, expired.left), (vec![], vec![]));
        let again = now(place.expire(now_ms)).expect("lists");
        prop_assert_eq!(again.destroyed, 0);
        let left: BTreeSet<Found> = now(place.backups()).expect("lists").into_iter().collect();
        for found in all {
            let expires = expires_ms(found.day, Some(found.made_ms));
            if now_ms < expires {
                prop_assert!(now(place.verify(found)).is_ok(), "{:?} is not whole", found);
            }
            // A day later even the last of its day is gone.
            if now_ms >= expires + DAY_MS {
                prop_assert!(!left.contains(&found) && now(place.verify(found)).is_err());
            }
        }
        let end_ms = now_ms + BACKUP_KEEP_MS + DAY_MS;
        now(place.expire(end_ms)).expect("lists");
        now(place.expire(end_ms)).expect("lists");
        prop_assert_eq!(fixture.store.names(), Vec::new());
    }

    #[test]
    fn a_plan_is_sane_whatever_is_listed(names in proptest::collection::vec("(days|full|log|manifest|keyring|tombstones|x)/[-0-9a-f/]{1,40}", 0..20), now_ms in 0u64..) {
        let names: BTreeSet<ObjectName> = names.into_iter().filter_map(|name| ObjectName::new(name).ok()).collect();
        let listed: Vec<Listed> = names.iter().map(|name| Listed { name: name.clone(), bytes: 1 }).collect();
        let plan = plan(&listed, now_ms);
        for name in plan.destroy.iter().chain(&plan.delete) {
            prop_assert!(Name::read(name).is_some());
        }
        for name in &plan.unknown {
            prop_assert!(!plan.delete.contains(name) && !name.as_str().starts_with(KEYRING) && !name.as_str().starts_with(TOMBSTONES));
        }
    }
}

#[test]
fn a_day_key_that_cannot_be_destroyed_is_told_and_found_again() {
    let (fixture, _) = days_of_backups(1, &[false]);
    let beside = [keyring(uuid::Uuid::nil()), ObjectName::new("tombstones/7").expect("a name")];
    for name in &beside {
        fixture.store.lock().objects.insert(name.clone(), vec![1]);
    }
    let stranger = ObjectName::new("readme").expect("a name");
    fixture.store.lock().objects.insert(stranger.clone(), vec![1]);
    let late_ms = fixture.clock.ms() + BACKUP_KEEP_MS + DAY_MS;
    fixture.store.lock().refuses_deletes = true;
    let expired = now(fixture.place.expire(late_ms)).expect("lists");
    assert_eq!((expired.destroyed, expired.deleted), (0, 0));
    assert!(!expired.keys_left.is_empty() && !expired.left.is_empty());
    assert_eq!(expired.unknown, std::slice::from_ref(&stranger));
    fixture.store.lock().refuses_deletes = false;
    let expired = now(fixture.place.expire(late_ms)).expect("lists");
    assert!(expired.destroyed > 0 && expired.keys_left.is_empty());
    let manifests = now(fixture.place.backups()).expect("lists");
    assert!(!manifests.is_empty(), "manifests tell of the day until its keys are gone");
    assert!(now(fixture.place.verify(manifests[0])).is_err(), "which is unreadable");
    let one_more = now(fixture.place.expire(late_ms)).expect("lists");
    assert_eq!(one_more.destroyed, 0);
    let left = fixture.store.names();
    assert_eq!(left, [&beside[..1], &[stranger], &beside[1..]].concat());
}

#[test]
fn backups_from_the_future_are_kept_and_told() {
    let (fixture, _, written) = three();
    let expired = now(fixture.place.expire(1)).expect("lists");
    assert_eq!((expired.destroyed, expired.deleted, expired.from_future.len()), (0, 0, written.len()));
}
