//! A lost zone made anew in a whole region on real disks: how fast the blank database is filled, against a bare
//! copy of as many bytes; memory; and what reads of the source take meanwhile, against the same without a fill.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hyper::StatusCode;
use kms::{
    env::{Env, Purpose},
    limits::Limits,
};
use kms_benches::{
    bulk::{BLOB_BYTES, ROW_BYTES, put_records},
    client::Kept,
    operator::{Steps, lose_disk, rebuild},
    paced::{Samples, done, paced},
    parts,
    peers::Copier,
    per_second,
    process::{Peak, processor_time, resident},
    region::{Installed, Region},
    report::{self, Mode, Series, mb},
};
use std::{cell::Cell, path::Path, time::Duration};

/// Least rate of a rebuild without load, MB/s.
const LEAST_MB_PER_S: f64 = 60.0;
/// Most memory that a rebuild may add, MB.
const MOST_MB: f64 = 256.0;
/// Median of reads during a throttled fill over the median without one, at most.
const MOST_READ_RATIO: f64 = 1.2;
/// Plaintext of a read (an encrypt).
const TEXT_BYTES: usize = 1 << 10;
/// Connections of the reads.
const LANES: usize = 8;
/// Keys that are read, in turn.
const KEYS: usize = 64;

/// How much is measured.
struct Size {
    /// Records of the rebuild without load.
    records: u64,
    /// The source's `fill_bytes_per_s`, for one region each, and how long a fill takes at that rate.
    throttles: [u64; 2],
    fill: Duration,
    /// Turns of reads without a fill and reads during a throttled one.
    rounds: u32,
    /// How long the maximal read rate, and reads before and after each fill, are measured.
    span: Duration,
}

const FULL: Size = Size {
    records: 1_000_000,
    throttles: [1_000_000, 8_000_000],
    fill: Duration::from_secs(4),
    rounds: 7,
    span: Duration::from_millis(1_500),
};
const QUICK: Size = Size { records: 100_000, rounds: 2, ..FULL };
const ONCE: Size = Size {
    records: 2_000,
    fill: Duration::from_millis(300),
    rounds: 1,
    span: Duration::from_millis(100),
    ..FULL
};

/// A region whose head has `records`, below a directory of its own.
async fn region(env: &Env, dir: &Path, records: u64, limits: Limits) -> Region {
    let installed = Installed::new(env, dir, limits).await;
    report::line(format_args!("  {records} records of {BLOB_BYTES} B: put into the source's store"));
    put_records(env, &[installed.data_dir("db-a")], records);
    installed.start().await
}

fn steps_line(steps: &Steps) {
    let after = |moment: kms::env::Mono| moment.since(steps.registered).as_secs_f64();
    report::line(format_args!(
        "  {} rows, {:.1} MB; after the registration: filled {:.2} s, activated {:.2} s, writable {:.2} s",
        steps.fill.rows,
        mb(steps.fill.bytes),
        after(steps.filled),
        after(steps.activated),
        after(steps.writable),
    ));
}

