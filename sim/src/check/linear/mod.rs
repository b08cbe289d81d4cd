//! Linearizability per key and per secret: from the history of all clients to one decision for each. Does not judge what
//! plaintexts say (see `g10_integrity`), nor anything between different records.

pub mod attributes;
mod items;
pub mod model;
pub mod search;
pub mod secret;
mod secret_items;
#[cfg(test)]
mod tests;

use crate::history::{History, Phase};
use attributes::Mismatch;
use model::State;
use search::{Decision, Item, Machine};
use secret::Secret;
use std::collections::BTreeMap;

pub use items::decrypt_is_proper;

/// Configurations visited per key or secret before the search gives up.
pub const SEARCH_MAX: usize = 5_000_000;

/// One key, or one secret.
#[derive(Debug, Clone)]
#[expect(
    clippy::type_complexity,
    reason = "an alias would hide from the derives what they need to know of its parts"
)]
pub struct RecordHistory<S: Machine> {
    /// Its steps, with the phase each was made in.
    pub items: Vec<(Item<S::Change, S::Check>, Phase)>,
    /// Whether an order exists.
    pub decision: Decision<S>,
    /// Configurations visited to find out.
    pub visited: usize,
}

/// What the history says about every key and every secret.
#[derive(Debug, Clone, Default)]
pub struct Analysis {
    /// By key id.
    pub keys: BTreeMap<String, RecordHistory<State>>,
    /// By path.
    pub secrets: BTreeMap<String, RecordHistory<Secret>>,
    /// Ids that were shown and that no create explains, with the operation that showed them.
    pub invented: BTreeMap<String, u64>,
    /// Fixed attributes that changed.
    pub mismatches: Vec<Mismatch>,
    /// Views compared with an earlier view of the same key.
    pub views_compared: u64,
}

/// Takes the history apart by key and by secret and decides each. `domains`: whose keys a client lists; clients without an
/// entry share one domain.
pub fn analyse(history: &History, domains: &BTreeMap<u32, String>, search_max: usize) -> Analysis {
    let (by_key, invented) = items::by_key(history, domains);
    let keys = decided::<State>(by_key, search_max);
    let secrets = decided::<Secret>(secret_items::by_path(history), search_max);
    let (mismatches, views_compared) = attributes::mismatches(history);
    Analysis { keys, secrets, invented, mismatches, views_compared }
}

/// The steps of one record, with the phase each was made in.
type StepsOf<S> = Vec<(Item<<S as Machine>::Change, <S as Machine>::Check>, Phase)>;

fn decided<S: Machine>(
    by_name: BTreeMap<String, StepsOf<S>>,
    search_max: usize,
) -> BTreeMap<String, RecordHistory<S>> {
    let decided = |(name, items): (String, StepsOf<S>)| {
        let plain: Vec<_> = items.iter().map(|(item, _)| item.clone()).collect();
        let (decision, visited) = search::decide::<S>(&plain, search_max);
        (name, RecordHistory { items, decision, visited })
    };
    by_name.into_iter().map(decided).collect()
}

impl<S: Machine> RecordHistory<S> {
    /// Whether an order exists for the steps of the phases that `keep` accepts.
    pub fn holds_for(&self, keep: impl Fn(Phase) -> bool) -> Decision<S> {
        let kept: Vec<_> =
            self.items.iter().filter(|(_, phase)| keep(*phase)).map(|(item, _)| item.clone()).collect();
        search::decide::<S>(&kept, SEARCH_MAX).0
    }
}
