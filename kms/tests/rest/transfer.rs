//! A whole domain out and into another one, by its owner's tools: what comes back, what is in the way, and what is broken off.

use crate::{client::Client, region::Region};
use base64::{Engine, engine::general_purpose::STANDARD};
use kms::{
    container::Counts,
    crypto::asymmetric::{Jwk, PrivateKey, PublicKey, Shape},
    customer::{self, Access, Customer, CustomerError, Mode, Progress, Tally},
    env::{BlockFile, Env, OpenMode},
    iam::Policy,
    record::RecordKey,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

/// The owner's key, and another one.
pub(crate) static OWNER: LazyLock<[PrivateKey; 2]> = LazyLock::new(|| {
    let env = kms::os::env();
    [(); 2].map(|()| PrivateKey::generate(&env, Shape::Rsa(3072)).expect("a key"))
});

pub(crate) fn to() -> PublicKey {
    OWNER[0].public()
}

/// A directory of its own, removed at the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        let dir =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("transfer-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::DirBuilder::new().recursive(true).create(&dir).expect("a directory");
        Scratch(dir)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("domain.okms")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What was told, and what is done when a step is.
#[derive(Default)]
pub(crate) struct Told<'a> {
    conflicts: Vec<String>,
    steps: Vec<&'static str>,
    then: Option<&'a dyn Fn(&'static str)>,
}

impl Progress for Told<'_> {
    fn done(&mut self, what: &'static str, _: &Counts, _: u64) {
        self.steps.push(what);
        if let Some(then) = self.then {
            then(what);
        }
    }
    fn conflict(&mut self, what: &str) {
        self.conflicts.push(what.to_owned());
    }
}

/// The real disk, and the network.
pub(crate) fn env() -> Env {
    kms::os::env()
}

pub(crate) fn owner(region: &Region, index: usize) -> Customer {
    let client = &region.bundle.clients[index];
    let access = Access {
        endpoint: region.server.address(),
        domain: client.domain,
        ca: Some(region.bundle.ca_pem.as_bytes()),
        cert: client.cert_pem.as_bytes(),
        key: client.key_pem.as_bytes(),
        patience: Duration::ZERO,
    };
    Customer::new(&env(), &access).expect("a customer")
}

/// Lets every certificate of a domain do one thing on all of it.
pub(crate) async fn allow(region: &Region, index: usize, action: &str) {
    let domain = region.bundle.clients[index].domain;
    let policy = Policy {
        name: action.replace('/', "-"),
        identities: vec!["*".to_owned()],
        allow: vec![format!("okms:apikms:{action}")],
        deny: Vec::new(),
        resources: vec![format!("urn:v1:eu:resource:okms:{domain}")],
    };
    region.operator().put_policy(domain, &policy).await.expect("put");
}

/// A region whose first domain may be taken out, and whose second one may take something in.
pub(crate) async fn region() -> Region {
    let region = Region::new().await;
    allow(&region, 0, "domain/export").await;
    allow(&region, 1, "domain/import").await;
    region
}

pub(crate) async fn client_of(region: &Region, index: usize) -> Client {
    let mut client = region.client_of(index).await;
    client.base = format!("/api/{}", region.bundle.clients[index].domain);
    client
}

pub(crate) async fn taken(region: &Region, file: &Path) -> Counts {
    let exported = customer::export(&mut owner(region, 0), &to(), file, &mut Told::default()).await;
    exported.expect("exported").counts
}

fn opened(file: &Path) -> Box<dyn BlockFile> {
    env().disk.open(file, OpenMode::Existing).expect("opens")
}

pub(crate) async fn brought(
    region: &Region,
    index: usize,
    file: &Path,
    mode: Mode,
) -> Result<customer::Imported, CustomerError> {
    customer::import(&mut owner(region, index), &*opened(file), &OWNER[0], mode, &mut Told::default()).await
}

