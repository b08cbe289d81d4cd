//! A host that waits for shares of the root key: what it says, what it refuses, who may unseal it, and that nothing of a share comes out.

use crate::{client::Client, logs::caught, region::Region};
use http::Method;
use kms::{
    api::admin::types::{Line, RotateBody, SealBody, ShareBody},
    audit::{self, AuditKey},
    config::{ConfigError, NodeConfig},
    init::{NODE_FILE, SEALED_ROOT_FILE, SHARES_DIR},
    metrics,
    operator::admin::{Admin, AdminError},
    vault::{
        RootKey,
        unseal::{SealedRoot, UnsealKey, UnsealShare},
    },
};
use serde_json::json;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub const SEAL: &str = "/admin/v1/seal";
pub const UNSEAL: &str = "/admin/v1/unseal";
pub const SHARES: &str = "/admin/v1/shares";

pub fn line(region: &Region, number: u8) -> String {
    region.operator_file(&format!("{SHARES_DIR}/share-{number}.txt"))
}

pub fn share(region: &Region, number: u8) -> UnsealShare {
    UnsealShare::parse(&line(region, number)).expect("a share")
}

/// A share that looks well and is of no use: another value under the same set and number.
fn forged(region: &Region, number: u8) -> String {
    let mut bytes = base64(line(region, number).trim().rsplit(' ').next().expect("text"));
    let body = bytes.len() - 4;
    bytes[body - 1] ^= 1;
    let sum = ring::digest::digest(&ring::digest::SHA256, &bytes[..body]);
    bytes[body..].copy_from_slice(&sum.as_ref()[..4]);
    use base64::{Engine, engine::general_purpose::STANDARD};
    format!("okms-unseal-share-v1 {}", STANDARD.encode(bytes))
}

fn base64(text: &str) -> Vec<u8> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.decode(text).expect("base64")
}

pub async fn give(operator: &Admin, line: &str) -> Result<SealBody, AdminError> {
    let body = ShareBody { share: Some(line.to_owned().into()) };
    operator.send(Method::POST, UNSEAL, &body).await
}

pub async fn unseal(region: &Region, numbers: [u8; 3]) -> SealBody {
    let operator = region.operator();
    for number in &numbers[..2] {
        assert!(give(&operator, &line(region, *number)).await.expect("taken").sealed);
    }
    give(&operator, &line(region, numbers[2])).await.expect("opens")
}

pub async fn seal(region: &Region) -> SealBody {
    region.operator().order(Method::POST, SEAL).await.expect("sealed")
}

pub fn status(answer: Result<SealBody, AdminError>) -> (u16, String) {
    match answer {
        Err(AdminError::Answered { status, sentence, .. }) => (status, sentence),
        other => panic!("{other:?}"),
    }
}

async fn serves_nothing(region: &Region) {
    let mut client = region.client().await;
    let (domain, id) = (region.domain(), "01234567-89ab-4def-8123-456789abcdef");
    let health = client.get("/healthz").await;
    assert_eq!((health.status, &health.body["sealed"]), (503, &json!(true)), "{}", health.body);
    assert_eq!((&health.body["can_serve"], &health.body["can_write"]), (&json!(false), &json!(false)));
    let asked = || {
        let store = region.store.lock();
        (store.commits, store.reads)
    };
    let before = asked();
    let mut nobody = region.anonymous().await;
    for client in [&mut client, &mut nobody] {
        for (method, path) in [
            ("GET", "/servicekey".to_owned()),
            ("GET", "/random".to_owned()),
            ("POST", "/servicekey".to_owned()),
            ("POST", format!("/servicekey/{id}/encrypt")),
            ("GET", format!("/api/{domain}/v2/secret")),
            ("GET", "/api/nowhere".to_owned()),
        ] {
            let body = (method == "POST").then(|| json!({"name": "k", "type": "oct"}));
            let answer = client.call(method, &path, body).await;
            assert_eq!((answer.status, answer.code()), (503, 50_425_858), "{method} {path}");
            assert_eq!(answer.headers["retry-after"], "1");
            assert!(answer.body.to_string().contains("sealed"), "{}", answer.body);
        }
    }
    let administered = region.operator().inventory(domain).await;
    assert_eq!(administered.err().and_then(|error| error.status()), Some(503));
    assert_eq!(asked(), before, "nor is a database asked");
}

pub async fn encrypts(client: &mut Client, key: &str) -> u16 {
    client.post(&format!("/servicekey/{key}/encrypt"), json!({"plaintext": "aGVsbG8="})).await.status
}

