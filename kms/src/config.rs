//! `node.toml`: everything one node is told. Unknown fields are errors.

use crate::{
    env::{Disk, StoreAt, StoreConfig},
    limits::{BadLimits, Limits},
    places::{check_backups, check_replica},
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves REST to clients; holds opened keys in memory, stores nothing.
    Host,
    /// Keeps sealed records; never holds a key.
    Database,
    /// TCP pass-through from clients to the hosts of both zones.
    Entry,
    /// Knows which epoch is current; in a region other than the main one.
    Witness,
    /// The third copy: follows the committed log, in a region other than the main one.
    Replica,
}

impl Role {
    /// The word used in certificates and configuration.
    pub fn word(self) -> &'static str {
        match self {
            Role::Host => "host",
            Role::Database => "database",
            Role::Entry => "entry",
            Role::Witness => "witness",
            Role::Replica => "replica",
        }
    }
}

/// Half of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Zone {
    /// Zone a; its database is the head.
    A,
    /// Zone b; its database is the tail.
    B,
}

impl Zone {
    /// `a` or `b`.
    pub fn word(self) -> &'static str {
        match self {
            Zone::A => "a",
            Zone::B => "b",
        }
    }

    /// The one that is not this one.
    pub fn other(self) -> Zone {
        match self {
            Zone::A => Zone::B,
            Zone::B => Zone::A,
        }
    }
}

/// The nodes this node speaks to, as `host:port`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Peers {
    /// Node address of the head database (hosts, the tail, the replica).
    pub head: Option<String>,
    /// Node address of the tail database (hosts, the head, the replica).
    pub tail: Option<String>,
    /// Node address of the witness.
    pub witness: Option<String>,
    /// Node address of the replica (databases: what they are filled from when the region is made anew).
    pub replica: Option<String>,
    /// REST addresses of the hosts (entry only).
    pub hosts: Vec<String>,
}

/// What a host does with its audit entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// Whether requests are recorded at all.
    pub enabled: bool,
    /// Bytes that the spool may have. A host whose spool has them cannot serve.
    pub max_bytes: u64,
    /// Days after which entries are removed.
    pub keep_days: u32,
    /// Bytes after which a segment of the spool is closed and another one begun.
    pub segment_bytes: u64,
    /// Where entries are sent on to; none: they stay here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
}

/// A receiver of audit entries. What goes over TCP goes in clear: to a collector on the same machine, or in a network of the operator's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// A file, as JSON Lines.
    File(PathBuf),
    /// A collector of syslog (RFC 5424) over TCP, `host:port`.
    Syslog(String),
    /// A collector of GELF over TCP, `host:port`.
    Gelf(String),
}

/// Least size of a spool: what is kept free for requests that are under way, and something to fill.
const AUDIT_LEAST_BYTES: u64 = 4 << 20;
/// Largest segment: it is read as a whole.
const AUDIT_SEGMENT_MAX_BYTES: u64 = 64 << 20;

impl Default for AuditConfig {
    fn default() -> AuditConfig {
        AuditConfig {
            enabled: true,
            max_bytes: 8 << 30,
            keep_days: 365,
            segment_bytes: 4 << 20,
            forward: None,
        }
    }
}

impl AuditConfig {
    fn check(&self) -> Result<(), &'static str> {
        if self.max_bytes < AUDIT_LEAST_BYTES {
            return Err("max_bytes must be at least 4194304 (4 MiB)");
        }
        if !(4_096..=AUDIT_SEGMENT_MAX_BYTES).contains(&self.segment_bytes) {
            return Err("segment_bytes must be between 4096 and 67108864 (64 MiB)");
        }
        if self.keep_days == 0 {
            return Err("keep_days must be at least 1");
        }
        Ok(())
    }
}

/// One node's configuration. Relative paths are relative to the directory of `node.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// What this process is.
    pub role: Role,
    /// Region id, such as `eu-west-rbx`.
    pub region: String,
    /// Zone of a host or database; an entry belongs to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// Region that the node stands in, if that is not the one it is part of (replicas, which need it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Unique name of the node, such as `host-a1`.
    pub node_id: String,
    /// Where a database or replica keeps its store, a witness its file, and a host its audit spool; unused by an entry.
    pub data_dir: PathBuf,
    /// Node-to-node address (8444 by default). Databases, the witness and the replica need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Client-facing address (8443 by default). Hosts and entries need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_listen: Option<String>,
    /// Address for the operator's requests about access (8445 by default; hosts only). None: they are not taken here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_listen: Option<String>,
    /// Address that metrics are told at, in clear: `127.0.0.1:9444` for one on the same machine. None: nowhere (hosts, databases,
    /// replicas).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<String>,
    /// Certificate chain of this node, PEM.
    pub cert: PathBuf,
    /// Private key of this node, PEM (PKCS #8).
    pub key: PathBuf,
    /// CA of the nodes, PEM. Also what clients verify the REST endpoint with.
    pub node_ca: PathBuf,
    /// CA of the clients' access certificates, PEM (hosts only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_ca: Option<PathBuf>,
    /// Certificate of the operator, whose signed statements change epochs (databases, the witness, the replica).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_cert: Option<PathBuf>,
    /// Root key file (hosts only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_key: Option<PathBuf>,
    /// File with the root key sealed, for hosts that are unsealed by shares. Either this or `root_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_root: Option<PathBuf>,
    /// Key file that the keys of backups are sealed under (replicas that make backups).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_key: Option<PathBuf>,
    /// `node.toml` of the region's witness, if this process is that too (replicas only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<PathBuf>,
    /// Other nodes.
    #[serde(default)]
    pub peers: Peers,
    /// Where a replica puts its backups: two stores in two other regions. None: it makes no backups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backups: Vec<StoreConfig>,
    /// What is recorded of requests (hosts only); without it the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditConfig>,
    /// Bounds that differ from the defaults.
    #[serde(default)]
    pub limits: Limits,
}