pub(crate) async fn made(client: &mut Client, body: Value) -> String {
    let answer = client.post("/v1/servicekey", body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.text("id").to_owned()
}

const WAYS: [&str; 4] = ["active", "deactivated", "compromised", "destroyed"];

/// Keys of every type and state; their ids.
async fn keys(client: &mut Client) -> Vec<String> {
    let mut ids = Vec::new();
    let elsewhere = |shape| Jwk::of_private(&PrivateKey::generate(&env(), shape).expect("a key"));
    let public = serde_json::to_value(Jwk::of_public(&OWNER[1].public())).expect("JSON");
    let pair = serde_json::to_value(elsewhere(Shape::Rsa(2048))).expect("JSON");
    for body in [
        json!({"name": "needle 128", "type": "oct", "size": 128, "context": "needle context"}),
        json!({"name": "192", "type": "oct", "size": 192, "extractable": true}),
        json!({"name": "256", "type": "oct", "size": 256, "operations": ["wrapKey", "unwrapKey", "encrypt"]}),
        json!({"name": "P-256", "type": "EC", "curve": "P-256"}),
        json!({"name": "P-384", "type": "EC", "curve": "P-384", "operations": ["sign"]}),
        json!({"name": "P-521", "type": "EC", "curve": "P-521", "extractable": true}),
        json!({"name": "RSA", "keys": [pair]}),
        json!({"name": "RSA transport", "keys": [pair], "operations": ["wrapKey", "unwrapKey"]}),
        json!({"name": "a partner's", "keys": [public]}),
    ] {
        ids.push(made(client, body).await);
    }
    for way in WAYS {
        let id = made(client, json!({"name": way, "type": "EC"})).await;
        let path = format!("/v1/servicekey/{id}");
        let reason = if way == "compromised" { "key_compromise" } else { "superseded" };
        if way != "active" {
            let answer = client.post(&format!("{path}/deactivate"), json!({"reason": reason})).await;
            assert_eq!(answer.status, 204, "{}", answer.body);
        }
        if way == "destroyed" {
            assert_eq!(client.call("DELETE", &path, None).await.status, 204);
        }
        ids.push(id);
    }
    ids
}

const SECRETS: [&str; 4] = ["needle/database", "empty", "gone/by/one", "dated"];

async fn secrets(client: &mut Client) {
    let config = json!({"maxVersions": 7, "deactivateVersionAfter": "30d"});
    assert_eq!(client.call("PUT", "/v2/secretConfig", Some(config)).await.status, 200);
    let metadata = json!({"maxVersions": 3, "casRequired": true, "customMetadata": {"owner": "needle"}});
    let body =
        json!({"path": "needle/database", "version": {"data": {"needle": "needle 1"}}, "metadata": metadata});
    assert_eq!(client.post("/v2/secret", body).await.status, 200);
    for n in 1..=4 {
        let path = format!("/v2/secret/needle/database/version?cas={n}");
        let data = json!({"data": {"n": n, "deep": {"x": [1, 2.5, null]}}});
        assert_eq!(client.post(&path, data).await.status, 200);
    }
    let empty = client.post("/v1/secret/metadata/empty", json!({"max_versions": 2})).await;
    assert_eq!(empty.status, 204, "{}", empty.body);
    for (path, state) in [("gone/by/one", "deleted"), ("dated", "deactivated"), ("dropped", "active")] {
        let body = json!({"path": path, "version": {"data": {"v": 1}}});
        assert_eq!(client.post("/v2/secret", body).await.status, 200);
        let more = client.post(&format!("/v2/secret/{path}/version"), json!({"data": {"v": 2}})).await;
        assert_eq!(more.status, 200);
        let path = format!("/v2/secret/{path}/version/1");
        assert_eq!(client.call("PUT", &path, Some(json!({"state": state}))).await.status, 200);
    }
    assert_eq!(client.call("DELETE", "/v2/secret/dropped", None).await.status, 204);
}

/// All that a client is shown of a secret.
async fn shown(client: &mut Client, path: &str) -> Vec<Value> {
    let mut all = vec![client.get(&format!("/v2/secret/{path}")).await.body];
    // It names the domain.
    all[0]["metadata"].as_object_mut().map(|fields| fields.remove("urn"));
    for n in 1..=5 {
        let mut answer = client.get(&format!("/v2/secret/{path}/version/{n}?includeData=true")).await.body;
        answer.as_object_mut().map(|fields| fields.remove("request_id"));
        all.push(answer);
    }
    all
}

fn tally(new: u64, present: u64, conflict: u64) -> Tally {
    Tally { new, present, conflict }
}

/// What of a key does not come along: that it could never leave.
fn without_history(mut key: Value) -> Value {
    for name in ["never_extractable", "always_sensitive"] {
        key["attributes"].as_object_mut().expect("attributes").remove(name);
    }
    key
}

#[tokio::test]
async fn everything_comes_back_and_nothing_of_it_stands_in_the_file() {
    let (region, scratch) = (region().await, Scratch::new("round"));
    let mut one = client_of(&region, 0).await;
    let ids = keys(&mut one).await;
    secrets(&mut one).await;
    let sealed = one
        .post(&format!("/v1/servicekey/{}/encrypt", ids[0]), json!({"plaintext": "aGVsbG8=", "context": "c"}))
        .await;
    let message = json!({"message": "AAAA", "alg": "ES512"});
    let signed = one.post(&format!("/v1/servicekey/{}/sign", ids[5]), message).await;
    let file = scratch.file();
    let counts = taken(&region, &file).await;
    assert_eq!((counts.keys, counts.secrets, counts.secret_configs), (13, 4, 1));
    // 3, 4, 5 of one; 2 and 1, which is deactivated, of another; 2 of the one whose first was destroyed.
    assert_eq!(
        (counts.secret_versions, counts.policies),
        (6, 2),
        "the default policy is written down with the first"
    );

    let bytes = env().disk.read(&file).expect("reads").expect("is there");
    let text = String::from_utf8_lossy(&bytes);
    for secret in ["needle", STANDARD.encode("needle").trim_end_matches('='), "a partner", "P-521", "active"]
    {
        assert!(!text.contains(secret), "{secret} in clear");
    }

    let mut two = client_of(&region, 1).await;
    let dry = brought(&region, 1, &file, Mode { dry_run: true, ..Mode::default() }).await.expect("a dry run");
    assert_eq!((dry.keys, dry.secrets, dry.configs), (tally(13, 0, 0), tally(4, 0, 0), tally(1, 0, 0)));
    assert_eq!(
        two.get("/v1/servicekey?state=all").await.body["objects_list"],
        json!([]),
        "nothing was written"
    );
    let done = brought(&region, 1, &file, Mode::default()).await.expect("brought in");
    assert_eq!((done.keys, done.secrets, done.versions), (tally(13, 0, 0), tally(4, 0, 0), tally(6, 0, 0)));

    for id in &ids {
        let path = format!("/v1/servicekey/{id}");
        let (was, is) = (one.get(&path).await.body, two.get(&path).await.body);
        assert!(is["attributes"]["state"].is_string(), "{is}");
        let kept = is["attributes"]["never_extractable"].clone();
        assert_ne!(kept, json!(true), "it was elsewhere: {is}");
        assert_eq!(without_history(was), without_history(is));
    }
    let path = format!("/v1/servicekey/{}/decrypt", ids[0]);
    let body = json!({"ciphertext": sealed.text("ciphertext"), "context": "c"});
    assert_eq!(
        two.post(&path, body).await.text("plaintext"),
        "aGVsbG8=",
        "what was encrypted there opens here"
    );
    let verify = json!({"message": "AAAA", "alg": "ES512", "signature": signed.text("signature")});
    let verified = two.post(&format!("/v1/servicekey/{}/verify", ids[5]), verify).await;
    assert_eq!(verified.body["result"], json!(true));
    let again = two.post("/v1/servicekey", json!({"name": "x", "id": ids[12]})).await;
    assert_eq!(again.status, 409, "the id of a destroyed key means nothing else");
    for path in SECRETS {
        assert_eq!(shown(&mut one, path).await, shown(&mut two, path).await, "{path}");
    }
    assert_eq!(two.get("/v2/secret/dropped").await.status, 404);
    assert_eq!(two.get("/v2/secretConfig").await.body["maxVersions"], json!(7));
    let added = two.post("/v2/secret/needle/database/version?cas=5", json!({"data": {"n": 6}})).await;
    assert_eq!((added.status, added.body["id"].clone()), (200, json!(6)), "{}", added.body);

    let again = brought(&region, 1, &file, Mode::default()).await.expect("once more");
    assert_eq!((again.keys, again.secrets), (tally(0, 13, 0), tally(0, 4, 0)), "nothing comes in twice");
    // To where it came from: all of it is there, and what was deleted since comes back as another secret.
    allow(&region, 0, "domain/import").await;
    let back = brought(&region, 0, &file, Mode::default()).await.expect("nothing to do");
    assert_eq!((back.keys, back.secrets, back.configs), (tally(0, 13, 0), tally(0, 4, 0), tally(0, 1, 0)));
    let was = shown(&mut one, "dated").await;
    assert_eq!(one.call("DELETE", "/v2/secret/dated", None).await.status, 204);
    let back = brought(&region, 0, &file, Mode::default()).await.expect("the one");
    assert_eq!((back.secrets, back.versions.new), (tally(1, 3, 0), 2));
    assert_eq!(shown(&mut one, "dated").await, was);
}

/// Secrets of 60,000 bytes: a page holds some eight of them.
pub(crate) async fn large(client: &mut Client, many: u32) {
    for n in 0..many {
        let data = json!({"n": n, "x": "x".repeat(60_000)});
        let body = json!({"path": format!("large/{n}"), "version": {"data": data}});
        assert_eq!(client.post("/v2/secret", body).await.status, 200);
    }
}

fn down(region: &Region, down: bool) {
    let mut store = region.store.lock();
    (store.near_down, store.far_down) = (down, down);
}

#[tokio::test]
async fn an_export_that_is_broken_off_goes_on_and_one_that_is_not_ones_own_does_not() {
    let (region, scratch) = (region().await, Scratch::new("resumed"));
    let mut client = client_of(&region, 0).await;
    keys(&mut client).await;
    large(&mut client, 20).await;
    let file = scratch.file();
    let stop = |_: &'static str| down(&region, true);
    let mut told = Told { then: Some(&stop), ..Told::default() };
    let broken = customer::export(&mut owner(&region, 0), &to(), &file, &mut told).await;
    assert!(matches!(broken, Err(CustomerError::Patience { .. })), "{broken:?}");
    assert_eq!(told.steps.len(), 1, "after its first page");
    assert!(env().disk.read(&file).expect("reads").is_none(), "it has no name before it is whole");
    down(&region, false);
    let other = OWNER[1].public();
    let foreign = customer::export(&mut owner(&region, 0), &other, &file, &mut Told::default()).await;
    assert!(matches!(foreign, Err(CustomerError::Usage(_))), "{foreign:?}");
    // What was written behind the last page that counts does not.
    let part = scratch.0.join("domain.okms.part");
    let grown = opened(&part);
    grown.write(grown.len().expect("a length"), b"half a page").expect("writes");
    drop(grown);
    let mut told = Told::default();
    let done = customer::export(&mut owner(&region, 0), &to(), &file, &mut told).await.expect("goes on");
    assert!(done.resumed && told.steps.len() >= 2);
    assert_eq!((done.counts.keys, done.counts.secrets, done.counts.secret_versions), (13, 20, 20));
    let (_, counts) = customer::verify(&env(), &*opened(&file), &OWNER[0], |_| {}).expect("whole");
    assert_eq!(counts, done.counts);
    let names = env().disk.list(&scratch.0).expect("a list");
    assert_eq!(names, [PathBuf::from("domain.okms")], "nothing is left beside it");
    let again = customer::export(&mut owner(&region, 0), &to(), &file, &mut Told::default()).await;
    assert!(matches!(again, Err(CustomerError::Usage(_))), "nothing is written over");
}

#[tokio::test]
async fn an_import_that_is_broken_off_is_finished_by_running_it_again() {
    let (region, scratch) = (region().await, Scratch::new("again"));
    let mut one = client_of(&region, 0).await;
    let ids = keys(&mut one).await;
    secrets(&mut one).await;
    large(&mut one, 20).await;
    let file = scratch.file();
    taken(&region, &file).await;
    let stop = |what: &'static str| down(&region, what == "imported");
    let mut told = Told { then: Some(&stop), ..Told::default() };
    let broken =
        customer::import(&mut owner(&region, 1), &*opened(&file), &OWNER[0], Mode::default(), &mut told)
            .await;
    assert!(matches!(broken, Err(CustomerError::Patience { .. })), "{broken:?}");
    down(&region, false);
    let mut two = client_of(&region, 1).await;
    let some =
        two.get("/v1/servicekey?state=all").await.body["objects_list"].as_array().expect("a list").len();
    assert!(some > 0, "it had begun");
    let large_here = async |client: &mut Client| {
        let mut found = 0;
        for n in 0..20 {
            let answer = client.get(&format!("/v2/secret/large/{n}?includeData=true")).await;
            assert!([200, 404].contains(&answer.status), "whole or not at all: {}", answer.body);
            found += usize::from(answer.status == 200);
        }
        found
    };
    assert!(large_here(&mut two).await < 20);
    let done = brought(&region, 1, &file, Mode::default()).await.expect("finished");
    assert_eq!(done.keys.new + done.keys.present, 13);
    assert!(done.keys.present > 0 && done.secrets.new > 0);
    assert_eq!(large_here(&mut two).await, 20);
    for id in ids {
        assert_eq!(two.get(&format!("/v1/servicekey/{id}")).await.status, 200);
    }
    for path in SECRETS {
        assert_eq!(shown(&mut one, path).await, shown(&mut two, path).await, "{path}");
    }
}

pub(crate) fn records(region: &Region) -> BTreeMap<RecordKey, Vec<u8>> {
    let inner = region.store.lock();
    inner.records.iter().map(|(key, record)| (key.clone(), record.blob.clone())).collect()
}

#[tokio::test]
async fn what_is_in_the_way_is_named_and_nothing_is_written_over() {
    let (region, scratch) = (region().await, Scratch::new("conflicts"));
    let mut one = client_of(&region, 0).await;
    let ids = keys(&mut one).await;
    secrets(&mut one).await;
    let file = scratch.file();
    taken(&region, &file).await;
    let mut two = client_of(&region, 1).await;
    // The same id with another key, one that is destroyed, and the same path.
    made(&mut two, json!({"name": "mine", "type": "oct", "id": ids[0]})).await;
    made(&mut two, json!({"name": "mine", "type": "EC", "id": ids[3]})).await;
    let destroyed = format!("/v1/servicekey/{}", ids[3]);
    two.post(&format!("{destroyed}/deactivate"), json!({"reason": "superseded"})).await;
    assert_eq!(two.call("DELETE", &destroyed, None).await.status, 204);
    let body = json!({"path": "needle/database", "version": {"data": {"mine": 1}}});
    assert_eq!(two.post("/v2/secret", body).await.status, 200);
    let before = records(&region);
    let mut told = Told::default();
    let refused =
        customer::import(&mut owner(&region, 1), &*opened(&file), &OWNER[0], Mode::default(), &mut told)
            .await;
    assert!(matches!(refused, Err(CustomerError::Conflicts(3))), "{refused:?}");
    told.conflicts.sort();
    let mut named =
        [format!("key {}", ids[0]), format!("key {}", ids[3]), "secret needle/database".to_owned()];
    named.sort();
    assert_eq!(told.conflicts, named);
    assert!(records(&region) == before, "nothing was changed");

    let done =
        brought(&region, 1, &file, Mode { skip_existing: true, ..Mode::default() }).await.expect("the rest");
    assert_eq!((done.keys, done.secrets), (tally(11, 0, 2), tally(3, 0, 1)));
    let after = records(&region);
    assert!(before.iter().all(|(key, blob)| after.get(key) == Some(blob)), "what was there is as it was");
    assert_eq!(two.get(&destroyed).await.body["attributes"]["state"], "destroyed");
    let mine = two.get("/v2/secret/needle/database?includeData=true").await;
    assert_eq!(mine.body["version"]["data"], json!({"mine": 1}), "{}", mine.body);

    // A secret that came in and was deleted here does not come back under its old data.
    assert_eq!(two.call("DELETE", "/v2/secret/dated", None).await.status, 204);
    let again =
        brought(&region, 1, &file, Mode { skip_existing: true, ..Mode::default() }).await.expect("the rest");
    assert_eq!(again.secrets, tally(0, 2, 2));
    assert_eq!(two.get("/v2/secret/dated").await.status, 404);
}

#[tokio::test]
async fn what_is_damaged_or_for_another_key_changes_nothing() {
    let (region, scratch) = (region().await, Scratch::new("damaged"));
    let mut client = client_of(&region, 0).await;
    keys(&mut client).await;
    large(&mut client, 12).await;
    let file = scratch.file();
    taken(&region, &file).await;
    let before = records(&region);
    let other = customer::import(
        &mut owner(&region, 1),
        &*opened(&file),
        &OWNER[1],
        Mode::default(),
        &mut Told::default(),
    )
    .await;
    assert!(matches!(other, Err(CustomerError::Container(_))), "{other:?}");
    let bytes = env().disk.read(&file).expect("reads").expect("is there");
    let spoilt = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        let path = scratch.0.join("spoilt.okms");
        env().disk.write_atomic(&path, &bytes, true).expect("writes");
        path
    };
    let last = bytes.len() - 1;
    for change in [
        &(|bytes: &mut Vec<u8>| bytes[last] ^= 1) as &dyn Fn(&mut Vec<u8>),
        &|bytes| bytes.truncate(last),
        &|bytes| bytes.push(0),
        &|bytes| bytes[40] ^= 1,
    ] {
        let path = spoilt(change);
        let refused = brought(&region, 1, &path, Mode::default()).await;
        assert!(matches!(refused, Err(CustomerError::Container(_))), "{refused:?}");
    }
    assert!(records(&region) == before);
}

