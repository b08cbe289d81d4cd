//! The fault budget: what the promises are given for. Any number of power cuts, kills, pauses and link cuts,
//! of both zones at once too; no disk is lost, and at most one of the two copies of a record is tampered with.
//! Plans beyond it are refused: a promise broken by them would prove nothing.

use super::{Act, Plan};
use std::collections::BTreeSet;

/// The plan does more than the promises are given for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("beyond the fault budget: {0}")]
pub struct OverBudget(pub(super) String);

pub(super) fn check(plan: &Plan) -> Result<(), OverBudget> {
    let mut swapped = BTreeSet::new();
    for fault in &plan.faults {
        match &fault.act {
            Act::SwapRecords { node, .. } => {
                if !node.starts_with("db-") {
                    return Err(OverBudget(format!("{node} keeps no records to swap")));
                }
                swapped.insert(node.as_str());
            }
            Act::SlowDisk { nodes, .. } | Act::FailSyncs { nodes } => {
                if let Some(node) = nodes.iter().find(|node| !node.starts_with("db-")) {
                    return Err(OverBudget(format!("{node} has no disk that the service depends on")));
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
            Act::WallOffset { .. } => {}
        }
    }
    if swapped.len() > 1 {
        return Err(OverBudget("records swapped at both databases: no good copy remains".to_owned()));
    }
    Ok(())
}
