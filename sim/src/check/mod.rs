//! The checkers: each judges one promise from what clients saw and what was done to the world. They never
//! look inside a node, and pass nothing that they did not exercise.
//!
//! Independent of the simulator: the same checkers judge runs against real processes.

pub mod already;
pub mod audit_trail;
pub mod doubt;
mod ended;
pub mod g10_integrity;
pub mod g11_one_history;
pub mod g12_no_resurrection;
mod g12_secrets;
pub mod g13_recovery;
pub mod g14_end_of_service;
pub mod g1_crash_images;
pub mod g1_two_zone_durability;
pub mod g2_write_refusal;
pub mod g3_existing_keys_available;
pub mod g4_third_copy;
pub mod g5_region_loss;
pub mod g7_backups;
pub mod g8_sealed_at_rest;
pub mod g9_access;
pub mod linear;
pub mod process_health;
pub mod region_loss;
pub mod sealed_host;
pub mod spans;
mod strangers;
pub mod swapped;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod timeline;
mod toggles;
mod tries;

use crate::{
    access::Bearer,
    history::{Call, History, Micros, Op, Outcome, What},
    report::Verdict,
    scenario::{REPLICA, witness_of},
};
use kms::limits::{Limits, REDIRECT_MS};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use timeline::Timeline;

/// Everything the checkers may look at.
#[derive(Debug, Clone, Copy)]
pub struct CheckInput<'a> {
    /// What clients saw, and what happened to the world.
    pub history: &'a History,
    /// The bounds the nodes ran with.
    pub limits: &'a Limits,
    /// The bounds verdicts are given by.
    pub bounds: Bounds,
    /// Who is who.
    pub topology: &'a Topology,
    /// The domain of each client; clients without an entry share one.
    pub domains: &'a BTreeMap<u32, String>,
    /// Who each client is; empty: everybody may do everything.
    pub bearers: &'a BTreeMap<u32, Bearer>,
    /// Clients from this number on are visitors, who may do some of what they ask for.
    pub visitors_from: u32,
    /// The scenario has no fault but such as are done to the third copy: nothing may be refused, and nothing may stay without an
    /// answer.
    pub calm: bool,
    /// No fault of the plan makes a disk lie: every loud event is then a broken promise.
    pub honest_disks: bool,
    /// Faults that leave no event in the history.
    pub other_faults: &'a [OtherFault],
    /// What the search for secrets found.
    pub leaks: &'a [Leak],
    /// What it searched.
    pub searched: &'a Searched,
    /// How often each probe was hit; names starting with `loud:` are what the protocol calls loud.
    pub probes: &'a BTreeMap<String, u64>,
}

impl CheckInput<'_> {
    /// Whether the client is one that may do everything in its domain, as long as the run lasts.
    pub fn is_of_load(&self, client: u32) -> bool {
        client < self.visitors_from
    }
}

/// Bounds of the verdicts, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// A write invoked later than the detection bound after a loss is refused within this.
    pub refusal_us: Micros,
    /// Longest time after a loss in which clients may still be sent to what was lost.
    pub redirect_us: Micros,
    /// Writes are accepted again at most this long after the last repair.
    pub recovery_us: Micros,
    /// Writes are accepted at most this long after an epoch has become active, if nothing is wrong meanwhile.
    pub activation_us: Micros,
    /// What was acknowledged longer ago than this is at the replica, while its link is well.
    pub lag_us: Micros,
    /// What was acknowledged longer ago than this is in the newest backup.
    pub backup_window_us: Micros,
    /// What is durable at the replica has its tombstones in a store that is well after this.
    pub anchored_us: Micros,
    /// The newest backup of a store is at most this much older than the interval of backups: 5 minutes with the default of 240 s.
    pub backup_slack_us: Micros,
    /// What has expired is gone from a store after this.
    pub expiry_us: Micros,
    /// The key of a domain whose service has ended is gone from every place after this, once all are well.
    pub erasure_us: Micros,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            refusal_us: 1_000_000,
            redirect_us: 1000 * REDIRECT_MS,
            recovery_us: 5_000_000,
            activation_us: 2_000_000,
            lag_us: 2_000_000,
            backup_window_us: 300_000_000,
            anchored_us: 10_000_000,
            backup_slack_us: 60_000_000,
            expiry_us: 7_200_000_000,
            erasure_us: 45_000_000,
        }
    }
}

