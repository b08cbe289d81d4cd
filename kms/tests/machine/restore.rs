//! A lost region made anew from its replica, over real sockets and files: both databases' disks gone, or there and of the past;
//! with the witness, or without.

use crate::{
    region::{Region, Says, key, put},
    replica::Third,
};
use kms::{
    config::Zone,
    env::{S3Config, StoreAt},
    init,
    limits::ms,
    operator::{
        OperatorConfig,
        restore::{Copy, RestorePlan},
        session::{Progress, RebuildError},
    },
    record::RecordKey,
    replica::ReplicaStatus,
    store::api::{Place, Reading, RecordStore},
};

async fn holds(region: &Region, name: &str) -> bool {
    let client = region.client("host-a1");
    region.until_writable(&client).await;
    for place in [Place::Near, Place::Far] {
        let read = client.get(place, RecordKey(name.as_bytes().to_vec())).await;
        if !matches!(read, Ok(Reading::Settled(Some(_)))) {
            return false;
        }
    }
    true
}

fn keyring(region: &Region, node: &str) -> Vec<std::path::PathBuf> {
    let dir = region.scratch.path(node).join(init::DATA_DIR).join(init::STORE_DIR).join("keyring");
    region.env.disk.list(&dir).expect("a keyring")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_disks_are_gone_and_the_replica_has_everything() {
    let third = Third::new("restore-blank");
    let region = &third.region;
    let (_witness, head, tail) = region.begin_work().await;
    let replica = third.start().await;
    region.commit("second").await;
    let had = third.until("has all", |status| status.last >= 2 && status.lag_ms.is_some()).await;
    let operator = region.operator();

    // A region that serves is not lost.
    let needless = operator.restore(&RestorePlan::default(), &mut Says::new(true)).await;
    assert!(matches!(needless, Err(RebuildError::Needless(_))), "{needless:?}");

    for node in [head, tail] {
        node.shutdown().await;
    }
    let before = keyring(region, "db-a");
    for node in ["db-a", "db-b"] {
        region.lose_disk(node);
    }
    let (head, tail) = region.databases().await;
    let mut silent = Says::new(false);
    let unsaid = operator.restore(&RestorePlan::default(), &mut silent).await;
    assert!(matches!(unsaid, Err(RebuildError::NotStated(_))), "{unsaid:?}");
    let waiting = third.until("stands still", |status| !status.active).await;
    assert_eq!((waiting.last, waiting.fenced), (had.last, false));
    // Another start of it knows that too.
    replica.shutdown().await;
    let replica = third.start().await;
    third.until("still stands still", |status| status.phase == "replica" && !status.active).await;

    let mut says = Says::new(true);
    let restored = operator.restore(&RestorePlan::default(), &mut says).await.expect("restored");
    assert_eq!(restored.position.seq, had.last);
    assert_eq!(restored.retired, [], "nobody was there to ask");
    assert_eq!(says.asked.iter().map(|(zone, _)| *zone).collect::<Vec<_>>(), [Zone::A, Zone::B]);
    assert!(matches!(says.told.first(), Some(Progress::Registered(_, true))), "it goes on: {:?}", says.told);
    for name in ["k", "second"] {
        assert!(holds(region, name).await, "{name}");
    }
    for node in ["db-a", "db-b"] {
        assert_eq!(keyring(region, node), before, "{node}");
    }
    // The replica follows the new region, and nothing is to be done a second time.
    region.commit("third").await;
    third.until("follows again", |status| status.last == had.last + 1 && status.active).await;
    let again = operator.restore(&RestorePlan::default(), &mut says).await.expect("done before");
    assert_eq!((again.epoch, again.position), (restored.epoch, restored.position));
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_returns_of_the_old_region_is_turned_away() {
    let third = Third::new("restore-return");
    let region = &third.region;
    let (_witness, head, tail) = region.begin_work().await;
    let replica = third.start().await;
    let had = third.until("has all", |status| status.last >= 1 && status.lag_ms.is_some()).await;
    // What it does not get any more.
    replica.shutdown().await;
    region.commit("lost").await;
    for node in [head, tail] {
        node.shutdown().await;
    }
    region.save("db-a", "old-a");
    let replica = third.start().await;
    // The old stores are still on the disks: they answer for themselves.
    let (head, tail) = region.databases().await;
    region.until("db-a", "serving", |status| status.serving).await;
    region.until("db-b", "serving", |status| status.serving).await;
    third.until("has opened its store", |status| status.phase == "replica").await;
    // An operator who reaches neither of them registers a restore. One who does gives up nothing that serves unless that is meant.
    let elsewhere = "127.0.0.1:1".to_owned();
    let blind = region.operator_of(OperatorConfig {
        head: elsewhere.clone(),
        tail: elsewhere,
        ..region.operator_config()
    });
    let unsaid = blind.restore(&RestorePlan::default(), &mut Says::new(false)).await;
    assert!(matches!(unsaid, Err(RebuildError::NotStated(_))), "{unsaid:?}");
    let serving = region.operator().restore(&RestorePlan::default(), &mut Says::new(true)).await;
    assert!(
        matches!(&serving, Err(RebuildError::Refused(why)) if why.contains("--retire-serving")),
        "{serving:?}"
    );
    let plan = RestorePlan { retire_serving: true, ..RestorePlan::default() };
    // It may have caught up meanwhile: then nothing is lost.
    let behind = third.until("answers", |_| true).await;
    let mut says = Says::new(false);
    let restored = region.operator().restore(&plan, &mut says).await.expect("restored");
    assert_eq!(says.asked, [], "they have retired: nobody has to state anything");
    assert_eq!(restored.retired.len(), 2);
    assert!(restored.position.seq >= behind.last && restored.position.seq >= had.last);
    assert!(holds(region, "k").await);
    let data = region.scratch.path("db-a").join(init::DATA_DIR);
    let kept = region.env.disk.list(&data).expect("lists");
    assert!(kept.iter().any(|name| name.to_string_lossy().starts_with("retired-")), "{kept:?}");

    // The old head's disk comes back: it serves nothing, and says so.
    head.shutdown().await;
    region.save("db-a", "new-a");
    region.restore("db-a", "old-a");
    let old = region.database("db-a").await;
    region.until("db-a", "retired", |status| status.phase == "retired" && !status.serving).await;
    old.shutdown().await;
    region.restore("db-a", "new-a");
    let head = region.database("db-a").await;
    assert!(holds(region, "k").await);
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_witness_a_new_one_begins_with_the_restore() {
    let third = Third::new("restore-witness");
    let region = &third.region;
    let (witness, head, tail) = region.begin_work().await;
    let replica = third.start().await;
    let had = third.until("has all", |status| status.last >= 1 && status.lag_ms.is_some()).await;
    for node in [head, tail] {
        node.shutdown().await;
    }
    witness.shutdown().await;
    for node in ["db-a", "db-b", "witness"] {
        region.lose_disk(node);
    }
    let witness = region.witness().await;
    let (head, tail) = region.databases().await;
    let operator = region.operator();
    let blank = operator.restore(&RestorePlan::default(), &mut Says::new(true)).await;
    assert!(matches!(blank, Err(RebuildError::Refused(_))), "{blank:?}");
    let plan = RestorePlan { witness_lost: true, ..RestorePlan::default() };
    let restored = operator.restore(&plan, &mut Says::new(true)).await.expect("restored");
    assert!(restored.epoch.no > 1_000_000_000, "seconds, above all that was counted: {}", restored.epoch);
    assert_eq!(restored.position.seq, had.last);
    assert!(holds(region, "k").await);
    // Its word is taken by those who start again.
    for node in [head, tail] {
        node.shutdown().await;
    }
    let (head, tail) = region.databases().await;
    region.until("db-a", "serving", |status| status.serving && status.writable).await;
    region.commit("more").await;
    third.until("follows again", |status| status.last == had.last + 1).await;
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
    witness.shutdown().await;
    region.env.sleep(ms(1)).await;
}

/// Region, replica, witness and one of the two stores are gone: the other store is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_backup_store_is_enough() {
    let (sbg, gra) = ("eu-west-sbg", "eu-west-gra");
    let third = Third::of(Region::with_backups("restore-backup", sbg, [sbg, gra]));
    let region = &third.region;
    let (witness, head, tail) = region.begin_work().await;
    let replica = third.start().await;
    region.commit("second").await;
    let had = third.until_backed_up(2).await;
    region.commit("third").await;
    let later = third.until_backed_up(had.last + 1).await;
    let before = keyring(region, "db-a");
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
    witness.shutdown().await;
    for node in ["db-a", "db-b", "replica", "witness"] {
        region.lose_disk(node);
    }
    region.lose(&format!("backups/{sbg}"));

    let witness = region.witness().await;
    // Nor can the lost store even be opened: the new machine has no credentials for it.
    let (mut config, tls, verifier) = region.parts("replica");
    config.backups[0].at = StoreAt::S3(S3Config {
        endpoint: "http://127.0.0.1:1".to_owned(),
        bucket: "b".to_owned(),
        region: "sbg".to_owned(),
        key_id: "k".to_owned(),
        secret_file: region.scratch.path("no-such.secret"),
        ca: None,
    });
    let replica = kms::replica::serve(region.env.clone(), config, tls, verifier).await.expect("a replica");
    let (head, tail) = region.databases().await;
    let operator = region.operator();
    let from = |store: Option<&str>| RestorePlan {
        from: Copy::Backup { store: store.map(str::to_owned), at_ms: None },
        witness_lost: true,
        ..RestorePlan::default()
    };
    let gone = operator.restore(&from(Some(sbg)), &mut Says::new(true)).await;
    assert!(matches!(&gone, Err(RebuildError::Refused(why)) if why.contains("no-such.secret")), "{gone:?}");
    let blank = RestorePlan { witness_lost: true, ..RestorePlan::default() };
    let blank = operator.restore(&blank, &mut Says::new(true)).await;
    assert!(blank.is_err(), "a blank replica has nothing: {blank:?}");
    // What cannot be read may be newer. Whoever names a store means it.
    let unsure = operator.restore(&from(None), &mut Says::new(true)).await;
    assert!(
        matches!(&unsure, Err(RebuildError::Refused(why)) if why.contains("no-such.secret") && why.ends_with(&format!("--store {gra}"))),
        "{unsure:?}"
    );
    assert!(operator.known().await.is_err(), "nothing was registered");
    let restored = operator.restore(&from(Some(gra)), &mut Says::new(true)).await.expect("restored");
    assert_eq!(restored.position.seq, later.last);
    let seen = restored.backup.expect("a backup").backup.expect("a name");
    assert_eq!(seen.store, gra);
    for name in ["k", "second", "third"] {
        assert!(holds(region, name).await, "{name}");
    }
    assert_eq!(keyring(region, "db-a"), before);
    // Somebody has found the credentials. The new region is backed up again, from a snapshot on, in both stores.
    replica.shutdown().await;
    let replica = third.start().await;
    let empty = operator.restore(&from(Some(sbg)), &mut Says::new(true)).await;
    assert!(matches!(&empty, Err(RebuildError::Refused(why)) if why.contains("no such backup")), "{empty:?}");
    region.commit("fourth").await;
    third.until_backed_up(later.last + 1).await;
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
    witness.shutdown().await;
}

/// A record is ended, and the region made anew of a backup from before: it is as it was ended, and nobody does that by mistake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_ended_stays_ended_after_an_older_backup() {
    let third =
        Third::of(Region::with_backups("restore-ended", "eu-west-sbg", ["eu-west-sbg", "eu-west-gra"]));
    let region = &third.region;
    let (witness, head, tail) = region.begin_work().await;
    let replica = third.start().await;
    third.until_backed_up(1).await;
    let before_ms = region.env.wall_ms();
    let client = region.client("host-a1");
    region.until_writable(&client).await;
    let Ok(Reading::Settled(Some(found))) = client.get(Place::Near, key("k")).await else {
        panic!("k is there");
    };
    let (mut end, version) = put(region.attempt(), "k", Some(found.version), b"tombstone");
    end.ends.push(key("k"));
    client.commit(version.commit_id, end).await.expect("ended");
    let had = third.until_backed_up(2).await;
    // By then its anchors are there too.
    let later =
        |status: &ReplicaStatus| status.backups.iter().all(|store| store.number > had.backups[0].number + 2);
    third.until("has made more", later).await;
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
    for node in ["db-a", "db-b", "replica"] {
        region.lose_disk(node);
    }
    let replica = third.start().await;
    let (head, tail) = region.databases().await;
    let operator = region.operator();
    let older = |older_than_anchor| RestorePlan {
        from: Copy::Backup { store: None, at_ms: Some(before_ms) },
        older_than_anchor,
        ..RestorePlan::default()
    };
    let refused = operator.restore(&older(false), &mut Says::new(true)).await;
    assert!(
        matches!(&refused, Err(RebuildError::Refused(why)) if why.contains("--older-than-anchor")),
        "{refused:?}"
    );
    // Interrupted after the replica has begun with it: that one is gone on with, and no other one by mistake.
    let unsaid = operator.restore(&older(true), &mut Says::new(false)).await;
    assert!(matches!(unsaid, Err(RebuildError::NotStated(_))), "{unsaid:?}");
    let newest = RestorePlan { from: Copy::Backup { store: None, at_ms: None }, ..RestorePlan::default() };
    let another = operator.restore(&newest, &mut Says::new(true)).await;
    assert!(
        matches!(&another, Err(RebuildError::Refused(why)) if why.contains("has begun already")),
        "{another:?}"
    );
    let restored = operator.restore(&older(true), &mut Says::new(true)).await.expect("restored");
    assert_eq!(restored.position.seq, 1, "it is of before");
    let tombstones = restored.tombstones.expect("known");
    assert_eq!((tombstones.changed, tombstones.newest_seq, tombstones.unread.len()), (1, 2, 0));
    let client = region.client("host-a1");
    region.until_writable(&client).await;
    for place in [Place::Near, Place::Far] {
        let read = client.get(place, key("k")).await;
        let ended = matches!(&read, Ok(Reading::Settled(Some(found))) if found.blob == b"tombstone");
        assert!(ended, "{read:?}");
    }
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
    witness.shutdown().await;
}
