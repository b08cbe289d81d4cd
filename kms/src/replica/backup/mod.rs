//! The replica makes the backups: every interval one in each of two stores, from one view of its own store. Here is the schedule;
//! [`store`] looks after one store, [`anchor`] carries tombstones there, [`source`] is what a backup is made of, [`ask`] is what people ask. What a backup is, and how it
//! is written, is `crate::backup`.
//!
//! The stores are independent: one that is slow or away delays the other's backups by nothing. They begin together
//! whenever both can.

mod anchor;
mod ask;
mod source;
mod store;
#[cfg(test)]
mod tests;

pub(super) use ask::answer;
pub use ask::{Asked, ListedBackup, StoreBackups, Verification, VerifiedBackup};
pub use store::BackupStatus;

use super::Node;
use crate::{
    backup::{BackupKey, BackupKeyError, BackupPlace, Day, Source},
    config::NodeConfig,
    crypto::OperatorVerifier,
    env::{BoxFuture, Env, Mono},
    limits::ms,
    store::log::Position,
};
use futures_util::{
    StreamExt,
    future::{join, join_all},
    stream::FuturesUnordered,
};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use store::Keeper;
use uuid::Uuid;

/// First pause after a backup that failed; doubled up to [`RETRY_MAX`].
const RETRY: Duration = ms(2_000);
/// See [`RETRY`].
const RETRY_MAX: Duration = ms(30_000);
/// How often it is looked whether there is something to back up, while there is not.
const LOOK: Duration = ms(1_000);

/// What one backup in each store is made of.
struct Stood {
    /// One for each store, all standing at the same position.
    sources: Box<dyn FnMut() -> Box<dyn Source> + Send>,
    /// What lies beside the backups.
    keys: Arc<Keys>,
    /// Names what they were taken from, for [`Origin::gone`].
    mark: u64,
}

/// What lies beside the backups of a store.
#[derive(Debug)]
struct Keys {
    /// The sealed domain keys, by domain.
    sealed: BTreeMap<Uuid, Vec<u8>>,
    /// The operator's statements about domains whose service has ended, by domain.
    ended: BTreeMap<Uuid, Vec<u8>>,
    /// Who has signed statements that lie there already.
    operator: OperatorVerifier,
}

/// Where backups come from.
trait Origin: Send + Sync {
    /// Has it stand still for a backup.
    ///
    /// # Errors
    /// Why there is nothing to back up now.
    fn stand(&self) -> BoxFuture<'_, Result<Stood, String>>;
    /// Entries of the log behind that place of the log of that mark, or from its beginning if there is none or it is another log; none at
    /// its end. `None`: there is no log now.
    fn log(&self, after: Option<(u64, Position)>) -> BoxFuture<'_, Option<anchor::Logged>>;
    /// Done when what was taken under `mark` must be let go of.
    fn gone(&self, mark: u64) -> BoxFuture<'_, ()>;
    /// Done when the keys of domains are gone from it: they are to go from the stores, and not only with the next backup.
    fn keys_gone(&self) -> BoxFuture<'_, ()>;
}

/// The stores of a region's backups, as one process uses them.
pub struct Backups {
    env: Env,
    interval: Duration,
    stores: Vec<Arc<Keeper>>,
    verifying: Mutex<Option<Arc<ask::Job>>>,
}

impl Backups {
    /// As a replica's configuration says; none if it names no stores. Reads the backup key; asks the stores nothing yet.
    ///
    /// # Errors
    /// [`BackupKeyError`] says what to do.
    pub fn configured(env: &Env, config: &NodeConfig) -> Result<Option<Backups>, BackupKeyError> {
        let Some(path) = config.backup_key.as_deref().filter(|_| !config.backups.is_empty()) else {
            return Ok(None);
        };
        let key = Arc::new(BackupKey::load(&*env.disk, path)?);
        let keeper = |store| Arc::new(Keeper::new(env, store, &key, &config.region));
        let stores = config.backups.iter().map(keeper).collect();
        let interval = ms(config.limits.backup_interval_ms);
        Ok(Some(Backups { env: env.clone(), interval, stores, verifying: Mutex::default() }))
    }

    /// The stores, or the one of a region, for somebody who reads them beside the backups.
    ///
    /// # Errors
    /// Says which cannot be used, or that there is none of that region.
    pub(super) async fn places(&self, region: &str) -> Result<Vec<BackupPlace>, String> {
        let mut places = Vec::new();
        for keeper in self.stores.iter().filter(|store| region.is_empty() || store.region() == region) {
            places.push(keeper.beside().await.map_err(|error| error.to_string())?);
        }
        if places.is_empty() {
            let known: Vec<&str> = self.stores.iter().map(|store| store.region()).collect();
            return Err(format!("there is no backup store in {region}; there are: {}", known.join(", ")));
        }
        Ok(places)
    }

