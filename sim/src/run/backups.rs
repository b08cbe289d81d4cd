//! Reads backups in full, now and then and at the end, with the service's own reader and the region's backup key, from copies of the
//! stores: without faults, and without any time passing. Judges nothing (see `check::g7_backups`).

use super::images::is_termination;
use crate::{
    actions::Actions,
    dice::Dice,
    history::{BackupRead, Micros},
    plan::Plan,
    scenario::REPLICA,
    world::World,
};
use kms::{
    backup::{BackupKey, BackupPlace, Found, Name, ReadError},
    init::{BACKUP_KEY_FILE, Bundle},
    record::RecordKey,
    store::row,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use uuid::Uuid;

/// Backups are read at least so far apart.
const PAUSE_US: Micros = 5_000_000;
/// And so often in a run, about.
const TIMES: u64 = 150;
/// At the end every backup of a store is read, or so many.
const AT_THE_END: usize = 60;

/// Reads backups of one run. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reader {
    world: World,
    key: Arc<BackupKey>,
    region: String,
    stores: Vec<String>,
    seed: u64,
    pause_us: Micros,
    reads: Arc<Mutex<Vec<BackupRead>>>,
}

impl Reader {
    /// `None` if the region makes no backups.
    ///
    /// # Errors
    /// The replica has no backup key: a harness error.
    pub(super) fn new(plan: &Plan, world: &World, bundle: &Bundle) -> Result<Option<Reader>, String> {
        let stores = plan.topology.stores();
        if stores.is_empty() {
            return Ok(None);
        }
        let files = bundle.node(REPLICA).map(|node| node.files.as_slice()).unwrap_or_default();
        let file = files.iter().find(|file| file.path.ends_with(BACKUP_KEY_FILE));
        let key = file.and_then(|file| BackupKey::parse(&file.contents));
        let key = key.ok_or("the replica has no backup key")?;
        let phases = &plan.phases;
        Ok(Some(Reader {
            world: world.clone(),
            key: Arc::new(key),
            region: plan.topology.region.clone(),
            stores,
            seed: plan.seed,
            pause_us: ((phases.warm_us + phases.faults_us + phases.settle_us) / TIMES).max(PAUSE_US),
            reads: Arc::default(),
        }))
    }

    /// Reads the newest backup of each store and another one, now and then, until it is dropped.
    pub(super) async fn sample(self) {
        let env = self.world.env("harness");
        let mut dice = Dice::named(self.seed, "backups-read");
        loop {
            env.sleep(std::time::Duration::from_micros(self.pause_us)).await;
            for store in &self.stores {
                let place = self.place(store);
                let mut there = place.backups().await.unwrap_or_default();
                let newest = there.pop();
                for found in newest.into_iter().chain(dice.pick(&there).copied()) {
                    self.read(&place, found).await;
                }
            }
        }
    }

    /// Reads every backup that is there, or some out of each stretch of time.
    pub(super) async fn read_all(&self) {
        let mut dice = Dice::named(self.seed, "backups-read-at-the-end");
        for store in &self.stores {
            let place = self.place(store);
            let there = place.backups().await.unwrap_or_default();
            let newest = there.last().copied();
            for stretch in there.chunks(there.len().div_ceil(AT_THE_END).max(1)) {
                if let Some(found) = dice.pick(stretch) {
                    self.read(&place, *found).await;
                }
            }
            if let Some(found) = newest {
                self.read(&place, found).await;
            }
        }
    }

    /// What was read so far.
    pub(super) fn taken(&self) -> Vec<BackupRead> {
        std::mem::take(&mut self.reads.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn place(&self, store: &str) -> BackupPlace {
        let frozen = self.world.frozen_store(store);
        BackupPlace::new(self.world.env("harness"), frozen, self.key.clone(), &self.region)
    }

    async fn read(&self, place: &BackupPlace, found: Found) {
        let (records, trouble) = match records(place, found).await {
            Ok(records) => (records, None),
            Err(error) => (BTreeMap::new(), Some(error.to_string())),
        };
        let name = Name::Manifest(found).object().to_string();
        let read =
            BackupRead { at: self.world.now(), store: place.place().to_owned(), name, trouble, records };
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).push(read);
    }
}

/// Verifies a backup, then puts together what it leads to: the version counter of each record.
async fn records(place: &BackupPlace, found: Found) -> Result<BTreeMap<String, u64>, ReadError> {
    place.verify(found).await?;
    let backup = place.open(found).await?;
    // The end of a domain's service is nobody's key.
    let id = |key: &RecordKey| {
        let id = key.0.last_chunk::<16>().filter(|_| !is_termination(&key.0));
        id.map(|id| Uuid::from_bytes(*id).to_string())
    };
    let mut records = BTreeMap::new();
    let mut rows = backup.rows();
    loop {
        let page = rows.next().await?;
        if page.is_empty() {
            break;
        }
        for (key, stored) in page {
            let key = RecordKey(key);
            if let (Some(id), Ok(record)) = (id(&key), row::decode(&key, &stored)) {
                records.insert(id, record.version.counter);
            }
        }
    }
    let mut entries = backup.entries();
    while let Some(entry) = entries.next().await? {
        for (key, record) in entry.changes() {
            match (id(&key), record) {
                (Some(id), Some(record)) => drop(records.insert(id, record.version.counter)),
                (Some(id), None) => drop(records.remove(&id)),
                (None, _) => {}
            }
        }
    }
    Ok(records)
}
