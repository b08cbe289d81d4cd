//! Scenario + seed -> plan: throws every die, from streams named by what they are for. Refuses nothing of its
//! own: [`Plan::check`] judges what was drawn.

use super::{
    Act, BadPlan, ClientPlan, Fault, Heal, LoadPlan, NetworkPlan, PhasesPlan, Plan, TopologyPlan, draw_access,
};
use crate::{
    actions::CutMode,
    dice::{Dice, stream_seed},
    history::Micros,
    scenario::{
        Choice, Counts, FaultKind, FaultSpec, HealSpec, HealWord, How, Inside, NodeTarget, Places, REPLICA,
        Scenario, Spans, StoreTarget, Storm, Target, WITNESS, Ways, span,
    },
};
use std::collections::{BTreeMap, BTreeSet};

const DEFAULT_OPERATIONS: Counts = Counts { low: 1, high: 60 };
const DEFAULT_EXTRA: Spans = Spans { low: 20_000, high: 200_000 };
const DEFAULT_OFFSET: Spans = Spans { low: 1_000_000, high: 300_000_000 };
const DOWN_TO_ROLL_BACK: Spans = Spans { low: 50_000, high: 2_000_000 };
const DEFAULT_MIDWAY: Counts = Counts { low: 200, high: 200 };
const DEFAULT_MISREAD: Counts = Counts { low: 50, high: 50 };
const DEFAULT_OBJECTS: Counts = Counts { low: 1, high: 5 };
const DEFAULT_GAP: Spans = Spans { low: 3_000_000, high: 3_000_000 };

impl Plan {
    /// Throws all dice.
    ///
    /// # Errors
    /// [`BadPlan`]: what was drawn names an unknown node or is beyond the fault budget.
    pub fn draw(scenario: &Scenario, seed: u64) -> Result<Plan, BadPlan> {
        let topology = draw_topology(scenario, seed);
        let places = topology.places();
        let stores = topology.stores();
        let phases = draw_phases(scenario)?;
        let mut faults = Vec::new();
        for (index, spec) in scenario.fault.iter().enumerate() {
            // One stream per fault: taking one away leaves the others as they were.
            let mut dice = Dice::named(seed, &format!("fault-{index}"));
            draw_fault(spec, places, &stores, &mut dice, &mut faults)?;
        }
        if let Some(storm) = &scenario.storm {
            draw_storm(storm, seed, places, &mut faults)?;
        }
        faults.retain(|fault| fault.at_us < phases.faults_us);
        faults.sort_by_key(|fault| fault.at_us);
        let plan = Plan {
            scenario: scenario.name.clone(),
            seed,
            promises: scenario.promises.clone(),
            network: draw_network(scenario, seed),
            clocks: draw_clocks(scenario, seed, places),
            drifts_ppm: draw_drifts(scenario, seed, places),
            load: draw_load(scenario, seed, topology.clients),
            access: scenario
                .access
                .as_ref()
                .map(|access| draw_access::draw(access, seed, &topology, phases.faults_us)),
            topology,
            phases,
            limits: scenario.limits.clone(),
            faults,
        };
        plan.check()?;
        Ok(plan)
    }
}

