//! Sealing and opening of a key record, and of a client's message, against bare *ring*: once AES-256-GCM alone
//! under a ready key, once the same primitives (derivation, key schedule, randomness) without the service.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use criterion::Criterion;
use kms::{
    crypto::{
        SecretBytes,
        jwe::{JweKey, JwePurpose},
    },
    env::{Env, Purpose},
    record::{CommitId, RecordKey, SealedRecord, Version},
    vault::{self, DomainKey, Header, KIND_SERVICE_KEY, Payload, RootKey},
};
use kms_benches::report::{self, Mode, Series};
use ring::{aead, digest, hkdf};
use std::{hint::black_box, time::Duration};
use uuid::Uuid;

const RECORD_BYTES: usize = 300;
const TEXT_BYTES: usize = 1 << 10;
const NONCE_BYTES: usize = 12;
const SALT_BYTES: usize = 32;
/// Length of the info and associated data that a record is bound to, about.
const BOUND_BYTES: usize = 120;
/// Interleaved rounds behind each printed ratio, and operations in each.
const ROUNDS: u32 = 200;
const IN_ROUND: u32 = 200;

/// Key records are this large; what is in them makes no difference to the seal.
struct Record(Vec<u8>);

impl Payload for Record {
    fn header(&self) -> Header {
        Header { kind: KIND_SERVICE_KEY, algorithm: 1, usage: 12, flags: 0 }
    }
    fn encode(&self) -> SecretBytes {
        SecretBytes::new(self.0.clone())
    }
    fn decode(bytes: &[u8]) -> Option<Record> {
        Some(Record(bytes.to_vec()))
    }
}

/// The service's side.
struct Service {
    env: Env,
    domain: DomainKey,
    key: RecordKey,
    version: Version,
    record: Record,
    sealed: SealedRecord,
    material: SecretBytes,
}

impl Service {
    fn new(env: &Env) -> Service {
        let root = RootKey::generate(env).expect("randomness");
        let id = Uuid::from_u128(7);
        let object = vault::new_domain_key(env, &root, id).expect("randomness");
        let domain = vault::open_domain_key(&root, id, &object).expect("opens");
        let key = vault::record_key(KIND_SERVICE_KEY, id, Uuid::from_u128(8));
        let version = Version { counter: 1, commit_id: CommitId([9; 16]) };
        let record = Record(vec![5; RECORD_BYTES]);
        let sealed = vault::seal(env, &domain, &key, version, &record).expect("randomness");
        let material = SecretBytes::random(env, 32).expect("randomness");
        Service { env: env.clone(), domain, key, version, record, sealed, material }
    }

    fn seal(&self) -> SealedRecord {
        vault::seal(&self.env, &self.domain, &self.key, self.version, &self.record).expect("randomness")
    }

    fn open(&self) -> Record {
        vault::open::<Record>(&self.domain, &self.key, &self.sealed).expect("opens").into_value()
    }

    fn jwe(&self) -> String {
        let key = JweKey { id: Uuid::from_u128(8), version: 0, material: &self.material };
        let text = SecretBytes::new(vec![3; TEXT_BYTES]);
        key.seal(&self.env, JwePurpose::Encrypt, b"", text).expect("randomness")
    }
}

/// The length of what HKDF expands to.
struct KeyBytes;

impl hkdf::KeyType for KeyBytes {
    fn len(&self) -> usize {
        32
    }
}

/// Bare *ring*.
struct Bare {
    env: Env,
    ready: aead::LessSafeKey,
    material: [u8; 32],
    bound: Vec<u8>,
    record: Vec<u8>,
    sealed: Vec<u8>,
    text: Vec<u8>,
}

fn nonce(bytes: [u8; NONCE_BYTES]) -> aead::Nonce {
    aead::Nonce::assume_unique_for_key(bytes)
}

fn key(bytes: &[u8; 32]) -> aead::LessSafeKey {
    aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, bytes).expect("32 bytes"))
}

fn expand(prk: &hkdf::Prk, info: &[u8]) -> aead::LessSafeKey {
    let mut okm = [0; 32];
    prk.expand(&[info], KeyBytes).and_then(|out| out.fill(&mut okm)).expect("32 bytes");
    key(&okm)
}

impl Bare {
    fn new(env: &Env) -> Bare {
        let material = [4; 32];
        let mut bare = Bare {
            env: env.clone(),
            ready: key(&material),
            material,
            bound: vec![6; BOUND_BYTES],
            record: vec![5; RECORD_BYTES],
            sealed: Vec::new(),
            text: vec![3; TEXT_BYTES],
        };
        bare.sealed = bare.seal_with(&bare.ready, [0; NONCE_BYTES], &bare.record);
        bare
    }

    fn seal_with(&self, key: &aead::LessSafeKey, iv: [u8; NONCE_BYTES], text: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(text.len() + 16);
        buffer.extend_from_slice(text);
        key.seal_in_place_append_tag(nonce(iv), aead::Aad::from(&self.bound), &mut buffer).expect("seals");
        buffer
    }

