//! Targets of faults: `node:db-a`, `zone:any`, `link:zones`, ... Refuses words outside the vocabulary. A zone
//! is its database and its hosts, never the entry or clients.

use super::{FaultKind, StoreTarget};
use crate::dice::Dice;
use kms::config::Zone;
use serde::{Deserialize, Deserializer, de::Error};

/// What a fault is done to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Nodes.
    Nodes(NodeTarget),
    /// Links.
    Links(LinkTarget),
    /// Backup stores.
    Stores(StoreTarget),
}

/// Nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeTarget {
    /// `node:NAME`.
    Named(String),
    /// `nodes:all`: databases and hosts of both zones.
    All,
    /// `nodes:region-and-replica`: those, and the replica.
    RegionAndReplica,
    /// `zone:a|b|any`.
    Zone(Option<Zone>),
    /// `zone:both`.
    BothZones,
    /// `host:any|a|b`: one host.
    Host(Option<Zone>),
    /// `hosts:all`.
    Hosts,
    /// `database:any|a|b`.
    Database(Option<Zone>),
    /// `database:both`.
    Databases,
}

/// Links, as pairs of a node on zone a's side and one on zone b's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkTarget {
    /// `link:zones`: every node of zone a with every node of zone b.
    Zones,
    /// `link:databases`: head and tail.
    Databases,
    /// `link:host-far`: one drawn host with the other zone's database.
    HostFar,
    /// `link:host-near`: one drawn host with its own zone's database.
    HostNear,
    /// `link:host-databases`: one drawn host with both databases, which stand in for zone b's side.
    HostDatabases,
    /// `link:witness`: both databases with the witness, which stands in for zone b's side.
    Witness,
    /// `link:replica`: both databases with the replica, which stands in for zone b's side.
    Replica,
}

/// The nodes of a region, by place.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// Hosts in each zone.
    pub hosts_per_zone: u32,
    /// Whether there is a replica.
    pub replica: bool,
    /// The node that is the witness.
    pub witness: &'static str,
}

/// The node that is the witness.
pub const WITNESS: &str = "witness";
/// The node that is the third copy.
pub const REPLICA: &str = "replica";

/// The node that is the witness: one of its own, or the replica.
pub fn witness_of(with_replica: bool) -> &'static str {
    if with_replica { REPLICA } else { WITNESS }
}

const ZONES: [Zone; 2] = [Zone::A, Zone::B];

impl Places {
    /// The database of a zone.
    pub fn database(zone: Zone) -> String {
        format!("db-{}", zone.word())
    }

    /// The hosts of a zone.
    pub fn hosts(self, zone: Zone) -> Vec<String> {
        (1..=self.hosts_per_zone).map(|number| format!("host-{}{number}", zone.word())).collect()
    }

    /// Database and hosts of a zone.
    pub fn zone(self, zone: Zone) -> Vec<String> {
        let mut nodes = vec![Places::database(zone)];
        nodes.extend(self.hosts(zone));
        nodes
    }

    /// Every node of both zones.
    pub fn all(self) -> Vec<String> {
        ZONES.iter().flat_map(|zone| self.zone(*zone)).collect()
    }

    /// Every host.
    pub fn all_hosts(self) -> Vec<String> {
        ZONES.iter().flat_map(|zone| self.hosts(*zone)).collect()
    }
}

impl NodeTarget {
    /// The nodes meant, drawing where the target leaves a choice. `None` if there is no such node.
    pub fn draw(&self, places: Places, dice: &mut Dice) -> Option<Vec<String>> {
        let mut zone = |fixed: &Option<Zone>| fixed.or_else(|| dice.pick(&ZONES).copied());
        match self {
            NodeTarget::Named(name) if name == WITNESS => Some(vec![places.witness.to_owned()]),
            NodeTarget::Named(name) => {
                let known =
                    name == "entry" || places.replica && name == REPLICA || places.all().contains(name);
                known.then(|| vec![name.clone()])
            }
            NodeTarget::All | NodeTarget::BothZones => Some(places.all()),
            NodeTarget::RegionAndReplica => places.replica.then(|| {
                let mut nodes = places.all();
                nodes.push(REPLICA.to_owned());
                nodes
            }),
            NodeTarget::Zone(fixed) => Some(places.zone(zone(fixed)?)),
            NodeTarget::Host(fixed) => {
                let zone = zone(fixed)?;
                dice.pick(&places.hosts(zone)).map(|host| vec![host.clone()])
            }
            NodeTarget::Hosts => Some(places.all_hosts()),
            NodeTarget::Database(fixed) => Some(vec![Places::database(zone(fixed)?)]),
            NodeTarget::Databases => Some(ZONES.iter().map(|zone| Places::database(*zone)).collect()),
        }
    }
}

impl LinkTarget {
    /// Pairs (node on zone a's side, node on zone b's side).
    pub fn draw(self, places: Places, dice: &mut Dice) -> Vec<(String, String)> {
        let [a, b] = ZONES;
        match self {
            LinkTarget::Zones => places
                .zone(a)
                .into_iter()
                .flat_map(|from| places.zone(b).into_iter().map(move |to| (from.clone(), to)))
                .collect(),
            LinkTarget::Databases => vec![(Places::database(a), Places::database(b))],
            LinkTarget::Replica if !places.replica => Vec::new(),
            LinkTarget::Witness | LinkTarget::Replica => {
                let third = if self == LinkTarget::Witness { places.witness } else { REPLICA };
                ZONES.iter().map(|zone| (Places::database(*zone), third.to_owned())).collect()
            }
            LinkTarget::HostDatabases => {
                let Some(host) = dice.pick(&places.all_hosts()).cloned() else { return Vec::new() };
                ZONES.iter().map(|zone| (host.clone(), Places::database(*zone))).collect()
            }
            LinkTarget::HostFar | LinkTarget::HostNear => {
                let zone = if dice.chance(1, 2) { a } else { b };
                let Some(host) = dice.pick(&places.hosts(zone)).cloned() else { return Vec::new() };
                let near = self == LinkTarget::HostNear;
                let database = Places::database(if near == (zone == a) { a } else { b });
                vec![if zone == a { (host, database) } else { (database, host) }]
            }
        }
    }
}

