//! The phases of a run, over any world that has [`Actions`] and an [`Env`]: ready, load, faults, heal, settle,
//! and the end checks that read everything from each database alone. The same against simulated and real
//! processes. Judges nothing but whether the region came back at all.

use super::{access::Access, created::Newcomer};
use crate::{
    access::Bearer,
    actions::{Actions, StoreTrouble},
    dice::Dice,
    history::{Call, Micros, Op, Outcome, Phase},
    nemesis::{self, Done},
    plan::{Act, Heal, Plan},
    workload::{Board, Client, Recorder, Stop, read, run_client, run_source},
};
use kms::{
    env::{Env, Task},
    limits::ms,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Longest wait for a fresh region to accept writes.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Longest wait for a repaired region to accept writes, before and between the end checks.
const REPAIR_LIMIT: Duration = Duration::from_secs(30);
/// After one database was turned off, until everybody knows: not shorter than this.
const ALONE_PAUSE: Duration = Duration::from_secs(2);
/// Between attempts at a key write while recovery is measured.
const PROBE_PAUSE: Duration = Duration::from_millis(100);
/// How often a host is asked whether it can write before another is.
const PROBES_PER_HOST: u32 = 5;

/// Who is on it.
pub struct Cast<'a> {
    /// What is played.
    pub plan: &'a Plan,
    /// What the nemesis works on; all nodes are booted.
    pub world: &'a dyn Actions,
    /// The harness's own place in the world.
    pub env: Env,
    /// Where operations are written down.
    pub recorder: Recorder,
    /// The load's clients, `number` from 0 as in the plan.
    pub clients: Vec<Client>,
    /// A further client, for health and for the key writes that measure recovery.
    pub prober: Client,
    /// Who may do some of what they ask for, and who changes that.
    pub guests: Option<Guests>,
    /// Who comes when a domain is made.
    pub newcomers: Vec<Newcomer>,
}

