//! When what was lost: turns the world's events into spans that the checkers ask. Judges nothing.
//!
//! A node is *unavailable* while it is down or paused. A node that came back counts as *recovering* for the
//! recovery bound; what is asked of "a single loss" treats it as still lost, so that two losses in close
//! succession are not taken for one.

use super::{
    CheckInput, NodeKind, Topology,
    spans::{FOREVER, Spans},
    toggles::Toggles,
};
use crate::history::{History, Keeping, Micros, Rebuild, Stop, What, WorldEvent};
use std::collections::{BTreeMap, BTreeSet};

/// Name of the probe that says a node was asked to stop. From then on it is *leaving*: it may turn work away.
pub const SHUTDOWN_ASKED: &str = "shutdown-asked";
/// A host whose disk is no longer full notices within this.
const NOTICES_US: Micros = 1_100_000;
/// Without that probe, how long before it stopped a node may have been leaving.
const LEAVING_US: Micros = 1_000_000;

/// How much is lost at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Nothing.
    Nothing,
    /// One host, or its links.
    Host,
    /// One database, or its links.
    Database,
    /// More than one node, all of one zone.
    Zone,
    /// Links between the zones; every node lives.
    ZoneLink,
    /// More than a zone, or something no promise is made for.
    Beyond,
}

impl Loss {
    /// A word for measures.
    pub fn word(self) -> &'static str {
        match self {
            Loss::Nothing => "nothing",
            Loss::Host => "host",
            Loss::Database => "database",
            Loss::Zone => "zone",
            Loss::ZoneLink => "zone_link",
            Loss::Beyond => "beyond",
        }
    }
}

/// The spans.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// Down or paused: nothing comes from it.
    out: BTreeMap<String, Spans>,
    /// Asked to stop, not down yet.
    leaving: BTreeMap<String, Spans>,
    /// Either.
    unavailable: BTreeMap<String, Spans>,
    paused: BTreeMap<String, Spans>,
    cuts: BTreeMap<(String, String), Spans>,
    /// Databases that are made anew: writes are refused for some of that time, and the database does not serve.
    rebuilt: BTreeMap<String, Spans>,
    /// Hosts that live and cannot serve: their disk is full, or they wait for shares.
    unable: BTreeMap<String, Spans>,
    /// When nothing may be acknowledged on their account.
    not_to_acknowledge: Spans,
    other: Spans,
    chain_broken: Spans,
    /// Anything at all is wrong.
    disturbed: Spans,
    /// Segments `[from, next from)` and the loss in each, recovering nodes counted as lost.
    losses: Vec<(Micros, Loss)>,
    /// Begins of anything that hurts writes.
    write_loss_starts: Vec<Micros>,
    /// Begins of anything that hurts the way from clients to hosts.
    path_loss_starts: Vec<Micros>,
    /// Begins of anything.
    loss_starts: Vec<Micros>,
    /// A host that lives and that the entry reaches is there.
    living_host: Spans,
}

impl Timeline {
    /// Reads the events of a run.
    pub fn new(input: &CheckInput<'_>) -> Timeline {
        let mut timeline = Timeline::read(input.history, input.topology);
        let others = input.other_faults.iter().filter(|fault| !fault.of.of_the_third_copy());
        timeline.other = Spans::of(others.map(|fault| (fault.from, fault.until.unwrap_or(FOREVER))));
        let learns = 2 * 1000 * input.limits.entry_check_ms;
        timeline.derive(input.topology, input.bounds.recovery_us, learns);
        timeline
    }

