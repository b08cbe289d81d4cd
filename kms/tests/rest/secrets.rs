//! Secrets while a write is in doubt, after conflicts and unknown outcomes, and after a restore that brought back what was before. What
//! lies in the store tells nothing.

use crate::{client::Client, region::Region, store::Script};
use kms::{
    record::{RecordKey, SealedRecord},
    vault::{KIND_SECRET, KIND_SECRET_VERSION},
};
use serde_json::{Value, json};

/// Length of the sealed record of a version without data: header, nonce and tag.
const TOMBSTONE_BYTES: usize = 6 + 12 + 16;

async fn start(versions: u32) -> (Region, Client) {
    let region = Region::new().await;
    let mut client = region.client().await;
    client.base = format!("/api/{}", region.domain());
    let body = json!({"path": "a/b", "version": {"data": {"n": 1}}, "metadata": {"maxVersions": 1_000}});
    assert_eq!(client.post("/v2/secret", body).await.status, 200);
    for n in 2..=versions {
        assert_eq!(add(&mut client, n).await, (200, json!(n)));
    }
    (region, client)
}

async fn add(client: &mut Client, n: u32) -> (u16, Value) {
    let answer = client.post("/v2/secret/a/b/version", json!({"data": {"n": n}})).await;
    (answer.status, answer.body["id"].clone())
}

async fn data(client: &mut Client, query: &str) -> (u16, Value) {
    let answer = client.get(&format!("/v1/secret/data/a/b{query}")).await;
    (answer.status, answer.body["data"]["data"].clone())
}

fn records(region: &Region, kind: u8) -> Vec<(RecordKey, SealedRecord)> {
    let inner = region.store.lock();
    let found = inner.records.iter().filter(|(key, _)| key.0[0] == kind);
    found.map(|(key, record)| (key.clone(), record.clone())).collect()
}

#[tokio::test]
async fn an_old_version_is_read_while_a_new_one_is_in_doubt() {
    for happens in [false, true] {
        let (region, mut client) = start(1).await;
        region.store.lock().script.push_back(Script::Doubt);
        let answer = client.post("/v2/secret/a/b/version?cas=1", json!({"data": {"n": 2}})).await;
        assert_eq!((answer.status, answer.text("error_id")), (504, "outcome_unknown"));
        region.store.lock().far_in_doubt = true;
        assert_eq!(data(&mut client, "?version=1").await, (200, json!({"n": 1})));
        assert_eq!(data(&mut client, "").await.0, 503, "which one is the newest is in doubt");
        assert_eq!(add(&mut client, 3).await.0, 503);
        region.store.settle(happens);
        region.store.lock().far_in_doubt = false;
        assert_eq!(data(&mut client, "").await, (200, json!({"n": if happens { 2 } else { 1 }})));
    }
}

#[tokio::test]
async fn a_write_is_done_once() {
    let (region, mut client) = start(1).await;
    let before = region.store.lock().commits;
    region.store.lock().script.push_back(Script::Unknown { happens: true });
    assert_eq!(add(&mut client, 2).await.0, 504);
    assert_eq!(region.store.lock().commits, before + 1, "an attempt is sent once");
    region.store.lock().script.push_back(Script::Conflict);
    assert_eq!(add(&mut client, 3).await, (200, json!(3)), "read again, tried again");
    region.store.lock().script.push_back(Script::HappensAsConflict);
    assert_eq!(add(&mut client, 4).await, (200, json!(4)));
    region.store.lock().script.push_back(Script::HappensAsConflict);
    let body = json!({"path": "c", "version": {"data": {}}});
    assert_eq!(client.post("/v2/secret", body).await.status, 200);
    assert_eq!(client.get("/v2/secret/a/b").await.body["metadata"]["currentVersion"], 4);
    region.store.lock().script.push_back(Script::Conflict);
    let answer = client.post("/v2/secret/a/b/version?cas=3", json!({"data": {}})).await;
    assert_eq!((answer.status, answer.text("error_id")), (400, "check_and_set_mismatch"));
}

#[tokio::test]
async fn a_deletion_that_stops_goes_on_when_it_is_asked_for_again() {
    let (region, mut client) = start(70).await;
    region.store.lock().script.push_back(Script::Unknown { happens: true });
    let path = "/v2/secret/a/b";
    assert_eq!(client.call("DELETE", path, None).await.status, 504);
    assert_eq!(client.get(path).await.status, 404, "nothing of it is seen");
    let alive = || {
        let kept = records(&region, KIND_SECRET_VERSION);
        assert_eq!(kept.len(), 70);
        kept.into_iter().filter(|(_, record)| record.blob.len() > TOMBSTONE_BYTES).count()
    };
    assert_eq!(alive(), 70 - 24);
    assert_eq!(client.call("DELETE", path, None).await.status, 204);
    assert_eq!(alive(), 0);
    assert_eq!(client.call("DELETE", path, None).await.status, 404);
}

#[tokio::test]
async fn what_a_restore_brings_back_has_no_data() {
    let (region, mut client) = start(1).await;
    let before = records(&region, KIND_SECRET);
    assert_eq!(add(&mut client, 2).await.0, 200);
    for n in [1, 2] {
        let path = format!("/v2/secret/a/b/version/{n}");
        assert_eq!(client.call("PUT", &path, Some(json!({"state": "deleted"}))).await.status, 200);
    }
    // The secret as it was, with the tombstones that are kept apart.
    region.store.lock().records.extend(before);
    assert_eq!(client.get("/v2/secret/a/b").await.body["metadata"]["currentVersion"], 1);
    let (status, found) = data(&mut client, "").await;
    assert!(status == 404 && found.is_null());
    assert_eq!(add(&mut client, 3).await, (200, json!(3)), "a number that was used is passed over");
    assert_eq!(data(&mut client, "").await, (200, json!({"n": 3})));
    assert_eq!(client.get("/v2/secret/a/b/version/2").await.body["state"], "deleted");
}

#[tokio::test]
async fn the_store_sees_neither_paths_nor_data_nor_metadata() {
    let region = Region::new().await;
    let mut client = region.client().await;
    client.base = format!("/api/{}", region.domain());
    let body = json!({"path": "needle-path/x", "version": {"data": {"needle-name": "needle-value"}},
        "metadata": {"customMetadata": {"needle-meta": "needle-custom"}}});
    assert_eq!(client.post("/v2/secret", body).await.status, 200);
    assert_eq!(client.get("/v2/secret/needle-path/x?includeData=true").await.status, 200);
    assert_eq!(client.get("/v1/secret/data/needle-missing").await.status, 404);
    let wrong = json!({"data": "needle-value"});
    assert_eq!(client.post("/v1/secret/data/needle-path/x", wrong).await.status, 400);
    let logged = crate::logs::caught();
    assert!(!logged.contains("needle"), "{logged}");
    let inner = region.store.lock();
    assert!(inner.records.len() >= 2);
    for (key, record) in &inner.records {
        for bytes in [&key.0, &record.blob] {
            assert!(!bytes.windows(6).any(|window| window == b"needle"));
        }
    }
}
