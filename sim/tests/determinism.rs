//! The same seed is the same run, to the byte, in two processes with address randomisation on; and what would
//! make runs differ is caught. Only with `--cfg madsim`: elsewhere libc's clock and random bytes are real.
#![cfg(madsim)]
#![expect(clippy::print_stdout, reason = "a child process prints what its parent compares")]

use kms::env::{Env, Stream};
use kms_sim::{
    actions::Actions,
    world::{
        NodeSpec, World,
        leaks::{Leak, trace_hash},
        run,
    },
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::{process::Command, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

struct Time(Env);

impl std::fmt::Debug for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Time")
    }
}

impl rustls::time_provider::TimeProvider for Time {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        Some(rustls::pki_types::UnixTime::since_unix_epoch(self.0.clock.wall()))
    }
}

fn tls(env: &Env) -> (TlsAcceptor, TlsConnector) {
    let key = rcgen::KeyPair::generate().expect("key");
    let mut params = rcgen::CertificateParams::new(vec!["db".to_owned()]).expect("params");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    let cert: CertificateDer<'static> = params.self_signed(&key).expect("cert").into();
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.clone()).expect("root");
    let time = Arc::new(Time(env.clone()));
    let server = rustls::ServerConfig::builder_with_details(provider.clone(), time.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .expect("server");
    let client = rustls::ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)))
}

async fn serve(env: Env, acceptor: TlsAcceptor) -> String {
    let mut listener = env.net.bind("0.0.0.0:7000").await.expect("binds");
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        env.spawn("echo", async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..count]).await.is_err() {
                    break;
                }
            }
        });
    }
    "ended".to_owned()
}

async fn talk(env: &Env, connector: &TlsConnector, words: u32) -> std::io::Result<()> {
    let stream: Stream = env.net.connect("db:7000").await?;
    let name = ServerName::try_from("db").expect("name");
    let mut stream = connector.connect(name, stream).await?;
    for word in 0..words {
        stream.write_all(&word.to_le_bytes().repeat(64)).await?;
        stream.read_exact(&mut [0; 256]).await?;
        env.sleep(Duration::from_millis(1)).await;
    }
    stream.shutdown().await
}

fn echo_over_tls(seed: u64) -> u128 {
    run(seed, |world: World| async move {
        for (name, ip) in [("db", "10.0.0.1"), ("client", "10.0.0.2")] {
            let (name, ip) = (name.to_owned(), ip.to_owned());
            world.add_node(NodeSpec { name, ip, zone: None, region: "r".to_owned(), wall_offset_us: 0 });
        }
        let env = world.env("client");
        let hash_seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 1);
        world.note("std-hash", &hash_seed.to_string());
        let (acceptor, connector) = tls(&env);
        world.set_main("db", Arc::new(move |env| Box::pin(serve(env, acceptor.clone()))));
        world.boot("db");
        env.sleep(Duration::from_millis(1)).await;
        for round in 0..5 {
            talk(&env, &connector, 20).await.expect("echo");
            if round == 2 {
                world.kill("db");
                world.boot("db");
                env.sleep(Duration::from_millis(1)).await;
            }
        }
        world.trace_hash()
    })
}

/// One run from start to end, in this process. The tests below start it in processes of its own and compare what it
/// prints; there the word after `--skip` says which run.
#[test]
fn child() {
    let arguments: Vec<String> = std::env::args().collect();
    let word = |name: &str| {
        let at = arguments.iter().position(|argument| argument == "--skip");
        at.and_then(|at| arguments.get(at + 1)).filter(|word| word.starts_with(name)).cloned()
    };
    let seed = 7;
    let hash = match word("leak-") {
        Some(leak) => trace_hash(leak.trim_start_matches("leak-").parse::<Leak>().expect("leak"), seed),
        None => echo_over_tls(seed),
    };
    println!("hash={hash:032x}");
}

/// Runs `child` in a process of its own; its hash, or `None` if it died.
fn in_a_process(what: &str) -> Option<String> {
    let program = std::env::current_exe().expect("own path");
    let output = Command::new(program)
        .args(["--exact", "child", "--nocapture", "--skip", what])
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let hash = text.split("hash=").nth(1).and_then(|rest| rest.get(..32)).map(str::to_owned);
    hash.filter(|_| output.status.success())
}

#[test]
fn a_seed_is_the_same_run_in_two_processes() {
    let one = in_a_process("tls");
    assert!(one.is_some());
    assert_eq!(one, in_a_process("tls"));
    assert_eq!(in_a_process("leak-none"), in_a_process("leak-none"));
}

#[test]
fn planted_leaks_are_caught() {
    assert_ne!(in_a_process("leak-map"), in_a_process("leak-map"), "an unseeded map");
    assert_ne!(in_a_process("leak-clock"), in_a_process("leak-clock"), "a clock of the machine");
    assert_eq!(in_a_process("leak-thread"), None, "a thread is refused");
}
