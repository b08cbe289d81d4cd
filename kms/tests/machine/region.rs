//! A region of real nodes in one process, over real sockets and files, and what tests do to it.

use crate::common::{Scratch, bundle, spec};
use kms::{
    config::{NodeConfig, Zone},
    crypto::OperatorVerifier,
    env::{BoxFuture, Env, Purpose, StoreAt, StoreConfig},
    init::{self, Addresses, Bundle, RegionSpec},
    limits::{Limits, ms},
    operator::{
        OperatorConfig,
        ask::{ANSWER_WITHIN, database_status, order},
        rebuild::Plan,
        session::{Operator, Person, Progress},
    },
    record::{CommitId, Expect, RecordKey, SealedRecord, Transaction, Version},
    store::{
        api::{Place, RecordStore},
        client::StoreClient,
        epoch::{DbId, Epoch, Statement},
        exchange::NoAnswer,
        server::{self, DatabaseNode, DatabaseStatus},
        witness::{self, WitnessNode},
    },
    wire::{
        epoch::{Order, OrderKind, Signed},
        tls::{NodeTls, load_operator},
    },
};
use std::{
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU16, Ordering},
    },
};

pub struct Region {
    pub env: Env,
    pub scratch: Scratch,
}

impl Region {
    pub fn new(name: &str) -> Region {
        Region::altered(name, |_| {})
    }

    /// A region whose files are altered before they are written.
    pub fn altered(name: &str, alter: impl FnOnce(&mut Bundle)) -> Region {
        Region::of(name, spec(), alter)
    }

    /// A region with a third copy in another one.
    pub fn with_replica(name: &str, place: &str) -> Region {
        Region::of(name, RegionSpec { replica: Some(place.to_owned()), ..spec() }, |_| {})
    }

    /// A region whose replica makes a backup every second, in the directories `backups/<region of the store>`.
    pub fn with_backups(name: &str, place: &str, stores: [&str; 2]) -> Region {
        let store = |region: &str| StoreConfig {
            region: region.to_owned(),
            at: StoreAt::Directory(format!("../backups/{region}").into()),
        };
        let stores = stores.map(store);
        let limits = Limits { backup_interval_ms: 1_000, ..spec().limits };
        let spec = RegionSpec { replica: Some(place.to_owned()), backups: Some(stores), limits, ..spec() };
        Region::of(name, spec, |_| {})
    }

    pub fn of(name: &str, spec: RegionSpec, alter: impl FnOnce(&mut Bundle)) -> Region {
        let env = kms::os::env();
        let scratch = Scratch::new(name);
        let base = free_ports();
        let addresses = Addresses::Loopback { rest_port: base, node_port: base + 1 };
        let mut bundle = bundle(&env, &RegionSpec { addresses, ..spec });
        alter(&mut bundle);
        for node in &bundle.nodes {
            init::install(&*env.disk, &scratch.0.join(node.dir()), node).expect("install");
        }
        init::write_files(&*env.disk, &scratch.path("operator"), &bundle.operator).expect("written");
        Region { env, scratch }
    }

    fn config(&self, node: &str) -> (NodeConfig, Arc<NodeTls>) {
        let path = self.scratch.path(node).join(init::NODE_FILE);
        let config = NodeConfig::load(&*self.env.disk, &path).expect("config");
        let tls = NodeTls::load(&self.env, &config).expect("tls");
        (config, tls)
    }

    /// What a node that obeys the operator is started with.
    pub fn parts(&self, node: &str) -> (NodeConfig, Arc<NodeTls>, OperatorVerifier) {
        let (config, tls) = self.config(node);
        let operator =
            load_operator(&self.env, config.operator_cert.as_deref().expect("a path")).expect("operator");
        (config, tls, operator)
    }

    pub async fn witness(&self) -> WitnessNode {
        self.witness_in(self.env.clone()).await
    }

    /// In a world of its own, with the same files.
    pub async fn witness_in(&self, env: Env) -> WitnessNode {
        let (config, tls, operator) = self.parts("witness");
        witness::serve(env, config, tls, operator).await.expect("witness")
    }

    pub async fn database(&self, node: &str) -> DatabaseNode {
        self.database_in(node, self.env.clone()).await
    }

