//! Plans a region: draws identifiers and keys, issues certificates, writes the text of every file. Touches
//! no disk.

use super::{
    BACKUP_KEY_FILE, Bundle, ClientIdentity, DATA_DIR, FileSpec, InitError, NODE_FILE, NodeBundle,
    REPLICA_ID, ROOT_KEY_FILE, RegionSpec, SEALED_ROOT_FILE, SHARES_DIR, WITNESS_ID,
    certificates::{Authority, Issued},
    layout::{self, Place},
};
use crate::{
    backup::BackupKey,
    config::{AuditConfig, NodeConfig, Peers, Role, Zone},
    crypto::OperatorKey,
    env::{Env, Purpose},
    operator::OperatorConfig,
    store::{
        epoch::{DbId, Epoch, EpochRecord, Identity, Registered, Statement},
        log::Position,
        witness::Known,
    },
    vault::{
        RootKey, new_domain_key,
        unseal::{UnsealError, UnsealKey, UnsealShare, share_file},
    },
    wire::identity::{Peer, PeerRole},
};
use std::path::Path;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Plans a region; writes nothing.
///
/// # Errors
/// [`InitError`] says what is wrong with the specification, or what failed.
pub fn plan_region(env: &Env, spec: &RegionSpec) -> Result<Bundle, InitError> {
    layout::check(spec)?;
    let places = layout::places(spec)?;
    let access_ca = Authority::new(env, &format!("{} access CA", spec.region))?;
    let node_ca = Authority::new(env, &format!("{} node CA", spec.region))?;
    let root = RootKey::generate(env).map_err(InitError::Entropy)?;
    let shared_root = spec.shares.map(|split| shared_root(env, &root, split)).transpose()?;
    let (sealed_root, shares) = shared_root.unzip();
    let domains = (0..spec.domains).map(|_| random_uuid(env)).collect::<Result<Vec<_>, _>>()?;
    let keyring = domains
        .iter()
        .map(|domain| Ok((*domain, new_domain_key(env, &root, *domain)?)))
        .collect::<Result<Vec<_>, std::io::Error>>()
        .map_err(InitError::Entropy)?;
    let backup_key = spec.replica.as_ref().map(|_| BackupKey::generate(env)).transpose();
    let backup_key = backup_key.map_err(InitError::Entropy)?.map(|key| key.file());
    let region = Region { env, spec, places: &places, node_ca: &node_ca };
    let operator = region.operator_certificate()?;
    let shared = Shared {
        access_ca_pem: &access_ca.own.cert_pem,
        operator_pem: &operator.cert_pem,
        root_file: root.file(),
        sealed_root,
        shares: shares.unwrap_or_default(),
        keyring: &keyring,
        backup_file: backup_key,
        epoch: first_epoch(env, &spec.region, &operator.key_pem)?,
    };
    let nodes = places.iter().map(|place| region.node(place, &shared)).collect::<Result<Vec<_>, _>>()?;
    let mut clients = Vec::new();
    for domain in &domains {
        for _ in 0..spec.clients {
            let issued = access_ca.client(env, *domain)?;
            clients.push(ClientIdentity {
                domain: *domain,
                name: format!("client-{}", clients.len() + 1),
                cert_pem: issued.cert_pem,
                key_pem: issued.key_pem,
            });
        }
    }
    Ok(Bundle {
        nodes,
        operator: region.operator(&operator, &access_ca, &shared)?,
        clients,
        ca_pem: node_ca.own.cert_pem.clone(),
        domains,
        endpoint: region.address(Role::Entry, None),
    })
}

/// The root key sealed, and the shares that unseal it.
fn shared_root(
    env: &Env,
    root: &RootKey,
    (threshold, count): (u8, u8),
) -> Result<(String, Vec<Zeroizing<String>>), InitError> {
    let wrong = |error: UnsealError| match error {
        UnsealError::Entropy(error) => InitError::Entropy(error),
        error => InitError::Spec(error.to_string()),
    };
    let key = UnsealKey::generate(env, threshold, count).map_err(wrong)?;
    let sealed = key.seal(env, root).map_err(InitError::Entropy)?;
    let shares = key.split(env).map_err(wrong)?;
    Ok((sealed.file(), shares.iter().map(UnsealShare::line).collect()))
}

fn random_id(env: &Env) -> Result<[u8; 16], InitError> {
    env.random(Purpose::Public).map_err(InitError::Entropy)
}

fn random_uuid(env: &Env) -> Result<Uuid, InitError> {
    Ok(uuid::Builder::from_random_bytes(random_id(env)?).into_uuid())
}

