//! `kms replica reseed`, and what `kms status` says of the replica.

use super::{
    Failure,
    backup::{size, span},
    output::say,
    region::WhichRegion,
};
use clap::{Args, Subcommand};
use kms::{
    env::Env,
    operator::{
        OperatorConfig,
        ask::{replica_status, reseed},
    },
    replica::{BackupStatus, ReplicaStatus},
    wire::tls::NodeTls,
};
use serde::Serialize;
use std::time::Duration;

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// A replica that lags longer than this on a healthy link is worth a look, milliseconds.
const LAG_MS: u64 = 2_000;
/// What is promised: the newest backup is never older, milliseconds.
const OLD_MS: u64 = 300_000;

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
    /// As it was given.
    pub(super) fn answer(&self) -> Result<ReplicaStatus, String> {
        self.status.clone().ok_or_else(|| self.error.clone().unwrap_or_default())
    }

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

    /// One line for each store of backups, for people.
    pub(super) fn backup_lines(&self) -> String {
        let Some(status) = &self.status else { return String::new() };
        if status.backups.is_empty() {
            return "Backups: NONE ARE MADE\n".to_owned();
        }
        status.backups.iter().map(|store| backup_line(store) + "\n").collect()
    }

    /// What a person should do about it, and about its backups.
    pub(super) fn all_advice(&self) -> Vec<String> {
        let backups = self.status.as_ref().map(backup_advice).unwrap_or_default();
        self.advice().into_iter().chain(backups).collect()
    }

    fn advice(&self) -> Option<String> {
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

fn backup_line(store: &BackupStatus) -> String {
    let what = match store.age_ms {
        None => "NONE YET".to_owned(),
        Some(age) => {
            let late = if age > OLD_MS { "LATE, " } else { "" };
            let made = if store.duration_ms > 0 || store.bytes > 0 {
                let full = if store.full { "a full one of " } else { "" };
                format!(", {full}{} in {} ms", size(store.bytes), store.duration_ms)
            } else {
                String::new()
            };
            format!("{late}number {}, {} ago, up to {}{made}", store.number, span(age), store.position)
        }
    };
    let wrong = store.alarm.as_ref().map(|why| format!("; ALARM: {why}")).unwrap_or_default();
    let trouble = store.trouble.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
    format!("Backups in {}: {what}{wrong}{trouble}", store.store)
}

fn backup_advice(status: &ReplicaStatus) -> Vec<String> {
    if status.backups.is_empty() {
        return vec![
            "No backups are made: the loss of the region and the replica together would lose everything. Name two stores in the \
             replica's node.toml (docs/backups.md) and start it anew."
                .to_owned(),
        ];
    }
    let mut advice = Vec::new();
    for store in &status.backups {
        let place = &store.store;
        if let Some(why) = &store.alarm {
            advice.push(format!("Backups in {place}, ALARM: {why}. See `What to do` in docs/backups.md."));
        }
        if store.age_ms.is_none_or(|age| age > OLD_MS) {
            let age = store.age_ms.map_or("There is no backup".to_owned(), |age| {
                format!("The newest backup is {} old, more than 5 minutes,", span(age))
            });
            let why = store.trouble.as_deref().unwrap_or("no reason is known: see the replica's log");
            advice.push(format!(
                "{age} in {place} ({why}). Keys are not affected, and it is tried again by itself; until it succeeds the loss of \
                 the region and the replica could lose more than 5 minutes of writes, unless the other store is newer."
            ));
        } else if let Some(why) = &store.trouble {
            advice.push(format!("Backups in {place} have trouble: {why}. It is tried again by itself."));
        }
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(status: ReplicaStatus) -> Replica {
        Replica { address: "10.9.0.2:8444".to_owned(), status: Some(status), error: None }
    }

    #[test]
    fn people_are_told_of_backups() {
        let well = BackupStatus {
            store: "eu-west-gra".to_owned(),
            number: 7,
            age_ms: Some(90_000),
            position: 12,
            bytes: 726,
            duration_ms: 14,
            ..BackupStatus::default()
        };
        let status = |store: BackupStatus| ReplicaStatus { backups: vec![store], ..ReplicaStatus::default() };
        assert_eq!(backup_advice(&status(well.clone())), [""; 0]);
        assert_eq!(
            backup_line(&well),
            "Backups in eu-west-gra: number 7, 90 s ago, up to 12, 726 bytes in 14 ms"
        );
        let trouble = || Some("it does not answer".to_owned());
        for (ill, word) in [
            (
                BackupStatus { age_ms: Some(300_001), trouble: trouble(), ..well.clone() },
                "more than 5 minutes",
            ),
            (BackupStatus { age_ms: None, number: 0, ..well.clone() }, "There is no backup"),
            (BackupStatus { trouble: trouble(), ..well.clone() }, "have trouble: it does not answer"),
            (BackupStatus { alarm: trouble(), ..well }, "ALARM"),
        ] {
            let advice = backup_advice(&status(ill));
            assert!(advice.iter().any(|line| line.contains(word)), "{advice:?}");
        }
        assert!(backup_advice(&ReplicaStatus::default())[0].contains("No backups are made"));
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
