//! `kms-crash`: real `kms` processes on 127.0.0.1, killed (SIGKILL) at random moments under load, and the history
//! judged by the simulator's checkers. Not deterministic, and searches no disk for secrets: the simulator does
//! both. `cargo xtask crash` builds the service and starts this.

use clap::Parser;
use kms::{
    config::Zone,
    env::{Env, Mono},
    init::{self, Addresses, Bundle, RegionSpec},
};
use kms_sim::{
    actions::{Actions, CutMode},
    dice::Dice,
    history::{History, Micros, Stop, What, WorldEvent},
    plan::{Act, Fault, Plan},
    run::{
        phases::{self, Cast, Played},
        report::{self, HARNESS, Left, RunReport, USAGE},
    },
    scenario::{Places, Scenario},
    workload::{Client, Endpoint, Recorder},
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
};

#[derive(Parser)]
#[command(name = "kms-crash", about = "Kills real kms processes under load and judges what clients saw")]
struct Args {
    /// The kms binary.
    #[arg(long)]
    kms: PathBuf,
    /// How often something is killed.
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    /// Seed of who is killed when, and of the load.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the region is made; must not exist. Left behind for inspection.
    #[arg(long)]
    dir: PathBuf,
    /// Port of the entry; the other nodes take the ports above it.
    #[arg(long, default_value_t = 18443)]
    port: u16,
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Nobody to tell where it cannot be printed.
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { 0 }.into();
        }
    };
    match run(&args) {
        Ok(exit) => exit.into(),
        Err(why) => {
            let _ = writeln!(io::stderr(), "kms-crash: {why}");
            HARNESS.into()
        }
    }
}

fn run(args: &Args) -> Result<u8, String> {
    let plan = plan(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let (report, history, left) = runtime.block_on(play(args, &plan))?;
    if report.exit != report::HELD {
        report::leave(&args.dir.join("findings"), &plan, &history, &left, &report)
            .map_err(|error| format!("{}: {error}", args.dir.display()))?;
    }
    print(args, &report).map_err(|error| format!("stdout: {error}"))?;
    Ok(report.exit)
}

/// The default load, and one kill per round: one node, a zone, or all; each down for 0.2 to 2 s, with 1 to 4 s
/// in between.
fn plan(args: &Args) -> Result<Plan, String> {
    let text = "name = \"crash\"\nabout = \"Real processes are killed under load\"\npromises = [\"G1\", \"G11\"]\n\
                [topology]\nregion = \"eu-west-rbx\"\n[phases]\nfaults = \"5s\"\nsettle = \"10s\"\n";
    let scenario = Scenario::parse(text).map_err(|error| error.to_string())?;
    let mut plan = Plan::draw(&scenario, args.seed).map_err(|error| error.to_string())?;
    let places: Places = plan.places();
    let mut dice = Dice::named(args.seed, "kills");
    let mut at_us = 1_000_000;
    for _ in 0..args.rounds {
        let zone = if dice.chance(1, 2) { Zone::A } else { Zone::B };
        let nodes = match dice.below(8) {
            0 => places.all(),
            1 => places.zone(zone),
            2..=4 => vec![Places::database(zone)],
            _ => dice.pick(&places.all()).cloned().into_iter().collect(),
        };
        let down_us = dice.between(200, 2_000) * 1_000;
        plan.faults.push(Fault { at_us, until_us: Some(at_us + down_us), act: Act::Kill { nodes } });
        at_us += down_us + dice.between(1_000, 4_000) * 1_000;
    }
    plan.phases.faults_us = at_us;
    plan.check().map_err(|error| error.to_string())?;
    Ok(plan)
}

async fn play(args: &Args, plan: &Plan) -> Result<(RunReport, History, Left), String> {
    let env = kms::os::env();
    let bundle = init::plan_region(
        &env,
        &RegionSpec {
            region: plan.topology.region.clone(),
            hosts_per_zone: plan.topology.hosts_per_zone,
            domains: plan.topology.domains,
            clients: plan.topology.clients + 1,
            addresses: Addresses::Loopback { rest_port: args.port, node_port: args.port + 1 },
            names: Vec::new(),
            limits: plan.limits.clone(),
        },
    )
    .map_err(|error| error.to_string())?;
    for node in &bundle.nodes {
        init::install(&*env.disk, &args.dir.join(&node.node_id), node).map_err(|error| error.to_string())?;
    }
    let processes = Processes::new(args, env.clone());
    for node in plan.nodes() {
        processes.boot(&node);
    }
    let (clock, start) = (env.clone(), processes.start);
    let recorder = Recorder::new(Arc::new(move || micros(&clock, start)), Arc::new(|_, _| {}));
    let (clients, prober) = clients(plan, &env, &bundle, &recorder)?;
    let cast = Cast { plan, world: &processes, env, recorder: recorder.clone(), clients, prober };
    let played: Result<Played, String> = phases::play(cast).await;
    let mut history = recorder.history();
    history.events = processes.state.borrow().events.clone();
    if let Ok(played) = &played {
        (history.faults_from, history.healed_at) = (played.faults_from, played.healed_at);
    }
    let left = Left { probes: recorder.probes(), ..Left::default() };
    Ok((report::judge(plan, &played, &history, &left), history, left))
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
        };
        let domain = identity.domain.to_string();
        all.push(Client::new(number, env.clone(), domain, endpoint, recorder.clone())?);
    }
    let prober = all.pop().ok_or("no client certificates")?;
    Ok((all, prober))
}

