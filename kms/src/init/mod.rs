//! Makes a region: certificates, keys, configurations and empty stores. The only maker of a store from nothing; plans
//! everything in memory first, then writes it, and refuses to write where something is already.
//!
//! Identifiers, serial numbers, the root key and domain keys are drawn from the `Env` alone; the key
//! pairs and signatures of certificates come from *ring*, which asks the operating system by itself.

mod certificates;
mod install;
mod layout;
mod region;

pub use crate::{
    places::backup_regions,
    store::engine::{KEYRING_DIR, STORE_DIR},
};
pub use certificates::{AccessCa, SignedCredential};
pub use install::{install, write_files};
pub use region::plan_region;

use crate::{
    config::{Role, Zone},
    env::StoreConfig,
    limits::Limits,
    store::{engine::EngineError, epoch::Identity},
    wire::epoch::WitnessState,
};
use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// Name of a node's configuration in its directory.
pub const NODE_FILE: &str = "node.toml";
/// Name of the backup key's file in the replica's directory and the operator's.
pub const BACKUP_KEY_FILE: &str = "backup.key";
/// Name of the root key's file in the directory of a host.
pub const ROOT_KEY_FILE: &str = "root.key";
/// Name of the file with the root key sealed, in the directory of a host that is unsealed by shares.
pub const SEALED_ROOT_FILE: &str = "root.sealed";
/// Name of the directory with the shares, in the operator's.
pub const SHARES_DIR: &str = "shares";
/// Name of a database's store directory.
pub const DATA_DIR: &str = "data";
/// Default port of the REST endpoint.
pub const REST_PORT: u16 = 8443;
/// Default port of node-to-node traffic.
pub const NODE_PORT: u16 = 8444;
/// Default port of a host's administration.
pub const ADMIN_PORT: u16 = 8445;
/// Port of a witness in the replica's process, where the nodes have an address each.
pub const WITNESS_PORT: u16 = 8445;
/// Node id of the replica, and of the witness; their directories are called so too.
const REPLICA_ID: &str = "replica";
const WITNESS_ID: &str = "witness";
/// Most hosts in one zone.
pub const HOSTS_PER_ZONE_MAX: u32 = 64;
/// Most domains, and most clients per domain, that one call makes.
pub const IDENTITIES_MAX: u32 = 1_000;

/// What region to make.
#[derive(Debug, Clone)]
pub struct RegionSpec {
    /// Region id, such as `eu-west-rbx`.
    pub region: String,
    /// Hosts in each of the two zones, at least 1.
    pub hosts_per_zone: u32,
    /// Customer domains, at least 1.
    pub domains: u32,
    /// Client certificates in each domain.
    pub clients: u32,
    /// Region that the replica stands in, such as `eu-west-sbg`; none = the region has no third copy.
    pub replica: Option<String>,
    /// The replica's process is the witness too, on the replica's machine; else the witness is a process of its own.
    pub witness_with_replica: bool,
    /// Where the replica puts its backups, two other regions; relative directories are relative to the replica's. None: it
    /// makes no backups until its `node.toml` names stores.
    pub backups: Option<[StoreConfig; 2]>,
    /// Hosts are unsealed by shares: how many are needed, of how many. None: each has the root key in a file.
    pub shares: Option<(u8, u8)>,
    /// Where the nodes are.
    pub addresses: Addresses,
    /// Where hosts take the operator's requests about access.
    pub admin: AdminAt,
    /// Further DNS names or IP addresses that clients call the REST endpoint by.
    pub names: Vec<String>,
    /// Whether hosts record what is done, in an audit spool in their data directories.
    pub audit: bool,
    /// Bounds, written to every `node.toml`.
    pub limits: Limits,
}

/// Where the nodes of a region are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addresses {
    /// All on 127.0.0.1: the entry on `rest_port`; databases and hosts on ports from `node_port` upwards.
    Loopback {
        /// Port of the entry.
        rest_port: u16,
        /// First port of the other nodes.
        node_port: u16,
    },
    /// One IP address per node id, default ports.
    PerNode(BTreeMap<String, String>),
}

