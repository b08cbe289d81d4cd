//! The entry in front of hosts that are not real: what passes, what happens when a host is lost.

use crate::common::{bundle, file, spec};
use kms::{
    config::{NodeConfig, Peers, Role},
    entry::{self, Entry},
    env::{Env, Stream, Task},
    init::{Bundle, NodeBundle},
    limits::Limits,
    os,
    wire::tls::{NodePem, NodeTls},
};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// Answers `/healthz` over TLS; to anything else it says its name, then echoes.
struct FakeHost {
    address: String,
    can_serve: Arc<AtomicBool>,
    _task: Task<()>,
}

impl FakeHost {
    async fn start(env: &Env, node: &NodeBundle) -> FakeHost {
        let chain = CertificateDer::pem_slice_iter(file(&node.files, "node.crt")).collect::<Result<_, _>>();
        let key = PrivateKeyDer::from_pem_slice(file(&node.files, "node.key")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain.expect("a chain"), key)
            .expect("a configuration");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut listener = env.net.bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_address();
        let can_serve = Arc::new(AtomicBool::new(true));
        let (flag, world, name) = (can_serve.clone(), env.clone(), node.node_id.clone());
        let task = env.spawn("fake host", async move {
            // Dropped with this task, and each ends its connection then.
            let mut connections = Vec::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                let work = connection(stream, acceptor.clone(), flag.clone(), name.clone());
                connections.push(world.spawn("fake connection", work).abort_on_drop());
            }
        });
        FakeHost { address, can_serve, _task: task.abort_on_drop() }
    }
}

