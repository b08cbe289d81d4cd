//! What the logs say, and what they must not.

use crate::{region::Region, store::Script};
use kms::store::api::{Place, Refusal};
use serde_json::json;
use std::{
    io,
    sync::{Arc, LazyLock, Mutex, Once},
};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    registry,
    util::SubscriberInitExt,
};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;
    fn make_writer(&'a self) -> Lines {
        self.clone()
    }
}

static LINES: LazyLock<Lines> = LazyLock::new(Lines::default);

/// Catches the lines of this whole process: a subscriber of one thread misses what other threads' tests
/// have made tracing believe nobody wants. Every region asks for it first.
pub fn catch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let lines = fmt::layer().with_ansi(false).with_writer(LINES.clone());
        let kms = Targets::new().with_target("kms", LevelFilter::TRACE);
        registry().with(lines.with_filter(kms)).init();
    });
}

/// All lines so far.
pub fn caught() -> String {
    String::from_utf8(LINES.0.lock().expect("not poisoned").clone()).expect("UTF-8")
}

#[tokio::test]
async fn logs_name_requests_and_keys_and_nothing_the_customer_said() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let body = json!({"name": "needle-name", "context": "needle-context", "type": "oct",
        "operations": ["encrypt", "decrypt", "wrapKey", "unwrapKey"]});
    let made = client.post("/servicekey", body).await;
    let path = format!("/servicekey/{}", made.text("id"));
    let sealed = client
        .post(
            &format!("{path}/encrypt"),
            json!({"plaintext": "bmVlZGxlLXRleHQ=", "context": "needle-context"}),
        )
        .await;
    client
        .post(
            &format!("{path}/decrypt"),
            json!({"ciphertext": sealed.text("ciphertext"), "context": "needle-wrong"}),
        )
        .await;
    let data_key = client.post(&format!("{path}/datakey"), json!({"size": 256, "name": "needle-data"})).await;
    client.call("PATCH", &path, Some(json!({"name": "needle-new"}))).await;
    client.call("PATCH", &path, Some(json!({"name": "needle-long-needle-long-needle-long"}))).await;
    client.post(&format!("{path}/deactivate"), json!({"reason": "needle-reason"})).await;
    client.post("/servicekey", json!({"name": "needle", "needle-field": "needle-value"})).await;
    client.get("/servicekey?state=needle-state").await;
    region.store.lock().script.extend([Script::Refuse(Refusal::NoTail), Script::Unknown { happens: false }]);
    client.call("PATCH", &path, Some(json!({"name": "needle-refused"}))).await;
    let unknown = client.call("PATCH", &path, Some(json!({"name": "needle-unknown"}))).await;
    {
        let mut inner = region.store.lock();
        let (key, mut record) =
            inner.records.first_key_value().map(|(k, v)| (k.clone(), v.clone())).expect("a key");
        record.blob[30] ^= 1;
        inner.altered.insert((Place::Near, key), record);
    }
    assert_eq!(client.get(&path).await.status, 200);

    // Other tests' lines are among them, which name nothing with these needles either.
    let text = caught();
    let ours: Vec<_> = text.lines().collect();
    assert!(ours.len() >= 10, "{text}");
    for needle in ["needle", "bmVlZGxl", data_key.text("plaintext"), sealed.text("ciphertext")] {
        assert!(!ours.iter().any(|line| line.contains(needle)), "{needle} in {ours:#?}");
    }
    let line = ours.iter().find(|line| line.contains(unknown.text("request_id"))).expect("its line");
    for part in ["status=504", "code=83976193", "/v1/servicekey/{keyId}", made.text("id"), "serial=", "ms="] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(ours.iter().any(|line| line.contains("does not open")));
}
