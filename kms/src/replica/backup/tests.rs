//! The schedule on a clock that goes to the next thing that somebody waits for, with stores in memory.

use super::{Backups, Keeper, Keys, LOOK, Origin, RETRY_MAX, Stood, anchor::Logged, look_after};
use crate::{
    backup::{
        BackupKey, BackupPlace, Source, keyring,
        testing::{MemoryStore, NOON_MS, REGION, Region, now},
    },
    crypto::testing::{counting, operator_key},
    env::{BoxFuture, Clock, Env, Keeping, Mono, ObjectError, Objects, StoreAt, StoreConfig, Stores},
    limits::ms,
    store::log::Position,
};
use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::sync::Notify;
use uuid::Uuid;

const INTERVAL_MS: u64 = 240_000;
const DAY_MS: u64 = 86_400_000;

/// Stands still until it is told to go on; remembers until when somebody sleeps.
#[derive(Default)]
struct HandTime {
    now: Mutex<Duration>,
    sleepers: Mutex<Vec<(Duration, Waker)>>,
}

impl HandTime {
    fn at(&self) -> Duration {
        *self.now.lock().expect("no panic")
    }

    /// To the next moment that somebody waits for, not beyond `until`; false if there is none.
    fn go_on(&self, until: Duration) -> bool {
        let sleepers = std::mem::take(&mut *self.sleepers.lock().expect("no panic"));
        let now = self.at();
        let next = sleepers.iter().map(|(at, _)| *at).filter(|at| *at > now).min().filter(|at| *at <= until);
        *self.now.lock().expect("no panic") = next.unwrap_or(until);
        sleepers.into_iter().for_each(|(_, waker)| waker.wake());
        next.is_some()
    }
}

struct Hand(Arc<HandTime>);

impl Clock for Hand {
    fn now(&self) -> Mono {
        Mono(self.0.at())
    }
    fn wall(&self) -> Duration {
        ms(NOON_MS) + self.0.at()
    }
    fn sleep_until(&self, at: Mono) -> BoxFuture<'static, ()> {
        let time = self.0.clone();
        Box::pin(poll_fn(move |context| {
            if time.at() >= at.0 {
                return Poll::Ready(());
            }
            time.sleepers.lock().expect("no panic").push((at.0, context.waker().clone()));
            Poll::Pending
        }))
    }
}

/// One store in memory for each region.
struct Two(BTreeMap<String, MemoryStore>);

impl Stores for Two {
    fn open<'a>(&'a self, config: &'a StoreConfig) -> BoxFuture<'a, Result<Arc<dyn Objects>, ObjectError>> {
        let store: Arc<dyn Objects> = Arc::new(self.0[&config.region].clone());
        Box::pin(async { Ok(store) })
    }
}

/// A region that is written to by hand; nothing to back up while there is no region.
#[derive(Default)]
struct Fake {
    region: Mutex<Option<Region>>,
    keyring: Mutex<BTreeMap<Uuid, Vec<u8>>>,
    ended: Mutex<BTreeMap<Uuid, Vec<u8>>>,
    keys_gone: Notify,
}

impl Origin for Fake {
    fn stand(&self) -> BoxFuture<'_, Result<Stood, String>> {
        let region = self.region.lock().expect("no panic").clone();
        let sealed = self.keyring.lock().expect("no panic").clone();
        let ended = self.ended.lock().expect("no panic").clone();
        let keys = Arc::new(Keys { sealed, ended, operator: operator_key().verifier() });
        Box::pin(async move {
            let region = region.ok_or("blank")?;
            let sources = Box::new(move || Box::new(region.clone()) as Box<dyn Source>);
            Ok(Stood { sources, keys, mark: 0 })
        })
    }

    fn log(&self, after: Option<(u64, Position)>) -> BoxFuture<'_, Option<Logged>> {
        let region = self.region.lock().expect("no panic").clone();
        Box::pin(async move {
            let (log, from) = (region?.log, after.map_or(Position::ORIGIN, |(_, at)| at));
            let entries: Vec<_> = log.into_iter().skip(from.seq as usize).collect();
            let end = entries.last().map_or(from, |entry| entry.position);
            Some(Logged { mark: 0, end, entries })
        })
    }

    fn gone(&self, _mark: u64) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn keys_gone(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.keys_gone.notified())
    }
}

