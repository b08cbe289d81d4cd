//! Bad input gets the documented error. The cases are `tests/cases/bad_inputs.toml`.

use crate::region::Region;
use http_body_util::Full;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

/// One request, with `{key}` standing for the id of a key that exists and `{long:N}` for N letters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    method: Method,
    path: String,
    #[serde(default = "json_type")]
    content_type: String,
    #[serde(default)]
    body: String,
    status: u16,
    error_id: String,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    Get,
    Post,
    Patch,
    Put,
    Delete,
}

impl Method {
    fn word(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Patch => "PATCH",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }
}

fn json_type() -> String {
    "application/json".to_owned()
}

/// Fills in the placeholders.
fn fill(text: &str, key: &str) -> String {
    let mut text = text.replace("{key}", key);
    while let Some((before, rest)) = text.split_once("{long:") {
        let (count, after) = rest.split_once('}').expect("{long:N}");
        text = format!("{before}{}{after}", "a".repeat(count.parse().expect("a number")));
    }
    text
}

#[tokio::test]
async fn every_case_gets_its_error() {
    let cases: Cases = toml::from_str(include_str!("../cases/bad_inputs.toml")).expect("cases");
    assert!(cases.case.len() >= 40, "the cases are gone");
    let region = Region::new().await;
    let mut client = region.client().await;
    let key = client.create("k").await.to_string();
    let mut wrong = Vec::new();
    for case in cases.case {
        let mut client = region.client().await;
        let path = fill(&case.path, &key);
        let path = if path.starts_with("/api") || path.starts_with("//") {
            path
        } else {
            format!("{}{path}", client.base)
        };
        let mut request = http::Request::builder().method(case.method.word()).uri(path).header("host", "kms");
        if !case.content_type.is_empty() {
            request = request.header("content-type", case.content_type);
        }
        let body = Full::new(fill(&case.body, &key).into_bytes().into());
        let answer = client.send(request.body(body).expect("a request")).await.expect("an answer");
        let error_id = answer.body["error_id"].as_str().unwrap_or("none");
        if (answer.status, error_id) != (case.status, case.error_id.as_str()) {
            wrong.push(format!("{}: {} {}", case.name, answer.status, answer.body));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(client.get("/servicekey").await.body["objects_list"].as_array().map(Vec::len), Some(1));
    assert_eq!(client.state(key.parse().expect("a UUID")).await, "active", "bad input changes nothing");
}

#[tokio::test]
async fn a_405_names_what_is_allowed() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let answer = client.call("PUT", "/servicekey", None).await;
    assert_eq!((answer.status, answer.text("error_id")), (405, "method_not_allowed"));
    let allow = answer.headers["allow"].to_str().expect("text");
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
}

#[tokio::test]
async fn explicit_nulls_are_absent_fields() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let body = serde_json::json!({"name": "n", "id": null, "context": null, "type": null, "size": null, "curve": null,
        "operations": null, "protectionLevel": null, "keys": null, "extractable": null, "wrappedKeys": null});
    assert_eq!(client.post("/servicekey", body).await.status, 201);
}
