//! No audit, no answer: every request leaves one entry that is durable before the answer is there, and none that could leave none is begun.

use crate::region::Region;
use kms::{
    audit::{self, AuditKey, Entry},
    config::AuditConfig,
    vault::RootKey,
};
use serde_json::json;
use std::{path::Path, time::Duration};

pub(crate) fn entries(region: &Region) -> Vec<Entry> {
    let root = RootKey::load(&*region.env.disk, Path::new("root.key")).expect("a root key");
    let mut entries = Vec::new();
    let done = audit::read(&region.env, Path::new("data"), &AuditKey::new(&root, "host-a1"), None, |read| {
        entries.push(read.entry.clone().expect("an entry of this build"));
        Ok(())
    });
    assert!(done.expect("reads").is_whole());
    entries
}

#[tokio::test]
async fn every_request_leaves_one_entry_with_ids_and_no_names() {
    let region = Region::audited(AuditConfig::default()).await;
    let mut client = region.client().await;
    let domain = region.domain();
    let body = json!({"name": "needle-name", "context": "needle-context", "type": "oct"});
    let made = client.post("/servicekey", body).await;
    let key = made.text("id").to_owned();
    client
        .post(&format!("/servicekey/{key}/encrypt"), json!({"plaintext": "bmVlZGxl", "context": "needle"}))
        .await;
    client.get(&format!("/servicekey/{key}?needle=needle")).await;
    client.post(&format!("/servicekey/{key}/encrypt"), json!({"needle": "needle"})).await;
    let secret = json!({"path": "needle/path", "version": {"data": {"needle": "needle"}}});
    assert_eq!(client.call("POST", &format!("/api/{domain}/v2/secret"), Some(secret)).await.status, 200);
    client.get(&format!("/api/{domain}/v1/secret/data/needle%2Fpath")).await;
    region.client_of(1).await.get(&format!("/api/{domain}/v1/servicekey")).await;
    region.anonymous().await.get(&format!("/api/{domain}/v1/servicekey")).await;
    client.get("/healthz").await;
    client.get("/api/needle").await;
    let entries = entries(&region);
    let all = serde_json::to_string(&entries).expect("JSON");
    assert!(!all.contains("needle"), "{all}");
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            let event = &entry.event;
            (
                event.http_method.as_str(),
                event.http_status,
                event.iam_operation.as_str(),
                event.err_category.as_str(),
            )
        })
        .collect();
    let get = "okms:apikms:serviceKey/get";
    let encrypt = "okms:apikms:serviceKey/encrypt";
    assert_eq!(
        rows,
        [
            ("POST", 201, "okms:apikms:serviceKey/create", ""),
            ("POST", 200, encrypt, ""),
            ("GET", 200, get, ""),
            ("POST", 400, encrypt, "bad_argument"),
            ("POST", 200, "okms:apikms:secret/create", ""),
            ("GET", 200, "okms:apikms:secret/version/getData", ""),
            // Of another domain nothing is looked at, not even what was asked for.
            ("GET", 403, "", "authorization"),
            ("GET", 401, "", "authentication"),
        ]
    );
    let urn = format!("urn:v1:eu:resource:okms:{domain}");
    let first = &entries[0].event;
    assert_eq!(first.res_urn, format!("{urn}/serviceKey/{key}"), "the id that was made");
    assert_eq!(first.request_id, made.headers["x-request-id"].to_str().expect("text"));
    assert_eq!((first.client_ip.as_str(), first.region.as_str()), ("127.0.0.1", "eu-west-rbx"));
    let who = format!("urn:v1:eu:identity:credential:{domain}/{}", first.tls_cert_id);
    assert_eq!(first.iam_identities, [who]);
    assert_eq!(entries[1].event.http_path, format!("/api/{domain}/v1/servicekey/{key}/encrypt"));
    assert_eq!(entries[5].event.http_path, format!("/api/{domain}/v1/secret/data/{{path}}"));
    assert_eq!(entries[4].event.res_urn, entries[5].event.res_urn, "one secret, one id");
    assert!(entries[4].event.res_urn.starts_with(&format!("{urn}/secret/")));
    assert!(entries[7].event.tls_cert_id.is_empty() && entries[7].event.iam_identities.is_empty());
    assert!(entries.iter().enumerate().all(|(at, entry)| entry.sequence == at as u64 + 1));
}

