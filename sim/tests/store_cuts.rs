//! The store's engine on the simulated disk, with the power cut inside any disk operation and syncs that fail:
//! what it acknowledged is there after the next start, whole and once; what it did not acknowledge is there
//! whole or not at all. Only with `--cfg madsim`, where it is built fast: millions of bytes pass the disk.

#![cfg(madsim)]

use kms::{
    env::{Env, OpenMode},
    record::{CommitId, Expect, RecordKey, SealedRecord, Transaction, Version},
    store::{
        engine::{self, Engine, EngineError, JOURNAL_FILE, STORE_DIR, STORE_FILE},
        epoch::{DbId, Epoch, EpochRecord, Identity, Registered, Statement},
        log::{Attempt, Entry, Position},
    },
};
use kms_sim::{
    actions::Actions,
    world::{NodeSpec, Stream, World, run},
};
use std::{
    path::Path,
    sync::{Arc, Mutex},
};

const EPOCH: Epoch = Epoch { no: 1, id: [7; 16] };
const REGION: &str = "r";
/// Few, so that the log is truncated all the time.
const KEEP: u64 = 4;
const KEYS: u64 = 8;

fn data() -> &'static Path {
    Path::new("data")
}

fn genesis() -> Identity {
    // PKCS #8 of an Ed25519 seed (RFC 8410, 7).
    let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let key = kms::crypto::OperatorKey::from_pkcs8(&[&prefix[..], &[3; 32]].concat()).expect("a key");
    let members = [DbId([1; 16]), DbId([0; 16])];
    let previous = Epoch { no: 0, id: [0; 16] };
    let (source, target) = (members[0], members[1]);
    let record = EpochRecord { epoch: EPOCH, previous, source, target, members, witness: [9; 16] };
    let signed = Statement::Epoch(record).sign(&key, REGION, 0);
    let activation = Statement::Active(EPOCH, Position::ORIGIN).sign(&key, REGION, 0);
    Identity::genesis(REGION, true, &Registered { record, signed }, &activation)
}

/// Bytes of a blob of entry `seq`: mostly small, now and then a batch larger than a journal.
fn blob_bytes(seq: u64) -> usize {
    match seq % 64 {
        13 => 250 << 10,
        n if n % 7 == 0 => 40 << 10,
        n => 100 + n as usize,
    }
}

/// Entry `seq` puts one record of one of [`KEYS`]; the larger ones, more attempts on other records.
fn batch(seq: u64) -> Vec<Attempt> {
    let attempts = if seq % 64 == 13 { 5 } else { 1 };
    let attempt = |n: u64| {
        let id = CommitId([&seq.to_be_bytes()[..], &n.to_be_bytes()].concat().try_into().expect("16 bytes"));
        let key = RecordKey(vec![b'k', n as u8, (seq % KEYS) as u8]);
        // What stood there before is not for the engine to check.
        let version = Version { counter: 1, commit_id: id };
        let put = vec![(key.clone(), SealedRecord { version, blob: vec![seq as u8; blob_bytes(seq)] })];
        Attempt {
            id,
            transaction: Transaction {
                expect: vec![Expect { key, version: None }],
                put,
                delete: Vec::new(),
                ends: Vec::new(),
            },
        }
    };
    (0..attempts).map(attempt).collect()
}

/// The first record of entry `seq` is the one stored under its key.
fn shows(engine: &Engine, seq: u64) -> Result<bool, EngineError> {
    let expected = batch(seq).swap_remove(0);
    let (key, record) = &expected.transaction.put[0];
    Ok(engine.get(key)?.as_ref() == Some(record))
}

/// What was acknowledged: (appended, confirmed).
type Acknowledged = Arc<Mutex<(u64, u64)>>;

/// Opens the store and compares it with what was acknowledged; answers it with the end of its log.
fn open(env: &Env, acknowledged: &Acknowledged) -> Result<(Engine, Position), EngineError> {
    let (appended, confirmed) = *acknowledged.lock().expect("lock");
    let (engine, loaded) = Engine::open(&*env.disk, data(), KEEP)?.expect("a store");
    let (last, until) = (loaded.last.seq, loaded.confirmed.seq);
    assert!(last == appended || last == appended + 1, "{appended} appended, {last} found");
    assert!(until == confirmed || until == confirmed + 1, "{confirmed} confirmed, {until} found");
    for seq in until.saturating_sub(KEYS - 1).max(1)..=until {
        assert!(shows(&engine, seq)?, "entry {seq} of {until} is applied");
    }
    if let Some(pending) = &loaded.pending {
        assert!(!shows(&engine, pending.position.seq)?, "what is not confirmed is not applied");
        assert_eq!(engine.attempt(pending.batch[0].id)?, Some(pending.position.seq));
        engine.confirm(pending)?;
    }
    *acknowledged.lock().expect("lock") = (last, last);
    Ok((engine, loaded.last))
}

/// The next entry.
fn step(engine: &Engine, last: Position, acknowledged: &Acknowledged) -> Result<Position, EngineError> {
    let entry = Entry::new(last, EPOCH, 0, batch(last.seq + 1));
    let seq = entry.position.seq;
    if seq.is_multiple_of(3) {
        engine.append_and_apply(&entry)?;
    } else {
        engine.append(&entry)?;
        acknowledged.lock().expect("lock").0 = seq;
        engine.confirm(&entry)?;
    }
    *acknowledged.lock().expect("lock") = (seq, seq);
    if seq.is_multiple_of(5) {
        assert!(shows(engine, seq)?, "read after it was confirmed");
    }
    if seq.is_multiple_of(97) {
        engine.set_identity(&engine.identity()?)?;
    }
    Ok(entry.position)
}

