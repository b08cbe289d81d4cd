//! The end of a domain's service, at a database (G14): the operator's order, which the chain commits as an ordinary write of one
//! record, and the deletion of the domain's key beside the store, which is tried until it succeeds. What is refused from then on is
//! refused where it is read, written, or asked for.

use super::{
    connection::Behind,
    head::{Event, From, Waiting},
    view::Shared,
};
use crate::{
    env::Purpose,
    limits::ms,
    record::{CommitId, Expect, RecordKey, SealedRecord, Transaction, Version},
    store::{
        codec::transaction_out,
        engine::{KEYRING_DIR, STORE_DIR},
        log::Attempt,
        termination::{KIND_TERMINATION, Termination, erase_keys},
    },
    wire::{
        epoch::Signed,
        message::{Body, Empty, NotDone},
    },
};
use prost::Message;
use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Pause after a deletion that failed.
const RETRY: Duration = ms(1_000);
/// How often it is looked for what is to be deleted, if no write says so.
const LOOK: Duration = ms(10_000);
/// How long the records of a domain are kept after the end of its service: 30 days.
const KEPT_MS: u64 = 30 * 86_400_000;
/// Records that are deleted in one transaction.
const PURGED_AT_ONCE: usize = 32;
/// Pause between two of those: they are in nobody's way.
const PURGE_PAUSE: Duration = ms(20);

/// Has the chain commit it. `Ok`: both databases have it durably and answer nothing about the domain any more. `Err` is for the
/// operator to read.
pub(super) async fn order(behind: &Behind, end: Termination, signed: &Signed) -> Result<(), String> {
    let Some((shared, events)) = &behind.member else {
        return Err("no store here: it is blank".to_owned());
    };
    let Some(events) = events else {
        return Err("the service of a domain ends at the head: this is the tail".to_owned());
    };
    if !shared.identity().active() {
        return Err("a rebuild is under way: finish it, or abandon it, first".to_owned());
    }
    if shared.view().has_ended(Some(end.domain)) {
        return Ok(());
    }
    if !known(shared, end.domain).await? {
        return Err(format!("domain {} is not known here: see `kms domain list`", end.domain));
    }
    match commit(shared, events, end.transaction(signed)).await? {
        Body::Committed(_) => Ok(()),
        // An order given before was carried out meanwhile.
        Body::Conflict(_) if shared.view().has_ended(Some(end.domain)) => Ok(()),
        Body::NotDone(_) if shared.view().ending(Some(end.domain)) => Err(NOT_KNOWN.to_owned()),
        Body::NotDone(why) => Err(refused(why).to_owned()),
        _ => Err(NOT_KNOWN.to_owned()),
    }
}

const NOT_KNOWN: &str = "whether both databases have it is not known yet: run it again";

fn refused(why: i32) -> &'static str {
    match NotDone::try_from(why) {
        Ok(NotDone::NoTail | NotDone::Stalled) => {
            "the other database does not confirm: nobody may serve the domain any more once it has ended, so both must be up; \
             nothing was changed"
        }
        Ok(NotDone::InDoubt) => "a write before it is not confirmed yet; nothing was changed",
        _ => "it does not take writes at the moment; nothing was changed",
    }
}

/// Whether there is anything of a domain here: its key, begun or not, or records that only its key opens.
async fn known(shared: &Arc<Shared>, domain: Uuid) -> Result<bool, String> {
    Ok(has_key(shared, domain).await? || has_records(shared, domain).await?)
}

/// Whether there are records of a domain here and no key for them.
pub(super) async fn keyless(shared: &Arc<Shared>, domain: Uuid) -> Result<bool, String> {
    Ok(!has_key(shared, domain).await? && has_records(shared, domain).await?)
}

/// Whether the key of a domain is here, begun or not.
async fn has_key(shared: &Arc<Shared>, domain: Uuid) -> Result<bool, String> {
    Ok(shared.view().begun.contains(&domain) || keys(shared).await?.contains(&domain))
}

async fn has_records(shared: &Arc<Shared>, domain: Uuid) -> Result<bool, String> {
    let found = shared.engine("domain", move |engine| {
        for prefix in prefixes(domain) {
            if !engine.scan(&prefix, None, 1)?.records.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    });
    found.await.map_err(|error| error.to_string())
}

/// What the keys of all records of a domain begin with, whatever kinds of records there are.
fn prefixes(domain: Uuid) -> impl Iterator<Item = Vec<u8>> {
    (1..KIND_TERMINATION).map(move |kind| [&[kind], domain.as_bytes().as_slice()].concat())
}

/// The domains whose keys are here.
async fn keys(shared: &Arc<Shared>) -> Result<Vec<Uuid>, String> {
    let (disk, dir) = (shared.env.disk.clone(), shared.config.data_dir.join(STORE_DIR).join(KEYRING_DIR));
    match shared.env.blocking("keyring", move || disk.list(&dir)).await {
        Ok(Ok(names)) => Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect()),
        Ok(Err(error)) => Err(format!("own disk: {error}")),
        Err(_) => Err("storage panicked".to_owned()),
    }
}

