//! HTTP/2 for clients that ask for it by ALPN.

use crate::{client::http2, region::Region};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;

#[tokio::test]
async fn the_server_picks_h2_and_serves_streams_side_by_side() {
    let region = Region::new().await;
    let sender = http2(&region, &["h2", "http/1.1"]).await;
    let keys = format!("https://kms/api/{}/v1/servicekey", region.domain());
    let mut answers = Vec::new();
    for n in 0..8 {
        let body = Full::new(Bytes::from(format!(r#"{{"name":"k{n}"}}"#)));
        let request = http::Request::post(&keys).header("content-type", "application/json");
        answers.push(sender.clone().send_request(request.body(body).expect("a request")));
    }
    for answer in answers {
        assert_eq!(answer.await.expect("an answer").status(), 201);
    }
    let request = http::Request::get(&keys).body(Full::<Bytes>::default()).expect("a request");
    let answer = sender.clone().send_request(request).await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "application/json");
    let list = answer.into_body().collect().await.expect("a body").to_bytes();
    let list: serde_json::Value = serde_json::from_slice(&list).expect("JSON");
    assert_eq!(list["objects_list"].as_array().map(Vec::len), Some(8));
    // Too large a body ends its stream, not the connection.
    let body = Full::new(Bytes::from(vec![b' '; 70_000]));
    let request = http::Request::post(&keys).header("content-type", "application/json");
    let answer =
        sender.clone().send_request(request.body(body).expect("a request")).await.expect("an answer");
    assert_eq!(answer.status(), 413);
    let request =
        http::Request::get("https://kms/healthz").body(Full::<Bytes>::default()).expect("a request");
    assert_eq!(sender.clone().send_request(request).await.expect("an answer").status(), 200);
}
