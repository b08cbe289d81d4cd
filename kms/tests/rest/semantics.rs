//! What clients of HTTP may count on beside paths and bodies: HEAD, parameters given twice, numbers, compressed bodies, slashes at the end.

use crate::{
    client::{Answer, Client, http2},
    region::Region,
};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use serde_json::json;

async fn with(client: &mut Client, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request =
        http::Request::builder().method(method).uri(format!("{}{path}", client.base)).header("host", "kms");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::from(body.to_owned()));
    client.send(request.body(body).expect("a request")).await.expect("an answer")
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn head_is_get_without_a_body() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    for path in [
        format!("/servicekey/{key}"),
        "/servicekey".to_owned(),
        "/servicekey/abc".to_owned(),
        "/none".to_owned(),
    ] {
        let get = client.get(&path).await;
        let head = client.call("HEAD", &path, None).await;
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_null(), "{path}");
        for name in ["content-type", "content-length"] {
            assert_eq!(head.headers.get(name), get.headers.get(name), "{path} {name}");
        }
        assert!(head.headers.contains_key("x-request-id"), "{path}");
    }
    assert_eq!(
        client.get(&format!("/servicekey/{key}")).await.status,
        200,
        "the connection is still in step"
    );
}

#[tokio::test]
async fn head_has_no_body_over_http2_either() {
    let region = Region::new().await;
    let mut sender = http2(&region, &["h2"]).await;
    for (path, status) in [("v1/servicekey", 200), ("v1/servicekey/abc", 400), ("v1/none", 404)] {
        let uri = format!("https://kms/api/{}/{path}", region.domain());
        let request = http::Request::head(uri).body(Full::<Bytes>::default()).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), status);
        assert_ne!(answer.headers()["content-length"], "0");
        assert!(answer.into_body().collect().await.expect("a body").to_bytes().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn what_is_given_twice_is_refused_and_what_is_unknown_is_passed_over() {
    let region = Region::new().await;
    let mut client = region.client().await;
    for (path, status) in [
        ("/servicekey?max=10", 200),
        ("/servicekey?max=10&max=20", 400),
        ("/servicekey?max=10&m%61x=10", 400),
        ("/servicekey?m%61x=9", 400),
        ("/servicekey?max=%2B10", 400),
        ("/servicekey?max=", 400),
        ("/servicekey?colour=red&colour=blue&max=10", 200),
        ("/servicekey?", 200),
        ("/servicekey?&&max=10&", 200),
        ("/random?length=1&length=1", 400),
        ("/random?length=-1", 400),
    ] {
        assert_eq!(client.get(path).await.status, status, "{path}");
    }
    client.base = format!("/api/{}/v2", region.domain());
    for (sizes, status) in [(&["10"][..], 200), (&["10", "10"], 400), (&["+10"], 400), (&["9"], 400)] {
        let headers: Vec<_> = sizes.iter().map(|size| ("x-pagination-size", *size)).collect();
        assert_eq!(with(&mut client, "GET", "/secret", &headers, "").await.status, status, "{sizes:?}");
    }
}

#[tokio::test]
async fn a_slash_at_the_end_is_another_path() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    for path in [
        "/servicekey/".to_owned(),
        format!("/servicekey/{key}/"),
        "/random/".to_owned(),
        "//servicekey".to_owned(),
    ] {
        let answer = client.get(&path).await;
        assert_eq!((answer.status, answer.text("error_id")), (404, "path_not_found"), "{path}");
    }
}

