//! The end of a domain's service over real sockets and files: refused at once, by both databases and after a restart; its key gone
//! from both, from the replica that was away, and from both backup stores; and not brought back by a store of the past.

use crate::{
    region::{Region, Says, key},
    replica::Third,
};
use kms::{
    config::Zone,
    init,
    limits::ms,
    operator::{
        domain::Erased,
        restore::{Copy, RestorePlan},
        session::RebuildError,
    },
    record::{Expect, RecordKey, SealedRecord, Transaction, Version},
    store::{
        api::{CommitError, Place, ReadError, Reading, RecordStore, Refusal},
        client::StoreClient,
        epoch::Statement,
        termination::{Termination, termination_key},
    },
    vault::{KIND_SERVICE_KEY, record_key, record_prefix},
    wire::epoch::OrderKind,
};
use uuid::Uuid;

const STORES: [&str; 2] = ["eu-west-sbg", "eu-west-gra"];
const PLACES: [Place; 2] = [Place::Near, Place::Far];

fn keyring(region: &Region, node: &str) -> Vec<Uuid> {
    let dir = region.scratch.path(node).join(init::DATA_DIR).join(init::STORE_DIR).join("keyring");
    let names = region.env.disk.list(&dir).expect("a keyring");
    names.iter().map(|name| name.to_str().and_then(|name| name.parse().ok()).expect("a domain")).collect()
}

fn keyring_beside_backups(region: &Region, store: &str) -> usize {
    let names =
        region.env.disk.list(&region.scratch.path(&format!("backups/{store}/keyring"))).expect("lists");
    names.iter().filter(|name| name.to_str().is_some_and(|name| name.parse::<Uuid>().is_ok())).count()
}

async fn put(region: &Region, client: &StoreClient, key: RecordKey) -> Result<(), CommitError> {
    region.until_writable(client).await;
    let id = region.attempt();
    let record = SealedRecord { version: Version { counter: 1, commit_id: id }, blob: b"sealed".to_vec() };
    let expect = vec![Expect { key: key.clone(), version: None }];
    client
        .commit(id, Transaction { expect, put: vec![(key, record)], delete: Vec::new(), ends: Vec::new() })
        .await
}