async fn serve(env: Env, acknowledged: Acknowledged) -> String {
    let (inside, shared) = (env.clone(), acknowledged.clone());
    let (engine, mut last) = match env.blocking("open", move || open(&inside, &shared)).await {
        Ok(Ok((engine, last))) => (Arc::new(engine), last),
        Ok(Err(error)) => return error.to_string(),
        Err(panic) => return format!("panic: {panic}"),
    };
    loop {
        let (engine, shared) = (engine.clone(), acknowledged.clone());
        match env.blocking("commit", move || step(&engine, last, &shared)).await {
            Ok(Ok(position)) => last = position,
            Ok(Err(error)) => return error.to_string(),
            Err(panic) => return format!("panic: {panic}"),
        }
    }
}

fn add(world: &World, acknowledged: &Acknowledged) {
    let (name, ip) = ("db".to_owned(), "10.0.0.1".to_owned());
    world.add_node(NodeSpec { name, ip, zone: None, region: REGION.to_owned(), wall_offset_us: 0 });
    let shared = acknowledged.clone();
    world.set_main("db", Arc::new(move |env| Box::pin(serve(env, shared.clone()))));
}

/// Why processes ended, other than what was done to them.
fn unexpected(world: &World) -> Vec<String> {
    let exited = world.events().into_iter().filter_map(|event| match event.what {
        kms_sim::history::What::Exited { why, .. } => Some(why),
        _ => None,
    });
    exited.filter(|why| !why.contains("power lost") && !why.contains("os error 5")).collect()
}

/// Rounds of cuts and failing syncs; how many of each struck, and entries acknowledged.
fn storm(seed: u64, rounds: u64) -> (usize, usize, u64) {
    run(seed, |world| async move {
        let acknowledged = Acknowledged::default();
        add(&world, &acknowledged);
        let outside = world.env("db");
        engine::create(&*outside.disk, data(), &genesis()).expect("created");
        outside.disk.sync_dir(Path::new("")).expect("synced");
        let mut faults: Stream = world.stream("faults");
        let (mut cuts, mut failed) = (0, 0);
        for _ in 0..rounds {
            world.boot("db");
            if faults.chance(1, 4) {
                world.sleep_us(faults.range(1, 60_000)).await;
                world.fail_syncs("db", true);
                world.sleep_us(20_000).await;
                failed += usize::from(!world.is_up("db"));
                world.fail_syncs("db", false);
                if !world.is_up("db") {
                    world.boot("db");
                }
            }
            world.power_cut_after("db", faults.range(1, 300));
            world.sleep_us(faults.range(100_000, 2_000_000)).await;
            cuts += usize::from(!world.is_up("db"));
            world.cancel_power_cut("db");
            if world.is_up("db") {
                world.power_cut("db");
            }
        }
        assert_eq!(unexpected(&world), Vec::<String>::new(), "seed {seed}");
        let count = acknowledged.lock().expect("lock").0;
        (cuts, failed, count)
    })
}

#[test]
fn acknowledged_entries_survive_cuts_and_failed_syncs() {
    let (mut cuts, mut failed, mut entries) = (0, 0, 0);
    for seed in 0..24 {
        let (inside, syncs, acknowledged) = storm(seed, 12);
        cuts += inside;
        failed += syncs;
        entries += acknowledged;
    }
    assert!(cuts > 100, "cuts inside an operation: {cuts}");
    assert!(failed > 20, "ended by a failed sync: {failed}");
    assert!(entries > 5_000, "entries acknowledged: {entries}");
}

/// A store whose process ends after some entries; then `harm` is done to its files, and it is opened again.
fn harmed(harm: impl Fn(&Env) + Send + Sync + 'static) -> String {
    run(7, |world| async move {
        let acknowledged = Acknowledged::default();
        add(&world, &acknowledged);
        let outside = world.env("db");
        engine::create(&*outside.disk, data(), &genesis()).expect("created");
        world.boot("db");
        world.sleep_us(50_000).await;
        world.kill("db");
        assert!(acknowledged.lock().expect("lock").0 > 4);
        harm(&outside);
        match Engine::open(&*outside.disk, data(), KEEP) {
            Ok(_) => "opened".to_owned(),
            Err(error) => error.to_string(),
        }
    })
}

fn damage(env: &Env, name: &str, at: u64) {
    let file = env.disk.open(&data().join(STORE_DIR).join(name), OpenMode::Existing).expect("a file");
    let mut byte = [0];
    file.read(at, &mut byte).expect("read");
    file.write(at, &[byte[0] ^ 1]).expect("written");
}

#[test]
fn a_journal_that_is_damaged_missing_or_of_another_store_is_refused() {
    assert_eq!(harmed(|_| ()), "opened");
    // A record that was durable, with newer ones after it.
    let why = harmed(|env| damage(env, JOURNAL_FILE, 4096 + 60));
    assert!(why.contains("but not those after"), "{why}");
    let why = harmed(|env| env.disk.remove(&data().join(STORE_DIR).join(JOURNAL_FILE)).expect("removed"));
    assert!(why.contains("missing beside its store"), "{why}");
    // A store file as it was made, with the journal of later.
    let why = harmed(|env| {
        let other = Path::new("other");
        engine::create(&*env.disk, other, &genesis()).expect("created");
        let (from, to) = (other.join(STORE_DIR).join(STORE_FILE), data().join(STORE_DIR).join(STORE_FILE));
        env.disk.rename(&from, &to).expect("renamed");
    });
    assert!(why.contains("has taken over"), "{why}");
}
