//! What is done to the region in a scenario: kinds of faults, one fault as it is written, and a storm of them.

use super::{
    target::Target,
    value::{Choice, Counts, Odds, Spans},
};
use crate::actions::CutMode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    pub(super) fn is_not_for_secrets(&self) -> bool {
        let kinds = self.kind.values();
        kinds.iter().any(|kind| matches!(kind, FaultKind::RestoreFromBackup | FaultKind::SwapRecords))
    }

    /// Of the disk of a host, on which there is its audit or nothing.
    pub(super) fn is_of_audits(&self) -> bool {
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
    pub(super) fn check(&self) -> Result<(), String> {
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
    pub(super) fn check(&self) -> Result<(), String> {
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
