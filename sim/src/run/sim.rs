//! A run in the simulated world: makes the region as `kms init` does, boots each node as `kms serve` does, and
//! plays the plan. Wires no service of its own.

use super::{
    access::{Access, Badge},
    audits::Auditor,
    backups::Reader,
    created::{self, Badges, Newcomer},
    images::{self, Images},
    keys::{self, Looks},
    operator,
    phases::{self, Cast, Guests, Played},
    report::{self, Left, RunReport},
    rows::StoredRows,
};
use crate::{
    access::Bearer,
    actions::Actions,
    check::{Leak, Searched},
    history::{History, Micros, StoreEvent, StoreWhat},
    plan::{Act, Plan},
    scenario::{REPLICA, WITNESS},
    workload::{Client, Endpoint, Recorder},
    world::{self, LogLayer, NodeSpec, Span, World, WorldSettings, spare, swap::RedbSwapper},
};
use kms::{
    config::Role,
    env::{BoxFuture, Env, StoreAt, StoreConfig},
    init::{self, Addresses, AdminAt, Bundle, ClientIdentity, InitError, NodeBundle, RegionSpec},
};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tracing::{Event, Level, Metadata, Subscriber, field::Visit};
use tracing_subscriber::{
    Layer, filter::filter_fn, layer::Context, layer::SubscriberExt, registry::Registry,
};

/// Directory of a node on its disk.
pub(super) const NODE_DIR: &str = "/kms";
/// Target of the service's probe events; their field `name` is what is counted.
const PROBE_TARGET: &str = "kms::probe";

/// What a run left.
pub struct Outcome {
    /// The JSON line.
    pub report: RunReport,
    /// What clients saw.
    pub history: History,
    /// What the world left.
    pub left: Left,
}

/// Plays a plan in a simulated world, and judges it. `trace` gets a line for each event.
pub fn run(plan: &Plan, trace: Option<Box<dyn io::Write + Send>>) -> Outcome {
    let (played, history, left) = world::run_with(plan.seed, settings(plan), |world| {
        let plan = plan.clone();
        async move {
            world.trace_to(trace);
            let _logs = tracing::subscriber::set_default(subscriber(&world));
            let recorder = recorder(&plan, &world);
            let images = Images::default();
            let harness = world.env("harness");
            let watching = images::watch(world.clone(), images.clone());
            let watching = harness.spawn("images", watching).abort_on_drop();
            let copies = Images::default();
            let copying = images::sample_replica(plan.clone(), world.clone(), copies.clone());
            let copying = harness.spawn("copies", copying).abort_on_drop();
            let looks = Looks::default();
            let looking = keys::look(plan.clone(), world.clone(), looks.clone());
            let looking = harness.spawn("keys", looking).abort_on_drop();
            let (mut reader, mut auditor) = (None, None);
            let readers = (&mut reader, &mut auditor);
            let played = simulate(&plan, &world, recorder.clone(), readers).await;
            drop((watching, copying, looking));
            let mut history = history(&world, &recorder, &played);
            history.images = images::taken(&images);
            history.copies = images::taken(&copies);
            history.keys = keys::taken(&looks);
            (history.stores, history.wall_from_ms) = (world.store_events(), world.wall_from_ms());
            if let Some(reader) = reader {
                history.backups = reader.taken();
            }
            history.audits = auditor.as_ref().map(Auditor::read_all).unwrap_or_default();
            let left = left(&world, &recorder);
            (played, history, left)
        }
    });
    let report = report::judge(plan, &played, &history, &left);
    Outcome { report, history, left }
}

/// A drawn latency varies by half of itself from segment to segment.
fn around(us: Micros) -> Span {
    Span::new(us.max(1), us.max(1) + us / 2)
}

fn settings(plan: &Plan) -> WorldSettings {
    WorldSettings {
        same_zone: around(plan.network.zone_us),
        same_region: around(plan.network.zones_us),
        ..WorldSettings::default()
    }
}

fn recorder(plan: &Plan, world: &World) -> Recorder {
    let (clock, needles) = (world.clone(), world.clone());
    let recorder = Recorder::new(
        Arc::new(move || clock.now()),
        Arc::new(move |label, bytes| {
            needles.needle(label, bytes);
        }),
    );
    if plan.topology.audit { recorder.with_requests() } else { recorder }
}