/// The region's first epoch, signed by its operator like every other one.
fn first_epoch(env: &Env, region: &str, operator_key_pem: &str) -> Result<Known, InitError> {
    let key = OperatorKey::from_pem(operator_key_pem.as_bytes())
        .map_err(|error| InitError::Certificate(error.to_string()))?;
    let members = [DbId(random_id(env)?), DbId(random_id(env)?)];
    let epoch = Epoch { no: 1, id: random_id(env)? };
    let record = EpochRecord {
        epoch,
        previous: Epoch { no: 0, id: [0; 16] },
        source: members[0],
        target: members[1],
        members,
        witness: random_id(env)?,
    };
    let made_ms = u64::try_from(env.clock.wall().as_millis()).unwrap_or(0);
    let signed = Statement::Epoch(record).sign(&key, region, made_ms);
    let activation = Statement::Active(epoch, Position::ORIGIN).sign(&key, region, made_ms);
    let active = Registered { record, signed };
    Ok(Known { witness: record.witness, active, activation, pending: None, replaced: None })
}

/// What several nodes are given.
struct Shared<'a> {
    access_ca_pem: &'a str,
    root_file: Zeroizing<Vec<u8>>,
    /// Instead of the root key, of a region that is unsealed by shares.
    sealed_root: Option<String>,
    shares: Vec<Zeroizing<String>>,
    keyring: &'a [(Uuid, Vec<u8>)],
    /// Of a region with a replica.
    backup_file: Option<Zeroizing<Vec<u8>>>,
    operator_pem: &'a str,
    epoch: Known,
}

struct Region<'a> {
    env: &'a Env,
    spec: &'a RegionSpec,
    places: &'a [Place],
    node_ca: &'a Authority,
}

