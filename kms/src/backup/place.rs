//! One object store as a place of backups: with the backup key, and the patience that a store needs. Every object that is read
//! here is opened here; nothing that does not open is handed out.

use super::{
    Malformed,
    key::{BackupKey, BadDayKey, DayKey},
    manifest::{Manifest, Previous},
    names::{DAYS, Day, DayKeyId, Found, MANIFEST, Name},
    seal::{self, BadObject, Kind},
};
use crate::{
    env::{Env, Keeping, Listed, OBJECT_LIST_MAX, ObjectError, ObjectName, Objects},
    limits::{BACKUP_PAUSE_MS, BACKUP_TRIES, ms},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Day keys that are kept open. A backup needs one, a look at a whole store 32.
const DAY_KEYS_MAX: usize = 40;

/// Why a backup cannot be read. Says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store's own.
    #[error(transparent)]
    Store(#[from] ObjectError),
    /// There is none, or none as old as was asked for.
    #[error("no such backup in {0}: list what there is, or use the other store")]
    None(String),
    /// The day's key is not there.
    #[error(
        "{name} is unreadable for good: its day's key is destroyed, as it is after 30 days, or lost; use the other store, or another day's backup"
    )]
    NoDayKey {
        /// What was to be read.
        name: ObjectName,
    },
    /// Another region's key, or an old one.
    #[error("{0} is sealed under another backup key: use the backup key file of this region")]
    OtherBackupKey(ObjectName),
    /// An object that must be there is not.
    #[error("{0} is missing: use the other store, or an earlier backup")]
    Missing(ObjectName),
    /// An object is not what was stored.
    #[error("{name} is damaged ({why}): use the other store, or an earlier backup")]
    Damaged {
        /// Which.
        name: ObjectName,
        /// What is wrong.
        why: &'static str,
    },
    /// A later build made it.
    #[error("{name} has format {format}, which a later build made: use that build")]
    Format {
        /// Which.
        name: ObjectName,
        /// Its format.
        format: u8,
    },
}

impl ReadError {
    /// Of what stands in an object.
    pub(super) fn malformed(name: Name) -> impl Fn(Malformed) -> ReadError {
        move |error| ReadError::Damaged { name: name.object(), why: error.0 }
    }

    /// Whether the backup itself is at fault, rather than the store or the caller. Another one may be whole.
    pub fn is_of_backup(&self) -> bool {
        matches!(
            self,
            ReadError::NoDayKey { .. }
                | ReadError::Missing(_)
                | ReadError::Damaged { .. }
                | ReadError::Store(ObjectError::TooLarge { .. })
        )
    }
}

type DayKeys = BTreeMap<(Day, DayKeyId), Arc<DayKey>>;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct BackupPlace {
    pub(super) env: Env,
    pub(super) store: Arc<dyn Objects>,
    pub(super) key: Arc<BackupKey>,
    pub(super) region: Arc<str>,
    opened: Arc<Mutex<DayKeys>>,
    /// The backup that was written last, to look for newer ones behind it.
    pub(super) written: Arc<Mutex<Option<(Manifest, Previous)>>>,
}

impl BackupPlace {
    /// The backups of `region` in a store.
    pub fn new(env: Env, store: Arc<dyn Objects>, key: Arc<BackupKey>, region: &str) -> BackupPlace {
        BackupPlace {
            env,
            store,
            key,
            region: region.into(),
            opened: Arc::default(),
            written: Arc::default(),
        }
    }

    /// Region of the store.
    pub fn place(&self) -> &str {
        self.store.place()
    }

