//! A store in memory that fails on order, a region's log and rows, and a world whose clock is set by hand.

use super::{
    BackupKey, BackupPlace, Lineage, Source, SourceError, Standing,
    names::{DAY_MS, Day},
};
use crate::{
    crypto::{OperatorKey, testing::counting},
    env::{
        BoxFuture, Clock, Env, Keeping, Listed, Mono, OBJECT_LIST_MAX, OBJECT_MAX_BYTES, ObjectError,
        ObjectName, Objects,
    },
    record::{CommitId, Expect, RecordKey, SealedRecord, Transaction, Version},
    store::{
        engine::FillRow,
        epoch::{DbId, Epoch, EpochRecord, Statement},
        log::{Attempt, Entry, Position},
        row,
    },
};
use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

pub(crate) const REGION: &str = "eu-west-rbx";
/// Noon of 2026-11-26.
pub(crate) const NOON_MS: u64 = 1_795_694_400_000;

/// Runs a future that waits for nothing.
pub(crate) fn now<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("nothing here waits"),
    }
}

/// Wall time set by hand; every sleep is over at once.
#[derive(Default)]
pub(crate) struct HandClock(AtomicU64);

impl HandClock {
    pub(crate) fn set(&self, wall_ms: u64) {
        self.0.store(wall_ms, Ordering::Relaxed);
    }
    pub(crate) fn ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clock for HandClock {
    fn now(&self) -> Mono {
        Mono::default()
    }
    fn wall(&self) -> Duration {
        Duration::from_millis(self.ms())
    }
    fn sleep_until(&self, _at: Mono) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) objects: BTreeMap<ObjectName, Vec<u8>>,
    /// After so many puts that work every put fails, until it is set again.
    pub(crate) puts_left: Option<u64>,
    /// A put that fails is carried out all the same.
    pub(crate) applies_failed: bool,
    /// What becomes of each put, the last one first; those after them work.
    pub(crate) fates: Vec<Fate>,
    /// Puts that arrive later.
    pub(crate) late: Vec<(ObjectName, Vec<u8>)>,
    pub(crate) refuses_deletes: bool,
    pub(crate) keeping: Keeping,
    pub(crate) puts: u64,
    pub(crate) lists: u64,
}

/// What becomes of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Done,
    FailedUndone,
    FailedDone,
    FailedDoneLater,
}

impl Fate {
    /// Most are done; with three tries a put fails for good in a few of a hundred.
    pub(crate) fn drawn(draw: u8) -> Fate {
        match draw {
            0..=5 => Fate::FailedUndone,
            6..=8 => Fate::FailedDone,
            9..=13 => Fate::FailedDoneLater,
            _ => Fate::Done,
        }
    }
}

/// See [`Memory`].
#[derive(Clone, Default)]
pub(crate) struct MemoryStore(Arc<Mutex<Memory>>);

impl MemoryStore {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().expect("no test panics while it holds this")
    }

    fn down() -> ObjectError {
        ObjectError::Unavailable { place: "memory".to_owned(), why: "on order".to_owned() }
    }

    pub(crate) fn names(&self) -> Vec<ObjectName> {
        self.lock().objects.keys().cloned().collect()
    }

    pub(crate) fn listed(&self) -> Vec<Listed> {
        let listed = |(name, object): (&ObjectName, &Vec<u8>)| Listed {
            name: name.clone(),
            bytes: object.len() as u64,
        };
        self.lock().objects.iter().map(listed).collect()
    }
}

impl Objects for MemoryStore {
    fn place(&self) -> &str {
        "memory"
    }

