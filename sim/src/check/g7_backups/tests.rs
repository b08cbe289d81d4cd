//! Hand-written stores: each kind of violation, and its neighbour that is none.

use super::*;
use crate::{
    check::{
        Topology,
        testing::{Build, S, assert_held, create, kinds, ok_key},
    },
    history::{BackupRead, Stop, StoreEvent, StoreWhat},
    report::Judgement,
};

const PLACES: [&str; 2] = ["eu-west-sbg", "eu-west-gra"];
const DAY: &str = "2026-11-26";
const DAY_MS: u64 = 86_400_000;
/// Its noon.
const NOON_MS: u64 = 1_795_694_400_000;

fn judge(build: &Build) -> Verdict {
    let standard = Topology::standard(2, true);
    let topology = Topology { backups_of: Some("eu-west-rbx".into()), ..standard };
    let input = CheckInput { topology: &topology, ..build.input() };
    check(&input, &Timeline::new(&input))
}

struct Written(Build);

impl Written {
    /// A run of 1,000 s that begins at noon.
    fn new() -> Written {
        let mut build = Build::new();
        (build.history.wall_from_ms, build.history.end) = (NOON_MS, 1_000 * S);
        Written(build)
    }

    fn event(&mut self, place: &str, at: Micros, what: StoreWhat) {
        self.0.history.stores.push(StoreEvent { at, store: place.into(), what });
    }

    fn put(&mut self, place: &str, at: Micros, name: &str) {
        let put = StoreWhat::Put { node: "replica".into(), name: name.into(), bytes: 9 };
        self.event(place, at, put);
    }

    /// Backup `number`, made 1 s before `at`; with a snapshot of its own, or a part of the log.
    fn backup(&mut self, place: &str, at: Micros, number: u64, full: bool) -> String {
        let id = format!("{number:032x}");
        let object = if full {
            format!("full/{DAY}/{number:020}-{id}/index")
        } else {
            format!("log/{DAY}/{number:020}-{number:020}-{id}")
        };
        self.put(place, at - S / 2, &object);
        let made_ms = NOON_MS + (at - S) / 1_000;
        let name = format!("manifest/{DAY}/{number:020}-{made_ms:020}-{id}");
        self.put(place, at, &name);
        name
    }

    /// Backups every 240 s in both stores.
    fn regular(&mut self) {
        for place in PLACES {
            for number in 1..=4 {
                self.backup(place, number * 240 * S, number, number == 1);
            }
        }
    }

    fn read(&mut self, place: &str, name: &str, at: Micros, keys: &[&str], trouble: Option<&str>) {
        self.0.history.backups.push(BackupRead {
            at,
            store: place.into(),
            name: name.into(),
            trouble: trouble.map(str::to_owned),
            records: keys.iter().map(|key| ((*key).to_owned(), 1)).collect(),
        });
    }
}

#[test]
fn without_backups_nothing_is_exercised_and_regular_ones_hold() {
    let build = Build::new();
    assert_eq!(check(&build.input(), &Timeline::new(&build.input())).judgement(), Judgement::NotExercised);
    let mut written = Written::new();
    written.regular();
    let verdict = judge(&written.0);
    assert_held(&verdict);
    assert_eq!(verdict.exercised, 8);
}

#[test]
fn a_store_without_a_young_backup_is_found_unless_it_or_the_replica_was_away() {
    let alone = |build: &mut Written| {
        for number in 1..=4 {
            build.backup(PLACES[0], number * 240 * S, number, number == 1);
        }
        build.backup(PLACES[1], 200 * S, 1, true);
    };
    let mut written = Written::new();
    alone(&mut written);
    assert_eq!(kinds(&judge(&written.0)), ["too-old"]);
    let mut written = Written::new();
    written.event(PLACES[1], 210 * S, StoreWhat::Troubled);
    alone(&mut written);
    written.event(PLACES[1], 650 * S, StoreWhat::Well);
    // 25 s later the last late put has arrived; 300 s after that there must be a new one.
    written.0.history.end = 974 * S;
    let verdict = judge(&written.0);
    assert_held(&verdict);
    assert!(verdict.measures["backups_while_the_other_store_was_away_count"] >= 1.0);
    written.0.history.end = 976 * S;
    assert_eq!(kinds(&judge(&written.0)), ["too-old"]);
    let mut written = Written::new();
    alone(&mut written);
    written.0.event(210 * S, What::Down { node: "replica".into(), how: Stop::Kill });
    assert_held(&judge(&written.0));
}