async fn without_load(env: &Env, dir: &Path, size: &Size) {
    report::line("rebuild of zone b, no load:");
    let at_start = resident(env);
    let mut region = region(env, dir, size.records, Limits::default()).await;
    let identities = (region.node_tls("db-a"), region.node_tls("db-b"));
    let copier = Copier::new(env, identities, dir, size.records * ROW_BYTES).expect("a file");
    let mut bare = Series::NONE;
    let used = processor_time(env);
    bare.add(copier.copy().await);
    let bare_cpu = mb(copier.bytes()) / (processor_time(env) - used);
    lose_disk(&mut region).await;
    let (before, used) = (resident(env), processor_time(env));
    let peak = Peak::begin(env);
    let steps = rebuild(env, &region).await;
    let cpu = mb(steps.fill.bytes) / (processor_time(env) - used);
    let peak = peak.bytes();
    bare.add(copier.copy().await);
    steps_line(&steps);
    let disk = region.disk("db-b").now();
    report::line(format_args!(
        "  target's disk: {} writes ({:.2} s) of {:.1} MB, {} syncs ({:.2} s), {} resizes",
        disk.writes,
        disk.write_ns as f64 / 1e9,
        mb(disk.written_bytes),
        disk.syncs,
        disk.sync_ns as f64 / 1e9,
        disk.resizes,
    ));
    let rate = |until: kms::env::Mono| mb(steps.fill.bytes) / until.since(steps.registered).as_secs_f64();
    let bare = mb(copier.bytes()) / bare.mean();
    let (filled, activated) = (rate(steps.filled), rate(steps.activated));
    report::at_least("rebuild, registration to filled", filled, " MB/s", LEAST_MB_PER_S);
    report::at_least("rebuild, registration to activated", activated, " MB/s", LEAST_MB_PER_S);
    report::line(format_args!(
        "  bare copy before and after (read, mutual TLS, write, one sync): {bare:.1} MB/s by mean"
    ));
    report::line(format_args!("ratio: bare copy / rebuild to filled = {:.2}", bare / filled));
    report::line(format_args!(
        "  per second of processor time: rebuild {cpu:.1} MB (both databases), bare copy {bare_cpu:.1} MB"
    ));
    report::line(format_args!(
        "ratio: processor time of the rebuild / of a bare copy = {:.2}",
        bare_cpu / cpu
    ));
    report::line(format_args!(
        "  resident: {:.1} MB at the start, {:.1} MB before the rebuild, at most {:.1} MB during it",
        mb(at_start),
        mb(before),
        mb(peak)
    ));
    report::at_most("memory added by the rebuild", mb(peak.saturating_sub(before)), " MB", MOST_MB);
    report::at_most("memory of the whole region, most", mb(peak.saturating_sub(at_start)), " MB", MOST_MB);
    region.stop().await;
}

/// A connection that reads one key after another.
struct Lane {
    kept: Kept,
    next: usize,
}

/// Reads of the source, through the host beside it.
struct Reads {
    paths: Vec<String>,
    body: Bytes,
}

