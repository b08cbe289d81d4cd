//! `[access]` of a scenario: visitors, who may do some of what they ask for, and an operator who changes what they may.

use super::{Counts, Scenario};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who asks beside the load's clients, and how often that is changed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// Visitors of each domain, 2 to 8.
    pub visitors: Counts,
    /// Operations per second of all visitors together.
    pub rate_per_s: u32,
    /// Changes of each domain's access, at drawn moments of the faults phase.
    pub changes: Counts,
    /// Weights of what is changed.
    pub mix: BTreeMap<ChangeKind, u32>,
}

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// A policy is made, replaced or deleted.
    Policy,
    /// A group gets other members, or is deleted.
    Group,
    /// A credential is revoked.
    Credential,
    /// The tokens of the issuer are taken no more, or again.
    Issuer,
}

impl Default for Access {
    fn default() -> Self {
        use ChangeKind::*;
        Access {
            visitors: Counts { low: 4, high: 4 },
            rate_per_s: 30,
            changes: Counts { low: 8, high: 14 },
            mix: [(Policy, 4), (Group, 3), (Credential, 1), (Issuer, 1)].into(),
        }
    }
}

impl Access {
    pub(super) fn check(&self, scenario: &Scenario) -> Result<(), String> {
        if self.visitors.low < 2 || self.visitors.high > 8 {
            return Err("visitors must be 2 to 8".to_owned());
        }
        if !(1..=1_000).contains(&self.rate_per_s) || self.changes.high > 100 {
            return Err("rate_per_s of [access] is 1 to 1000, changes at most 100".to_owned());
        }
        if self.mix.values().all(|weight| *weight == 0) {
            return Err("the mix of [access] has no weight above 0".to_owned());
        }
        if scenario.topology.clients.low < scenario.topology.domains.high {
            return Err("[access] needs a client of the load in each domain".to_owned());
        }
        let kinds = scenario.fault.iter().flat_map(|fault| fault.kind.values());
        match kinds.into_iter().find(|kind| kind.loses_access()) {
            Some(kind) => Err(format!("[access] does not go with {}", kind.word())),
            None => Ok(()),
        }
    }
}