    fn read(history: &History, topology: &Topology) -> Timeline {
        let mut down = Toggles::default();
        let mut paused = Toggles::default();
        let mut cuts = Toggles::default();
        let mut leaving = Toggles::default();
        let (mut rebuilt, mut unwritable) = (Toggles::default(), Toggles::default());
        let (mut unheard, mut unable, mut sealed) =
            (Toggles::default(), Toggles::default(), Toggles::default());
        let mut adopted = BTreeSet::new();
        // Another disk is in them than the one that was about to become active: what is said of that one is not about this one.
        let mut exchanged: BTreeSet<String> = BTreeSet::new();
        let made_anew: BTreeSet<&str> = history
            .events
            .iter()
            .filter_map(|event| match &event.what {
                What::Rebuild { node, .. } => Some(node.as_str()),
                _ => None,
            })
            .collect();
        // Nobody waits for a replica: to everybody else nothing is wrong while one is away.
        let of_others = |event: &&WorldEvent| !topology.is_about_replica(&event.what);
        for event in history.events.iter().filter(of_others) {
            let at = event.at;
            match &event.what {
                What::Down { node, .. } | What::Exited { node, .. } => {
                    if matches!(event.what, What::Down { how: Stop::Shutdown, .. }) {
                        leaving.on(node.clone(), at.saturating_sub(LEAVING_US));
                    }
                    leaving.off(node, at, false);
                    down.on(node.clone(), at);
                    paused.off(node, at, false);
                }
                What::Up { node } => {
                    down.off(node, at, true);
                    if topology.shares && topology.is_host(node) {
                        sealed.on(node.clone(), at);
                    }
                }
                What::Keepers { node, step: Keeping::Sealing } => sealed.on(node.clone(), at),
                What::Keepers { node, step: Keeping::Unsealed } => sealed.off(node, at, false),
                What::Paused { node } => paused.on(node.clone(), at),
                What::Resumed { node } => paused.off(node, at, false),
                What::Cut { from, to } => cuts.on((from.clone(), to.clone()), at),
                What::Joined { from, to } => cuts.off(&(from.clone(), to.clone()), at, false),
                What::Probe { node, name } if name == SHUTDOWN_ASKED => leaving.on(node.clone(), at),
                // It is away until it is replaced, and that is all: nothing of the service needs it.
                What::DiskLost { node } | What::DiskReturned { node } if node == topology.witness() => {
                    unheard.on(node.clone(), at);
                }
                What::WitnessHeard => unheard.off(&topology.witness().to_owned(), at, false),
                // Nobody serves from an empty disk, or an old one, until it is made anew.
                What::DiskLost { node } => {
                    rebuilt.on(node.clone(), at);
                    unwritable.on(node.clone(), at);
                    exchanged.insert(node.clone());
                }
                // Nobody has made it anew meanwhile: then it is the newest one, and its node is as good as ever.
                What::DiskReturned { node } if unwritable.is_on(node) && !adopted.contains(node) => {
                    exchanged.remove(node);
                    rebuilt.off(node, at, false);
                    unwritable.off(node, at, false);
                }
                What::DiskReturned { node } => {
                    rebuilt.on(node.clone(), at);
                    unwritable.on(node.clone(), at);
                    exchanged.insert(node.clone());
                }
                What::Rebuild { node, step } => match step {
                    Rebuild::Begun => rebuilt.on(node.clone(), at),
                    Rebuild::Adopted => {
                        adopted.insert(node.clone());
                        unwritable.on(node.clone(), at);
                    }
                    Rebuild::Activating => {
                        exchanged.remove(node);
                        unwritable.off(node, at, false);
                        // What was registered before, for the other database, can become active no more.
                        adopted.iter().for_each(|given_up| unwritable.off(given_up, at, false));
                    }
                    Rebuild::Activated => {
                        adopted.insert(node.clone());
                        for over in std::mem::take(&mut adopted).difference(&exchanged) {
                            rebuilt.off(over, at, false);
                        }
                        if !exchanged.contains(node) {
                            unwritable.off(node, at, false);
                        }
                    }
                    Rebuild::GivenUp if !unwritable.is_on(node) => rebuilt.off(node, at, false),
                    Rebuild::GivenUp => {}
                },
                // Without an audit it serves nothing.
                What::DiskFull { node } => unable.on(node.clone(), at),
                What::DiskFreed { node } => unable.off(node, at, false),
                // What it forgot may be more than the other one keeps.
                What::DiskRolledBack { node } if made_anew.contains(node.as_str()) => {
                    rebuilt.on(node.clone(), at);
                }
                What::DiskRolledBack { .. }
                | What::Restored { .. }
                | What::Termination { .. }
                | What::Access { .. }
                | What::Swapped { .. }
                | What::Keepers { .. }
                | What::Panicked { .. }
                | What::Probe { .. } => {}
            }
        }
        let (down, paused, cuts, leaving) = (down.spans(), paused.spans(), cuts.spans(), leaving.spans());
        let out = union_by_node(&down, &paused);
        let rebuilt = rebuilt.spans();
        let unable: BTreeMap<String, Spans> = union_by_node(&unable.spans(), &sealed.spans())
            .into_iter()
            .map(|(host, spans)| (host, spans.extended(NOTICES_US)))
            .collect();
        Timeline {
            unavailable: union_by_node(
                &union_by_node(&union_by_node(&out, &leaving), &rebuilt),
                &union_by_node(&unheard.spans(), &unable),
            ),
            unable,
            not_to_acknowledge: Spans::union(unwritable.spans().values()),
            rebuilt,
            out,
            leaving,
            paused,
            cuts,
            other: Spans::default(),
            chain_broken: Spans::default(),
            disturbed: Spans::default(),
            losses: Vec::new(),
            write_loss_starts: Vec::new(),
            path_loss_starts: Vec::new(),
            loss_starts: Vec::new(),
            living_host: Spans::default(),
        }
    }

