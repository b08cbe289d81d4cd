//! `kms replica reseed`, and what `kms status` says of the replica.

use super::{Failure, output::say, region::WhichRegion};
use clap::{Args, Subcommand};
use kms::{
    env::Env,
    operator::{
        OperatorConfig,
        ask::{replica_status, reseed},
    },
    replica::ReplicaStatus,
    wire::tls::NodeTls,
};
use serde::Serialize;
use std::time::Duration;

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// A replica that lags longer than this on a healthy link is worth a look, milliseconds.
const LAG_MS: u64 = 2_000;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Have the replica put aside what it has, and begin with a snapshot of the region
    Reseed(ReseedOptions),
}

#[derive(Debug, Args)]
#[command(
    after_help = "For a replica whose log is not the region's (`kms status` says DIVERGED), or whose disk you do not trust.\n\
    What it has is kept beside the new store, in its data directory, as retired-<id>-<epoch>. The region goes on\n\
    meanwhile; until the snapshot is complete the third copy is the old one. See docs/replica.md."
)]
struct ReseedOptions {
    #[command(flatten)]
    which: WhichRegion,
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    let What::Reseed(options) = options.what;
    let operator = options.which.load(&env)?;
    let address = operator
        .replica
        .as_deref()
        .ok_or_else(|| Failure::usage("this region has no replica: operator.toml names none"))?;
    let tls = operator.tls(&env, HANDSHAKE).map_err(Failure::usage)?;
    reseed(&env, &tls, address)
        .await
        .map_err(|error| Failure::Runtime(format!("the replica, {address}: {error}")))?;
    say(
        "The replica has heard: it begins with a snapshot as soon as a database feeds it. `kms status` shows how far it is.\n",
    );
    Ok(())
}

/// What a replica answered.
#[derive(Debug, Serialize)]
pub(super) struct Replica {
    address: String,
    status: Option<ReplicaStatus>,
    error: Option<String>,
}

/// Asks the region's replica, if it has one.
pub(super) async fn ask(env: &Env, operator: &OperatorConfig, tls: &NodeTls) -> Option<Replica> {
    let address = operator.replica.clone()?;
    let answer = replica_status(env, tls, &address).await;
    let error = answer.as_ref().err().map(ToString::to_string);
    Some(Replica { address, status: answer.ok(), error })
}

impl Replica {
    /// One line for people.
    pub(super) fn line(&self) -> String {
        let Some(status) = &self.status else {
            return format!("Replica {}: {}", self.address, self.error.as_deref().unwrap_or("no answer"));
        };
        let what = match (&status.seed, status.phase.as_str()) {
            (Some(seed), _) => format!("takes a snapshot, {} of {} records", seed.rows, seed.rows_total),
            (None, "diverged") => "DIVERGED: its log is not the region's".to_owned(),
            (None, "blank") => "has nothing yet".to_owned(),
            (None, "failed") => "CANNOT OPEN ITS STORE".to_owned(),
            (None, _) => {
                let lag =
                    status.lag_ms.map_or("never since its start".to_owned(), |lag| format!("{lag} ms ago"));
                format!("has all up to {}, last seen complete {lag}", status.last)
            }
        };
        let source =
            status.source.as_ref().map_or("follows nobody".to_owned(), |zone| format!("follows zone {zone}"));
        format!("Replica {} in {}: {what}; {source}", self.address, status.place)
    }

    /// What a person should do about it.
    pub(super) fn advice(&self) -> Option<String> {
        let Some(status) = &self.status else {
            return Some(format!(
                "The replica does not answer ({}). Keys are not affected; until it is back, the loss of the region loses what was \
                 written since. A blank one in its place makes itself anew.",
                self.error.as_deref().unwrap_or("no answer")
            ));
        };
        let why = status.trouble.as_deref().unwrap_or("no reason is known");
        match status.phase.as_str() {
            "diverged" => Some(format!(
                "The replica's log is not the region's ({why}): it follows no longer. Find out which is right, then run \
                 `kms replica reseed`."
            )),
            "failed" => Some(format!(
                "The replica cannot open its store ({why}): see its log, or run `kms replica reseed`."
            )),
            _ if status.seed.is_some() => None,
            _ if status.source.is_none() || status.lag_ms.is_none_or(|lag| lag > LAG_MS) => Some(format!(
                "The replica is behind ({why}). Keys are not affected; what it lacks would be lost with the region."
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(status: ReplicaStatus) -> Replica {
        Replica { address: "10.9.0.2:8444".to_owned(), status: Some(status), error: None }
    }

    #[test]
    fn people_are_told_what_matters() {
        let well = ReplicaStatus {
            phase: "replica".to_owned(),
            source: Some("b".to_owned()),
            lag_ms: Some(120),
            last: 7,
            ..ReplicaStatus::default()
        };
        assert_eq!(replica(well.clone()).advice(), None);
        assert!(replica(well.clone()).line().contains("all up to 7"));
        for (ill, word) in [
            (ReplicaStatus { phase: "diverged".to_owned(), ..well.clone() }, "reseed"),
            (ReplicaStatus { lag_ms: Some(2_001), ..well.clone() }, "behind"),
            (ReplicaStatus { lag_ms: None, ..well.clone() }, "behind"),
            (ReplicaStatus { source: None, ..well }, "behind"),
        ] {
            assert!(replica(ill).advice().is_some_and(|advice| advice.contains(word)), "{word}");
        }
    }
}
