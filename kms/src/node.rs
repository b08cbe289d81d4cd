//! Wires one node together from its configuration: what `kms serve` runs, what the simulator boots. Makes no
//! certificate, no key and no store: only `kms init` does.

use crate::{
    api::{
        admin::{self, AdminServer},
        rest::{self, RestServer, ServeError},
    },
    backup::BackupKeyError,
    config::{ConfigError, NodeConfig, Role},
    crypto::OperatorVerifier,
    entry::{self, Entry, EntryError},
    env::Env,
    metrics::{self, Gather, MetricsServer},
    replica::{self, ReplicaNode, StartError},
    store::{
        client::StoreClient,
        server::{self, DatabaseNode},
        witness::{self, WitnessNode},
    },
    vault::{RootKeyError, RootSource},
    wire::tls::{NodeTls, TlsError, load_operator},
};
use std::{io, path::Path, sync::Arc};

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// `node.toml`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node's certificate, key or CA.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The root key of a host.
    #[error(transparent)]
    RootKey(#[from] RootKeyError),
    /// The backup key of a replica.
    #[error(transparent)]
    BackupKey(#[from] BackupKeyError),
    /// The node address of a database, witness or replica.
    #[error("cannot listen on {0}: {1}")]
    Listen(String, io::Error),
    /// The operating system gives no randomness.
    #[error("no randomness: {0}")]
    Entropy(io::Error),
    /// The REST endpoint of a host.
    #[error("REST endpoint: {0}")]
    Rest(#[from] ServeError),
    /// A host's administration.
    #[error("administration: {0}")]
    Admin(ServeError),
    /// The listener of metrics.
    #[error("cannot listen for metrics on {0}: {1}")]
    Metrics(String, io::Error),
    /// The entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

impl NodeError {
    /// Whether the configuration must be mended, rather than the machine.
    pub fn is_configuration(&self) -> bool {
        match self {
            NodeError::Config(_) | NodeError::Tls(_) | NodeError::RootKey(_) | NodeError::BackupKey(_) => {
                true
            }
            NodeError::Rest(error) | NodeError::Admin(error) => {
                matches!(error, ServeError::NoAddress(_) | ServeError::Tls(_))
            }
            NodeError::Entry(error) => matches!(error, EntryError::Needs(_)),
            NodeError::Listen(..) | NodeError::Entropy(_) | NodeError::Metrics(..) => false,
        }
    }
}

/// A running node.
pub struct Running {
    kind: Kind,
    metrics: Option<MetricsServer>,
}

enum Kind {
    Database(DatabaseNode),
    Witness(WitnessNode),
    /// With the witness, if this process is that too.
    Replica(ReplicaNode, Option<WitnessNode>),
    /// With its administration, if it takes that.
    Host(Box<RestServer>, Option<AdminServer>),
    Entry(Entry),
}

/// Starts the node that `config_path` describes; it listens when this returns.
///
/// # Errors
/// [`NodeError`] says what to mend.
pub async fn serve(env: Env, config_path: &Path) -> Result<Running, NodeError> {
    let config = NodeConfig::load(&*env.disk, config_path)?;
    let tls = NodeTls::load(&env, &config)?;
    tracing::info!(node = config.node_id, role = config.role.word(), region = config.region, "starting");
    let metrics_listen = config.metrics_listen.clone();
    let world = env.clone();
    let kind = match config.role {
        Role::Database => Kind::Database(database(env, config, tls).await?),
        Role::Witness => Kind::Witness(witness(env, config, tls).await?),
        Role::Replica => {
            let witness = witness_within(&env, &config).await?;
            Kind::Replica(replica(env, config, tls).await?, witness)
        }
        Role::Host => {
            let (rest, admin) = host(env, &config, tls).await?;
            Kind::Host(Box::new(rest), admin)
        }
        Role::Entry => Kind::Entry(entry::serve(&env, &config, tls).await?),
    };
    let metrics = match (metrics_listen, kind.gather()) {
        (Some(address), Some(gather)) => {
            let served = metrics::serve(&world, &address, gather).await;
            Some(served.map_err(|error| NodeError::Metrics(address, error))?)
        }
        _ => None,
    };
    let running = Running { kind, metrics };
    let (node_address, rest_address) = running.addresses();
    let metrics_address = running.metrics_address();
    tracing::info!(node_address, rest_address, metrics_address, "listening");
    Ok(running)
}

impl Kind {
    /// What the node tells in numbers; a witness and an entry tell nothing.
    fn gather(&self) -> Option<Gather> {
        match self {
            Kind::Host(host, _) => Some(host.gather()),
            Kind::Database(database) => {
                let asker = database.asker();
                Some(Arc::new(move || {
                    let status = asker();
                    Box::pin(async move { metrics::of_database(&status.await) })
                }))
            }
            Kind::Replica(replica, _) => {
                let asker = replica.asker();
                Some(Arc::new(move || Box::pin(std::future::ready(metrics::of_replica(&asker())))))
            }
            Kind::Witness(_) | Kind::Entry(_) => None,
        }
    }
}

async fn database(env: Env, config: NodeConfig, tls: Arc<NodeTls>) -> Result<DatabaseNode, NodeError> {
    let (listen, operator) = (config.listen.clone().unwrap_or_default(), operator(&env, &config)?);
    server::serve(env, config, tls, operator).await.map_err(|error| NodeError::Listen(listen, error))
}

async fn witness(env: Env, config: NodeConfig, tls: Arc<NodeTls>) -> Result<WitnessNode, NodeError> {
    let (listen, operator) = (config.listen.clone().unwrap_or_default(), operator(&env, &config)?);
    witness::serve(env, config, tls, operator).await.map_err(|error| NodeError::Listen(listen, error))
}

/// The witness in the replica's process: a node of its own in all but the process, with its own address, certificate and directory.
async fn witness_within(env: &Env, replica: &NodeConfig) -> Result<Option<WitnessNode>, NodeError> {
    let Some(config) = replica.witness_within(&*env.disk)? else { return Ok(None) };
    let tls = NodeTls::load(env, &config)?;
    let node = witness(env.clone(), config, tls).await?;
    tracing::info!(node_address = node.address(), "listening as the witness too");
    Ok(Some(node))
}

async fn replica(env: Env, config: NodeConfig, tls: Arc<NodeTls>) -> Result<ReplicaNode, NodeError> {
    let (listen, operator) = (config.listen.clone().unwrap_or_default(), operator(&env, &config)?);
    replica::serve(env, config, tls, operator).await.map_err(|error| match error {
        StartError::Listen(error) => NodeError::Listen(listen, error),
        StartError::BackupKey(error) => NodeError::BackupKey(error),
        StartError::Entropy(error) => NodeError::Entropy(error),
    })
}

fn operator(env: &Env, config: &NodeConfig) -> Result<OperatorVerifier, NodeError> {
    let field = "operator_cert";
    let missing = || ConfigError::Needs { path: "node.toml".into(), role: config.role, field };
    Ok(load_operator(env, config.operator_cert.as_deref().ok_or_else(missing)?)?)
}

async fn host(
    env: Env,
    config: &NodeConfig,
    tls: Arc<NodeTls>,
) -> Result<(RestServer, Option<AdminServer>), NodeError> {
    let root = RootSource::open(Arc::clone(&env.disk), config)?;
    if root.0.is_none() {
        tracing::warn!("sealed: nothing is served until operators unseal this host (`kms unseal`)");
    }
    let store = StoreClient::start(env.clone(), config, Arc::clone(&tls))?;
    let rest = rest::serve(env, config, store, root).await?;
    let admin = match &config.admin_listen {
        Some(address) => Some(admin::serve(address, tls, &rest).await.map_err(NodeError::Admin)?),
        None => None,
    };
    Ok((rest, admin))
}

impl Running {
    /// The addresses really bound: the node address (databases, the witness, the replica), the REST address (hosts and entries).
    pub fn addresses(&self) -> (Option<String>, Option<String>) {
        match &self.kind {
            Kind::Database(database) => (Some(database.address().to_owned()), None),
            Kind::Witness(witness) => (Some(witness.address().to_owned()), None),
            Kind::Replica(replica, _) => (Some(replica.address().to_owned()), None),
            Kind::Host(host, _) => (None, Some(host.address().to_owned())),
            Kind::Entry(entry) => (None, Some(entry.address().to_owned())),
        }
    }

    /// The address really bound for a host's administration.
    pub fn admin_address(&self) -> Option<&str> {
        match &self.kind {
            Kind::Host(_, admin) => admin.as_ref().map(AdminServer::address),
            _ => None,
        }
    }

    /// The address really bound for metrics.
    pub fn metrics_address(&self) -> Option<&str> {
        self.metrics.as_ref().map(MetricsServer::address)
    }

    /// Ends the node: stops listening, lets what is in flight end within bounds, closes what is open.
    pub async fn shutdown(self) {
        match self.kind {
            Kind::Database(database) => database.shutdown().await,
            Kind::Witness(witness) => witness.shutdown().await,
            Kind::Replica(replica, witness) => {
                replica.shutdown().await;
                if let Some(witness) = witness {
                    witness.shutdown().await;
                }
            }
            Kind::Host(host, admin) => {
                if let Some(admin) = admin {
                    admin.shutdown().await;
                }
                host.shutdown().await;
            }
            Kind::Entry(entry) => entry.shutdown().await,
        }
    }

    /// Returns if the node ends by itself, which it should not; says why.
    pub async fn stopped(&mut self) -> String {
        match &mut self.kind {
            Kind::Database(database) => database.stopped().await,
            Kind::Witness(witness) => witness.stopped().await,
            Kind::Replica(replica, None) => replica.stopped().await,
            Kind::Replica(replica, Some(witness)) => tokio::select! {
                biased;
                why = replica.stopped() => why,
                why = witness.stopped() => why,
            },
            Kind::Host(host, None) => host.stopped().await,
            Kind::Host(host, Some(admin)) => tokio::select! {
                biased;
                why = host.stopped() => why,
                why = admin.stopped() => why,
            },
            Kind::Entry(entry) => entry.stopped().await,
        }
    }
}
