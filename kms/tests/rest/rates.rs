//! 429 before any work is done, for each domain apart.

use crate::region::Region;
use kms::limits::Limits;
use serde_json::json;

#[tokio::test]
async fn a_domain_that_asks_too_much_is_answered_429_and_others_are_not() {
    let limits = Limits { domain_requests_per_s: 1, domain_burst: 3, ..Limits::default() };
    let region = Region::with(limits).await;
    let mut client = region.client().await;
    for n in 0..3 {
        client.create(&format!("k{n}")).await;
    }
    let (before, mut made, mut told) = (region.store.lock().commits, 0, None);
    // A slow machine may let the bucket fill meanwhile.
    for _ in 0..100 {
        let answer = client.post("/servicekey", json!({"name": "k", "type": "oct"})).await;
        if answer.status == 429 {
            told = Some(answer);
            break;
        }
        made += 1;
    }
    let told = told.expect("more than one in a second are too many");
    assert_eq!((told.code(), told.text("error_id")), (50_434_049, "too_many_requests"));
    assert_eq!(told.headers["retry-after"], "1");
    assert_eq!(region.store.lock().commits, before + made, "nothing was done for it");
    assert_eq!(client.get("/healthz").await.status, 200, "health is not counted");
    let mut other = region.client_of(1).await;
    other.base = format!("/api/{}/v1", region.bundle.clients[1].domain);
    assert_eq!(other.get("/servicekey").await.status, 200);
}

#[tokio::test]
async fn strangers_share_a_bucket() {
    let limits = Limits { stranger_requests_per_s: 2, ..Limits::default() };
    let region = Region::with(limits).await;
    let (mut stranger, mut statuses) = (region.anonymous().await, Vec::new());
    while statuses.len() < 100 && !statuses.contains(&429) {
        statuses.push(stranger.get("/servicekey").await.status);
    }
    assert_eq!(statuses[..2], [401, 401]);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(region.client().await.get("/servicekey").await.status, 200);
}
