//! An intruder at the disk of a database that is down: puts stored blobs in each other's place, or an older
//! version's blob in a newer row. Knows redb; what a row looks like it is told by a [`RowCodec`].

use super::{World, disk::NodeDisk, locked};
use kms::env::{BlockFile, Disk, OpenMode};
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use std::{collections::BTreeMap, fmt, io, path::PathBuf};

/// What swaps records in a store file. `draw` picks which.
pub trait Swapper: Send {
    /// Swaps on a node's disk. Blobs seen at one call, at whichever node, may be put into newer rows at a later one.
    ///
    /// # Errors
    /// A store that cannot be opened or changed; a harness error.
    fn swap(&mut self, disk: &dyn Disk, draw: u64) -> Result<Swapped, SwapError>;
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swapped {
    /// Too few records.
    Nothing,
    /// Two records hold each other's blob: their record keys.
    Pair(Vec<u8>, Vec<u8>),
    /// A record holds an older version's blob in its newer row.
    Older(Vec<u8>),
}

impl Swapped {
    /// Record keys touched, in hex.
    pub fn keys(&self) -> Vec<String> {
        match self {
            Swapped::Nothing => Vec::new(),
            Swapped::Pair(one, two) => vec![hex::encode(one), hex::encode(two)],
            Swapped::Older(key) => vec![hex::encode(key)],
        }
    }

    /// The probe that counts it.
    pub fn probe(&self) -> &'static str {
        match self {
            Swapped::Nothing => "swap-nothing",
            Swapped::Pair(..) => "swap-pair",
            Swapped::Older(_) => "swap-older-version",
        }
    }
}

/// The store could not be changed.
#[derive(Debug, thiserror::Error)]
#[error("swap-records: {0}")]
pub struct SwapError(String);

impl SwapError {
    /// From anything that says why.
    pub fn new(why: impl fmt::Display) -> SwapError {
        SwapError(why.to_string())
    }
}

/// How rows of the records table are made.
pub trait RowCodec: Send {
    /// Brings into the store file what stands in other files, so that the table shows all.
    ///
    /// # Errors
    /// A store that cannot be opened.
    fn settle(&self, disk: &dyn Disk) -> Result<(), SwapError>;
    /// Name of the redb table, of `&[u8]` to `&[u8]`.
    fn table(&self) -> &'static str;
    /// The sealed blob inside a row; `None` for rows that are not records.
    fn blob(&self, key: &[u8], row: &[u8]) -> Option<Vec<u8>>;
    /// The row with another blob and every unkeyed checksum repaired.
    fn with_blob(&self, key: &[u8], row: &[u8], blob: &[u8]) -> Vec<u8>;
}

/// A [`Swapper`] for stores on redb.
pub struct RedbSwapper<C> {
    codec: C,
    path: PathBuf,
    /// Blobs seen at earlier calls, by record key. Both databases hold the same blobs.
    older: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
}

/// Older blobs remembered of one record.
const OLDER_MAX: usize = 4;

impl<C: RowCodec> RedbSwapper<C> {
    /// For the store file at `path`.
    pub fn new(path: PathBuf, codec: C) -> RedbSwapper<C> {
        RedbSwapper { codec, path, older: BTreeMap::new() }
    }
}

impl<C: RowCodec> Swapper for RedbSwapper<C> {
    fn swap(&mut self, disk: &dyn Disk, draw: u64) -> Result<Swapped, SwapError> {
        self.codec.settle(disk)?;
        let store = match disk.open(&self.path, OpenMode::Existing) {
            Ok(file) => file,
            // No store yet: nothing to swap.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Swapped::Nothing),
            Err(error) => return Err(SwapError::new(error)),
        };
        let database = Database::builder().create_with_backend(Backend(store)).map_err(SwapError::new)?;
        let table: TableDefinition<&[u8], &[u8]> = TableDefinition::new(self.codec.table());
        let rows = records(&database, table, &self.codec)?;
        let (swapped, changes) = self.choose(&rows, draw);
        self.remember(&rows);
        let writing = database.begin_write().map_err(SwapError::new)?;
        {
            let mut open = writing.open_table(table).map_err(SwapError::new)?;
            for (key, blob) in &changes {
                let row = self.codec.with_blob(key, &rows[key].0, blob);
                open.insert(key.as_slice(), row.as_slice()).map_err(SwapError::new)?;
            }
        }
        writing.commit().map_err(SwapError::new)?;
        Ok(swapped)
    }
}

