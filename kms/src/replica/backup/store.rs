//! One backup store, as the replica looks after it: opened, checked, given its keyring and its backups, and freed of what has expired.
//! What is wrong with it is kept for people, and tried again; nothing here is given up.

use super::Keys;
use crate::{
    backup::{BackupKey, BackupPlace, Day, KeyringKept, Source, WriteError, Written},
    env::{Env, Mono, ObjectError, StoreConfig},
    limits::ms,
    store::termination::verify_blob,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use uuid::Uuid;

/// How often it is looked for what has expired, and whether the store still erases.
const EXPIRY: Duration = ms(3_600_000);
/// Pause after such a look that failed.
const EXPIRY_RETRY: Duration = ms(60_000);

/// What `kms status` shows of one backup store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupStatus {
    /// Region of the store.
    pub store: String,
    /// Number of the newest complete backup in it; 0 if none is known.
    pub number: u64,
    /// When that was made, Unix milliseconds.
    pub made_ms: u64,
    /// How long ago that is, milliseconds; none if there is none.
    pub age_ms: Option<u64>,
    /// It holds everything up to here.
    pub position: u64,
    /// Bytes that it took; 0 if another process made it.
    pub bytes: u64,
    /// How long it took, milliseconds; 0 if another process made it.
    pub duration_ms: u64,
    /// Whether a full snapshot is part of it.
    pub full: bool,
    /// Domains whose service has ended and whose keys may still be in it.
    pub unerased: Vec<Uuid>,
    /// Why there is no newer one, or what has expired is still there; it is tried again.
    pub trouble: Option<String>,
    /// What must not be: something that ought to be unreadable is not.
    pub alarm: Option<String>,
}

/// What can be wrong with a store, apart from each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Waiting,
    Backup,
    Anchors,
    Expiry,
    Keeps,
    DayKeys,
    DomainKeys,
    Lacking,
    Differing,
    Unheard,
}

impl What {
    /// Whether it must not be.
    fn alarm(self) -> bool {
        use What::{DayKeys, Differing, DomainKeys, Keeps, Lacking, Unheard};
        matches!(self, Keeps | DayKeys | DomainKeys | Lacking | Differing | Unheard)
    }
}

/// What is known of the store, and not to be asked again each time.
#[derive(Default)]
struct Known {
    place: Option<BackupPlace>,
    /// Its newest backup was looked for.
    looked: bool,
    /// It deletes what is deleted.
    erases: bool,
    keyring: KeyringKept,
    /// When and on which day it was last looked for what has expired.
    expired: Option<(Mono, Day)>,
    expiry_failed: bool,
}

#[derive(Default)]
struct State {
    status: BackupStatus,
    /// Whose keys are in it, once that was looked at.
    keys: Option<BTreeSet<Uuid>>,
    wrong: BTreeMap<What, String>,
}

/// See the module.
pub(super) struct Keeper {
    env: Env,
    config: StoreConfig,
    key: Arc<BackupKey>,
    region: String,
    known: tokio::sync::Mutex<Known>,
    state: Mutex<State>,
}