struct World {
    time: Arc<HandTime>,
    backups: Backups,
    origin: Fake,
    stores: [MemoryStore; 2],
    places: [BackupPlace; 2],
}

const PLACES: [&str; 2] = ["eu-west-sbg", "eu-west-gra"];

impl World {
    fn new() -> World {
        let time = Arc::new(HandTime::default());
        let stores = [MemoryStore::default(), MemoryStore::default()];
        let named = PLACES.map(str::to_owned).into_iter().zip(stores.clone()).collect();
        let env = Env { clock: Arc::new(Hand(time.clone())), stores: Arc::new(Two(named)), ..counting() };
        let key = Arc::new(BackupKey::generate(&env).expect("entropy"));
        let config =
            |place: &str| StoreConfig { region: place.to_owned(), at: StoreAt::Directory("unused".into()) };
        let keeper = |place: &&str| Arc::new(Keeper::new(&env, &config(place), &key, REGION));
        let backups = Backups {
            env: env.clone(),
            interval: ms(INTERVAL_MS),
            stores: PLACES.iter().map(keeper).collect(),
            verifying: Mutex::default(),
        };
        let place =
            |store: &MemoryStore| BackupPlace::new(env.clone(), Arc::new(store.clone()), key.clone(), REGION);
        let places = [place(&stores[0]), place(&stores[1])];
        let origin = Fake {
            region: Mutex::new(Some(Region::new())),
            keyring: Mutex::default(),
            ended: Mutex::default(),
            keys_gone: Notify::new(),
        };
        World { time, backups, origin, stores, places }
    }