/// What a node is, as far as verdicts depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// Serves REST.
    Host,
    /// The database that orders writes.
    Head,
    /// The database whose durable commit is the commit.
    Tail,
    /// The entry point of the region.
    Entry,
    /// Knows which epoch is current.
    Witness,
    /// The third copy, in another region.
    Replica,
}

/// One node of the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// What it is.
    pub kind: NodeKind,
    /// `a` or `b`; an entry has none.
    pub zone: Option<char>,
}

/// The nodes of the region by name. Clients are not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// By node name.
    pub nodes: BTreeMap<String, NodeFacts>,
    /// The region, if its replica makes backups.
    #[serde(default)]
    pub backups_of: Option<String>,
    /// The replica's node is the witness too.
    #[serde(default)]
    pub witness_with_replica: bool,
    /// Hosts are unsealed by shares: one that starts is sealed.
    #[serde(default)]
    pub shares: bool,
}

impl Topology {
    /// The usual region: `db-a` (head), `db-b` (tail), `host-a1`... `host-b1`..., `entry`.
    pub fn standard(hosts_per_zone: u32, replica: bool) -> Topology {
        let mut nodes = BTreeMap::new();
        let mut add = |name: String, kind, zone| nodes.insert(name, NodeFacts { kind, zone });
        add("entry".to_owned(), NodeKind::Entry, None);
        add("witness".to_owned(), NodeKind::Witness, None);
        if replica {
            add(REPLICA.to_owned(), NodeKind::Replica, None);
        }
        for (zone, database) in [('a', NodeKind::Head), ('b', NodeKind::Tail)] {
            add(format!("db-{zone}"), database, Some(zone));
            for number in 1..=hosts_per_zone {
                add(format!("host-{zone}{number}"), NodeKind::Host, Some(zone));
            }
        }
        Topology { nodes, backups_of: None, witness_with_replica: false, shares: false }
    }

    /// The same without a node for the witness: the replica is that too.
    #[must_use]
    pub fn with_the_witness_at_the_replica(mut self) -> Topology {
        self.nodes.retain(|_, facts| facts.kind != NodeKind::Witness);
        Topology { witness_with_replica: true, ..self }
    }

    /// The node that is the witness.
    pub fn witness(&self) -> &'static str {
        witness_of(self.witness_with_replica)
    }

    /// Names of the nodes of one kind.
    pub fn of_kind(&self, kind: NodeKind) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter(move |(_, facts)| facts.kind == kind).map(|(name, _)| name.as_str())
    }

    /// Whether the node is one of the two databases.
    pub fn is_database(&self, name: &str) -> bool {
        self.nodes.get(name).is_some_and(|facts| matches!(facts.kind, NodeKind::Head | NodeKind::Tail))
    }

    /// Whether the node is a host.
    pub fn is_host(&self, name: &str) -> bool {
        self.nodes.get(name).is_some_and(|facts| facts.kind == NodeKind::Host)
    }

    /// Whether the node is the third copy.
    pub fn is_replica(&self, name: &str) -> bool {
        self.nodes.get(name).is_some_and(|facts| facts.kind == NodeKind::Replica)
    }

    /// Whether something happened to the third copy, or to a link of its, and to nothing else. A replica that is the witness too is
    /// never alone.
    pub fn is_about_replica(&self, what: &What) -> bool {
        match what {
            _ if self.witness_with_replica => false,
            What::Down { node, .. }
            | What::Up { node }
            | What::Paused { node }
            | What::Resumed { node }
            | What::Exited { node, .. }
            | What::DiskLost { node }
            | What::Probe { node, .. } => self.is_replica(node),
            What::Cut { from, to } | What::Joined { from, to } => {
                self.is_replica(from) || self.is_replica(to)
            }
            _ => false,
        }
    }

    /// The zone of a node.
    pub fn zone(&self, name: &str) -> Option<char> {
        self.nodes.get(name).and_then(|facts| facts.zone)
    }
}