fn micros(env: &Env, start: Mono) -> Micros {
    u64::try_from(env.now().since(start).as_micros()).unwrap_or(Micros::MAX)
}

fn print(args: &Args, report: &RunReport) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "kms-crash: {} rounds, seed {}", args.rounds, args.seed)?;
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
    for verdict in &report.verdicts {
        let word = verdict.judgement().words();
        writeln!(out, "{:8} {:28} {:>8}  {word}", verdict.promise, verdict.checker, verdict.exercised)?;
    }
    if let Some(failure) = &report.failure {
        writeln!(out, "{failure}")?;
    }
    writeln!(out, "kms-crash: exit {} ({:.0} s)", report.exit, report.sim_seconds)
}

/// Real processes as a world of which only killing and starting is asked.
struct Processes {
    kms: PathBuf,
    dir: PathBuf,
    env: Env,
    start: Mono,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    running: BTreeMap<String, Child>,
    events: Vec<WorldEvent>,
}

impl Processes {
    fn new(args: &Args, env: Env) -> Processes {
        let start = env.now();
        Processes { kms: args.kms.clone(), dir: args.dir.clone(), env, start, state: RefCell::default() }
    }

    fn record(&self, state: &mut State, what: What) {
        state.events.push(WorldEvent { at: self.now(), what });
    }

    #[expect(clippy::disallowed_methods, reason = "the log file of a real process")]
    fn spawn(&self, node: &str) -> io::Result<Child> {
        let dir: &Path = &self.dir.join(node);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log"))?;
        Command::new(&self.kms)
            .arg("serve")
            .arg("--config")
            .arg(dir.join(init::NODE_FILE))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.state.borrow_mut().running.values_mut() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Actions for Processes {
    fn now(&self) -> Micros {
        micros(&self.env, self.start)
    }
    fn nodes(&self) -> Vec<String> {
        self.state.borrow().running.keys().cloned().collect()
    }
    fn is_up(&self, node: &str) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(child) = state.running.get_mut(node) else { return false };
        match child.try_wait() {
            Ok(None) => true,
            ended => {
                state.running.remove(node);
                let why = format!("{ended:?}");
                self.record(&mut state, What::Exited { node: node.to_owned(), why });
                false
            }
        }
    }
    fn kill(&self, node: &str) {
        if !self.is_up(node) {
            return;
        }
        let mut state = self.state.borrow_mut();
        if let Some(mut child) = state.running.remove(node) {
            // It may have ended in this instant.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.record(&mut state, What::Down { node: node.to_owned(), how: Stop::Kill });
    }
    fn power_cut(&self, node: &str) {
        self.kill(node);
    }
    fn boot(&self, node: &str) {
        let spawned = self.spawn(node);
        let mut state = self.state.borrow_mut();
        match spawned {
            Ok(child) => {
                state.running.insert(node.to_owned(), child);
                self.record(&mut state, What::Up { node: node.to_owned() });
            }
            Err(error) => {
                let why = format!("cannot start: {error}");
                self.record(&mut state, What::Exited { node: node.to_owned(), why });
            }
        }
    }
    fn shutdown(&self, node: &str) {
        self.kill(node);
    }
    // The plan above has kills alone; the end checks and the heal ask for these of nodes and links without faults.
    fn power_cut_after(&self, _: &str, _: u64) {}
    fn cancel_power_cut(&self, _: &str) {}
    fn pause(&self, _: &str) {}
    fn resume(&self, _: &str) {}
    fn cut(&self, _: &str, _: &str, _: CutMode) {}
    fn join(&self, _: &str, _: &str) {}
    fn join_all(&self) {}
    fn slow(&self, _: &str, _: &str, _: Micros) {}
    fn slow_disk(&self, _: &str, _: Micros) {}
    fn fail_syncs(&self, _: &str, _: bool) {}
    fn set_wall_offset(&self, _: &str, _: i64) {}
    fn swap_records(&self, _: &str, _: u64) -> Vec<String> {
        Vec::new()
    }
}
