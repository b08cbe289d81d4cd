//! Plans a region: draws identifiers and keys, issues certificates, writes the text of every file. Touches
//! no disk.

use super::{
    Bundle, ClientIdentity, DATA_DIR, FileSpec, InitError, NODE_FILE, NodeBundle, RegionSpec,
    certificates::Authority,
    layout::{self, Place},
};
use crate::{
    config::{NodeConfig, Peers, Role, Zone},
    env::{Env, Purpose},
    operator::OperatorConfig,
    store::Genesis,
    vault::{RootKey, new_domain_key},
    wire::identity::{Peer, PeerRole},
};
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
    let domains = (0..spec.domains).map(|_| random_uuid(env)).collect::<Result<Vec<_>, _>>()?;
    let keyring = domains
        .iter()
        .map(|domain| Ok((*domain, new_domain_key(env, &root, *domain)?)))
        .collect::<Result<Vec<_>, std::io::Error>>()
        .map_err(InitError::Entropy)?;
    let region = Region { env, spec, places: &places, node_ca: &node_ca };
    let epoch = Epoch { id: random_id(env)?, members: [random_id(env)?, random_id(env)?] };
    let shared = Shared {
        access_ca_pem: &access_ca.own.cert_pem,
        root_file: root.file(),
        keyring: &keyring,
        epoch: &epoch,
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
        operator: region.operator(&access_ca)?,
        clients,
        ca_pem: node_ca.own.cert_pem.clone(),
        domains,
        endpoint: region.address(Role::Entry, None),
    })
}

fn random_id(env: &Env) -> Result<[u8; 16], InitError> {
    env.random(Purpose::Public).map_err(InitError::Entropy)
}

fn random_uuid(env: &Env) -> Result<Uuid, InitError> {
    Ok(uuid::Builder::from_random_bytes(random_id(env)?).into_uuid())
}

/// What both databases begin with.
struct Epoch {
    id: [u8; 16],
    /// Head, tail.
    members: [[u8; 16]; 2],
}

/// What several nodes are given.
struct Shared<'a> {
    access_ca_pem: &'a str,
    root_file: Zeroizing<Vec<u8>>,
    keyring: &'a [(Uuid, Vec<u8>)],
    epoch: &'a Epoch,
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

    fn node(&self, place: &Place, shared: &Shared<'_>) -> Result<NodeBundle, InitError> {
        let peer = Peer {
            role: match place.role {
                Role::Host => PeerRole::Host,
                Role::Database => PeerRole::Database,
                Role::Entry => PeerRole::Entry,
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
            files.push(FileSpec::private("root.key", shared.root_file.as_slice()));
        }
        // Last: a directory without it is not a node.
        files.push(FileSpec::public(NODE_FILE, config));
        let database = place.role == Role::Database;
        Ok(NodeBundle {
            node_id: place.node_id.clone(),
            role: place.role,
            zone: place.zone,
            files,
            genesis: database.then(|| self.genesis(place.zone == Some(Zone::A), shared.epoch)),
            keyring: if database { shared.keyring.to_vec() } else { Vec::new() },
        })
    }

    fn genesis(&self, head: bool, epoch: &Epoch) -> Genesis {
        Genesis {
            region: self.spec.region.clone(),
            db_id: epoch.members[usize::from(!head)],
            head,
            epoch_no: 1,
            epoch_id: epoch.id,
            members: epoch.members,
        }
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
        let host = place.role == Role::Host;
        let address = place.address.to_string();
        let (listen, rest_listen) = match place.role {
            Role::Database => (Some(address), None),
            Role::Host | Role::Entry => (None, Some(address)),
        };
        let head = self.address(Role::Database, Some(Zone::A));
        let tail = self.address(Role::Database, Some(Zone::B));
        let peers = match (place.role, place.zone) {
            (Role::Host, _) => Peers { head: Some(head), tail: Some(tail), ..Peers::default() },
            (Role::Database, Some(Zone::A)) => Peers { tail: Some(tail), ..Peers::default() },
            (Role::Database, _) => Peers { head: Some(head), ..Peers::default() },
            (Role::Entry, _) => {
                Peers { hosts: self.addresses(Role::Host, None).collect(), ..Peers::default() }
            }
        };
        NodeConfig {
            role: place.role,
            region: self.spec.region.clone(),
            zone: place.zone,
            node_id: place.node_id.clone(),
            data_dir: DATA_DIR.into(),
            listen,
            rest_listen,
            cert: "node.crt".into(),
            key: "node.key".into(),
            node_ca: "node-ca.crt".into(),
            access_ca: host.then(|| "access-ca.crt".into()),
            root_key: host.then(|| "root.key".into()),
            peers,
            limits: self.spec.limits.clone(),
        }
    }

    /// The CAs' private keys are here and nowhere else: no node needs them.
    fn operator(&self, access_ca: &Authority) -> Result<Vec<FileSpec>, InitError> {
        let peer = Peer {
            role: PeerRole::Operator,
            region: self.spec.region.clone(),
            zone: None,
            node_id: "operator".to_owned(),
        };
        let own = self.node_ca.operator(self.env, &peer.to_string())?;
        let config = OperatorConfig {
            region: self.spec.region.clone(),
            cert: "operator.crt".into(),
            key: "operator.key".into(),
            node_ca: "node-ca.crt".into(),
            head: self.address(Role::Database, Some(Zone::A)),
            tail: self.address(Role::Database, Some(Zone::B)),
            hosts: self.addresses(Role::Host, None).collect(),
            entry: self.address(Role::Entry, None),
        };
        let config =
            toml::to_string_pretty(&config).map_err(|error| InitError::Configuration(error.to_string()))?;
        Ok(vec![
            FileSpec::public("operator.crt", own.cert_pem),
            FileSpec::private("operator.key", own.key_pem),
            FileSpec::public("node-ca.crt", self.node_ca.own.cert_pem.as_bytes()),
            FileSpec::private("node-ca.key", self.node_ca.own.key_pem.as_bytes()),
            FileSpec::public("access-ca.crt", access_ca.own.cert_pem.as_bytes()),
            FileSpec::private("access-ca.key", access_ca.own.key_pem.as_bytes()),
            FileSpec::public("operator.toml", config),
        ])
    }
}
