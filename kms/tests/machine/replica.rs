//! The third copy, over real sockets and files: follows, comes back, makes itself anew, and does not follow another history.

use crate::region::Region;
use kms::{
    init,
    limits::ms,
    operator::ask::{replica_status, reseed},
    replica::{self, ReplicaNode, ReplicaStatus},
    wire::tls::NodeTls,
};
use std::sync::Arc;

const PLACE: &str = "eu-west-sbg";

pub struct Third {
    pub region: Region,
    tls: Arc<NodeTls>,
    address: String,
}

impl Third {
    pub fn new(name: &str) -> Third {
        let region = Region::with_replica(name, PLACE);
        let operator = region.operator_config();
        let tls = operator.tls(&region.env, ms(3_000)).expect("tls");
        let address = operator.replica.expect("a replica");
        Third { region, tls, address }
    }

    pub async fn start(&self) -> ReplicaNode {
        let (config, tls, operator) = self.region.parts("replica");
        replica::serve(self.region.env.clone(), config, tls, operator).await.expect("a replica")
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
