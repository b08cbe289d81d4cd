//! A host with everything it needs, and identities to call it with.

use crate::{client::Client, store::MemoryStore};
use kms::{
    api::{
        admin::{self, AdminServer},
        rest::{RestServer, serve},
    },
    config::{NodeConfig, Role},
    env::{BlockFile, BoxFuture, Clock, Disk, Env, Mono, OpenMode},
    init::{Addresses, AdminAt, Bundle, NODE_FILE, NodeBundle, RegionSpec, plan_region},
    limits::Limits,
    operator::admin::Admin,
    vault::RootKey,
    wire::tls::{NodePem, NodeTls},
};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

/// Files in memory, for reading only.
struct Files(BTreeMap<PathBuf, Vec<u8>>);

impl Disk for Files {
    fn open(&self, _path: &Path, _mode: OpenMode) -> io::Result<Box<dyn BlockFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(path).cloned())
    }
    fn write_atomic(&self, _path: &Path, _contents: &[u8], _private: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn list(&self, _dir: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn remove(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

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
}

fn host(bundle: &Bundle) -> &NodeBundle {
    bundle.nodes.iter().find(|node| node.role == Role::Host).expect("a host")
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
        crate::logs::catch();
        let spec = RegionSpec {
            witness_with_replica: false,
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
        let files = node.files.iter().map(|file| (file.path.clone(), file.contents.clone())).collect();
        let clock = Arc::new(Ahead(Arc::clone(&env.clock), ahead));
        let env = Env { disk: Arc::new(Files(files)), clock, ..env };
        let mut config = NodeConfig::load(&*env.disk, Path::new(NODE_FILE)).expect("a configuration");
        config.rest_listen = Some("127.0.0.1:0".to_owned());
        config.limits = limits;
        let root = RootKey::load(&*env.disk, Path::new("root.key")).expect("a root key");
        let databases = bundle.nodes.iter().filter(|node| node.role == Role::Database);
        let keyring = databases.flat_map(|node| &node.keyring);
        let store =
            MemoryStore::new(keyring.map(|(domain, object)| (domain.into_bytes(), object.clone())).collect());
        let server = serve(env.clone(), &config, Arc::clone(&store) as _, root).await.expect("serves");
        let tls = NodeTls::load(&env, &config).expect("the host's certificate");
        let admin = admin::serve("127.0.0.1:0", tls, &server).await.expect("serves");
        Region { env, bundle, store, server, admin }
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