/// Who comes beside the load's clients.
pub struct Guests {
    /// Who changes what they may.
    pub access: Arc<Access>,
    /// Who they are; nobody among them.
    pub clients: Vec<(Client, Bearer)>,
    /// Who everybody is, the load's clients too.
    pub bearers: BTreeMap<u32, Bearer>,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Played {
    /// Start of the load.
    pub load_from: Micros,
    /// Start of the faults phase.
    pub faults_from: Micros,
    /// Its end, when everything was healed.
    pub healed_at: Micros,
    /// What the nemesis did.
    pub done: Done,
    /// When a key write was first accepted after the heal.
    pub recovered_at: Option<Micros>,
    /// Why the region did not come back, if it did not although all was healed.
    pub stuck: Option<String>,
    /// Keys read back at the end.
    pub keys_read: u64,
    /// The domain of each client.
    pub domains: BTreeMap<u32, String>,
    /// Who each client is, if that was said.
    pub bearers: BTreeMap<u32, Bearer>,
}

pub(super) fn us(span: Micros) -> Duration {
    Duration::from_micros(span)
}

/// Plays all phases.
///
/// # Errors
/// The region was never ready, or a client's task died: a harness error.
pub async fn play(cast: Cast<'_>) -> Result<Played, String> {
    let Cast { plan, world, env, recorder, mut clients, mut prober, guests, newcomers } = cast;
    let links = ms(plan.limits.detection_ms * 4);
    if !writable(&mut prober, READY_LIMIT + links).await {
        return Err(format!(
            "the region accepted no writes within {} s of its first start",
            (READY_LIMIT + links).as_secs()
        ));
    }
    let of = |client: &Client| (client.number, client.domain.clone());
    let mut domains: BTreeMap<u32, String> = clients.iter().chain([&prober]).map(of).collect();
    let (mut access, mut visitors, mut bearers) = (None, Vec::new(), BTreeMap::new());
    if let Some(guests) = guests {
        domains.extend(guests.clients.iter().map(|(client, _)| of(client)));
        guests.access.prepare().await?;
        let stewards = &mut clients[..plan.topology.domains as usize];
        visitors = guests.access.open(plan.seed, stewards, guests.clients).await?;
        (access, bearers) = (Some(guests.access), guests.bearers);
    }
    let load_from = world.now();
    let stop = Stop::default();
    let tasks = start_load(plan, clients, &stop);
    let visiting: Vec<Task<Client>> = visitors
        .into_iter()
        .map(|(client, pace, visitor)| {
            client.env.clone().spawn("visitor", run_source(client, pace, visitor, stop.clone()))
        })
        .collect();
    domains.extend(newcomers.iter().map(|who| (who.planned.number, who.planned.domain.to_string())));
    let coming = await_newcomers(plan, newcomers, &env, &stop);
    env.sleep(us(plan.phases.warm_us)).await;
    let faults_from = world.now();
    let changing = access.map(|access| access.begin(faults_from));
    let done = nemesis::carry_out(plan, world, faults_from, |span| env.sleep(us(span))).await;
    let healed_at = world.now();
    recorder.set_phase(Phase::Settle);
    let recovered_at = settle(plan, world, &mut prober).await;
    stop.stop();
    let mut clients = Vec::new();
    for task in tasks {
        clients.push(task.await.map_err(|_| "a client's task panicked".to_owned())?);
    }
    for task in coming {
        let came = task.await.map_err(|_| "a client's task panicked".to_owned())?;
        clients.extend(came.transpose()?);
    }
    for task in visiting {
        task.await.map_err(|_| "a visitor's task panicked".to_owned())?;
    }
    drop(changing);
    let mut played = Played {
        load_from,
        faults_from,
        healed_at,
        done,
        recovered_at,
        stuck: None,
        keys_read: 0,
        domains,
        bearers,
    };
    if plan.phases.heal == Heal::All && recovered_at.is_none() {
        played.stuck = Some("no key write was accepted after everything was healed".to_owned());
        return Ok(played);
    }
    if plan.phases.heal != Heal::All {
        repair(plan, world);
    }
    if !writable(&mut prober, REPAIR_LIMIT + links).await {
        played.stuck = Some("the region accepts no writes before the end checks".to_owned());
        return Ok(played);
    }
    let domains = played.domains.clone();
    let mut checks = EndChecks { plan, world, env, recorder, clients, prober, domains };
    match checks.run().await {
        Ok(keys) => played.keys_read = keys,
        Err(EndError::Stuck(why)) => played.stuck = Some(why),
        Err(EndError::Harness(why)) => return Err(why),
    }
    Ok(played)
}

fn start_load(plan: &Plan, clients: Vec<Client>, stop: &Stop) -> Vec<Task<Client>> {
    let mut boards: BTreeMap<String, Board> = BTreeMap::new();
    let mut tasks = Vec::new();
    for (client, chances) in clients.into_iter().zip(&plan.load.client) {
        let number = boards.len();
        let board = boards
            .entry(client.domain.clone())
            .or_insert_with(|| Board::new(plan.seed, number, &plan.load))
            .clone();
        let env = client.env.clone();
        let work = run_client(client, plan.load.clone(), chances.clone(), board, stop.clone());
        tasks.push(env.spawn("client", work));
    }
    tasks
}

/// Each waits for its domain, then is a client like the others; `None`: it never came.
fn await_newcomers(
    plan: &Plan,
    newcomers: Vec<Newcomer>,
    env: &Env,
    stop: &Stop,
) -> Vec<Task<Option<Result<Client, String>>>> {
    let mut tasks = Vec::new();
    for (number, mut who) in (plan.topology.domains as usize..).zip(newcomers) {
        let board = Board::new(plan.seed, number, &plan.load);
        let (load, stop, clock) = (plan.load.clone(), stop.clone(), env.clone());
        tasks.push(env.spawn("newcomer", async move {
            loop {
                match (who.comes)() {
                    Some(Ok(client)) => {
                        return Some(Ok(run_client(client, load, who.planned.chances, board, stop).await));
                    }
                    Some(Err(why)) => return Some(Err(why)),
                    None if stop.stopped() => return None,
                    None => clock.sleep(PROBE_PAUSE).await,
                }
            }
        }));
    }
    tasks
}

/// Waits until the service says that it can serve and write.
async fn writable(prober: &mut Client, limit: Duration) -> bool {
    let end = prober.env.now() + limit;
    let mut asked = 0;
    while prober.env.now() < end {
        let health = prober.health().await;
        if health == Some((true, true)) {
            return true;
        }
        // Perhaps another host knows more: the entry chooses one per connection. Not at once: a handshake costs as
        // much as a second of everything else.
        asked = if health.is_some() { asked + 1 } else { PROBES_PER_HOST };
        if asked >= PROBES_PER_HOST {
            prober.disconnect();
            asked = 0;
        }
        prober.env.sleep(PROBE_PAUSE).await;
    }
    false
}

/// Tries key writes until one is accepted, then now and then, until the phase is over.
async fn settle(plan: &Plan, world: &dyn Actions, prober: &mut Client) -> Option<Micros> {
    let end = world.now() + plan.phases.settle_us;
    let mut dice = Dice::named(plan.seed, "settle");
    let mut recovered = None;
    while world.now() < end {
        let (key, name) = (dice.uuid().to_string(), dice.word(24));
        prober.needle("name", name.as_bytes());
        let op = prober.send(Call::Create { key, name }).await;
        let accepted = op.is_some_and(|op| matches!(op.outcome, Outcome::Ok(_)));
        if accepted && recovered.is_none() {
            recovered = Some(world.now());
        }
        let pause = if recovered.is_some() { PROBE_PAUSE * 20 } else { PROBE_PAUSE };
        prober.env.sleep(pause.min(us(end.saturating_sub(world.now())))).await;
    }
    recovered
}

/// Ends what a plan without a full heal left broken, so that each database can be read alone.
fn repair(plan: &Plan, world: &dyn Actions) {
    for fault in &plan.faults {
        match &fault.act {
            Act::Pause { nodes } => {
                nodes.iter().filter(|node| world.is_up(node)).for_each(|node| world.resume(node));
            }
            Act::SlowLink { links, .. } => links.iter().for_each(|(from, to)| world.slow(from, to, 0)),
            Act::SlowDisk { nodes, .. } => nodes.iter().for_each(|node| world.slow_disk(node, 0)),
            Act::FailSyncs { nodes } => nodes.iter().for_each(|node| world.fail_syncs(node, false)),
            Act::FillDisk { nodes } => nodes.iter().for_each(|node| world.fill_disk(node, false)),
            Act::CutStore { .. } | Act::SlowStore { .. } | Act::FlakyStore { .. } => {
                fault
                    .act
                    .stores()
                    .iter()
                    .for_each(|store| world.trouble_store(store, StoreTrouble::default()));
            }
            _ => {}
        }
    }
    nemesis::heal_all(world, &plan.nodes());
}

enum EndError {
    Stuck(String),
    Harness(String),
}

struct EndChecks<'a> {
    plan: &'a Plan,
    world: &'a dyn Actions,
    env: Env,
    recorder: Recorder,
    clients: Vec<Client>,
    prober: Client,
    domains: BTreeMap<u32, String>,
}

