//! A backup on its way back: found by time, its chain of manifests walked to the full snapshot, then rows and entries as
//! streams. Holds one object at a time, and for each backup of the run the names of its log objects.

use super::{
    full::{FullIndex, PartReader},
    manifest::{Manifest, Part},
    names::{Found, Name},
    place::{BackupPlace, ReadError},
    seal::Kind,
    segment::SegmentReader,
};
use crate::{
    crypto::sha256,
    limits::BACKUP_RUN_MAX,
    store::{
        engine::{FillRow, RowDigest},
        log::{Entry, Position},
    },
};

/// A backup whose manifests were all read and fit together.
pub struct Backup {
    place: BackupPlace,
    manifest: Manifest,
    index: FullIndex,
    /// Objects of the log since the snapshot, in order, with the position that each must lead to if it is known.
    log: Vec<(Part, Option<Position>)>,
}

impl BackupPlace {
    /// The newest backup that was made at `at_ms` or before, Unix milliseconds; the newest of all without a time. By name:
    /// nothing of it is verified.
    ///
    /// # Errors
    /// [`ReadError::None`]; the store's own.
    pub async fn newest(&self, at_ms: Option<u64>) -> Result<Found, ReadError> {
        let found = self.backups().await?;
        let newest = found.into_iter().rfind(|found| at_ms.is_none_or(|at_ms| found.made_ms <= at_ms));
        newest.ok_or_else(|| ReadError::None(self.place().to_owned()))
    }

    /// Reads a manifest, and the hash of it as it is stored.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn manifest(&self, found: Found) -> Result<(Manifest, [u8; 32]), ReadError> {
        let name = Name::Manifest(found);
        let stored = self.stored(name).await?;
        let hash = sha256(&stored);
        let text = self.opened(name, Kind::Manifest, stored).await?;
        let manifest = Manifest::read(&text, &self.region, found).map_err(ReadError::malformed(name))?;
        Ok((manifest, hash))
    }

    /// Opens a backup: its manifest, those of its run back to the full snapshot, and the list of the snapshot's parts.
    ///
    /// # Errors
    /// [`ReadError`] says whether another backup or another store may help.
    pub async fn open(&self, found: Found) -> Result<Backup, ReadError> {
        let (manifest, _) = self.manifest(found).await?;
        let index = self.index(&manifest).await?;
        let mut log = Vec::new();
        let mut newest_first = manifest.clone();
        loop {
            let parts = newest_first.log.iter().enumerate().rev();
            let count = newest_first.log.len();
            log.extend(parts.map(|(at, part)| (*part, (at + 1 == count).then_some(newest_first.position))));
            if newest_first.run == 0 {
                break;
            }
            newest_first = self.before(&newest_first).await?;
        }
        log.reverse();
        Ok(Backup { place: self.clone(), manifest, index, log })
    }

    /// The backup that one goes on from.
    async fn before(&self, manifest: &Manifest) -> Result<Manifest, ReadError> {
        let name = Name::Manifest(manifest.found);
        let damaged = |why| ReadError::Damaged { name: name.object(), why };
        let named = manifest.previous.filter(|_| manifest.run <= BACKUP_RUN_MAX);
        let named = named.ok_or_else(|| damaged("it stands on more than it can"))?;
        let (before, hash) = self.manifest(named.found).await?;
        if hash != named.sha256 {
            let name = Name::Manifest(named.found).object();
            return Err(ReadError::Damaged { name, why: "it is not the one that the next backup stands on" });
        }
        manifest.goes_on_from(&before).map_err(ReadError::malformed(name))?;
        Ok(before)
    }

    /// The list of parts of the snapshot that a backup stands on.
    pub(super) async fn index(&self, manifest: &Manifest) -> Result<FullIndex, ReadError> {
        let name = manifest.full.name;
        let text = self.part(manifest.full, Kind::FullIndex).await?;
        let index = FullIndex::read(&text).map_err(ReadError::malformed(name))?;
        if index.position != manifest.full_position {
            let why = "the snapshot is of another position than the manifest says";
            return Err(ReadError::Damaged { name: name.object(), why });
        }
        Ok(index)
    }

    /// An object that a manifest or list names, compared with what is said of it.
    async fn part(&self, part: Part, kind: Kind) -> Result<Vec<u8>, ReadError> {
        let stored = self.stored(part.name).await?;
        if Part::of(part.name, &stored) != part {
            let why = "it is not the object that the manifest names";
            return Err(ReadError::Damaged { name: part.name.object(), why });
        }
        self.opened(part.name, kind, stored).await
    }
}

