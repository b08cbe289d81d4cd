//! `[access]` of a plan: whose visitors ask for what, and what an operator changes when; all dice thrown. Ids of domains and of credentials
//! are not known before there is a region: see [`Change`].

use super::{BadPlan, Plan, hex_text};
use crate::{access::Change, history::Micros};
use serde::{Deserialize, Serialize};

/// The name of each domain's issuer.
pub const ISSUER: &str = "idp";

/// Who asks beside the load's clients, for what, and what is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessPlan {
    /// Between two operations of one visitor.
    pub interval_us: Micros,
    /// Visitors. The first one is the client that follows the prober.
    pub visitor: Vec<VisitorPlan>,
    /// What they ask for, by domain.
    pub exhibits: Vec<ExhibitPlan>,
    /// Changes, those before the load first; then by time.
    pub change: Vec<ChangePlan>,
}

/// One visitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisitorPlan {
    /// Its domain's place.
    pub domain: u32,
    /// What it shows.
    pub bears: Bears,
    /// What follows the prefix of users in its URN.
    pub subject: String,
    /// Seed of its operations, 64 hex digits.
    #[serde(with = "hex_text")]
    pub stream: [u8; 32],
    /// Its first operation, from the start of the load.
    pub first_us: Micros,
}

/// What a visitor shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bears {
    /// An access certificate. Whether it is registered is said by a change.
    Certificate,
    /// A token of the domain's issuer, for the subject.
    Token,
}

/// What is asked for in one domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "ids of keys, and paths of secrets")]
pub struct ExhibitPlan {
    pub keys: Vec<String>,
    pub absent_key: String,
    pub secrets: Vec<String>,
    pub absent_secret: String,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangePlan {
    /// The domain's place.
    pub domain: u32,
    /// From the start of the faults phase; none: before the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_us: Option<Micros>,
    /// The place of the host that is asked first.
    pub host: u32,
    /// What.
    pub change: Change,
}

impl Plan {
    /// The number of a visitor among the clients.
    pub fn visitor(&self, place: usize) -> u32 {
        self.topology.clients + 1 + u32::try_from(place).unwrap_or(u32::MAX / 2)
    }

    pub(super) fn check_access(&self) -> Result<(), BadPlan> {
        let Some(access) = &self.access else { return Ok(()) };
        let senseless = |what: &str| Err(BadPlan::Senseless(format!("access: {what}")));
        let domains = self.topology.domains;
        if access.exhibits.len() != domains as usize || self.topology.clients < domains {
            return senseless("each domain has exhibits and a client");
        }
        if access.exhibits.iter().any(|of| of.keys.is_empty() || of.secrets.is_empty()) {
            return senseless("each domain has keys and secrets to show");
        }
        let of_visitors = access.visitor.iter().map(|visitor| visitor.domain);
        if of_visitors.chain(access.change.iter().map(|change| change.domain)).any(|of| of >= domains) {
            return senseless("a domain that there is not");
        }
        if access.interval_us == 0 || !access.change.is_sorted_by_key(|change| change.at_us) {
            return senseless("changes are not in order, or visitors without a pause");
        }
        if self.faults.iter().any(|fault| fault.act.kind().loses_access()) {
            return senseless("a fault that takes the domain's access with it");
        }
        let clients = self.visitor(access.visitor.len());
        for change in &access.change {
            let known = |text: &str| {
                (0..clients).fold(text.replace("{domain}", ""), |text, client| {
                    text.replace(&format!("{{client-{client}}}"), "")
                })
            };
            let left = format!("{:?}", change.change.filled(&known));
            if left.contains("{domain") || left.contains("{client") {
                return senseless("a change names a client that there is not");
            }
        }
        Ok(())
    }
}
