//! `kms-crash`: real `kms` processes on 127.0.0.1, killed (SIGKILL) at random moments under load, their files
//! searched for secrets, and the history judged by the simulator's checkers. Not deterministic: the seed repeats who
//! is killed when, not what the machine does. `cargo xtask crash` builds the service and starts this.

mod processes;
mod rebuilding;
mod search;

use clap::Parser;
use kms::{
    config::Zone,
    env::{Env, Purpose},
    init::{self, Addresses, AdminAt, Bundle, RegionSpec},
};
use kms_sim::{
    actions::Actions,
    dice::Dice,
    history::{Call, History, Micros, Outcome, Rebuild, What},
    plan::{Act, Fault, Plan},
    run::{
        phases::{self, Cast, Played},
        report::{self, Counts, HARNESS, HELD, Left, NO_PROGRESS, RunReport, USAGE},
    },
    scenario::{Places, Scenario},
    workload::{Client, Endpoint, Recorder},
};
use processes::{OPERATOR_DIR, Processes, micros};
use search::Needles;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

/// Ports that a region takes at most: the entry's and one for each node.
const PORTS: u16 = 20;
/// Where the search for free ports begins.
const FIRST_PORT: u16 = 18_443;
/// Left for a rebuild before the kills go on, microseconds.
const REBUILD_US: Micros = 10_000_000;
/// Between two looks at an operator at work.
const LOOK: Duration = Duration::from_millis(10);
/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(5);

#[derive(Parser)]
#[command(name = "kms-crash", about = "Kills real kms processes under load and judges what clients saw")]
struct Args {
    /// The kms binary
    #[arg(long, value_name = "PATH")]
    kms: PathBuf,
    /// How often something is killed
    #[arg(long, value_name = "N", default_value_t = 50)]
    rounds: u32,
    /// Half way through, delete the data directory of this zone's database and have `kms rebuild zone` make it anew
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    lose_disk: Option<Zone>,
    /// Seed of who is killed when, and of the load [default: drawn, and printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The region is made in `DIR/crash-SEED`, which is left behind only if something is found
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

fn zone(word: &str) -> Result<Zone, String> {
    match word {
        "a" => Ok(Zone::A),
        "b" => Ok(Zone::B),
        _ => Err("a zone is a or b".to_owned()),
    }
}

/// What one run works with.
struct Job {
    kms: PathBuf,
    rounds: u32,
    lose_disk: Option<Zone>,
    seed: u64,
    dir: PathBuf,
    env: Env,
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Nobody to tell where it cannot be printed.
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { HELD }.into();
        }
    };
    let (code, why) = match run(args) {
        Ok(code) => return code.into(),
        Err(Stopped::Usage(why)) => (USAGE, why),
        Err(Stopped::Harness(why)) => (HARNESS, why),
    };
    say(format_args!("kms-crash: {why}"));
    code.into()
}

/// Why there is no verdict.
enum Stopped {
    Usage(String),
    Harness(String),
}

/// A line on stderr.
fn say(line: impl std::fmt::Display) {
    // Nobody to tell where it cannot be printed.
    let _ = writeln!(io::stderr(), "{line}");
}