async fn simulate(
    plan: &Plan,
    world: &World,
    recorder: Recorder,
    (reader, auditor): (&mut Option<Reader>, &mut Option<Auditor>),
) -> Result<Played, String> {
    plan.topology.stores().iter().for_each(|store| world.add_store(store));
    let addresses = add_nodes(plan, world);
    let harness = world.env("harness");
    let per_domain = plan.topology.clients.div_ceil(plan.topology.domains) + 1;
    let bundle = init::plan_region(
        &harness,
        &RegionSpec {
            audit: plan.topology.audit,
            witness_with_replica: plan.topology.witness_with_replica,
            shares: plan.topology.shares.then_some((3, 5)),
            region: plan.topology.region.clone(),
            replica: plan.topology.replica.then(|| replica_region(&plan.topology.region)),
            backups: backup_stores(plan),
            hosts_per_zone: plan.topology.hosts_per_zone,
            domains: plan.topology.domains,
            clients: per_domain,
            addresses: Addresses::PerNode(addresses),
            admin: AdminAt::Node,
            names: vec![server_name(plan)],
            limits: plan.limits.clone(),
        },
    )
    .map_err(|error| error.to_string())?;
    for machine in bundle.nodes.iter().filter(|node| node.within.is_none()) {
        put_on_disk(plan, world, &bundle, machine).map_err(|error| error.to_string())?;
        world.set_main(&machine.node_id, main(world, &machine.node_id));
    }
    let data = PathBuf::from(NODE_DIR).join(init::DATA_DIR);
    let store = data.join(init::STORE_DIR).join(kms::store::engine::STORE_FILE);
    world.set_swapper(Box::new(RedbSwapper::new(store, StoredRows { data })));
    let at = |identity: &ClientIdentity, address: String| endpoint(plan, &bundle, identity, address);
    let badges = operator::hire(world, &bundle, plan.topology.witness(), &at)?;
    for node in plan.nodes() {
        world.boot(&node);
    }
    let access = Access::new(plan, world, &bundle)?;
    let people = People { plan, world, bundle: &bundle, recorder: &recorder };
    let (clients, prober) = people.clients(per_domain, access.as_ref())?;
    let guests = access.map(|access| people.guests(access)).transpose()?;
    let newcomers = people.newcomers(&badges);
    *reader = Reader::new(plan, world, &bundle)?;
    *auditor = Auditor::new(plan, world, &bundle)?;
    let reading = reader.clone().map(|reader| harness.spawn("backups", reader.sample()).abort_on_drop());
    let played = phases::play(Cast {
        plan,
        world,
        env: harness,
        recorder: recorder.clone(),
        clients,
        prober,
        guests,
        newcomers,
    })
    .await;
    drop(reading);
    if let Some(reader) = reader {
        reader.read_all().await;
    }
    played
}

/// Puts the files of a machine's node on its disk, and those of the node that is part of its process. Where the disk matters, one that
/// has nothing but what `kms init` made stands ready for when it is lost.
fn put_on_disk(plan: &Plan, world: &World, bundle: &Bundle, machine: &NodeBundle) -> Result<(), InitError> {
    let disk = |machine: &str| world.env(machine).disk;
    let is_part = |node: &&NodeBundle| node.within.as_ref() == Some(&machine.node_id);
    let parts = || bundle.nodes.iter().filter(is_part).chain([machine]);
    if machine.genesis.is_some() || matches!(machine.role, Role::Witness | Role::Replica) {
        for part in parts() {
            init::install(&*disk(&machine.node_id), &dir(part), &blank(part))?;
        }
        world.set_blank_disk(&machine.node_id);
        if is_replaced(plan, &machine.node_id) {
            let spare = spare(&machine.node_id);
            init::install(&*disk(&spare), &dir(machine), &blank(machine))?;
            world.set_main(&spare, main(world, &spare));
        }
    }
    parts().try_for_each(|part| init::install(&*disk(&machine.node_id), &dir(part), part))
}

/// Where a node's files lie on its machine.
fn dir(node: &NodeBundle) -> PathBuf {
    let machine = PathBuf::from(NODE_DIR);
    if node.within.is_some() { machine.join(&node.node_id) } else { machine }
}

/// The same node without anything that it knows.
fn blank(node: &NodeBundle) -> NodeBundle {
    NodeBundle {
        node_id: node.node_id.clone(),
        role: node.role,
        zone: node.zone,
        files: node.files.clone(),
        within: node.within.clone(),
        genesis: None,
        witness: None,
        keyring: Vec::new(),
    }
}

/// The simulated stores are found by their region; the directory is a name.
fn backup_stores(plan: &Plan) -> Option<[StoreConfig; 2]> {
    let at = |region: String| StoreConfig { region, at: StoreAt::Directory("simulated".into()) };
    <[String; 2]>::try_from(plan.topology.stores()).ok().map(|stores| stores.map(at))
}

fn is_replaced(plan: &Plan, database: &str) -> bool {
    plan.faults.iter().any(|fault| matches!(&fault.act, Act::ReplaceMachine { node, .. } if node == database))
}

/// Where the replica stands: the first backup region, if the documentation names one.
fn replica_region(region: &str) -> String {
    init::backup_regions(region).map_or("eu-west-other", |regions| regions[0]).to_owned()
}

