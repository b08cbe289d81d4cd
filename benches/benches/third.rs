//! The third copy in a whole region on real disks: what creates take while it is there, off, slow, or not part of the region at all; and
//! how fast a lost region is made anew of a backup, with its memory.

use kms::{
    env::{Env, Mono},
    limits::Limits,
};
use kms_benches::{
    bulk::{BLOB_BYTES, ROW_BYTES, put_records},
    client::Kept,
    cores::{Cores, Reserved},
    mean_of,
    operator::{RESTORERS, restore, restorers},
    parts, per_second,
    process::{Peak, processor_time, resident},
    region::{Installed, Region},
    report::{self, Mode, Series, mb},
    scratch::Scratch,
};
use std::{path::Path, time::Duration};

/// Least rate of a restore from a backup with one core for each node that works in it: the replica, and both databases; MB/s of its rows.
const LEAST_MB_PER_S: f64 = 50.0;
/// Most memory that a restore may add, MB.
const MOST_MB: f64 = 512.0;
/// A create with the replica well, off or slow over one in a region without a replica, at most.
const MOST_RATIO: f64 = 1.1;
/// How much longer each sync of a slow replica's disk takes.
const SLOWER: Duration = Duration::from_millis(100);
/// The log of the databases that are backed up: short, so that the replica begins with a snapshot.
const LOG_ENTRIES: u64 = 16;
/// Creates in flight.
const LANES: usize = 32;
/// After the replica was started or stopped.
const SETTLES: Duration = Duration::from_millis(200);
/// The replica's node.
const REPLICA: &str = "replica";
/// Memory that is mounted as a disk: the replica's own, where there is one.
const OTHER_DISK: &str = "/dev/shm";

/// How much is measured.
struct Size {
    /// Records of the region that is restored.
    records: u64,
    /// Turns of creates; in each, so many one after another, and so long side by side.
    rounds: u32,
    creates: u32,
    span: Duration,
}

const FULL: Size = Size { records: 1_000_000, rounds: 15, creates: 400, span: Duration::from_millis(1_000) };
const QUICK: Size = Size { records: 100_000, rounds: 3, ..FULL };
const ONCE: Size = Size { records: 2_000, rounds: 1, creates: 4, span: Duration::from_millis(50) };

/// How it is with the replica.
#[derive(Clone, Copy, PartialEq, Eq)]
enum With {
    /// Well, on cores of its own.
    Well,
    Off,
    Slow,
    /// Well, on the region's cores.
    Beside,
    None,
}

const ALL: [(With, &str); 5] = [
    (With::Well, "with the replica"),
    (With::Off, "with the replica off"),
    (With::Slow, "with a slow replica"),
    (With::Beside, "with the replica on the region's cores"),
    (With::None, "without a replica"),
];

/// A region and who makes keys in it.
struct Stage {
    region: Region,
    one: Kept,
    lanes: Vec<Kept>,
}

impl Stage {
    async fn new(region: Region) -> Stage {
        let one = region.connect(region.host()).await;
        let lanes = region.connect_many(region.host(), LANES).await;
        Stage { region, one, lanes }
    }

    /// Starts or stops the replica, and lets it settle.
    async fn put(&mut self, env: &Env, with: With, cores: Option<&Cores>) {
        if with == With::None {
            return env.sleep(SETTLES).await;
        }
        self.region.stop_node(REPLICA).await;
        match with {
            With::Well => self.region.start_apart(REPLICA, Duration::ZERO, cores).await,
            With::Slow => self.region.start_apart(REPLICA, SLOWER, cores).await,
            With::Beside => self.region.start_node(REPLICA).await,
            With::Off | With::None => {}
        }
        if with != With::Off {
            self.region.until_replica(|status| status.source.is_some()).await;
        }
        env.sleep(SETTLES).await;
    }

    /// The time of a create, one at a time, and the time that one takes up with many in flight.
    async fn measure(&mut self, env: &Env, size: &Size) -> (Duration, Duration) {
        let Stage { region, one, lanes } = self;
        let alone = mean_of(env, size.creates, async || drop(region.create(one).await)).await;
        let rate = per_second(env, size.span, lanes, async |lane| drop(region.create(lane).await)).await;
        (alone, Duration::from_secs_f64(1.0 / rate))
    }
}

/// Puts the replica of the region in `dir`, which is not there yet, on another disk than the region's, if there is one.
fn other_disk(env: &Env, dir: &Path) -> Option<Scratch> {
    let disk = Path::new(OTHER_DISK);
    let elsewhere = disk.is_dir().then(|| Scratch::new(env, disk, "kms-bench-replica"))?;
    env.disk.create_dir(dir).expect("the region's directory");
    std::os::unix::fs::symlink(elsewhere.path(), dir.join(REPLICA)).expect("the replica's directory");
    Some(elsewhere)
}