#[tokio::test]
async fn bodies_are_json_as_it_is() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    let body = r#"{"plaintext":"aGk="}"#;
    let path = format!("/servicekey/{key}/encrypt");
    for (headers, status) in [
        (&[JSON][..], 200),
        (&[("content-type", "Application/JSON; charset=utf-8")], 200),
        (&[JSON, ("content-encoding", "identity")], 200),
        (&[JSON, ("content-encoding", "gzip")], 415),
        (&[JSON, ("content-encoding", "identity"), ("content-encoding", "br")], 415),
        (&[("content-type", "text/json")], 415),
        (&[("content-type", "application/x-www-form-urlencoded")], 415),
        (&[], 415),
    ] {
        assert_eq!(with(&mut client, "POST", &path, headers, body).await.status, status, "{headers:?}");
    }
    // Where none is needed none is read.
    for headers in [&[][..], &[JSON], &[("content-type", "text/plain")]] {
        let path = format!("/servicekey/{key}/activate");
        assert_eq!(with(&mut client, "POST", &path, headers, "{").await.status, 204, "{headers:?}");
    }
    for (body, status) in [
        ("", 400),
        ("null", 400),
        ("{}", 400),
        (r#"["a", null]"#, 400),
        (r#"{"name":"a","name":"b"}"#, 400),
        (r#"{"name":"a"}"#, 200),
    ] {
        let path = format!("/servicekey/{key}");
        assert_eq!(with(&mut client, "PATCH", &path, &[JSON], body).await.status, status, "{body}");
    }
}

#[tokio::test]
async fn a_plaintext_is_the_same_however_its_text_is_escaped() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    let path = format!("/servicekey/{key}");
    for (text, status) in [
        ("aGVsbG8=", 200),
        (r"aGVsbG8\u003d", 200),
        (r"\u0061GVsbG8=", 200),
        ("aGVsbG8", 400),
        (r"aGVsbG8\u00e9", 400),
        (r"aGVsbG8\ud800", 400),
    ] {
        let body = format!(r#"{{"plaintext":"{text}"}}"#);
        let sealed = with(&mut client, "POST", &format!("{path}/encrypt"), &[JSON], &body).await;
        assert_eq!(sealed.status, status, "{text}: {}", sealed.body);
        if status == 200 {
            let ciphertext = json!({"ciphertext": sealed.text("ciphertext")});
            let opened = client.post(&format!("{path}/decrypt"), ciphertext).await;
            assert_eq!(opened.text("plaintext"), "aGVsbG8=", "{text}");
        }
    }
    let number = with(&mut client, "POST", &format!("{path}/encrypt"), &[JSON], r#"{"plaintext":5}"#).await;
    assert_eq!(number.status, 400, "{}", number.body);
}

#[tokio::test]
async fn whole_numbers_are_whole_however_they_are_written() {
    let region = Region::new().await;
    let mut client = region.client().await;
    for (size, status) in [
        (json!(256), 201),
        (json!(256.0), 201),
        (json!(256.5), 400),
        (json!(-256), 400),
        (json!("256"), 400),
        (json!(1e300), 400),
    ] {
        let answer = client.post("/servicekey", json!({"name": "k", "size": size})).await;
        assert_eq!(answer.status, status, "{size}: {}", answer.body);
    }
}

#[tokio::test]
async fn null_is_as_good_as_absent_in_every_body() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    let of = |what: &str| format!("/servicekey/{key}{what}");
    let ciphertext = client.post(&of("/encrypt"), json!({"plaintext": "aGk=", "context": null})).await;
    assert_eq!(ciphertext.status, 200);
    let body = json!({"ciphertext": ciphertext.text("ciphertext"), "context": null});
    assert_eq!(client.post(&of("/decrypt"), body).await.text("plaintext"), "aGk=");
    assert_eq!(client.post(&of("/datakey"), json!({"size": 256, "name": null})).await.status, 201);
    assert_eq!(
        client.call("PATCH", &of(""), Some(json!({"name": "n", "extractable": null}))).await.status,
        200
    );
    client.base = format!("/api/{}", region.domain());
    let none = json!({"casRequired": null, "customMetadata": null, "deactivateVersionAfter": null, "maxVersions": null});
    let body = json!({"path": "p", "version": {"data": {}}, "metadata": none});
    assert_eq!(client.post("/v2/secret", body).await.status, 200);
    let body = json!({"metadata": null, "version": {"data": {"a": null}}});
    assert_eq!(client.call("PUT", "/v2/secret/p", Some(body)).await.status, 200);
    let none = json!({"casRequired": null, "deactivateVersionAfter": null, "maxVersions": null});
    assert_eq!(client.call("PUT", "/v2/secretConfig", Some(none)).await.status, 200);
    let body = json!({"data": {}, "options": null});
    assert_eq!(client.post("/v1/secret/data/p", body).await.status, 200);
    let body = json!({"data": {}, "options": {"cas": null}});
    assert_eq!(client.post("/v1/secret/data/p", body).await.status, 200);
}
