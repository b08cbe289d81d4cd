//! Backups come back as they were made, whatever is done to the store or to the process that makes them is noticed, and
//! nothing that a younger backup needs is ever deleted.

use super::{
    testing::{Fate, Fixture, Region, epoch, now, restored, statement},
    *,
};
use crate::{
    env::{Keeping, ObjectError, ObjectName},
    limits::{BACKUP_PART_BYTES, BACKUP_TRIES},
    store::log::Position,
};
use names::DAY_MS;
use proptest::prelude::*;
use std::sync::Arc;

mod expiry;

const INTERVAL_MS: u64 = 240_000;

/// A store with three backups of one day: a full one, one with a log, one without.
fn three() -> (Fixture, Region, Vec<Written>) {
    let (fixture, mut region) = (Fixture::new(), Region::new());
    let mut written = Vec::new();
    for writes in [20, 15, 0] {
        for _ in 0..writes {
            region.write(300, fixture.clock.ms());
        }
        written.push(now(fixture.place.write(&mut region)).expect("written"));
        fixture.pass(INTERVAL_MS);
    }
    (fixture, region, written)
}

#[test]
fn backups_come_back_as_they_were_made() {
    let (fixture, mut region, written) = three();
    assert_eq!(written.iter().map(|one| one.full).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(written.iter().map(|one| one.found.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(written[2].objects, 1, "an idle backup is a manifest");
    let place = fixture.elsewhere();
    let found = now(place.backups()).expect("lists");
    assert_eq!(found, written.iter().map(|one| one.found).collect::<Vec<_>>());
    assert_eq!(restored(&place, found[2]).expect("restores"), region.rows);
    let first = now(place.verify(found[0])).expect("verifies");
    assert_eq!((first.entries, first.position.seq), (0, 20));
    let last = now(place.verify(found[2])).expect("verifies");
    assert_eq!((last.rows, last.entries, last.position), (first.rows, 15, region.position()));
    let (manifest, _) = now(place.manifest(found[2])).expect("reads");
    assert_eq!((manifest.place.as_str(), manifest.lineage), ("eu-west-sbg", region.lineage.clone()));
    // The next day's first is whole again, and its chain goes on.
    fixture.next_day();
    region.write(300, fixture.clock.ms());
    let next = now(place.write(&mut region)).expect("written");
    assert!(next.full && next.found.number == 4 && next.found.day == fixture.today());
    let day = next.found.day.to_string();
    let (manifest, _) = now(place.manifest(next.found)).expect("reads");
    assert!(manifest.full.name.object().as_str().contains(&day));
    let chain = now(place.check_chain()).expect("reads");
    assert_eq!((chain.read, chain.broken, chain.gaps, chain.beside), (4, vec![], vec![], vec![]));
    // By time.
    let made = |at_ms| now(place.newest(Some(at_ms))).map(|found| found.number);
    assert_eq!(now(place.newest(None)).map(|found| found.number), Ok(4));
    assert_eq!(made(found[1].made_ms), Ok(2));
    assert_eq!(made(found[1].made_ms - 1), Ok(1));
    assert_eq!(made(found[0].made_ms - 1), Err(ReadError::None("memory".to_owned())));
}

#[test]
fn an_empty_region_has_a_backup_too() {
    let (fixture, mut region) = (Fixture::new(), Region::new());
    let one = now(fixture.place.write(&mut region)).expect("written");
    assert_eq!(restored(&fixture.place, one.found), Ok(region.rows.clone()));
    region.write(10, 0);
    let two = now(fixture.place.write(&mut region)).expect("written");
    assert_eq!(restored(&fixture.place, two.found), Ok(region.rows));
}

#[test]
fn a_backup_stands_on_nothing_that_is_gone() {
    for gone in ["full/", "days/"] {
        let (fixture, mut region, _) = three();
        // All of it, or the first of it: a store that was emptied while this was put.
        let first = fixture.store.names().into_iter().find(|name| name.as_str().starts_with(gone));
        fixture.store.lock().objects.remove(&first.expect("an object"));
        fixture.pass(1_000);
        region.write(300, fixture.clock.ms());
        let next = now(fixture.place.write(&mut region)).expect("written");
        assert!(next.full && next.broken.is_some() && next.found.number == 4, "{next:?}");
        assert_eq!(restored(&fixture.elsewhere(), next.found).expect("restores"), region.rows);
    }
}

#[test]
fn a_broken_off_backup_leaves_the_one_before_and_the_next_succeeds() {
    for first in [true, false] {
        for applied in [false, true] {
            for puts in 0..6 {
                let (fixture, mut region, _) = three();
                if first {
                    fixture.next_day();
                }
                region.write(300, fixture.clock.ms());
                let before = now(fixture.place.newest(None)).expect("one");
                {
                    let mut memory = fixture.store.lock();
                    memory.puts_left = Some(puts);
                    memory.applies_failed = applied;
                }
                let broken_off = now(fixture.place.write(&mut region));
                fixture.store.lock().puts_left = None;
                let place = fixture.elsewhere();
                now(place.verify(before)).expect("the one before is whole");
                let newest = now(place.newest(None)).expect("one");
                now(place.verify(newest)).expect("whatever is there is whole");
                if let Ok(done) = &broken_off {
                    assert_eq!(done.found, newest);
                } else if !applied {
                    assert_eq!(newest, before);
                }
                fixture.pass(1_000);
                region.write(300, fixture.clock.ms());
                // The same process and another one: both find what there is.
                for place in [&fixture.place, &place] {
                    let next = now(place.write(&mut region)).expect("the next attempt succeeds");
                    assert_eq!(restored(place, next.found).expect("restores"), region.rows);
                }
                let chain = now(place.check_chain()).expect("reads");
                assert_eq!((chain.broken, chain.gaps), (vec![], vec![]));
            }
        }
    }
}

#[test]
fn a_put_is_tried_again_when_the_store_does_not_answer() {
    let (fixture, mut region) = (Fixture::new(), Region::new());
    fixture.store.lock().puts_left = Some(0);
    let error = now(fixture.place.write(&mut region)).expect_err("no store");
    assert!(matches!(error, WriteError::Store(ObjectError::Unavailable { .. })), "{error}");
    assert_eq!(fixture.store.lock().puts, u64::from(BACKUP_TRIES));
}

#[test]
fn a_late_manifest_stands_beside_the_chain() {
    let (fixture, mut region, _) = three();
    region.write(300, 0);
    let late = now(fixture.place.write(&mut region)).expect("written");
    let name = Name::Manifest(late.found).object();
    let object = fixture.store.lock().objects.remove(&name).expect("there");
    fixture.pass(5_000);
    region.write(300, 0);
    let next = now(fixture.place.write(&mut region)).expect("written");
    assert_eq!(next.found.number, late.found.number);
    fixture.pass(5_000);
    now(fixture.place.write(&mut region)).expect("written");
    fixture.store.lock().objects.insert(name, object);
    let place = fixture.elsewhere();
    let chain = now(place.check_chain()).expect("reads");
    assert_eq!((chain.broken, chain.gaps, chain.beside), (vec![], vec![], vec![late.found]));
    now(place.verify(late.found)).expect("it is a backup all the same");
    let after = now(place.write(&mut region)).expect("written");
    assert_eq!(restored(&place, after.found), Ok(region.rows));
}

#[test]
fn another_history_begins_with_a_snapshot_of_its_own() {
    let (fixture, mut region, _) = three();
    let mut other = Region::new();
    for _ in 0..40 {
        other.write(200, 0);
    }
    other.lineage.epochs.insert(0, (epoch(9), Position::ORIGIN));
    let written = now(fixture.place.write(&mut other)).expect("written");
    assert!(written.full);
    assert_eq!(restored(&fixture.place, written.found), Ok(other.rows.clone()));
    // One that ends before the newest backup, in the same epoch, is a disk of the past, and hides nothing that is there.
    let behind = now(fixture.place.write(&mut region)).expect_err("behind");
    let (there, here) = (other.position().seq, region.position().seq);
    assert_eq!(behind, WriteError::Behind { number: written.found.number, there, here });
    let anew = |region: &mut Region, no: u64| {
        let begins = region.position();
        region.lineage.epochs.push((epoch(no), begins));
        region.lineage.epoch = statement(epoch(no));
    };
    // A log that forgot what the store ends with, and one that went back: regions that were made anew.
    anew(&mut region, 2);
    let before = now(fixture.place.write(&mut region)).expect("written");
    for _ in 0..3 {
        region.write(200, 0);
    }
    region.forgotten = before.position.seq + 1;
    assert!(now(fixture.place.write(&mut region)).expect("written").full);
    let mut back = Region::new();
    anew(&mut back, 3);
    back.write(1, 0);
    assert!(now(fixture.place.write(&mut back)).expect("written").full);
    // The same number of entries, other ones.
    let mut twin = Region::new();
    anew(&mut twin, 4);
    twin.write(2, 0);
    assert!(now(fixture.place.write(&mut twin)).expect("written").full);
    // So does a new epoch of the same log: a region that was made anew may have more than its log tells.
    anew(&mut twin, 5);
    twin.write(3, 0);
    let written = now(fixture.place.write(&mut twin)).expect("written");
    assert!(written.full);
    assert_eq!(restored(&fixture.place, written.found), Ok(twin.rows.clone()));
    twin.write(3, 0);
    assert!(!now(fixture.place.write(&mut twin)).expect("written").full);
}

#[test]
fn a_lost_store_and_a_damaged_newest_backup_begin_anew() {
    let (fixture, mut region, written) = three();
    let name = Name::Manifest(written[2].found).object();
    fixture.store.lock().objects.get_mut(&name).expect("there")[30] ^= 1;
    let place = fixture.elsewhere();
    let next = now(place.write(&mut region)).expect("written");
    assert!(next.full && next.found.number == 4);
    assert_eq!(next.broken.map(|(found, _)| found), Some(written[2].found));
    assert_eq!(restored(&place, next.found), Ok(region.rows.clone()));
    let chain = now(place.check_chain()).expect("reads");
    assert_eq!((chain.broken.len(), chain.gaps), (1, vec![next.found]));
    fixture.store.lock().objects.clear();
    let next = now(fixture.place.write(&mut region)).expect("written");
    assert!(next.full && next.found.number == 1);
    assert_eq!(restored(&fixture.elsewhere(), next.found), Ok(region.rows));
}

#[test]
fn a_clock_that_goes_back_over_midnight_loses_no_order() {
    let (fixture, mut region, _) = three();
    fixture.next_day();
    let ahead = now(fixture.place.write(&mut region)).expect("written");
    fixture.clock.set(ahead.found.made_ms - DAY_MS / 2);
    region.write(300, 0);
    for place in [&fixture.place, &fixture.elsewhere()] {
        let back = now(place.write(&mut region)).expect("written");
        assert!(back.found.number > ahead.found.number && back.found.day < ahead.found.day);
        assert_eq!(now(place.newest(None)), Ok(back.found));
        assert_eq!(restored(place, back.found), Ok(region.rows.clone()));
    }
}

#[test]
fn whatever_is_changed_in_a_store_is_noticed() {
    let (fixture, mut region, _) = three();
    let newest = now(fixture.place.newest(None)).expect("one");
    // Objects of the same kinds that are whole, but others.
    fixture.next_day();
    for _ in 0..2 {
        region.write(300, 0);
        now(fixture.place.write(&mut region)).expect("written");
    }
    let whole = fixture.store.lock().objects.clone();
    let place = fixture.elsewhere();
    let verify = || now(place.verify(newest));
    verify().expect("whole");
    let needed: Vec<&ObjectName> = whole.keys().filter(|name| name.as_str().contains("2026-11-26")).collect();
    assert!(needed.len() >= 7, "{needed:?}");
    let change = |name: &ObjectName, object: Option<Vec<u8>>, what: &str| {
        let mut altered = whole.clone();
        match object {
            Some(object) => drop(altered.insert(name.clone(), object)),
            None => drop(altered.remove(name)),
        }
        fixture.store.lock().objects = altered;
        assert!(verify().is_err(), "{name}: {what}");
    };
    for name in &needed {
        let object = &whole[*name];
        change(name, None, "missing");
        for at in [0, 7, 9, object.len() / 2, object.len() - 1] {
            let mut altered = object.clone();
            altered[at] ^= 0x40;
            change(name, Some(altered), "a bit");
            change(name, Some(object[..at].to_vec()), "cut off");
        }
        change(name, Some([&object[..], &[0]].concat()), "longer");
        for other in whole.keys().filter(|other| other != name) {
            change(name, Some(whole[other].clone()), "another object");
        }
    }
}

#[test]
fn a_day_without_its_key_is_unreadable_and_another_backup_key_opens_nothing() {
    let (fixture, _, written) = three();
    let key = fixture.store.names().into_iter().find(|name| name.as_str().starts_with("days/"));
    let key = key.expect("a day's key");
    let object = fixture.store.lock().objects.remove(&key).expect("there");
    let found = written[0].found;
    let error = now(fixture.elsewhere().open(found)).err().expect("unreadable");
    assert!(matches!(error, ReadError::NoDayKey { .. }), "{error}");
    assert!(now(fixture.place.verify(found)).is_err(), "verification forgets keys");
    fixture.store.lock().objects.insert(key, object);
    let other = Arc::new(BackupKey::generate(&fixture.env).expect("entropy"));
    let place =
        BackupPlace::new(fixture.env.clone(), Arc::new(fixture.store.clone()), other, testing::REGION);
    let error = now(place.verify(found)).expect_err("another key");
    assert!(matches!(error, ReadError::OtherBackupKey(_)), "{error}");
    let mut region = Region::new();
    let error = now(place.write(&mut region)).expect_err("another key writes nothing here");
    assert!(matches!(error, WriteError::Read(ReadError::OtherBackupKey(_))), "{error}");
    let elsewhere = BackupPlace::new(
        fixture.env.clone(),
        Arc::new(fixture.store.clone()),
        fixture.key.clone(),
        "eu-west-gra",
    );
    assert!(now(elsewhere.verify(found)).is_err(), "another region");
}

#[test]
fn a_store_that_keeps_versions_is_refused() {
    let fixture = Fixture::new();
    assert_eq!(now(fixture.place.keeps()), Ok(None));
    for keeping in [Keeping { versions: true, locks: false }, Keeping { versions: false, locks: true }] {
        fixture.store.lock().keeping = keeping;
        assert!(matches!(now(fixture.place.keeps()), Ok(Some(_))));
    }
}

#[test]
fn large_backups_are_cut_into_objects_of_bounded_size() {
    // `MemoryStore` refuses objects above the bound.
    let (fixture, mut region) = (Fixture::new(), Region::new());
    region.page = 100;
    let record = 200 << 10;
    let several = 2 * BACKUP_PART_BYTES / record + 10;
    for _ in 0..several {
        region.write(record, 0);
    }
    let full = now(fixture.place.write(&mut region)).expect("written");
    assert!(full.objects >= 4, "{full:?}");
    for _ in 0..several {
        region.write(record, 0);
    }
    let log = now(fixture.place.write(&mut region)).expect("written");
    assert!(!log.full && log.objects >= 4, "{log:?}");
    assert_eq!(restored(&fixture.place, log.found), Ok(region.rows.clone()));
    let backup = now(fixture.place.open(log.found)).expect("opens");
    let mut rows = backup.rows();
    loop {
        let page = now(rows.next()).expect("rows");
        let bytes: usize = page.iter().map(|(key, row)| key.len() + row.len()).sum();
        assert!(bytes < 2 << 20, "a page has {bytes} bytes");
        if page.is_empty() {
            break;
        }
    }
    assert_eq!(now(rows.next()), Ok(Vec::new()), "the end stays the end");
}

#[test]
fn two_stores_have_chains_of_their_own() {
    let (one, other) = (Fixture::new(), Fixture::new());
    let mut region = Region::new();
    region.write(100, 0);
    let write = |region: &Region| {
        let (mut first, mut second) = (region.clone(), region.clone());
        [now(one.place.write(&mut first)), now(other.place.write(&mut second))]
    };
    assert!(write(&region).iter().all(Result::is_ok));
    other.store.lock().puts_left = Some(0);
    region.write(100, 0);
    let [first, second] = write(&region);
    assert!(first.is_ok() && second.is_err());
    other.store.lock().puts_left = None;
    region.write(100, 0);
    let [first, second] = write(&region).map(|written| written.expect("written"));
    assert_eq!((first.found.number, second.found.number), (3, 2));
    for (fixture, written) in [(&one, first), (&other, second)] {
        assert_eq!(restored(&fixture.elsewhere(), written.found), Ok(region.rows.clone()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_becomes_of_puts_each_manifest_is_a_whole_backup(
        fates in proptest::collection::vec((0u8..40).prop_map(Fate::drawn), 0..150),
        spans in proptest::collection::vec(1u64..5 * 3_600_000, 1..12),
        arrive in proptest::collection::vec(proptest::bool::ANY, 12),
        another in proptest::collection::vec(proptest::bool::ANY, 12),
    ) {
        let (fixture, mut region) = (Fixture::new(), Region::new());
        fixture.store.lock().fates = fates;
        let mut places = [fixture.place.clone(), fixture.elsewhere()];
        for (round, span) in spans.into_iter().enumerate() {
            region.write(100, fixture.clock.ms());
            // A process that has a memory, or one that was just started.
            if another[round] {
                places[1] = fixture.elsewhere();
                places.swap(0, 1);
            }
            if let Ok(written) = now(places[0].write(&mut region)) {
                prop_assert_eq!(restored(&fixture.elsewhere(), written.found), Ok(region.rows.clone()));
            }
            if arrive[round] {
                let memory = &mut *fixture.store.lock();
                memory.objects.extend(memory.late.drain(..));
            }
            fixture.pass(span);
        }
        {
            let memory = &mut *fixture.store.lock();
            memory.fates.clear();
            memory.objects.extend(memory.late.drain(..));
        }
        let last = now(places[0].write(&mut region)).expect("written");
        prop_assert_eq!(restored(&fixture.elsewhere(), last.found), Ok(region.rows.clone()));
        for found in now(places[0].backups()).expect("lists") {
            let verified = now(places[0].verify(found));
            prop_assert!(verified.is_ok(), "{:?}", verified);
        }
        let chain = now(places[0].check_chain()).expect("reads");
        prop_assert_eq!((chain.broken, chain.gaps), (vec![], vec![]));
    }
}

/// What a hostile writer who has the key might put into an object.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(proptest::num::u8::ANY, 0..200)
}

proptest! {
    #[test]
    fn texts_that_are_none_are_refused_without_a_panic(
        noise in noise(), at in 0usize.., bit in 0u8..8, seq in proptest::num::u64::ANY,
    ) {
        let (fixture, region, written) = three();
        let (manifest, _) = now(fixture.place.manifest(written[2].found)).expect("reads");
        let backup = now(fixture.place.open(written[2].found)).expect("opens");
        let read = |text: &[u8]| Manifest::read(text, testing::REGION, written[2].found);
        prop_assert_eq!(read(&manifest.text()), Ok(manifest.clone()));
        prop_assert!(read(&noise).is_err());
        let mut altered = manifest.text();
        let place = at % altered.len();
        altered[place] ^= 1 << bit;
        if let Ok(other) = read(&altered) {
            prop_assert!(other.check().is_ok());
        }
        let index = backup.snapshot().text();
        prop_assert_eq!(FullIndex::read(&index), Ok(backup.snapshot().clone()));
        let _ = FullIndex::read(&noise);
        let text = |item: &[u8]| [&(item.len() as u32).to_be_bytes()[..], item].concat();
        let from = Position { seq, hash: [0; 32] };
        for text in [noise.clone(), text(&noise), text(&region.log[0].bytes)] {
            let mut entries = segment::SegmentReader::new(text.clone(), from);
            while let Ok(Some(_)) = entries.next_entry() {}
            let mut rows = full::PartReader::new(text);
            while rows.next_rows(&mut None).is_ok_and(|rows| !rows.is_empty()) {}
        }
    }
}

/// What a day of backups costs; printed with `--nocapture`, written down in docs/backup-format.md.
#[test]
#[expect(clippy::print_stdout, reason = "figures for a person")]
fn bytes_per_backup_are_what_the_document_says() {
    let (fixture, mut region) = (Fixture::new(), Region::new());
    let put = |fixture: &Fixture, region: &mut Region| {
        fixture.pass(INTERVAL_MS);
        let written = now(fixture.place.write(region)).expect("written");
        (written.bytes, written.objects)
    };
    for _ in 0..100 {
        region.write(1_024, fixture.clock.ms());
    }
    region.page = 1_000;
    let full = put(&fixture, &mut region);
    let lists = fixture.store.lock().lists;
    let idle = put(&fixture, &mut region);
    let lists = fixture.store.lock().lists - lists;
    for _ in 0..2_400 {
        region.write(1_024, fixture.clock.ms());
    }
    let busy = put(&fixture, &mut region);
    println!("first of a day, 80 records of 1 KiB: {full:?} (bytes, objects)");
    println!("idle: {idle:?}, {lists} listings; 2,400 writes of 1 KiB: {busy:?}");
    println!("{} bytes per write over its 1,024", (busy.0 - idle.0) / 2_400 - 1_024);
    assert_eq!(lists, 3);
    assert!(idle.0 < 1_200 && idle.1 == 1, "{idle:?}");
    assert!(busy.0 < 2_400 * 1_024 * 5 / 4 && busy.1 == 2, "{busy:?}");
}

#[test]
fn nothing_in_a_store_shows_what_was_backed_up() {
    let (fixture, region, _) = three();
    let needles: Vec<Vec<u8>> = region.rows.values().map(|row| row[60..92].to_vec()).collect();
    let objects = fixture.store.lock().objects.clone();
    let shown = |object: &Vec<u8>| {
        needles.iter().any(|needle| object.windows(needle.len()).any(|window| window == needle))
    };
    assert!(!objects.values().any(shown));
}
