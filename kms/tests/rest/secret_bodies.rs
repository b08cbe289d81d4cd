//! Secret bodies, paths, queries and headers of any bytes, in both interfaces: each gets an answer, and each that is no success a
//! documented error. Whatever the service is sent, it is never at a loss (5xx), and it goes on serving.

use crate::{client::Client, region::Region};
use http_body_util::Full;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};

/// Requests that one test sends.
const REQUESTS: usize = 600;

/// What stands below `/api/{okmsId}`, by interface and resource.
const RESOURCES: [&str; 11] = [
    "/v2/secret",
    "/v2/secret/",
    "/v2/secretConfig",
    "/v1/secret/config",
    "/v1/secret/data/",
    "/v1/secret/subkeys/",
    "/v1/secret/delete/",
    "/v1/secret/undelete/",
    "/v1/secret/destroy/",
    "/v1/secret/metadata",
    "/v1/secret/metadata/",
];

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "LIST", "HEAD"];

/// Words of both interfaces, so that bodies get past the first look.
const WORDS: [&str; 20] = [
    "path",
    "version",
    "versions",
    "data",
    "metadata",
    "options",
    "cas",
    "casRequired",
    "cas_required",
    "customMetadata",
    "custom_metadata",
    "maxVersions",
    "max_versions",
    "deactivateVersionAfter",
    "delete_version_after",
    "state",
    "active",
    "deleted",
    "a/b",
    "30d",
];

#[derive(Debug, Clone)]
struct Sent {
    method: &'static str,
    target: String,
    content_type: Option<&'static str>,
    body: Vec<u8>,
}

/// Any bytes as they may stand in a request line: what may not is percent-encoded.
fn in_url(bytes: Vec<u8>) -> String {
    bytes.into_iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
        text
    })
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(in_url),
        2 => "[a-z./%]{0,12}(/version(/[0-9]{0,12})?)?",
        2 => Just("a/b".to_owned()),
        1 => "[a-z/]{240,300}",
    ]
}

fn query() -> impl Strategy<Value = String> {
    let name = proptest::sample::select(vec!["version", "cas", "includeData", "list", "depth", "x"]);
    let value = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..12).prop_map(in_url),
        any::<u64>().prop_map(|n| n.to_string()),
        any::<i32>().prop_map(|n| n.to_string()),
        Just("true".to_owned()),
    ];
    let pair = (name, value).prop_map(|(name, value)| format!("{name}={}", value.replace('/', "%2F")));
    proptest::collection::vec(pair, 0..3)
        .prop_map(|pairs| if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) })
}

fn value() -> impl Strategy<Value = Value> {
    let word = proptest::sample::select(WORDS.to_vec()).prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u32..4).prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        word.clone().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => proptest::collection::btree_map(word.clone(), inner.clone(), 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
            1 => proptest::collection::btree_map(any::<String>(), inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let text = || value().prop_map(|value| value.to_string().into_bytes());
    let cut = (text(), any::<proptest::sample::Index>()).prop_map(|(mut text, at)| {
        text.truncate(at.index(text.len() + 1));
        text
    });
    let altered = (text(), any::<proptest::sample::Index>(), any::<u8>()).prop_map(|(mut text, at, byte)| {
        let at = at.index(text.len());
        text[at] = byte;
        text
    });
    prop_oneof![
        1 => Just(Vec::new()),
        2 => proptest::collection::vec(any::<u8>(), 0..200),
        6 => text(),
        2 => cut,
        2 => altered,
        1 => (1_usize..5_000).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    let method = proptest::sample::select(METHODS.to_vec());
    let resource = proptest::sample::select(RESOURCES.to_vec());
    let types = vec![
        Some("application/json"),
        Some("application/json"),
        Some("application/merge-patch+json"),
        Some("text/plain"),
        None,
    ];
    (method, resource, path(), query(), proptest::sample::select(types), body()).prop_map(
        |(method, resource, path, query, content_type, body)| {
            let path = if resource.ends_with('/') { path } else { String::new() };
            Sent { method, target: format!("{resource}{path}{query}"), content_type, body }
        },
    )
}

async fn answered(client: &mut Client, base: &str, sent: &Sent) -> Result<u16, String> {
    let request = http::Request::builder().method(sent.method).uri(format!("{base}{}", sent.target));
    let request = match sent.content_type {
        Some(content_type) => request.header("content-type", content_type),
        None => request,
    };
    let body = Full::new(sent.body.clone().into());
    // What is no request line never leaves a client.
    let Ok(request) = request.header("host", "kms").body(body) else { return Ok(0) };
    let answer = client.send(request).await.map_err(|error| format!("no answer: {error}"))?;
    let (status, body) = (answer.status, &answer.body);
    let documented = body["error_code"].as_u64().is_some_and(|code| code > 0)
        && body["error_id"].is_string()
        && body["request_id"].is_string()
        && body["errors"][0].is_string();
    match status {
        200..=204 => Ok(status),
        // An answer to HEAD has no body.
        400..=499 if documented || sent.method == "HEAD" => Ok(status),
        _ => Err(format!("{status} {body}")),
    }
}

#[tokio::test]
async fn any_request_about_secrets_gets_a_documented_answer() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let base = format!("/api/{}", region.domain());
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[5; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), seed);
    let (mut accepted, mut denied) = (0, 0);
    for number in 0..REQUESTS {
        // What is done to it must find something now and then.
        if number % 50 == 0 {
            let written = json!({ "data": { "n": number } });
            assert_eq!(client.post(&format!("{base}/v1/secret/data/a/b"), written).await.status, 200);
        }
        let sent = sent().new_tree(&mut runner).expect("a request").current();
        let mut outcome = answered(&mut client, &base, &sent).await;
        if outcome.as_ref().is_err_and(|why| why.starts_with("no answer")) {
            // A connection may be closed after an answer; a new one is not.
            client = region.client().await;
            outcome = answered(&mut client, &base, &sent).await;
        }
        match outcome {
            Ok(400..) => denied += 1,
            Ok(200..) => accepted += 1,
            Ok(_) => {}
            Err(why) => panic!("request {number}: {why}: {sent:?}"),
        }
    }
    assert!(denied > REQUESTS / 4 && accepted > REQUESTS / 50, "{denied} denied, {accepted} accepted");
}

#[tokio::test]
async fn bodies_of_any_size_are_answered() {
    let region = Region::new().await;
    let base = format!("/api/{}", region.domain());
    for (size, status) in [(1_000, 200), (65_000, 200), (66_000, 400), (163_000, 400), (200_000, 413)] {
        let mut client = region.client().await;
        let data = json!({ "data": { "k": "v".repeat(size) } });
        let answer = client.post(&format!("{base}/v1/secret/data/size"), data).await;
        assert_eq!(answer.status, status, "{size}: {}", answer.body);
    }
}
