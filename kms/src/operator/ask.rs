//! What an operator asks and tells single nodes, over a connection of its own each time. Decides nothing.

use crate::{
    config::Zone,
    crypto::OperatorVerifier,
    env::Env,
    limits::ms,
    replica::{Asked, ReplicaStatus, StoreBackups, Verification},
    store::{
        exchange::{NoAnswer, exchange},
        server::DatabaseStatus,
        witness::Known,
    },
    wire::{
        epoch::Order,
        message::{Body, Empty, VerifyBackup},
        restore::{BackupSeen, BackupWanted},
        tls::{Expected, NodeTls, PeerRole},
    },
};
use serde::de::DeserializeOwned;
use std::time::Duration;
use uuid::Uuid;

const REPLICA: Expected = Expected { role: PeerRole::Replica, zone: None };

/// Longest wait for one answer.
pub const ANSWER_WITHIN: Duration = ms(3_000);

/// Asks the database at `address` how it is.
///
/// # Errors
/// [`NoAnswer`].
pub async fn database_status(env: &Env, tls: &NodeTls, address: &str) -> Result<DatabaseStatus, NoAnswer> {
    status(env, tls, address, &Expected { role: PeerRole::Database, zone: None }).await
}

async fn status<T: DeserializeOwned>(
    env: &Env,
    tls: &NodeTls,
    address: &str,
    expected: &Expected,
) -> Result<T, NoAnswer> {
    answer(env, tls, (address, expected), Body::Status(Empty {}), ANSWER_WITHIN).await
}

async fn answer<T: DeserializeOwned>(
    env: &Env,
    tls: &NodeTls,
    (address, expected): (&str, &Expected),
    body: Body,
    limit: Duration,
) -> Result<T, NoAnswer> {
    match exchange(env, tls, address, expected, body, limit).await? {
        Body::StatusAnswer(json) => serde_json::from_str(&json)
            .map_err(|error| NoAnswer::Refused(format!("an answer that does not parse: {error}"))),
        _ => Err(NoAnswer::Closed),
    }
}

/// Asks the replica at `address` how it is.
///
/// # Errors
/// [`NoAnswer`].
pub async fn replica_status(env: &Env, tls: &NodeTls, address: &str) -> Result<ReplicaStatus, NoAnswer> {
    status(env, tls, address, &REPLICA).await
}

/// Longest wait for a listing of two backup stores.
const LISTED_WITHIN: Duration = ms(60_000);

/// Asks the replica at `address` which backups there are, in each store.
///
/// # Errors
/// [`NoAnswer`]; `Refused` if it makes no backups.
pub async fn backups(env: &Env, tls: &NodeTls, address: &str) -> Result<Vec<StoreBackups>, NoAnswer> {
    answer(env, tls, (address, &REPLICA), Body::Backups(Empty {}), LISTED_WITHIN).await
}

/// Has the replica at `address` begin to verify a backup, or, with a `ticket` that was given to it before, asks how far it is.
///
/// # Errors
/// [`NoAnswer`]; `Refused` if it will not.
pub async fn verify_backup(
    env: &Env,
    tls: &NodeTls,
    address: &str,
    (ticket, asked): ([u8; 16], &Asked),
) -> Result<Verification, NoAnswer> {
    let body = Body::VerifyBackup(VerifyBackup {
        ticket: ticket.to_vec(),
        number: asked.number.unwrap_or_default(),
        store: asked.store.clone().unwrap_or_default(),
    });
    answer(env, tls, (address, &REPLICA), body, ANSWER_WITHIN).await
}

/// Tells the replica at `address` to put what it has aside and to begin with a snapshot, as soon as a database feeds it. It has
/// heard when this returns, and forgets it if it is started anew before it is done.
///
/// # Errors
/// [`NoAnswer`]; unless it is `Connect`, it may have been heard: ask how it is.
pub async fn reseed(env: &Env, tls: &NodeTls, address: &str) -> Result<(), NoAnswer> {
    match exchange(env, tls, address, &REPLICA, Body::Reseed(Empty {}), ANSWER_WITHIN).await? {
        Body::Done(_) => Ok(()),
        _ => Err(NoAnswer::Closed),
    }
}

