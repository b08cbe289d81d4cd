//! A scenario: what is done to a region, as a person writes it (`scenarios/*.toml`). It says ranges and
//! weights; a seed makes a [`crate::plan::Plan`] of it. `docs/scenario.md` is the vocabulary in full.
//! Refuses every key, word and combination that is not in it.

mod access;
mod fault;
mod store;
mod target;
mod topology;
mod value;

pub use access::{Access, ChangeKind};
pub use fault::{FaultKind, FaultSpec, How, Inside, Storm, Ways};
pub use store::StoreTarget;
pub use target::{LinkTarget, NodeTarget, Places, REPLICA, Target, WITNESS, witness_of};
pub use topology::Topology;
pub use value::{Choice, Counts, Odds, Spans, span};

use kms::limits::Limits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One scenario file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's name without `.toml`.
    pub name: String,
    /// The sentence it tests.
    pub about: String,
    /// Promises it is meant to exercise (`G1`, ...).
    pub promises: Vec<String>,
    /// Runs only when named.
    #[serde(default)]
    pub long: bool,
    /// The region.
    pub topology: Topology,
    /// Latencies.
    #[serde(default)]
    pub network: Network,
    /// Clock errors at start.
    #[serde(default)]
    pub clocks: Clocks,
    /// What clients do.
    #[serde(default)]
    pub load: Load,
    /// Who may do some of what they ask for, and what becomes of that.
    pub access: Option<Access>,
    /// Faults, each drawn once.
    #[serde(default)]
    pub fault: Vec<FaultSpec>,
    /// A random mixture of faults.
    pub storm: Option<Storm>,
    /// Lengths of the phases.
    pub phases: Phases,
    /// Bounds of the service that differ from the defaults.
    #[serde(default)]
    pub limits: Limits,
}

/// One-way latencies. Each is drawn once per seed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Between nodes of one zone.
    pub zone: Spans,
    /// Between the zones.
    pub zones: Spans,
    /// Between clients and the entry.
    pub clients: Spans,
}

impl Default for Network {
    fn default() -> Self {
        Network {
            zone: Spans { low: 50, high: 150 },
            zones: Spans { low: 300, high: 1_000 },
            clients: Spans { low: 500, high: 2_000 },
        }
    }
}

/// Clock errors.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clocks {
    /// Each node's wall clock is off by up to this, either way.
    pub offset: Option<Spans>,
    /// Each node's clocks, the monotonic one too, run too fast or too slow by up to so many parts per million of true time.
    pub drift_ppm: u32,
}

/// Kinds of operations in a mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "named as the operations of the REST API")]
pub enum OpKind {
    Create,
    Get,
    List,
    Rename,
    Activate,
    Deactivate,
    Destroy,
    Encrypt,
    Decrypt,
    Datakey,
    DatakeyDecrypt,
    Random,
}

/// What clients do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// Operations per second of all clients together; 0 = no load.
    pub rate_per_s: u32,
    /// Operations per hour instead, for runs of days.
    pub rate_per_h: u32,
    /// Weights of the operations.
    pub mix: BTreeMap<OpKind, u32>,
    /// Records that several clients write at the same time.
    pub hot_records: u32,
    /// Share of operations that go to them, percent.
    pub hot_percent: u32,
    /// Share of keys that are RSA or EC and sign, percent.
    pub signers_percent: u32,
    /// Share of operations on secrets, percent.
    pub secrets_percent: u32,
    /// Further attempts of a client after a refusal, an error of the server's or an unknown outcome, each an operation of its own.
    pub retries: u32,
}

impl Default for Load {
    fn default() -> Self {
        use OpKind::*;
        let mix = [
            (Create, 3),
            (Get, 3),
            (List, 1),
            (Rename, 2),
            (Activate, 1),
            (Deactivate, 1),
            (Destroy, 1),
            (Encrypt, 6),
            (Decrypt, 6),
            (Datakey, 1),
            (DatakeyDecrypt, 1),
            (Random, 1),
        ];
        Load {
            rate_per_s: 50,
            rate_per_h: 0,
            mix: mix.into(),
            hot_records: 8,
            hot_percent: 25,
            signers_percent: 0,
            secrets_percent: 0,
            retries: 0,
        }
    }
}

