//! The chain of two databases over real sockets and files, with hosts' clients in both zones.

use crate::region::{Region, key, put};
use kms::{
    limits::ms,
    store::api::{CommitError, Place, Reading, RecordStore, Refusal},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_records_are_in_both_databases_and_conditions_hold() {
    let region = Region::new("chain-commit");
    let _witness = region.witness().await;
    let (head, tail) = region.databases().await;
    let (a, b) = (region.client("host-a1"), region.client("host-b1"));
    region.until_writable(&a).await;
    region.until_writable(&b).await;
    let mut versions = Vec::new();
    for round in 0..20 {
        let client = if round % 2 == 0 { &a } else { &b };
        let id = region.attempt();
        let (transaction, version) = put(id, &format!("k{round:02}"), None, &[round; 100]);
        client.commit(id, transaction).await.expect("committed");
        versions.push(version);
    }
    for (round, version) in versions.iter().enumerate() {
        for (client, place) in [(&a, Place::Near), (&a, Place::Far), (&b, Place::Near), (&b, Place::Far)] {
            let Ok(Reading::Settled(Some(record))) = client.get(place, key(&format!("k{round:02}"))).await
            else {
                panic!("k{round:02} is not in both databases");
            };
            assert_eq!(record.version, *version);
        }
    }
    // A stale expectation is a conflict; the same attempt again is never applied twice.
    let id = region.attempt();
    let (transaction, _) = put(id, "k00", None, b"other");
    assert_eq!(a.commit(id, transaction).await, Err(CommitError::Conflict));
    let id = region.attempt();
    let (transaction, _) = put(id, "k00", Some(versions[0]), b"second");
    b.commit(id, transaction.clone()).await.expect("committed");
    assert_eq!(b.commit(id, transaction).await, Ok(()), "the attempt's fate, not a second one");
    // Pages.
    let Ok(Reading::Settled(page)) = a.scan(Place::Far, b"k".to_vec(), Some(key("k04")), 10).await else {
        panic!("no page");
    };
    assert_eq!(page.records.len(), 10);
    assert!(page.more);
    assert_eq!(page.records[0].0, key("k05"));
    head.shutdown().await;
    tail.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_tail_writes_are_refused_and_reads_go_on() {
    let region = Region::new("chain-no-tail");
    let _witness = region.witness().await;
    let (head, tail) = region.databases().await;
    let (a, b) = (region.client("host-a1"), region.client("host-b1"));
    region.until_writable(&a).await;
    region.until_writable(&b).await;
    let id = region.attempt();
    let (transaction, version) = put(id, "k", None, b"one");
    a.commit(id, transaction).await.expect("committed");
    tail.shutdown().await;
    region.env.sleep(ms(700)).await;
    let id = region.attempt();
    let (transaction, _) = put(id, "l", None, b"two");
    let before = region.env.now();
    assert_eq!(a.commit(id, transaction).await, Err(CommitError::Refused(Refusal::NoTail)));
    assert!(region.env.now().since(before) < ms(1_000));
    assert!(matches!(b.get(Place::Far, key("k")).await, Ok(Reading::Settled(Some(_)))));
    assert!(b.get(Place::Near, key("k")).await.is_err());
    let tail = region.database("db-b").await;
    region.until_writable(&a).await;
    region.until_writable(&b).await;
    let id = region.attempt();
    let (transaction, _) = put(id, "k", Some(version), b"three");
    b.commit(id, transaction).await.expect("committed again");
    assert!(matches!(b.get(Place::Near, key("l")).await, Ok(Reading::Settled(None))));
    head.shutdown().await;
    region.env.sleep(ms(700)).await;
    let id = region.attempt();
    let (transaction, _) = put(id, "m", None, b"four");
    assert_eq!(b.commit(id, transaction).await, Err(CommitError::Refused(Refusal::NoHead)));
    assert!(matches!(b.get(Place::Near, key("k")).await, Ok(Reading::Settled(Some(_)))));
    tail.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_store_is_blank_and_serves_nothing() {
    let region = Region::new("chain-blank");
    let store = region.scratch.path("db-b").join("data/store/store.redb");
    region.env.disk.remove(&store).expect("removed");
    let _witness = region.witness().await;
    let (head, tail) = region.databases().await;
    let b = region.client("host-b1");
    region.env.sleep(ms(800)).await;
    assert!(b.get(Place::Near, key("k")).await.is_err());
    assert!(matches!(b.get(Place::Far, key("k")).await, Ok(Reading::Settled(None))));
    assert!(!b.health().can_write);
    assert!(region.env.disk.read(&store).expect("readable").is_none(), "nobody makes a store but init");
    head.shutdown().await;
    tail.shutdown().await;
}