impl EndChecks<'_> {
    async fn run(&mut self) -> Result<u64, EndError> {
        let mut shares = self.shares();
        let keys = shares.iter().map(|share| share.keys.len() as u64).sum();
        for (off, phase) in [("db-b", Phase::HeadAlone), ("db-a", Phase::TailAlone)] {
            self.world.power_cut(off);
            self.env.sleep(ALONE_PAUSE.max(ms(self.plan.limits.detection_ms * 2))).await;
            self.recorder.set_phase(phase);
            shares = self.read(shares, phase).await?;
            self.recorder.set_phase(Phase::Settle);
            self.world.boot(off);
            let limit = REPAIR_LIMIT + ms(self.plan.limits.detection_ms * 4);
            if !writable(&mut self.prober, limit).await {
                return Err(EndError::Stuck(format!("no writes after {off} was off for an end check")));
            }
        }
        Ok(keys)
    }

    /// Each client's part of its domain's keys and secrets.
    fn shares(&self) -> Vec<read::Share> {
        let domain_of: BTreeMap<u32, &str> =
            self.domains.iter().map(|(client, domain)| (*client, domain.as_str())).collect();
        let mut shares = vec![read::Share::default(); self.clients.len()];
        let domains: std::collections::BTreeSet<&str> = domain_of.values().copied().collect();
        for domain in domains {
            let own = |op: &Op| domain_of.get(&op.client) == Some(&domain);
            let keys = self.recorder.with_ops(|ops| read::acknowledged_keys(ops, own));
            let members: Vec<usize> =
                (0..self.clients.len()).filter(|index| self.clients[*index].domain == domain).collect();
            for (key, member) in keys.into_iter().zip(members.iter().cycle()) {
                shares[*member].keys.push(key);
            }
            let secrets = self.recorder.with_ops(|ops| read::acknowledged_secrets(ops, own));
            for (path, member) in secrets.into_iter().zip(members.iter().cycle()) {
                shares[*member].secrets.push(path);
            }
            // What clients that try again have made twice is seen in the list alone.
            if self.plan.load.retries > 0
                && let Some(first) = members.first()
            {
                shares[*first].lists = true;
            }
        }
        shares
    }

    async fn read(&mut self, shares: Vec<read::Share>, phase: Phase) -> Result<Vec<read::Share>, EndError> {
        let mut tasks = Vec::new();
        for (mut client, mut share) in std::mem::take(&mut self.clients).into_iter().zip(shares) {
            let mut dice = Dice::named(self.plan.seed, &format!("{phase:?}-{}", client.number));
            let env = client.env.clone();
            tasks.push(env.spawn("reader", async move {
                read::read_everything(&mut client, &mut share, &mut dice).await;
                (client, share)
            }));
        }
        let mut shares = Vec::new();
        for task in tasks {
            let (client, share) =
                task.await.map_err(|_| EndError::Harness("a reader's task panicked".to_owned()))?;
            self.clients.push(client);
            shares.push(share);
        }
        Ok(shares)
    }
}
