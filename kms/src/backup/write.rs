//! One backup to one store. The manifest comes last: until it is there the store has the backup before, and whatever
//! was put for this one is named by nobody. Every attempt has an id of its own, so a put that arrives late
//! replaces nothing. Which backup comes before is asked of the store, each time.

use super::{
    Malformed,
    full::{self, FullIndex, PARTS_MAX, Part as RowPart, PartEntry},
    key::DayKey,
    manifest::{Lineage, Manifest, Part, Previous},
    names::{AttemptId, Day, Found, MANIFEST, Name},
    place::{BackupPlace, ReadError},
    read::part_name,
    seal::{self, Kind},
    segment::Segment,
};
use crate::{
    env::{BoxFuture, Listed, Mono, OBJECT_LIST_MAX, ObjectError, ObjectName, Purpose},
    limits::BACKUP_RUN_MAX,
    store::{
        engine::{FillRow, RowDigest},
        log::Position,
        row,
    },
};
use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

/// What a backup is to hold, and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Epochs and statements.
    pub lineage: Lineage,
    /// The backup holds everything up to here.
    pub position: Position,
    /// Wall time of the newest entry, by the head's clock, Unix milliseconds; 0 if there is none or it is not known.
    pub newest_ms: u64,
    /// Since when it may lack something newer, which is when the backup is said to be made; `None` = from now on.
    pub since: Option<Mono>,
    /// Region of the process that makes the backup.
    pub made_at: String,
}

/// The source of a backup failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// What backups are made of: a database that stands still at one position while one is made.
pub trait Source: Send {
    /// Where it stands, and whose it is.
    fn standing(&self) -> Standing;
    /// Rows in key order as they are at [`Source::standing`], those after `after`; none at the end.
    ///
    /// # Errors
    /// [`SourceError`].
    fn rows<'a>(&'a mut self, after: Option<&'a [u8]>) -> BoxFuture<'a, Result<Vec<FillRow>, SourceError>>;
    /// Log entries as stored, some of those that follow `after`; `None` if its log does not hold what follows there, or has
    /// another history. Asked only for entries up to [`Source::standing`].
    ///
    /// # Errors
    /// [`SourceError`].
    fn entries(&mut self, after: Position) -> BoxFuture<'_, Result<Option<Vec<Vec<u8>>>, SourceError>>;
}

/// Why there is no new backup. The one before it is untouched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The store's own. Whether the backup is complete may not be known; the next attempt finds out.
    #[error(transparent)]
    Store(#[from] ObjectError),
    /// What is in the store cannot be gone on from.
    #[error("cannot go on from the backups that there are: {0}")]
    Read(ReadError),
    /// The database that backups are made from.
    #[error("cannot read what is to be backed up: {0}; look at that database")]
    Source(#[from] SourceError),
    /// It is behind what has been backed up: as the newest backup it would hide a better one.
    #[error(
        "backup {number} there holds everything up to {there}, and this database ends at {here}: its disk is one of the past. Backups go on \
         when it has caught up"
    )]
    Behind {
        /// Number of the newest backup.
        number: u64,
        /// Where that ends.
        there: u64,
        /// Where the source ends.
        here: u64,
    },
    /// It handed out something that can be no backup.
    #[error("what is to be backed up is not well formed ({0}): rebuild that database")]
    Malformed(#[from] Malformed),
}

impl From<ReadError> for WriteError {
    fn from(error: ReadError) -> WriteError {
        match error {
            ReadError::Store(error) => WriteError::Store(error),
            error => WriteError::Read(error),
        }
    }
}

/// A backup that is complete in one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Which.
    pub found: Found,
    /// It holds everything up to here.
    pub position: Position,
    /// Bytes put.
    pub bytes: u64,
    /// Objects put.
    pub objects: u64,
    /// Whether a full snapshot is part of it.
    pub full: bool,
    /// The newest backup that there was could not be read: this one stands on its own.
    pub broken: Option<(Found, ReadError)>,
}

/// One attempt at one backup.
struct Attempt<'a> {
    place: &'a BackupPlace,
    key: Arc<DayKey>,
    day: Day,
    id: AttemptId,
    bytes: u64,
    objects: u64,
}

/// The newest backup of a store, as far as it can be read.
#[derive(Default)]
struct Before {
    /// What the number follows, by name.
    newest: Option<Found>,
    read: Option<(Manifest, Previous)>,
    broken: Option<(Found, ReadError)>,
}

