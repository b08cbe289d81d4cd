//! A scenario: what is done to a region, as a person writes it (`scenarios/*.toml`). It says ranges and
//! weights; a seed makes a [`crate::plan::Plan`] of it. `docs/scenario.md` is the vocabulary in full.
//! Refuses every key, word and combination that is not in it.

mod access;
mod store;
mod target;
mod topology;
mod value;

pub use access::{Access, ChangeKind};
pub use store::StoreTarget;
pub use target::{LinkTarget, NodeTarget, Places, REPLICA, Target, WITNESS, witness_of};
pub use topology::Topology;
pub use value::{Choice, Counts, Odds, Spans, span};

use crate::actions::CutMode;
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

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Power off: unsynced sectors are lost or torn; peers see silence.
    PowerCut,
    /// Process ended: the disk keeps its writes; peers see the connection end.
    Kill,
    /// Not scheduled any more; connections stay.
    Pause,
    /// Asked to stop, and does.
    Shutdown,
    /// Nothing crosses a link.
    CutLink,
    /// A link takes longer.
    SlowLink,
    /// A disk takes longer.
    SlowDisk,
    /// Nodes are restarted one after the other.
    Restart,
    /// A database goes down, stored blobs are put in each other's place, it comes back.
    SwapRecords,
    /// A wall clock jumps.
    WallOffset,
    /// A disk's syncs fail with an I/O error.
    FailSyncs,
    /// A host's disk takes nothing more.
    FillDisk,
    /// Power off, and a database's disk is gone: it comes back with an empty one.
    LoseDisk,
    /// The disk that was lost is put back.
    ReturnDisk,
    /// A disk goes back to an earlier synced state.
    RollBackDisk,
    /// A database's machine is replaced while the old one may still run.
    ReplaceMachine,
    /// An operator makes a database anew from the other zone's.
    Rebuild,
    /// An operator gives a rebuild up.
    Abandon,
    /// An operator has another witness listened to, and makes it of the one that is in place.
    ReplaceWitness,
    /// An operator ends the service of a domain: of any but the first, which the harness's own client belongs to.
    TerminateDomain,
    /// An operator makes a domain, and somebody comes who uses it.
    CreateDomain,
    /// The region is made anew from the replica.
    RestoreFromReplica,
    /// The region is made anew from a backup.
    RestoreFromBackup,
    /// An operator seals hosts.
    Seal,
    /// An operator puts another set of shares in the place of the one there is.
    RotateShares,
    /// A backup store does not answer.
    CutStore,
    /// A backup store takes longer.
    SlowStore,
    /// A backup store fails in the middle of puts and deletes, and hands out what is not so.
    FlakyStore,
    /// A backup store is emptied for good; it goes on.
    LoseStore,
    /// Some objects of a backup store are altered or vanish for good.
    DamageStore,
}

/// Which ways a link is cut or slowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ways {
    /// Both.
    Both,
    /// One of the two, drawn.
    One,
    /// From zone a's side to zone b's.
    AToB,
    /// From zone b's side to zone a's.
    BToA,
}

/// Where a power cut strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inside {
    /// Inside the n-th disk operation from `at` on, n drawn from `operations`.
    DiskOp,
    /// At `at`, wherever that falls.
    Time,
}

/// How a rolling restart stops each node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "as the faults of these names")]
pub enum How {
    Shutdown,
    Kill,
    PowerCut,
}

/// One `[[fault]]`. Times count from the start of the faults phase.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// What is done.
    #[serde(rename = "do")]
    pub kind: Choice<FaultKind>,
    /// To whom.
    pub target: Choice<Target>,
    /// When.
    pub at: Spans,
    /// For how long; for ever if absent.
    #[serde(rename = "for")]
    pub lasting: Option<Spans>,
    /// Of those that have an end, how many keep it (else for ever).
    pub returns: Option<Odds>,
    /// How often the fault happens at all.
    pub chance: Option<Odds>,
    /// Link faults: which ways (default both).
    pub ways: Option<Choice<Ways>>,
    /// Cuts: what happens to streams (default hold).
    pub mode: Option<Choice<CutMode>>,
    /// Power cuts: at a time (default) or inside a disk operation.
    pub inside: Option<Choice<Inside>>,
    /// Power cuts inside a disk operation: which one (default 1..60).
    pub operations: Option<Counts>,
    /// Slow links, disks and stores: how much longer (default 20ms..200ms).
    pub extra: Option<Spans>,
    /// Wall offsets: how far, either way (default 1s..300s).
    pub offset: Option<Spans>,
    /// Restarts: how each node is stopped (default shutdown).
    pub how: Option<Choice<How>>,
    /// Restarts: time between one node's start and the next one's stop (default 3s).
    pub gap: Option<Spans>,
    /// Rebuilds and replacements: after how long the operator stops in the middle, for another to go on.
    pub interrupt: Option<Spans>,
    /// Rebuilds: in place of a registered rebuild of the other database, whose source is lost.
    #[serde(default)]
    pub instead: bool,
    /// Replaced machines: after how long the old one, if it is off, starts by itself.
    pub wakes: Option<Spans>,
    /// Flaky stores: puts and deletes of a thousand that fail midway (default 200).
    pub midway: Option<Counts>,
    /// Flaky stores: gets of a thousand that hand out altered bytes (default 50).
    pub altered: Option<Counts>,
    /// Flaky stores: gets of a thousand that find nothing (default 50).
    pub hidden: Option<Counts>,
    /// Damaged stores: how many objects (default 1..5).
    pub objects: Option<Counts>,
}

