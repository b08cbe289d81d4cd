//! Looks at the disks of both databases whenever one of them goes down: what a power cut at that very moment
//! leaves durable, of the one that is down and of the one that is not. Reads only, from outside the nodes;
//! judges nothing (see `check::g1_crash_images`).

use crate::{
    actions::Actions,
    history::{DiskImage, Micros},
    plan::Plan,
    scenario::REPLICA,
    world::World,
};
use kms::{
    env::BlockFile,
    store::engine::{EngineError, JOURNAL_FILE, KEYRING_DIR, STORE_DIR, STORE_FILE, records_in},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use uuid::Uuid;

const DATABASES: [&str; 2] = ["db-a", "db-b"];

/// Images taken so far.
pub(super) type Images = Arc<Mutex<Vec<DiskImage>>>;

/// Takes images until it is dropped.
pub(super) async fn watch(world: World, images: Images) {
    let mut seen = 0;
    loop {
        let (down, at) = world.next_down(&mut seen).await;
        if DATABASES.contains(&down.as_str()) {
            // Nobody counts on an empty disk, or an old one, before it is made anew.
            let counted = DATABASES.iter().filter(|node| !world.disk_is_void(node));
            let taken = counted.filter_map(|node| image(&world, node, &down, at));
            let taken: Vec<DiskImage> = taken.collect();
            images.lock().unwrap_or_else(PoisonError::into_inner).extend(taken);
        }
    }
}

/// How often the replica's disk is looked at; in runs of days so many times.
const SAMPLE: Duration = Duration::from_millis(500);
const SAMPLES_MAX: u64 = 2_000;

/// Takes an image of the replica's disk now and then, until it is dropped: what a loss of the region at that moment would
/// leave.
pub(super) async fn sample_replica(plan: Plan, world: World, images: Images) {
    if !plan.topology.replica {
        return;
    }
    let env = world.env("harness");
    let lasts = plan.phases.warm_us + plan.phases.faults_us + plan.phases.settle_us;
    let pause = SAMPLE.max(Duration::from_micros(lasts / SAMPLES_MAX));
    loop {
        env.sleep(pause).await;
        let at = world.now();
        // Without a store it has nothing, and that is what counts.
        let nothing = || DiskImage {
            node: REPLICA.to_owned(),
            down: String::new(),
            acknowledged_before: at,
            records: BTreeMap::new(),
            unreadable: None,
        };
        let taken = image(&world, REPLICA, "", at).unwrap_or_else(nothing);
        images.lock().unwrap_or_else(PoisonError::into_inner).push(taken);
    }
}

/// The images taken so far.
pub(super) fn taken(images: &Images) -> Vec<DiskImage> {
    std::mem::take(&mut images.lock().unwrap_or_else(PoisonError::into_inner))
}

/// None if there is no store on the disk.
fn image(world: &World, node: &str, down: &str, acknowledged_before: Micros) -> Option<DiskImage> {
    let mut files: Vec<_> = world.disk_image(node).into_iter().filter(|file| file.durable).collect();
    let beside = format!("/{STORE_DIR}/{KEYRING_DIR}/");
    let domain = |path: &str| path.rsplit_once(&beside)?.1.parse().ok();
    let keyring: BTreeSet<Uuid> = files
        .iter()
        .filter(|file| file.named && !file.bytes.is_empty())
        .filter_map(|file| domain(&file.path))
        .collect();
    let mut file = |name: &str| {
        let serving = format!("/{STORE_DIR}/{name}");
        let at = files.iter().position(|file| file.path.ends_with(&serving))?;
        Some(files.swap_remove(at).bytes)
    };
    let (store, journal) = (file(STORE_FILE)?, file(JOURNAL_FILE).unwrap_or_default());
    let read = records(store, journal, &keyring);
    let (records, unreadable) = match read {
        Ok(records) => (records, None),
        Err(error) => (BTreeMap::new(), Some(error.to_string())),
    };
    Some(DiskImage { node: node.to_owned(), down: down.to_owned(), acknowledged_before, records, unreadable })
}

/// The record counters in a store, by the id at the end of each record key. A row that does not match its
/// checksum is as good as missing, and so is one whose domain has no key in the `keyring` beside it: nothing opens it.
fn records(
    store: Vec<u8>,
    journal: Vec<u8>,
    keyring: &BTreeSet<Uuid>,
) -> Result<BTreeMap<String, u64>, EngineError> {
    let copy = |bytes| Box::new(Copy(Mutex::new(bytes)));
    let rows = records_in(copy(store), copy(journal))?;
    let domain = |key: &[u8]| key.get(1..17).and_then(|id| Uuid::from_slice(id).ok());
    // The end of a domain's service is nobody's key, and has its keys deleted.
    let (ended, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(key, _)| is_termination(&key.0));
    let ended: BTreeSet<Uuid> = ended.iter().filter_map(|(key, _)| domain(&key.0)).collect();
    let opens = |key: &[u8]| domain(key).is_some_and(|of| keyring.contains(&of) || ended.contains(&of));
    let mut records = BTreeMap::new();
    for (key, record) in rows {
        let Some(id) = key.0.last_chunk::<16>().filter(|_| opens(&key.0)) else { continue };
        records.insert(Uuid::from_bytes(*id).to_string(), record.version.counter);
    }
    Ok(records)
}

/// Whether a record tells of the end of a domain's service: what its key begins with is stored data, never renumbered.
pub(super) fn is_termination(key: &[u8]) -> bool {
    key.first() == Some(&0xf0)
}

/// A copy in memory: opening a store repairs it, which must not touch the disk looked at.
struct Copy(Mutex<Vec<u8>>);

impl Copy {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn range(bytes: &[u8], offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    match start.checked_add(len) {
        Some(end) if end <= bytes.len() => Ok(start..end),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl BlockFile for Copy {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|bytes| bytes.len() as u64))
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.with(|bytes| {
            buffer.copy_from_slice(&bytes[range(bytes, offset, buffer.len())?]);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.with(|bytes| bytes.resize(len, 0));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|bytes| {
            let range = range(bytes, offset, data.len())?;
            bytes[range].copy_from_slice(data);
            Ok(())
        })
    }
}