    fn derive(&mut self, topology: &Topology, recovery: Micros, entry_learns: Micros) {
        // Clients come and go; that is no loss.
        for nodes in [&mut self.unavailable, &mut self.out, &mut self.leaving] {
            nodes.retain(|name, _| topology.nodes.contains_key(name));
        }
        let databases: Vec<&str> =
            topology.nodes.keys().map(String::as_str).filter(|name| topology.is_database(name)).collect();
        let between_databases = |(from, to): &(String, String)| {
            databases.contains(&from.as_str()) && databases.contains(&to.as_str())
        };
        let broken_links =
            self.cuts.iter().filter(|(link, _)| between_databases(link)).map(|(_, spans)| spans);
        let lost = databases.iter().filter_map(|name| self.out.get(*name));
        self.chain_broken = Spans::union(lost.chain(broken_links).chain([&self.not_to_acknowledge]));
        self.disturbed =
            Spans::union(self.unavailable.values().chain(self.cuts.values()).chain([&self.other]));
        self.living_host = self.living_hosts(topology, entry_learns);
        self.starts(topology);
        self.losses = self.segments(topology, recovery);
    }

    fn starts(&mut self, topology: &Topology) {
        let (mut write, mut path, mut all) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (name, spans) in self.out.iter().chain(&self.leaving).chain(&self.rebuilt).chain(&self.unable) {
            all.extend(spans.starts());
            if topology.is_database(name) {
                write.extend(spans.starts());
            } else if topology.nodes.contains_key(name) && name != topology.witness() {
                path.extend(spans.starts());
            }
        }
        for ((from, to), spans) in &self.cuts {
            all.extend(spans.starts());
            let inside = |name: &str| topology.is_database(name) || topology.is_host(name);
            if inside(from) && inside(to) {
                write.extend(spans.starts());
            } else {
                path.extend(spans.starts());
            }
        }
        for start in self.other.starts() {
            all.insert(start);
            write.insert(start);
            path.insert(start);
        }
        path.extend(self.left_by_clients(topology));
        self.write_loss_starts = write.into_iter().collect();
        self.path_loss_starts = path.into_iter().collect();
        self.loss_starts = all.into_iter().collect();
    }

    /// When a host was cut off from every database while another host that lives was not: to its clients it is lost, and they
    /// are moved to the other.
    fn left_by_clients(&self, topology: &Topology) -> Vec<Micros> {
        let databases: Vec<&str> =
            topology.nodes.keys().map(String::as_str).filter(|name| topology.is_database(name)).collect();
        let hosts: Vec<&str> = topology.of_kind(NodeKind::Host).collect();
        let out_of_reach = |host: &str, database: &str| {
            Spans::union(self.unavailable.get(database).into_iter().chain(self.cut_between(host, database)))
        };
        let stranded = |host: &str| {
            let each = databases.iter().map(|database| out_of_reach(host, database));
            each.reduce(|all, next| all.intersect(&next)).unwrap_or_default()
        };
        let no_use: Vec<Spans> = hosts
            .iter()
            .map(|host| Spans::union(self.unavailable.get(*host).into_iter().chain([&stranded(host)])))
            .collect();
        let all_no_use = no_use.iter().cloned().reduce(|all, next| all.intersect(&next)).unwrap_or_default();
        let better_elsewhere = all_no_use.complement();
        hosts
            .iter()
            .flat_map(|host| stranded(host).intersect(&better_elsewhere).starts().collect::<Vec<_>>())
            .collect()
    }