/// Why a configuration was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there.
    #[error("no configuration at {0}: `kms init` writes one per node")]
    Missing(PathBuf),
    /// The file could not be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// Not TOML, an unknown field, a wrong type.
    #[error("{0}: {1}")]
    Syntax(PathBuf, String),
    /// A field that this role needs is missing.
    #[error("{path}: a {role} needs `{field}`", role = role.word())]
    Needs {
        /// The file.
        path: PathBuf,
        /// The role configured.
        role: Role,
        /// The field missing.
        field: &'static str,
    },
    /// A replica where it may not stand.
    #[error("{0}: `place`: {1}")]
    Place(PathBuf, String),
    /// Another node than the region's witness in the replica's process.
    #[error("{0}: `witness`: {1}")]
    Witness(PathBuf, String),
    /// Backups where they may not lie.
    #[error("{0}: `[[backups]]`: {1}")]
    Backups(PathBuf, String),
    /// A spool that makes no sense.
    #[error("{0}: `[audit]`: {1}")]
    Audit(PathBuf, &'static str),
    /// A field that is none of this role's.
    #[error("{path}: `{field}` is not for a {role}, only for a {only}", role = role.word(), only = only.word())]
    Stray {
        /// The file.
        path: PathBuf,
        /// The role configured.
        role: Role,
        /// The field that is too much.
        field: &'static str,
        /// The role that may have it.
        only: Role,
    },
    /// Two places of the root key.
    #[error(
        "{0}: `root_key` and `sealed_root`: a host has its root key from one place; remove the other line"
    )]
    TwoRoots(PathBuf),
    /// A host that waits for shares, and nobody could give it any.
    #[error(
        "{0}: `sealed_root` without `admin_listen`: this host would wait for shares of its root key where nobody can give it any; name an address that the operator reaches"
    )]
    NobodyUnseals(PathBuf),
    /// A bound that makes no sense beside another.
    #[error("{0}: {1}")]
    Limits(PathBuf, BadLimits),
}

impl NodeConfig {
    /// Reads the text of a `node.toml`, checking its syntax only.
    ///
    /// # Errors
    /// The parser's words: where, and what was expected.
    pub fn parse(text: &str) -> Result<NodeConfig, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// Reads and checks a configuration; paths in the result are resolved against its directory.
    ///
    /// # Errors
    /// [`ConfigError`] says what to mend.
    pub fn load(disk: &dyn Disk, path: &Path) -> Result<NodeConfig, ConfigError> {
        let bytes = disk
            .read(path)
            .map_err(|error| ConfigError::Read(path.into(), error))?
            .ok_or_else(|| ConfigError::Missing(path.into()))?;
        let text =
            String::from_utf8(bytes).map_err(|_| ConfigError::Syntax(path.into(), "not UTF-8".to_owned()))?;
        let mut config = NodeConfig::parse(&text).map_err(|error| ConfigError::Syntax(path.into(), error))?;
        config.check(path)?;
        let dir = path.parent().unwrap_or(Path::new("")).to_path_buf();
        for field in [&mut config.data_dir, &mut config.cert, &mut config.key, &mut config.node_ca] {
            *field = dir.join(&*field);
        }
        let NodeConfig { access_ca, root_key, sealed_root, operator_cert, backup_key, witness, .. } =
            &mut config;
        for field in
            [access_ca, root_key, sealed_root, operator_cert, backup_key, witness].into_iter().flatten()
        {
            *field = dir.join(&*field);
        }
        if let Some(Forward::File(file)) = config.audit.as_mut().and_then(|audit| audit.forward.as_mut()) {
            *file = dir.join(&*file);
        }
        for store in &mut config.backups {
            match &mut store.at {
                StoreAt::Directory(directory) => *directory = dir.join(&*directory),
                StoreAt::S3(s3) => {
                    s3.secret_file = dir.join(&s3.secret_file);
                    s3.ca = s3.ca.take().map(|ca| dir.join(ca));
                }
            }
        }
        Ok(config)
    }