/// Nothing about the domain is answered, and what is not about it is.
async fn is_refused(region: &Region, domain: Uuid) {
    let client = region.client("host-a1");
    region.until_writable(&client).await;
    let record = record_key(KIND_SERVICE_KEY, domain, Uuid::from_u128(1));
    for place in PLACES {
        // The host's connection to it may be on its way.
        for _ in 0..200 {
            if client.get(place, record.clone()).await != Err(ReadError::Unreachable) {
                break;
            }
            region.env.sleep(ms(25)).await;
        }
        assert_eq!(client.get(place, record.clone()).await, Err(ReadError::Terminated), "{place:?}");
        let scan = client.scan(place, record_prefix(KIND_SERVICE_KEY, domain), None, 10).await;
        assert_eq!(scan, Err(ReadError::Terminated), "{place:?}");
        let sealed = client.keyring(place, domain.into_bytes()).await;
        assert_eq!(sealed, Err(ReadError::Terminated), "{place:?}");
        assert!(matches!(client.get(place, key("k")).await, Ok(Reading::Settled(Some(_)))), "{place:?}");
    }
    let another = record_key(KIND_SERVICE_KEY, domain, Uuid::from_u128(9));
    let refused = Err(CommitError::Refused(Refusal::Terminated));
    assert_eq!(put(region, &client, another).await, refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_domain_is_refused_and_its_key_goes_from_every_place() {
    let third = Third::of(Region::with_backups("domain-end", STORES[0], STORES));
    let region = &third.region;
    let (_witness, head, tail) = region.begin_work().await;
    let replica = third.start().await;
    let domain = keyring(region, "db-a")[0];
    let client = region.client("host-a1");
    put(region, &client, record_key(KIND_SERVICE_KEY, domain, Uuid::from_u128(1))).await.expect("committed");
    third.until_backed_up(2).await;
    assert_eq!(STORES.map(|store| keyring_beside_backups(region, store)), [1, 1]);
    let operator = region.operator();
    assert_eq!(operator.domains().await.expect("lists").served.into_iter().collect::<Vec<_>>(), [domain]);
    replica.shutdown().await;
    region.copy(&format!("backups/{}", STORES[1]), "old-store");

    // Only the operator ends a service, only of what is there, and only with both databases.
    let forged = put(region, &client, termination_key(domain)).await;
    assert!(matches!(forged, Err(CommitError::Refused(_))), "{forged:?}");
    let mut says = Says::new(false);
    let unknown = operator.terminate_domain(Uuid::from_u128(5), &mut says).await;
    assert!(matches!(&unknown, Err(RebuildError::Refused(why)) if why.contains("not known")), "{unknown:?}");
    let statement = region.sign(&Statement::Terminate(Termination { domain, made_ms: 1 }));
    let at_tail = region.order(Zone::B, OrderKind::TerminateDomain, statement).await;
    assert!(at_tail.is_err_and(|error| error.to_string().contains("this is the tail")));
    assert_eq!(keyring(region, "db-a"), [domain]);

    operator.terminate_domain(domain, &mut says).await.expect("terminated");
    Box::pin(is_refused(region, domain)).await;
    let erased = |status: &kms::store::server::DatabaseStatus| {
        status.terminated.iter().any(|ended| ended.domain == domain && ended.erased)
    };
    for node in ["db-a", "db-b"] {
        region.until(node, "its key is gone", erased).await;
        assert!(keyring(region, node).is_empty());
    }
    // The replica is away: it and the stores are told as open.
    let ended = operator.domains().await.expect("lists").ended;
    assert!(ended.len() == 1 && !ended[0].gone(), "{ended:?}");
    let open: Vec<&str> = ended[0].unconfirmed().map(|place| place.name.as_str()).collect();
    assert_eq!(open, ["backup stores", "replica"]);
    assert_eq!(STORES.map(|store| keyring_beside_backups(region, store)), [1, 1]);

    // It stays so after a restart, and is said again without harm.
    for node in [head, tail] {
        node.shutdown().await;
    }
    let (head, tail) = region.databases().await;
    Box::pin(is_refused(region, domain)).await;
    operator.terminate_domain(domain, &mut says).await.expect("it is that already");

    // The replica is back.
    let replica = third.start().await;
    let all_gone = async {
        for _ in 0..400 {
            let ended = operator.copies().await.ended();
            if ended.iter().all(|ended| ended.domain == domain && ended.gone()) && !ended.is_empty() {
                assert!(
                    ended[0].places.len() == 5 && ended[0].places.iter().all(|at| at.state == Erased::Yes)
                );
                return true;
            }
            region.env.sleep(ms(25)).await;
        }
        false
    };
    assert!(all_gone.await, "{:?}", operator.copies().await.ended());
    assert!(keyring(region, "replica").is_empty());
    assert_eq!(STORES.map(|store| keyring_beside_backups(region, store)), [0, 0]);
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
    Box::pin(everything_is_lost(&third, domain)).await;
}

/// And one of the stores is that of the time before: the other one says that the domain's service has ended.
async fn everything_is_lost(third: &Third, domain: Uuid) {
    let region = &third.region;
    let operator = region.operator();
    let client = region.client("host-a1");
    for node in ["db-a", "db-b", "replica"] {
        region.lose_disk(node);
    }
    region.lose(&format!("backups/{}", STORES[1]));
    region.copy("old-store", &format!("backups/{}", STORES[1]));
    assert_eq!(keyring_beside_backups(region, STORES[1]), 1);
    let replica = third.start().await;
    let (head, tail) = region.databases().await;
    let from = Copy::Backup { store: Some(STORES[1].to_owned()), at_ms: None };
    let plan = RestorePlan { from, ..RestorePlan::default() };
    Box::pin(operator.restore(&plan, &mut Says::new(true))).await.expect("restored");
    region.until_writable(&client).await;
    for place in PLACES {
        let mut answer = client.keyring(place, domain.into_bytes()).await;
        for _ in 0..200 {
            if answer == Err(ReadError::Terminated) {
                break;
            }
            // The host's connection to it is made anew in a moment.
            region.env.sleep(ms(25)).await;
            answer = client.keyring(place, domain.into_bytes()).await;
        }
        assert_eq!(answer, Err(ReadError::Terminated), "{place:?}");
    }
    third.until("deletes it there too", |status| status.backups.iter().all(|store| store.number > 0)).await;
    for _ in 0..200 {
        if keyring_beside_backups(region, STORES[1]) == 0 {
            break;
        }
        region.env.sleep(ms(25)).await;
    }
    assert_eq!(STORES.map(|store| keyring_beside_backups(region, store)), [0, 0]);
    // The restored region knows it from the operator's statement beside the backups; to say it again changes nothing.
    operator.terminate_domain(domain, &mut Says::new(false)).await.expect("it has ended");
    Box::pin(is_refused(region, domain)).await;
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_records_of_a_domain_go_thirty_days_later() {
    let (region, _witness, head, tail) = Region::at_work("domain-purge").await;
    let domain = keyring(&region, "db-a")[0];
    let client = region.client("host-a1");
    for id in 0..70 {
        let key = record_key(KIND_SERVICE_KEY, domain, Uuid::from_u128(id));
        put(&region, &client, key).await.expect("committed");
    }
    let records = |count: u64| move |status: &kms::store::server::DatabaseStatus| status.records == count;
    region.until("db-a", "has them", records(71)).await;
    region.operator().terminate_domain(domain, &mut Says::new(false)).await.expect("terminated");
    region.env.sleep(ms(200)).await;
    region.until("db-a", "keeps them, and the record of the end", records(72)).await;
    for node in [head, tail] {
        node.shutdown().await;
    }

    // The same, as it were in 1970.
    let (region, _witness, _head, _tail) = Region::at_work("domain-purge-1970").await;
    let domain = keyring(&region, "db-a")[0];
    let client = region.client("host-a1");
    for id in 0..70 {
        let key = record_key(KIND_SERVICE_KEY, domain, Uuid::from_u128(id));
        put(&region, &client, key).await.expect("committed");
    }
    let long_ago = region.sign(&Statement::Terminate(Termination { domain, made_ms: 1 }));
    region.order(Zone::A, OrderKind::TerminateDomain, long_ago).await.expect("terminated");
    for node in ["db-a", "db-b"] {
        region.until(node, "has another domain's record and that of the end", records(2)).await;
    }
    Box::pin(is_refused(&region, domain)).await;
}