#[test]
fn a_store_that_lost_everything_begins_anew() {
    let mut written = Written::new();
    written.regular();
    written.event(PLACES[0], 961 * S, StoreWhat::Lost);
    assert_held(&judge(&written.0));
    written.0.history.end = 1_450 * S;
    written.backup(PLACES[0], 1_000 * S, 1, true);
    written.backup(PLACES[0], 1_240 * S, 2, false);
    written.backup(PLACES[1], 1_200 * S, 5, false);
    assert_held(&judge(&written.0));
    written.backup(PLACES[0], 1_400 * S, 4, false);
    assert_eq!(kinds(&judge(&written.0)), ["number-skipped"]);
}

#[test]
fn numbers_are_taken_once_where_nothing_was_given_up() {
    let mut written = Written::new();
    written.regular();
    written.put(
        PLACES[0],
        965 * S,
        &format!("manifest/{DAY}/{:020}-{:020}-{:032x}", 4, NOON_MS + 964_000, 99),
    );
    assert_eq!(kinds(&judge(&written.0)), ["number-twice"]);
    written.event(PLACES[0], 999 * S, StoreWhat::Troubled);
    written.0.history.stores.sort_by_key(|event| event.at);
    assert_eq!(kinds(&judge(&written.0)), ["number-twice"]);
    written.event(PLACES[0], 950 * S, StoreWhat::Troubled);
    written.0.history.stores.sort_by_key(|event| event.at);
    assert_held(&judge(&written.0));
}

#[test]
fn only_the_replica_makes_backups_in_two_regions() {
    let mut written = Written::new();
    written.regular();
    let name = format!("log/{DAY}/{:020}-{:020}-{:032x}", 7, 7, 7);
    let put = StoreWhat::Put { node: "db-a".into(), name, bytes: 9 };
    written.event(PLACES[0], 990 * S, put);
    assert_eq!(kinds(&judge(&written.0)), ["not-by-the-replica"]);
    let mut written = Written::new();
    written.regular();
    written.put(PLACES[0], 990 * S, "keyring/00000000-0000-4000-8000-000000000000");
    assert_held(&judge(&written.0));
    written.put(PLACES[0], 990 * S, "something/else");
    assert_eq!(kinds(&judge(&written.0)), ["unknown-object"]);
    let mut written = Written::new();
    written.regular();
    written.put("eu-west-rbx", 990 * S, "something/else");
    assert_eq!(kinds(&judge(&written.0)), ["wrong-region"]);
}

/// Backups of one day, and its key, then nothing: the run goes on for 31 days, the replica away.
fn of_one_day(expire: impl Fn(&mut Written, &str, Vec<String>)) -> Verdict {
    let mut written = Written::new();
    written.0.history.end = 31 * DAY_MS * 1_000;
    written.0.event(999 * S, What::Down { node: "replica".into(), how: Stop::Kill });
    for place in PLACES {
        written.put(place, S, &format!("days/{DAY}-{:016x}.key", 7));
    }
    written.regular();
    written.0.event(30 * DAY_MS * 1_000, What::Up { node: "replica".into() });
    for place in PLACES {
        let log = Log::of(&written.0.history, place);
        let there = log.objects.iter().map(|object| object.name.to_owned()).collect();
        expire(&mut written, place, there);
    }
    let mut verdict = judge(&written.0);
    verdict.violations.retain(|violation| violation.kind != "too-old");
    verdict
}

fn delete(written: &mut Written, place: &str, at_ms: u64, name: String) {
    let node = "replica".to_owned();
    written.event(place, at_ms * 1_000, StoreWhat::Deleted { node, name });
}