/// Lengths of the phases.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phases {
    /// Load before the faults phase (default 2s).
    #[serde(default = "warm")]
    pub warm: String,
    /// Load with faults.
    pub faults: String,
    /// What ends with the faults phase.
    #[serde(default)]
    pub heal: HealSpec,
    /// Load afterwards, while recovery is measured.
    pub settle: String,
}

/// `"all"`, `"none"`, or a list of the kinds of faults that end.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum HealSpec {
    /// A word.
    Word(HealWord),
    /// Kinds.
    Kinds(Vec<FaultKind>),
}

impl Default for HealSpec {
    fn default() -> Self {
        HealSpec::Word(HealWord::All)
    }
}

/// All or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the words say it")]
pub enum HealWord {
    All,
    None,
}

fn warm() -> String {
    "2s".to_owned()
}

/// Why a scenario was not accepted: a usage error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadScenario(pub String);

impl Scenario {
    /// Reads and checks a scenario.
    ///
    /// # Errors
    /// [`BadScenario`] names the first thing that is not in the vocabulary.
    pub fn parse(text: &str) -> Result<Scenario, BadScenario> {
        let scenario: Scenario = toml::from_str(text).map_err(|error| BadScenario(error.to_string()))?;
        scenario.check().map_err(|what| BadScenario(format!("{}: {what}", scenario.name)))?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), String> {
        self.topology.check()?;
        if let Some(promise) = self.promises.iter().find(|promise| !is_promise(promise)) {
            return Err(format!("`{promise}` is not a promise: G1 to G14"));
        }
        if self.load.rate_per_s > 10_000 || self.load.hot_records > 64 || self.load.retries > 10 {
            return Err("rate_per_s is at most 10000, hot_records 64, retries 10".to_owned());
        }
        if self.load.signers_percent > 100 || self.load.secrets_percent > 100 {
            return Err("signers_percent and secrets_percent are 0 to 100".to_owned());
        }
        if self.load.secrets_percent > 0 && self.fault.iter().any(FaultSpec::is_not_for_secrets) {
            return Err("secrets_percent does not go with restore-from-backup and swap-records".to_owned());
        }
        if self.load.hot_percent > 100 || (self.load.hot_percent > 0 && self.load.hot_records == 0) {
            return Err("hot_percent is 0 to 100, and needs hot_records".to_owned());
        }
        if self.load.rate_per_h > 3_600 || self.load.rate_per_h > 0 && self.load.rate_per_s > 0 {
            return Err("rate_per_h is at most 3600, and stands instead of rate_per_s".to_owned());
        }
        if self.load.rate_per_s + self.load.rate_per_h > 0
            && self.load.mix.values().all(|weight| *weight == 0)
        {
            return Err("the mix has no weight above 0".to_owned());
        }
        self.limits.check().map_err(|error| error.to_string())?;
        for text in [&self.phases.warm, &self.phases.faults, &self.phases.settle] {
            span(text)?;
        }
        for fault in &self.fault {
            fault.check()?;
            if self.topology.shares && fault.kind.values().contains(&&FaultKind::Pause) {
                return Err(
                    "shares do not go with pause: what a share that waits for a host does, nobody can tell"
                        .to_owned(),
                );
            }
            let of_shares = |kind: &&FaultKind| matches!(kind, FaultKind::Seal | FaultKind::RotateShares);
            if fault.kind.values().iter().any(of_shares) && !self.topology.shares {
                return Err("there are no shares: say `shares = true` in [topology]".to_owned());
            }
            if fault.target.values().iter().any(|target| matches!(target, Target::Stores(_)))
                && !self.topology.backups
            {
                return Err("there are no stores: say `backups = true` in [topology]".to_owned());
            }
            if fault.is_of_audits() && !self.topology.audit {
                return Err("hosts have nothing on their disks: say `audit = true` in [topology]".to_owned());
            }
        }
        if let Some(access) = &self.access {
            access.check(self)?;
        }
        self.storm.as_ref().map_or(Ok(()), Storm::check)
    }
}

fn is_promise(text: &str) -> bool {
    text.strip_prefix('G').and_then(|number| number.parse::<u8>().ok()).is_some_and(|n| (1..=14).contains(&n))
}

#[cfg(test)]
mod tests;
