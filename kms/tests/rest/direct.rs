//! Uses of a key reach their handlers without the router, unless their path is written in another way: both answer the same, and leave the
//! same in the audit.

use crate::{
    audit::entries,
    client::{Answer, Client},
    region::Region,
};
use http_body_util::Full;
use kms::{audit::Entry, config::AuditConfig};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use uuid::Uuid;

/// What of an answer is the same each time: an answer of success says something new.
fn lasting(answer: Answer) -> Value {
    let names: BTreeSet<String> = answer.headers.keys().map(ToString::to_string).collect();
    let mut body = answer.body;
    match &mut body {
        Value::Object(fields) if answer.status < 300 => {
            let names: Vec<_> = fields.keys().cloned().collect();
            body = json!(names);
        }
        Value::Object(fields) => {
            fields.remove("request_id");
        }
        _ => {}
    }
    json!([answer.status, names, body])
}

/// What of an entry is the same each time.
fn noted(entry: &Entry) -> Value {
    let mut event = serde_json::to_value(&entry.event).expect("JSON");
    event.as_object_mut().expect("an object").remove("request_id");
    event
}

/// An id in a path as nobody writes it, and as only the router reads it.
fn otherwise(id: Uuid) -> String {
    let text = id.to_string();
    format!("%{:02x}{}", text.as_bytes()[0], &text[1..])
}

async fn uses(client: &mut Client, oct: Uuid, pair: Uuid) -> Vec<(Uuid, &'static str, Value)> {
    let ciphertext =
        client.post(&format!("/servicekey/{oct}/encrypt"), json!({"plaintext": "eA=="})).await.body;
    let wrapped = client.post(&format!("/servicekey/{oct}/datakey"), json!({"size": 256})).await.body;
    let message = json!({"message": "eA==", "alg": "ES256", "isdigest": false});
    let signed = client.post(&format!("/servicekey/{pair}/sign"), message.clone()).await.body;
    let mut verified = message.clone();
    verified["signature"] = signed["signature"].clone();
    vec![
        (oct, "encrypt", json!({"plaintext": "eA=="})),
        (oct, "decrypt", ciphertext),
        (oct, "datakey", json!({"size": 256})),
        (oct, "datakey/decrypt", json!({"key": wrapped["key"]})),
        (pair, "sign", message.clone()),
        (pair, "sign?format=jws", message.clone()),
        (pair, "sign?format=no", message),
        (pair, "verify", verified),
        (oct, "sign", json!({"message": "eA==", "alg": "ES256", "isdigest": false})),
        (pair, "encrypt", json!({"plaintext": "eA=="})),
        (oct, "encrypt", json!({"plaintext": 7})),
        (oct, "encrypt", json!({"no": "field"})),
        (oct, "encrypt", json!([])),
        (oct, "decrypt", json!({"ciphertext": "no"})),
        (oct, "encrypt", json!({"plaintext": "A".repeat(70_000)})),
        (Uuid::from_u128(9), "encrypt", json!({"plaintext": "eA=="})),
    ]
}

#[tokio::test]
async fn both_ways_to_a_handler_answer_and_record_the_same() {
    let region = Region::audited(AuditConfig::default()).await;
    let mut client = region.client().await;
    let oct = client.create("k").await;
    let pair = json!({"name": "p", "type": "EC", "curve": "P-256", "operations": ["sign", "verify"]});
    let pair = client.post("/servicekey", pair).await.text("id").parse().expect("a UUID");
    let mut count = 0;
    for (key, what, body) in uses(&mut client, oct, pair).await {
        for (who, of) in ["whoever may", "another domain's", "nobody"].iter().enumerate() {
            let mut all = Vec::new();
            let before = entries(&region).len();
            let (domain, key) = (region.domain(), key);
            let ways = [
                format!("/api/{domain}/v1/servicekey/{key}"),
                format!("/api/{domain}/v1/servicekey/{}", otherwise(key)),
                format!("/api/{}/v1/servicekey/{key}", otherwise(domain)),
                format!("/api/{domain}/v1/servicekey/{}", key.to_string().to_uppercase()),
            ];
            for way in ways {
                let mut client = match who {
                    0 => region.client().await,
                    1 => region.client_of(1).await,
                    _ => region.anonymous().await,
                };
                all.push(lasting(client.post(&format!("{way}/{what}"), body.clone()).await));
            }
            assert!(all.iter().all(|one| *one == all[0]), "{what} {body}: {of}: {all:?}");
            let left: Vec<Value> = entries(&region)[before..].iter().map(noted).collect();
            assert_eq!(left.len(), 4, "{what} {body}: {of}");
            assert!(left.iter().all(|one| *one == left[0]), "{what} {body}: {of}: {left:?}");
            assert!(
                left[0]["http_path"].as_str().is_some_and(|path| path.starts_with("/api/")),
                "{}",
                left[0]
            );
            count += 1;
        }
    }
    assert_eq!(count, 48);
}

#[tokio::test]
async fn what_surrounds_a_body_is_looked_at_on_both_ways() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let oct = client.create("k").await;
    let keys = format!("/api/{}/v1/servicekey", region.domain());
    let plain = r#"{"plaintext":"eA=="}"#;
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16);
    let cases: [Case<'_>; 7] = [
        ("POST", &[("content-type", "application/json; charset=utf-8")], 200),
        ("POST", &[("content-type", "text/plain")], 415),
        ("POST", &[], 415),
        ("POST", &[("content-type", "application/json"), ("content-encoding", "gzip")], 415),
        ("POST", &[("content-type", "application/json"), ("authorization", "Bearer x")], 401),
        ("GET", &[], 405),
        ("HEAD", &[], 405),
    ];
    for (method, headers, status) in cases {
        let mut both = Vec::new();
        for key in [oct.to_string(), otherwise(oct)] {
            let mut request = http::Request::builder()
                .method(method)
                .uri(format!("{keys}/{key}/encrypt"))
                .header("host", "kms");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Full::new(plain.into())).expect("a request");
            let answer = region.client().await.send(request).await.expect("an answer");
            assert_eq!(answer.status, status, "{method} {headers:?}");
            both.push(lasting(answer));
        }
        assert_eq!(both[0], both[1], "{method} {headers:?}");
    }
}
