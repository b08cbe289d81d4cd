//! Linearizability per key: from the history of all clients to one decision per key. Does not judge what
//! plaintexts say (see `g10_integrity`), nor anything between different keys.

pub mod attributes;
mod items;
pub mod model;
pub mod search;
#[cfg(test)]
mod tests;

use crate::history::{History, Phase};
use attributes::Mismatch;
use search::{Decision, Item};
use std::collections::BTreeMap;

pub use items::decrypt_is_proper;

/// Configurations visited per key before the search gives up.
pub const SEARCH_MAX: usize = 5_000_000;

/// One key.
#[derive(Debug, Clone)]
pub struct KeyHistory {
    /// Its steps, with the phase each was made in.
    pub items: Vec<(Item, Phase)>,
    /// Whether an order exists.
    pub decision: Decision,
    /// Configurations visited to find out.
    pub visited: usize,
}

/// What the history says about every key.
#[derive(Debug, Clone, Default)]
pub struct Analysis {
    /// By key id.
    pub keys: BTreeMap<String, KeyHistory>,
    /// Ids that were shown and that no create explains, with the operation that showed them.
    pub invented: BTreeMap<String, u64>,
    /// Fixed attributes that changed.
    pub mismatches: Vec<Mismatch>,
    /// Views compared with an earlier view of the same key.
    pub views_compared: u64,
}

/// Takes the history apart by key and decides each. `domains`: whose keys a client lists; clients without an
/// entry share one domain.
pub fn analyse(history: &History, domains: &BTreeMap<u32, String>, search_max: usize) -> Analysis {
    let (by_key, invented) = items::by_key(history, domains);
    let keys = by_key
        .into_iter()
        .map(|(key, items)| {
            let plain: Vec<Item> = items.iter().map(|(item, _)| *item).collect();
            let (decision, visited) = search::decide(&plain, search_max);
            (key, KeyHistory { items, decision, visited })
        })
        .collect();
    let (mismatches, views_compared) = attributes::mismatches(history);
    Analysis { keys, invented, mismatches, views_compared }
}

impl KeyHistory {
    /// Whether an order exists for the steps of the phases that `keep` accepts.
    pub fn holds_for(&self, keep: impl Fn(Phase) -> bool) -> Decision {
        let kept: Vec<Item> =
            self.items.iter().filter(|(_, phase)| keep(*phase)).map(|(item, _)| *item).collect();
        search::decide(&kept, SEARCH_MAX).0
    }
}