fn server_name(plan: &Plan) -> String {
    format!("{}.okms.test", plan.topology.region)
}

/// The machines, with the addresses of those that serve.
fn add_nodes(plan: &Plan, world: &World) -> BTreeMap<String, String> {
    let mut addresses = BTreeMap::new();
    for (number, name) in plan.nodes().into_iter().enumerate() {
        let ip = format!("10.0.0.{}", number + 1);
        // `db-a`, `host-b2`: the zone is the first letter after the dash; the entry has none.
        let zone = name.split_once('-').and_then(|(_, rest)| rest.chars().next());
        let wall_offset_us = plan.clocks.get(&name).copied().unwrap_or(0);
        addresses.insert(name.clone(), ip.clone());
        // The witness stands in another region, and so does the replica.
        let region = match name.as_str() {
            WITNESS => format!("not-{}", plan.topology.region),
            REPLICA => replica_region(&plan.topology.region),
            _ => plan.topology.region.clone(),
        };
        let drift_ppm = plan.drifts_ppm.get(&name).copied();
        world.add_node(NodeSpec { name: name.clone(), ip, zone, region, wall_offset_us });
        if let Some(ppm) = drift_ppm {
            world.set_drift(&name, ppm, ppm);
        }
    }
    for (number, zone) in ['a', 'b'].into_iter().enumerate() {
        let node = format!("db-{zone}");
        if is_replaced(plan, &node) {
            world.add_node(NodeSpec {
                name: spare(&node),
                ip: format!("10.0.3.{}", number + 1),
                zone: Some(zone),
                region: plan.topology.region.clone(),
                wall_offset_us: 0,
            });
        }
    }
    world.add_node(NodeSpec {
        name: operator::OPERATOR.to_owned(),
        ip: "10.0.2.1".to_owned(),
        zone: None,
        region: plan.topology.region.clone(),
        wall_offset_us: 0,
    });
    for number in 0..=plan.topology.clients {
        add_client(plan, world, number);
    }
    addresses
}

fn add_client(plan: &Plan, world: &World, number: u32) {
    let name = client_name(number);
    world.add_node(NodeSpec {
        name: name.clone(),
        ip: format!("10.0.1.{}", number + 1),
        zone: None,
        region: plan.topology.region.clone(),
        wall_offset_us: 0,
    });
    world.slow(&name, "entry", plan.network.clients_us);
    world.slow("entry", &name, plan.network.clients_us);
}

fn client_name(number: u32) -> String {
    format!("client-{number}")
}

/// What booting a node runs: the function that `kms serve` calls, until it is asked to stop.
fn main(world: &World, node: &str) -> world::Main {
    let machine = world.machine(node);
    Arc::new(move |env: Env| -> BoxFuture<'static, String> {
        let stopping = machine.stopping();
        Box::pin(async move {
            let mut running = match kms::node::serve(env, &Path::new(NODE_DIR).join(init::NODE_FILE)).await {
                Ok(running) => running,
                Err(error) => return error.to_string(),
            };
            tokio::select! {
                biased;
                () = stopping => {}
                why = running.stopped() => return why,
            }
            running.shutdown().await;
            "stopped".to_owned()
        })
    })
}

/// The way of a client with a certificate to an address.
fn endpoint(plan: &Plan, bundle: &Bundle, identity: &ClientIdentity, address: String) -> Endpoint {
    Endpoint {
        address,
        server_name: server_name(plan),
        ca_pem: bundle.ca_pem.clone(),
        cert_pem: identity.cert_pem.clone(),
        key_pem: identity.key_pem.clone(),
        token: None,
    }
}

/// Who is given a connection to the entry.
struct People<'a> {
    plan: &'a Plan,
    world: &'a World,
    bundle: &'a Bundle,
    recorder: &'a Recorder,
}