impl Target {
    /// Whether a fault of this kind can be done to it.
    ///
    /// # Errors
    /// Says why not.
    pub fn fits(&self, kind: FaultKind) -> Result<(), String> {
        match self {
            Target::Stores(stores) => stores.fits(kind),
            _ if kind.of_stores() => Err(format!("{} is done to stores", kind.word())),
            Target::Links(_) if !kind.of_links() => {
                Err(format!("{} is done to nodes, not to links", kind.word()))
            }
            Target::Nodes(_) if kind.of_links() => {
                Err(format!("{} is done to links, not to nodes", kind.word()))
            }
            Target::Nodes(nodes) if kind == FaultKind::ReplaceWitness && !nodes.is_witness() => {
                Err("replace-witness is done to node:witness".to_owned())
            }
            Target::Nodes(nodes)
                if matches!(kind, FaultKind::TerminateDomain | FaultKind::CreateDomain)
                    && !matches!(nodes, NodeTarget::Database(Some(Zone::A))) =>
            {
                Err(format!("{} is done to database:a", kind.word()))
            }
            Target::Nodes(nodes) if kind == FaultKind::Seal && !nodes.are_hosts() => {
                Err("seal is done to hosts".to_owned())
            }
            Target::Nodes(nodes)
                if kind == FaultKind::RotateShares && !matches!(nodes, NodeTarget::Hosts) =>
            {
                Err("rotate-shares is done to hosts:all".to_owned())
            }
            Target::Nodes(nodes) if kind.restores() && !nodes.is_replica() => {
                Err(format!("{} is done to node:replica", kind.word()))
            }
            Target::Nodes(nodes) if kind == FaultKind::ReturnDisk && nodes.is_witness() => Ok(()),
            Target::Nodes(NodeTarget::Named(name))
                if name == REPLICA && matches!(kind, FaultKind::SlowDisk | FaultKind::FailSyncs) =>
            {
                Ok(())
            }
            Target::Nodes(nodes) if kind == FaultKind::FillDisk && !nodes.are_hosts() => {
                Err("fill-disk is done to hosts".to_owned())
            }
            Target::Nodes(nodes) if kind == FaultKind::FailSyncs && nodes.are_hosts() => Ok(()),
            Target::Nodes(nodes) if kind.of_disks() && !nodes.has_disks() => {
                Err(format!("{} is done to databases", kind.word()))
            }
            Target::Nodes(NodeTarget::Databases | NodeTarget::All | NodeTarget::BothZones)
                if kind == FaultKind::SwapRecords =>
            {
                Err("swap-records is done to one database: a good copy must remain".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn parse(text: &str) -> Option<Target> {
        let (class, which) = text.split_once(':')?;
        let zone = |which: &str| match which {
            "a" => Some(Some(Zone::A)),
            "b" => Some(Some(Zone::B)),
            "any" => Some(None),
            _ => None,
        };
        Some(match (class, which) {
            ("node", name) if !name.is_empty() => Target::Nodes(NodeTarget::Named(name.to_owned())),
            ("nodes", "all") => Target::Nodes(NodeTarget::All),
            ("nodes", "region-and-replica") => Target::Nodes(NodeTarget::RegionAndReplica),
            ("zone", "both") => Target::Nodes(NodeTarget::BothZones),
            ("zone", which) => Target::Nodes(NodeTarget::Zone(zone(which)?)),
            ("host", which) => Target::Nodes(NodeTarget::Host(zone(which)?)),
            ("hosts", "all") => Target::Nodes(NodeTarget::Hosts),
            ("database", "both") => Target::Nodes(NodeTarget::Databases),
            ("database", which) => Target::Nodes(NodeTarget::Database(zone(which)?)),
            ("link", "zones") => Target::Links(LinkTarget::Zones),
            ("link", "databases") => Target::Links(LinkTarget::Databases),
            ("link", "host-far") => Target::Links(LinkTarget::HostFar),
            ("link", "host-near") => Target::Links(LinkTarget::HostNear),
            ("link", "host-databases") => Target::Links(LinkTarget::HostDatabases),
            ("link", "witness") => Target::Links(LinkTarget::Witness),
            ("store", which) => Target::Stores(StoreTarget::parse(which)?),
            ("link", "replica") => Target::Links(LinkTarget::Replica),
            _ => return None,
        })
    }
}

impl NodeTarget {
    fn is_witness(&self) -> bool {
        matches!(self, NodeTarget::Named(name) if name == WITNESS)
    }

    fn is_replica(&self) -> bool {
        matches!(self, NodeTarget::Named(name) if name == REPLICA)
    }

    pub(super) fn are_hosts(&self) -> bool {
        match self {
            NodeTarget::Named(name) => name.starts_with("host-"),
            NodeTarget::Host(_) | NodeTarget::Hosts => true,
            _ => false,
        }
    }

    fn has_disks(&self) -> bool {
        match self {
            NodeTarget::Named(name) => name.starts_with("db-"),
            NodeTarget::Host(_) | NodeTarget::Hosts => false,
            _ => true,
        }
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Target, D::Error> {
        let text = String::deserialize(from)?;
        Target::parse(&text).ok_or_else(|| {
            D::Error::custom(format!("`{text}` is not a target (docs/scenario.md lists them)"))
        })
    }
}