/// Where a host takes the operator's requests about access. Wherever it is, only the operator's certificate is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminAt {
    /// On 127.0.0.1: for who is on the host's machine, or has a tunnel to it.
    Loopback,
    /// On the host's own address.
    Node,
}

/// Everything of a new region, not yet written anywhere.
pub struct Bundle {
    /// One entry per node: databases, hosts, the witness, the replica, the entry.
    pub nodes: Vec<NodeBundle>,
    /// Files of the operator: own certificate and key, the CAs with their keys, `operator.toml`.
    pub operator: Vec<FileSpec>,
    /// Client certificates.
    pub clients: Vec<ClientIdentity>,
    /// What clients verify the REST endpoint with (the node CA).
    pub ca_pem: String,
    /// The domains made.
    pub domains: Vec<Uuid>,
    /// `host:port` that clients connect to (the entry).
    pub endpoint: String,
}

impl Bundle {
    /// The node of this name.
    pub fn node(&self, node_id: &str) -> Option<&NodeBundle> {
        self.nodes.iter().find(|node| node.node_id == node_id)
    }
}

/// One node's share of a [`Bundle`].
pub struct NodeBundle {
    /// Name, such as `host-a1`.
    pub node_id: String,
    /// What it is.
    pub role: Role,
    /// Its zone; the entry has none.
    pub zone: Option<Zone>,
    /// Files for the node's directory.
    pub files: Vec<FileSpec>,
    /// The node whose process it is part of, if it has none of its own.
    pub within: Option<String>,
    /// A database's beginning.
    pub genesis: Option<Identity>,
    /// What the witness knows at first.
    pub witness: Option<WitnessState>,
    /// Domain keys sealed by the root key (databases).
    pub keyring: Vec<(Uuid, Vec<u8>)>,
}

impl NodeBundle {
    /// Its directory, relative to that of the region: in that of the node whose process it is part of, or its own.
    pub fn dir(&self) -> PathBuf {
        self.within.iter().chain([&self.node_id]).collect()
    }
}

/// A file to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// Relative to the directory of whom it belongs to.
    pub path: PathBuf,
    /// All of it.
    pub contents: Vec<u8>,
    /// For the owner's eyes only.
    pub private: bool,
}

impl FileSpec {
    fn public(path: impl AsRef<Path>, contents: impl Into<Vec<u8>>) -> FileSpec {
        FileSpec { path: path.as_ref().into(), contents: contents.into(), private: false }
    }

    fn private(path: impl AsRef<Path>, contents: impl Into<Vec<u8>>) -> FileSpec {
        FileSpec { path: path.as_ref().into(), contents: contents.into(), private: true }
    }
}

impl fmt::Debug for FileSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileSpec({}, {} bytes)", self.path.display(), self.contents.len())
    }
}

/// A client certificate and its key.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The domain it gives access to.
    pub domain: Uuid,
    /// File name stem, unique in the bundle.
    pub name: String,
    /// Certificate, PEM.
    pub cert_pem: String,
    /// Private key, PEM (PKCS #8).
    pub key_pem: String,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientIdentity({}, {})", self.name, self.domain)
    }
}

impl ClientIdentity {
    /// Certificate and key as files `<name>.crt` and `<name>.key`.
    pub fn files(&self) -> [FileSpec; 2] {
        [
            FileSpec::public(format!("{}.crt", self.name), self.cert_pem.as_bytes()),
            FileSpec::private(format!("{}.key", self.name), self.key_pem.as_bytes()),
        ]
    }
}

/// Why a region was not made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The specification makes no sense.
    #[error("{0}")]
    Spec(String),
    /// Something is there already.
    #[error("{0} exists already: nothing was changed; choose another directory, or remove it if it may go")]
    Exists(PathBuf),
    /// The operating system gives no randomness.
    #[error("no randomness: {0}")]
    Entropy(io::Error),
    /// A certificate could not be made.
    #[error("cannot issue a certificate: {0}")]
    Certificate(String),
    /// A configuration could not be written as TOML.
    #[error("cannot write a configuration: {0}")]
    Configuration(String),
    /// The disk refuses.
    #[error("{0}: {1}")]
    Disk(PathBuf, io::Error),
    /// A database's store could not be made.
    #[error("cannot make the store in {0}: {1}")]
    Store(PathBuf, EngineError),
}
