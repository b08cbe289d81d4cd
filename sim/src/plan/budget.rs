//! The fault budget: what the promises are given for. Any number of power cuts, kills, pauses and link cuts,
//! of both zones at once too; disks are lost, or go back in time, in one zone only, and at most one of the two
//! copies of a record is tampered with. Of the two backup stores one keeps everything.
//! Plans beyond it are refused: a promise broken by them would prove nothing.

use super::{Act, Fault, Plan, draw::only_database};
use crate::scenario::{REPLICA, WITNESS};
use kms::limits::DRIFT_PERCENT;
use std::collections::BTreeSet;

/// The plan does more than the promises are given for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("beyond the fault budget: {0}")]
pub struct OverBudget(pub(super) String);

pub(super) fn check(plan: &Plan) -> Result<(), OverBudget> {
    let most = i64::try_from(DRIFT_PERCENT * 10_000).unwrap_or(i64::MAX);
    if let Some((node, drift)) = plan.drifts_ppm.iter().find(|(_, drift)| drift.abs() > most) {
        return Err(OverBudget(format!("the clocks of {node} drift by {drift} ppm, and may by {most}")));
    }
    let mut hurt = BTreeSet::new();
    let (mut swapped, mut lost, mut replaced) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut region = false;
    for fault in &plan.faults {
        match &fault.act {
            Act::SwapRecords { node, .. } => {
                if !node.starts_with("db-") {
                    return Err(OverBudget(format!("{node} keeps no records to swap")));
                }
                swapped.insert(node.as_str());
            }
            // A replica without its disk makes itself anew.
            Act::LoseDisk { nodes }
                if of_witness(plan, nodes) || nodes.iter().all(|node| node == REPLICA) => {}
            Act::LoseDisk { nodes } if with_witness(plan, nodes) && only_database(nodes).is_some() => {
                return Err(OverBudget("the witness and a database lose their disks at once".to_owned()));
            }
            Act::LoseDisk { nodes } => match only_database(nodes) {
                Some(one) => {
                    lost.insert(one.as_str());
                }
                None if region => return Err(OverBudget("the region is lost once".to_owned())),
                None => region = true,
            },
            Act::ReturnDisk { node } if node == WITNESS => {}
            Act::ReturnDisk { node } if !lost.contains(node.as_str()) && !region => {
                return Err(OverBudget(format!("{node} has lost no disk that could return")));
            }
            Act::RollBackDisk { node } => {
                lost.insert(node.as_str());
            }
            Act::ReplaceMachine { node, .. } => {
                if !node.starts_with("db-") || !replaced.insert(node.as_str()) {
                    return Err(OverBudget(format!("{node} is no database, or is replaced twice")));
                }
                lost.insert(node.as_str());
            }
            Act::Rebuild { node, instead: true, .. } if !lost.contains(node.as_str()) => {
                return Err(OverBudget(format!("{node} is not lost: nothing is made anew in its place")));
            }
            Act::ReturnDisk { node } | Act::RememberDisk { node } | Act::Rebuild { node, .. } => {
                if !node.starts_with("db-") {
                    return Err(OverBudget(format!("{node} is no database")));
                }
            }
            Act::SlowDisk { nodes, .. } | Act::FailSyncs { nodes } => {
                let audited = |node: &str| {
                    let of_syncs = matches!(fault.act, Act::FailSyncs { .. });
                    of_syncs && plan.topology.audit && node.starts_with("host-")
                };
                let kept = |node: &str| node.starts_with("db-") || node == REPLICA || audited(node);
                if let Some(node) = nodes.iter().find(|node| !kept(node)) {
                    return Err(OverBudget(format!("{node} has no disk that the service depends on")));
                }
            }
            Act::FillDisk { nodes } => {
                if !plan.topology.audit || nodes.iter().any(|node| !node.starts_with("host-")) {
                    return Err(OverBudget(
                        "only hosts that keep an audit have a disk that fills".to_owned(),
                    ));
                }
            }
            Act::PowerCut { nodes, .. }
            | Act::Kill { nodes }
            | Act::Pause { nodes }
            | Act::Shutdown { nodes } => {
                if nodes.iter().any(|node| node == "entry") {
                    return Err(OverBudget("the entry is outside the promises".to_owned()));
                }
            }
            Act::CutLink { links, .. } | Act::SlowLink { links, .. } => {
                if links.iter().any(|(from, to)| from == "entry" || to == "entry") {
                    return Err(OverBudget("the entry is outside the promises".to_owned()));
                }
            }
            Act::Restore { .. } if !region => {
                return Err(OverBudget("a region that is not lost is not restored".to_owned()));
            }
            Act::LoseStore { store } | Act::DamageStore { store, .. } => {
                hurt.insert(store.as_str());
            }
            Act::WallOffset { .. }
            | Act::Restore { .. }
            | Act::ReplaceWitness { .. }
            | Act::TerminateDomain { .. }
            | Act::Seal { .. }
            | Act::RotateShares { .. }
            | Act::CreateDomain { .. }
            | Act::CutStore { .. }
            | Act::SlowStore { .. }
            | Act::FlakyStore { .. } => {}
        }
    }
    if hurt.len() > 1 {
        return Err(OverBudget("both backup stores lost something for good: one must keep all".to_owned()));
    }
    made_anew(plan)?;
    witness_in_place(plan)?;
    if lost.len() > 1 || !lost.is_empty() && !swapped.is_empty() && lost != swapped {
        return Err(OverBudget(
            "what one zone lost, the other must have: disks of both zones are hurt".to_owned(),
        ));
    }
    if swapped.len() > 1 {
        return Err(OverBudget("records swapped at both databases: no good copy remains".to_owned()));
    }
    Ok(())
}