async fn creates(env: &Env, dir: &Path, size: &Size) {
    report::line(format_args!(
        "creates with the third copy there, off, slow (each sync {} ms longer), and in a region without one, turn by turn:",
        SLOWER.as_millis()
    ));
    let reserved = Reserved::new(env);
    let replica_cores = reserved.as_ref().map(Reserved::core);
    report::line(format_args!(
        "  the replica has {}, and {}",
        replica_cores.map_or("no core of its own: there is one", |_| "a core of its own"),
        if Path::new(OTHER_DISK).is_dir() { "a disk of its own, in memory" } else { "no disk of its own" },
    ));
    let _elsewhere = other_disk(env, &dir.join("with"));
    // Connections rest while the other region is measured.
    let limits = Limits { client_idle_ms: 60_000, ..Limits::default() };
    let with = Installed::with_replica(env, &dir.join("with"), limits.clone(), false).await.start().await;
    let without = Installed::new(env, &dir.join("without"), limits).await.start().await;
    let (mut with, mut without) = (Stage::new(with).await, Stage::new(without).await);
    let mut alone = [const { Series::NONE }; ALL.len()];
    let mut each = alone.clone();
    for round in 0..size.rounds as usize {
        // Each has its turn first.
        for place in (0..ALL.len()).map(|step| (step + round) % ALL.len()) {
            let state = ALL[place].0;
            let stage = if state == With::None { &mut without } else { &mut with };
            stage.put(env, state, replica_cores).await;
            let (one, many) = stage.measure(env, size).await;
            alone[place].add(one);
            each[place].add(many);
        }
        // Both regions shall have as many records: the other one had all the other turns.
        for _ in 1..ALL.len() - 1 {
            without.measure(env, size).await;
        }
    }
    for (place, (_, what)) in ALL.iter().enumerate() {
        report::time(&format!("create {what}, one at a time"), &alone[place]);
        report::time(&format!("create {what}, {LANES} in flight, each"), &each[place]);
    }
    // What a region costs that has no replica is what each is compared with.
    let none = ALL.len() - 1;
    for (place, (_, what)) in ALL.iter().enumerate().take(none) {
        for (how, took) in [("one at a time".to_owned(), &alone), (format!("{LANES} in flight"), &each)] {
            report::ratio(
                &format!("create {what} / without one, {how}"),
                &took[place],
                &took[none],
                (ALL[place].0 != With::Beside).then_some(MOST_RATIO),
            );
        }
    }
    with.region.stop().await;
    without.region.stop().await;
}

/// A region with `records` whose replica has put a backup of them into both stores.
async fn backed_up(env: &Env, dir: &Path, records: u64) -> Region {
    let limits = Limits { log_keep_entries: LOG_ENTRIES, backup_interval_ms: 1_000, ..Limits::default() };
    let installed = Installed::with_replica(env, dir, limits, true).await;
    report::line(format_args!("  {records} records of {BLOB_BYTES} B: put into both databases' stores"));
    let data = [installed.data_dir("db-a"), installed.data_dir("db-b")];
    put_records(env, &data, records);
    let mut region = installed.start_without(&[REPLICA]).await;
    let mut client = region.connect(region.host()).await;
    for _ in 0..LOG_ENTRIES * 4 {
        region.create(&mut client).await;
    }
    region.start_node(REPLICA).await;
    let status = region.until_replica(|status| status.last >= LOG_ENTRIES * 4 && status.seed.is_none()).await;
    let last = status.last;
    report::line("  the replica has its snapshot; waiting for a backup in each store");
    region
        .until_replica(|status| status.backups.iter().all(|store| store.number > 0 && store.position >= last))
        .await;
    region
}

async fn restored(env: &Env, dir: &Path, size: &Size) {
    report::line("a lost region made anew of a backup, no load:");
    let mut region = backed_up(env, dir, size.records).await;
    for node in RESTORERS {
        region.lose_node(node).await;
    }
    for node in RESTORERS {
        region.start_apart(node, Duration::ZERO, None).await;
    }
    let (before, used, each) = (resident(env), processor_time(env), restorers(env));
    let peak = Peak::begin(env);
    let steps = restore(env, &region).await;
    let (cpu, peak) = (processor_time(env) - used, peak.bytes());
    let bytes = size.records * ROW_BYTES;
    let after = |moment: Mono| moment.since(steps.registered).as_secs_f64();
    let stands = after(steps.stands.unwrap_or(steps.filled));
    report::line(format_args!(
        "  {:.1} MB of rows; after the registration: the replica has the backup {stands:.2} s, both databases filled {:.2} s, activated \
         {:.2} s, writable {:.2} s; {cpu:.2} s of processor time",
        mb(bytes),
        after(steps.filled),
        after(steps.activated),
        after(steps.writable),
    ));
    report::line(format_args!(
        "  on the wall, all of it on this machine: {:.1} MB/s into the replica, {:.1} MB/s until both databases are active",
        mb(bytes) / stands,
        mb(bytes) / after(steps.activated),
    ));
    // The replica loads, and gives to both databases at once. Each of the three has a machine of its own in a real region.
    let [replica, ..] = each;
    let loading = steps.stands_cpu[0] - replica;
    let filling: Vec<f64> =
        (0..RESTORERS.len()).map(|at| steps.activated_cpu[at] - steps.stands_cpu[at]).collect();
    report::line(format_args!(
        "  processor time: loading {loading:.2} s; then {}",
        RESTORERS
            .iter()
            .zip(&filling)
            .map(|(node, took)| format!("{node} {took:.2} s"))
            .collect::<Vec<_>>()
            .join(", ")
    ));
    report::at_least("backup into the replica, on one core", mb(bytes) / loading, " MB/s", LEAST_MB_PER_S);
    let whole = loading + filling.iter().copied().fold(0.0, f64::max);
    report::at_least("the whole restore, each node on one core", mb(bytes) / whole, " MB/s", LEAST_MB_PER_S);
    report::line(format_args!(
        "  all three on one core together: {:.1} MB per second of processor time",
        mb(bytes) / cpu
    ));
    report::at_most("memory added by the restore", mb(peak.saturating_sub(before)), " MB", MOST_MB);
    region.stop().await;
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let size = match report::mode() {
        Mode::List => return,
        Mode::Test => ONCE,
        Mode::Measure if quick => QUICK,
        Mode::Measure => FULL,
    };
    parts(
        (env!("CARGO_TARGET_TMPDIR"), "third"),
        &[("creates", true), ("restore", false)],
        async |env, dir, of_creates| match of_creates {
            true => creates(env, dir, &size).await,
            false => restored(env, dir, &size).await,
        },
    );
}