#[tokio::test]
async fn no_answer_is_given_before_its_entry_is_durable() {
    let region = Region::audited(AuditConfig::default()).await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    region.disk.hold_syncs(true);
    let path = format!("/servicekey/{key}");
    let waits = region.env.timeout(Duration::from_millis(300), client.get(&path)).await;
    assert!(waits.is_err(), "answered without a sync");
    region.env.sleep(Duration::from_millis(900)).await;
    let mut other = region.client().await;
    let health = other.get("/healthz").await;
    assert_eq!((health.status, &health.body["audit"]), (503, &json!("failed")), "the entry must redirect");
    let refused = other.get(&path).await;
    assert_eq!((refused.status, refused.code()), (503, 50_425_858), "nothing is begun");
    region.disk.hold_syncs(false);
    region.env.sleep(Duration::from_millis(200)).await;
    assert_eq!(other.get("/healthz").await.status, 200);
    assert_eq!(other.get(&path).await.status, 200);
    let paths: Vec<_> = entries(&region).into_iter().map(|entry| entry.event.http_status).collect();
    assert!(paths.starts_with(&[201, 200]) || paths.starts_with(&[201, 499]), "{paths:?}");
}

#[tokio::test]
async fn what_cannot_be_recorded_is_refused_or_unknown_and_never_success() {
    let region = Region::audited(AuditConfig::default()).await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    let recovered = async |client: &mut crate::client::Client| {
        for _ in 0..200 {
            if client.get("/healthz").await.status == 200 {
                return;
            }
            region.env.sleep(Duration::from_millis(20)).await;
        }
        panic!("does not serve again");
    };
    region.disk.fail_syncs(1);
    let read = client.get(&format!("/servicekey/{key}")).await;
    assert_eq!((read.status, read.code()), (503, 50_425_858), "changed nothing");
    assert_eq!(client.get("/healthz").await.body["audit"], "failed");
    recovered(&mut client).await;
    region.disk.fail_writes(1);
    let body = json!({"name": "n", "type": "oct", "id": "01234567-89ab-4def-8123-456789abcdef"});
    let made = client.post("/servicekey", body.clone()).await;
    assert_eq!((made.status, made.code()), (504, 83_976_193), "it happened: refused would be a lie");
    recovered(&mut client).await;
    assert_eq!(client.post("/servicekey", body).await.status, 409);
    region.disk.fail_syncs(1);
    let bad = client.post("/servicekey", json!({"needle": 1})).await;
    assert_eq!(bad.status, 503, "an error is not told either without its entry");
    recovered(&mut client).await;
    assert_eq!(client.get(&format!("/servicekey/{key}")).await.status, 200);
}

#[tokio::test]
async fn a_full_spool_serves_nothing_and_says_so() {
    let region = Region::audited(AuditConfig { max_bytes: 1 << 20, ..AuditConfig::default() }).await;
    let mut client = region.client().await;
    let health = client.get("/healthz").await;
    assert_eq!((health.status, &health.body["audit"]), (503, &json!("full")));
    assert_eq!(health.body["can_write"], false);
    let refused = client.post("/servicekey", json!({"name": "k", "type": "oct"})).await;
    assert_eq!((refused.status, refused.headers["retry-after"].to_str().ok()), (503, Some("1")));
    assert_eq!(region.store.lock().commits, 0);
    assert!(entries(&region).is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_does_not_take_the_entry_with_it() {
    let region = Region::audited(AuditConfig::default()).await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    region.disk.hold_syncs(true);
    let body = json!({"reason": "unspecified"});
    // A first request holds the writer up, a second one is broken off.
    let mut first = region.client().await;
    let path = format!("/servicekey/{key}");
    let _ = region.env.timeout(Duration::from_millis(100), first.get(&path)).await;
    let path = format!("{path}/deactivate");
    let _ = region.env.timeout(Duration::from_millis(100), client.post(&path, body)).await;
    drop((first, client));
    region.env.sleep(Duration::from_millis(100)).await;
    region.disk.hold_syncs(false);
    region.env.sleep(Duration::from_millis(200)).await;
    let entries = entries(&region);
    let operations: Vec<_> = entries.iter().map(|entry| entry.event.iam_operation.as_str()).collect();
    assert_eq!(operations.len(), 3, "{operations:?}");
    assert_eq!(operations[2], "okms:apikms:serviceKey/deactivate");
}