impl People<'_> {
    fn client(&self, number: u32, domain: &str, badge: Badge) -> Result<Client, String> {
        let env = self.world.env(&client_name(number));
        Client::new(number, env, domain.to_owned(), self.endpoint(badge), self.recorder.clone())
    }

    fn endpoint(&self, badge: Badge) -> Endpoint {
        let (cert_pem, key_pem) = badge.certificate.unwrap_or_default();
        Endpoint {
            address: self.bundle.endpoint.clone(),
            server_name: server_name(self.plan),
            ca_pem: self.bundle.ca_pem.clone(),
            cert_pem,
            key_pem,
            token: badge.token,
        }
    }

    /// Whoever is to use a domain that is made while the region runs, each from a machine of its own.
    fn newcomers(&self, badges: &Badges) -> Vec<Newcomer> {
        let newcomer = |planned: created::Planned| {
            add_client(self.plan, self.world, planned.number);
            let (badges, of, recorder) = (badges.clone(), planned.clone(), self.recorder.clone());
            let env = self.world.env(&client_name(of.number));
            let door = self.endpoint(Badge::default());
            let comes = move || {
                let (cert_pem, key_pem) = badges.take(of.draw)?.certificate?;
                let endpoint = Endpoint { cert_pem, key_pem, ..door.clone() };
                Some(Client::new(of.number, env.clone(), of.domain.to_string(), endpoint, recorder.clone()))
            };
            Newcomer { planned, comes: Box::new(comes) }
        };
        created::planned(self.plan).into_iter().map(newcomer).collect()
    }

    /// The load's clients, dealt to the domains in turn, and the prober, of the first domain.
    fn clients(&self, per_domain: u32, access: Option<&Access>) -> Result<(Vec<Client>, Client), String> {
        let client = |number: u32, domain: u32, index: u32| {
            let position = (domain * per_domain + index) as usize;
            let identity =
                self.bundle.clients.get(position).ok_or_else(|| "too few client certificates".to_owned())?;
            let own = (identity.cert_pem.clone(), identity.key_pem.clone());
            let badge = access.and_then(|access| access.badge(number)).map(|(badge, _)| badge);
            let badge = badge.unwrap_or(Badge { certificate: Some(own), token: None });
            self.client(number, &identity.domain.to_string(), badge)
        };
        let domains = self.plan.topology.domains;
        let all = (0..self.plan.topology.clients)
            .map(|number| client(number, number % domains, number / domains))
            .collect::<Result<Vec<_>, String>>()?;
        let prober = client(self.plan.topology.clients, 0, per_domain - 1)?;
        Ok((all, prober))
    }

    /// Whoever else asks, each from a machine of its own.
    fn guests(&self, access: Access) -> Result<Guests, String> {
        let load = (0..=self.plan.topology.clients)
            .filter_map(|number| access.badge(number).map(|(_, bearer)| (number, bearer)));
        let mut bearers: BTreeMap<u32, Bearer> = load.collect();
        let mut clients = Vec::new();
        for (number, domain, badge, bearer) in access.guests()? {
            add_client(self.plan, self.world, number);
            bearers.insert(number, bearer.clone());
            clients.push((self.client(number, &domain.to_string(), badge)?, bearer));
        }
        Ok(Guests { access: Arc::new(access), clients, bearers })
    }
}

fn history(world: &World, recorder: &Recorder, played: &Result<Played, String>) -> History {
    let mut history = recorder.take_history();
    history.events = world.events();
    match played {
        Ok(played) => {
            (history.faults_from, history.healed_at) = (played.faults_from, played.healed_at);
            history.load_from = played.load_from;
        }
        Err(_) => (history.faults_from, history.healed_at) = (history.end, history.end),
    }
    history
}

fn left(world: &World, recorder: &Recorder) -> Left {
    world.search_disks();
    let (needles, bytes) = world.searched();
    let put = |event: &StoreEvent| match event.what {
        StoreWhat::Put { bytes, .. } => bytes,
        _ => 0,
    };
    let in_stores = world.store_events().iter().map(put).sum();
    let mut probes = world.probes();
    probes.extend(recorder.probes());
    let leak = |leak: world::Leak| {
        let place = match leak.place.split(' ').next() {
            Some("disk") => "disk",
            Some("log") => "log",
            Some("object" | "stored") => "store",
            Some("crash") => "crash-image",
            _ => "wire",
        };
        Leak {
            label: leak.needle,
            place: place.to_owned(),
            context: format!("{} ({}), at {} us", leak.place, leak.encoding, leak.at_us),
        }
    };
    Left {
        leaks: world.leaks().into_iter().map(leak).collect(),
        searched: Searched { needles, bytes: [("all".to_owned(), bytes)].into(), in_stores },
        probes,
        trace_hash: world.trace_hash(),
        trace_checkpoints: world.trace_checkpoints(),
        trace_tail: world.take_trace_tail(),
        profile: world.profile(),
    }
}

fn subscriber(world: &World) -> impl Subscriber + Send + Sync + 'static {
    let lines = filter_fn(|metadata| metadata.is_event() && *metadata.level() <= Level::INFO);
    let logs: LogLayer = world.log_layer(Level::INFO);
    Registry::default()
        .with(logs.with_filter(lines))
        .with(Probes(world.clone()).with_filter(filter_fn(is_probe)))
}

fn is_probe(metadata: &Metadata<'_>) -> bool {
    metadata.target() == PROBE_TARGET
}

/// Counts the service's probe events.
struct Probes(World);

struct Name(Option<String>);

impl Visit for Name {
    fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        if field.name() == "name" {
            self.0 = Some(value.to_owned());
        }
    }
}

impl<S: Subscriber> Layer<S> for Probes {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut name = Name(None);
        event.record(&mut name);
        if let Some(name) = name.0 {
            self.0.probe(&name, &self.0.current_node());
        }
    }
}