    fn open_with(&self, key: &aead::LessSafeKey) -> Vec<u8> {
        let mut buffer = self.sealed.clone();
        let aad = aead::Aad::from(&self.bound);
        let len = key.open_in_place(nonce([0; NONCE_BYTES]), aad, &mut buffer).expect("opens").len();
        buffer.truncate(len);
        buffer
    }

    fn derived(&self) -> aead::LessSafeKey {
        expand(&hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &self.material), &self.bound)
    }

    fn seal(&self) -> Vec<u8> {
        self.seal_with(&self.ready, [1; NONCE_BYTES], &self.record)
    }

    fn open(&self) -> Vec<u8> {
        self.open_with(&self.ready)
    }

    fn jwe(&self) -> Vec<u8> {
        self.seal_with(&self.ready, [1; NONCE_BYTES], &self.text)
    }

    /// Randomness, HKDF expand, key schedule, AES-256-GCM.
    fn seal_same_primitives(&self) -> Vec<u8> {
        let iv = self.env.random(Purpose::Public).expect("randomness");
        self.seal_with(&self.derived(), iv, &self.record)
    }

    /// HKDF expand, key schedule, AES-256-GCM. (Opens under the ready key: the same work.)
    fn open_same_primitives(&self) -> Vec<u8> {
        black_box(self.derived());
        self.open_with(&self.ready)
    }

    /// Randomness, SHA-256, HKDF, key schedule, AES-256-GCM, base64.
    fn jwe_same_primitives(&self) -> String {
        let random: [u8; SALT_BYTES + NONCE_BYTES] = self.env.random(Purpose::Public).expect("randomness");
        let (salt, iv) = random.split_first_chunk::<SALT_BYTES>().expect("both");
        black_box(digest::digest(&digest::SHA256, &self.bound));
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&self.material);
        let sealed = self.seal_with(&expand(&prk, &self.bound), iv.try_into().expect("12 bytes"), &self.text);
        URL_SAFE_NO_PAD.encode(sealed)
    }
}

/// Times three ways of doing one thing, turn by turn, and prints the ratios.
fn compare<A, B, C>(
    env: &Env,
    rounds: u32,
    what: &str,
    service: impl Fn() -> A,
    bare: impl Fn() -> B,
    same: impl Fn() -> C,
) {
    let (mut times, mut bare_times, mut same_times) =
        (Series::default(), Series::default(), Series::default());
    let turn = |work: &dyn Fn()| -> Duration {
        let before = env.now();
        for _ in 0..IN_ROUND {
            work();
        }
        env.now().since(before) / IN_ROUND
    };
    for _ in 0..rounds {
        times.add(turn(&|| drop(black_box(service()))));
        bare_times.add(turn(&|| drop(black_box(bare()))));
        same_times.add(turn(&|| drop(black_box(same()))));
    }
    report::time(what, &times);
    report::time("  bare ring, AES-256-GCM alone, key ready", &bare_times);
    report::time("  bare ring, the same primitives", &same_times);
    report::ratio(&format!("{what} / bare AES-256-GCM"), &times, &bare_times, None);
    report::ratio(&format!("{what} / the same primitives bare"), &times, &same_times, None);
}

fn main() {
    let mode = report::mode();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let env = kms::os::env();
    let (service, bare) = (Service::new(&env), Bare::new(&env));

    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut group = criterion.benchmark_group("record, 300 bytes");
    group.bench_function("seal", |b| b.iter(|| service.seal()));
    group.bench_function("seal, bare ring", |b| b.iter(|| bare.seal()));
    group.bench_function("open", |b| b.iter(|| service.open()));
    group.bench_function("open, bare ring", |b| b.iter(|| bare.open()));
    group.finish();
    let mut group = criterion.benchmark_group("JWE, 1 KiB");
    group.bench_function("seal", |b| b.iter(|| service.jwe()));
    group.bench_function("seal, bare ring", |b| b.iter(|| bare.jwe()));
    group.finish();
    criterion.final_summary();
    if mode == Mode::List {
        return;
    }
    let rounds = if mode == Mode::Test { 1 } else { ROUNDS };
    report::line("");
    report::line(format_args!("vault, {rounds} rounds of {IN_ROUND}, turn by turn:"));
    compare(
        &env,
        rounds,
        "seal of a record",
        || service.seal(),
        || bare.seal(),
        || bare.seal_same_primitives(),
    );
    compare(
        &env,
        rounds,
        "open of a record",
        || service.open(),
        || bare.open(),
        || bare.open_same_primitives(),
    );
    compare(
        &env,
        rounds,
        "seal of a JWE of 1 KiB",
        || service.jwe(),
        || bare.jwe(),
        || bare.jwe_same_primitives(),
    );
}
