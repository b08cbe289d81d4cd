//! Reads (R8, R9): what a database answers, and when it says that it cannot.

use super::view::{Pending, Shared};
use crate::{
    limits::{SCAN_MAX_RECORDS, ms},
    record::{RecordKey, SealedRecord},
    store::{
        api::Page,
        codec,
        engine::{Engine, EngineError},
        termination::domain_of,
    },
    wire::message::{Body, NotRead, Read},
};
use std::sync::Arc;
use uuid::Uuid;

/// What is read.
#[derive(Debug, Clone)]
pub(super) enum Query {
    Get(RecordKey),
    Scan { prefix: Vec<u8>, after: Option<RecordKey>, limit: usize },
}

impl Query {
    pub(super) fn scan(scan: crate::wire::message::Scan) -> Query {
        Query::Scan {
            prefix: scan.prefix,
            after: (!scan.after.is_empty()).then_some(RecordKey(scan.after)),
            limit: (scan.limit as usize).clamp(1, SCAN_MAX_RECORDS),
        }
    }

    /// The domain that it is about.
    fn domain(&self) -> Option<Uuid> {
        match self {
            Query::Get(key) => domain_of(&key.0),
            Query::Scan { prefix, .. } => domain_of(prefix),
        }
    }

    /// Whether the outcome of `pending` can change the answer. Absence and the gaps of a scan count too.
    fn touched_by(&self, pending: &Pending) -> bool {
        match self {
            Query::Get(key) => pending.changes.contains_key(key),
            Query::Scan { prefix, after, .. } => pending
                .changes
                .keys()
                .any(|key| key.0.starts_with(prefix) && after.as_ref().is_none_or(|after| key > after)),
        }
    }

    fn settled(&self, engine: &Engine) -> Result<Page, EngineError> {
        match self {
            Query::Get(key) => {
                let record = engine.get(key)?;
                Ok(Page {
                    records: record.map(|record| (key.clone(), record)).into_iter().collect(),
                    more: false,
                })
            }
            Query::Scan { prefix, after, limit } => engine.scan(prefix, after.as_ref(), *limit),
        }
    }

    /// The answer if `pending` happens.
    fn with(&self, engine: &Engine, pending: &Pending) -> Result<Page, EngineError> {
        match self {
            Query::Get(key) => match pending.changes.get(key) {
                Some(change) => Ok(Page {
                    records: change.clone().map(|record| (key.clone(), record)).into_iter().collect(),
                    more: false,
                }),
                None => self.settled(engine),
            },
            Query::Scan { prefix, after, limit } => {
                // Removals may free as many places as there are changes.
                let wide = limit + pending.changes.len();
                let page = engine.scan(prefix, after.as_ref(), wide)?;
                let end = page.more.then(|| page.records.last().map(|(key, _)| key.clone())).flatten();
                let mut merged: std::collections::BTreeMap<RecordKey, SealedRecord> =
                    page.records.into_iter().collect();
                for (key, change) in &pending.changes {
                    let in_range = key.0.starts_with(prefix)
                        && after.as_ref().is_none_or(|after| key > after)
                        && end.as_ref().is_none_or(|end| key <= end);
                    match change {
                        Some(record) if in_range => {
                            merged.insert(key.clone(), record.clone());
                        }
                        _ => {
                            merged.remove(key);
                        }
                    }
                }
                let more = page.more || merged.len() > *limit;
                Ok(Page { records: merged.into_iter().take(*limit).collect(), more })
            }
        }
    }
}

/// Answers a read of one record with a lease on it, if one can be granted (R21).
pub(super) async fn answer_with_lease(shared: &Arc<Shared>, key: RecordKey, seen: u64) -> Body {
    read(shared, Query::Get(key), seen, true).await
}

/// Answers a read. `seen` is the greatest committed sequence number the asker knows of (R9).
pub(super) async fn answer(shared: &Arc<Shared>, query: Query, seen: u64) -> Body {
    read(shared, query, seen, false).await
}

async fn read(shared: &Arc<Shared>, query: Query, seen: u64, lease: bool) -> Body {
    let deadline = shared.env.now() + ms(shared.config.limits.read_wait_ms);
    let mut confirmations = shared.confirmed.subscribe();
    let domain = query.domain();
    let mut lease_ms = 0;
    let pending = loop {
        let (touching, ending) = {
            let mut view = shared.view();
            if let Some(why) = view.not_read() {
                return Body::NotRead(why as i32);
            }
            if view.last.seq < seen {
                drop(view);
                shared.found_behind();
                return Body::NotRead(NotRead::Behind as i32);
            }
            if view.has_ended(domain) {
                return Body::NotRead(NotRead::Terminated as i32);
            }
            let ending = view.ending(domain);
            let touching = view.pending.clone().filter(|pending| ending || query.touched_by(pending));
            // Before it is read, and while the head is kept from taking up a write: from here on what is stored does not change.
            if let (true, None, Query::Get(key)) = (lease && shared.head, &touching, &query) {
                let now = shared.env.now();
                if view.lease(key, now, now + shared.config.limits.lease_hold()) {
                    lease_ms = shared.config.limits.lease_ms;
                }
            }
            (touching, ending)
        };
        let Some(pending) = touching else { break None };
        // In doubt: wait for the confirmation, but not for ever.
        if shared.env.deadline(deadline, confirmations.changed()).await.is_err() {
            if ending {
                return Body::NotRead(NotRead::InDoubt as i32);
            }
            break Some(pending);
        }
    };
    if pending.is_some() {
        tracing::debug!(target: "kms::probe", name = "in-doubt-read", node = %shared.config.node_id);
    }
    let answer = shared
        .engine("read", move |engine| {
            // The pending view first: if the batch is confirmed in between, both answers are the new one.
            let pending = pending.map(|pending| query.with(engine, &pending)).transpose()?;
            Ok((query.settled(engine)?, pending))
        })
        .await;
    match answer {
        Ok((confirmed, pending)) => Body::Read(Read {
            confirmed: Some(codec::page_out(&confirmed)),
            pending: pending.as_ref().map(codec::page_out),
            lease_ms,
        }),
        Err(EngineError::Damaged) => {
            tracing::warn!(node = %shared.config.node_id, "a stored record does not match its checksum");
            Body::NotRead(NotRead::Damaged as i32)
        }
        Err(_) => Body::NotRead(NotRead::NotServing as i32),
    }
}