impl BackupPlace {
    /// Writes a backup of what `source` holds. Complete when it returns; after an error the next call tries anew.
    ///
    /// # Errors
    /// [`WriteError`] says what to do.
    pub async fn write(&self, source: &mut dyn Source) -> Result<Written, WriteError> {
        let standing = source.standing();
        // Not later than what it holds: there may have been much to ask of the store since.
        let stood = standing.since.map_or(Duration::ZERO, |since| self.env.now().since(since));
        let stood_ms = u64::try_from(stood.as_millis()).unwrap_or(u64::MAX);
        let wall_ms = self.env.wall_ms().saturating_sub(stood_ms);
        let day = Day::of(wall_ms);
        let mut before = self.before_now().await?;
        if let Some((newest, _)) = before.read.as_ref().filter(|(newest, _)| is_behind(&standing, newest)) {
            let (number, there) = (newest.found.number, newest.position.seq);
            return Err(WriteError::Behind { number, there, here: standing.position.seq });
        }
        let (key, new_key) = self.sealing_key(day).await?;
        let id = AttemptId(self.env.random(Purpose::Public).map_err(|error| ObjectError::Other {
            place: self.place().to_owned(),
            why: format!("no randomness for a name: {error}"),
        })?);
        let mut attempt = Attempt { place: self, key, day, id, bytes: 0, objects: 0 };
        let number = before.newest.map_or(0, |found| found.number).saturating_add(1);
        let found = Found { day, number, made_ms: wall_ms.min(day.ends_ms() - 1), id };
        let mut goes_on = before.read.as_ref().filter(|(newest, _)| goes_on(newest, day, &standing));
        if let Some((newest, previous)) = goes_on
            && (new_key || !self.stands(newest).await?)
        {
            // The store was emptied, in the middle of a backup perhaps: what is left of that is no ground.
            let missing = ReadError::Missing(newest.full.name.object());
            before.broken = Some((previous.found, missing));
            goes_on = None;
        }
        let log = match goes_on {
            Some((newest, _)) => attempt.log(source, newest.position, standing.position).await?,
            None => None,
        };
        let previous = before.read.as_ref().map(|(_, previous)| *previous);
        let (full, full_position, run, log_from, log) = match (goes_on, log) {
            (Some((newest, _)), Some(log)) => {
                (newest.full, newest.full_position, newest.run + 1, newest.position, log)
            }
            _ => {
                let full = attempt.full(source, standing.position).await?;
                (full, standing.position, 0, standing.position, Vec::new())
            }
        };
        let manifest = Manifest {
            region: self.region.to_string(),
            found,
            place: standing.made_at,
            lineage: standing.lineage,
            position: standing.position,
            newest_ms: standing.newest_ms,
            run,
            full,
            full_position,
            log_from,
            log,
            previous,
        };
        manifest.check()?;
        let put = attempt.put(Name::Manifest(found), Kind::Manifest, &manifest.text()).await?;
        let position = manifest.position;
        let written = Some((manifest, Previous { found, sha256: put.sha256 }));
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = written;
        let Attempt { bytes, objects, .. } = attempt;
        Ok(Written { found, position, bytes, objects, full: run == 0, broken: before.broken })
    }

