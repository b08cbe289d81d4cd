//! What `kms status` shows of a database. Changes nothing.

use super::{connection::Behind, view::Shared};
use crate::{
    record::{KIND_SECRET, KIND_SERVICE_KEY},
    store::{
        engine::{Count, Engine},
        epoch::Identity,
        termination::TerminatedStatus,
    },
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

/// What a database says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatabaseStatus {
    /// Node id.
    pub node: String,
    /// `head` or `tail`.
    pub role: String,
    /// `member`, `filling`, `retired` or `blank`.
    pub phase: String,
    /// Epoch number and id.
    pub epoch: String,
    /// Epoch number.
    pub epoch_no: u64,
    /// Epoch id, hex.
    pub epoch_id: String,
    /// Whether the epoch is known active here.
    pub active: bool,
    /// Whether somebody who may know has said, since the start, that the epoch is current.
    pub joined: bool,
    /// Whether it is the source of its epoch.
    pub source: bool,
    /// Whether the fence of its epoch is stored here.
    pub fenced: bool,
    /// Database id, hex.
    pub db_id: String,
    /// Names this start of the process, hex.
    pub start: String,
    /// Id of the one witness that it listens to, hex.
    pub witness: String,
    /// End of the log.
    pub last: u64,
    /// History hash there, hex.
    pub hash: String,
    /// Confirmed index.
    pub confirmed: u64,
    /// Where the kept log begins.
    pub kept_from: u64,
    /// Batches in doubt (0 or 1).
    pub in_doubt: u64,
    /// Records stored.
    pub records: u64,
    /// Keys and secrets of each domain, of 10,000 at most.
    pub domains: Vec<DomainCounts>,
    /// Answers reads.
    pub serving: bool,
    /// Accepts writes.
    pub writable: bool,
    /// How far a replica that is fed from here has come.
    pub replica: Option<u64>,
    /// How often it was told to serve alone.
    pub alone: u64,
    /// Why it does not serve although it has joined: `diverged`, `behind` or `failed`.
    pub withheld: Option<String>,
    /// The integrity alarm, until what gave rise to it is over.
    pub alarm: Option<String>,
    /// The domains whose service has ended, and whether their keys are gone from this disk.
    pub terminated: Vec<TerminatedStatus>,
    /// Head: the domains whose making was begun and is not at its end (R23).
    pub half_made: Vec<Uuid>,
    /// The store that is being filled, if there is one.
    pub fill: Option<FillStatus>,
}

/// What a domain has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DomainCounts {
    /// The domain.
    pub domain: Uuid,
    /// Service keys, destroyed ones among them.
    pub keys: u64,
    /// Secrets, deleted ones among them.
    pub secrets: u64,
}

/// Domains that are told of at most: an answer fits into a frame.
const DOMAINS_TOLD_MAX: usize = 10_000;

/// The counts of keys and secrets, by domain.
fn by_domain(counts: Vec<Count>) -> Vec<DomainCounts> {
    let mut domains: BTreeMap<Uuid, DomainCounts> = BTreeMap::new();
    for Count { kind, domain, records } in counts {
        let of = || DomainCounts { domain, ..DomainCounts::default() };
        match kind {
            KIND_SERVICE_KEY => domains.entry(domain).or_insert_with(of).keys = records,
            KIND_SECRET => domains.entry(domain).or_insert_with(of).secrets = records,
            _ => {}
        }
    }
    domains.into_values().take(DOMAINS_TOLD_MAX).collect()
}

/// How far a fill is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FillStatus {
    /// Epoch number and id.
    pub epoch: String,
    /// Database id of the store that is filled, hex.
    pub db_id: String,
    /// Rows taken.
    pub rows: u64,
    /// Rows there are.
    pub rows_total: u64,
    /// Bytes of rows taken.
    pub bytes: u64,
    /// Whether it is complete.
    pub filled: bool,
    /// End of its log, once it is complete.
    pub last: u64,
    /// History hash there, hex.
    pub hash: String,
    /// Why it does not go on at the moment.
    pub trouble: Option<String>,
}

/// Asks the store, if there is one.
pub(super) async fn of(behind: &Behind) -> DatabaseStatus {
    let mut status = match &behind.member {
        Some((shared, _)) => member(shared).await,
        None => DatabaseStatus { phase: "blank".to_owned(), ..DatabaseStatus::default() },
    };
    status.node.clone_from(&behind.node.config.node_id);
    status.start = hex::encode(behind.node.start);
    status.fill = behind.node.filling.status();
    status
}

async fn member(shared: &Arc<Shared>) -> DatabaseStatus {
    let asked = |engine: &Engine| Ok((engine.records()?, engine.base()?.seq, engine.counts()?));
    let (records, base, counts) = shared.engine("status", asked).await.unwrap_or_default();
    let view = shared.view();
    let identity: &Identity = &view.identity;
    DatabaseStatus {
        role: if shared.head { "head" } else { "tail" }.to_owned(),
        phase: identity.phase.word().to_owned(),
        epoch: identity.epoch().to_string(),
        epoch_no: identity.epoch().no,
        epoch_id: hex::encode(identity.epoch().id),
        active: identity.active(),
        joined: view.joined,
        source: identity.is_source(),
        fenced: identity.fence.is_some(),
        db_id: identity.db_id.to_string(),
        witness: hex::encode(identity.witness()),
        last: view.last.seq,
        hash: hex::encode(view.last.hash),
        confirmed: view.confirmed.seq,
        kept_from: base,
        in_doubt: u64::from(view.pending.is_some()),
        records,
        domains: by_domain(counts),
        serving: view.serving(),
        writable: view.writable,
        replica: view.replica,
        alone: identity.alone.len() as u64,
        withheld: view.withheld.word().map(str::to_owned),
        alarm: view.loud.map(str::to_owned),
        terminated: view.ended.status(),
        half_made: view.begun.iter().copied().collect(),
        ..DatabaseStatus::default()
    }
}