#[tokio::test]
async fn three_of_five_unseal_and_a_restart_is_sealed_again() {
    let mut region = Region::sealed(true).await;
    serves_nothing(&region).await;
    let operator = region.operator();
    let given = async |number: u8| {
        let state = give(&operator, &line(&region, number)).await.expect("taken");
        (state.sealed, state.shares.expect("shares are wanted").given)
    };
    assert_eq!(given(4).await, (true, 1));
    assert_eq!(given(4).await, (true, 1), "the same again is no other");
    assert_eq!(given(2).await, (true, 2));
    serves_nothing(&region).await;
    assert_eq!(given(5).await, (false, 0));
    let mut client = region.client().await;
    assert_eq!(client.get("/healthz").await.body["sealed"], false);
    let key = client.create("k").await.to_string();
    assert_eq!(encrypts(&mut client, &key).await, 200);

    region.restart().await;
    serves_nothing(&region).await;
    let state = unseal(&region, [1, 3, 2]).await;
    assert!(!state.sealed, "{state:?}");
    assert_eq!(encrypts(&mut region.client().await, &key).await, 200);
    let more = give(&region.operator(), &line(&region, 4)).await.expect("no harm");
    assert_eq!(more, state, "who is unsealed wants none");
}

#[tokio::test]
async fn a_host_that_is_sealed_has_no_keys_left_and_records_what_was_done() {
    let region = Region::sealed(true).await;
    unseal(&region, [1, 2, 3]).await;
    let mut client = region.client().await;
    let key = client.create("k").await.to_string();
    let state = seal(&region).await;
    assert!(state.sealed && state.shares.expect("shares").given == 0, "none of those that unsealed it");
    assert_eq!(encrypts(&mut client, &key).await, 503, "on a connection from before, too");
    serves_nothing(&region).await;
    assert!(seal(&region).await.sealed, "twice is no harm");
    for _ in 0..3 {
        unseal(&region, [5, 4, 3]).await;
        assert_eq!(encrypts(&mut client, &key).await, 200);
        seal(&region).await;
    }
    let shares: Vec<_> = [1, 2, 3].map(|number| share(&region, number)).into();
    let sealed = SealedRoot::parse(&region.disk.contents(Path::new(SEALED_ROOT_FILE))).expect("sealed");
    let root = UnsealKey::combine(&shares).and_then(|key| key.open(&sealed)).expect("opens");
    let mut rows = Vec::new();
    let done = audit::read(&region.env, Path::new("data"), &AuditKey::new(&root, "host-a1"), None, |read| {
        let event = read.entry.clone().expect("an entry").event;
        rows.push(format!("{} {}", event.http_method, event.http_path));
        Ok(())
    });
    assert!(done.expect("reads").is_whole());
    let (given, sealing) = (format!("POST {UNSEAL}"), format!("POST {SEAL}"));
    let count = |row: &str| rows.iter().filter(|other| *other == row).count();
    assert_eq!((count(&given), count(&sealing)), (4, 4), "what unseals, and what seals: {rows:?}");
    assert_eq!(rows.len(), 4 + 4 + 4, "and what clients did: {rows:?}");
}

#[tokio::test]
async fn shares_that_do_not_open_are_forgotten_and_nobody_hears_which() {
    let region = Region::sealed(true).await;
    let operator = region.operator();
    let wrong = forged(&region, 2);
    give(&operator, &line(&region, 1)).await.expect("taken");
    give(&operator, &wrong).await.expect("nobody can tell yet");
    let (code, other) = status(give(&operator, &line(&region, 2)).await);
    assert!(code == 400 && other.contains("another share 2"), "{other}");
    let (code, why) = status(give(&operator, &line(&region, 3)).await);
    assert!(code == 400 && why.contains("do not open") && why.contains("at least one"), "{why}");
    let state: SealBody = operator.get(SEAL).await.expect("an answer");
    assert!(state.sealed && state.shares.expect("shares").given == 0);
    serves_nothing(&region).await;
    give(&operator, &line(&region, 1)).await.expect("taken");
    let state: SealBody = operator.order(Method::DELETE, UNSEAL).await.expect("forgets");
    assert_eq!(state.shares.expect("shares").given, 0);
    assert!(!unseal(&region, [1, 2, 3]).await.sealed);
}