pub(super) fn small(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn draw_topology(scenario: &Scenario, seed: u64) -> TopologyPlan {
    let mut dice = Dice::named(seed, "topology");
    TopologyPlan {
        region: scenario.topology.region.clone(),
        hosts_per_zone: small(scenario.topology.hosts_per_zone.draw(&mut dice)),
        clients: small(scenario.topology.clients.draw(&mut dice)),
        domains: small(scenario.topology.domains.draw(&mut dice)),
        replica: scenario.topology.replica,
        backups: scenario.topology.backups,
        witness_with_replica: scenario.topology.witness_with_replica,
        audit: scenario.topology.audit,
        shares: scenario.topology.shares,
    }
}

fn draw_network(scenario: &Scenario, seed: u64) -> NetworkPlan {
    let mut dice = Dice::named(seed, "latency");
    NetworkPlan {
        zone_us: scenario.network.zone.draw(&mut dice),
        zones_us: scenario.network.zones.draw(&mut dice),
        clients_us: scenario.network.clients.draw(&mut dice),
    }
}

fn draw_clocks(scenario: &Scenario, seed: u64, places: Places) -> BTreeMap<String, i64> {
    let Some(offset) = scenario.clocks.offset else { return BTreeMap::new() };
    let mut dice = Dice::named(seed, "clocks");
    places.all().into_iter().map(|node| (node, either_way(offset, &mut dice))).collect()
}

/// Half of the clocks are as wrong as they may be.
fn draw_drifts(scenario: &Scenario, seed: u64, places: Places) -> BTreeMap<String, i64> {
    let most = i64::from(scenario.clocks.drift_ppm);
    if most == 0 {
        return BTreeMap::new();
    }
    let mut dice = Dice::named(seed, "drift");
    let mut drift = || {
        let size = if dice.chance(1, 2) { most } else { dice.between(0, most as u64) as i64 };
        if dice.chance(1, 2) { size } else { -size }
    };
    places.all().into_iter().map(|node| (node, drift())).collect()
}

fn either_way(offset: Spans, dice: &mut Dice) -> i64 {
    let size = i64::try_from(offset.draw(dice)).unwrap_or(i64::MAX);
    if dice.chance(1, 2) { size } else { -size }
}

fn draw_load(scenario: &Scenario, seed: u64, clients: u32) -> LoadPlan {
    let load = &scenario.load;
    let mut dice = Dice::named(seed, "arrivals");
    let client = |stream, first_us| ClientPlan { stream, first_us };
    let mut plan = LoadPlan {
        rate_per_s: load.rate_per_s,
        rate_per_h: load.rate_per_h,
        hot_records: load.hot_records,
        hot_percent: load.hot_percent,
        signers_percent: load.signers_percent,
        secrets_percent: load.secrets_percent,
        retries: load.retries,
        mix: load.mix.clone(),
        client: (0..clients)
            .map(|number| client(stream_seed(seed, &format!("client-{number}")), 0))
            .collect(),
    };
    let interval_us = plan.interval_us().unwrap_or(1_000_000 * u64::from(clients));
    plan.client.iter_mut().for_each(|client| client.first_us = dice.below(interval_us));
    plan
}

fn draw_phases(scenario: &Scenario) -> Result<PhasesPlan, BadPlan> {
    let read = |text: &str| span(text).map_err(BadPlan::Senseless);
    let heal = match &scenario.phases.heal {
        HealSpec::Word(HealWord::All) => Heal::All,
        HealSpec::Word(HealWord::None) => Heal::None,
        HealSpec::Kinds(kinds) => Heal::Kinds(kinds.iter().copied().collect::<BTreeSet<_>>()),
    };
    Ok(PhasesPlan {
        warm_us: read(&scenario.phases.warm)?,
        faults_us: read(&scenario.phases.faults)?,
        settle_us: read(&scenario.phases.settle)?,
        heal,
    })
}

fn draw_fault(
    spec: &FaultSpec,
    places: Places,
    stores: &[String],
    dice: &mut Dice,
    faults: &mut Vec<Fault>,
) -> Result<(), BadPlan> {
    let none = || BadPlan::Senseless("a choice without a weight above 0".to_owned());
    let happens = spec.chance.is_none_or(|odds| odds.draw(dice));
    let kind = spec.kind.draw(dice).ok_or_else(none)?;
    let target = spec.target.draw(dice).ok_or_else(none)?;
    let at_us = spec.at.draw(dice);
    let lasting = spec.lasting.map(|span| span.draw(dice));
    let lasting = lasting.filter(|_| spec.returns.is_none_or(|odds| odds.draw(dice)));
    if !happens {
        return Ok(());
    }
    match target {
        Target::Stores(target) => {
            let drawn = target.draw(stores, dice);
            let mut act = store_act(spec, kind, drawn, dice);
            if target == StoreTarget::Any {
                at_the_same_store(&mut act, faults);
            }
            faults.push(Fault { at_us, until_us: lasting.map(|span| at_us + span), act });
        }
        Target::Links(links) => {
            let pairs = links.draw(places, dice);
            let act = link_act(spec, kind, pairs, dice);
            faults.push(Fault { at_us, until_us: lasting.map(|span| at_us + span), act });
        }
        Target::Nodes(target) => {
            let nodes = draw_nodes(&target, places, dice)?;
            if kind == FaultKind::Restart {
                restart(spec, nodes, at_us, dice, faults);
            } else if kind == FaultKind::RollBackDisk {
                roll_back(nodes, at_us, lasting.unwrap_or(at_us), dice, faults);
            } else {
                let mut act = node_act(spec, kind, nodes, dice);
                if matches!(target, NodeTarget::Database(None)) {
                    at_the_same_database(&mut act, faults);
                }
                interrupted(spec, &mut act, dice);
                faults.push(Fault { at_us, until_us: lasting.map(|span| at_us + span), act });
            }
        }
    }
    Ok(())
}

/// What hurts disks at `database:any` hurts one database, and that one is made anew: what both lose is lost.
fn at_the_same_database(act: &mut Act, faults: &[Fault]) {
    let earlier = faults.iter().find_map(|fault| match &fault.act {
        Act::SwapRecords { node, .. }
        | Act::RollBackDisk { node }
        | Act::ReplaceMachine { node, .. }
        | Act::Rebuild { node, .. } => Some(node),
        Act::ReturnDisk { node } if node != WITNESS => Some(node),
        // A lost region has lost both: which of its disks returns is drawn anew.
        Act::LoseDisk { nodes } => only_database(nodes),
        _ => None,
    });
    let Some(earlier) = earlier else { return };
    match act {
        Act::SwapRecords { node, .. }
        | Act::ReturnDisk { node }
        | Act::RollBackDisk { node }
        | Act::ReplaceMachine { node, .. }
        | Act::Rebuild { node, .. } => node.clone_from(earlier),
        Act::LoseDisk { nodes } => *nodes = vec![earlier.clone()],
        _ => {}
    }
}

/// The database among the nodes, if it is one.
pub(super) fn only_database(nodes: &[String]) -> Option<&String> {
    let mut databases = nodes.iter().filter(|node| node.starts_with("db-"));
    databases.next().filter(|_| databases.next().is_none())
}

/// What hurts a store for good at `store:any` hurts one store: the other one keeps everything.
fn at_the_same_store(act: &mut Act, faults: &[Fault]) {
    let earlier = faults.iter().find_map(|fault| match &fault.act {
        Act::LoseStore { store } | Act::DamageStore { store, .. } => Some(store),
        _ => None,
    });
    if let (Some(earlier), Act::LoseStore { store } | Act::DamageStore { store, .. }) = (earlier, act) {
        store.clone_from(earlier);
    }
}

fn store_act(spec: &FaultSpec, kind: FaultKind, stores: Vec<String>, dice: &mut Dice) -> Act {
    let mut odds = |given: Option<Counts>, default: Counts| small(given.unwrap_or(default).draw(dice));
    let one = |stores: Vec<String>| stores.into_iter().next().unwrap_or_default();
    match kind {
        FaultKind::SlowStore => {
            Act::SlowStore { stores, extra_us: spec.extra.unwrap_or(DEFAULT_EXTRA).draw(dice) }
        }
        FaultKind::FlakyStore => Act::FlakyStore {
            stores,
            midway: odds(spec.midway, DEFAULT_MIDWAY),
            altered: odds(spec.altered, DEFAULT_MISREAD),
            hidden: odds(spec.hidden, DEFAULT_MISREAD),
        },
        FaultKind::LoseStore => Act::LoseStore { store: one(stores) },
        FaultKind::DamageStore => Act::DamageStore {
            store: one(stores),
            objects: odds(spec.objects, DEFAULT_OBJECTS),
            draw: dice.bits(),
        },
        // No other kind is done to stores.
        _ => Act::CutStore { stores },
    }
}

fn interrupted(spec: &FaultSpec, act: &mut Act, dice: &mut Dice) {
    if let (
        Act::Rebuild { interrupt_us, .. }
        | Act::ReplaceWitness { interrupt_us }
        | Act::Restore { interrupt_us, .. },
        Some(spans),
    ) = (&mut *act, spec.interrupt)
    {
        *interrupt_us = Some(spans.draw(dice));
    }
    if let (Act::ReplaceMachine { wakes_us, .. }, Some(spans)) = (act, spec.wakes) {
        *wakes_us = Some(spans.draw(dice));
    }
}

fn draw_nodes(target: &NodeTarget, places: Places, dice: &mut Dice) -> Result<Vec<String>, BadPlan> {
    target.draw(places, dice).ok_or_else(|| match target {
        NodeTarget::Named(name) => BadPlan::NoSuchNode(name.clone()),
        _ => BadPlan::Senseless("a target without nodes".to_owned()),
    })
}

fn choose<T: Ord + Clone>(choice: Option<&Choice<T>>, default: T, dice: &mut Dice) -> T {
    choice.and_then(|choice| choice.draw(dice)).unwrap_or(default)
}

fn link_act(spec: &FaultSpec, kind: FaultKind, pairs: Vec<(String, String)>, dice: &mut Dice) -> Act {
    let ways = choose(spec.ways.as_ref(), Ways::Both, dice);
    let ways = match ways {
        Ways::One if dice.chance(1, 2) => Ways::AToB,
        Ways::One => Ways::BToA,
        ways => ways,
    };
    let back = |(a, b): &(String, String)| (b.clone(), a.clone());
    let links: Vec<(String, String)> = match ways {
        Ways::AToB | Ways::One => pairs,
        Ways::BToA => pairs.iter().map(back).collect(),
        Ways::Both => pairs.iter().flat_map(|pair| [pair.clone(), back(pair)]).collect(),
    };
    if kind == FaultKind::CutLink {
        Act::CutLink { links, mode: choose(spec.mode.as_ref(), CutMode::Hold, dice) }
    } else {
        Act::SlowLink { links, extra_us: spec.extra.unwrap_or(DEFAULT_EXTRA).draw(dice) }
    }
}

fn one_database(nodes: Vec<String>) -> String {
    nodes.into_iter().find(|node| node.starts_with("db-")).unwrap_or_default()
}

fn node_act(spec: &FaultSpec, kind: FaultKind, nodes: Vec<String>, dice: &mut Dice) -> Act {
    let databases = |nodes: Vec<String>| {
        nodes.into_iter().filter(|node| node.starts_with("db-") || node == REPLICA).collect()
    };
    match kind {
        FaultKind::PowerCut => {
            let inside = choose(spec.inside.as_ref(), Inside::Time, dice) == Inside::DiskOp;
            let operation = spec.operations.unwrap_or(DEFAULT_OPERATIONS).draw(dice).max(1);
            // Hosts keep nothing on their disks: only a database is ever inside a disk operation.
            let operation = (inside && nodes.iter().any(|node| node.starts_with("db-"))).then_some(operation);
            Act::PowerCut { nodes, operation }
        }
        FaultKind::Kill => Act::Kill { nodes },
        FaultKind::Pause => Act::Pause { nodes },
        FaultKind::SlowDisk => Act::SlowDisk {
            nodes: databases(nodes),
            extra_us: spec.extra.unwrap_or(DEFAULT_EXTRA).draw(dice),
        },
        FaultKind::SwapRecords => Act::SwapRecords { node: one_database(nodes), draw: dice.bits() },
        FaultKind::WallOffset => {
            Act::WallOffset { nodes, offset_us: either_way(spec.offset.unwrap_or(DEFAULT_OFFSET), dice) }
        }
        // Hosts keep their audit on their disks, if anything.
        FaultKind::FailSyncs if nodes.iter().all(|node| node.starts_with("host-")) => {
            Act::FailSyncs { nodes }
        }
        FaultKind::FailSyncs => Act::FailSyncs { nodes: databases(nodes) },
        FaultKind::FillDisk => Act::FillDisk { nodes },
        FaultKind::LoseDisk => Act::LoseDisk { nodes },
        FaultKind::Seal => Act::Seal { nodes },
        FaultKind::RotateShares => Act::RotateShares { nodes },
        FaultKind::ReturnDisk if nodes.iter().any(|node| node == WITNESS) => {
            Act::ReturnDisk { node: WITNESS.to_owned() }
        }
        FaultKind::ReturnDisk => Act::ReturnDisk { node: one_database(nodes) },
        FaultKind::ReplaceWitness => Act::ReplaceWitness { interrupt_us: None },
        FaultKind::TerminateDomain => Act::TerminateDomain { draw: dice.bits() },
        FaultKind::CreateDomain => Act::CreateDomain { draw: dice.bits() },
        FaultKind::RestoreFromReplica | FaultKind::RestoreFromBackup => {
            Act::Restore { backup: kind == FaultKind::RestoreFromBackup, interrupt_us: None }
        }
        FaultKind::RollBackDisk => Act::RollBackDisk { node: one_database(nodes) },
        FaultKind::ReplaceMachine => Act::ReplaceMachine { node: one_database(nodes), wakes_us: None },
        FaultKind::Rebuild | FaultKind::Abandon => Act::Rebuild {
            node: one_database(nodes),
            abandon: kind == FaultKind::Abandon,
            instead: kind == FaultKind::Rebuild && spec.instead,
            interrupt_us: None,
        },
        // Links and stores never come here.
        FaultKind::Shutdown
        | FaultKind::Restart
        | FaultKind::CutLink
        | FaultKind::SlowLink
        | FaultKind::CutStore
        | FaultKind::SlowStore
        | FaultKind::FlakyStore
        | FaultKind::LoseStore
        | FaultKind::DamageStore => Act::Shutdown { nodes },
    }
}

/// The disk goes back by `age_us`, while its machine is off for a moment.
fn roll_back(nodes: Vec<String>, at_us: Micros, age_us: Micros, dice: &mut Dice, faults: &mut Vec<Fault>) {
    let node = one_database(nodes);
    let off_us = DOWN_TO_ROLL_BACK.draw(dice);
    let from = at_us.saturating_sub(age_us);
    faults.push(Fault { at_us: from, until_us: None, act: Act::RememberDisk { node: node.clone() } });
    faults.push(Fault { at_us, until_us: Some(at_us + off_us), act: Act::RollBackDisk { node } });
}

/// One node after the other: each is down for `for`, and up for `gap` before the next one stops.
fn restart(spec: &FaultSpec, nodes: Vec<String>, at_us: Micros, dice: &mut Dice, faults: &mut Vec<Fault>) {
    let mut rest = nodes;
    let mut at_us = at_us;
    while !rest.is_empty() {
        let index = usize::try_from(dice.below(rest.len() as u64)).unwrap_or(0);
        let nodes = vec![rest.remove(index)];
        let down = spec.lasting.unwrap_or(DEFAULT_GAP).draw(dice);
        let act = match choose(spec.how.as_ref(), How::Shutdown, dice) {
            How::Shutdown => Act::Shutdown { nodes },
            How::Kill => Act::Kill { nodes },
            How::PowerCut => Act::PowerCut { nodes, operation: None },
        };
        faults.push(Fault { at_us, until_us: Some(at_us + down), act });
        at_us += down + spec.gap.unwrap_or(DEFAULT_GAP).draw(dice);
    }
}

fn draw_storm(storm: &Storm, seed: u64, places: Places, faults: &mut Vec<Fault>) -> Result<(), BadPlan> {
    let mut swarm = Dice::named(seed, "swarm");
    let mut kinds = BTreeMap::new();
    for (kind, weight) in &storm.kinds {
        if !storm.leave_out.draw(&mut swarm) {
            kinds.insert(*kind, *weight);
        }
    }
    if kinds.is_empty() {
        kinds = storm.kinds.clone();
    }
    let count = storm.count.draw(&mut swarm);
    for index in 0..count {
        let mut dice = Dice::named(seed, &format!("storm-{index}"));
        let Some(kind) = Choice::Weights(kinds.clone()).draw(&mut dice) else { return Ok(()) };
        let target = if kind.of_links() {
            storm.links.clone()
        } else if kind.of_disks() {
            Choice::Always(Target::Nodes(NodeTarget::Database(None)))
        } else {
            storm.nodes.clone()
        };
        let spec = FaultSpec {
            kind: Choice::Always(kind),
            target,
            at: storm.at,
            lasting: Some(storm.lasting),
            returns: None,
            chance: None,
            ways: Some(Choice::Weights([(Ways::Both, 2), (Ways::One, 1)].into())),
            mode: Some(Choice::Weights([(CutMode::Hold, 2), (CutMode::Reset, 1)].into())),
            inside: Some(Choice::Weights([(Inside::DiskOp, 2), (Inside::Time, 1)].into())),
            operations: None,
            extra: None,
            offset: None,
            how: None,
            gap: None,
            interrupt: None,
            instead: false,
            wakes: None,
            midway: None,
            altered: None,
            hidden: None,
            objects: None,
        };
        draw_fault(&spec, places, &[], &mut dice, faults)?;
    }
    Ok(())
}
