//! The store's engine against a plain map, and the formats below it: what goes in comes out, what is
//! damaged is refused.

use kms::{
    crypto::OperatorKey,
    env::Env,
    record::{CommitId, Expect, RecordKey, SealedRecord, Transaction, Version},
    store::{
        engine::{self, Engine},
        epoch::{BadStatement, DbId, Epoch, EpochRecord, Identity, Registered, Statement},
        log::{Attempt, Entry, Position},
        replacement::{Replaced, Replacement},
        row,
    },
    wire::{frame, message},
};
use proptest::{collection::vec, prelude::*};
use std::{collections::BTreeMap, path::PathBuf};
use uuid::Uuid;

fn scratch(env: &Env, name: &str) -> PathBuf {
    let nonce: [u8; 8] = env.random(kms::env::Purpose::Public).expect("entropy");
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", hex::encode(nonce)));
    env.disk.create_dir(&dir).expect("scratch directory");
    dir
}

const EPOCH: Epoch = Epoch { no: 1, id: [7; 16] };
/// More entries than any case has.
const KEEP: u64 = 1_000;

fn operator(seed: u8) -> OperatorKey {
    // PKCS #8 of an Ed25519 seed (RFC 8410, 7).
    let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    OperatorKey::from_pkcs8(&[&prefix[..], &[seed; 32]].concat()).expect("a key")
}

fn genesis(head: bool) -> Identity {
    let key = operator(3);
    let members = [DbId([1; 16]), DbId([0; 16])];
    let record = EpochRecord {
        epoch: EPOCH,
        previous: Epoch { no: 0, id: [0; 16] },
        source: members[0],
        target: members[1],
        members,
        witness: [9; 16],
    };
    let signed = Statement::Epoch(record).sign(&key, "eu-west-rbx", 0);
    let activation = Statement::Active(EPOCH, Position::ORIGIN).sign(&key, "eu-west-rbx", 0);
    Identity::genesis("eu-west-rbx", head, &Registered { record, signed }, &activation)
}

/// One step: (record, blob or removal).
fn steps() -> impl Strategy<Value = Vec<Vec<(u8, Option<Vec<u8>>)>>> {
    vec(vec((0..12_u8, proptest::option::weighted(0.8, vec(any::<u8>(), 0..40))), 1..4), 1..25)
}

/// A record of one of three domains, and of one of two kinds.
fn named(record: u8) -> RecordKey {
    RecordKey([&[1, 1, 2][usize::from(record % 3)..][..1], &[record % 3; 16], &[record]].concat())
}

type Model = BTreeMap<RecordKey, SealedRecord>;

fn transaction(model: &Model, id: CommitId, step: &[(u8, Option<Vec<u8>>)]) -> Option<Transaction> {
    let mut transaction = Transaction::default();
    let mut used = std::collections::BTreeSet::new();
    for (record, blob) in step.iter().filter(|(record, _)| used.insert(*record)) {
        let key = named(*record);
        let before = model.get(&key).map(|record| record.version);
        match blob {
            Some(blob) => {
                let version = Version { counter: before.map_or(1, |v| v.counter + 1), commit_id: id };
                transaction.put.push((key.clone(), SealedRecord { version, blob: blob.clone() }));
            }
            None if before.is_some() => transaction.delete.push(key.clone()),
            None => continue,
        }
        transaction.expect.push(Expect { key, version: before });
    }
    transaction.check(id).is_ok().then_some(transaction)
}

fn apply(model: &mut Model, transaction: &Transaction) {
    for (key, record) in &transaction.put {
        model.insert(key.clone(), record.clone());
    }
    for key in &transaction.delete {
        model.remove(key);
    }
}

fn same(engine: &Engine, model: &Model) {
    // Single records first: a scan has the whole store follow its journal.
    for key in (0..12_u8).map(named) {
        assert_eq!(engine.get(&key).expect("get").as_ref(), model.get(&key));
    }
    let mut seen = Vec::new();
    for kind in [&[1], &[2]] {
        let mut after = None;
        loop {
            let page = engine.scan(kind, after.as_ref(), 5).expect("scan");
            seen.extend(page.records.clone());
            after = page.records.last().map(|(key, _)| key.clone());
            if !page.more {
                break;
            }
        }
    }
    assert_eq!(seen, model.clone().into_iter().collect::<Vec<_>>());
    counted(engine, model);
}