/// What a fault is done to. The replica and the backups are the third copy, which nobody waits for: to everybody else nothing is
/// wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultOf {
    /// The region itself.
    Region,
    /// The replica or its links alone.
    Replica,
    /// Backup stores alone.
    Stores,
}

impl FaultOf {
    /// Whether it is nothing to the region.
    pub fn of_the_third_copy(self) -> bool {
        self != FaultOf::Region
    }
}

/// A fault that the history has no event for: a slow link, disk or store, failing syncs. While one lasts, nothing
/// that depends on time is judged of what it is done to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherFault {
    /// Begin.
    pub from: Micros,
    /// End; `None` = never.
    pub until: Option<Micros>,
    /// What it was, for reports.
    pub what: String,
    /// What it is done to.
    pub of: FaultOf,
}

/// A secret found where none may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leak {
    /// Which secret, by the label it was registered with; never the secret.
    pub label: String,
    /// Which kind of place: `disk`, `store`, `crash-image`, `wire` or `log`.
    pub place: String,
    /// Where in the place (node, file, offset, encoding); never the bytes around it.
    pub context: String,
}

/// How much the search for secrets covered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Searched {
    /// Secrets searched for.
    pub needles: u64,
    /// Bytes searched, by place.
    pub bytes: BTreeMap<String, u64>,
    /// Bytes of all of them that were put into backup stores.
    #[serde(default)]
    pub in_stores: u64,
}

/// Runs every checker.
pub fn check_all(input: &CheckInput<'_>) -> Vec<Verdict> {
    let timeline = Timeline::new(input);
    let g9 = g9_access::check(input);
    let asked = strangers::forgiven(input);
    let input = &CheckInput { history: asked.as_ref().unwrap_or(input.history), ..*input };
    let g14 = g14_end_of_service::check(input, &timeline);
    // Of a domain whose service has ended nobody else asks anything.
    let served = ended::forgiven(input);
    let input = &CheckInput { history: served.as_ref().unwrap_or(input.history), ..*input };
    // What was written in the last moments of a lost region may be gone: to those who ask what is there, its outcome is unknown.
    let forgiven = region_loss::forgiven(input);
    let kept = CheckInput { history: forgiven.as_ref().unwrap_or(input.history), ..*input };
    let analysis = linear::analyse(kept.history, input.domains, linear::SEARCH_MAX);
    let [g5, g6] = g5_region_loss::check(input);
    let mut verdicts = vec![
        g1_two_zone_durability::check(&kept, &timeline, &analysis),
        g1_crash_images::check(&kept),
        g2_write_refusal::check(input, &timeline),
        g3_existing_keys_available::check(input, &timeline),
        g4_third_copy::check(input, &kept, &timeline),
        g5,
        g6,
        g7_backups::check(&kept, &timeline),
        g8_sealed_at_rest::check(input),
        g9,
        g10_integrity::check(input),
        g11_one_history::check(kept.history, &analysis),
        g12_no_resurrection::check(input, &kept),
        g13_recovery::check(input, &timeline),
        g14,
        audit_trail::check(input),
        process_health::check(input, &timeline),
    ];
    verdicts.extend(input.topology.shares.then(|| sealed_host::check(input)));
    verdicts
}

/// When the operation ended, or the run did.
fn end_of(op: &Op, history: &History) -> Micros {
    op.done.unwrap_or(history.end).max(op.invoked)
}

/// Whether a write may have happened although nobody said so.
fn in_doubt(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::SaidUnknown | Outcome::Unknown => true,
        // A server error, or a success that could not be read.
        Outcome::Rejected { status, .. } => !(400..500).contains(status),
        Outcome::Ok(_) | Outcome::Refused => false,
    }
}

/// The key or secret an operation is about: the one it names, or the one the service chose for it.
fn subject(op: &Op) -> Option<&str> {
    use crate::history::Answer;
    match (&op.call, &op.outcome) {
        (Call::CreateUnnamed { .. }, Outcome::Ok(Answer::Key(view))) => Some(&view.id),
        (call, _) => call.key(),
    }
}