impl Reads {
    async fn new(env: &Env, region: &Region) -> Reads {
        let mut kept = region.connect(region.host()).await;
        let mut paths = Vec::new();
        for _ in 0..KEYS {
            paths.push(format!("{}/{}/encrypt", region.keys_path(), region.create(&mut kept).await));
        }
        let mut text = [0; TEXT_BYTES];
        env.entropy.fill(Purpose::Public, &mut text).expect("randomness");
        Reads { paths, body: Bytes::from(format!(r#"{{"plaintext":"{}"}}"#, STANDARD.encode(text))) }
    }

    /// Answers whether it was done.
    async fn read(&self, lane: &mut Lane) -> bool {
        lane.next = (lane.next + 1) % self.paths.len();
        let (status, _) = lane.kept.try_post(&self.paths[lane.next], self.body.clone()).await;
        status == StatusCode::OK
    }
}

fn reads_line(what: &str, samples: &Samples) {
    let (took, refused) = done(samples);
    report::line(format_args!(
        "  {what:<16} {:>6} reads, {refused} refused, p50 {:.0} us, p90 {:.0} us, p99 {:.0} us",
        took.rounds(),
        took.quantile(0.5) * 1e6,
        took.quantile(0.9) * 1e6,
        took.quantile(0.99) * 1e6,
    ));
}

fn p50(samples: &Samples) -> f64 {
    done(samples).0.quantile(0.5)
}

async fn under_reads(env: &Env, dir: &Path, size: &Size, throttle: u64) {
    report::line(format_args!(
        "reads through a host during a fill of {:.1} MB/s (fill_bytes_per_s of the source):",
        mb(throttle)
    ));
    let limits = Limits { fill_bytes_per_s: throttle, ..Limits::default() };
    let records = (throttle as f64 * size.fill.as_secs_f64()) as u64 / ROW_BYTES;
    let mut region = region(env, dir, records, limits).await;
    let reads = Reads::new(env, &region).await;
    let mut lanes: Vec<Lane> = Vec::new();
    for (next, kept) in region.connect_many(region.host(), LANES).await.into_iter().enumerate() {
        lanes.push(Lane { kept, next });
    }
    let read = async |lane: &mut Lane| reads.read(lane).await;
    let most = per_second(env, size.span, &mut lanes, async |lane| _ = read(lane).await).await;
    let rate = most / 2.0;
    report::line(format_args!(
        "  at most {most:.0} reads/s; paced at {rate:.0} reads/s, {LANES} connections"
    ));
    let (mut all_without, mut all_during, mut ratios) = (Samples::new(), Samples::new(), Series::NONE);
    for _ in 0..size.rounds {
        let mut without = alone(env, rate, &mut lanes, size, read).await;
        lose_disk(&mut region).await;
        let (steps, mut during) = filled_meanwhile(env, &region, rate, &mut lanes, read).await;
        without.append(&mut alone(env, rate, &mut lanes, size, read).await);
        let begun = steps.filling.unwrap_or(steps.registered);
        let (_, refused) = done(&during);
        during.retain(|sample| (begun..steps.filled).contains(&sample.at));
        let span = steps.filled.since(begun).as_secs_f64();
        let (without_p50, during_p50) = (p50(&without), p50(&during));
        report::line(format_args!(
            "  fill of {span:.2} s, {:.1} MB/s, {:.0} reads/s: p50 {:.0} us, without a fill {:.0} us; {refused} refused in all",
            mb(steps.fill.bytes) / span,
            during.len() as f64 / span,
            during_p50 * 1e6,
            without_p50 * 1e6,
        ));
        ratios.add(Duration::from_secs_f64(during_p50 / without_p50));
        all_without.append(&mut without);
        all_during.append(&mut during);
    }
    reads_line("without a fill", &all_without);
    reads_line("during a fill", &all_during);
    let what = format!("p50 of reads during a fill of {:.0} MB/s / without a fill", mb(throttle));
    report::at_most(
        &format!("{what}, median of {} turns", size.rounds),
        ratios.median(),
        "",
        MOST_READ_RATIO,
    );
    let all = p50(&all_during) / p50(&all_without);
    report::at_most(&format!("{what}, all turns together"), all, "", MOST_READ_RATIO);
    region.stop().await;
}

/// Rebuilds, and reads at `rate` until that is done.
async fn filled_meanwhile(
    env: &Env,
    region: &Region,
    rate: f64,
    lanes: &mut [Lane],
    read: impl AsyncFn(&mut Lane) -> bool,
) -> (Steps, Samples) {
    let rebuilt = Cell::new(false);
    let rebuilding = async {
        let steps = rebuild(env, region).await;
        rebuilt.set(true);
        steps
    };
    let reading = paced(env, rate, lanes, || rebuilt.get(), read);
    futures_util::future::join(rebuilding, reading).await
}

/// Reads at `rate` with no fill under way.
async fn alone(
    env: &Env,
    rate: f64,
    lanes: &mut [Lane],
    size: &Size,
    read: impl AsyncFn(&mut Lane) -> bool,
) -> Samples {
    let until = env.now() + size.span;
    paced(env, rate, lanes, || env.now() >= until, read).await
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let size = match report::mode() {
        Mode::List => return,
        Mode::Test => ONCE,
        Mode::Measure if quick => QUICK,
        Mode::Measure => FULL,
    };
    let throttles =
        [("no-load", None), ("reads-slow", Some(size.throttles[0])), ("reads-fast", Some(size.throttles[1]))];
    parts((env!("CARGO_TARGET_TMPDIR"), "rebuild"), &throttles, async |env, dir, throttle| match throttle {
        Some(throttle) => under_reads(env, dir, &size, throttle).await,
        None => without_load(env, dir, &size).await,
    });
}
