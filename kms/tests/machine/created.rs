//! A domain that is made in a running region (R23), over real sockets and files: by an operator at a host, used at every host, kept by
//! every copy, and never begun again after its end.

use crate::{
    region::{Region, Says},
    replica::Third,
    rest::Client,
};
use kms::{
    api::{
        admin::{self, AdminServer},
        rest::{RestServer, serve},
    },
    config::NodeConfig,
    init::{self, AccessCa, NODE_FILE, SignedCredential},
    limits::ms,
    operator::{
        admin::{Admin, AdminError, Credential},
        ask::ANSWER_WITHIN,
        restore::{Copy, RestorePlan},
    },
    record::{Expect, SealedRecord, Transaction, Version},
    store::{
        api::{CommitError, KeyringStep, Place, PutError, ReadError, RecordStore, Refusal},
        client::StoreClient,
    },
    vault::{KIND_SERVICE_KEY, RootSource, record_key},
    wire::tls::NodeTls,
};
use serde_json::json;
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};
use uuid::Uuid;

const STORES: [&str; 2] = ["eu-west-sbg", "eu-west-gra"];
const DATABASES: [&str; 2] = ["db-a", "db-b"];
const DOMAIN: Uuid = Uuid::from_u128(0x0d0d_0d0d_0d0d_4d0d_8d0d_0d0d_0d0d_0d0d);

/// A host that serves clients and the operator.
struct Host {
    rest: RestServer,
    admin: AdminServer,
}

impl Host {
    async fn start(region: &Region, node: &str) -> Host {
        let (disk, dir) = (&*region.env.disk, region.scratch.path(node));
        let mut config = NodeConfig::load(disk, &dir.join(NODE_FILE)).expect("config");
        config.rest_listen = Some("127.0.0.1:0".to_owned());
        let tls = NodeTls::load(&region.env, &config).expect("tls");
        let root = RootSource::open(Arc::clone(&region.env.disk), &config).expect("a root key");
        let client = region.client(node);
        region.until_writable(&client).await;
        let store: Arc<dyn RecordStore> = client;
        let rest = serve(region.env.clone(), &config, store, root).await.expect("serves");
        let admin = admin::serve("127.0.0.1:0", tls, &rest).await.expect("is administered");
        Host { rest, admin }
    }

    fn operator(&self, region: &Region) -> Admin {
        let tls = region.operator_config().tls(&region.env, ANSWER_WITHIN).expect("tls");
        Admin::at(region.env.clone(), tls, self.admin.address())
    }

    /// Makes the domain, which a busy machine may refuse for a moment.
    async fn create(&self, region: &Region) -> bool {
        for _ in 0..100 {
            match self.operator(region).create_domain(DOMAIN).await {
                Err(AdminError::Answered { status: 503, .. }) => region.env.sleep(ms(100)).await,
                done => return done.expect("made"),
            }
        }
        panic!("refused for ten seconds");
    }

    async fn client(&self, region: &Region, signed: &SignedCredential) -> Client {
        let key = signed.key_pem.as_ref().expect("a key");
        let pair = (signed.certificate_pem.as_str(), key.as_str());
        let ca = text(region, "host-a1/node-ca.crt");
        Client::connect(&region.env, self.rest.address(), &ca, pair, DOMAIN).await
    }

    /// Registers a certificate of the domain.
    async fn credential(&self, region: &Region) -> SignedCredential {
        let file = |name: &str| text(region, &format!("operator/{name}"));
        let ca = AccessCa::from_pem(&file("access-ca.crt"), &file("access-ca.key")).expect("a CA");
        let signed = ca.sign(&region.env, DOMAIN, None, 1).expect("signed");
        let credential = Credential {
            id: signed.id,
            name: "first".to_owned(),
            description: String::new(),
            identities: Vec::new(),
            created_s: region.env.wall_ms() / 1_000,
            expires_s: signed.expires_s,
            revoked_s: None,
            from_csr: false,
            certificate_pem: signed.certificate_pem.clone(),
        };
        for _ in 0..100 {
            match self.operator(region).register(DOMAIN, &credential).await {
                Err(AdminError::Answered { status: 503, .. }) => region.env.sleep(ms(100)).await,
                done => {
                    done.expect("registered");
                    return signed;
                }
            }
        }
        panic!("refused for ten seconds");
    }
}

fn text(region: &Region, path: &str) -> String {
    let bytes = region.env.disk.read(&region.scratch.path(path)).expect("reads").expect("a file");
    String::from_utf8(bytes).expect("text")
}

