//! The backup stores as targets of faults: `store:first`, `store:any`, ... Knows no regions: which stores there are is handed in.

use super::FaultKind;
use crate::dice::Dice;

/// Stores, in the order in which the documentation names their regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreTarget {
    /// `store:first`.
    First,
    /// `store:second`.
    Second,
    /// `store:any`: one of the two, drawn.
    Any,
    /// `store:both`.
    Both,
}

impl StoreTarget {
    /// The stores meant, of those that there are.
    pub fn draw(self, stores: &[String], dice: &mut Dice) -> Vec<String> {
        match self {
            StoreTarget::First => stores.iter().take(1).cloned().collect(),
            StoreTarget::Second => stores.iter().skip(1).take(1).cloned().collect(),
            StoreTarget::Any => dice.pick(stores).cloned().into_iter().collect(),
            StoreTarget::Both => stores.to_vec(),
        }
    }

    pub(super) fn parse(which: &str) -> Option<StoreTarget> {
        Some(match which {
            "first" => StoreTarget::First,
            "second" => StoreTarget::Second,
            "any" => StoreTarget::Any,
            "both" => StoreTarget::Both,
            _ => return None,
        })
    }

    pub(super) fn fits(self, kind: FaultKind) -> Result<(), String> {
        if !kind.of_stores() {
            return Err(format!("{} is not done to stores", kind.word()));
        }
        if self == StoreTarget::Both && kind.hurts_a_store() {
            return Err(format!("{} is done to one store: a good copy must remain", kind.word()));
        }
        Ok(())
    }
}