/// Pages as any HTTP client asks for them, with changes between.
#[tokio::test]
async fn an_export_under_changes_has_each_thing_as_it_was_at_some_moment() {
    let (region, scratch) = (region().await, Scratch::new("changes"));
    let mut one = client_of(&region, 0).await;
    let untouched = made(&mut one, json!({"name": "untouched", "type": "oct"})).await;
    large(&mut one, 24).await;
    let jwk = serde_json::to_value(Jwk::of_public(&to())).expect("JSON");
    let mut asked = json!({"wrappingKey": jwk});
    let (mut bytes, mut pages) = (Vec::new(), 0_u32);
    loop {
        let page = one.post("/v1/export", asked).await;
        assert_eq!(page.status, 200, "{}", page.body);
        bytes.extend(STANDARD.decode(page.text("data")).expect("base64"));
        pages += 1;
        let Some(cursor) = page.body["cursor"].as_str() else { break };
        asked = json!({"cursor": cursor});
        // The same page once more, as after an answer that was lost, is as good.
        if pages == 2 {
            assert_eq!(one.post("/v1/export", asked.clone()).await.status, 200);
        }
        for n in 0..24 {
            let path = format!("/v2/secret/large/{n}");
            let answer = match n % 3 {
                0 => one.post(&format!("{path}/version"), json!({"data": {"later": pages}})).await.status,
                1 => {
                    one.call("PUT", &format!("{path}/version/1"), Some(json!({"state": "deleted"})))
                        .await
                        .status
                }
                _ => 200,
            };
            assert_eq!(answer, 200);
        }
        made(&mut one, json!({"name": format!("later {pages}"), "type": "oct"})).await;
    }
    assert!(pages > 2);
    let file = scratch.file();
    env().disk.write_atomic(&file, &bytes, true).expect("writes");
    let done = brought(&region, 1, &file, Mode::default()).await.expect("consistent");
    assert_eq!(done.secrets, tally(24, 0, 0));
    let mut two = client_of(&region, 1).await;
    assert_eq!(two.get(&format!("/v1/servicekey/{untouched}")).await.status, 200);
    for n in 0..24 {
        let answer = two.get(&format!("/v2/secret/large/{n}?includeData=true")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let version = &answer.body["version"];
        let (data, state) = (&version["data"], version["state"].as_str().expect("a state"));
        match n % 3 {
            0 => assert!(data["n"] == json!(n) || data["later"].is_u64(), "{}", answer.body),
            1 => assert!((data["n"] == json!(n)) == (state == "active"), "{}", answer.body),
            _ => assert_eq!(data["n"], json!(n)),
        }
    }
}
