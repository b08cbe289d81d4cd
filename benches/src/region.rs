//! A whole region in this process, on real disks below one directory and loopback ports: what `kms dev` runs,
//! with disks that count. Serves one domain and one client; single nodes may be stopped and started again.

use crate::{
    apart::Apart,
    client::{Kept, client_tls},
    cores::Cores,
    disk::{Counters, counted},
};
use bytes::Bytes;
use hyper::StatusCode;
use kms::{
    config::{NodeConfig, Role},
    env::{Env, StoreAt, StoreConfig},
    init::{Addresses, AdminAt, Bundle, DATA_DIR, NODE_FILE, RegionSpec, install, plan_region, write_files},
    limits::Limits,
    node::{self, Running},
    operator::{
        OperatorConfig,
        ask::{database_status, replica_status},
    },
    replica::ReplicaStatus,
    wire::tls::NodeTls,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

/// Name of the directory of the operator's files.
const OPERATOR_DIR: &str = "operator";
/// Regions of the backup stores; the replica stands in the first one.
const BACKUP_STORES: [&str; 2] = ["eu-west-sbg", "eu-west-gra"];
/// Hosts in each zone.
const HOSTS_PER_ZONE: u32 = 2;
/// Ports a region takes: the entry, two databases, the hosts, the witness, the replica, and those that hosts are administered at.
const PORTS: u16 = 6 + 4 * HOSTS_PER_ZONE as u16;
/// Times `/healthz` is asked, 20 ms apart, before the region counts as broken. A large store takes a while to
/// open.
const READY_TRIES: u32 = 6_000;

/// The files of a region that does not run yet.
pub struct Installed {
    env: Env,
    dir: PathBuf,
    bundle: Bundle,
}

impl Installed {
    /// Makes a region below `dir`, which must be empty.
    ///
    /// # Panics
    /// If anything of it fails.
    pub async fn new(env: &Env, dir: &Path, limits: Limits) -> Installed {
        Installed::with(env, dir, limits, None, None).await
    }

    /// The same with a replica, and with backups in directories beside it if they are wanted.
    ///
    /// # Panics
    /// If anything of it fails.
    pub async fn with_replica(env: &Env, dir: &Path, limits: Limits, backups: bool) -> Installed {
        let store = |region: &str| StoreConfig {
            region: region.to_owned(),
            at: StoreAt::Directory(format!("../backups/{region}").into()),
        };
        let backups = backups.then(|| BACKUP_STORES.map(store));
        Installed::with(env, dir, limits, Some(BACKUP_STORES[0].to_owned()), backups).await
    }

    async fn with(
        env: &Env,
        dir: &Path,
        limits: Limits,
        replica: Option<String>,
        backups: Option<[StoreConfig; 2]>,
    ) -> Installed {
        let rest_port = free_ports(env).await;
        let spec = RegionSpec {
            audit: false,
            witness_with_replica: false,
            shares: None,
            replica,
            backups,
            region: "eu-west-rbx".to_owned(),
            hosts_per_zone: HOSTS_PER_ZONE,
            domains: 1,
            clients: 1,
            addresses: Addresses::Loopback { rest_port, node_port: rest_port + 1 },
            admin: AdminAt::Loopback,
            names: Vec::new(),
            limits,
        };
        let bundle = plan_region(env, &spec).expect("a region");
        write_files(&*env.disk, &dir.join(OPERATOR_DIR), &bundle.operator).expect("the operator's files");
        for planned in &bundle.nodes {
            install(&*env.disk, &dir.join(&planned.node_id), planned).expect("a node's files");
        }
        Installed { env: env.clone(), dir: dir.into(), bundle }
    }

    /// Where a node keeps its data.
    pub fn data_dir(&self, node_id: &str) -> PathBuf {
        self.dir.join(node_id).join(DATA_DIR)
    }

    /// Starts it, and waits until it takes key writes.
    ///
    /// # Panics
    /// If anything of it fails.
    pub async fn start(self) -> Region {
        self.start_without(&[]).await
    }

    /// The same, and leaves some nodes off.
    ///
    /// # Panics
    /// If anything of it fails.
    pub async fn start_without(self, off: &[&str]) -> Region {
        let Installed { env, dir, bundle } = self;
        let operator = OperatorConfig::load(&*env.disk, &dir.join(OPERATOR_DIR).join("operator.toml"));
        let mut region = Region {
            env,
            dir,
            nodes: Vec::new(),
            apart: Vec::new(),
            tls: client_tls(&bundle.ca_pem, &bundle.clients[0]),
            domain: bundle.domains[0],
            disks: BTreeMap::new(),
            operator: operator.expect("operator.toml"),
        };
        // In the order planned: databases, hosts, the entry.
        for planned in bundle.nodes.iter().filter(|planned| !off.contains(&planned.node_id.as_str())) {
            region.start_node(&planned.node_id).await;
        }
        region.ready(&bundle).await;
        region
    }
}

/// The running region.
pub struct Region {
    env: Env,
    dir: PathBuf,
    nodes: Vec<(String, Running)>,
    apart: Vec<(String, Apart)>,
    tls: Arc<ClientConfig>,
    domain: Uuid,
    disks: BTreeMap<String, Arc<Counters>>,
    operator: OperatorConfig,
}

/// Requests about one domain that a host takes, per second and at once. It counts them as always, and refuses none: on a good machine a
/// benchmark sends more than a host takes by default.
const TAKEN: u32 = 1_000_000;

impl Region {
    /// Makes and starts a region below `dir`, which must be empty, and waits until it takes key writes. Its hosts refuse nobody for asking
    /// too often.
    ///
    /// # Panics
    /// If anything of it fails.
    pub async fn start(env: &Env, dir: &Path) -> Region {
        let limits = Limits { domain_requests_per_s: TAKEN, domain_burst: TAKEN, ..Limits::default() };
        Installed::new(env, dir, limits).await.start().await
    }

    /// Starts a node that does not run; its disk counts anew.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_node(&mut self, node_id: &str) {
        self.start_slow(node_id, Duration::ZERO).await;
    }

    /// The same, on a disk whose syncs take so much longer.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_slow(&mut self, node_id: &str, slower: Duration) {
        let (own, counters) = counted(&self.env, slower);
        self.disks.insert(node_id.to_owned(), counters);
        let node = node::serve(own, &self.dir.join(node_id).join(NODE_FILE)).await.expect("a node");
        self.nodes.push((node_id.to_owned(), node));
    }

    /// The same in a thread of its own that is kept to these cores, if any.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_apart(&mut self, node_id: &str, slower: Duration, cores: Option<&Cores>) {
        let config = self.dir.join(node_id).join(NODE_FILE);
        self.apart.push((node_id.to_owned(), Apart::start(node_id, config, slower, cores.cloned()).await));
    }

    /// Stops a node, if it runs.
    pub async fn stop_node(&mut self, node_id: &str) {
        while let Some(place) = self.apart.iter().position(|(id, _)| id == node_id) {
            self.apart.remove(place).1.stop().await;
        }
        while let Some(place) = self.nodes.iter().position(|(id, _)| id == node_id) {
            self.nodes.remove(place).1.shutdown().await;
        }
    }

    /// Stops a node, if it runs, and removes its data.
    ///
    /// # Panics
    /// If its directory cannot be removed.
    pub async fn lose_node(&mut self, node_id: &str) {
        self.stop_node(node_id).await;
        std::fs::remove_dir_all(self.data_dir(node_id)).expect("its data directory is removed");
    }

    /// What the replica says of itself.
    ///
    /// # Panics
    /// If the region has none, or it does not answer.
    pub async fn replica(&self) -> ReplicaStatus {
        let tls = self.operator.tls(&self.env, Duration::from_secs(5)).expect("operator's certificate");
        let address = self.operator.replica.as_deref().expect("a replica");
        replica_status(&self.env, &tls, address).await.expect("status of the replica")
    }

    /// Waits until the replica is as wanted.
    ///
    /// # Panics
    /// If it is not within ten minutes.
    pub async fn until_replica(&self, wanted: impl Fn(&ReplicaStatus) -> bool) -> ReplicaStatus {
        for _ in 0..6_000 {
            let status = self.replica().await;
            if wanted(&status) {
                return status;
            }
            self.env.sleep(Duration::from_millis(100)).await;
        }
        panic!("the replica is not as wanted: {:?}", self.replica().await);
    }

    /// Where a node keeps its data.
    pub fn data_dir(&self, node_id: &str) -> PathBuf {
        self.dir.join(node_id).join(DATA_DIR)
    }

    /// Where the operator finds everything.
    pub fn operator(&self) -> &OperatorConfig {
        &self.operator
    }

    async fn ready(&self, bundle: &Bundle) {
        let hosts = bundle.nodes.iter().filter(|node| node.role == Role::Host).count();
        assert_eq!(self.operator.hosts.len(), hosts, "operator.toml names every host");
        for address in self.operator.hosts.iter().chain([&self.operator.entry]) {
            let mut tries = 0;
            while !self.asked(address).await {
                tries += 1;
                assert!(tries < READY_TRIES, "{address} does not take key writes");
                self.env.sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// An entry that knows no host yet closes connections.
    async fn asked(&self, address: &str) -> bool {
        match Kept::open(&self.env, &self.tls, address).await {
            Ok(mut kept) => kept.can_write().await.unwrap_or(false),
            Err(_) => false,
        }
    }

    /// Stops the nodes, clients' side first.
    pub async fn stop(self) {
        for (_, node) in self.nodes.into_iter().rev() {
            node.shutdown().await;
        }
        for (_, node) in self.apart {
            node.stop().await;
        }
    }

    /// The first host of zone a: its near database is the head.
    pub fn host(&self) -> &str {
        &self.operator.hosts[0]
    }

    /// The entry.
    pub fn entry(&self) -> &str {
        &self.operator.entry
    }

    /// A kept connection of the client.
    ///
    /// # Panics
    /// If nobody listens there, or TLS fails.
    pub async fn connect(&self, address: &str) -> Kept {
        Kept::open(&self.env, &self.tls, address).await.expect("a connection")
    }

    /// Several.
    ///
    /// # Panics
    /// As [`Region::connect`].
    pub async fn connect_many(&self, address: &str, count: usize) -> Vec<Kept> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(self.connect(address).await);
        }
        all
    }

    /// Path of the collection of service keys.
    pub fn keys_path(&self) -> String {
        format!("/api/{}/v1/servicekey", self.domain)
    }

    /// Body of a create.
    pub fn create_body() -> Bytes {
        Bytes::from_static(br#"{"name":"bench","type":"oct","size":256,"operations":["encrypt","decrypt"]}"#)
    }

    /// Makes a key; returns its id.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn create(&self, client: &mut Kept) -> String {
        let body = client.post(&self.keys_path(), Region::create_body(), StatusCode::CREATED).await;
        let view: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        view["id"].as_str().expect("an id").to_owned()
    }

    /// What went through a node's disk.
    pub fn disk(&self, node_id: &str) -> &Counters {
        &self.disks[node_id]
    }

    /// Entries in the head's log: one per batch.
    ///
    /// # Panics
    /// If the head does not answer.
    pub async fn batches(&self) -> u64 {
        let tls = self.operator.tls(&self.env, Duration::from_secs(5)).expect("operator's certificate");
        let status = database_status(&self.env, &tls, &self.operator.head).await.expect("status of the head");
        status.last
    }

    fn config(&self, node_id: &str) -> NodeConfig {
        NodeConfig::load(&*self.env.disk, &self.dir.join(node_id).join(NODE_FILE)).expect("node.toml")
    }

    /// The identity of a node, for bare peers of its kind.
    ///
    /// # Panics
    /// If its files are not there.
    pub fn node_tls(&self, node_id: &str) -> Arc<NodeTls> {
        NodeTls::load(&self.env, &self.config(node_id)).expect("a node's certificate")
    }

    /// A REST endpoint's side of TLS, set as a host sets it, with the first host's certificate.
    ///
    /// # Panics
    /// If its files are not there.
    pub fn rest_tls(&self) -> Arc<ServerConfig> {
        let config = self.config("host-a1");
        let read = |path: &Path| self.env.disk.read(path).ok().flatten().expect("a host's file");
        let certificates = |path: &Path| {
            CertificateDer::pem_slice_iter(&read(path)).collect::<Result<Vec<_>, _>>().expect("PEM")
        };
        let mut roots = RootCertStore::empty();
        for ca in certificates(&config.access_ca.clone().expect("a host has an access CA")) {
            roots.add(ca).expect("access CA");
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .expect("a verifier");
        let key = PrivateKeyDer::from_pem_slice(&read(&config.key)).expect("a host's key");
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions of the provider")
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates(&config.cert), key)
            .expect("a host's certificate");
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(tls)
    }
}

/// The first of as many free ports in a row as a region takes.
async fn free_ports(env: &Env) -> u16 {
    let mut first = 21_000 + (std::process::id() % 1_000) as u16 * 10;
    'search: for _ in 0..200 {
        first = if first > 40_000 { 21_000 } else { first + PORTS };
        let mut held = Vec::new();
        for port in first..first + PORTS {
            match env.net.bind(&format!("127.0.0.1:{port}")).await {
                Ok(listener) => held.push(listener),
                Err(_) => continue 'search,
            }
        }
        return first;
    }
    panic!("no {PORTS} free ports in a row");
}