impl FaultSpec {
    /// A backup of before brings back what was known of a secret, and not the data that was destroyed since, which the model of secrets
    /// does not know; and which secret a swapped blob belongs to cannot be told from outside.
    fn is_not_for_secrets(&self) -> bool {
        let kinds = self.kind.values();
        kinds.iter().any(|kind| matches!(kind, FaultKind::RestoreFromBackup | FaultKind::SwapRecords))
    }

    /// Of the disk of a host, on which there is its audit or nothing.
    fn is_of_audits(&self) -> bool {
        let of_hosts = |target: &Target| matches!(target, Target::Nodes(nodes) if nodes.are_hosts());
        let of_disks = |kind: &FaultKind| matches!(kind, FaultKind::FillDisk | FaultKind::FailSyncs);
        self.kind.values().iter().any(|kind| of_disks(kind))
            && self.target.values().iter().any(|target| of_hosts(target))
    }
}

/// A random mixture: each seed leaves some kinds out and draws the rest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// How many faults.
    pub count: Counts,
    /// Kinds by weight.
    pub kinds: BTreeMap<FaultKind, u32>,
    /// How often a kind is left out of a seed.
    pub leave_out: Odds,
    /// Targets of faults of nodes.
    pub nodes: Choice<Target>,
    /// Targets of faults of links.
    pub links: Choice<Target>,
    /// When.
    pub at: Spans,
    /// For how long.
    #[serde(rename = "for")]
    pub lasting: Spans,
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

impl FaultKind {
    /// Whether it is done to links (else to nodes).
    pub fn of_links(self) -> bool {
        matches!(self, FaultKind::CutLink | FaultKind::SlowLink)
    }

    /// Whether it is done to disks, so to databases only.
    pub fn of_disks(self) -> bool {
        matches!(
            self,
            FaultKind::SlowDisk
                | FaultKind::FailSyncs
                | FaultKind::SwapRecords
                | FaultKind::ReturnDisk
                | FaultKind::RollBackDisk
                | FaultKind::ReplaceMachine
                | FaultKind::Rebuild
                | FaultKind::Abandon
        )
    }

    /// Whether the region is made anew by it.
    pub fn restores(self) -> bool {
        matches!(self, FaultKind::RestoreFromReplica | FaultKind::RestoreFromBackup)
    }

    /// Whether what is known of who may do what may be lost with it, or damaged.
    pub fn loses_access(self) -> bool {
        self.restores() || matches!(self, FaultKind::TerminateDomain | FaultKind::SwapRecords)
    }

    /// Whether it is done to backup stores.
    pub fn of_stores(self) -> bool {
        use FaultKind::*;
        matches!(self, CutStore | SlowStore | FlakyStore | LoseStore | DamageStore)
    }

    /// Whether something is gone from a store for good.
    pub fn hurts_a_store(self) -> bool {
        matches!(self, FaultKind::LoseStore | FaultKind::DamageStore)
    }