impl<C: RowCodec> RedbSwapper<C> {
    /// An older version if one is known, in half of the draws; else two records.
    fn choose(&self, rows: &Rows, draw: u64) -> (Swapped, Changes) {
        let mut stale = Vec::new();
        for (key, (_, blob)) in rows {
            let older = self.older.get(key).into_iter().flatten().filter(|old| *old != blob);
            stale.extend(older.map(|old| (key.clone(), old.clone())));
        }
        let keys: Vec<&Vec<u8>> = rows.keys().collect();
        if !stale.is_empty() && (keys.len() < 2 || draw.is_multiple_of(2)) {
            let (key, blob) = stale.swap_remove((draw >> 16) as usize % stale.len());
            return (Swapped::Older(key.clone()), vec![(key, blob)]);
        }
        if keys.len() < 2 {
            return (Swapped::Nothing, Vec::new());
        }
        let first = (draw >> 1) as usize % keys.len();
        let second = (first + 1 + (draw >> 32) as usize % (keys.len() - 1)) % keys.len();
        let (one, two) = (keys[first].clone(), keys[second].clone());
        let changes = vec![(one.clone(), rows[&two].1.clone()), (two.clone(), rows[&one].1.clone())];
        (Swapped::Pair(one, two), changes)
    }

    fn remember(&mut self, rows: &Rows) {
        for (key, (_, blob)) in rows {
            let seen = self.older.entry(key.clone()).or_default();
            if !seen.contains(blob) {
                seen.insert(0, blob.clone());
                seen.truncate(OLDER_MAX);
            }
        }
    }
}

/// Record keys with the blob that each gets.
type Changes = Vec<(Vec<u8>, Vec<u8>)>;
type Rows = BTreeMap<Vec<u8>, (Vec<u8>, Vec<u8>)>;

fn records(
    database: &Database,
    table: TableDefinition<&[u8], &[u8]>,
    codec: &impl RowCodec,
) -> Result<Rows, SwapError> {
    let reading = database.begin_read().map_err(SwapError::new)?;
    let open = match reading.open_table(table) {
        Ok(open) => open,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Rows::new()),
        Err(error) => return Err(SwapError::new(error)),
    };
    let mut rows = Rows::new();
    for entry in open.iter().map_err(SwapError::new)? {
        let (key, row) = entry.map_err(SwapError::new)?;
        if let Some(blob) = codec.blob(key.value(), row.value()) {
            rows.insert(key.value().to_vec(), (row.value().to_vec(), blob));
        }
    }
    Ok(rows)
}

/// A [`BlockFile`] as redb wants it.
pub struct Backend(pub Box<dyn BlockFile>);

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.0.write(offset, data)
    }
}

impl World {
    pub(super) fn swap(&self, node: &str, draw: u64) -> Vec<String> {
        let machine = self.0.find(node);
        assert!(machine.life().is_none(), "swap-records: {node} is up");
        let Some(mut swapper) = locked(&self.0.swapper).take() else {
            panic!("swap-records: no swapper was set")
        };
        let disk =
            NodeDisk { inner: self.0.clone(), cell: machine.disk.clone(), life: machine.outside.clone() };
        let swapped = swapper.swap(&disk, draw);
        self.set_swapper(swapper);
        match swapped {
            Ok(swapped) => {
                self.probe(swapped.probe(), node);
                swapped.keys()
            }
            Err(error) => panic!("{error} on {node}"),
        }
    }
}
