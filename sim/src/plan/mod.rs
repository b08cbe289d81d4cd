//! A plan: one run with all dice thrown. It prints as text, parses back equal, and can be written or changed
//! by hand (`scenarios/regressions/*.plan`). Refuses what is beyond the fault budget.

mod access;
mod budget;
mod draw;
mod draw_access;

pub use access::{AccessPlan, Bears, ChangePlan, ExhibitPlan, ISSUER, VisitorPlan};
pub use budget::OverBudget;

use crate::{
    actions::CutMode,
    check::FaultOf,
    history::Micros,
    scenario::{FaultKind, OpKind, Places, REPLICA, witness_of},
};
use kms::limits::Limits;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The database that an operator's orders about domains go to.
const HEAD: &str = "db-a";

/// One run. Times are microseconds; those of faults count from the start of the faults phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The scenario it was drawn from.
    pub scenario: String,
    /// The seed of everything that is not in the plan: scheduler, network, disks, entropy.
    #[serde(with = "seed_text")]
    pub seed: u64,
    /// Promises it is meant to exercise.
    pub promises: Vec<String>,
    /// The region.
    pub topology: TopologyPlan,
    /// Latencies.
    pub network: NetworkPlan,
    /// Wall clock error of each node at start, microseconds.
    pub clocks: BTreeMap<String, i64>,
    /// How much faster than true time each node's clocks run, parts per million.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drifts_ppm: BTreeMap<String, i64>,
    /// What clients do.
    pub load: LoadPlan,
    /// Phases.
    pub phases: PhasesPlan,
    /// Bounds of the service.
    pub limits: Limits,
    /// Who may do some of what they ask for, and what becomes of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessPlan>,
    /// Faults, by time of their start.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
}

/// The region's size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "as in the scenario, drawn")]
pub struct TopologyPlan {
    pub region: String,
    pub hosts_per_zone: u32,
    pub clients: u32,
    pub domains: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replica: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backups: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub witness_with_replica: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub audit: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shares: bool,
}

impl TopologyPlan {
    /// The node that is the witness.
    pub fn witness(&self) -> &'static str {
        witness_of(self.witness_with_replica)
    }

    /// The nodes by place.
    pub fn places(&self) -> Places {
        Places { hosts_per_zone: self.hosts_per_zone, replica: self.replica, witness: self.witness() }
    }

    /// The backup stores, by the regions they lie in, the first one first; none without backups.
    pub fn stores(&self) -> Vec<String> {
        let regions = kms::init::backup_regions(&self.region).filter(|_| self.backups);
        regions.into_iter().flatten().map(str::to_owned).collect()
    }
}

/// One-way latencies, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "as in the scenario, drawn")]
pub struct NetworkPlan {
    pub zone_us: Micros,
    pub zones_us: Micros,
    pub clients_us: Micros,
}

/// What clients do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadPlan {
    /// Operations per second of all clients together.
    pub rate_per_s: u32,
    /// Operations per hour instead.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rate_per_h: u32,
    /// Records written by several clients at a time.
    pub hot_records: u32,
    /// Share of operations that go to them, percent.
    pub hot_percent: u32,
    /// Share of keys that sign, percent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub signers_percent: u32,
    /// Share of operations on secrets, percent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub secrets_percent: u32,
    /// Further attempts after a refusal or an unknown outcome.
    pub retries: u32,
    /// Weights of the operations.
    pub mix: BTreeMap<OpKind, u32>,
    /// One stream per client.
    pub client: Vec<ClientPlan>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl LoadPlan {
    /// Between two operations of one client; `None` without load.
    pub fn interval_us(&self) -> Option<Micros> {
        let (rate, of_us) = match self {
            LoadPlan { rate_per_s: 0, rate_per_h: 0, .. } => return None,
            LoadPlan { rate_per_s: 0, rate_per_h, .. } => (*rate_per_h, 3_600_000_000),
            LoadPlan { rate_per_s, .. } => (*rate_per_s, 1_000_000),
        };
        Some((of_us * self.client.len() as u64 / u64::from(rate)).max(1))
    }
}

/// One client's chances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientPlan {
    /// Seed of its operations, 64 hex digits.
    #[serde(with = "hex_text")]
    pub stream: [u8; 32],
    /// Its first operation, from the start of the load.
    pub first_us: Micros,
}