    /// Looks for the newest backup: behind the one that was written last, or at all of them.
    async fn before_now(&self) -> Result<Before, WriteError> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(read) = written
            && self.is_newest(read.1.found).await?
        {
            return Ok(Before { newest: Some(read.1.found), read: Some(read), broken: None });
        }
        let Some(newest) = self.backups().await?.pop() else { return Ok(Before::default()) };
        match self.manifest(newest).await {
            Ok((manifest, sha256)) => {
                let read = Some((manifest, Previous { found: newest, sha256 }));
                Ok(Before { newest: Some(newest), read, broken: None })
            }
            Err(error) if error.is_of_backup() => {
                Ok(Before { newest: Some(newest), read: None, broken: Some((newest, error)) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a backup's snapshot is there: the list of its parts, and each of them, as a listing shows. Of more than 1,000
    /// parts the first are looked at.
    async fn stands(&self, newest: &Manifest) -> Result<bool, ReadError> {
        let index = match self.index(newest).await {
            Ok(index) => index,
            Err(error) if error.is_of_backup() => return Ok(false),
            Err(error) => return Err(error),
        };
        let name = newest.full.name;
        let list = name.object();
        let prefix = list.as_str().trim_end_matches("index");
        let listed = self.patiently(|| self.store.list(prefix, None)).await?;
        let parts = listed.iter().filter(|one| one.name != list);
        let in_place = |((number, part), listed): ((u32, &PartEntry), &Listed)| {
            listed.name == part_name(name, number).object() && listed.bytes == part.bytes
        };
        let looked_at = index.parts.len().min(OBJECT_LIST_MAX - 1);
        let there = (0..).zip(&index.parts).zip(parts).take(looked_at).filter(|pair| in_place(*pair)).count();
        Ok(there == looked_at)
    }

    /// Whether a backup is still there and nothing stands behind it, in one short listing.
    async fn is_newest(&self, found: Found) -> Result<bool, ObjectError> {
        let name = Name::Manifest(found).object();
        // The name up to its number comes before it, and after everything older.
        let before = name.as_str().rsplitn(3, '-').nth(2).and_then(|text| ObjectName::new(text).ok());
        let listed = self.patiently(|| self.store.list(MANIFEST, before.as_ref())).await?;
        Ok(listed.len() == 1 && listed.iter().all(|listed| listed.name == name))
    }
}

/// Whether a source has less than a backup. A region that was made anew may have: its epoch is newer then.
fn is_behind(standing: &Standing, newest: &Manifest) -> bool {
    let ends = |lineage: &Lineage, position: Position| {
        (lineage.epochs.last().map(|(epoch, _)| epoch.no), position.seq)
    };
    ends(&standing.lineage, standing.position) < ends(&newest.lineage, newest.position)
}

/// Whether a backup of today may stand on the newest one's snapshot.
fn goes_on(newest: &Manifest, today: Day, standing: &Standing) -> bool {
    newest.found.day == today
        && newest.run < BACKUP_RUN_MAX
        && newest.position.seq <= standing.position.seq
        // A region that was made anew may have a state that its log alone does not lead to.
        && standing.lineage.epochs == newest.lineage.epochs
}

impl Attempt<'_> {
    async fn put(&mut self, name: Name, kind: Kind, text: &[u8]) -> Result<Part, WriteError> {
        let object = seal::seal(&self.key, &self.place.region, name, kind, text);
        let part = Part::of(name, &object);
        self.place.put(name, &object).await?;
        self.bytes += part.bytes;
        self.objects += 1;
        Ok(part)
    }

    /// Puts the log between two positions; `None` if the source cannot go on from the first.
    async fn log(
        &mut self,
        source: &mut dyn Source,
        from: Position,
        to: Position,
    ) -> Result<Option<Vec<Part>>, WriteError> {
        let mut parts = Vec::new();
        let mut segment = Segment::after(from);
        while segment.end().seq < to.seq {
            let Some(entries) = source.entries(segment.end()).await? else { return Ok(None) };
            if entries.is_empty() {
                return Err(SourceError("its log ends before its position".to_owned()).into());
            }
            for entry in entries {
                if segment.end().seq == to.seq {
                    break;
                }
                segment.add(&entry)?;
                if segment.is_full() {
                    parts.push(self.put_segment(&segment).await?);
                    segment = Segment::after(segment.end());
                }
            }
        }
        if segment.end() != to {
            // The same number and another hash: another history than the newest backup's.
            return Ok(None);
        }
        if !segment.is_empty() {
            parts.push(self.put_segment(&segment).await?);
        }
        Ok(Some(parts))
    }

    async fn put_segment(&mut self, segment: &Segment) -> Result<Part, WriteError> {
        let name = Name::Log(self.day, segment.first(), segment.end().seq, self.id);
        self.put(name, Kind::Entries, segment.text()).await
    }

    /// Puts a full snapshot.
    async fn full(&mut self, source: &mut dyn Source, position: Position) -> Result<Part, WriteError> {
        let name = Name::FullIndex(self.day, position.seq, self.id);
        let (mut parts, mut part) = (Vec::new(), RowPart::default());
        let (mut last, mut rows, mut digest) = (None::<Vec<u8>>, 0, RowDigest::default());
        loop {
            let page = source.rows(last.as_deref()).await?;
            if page.is_empty() {
                break;
            }
            for item in page {
                row::check(&item.0, &item.1).map_err(|_| Malformed("a row does not match its checksum"))?;
                if !full::follows(last.as_deref(), &item.0) {
                    return Err(Malformed("a row is out of order").into());
                }
                digest.add(&item.0, &item.1);
                part.add(&item)?;
                rows += 1;
                last = Some(item.0);
                if part.is_full() {
                    parts.push(self.put_rows(name, parts.len(), &part).await?);
                    part = RowPart::default();
                }
            }
        }
        if part.rows() > 0 {
            parts.push(self.put_rows(name, parts.len(), &part).await?);
        }
        let index = FullIndex { position, rows, digest: digest.finish(), parts };
        self.put(name, Kind::FullIndex, &index.text()).await
    }

    async fn put_rows(&mut self, full: Name, number: usize, part: &RowPart) -> Result<PartEntry, WriteError> {
        let number = u32::try_from(number).ok().filter(|_| number < PARTS_MAX);
        let number = number.ok_or(Malformed("more rows than a snapshot can list"))?;
        let part = self.put(part_name(full, number), Kind::Rows, part.text()).await?;
        Ok(PartEntry { bytes: part.bytes, sha256: part.sha256 })
    }
}
