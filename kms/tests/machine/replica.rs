//! The third copy, over real sockets and files: follows, comes back, makes itself anew, and does not follow another history.

use crate::region::Region;
use kms::{
    backup::{BackupKey, BackupPlace},
    init,
    limits::ms,
    operator::ask::{backups, replica_status, reseed, verify_backup},
    replica::{self, Asked, BackupStatus, Backups, ReplicaNode, ReplicaStatus},
    store::{engine::Engine, row},
    wire::tls::NodeTls,
};
use std::{collections::BTreeMap, sync::Arc};

const PLACE: &str = "eu-west-sbg";

pub struct Third {
    pub region: Region,
    tls: Arc<NodeTls>,
    address: String,
}

impl Third {
    pub fn new(name: &str) -> Third {
        Third::of(Region::with_replica(name, PLACE))
    }

    pub fn of(region: Region) -> Third {
        let operator = region.operator_config();
        let tls = operator.tls(&region.env, ms(3_000)).expect("tls");
        let address = operator.replica.expect("a replica");
        Third { region, tls, address }
    }

    pub async fn start(&self) -> ReplicaNode {
        let (config, tls, operator) = self.region.parts("replica");
        replica::serve(self.region.env.clone(), config, tls, operator).await.expect("a replica")
    }

    /// Waits until both stores have a backup of all that the replica has, the entry `seq` included.
    pub async fn until_backed_up(&self, seq: u64) -> ReplicaStatus {
        let right = |status: &ReplicaStatus| {
            status.last >= seq && status.backups.iter().all(|store| store.position == status.last)
        };
        self.until("is backed up", right).await
    }

    /// Waits until `right` is true of its status.
    pub async fn until(&self, what: &str, right: impl Fn(&ReplicaStatus) -> bool) -> ReplicaStatus {
        let mut last = None;
        for _ in 0..400 {
            match replica_status(&self.region.env, &self.tls, &self.address).await {
                Ok(status) if right(&status) => return status,
                other => last = Some(other),
            }
            self.region.env.sleep(ms(25)).await;
        }
        panic!("{what}: {last:?}");
    }
}

#[tokio::test]
async fn a_replica_follows_comes_back_and_makes_itself_anew() {
    let third = Third::new("replica-follows");
    let (_witness, _head, tail) = third.region.begin_work().await;
    let node = third.start().await;
    let first = third.until("follows", |status| status.last >= 1 && status.lag_ms.is_some()).await;
    assert_eq!((first.phase.as_str(), first.place.as_str()), ("replica", PLACE));
    assert_eq!(first.source.as_deref(), Some("b"));
    third.region.commit("second").await;
    let second = third.until("takes what is written", |status| status.last == first.last + 1).await;
    let database = third.region.status("db-b").await.expect("a status");
    assert_eq!((second.last, second.hash.as_str()), (database.last, database.hash.as_str()));
    assert_eq!(database.replica, Some(second.last));

    // Away while something is written: it goes on from its log.
    node.shutdown().await;
    third.region.commit("third").await;
    let node = third.start().await;
    let back = third.until("comes back", |status| status.last == second.last + 1).await;
    assert_eq!(back.db_id, second.db_id);
    node.shutdown().await;

    // Its disk is lost: a snapshot.
    let data = third.region.scratch.path("replica").join(init::DATA_DIR);
    std::fs::remove_dir_all(&data).expect("removed");
    let node = third.start().await;
    let anew = third.until("begins anew", |status| status.last == back.last).await;
    assert_ne!(anew.db_id, back.db_id);
    assert_eq!(anew.hash, back.hash);
    let keyring = |node: &str| {
        let dir = third.region.scratch.path(node).join(init::DATA_DIR).join(init::STORE_DIR).join("keyring");
        third.region.env.disk.list(&dir).expect("a keyring")
    };
    assert_eq!(keyring("replica"), keyring("db-b"));

    // The tail goes: the head feeds it, and its lag is known.
    tail.shutdown().await;
    third.until("follows the head", |status| status.source.as_deref() == Some("a")).await;

    // A person orders a snapshot; what was there is kept.
    reseed(&third.region.env, &third.tls, &third.address).await.expect("ordered");
    let fresh = third.until("begins anew by order", |status| {
        status.db_id != anew.db_id && status.phase == "replica" && status.last == anew.last
    });
    fresh.await;
    let kept = third.region.env.disk.list(&data).expect("lists");
    assert!(kept.iter().any(|name| name.to_string_lossy().starts_with("retired-")), "{kept:?}");
    node.shutdown().await;
}

#[tokio::test]
async fn a_replica_does_not_follow_another_history() {
    let (one, other) = (Third::new("replica-one"), Third::new("replica-other"));
    let (_witness, _head, _tail) = one.region.begin_work().await;
    let (_witness_2, _head_2, _tail_2) = other.region.begin_work().await;
    let node = other.start().await;
    other.until("follows", |status| status.last >= 1).await;
    node.shutdown().await;
    // Its disk comes from elsewhere.
    let data = |third: &Third| third.region.scratch.path("replica").join(init::DATA_DIR);
    one.region.env.disk.rename(&data(&other), &data(&one)).expect("renamed");
    let node = one.start().await;
    let stopped = one.until("says so", |status| status.phase == "diverged").await;
    one.region.commit("more").await;
    one.region.env.sleep(ms(300)).await;
    let still = one.until("goes on saying so", |_| true).await;
    assert_eq!((still.phase, still.last), (stopped.phase, stopped.last));
    reseed(&one.region.env, &one.tls, &one.address).await.expect("ordered");
    let database = one.region.status("db-b").await.expect("a status");
    one.until("begins anew", |status| status.phase == "replica" && status.hash == database.hash).await;
    node.shutdown().await;
}

