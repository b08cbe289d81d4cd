//! What comes in comes in once: at one path, with its own data alone; what is said of an import that stops; and who can open what left.

use crate::{
    client::Client,
    region::Region,
    store::Script,
    transfer::{OWNER, Scratch, allow, client_of, env, made, records, region, taken, to},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use kms::{
    container::{ContentKey, Counts, Frame, open_frame, thumbprint},
    crypto::{Canonical, hkdf_expand, sha256},
    env::OpenMode,
    store::api::Refusal,
    vault::{KIND_SECRET_VERSION, RootKey, open_domain_key},
};
use serde_json::{Value, json};
use std::path::Path;
use uuid::Uuid;

const X: &str = "000102030405060708090a0b0c0d0e0f";

fn version(id: &str, number: u32) -> Value {
    let data = STANDARD.encode(format!("{{\"n\":{number}}}"));
    json!({"secretVersion": {"secret": id, "number": number, "data": data}})
}

/// A secret whose versions have these flags, from the first one on.
fn secret(id: &str, path: &str, flags: &[u8]) -> Value {
    let versions: Vec<Value> = flags.iter().map(|flags| json!([0, null, flags])).collect();
    json!({"secret": {"id": id, "path": path, "config": {}, "customMetadata": {}, "createdS": 1, "updatedS": 1,
        "firstVersion": 1, "versions": versions}})
}

async fn bring(client: &mut Client, dry: bool, records: Vec<Value>) -> Vec<String> {
    let answer = client.post("/v1/import", json!({"dryRun": dry, "records": records})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_value(answer.body["outcomes"].clone()).expect("words")
}

fn stored(region: &Region) -> usize {
    records(region).keys().filter(|key| key.0[0] == KIND_SECRET_VERSION).count()
}

#[tokio::test]
async fn a_secret_comes_in_at_one_path_and_once() {
    let region = region().await;
    let mut client = client_of(&region, 1).await;
    let both = vec![version(X, 1), secret(X, "own", &[0])];
    assert_eq!(bring(&mut client, false, both.clone()).await, ["new", "new"]);
    for dry in [true, false] {
        assert_eq!(bring(&mut client, dry, vec![secret(X, "alias", &[0])]).await, ["conflict"]);
        assert_eq!(bring(&mut client, dry, both.clone()).await, ["present", "present"]);
        // Nor is a place taken where the next versions of it are written.
        assert_eq!(bring(&mut client, dry, vec![version(X, 2)]).await, ["conflict"]);
    }
    assert_eq!(client.get("/v2/secret/alias").await.status, 404);
    let counted = region.operator().inventory(region.bundle.clients[1].domain).await.expect("counts");
    assert_eq!((counted.secrets, counted.secret_versions), (1, 1), "the mark is neither");
    let added = client.post("/v2/secret/own/version", json!({"data": {"later": true}})).await;
    assert_eq!((added.status, &added.body["id"]), (200, &json!(2)), "{}", added.body);

    assert_eq!(client.call("DELETE", "/v2/secret/own", None).await.status, 204);
    for path in ["own", "alias"] {
        assert_eq!(bring(&mut client, false, vec![secret(X, path, &[0])]).await, ["conflict"], "{path}");
    }
    // One that left without data leaves no data to tell by.
    let gone = secret(&"11".repeat(16), "gone", &[2]);
    assert_eq!(bring(&mut client, false, vec![gone.clone()]).await, ["new"]);
    assert_eq!(client.call("DELETE", "/v2/secret/gone", None).await.status, 204);
    assert_eq!(bring(&mut client, false, vec![gone]).await, ["conflict"]);
    assert_eq!(client.get("/v2/secret/gone").await.status, 404);

    // What was told as a conflict and happened is there once.
    region.store.lock().script.push_back(Script::HappensAsConflict);
    let other = secret(&"22".repeat(16), "other", &[2]);
    assert_eq!(bring(&mut client, false, vec![other]).await, ["present"]);
}

#[tokio::test]
async fn what_an_import_left_over_is_destroyed_or_in_the_way_and_never_leaves() {
    let (region, scratch) = (region().await, Scratch::new("left-over"));
    allow(&region, 1, "domain/export").await;
    let mut client = client_of(&region, 1).await;
    let many: Vec<_> = (1..=60).map(|number| version(X, number)).collect();
    assert!(bring(&mut client, false, many).await.iter().all(|outcome| outcome == "new"));
    // Behind its last version it would be in the way of what is written next.
    assert_eq!(bring(&mut client, false, vec![secret(X, "x", &[0])]).await, ["conflict"]);
    let missing = bring(&mut client, false, vec![secret(X, "x", &[0; 61])]).await;
    assert_eq!(missing, ["conflict"], "data of one is not there");
    let live = |region: &Region| {
        let all = records(region).into_iter().filter(|(key, _)| key.0[0] == KIND_SECRET_VERSION);
        let sizes: Vec<_> = all.map(|(_, blob)| blob.len()).collect();
        let least = sizes.iter().min().copied().unwrap_or_default();
        sizes.iter().filter(|size| **size > least).count()
    };
    // All but the first and the last were destroyed where it comes from.
    let mut flags = [2; 60];
    (flags[0], flags[59]) = (0, 0);
    assert_eq!(bring(&mut client, false, vec![secret(X, "x", &flags)]).await, ["new"]);
    assert_eq!((stored(&region), live(&region)), (60, 2), "the rest is destroyed");
    for (number, status) in [(1, 200), (30, 409), (60, 200)] {
        let answer = client.get(&format!("/v2/secret/x/version/{number}?includeData=true")).await;
        assert!(answer.status == status || answer.body["data"].is_null(), "{number}: {}", answer.body);
    }
    let added = client.post("/v2/secret/x/version", json!({"data": {}})).await;
    assert_eq!((added.status, &added.body["id"]), (200, &json!(61)), "{}", added.body);

    // Data that is there although the secret says that it is gone, however it came there.
    let sealed: Vec<_> = {
        let inner = region.store.lock();
        let all = inner.records.iter().filter(|(key, _)| key.0[0] == KIND_SECRET_VERSION);
        all.map(|(key, record)| (key.clone(), record.clone())).collect()
    };
    let state = Some(json!({"state": "deleted"}));
    assert_eq!(client.call("PUT", "/v2/secret/x/version/60", state).await.status, 200);
    region.store.lock().records.extend(sealed);
    assert_eq!(left(&region, 1, &scratch).await.secret_versions, 1, "61 alone");
}

async fn left(region: &Region, index: usize, scratch: &Scratch) -> Counts {
    let mut owner = crate::transfer::owner(region, index);
    let told = &mut crate::transfer::Told::default();
    kms::customer::export(&mut owner, &to(), &scratch.file(), told).await.expect("exported").counts
}

#[tokio::test]
async fn an_import_that_may_have_written_is_not_told_as_refused() {
    let region = region().await;
    let mut client = client_of(&region, 1).await;
    let key = |n: u128| {
        json!({"key": {"id": Uuid::from_u128(n), "name": "good", "type": "oct", "size": 128, "operations": ["encrypt"],
            "state": "active", "revocationReason": 0, "createdUs": 1, "extractable": false, "wasExtractable": false,
            "imported": false, "publicOnly": false, "material": "bmVlZGxlbmVlZGxlbmVlZA=="}})
    };
    let both = json!({"records": [key(1), version(X, 1), secret(X, "x", &[0])]});
    let before = records(&region);
    region.store.lock().script.extend([Script::Refuse(Refusal::NoTail); 2]);
    let answer = client.post("/v1/import", both.clone()).await;
    assert_eq!((answer.status, answer.text("error_id")), (503, "refused"), "{}", answer.body);
    assert!(records(&region) == before, "and so it is");
    for script in [Script::Refuse(Refusal::NoTail), Script::Unknown { happens: true }] {
        region.store.lock().script.push_back(script);
        let answer = client.post("/v1/import", both.clone()).await;
        assert_eq!((answer.status, answer.text("error_id")), (504, "outcome_unknown"), "{}", answer.body);
    }
    assert!(records(&region).len() > before.len());
    let answer = client.post("/v1/import", both).await;
    assert_eq!(answer.body["outcomes"][0], "present", "{}", answer.body);
    assert_eq!(client.get("/v2/secret/x?includeData=true").await.body["version"]["data"], json!({"n": 1}));
}

#[tokio::test]
async fn the_domain_key_opens_neither_a_file_nor_shows_a_cursor_what_is_in_it() {
    let (region, scratch) = (region().await, Scratch::new("apart"));
    let mut client = client_of(&region, 0).await;
    made(&mut client, json!({"name": "needle", "type": "oct"})).await;
    taken(&region, &scratch.file()).await;
    let file = env().disk.open(&scratch.file(), OpenMode::Existing).expect("opens");
    let (head, _) = kms::customer::verify(&env(), &*file, &OWNER[0], |_| {}).expect("whole");
    let bytes = env().disk.read(&scratch.file()).expect("reads").expect("is there");
    let json_bytes = u32::from_be_bytes(bytes[10..14].try_into().expect("four")) as usize;
    let (clear, frame) = bytes.split_at(14 + json_bytes);
    let place = Frame { number: 0, last: true, before: sha256(clear) };
    let own = head.content_key(&env(), &OWNER[0]).expect("the owner's");
    assert!(open_frame(&own, &place, frame).is_ok());
    // All that a host has for good, and all that the head says.
    let root = RootKey::load(&*region.env.disk, Path::new("root.key")).expect("a root key");
    let domain = region.bundle.clients[0].domain;
    let object = region.store.lock().keyring[domain.as_bytes()].clone();
    let key = open_domain_key(&root, domain, &object).expect("a domain's key");
    let info =
        Canonical::new("okms/export-content/v1").add(head.export_id.as_bytes()).add(&thumbprint(&to()));
    let derived = ContentKey::new(hkdf_expand(&key.subkey("export-content"), &[info.bytes()]));
    assert!(open_frame(&derived, &place, frame).is_err(), "no key of the domain leads to the content key");

    crate::transfer::large(&mut client, 12).await;
    let jwk = serde_json::to_value(kms::crypto::asymmetric::Jwk::of_public(&to())).expect("JSON");
    let page = client.post("/v1/export", json!({"wrappingKey": jwk})).await;
    let cursor =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(page.text("cursor")).expect("base64");
    assert!(!String::from_utf8_lossy(&cursor).contains("counts"), "it is sealed");
}