    fn put<'a>(&'a self, name: &'a ObjectName, contents: Vec<u8>) -> BoxFuture<'a, Result<(), ObjectError>> {
        assert!(contents.len() <= OBJECT_MAX_BYTES, "{name} has {} bytes", contents.len());
        let memory = &mut *self.lock();
        memory.puts += 1;
        let fate = match memory.puts_left {
            Some(0) if memory.applies_failed => Fate::FailedDone,
            Some(0) => Fate::FailedUndone,
            _ => memory.fates.pop().unwrap_or(Fate::Done),
        };
        match fate {
            Fate::Done | Fate::FailedDone => drop(memory.objects.insert(name.clone(), contents)),
            Fate::FailedDoneLater => memory.late.push((name.clone(), contents)),
            Fate::FailedUndone => {}
        }
        let fails = fate != Fate::Done;
        memory.puts_left = memory.puts_left.map(|left| left.saturating_sub(1));
        Box::pin(async move { if fails { Err(MemoryStore::down()) } else { Ok(()) } })
    }

    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Vec<u8>>, ObjectError>> {
        let found = self.lock().objects.get(name).cloned();
        Box::pin(async { Ok(found) })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a ObjectName>,
    ) -> BoxFuture<'a, Result<Vec<Listed>, ObjectError>> {
        let mut listed = self.listed();
        self.lock().lists += 1;
        listed.retain(|one| {
            one.name.as_str().starts_with(prefix) && after.is_none_or(|after| one.name > *after)
        });
        listed.truncate(OBJECT_LIST_MAX);
        Box::pin(async { Ok(listed) })
    }

    fn delete<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(), ObjectError>> {
        let memory = &mut *self.lock();
        let refuses = memory.refuses_deletes;
        if !refuses {
            memory.objects.remove(name);
        }
        Box::pin(async move { if refuses { Err(MemoryStore::down()) } else { Ok(()) } })
    }

    fn keeping(&self) -> BoxFuture<'_, Result<Keeping, ObjectError>> {
        let keeping = self.lock().keeping;
        Box::pin(async move { Ok(keeping) })
    }
}

/// A region's log, its rows, and who vouches for them.
#[derive(Clone)]
pub(crate) struct Region {
    pub(crate) rows: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) log: Vec<Entry>,
    pub(crate) lineage: Lineage,
    newest_ms: u64,
    /// Rows and entries handed out at a time.
    pub(crate) page: usize,
    /// Entries up to here are not in the log any more.
    pub(crate) forgotten: u64,
    pub(crate) rows_asked: u64,
}

pub(crate) fn epoch(no: u64) -> Epoch {
    Epoch { no, id: [no as u8; 16] }
}

pub(crate) fn statement(epoch: Epoch) -> crate::wire::epoch::Signed {
    // PKCS #8 v1 of an Ed25519 seed (RFC 8410, 7).
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let key = OperatorKey::from_pkcs8(&[&head[..], &[1; 32]].concat()).expect("a key");
    let record = EpochRecord {
        epoch,
        previous: epoch,
        source: DbId([1; 16]),
        target: DbId([2; 16]),
        members: [DbId([1; 16]), DbId([2; 16])],
        witness: [9; 16],
    };
    Statement::Epoch(record).sign(&key, REGION, 5)
}

impl Region {
    pub(crate) fn new() -> Region {
        let lineage = Lineage {
            epoch: statement(epoch(1)),
            activation: None,
            witness: None,
            epochs: vec![(epoch(1), Position::ORIGIN)],
        };
        Region {
            rows: BTreeMap::new(),
            log: Vec::new(),
            lineage,
            newest_ms: 0,
            page: 7,
            forgotten: 0,
            rows_asked: 0,
        }
    }

    pub(crate) fn position(&self) -> Position {
        self.log.last().map_or(Position::ORIGIN, |entry| entry.position)
    }

    /// One transaction in one entry: a new record of so many bytes, and every fifth time an old one is removed.
    pub(crate) fn write(&mut self, bytes: usize, wall_ms: u64) {
        let number = self.log.len() as u64;
        let id = CommitId((u128::from(number) + 1).to_be_bytes());
        let key = RecordKey([&[1][..], &crate::crypto::sha256(&number.to_be_bytes())].concat());
        let blob: Vec<u8> = crate::crypto::sha256(&id.0).iter().copied().cycle().take(bytes).collect();
        let record = SealedRecord { version: Version { counter: 1, commit_id: id }, blob };
        let mut transaction = Transaction {
            expect: vec![Expect { key: key.clone(), version: None }],
            put: vec![(key, record)],
            delete: Vec::new(),
            ends: Vec::new(),
        };
        if number % 5 == 4
            && let Some((old, row)) = self.rows.first_key_value()
        {
            let key = RecordKey(old.clone());
            let version = row::decode(&key, row).expect("a row").version;
            transaction.expect.push(Expect { key: key.clone(), version: Some(version) });
            transaction.delete.push(key);
        }
        self.commit(id, transaction, wall_ms);
    }

