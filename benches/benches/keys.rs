//! What a host's core does in a second: encrypt and sign through a host against a bare service of the same libraries; whether RSA keys that are
//! being made delay others; whether many keys in a domain do. And what signatures cost by themselves, with keys ready and with keys read anew.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use criterion::Criterion;
use futures_util::future::{Either, join_all, select};
use hyper::StatusCode;
use kms::{
    crypto::asymmetric::{Curve, Jwk, PrivateKey, PublicKey, Shape, SignatureAlgorithm},
    env::{Env, Purpose},
};
use kms_benches::{
    bare::{self, Bare, Keys},
    client::Kept,
    cores::{Cores, Reserved},
    mean_of,
    process::{processor_time_of, resident},
    region::Region,
    report::{self, Mode, Series},
};
use ring::signature;
use std::{hint::black_box, path::Path, time::Duration};

/// The host whose processor time is told.
const HOST: &str = "host-a1";
/// Plaintext of an encrypt, and message of a signature, bytes.
const TEXT_BYTES: usize = 1 << 10;
const MESSAGE_BYTES: usize = 256;
/// Connections: so few that the host's core waits between requests, and so many that it always has something to do.
const LANES: [usize; 2] = [4, 32];
/// Makers of keys at a time, one more than this machine has cores to spare.
const MAKERS: usize = 2;

/// Parts of this benchmark.
#[derive(Clone, Copy)]
enum Part {
    Signatures,
    Host,
    Generation,
    Domain,
}

/// How much is measured.
struct Size {
    rounds: u32,
    /// Requests of all connections together in a round.
    encrypts: u32,
    signs: u32,
    /// Encrypts timed with and without keys being made, in each round.
    timed: u32,
    /// Keys in the domain.
    keys: &'static [u32],
}

const FULL: Size =
    Size { rounds: 8, encrypts: 8_000, signs: 1_280, timed: 400, keys: &[1_000, 10_000, 100_000, 1_000_000] };
const QUICK: Size = Size { rounds: 3, encrypts: 3_200, signs: 640, timed: 200, keys: &[1_000, 10_000] };
const ONCE: Size = Size { rounds: 1, encrypts: 32, signs: 32, timed: 4, keys: &[2, 4] };

fn size() -> Size {
    match report::mode() {
        Mode::Measure if std::env::args().any(|argument| argument == "--quick") => QUICK,
        Mode::Measure => FULL,
        Mode::Test | Mode::List => ONCE,
    }
}

fn es256() -> SignatureAlgorithm {
    SignatureAlgorithm::of_word("ES256").expect("an algorithm")
}

fn rs256() -> SignatureAlgorithm {
    SignatureAlgorithm::of_word("RS256").expect("an algorithm")
}

/// The two keys that everything here signs with.
fn pairs(env: &Env) -> [PrivateKey; 2] {
    [Shape::Ec(Curve::P256), Shape::Rsa(2048)].map(|shape| PrivateKey::generate(env, shape).expect("made"))
}

/// What signatures cost by themselves: keys of this service against bare ring.
fn signatures(env: &Env) {
    let [ec, rsa] = pairs(env);
    let bare = Keys::new(ec.to_pkcs8().expose(), rsa.to_pkcs8().expose());
    let message = [5; MESSAGE_BYTES];
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    for (name, key, algorithm) in [("P-256", &ec, es256()), ("RSA-2048", &rsa, rs256())] {
        let of_rsa = matches!(key.shape(), Shape::Rsa(_));
        let digest = || algorithm.hash().digest(&message);
        let own = || key.sign_message(env, algorithm, &message).expect("signs");
        let of_digest = || key.sign(env, algorithm, &digest()).expect("signs");
        let der = key.to_pkcs8();
        let anew = || {
            let key = PrivateKey::from_pkcs8(der.expose()).expect("reads");
            key.sign_message(env, algorithm, &message).expect("signs")
        };
        let ring = || if of_rsa { bare.sign_rsa(&message) } else { bare.sign_ec(&message) };
        let signed = own();
        let (public, spki) = (key.public(), key.public().to_spki());
        let verify = || assert!(public.verify(algorithm, &digest(), &signed).expect("fits"));
        let verify_anew = || {
            let public = PublicKey::from_spki(&spki).expect("reads");
            assert!(public.verify(algorithm, &digest(), &signed).expect("fits"));
        };
        let jwk = serde_json::to_value(Jwk::of_public(&public)).expect("JSON");
        let elsewhere = Elsewhere::new(&jwk);
        let verify_ring = || assert!(elsewhere.verify(&message, &signed));
        let mut group = criterion.benchmark_group(format!("signatures, {name}"));
        group.bench_function("sign a message, key ready", |b| b.iter(&own));
        group.bench_function("sign a digest, key ready", |b| b.iter(&of_digest));
        group.bench_function("sign a message, key read anew", |b| b.iter(&anew));
        group.bench_function("sign, bare ring", |b| b.iter(&ring));
        group.bench_function("verify, key ready", |b| b.iter(verify));
        group.bench_function("verify, key read anew", |b| b.iter(verify_anew));
        group.bench_function("verify, bare ring", |b| b.iter(verify_ring));
        group.finish();
        let [mut ready, mut digests, mut read, mut peer] = [const { Series::NONE }; 4];
        for _ in 0..size().rounds * 4 {
            for (series, work) in [
                (&mut ready, &own as &dyn Fn() -> Vec<u8>),
                (&mut digests, &of_digest),
                (&mut read, &anew),
                (&mut peer, &ring),
            ] {
                let before = env.now();
                (0..10).for_each(|_| drop(black_box(work())));
                series.add(env.now().since(before) / 10);
            }
        }
        report::line(format_args!("sign {name}, turn by turn:"));
        report::time("a message, key ready", &ready);
        report::time("a digest, key ready", &digests);
        report::time("a message, key read anew", &read);
        report::time("bare ring", &peer);
        report::ratio(&format!("sign {name}, key read anew / key ready"), &read, &ready, None);
        report::ratio(&format!("sign {name}, key ready / bare ring"), &ready, &peer, None);
        report::ratio(&format!("sign a digest {name}, key ready / bare ring"), &digests, &peer, None);
    }
    criterion.final_summary();
}