/// Lengths of the phases and what heals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "as in the scenario")]
pub struct PhasesPlan {
    pub warm_us: Micros,
    pub faults_us: Micros,
    pub settle_us: Micros,
    pub heal: Heal,
}

/// What ends with the faults phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heal {
    /// Every fault; what is down is started.
    All,
    /// Nothing.
    None,
    /// The faults of these kinds.
    Kinds(BTreeSet<FaultKind>),
}

/// One fault, with its start and its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Start.
    pub at_us: Micros,
    /// End; `None` = only by the heal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_us: Option<Micros>,
    /// What is done.
    pub act: Act,
}

/// What a fault does, to whom, with every choice made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "as in the scenario, drawn")]
pub enum Act {
    /// Nodes lose power at once; with `operation`, when the first of them is inside that disk operation.
    PowerCut {
        nodes: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<u64>,
    },
    Kill {
        nodes: Vec<String>,
    },
    Pause {
        nodes: Vec<String>,
    },
    Shutdown {
        nodes: Vec<String>,
    },
    /// Each link is (from, to), one way.
    CutLink {
        links: Vec<(String, String)>,
        mode: CutMode,
    },
    SlowLink {
        links: Vec<(String, String)>,
        extra_us: Micros,
    },
    SlowDisk {
        nodes: Vec<String>,
        extra_us: Micros,
    },
    /// The node is down from start to end; in between, blobs are swapped as `draw` says.
    SwapRecords {
        node: String,
        #[serde(with = "seed_text")]
        draw: u64,
    },
    WallOffset {
        nodes: Vec<String>,
        offset_us: i64,
    },
    FailSyncs {
        nodes: Vec<String>,
    },
    /// Hosts' disks take nothing more.
    FillDisk {
        nodes: Vec<String>,
    },
    /// Nodes lose power, the database or witness among them its disk; at the end they start, it with an empty one.
    LoseDisk {
        nodes: Vec<String>,
    },
    /// The node is down from start to end, then it has the disk again that it lost.
    ReturnDisk {
        node: String,
    },
    /// What is durable now is what a later `roll-back-disk` brings back.
    RememberDisk {
        node: String,
    },
    /// The database is down from start to end, and then has the disk as it was remembered.
    RollBackDisk {
        node: String,
    },
    /// A new machine with an empty disk stands in the database's place; the old one, running or not, sees only the hosts
    /// of its zone, until it is switched off at the end. Those hosts are cut from the other zone's database.
    ReplaceMachine {
        node: String,
        /// If the old one is off, it starts after so long, and for a moment the other zone's database finds it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wakes_us: Option<Micros>,
    },
    /// An operator makes the database anew, or gives that up; stops after `interrupt_us` for another to go on.
    Rebuild {
        node: String,
        abandon: bool,
        /// In place of a registered rebuild of the other database: its source, which is this one, is lost.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        instead: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interrupt_us: Option<Micros>,
    },
    /// An operator makes the lost region anew from the replica, or from a backup; stops after `interrupt_us` for another to go on.
    Restore {
        backup: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interrupt_us: Option<Micros>,
    },
    /// An operator replaces the witness; stops after `interrupt_us` for another to go on.
    ReplaceWitness {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interrupt_us: Option<Micros>,
    },
    /// An operator ends the service of a domain, of all but the first the one that `draw` says.
    TerminateDomain {
        #[serde(with = "seed_text")]
        draw: u64,
    },
    /// An operator seals hosts; from the end on the keepers of shares may unseal them.
    Seal {
        nodes: Vec<String>,
    },
    /// An operator puts another set of shares in the place of the one there is, at every host; until it is done.
    RotateShares {
        nodes: Vec<String>,
    },
    /// An operator makes a domain, whose id is drawn by `draw`; a client of its own uses it from then on.
    CreateDomain {
        #[serde(with = "seed_text")]
        draw: u64,
    },
    /// The stores do not answer.
    CutStore {
        stores: Vec<String>,
    },
    SlowStore {
        stores: Vec<String>,
        extra_us: Micros,
    },
    /// Of a thousand puts and deletes so many fail midway; of a thousand gets so many hand out altered bytes, or find nothing.
    FlakyStore {
        stores: Vec<String>,
        midway: u32,
        altered: u32,
        hidden: u32,
    },
    /// The store is emptied.
    LoseStore {
        store: String,
    },
    /// So many of the objects that are there are altered or vanish, as `draw` says.
    DamageStore {
        store: String,
        objects: u32,
        #[serde(with = "seed_text")]
        draw: u64,
    },
}