impl Region<'_> {
    fn addresses(&self, role: Role, zone: Option<Zone>) -> impl Iterator<Item = String> {
        self.places
            .iter()
            .filter(move |place| place.role == role && (zone.is_none() || place.zone == zone))
            .map(|place| place.address.to_string())
    }

    /// The address of the only node of that role and zone.
    fn address(&self, role: Role, zone: Option<Zone>) -> String {
        self.addresses(role, zone).next().unwrap_or_default()
    }

    /// Where hosts are administered. On machines of their own, they may all be called the same there.
    fn admin_addresses(&self) -> Vec<String> {
        let mut addresses: Vec<String> =
            self.places.iter().filter_map(|place| place.admin).map(|address| address.to_string()).collect();
        addresses.dedup();
        addresses
    }

    fn node(&self, place: &Place, shared: &Shared<'_>) -> Result<NodeBundle, InitError> {
        let peer = Peer {
            role: match place.role {
                Role::Host => PeerRole::Host,
                Role::Database => PeerRole::Database,
                Role::Entry => PeerRole::Entry,
                Role::Witness => PeerRole::Witness,
                Role::Replica => PeerRole::Replica,
            },
            region: self.spec.region.clone(),
            zone: place.zone,
            node_id: place.node_id.clone(),
        };
        let own = self.node_ca.node(self.env, &peer.to_string(), &self.names(place))?;
        let config = toml::to_string_pretty(&self.config(place))
            .map_err(|error| InitError::Configuration(error.to_string()))?;
        let mut files = vec![
            FileSpec::public("node.crt", own.cert_pem),
            FileSpec::private("node.key", own.key_pem),
            FileSpec::public("node-ca.crt", self.node_ca.own.cert_pem.as_bytes()),
        ];
        if place.role == Role::Host {
            files.push(FileSpec::public("access-ca.crt", shared.access_ca_pem));
            files.push(match &shared.sealed_root {
                Some(sealed) => FileSpec::private(SEALED_ROOT_FILE, sealed.as_bytes()),
                None => FileSpec::private(ROOT_KEY_FILE, shared.root_file.as_slice()),
            });
        }
        if matches!(place.role, Role::Database | Role::Witness | Role::Replica) {
            files.push(FileSpec::public("operator.crt", shared.operator_pem));
        }
        if let Some(backup) = shared.backup_file.as_ref().filter(|_| place.role == Role::Replica) {
            files.push(FileSpec::private(BACKUP_KEY_FILE, backup.as_slice()));
        }
        // Last: a directory without it is not a node.
        files.push(FileSpec::public(NODE_FILE, config));
        let database = place.role == Role::Database;
        let (epoch, activation) = (&shared.epoch.active, &shared.epoch.activation);
        let identity =
            || Identity::genesis(&self.spec.region, place.zone == Some(Zone::A), epoch, activation);
        Ok(NodeBundle {
            node_id: place.node_id.clone(),
            role: place.role,
            zone: place.zone,
            files,
            within: (self.spec.witness_with_replica && place.role == Role::Witness)
                .then(|| REPLICA_ID.to_owned()),
            genesis: database.then(identity),
            witness: (place.role == Role::Witness).then(|| shared.epoch.out(&self.spec.region)),
            keyring: if database { shared.keyring.to_vec() } else { Vec::new() },
        })
    }

    /// What REST clients call a host: itself, the entry in front of it, and what the specification adds.
    fn names(&self, place: &Place) -> Vec<String> {
        if place.role != Role::Host {
            return Vec::new();
        }
        let entry = self.places.iter().filter(|other| other.role == Role::Entry);
        let mut names: Vec<String> = entry.chain([place]).map(|node| node.address.ip().to_string()).collect();
        if place.address.ip().is_loopback() {
            names.push("localhost".to_owned());
        }
        names.extend(self.spec.names.iter().cloned());
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    fn config(&self, place: &Place) -> NodeConfig {
        let (host, replica) = (place.role == Role::Host, place.role == Role::Replica);
        let address = place.address.to_string();
        let (listen, rest_listen) = match place.role {
            Role::Database | Role::Witness | Role::Replica => (Some(address), None),
            Role::Host | Role::Entry => (None, Some(address)),
        };
        let head = self.address(Role::Database, Some(Zone::A));
        let tail = self.address(Role::Database, Some(Zone::B));
        let witness = self.address(Role::Witness, None);
        let third = self.addresses(Role::Replica, None).next();
        let with_operator = matches!(place.role, Role::Database | Role::Witness | Role::Replica);
        let peers = match (place.role, place.zone) {
            (Role::Host, _) => Peers { head: Some(head), tail: Some(tail), ..Peers::default() },
            // The replica is what they are made of if the region is lost (R17).
            (Role::Database, Some(Zone::A)) => {
                Peers { tail: Some(tail), witness: Some(witness), replica: third, ..Peers::default() }
            }
            (Role::Database, _) => {
                Peers { head: Some(head), witness: Some(witness), replica: third, ..Peers::default() }
            }
            (Role::Witness, _) => Peers::default(),
            (Role::Replica, _) => {
                Peers { head: Some(head), tail: Some(tail), witness: Some(witness), ..Peers::default() }
            }
            (Role::Entry, _) => {
                Peers { hosts: self.addresses(Role::Host, None).collect(), ..Peers::default() }
            }
        };
        NodeConfig {
            role: place.role,
            region: self.spec.region.clone(),
            zone: place.zone,
            place: self.spec.replica.clone().filter(|_| replica),
            node_id: place.node_id.clone(),
            data_dir: DATA_DIR.into(),
            listen,
            rest_listen,
            admin_listen: place.admin.map(|address| address.to_string()),
            metrics_listen: None,
            cert: "node.crt".into(),
            key: "node.key".into(),
            node_ca: "node-ca.crt".into(),
            access_ca: host.then(|| "access-ca.crt".into()),
            operator_cert: with_operator.then(|| "operator.crt".into()),
            root_key: (host && self.spec.shares.is_none()).then(|| ROOT_KEY_FILE.into()),
            sealed_root: (host && self.spec.shares.is_some()).then(|| SEALED_ROOT_FILE.into()),
            backup_key: replica.then(|| BACKUP_KEY_FILE.into()),
            witness: (self.spec.witness_with_replica && replica)
                .then(|| [WITNESS_ID, NODE_FILE].iter().collect()),
            peers,
            backups: self.spec.backups.iter().filter(|_| replica).flatten().cloned().collect(),
            audit: host.then(|| AuditConfig { enabled: self.spec.audit, ..AuditConfig::default() }),
            limits: self.spec.limits.clone(),
        }
    }

    fn operator_certificate(&self) -> Result<Issued, InitError> {
        let peer = Peer {
            role: PeerRole::Operator,
            region: self.spec.region.clone(),
            zone: None,
            node_id: "operator".to_owned(),
        };
        self.node_ca.operator(self.env, &peer.to_string())
    }

    /// The CAs' private keys are here and nowhere else: no node needs them.
    fn operator(
        &self,
        own: &Issued,
        access_ca: &Authority,
        shared: &Shared<'_>,
    ) -> Result<Vec<FileSpec>, InitError> {
        let config = OperatorConfig {
            region: self.spec.region.clone(),
            cert: "operator.crt".into(),
            key: "operator.key".into(),
            node_ca: "node-ca.crt".into(),
            head: self.address(Role::Database, Some(Zone::A)),
            tail: self.address(Role::Database, Some(Zone::B)),
            witness: self.address(Role::Witness, None),
            replica: self.addresses(Role::Replica, None).next(),
            hosts: self.addresses(Role::Host, None).collect(),
            entry: self.address(Role::Entry, None),
            admin: self.admin_addresses(),
        };
        let config =
            toml::to_string_pretty(&config).map_err(|error| InitError::Configuration(error.to_string()))?;
        let mut files = vec![
            FileSpec::public("operator.crt", own.cert_pem.as_bytes()),
            FileSpec::private("operator.key", own.key_pem.as_bytes()),
            FileSpec::public("node-ca.crt", self.node_ca.own.cert_pem.as_bytes()),
            FileSpec::private("node-ca.key", self.node_ca.own.key_pem.as_bytes()),
            FileSpec::public("access-ca.crt", access_ca.own.cert_pem.as_bytes()),
            FileSpec::private("access-ca.key", access_ca.own.key_pem.as_bytes()),
            FileSpec::public("operator.toml", config),
        ];
        for (number, share) in (1..).zip(&shared.shares) {
            files.push(FileSpec::private(Path::new(SHARES_DIR).join(share_file(number)), share.as_bytes()));
        }
        // What opens the backups must survive the replica.
        files.extend(
            shared.backup_file.as_ref().map(|key| FileSpec::private(BACKUP_KEY_FILE, key.as_slice())),
        );
        Ok(files)
    }
}