/// A public key for bare ring.
enum Elsewhere {
    Ec(Vec<u8>),
    Rsa(Vec<u8>, Vec<u8>),
}

impl Elsewhere {
    fn new(jwk: &serde_json::Value) -> Elsewhere {
        let member = |name: &str| {
            let text = jwk[name].as_str().expect("a member");
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).expect("base64url")
        };
        match jwk["kty"].as_str() {
            Some("EC") => Elsewhere::Ec([vec![4], member("x"), member("y")].concat()),
            _ => Elsewhere::Rsa(member("n"), member("e")),
        }
    }

    fn verify(&self, message: &[u8], signed: &[u8]) -> bool {
        match self {
            Elsewhere::Ec(point) => {
                signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, signed)
                    .is_ok()
            }
            Elsewhere::Rsa(n, e) => signature::RsaPublicKeyComponents { n, e }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signed)
                .is_ok(),
        }
    }
}

/// A region whose first host has a thread of its own, on these cores, and connections to it.
async fn region(env: &Env, dir: &Path, cores: Option<&Cores>) -> (Region, Vec<Kept>) {
    let mut region = Region::start(env, dir).await;
    region.stop_node(HOST).await;
    region.start_apart(HOST, Duration::ZERO, cores).await;
    let mut lanes = region.connect_many(region.host(), LANES[1]).await;
    while !lanes[0].can_write().await.expect("an answer") {
        env.sleep(Duration::from_millis(20)).await;
    }
    (region, lanes)
}