fn counted(engine: &Engine, model: &Model) {
    let mut counts: BTreeMap<(u8, [u8; 16]), u64> = BTreeMap::new();
    for key in model.keys() {
        *counts.entry((key.0[0], key.0[1..17].try_into().expect("16 bytes"))).or_default() += 1;
    }
    for (kind, domain) in [(1, 0), (1, 1), (2, 2), (1, 2)] {
        let wanted = counts.get(&(kind, [domain; 16])).copied().unwrap_or_default();
        assert_eq!(engine.count(kind, Uuid::from_bytes([domain; 16])), wanted);
    }
    let all = engine.counts().expect("counts");
    let all: BTreeMap<_, _> =
        all.into_iter().map(|count| ((count.kind, *count.domain.as_bytes()), count.records)).collect();
    assert_eq!(all, counts);
}

fn replacing(last: Position, epoch: Epoch, from: u8, to: u8) -> Entry {
    let record = Replacement { epoch, from: [from; 16], to: [to; 16] };
    let signed = Statement::Witness(record).sign(&operator(3), "eu-west-rbx", 0);
    Entry::replacing(last, EPOCH, 5, Replaced { record, signed })
}

/// R17a: the store names another witness from the commit on that applies the entry, and after each opening; a head does
/// not while the entry is in doubt.
#[test]
fn a_replaced_witness_is_kept_with_the_entry() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let _inside = runtime.enter();
    let env = kms::os::env();
    let (a, b) = (scratch(&env, "witness-a"), scratch(&env, "witness-b"));
    let open = |dir: &PathBuf| Engine::open(&*env.disk, dir, KEEP).expect("open").expect("a store");
    engine::create(&*env.disk, &a, &genesis(true)).expect("created");
    engine::create(&*env.disk, &b, &genesis(false)).expect("created");
    let first = replacing(Position::ORIGIN, EPOCH, 9, 10);
    assert_eq!(Entry::decode(Position::ORIGIN, first.bytes.clone()).expect("decodes").witness, first.witness);
    open(&a).0.append(&first).expect("appended");
    let (head, loaded) = open(&a);
    assert_eq!(loaded.identity.witness(), [9; 16], "in doubt");
    assert_eq!(loaded.pending.expect("pending").witness, first.witness);
    head.confirm(&first).expect("confirmed");
    drop(head);
    open(&b).0.append_and_apply(&first).expect("applied");
    for dir in [&a, &b] {
        assert_eq!(open(dir).1.identity.witness(), [10; 16]);
    }
    // One about another witness, or another epoch, changes nothing; the next one does.
    let stale = replacing(first.position, EPOCH, 9, 11);
    let elsewhere = replacing(stale.position, Epoch { no: 2, id: [7; 16] }, 10, 11);
    let second = replacing(elsewhere.position, EPOCH, 10, 12);
    let (tail, _) = open(&b);
    for (entry, witness) in [(&stale, 10), (&elsewhere, 10), (&second, 12)] {
        tail.append_and_apply(entry).expect("applied");
        assert_eq!(tail.identity().expect("identity").witness(), [witness; 16]);
    }
    drop(tail);
    let (tail, loaded) = open(&b);
    assert_eq!((loaded.identity.witness(), loaded.last), ([12; 16], second.position));
    assert_eq!(tail.identity().expect("identity"), loaded.identity);
}