fn run(args: Args) -> Result<u8, Stopped> {
    if !args.kms.is_file() {
        let what = format!("{} is not there: build it (cargo build -p kms) and name it", args.kms.display());
        return Err(Stopped::Usage(what));
    }
    if args.rounds == 0 {
        return Err(Stopped::Usage("--rounds 0 kills nothing: ask for one at least".to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| harness("no runtime", error))?;
    // The seam belongs to a runtime.
    let entered = runtime.enter();
    let env = kms::os::env();
    drop(entered);
    let drawn = || env.random::<4>(Purpose::Public).map(|bytes| u64::from(u32::from_be_bytes(bytes)));
    let seed = args.seed.map_or_else(drawn, Ok).map_err(|error| harness("no randomness", error))?;
    let dir = args.out.join(format!("crash-{seed}"));
    let job = Job { kms: args.kms, rounds: args.rounds, lose_disk: args.lose_disk, seed, dir, env };
    let plan = plan(&job).map_err(Stopped::Harness)?;
    afresh(&job.dir).map_err(|error| harness(job.dir.display(), error))?;
    say(format_args!(
        "kms-crash: {} rounds, seed {seed}, about {} s",
        job.rounds,
        (plan.phases.warm_us + plan.phases.faults_us + plan.phases.settle_us) / 1_000_000 + 15
    ));
    let (report, history, left) = runtime.block_on(play(&job, &plan)).map_err(Stopped::Harness)?;
    if report.exit == HELD {
        gone(&job.dir).map_err(|error| harness(job.dir.display(), error))?;
    } else {
        report::leave(&job.dir, &plan, &history, &left, &report)
            .map_err(|error| harness(job.dir.display(), error))?;
    }
    print(&job, &report, &left).map_err(|error| harness("stdout", error))?;
    Ok(report.exit)
}

fn harness(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Stopped {
    Stopped::Harness(format!("{what}: {error}"))
}

/// An empty folder; what an earlier run with this seed left there goes.
#[expect(clippy::disallowed_methods, reason = "the harness's own folder")]
fn afresh(dir: &Path) -> io::Result<()> {
    if dir.exists() {
        gone(dir)?;
    }
    std::fs::create_dir_all(dir)
}

fn gone(dir: &Path) -> io::Result<()> {
    std::fs::remove_dir_all(dir)
}

/// The default load, and one kill per round: one node, both databases, a zone, or all at once; each down for 0.2 to
/// 2 s, or in one of three for 2 to 4 s, which is long enough to be noticed and refused; 1 to 3 s in between. The entry
/// is spared: what it loses was never promised. A disk that is lost is lost half way through; until it is made anew
/// nothing else happens, so that the last kills meet the new store.
fn plan(job: &Job) -> Result<Plan, String> {
    let text = "name = \"crash\"\nabout = \"Real processes are killed under load\"\npromises = [\"G1\", \"G11\"]\n\
                [topology]\nregion = \"eu-west-rbx\"\n[phases]\nfaults = \"5s\"\nsettle = \"10s\"\n";
    let scenario = Scenario::parse(text).map_err(|error| error.to_string())?;
    let mut plan = Plan::draw(&scenario, job.seed).map_err(|error| error.to_string())?;
    let places: Places = plan.places();
    let mut dice = Dice::named(job.seed, "kills");
    let mut at_us = 1_000_000;
    for round in 0..job.rounds {
        if let Some(lost) = job.lose_disk.filter(|_| round == job.rounds / 2) {
            let node = Places::database(lost);
            let back_us = at_us + 2_000_000;
            let act = Act::LoseDisk { nodes: vec![node.clone()] };
            plan.faults.push(Fault { at_us, until_us: Some(back_us), act });
            let act = Act::Rebuild { node, abandon: false, instead: false, interrupt_us: None };
            plan.faults.push(Fault { at_us: back_us + 1_000_000, until_us: None, act });
            at_us = back_us + REBUILD_US;
        }
        let zone = if dice.chance(1, 2) { Zone::A } else { Zone::B };
        let nodes = match dice.below(10) {
            0 => places.all(),
            1 => vec![Places::database(Zone::A), Places::database(Zone::B)],
            2 => places.zone(zone),
            3..=5 => vec![Places::database(zone)],
            _ => dice.pick(&places.all()).cloned().into_iter().collect(),
        };
        let (least, most) = if dice.chance(1, 3) { (2_000, 4_000) } else { (200, 2_000) };
        let down_us = dice.between(least, most) * 1_000;
        plan.faults.push(Fault { at_us, until_us: Some(at_us + down_us), act: Act::Kill { nodes } });
        at_us += down_us + dice.between(1_000, 3_000) * 1_000;
    }
    plan.phases.faults_us = at_us;
    plan.check().map_err(|error| error.to_string())?;
    Ok(plan)
}

/// The first of enough ports in a row that nobody listens on.
#[expect(clippy::disallowed_methods, reason = "real ports, before there are nodes")]
fn free_ports() -> Result<u16, String> {
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    (FIRST_PORT..30_000)
        .step_by(usize::from(PORTS))
        .find(|first| (*first..first + PORTS).all(free))
        .ok_or_else(|| format!("no {PORTS} free ports in a row on 127.0.0.1 from {FIRST_PORT}"))
}

async fn play(job: &Job, plan: &Plan) -> Result<(RunReport, History, Left), String> {
    let (env, port) = (&job.env, free_ports()?);
    let bundle = init::plan_region(
        env,
        &RegionSpec {
            audit: false,
            witness_with_replica: false,
            shares: None,
            replica: None,
            backups: None,
            region: plan.topology.region.clone(),
            hosts_per_zone: plan.topology.hosts_per_zone,
            domains: plan.topology.domains,
            clients: plan.topology.clients + 1,
            addresses: Addresses::Loopback { rest_port: port, node_port: port + 1 },
            admin: AdminAt::Loopback,
            names: Vec::new(),
            limits: plan.limits.clone(),
        },
    )
    .map_err(|error| error.to_string())?;
    let nodes_dir = job.dir.join("nodes");
    for node in &bundle.nodes {
        init::install(&*env.disk, &nodes_dir.join(&node.node_id), node).map_err(|error| error.to_string())?;
    }
    let needles = Needles::default();
    needles.add_root_keys(&bundle);
    init::write_files(&*env.disk, &nodes_dir.join(OPERATOR_DIR), &bundle.operator)
        .map_err(|error| error.to_string())?;
    let stores = bundle.nodes.iter().filter_map(|node| {
        node.genesis.as_ref().map(|genesis| (node.node_id.clone(), genesis.db_id.to_string()))
    });
    let processes = Processes::new(job.kms.clone(), nodes_dir.clone(), stores.collect(), env.clone());
    for node in plan.nodes() {
        processes.boot(&node);
    }
    let (clock, start, told) = (env.clone(), processes.start(), needles.clone());
    let time = Arc::new(move || micros(&clock, start));
    let recorder = Recorder::new(time, Arc::new(move |label, bytes| told.add(label, bytes)));
    let (clients, prober) = clients(plan, env, &bundle, &recorder)?;
    let cast = Cast {
        plan,
        world: &processes,
        env: env.clone(),
        recorder: recorder.clone(),
        clients,
        prober,
        guests: None,
        newcomers: Vec::new(),
    };
    let played: Result<Played, String> = tokio::select! {
        biased;
        played = phases::play(cast) => played,
        () = interrupted() => Err("interrupted".to_owned()),
        () = operators(env, &processes) => Err("the clock stopped".to_owned()),
        () = progress(job, plan, &processes, &recorder) => Err("the clock stopped".to_owned()),
    };
    let mut history = recorder.take_history();
    history.events = processes.events();
    // The processes end here: what is on the disks now is what they leave.
    drop(processes);
    if let Ok(played) = &played {
        (history.faults_from, history.healed_at) = (played.faults_from, played.healed_at);
    }
    let (leaks, searched) =
        needles.search(&nodes_dir).map_err(|error| format!("{}: {error}", nodes_dir.display()))?;
    let left = Left { leaks, searched, probes: recorder.probes(), ..Left::default() };
    let mut report = report::judge(plan, &played, &history, &left);
    if job.lose_disk.is_some() {
        match rebuilt(&history) {
            Some(line) => say(line),
            None if report.exit == HELD => {
                report.exit = NO_PROGRESS;
                report.failure = Some("the database that lost its disk was not made anew".to_owned());
            }
            None => {}
        }
    }
    Ok((report, history, left))
}

/// When the lost database was made anew, in words; `None` if it was not, or no key write was acknowledged after that.
fn rebuilt(history: &History) -> Option<String> {
    let step = |wanted: Rebuild| {
        let is = |what: &What| matches!(what, What::Rebuild { step, .. } if *step == wanted);
        history.events.iter().find(|event| is(&event.what)).map(|event| event.at)
    };
    let (begun, active) = (step(Rebuild::Begun)?, step(Rebuild::Activated)?);
    let writes = history.ops.iter().filter(|op| matches!(op.call, Call::Create { .. } | Call::Rename { .. }));
    let accepted = writes.filter(|op| matches!(op.outcome, Outcome::Ok(_)) && op.invoked >= active);
    let first = accepted.filter_map(|op| op.done).min()?;
    let seconds = |from: Micros, to: Micros| to.saturating_sub(from) as f64 / 1e6;
    Some(format!(
        "kms-crash: made anew in {:.1} s; a key write was acknowledged {:.2} s after the activation",
        seconds(begun, active),
        seconds(active, first)
    ))
}

/// Ends on Ctrl-C or a request to terminate, so that no process is left behind.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Sees to the operators' work. Does not end.
async fn operators(env: &Env, processes: &Processes) {
    loop {
        processes.look();
        env.sleep(LOOK).await;
    }
}

/// Says now and then how far the run is. Does not end.
async fn progress(job: &Job, plan: &Plan, processes: &Processes, recorder: &Recorder) {
    loop {
        job.env.sleep(PROGRESS).await;
        let now = processes.now();
        let first = plan.faults.first().map_or(0, |fault| fault.at_us);
        let began = processes.first_kill().map_or(Micros::MAX, |at| at.saturating_sub(first));
        let begun = |fault: &&Fault| fault.at_us <= now.saturating_sub(began);
        let kill = |fault: &&Fault| matches!(fault.act, Act::Kill { .. });
        let rounds = plan.faults.iter().filter(begun).filter(kill).count();
        let counts = Counts::of(&recorder.history());
        say(format_args!(
            "{:5} s  round {rounds} of {}  {} operations: {} ok, {} refused, {} unknown",
            now / 1_000_000,
            job.rounds,
            counts.ops,
            counts.ok,
            counts.refused,
            counts.unknown
        ));
    }
}

fn clients(
    plan: &Plan,
    env: &Env,
    bundle: &Bundle,
    recorder: &Recorder,
) -> Result<(Vec<Client>, Client), String> {
    let mut all = Vec::new();
    for (number, identity) in (0..=plan.topology.clients).zip(&bundle.clients) {
        let endpoint = Endpoint {
            address: bundle.endpoint.clone(),
            server_name: "localhost".to_owned(),
            ca_pem: bundle.ca_pem.clone(),
            cert_pem: identity.cert_pem.clone(),
            key_pem: identity.key_pem.clone(),
            token: None,
        };
        let domain = identity.domain.to_string();
        all.push(Client::new(number, env.clone(), domain, endpoint, recorder.clone())?);
    }
    let prober = all.pop().ok_or("no client certificates")?;
    Ok((all, prober))
}

fn print(job: &Job, report: &RunReport, left: &Left) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (rounds, seed) = (job.rounds, job.seed);
    let counts = &report.counts;
    writeln!(
        out,
        "{} operations: {} ok, {} refused, {} unknown, {} rejected; {} keys read back from each database alone",
        counts.ops,
        counts.ok,
        counts.refused,
        counts.unknown,
        counts.rejected,
        report.probes.get("end-check-keys").copied().unwrap_or(0)
    )?;
    let bytes: u64 = left.searched.bytes.values().sum();
    writeln!(out, "{} secrets searched for in {bytes} bytes of disks and logs", left.searched.needles)?;
    for verdict in &report.verdicts {
        let word = verdict.judgement().words();
        writeln!(out, "{:8} {:28} {:>8}  {word}", verdict.promise, verdict.checker, verdict.exercised)?;
    }
    if let Some(failure) = &report.failure {
        writeln!(out, "{failure}")?;
    }
    if report.exit != HELD {
        writeln!(out, "left in {}", job.dir.display())?;
        let lost = job.lose_disk.map(|zone| format!(" --lose-disk {}", zone.word())).unwrap_or_default();
        writeln!(out, "the same kills again: cargo xtask crash --rounds {rounds} --seed {seed}{lost}")?;
    }
    writeln!(
        out,
        "kms-crash: {rounds} rounds, seed {seed}, exit {} ({:.0} s)",
        report.exit, report.sim_seconds
    )
}
