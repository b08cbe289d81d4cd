//! The whole first slice, as a client walks it.

use crate::region::Region;
use serde_json::json;

#[tokio::test]
async fn keys_live_as_documented() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let made = client
        .post("/servicekey", json!({"context":"k1","name":"k1","operations":[],"size":256,"type":"oct"}))
        .await;
    assert_eq!(made.status, 201);
    assert_eq!(made.body["operations"], json!(["encrypt", "decrypt"]));
    assert_eq!(made.body["protectionLevel"], "SOFTWARE");
    assert_eq!(made.body["attributes"]["state"], "active");
    let path = format!("/servicekey/{}", made.text("id"));

    assert_eq!(client.get(&path).await.body, made.body);
    let renamed = client.call("PATCH", &path, Some(json!({"name": "k2"}))).await;
    assert_eq!((renamed.status, renamed.text("name")), (200, "k2"));

    assert_eq!(client.call("POST", &format!("{path}/activate"), None).await.status, 204);
    let active = client.call("DELETE", &path, None).await;
    assert_eq!((active.status, active.text("error_id")), (409, "wrong_key_state"));
    let deactivate = format!("{path}/deactivate");
    assert_eq!(client.post(&deactivate, json!({"reason": "unspecified"})).await.status, 204);
    let deactivated = client.get(&path).await.body;
    assert_eq!(deactivated["attributes"]["state"], "deactivated");
    assert!(deactivated["attributes"]["deactivation_date"].is_string());
    assert_eq!(client.post(&deactivate, json!({"reason": "key_compromise"})).await.status, 204);
    let compromised = client.get(&path).await.body;
    assert_eq!(compromised["attributes"]["state"], "compromised");
    assert!(compromised["attributes"]["compromise_date"].is_string());
    assert_eq!(client.call("POST", &format!("{path}/activate"), None).await.status, 204);
    let active = client.get(&path).await.body;
    assert_eq!(active["attributes"]["state"], "active");
    assert!(active["attributes"]["compromise_date"].is_null());

    assert_eq!(client.post(&deactivate, json!({"reason": "superseded"})).await.status, 204);
    assert_eq!(client.call("DELETE", &path, None).await.status, 204);
    assert_eq!(client.get(&path).await.body["attributes"]["state"], "destroyed");
    assert_eq!(client.call("DELETE", &path, None).await.status, 409);
    let again = client.post("/servicekey", json!({"name": "x", "id": made.text("id")})).await;
    assert_eq!((again.status, again.code()), (409, 50_438_145), "a destroyed id means nothing else, ever");
}

#[tokio::test]
async fn what_is_encrypted_decrypts_with_its_context_alone() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    let path = format!("/servicekey/{key}");
    let sealed =
        client.post(&format!("{path}/encrypt"), json!({"plaintext": "aGVsbG8=", "context": "cc"})).await;
    assert_eq!(sealed.status, 200);
    let ciphertext = sealed.text("ciphertext").to_owned();
    assert_eq!(ciphertext.split('.').count(), 5);
    assert_eq!(ciphertext.split('.').nth(1), Some(""));
    let decrypt = format!("{path}/decrypt");
    let opened = client.post(&decrypt, json!({"ciphertext": ciphertext, "context": "cc"})).await;
    assert_eq!((opened.status, opened.text("plaintext")), (200, "aGVsbG8="));
    for wrong in [json!({"ciphertext": ciphertext}), json!({"ciphertext": ciphertext, "context": "cd"})] {
        let refused = client.post(&decrypt, wrong).await;
        assert_eq!((refused.status, refused.text("error_id")), (400, "decrypt_failed"));
    }
    // Another key, and the other kind of message.
    let other = client.create("other").await;
    let refused = client
        .post(&format!("/servicekey/{other}/decrypt"), json!({"ciphertext": ciphertext, "context": "cc"}))
        .await;
    assert_eq!(refused.text("error_id"), "decrypt_failed");
    let refused = client.post(&format!("{path}/datakey/decrypt"), json!({"key": ciphertext})).await;
    assert_eq!(refused.text("error_id"), "decrypt_failed");
    // Deactivated keys process and do not protect.
    client.post(&format!("{path}/deactivate"), json!({"reason": "unspecified"})).await;
    assert_eq!(client.post(&decrypt, json!({"ciphertext": ciphertext, "context": "cc"})).await.status, 200);
    assert_eq!(client.post(&format!("{path}/encrypt"), json!({"plaintext": ""})).await.status, 409);
    client.call("DELETE", &path, None).await;
    assert_eq!(client.post(&decrypt, json!({"ciphertext": ciphertext, "context": "cc"})).await.status, 409);
}

#[tokio::test]
async fn the_largest_plaintext_comes_back() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    let plaintext = "A".repeat(5460) + "AA==";
    let sealed = client.post(&format!("/servicekey/{key}/encrypt"), json!({"plaintext": plaintext})).await;
    assert_eq!(sealed.status, 200, "{}", sealed.body);
    let opened = client
        .post(&format!("/servicekey/{key}/decrypt"), json!({"ciphertext": sealed.text("ciphertext")}))
        .await;
    assert_eq!(opened.text("plaintext"), plaintext);
}