fn keyring_dir(region: &Region, node: &str) -> PathBuf {
    region.scratch.path(node).join(init::DATA_DIR).join(init::STORE_DIR).join("keyring")
}

/// What lies there of the domain: under its own name, and begun.
fn keys(region: &Region, node: &str) -> [Option<Vec<u8>>; 2] {
    let read = |name: String| region.env.disk.read(&keyring_dir(region, node).join(name)).expect("reads");
    [read(DOMAIN.to_string()), read(format!("{DOMAIN}.begun"))]
}

async fn step(
    region: &Region,
    client: &StoreClient,
    step: KeyringStep,
    sealed: &[u8],
) -> Result<Vec<u8>, PutError> {
    region.until_writable(client).await;
    client.put_keyring(step, client.epoch(), DOMAIN.into_bytes(), sealed.to_vec()).await
}

async fn write(region: &Region, client: &StoreClient, id: u128) -> Result<(), CommitError> {
    region.until_writable(client).await;
    let (commit, key) = (region.attempt(), record_key(KIND_SERVICE_KEY, DOMAIN, Uuid::from_u128(id)));
    let record =
        SealedRecord { version: Version { counter: 1, commit_id: commit }, blob: b"sealed".to_vec() };
    let expect = vec![Expect { key: key.clone(), version: None }];
    let transaction = Transaction { expect, put: vec![(key, record)], delete: Vec::new(), ends: Vec::new() };
    client.commit(commit, transaction).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_is_made_once_and_used_at_every_host() {
    let (region, _witness, head, tail) = Region::at_work("created").await;
    let hosts = [Host::start(&region, "host-a1").await, Host::start(&region, "host-b1").await];
    let unknown = hosts[1].operator(&region).inventory(DOMAIN).await;
    assert_eq!(unknown.expect_err("not there").status(), Some(404));
    assert!(hosts[0].create(&region).await, "it is new");
    let [own, begun] = keys(&region, "db-a");
    assert!(own.is_some() && begun.is_none(), "it is there, and not only begun");
    assert_eq!(keys(&region, "db-b"), [own.clone(), None]);
    // After a lost answer, at whichever host.
    for host in &hosts {
        assert!(!host.create(&region).await, "it was there");
    }
    for node in DATABASES {
        assert_eq!(keys(&region, node), [own.clone(), None], "{node}: one domain, one key");
    }
    let listed = region.operator().domains().await.expect("lists");
    assert!(listed.served.contains(&DOMAIN) && listed.half_made.is_empty());

    // Its first credential is good at every host, and at those that had been asked before it was there.
    let signed = hosts[1].credential(&region).await;
    let mut made = Vec::new();
    for host in &hosts {
        let mut client = host.client(&region, &signed).await;
        let body = json!({"name": "k", "type": "oct", "size": 256, "operations": ["encrypt", "decrypt"]});
        let key = client.call("POST", "/v1/servicekey", body).await.is(201);
        made.push(key["id"].as_str().expect("an id").to_owned());
    }
    for node in [head, tail] {
        node.shutdown().await;
    }
    let (head, tail) = region.databases().await;
    region.until_writable(&region.client("host-a1")).await;
    for host in &hosts {
        let mut client = host.client(&region, &signed).await;
        for key in &made {
            client.get(&format!("/v1/servicekey/{key}")).await.is(200);
        }
    }

    // It ends as any other, and never begins again.
    region.operator().terminate_domain(DOMAIN, &mut Says::new(false)).await.expect("ended");
    let erased = |status: &kms::store::server::DatabaseStatus| {
        status.terminated.iter().any(|ended| ended.domain == DOMAIN && ended.erased)
    };
    for node in DATABASES {
        region.until(node, "its key is gone", erased).await;
    }
    for host in &hosts {
        let Err(AdminError::Answered { status, sentence, .. }) =
            host.operator(&region).create_domain(DOMAIN).await
        else {
            panic!("it has ended")
        };
        assert_eq!(status, 409, "{sentence}");
        assert!(sentence.contains("never used again"), "{sentence}");
    }
    for node in DATABASES {
        assert_eq!(keys(&region, node), [None, None], "{node}");
    }
    let client = region.client("host-a1");
    for (asked, at) in [(KeyringStep::Begin, "head"), (KeyringStep::Keep, "tail")] {
        let refused = step(&region, &client, asked, &[1; 61]).await;
        assert_eq!(refused, Err(PutError::Not(ReadError::Terminated)), "{at}");
    }
    for node in [head, tail] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_needs_both_databases_and_a_repeat_goes_on() {
    let (region, _witness, head, tail) = Region::at_work("created-half").await;
    let host = Host::start(&region, "host-a1").await;
    tail.shutdown().await;
    // Known or not: a database that is away takes nothing.
    let refused = host.operator(&region).create_domain(DOMAIN).await;
    assert_eq!(refused.expect_err("refused").status(), Some(503));
    let tail = region.database("db-b").await;
    let client = region.client("host-a1");
    let first = step(&region, &client, KeyringStep::Begin, &[1; 61]).await.expect("begun");
    let begun = [None, Some(first.clone())];
    assert_eq!(keys(&region, "db-a"), begun);
    let listed = region.operator().domains().await.expect("lists");
    assert!(!listed.served.contains(&DOMAIN), "not there yet");
    assert_eq!(listed.half_made, BTreeSet::from([DOMAIN]), "but an operator sees that it was begun");
    assert_eq!(client.keyring(Place::Near, DOMAIN.into_bytes()).await, Ok(None), "and given to nobody");
    // Somebody else begins: one key.
    assert_eq!(step(&region, &client, KeyringStep::Begin, &[2; 61]).await.expect("begun"), first);

    // Nothing that does not fit is taken.
    assert_eq!(step(&region, &client, KeyringStep::End, &[2; 61]).await.expect("left"), first);
    assert_eq!(keys(&region, "db-a"), begun, "another one ends nothing");
    for odd in [vec![], vec![1; 129]] {
        let refused = step(&region, &client, KeyringStep::Begin, &odd).await;
        assert_eq!(refused, Err(PutError::Not(ReadError::NotServing)), "{} bytes", odd.len());
    }
    let (number, _) = client.epoch();
    let elsewhere = (number, [7; 16].into());
    let refused = client.put_keyring(KeyringStep::Keep, elsewhere, DOMAIN.into_bytes(), first.clone()).await;
    assert_eq!(refused, Err(PutError::Not(ReadError::EpochChanged)));
    assert_eq!(keys(&region, "db-b"), [None, None]);

    // The tail has it, the head does not know that: nothing is written, also after a restart.
    assert_eq!(step(&region, &client, KeyringStep::Keep, &first).await.expect("kept"), first);
    assert_eq!(step(&region, &client, KeyringStep::Keep, &[2; 61]).await.expect("left"), first);
    let early = Err(CommitError::Refused(Refusal::InDoubt));
    assert_eq!(write(&region, &client, 1).await, early);
    head.shutdown().await;
    let head = region.database("db-a").await;
    assert_eq!(write(&region, &client, 1).await, early);
    assert_eq!(step(&region, &client, KeyringStep::End, &first).await.expect("there"), first);
    for node in DATABASES {
        assert_eq!(keys(&region, node), [Some(first.clone()), None], "{node}");
    }
    assert_eq!(write(&region, &client, 1).await, Ok(()));
    // What lies there does not open under the root key: a host says so, and leaves it.
    let damaged = host.operator(&region).create_domain(DOMAIN).await;
    assert_eq!(damaged.expect_err("damaged").status(), Some(500));
    for node in [head, tail] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_missing_beside_one_log_is_put_back_and_no_other_takes_its_place() {
    for missing in DATABASES {
        let (region, _witness, head, tail) = Region::at_work(&format!("created-mended-{missing}")).await;
        let (host, client) = (Host::start(&region, "host-a1").await, region.client("host-a1"));
        assert!(host.create(&region).await);
        assert_eq!(write(&region, &client, 1).await, Ok(()));
        let made = keys(&region, missing);
        let [head, tail] = match missing {
            "db-a" => {
                head.shutdown().await;
                region.env.disk.remove(&keyring_dir(&region, "db-a").join(DOMAIN.to_string())).expect("gone");
                [region.database("db-a").await, tail]
            }
            _ => {
                tail.shutdown().await;
                region.env.disk.remove(&keyring_dir(&region, "db-b").join(DOMAIN.to_string())).expect("gone");
                [head, region.database("db-b").await]
            }
        };
        if missing == "db-a" {
            let refused = step(&region, &client, KeyringStep::Begin, &[2; 61]).await;
            assert_eq!(refused, Err(PutError::Not(ReadError::Damaged)), "there are records of it");
        }
        assert_eq!(keys(&region, missing), [None, None]);
        assert!(!host.create(&region).await, "it was there");
        for node in DATABASES {
            assert_eq!(keys(&region, node), made, "{node}");
        }
        assert_eq!(write(&region, &client, 2).await, Ok(()));
        for node in [head, tail] {
            node.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_begun_outlives_the_other_database() {
    let (region, _witness, head, tail) = Region::at_work("created-rebuilt").await;
    let client = region.client("host-a1");
    let first = step(&region, &client, KeyringStep::Begin, &[1; 61]).await.expect("begun");
    let (tail, _) = region.lose_and_rebuild_tail(tail).await;
    assert_eq!(keys(&region, "db-a"), [None, Some(first.clone())]);
    assert_eq!(keys(&region, "db-b"), [Some(first.clone()), None], "as if it had been put there");
    region.commit("l").await;
    assert_eq!(step(&region, &client, KeyringStep::Keep, &first).await.expect("kept"), first);
    assert_eq!(step(&region, &client, KeyringStep::End, &first).await.expect("there"), first);
    assert_eq!(write(&region, &client, 1).await, Ok(()));
    for node in [head, tail] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_is_half_made_is_ended_as_any_other() {
    let (region, _witness, head, tail) = Region::at_work("created-ended").await;
    let client = region.client("host-a1");
    let first = step(&region, &client, KeyringStep::Begin, &[1; 61]).await.expect("begun");
    assert_eq!(keys(&region, "db-a"), [None, Some(first.clone())]);
    region.operator().terminate_domain(DOMAIN, &mut Says::new(false)).await.expect("ended");
    let erased = |status: &kms::store::server::DatabaseStatus| {
        status.terminated.iter().any(|ended| ended.domain == DOMAIN && ended.erased)
    };
    region.until("db-a", "its key is gone", erased).await;
    assert_eq!(keys(&region, "db-a"), [None, None]);
    // What was on its way.
    for late in [KeyringStep::Keep, KeyringStep::End] {
        let refused = step(&region, &client, late, &first).await;
        assert_eq!(refused, Err(PutError::Not(ReadError::Terminated)), "{late:?}");
    }
    assert_eq!(write(&region, &client, 1).await, Err(CommitError::Refused(Refusal::Terminated)));
    for node in [head, tail] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_copy_has_the_key_before_the_first_record() {
    let third = Third::of(Region::with_backups("created-copies", STORES[0], STORES));
    let region = &third.region;
    let (witness, head, tail) = region.begin_work().await;
    let replica = third.start().await;
    third.until("follows", |status| status.last >= 1 && status.lag_ms.is_some()).await;
    let host = Host::start(region, "host-a1").await;
    assert!(host.create(region).await);
    let signed = host.credential(region).await;
    let written = region.status("db-a").await.expect("answers").last;
    // The feed that was under way when it was made had no key to give.
    third.until("has the first record", |status| status.last >= written).await;
    let [own, _] = keys(region, "db-a");
    assert_eq!(keys(region, "replica"), [own.clone(), None]);
    third.until_backed_up(written).await;
    for store in STORES {
        let beside = region.scratch.path(&format!("backups/{store}/keyring")).join(DOMAIN.to_string());
        assert_eq!(region.env.disk.read(&beside).expect("reads"), own, "{store}");
    }
    let mut client = host.client(region, &signed).await;
    let body = json!({"name": "k", "type": "oct", "size": 256, "operations": ["encrypt", "decrypt"]});
    let key = client.call("POST", "/v1/servicekey", body).await.is(201)["id"].clone();
    let path = format!("/v1/servicekey/{}", key.as_str().expect("an id"));
    let written = region.status("db-a").await.expect("answers").last;
    third.until_backed_up(written).await;

    // Of the replica, then of a backup.
    let mut databases = [head, tail];
    let mut replica = replica;
    for from in [Copy::Replica, Copy::Backup { store: None, at_ms: None }] {
        for node in databases {
            node.shutdown().await;
        }
        for node in DATABASES {
            region.lose_disk(node);
        }
        if from != Copy::Replica {
            replica.shutdown().await;
            region.lose_disk("replica");
            replica = third.start().await;
        }
        databases = region.databases().await.into();
        let plan = RestorePlan { from, ..RestorePlan::default() };
        Box::pin(region.operator().restore(&plan, &mut Says::new(true))).await.expect("restored");
        region.until_writable(&region.client("host-a1")).await;
        for node in DATABASES {
            assert_eq!(keys(region, node), [own.clone(), None], "{node}");
        }
        host.client(region, &signed).await.get(&path).await.is(200);
        third.until("follows again", |status| status.active && status.lag_ms.is_some()).await;
    }
    for node in databases {
        node.shutdown().await;
    }
    replica.shutdown().await;
    witness.shutdown().await;
}