    /// The first record becomes a tombstone.
    pub(crate) fn destroy(&mut self, wall_ms: u64) {
        let id = CommitId((self.log.len() as u128 + 1).to_be_bytes());
        let (key, row) = self.rows.first_key_value().expect("a record");
        let key = RecordKey(key.clone());
        let before = row::decode(&key, row).expect("a row").version;
        let version = Version { counter: before.counter + 1, commit_id: id };
        let transaction = Transaction {
            expect: vec![Expect { key: key.clone(), version: Some(before) }],
            put: vec![(key.clone(), SealedRecord { version, blob: vec![7; 9] })],
            delete: Vec::new(),
            ends: vec![key],
        };
        self.commit(id, transaction, wall_ms);
    }

    fn commit(&mut self, id: CommitId, transaction: Transaction, wall_ms: u64) {
        let epoch = self.lineage.epochs.last().expect("an epoch").0;
        let entry = Entry::new(self.position(), epoch, wall_ms, vec![Attempt { id, transaction }]);
        apply(&mut self.rows, &entry);
        self.log.push(entry);
        self.newest_ms = wall_ms;
    }
}

/// What an entry does to rows.
pub(crate) fn apply(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, entry: &Entry) {
    for (key, change) in entry.changes() {
        match change {
            Some(record) => drop(rows.insert(key.0.clone(), row::encode(&key, &record))),
            None => drop(rows.remove(&key.0)),
        }
    }
}

impl Source for Region {
    fn standing(&self) -> Standing {
        Standing {
            lineage: self.lineage.clone(),
            position: self.position(),
            newest_ms: self.newest_ms,
            since: None,
            made_at: "eu-west-sbg".to_owned(),
        }
    }

    fn rows<'a>(&'a mut self, after: Option<&'a [u8]>) -> BoxFuture<'a, Result<Vec<FillRow>, SourceError>> {
        self.rows_asked += 1;
        let later = self.rows.iter().filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after));
        let rows = later.take(self.page).map(|(key, row)| (key.clone(), row.clone())).collect();
        Box::pin(async { Ok(rows) })
    }

    fn entries(&mut self, after: Position) -> BoxFuture<'_, Result<Option<Vec<Vec<u8>>>, SourceError>> {
        let there = after == Position::ORIGIN || self.log.iter().any(|entry| entry.position == after);
        let entries = there && after.seq >= self.forgotten;
        let entries = entries.then(|| {
            let later = self.log.iter().skip(after.seq as usize).take(self.page);
            later.map(|entry| entry.bytes.clone()).collect()
        });
        Box::pin(async { Ok(entries) })
    }
}

/// A store, a key, a clock, and the place that they make.
pub(crate) struct Fixture {
    pub(crate) store: MemoryStore,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) place: BackupPlace,
    pub(crate) env: Env,
    pub(crate) key: Arc<BackupKey>,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let clock = Arc::new(HandClock::default());
        clock.set(NOON_MS);
        let env = Env { clock: clock.clone(), ..counting() };
        let key = Arc::new(BackupKey::generate(&env).expect("entropy"));
        let store = MemoryStore::default();
        let place = BackupPlace::new(env.clone(), Arc::new(store.clone()), key.clone(), REGION);
        Fixture { store, clock, place, env, key }
    }

    /// The same store as another process sees it.
    pub(crate) fn elsewhere(&self) -> BackupPlace {
        BackupPlace::new(self.env.clone(), Arc::new(self.store.clone()), self.key.clone(), REGION)
    }

    pub(crate) fn pass(&self, span_ms: u64) {
        self.clock.set(self.clock.ms() + span_ms);
    }

    /// To the first minute of the next day.
    pub(crate) fn next_day(&self) {
        self.clock.set(self.clock.ms() / DAY_MS * DAY_MS + DAY_MS + 60_000);
    }

    pub(crate) fn today(&self) -> Day {
        Day::of(self.clock.ms())
    }
}

/// What a backup restores to.
pub(crate) fn restored(
    place: &BackupPlace,
    found: super::Found,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, super::ReadError> {
    let backup = now(place.open(found))?;
    let (mut rows, mut reader) = (BTreeMap::new(), backup.rows());
    loop {
        let page = now(reader.next())?;
        if page.is_empty() {
            break;
        }
        rows.extend(page);
    }
    let mut entries = backup.entries();
    while let Some(entry) = now(entries.next())? {
        apply(&mut rows, &entry);
    }
    Ok(rows)
}
