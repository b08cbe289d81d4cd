//! The served description, against the service that serves it: who gets it and how, that every path takes what is described and
//! nothing else, and that every example is a request that is understood.

use crate::{client::Client, region::Region};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use serde_json::{Value, json};
use std::io::Read;

const METHODS: [&str; 9] = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "LIST"];

async fn get(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> (http::response::Parts, Bytes) {
    raw(client, "GET", path, headers, "").await
}

async fn raw(
    client: &mut Client,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (http::response::Parts, Bytes) {
    let path = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", client.base) };
    let mut request = http::Request::builder().method(method).uri(path).header("host", "kms");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request");
    let (parts, body) = client.response(request).await.expect("an answer").into_parts();
    (parts, body.collect().await.expect("a body").to_bytes())
}

async fn document(client: &mut Client) -> Value {
    let (_, body) = get(client, "/openapi.json", &[]).await;
    serde_json::from_slice(&body).expect("JSON")
}

#[tokio::test]
async fn anybody_gets_it_in_either_form_and_once() {
    let region = Region::new().await;
    let mut client = region.anonymous().await;
    for (path, content_type) in [("/openapi.json", "application/json"), ("/openapi.yaml", "application/yaml")]
    {
        let (plain, text) = get(&mut client, path, &[]).await;
        assert_eq!(plain.status, 200);
        assert_eq!(plain.headers["content-type"], content_type);
        assert_eq!(plain.headers["vary"], "accept-encoding");
        assert!(!plain.headers.contains_key("content-encoding"));
        let tag = plain.headers["etag"].to_str().expect("text");
        let (again, nothing) = get(&mut client, path, &[("if-none-match", tag)]).await;
        assert_eq!((again.status.as_u16(), nothing.len()), (304, 0));
        assert_eq!(again.headers["etag"], plain.headers["etag"]);
        let (packed, bytes) =
            get(&mut client, path, &[("accept-encoding", "gzip"), ("if-none-match", tag)]).await;
        assert_eq!(packed.status, 200, "compressed it has another tag");
        assert_eq!(packed.headers["content-encoding"], "gzip");
        assert!(bytes.len() * 4 < text.len(), "{} of {}", bytes.len(), text.len());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).expect("gzip");
        assert_eq!(unpacked, text);
        let (head, nothing) = raw(&mut client, "HEAD", path, &[], "").await;
        assert_eq!((head.status.as_u16(), nothing.len()), (200, 0));
        assert_eq!(head.headers["content-length"], text.len().to_string().as_str());
    }
}

#[tokio::test]
async fn nothing_that_a_domain_owns_is_compressed() {
    let region = Region::new().await;
    let mut client = region.client().await;
    for n in 0..20 {
        client.create(&format!("a name that comes again {n}")).await;
    }
    let (parts, body) = get(&mut client, "servicekey", &[("accept-encoding", "gzip")]).await;
    assert_eq!(parts.status, 200);
    assert!(body.len() > 4_096 && !parts.headers.contains_key("content-encoding"));
}

/// A path with the values in it that a domain has.
fn filled(path: &str, region: &Region, key: &str) -> String {
    path.replace("{okmsId}", &region.domain().to_string())
        .replace("{keyId}", key)
        .replace("{path}", "team%2Fdatabase")
        .replace("{version}", "1")
}

#[tokio::test]
async fn every_path_takes_what_is_described_and_says_so_of_the_rest() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let document = document(&mut client).await;
    let key = client.create("k").await.to_string();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let takes = |method: &str| {
            let lists = method == "LIST" && path.contains("/metadata");
            let heads = method == "HEAD" && item.get("get").is_some();
            lists || heads || item.get(method.to_lowercase()).is_some()
        };
        for method in METHODS {
            // No body: nothing that takes one is done.
            let (parts, body) = raw(&mut client, method, &filled(path, &region, &key), &[], "").await;
            let status = parts.status.as_u16();
            asked += 1;
            if takes(method) {
                assert_ne!(status, 405, "{method} {path}");
                let error: Value = serde_json::from_slice(&body).unwrap_or_default();
                assert_ne!(error["error_id"], "path_not_found", "{method} {path}");
                assert!(method != "HEAD" || body.is_empty(), "HEAD {path}");
                continue;
            }
            assert_eq!(status, 405, "{method} {path}");
            let allow = parts.headers["allow"].to_str().expect("text");
            let mut allowed: Vec<&str> = allow.split(", ").collect();
            allowed.sort_unstable();
            let mut wanted: Vec<&str> = METHODS.into_iter().filter(|method| takes(method)).collect();
            wanted.sort_unstable();
            assert_eq!(allowed, wanted, "{method} {path}");
        }
    }
    assert!(asked > 200, "the paths are gone");
}

/// The examples of a request, with its content type.
fn examples<'a>(document: &'a Value, operation: &'a Value) -> Vec<(&'a str, &'a Value)> {
    let body = &operation["requestBody"];
    let body = match body["$ref"].as_str() {
        Some(place) => document.pointer(place.trim_start_matches('#')).expect("a body"),
        None => body,
    };
    let Some(content) = body["content"].as_object() else { return Vec::new() };
    let mut found = Vec::new();
    for (content_type, media) in content {
        found.extend(media.get("example").map(|example| (content_type.as_str(), example)));
        let several = media["examples"].as_object().into_iter().flatten();
        found.extend(several.map(|(_, example)| (content_type.as_str(), &example["value"])));
    }
    found
}

#[tokio::test]
async fn every_example_is_a_request_that_is_understood() {
    let region = Region::new().await;
    let mut client = region.client().await;
    for action in ["domain/export", "domain/import"] {
        crate::transfer::allow(&region, 0, action).await;
    }
    let document = document(&mut client).await;
    let domain = region.domain();
    let mut sent = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in ["post", "put", "patch"] {
            let operation = &item[method];
            let examples = examples(&document, operation);
            let takes_body = operation.get("requestBody").is_some();
            assert_eq!(takes_body, !examples.is_empty(), "{method} {path} has no example");
            for (content_type, example) in examples {
                let kind = if path.ends_with("sign") || path.ends_with("verify") { "EC" } else { "oct" };
                let operations = ["encrypt", "decrypt", "wrapKey", "unwrapKey"];
                let operations = if kind == "EC" { json!([]) } else { json!(operations) };
                let body = json!({"name": "k", "type": kind, "operations": operations});
                let key = client.post("/servicekey", body).await.text("id").to_owned();
                let secret = json!({"path": "team/database", "version": {"data": {"user": "app"}}});
                let secrets = format!("/api/{domain}/v2/secret");
                client.call("DELETE", &format!("{secrets}/team%2Fdatabase"), None).await;
                let makes =
                    path.ends_with("/v2/secret") || method != "patch" && path.contains("/secret/data/");
                if !makes {
                    assert_eq!(client.post(&secrets, secret).await.status, 200);
                }
                let place = filled(path, &region, &key);
                let headers = [("content-type", content_type)];
                let (parts, answer) =
                    raw(&mut client, &method.to_uppercase(), &place, &headers, &example.to_string()).await;
                let status = parts.status.as_u16();
                let answer = String::from_utf8_lossy(&answer);
                // What the text of an example cannot be: made by the key of this moment.
                let undone = status == 400 && answer.contains("decrypt_failed");
                assert!(status < 300 || undone, "{method} {path}: {example}: {status} {answer}");
                assert!(
                    operation["responses"].get(status.to_string()).is_some(),
                    "{method} {path}: {status}"
                );
                sent += 1;
            }
        }
    }
    assert!(sent > 25, "the examples are gone");
}