    /// Each store, by its region, for somebody who reads it beside the backups.
    pub(super) async fn each(&self) -> Vec<(String, Result<BackupPlace, String>)> {
        let mut each = Vec::new();
        for keeper in &self.stores {
            let place = keeper.beside().await.map_err(|error| error.to_string());
            each.push((keeper.region().to_owned(), place));
        }
        each
    }

    /// How it is with each store. `ended`: the domains whose service has ended.
    pub fn status(&self, ended: &[Uuid]) -> Vec<BackupStatus> {
        self.stores.iter().map(|store| store.status(ended)).collect()
    }
}

/// Makes the backups of a replica, and sees to anchors, until it is dropped.
pub(super) async fn keep(node: Arc<Node>) {
    if let Some(backups) = &node.backups {
        look_after(backups, &source::Replica(node.clone())).await;
    }
}

async fn look_after(backups: &Backups, origin: &dyn Origin) {
    let anchors = backups.stores.iter().map(|keeper| anchor::keep(keeper, origin));
    join(make(backups, origin), join_all(anchors)).await;
}

/// When a store is to be looked after next.
#[derive(Clone, Copy)]
struct Turn {
    due: Mono,
    busy: bool,
    /// Its newest backup is of its last turn.
    made: bool,
    /// What it is busy with may have begun with keys that are gone meanwhile.
    again: bool,
    /// After the next failure.
    pause: Duration,
}

async fn make(backups: &Backups, origin: &dyn Origin) -> Infallible {
    let env = &backups.env;
    let mut turns = vec![
        Turn { due: env.now(), busy: false, made: false, again: false, pause: RETRY };
        backups.stores.len()
    ];
    let mut runs = FuturesUnordered::new();
    let mut day = Day::of(env.wall_ms());
    loop {
        let (now, wall_ms) = (env.now(), env.wall_ms());
        if std::mem::replace(&mut day, Day::of(wall_ms)) != day {
            // The first of a day is a whole one, and what has expired goes.
            turns.iter_mut().for_each(|turn| turn.due = turn.due.min(now));
        }
        if turns.iter().any(|turn| !turn.busy && turn.due <= now) {
            let mut stood = origin.stand().await;
            let began = env.now();
            for (at, turn) in turns.iter_mut().enumerate() {
                // Both at once where that is to be had.
                if !turn.busy && turn.due <= began {
                    turn.busy = true;
                    let from = stood
                        .as_mut()
                        .map_err(|why| why.clone())
                        .map(|stood| ((stood.sources)(), stood.keys.clone(), stood.mark));
                    let keeper = backups.stores[at].clone();
                    runs.push(async move { (at, began, run(&keeper, origin, from).await) });
                }
            }
        }
        let midnight = env.now() + ms(day.ends_ms().saturating_sub(wall_ms)).max(LOOK);
        let next = turns.iter().filter(|turn| !turn.busy).map(|turn| turn.due).min();
        let timer = env.clock.sleep_until(next.map_or(midnight, |due| due.min(midnight)));
        let (at, began, done) = tokio::select! {
            biased;
            Some(done) = runs.next(), if !runs.is_empty() => done,
            () = origin.keys_gone() => {
                turns.iter_mut().for_each(|turn| {
                    (turn.due, turn.again) = (turn.due.min(env.now()), turn.busy);
                });
                continue;
            }
            () = timer => continue,
        };
        let now = env.now();
        let in_step = turns.iter().filter(|turn| turn.made && !turn.busy && turn.due > now);
        let shared = in_step.map(|turn| turn.due).min();
        let turn = &mut turns[at];
        (turn.busy, turn.made) = (false, matches!(done, Done::Made));
        turn.due = match done {
            Done::Made => {
                turn.pause = RETRY;
                let due = began + backups.interval;
                // A store that came late falls in with the other one again.
                let due = shared.map_or(due, |shared| shared.min(due));
                if std::mem::take(&mut turn.again) { now } else { due }
            }
            Done::Failed => {
                let pause = turn.pause.min(RETRY_MAX).min(backups.interval);
                turn.pause = (turn.pause * 2).min(RETRY_MAX);
                now + pause
            }
            Done::Nothing => now + LOOK.min(backups.interval),
        };
    }
}

/// What became of a look after a store.
enum Done {
    Made,
    Failed,
    Nothing,
}

type From = (Box<dyn Source>, Arc<Keys>, u64);

async fn run(keeper: &Keeper, origin: &dyn Origin, from: Result<From, String>) -> Done {
    let done = match from {
        Ok((mut source, keys, mark)) => {
            let made = tokio::select! {
                biased;
                () = origin.gone(mark) => None,
                made = keeper.back_up(&mut *source, &keys) => Some(made),
            };
            match made {
                Some(true) => Done::Made,
                Some(false) => Done::Failed,
                None => Done::Nothing,
            }
        }
        Err(why) => {
            keeper.nothing(why);
            Done::Nothing
        }
    };
    // Whatever became of the backup: what has expired goes.
    keeper.expire().await;
    done
}