    /// The head and the tail.
    pub async fn databases(&self) -> (DatabaseNode, DatabaseNode) {
        (self.database("db-a").await, self.database("db-b").await)
    }

    /// In a world of its own, with the same files.
    pub async fn database_in(&self, node: &str, env: Env) -> DatabaseNode {
        let (config, tls, operator) = self.parts(node);
        server::serve(env, config, tls, operator).await.expect("database")
    }

    /// Takes the tail's disk, starts it blank, and has it made anew, in the epoch that is answered.
    pub async fn lose_and_rebuild_tail(&self, tail: DatabaseNode) -> (DatabaseNode, Epoch) {
        tail.shutdown().await;
        self.lose_disk("db-b");
        let tail = self.database("db-b").await;
        let rebuilt = self.operator().rebuild(plan(Zone::B), &mut Says::new(true)).await;
        (tail, rebuilt.expect("made anew"))
    }

    pub fn client(&self, node: &str) -> Arc<StoreClient> {
        let (config, tls) = self.config(node);
        StoreClient::start(self.env.clone(), &config, tls).expect("client")
    }

    pub fn attempt(&self) -> CommitId {
        CommitId(self.env.random(Purpose::Public).expect("entropy"))
    }

    /// Until the client may write, and reads from both databases: it finds one a little after that has come back.
    pub async fn until_writable(&self, client: &StoreClient) {
        for _ in 0..200 {
            if client.health().can_write && self.reads_from_both(client).await {
                return;
            }
            self.env.sleep(ms(50)).await;
        }
        panic!("not writable, or a database not found, within 10 s");
    }

