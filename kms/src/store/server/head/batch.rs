//! Which of the transactions that wait go into the next batch, and what is told to the others. Reads the store as it is, and appends.

use super::{From, Waiting};
use crate::{
    limits::{BATCH_MAX_BYTES, BATCH_MAX_TRANSACTIONS},
    record::{KIND_SECRET, KIND_SERVICE_KEY, RecordKey, Transaction},
    store::{
        engine::{Engine, EngineError},
        epoch::Epoch,
        log::{Attempt, Entry, Position},
        termination::{domain_of, is_termination},
    },
    wire::message::Body,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tokio::sync::oneshot;
use uuid::Uuid;

/// What evaluating a batch found out.
#[derive(Default)]
pub(super) struct Formed {
    /// The batch, durably appended; none if nothing can be done.
    pub(super) entry: Option<Entry>,
    /// Those who wait for its confirmation.
    pub(super) waiters: Vec<oneshot::Sender<Body>>,
    pub(super) conflicts: Vec<oneshot::Sender<Body>>,
    pub(super) known: Vec<oneshot::Sender<Body>>,
    pub(super) damaged: Vec<oneshot::Sender<Body>>,
    /// Of domains that have as much as they may.
    pub(super) full: Vec<oneshot::Sender<Body>>,
    pub(super) later: VecDeque<Waiting>,
}

/// Forms the next batch and makes it durable (R1). No batch is in flight, so the stored state is the only outcome there is; a
/// transaction that meets records of an earlier member of the batch waits for the next one (F20).
pub(super) fn form_and_append(
    engine: &Engine,
    queue: VecDeque<Waiting>,
    last: Position,
    (epoch, at_ms): (Epoch, u64),
    quotas: Quotas,
) -> Result<Formed, EngineError> {
    let mut formed = Formed::default();
    let mut touched: BTreeSet<RecordKey> = BTreeSet::new();
    let mut ids = BTreeSet::new();
    let (mut bytes, mut batch) = (0, Vec::new());
    let mut ending: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut made = Made { quotas, so_far: BTreeMap::new() };
    for waiting in queue {
        let transaction = &waiting.attempt.transaction;
        let meets = transaction.expect.iter().any(|expect| touched.contains(&expect.key));
        let full = batch.len() == BATCH_MAX_TRANSACTIONS || bytes + waiting.size > BATCH_MAX_BYTES;
        // What comes after the end of a domain's service is refused once that is confirmed.
        let meets = meets || waiting.about(|domain| ending.contains(domain.as_bytes().as_slice()));
        if meets || full || !formed.later.is_empty() && overlaps(&formed.later, &waiting) {
            formed.later.push_back(waiting);
            continue;
        }
        if engine.attempt(waiting.attempt.id)?.is_some() || !ids.insert(waiting.attempt.id) {
            formed.known.push(waiting.answer);
            continue;
        }
        let holds = match holds(engine, &waiting.attempt) {
            // Nothing can be said of a damaged record, so nothing is done to it.
            Err(EngineError::Damaged) => {
                formed.damaged.push(waiting.answer);
                continue;
            }
            holds => holds?,
        };
        if holds && waiting.from == From::Host && made.is_over(engine, transaction) {
            formed.full.push(waiting.answer);
        } else if holds {
            touched.extend(transaction.keys().cloned());
            let ends = transaction.keys().filter(|key| is_termination(&key.0));
            ending.extend(ends.map(|key| key.0[1..].to_vec()));
            bytes += waiting.size;
            batch.push(waiting.attempt);
            formed.waiters.push(waiting.answer);
        } else {
            formed.conflicts.push(waiting.answer);
        }
    }
    if !batch.is_empty() {
        let entry = Entry::new(last, epoch, at_ms, batch);
        engine.append(&entry)?;
        formed.entry = Some(entry);
    }
    Ok(formed)
}

/// What a domain may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quotas {
    pub(super) keys: u64,
    pub(super) secrets: u64,
}

/// What the members of a batch make, by kind and domain.
struct Made {
    quotas: Quotas,
    so_far: BTreeMap<(u8, Uuid), u64>,
}

impl Made {
    /// Whether a domain would have more than it may; if not, what the transaction makes is counted. What is stored is the only outcome
    /// there is, so this is exact; but what the same batch removes makes no room yet.
    fn is_over(&mut self, engine: &Engine, transaction: &Transaction) -> bool {
        let mut makes: BTreeMap<(u8, Uuid), u64> = BTreeMap::new();
        for expect in transaction.expect.iter().filter(|expect| expect.version.is_none()) {
            let key = &expect.key;
            let (Some(kind), Some(domain)) = (key.0.first(), domain_of(&key.0)) else { continue };
            if self.quotas.of(*kind).is_some() && transaction.put.iter().any(|(put, _)| put == key) {
                *makes.entry((*kind, domain)).or_default() += 1;
            }
        }
        for ((kind, domain), more) in &makes {
            let so_far = self.so_far.get(&(*kind, *domain)).copied().unwrap_or_default();
            let most = self.quotas.of(*kind).unwrap_or(u64::MAX);
            if engine.count(*kind, *domain) + so_far + more > most {
                return true;
            }
        }
        for (of, more) in makes {
            *self.so_far.entry(of).or_default() += more;
        }
        false
    }
}

impl Quotas {
    /// How many records of a kind a domain may have; none: any number.
    fn of(self, kind: u8) -> Option<u64> {
        let most = match kind {
            KIND_SERVICE_KEY => self.keys,
            KIND_SECRET => self.secrets,
            _ => 0,
        };
        Some(most).filter(|most| *most > 0)
    }
}

/// Keeps transactions on the same record in their order of arrival.
pub(super) fn overlaps(later: &VecDeque<Waiting>, waiting: &Waiting) -> bool {
    later.iter().any(|earlier| {
        earlier
            .attempt
            .transaction
            .expect
            .iter()
            .any(|a| waiting.attempt.transaction.expect.iter().any(|b| a.key == b.key))
    })
}

/// Whether every expectation of the attempt holds in the stored state.
fn holds(engine: &Engine, attempt: &Attempt) -> Result<bool, EngineError> {
    for expect in &attempt.transaction.expect {
        let version = engine.get(&expect.key)?.map(|record| record.version);
        if version != expect.version {
            return Ok(false);
        }
    }
    Ok(true)
}