    /// The region's witness, if this process is that too.
    ///
    /// # Errors
    /// As [`NodeConfig::load`]; [`ConfigError::Witness`] if it is another node, or one of another region.
    pub fn witness_within(&self, disk: &dyn Disk) -> Result<Option<NodeConfig>, ConfigError> {
        let Some(path) = &self.witness else { return Ok(None) };
        let witness = NodeConfig::load(disk, path)?;
        let wrong = |why: String| Err(ConfigError::Witness(path.clone(), why));
        if witness.role != Role::Witness {
            return wrong(format!(
                "this is the configuration of a {}, not of a witness",
                witness.role.word()
            ));
        }
        if witness.region != self.region {
            return wrong(format!(
                "the witness of {}, and the replica is one of {}",
                witness.region, self.region
            ));
        }
        Ok(Some(witness))
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        self.limits.check().map_err(|error| ConfigError::Limits(path.into(), error))?;
        let needs = |present: bool, field: &'static str| {
            if present {
                Ok(())
            } else {
                Err(ConfigError::Needs { path: path.into(), role: self.role, field })
            }
        };
        self.check_of_replicas(path)?;
        if self.role != Role::Host && self.admin_listen.is_some() {
            let (field, only) = ("admin_listen", Role::Host);
            return Err(ConfigError::Stray { path: path.into(), role: self.role, field, only });
        }
        self.check_of_hosts(path)?;
        match self.role {
            Role::Host => {
                needs(self.zone.is_some(), "zone")?;
                needs(self.rest_listen.is_some(), "rest_listen")?;
                needs(self.access_ca.is_some(), "access_ca")?;
                needs(self.root_key.is_some() || self.sealed_root.is_some(), "root_key")?;
                if self.root_key.is_some() && self.sealed_root.is_some() {
                    return Err(ConfigError::TwoRoots(path.into()));
                }
                if self.sealed_root.is_some() && self.admin_listen.is_none() {
                    return Err(ConfigError::NobodyUnseals(path.into()));
                }
                needs(self.peers.head.is_some(), "peers.head")?;
                needs(self.peers.tail.is_some(), "peers.tail")
            }
            Role::Database => {
                needs(self.zone.is_some(), "zone")?;
                needs(self.listen.is_some(), "listen")?;
                needs(self.operator_cert.is_some(), "operator_cert")?;
                needs(self.peers.witness.is_some(), "peers.witness")?;
                match self.zone {
                    Some(Zone::A) => needs(self.peers.tail.is_some(), "peers.tail"),
                    _ => needs(self.peers.head.is_some(), "peers.head"),
                }
            }
            Role::Witness => {
                needs(self.listen.is_some(), "listen")?;
                needs(self.operator_cert.is_some(), "operator_cert")
            }
            Role::Replica => {
                needs(self.listen.is_some(), "listen")?;
                needs(self.operator_cert.is_some(), "operator_cert")?;
                needs(self.peers.head.is_some(), "peers.head")?;
                needs(self.peers.tail.is_some(), "peers.tail")?;
                match &self.place {
                    None => needs(false, "place"),
                    Some(place) => {
                        check_replica(&self.region, place).map_err(|why| ConfigError::Place(path.into(), why))
                    }
                }
            }
            Role::Entry => {
                needs(self.rest_listen.is_some(), "rest_listen")?;
                needs(!self.peers.hosts.is_empty(), "peers.hosts")
            }
        }
    }

    /// Only a host has requests to record.
    fn check_of_hosts(&self, path: &Path) -> Result<(), ConfigError> {
        match &self.audit {
            None => Ok(()),
            Some(audit) if self.role == Role::Host => {
                audit.check().map_err(|why| ConfigError::Audit(path.into(), why))
            }
            Some(_) => Err(ConfigError::Stray {
                path: path.into(),
                role: self.role,
                field: "audit",
                only: Role::Host,
            }),
        }
    }

    /// Only a replica makes backups, and only into two stores that survive the region; only a replica has the witness in its process.
    fn check_of_replicas(&self, path: &Path) -> Result<(), ConfigError> {
        if self.role != Role::Replica {
            let given = [
                ("backup_key", self.backup_key.is_some()),
                ("backups", !self.backups.is_empty()),
                ("witness", self.witness.is_some()),
            ];
            let stray = given.into_iter().find(|(_, given)| *given);
            return stray.map_or(Ok(()), |(field, _)| {
                Err(ConfigError::Stray { path: path.into(), role: self.role, field, only: Role::Replica })
            });
        }
        if self.backups.is_empty() {
            return Ok(());
        }
        let places: Vec<&str> = self.backups.iter().map(|store| store.region.as_str()).collect();
        check_backups(&self.region, &places).map_err(|why| ConfigError::Backups(path.into(), why))?;
        if self.backup_key.is_none() {
            return Err(ConfigError::Needs { path: path.into(), role: self.role, field: "backup_key" });
        }
        Ok(())
    }
}