impl Act {
    /// The scenario's word for it.
    pub fn kind(&self) -> FaultKind {
        match self {
            Act::PowerCut { .. } => FaultKind::PowerCut,
            Act::Kill { .. } => FaultKind::Kill,
            Act::Pause { .. } => FaultKind::Pause,
            Act::Shutdown { .. } => FaultKind::Shutdown,
            Act::CutLink { .. } => FaultKind::CutLink,
            Act::SlowLink { .. } => FaultKind::SlowLink,
            Act::SlowDisk { .. } => FaultKind::SlowDisk,
            Act::SwapRecords { .. } => FaultKind::SwapRecords,
            Act::WallOffset { .. } => FaultKind::WallOffset,
            Act::FailSyncs { .. } => FaultKind::FailSyncs,
            Act::FillDisk { .. } => FaultKind::FillDisk,
            Act::LoseDisk { .. } => FaultKind::LoseDisk,
            Act::ReturnDisk { .. } => FaultKind::ReturnDisk,
            Act::RememberDisk { .. } | Act::RollBackDisk { .. } => FaultKind::RollBackDisk,
            Act::ReplaceMachine { .. } => FaultKind::ReplaceMachine,
            Act::Rebuild { abandon: false, .. } => FaultKind::Rebuild,
            Act::Rebuild { abandon: true, .. } => FaultKind::Abandon,
            Act::ReplaceWitness { .. } => FaultKind::ReplaceWitness,
            Act::TerminateDomain { .. } => FaultKind::TerminateDomain,
            Act::CreateDomain { .. } => FaultKind::CreateDomain,
            Act::Restore { backup: false, .. } => FaultKind::RestoreFromReplica,
            Act::Restore { backup: true, .. } => FaultKind::RestoreFromBackup,
            Act::Seal { .. } => FaultKind::Seal,
            Act::RotateShares { .. } => FaultKind::RotateShares,
            Act::CutStore { .. } => FaultKind::CutStore,
            Act::SlowStore { .. } => FaultKind::SlowStore,
            Act::FlakyStore { .. } => FaultKind::FlakyStore,
            Act::LoseStore { .. } => FaultKind::LoseStore,
            Act::DamageStore { .. } => FaultKind::DamageStore,
        }
    }

    /// What it is done to.
    pub fn of(&self) -> FaultOf {
        let of_replica = match self {
            _ if !self.stores().is_empty() => return FaultOf::Stores,
            Act::Restore { .. } | Act::ReplaceWitness { .. } => false,
            Act::CutLink { links, .. } | Act::SlowLink { links, .. } => {
                links.iter().all(|(from, to)| from == REPLICA || to == REPLICA)
            }
            _ => self.nodes().iter().all(|node| *node == REPLICA),
        };
        if of_replica { FaultOf::Replica } else { FaultOf::Region }
    }

    /// Every backup store named.
    pub fn stores(&self) -> Vec<&str> {
        match self {
            Act::CutStore { stores } | Act::SlowStore { stores, .. } | Act::FlakyStore { stores, .. } => {
                stores.iter().map(String::as_str).collect()
            }
            Act::LoseStore { store } | Act::DamageStore { store, .. } => vec![store],
            _ => Vec::new(),
        }
    }

    /// Every node named.
    pub fn nodes(&self) -> Vec<&str> {
        match self {
            Act::PowerCut { nodes, .. }
            | Act::Kill { nodes }
            | Act::Pause { nodes }
            | Act::Shutdown { nodes }
            | Act::SlowDisk { nodes, .. }
            | Act::WallOffset { nodes, .. }
            | Act::LoseDisk { nodes }
            | Act::Seal { nodes }
            | Act::RotateShares { nodes }
            | Act::FailSyncs { nodes }
            | Act::FillDisk { nodes } => nodes.iter().map(String::as_str).collect(),
            Act::SwapRecords { node, .. }
            | Act::ReturnDisk { node }
            | Act::RememberDisk { node }
            | Act::RollBackDisk { node }
            | Act::ReplaceMachine { node, .. }
            | Act::Rebuild { node, .. } => vec![node],
            Act::TerminateDomain { .. } | Act::CreateDomain { .. } => vec![HEAD],
            Act::Restore { .. } => vec![REPLICA],
            Act::CutStore { .. }
            | Act::SlowStore { .. }
            | Act::FlakyStore { .. }
            | Act::LoseStore { .. }
            | Act::DamageStore { .. }
            // Of the witness, whichever node that is.
            | Act::ReplaceWitness { .. } => Vec::new(),
            Act::CutLink { links, .. } | Act::SlowLink { links, .. } => {
                links.iter().flat_map(|(from, to)| [from.as_str(), to.as_str()]).collect()
            }
        }
    }
}