/// Asks the database at `address` whose domain keys it has.
///
/// # Errors
/// [`NoAnswer`].
pub async fn domains(env: &Env, tls: &NodeTls, address: &str) -> Result<Vec<Uuid>, NoAnswer> {
    let expected = Expected { role: PeerRole::Database, zone: None };
    answer(env, tls, (address, &expected), Body::Domains(Empty {}), ANSWER_WITHIN).await
}

/// Asks the head at `address` with what the witness begins that it listens to (R17a).
///
/// # Errors
/// [`NoAnswer`].
pub async fn begins_with(
    env: &Env,
    tls: &NodeTls,
    address: &str,
    operator: &OperatorVerifier,
) -> Result<Known, NoAnswer> {
    let expected = Expected { role: PeerRole::Database, zone: Some(Zone::A) };
    knows(env, tls, (address, &expected), operator).await
}

async fn knows(
    env: &Env,
    tls: &NodeTls,
    (address, expected): (&str, &Expected),
    operator: &OperatorVerifier,
) -> Result<Known, NoAnswer> {
    match exchange(env, tls, address, expected, Body::ReadEpoch(Empty {}), ANSWER_WITHIN).await? {
        Body::EpochAnswer(state) => Known::verify(&state, operator, &tls.identity().region)
            .map_err(|error| NoAnswer::Refused(error.to_string())),
        _ => Err(NoAnswer::Closed),
    }
}

/// Asks the replica at `address` for what a new witness may begin with if the one before is lost (R17).
///
/// # Errors
/// [`NoAnswer`].
pub async fn replica_knows(
    env: &Env,
    tls: &NodeTls,
    address: &str,
    operator: &OperatorVerifier,
) -> Result<Known, NoAnswer> {
    knows(env, tls, (address, &REPLICA), operator).await
}

/// Asks the replica at `address` which backup would be restored; it asks its stores.
///
/// # Errors
/// [`NoAnswer::Refused`] with the reason if there is none.
pub async fn look_at_backup(
    env: &Env,
    tls: &NodeTls,
    address: &str,
    wanted: BackupWanted,
    limit: Duration,
) -> Result<BackupSeen, NoAnswer> {
    match exchange(env, tls, address, &REPLICA, Body::LookAtBackup(wanted), limit).await? {
        Body::BackupSeen(seen) => Ok(seen),
        _ => Err(NoAnswer::Closed),
    }
}

/// Gives an order to the replica at `address`. It is carried out, durably, when this returns.
///
/// # Errors
/// [`NoAnswer::Refused`] with the reason; otherwise it may have been carried out: give it again.
pub async fn order_replica(env: &Env, tls: &NodeTls, address: &str, order: Order) -> Result<(), NoAnswer> {
    match exchange(env, tls, address, &REPLICA, Body::Order(order), ANSWER_WITHIN).await? {
        Body::Done(_) => Ok(()),
        _ => Err(NoAnswer::Closed),
    }
}

/// Gives an order to the database of `zone` at `address`. It is carried out, durably, when this returns.
///
/// # Errors
/// [`NoAnswer::Refused`] with the reason; otherwise it may have been carried out: give it again.
pub async fn order(
    env: &Env,
    tls: &NodeTls,
    (zone, address): (Zone, &str),
    order: Order,
    limit: Duration,
) -> Result<(), NoAnswer> {
    let expected = Expected { role: PeerRole::Database, zone: Some(zone) };
    match exchange(env, tls, address, &expected, Body::Order(order), limit).await? {
        Body::Done(_) => Ok(()),
        _ => Err(NoAnswer::Closed),
    }
}