    /// Whether the store keeps what is deleted, and in what way. It may not: erasing must erase. To be asked at start.
    ///
    /// # Errors
    /// The store's own.
    pub async fn keeps(&self) -> Result<Option<&'static str>, ObjectError> {
        Ok(match self.patiently(|| self.store.keeping()).await? {
            Keeping { versions: true, .. } => {
                Some("it keeps old versions of objects: use a bucket on which versioning was never enabled")
            }
            Keeping { locks: true, .. } => {
                Some("its objects can be locked: use a bucket without object lock")
            }
            Keeping { versions: false, locks: false } => None,
        })
    }

    /// Asks again when the store does not answer, a few times, with a pause before each.
    pub(super) async fn patiently<'a, T, F>(&'a self, ask: impl Fn() -> F) -> Result<T, ObjectError>
    where
        F: Future<Output = Result<T, ObjectError>> + 'a,
    {
        let mut tries = 1;
        loop {
            match ask().await {
                Err(ObjectError::Unavailable { .. }) if tries < BACKUP_TRIES => {
                    self.env.sleep(ms(BACKUP_PAUSE_MS * u64::from(tries))).await;
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    /// Puts an object. Putting the same one again is harmless.
    pub(super) async fn put(&self, name: Name, object: &[u8]) -> Result<(), ObjectError> {
        let name = name.object();
        self.patiently(|| self.store.put(&name, object.to_vec())).await
    }

    /// Every object below a prefix, in order.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, ObjectError> {
        let mut all: Vec<Listed> = Vec::new();
        loop {
            let after = all.last().map(|listed| listed.name.clone());
            let page = self.patiently(|| self.store.list(prefix, after.as_ref())).await?;
            let more = page.len() >= OBJECT_LIST_MAX;
            all.extend(page);
            if !more {
                return Ok(all);
            }
        }
    }

    /// Every backup there is by name, in order of their making. Nothing of it is verified.
    ///
    /// # Errors
    /// The store's own.
    pub async fn backups(&self) -> Result<Vec<Found>, ObjectError> {
        let listed = self.list(MANIFEST).await?;
        let mut found: Vec<Found> = listed
            .iter()
            .filter_map(|listed| match Name::read(&listed.name) {
                Some(Name::Manifest(found)) => Some(found),
                _ => None,
            })
            .collect();
        // The order of names, but where a clock went back over midnight.
        found.sort_by_key(|found| (found.number, found.made_ms, found.id));
        Ok(found)
    }

    /// An object that is not part of a backup, as it is stored: a sealed domain key.
    ///
    /// # Errors
    /// The store's own.
    pub async fn object(&self, name: &ObjectName) -> Result<Option<Vec<u8>>, ObjectError> {
        self.patiently(|| self.store.get(name)).await
    }

    /// The bytes of an object as they are stored.
    pub(super) async fn stored(&self, name: Name) -> Result<Vec<u8>, ReadError> {
        let object = name.object();
        let stored = self.patiently(|| self.store.get(&object)).await?;
        stored.ok_or(ReadError::Missing(object))
    }

    /// Opens stored bytes.
    pub(super) async fn opened(&self, name: Name, kind: Kind, stored: Vec<u8>) -> Result<Vec<u8>, ReadError> {
        let bad = |error| match error {
            BadObject::Format(format) => ReadError::Format { name: name.object(), format },
            BadObject::Damaged => ReadError::Damaged { name: name.object(), why: "its seal does not open" },
        };
        let id = seal::sealed_under(&stored).map_err(bad)?;
        let key = self.day_key(name.day(), id).await?;
        let key = key.ok_or_else(|| ReadError::NoDayKey { name: name.object() })?;
        seal::open(&key, &self.region, name, kind, stored).map_err(bad)
    }

    /// A day key; `None` if it is not there.
    async fn day_key(&self, day: Day, id: DayKeyId) -> Result<Option<Arc<DayKey>>, ReadError> {
        if let Some(key) = self.opened.lock().unwrap_or_else(PoisonError::into_inner).get(&(day, id)) {
            return Ok(Some(key.clone()));
        }
        let name = Name::DayKey(day, id).object();
        let Some(object) = self.patiently(|| self.store.get(&name)).await? else { return Ok(None) };
        let key = DayKey::open(&self.key, &self.region, day, id, &object).map_err(|error| match error {
            BadDayKey::OtherBackupKey => ReadError::OtherBackupKey(name),
            BadDayKey::Damaged => ReadError::Damaged { name, why: "the day's key does not open" },
        })?;
        Ok(Some(self.remember(key)))
    }

    fn remember(&self, key: DayKey) -> Arc<DayKey> {
        let key = Arc::new(key);
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.len() >= DAY_KEYS_MAX {
            opened.clear();
        }
        opened.insert((key.day(), key.id()), key.clone());
        key
    }

    /// Forgets opened keys: after some were destroyed, and before a verification that is to mean something.
    pub fn forget_keys(&self) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A key to seal the backups of `day` with: one that the store has, or a new one that it has now; and whether it is new.
    pub(super) async fn sealing_key(&self, day: Day) -> Result<(Arc<DayKey>, bool), ReadError> {
        let prefix = format!("{DAYS}{day}-");
        for listed in self.list(DAYS).await?.iter().rev().filter(|one| one.name.as_str().starts_with(&prefix))
        {
            let Some(Name::DayKey(day, id)) = Name::read(&listed.name) else { continue };
            match self.day_key(day, id).await {
                Ok(Some(key)) => return Ok((key, false)),
                // One that is damaged seals nothing more; another one takes its place.
                Ok(None) | Err(ReadError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let made = DayKey::make(&self.env, &self.key, &self.region, day);
        let (key, object) = made.map_err(|error| ObjectError::Other {
            place: self.place().to_owned(),
            why: format!("no randomness for a day's key: {error}"),
        })?;
        self.put(key.name(), &object).await?;
        Ok((self.remember(key), true))
    }
}
