//! What people ask of backups: which there are, and whether one can be read. Asks the stores anew each time, beside the backups that
//! are being made.

use super::{Backups, store::Keeper};
use crate::{
    backup::{BackupPlace, Found, ReadError},
    env::Env,
    wire::message::{Body, VerifyBackup},
};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A backup as its name tells of it; nothing of it is verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListedBackup {
    /// Its number.
    pub number: u64,
    /// When it was made, Unix milliseconds.
    pub made_ms: u64,
}

/// The backups of one store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreBackups {
    /// Region of the store.
    pub store: String,
    /// In order of their making.
    pub backups: Vec<ListedBackup>,
    /// Why they are not known.
    pub error: Option<String>,
}

/// What was found of one backup in one store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifiedBackup {
    /// Region of the store.
    pub store: String,
    /// Its number.
    pub number: u64,
    /// When it was made, Unix milliseconds.
    pub made_ms: u64,
    /// Rows of its snapshot.
    pub rows: u64,
    /// Log entries after it.
    pub entries: u64,
    /// Bytes of the objects read.
    pub bytes: u64,
    /// It leads to this position.
    pub position: u64,
    /// What is wrong; none: it is whole.
    pub error: Option<String>,
}

/// How far a verification is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verification {
    /// It is not over.
    pub running: bool,
    /// The stores that it is done with.
    pub done: Vec<VerifiedBackup>,
}

/// Which backup to verify.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Number; none = the newest.
    pub number: Option<u64>,
    /// Region of the store; none = both.
    pub store: Option<String>,
}

/// A verification that was begun for somebody.
pub(super) struct Job {
    ticket: Vec<u8>,
    state: Mutex<Verification>,
}

impl Job {
    fn state(&self) -> MutexGuard<'_, Verification> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job is over when who works on it is gone, whatever became of it.
struct Working(Arc<Job>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.state().running = false;
    }
}

async fn listed(keeper: &Keeper) -> Result<Vec<Found>, String> {
    let place = keeper.beside().await.map_err(|error| error.to_string())?;
    place.backups().await.map_err(|error| error.to_string())
}

async fn verified(keeper: &Keeper, number: Option<u64>) -> VerifiedBackup {
    let store = keeper.region().to_owned();
    let place = match keeper.beside().await {
        Ok(place) => place,
        Err(error) => {
            return VerifiedBackup { store, error: Some(error.to_string()), ..VerifiedBackup::default() };
        }
    };
    let found = match found(&place, number).await {
        Ok(found) => found,
        Err(error) => {
            let number = number.unwrap_or_default();
            return VerifiedBackup {
                store,
                number,
                error: Some(error.to_string()),
                ..VerifiedBackup::default()
            };
        }
    };
    let whole =
        VerifiedBackup { store, number: found.number, made_ms: found.made_ms, ..VerifiedBackup::default() };
    match place.verify(found).await {
        Ok(verified) => VerifiedBackup {
            rows: verified.rows,
            entries: verified.entries,
            bytes: verified.bytes,
            position: verified.position.seq,
            ..whole
        },
        Err(error) => VerifiedBackup { error: Some(error.to_string()), ..whole },
    }
}

/// By number; of several attempts at one number the last.
async fn found(place: &BackupPlace, number: Option<u64>) -> Result<Found, ReadError> {
    let Some(number) = number else { return place.newest(None).await };
    let found = place.backups().await?.into_iter().rfind(|found| found.number == number);
    found.ok_or_else(|| ReadError::None(place.place().to_owned()))
}

impl Backups {
    /// The backups of each store.
    pub async fn list(&self) -> Vec<StoreBackups> {
        let list = |keeper: Arc<Keeper>| async move {
            let store = keeper.region().to_owned();
            match listed(&keeper).await {
                Ok(found) => {
                    let backup =
                        |found: &Found| ListedBackup { number: found.number, made_ms: found.made_ms };
                    StoreBackups { store, backups: found.iter().map(backup).collect(), error: None }
                }
                Err(why) => StoreBackups { store, backups: Vec::new(), error: Some(why) },
            }
        };
        futures_util::future::join_all(self.stores.iter().cloned().map(list)).await
    }

    fn asked(&self, asked: &Asked) -> Result<Vec<Arc<Keeper>>, String> {
        let wanted =
            |keeper: &&Arc<Keeper>| asked.store.as_deref().is_none_or(|store| store == keeper.region());
        let keepers: Vec<_> = self.stores.iter().filter(wanted).cloned().collect();
        if keepers.is_empty() {
            let regions: Vec<&str> = self.stores.iter().map(|keeper| keeper.region()).collect();
            return Err(format!("no such store: the stores are in {}", regions.join(" and ")));
        }
        Ok(keepers)
    }

    /// Reads a backup to its end and checks everything that can be checked without a key of the region's hosts, one store after the
    /// other. May take minutes.
    ///
    /// # Errors
    /// When there is no such store. What is wrong with a backup is in the answer.
    pub async fn verify(&self, asked: &Asked) -> Result<Vec<VerifiedBackup>, String> {
        let mut done = Vec::new();
        for keeper in self.asked(asked)? {
            done.push(verified(&keeper, asked.number).await);
        }
        Ok(done)
    }

    /// Begins a verification, or says how far the one of this ticket is. One at a time.
    fn verification(&self, env: &Env, message: VerifyBackup) -> Result<Verification, String> {
        let mut verifying = self.verifying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = &*verifying {
            let state = job.state().clone();
            if job.ticket == message.ticket {
                return Ok(state);
            }
            if state.running {
                return Err("another verification is running: wait until it is over".to_owned());
            }
        }
        let asked = Asked {
            number: (message.number > 0).then_some(message.number),
            store: (!message.store.is_empty()).then_some(message.store),
        };
        let keepers = self.asked(&asked)?;
        let begun = Verification { running: true, done: Vec::new() };
        let job = Arc::new(Job { ticket: message.ticket, state: Mutex::new(begun.clone()) });
        *verifying = Some(job.clone());
        let working = Working(job);
        // Nobody waits for it: it ends by itself, or with the node.
        drop(env.spawn("backup-verify", async move {
            for keeper in keepers {
                let done = verified(&keeper, asked.number).await;
                working.0.state().done.push(done);
            }
        }));
        Ok(begun)
    }
}

/// The answer of a replica.
pub(in crate::replica) async fn answer(
    backups: Option<&Backups>,
    env: &Env,
    asked: Option<VerifyBackup>,
) -> Body {
    let Some(backups) = backups else {
        return Body::BadRequest("this replica makes no backups: its node.toml names no stores".to_owned());
    };
    let json = match asked {
        None => serde_json::to_string(&backups.list().await),
        Some(asked) => match backups.verification(env, asked) {
            Ok(verification) => serde_json::to_string(&verification),
            Err(why) => return Body::BadRequest(why),
        },
    };
    match json {
        Ok(json) => Body::StatusAnswer(json),
        Err(error) => Body::BadRequest(error.to_string()),
    }
}
