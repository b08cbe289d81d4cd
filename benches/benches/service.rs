//! A whole region in this process, on real disks: encrypt against a bare hyper + rustls server, create against
//! the syncs and round trips it is made of. Everything a ratio is made of is measured turn by turn.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use criterion::Criterion;
use hyper::StatusCode;
use kms::{
    env::{Env, Purpose},
    wire::message::{Body, ENVELOPE_VERSION, Envelope},
};
use kms_benches::{
    client::Kept,
    disk::{BareFile, Counts},
    mean_of,
    peers::{Echo, FrameEcho},
    per_second,
    region::Region,
    report::{self, Figure, Mode, Series},
    scratch::Scratch,
};
use std::{path::Path, time::Duration};

/// Plaintext of an encrypt.
const TEXT_BYTES: usize = 1 << 10;
/// Bytes in a message between nodes: a commit of one key record, about.
const MESSAGE_BYTES: usize = 500;
/// Connections of the throughput figures.
const LANES: usize = 8;
/// Creates in flight at a time.
const CREATES_IN_FLIGHT: usize = 32;

/// How much is measured.
struct Size {
    /// Turns of encrypt, and requests in each: short, so that a busy moment of the machine spoils few.
    encrypt_rounds: u32,
    encrypts: u32,
    /// Turns of create: one create each.
    create_rounds: u32,
    /// Turns of the throughput figures, and the span of each.
    load_rounds: u32,
    span: Duration,
}

const FULL: Size = Size {
    encrypt_rounds: 400,
    encrypts: 8,
    create_rounds: 400,
    load_rounds: 6,
    span: Duration::from_millis(400),
};
const ONCE: Size = Size {
    encrypt_rounds: 1,
    encrypts: 2,
    create_rounds: 2,
    load_rounds: 1,
    span: Duration::from_millis(50),
};

/// The parts of a bare create: each the sum of its kind.
struct Parts {
    client: Duration,
    node: Duration,
    sync: Duration,
}

/// What everything below works on.
struct Stage {
    env: Env,
    region: Region,
    echo: Echo,
    to_host: Kept,
    to_entry: Kept,
    to_echo: Kept,
    nodes: FrameEcho,
    bare: BareFile,
    message: Envelope,
    encrypt_path: String,
    encrypt_body: Bytes,
}

async fn encrypt(kept: &mut Kept, path: &str, body: &Bytes) {
    kept.post(path, body.clone(), StatusCode::OK).await;
}