fn of_witness(plan: &Plan, nodes: &[String]) -> bool {
    nodes.len() == 1 && nodes[0] == plan.topology.witness()
}

/// Of several nodes, one of them the machine that the witness runs on.
fn with_witness(plan: &Plan, nodes: &[String]) -> bool {
    nodes.len() > 1 && nodes.iter().any(|node| node == plan.topology.witness())
}

/// A witness without its disk, or with an old one, is replaced later, and while its disk is lost, no disk of a database is:
/// there would be nobody left who could decide for an epoch. One that is lost with the whole region begins anew with the restore.
fn witness_in_place(plan: &Plan) -> Result<(), OverBudget> {
    let (mut missing, mut old, mut taken) = (false, false, false);
    for fault in &plan.faults {
        match &fault.act {
            Act::LoseDisk { nodes } if of_witness(plan, nodes) => {
                (missing, old, taken) = (true, false, true);
            }
            Act::ReturnDisk { node } if node == WITNESS && !taken => {
                return Err(OverBudget("the witness has lost no disk that could return".to_owned()));
            }
            // The newer one is out then, and whole: it can be put back.
            Act::ReturnDisk { node } if node == WITNESS => old = !old,
            // That of a backup comes, or the plan is refused.
            Act::LoseDisk { nodes } if with_witness(plan, nodes) => {
                (missing, old, taken) = (false, false, true);
            }
            Act::ReplaceWitness { .. } => missing = false,
            Act::LoseDisk { nodes } if nodes.iter().all(|node| node == REPLICA) => {}
            Act::LoseDisk { .. } | Act::RollBackDisk { .. } | Act::ReturnDisk { .. } if missing => {
                return Err(OverBudget(
                    "the witness and a database have lost their disks at once".to_owned(),
                ));
            }
            _ => {}
        }
    }
    if missing || old {
        return Err(OverBudget(
            "the witness is lost, and nobody replaces it: add a replace-witness".to_owned(),
        ));
    }
    Ok(())
}

/// Whoever has an empty disk, or an old one, is made anew later.
fn made_anew(plan: &Plan) -> Result<(), OverBudget> {
    let of_replica = |fault: &Fault| matches!(&fault.act, Act::LoseDisk { nodes } if nodes.iter().any(|node| node == REPLICA));
    for (index, fault) in plan.faults.iter().enumerate() {
        if let Act::LoseDisk { nodes } = &fault.act
            && nodes.iter().any(|node| node.starts_with("db-"))
            && only_database(nodes).is_none()
        {
            let from = |backup| {
                plan.faults[index..]
                    .iter()
                    .any(|later| matches!(&later.act, Act::Restore { backup: of, .. } if *of == backup))
            };
            if !from(true) && (!from(false) || plan.faults.iter().any(of_replica)) {
                return Err(OverBudget(
                    "both databases lose their disks, and nobody makes the region anew of a copy that is there: add a \
                     restore-from-replica, or a restore-from-backup if the replica's disk is lost too"
                        .to_owned(),
                ));
            }
            continue;
        }
        let lost = match &fault.act {
            Act::LoseDisk { nodes } => nodes.iter().find(|node| node.starts_with("db-")),
            Act::ReturnDisk { node } if node != WITNESS => Some(node),
            Act::ReplaceMachine { node, .. } => Some(node),
            _ => None,
        };
        let Some(lost) = lost else { continue };
        let rebuilt = plan.faults[index..]
            .iter()
            .any(|later| matches!(&later.act, Act::Rebuild { node, abandon: false, .. } if node == lost));
        if !rebuilt {
            return Err(OverBudget(format!(
                "the disk of {lost} is lost, and nobody makes it anew: add a rebuild"
            )));
        }
    }
    Ok(())
}