fn encrypt_body(env: &Env) -> Bytes {
    let mut text = [0; TEXT_BYTES];
    env.entropy.fill(Purpose::Public, &mut text).expect("randomness");
    Bytes::from(format!(r#"{{"plaintext":"{}"}}"#, STANDARD.encode(text)))
}

/// Processor time of a thread for one request, seconds: so many requests, all connections at a time.
async fn cost(env: &Env, thread: &str, lanes: &mut [Kept], count: u32, path: &str, body: &Bytes) -> f64 {
    let each = count / lanes.len() as u32;
    let (before, requests) = (processor_time_of(env, thread), lanes.len() as f64 * f64::from(each));
    let work = lanes.iter_mut().map(|kept| async move {
        for _ in 0..each {
            kept.post(path, body.clone(), StatusCode::OK).await;
        }
    });
    join_all(work).await;
    (processor_time_of(env, thread) - before) / requests
}

async fn import(region: &Region, kept: &mut Kept, key: &PrivateKey) -> String {
    let body = serde_json::json!({"name": "bench", "keys": [Jwk::of_private(key)]});
    let body = Bytes::from(serde_json::to_vec(&body).expect("JSON"));
    let answer = kept.post(&region.keys_path(), body, StatusCode::CREATED).await;
    let view: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    view["id"].as_str().expect("an id").to_owned()
}

/// A host's processor time for one request, against the bare service's.
async fn host(env: &Env, dir: &Path) {
    let size = size();
    // Here clients and databases work on the same machine as the host; in a region of its own they do not.
    let reserved = Reserved::new(env);
    let core = reserved.as_ref().map(Reserved::core);
    let (region, mut lanes) = region(env, dir, core).await;
    let pairs = pairs(env);
    let keys = Keys::new(pairs[0].to_pkcs8().expose(), pairs[1].to_pkcs8().expose());
    let bare = Bare::start(region.rest_tls(), keys, core.cloned()).await;
    let seal = region.create(&mut lanes[0]).await;
    let [ec, rsa] =
        [import(&region, &mut lanes[0], &pairs[0]).await, import(&region, &mut lanes[0], &pairs[1]).await];
    let message = [5; MESSAGE_BYTES];
    let sign = |algorithm: SignatureAlgorithm, digest: bool| {
        let message = if digest { algorithm.hash().digest(&message) } else { message.to_vec() };
        let (message, word) = (STANDARD.encode(message), algorithm.word());
        Bytes::from(format!(r#"{{"message":"{message}","alg":"{word}","isdigest":{digest}}}"#))
    };
    let path = |id: &str, what: &str| format!("{}/{id}/{what}", region.keys_path());
    let cases = [
        ("encrypt 1 KiB", path(&seal, "encrypt"), "/encrypt", encrypt_body(env), size.encrypts, 0.7),
        ("sign P-256, a message", path(&ec, "sign"), "/ec/sign", sign(es256(), false), size.encrypts, 0.6),
        ("sign P-256, a digest", path(&ec, "sign"), "/ec/sign", sign(es256(), true), size.encrypts, 0.6),
        ("sign RSA-2048, a message", path(&rsa, "sign"), "/rsa/sign", sign(rs256(), false), size.signs, 0.8),
        ("sign RSA-2048, a digest", path(&rsa, "sign"), "/rsa/sign", sign(rs256(), true), size.signs, 0.8),
    ];
    for count in LANES {
        report::line(format_args!(
            "processor time of a request, {count} kept mTLS connections, turn by turn:"
        ));
        for (what, path, bare_path, body, requests, least) in &cases {
            // Anew for each: a connection that rests for long is closed.
            let mut lanes = region.connect_many(region.host(), count).await;
            let mut to_bare = region.connect_many(bare.address(), count).await;
            let (mut of_host, mut of_bare) = (Series::NONE, Series::NONE);
            for _ in 0..size.rounds {
                let time = cost(env, bare::THREAD, &mut to_bare, *requests, bare_path, body).await;
                of_bare.add(Duration::from_secs_f64(time));
                let time = cost(env, HOST, &mut lanes, *requests, path, body).await;
                of_host.add(Duration::from_secs_f64(time));
            }
            report::time(&format!("{what}: the host"), &of_host);
            report::time(&format!("{what}: bare hyper, rustls and ring"), &of_bare);
            let share = of_bare.mean() / of_host.mean();
            let what = format!("{what}, {count} connections, requests of a host's core / of a bare one's");
            report::at_least(&what, share, "", *least);
        }
    }
    bare.stop();
    region.stop().await;
}

/// Time of one encrypt.
async fn one(env: &Env, kept: &mut Kept, path: &str, body: &Bytes) -> Duration {
    mean_of(env, 1, async || drop(kept.post(path, body.clone(), StatusCode::OK).await)).await
}

/// Encrypts through a host that makes RSA keys of 4096 bits meanwhile.
async fn generation(env: &Env, dir: &Path) {
    let size = size();
    let (region, mut lanes) = region(env, dir, None).await;
    let id = region.create(&mut lanes[0]).await;
    let (path, body) = (format!("{}/{id}/encrypt", region.keys_path()), encrypt_body(env));
    let [mut calm, mut busy, mut making] = [const { Series::NONE }; 3];
    let bits = if report::mode() == Mode::Measure { 4096 } else { 2048 };
    let new = Bytes::from(format!(r#"{{"name":"bench","type":"RSA","size":{bits}}}"#));
    let (kept, others) = lanes.split_first_mut().expect("connections");
    for _ in 0..size.rounds {
        for _ in 0..size.timed {
            calm.add(one(env, kept, &path, &body).await);
        }
        let keys = region.keys_path();
        let makers = others.iter_mut().take(MAKERS).map(|maker| {
            let (keys, new) = (keys.clone(), new.clone());
            async move {
                mean_of(env, 1, async || drop(maker.post(&keys, new.clone(), StatusCode::CREATED).await))
                    .await
            }
        });
        let mut made = std::pin::pin!(join_all(makers));
        // As long as keys are being made, and no longer.
        loop {
            let encrypt = std::pin::pin!(one(env, kept, &path, &body));
            match select(&mut made, encrypt).await {
                Either::Left((spans, encrypt)) => {
                    encrypt.await;
                    spans.into_iter().for_each(|span| making.add(span));
                    break;
                }
                Either::Right((span, _)) => busy.add(span),
            }
        }
    }
    report::line(format_args!(
        "encrypt 1 KiB through a host, {MAKERS} RSA keys of {bits} bits being made or not:"
    ));
    report::time("to make a key", &making);
    report::time("encrypt, none being made", &calm);
    report::time("encrypt, keys being made", &busy);
    let [before, during] = [&calm, &busy].map(|series| series.quantile(0.99) * 1e3);
    report::line(format_args!(
        "  p99: {before:.2} ms without ({}), {during:.2} ms with ({})",
        calm.rounds(),
        busy.rounds()
    ));
    report::line(format_args!(
        "ratio: p99 of encrypt while keys are made / without = {:.2}",
        during / before
    ));
    region.stop().await;
}

/// A domain, and what is asked of it.
struct Asked {
    region: Region,
    lanes: Vec<Kept>,
    key: String,
    list: String,
    encrypt: String,
    body: Bytes,
    /// Keys that it has.
    there: u32,
}

impl Asked {
    async fn new(env: &Env, dir: &Path) -> Asked {
        let region = Region::start(env, dir).await;
        let mut lanes = region.connect_many(region.host(), LANES[1]).await;
        let id = region.create(&mut lanes[0]).await;
        let keys = region.keys_path();
        let (key, list) = (format!("{keys}/{id}"), format!("{keys}?max=100&state=all"));
        Asked {
            key,
            list,
            encrypt: format!("{keys}/{id}/encrypt"),
            body: encrypt_body(env),
            region,
            lanes,
            there: 1,
        }
    }

    /// Makes keys until there are so many.
    async fn grow(&mut self, count: u32) {
        let (region, next) = (&self.region, std::sync::atomic::AtomicU32::new(self.there));
        let makers = self.lanes.iter_mut().map(|kept| async {
            while next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < count {
                region.create(kept).await;
            }
        });
        join_all(makers).await;
        self.there = count;
    }

    /// Adds the time of a get, of a page of the list, and of an encrypt.
    async fn ask(&mut self, env: &Env, times: &mut [Series; 3]) {
        let kept = &mut self.lanes[0];
        times[0].add(mean_of(env, 1, async || drop(kept.get(&self.key, StatusCode::OK).await)).await);
        times[1].add(mean_of(env, 1, async || drop(kept.get(&self.list, StatusCode::OK).await)).await);
        let post = async || drop(kept.post(&self.encrypt, self.body.clone(), StatusCode::OK).await);
        times[2].add(mean_of(env, 1, post).await);
    }
}

/// A domain that grows, against one that does not: get, a page of the list and encrypt, turn by turn.
async fn domain(env: &Env, dir: &Path) {
    let size = size();
    let (first, rest) = size.keys.split_first().expect("sizes");
    let mut small = Asked::new(env, &dir.join("small")).await;
    let mut large = Asked::new(env, &dir.join("large")).await;
    small.grow(*first).await;
    report::line(format_args!("a domain that grows, and one of {first} keys in a region of its own:"));
    for count in rest {
        let (began, before) = (env.now(), large.there);
        large.grow(*count).await;
        let took = env.now().since(began).as_secs_f64();
        report::line(format_args!(
            "  {count} keys, {} of them made in {took:.0} s; the process, with four databases and eight hosts, has {} MiB in memory",
            count - before,
            resident(env) >> 20
        ));
        let [mut few, mut many] = [const { [const { Series::NONE }; 3] }; 2];
        for _ in 0..size.rounds * size.timed / 8 {
            small.ask(env, &mut few).await;
            large.ask(env, &mut many).await;
        }
        for (place, what) in ["get", "a page of the list", "encrypt"].into_iter().enumerate() {
            report::time(&format!("{what}, {count} keys"), &many[place]);
            report::ratio(
                &format!("{what} with {count} keys / with {first}"),
                &many[place],
                &few[place],
                Some(1.2),
            );
        }
    }
    small.region.stop().await;
    large.region.stop().await;
}

fn main() {
    let parts = [
        ("signatures", Part::Signatures),
        ("host", Part::Host),
        ("generation", Part::Generation),
        ("domain", Part::Domain),
    ];
    if report::mode() == Mode::List {
        return;
    }
    let base = (env!("CARGO_TARGET_TMPDIR"), "keys");
    kms_benches::parts(base, &parts, async |env, dir, part| match part {
        Part::Signatures => signatures(env),
        Part::Host => host(env, dir).await,
        Part::Generation => generation(env, dir).await,
        Part::Domain => domain(env, dir).await,
    });
}