#[tokio::test]
async fn what_is_no_share_of_this_region_is_refused_at_once() {
    let region = Region::sealed(true).await;
    let other = Region::sealed(true).await;
    let operator = region.operator();
    let foreign = status(give(&operator, &line(&other, 1)).await);
    assert!(foreign.0 == 400 && foreign.1.contains("take shares of that set"), "{foreign:?}");
    let (own, short) = (line(&region, 1), line(&region, 1)[..60].to_owned());
    for bad in ["", "x", "okms-unseal-share-v1 ", &short, &own.replace("v1", "v2"), &own.repeat(2)] {
        let (code, why) = status(give(&operator, bad).await);
        assert!(code == 400 && why.contains("this is no share"), "{bad}: {why}");
    }
    let odd =
        [json!({"share": 1}), json!({"shares": own}), json!([own]), json!({"share": "x".repeat(200_000)})];
    for body in odd {
        let answer: Result<SealBody, _> = operator.send(Method::POST, UNSEAL, &body).await;
        let (code, why) = status(answer);
        assert!(matches!(code, 400 | 413) && !why.contains(own.trim()), "{code} {why}");
    }
    let by_file: Result<SealBody, _> = operator.send(Method::POST, UNSEAL, &ShareBody { share: None }).await;
    let (code, why) = status(by_file);
    assert!(code == 409 && why.contains("in no file"), "{why}");
    let state: SealBody = operator.get(SEAL).await.expect("an answer");
    assert_eq!(state.shares.expect("shares").given, 0);
}

#[tokio::test]
async fn only_the_operator_gives_shares() {
    let region = Region::sealed(true).await;
    let mut client = region.client().await;
    assert_eq!(client.call("POST", UNSEAL, Some(json!({"share": line(&region, 1)}))).await.status, 503);
    let (cert, key) = (region.host_file("node.crt"), region.host_file("node.key"));
    let host = give(&region.admin_as(&cert, &key), &line(&region, 1)).await;
    // Of TLS 1.3 the end that was not let in hears when it has sent something.
    assert!(matches!(host, Err(AdminError::Unreachable(_) | AdminError::NoAnswer(..))), "{host:?}");
    let state: SealBody = region.operator().get(SEAL).await.expect("an answer");
    assert_eq!(state.shares.expect("shares").given, 0);
}

#[tokio::test]
async fn a_host_with_a_key_file_is_sealed_and_reads_it_again() {
    let region = Region::audited(kms::config::AuditConfig::default()).await;
    let mut client = region.client().await;
    let key = client.create("k").await.to_string();
    assert_eq!(seal(&region).await, SealBody { sealed: true, shares: None });
    serves_nothing(&region).await;
    let operator = region.operator();
    let (code, _) = status(give(&operator, &line(&Region::sealed(true).await, 1)).await);
    assert_eq!(code, 409, "it wants no shares");
    let kept = region.disk.take(Path::new("root.key"));
    let none = ShareBody { share: None };
    let missing: Result<SealBody, _> = operator.send(Method::POST, UNSEAL, &none).await;
    assert_eq!(status(missing).0, 500);
    region.disk.put(Path::new("root.key"), kept);
    let state: SealBody = operator.send(Method::POST, UNSEAL, &none).await.expect("reads it");
    assert!(!state.sealed);
    assert_eq!(encrypts(&mut client, &key).await, 200);
}