#[test]
fn a_day_goes_when_it_is_thirty_days_old_and_its_key_first() {
    // Noon, half a day, thirty days: the last backup was made shortly before that.
    let over = 30 * DAY_MS + 3_600_000;
    let verdict = of_one_day(|written, place, there| {
        there.into_iter().for_each(|name| delete(written, place, over, name));
    });
    assert_held(&verdict);
    assert_eq!(verdict.measures["day_keys_destroyed_count"], 2.0);
    let verdict = of_one_day(|written, place, there| {
        there.into_iter().for_each(|name| delete(written, place, over - 3_600_000, name));
    });
    assert!(kinds(&verdict).iter().all(|kind| *kind == "deleted-early") && !verdict.violations.is_empty());
    let verdict = of_one_day(|written, place, there| {
        for name in there {
            let later = if name.starts_with("days/") { 60_000 } else { 0 };
            delete(written, place, over + later, name);
        }
        written.0.history.stores.sort_by_key(|event| event.at);
    });
    assert!(kinds(&verdict).iter().all(|kind| *kind == "key-outlives") && !verdict.violations.is_empty());
    let verdict = of_one_day(|written, place, there| {
        let rest = there.into_iter().filter(|name| !name.starts_with("days/"));
        rest.for_each(|name| delete(written, place, over, name));
    });
    assert!(kinds(&verdict).contains(&"key-outlives"), "{verdict:?}");
    assert!(kinds(&verdict).contains(&"kept-too-long"), "{verdict:?}");
    let verdict = of_one_day(|_, _, _| {});
    assert!(kinds(&verdict).contains(&"kept-too-long"), "{verdict:?}");
}

/// Two keys, acknowledged at 100 s and 960 s; the last backups are made at 959 s.
fn two() -> (Written, String) {
    let mut written = Written::new();
    written.0.op(create("k", "n"), 99 * S, 100 * S, ok_key("k", "n", "active"));
    written.0.op(create("l", "n"), 959 * S + S / 2, 960 * S, ok_key("l", "n", "active"));
    written.regular();
    let last = Log::of(&written.0.history, PLACES[0]).manifests.last().map(|made| made.name.to_owned());
    (written, last.expect("a backup"))
}

#[test]
fn a_backup_holds_what_was_acknowledged_before_it_was_made() {
    let (mut written, last) = two();
    written.read(PLACES[0], &last, 990 * S, &["k"], None);
    written.read(PLACES[0], &last, 990 * S, &["k", "l"], None);
    assert_held(&judge(&written.0));
    written.read(PLACES[0], &last, 990 * S, &["l"], None);
    assert_eq!(kinds(&judge(&written.0)), ["lacks", "hole"]);
}

#[test]
fn only_what_was_hurt_cannot_be_read_and_that_never() {
    let (mut written, last) = two();
    written.read(PLACES[0], &last, 990 * S, &[], Some("is damaged"));
    assert_eq!(kinds(&judge(&written.0)), ["unreadable"]);
    let (mut written, last) = two();
    written.event(PLACES[0], 970 * S, StoreWhat::Hurt { name: last.clone(), gone: false });
    written.read(PLACES[0], &last, 965 * S, &["k"], None);
    written.read(PLACES[0], &last, 990 * S, &[], Some("is damaged"));
    let verdict = judge(&written.0);
    assert_held(&verdict);
    assert_eq!(verdict.measures["backups_hurt_and_refused_count"], 1.0);
    written.read(PLACES[0], &last, 990 * S, &["k"], None);
    assert_eq!(kinds(&judge(&written.0)), ["damage-unseen"]);
    // The other store has nothing to do with it.
    let (mut written, last) = two();
    written.event(PLACES[1], 970 * S, StoreWhat::Hurt { name: last.clone(), gone: true });
    written.read(PLACES[0], &last, 990 * S, &[], Some("is missing"));
    assert_eq!(kinds(&judge(&written.0)), ["unreadable"]);
}

#[test]
fn a_new_snapshot_stands_on_nothing_that_was_hurt_before() {
    let (mut written, _) = two();
    written.0.history.end = 1_300 * S;
    let first = written.0.history.stores[0].clone();
    let StoreWhat::Put { name, .. } = first.what else { panic!("a put") };
    written.event(PLACES[0], 970 * S, StoreWhat::Hurt { name, gone: true });
    let on_hurt = written.backup(PLACES[0], 1_000 * S, 5, false);
    let anew = written.backup(PLACES[0], 1_100 * S, 6, true);
    written.backup(PLACES[1], 1_100 * S, 5, false);
    written.read(PLACES[0], &on_hurt, 1_200 * S, &[], Some("is missing"));
    assert_held_or_nothing(&judge(&written.0));
    written.read(PLACES[0], &anew, 1_200 * S, &[], Some("is missing"));
    assert_eq!(kinds(&judge(&written.0)), ["unreadable"]);
}

fn assert_held_or_nothing(verdict: &Verdict) {
    assert!(verdict.violations.is_empty(), "{verdict:?}");
}
