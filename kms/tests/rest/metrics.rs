//! What a host counts, as a monitoring system reads it.

use crate::region::Region;
use kms::{metrics, store::api::Refusal};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::store::Script;

/// One request over plain HTTP; the whole answer.
async fn ask(region: &Region, address: &str, line: &str) -> String {
    let mut stream = region.env.net.connect(address).await.expect("connects");
    let request = format!("{line} HTTP/1.1\r\nhost: metrics\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn a_host_tells_its_requests_errors_and_refusals_without_names() {
    let region = Region::sure().await;
    let mut client = region.client().await;
    let key = client.create("needle").await;
    client.get(&format!("/servicekey/{key}")).await;
    client.get("/servicekey/01234567-89ab-4def-8123-456789abcdef").await;
    region.store.lock().script.push_back(Script::Refuse(Refusal::NoTail));
    let refused = client.call("PATCH", &format!("/servicekey/{key}"), Some(json!({"name": "pin"}))).await;
    assert_eq!(refused.status, 503);
    let server = metrics::serve(&region.env, "127.0.0.1:0", region.server.gather()).await.expect("listens");
    let text = ask(&region, server.address(), "GET /metrics").await;
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("application/openmetrics-text"), "{text}");
    let route = "/api/{okmsId}/v1/servicekey/{keyId}";
    for line in [
        format!("kms_requests_total{{route=\"{route}\",method=\"GET\",status=\"200\"}} 1"),
        format!("kms_requests_total{{route=\"{route}\",method=\"GET\",status=\"404\"}} 1"),
        format!("kms_request_duration_seconds_count{{route=\"{route}\"}} 3"),
        "kms_errors_total{error=\"key_not_found\"} 1".to_owned(),
        "kms_writes_refused_total 1".to_owned(),
        "kms_can_serve 1".to_owned(),
        "kms_connections 1".to_owned(),
    ] {
        assert!(text.lines().any(|told| told == line), "{line} in {text}");
    }
    assert!(!text.contains("needle") && !text.contains(&key.to_string()), "{text}");
    assert!(text.trim_end().ends_with("# EOF"), "{text}");
    assert!(ask(&region, server.address(), "GET /").await.starts_with("HTTP/1.1 404"));
    assert!(ask(&region, server.address(), "POST /metrics").await.starts_with("HTTP/1.1 405"));
}
