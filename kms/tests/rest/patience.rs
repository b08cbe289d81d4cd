//! Clients that are slow, loud or broken below the level of requests.

use crate::{
    client::{http2, tls},
    region::Region,
};
use http_body_util::Full;
use kms::{config::AuditConfig, limits::Limits};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn impatient() -> Region {
    Region::with(Limits { client_idle_ms: 300, handshake_ms: 300, ..Limits::default() }).await
}

/// Sends bytes, one by one if asked to, and reads what comes back until the connection ends.
async fn say(region: &Region, bytes: &[u8], every: Option<Duration>) -> String {
    let mut stream = tls(region, None).await.expect("connects");
    match every {
        None => stream.write_all(bytes).await.expect("writes"),
        Some(pause) => {
            for byte in bytes {
                if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
                    break;
                }
                region.env.sleep(pause).await;
            }
        }
    }
    stream.flush().await.ok();
    let mut answer = Vec::new();
    let patience = Duration::from_secs(5);
    let mut chunk = [0; 4096];
    let reading = async {
        while let Ok(read) = stream.read(&mut chunk).await {
            if read == 0 {
                break;
            }
            answer.extend_from_slice(&chunk[..read]);
        }
    };
    region.env.timeout(patience, reading).await.expect("the host ends the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_off() {
    let region = impatient().await;
    let head = format!("GET /healthz HTTP/1.1\r\nhost: kms\r\nx-slow: {}\r\n\r\n", "a".repeat(200));
    assert_eq!(say(&region, head.as_bytes(), Some(Duration::from_millis(10))).await, "");
    assert_eq!(say(&region, b"", None).await, "", "a connection without a request");
}

#[tokio::test]
async fn a_body_that_trickles_gets_a_408() {
    let region = impatient().await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    let identity = &region.bundle.clients[0];
    let mut stream = tls(&region, Some((&identity.cert_pem, &identity.key_pem))).await.expect("connects");
    let head = format!(
        "POST {}/servicekey/{key}/encrypt HTTP/1.1\r\nhost: kms\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
        client.base
    );
    stream.write_all(head.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    region.env.timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.expect("ends").ok();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("request_timeout"));
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_cut_off() {
    let region = impatient().await;
    let mut stream = region.env.net.connect(region.server.address()).await.expect("connects");
    let mut byte = [0];
    let read = region.env.timeout(Duration::from_secs(5), stream.read(&mut byte)).await.expect("ends");
    assert!(matches!(read, Ok(0) | Err(_)));
}

#[tokio::test]
async fn heads_have_a_limit() {
    let region = impatient().await;
    let head = format!("GET /healthz HTTP/1.1\r\nhost: kms\r\nx-long: {}\r\n\r\n", "a".repeat(20_000));
    let answer = say(&region, head.as_bytes(), None).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn noise_is_refused_and_hurts_nobody() {
    let region = impatient().await;
    let answer = say(&region, b"\x16\x03\x01 not http at all \r\n\r\n", None).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let mut stream = region.env.net.connect(region.server.address()).await.expect("connects");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("writes");
    drop(stream);
    assert_eq!(region.anonymous().await.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_kept_connection_may_rest_longer_than_a_head_may_take() {
    let region = impatient().await;
    let mut client = region.client().await;
    client.create("k").await;
    region.env.sleep(Duration::from_millis(700)).await;
    assert_eq!(client.get("/servicekey").await.status, 200);
}

#[tokio::test]
async fn connections_have_a_limit() {
    let region = Region::with(Limits { connections_max: 1, ..Limits::default() }).await;
    let mut client = region.client().await;
    client.create("k").await;
    assert!(tls(&region, None).await.is_err());
    drop(client);
}

/// A host that lets a connection rest for less time than a head may take.
async fn restless() -> Region {
    Region::with(Limits { client_idle_ms: 2_000, keep_alive_ms: 400, ..Limits::default() }).await
}

/// Reads until the host ends the connection; how long that took, and how many answers of success there were.
async fn ends(region: &Region, mut stream: impl tokio::io::AsyncRead + Unpin) -> (Duration, usize) {
    let (began, mut answers) = (region.env.now(), Vec::new());
    let read = region.env.timeout(Duration::from_secs(5), stream.read_to_end(&mut answers)).await;
    read.expect("the host ends the connection").ok();
    let answers = String::from_utf8_lossy(&answers).matches("HTTP/1.1 200").count();
    (region.env.now().since(began), answers)
}

#[tokio::test]
async fn a_connection_that_rests_is_ended() {
    let region = restless().await;
    let mut stream = tls(&region, None).await.expect("connects");
    // Together with the end of the handshake: the host has not waited for anything yet.
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: kms\r\n\r\n").await.expect("writes");
    let (took, answers) = ends(&region, stream).await;
    assert_eq!(answers, 1);
    assert!(took >= Duration::from_millis(350) && took < Duration::from_millis(1_500), "{took:?}");
}

#[tokio::test]
async fn a_connection_that_rests_after_a_slow_request_is_ended() {
    let region = restless().await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    let identity = &region.bundle.clients[0];
    let mut stream = tls(&region, Some((&identity.cert_pem, &identity.key_pem))).await.expect("connects");
    let body = r#"{"plaintext":"eA=="}"#;
    let head = format!(
        "POST {}/servicekey/{key}/encrypt HTTP/1.1\r\nhost: kms\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        client.base,
        body.len()
    );
    let request = [head.as_bytes(), body.as_bytes()].concat();
    stream.write_all(&request).await.expect("writes");
    region.env.sleep(Duration::from_millis(200)).await;
    // Served while whatever would have ended its rest rings.
    stream.write_all(head.as_bytes()).await.expect("writes");
    region.env.sleep(Duration::from_millis(700)).await;
    stream.write_all(body.as_bytes()).await.expect("writes");
    let (took, answers) = ends(&region, stream).await;
    assert_eq!(answers, 2);
    assert!(took >= Duration::from_millis(350) && took < Duration::from_millis(1_500), "{took:?}");
}

#[tokio::test]
async fn a_stream_that_is_reset_leaves_a_connection_that_rests() {
    let limits = Limits { keep_alive_ms: 400, ..Limits::default() };
    let region = Region::audited_with(limits, AuditConfig::default()).await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    let mut sender = http2(&region, &["h2"]).await;
    // It waits for its entry when the stream is reset, and is never answered.
    region.disk.hold_syncs(true);
    let request = http::Request::get(format!("https://kms{}/servicekey/{key}", client.base));
    let answer = sender.send_request(request.body(Full::default()).expect("a request"));
    assert!(
        region.env.timeout(Duration::from_millis(300), answer).await.is_err(),
        "answered without an entry"
    );
    let closed = async {
        while !sender.is_closed() {
            region.env.sleep(Duration::from_millis(20)).await;
        }
    };
    let closed = region.env.timeout(Duration::from_secs(3), closed).await;
    region.disk.hold_syncs(false);
    closed.expect("the host ends the connection");
}
