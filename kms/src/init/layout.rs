//! Names, places and addresses of a region's nodes.

use super::{
    ADMIN_PORT, Addresses, AdminAt, HOSTS_PER_ZONE_MAX, IDENTITIES_MAX, InitError, NODE_PORT, REPLICA_ID,
    REST_PORT, RegionSpec, WITNESS_ID, WITNESS_PORT,
};
use crate::{
    config::{Role, Zone},
    places::{check_backups, check_replica},
};
use std::net::{IpAddr, SocketAddr};

/// One node before anything was drawn.
pub(super) struct Place {
    pub(super) node_id: String,
    pub(super) role: Role,
    pub(super) zone: Option<Zone>,
    pub(super) address: SocketAddr,
    /// Of a host's administration.
    pub(super) admin: Option<SocketAddr>,
}

/// Checks the numbers of a specification.
pub(super) fn check(spec: &RegionSpec) -> Result<(), InitError> {
    let wrong = |text: String| Err(InitError::Spec(text));
    let name_ok = |name: &str| {
        !name.is_empty()
            && name.len() <= 63
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if !name_ok(&spec.region) {
        return wrong(format!(
            "region {:?}: use lower-case letters, digits and `-`, such as eu-west-rbx",
            spec.region
        ));
    }
    if !(1..=HOSTS_PER_ZONE_MAX).contains(&spec.hosts_per_zone) {
        return wrong(format!("hosts per zone must be between 1 and {HOSTS_PER_ZONE_MAX}"));
    }
    if !(1..=IDENTITIES_MAX).contains(&spec.domains) || spec.clients > IDENTITIES_MAX {
        return wrong(format!(
            "domains must be between 1 and {IDENTITIES_MAX}, clients at most {IDENTITIES_MAX}"
        ));
    }
    if let Some(place) = &spec.replica {
        if !name_ok(place) {
            return wrong(format!("region of the replica {place:?}: use a region id such as eu-west-sbg"));
        }
        check_replica(&spec.region, place).map_err(InitError::Spec)?;
    }
    if spec.witness_with_replica && spec.replica.is_none() {
        return wrong(
            "the witness cannot be part of the replica's process: this region has no replica".to_owned(),
        );
    }
    if let Some([one, other]) = &spec.backups {
        if spec.replica.is_none() {
            return wrong("backups are made by the replica: a region without one has none".to_owned());
        }
        if let Some(bad) = [one, other].into_iter().find(|store| !name_ok(&store.region)) {
            return wrong(format!(
                "region of a backup store {:?}: use a region id such as eu-west-gra",
                bad.region
            ));
        }
        check_backups(&spec.region, &[&one.region, &other.region]).map_err(InitError::Spec)?;
    }
    spec.limits.check().map_err(|error| InitError::Spec(error.to_string()))
}

/// All nodes: databases, hosts (zones in turn, so that a list of them alternates), the witness, the replica if there is
/// one, the entry.
pub(super) fn places(spec: &RegionSpec) -> Result<Vec<Place>, InitError> {
    let mut nodes = vec![
        ("db-a".to_owned(), Role::Database, Some(Zone::A)),
        ("db-b".to_owned(), Role::Database, Some(Zone::B)),
    ];
    for number in 1..=spec.hosts_per_zone {
        for zone in [Zone::A, Zone::B] {
            nodes.push((format!("host-{}{number}", zone.word()), Role::Host, Some(zone)));
        }
    }
    nodes.push((WITNESS_ID.to_owned(), Role::Witness, None));
    if spec.replica.is_some() {
        nodes.push((REPLICA_ID.to_owned(), Role::Replica, None));
    }
    nodes.push(("entry".to_owned(), Role::Entry, None));
    if let Addresses::PerNode(given) = &spec.addresses
        && let Some(stranger) = given.keys().find(|id| !nodes.iter().any(|(node_id, ..)| node_id == *id))
    {
        let known: Vec<&str> = nodes.iter().map(|(node_id, ..)| node_id.as_str()).collect();
        return Err(InitError::Spec(format!("no node {stranger}; the nodes are {}", known.join(", "))));
    }
    let many = nodes.len();
    let mut hosts = 0;
    nodes
        .into_iter()
        .enumerate()
        .map(|(index, (node_id, role, zone))| {
            let address = address(spec, index, &node_id, role)?;
            let admin = match role {
                Role::Host => Some(admin(spec, many + hosts, address)?),
                _ => None,
            };
            hosts += usize::from(admin.is_some());
            Ok(Place { node_id, role, zone, address, admin })
        })
        .collect()
}

/// Where a host is administered. Where all nodes are on one machine, the ports after those of all nodes are for that.
fn admin(spec: &RegionSpec, index: usize, own: SocketAddr) -> Result<SocketAddr, InitError> {
    match (&spec.addresses, spec.admin) {
        (Addresses::Loopback { rest_port, node_port }, _) => on_loopback(*rest_port, *node_port, index),
        (Addresses::PerNode(_), AdminAt::Loopback) => Ok(loopback(ADMIN_PORT)),
        (Addresses::PerNode(_), AdminAt::Node) => Ok(SocketAddr::new(own.ip(), ADMIN_PORT)),
    }
}

/// The port of a number.
fn on_loopback(rest_port: u16, node_port: u16, index: usize) -> Result<SocketAddr, InitError> {
    u16::try_from(index)
        .ok()
        .and_then(|index| node_port.checked_add(index))
        .filter(|port| *port != rest_port)
        .map(loopback)
        .ok_or_else(|| {
            InitError::Spec(format!(
                "not enough ports from {node_port} upwards beside {rest_port}: choose other ports"
            ))
        })
}

fn address(spec: &RegionSpec, index: usize, node_id: &str, role: Role) -> Result<SocketAddr, InitError> {
    let within = spec.witness_with_replica && role == Role::Witness;
    match &spec.addresses {
        Addresses::Loopback { rest_port, .. } if role == Role::Entry => Ok(loopback(*rest_port)),
        Addresses::Loopback { rest_port, node_port } => on_loopback(*rest_port, *node_port, index),
        Addresses::PerNode(given) => {
            if within && given.contains_key(node_id) {
                return Err(InitError::Spec(
                    "the witness is part of the replica's process, on its machine: give no address for it, or make it a process \
                     of its own (--witness-apart)"
                        .to_owned(),
                ));
            }
            let machine = if within { REPLICA_ID } else { node_id };
            let text = given.get(machine).ok_or_else(|| {
                InitError::Spec(format!("no address for {machine}: give one as {machine}=IP"))
            })?;
            let ip: IpAddr = text
                .parse()
                .map_err(|_| InitError::Spec(format!("address of {machine} is not an IP address: {text}")))?;
            Ok(SocketAddr::new(
                ip,
                match role {
                    Role::Witness if within => WITNESS_PORT,
                    Role::Database | Role::Witness | Role::Replica => NODE_PORT,
                    Role::Host | Role::Entry => REST_PORT,
                },
            ))
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