    /// A host that is back is within reach once the entry has asked it: a question that was on its way to the
    /// dead host, and the next one.
    fn living_hosts(&self, topology: &Topology, entry_learns: Micros) -> Spans {
        let entries: Vec<&str> = topology.of_kind(NodeKind::Entry).collect();
        let lost_entries: Vec<&Spans> =
            entries.iter().filter_map(|entry| self.unavailable.get(*entry)).collect();
        let living: Vec<Spans> = topology
            .of_kind(NodeKind::Host)
            .map(|host| {
                let cut = entries.iter().flat_map(|entry| self.cut_between(host, entry));
                let lost = self.unavailable.get(host).into_iter().chain(cut);
                Spans::union(lost.chain(lost_entries.iter().copied())).extended(entry_learns).complement()
            })
            .collect();
        Spans::union(&living)
    }

    /// When a host that lives and cannot serve may turn clients away: until the entry sends them elsewhere, or as long as there
    /// is no elsewhere.
    pub fn turned_away(&self, redirect: Micros) -> Spans {
        let unable = Spans::union(self.unable.values());
        let starts = self.unable.values().flat_map(Spans::starts);
        let first = Spans::of(starts.map(|at| (at, at.saturating_add(redirect))));
        Spans::union([&first, &unable.intersect(&self.living_host.complement())])
    }

    fn cut_between(&self, one: &str, other: &str) -> Vec<&Spans> {
        let (one, other) = (one.to_owned(), other.to_owned());
        [(one.clone(), other.clone()), (other, one)].iter().filter_map(|link| self.cuts.get(link)).collect()
    }

    fn segments(&self, topology: &Topology, recovery: Micros) -> Vec<(Micros, Loss)> {
        let nodes: Vec<(&str, Spans)> =
            self.unavailable.iter().map(|(name, spans)| (name.as_str(), spans.extended(recovery))).collect();
        let cuts: Vec<(&(String, String), Spans)> =
            self.cuts.iter().map(|(link, spans)| (link, spans.extended(recovery))).collect();
        let other = self.other.extended(recovery);
        let mut edges = BTreeSet::from([0]);
        for spans in
            nodes.iter().map(|(_, spans)| spans).chain(cuts.iter().map(|(_, spans)| spans)).chain([&other])
        {
            edges.extend(spans.iter().flat_map(|(from, until)| [from, until]));
        }
        edges
            .into_iter()
            .map(|at| {
                if other.contains(at) {
                    return (at, Loss::Beyond);
                }
                let lost = nodes.iter().filter(|(_, spans)| spans.contains(at)).map(|(name, _)| *name);
                let cut = cuts.iter().filter(|(_, spans)| spans.contains(at)).map(|(link, _)| *link);
                (at, classify(topology, lost.collect(), cut.collect()))
            })
            .collect()
    }

    /// When one of the databases was leaving: it may refuse, and it may still acknowledge.
    pub fn databases_leaving(&self, topology: &Topology) -> Spans {
        Spans::union(
            self.leaving.iter().filter(|(name, _)| topology.is_database(name)).map(|(_, spans)| spans),
        )
    }

    /// When the node was down, paused or leaving.
    pub fn unavailable(&self, node: &str) -> Spans {
        self.unavailable.get(node).cloned().unwrap_or_default()
    }