/// What the replica's store holds, read while nobody has it open.
async fn rows_of(third: &Third) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (config, _, _) = third.region.parts("replica");
    let opened = Engine::open(&*third.region.env.disk, &config.data_dir, config.limits.log_keep_entries);
    let (engine, _) = opened.expect("opens").expect("a store");
    engine.rows_after(None, usize::MAX).expect("reads").into_iter().collect()
}

#[tokio::test]
async fn a_replica_makes_backups_that_hold_what_it_holds() {
    let (sbg, gra) = ("eu-west-sbg", "eu-west-gra");
    let third = Third::of(Region::with_backups("replica-backups", PLACE, [sbg, gra]));
    let env = &third.region.env;
    let (_witness, _head, _tail) = third.region.begin_work().await;
    let node = third.start().await;
    let first = |status: &ReplicaStatus| status.backups.iter().all(|store| store.number >= 1);
    let status = third.until("makes a first backup", first).await;
    // Whoever looks late sees the second one.
    let begun =
        |store: &BackupStatus| (store.full || store.number > 1) && store.position >= 1 && store.bytes > 0;
    assert!(status.backups.iter().all(begun), "{:?}", status.backups);
    third.region.commit("more").await;
    let second = |status: &ReplicaStatus| {
        let newest = |store: &BackupStatus| store.number >= 2 && store.position == status.last && !store.full;
        status.last >= 2 && status.backups.iter().all(newest)
    };
    let status = third.until("makes another one with what was written", second).await;
    assert!(
        status.backups.iter().all(|store| store.trouble.is_none() && store.alarm.is_none()),
        "{status:?}"
    );
    assert!(status.backups.iter().all(|store| store.age_ms.is_some_and(|age| age < 60_000)), "{status:?}");

    // What people ask, of the running replica.
    let listed = backups(env, &third.tls, &third.address).await.expect("lists");
    assert_eq!(listed.iter().map(|store| store.store.as_str()).collect::<Vec<_>>(), [sbg, gra]);
    assert!(listed.iter().all(|store| store.error.is_none() && store.backups.len() >= 2), "{listed:?}");
    let verify = |number: Option<u64>, store: Option<&str>| Asked { number, store: store.map(str::to_owned) };
    let asked = verify(Some(2), None);
    let whole = loop {
        let state = verify_backup(env, &third.tls, &third.address, ([1; 16], &asked)).await.expect("asked");
        if !state.running {
            break state.done;
        }
        env.sleep(ms(20)).await;
    };
    assert!(whole.len() == 2 && whole.iter().all(|one| one.error.is_none() && one.number == 2), "{whole:?}");
    let nowhere = verify(None, Some("eu-west-rbx"));
    assert!(verify_backup(env, &third.tls, &third.address, ([2; 16], &nowhere)).await.is_err());

    // Without it, from the stores alone: either has all that the replica has.
    node.shutdown().await;
    let (config, _, _) = third.region.parts("replica");
    let offline = Backups::configured(env, &config).expect("a key").expect("stores");
    let whole = offline.verify(&verify(None, None)).await.expect("stores");
    assert!(whole.iter().all(|one| one.error.is_none() && one.position == status.last), "{whole:?}");
    let missing = offline.verify(&verify(Some(9_999), Some(gra))).await.expect("a store");
    assert!(missing[0].error.as_ref().is_some_and(|why| why.contains("no such backup")), "{missing:?}");
    let rows = rows_of(&third).await;
    assert!(rows.len() >= 2);
    let key = Arc::new(BackupKey::load(&*env.disk, &config.backup_key.expect("named")).expect("a key"));
    for store in &config.backups {
        let objects = env.stores.open(store).await.expect("opens");
        let place = BackupPlace::new(env.clone(), objects, key.clone(), &config.region);
        let backup = place.open(place.newest(None).await.expect("one")).await.expect("reads");
        let mut restored = BTreeMap::new();
        let mut reader = backup.rows();
        loop {
            let page = reader.next().await.expect("rows");
            if page.is_empty() {
                break;
            }
            restored.extend(page);
        }
        let (mut entries, mut newest_ms) = (backup.entries(), 0);
        while let Some(entry) = entries.next().await.expect("entries") {
            newest_ms = entry.at_ms;
            for (key, record) in entry.changes() {
                match record {
                    Some(record) => drop(restored.insert(key.0.clone(), row::encode(&key, &record))),
                    None => drop(restored.remove(&key.0)),
                }
            }
        }
        assert_eq!(restored, rows, "{}", store.region);
        assert!(newest_ms > 0 && backup.manifest().newest_ms == newest_ms);
        let keyring = place.list("keyring/").await.expect("lists");
        assert_eq!(keyring.len(), 1, "the domain's key is beside them");
    }
}