/// A plan's text was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPlan {
    /// Not TOML, an unknown field, a wrong type.
    #[error("plan: {0}")]
    Syntax(String),
    /// A node that the topology does not have.
    #[error("plan: there is no node `{0}`")]
    NoSuchNode(String),
    /// A backup store that the topology does not have.
    #[error("plan: there is no backup store in `{0}`")]
    NoSuchStore(String),
    /// Something else that makes no sense.
    #[error("plan: {0}")]
    Senseless(String),
    /// Beyond the fault budget.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
}

impl Plan {
    /// Reads a plan's text form.
    ///
    /// # Errors
    /// [`BadPlan`] names the first thing wrong.
    pub fn parse(text: &str) -> Result<Plan, BadPlan> {
        let plan: Plan = toml::from_str(text).map_err(|error| BadPlan::Syntax(error.to_string()))?;
        plan.check()?;
        Ok(plan)
    }

    /// Checks names, order and the fault budget.
    ///
    /// # Errors
    /// [`BadPlan`] names the first thing wrong.
    pub fn check(&self) -> Result<(), BadPlan> {
        let senseless = |what: &str| Err(BadPlan::Senseless(what.to_owned()));
        if !(1..=8).contains(&self.topology.hosts_per_zone)
            || !(1..=32).contains(&self.topology.clients)
            || !(1..=8).contains(&self.topology.domains)
        {
            return senseless("a topology has 1 to 8 hosts per zone, 1 to 32 clients, 1 to 8 domains");
        }
        if self.load.client.len() != self.topology.clients as usize {
            return senseless("there must be one [[load.client]] for each client");
        }
        self.limits.check().map_err(|error| BadPlan::Senseless(error.to_string()))?;
        let nodes: BTreeSet<String> = self.nodes().into_iter().collect();
        let named = self
            .faults
            .iter()
            .flat_map(|fault| fault.act.nodes())
            .chain(self.clocks.keys().chain(self.drifts_ppm.keys()).map(String::as_str));
        for name in named {
            if !nodes.contains(name) {
                return Err(BadPlan::NoSuchNode(name.to_owned()));
            }
        }
        let ends = |fault: &Fault| matches!(fault.act, Act::TerminateDomain { .. });
        if self.topology.domains < 2 && self.faults.iter().any(ends) {
            return senseless("a domain is terminated, and there is no other");
        }
        let creates = |fault: &Fault| matches!(fault.act, Act::CreateDomain { .. });
        if self.access.is_some() && self.faults.iter().any(creates) {
            return senseless("a domain is made, whose access nobody has planned");
        }
        if self.topology.witness_with_replica && !self.topology.replica {
            return senseless("the witness is with a replica that is not there");
        }
        let stores = self.topology.stores();
        if self.topology.backups && (stores.is_empty() || !self.topology.replica) {
            return senseless("backups need a replica, and a region whose backup regions are named");
        }
        for name in self.faults.iter().flat_map(|fault| fault.act.stores()) {
            if !stores.iter().any(|store| store == name) {
                return Err(BadPlan::NoSuchStore(name.to_owned()));
            }
        }
        if self.faults.iter().any(|fault| fault.until_us.is_some_and(|until| until < fault.at_us)) {
            return senseless("a fault ends before it starts");
        }
        if !self.faults.is_sorted_by_key(|fault| fault.at_us) {
            return senseless("faults are not in order of their start");
        }
        self.check_access()?;
        budget::check(self)?;
        Ok(())
    }

    /// All nodes of the service, sorted.
    pub fn nodes(&self) -> Vec<String> {
        let mut nodes = self.places().all();
        nodes.extend(["entry", self.topology.witness()].map(str::to_owned));
        nodes.extend(self.topology.replica.then(|| REPLICA.to_owned()));
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// The nodes by place.
    pub fn places(&self) -> Places {
        self.topology.places()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&toml::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// TOML integers are signed: 64-bit draws are written as decimal text.
mod seed_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// 32 bytes as hex digits.
mod hex_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(String::deserialize(from)?, &mut bytes).map_err(D::Error::custom)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