    /// The word of the scenario file.
    pub fn word(self) -> &'static str {
        match self {
            FaultKind::PowerCut => "power-cut",
            FaultKind::Kill => "kill",
            FaultKind::Pause => "pause",
            FaultKind::Shutdown => "shutdown",
            FaultKind::CutLink => "cut-link",
            FaultKind::SlowLink => "slow-link",
            FaultKind::SlowDisk => "slow-disk",
            FaultKind::Restart => "restart",
            FaultKind::SwapRecords => "swap-records",
            FaultKind::WallOffset => "wall-offset",
            FaultKind::FailSyncs => "fail-syncs",
            FaultKind::FillDisk => "fill-disk",
            FaultKind::LoseDisk => "lose-disk",
            FaultKind::ReturnDisk => "return-disk",
            FaultKind::RollBackDisk => "roll-back-disk",
            FaultKind::ReplaceMachine => "replace-machine",
            FaultKind::Rebuild => "rebuild",
            FaultKind::Abandon => "abandon",
            FaultKind::ReplaceWitness => "replace-witness",
            FaultKind::TerminateDomain => "terminate-domain",
            FaultKind::Seal => "seal",
            FaultKind::RotateShares => "rotate-shares",
            FaultKind::CreateDomain => "create-domain",
            FaultKind::RestoreFromReplica => "restore-from-replica",
            FaultKind::RestoreFromBackup => "restore-from-backup",
            FaultKind::CutStore => "cut-store",
            FaultKind::SlowStore => "slow-store",
            FaultKind::FlakyStore => "flaky-store",
            FaultKind::LoseStore => "lose-store",
            FaultKind::DamageStore => "damage-store",
        }
    }
}

impl FaultSpec {
    fn check(&self) -> Result<(), String> {
        let kinds = self.kind.values();
        if kinds.is_empty() || self.target.values().is_empty() {
            return Err("a fault needs a `do` and a `target` with a weight above 0".to_owned());
        }
        let only = |field: &str, given: bool, allowed: &[FaultKind]| {
            if given && !kinds.iter().any(|kind| allowed.contains(kind)) {
                return Err(format!("`{field}` means nothing for {}", kinds[0].word()));
            }
            Ok(())
        };
        use FaultKind::*;
        const OF_OPERATORS: [FaultKind; 5] =
            [Rebuild, Abandon, ReplaceWitness, RestoreFromReplica, RestoreFromBackup];
        only("ways", self.ways.is_some(), &[CutLink, SlowLink])?;
        only("mode", self.mode.is_some(), &[CutLink])?;
        only("inside", self.inside.is_some(), &[PowerCut])?;
        only("operations", self.operations.is_some(), &[PowerCut])?;
        only("extra", self.extra.is_some(), &[SlowLink, SlowDisk, SlowStore])?;
        only("offset", self.offset.is_some(), &[WallOffset])?;
        only("how", self.how.is_some(), &[Restart])?;
        only("gap", self.gap.is_some(), &[Restart])?;
        only("interrupt", self.interrupt.is_some(), &OF_OPERATORS)?;
        only("instead", self.instead, &[Rebuild])?;
        only("wakes", self.wakes.is_some(), &[ReplaceMachine])?;
        for (field, odds) in [("midway", self.midway), ("altered", self.altered), ("hidden", self.hidden)] {
            only(field, odds.is_some(), &[FlakyStore])?;
            if odds.is_some_and(|odds| odds.high > 1_000) {
                return Err(format!("`{field}` is so many of a thousand"));
            }
        }
        only("objects", self.objects.is_some(), &[DamageStore])?;
        if self.returns.is_some() && self.lasting.is_none() {
            return Err("`returns` needs `for`".to_owned());
        }
        if kinds.contains(&&Restart) && self.lasting.is_none() {
            return Err("restart needs `for`: how long each node is down".to_owned());
        }
        for kind in kinds {
            for target in self.target.values() {
                target.fits(*kind)?;
            }
        }
        Ok(())
    }
}

impl Storm {
    fn check(&self) -> Result<(), String> {
        if self.count.high > 100 {
            return Err("a storm has at most 100 faults".to_owned());
        }
        let alone = |kind: &&FaultKind| {
            use FaultKind::*;
            let of_disks =
                matches!(kind, SwapRecords | LoseDisk | ReturnDisk | RollBackDisk | ReplaceMachine);
            let of_operators = matches!(
                kind,
                Rebuild
                    | Abandon
                    | ReplaceWitness
                    | TerminateDomain
                    | Seal
                    | RotateShares
                    | CreateDomain
                    | RestoreFromReplica
                    | RestoreFromBackup
            );
            of_disks || kind.of_stores() || of_operators || matches!(kind, Restart)
        };
        if let Some(kind) = self.kinds.keys().find(alone) {
            return Err(format!("a storm has no {}: write a [[fault]]", kind.word()));
        }
        let nodes = self.nodes.values().iter().all(|target| matches!(target, Target::Nodes(_)));
        let links = self.links.values().iter().all(|target| matches!(target, Target::Links(_)));
        if !nodes || !links || self.nodes.values().is_empty() || self.links.values().is_empty() {
            return Err("a storm's `nodes` are targets of nodes, its `links` targets of links".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
