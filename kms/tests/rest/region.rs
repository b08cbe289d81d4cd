//! A host with everything it needs, and identities to call it with.

use crate::{client::Client, disk::MemoryDisk, store::MemoryStore};
use kms::{
    api::{
        admin::{self, AdminServer},
        rest::{RestServer, serve},
    },
    config::{AuditConfig, NodeConfig, Role},
    env::{BoxFuture, Clock, Env, Mono},
    init::{Addresses, AdminAt, Bundle, NODE_FILE, NodeBundle, RegionSpec, plan_region},
    limits::Limits,
    operator::admin::Admin,
    vault::RootSource,
    wire::tls::{NodePem, NodeTls},
};
use std::{path::Path, sync::Arc, time::Duration};
use uuid::Uuid;

/// A clock whose wall time is ahead.
struct Ahead(Arc<dyn Clock>, Duration);

impl Clock for Ahead {
    fn now(&self) -> Mono {
        self.0.now()
    }
    fn wall(&self) -> Duration {
        self.0.wall() + self.1
    }
    fn sleep_until(&self, at: Mono) -> BoxFuture<'static, ()> {
        self.0.sleep_until(at)
    }
}

pub struct Region {
    pub env: Env,
    pub bundle: Bundle,
    pub store: Arc<MemoryStore>,
    pub server: RestServer,
    pub admin: AdminServer,
    pub disk: Arc<MemoryDisk>,
    config: NodeConfig,
}

fn host(bundle: &Bundle) -> &NodeBundle {
    bundle.nodes.iter().find(|node| node.role == Role::Host).expect("a host")
}

async fn start(env: &Env, config: &NodeConfig, store: &Arc<MemoryStore>) -> (RestServer, AdminServer) {
    let root = RootSource::open(Arc::clone(&env.disk), config).expect("a root key");
    let server = serve(env.clone(), config, Arc::clone(store) as _, root).await.expect("serves");
    let tls = NodeTls::load(env, config).expect("the host's certificate");
    let admin = admin::serve("127.0.0.1:0", tls, &server).await.expect("serves");
    (server, admin)
}

impl Region {
    pub async fn new() -> Region {
        Region::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> Region {
        Region::at(limits, Duration::ZERO).await
    }

    /// A host that goes for a minute by what it knows of a domain's access: what a test does to reads is done to those of keys.
    pub async fn sure() -> Region {
        Region::with(Limits { access_fresh_ms: 60_000, ..Limits::default() }).await
    }

    /// A host whose wall clock is ahead of the one its certificates were made by.
    pub async fn at(limits: Limits, ahead: Duration) -> Region {
        Region::of(limits, ahead, AuditConfig { enabled: false, ..AuditConfig::default() }, None).await
    }

    /// A host that records what is done.
    pub async fn audited(audit: AuditConfig) -> Region {
        Region::audited_with(Limits::default(), audit).await
    }

    /// The same, with other limits.
    pub async fn audited_with(limits: Limits, audit: AuditConfig) -> Region {
        Region::of(limits, Duration::ZERO, audit, None).await
    }

    /// A host that waits for 3 of 5 shares, and perhaps records what is done.
    pub async fn sealed(enabled: bool) -> Region {
        Region::sealed_with(AuditConfig { enabled, ..AuditConfig::default() }).await
    }

    /// The same, and how it records.
    pub async fn sealed_with(audit: AuditConfig) -> Region {
        Region::of(Limits::default(), Duration::ZERO, audit, Some((3, 5))).await
    }

    async fn of(limits: Limits, ahead: Duration, audit: AuditConfig, shares: Option<(u8, u8)>) -> Region {
        crate::logs::catch();
        let spec = RegionSpec {
            audit: false,
            witness_with_replica: false,
            shares,
            replica: None,
            backups: None,
            region: "eu-west-rbx".to_owned(),
            hosts_per_zone: 1,
            domains: 2,
            clients: 1,
            addresses: Addresses::Loopback { rest_port: 8443, node_port: 8444 },
            admin: AdminAt::Loopback,
            names: Vec::new(),
            limits: limits.clone(),
        };
        let env = kms::os::env();
        let bundle = plan_region(&env, &spec).expect("a plan");
        let node = host(&bundle);
        let disk = MemoryDisk::new(node.files.iter().map(|file| (file.path.clone(), file.contents.clone())));
        let clock = Arc::new(Ahead(Arc::clone(&env.clock), ahead));
        let env = Env { disk: Arc::clone(&disk) as _, clock, ..env };
        let mut config = NodeConfig::load(&*env.disk, Path::new(NODE_FILE)).expect("a configuration");
        config.rest_listen = Some("127.0.0.1:0".to_owned());
        config.limits = limits;
        config.audit = Some(audit);
        config.metrics_listen = Some("127.0.0.1:0".to_owned());
        let databases = bundle.nodes.iter().filter(|node| node.role == Role::Database);
        let keyring = databases.flat_map(|node| &node.keyring);
        let store =
            MemoryStore::new(keyring.map(|(domain, object)| (domain.into_bytes(), object.clone())).collect());
        let (server, admin) = start(&env, &config, &store).await;
        Region { env, bundle, store, server, admin, disk, config }
    }

    /// The host's machine loses its power, and it starts again.
    pub async fn restart(&mut self) {
        self.disk.cut_power();
        (self.server, self.admin) = start(&self.env, &self.config, &self.store).await;
    }

    /// The operator, as the host's administration knows one.
    pub fn operator(&self) -> Admin {
        self.admin_as(&self.operator_file("operator.crt"), &self.operator_file("operator.key"))
    }

    /// Somebody with a certificate at the host's administration.
    pub fn admin_as(&self, cert: &str, key: &str) -> Admin {
        let node_ca = self.bundle.ca_pem.as_bytes();
        let pem = NodePem { cert: cert.as_bytes(), key: key.as_bytes(), node_ca };
        let tls = NodeTls::from_pem(&self.env, &pem, Duration::from_secs(5)).expect("a certificate");
        Admin::at(self.env.clone(), tls, self.admin.address())
    }

    /// A file of the operator's directory.
    pub fn operator_file(&self, name: &str) -> String {
        let mut files = self.bundle.operator.iter();
        let file = files.find(|file| file.path == Path::new(name)).expect("a file");
        String::from_utf8(file.contents.clone()).expect("text")
    }

    pub fn domain(&self) -> Uuid {
        self.bundle.clients[0].domain
    }

    /// A client of the first domain.
    pub async fn client(&self) -> Client {
        self.client_of(0).await
    }

    pub async fn client_of(&self, index: usize) -> Client {
        let identity = &self.bundle.clients[index];
        let pair = Some((identity.cert_pem.as_str(), identity.key_pem.as_str()));
        Client::connect(self, pair).await.expect("connects")
    }

    pub async fn anonymous(&self) -> Client {
        Client::connect(self, None).await.expect("connects")
    }

    /// A file of the host's directory.
    pub fn host_file(&self, name: &str) -> String {
        let node = host(&self.bundle);
        let file = node.files.iter().find(|file| file.path == Path::new(name)).expect("a file");
        String::from_utf8(file.contents.clone()).expect("text")
    }
}