/// Only the operator's word, given for the epoch in which the entry is written, may stand in a log.
#[test]
fn an_entry_with_a_foreign_statement_is_not_believed() {
    let check = |entry: &Entry, seed, region| entry.check_witness(&operator(seed).verifier(), region);
    let good = replacing(Position::ORIGIN, EPOCH, 9, 10);
    assert_eq!(check(&good, 3, "eu-west-rbx"), Ok(()));
    assert_eq!(check(&good, 4, "eu-west-rbx"), Err(BadStatement::Signature));
    assert_eq!(check(&good, 3, "eu-west-gra"), Err(BadStatement::Region));
    let elsewhere = replacing(Position::ORIGIN, Epoch { no: 2, id: [7; 16] }, 9, 10);
    assert_eq!(check(&elsewhere, 3, "eu-west-rbx"), Err(BadStatement::Other));
    let plain = Entry::new(Position::ORIGIN, EPOCH, 5, Vec::new());
    assert_eq!(check(&plain, 4, "eu-west-gra"), Ok(()), "it replaces nothing");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_engine_is_a_map(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let _inside = runtime.enter();
        let env = kms::os::env();
        let (a, b) = (scratch(&env, "engine-a"), scratch(&env, "engine-b"));
        engine::create(&*env.disk, &a, &genesis(true)).expect("created");
        engine::create(&*env.disk, &b, &genesis(false)).expect("created");
        prop_assert!(engine::create(&*env.disk, &b, &genesis(false)).is_err(), "never overwritten");
        let (head, _) = Engine::open(&*env.disk, &a, KEEP).expect("open").expect("a store");
        let (tail, _) = Engine::open(&*env.disk, &b, KEEP).expect("open").expect("a store");
        let (mut model, mut before, mut last) = (Model::new(), Model::new(), Position::ORIGIN);
        for (n, step) in steps.iter().enumerate() {
            let id = CommitId([n as u8 + 1; 16]);
            let Some(transaction) = transaction(&model, id, step) else { continue };
            let entry = Entry::new(last, EPOCH, 5, vec![Attempt { id, transaction: transaction.clone() }]);
            let reread = Entry::decode(last, entry.bytes.clone()).expect("decodes");
            prop_assert_eq!(reread.position, entry.position);
            prop_assert_eq!(&reread.batch, &entry.batch);
            before = model.clone();
            apply(&mut model, &transaction);
            head.append(&entry).expect("append");
            same(&head, &before);
            tail.append_and_apply(&entry).expect("apply");
            same(&tail, &model);
            head.confirm(&entry).expect("confirm");
            last = entry.position;
        }
        same(&head, &model);
        drop((head, tail, before));
        let (head, loaded) = Engine::open(&*env.disk, &a, KEEP).expect("open").expect("a store");
        prop_assert_eq!(loaded.last, last);
        prop_assert_eq!(loaded.confirmed, last);
        prop_assert!(loaded.pending.is_none());
        same(&head, &model);
        let entries = head.entries_after(Position::ORIGIN, usize::MAX).expect("entries");
        prop_assert_eq!(entries.len() as u64, last.seq);
    }

    #[test]
    fn a_row_comes_back_and_no_changed_bit_does(
        key in vec(any::<u8>(), 1..40), blob in vec(any::<u8>(), 0..80), counter: u64, id: [u8; 16], bit: usize,
    ) {
        let key = RecordKey(key);
        let record = SealedRecord { version: Version { counter, commit_id: CommitId(id) }, blob };
        let mut row = row::encode(&key, &record);
        prop_assert_eq!(row::decode(&key, &row).expect("decodes"), record);
        let bit = bit % (row.len() * 8);
        row[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(row::decode(&key, &row).is_err());
        prop_assert!(row::decode(&key, &row[..row.len() - 1]).is_err());
    }

    #[test]
    fn frames_come_back_whole_from_any_pieces(bodies in vec((any::<u64>(), vec(any::<u8>(), 0..200)), 1..8), cut in 1..50_usize) {
        let envelopes: Vec<_> = bodies.into_iter().map(|(call, key)| message::Envelope {
            version: message::ENVELOPE_VERSION,
            region: "eu-west-rbx".to_owned(),
            call,
            body: Some(message::Body::Get(key)),
            ..message::Envelope::default()
        }).collect();
        let mut bytes = bytes::BytesMut::new();
        for envelope in &envelopes {
            frame::encode(envelope, &mut bytes).expect("encodes");
        }
        let (mut buffer, mut seen) = (bytes::BytesMut::new(), Vec::new());
        for piece in bytes.chunks(cut) {
            buffer.extend_from_slice(piece);
            while let Some(envelope) = frame::decode(&mut buffer).expect("decodes") {
                seen.push(envelope);
            }
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(seen, envelopes);
    }

    #[test]
    fn noise_is_refused_without_a_panic(noise in vec(any::<u8>(), 0..300)) {
        let mut buffer = bytes::BytesMut::from(noise.as_slice());
        while let Ok(Some(_)) = frame::decode(&mut buffer) {}
        let _ = Entry::decode(Position::ORIGIN, noise.clone());
        let _ = row::decode(&RecordKey(vec![1]), &noise);
    }
}

#[test]
fn a_frame_of_a_gigabyte_is_refused_before_it_is_read() {
    let mut buffer = bytes::BytesMut::from(&[0x40, 0, 0, 0, 1, 2, 3][..]);
    assert!(matches!(frame::decode(&mut buffer), Err(frame::FrameError::TooLong(0x4000_0000))));
}