impl Backup {
    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The snapshot that it stands on.
    pub fn snapshot(&self) -> &FullIndex {
        &self.index
    }

    /// The snapshot's rows, from the first.
    pub fn rows(&self) -> Rows<'_> {
        Rows {
            backup: self,
            next: 0,
            part: None,
            before: None,
            digest: RowDigest::default(),
            rows: 0,
            ended: false,
        }
    }

    /// The log from the snapshot to the backup's position, from its first entry.
    pub fn entries(&self) -> Entries<'_> {
        Entries { backup: self, next: 0, part: None, position: self.manifest.full_position }
    }

    /// Bytes of all objects below the manifests.
    pub fn bytes(&self) -> u64 {
        let rows = self.index.parts.iter().map(|part| part.bytes);
        let log = self.log.iter().map(|(part, _)| part.bytes);
        rows.chain(log).fold(self.manifest.full.bytes, u64::saturating_add)
    }
}

/// The rows of a backup's snapshot.
pub struct Rows<'a> {
    backup: &'a Backup,
    next: u32,
    part: Option<PartReader>,
    before: Option<Vec<u8>>,
    digest: RowDigest,
    rows: u64,
    ended: bool,
}

impl Rows<'_> {
    /// The next rows, about 1 MiB of them, in key order, each checked; none once all were handed out and their digest is
    /// the one that was written down. Rows that were handed out before an error must not be used.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn next(&mut self) -> Result<Vec<FillRow>, ReadError> {
        let full = self.backup.manifest.full.name;
        loop {
            if let Some(part) = &mut self.part {
                let number = self.next.saturating_sub(1);
                let rows = part
                    .next_rows(&mut self.before)
                    .map_err(ReadError::malformed(part_name(full, number)))?;
                if !rows.is_empty() {
                    self.rows += rows.len() as u64;
                    rows.iter().for_each(|(key, row)| self.digest.add(key, row));
                    return Ok(rows);
                }
                self.part = None;
            }
            let Some(entry) = self.backup.index.parts.get(self.next as usize) else { break };
            let name = part_name(full, self.next);
            let part = Part { name, bytes: entry.bytes, sha256: entry.sha256 };
            self.part = Some(PartReader::new(self.backup.place.part(part, Kind::Rows).await?));
            self.next += 1;
        }
        let index = &self.backup.index;
        if self.ended {
            return Ok(Vec::new());
        }
        if self.rows != index.rows || std::mem::take(&mut self.digest).finish() != index.digest {
            let why = "its rows are not those that were written";
            return Err(ReadError::Damaged { name: full.object(), why });
        }
        self.ended = true;
        Ok(Vec::new())
    }
}

/// The name of a snapshot's part.
pub(super) fn part_name(full: Name, number: u32) -> Name {
    match full {
        Name::FullIndex(day, seq, id) => Name::FullPart(day, seq, id, number),
        other => other,
    }
}

/// The log entries of a backup.
pub struct Entries<'a> {
    backup: &'a Backup,
    next: usize,
    part: Option<SegmentReader>,
    position: Position,
}

impl Entries<'_> {
    /// The next entry, which follows the one before it; `None` once the backup's position is reached.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn next(&mut self) -> Result<Option<Entry>, ReadError> {
        loop {
            if let Some(part) = &mut self.part {
                let (named, leads_to) = self.backup.log[self.next - 1];
                let entry = part.next_entry().map_err(ReadError::malformed(named.name))?;
                self.position = part.position();
                if entry.is_some() {
                    return Ok(entry);
                }
                let ends = match named.name {
                    Name::Log(_, _, last, _) => last == self.position.seq,
                    _ => false,
                };
                if !ends || leads_to.is_some_and(|position| position != self.position) {
                    let why = "its entries lead to another position than the manifest says";
                    return Err(ReadError::Damaged { name: named.name.object(), why });
                }
                self.part = None;
            }
            let Some((part, _)) = self.backup.log.get(self.next) else { return Ok(None) };
            let text = self.backup.place.part(*part, Kind::Entries).await?;
            self.part = Some(SegmentReader::new(text, self.position));
            self.next += 1;
        }
    }
}