#[tokio::test]
async fn data_keys_and_random_bytes() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    for bits in [64, 256, 4096] {
        let made =
            client.post(&format!("/servicekey/{key}/datakey"), json!({"name": "d", "size": bits})).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let opened = client
            .post(&format!("/servicekey/{key}/datakey/decrypt"), json!({"key": made.text("key")}))
            .await;
        assert_eq!((opened.status, opened.text("plaintext")), (200, made.text("plaintext")));
        let refused =
            client.post(&format!("/servicekey/{key}/decrypt"), json!({"ciphertext": made.text("key")})).await;
        assert_eq!(refused.text("error_id"), "decrypt_failed");
    }
    let random = client.get("/random?length=48").await;
    assert_eq!((random.status, random.text("bytes").len()), (200, 64));
    assert_eq!(client.get("/random").await.text("bytes").len(), 4);
}

#[tokio::test]
async fn nobody_gets_in_without_a_certificate_or_with_that_of_another_domain() {
    let region = Region::new().await;
    let mut nobody = region.anonymous().await;
    assert_eq!(nobody.get("/healthz").await.status, 200);
    let refused = nobody.get("/servicekey").await;
    assert_eq!((refused.status, refused.code()), (401, 50_475_011));
    let mut client = region.client().await;
    let key = client.create("k").await;
    let mut stranger = region.client_of(1).await;
    let refused = stranger.get(&format!("/servicekey/{key}")).await;
    assert_eq!((refused.status, refused.text("error_id")), (403, "forbidden"));
    stranger.base = format!("/api/{}/v1", region.bundle.clients[1].domain);
    assert_eq!(stranger.get(&format!("/servicekey/{key}")).await.status, 404);
    assert_eq!(stranger.get("/servicekey").await.body["objects_list"], json!([]));
}

#[tokio::test]
async fn a_node_certificate_is_not_a_client_certificate() {
    let region = Region::new().await;
    let (cert, key) = (region.host_file("node.crt"), region.host_file("node.key"));
    assert!(turned_away(&region, &cert, &key).await);
}

#[tokio::test]
async fn errors_have_the_documented_body_and_every_answer_its_id() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let missing = client.get("/servicekey/00000000-0000-4000-8000-000000000000").await;
    assert_eq!((missing.status, missing.code()), (404, 17_190_913));
    let fields: Vec<_> = missing.body.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(fields, ["error_code", "error_id", "errors", "request_id"]);
    assert_eq!(missing.headers["x-request-id"], missing.text("request_id"));
    assert_eq!(missing.headers["content-type"], "application/json");
    let fine = client.get("/servicekey").await;
    assert!(fine.headers.contains_key("x-request-id") && fine.headers.contains_key("date"));
    assert_ne!(fine.headers["x-request-id"], missing.headers["x-request-id"]);
}

#[tokio::test]
async fn health_tells_reading_and_writing_apart() {
    let region = Region::new().await;
    let mut client = region.anonymous().await;
    let whole = client.get("/healthz").await.body;
    let start = whole["start"].as_u64().expect("a number");
    assert_ne!(start, 0);
    assert_eq!(whole, json!({"can_serve": true, "can_write": true, "sealed": false, "start": start}));
    region.store.lock().far_down = true;
    let half = client.get("/healthz").await;
    assert_eq!(
        (half.status, half.body),
        (200, json!({"can_serve": true, "can_write": false, "sealed": false, "start": start}))
    );
    region.store.lock().near_down = true;
    assert_eq!(client.get("/healthz").await.status, 503);
}

#[tokio::test]
async fn a_stopped_host_ends_its_connections() {
    let region = Region::new().await;
    let mut client = region.client().await;
    client.create("k").await;
    let address = region.server.address().to_owned();
    region.server.shutdown().await;
    let request = http::Request::builder().uri("/healthz").header("host", "kms");
    assert!(client.send(request.body(Default::default()).expect("a request")).await.is_err());
    assert!(region.env.net.connect(&address).await.is_err());
}

/// Whether a TLS alert is all that this certificate gets.
pub(crate) async fn turned_away(region: &Region, cert: &str, key: &str) -> bool {
    match crate::client::Client::connect(region, Some((cert, key))).await {
        Err(_) => true,
        // TLS 1.3: the alert comes with the first answer.
        Ok(mut client) => {
            let request = http::Request::builder().uri("/healthz").header("host", "kms");
            client.send(request.body(Default::default()).expect("a request")).await.is_err()
        }
    }
}

#[tokio::test]
async fn a_certificate_is_valid_by_the_hosts_own_clock() {
    let day = std::time::Duration::from_secs(86_400);
    for (days, expired) in [(0, false), (300, false), (400, true)] {
        let region = Region::at(kms::limits::Limits::default(), day * days).await;
        let identity = &region.bundle.clients[0];
        let found = turned_away(&region, &identity.cert_pem, &identity.key_pem).await;
        assert_eq!(found, expired, "after {days} days");
    }
}