#[tokio::test]
async fn requests_under_way_end_or_are_refused_and_none_begun_later_succeeds() {
    let region = Arc::new(Region::sealed(true).await);
    unseal(&region, [1, 2, 3]).await;
    let key = region.client().await.create("k").await.to_string();
    // Odd while it is certainly sealed.
    let (stop, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut working = Vec::new();
    for _ in 0..4 {
        let (region, key) = (Arc::clone(&region), key.clone());
        let (stop, turns) = (Arc::clone(&stop), Arc::clone(&turns));
        let env = region.env.clone();
        working.push(env.spawn("load", async move {
            let mut client = region.client().await;
            let mut counts = [0_u32; 2];
            while !stop.load(Ordering::SeqCst) {
                let before = turns.load(Ordering::SeqCst);
                match encrypts(&mut client, &key).await {
                    200 => {
                        let after = turns.load(Ordering::SeqCst);
                        assert!(before != after || before % 2 == 0, "served while sealed");
                        counts[0] += 1;
                    }
                    503 => counts[1] += 1,
                    other => panic!("status {other}"),
                }
            }
            counts
        }));
    }
    for _ in 0..10 {
        region.env.sleep(Duration::from_millis(20)).await;
        seal(&region).await;
        turns.fetch_add(1, Ordering::SeqCst);
        region.env.sleep(Duration::from_millis(20)).await;
        turns.fetch_add(1, Ordering::SeqCst);
        unseal(&region, [3, 4, 5]).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut counts = [0, 0];
    for task in working {
        let each = task.await.expect("no panic");
        counts = [counts[0] + each[0], counts[1] + each[1]];
    }
    assert!(counts[0] > 0 && counts[1] > 0, "served and refused: {counts:?}");
}

#[tokio::test]
async fn nothing_of_a_share_or_the_root_key_is_logged_told_or_written() {
    let region = Region::sealed(true).await;
    let operator = region.operator();
    let _ = give(&operator, &forged(&region, 1)).await;
    let _ = give(&operator, &line(&region, 1)).await;
    operator.order::<SealBody>(Method::DELETE, UNSEAL).await.expect("forgets");
    unseal(&region, [1, 2, 3]).await;
    let new = UnsealKey::generate(&region.env, 3, 5).and_then(|key| key.split(&region.env)).expect("shares");
    let body = RotateBody {
        old: [1, 2, 3].map(|number| Line(share(&region, number).line())).into(),
        new: new.iter().take(3).map(|share| Line(share.line())).collect(),
    };
    operator.send::<_, SealBody>(Method::PUT, SHARES, &body).await.expect("rotates");
    let mut client = region.client().await;
    client.create("k").await;
    seal(&region).await;

    let sealed = SealedRoot::parse(&region.disk.contents(Path::new(SEALED_ROOT_FILE))).expect("sealed");
    let root: RootKey = UnsealKey::combine(&new[..3]).and_then(|key| key.open(&sealed)).expect("opens");
    let file = root.file();
    let text = std::str::from_utf8(&file).expect("text").trim().rsplit(' ').next().expect("base64");
    let mut needles = vec![base64(text), text.as_bytes().to_vec()];
    let lines =
        (1..=5).map(|number| line(&region, number)).chain(new.iter().map(|share| share.line().to_string()));
    for line in lines {
        let text = line.trim().rsplit(' ').next().expect("base64");
        // The value; set, numbers and checksum are no secret. And as it stands in the line.
        needles.extend([base64(text)[19..51].to_vec(), text.as_bytes()[28..64].to_vec()]);
    }
    let logs = caught();
    assert!(logs.contains("a share of the root key is given") && logs.contains("unsealed by shares"));
    let names = region.disk.names("");
    assert!(names.len() > 5, "{names:?}");
    let files: Vec<Vec<u8>> = names.iter().map(|name| region.disk.contents(name)).collect();
    for needle in &needles {
        let hex: String = needle.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = std::str::from_utf8(needle).unwrap_or(&hex);
        assert!(!logs.contains(&hex) && !logs.contains(text), "in the logs");
        for (name, bytes) in names.iter().zip(&files) {
            let there = |form: &[u8]| bytes.windows(form.len()).any(|window| window == form);
            assert!(!there(needle) && !there(hex.as_bytes()), "in {}", name.display());
        }
    }
}

#[tokio::test]
async fn metrics_say_whether_it_is_sealed() {
    let region = Region::sealed(true).await;
    let server = metrics::serve(&region.env, "127.0.0.1:0", region.server.gather()).await.expect("listens");
    let told = async || {
        let mut stream = region.env.net.connect(server.address()).await.expect("connects");
        let request = b"GET /metrics HTTP/1.1\r\nhost: metrics\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let value = |name: &str| {
            let line = answer.lines().find(|line| line.starts_with(&format!("{name} "))).expect("told");
            line.rsplit(' ').next().expect("a value").to_owned()
        };
        ["kms_sealed", "kms_can_serve", "kms_can_write", "kms_audit_recording"].map(value)
    };
    assert_eq!(told().await, ["1", "0", "0", "0"]);
    unseal(&region, [1, 2, 3]).await;
    assert_eq!(told().await, ["0", "1", "1", "1"]);
    seal(&region).await;
    assert_eq!(told().await, ["1", "0", "0", "0"]);
}

#[tokio::test]
async fn a_host_that_nobody_could_give_shares_does_not_start() {
    let region = Region::sealed(false).await;
    let node = region.host_file(NODE_FILE);
    let without = node.lines().filter(|line| !line.starts_with("admin_listen"));
    let without: String = without.map(|line| format!("{line}\n")).collect();
    assert_ne!(node, without);
    region.disk.put(Path::new("without.toml"), without.into_bytes());
    let refused = NodeConfig::load(&*region.env.disk, Path::new("without.toml"));
    assert!(matches!(refused, Err(ConfigError::NobodyUnseals(_))), "{refused:?}");
}