    /// Makes backups for so long, then stops as a process stops.
    fn pass(&self, span: Duration) {
        let until = self.time.at() + span;
        let mut work = pin!(look_after(&self.backups, &self.origin));
        loop {
            assert!(work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            if !self.time.go_on(until) {
                return;
            }
        }
    }

    fn write(&self) {
        let mut region = self.origin.region.lock().expect("no panic");
        region.as_mut().expect("a region").write(100, NOON_MS);
    }

    /// When the backups of a store were made, milliseconds since noon.
    fn made(&self, store: usize) -> Vec<u64> {
        let found = now(self.places[store].backups()).expect("lists");
        found.iter().map(|found| found.made_ms - NOON_MS).collect()
    }
}

#[test]
fn both_stores_get_a_backup_every_interval_from_start_to_start() {
    let world = World::new();
    world.write();
    world.pass(ms(3 * INTERVAL_MS + 1));
    for store in [0, 1] {
        assert_eq!(world.made(store), [0, 1, 2, 3].map(|number| number * INTERVAL_MS));
        let newest = now(world.places[store].newest(None)).expect("a backup");
        assert_eq!(now(world.places[store].verify(newest)).map(|verified| verified.rows), Ok(1));
        let (manifest, _) = now(world.places[store].manifest(newest)).expect("reads");
        assert_eq!((manifest.newest_ms, manifest.position.seq), (NOON_MS, 1));
    }
    let status = world.backups.status(&[]);
    assert_eq!(status.iter().map(|store| store.store.as_str()).collect::<Vec<_>>(), PLACES);
    for store in status {
        assert_eq!((store.number, store.position, store.full, store.age_ms), (4, 1, false, Some(1)));
        assert_eq!((store.trouble, store.alarm), (None, None));
    }
    // Another process goes on from what there is.
    world.pass(ms(1));
    assert_eq!(world.made(0).len(), 5);
}

#[test]
fn a_store_that_is_down_keeps_nothing_from_the_other_and_both_are_complete_again() {
    let world = World::new();
    world.stores[1].lock().puts_left = Some(0);
    world.write();
    world.pass(ms(2 * INTERVAL_MS + 1));
    assert_eq!(world.made(0), [0, INTERVAL_MS, 2 * INTERVAL_MS]);
    assert_eq!(world.made(1), [0; 0]);
    let status = world.backups.status(&[]);
    assert_eq!((status[0].number, &status[0].trouble), (3, &None));
    assert_eq!((status[1].number, status[1].age_ms), (0, None));
    assert!(status[1].trouble.as_ref().is_some_and(|why| why.contains("does not answer")), "{status:?}");
    assert_eq!(status[1].alarm, None);

    world.stores[1].lock().puts_left = None;
    world.write();
    let back = world.time.at();
    world.pass(RETRY_MAX + ms(2_000));
    let made = world.made(1);
    assert_eq!(made.len(), 1, "it is tried again within {RETRY_MAX:?}");
    assert!(made[0] <= u64::try_from((back + RETRY_MAX).as_millis()).expect("small") + 2_000);
    let status = world.backups.status(&[]);
    assert_eq!((status[1].position, &status[1].trouble), (2, &None));
    // They fall in with each other again.
    world.pass(ms(2 * INTERVAL_MS));
    let (one, other) = (world.made(0), world.made(1));
    assert_eq!(one[one.len() - 2..], other[other.len() - 2..]);
    for store in [0, 1] {
        let newest = now(world.places[store].newest(None)).expect("a backup");
        assert_eq!(now(world.places[store].verify(newest)).map(|verified| verified.position.seq), Ok(2));
    }
}

#[test]
fn a_key_that_nobody_ended_is_never_deleted() {
    let world = World::new();
    *world.origin.region.lock().expect("no panic") = None;
    let domain = keyring(Uuid::from_u128(7));
    world.stores[0].lock().objects.insert(domain.clone(), vec![7]);
    world.pass(ms(INTERVAL_MS));
    assert_eq!(world.stores[0].names(), std::slice::from_ref(&domain));
    assert_eq!(world.backups.status(&[])[0].trouble.as_deref(), Some("blank"));
    *world.origin.region.lock().expect("no panic") = Some(Region::new());
    world.pass(LOOK);
    // The region does not have it, and nobody has said why: its copy may have lost it.
    assert!(world.stores[0].names().contains(&domain));
    let status = &world.backups.status(&[])[0];
    assert!(status.alarm.as_ref().is_some_and(|why| why.contains("has lost the keys")), "{status:?}");
    assert_eq!((status.number, &status.trouble), (1, &None), "there is a backup all the same");
    world.origin.ended.lock().expect("no panic").insert(Uuid::from_u128(7), vec![8]);
    world.pass(ms(INTERVAL_MS));
    assert!(!world.stores[0].names().contains(&domain), "its domain's service has ended");
    assert_eq!(world.backups.status(&[])[0].alarm, None);
}

#[test]
fn keys_of_domains_come_before_the_backup_and_go_when_their_service_has_ended() {
    let world = World::new();
    let [one, two] = [1, 2].map(Uuid::from_u128);
    world.origin.keyring.lock().expect("no panic").insert(one, vec![1]);
    // The key's put works, nothing after it.
    world.stores[0].lock().puts_left = Some(1);
    world.pass(ms(1));
    assert_eq!(world.stores[0].names(), [keyring(one)]);
    world.stores[0].lock().puts_left = None;
    world.origin.keyring.lock().expect("no panic").insert(two, vec![2]);
    world.pass(ms(1));
    assert!(world.stores.iter().all(|store| store.names().contains(&keyring(two))));
    world.origin.keyring.lock().expect("no panic").remove(&one);
    world.origin.ended.lock().expect("no panic").insert(one, vec![9]);
    world.stores[1].lock().refuses_deletes = true;
    world.pass(ms(1_600));
    let status = world.backups.status(&[]);
    assert!(!world.stores[0].names().contains(&keyring(one)));
    assert!(world.stores[1].names().contains(&keyring(one)));
    assert_eq!(status[0].alarm, None);
    assert!(status[1].alarm.as_ref().is_some_and(|why| why.contains(&one.to_string())), "{status:?}");
    assert!(status[1].trouble.is_none(), "there is a backup all the same: {status:?}");
    world.stores[1].lock().refuses_deletes = false;
    world.pass(ms(INTERVAL_MS));
    assert!(!world.stores[1].names().contains(&keyring(one)));
    assert_eq!(world.backups.status(&[])[1].alarm, None);
}

#[test]
fn a_store_that_keeps_versions_is_not_used_and_is_looked_at_again() {
    let world = World::new();
    world.stores[0].lock().keeping = Keeping { versions: true, locks: false };
    world.pass(ms(INTERVAL_MS + 1));
    assert_eq!(world.stores[0].names(), []);
    assert_eq!(world.made(1).len(), 2);
    let status = world.backups.status(&[]);
    assert!(status[0].alarm.as_ref().is_some_and(|why| why.contains("versions")), "{status:?}");
    world.stores[0].lock().keeping = Keeping::default();
    world.pass(ms(INTERVAL_MS));
    let status = world.backups.status(&[]);
    assert_eq!((&status[0].alarm, &status[0].trouble), (&None, &None));
    assert!(status[0].number >= 1);
}

#[test]
fn a_new_day_begins_with_a_whole_backup_and_what_has_expired_goes() {
    let world = World::new();
    world.write();
    world.pass(ms(DAY_MS / 2 + 2_000));
    let made = world.made(0);
    let first = made.iter().find(|made| **made >= DAY_MS / 2).expect("a backup of the new day");
    assert!(*first <= DAY_MS / 2 + 1_000, "right after midnight: {first}");
    assert!(world.backups.status(&[])[0].full);
    // 31 days later, on another process's watch: the days are gone, their keys first.
    world.stores[0].lock().refuses_deletes = true;
    *world.time.now.lock().expect("no panic") += ms(31 * DAY_MS);
    world.pass(ms(20_000));
    let status = world.backups.status(&[]);
    assert!(status[0].alarm.as_ref().is_some_and(|why| why.contains("days/")), "{status:?}");
    assert_eq!(status[1].alarm, None);
    let old =
        |store: &MemoryStore| store.names().iter().filter(|name| name.as_str().starts_with("days/")).count();
    assert_eq!((old(&world.stores[0]), old(&world.stores[1])), (3, 1));
    world.stores[0].lock().refuses_deletes = false;
    world.pass(ms(INTERVAL_MS * 2));
    assert_eq!((old(&world.stores[0]), &world.backups.status(&[])[0].alarm), (1, &None));
}

#[test]
fn tombstones_are_anchored_soon_in_each_store_and_once() {
    let world = World::new();
    world.write();
    world.pass(ms(2_000));
    world.stores[1].lock().puts_left = Some(0);
    world.origin.region.lock().expect("no panic").as_mut().expect("a region").destroy(NOON_MS + 1_000);
    world.pass(ms(3_000));
    let anchors = |store: usize| now(world.places[store].anchors()).expect("lists");
    assert_eq!((anchors(0).len(), anchors(1).len()), (1, 0), "long before the next backup");
    let anchor = now(world.places[0].anchor(anchors(0)[0])).expect("reads");
    assert_eq!((anchor.position.seq, anchor.at_ms, anchor.tombstones.len()), (2, NOON_MS + 1_000, 1));
    let status = world.backups.status(&[]);
    assert_eq!(status[0].trouble, None);
    assert!(status[1].trouble.as_ref().is_some_and(|why| why.contains("1 tombstones are not")), "{status:?}");
    world.stores[1].lock().puts_left = None;
    world.pass(ms(10_000));
    assert_eq!(now(world.places[1].anchor(anchors(1)[0])), Ok(anchor));
    assert_eq!(world.backups.status(&[])[1].trouble, None);
    // Another process looks at the whole log, and puts only what is missing.
    let puts = world.stores[0].lock().puts;
    world.stores[1].lock().objects.retain(|name, _| !name.as_str().starts_with("tombstones/"));
    world.pass(ms(2_000));
    assert_eq!((anchors(0).len(), anchors(1).len()), (1, 1));
    // A backup at start: its manifest, and nothing else.
    assert!(world.stores[0].lock().puts <= puts + 2);
}