impl Keeper {
    pub(super) fn new(env: &Env, config: &StoreConfig, key: &Arc<BackupKey>, region: &str) -> Keeper {
        Keeper {
            env: env.clone(),
            config: config.clone(),
            key: key.clone(),
            region: region.to_owned(),
            known: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// Region of the store.
    pub(super) fn region(&self) -> &str {
        &self.config.region
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For people. `ended`: the domains whose service has ended.
    pub(super) fn status(&self, ended: &[Uuid]) -> BackupStatus {
        let now_ms = self.env.wall_ms();
        let state = self.state();
        let texts = |alarm: bool| {
            let texts: Vec<&str> = state
                .wrong
                .iter()
                .filter(|(what, _)| what.alarm() == alarm)
                .map(|(_, text)| text.as_str())
                .collect();
            (!texts.is_empty()).then(|| texts.join("; "))
        };
        let there = state.status.number > 0;
        let may_be_there = |domain: &&Uuid| state.keys.as_ref().is_none_or(|keys| keys.contains(*domain));
        let unerased = ended.iter().filter(may_be_there).copied().collect();
        BackupStatus {
            store: self.config.region.clone(),
            age_ms: there.then(|| now_ms.saturating_sub(state.status.made_ms)),
            trouble: texts(false),
            alarm: texts(true),
            unerased,
            ..state.status.clone()
        }
    }

    /// The store with a memory of its own, for somebody who reads it beside the backups.
    ///
    /// # Errors
    /// [`ObjectError`] if it cannot be used as it is configured.
    pub(super) async fn beside(&self) -> Result<BackupPlace, ObjectError> {
        let store = self.env.stores.open(&self.config).await?;
        Ok(BackupPlace::new(self.env.clone(), store, self.key.clone(), &self.region))
    }

    /// Notes what is wrong, or that nothing is; says it if it is new.
    fn wrong(&self, what: What, text: Option<String>) {
        let mut state = self.state();
        let before = match &text {
            Some(text) => state.wrong.insert(what, text.clone()),
            None => state.wrong.remove(&what),
        };
        drop(state);
        let (store, again) = (self.region(), before == text);
        match (text, what) {
            (None, What::Waiting) | (Some(_), What::Waiting) => {}
            (None, _) if before.is_some() => tracing::info!(store, "a backup store is well again"),
            (None, _) => {}
            (Some(why), What::Keeps) if !again => {
                tracing::error!(target: "kms::probe", name = "loud:backup-store-keeps", store, %why, "a backup store keeps what is deleted: it is not used");
            }
            (Some(why), What::DayKeys) if !again => {
                tracing::error!(target: "kms::probe", name = "loud:backup-key-left", store, %why, "a day's key has expired and could not be destroyed");
            }
            (Some(why), What::DomainKeys) if !again => {
                tracing::error!(target: "kms::probe", name = "loud:backup-domain-key-left", store, %why, "a domain's key is gone from the region and could not be deleted beside its backups");
            }
            (Some(why), What::Lacking) if !again => {
                tracing::error!(target: "kms::probe", name = "loud:replica-lacks-keys", store, %why, "a domain's key is beside the backups and not at the replica");
            }
            (Some(why), What::Differing) if !again => {
                tracing::error!(store, %why, "a domain's key beside the backups is not the one at the replica");
            }
            (Some(why), What::Unheard) if !again => {
                tracing::error!(store, %why, "the service of a domain has ended, and the replica has its key");
            }
            (
                Some(_),
                What::Keeps
                | What::DayKeys
                | What::DomainKeys
                | What::Lacking
                | What::Differing
                | What::Unheard,
            ) => {}
            (Some(why), What::Anchors) if !again => {
                tracing::warn!(store, %why, "tombstones are not anchored; it is tried again");
            }
            (Some(_), What::Anchors) => {}
            (Some(why), What::Backup) => tracing::warn!(store, %why, "no new backup; it is tried again"),
            (Some(why), What::Expiry) => tracing::warn!(store, %why, "expired backups are not all deleted"),
        }
    }

    pub(super) fn env(&self) -> &Env {
        &self.env
    }

    /// Tombstones are not in the store yet, or all are.
    pub(super) fn unanchored(&self, why: Option<String>) {
        self.wrong(What::Anchors, why);
    }

    /// There is nothing to back up, for that reason. Not said again and again.
    pub(super) fn nothing(&self, why: String) {
        self.wrong(What::Waiting, Some(why));
    }

    async fn place(&self, known: &mut Known) -> Result<BackupPlace, ObjectError> {
        if let Some(place) = &known.place {
            return Ok(place.clone());
        }
        let place = self.beside().await?;
        known.place = Some(place.clone());
        Ok(place)
    }

    /// Makes a backup; false if there is none, and why is noted.
    pub(super) async fn back_up(&self, source: &mut dyn Source, keys: &Keys) -> bool {
        let mut known = self.known.lock().await;
        let began = self.env.now();
        self.wrong(What::Waiting, None);
        let made = self.try_to(&mut known, source, keys).await;
        let duration = self.env.now().since(began);
        match made {
            Ok(written) => {
                self.made(&written, duration);
                true
            }
            Err(why) => {
                self.wrong(What::Backup, Some(why));
                false
            }
        }
    }

    async fn try_to(
        &self,
        known: &mut Known,
        source: &mut dyn Source,
        keys: &Keys,
    ) -> Result<Written, String> {
        let text = |error: ObjectError| error.to_string();
        let place = self.place(known).await.map_err(text)?;
        self.erases(known, &place).await?;
        if !known.looked {
            self.look(&place).await.map_err(text)?;
            known.looked = true;
        }
        let is_word = |domain: Uuid, statement: &[u8]| {
            verify_blob(domain, statement, &keys.operator, &self.region).is_ok()
        };
        let left = place.keep_keyring(&mut known.keyring, &keys.sealed, &keys.ended, &is_word).await;
        let left = left.map_err(|error| format!("a domain's key is not beside the backups: {error}"))?;
        let undeleted = &left.undeleted;
        let alarm = undeleted.first().map(|(domain, error)| {
            format!("{} of the keys of domains that are gone, such as {domain}'s: {error}", undeleted.len())
        });
        self.wrong(What::DomainKeys, alarm);
        let lacking = left.lacking.first().map(|domain| {
            format!(
                "this replica has lost the keys of {} domains, such as {domain}'s, which lie beside its backups: `kms replica reseed`",
                left.lacking.len()
            )
        });
        let differing = left.differing.first().map(|domain| {
            format!(
                "the keys of {} domains, such as {domain}'s, are others beside the backups than here, and left alone: one of the two is damaged. \
                 `kms backup rehearse --store {} --root-key ...` says whether the one there opens; if it does not, delete it",
                left.differing.len(),
                self.region()
            )
        });
        let unheard = left.unheard.first().map(|domain| {
            format!(
                "the service of {} domains, such as {domain}, has ended, as the operator's statement there says, and this replica has their \
                 keys: it is of the past, or the region was made anew of an older copy. `kms domain terminate` ends it again",
                left.unheard.len()
            )
        });
        self.wrong(What::Unheard, unheard);
        self.wrong(What::Lacking, lacking);
        self.wrong(What::Differing, differing);
        let there = undeleted.iter().map(|(domain, _)| domain).chain(&left.lacking).chain(&left.differing);
        let ended = |domain: &Uuid| keys.ended.contains_key(domain) || left.unheard.contains(domain);
        let kept = keys.sealed.keys().filter(|domain| !ended(domain));
        let keys = kept.chain(there).copied().collect();
        self.state().keys = Some(keys);
        place.write(source).await.map_err(|error: WriteError| error.to_string())
    }

    /// A store that keeps what is deleted is not used.
    async fn erases(&self, known: &mut Known, place: &BackupPlace) -> Result<(), String> {
        if known.erases {
            return Ok(());
        }
        let keeps = place.keeps().await.map_err(|error| error.to_string())?;
        self.wrong(What::Keeps, keeps.map(str::to_owned));
        known.erases = keeps.is_none();
        keeps.map_or(Ok(()), |why| Err(format!("the store is not used: {why}")))
    }

    /// What an earlier process left.
    async fn look(&self, place: &BackupPlace) -> Result<(), ObjectError> {
        let Some(found) = place.backups().await?.pop() else { return Ok(()) };
        // One that cannot be read is told of when the next one is made.
        let manifest = place.manifest(found).await.ok();
        let status = &mut self.state().status;
        (status.number, status.made_ms) = (found.number, found.made_ms);
        if let Some((manifest, _)) = manifest {
            (status.position, status.full) = (manifest.position.seq, manifest.run == 0);
        }
        Ok(())
    }

    fn made(&self, written: &Written, duration: Duration) {
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let store = self.region();
        let Written { found, position, bytes, objects, full, broken } = written;
        if let Some((found, why)) = broken {
            tracing::warn!(store, number = found.number, %why, "the newest backup cannot be read; the next one stands on its own");
        }
        tracing::info!(store, number = found.number, ?position, bytes, objects, full, duration_ms, "backup");
        {
            let status = &mut self.state().status;
            (status.number, status.made_ms) = (found.number, found.made_ms);
            (status.position, status.bytes) = (position.seq, *bytes);
            (status.duration_ms, status.full) = (duration_ms, *full);
        }
        self.wrong(What::Backup, None);
    }

    /// Deletes what has expired, if it is time to look: at first, every hour, and on each new day.
    pub(super) async fn expire(&self) {
        let mut known = self.known.lock().await;
        let (now, now_ms) = (self.env.now(), self.env.wall_ms());
        let (pause, today) = (if known.expiry_failed { EXPIRY_RETRY } else { EXPIRY }, Day::of(now_ms));
        if known.expired.is_some_and(|(at, day)| now < at + pause && (day == today || known.expiry_failed)) {
            return;
        }
        let done = self.try_to_expire(&mut known, now_ms).await;
        known.expired = Some((now, today));
        known.expiry_failed = done.is_err();
        // Looked at anew every hour: a store can be changed, and what was given up can arrive.
        known.erases = false;
        self.wrong(What::Expiry, done.err());
    }

    async fn try_to_expire(&self, known: &mut Known, now_ms: u64) -> Result<(), String> {
        let place = self.place(known).await.map_err(|error| error.to_string())?;
        let expired = place.expire(now_ms).await.map_err(|error| error.to_string())?;
        let keys = expired.keys_left.first().map(|(name, error)| {
            format!("{} keys of expired days, such as {name}: {error}", expired.keys_left.len())
        });
        let keys_left = keys.is_some();
        self.wrong(What::DayKeys, keys);
        let store = self.region();
        if expired.destroyed + expired.deleted > 0 {
            tracing::info!(
                store,
                destroyed = expired.destroyed,
                deleted = expired.deleted,
                "expired backups are gone"
            );
        }
        if let Some(name) = expired.unknown.first() {
            tracing::warn!(store, objects = expired.unknown.len(), %name, "a backup store has objects that nothing here made; they are left alone");
        }
        if let Some(name) = expired.from_future.first() {
            tracing::warn!(store, backups = expired.from_future.len(), %name, "backups claim to be made after now: a clock is or was wrong");
        }
        match expired.left.first() {
            Some((name, error)) => {
                Err(format!("{} expired objects, such as {name}: {error}", expired.left.len()))
            }
            None if keys_left => Err("keys of expired days are left".to_owned()),
            None => Ok(()),
        }
    }
}