impl Stage {
    async fn new(env: &Env, dir: &Path) -> Stage {
        let region = Region::start(env, dir).await;
        let mut to_host = region.connect(region.host()).await;
        let key = region.create(&mut to_host).await;
        let encrypt_path = format!("{}/{key}/encrypt", region.keys_path());
        let mut text = [0; TEXT_BYTES];
        env.entropy.fill(Purpose::Public, &mut text).expect("randomness");
        let encrypt_body = Bytes::from(format!(r#"{{"plaintext":"{}"}}"#, STANDARD.encode(text)));
        let answer = to_host.post(&encrypt_path, encrypt_body.clone(), StatusCode::OK).await;
        let echo = Echo::start(env, region.rest_tls(), answer).await;
        let message = Envelope {
            version: ENVELOPE_VERSION,
            body: Some(Body::Keyring(vec![7; MESSAGE_BYTES])),
            ..Envelope::default()
        };
        Stage {
            to_entry: region.connect(region.entry()).await,
            to_echo: region.connect(echo.address()).await,
            nodes: FrameEcho::start(env, region.node_tls("db-a"), &region.node_tls("host-a1")).await,
            bare: BareFile::new(env, dir).expect("a bare file"),
            env: env.clone(),
            region,
            echo,
            to_host,
            message,
            encrypt_path,
            encrypt_body,
        }
    }

    async fn encrypt_host(&mut self, count: u32) -> Duration {
        let (path, body) = (&self.encrypt_path, &self.encrypt_body);
        mean_of(&self.env, count, async || encrypt(&mut self.to_host, path, body).await).await
    }

    async fn encrypt_entry(&mut self, count: u32) -> Duration {
        let (path, body) = (&self.encrypt_path, &self.encrypt_body);
        mean_of(&self.env, count, async || encrypt(&mut self.to_entry, path, body).await).await
    }

    async fn echo(&mut self, count: u32) -> Duration {
        let (path, body) = (&self.encrypt_path, &self.encrypt_body);
        mean_of(&self.env, count, async || encrypt(&mut self.to_echo, path, body).await).await
    }

    /// A bare round trip with the body of a create.
    async fn echo_create(&mut self, count: u32) -> Duration {
        let path = self.region.keys_path();
        let work = async || encrypt(&mut self.to_echo, &path, &Region::create_body()).await;
        mean_of(&self.env, count, work).await
    }

    async fn node_round_trip(&mut self, count: u32) -> Duration {
        let message = &self.message;
        mean_of(&self.env, count, async || self.nodes.round_trip(message).await).await
    }

    async fn create(&mut self, count: u32) -> Duration {
        let (region, kept) = (&self.region, &mut self.to_host);
        mean_of(&self.env, count, async || drop(region.create(kept).await)).await
    }

    /// A bare sync, and the way to a thread that may block, as any server has it.
    async fn sync(&mut self, count: u32) -> Duration {
        mean_of(&self.env, count, async || {
            self.bare.sync().await;
        })
        .await
    }

    /// What a create cannot do without, in its order: a client's round trip, the host's to the head, a sync,
    /// the head's round trip to the tail, and the other syncs.
    async fn skeleton(&mut self, syncs: u64) -> Parts {
        let client = self.echo_create(1).await;
        let mut node = self.node_round_trip(1).await;
        let mut sync = self.bare.sync().await;
        node += self.node_round_trip(1).await;
        for _ in 1..syncs {
            sync += self.bare.sync().await;
        }
        Parts { client, node, sync }
    }

    fn disks(&self) -> [Counts; 2] {
        ["db-a", "db-b"].map(|node| self.region.disk(node).now())
    }
}

fn groups(criterion: &mut Criterion, runtime: &tokio::runtime::Runtime, stage: &mut Stage) {
    let times = |mean: Duration, count: u64| mean.mul_f64(count as f64);
    let few = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let mut group = criterion.benchmark_group("encrypt 1 KiB");
    group.bench_function("bare hyper + rustls", |b| {
        b.iter_custom(|n| times(runtime.block_on(stage.echo(few(n))), n));
    });
    group.bench_function("through a host", |b| {
        b.iter_custom(|n| times(runtime.block_on(stage.encrypt_host(few(n))), n));
    });
    group.bench_function("through the entry", |b| {
        b.iter_custom(|n| times(runtime.block_on(stage.encrypt_entry(few(n))), n));
    });
    group.finish();
    let mut group = criterion.benchmark_group("create");
    group.sample_size(10);
    group.bench_function("bare sync of 4 KiB", |b| {
        b.iter_custom(|n| times(runtime.block_on(stage.sync(few(n))), n));
    });
    group.bench_function("through a host", |b| {
        b.iter_custom(|n| times(runtime.block_on(stage.create(few(n))), n));
    });
    group.finish();
}

async fn compare_encrypt(stage: &mut Stage, size: &Size) {
    let [mut host, mut entry, mut echo, mut node] = [const { Series::NONE }; 4];
    for _ in 0..size.encrypt_rounds {
        echo.add(stage.echo(size.encrypts).await);
        host.add(stage.encrypt_host(size.encrypts).await);
        entry.add(stage.encrypt_entry(size.encrypts).await);
        node.add(stage.node_round_trip(size.encrypts).await);
    }
    report::line("encrypt 1 KiB, one kept mTLS connection, turn by turn:");
    report::time("through a host", &host);
    report::time("through the entry", &entry);
    report::time("bare hyper + rustls, the same body sizes", &echo);
    report::time("bare round trip between nodes", &node);
    report::ratio("encrypt through a host / bare echo", &host, &echo, None);
    report::ratio("encrypt through the entry / bare echo", &entry, &echo, None);
    let asked = Figure::from(&echo).and(1.0, &node);
    report::ratio("encrypt through a host / (bare echo + round trip to the database)", &host, asked, None);
}

async fn throughput(stage: &Stage, size: &Size) {
    let (path, body) = (&stage.encrypt_path, &stage.encrypt_body);
    let addresses = [stage.echo.address(), stage.region.host(), stage.region.entry()];
    let mut lanes = Vec::new();
    for address in addresses {
        lanes.push(stage.region.connect_many(address, LANES).await);
    }
    let mut rates = [0.0; 3];
    for _ in 0..size.load_rounds {
        for (rate, lanes) in rates.iter_mut().zip(&mut lanes) {
            let work = async |kept: &mut Kept| encrypt(kept, path, body).await;
            *rate += per_second(&stage.env, size.span, lanes, work).await / f64::from(size.load_rounds);
        }
    }
    let [echo, host, entry] = rates;
    report::line(format_args!("encrypt 1 KiB, {LANES} kept mTLS connections, client in the same process:"));
    report::line(format_args!(
        "  bare echo {echo:.0}/s, through a host {host:.0}/s, through the entry {entry:.0}/s"
    ));
    report::line(format_args!("ratio: throughput of a bare echo / through a host = {:.2}", echo / host));
    report::line(format_args!("ratio: throughput of a bare echo / through the entry = {:.2}", echo / entry));
}

fn disk_line(node: &str, counts: Counts, creates: f64) {
    let each = |total: u64| total as f64 / creates;
    report::line(format_args!(
        "  {node}: {:.2} syncs ({:.2} ms), {:.1} writes ({:.2} ms) of {:.1} KiB, {:.2} resizes per create",
        each(counts.syncs),
        each(counts.sync_ns) / 1e6,
        each(counts.writes),
        each(counts.write_ns) / 1e6,
        each(counts.written_bytes) / 1024.0,
        each(counts.resizes),
    ));
}

/// Where the time of a create goes, between the moments its syncs begin and end.
const STEPS: [&str; 7] = [
    "client, host, head: until the append is written",
    "  sync at the head (append)",
    "until the tail has written it",
    "  sync at the tail",
    "until the head has written the confirmation",
    "  sync at the head (confirmation)",
    "until the client has its answer",
];

/// The steps of one create, if it made the syncs that [`STEPS`] names and no others.
async fn stepped_create(stage: &mut Stage, steps: &mut [Series; STEPS.len()]) -> Duration {
    let take = |stage: &Stage| ["db-a", "db-b"].map(|node| stage.region.disk(node).take_syncs());
    take(stage);
    let before = stage.env.now();
    let spent = stage.create(1).await;
    let after = stage.env.now();
    let syncs = take(stage);
    if let [[append, confirm], [tail]] = syncs.each_ref().map(Vec::as_slice) {
        let moments = [before, append.0, append.1, tail.0, tail.1, confirm.0, confirm.1, after];
        for (step, pair) in steps.iter_mut().zip(moments.windows(2)) {
            step.add(pair[1].since(pair[0]));
        }
    }
    spent
}

/// Syncs of one create, over both databases: asked of the disks, not assumed.
async fn syncs_of_create(stage: &mut Stage) -> u64 {
    let before = stage.disks();
    stage.create(8).await;
    let syncs = |index: usize| stage.disks()[index].syncs - before[index].syncs;
    ((syncs(0) + syncs(1)) as f64 / 8.0).round() as u64
}

async fn compare_create(stage: &mut Stage, size: &Size) {
    let [mut create, mut bare, mut sync, mut client, mut node] = [const { Series::NONE }; 5];
    let mut added = [Counts::default(); 2];
    let mut steps = [const { Series::NONE }; STEPS.len()];
    let syncs = syncs_of_create(stage).await;
    for _ in 0..size.create_rounds {
        let before = stage.disks();
        create.add(stepped_create(stage, &mut steps).await);
        for ((total, now), before) in added.iter_mut().zip(stage.disks()).zip(before) {
            *total += now - before;
        }
        let started = stage.env.now();
        let parts = stage.skeleton(syncs).await;
        bare.add(stage.env.now().since(started));
        client.add(parts.client);
        node.add(parts.node);
        sync.add(parts.sync);
    }
    let creates = f64::from(size.create_rounds);
    report::line("create, one at a time, one kept mTLS connection, turn by turn:");
    report::time("create through a host", &create);
    report::time(&format!("bare: {syncs} syncs and 3 round trips, one after another"), &bare);
    report::time(&format!("  of it {syncs} times a 4 KiB write and sync"), &sync);
    report::time("  of it a client's round trip", &client);
    report::time("  of it two round trips between nodes", &node);
    disk_line("head", added[0], creates);
    disk_line("tail", added[1], creates);
    let parts = Figure::from(&sync).and(1.0, &client).and(1.0, &node);
    report::ratio("create / (its syncs and round trips, bare)", &create, &bare, Some(1.5));
    report::ratio("create / (the sum of these alone, no threads changed)", &create, parts, None);
    report::line("  steps of a create, in their order:");
    for (what, step) in STEPS.iter().zip(&steps) {
        report::time(&format!("  {what}"), step);
    }
    let in_disk: u64 = added.iter().map(|counts| counts.sync_ns + counts.write_ns).sum();
    let share = in_disk as f64 / 1e9 / (create.mean() * creates);
    report::line(format_args!("  share of a create spent inside the disk's calls: {:.0} %", share * 100.0));
}

async fn concurrent_creates(stage: &Stage, size: &Size) {
    let region = &stage.region;
    let mut rates = Vec::new();
    report::line("create, kept mTLS connections, client in the same process:");
    for in_flight in [1, CREATES_IN_FLIGHT] {
        let mut lanes = region.connect_many(region.host(), in_flight).await;
        let (batches, before, started) = (region.batches().await, stage.disks(), stage.env.now());
        let work = async |kept: &mut Kept| drop(region.create(kept).await);
        let rate = per_second(&stage.env, size.span * size.load_rounds, &mut lanes, work).await;
        let made = rate * stage.env.now().since(started).as_secs_f64();
        let batches = (region.batches().await - batches) as f64;
        let [head, tail] = [0, 1].map(|disk| stage.disks()[disk].syncs - before[disk].syncs);
        report::line(format_args!(
            "  {in_flight} in flight: {rate:.0}/s, {batches:.0} batches ({:.1} creates each), \
             {:.2} syncs per create",
            made / batches,
            (head + tail) as f64 / made,
        ));
        rates.push(rate);
    }
    report::line(format_args!(
        "ratio: creates per second, {CREATES_IN_FLIGHT} in flight / one at a time = {:.2}",
        rates[1] / rates[0]
    ));
}

fn main() {
    let mode = report::mode();
    let runtime = kms_benches::runtime();
    let _inside = runtime.enter();
    let env = kms::os::env();
    let scratch = Scratch::new(&env, Path::new(env!("CARGO_TARGET_TMPDIR")), "service-bench");
    let mut stage = runtime.block_on(Stage::new(&env, scratch.path()));
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    groups(&mut criterion, &runtime, &mut stage);
    criterion.final_summary();
    let size = match mode {
        Mode::List => None,
        Mode::Test => Some(ONCE),
        Mode::Measure => Some(FULL),
    };
    runtime.block_on(async {
        if let Some(size) = size {
            report::line("");
            compare_encrypt(&mut stage, &size).await;
            throughput(&stage, &size).await;
            compare_create(&mut stage, &size).await;
            concurrent_creates(&stage, &size).await;
        }
        stage.region.stop().await;
    });
}
