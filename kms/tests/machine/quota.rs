//! A domain has no more keys, and no more secrets, than it may: the head counts, exactly, and so does every other database.

use crate::{
    common::spec,
    region::{Region, put},
};
use futures_util::future::join_all;
use kms::{
    init::RegionSpec,
    limits::Limits,
    record::{KIND_SECRET, KIND_SERVICE_KEY, Transaction},
    store::{
        api::{CommitError, RecordStore, Refusal},
        client::StoreClient,
        server::DomainCounts,
    },
};
use uuid::Uuid;

/// A name in a domain, of a record of this kind.
fn of(kind: u8, domain: char, number: u32) -> String {
    let domain: String = std::iter::repeat_n(domain, 16).collect();
    format!("{}{domain}{number}", char::from(kind))
}

fn id(domain: char) -> Uuid {
    Uuid::from_bytes([domain as u8; 16])
}

async fn make(region: &Region, client: &StoreClient, names: &[String]) -> Result<(), CommitError> {
    let id = region.attempt();
    let mut all = Transaction::default();
    for name in names {
        let (one, _) = put(id, name, None, b"sealed");
        all.expect.extend(one.expect);
        all.put.extend(one.put);
    }
    client.commit(id, all).await
}

async fn counted(region: &Region, node: &str) -> Vec<DomainCounts> {
    region.status(node).await.expect("an answer").domains
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_domain_has_more_than_it_may() {
    const FULL: Result<(), CommitError> = Err(CommitError::Refused(Refusal::Full));
    let limits = Limits { domain_keys_max: 3, domain_secrets_max: 2, ..Limits::default() };
    let region = Region::of("quota", RegionSpec { limits, ..spec() }, |_| {});
    let _witness = region.witness().await;
    let (head, tail) = region.databases().await;
    let (a, b) = (region.client("host-a1"), region.client("host-b1"));
    region.until_writable(&a).await;
    region.until_writable(&b).await;
    // Of many at once, in whatever batches, as many are made as may be.
    let names: Vec<String> = (0..8).map(|number| of(KIND_SERVICE_KEY, 'd', number)).collect();
    let many = names.chunks(1).enumerate().map(|(turn, name)| {
        let client = if turn % 2 == 0 { &a } else { &b };
        make(&region, client, name)
    });
    let made = join_all(many).await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 3, "{made:?}");
    assert_eq!(made.iter().filter(|made| **made == FULL).count(), 5, "{made:?}");
    // Another domain, and other kinds, have their own.
    let key = |domain, number| of(KIND_SERVICE_KEY, domain, number);
    assert_eq!(make(&region, &a, &[key('e', 1), key('e', 2)]).await, Ok(()));
    assert_eq!(make(&region, &a, &[key('e', 3), key('e', 4)]).await, FULL, "all or nothing");
    assert_eq!(make(&region, &a, &[key('e', 3)]).await, Ok(()));
    let secret = |number| of(KIND_SECRET, 'd', number);
    assert_eq!(
        make(&region, &a, &[secret(1), secret(2), of(3, 'd', 1), of(3, 'd', 2), of(3, 'd', 3)]).await,
        Ok(())
    );
    assert_eq!(make(&region, &b, &[secret(3)]).await, FULL);
    // What is there is written again, and what goes makes room.
    let first = names.iter().zip(&made).find(|(_, made)| made.is_ok()).expect("one").0;
    let version = match a.get(kms::store::api::Place::Near, crate::region::key(first)).await {
        Ok(kms::store::api::Reading::Settled(Some(record))) => record.version,
        other => panic!("{other:?}"),
    };
    let attempt = region.attempt();
    let (again, version) = put(attempt, first, Some(version), b"sealed anew");
    assert_eq!(a.commit(attempt, again.clone()).await, Ok(()));
    let gone = Transaction {
        expect: vec![kms::record::Expect { key: crate::region::key(first), version: Some(version) }],
        delete: vec![crate::region::key(first)],
        ..Transaction::default()
    };
    assert_eq!(a.commit(region.attempt(), gone).await, Ok(()));
    assert_eq!(make(&region, &a, &[key('d', 9)]).await, Ok(()));
    assert_eq!(make(&region, &a, &[key('d', 10)]).await, FULL);

    let wanted = [
        DomainCounts { domain: id('d'), keys: 3, secrets: 2 },
        DomainCounts { domain: id('e'), keys: 3, secrets: 0 },
    ];
    assert_eq!(counted(&region, "db-a").await, wanted);
    assert_eq!(counted(&region, "db-b").await, wanted);
    let (tail, _) = region.lose_and_rebuild_tail(tail).await;
    assert_eq!(counted(&region, "db-b").await, wanted, "made anew from rows");
    head.shutdown().await;
    let head = region.database("db-a").await;
    region.until_writable(&a).await;
    assert_eq!(counted(&region, "db-a").await, wanted);
    assert_eq!(make(&region, &a, &[key('e', 11)]).await, FULL, "after a start");
    head.shutdown().await;
    tail.shutdown().await;
}