/// For people: whose keys are here.
pub(super) async fn domains(behind: &Behind) -> Body {
    let Some((shared, _)) = &behind.member else {
        return Body::BadRequest("no store here: it is blank".to_owned());
    };
    let listed = keys(shared).await;
    match listed.and_then(|domains| serde_json::to_string(&domains).map_err(|error| error.to_string())) {
        Ok(json) => Body::StatusAnswer(json),
        Err(why) => Body::BadRequest(why),
    }
}

/// Deletes the keys of domains whose service has ended, beside every store in the data directory: once after each start, and
/// whenever another one ends.
pub(super) async fn erase(shared: Arc<Shared>) -> Infallible {
    let (env, data) = (&shared.env, &shared.config.data_dir);
    let mut applied = shared.confirmed.subscribe();
    loop {
        let domains = shared.view().ended.unerased();
        if domains.is_empty() {
            let _ = env.timeout(LOOK, applied.changed()).await;
            continue;
        }
        let (disk, data, of) = (env.disk.clone(), data.clone(), domains.clone());
        match env.blocking("erase", move || erase_keys(&*disk, &data, &of)).await {
            Ok(Ok(())) => {
                tracing::info!(domains = domains.len(), "keys of domains whose service has ended are gone");
                shared.view().ended.erased(&domains);
                continue;
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "a key of a domain whose service has ended is not deleted yet; it is tried again");
            }
            Err(_) => tracing::error!("panicked while keys were deleted"),
        }
        env.sleep(RETRY).await;
    }
}

/// Deletes the records of domains whose service ended so long ago, at the head, through the chain: some at a time, slowly. Without
/// their key nobody could read them since; backups have them until those expire.
pub(super) async fn purge(shared: Arc<Shared>, events: mpsc::UnboundedSender<Event>) -> Infallible {
    let env = &shared.env;
    let mut purged: BTreeSet<Uuid> = BTreeSet::new();
    let mut applied = shared.confirmed.subscribe();
    loop {
        let due: Vec<Uuid> = {
            let (view, now_ms) = (shared.view(), env.wall_ms());
            let due = |end: &Termination| end.made_ms.saturating_add(KEPT_MS) <= now_ms;
            let due = view.ended.all().filter(due).map(|end| end.domain);
            due.filter(|domain| !purged.contains(domain)).collect()
        };
        for domain in due {
            match purge_domain(&shared, &events, domain).await {
                Ok(records) => {
                    tracing::info!(%domain, records, "the records of a domain whose service ended 30 days ago are gone");
                    purged.insert(domain);
                }
                Err(why) => {
                    tracing::warn!(%domain, %why, "records of a domain whose service has ended are left; it is tried again")
                }
            }
            env.sleep(RETRY).await;
        }
        let _ = env.timeout(LOOK, applied.changed()).await;
    }
}

/// Answers how many there were.
async fn purge_domain(
    shared: &Arc<Shared>,
    events: &mpsc::UnboundedSender<Event>,
    domain: Uuid,
) -> Result<usize, String> {
    let mut records = 0;
    for prefix in prefixes(domain) {
        loop {
            let of = prefix.clone();
            let page = shared.engine("purge", move |engine| engine.scan(&of, None, PURGED_AT_ONCE)).await;
            let page = page.map_err(|error| error.to_string())?;
            if page.records.is_empty() {
                break;
            }
            let expect = |(key, record): &(RecordKey, SealedRecord)| Expect {
                key: key.clone(),
                version: Some(record.version),
            };
            let transaction = Transaction {
                expect: page.records.iter().map(expect).collect(),
                put: Vec::new(),
                delete: page.records.iter().map(|(key, _)| key.clone()).collect(),
                ends: Vec::new(),
            };
            records += page.records.len();
            match commit(shared, events, transaction).await? {
                Body::Committed(_) => {}
                _ => return Err("the chain does not take it at the moment".to_owned()),
            }
            shared.env.sleep(PURGE_PAUSE).await;
        }
    }
    Ok(records)
}

/// Hands the head a write of this program's own; answers what became of it.
async fn commit(
    shared: &Arc<Shared>,
    events: &mpsc::UnboundedSender<Event>,
    transaction: Transaction,
) -> Result<Body, String> {
    let id = CommitId(shared.env.random(Purpose::Public).map_err(|error| error.to_string())?);
    let put = transaction.put.into_iter().map(|(key, record)| {
        let version = Version { commit_id: id, ..record.version };
        (key, SealedRecord { version, ..record })
    });
    let transaction = Transaction { put: put.collect(), ..transaction };
    let size = transaction_out(&transaction).encoded_len();
    let (answer, answered) = oneshot::channel();
    let until = shared.env.now() + ms(shared.config.limits.queue_ms);
    let attempt = Attempt { id, transaction };
    if events.send(Event::Commit(Waiting { attempt, answer, until, size, from: From::Within })).is_err() {
        return Err("the store is being opened again; nothing was changed".to_owned());
    }
    Ok(answered.await.unwrap_or(Body::Unknown(Empty {})))
}