async fn connection(mut stream: Stream, acceptor: TlsAcceptor, can_serve: Arc<AtomicBool>, name: String) {
    let mut first = [0];
    if stream.read_exact(&mut first).await.is_err() {
        return;
    }
    let (read, mut write) = tokio::io::split(stream);
    let mut read = std::io::Cursor::new(first).chain(read);
    if first[0] != 0x16 {
        let _ = write.write_all(format!("{name}:").as_bytes()).await;
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
        return;
    }
    let Ok(mut tls) = acceptor.accept(tokio::io::join(read, write)).await else {
        return;
    };
    let mut request = Vec::new();
    while let Ok(byte) = tls.read_u8().await {
        request.push(byte);
        if request.ends_with(b"\r\n\r\n") {
            assert!(request.starts_with(b"GET /healthz HTTP/1.1\r\n"));
            request.clear();
            let ok = can_serve.load(Ordering::SeqCst);
            let body = format!(r#"{{"can_serve":{ok},"can_write":false}}"#);
            let status = if ok { "200 OK" } else { "503 Service Unavailable" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if tls.write_all(answer.as_bytes()).await.is_err() || tls.flush().await.is_err() {
                return;
            }
        }
    }
}

async fn start(env: &Env, bundle: &Bundle, hosts: Vec<String>, limits: Limits) -> Entry {
    let node = bundle.node("entry").expect("an entry");
    let pem = NodePem {
        cert: file(&node.files, "node.crt"),
        key: file(&node.files, "node.key"),
        node_ca: bundle.ca_pem.as_bytes(),
    };
    let tls = NodeTls::from_pem(env, &pem, Duration::from_secs(2)).expect("valid certificates");
    let config = NodeConfig {
        role: Role::Entry,
        region: "eu-west-rbx".to_owned(),
        zone: None,
        place: None,
        node_id: "entry".to_owned(),
        data_dir: "data".into(),
        listen: None,
        rest_listen: Some("127.0.0.1:0".to_owned()),
        admin_listen: None,
        metrics_listen: None,
        cert: "node.crt".into(),
        key: "node.key".into(),
        node_ca: "node-ca.crt".into(),
        access_ca: None,
        operator_cert: None,
        root_key: None,
        sealed_root: None,
        backup_key: None,
        witness: None,
        peers: Peers { hosts, ..Peers::default() },
        backups: Vec::new(),
        audit: None,
        limits,
    };
    entry::serve(env, &config, tls).await.expect("starts")
}

fn quick() -> Limits {
    Limits { entry_check_ms: 100, client_idle_ms: 300, ..Limits::default() }
}

/// Says `x` and gives the name of the host that answered, with the open connection; none if it was closed.
async fn greet(env: &Env, entry: &Entry) -> Option<(String, Stream)> {
    let mut stream = env.net.connect(entry.address()).await.ok()?;
    stream.write_all(b"x").await.ok()?;
    let mut name = Vec::new();
    loop {
        let byte = stream.read_u8().await.ok()?;
        if byte == b':' {
            stream.read_u8().await.ok()?;
            return Some((String::from_utf8(name).expect("text"), stream));
        }
        name.push(byte);
    }
}

async fn until_served(env: &Env, entry: &Entry) {
    for _ in 0..100 {
        if greet(env, entry).await.is_some() {
            return;
        }
        env.sleep(Duration::from_millis(20)).await;
    }
    panic!("no host became healthy");
}

#[tokio::test]
async fn bytes_pass_both_ways_through_half_closes_and_over_both_zones() {
    let env = os::env();
    let bundle = bundle(&env, &spec());
    let mut hosts = Vec::new();
    for name in ["host-a1", "host-b1"] {
        hosts.push(FakeHost::start(&env, bundle.node(name).expect("a host")).await);
    }
    let addresses = hosts.iter().map(|host| host.address.clone()).collect();
    let entry = start(&env, &bundle, addresses, quick()).await;
    until_served(&env, &entry).await;
    env.sleep(Duration::from_millis(300)).await;
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..4 {
        names.insert(greet(&env, &entry).await.expect("served").0);
    }
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["host-a1", "host-b1"]);

    let (_, stream) = greet(&env, &entry).await.expect("served");
    let (mut read, mut write) = tokio::io::split(stream);
    let data: Vec<u8> = (0..300_000u32).map(|at| at as u8).collect();
    let sent = data.clone();
    let writer = env.spawn("writer", async move {
        write.write_all(&sent).await.expect("writes");
        write.shutdown().await.expect("half-closes");
    });
    let mut echo = Vec::new();
    read.read_to_end(&mut echo).await.expect("reads to the end");
    assert!(echo == data);
    writer.await.expect("ends");
    entry.shutdown().await;
}

#[tokio::test]
async fn a_lost_host_has_its_connections_closed_and_comes_back() {
    let env = os::env();
    let bundle = bundle(&env, &spec());
    let one = FakeHost::start(&env, bundle.node("host-a1").expect("a host")).await;
    let two = FakeHost::start(&env, bundle.node("host-b1").expect("a host")).await;
    let entry = start(&env, &bundle, vec![one.address.clone(), two.address.clone()], quick()).await;
    until_served(&env, &entry).await;
    env.sleep(Duration::from_millis(300)).await;
    let mut kept = Vec::new();
    for _ in 0..4 {
        kept.push(greet(&env, &entry).await.expect("served"));
    }
    one.can_serve.store(false, Ordering::SeqCst);
    for (name, mut stream) in kept {
        if name == "host-a1" {
            let end = env.timeout(Duration::from_secs(2), stream.read_u8()).await.expect("closed in time");
            assert!(end.is_err());
        } else {
            stream.write_all(b"y").await.expect("still there");
            assert_eq!(stream.read_u8().await.expect("still there"), b'y');
        }
    }
    for _ in 0..4 {
        assert_eq!(greet(&env, &entry).await.expect("served").0, "host-b1");
    }
    // The other process ends too: nobody can serve, but one still answers, and its clients stay there.
    drop(two);
    env.sleep(Duration::from_millis(500)).await;
    let (name, mut stream) = greet(&env, &entry).await.expect("passed on");
    assert_eq!(name, "host-a1");
    env.sleep(Duration::from_millis(500)).await;
    stream.write_all(b"y").await.expect("still there");
    assert_eq!(stream.read_u8().await.expect("still there"), b'y');
    one.can_serve.store(true, Ordering::SeqCst);
    until_served(&env, &entry).await;
    assert_eq!(greet(&env, &entry).await.expect("served").0, "host-a1");
    entry.shutdown().await;
}

#[tokio::test]
async fn clients_of_a_host_that_only_answers_are_let_go_when_another_serves() {
    let env = os::env();
    let bundle = bundle(&env, &spec());
    let one = FakeHost::start(&env, bundle.node("host-a1").expect("a host")).await;
    let two = FakeHost::start(&env, bundle.node("host-b1").expect("a host")).await;
    for host in [&one, &two] {
        host.can_serve.store(false, Ordering::SeqCst);
    }
    let entry = start(&env, &bundle, vec![one.address.clone(), two.address.clone()], quick()).await;
    until_served(&env, &entry).await;
    env.sleep(Duration::from_millis(300)).await;
    let mut kept = vec![greet(&env, &entry).await.expect("passed on")];
    kept.push(greet(&env, &entry).await.expect("passed on"));
    two.can_serve.store(true, Ordering::SeqCst);
    for (name, mut stream) in kept {
        if name == "host-a1" {
            let end = env.timeout(Duration::from_secs(2), stream.read_u8()).await.expect("closed in time");
            assert!(end.is_err());
        } else {
            env.sleep(Duration::from_millis(300)).await;
            stream.write_all(b"y").await.expect("still there");
            assert_eq!(stream.read_u8().await.expect("still there"), b'y');
        }
    }
    assert_eq!(greet(&env, &entry).await.expect("served").0, "host-b1");
    // Nobody answers: closed at once.
    drop((one, two));
    env.sleep(Duration::from_millis(500)).await;
    assert!(greet(&env, &entry).await.is_none());
    entry.shutdown().await;
}

#[tokio::test]
async fn connections_are_bounded_and_shutdown_closes_them() {
    let env = os::env();
    let bundle = bundle(&env, &spec());
    let host = FakeHost::start(&env, bundle.node("host-a1").expect("a host")).await;
    let limits = Limits { connections_max: 2, ..quick() };
    let entry = start(&env, &bundle, vec![host.address.clone()], limits).await;
    until_served(&env, &entry).await;
    env.sleep(Duration::from_millis(50)).await;
    let (_, mut one) = greet(&env, &entry).await.expect("served");
    let (_, mut two) = greet(&env, &entry).await.expect("served");
    assert!(greet(&env, &entry).await.is_none(), "the third is turned away");
    // A client that half-closes against a host that goes on talking is cut after the grace.
    two.shutdown().await.expect("half-closes");
    let mut rest = Vec::new();
    let ended = env.timeout(Duration::from_secs(2), two.read_to_end(&mut rest)).await;
    assert!(ended.is_ok());
    let address = entry.address().to_owned();
    env.timeout(Duration::from_secs(2), entry.shutdown()).await.expect("ends in time");
    assert!(one.read_u8().await.is_err());
    assert!(env.net.connect(&address).await.is_err());
}

#[tokio::test]
async fn a_host_of_another_region_is_never_used() {
    let env = os::env();
    let [ours, theirs] = [(); 2].map(|()| bundle(&env, &spec()));
    let host = FakeHost::start(&env, theirs.node("host-a1").expect("a host")).await;
    let entry = start(&env, &ours, vec![host.address.clone()], quick()).await;
    env.sleep(Duration::from_millis(400)).await;
    assert!(greet(&env, &entry).await.is_none());
    entry.shutdown().await;
}