    /// When any of the nodes was paused.
    pub fn any_paused<'a>(&self, nodes: impl Iterator<Item = &'a str>) -> Spans {
        Spans::union(nodes.filter_map(|node| self.paused.get(node)))
    }

    /// When nothing may be acknowledged: a database unavailable, or the link between them cut, one way at
    /// least.
    pub fn chain_broken(&self) -> &Spans {
        &self.chain_broken
    }

    /// When a database was being made anew, or waited for that: a refusal has a reason, and the database does not
    /// serve.
    pub fn made_anew(&self) -> Spans {
        Spans::union(self.rebuilt.values())
    }

    /// When anything was wrong.
    pub fn disturbed(&self) -> &Spans {
        &self.disturbed
    }

    /// When faults without events lasted.
    pub fn other_faults(&self) -> &Spans {
        &self.other
    }

    /// When at least one host lived and was within reach of a living entry.
    pub fn living_host(&self) -> &Spans {
        &self.living_host
    }

    /// When a link between a host and a database was cut.
    pub fn host_database_cuts(&self, topology: &Topology) -> Spans {
        let between = |from: &str, to: &str| topology.is_host(from) && topology.is_database(to);
        let cut = self.cuts.iter().filter(|((from, to), _)| between(from, to) || between(to, from));
        Spans::union(cut.map(|(_, spans)| spans))
    }

    /// Begins of whatever hurts writes: databases, links among databases and hosts.
    pub fn write_loss_starts(&self) -> &[Micros] {
        &self.write_loss_starts
    }

    /// Begins of whatever hurts the way from clients to hosts that can serve: hosts, the entry, links that end outside, hosts cut
    /// off from every database while others are not.
    pub fn path_loss_starts(&self) -> &[Micros] {
        &self.path_loss_starts
    }

    /// Begins of everything.
    pub fn loss_starts(&self) -> &[Micros] {
        &self.loss_starts
    }

    /// The most that was lost at any moment of `[from, to]`, recovering nodes counted as lost.
    pub fn worst_loss(&self, from: Micros, to: Micros) -> Loss {
        let first = self.losses.partition_point(|(at, _)| *at <= from).saturating_sub(1);
        let during = self.losses[first..].iter().take_while(|(at, _)| *at <= to);
        during.map(|(_, loss)| *loss).max().unwrap_or(Loss::Nothing)
    }
}

/// Both maps' spans, node by node.
fn union_by_node(one: &BTreeMap<String, Spans>, other: &BTreeMap<String, Spans>) -> BTreeMap<String, Spans> {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    names
        .into_iter()
        .map(|name| (name.clone(), Spans::union(one.get(name).into_iter().chain(other.get(name)))))
        .collect()
}

/// The last of the sorted moments that is not after `at`.
pub fn last_before(moments: &[Micros], at: Micros) -> Option<Micros> {
    moments[..moments.partition_point(|moment| *moment <= at)].last().copied()
}

fn classify<'a>(topology: &Topology, mut lost: BTreeSet<&'a str>, cuts: Vec<&'a (String, String)>) -> Loss {
    let entry = |name: &str| topology.nodes.get(name).is_some_and(|facts| facts.kind == NodeKind::Entry);
    let known = |name: &str| topology.nodes.contains_key(name);
    if lost.iter().any(|name| entry(name)) {
        return Loss::Beyond;
    }
    lost.retain(|name| known(name));
    let mut inner = Vec::new();
    for (from, to) in cuts {
        match (known(from), known(to)) {
            // A client beyond the region, or cut off from it: no promise is made to it.
            (false, _) | (_, false) => return Loss::Beyond,
            _ if entry(from) => {
                lost.insert(to);
            }
            _ if entry(to) => {
                lost.insert(from);
            }
            _ if topology.is_host(from) && topology.is_host(to) => {}
            _ => inner.push((from.as_str(), to.as_str())),
        }
    }
    inner.retain(|(from, to)| !lost.contains(from) && !lost.contains(to));
    let single = |name: &str| if topology.is_database(name) { Loss::Database } else { Loss::Host };
    let zones: BTreeSet<_> = lost.iter().map(|name| topology.zone(name)).collect();
    let crossing = inner.iter().all(|(from, to)| topology.zone(from) != topology.zone(to));
    match (lost.len(), inner.is_empty()) {
        (0, true) => Loss::Nothing,
        (1, true) => lost.iter().next().map_or(Loss::Nothing, |name| single(name)),
        (_, true) if zones.len() == 1 => Loss::Zone,
        (0, false) => {
            // One node whose links alone explain all cuts; a host rather than a database if both do.
            let explains = |name: &&String| inner.iter().all(|(from, to)| from == name || to == name);
            let common = topology.nodes.keys().filter(explains).map(|name| single(name)).min();
            if crossing { Loss::ZoneLink } else { common.unwrap_or(Loss::Beyond) }
        }
        _ => Loss::Beyond,
    }
}

#[cfg(test)]
mod tests;