    async fn reads_from_both(&self, client: &StoreClient) -> bool {
        for place in [Place::Near, Place::Far] {
            if client.get(place, key("none")).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Commits one record of its own through a client that was just made.
    pub async fn commit(&self, name: &str) {
        let client = self.client("host-a1");
        self.until_writable(&client).await;
        let id = self.attempt();
        client.commit(id, put(id, name, None, name.as_bytes()).0).await.expect("committed");
    }

    pub fn operator_config(&self) -> OperatorConfig {
        let path = self.scratch.path("operator").join("operator.toml");
        OperatorConfig::load(&*self.env.disk, &path).expect("operator.toml")
    }

    /// A region at work: witness, head and tail run, and a record is committed.
    pub async fn at_work(name: &str) -> (Region, WitnessNode, DatabaseNode, DatabaseNode) {
        let region = Region::new(name);
        let (witness, head, tail) = region.begin_work().await;
        (region, witness, head, tail)
    }

    /// Starts witness, head and tail, and commits a record.
    pub async fn begin_work(&self) -> (WitnessNode, DatabaseNode, DatabaseNode) {
        let witness = self.witness().await;
        let (head, tail) = self.databases().await;
        self.commit("k").await;
        (witness, head, tail)
    }

    /// What the operator signs, made at another moment than the commands make it.
    pub fn sign(&self, statement: &Statement) -> Signed {
        let config = self.operator_config();
        statement.sign(&config.signer(&self.env).expect("key"), &config.region, 1)
    }

    /// Gives one order, once.
    pub async fn order(&self, zone: Zone, kind: OrderKind, statement: Signed) -> Result<(), NoAnswer> {
        let config = self.operator_config();
        let tls = config.tls(&self.env, ANSWER_WITHIN).expect("tls");
        let address = if zone == Zone::A { &config.head } else { &config.tail };
        let message = Order { kind: kind as i32, statement: Some(statement), activation: None, backup: None };
        order(&self.env, &tls, (zone, address), message, ANSWER_WITHIN).await
    }

    pub fn operator(&self) -> Operator {
        self.operator_of(self.operator_config())
    }

    /// One who looks for the nodes where this says.
    pub fn operator_of(&self, config: OperatorConfig) -> Operator {
        let tls = config.tls(&self.env, ANSWER_WITHIN).expect("tls");
        let key = config.signer(&self.env).expect("key");
        Operator::new(self.env.clone(), config, tls, key)
    }

    pub async fn status(&self, node: &str) -> Option<DatabaseStatus> {
        let config = self.operator_config();
        let tls = config.tls(&self.env, ANSWER_WITHIN).expect("tls");
        let address = if node == "db-a" { &config.head } else { &config.tail };
        database_status(&self.env, &tls, address).await.ok()
    }

    /// Waits until the database's status is as wanted.
    pub async fn until(&self, node: &str, what: &str, wanted: impl Fn(&DatabaseStatus) -> bool) {
        for _ in 0..200 {
            if self.status(node).await.is_some_and(|status| wanted(&status)) {
                return;
            }
            self.env.sleep(ms(50)).await;
        }
        panic!("{node} is not {what} within 10 s: {:?}", self.status(node).await);
    }

    /// Keeps a copy of a database's data under a name; the database does not run.
    pub fn save(&self, node: &str, name: &str) {
        copy(&self.scratch.path(node).join("data"), &self.scratch.path(name));
    }

    /// Puts a copy in the place of what the database has.
    pub fn restore(&self, node: &str, name: &str) {
        self.lose_disk(node);
        copy(&self.scratch.path(name), &self.scratch.path(node).join("data"));
    }

    /// Copies a directory of the scratch one.
    pub fn copy(&self, from: &str, to: &str) {
        copy(&self.scratch.path(from), &self.scratch.path(to));
    }

    pub fn lose_disk(&self, node: &str) {
        self.lose(&format!("{node}/data"));
    }

    pub fn lose(&self, directory: &str) {
        std::fs::remove_dir_all(self.scratch.path(directory)).expect("removed");
    }
}

/// A rebuild of a zone, with nothing else said.
pub fn plan(zone: Zone) -> Plan {
    Plan { zone, abandon: false, retire_serving: false, instead: false }
}

/// An id as a status shows it.
pub fn id(text: &str) -> [u8; 16] {
    hex::decode(text).expect("hex").try_into().expect("16 bytes")
}

/// The first of sixteen ports that are free now, below those that the machine deals out itself: it gives those to connections that go out.
#[expect(clippy::disallowed_methods, reason = "asks the machine for free ports")]
pub fn free_ports() -> u16 {
    // Tests of one process run side by side, and nodes that are down leave their ports free: no sixteen are given twice.
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let first = || AtomicU16::new(std::process::id().wrapping_mul(101) as u16);
    for _ in 0..1_000 {
        let base = 10_000 + NEXT.get_or_init(first).fetch_add(1, Ordering::Relaxed) % 1_400 * 16;
        if (base..base + 16).all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return base;
        }
    }
    panic!("no sixteen free ports in a row");
}

#[expect(clippy::disallowed_methods, reason = "a test copies a disk")]
fn copy(from: &Path, to: &Path) {
    std::fs::DirBuilder::new().recursive(true).create(to).expect("directory");
    for entry in std::fs::read_dir(from).expect("readable") {
        let path = entry.expect("entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copied");
        }
    }
}

/// An operator who states what the test says, and remembers what was told.
pub struct Says {
    pub states: bool,
    pub asked: Vec<(Zone, DbId)>,
    pub told: Vec<Progress>,
}

impl Says {
    pub fn new(states: bool) -> Says {
        Says { states, asked: Vec::new(), told: Vec::new() }
    }
}

impl Person for Says {
    fn told(&mut self, progress: &Progress) {
        self.told.push(progress.clone());
    }

    fn states(&mut self, zone: Zone, id: DbId) -> BoxFuture<'_, bool> {
        self.asked.push((zone, id));
        let states = self.states;
        Box::pin(async move { states })
    }
}

pub fn key(name: &str) -> RecordKey {
    RecordKey(name.as_bytes().to_vec())
}

pub fn put(id: CommitId, name: &str, before: Option<Version>, blob: &[u8]) -> (Transaction, Version) {
    let version = Version { counter: before.map_or(1, |version| version.counter + 1), commit_id: id };
    let record = SealedRecord { version, blob: blob.to_vec() };
    let transaction = Transaction {
        expect: vec![Expect { key: key(name), version: before }],
        put: vec![(key(name), record)],
        delete: Vec::new(),
        ends: Vec::new(),
    };
    (transaction, version)
}
