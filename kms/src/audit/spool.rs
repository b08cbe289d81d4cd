//! The spool: a directory of segments, to which one host appends. What is appended is durable when [`Spool::append`] returns. After any
//! error the spool is not used again but opened anew, which looks at what is there and goes on in a new segment.

use super::segment::{AuditKey, FRAME_MAX_BYTES, HEADER_BYTES, Header, Link, OpenHeader, Part};
use crate::{
    config::AuditConfig,
    crypto::NONCE_BYTES,
    env::{BlockFile, Disk, Env, OpenMode, Purpose},
};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Name of the spool in a host's data directory.
pub const AUDIT_DIR: &str = "audit";
const SUFFIX: &str = ".seg";
const ANCHOR_FILE: &str = "anchor";
const LOCK_FILE: &str = "lock";
const ANCHOR_MAGIC: [u8; 8] = *b"kms-auda";
const ANCHOR_CLEAR_BYTES: usize = 8 + 8 + 8 + 32;
/// Room that is kept free for requests that were under way when the spool filled up, bytes.
pub(super) const RESERVE_BYTES: u64 = 1 << 20;
/// A segment is closed when it is this old, so that retention has something to remove.
const SEGMENT_AGE_MS: u64 = 86_400_000;
const DAY_MS: u64 = 86_400_000;

const _: () = assert!(FRAME_MAX_BYTES as u64 <= RESERVE_BYTES);

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpoolError {
    /// The disk's, or the operating system has no randomness.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The spool has all the bytes that it may have.
    #[error("the spool is full")]
    Full,
}

/// The directory of a spool.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) env: Env,
    pub(super) dir: PathBuf,
}

impl Place {
    pub(super) fn new(env: &Env, data_dir: &Path) -> Place {
        Place { env: env.clone(), dir: data_dir.join(AUDIT_DIR) }
    }

    /// The numbers of the segments that are there.
    pub(super) fn segments(&self) -> io::Result<Vec<u64>> {
        let names = self.env.disk.list(&self.dir)?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:012}{SUFFIX}"))
    }

    /// The whole of a segment; `None` if it is not there any more.
    pub(super) fn read(&self, number: u64) -> io::Result<Option<Vec<u8>>> {
        self.env.disk.read(&self.path(number))
    }

    /// What stands before the first segment that is kept.
    pub(super) fn anchor(&self, key: &AuditKey) -> io::Result<Result<Anchor, &'static str>> {
        let bytes = self.env.disk.read(&self.dir.join(ANCHOR_FILE))?;
        Ok(bytes.map_or(Ok(Anchor::default()), |bytes| Anchor::open(key, &bytes)))
    }

    /// Takes the right to remove segments; given back when it is dropped.
    ///
    /// # Errors
    /// `WouldBlock` while another process has it, or the disk's.
    fn lock(&self) -> io::Result<Box<dyn BlockFile>> {
        open_or_create(&*self.env.disk, &self.dir.join(LOCK_FILE))
    }

    /// Removes the segments whose entries were all recorded before `before_ms`, never the last one, and records what the chain
    /// goes on from. Returns how many went.
    ///
    /// # Errors
    /// `WouldBlock` while another process does the same; `InvalidData` if a segment to be removed does not open; or the disk's.
    pub(super) fn prune(&self, key: &AuditKey, before_ms: u64) -> io::Result<u64> {
        let numbers = self.segments()?;
        let Some((_, old)) = numbers.split_last() else { return Ok(0) };
        if old.is_empty() {
            return Ok(0);
        }
        let _lock = self.lock()?;
        let wrong = |number: u64, why: &str| {
            let text =
                format!("segment {number}: {why}; nothing from it on was removed: see `kms audit verify`");
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let mut gone = 0;
        for (number, next) in old.iter().zip(numbers.iter().skip(1)) {
            // A segment ends when the next one begins, and that one says what stands before it.
            let Some(bytes) = self.read(*next)? else { return Ok(gone) };
            let next = Header::open(key, &bytes).map_err(|why| wrong(*next, why))?.header;
            if next.made_ms >= before_ms {
                break;
            }
            let anchor = Anchor { next: next.number, before: next.before };
            let nonce: [u8; NONCE_BYTES] = self.env.random(Purpose::Public)?;
            self.env.disk.write_atomic(&self.dir.join(ANCHOR_FILE), &anchor.seal(key, nonce), true)?;
            self.env.disk.remove(&self.path(*number))?;
            gone += 1;
        }
        if gone > 0 {
            self.env.disk.sync_dir(&self.dir)?;
        }
        Ok(gone)
    }
}

/// Opens a file, which is made if it is not there.
pub(super) fn open_or_create(disk: &dyn Disk, path: &Path) -> io::Result<Box<dyn BlockFile>> {
    match disk.open(path, OpenMode::Existing) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.open(path, OpenMode::CreateNew),
        opened => opened,
    }
}

fn segment_number(name: &Path) -> Option<u64> {
    let digits = name.to_str()?.strip_suffix(SUFFIX)?;
    (digits.len() == 12).then(|| digits.parse().ok()).flatten()
}

/// Where the chain begins, now that older segments are gone: recorded before they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Anchor {
    /// Number of the first segment that is kept.
    pub(super) next: u64,
    /// The last entry before it.
    pub(super) before: Link,
}

impl Default for Anchor {
    fn default() -> Anchor {
        Anchor { next: 1, before: Link::default() }
    }
}

impl Anchor {
    fn seal(self, key: &AuditKey, nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        let mut bytes = ANCHOR_MAGIC.to_vec();
        bytes.extend_from_slice(&self.next.to_be_bytes());
        bytes.extend_from_slice(&self.before.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.before.hash);
        let tag = key.tag(nonce, &bytes);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&tag);
        bytes
    }

    fn open(key: &AuditKey, bytes: &[u8]) -> Result<Anchor, &'static str> {
        const WRONG: &str = "the anchor, which says where the chain begins, does not open: it was altered";
        let (clear, rest) = bytes.split_first_chunk::<ANCHOR_CLEAR_BYTES>().ok_or(WRONG)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(WRONG)?;
        key.is_tag(*nonce, clear, sealed).map_err(|_| WRONG)?;
        let (magic, rest) = clear.split_first_chunk::<8>().ok_or(WRONG)?;
        let (next, rest) = rest.split_first_chunk::<8>().ok_or(WRONG)?;
        let (sequence, hash) = rest.split_first_chunk::<8>().ok_or(WRONG)?;
        if *magic != ANCHOR_MAGIC {
            return Err(WRONG);
        }
        let before =
            Link { sequence: u64::from_be_bytes(*sequence), hash: hash.try_into().map_err(|_| WRONG)? };
        Ok(Anchor { next: u64::from_be_bytes(*next), before })
    }
}

/// The segment that is written.
struct Current {
    file: Box<dyn BlockFile>,
    header: OpenHeader,
    at: u64,
}

/// The spool of a running host.
pub(super) struct Spool {
    place: Place,
    key: Arc<AuditKey>,
    config: AuditConfig,
    /// Bytes of each segment.
    sizes: BTreeMap<u64, u64>,
    current: Current,
    /// The newest entry.
    head: Link,
}

impl Spool {
    /// Opens a host's spool, or makes it. Ends with a segment on disk that takes entries.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn open(place: Place, key: Arc<AuditKey>, config: AuditConfig) -> io::Result<Spool> {
        place.env.disk.create_dir(&place.dir)?;
        // Its name, and that of the directory above: both may be new.
        for above in place.dir.ancestors().skip(1).take(2) {
            place.env.disk.sync_dir(above)?;
        }
        let numbers = place.segments()?;
        let anchor = place.anchor(&key)?.unwrap_or_else(|why| {
            tracing::error!(why, "audit: the chain goes on, and `kms audit verify` will show this");
            Anchor::default()
        });
        let mut sizes = BTreeMap::new();
        for number in &numbers {
            sizes.insert(*number, place.env.disk.open(&place.path(*number), OpenMode::Existing)?.len()?);
        }
        let last = numbers.last().copied();
        let mut found = None;
        for number in numbers.iter().rev() {
            let bytes = place.read(*number)?.unwrap_or_default();
            match Header::open(&key, &bytes) {
                Ok(header) => {
                    found = Some((header, bytes));
                    break;
                }
                Err(why) => tracing::error!(
                    segment = number,
                    why,
                    "audit: DAMAGED; the chain goes on from before it, see `kms audit verify`"
                ),
            }
        }
        let number = last.map_or(anchor.next, |last| last.saturating_add(1)).max(anchor.next);
        let head = found.as_ref().map_or(anchor.before, |(header, bytes)| end_of(header, bytes));
        // One that has no entry yet is used: a disk that fails again and again must not fill with empty segments.
        if let Some((header, bytes)) = found {
            let path = place.path(header.header.number);
            if Some(header.header.number) == last && bytes.len() == HEADER_BYTES {
                let file = place.env.disk.open(&path, OpenMode::Existing)?;
                let current = Current { file, header, at: HEADER_BYTES as u64 };
                return Ok(Spool { place, key, config, sizes, current, head });
            }
            // What a write that failed, or that nobody synced, left there may come and go with the next power cut, as may what was cut
            // off of it: it is written again as it was read, since the chain goes on from that.
            place.env.disk.write_atomic(&path, &bytes, true)?;
        }
        let current = begin(&place, &key, number, head)?;
        sizes.insert(number, current.at);
        Ok(Spool { place, key, config, sizes, current, head })
    }

    /// The newest entry.
    pub(super) fn head(&self) -> Link {
        self.head
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.sizes.values().sum()
    }

    /// Whether it takes entries of new requests. A little more is taken, for those that are under way.
    pub(super) fn has_room(&self) -> bool {
        self.bytes().saturating_add(RESERVE_BYTES) <= self.config.max_bytes
    }

    /// Whether nine tenths of what it takes of new requests are there.
    pub(super) fn is_crowded(&self) -> bool {
        self.bytes() / 9 > self.config.max_bytes.saturating_sub(RESERVE_BYTES) / 10
    }

    /// Makes entries durable; `encode` gives them by the sequence number of the first. They must fit in a frame.
    ///
    /// # Errors
    /// [`SpoolError::Full`], with which nothing happened; any other error: the spool must be opened anew.
    pub(super) fn append(&mut self, encode: impl FnOnce(u64) -> Vec<Vec<u8>>) -> Result<(), SpoolError> {
        let entries = encode(self.head.sequence.saturating_add(1));
        let nonce: [u8; NONCE_BYTES] = self.place.env.random(Purpose::Public)?;
        let size: u64 = entries.iter().map(|entry| entry.len() as u64 + 4).sum();
        let too_large = self.current.at.saturating_add(size) > self.config.segment_bytes;
        let too_old =
            self.place.env.wall_ms().saturating_sub(self.current.header.header.made_ms) > SEGMENT_AGE_MS;
        if (too_large || too_old) && self.current.at > HEADER_BYTES as u64 {
            let number = self.current.header.header.number.saturating_add(1);
            self.current = begin(&self.place, &self.key, number, self.head)?;
            self.sizes.insert(number, self.current.at);
        }
        let frame = self.current.header.frame(&self.head, &entries, nonce);
        let size = frame.len() as u64;
        if self.bytes().saturating_add(size) > self.config.max_bytes {
            return Err(SpoolError::Full);
        }
        let current = &mut self.current;
        let written = current.file.write(current.at, &frame).and_then(|()| current.file.sync_data());
        if let Err(error) = written {
            // Best effort: what is left of it is a torn end otherwise.
            let _ = current.file.set_len(current.at);
            return Err(error.into());
        }
        current.at += size;
        self.sizes.insert(current.header.header.number, current.at);
        self.head = entries.iter().fold(self.head, |head, entry| head.next(entry));
        Ok(())
    }

    /// Removes what is too old, and takes notice of what others removed.
    ///
    /// # Errors
    /// The disk's, with which the spool may still be used.
    pub(super) fn tidy(&mut self) -> io::Result<u64> {
        let keep_ms = u64::from(self.config.keep_days).saturating_mul(DAY_MS);
        let gone = match self.place.env.wall_ms().checked_sub(keep_ms) {
            Some(before_ms) => self.place.prune(&self.key, before_ms),
            None => Ok(0),
        };
        self.recount()?;
        gone
    }

    /// Notices which segments somebody else has removed.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn recount(&mut self) -> io::Result<()> {
        let numbers = self.place.segments()?;
        self.sizes.retain(|number, _| numbers.binary_search(number).is_ok());
        Ok(())
    }
}

/// Makes a segment that is durable as it is, without an entry.
fn begin(place: &Place, key: &AuditKey, number: u64, before: Link) -> io::Result<Current> {
    let salt = place.env.random(Purpose::Public)?;
    let header = Header { number, before, made_ms: place.env.wall_ms(), salt };
    let (header, bytes) = header.seal(key, place.env.random(Purpose::Public)?);
    let path = place.path(number);
    place.env.disk.write_atomic(&path, &bytes, true)?;
    let file = place.env.disk.open(&path, OpenMode::Existing)?;
    Ok(Current { file, header, at: bytes.len() as u64 })
}

/// The last entry of a segment.
fn end_of(header: &OpenHeader, bytes: &[u8]) -> Link {
    let mut end = header.header.before;
    for part in header.parts(bytes) {
        match part {
            Part::Frame(frame) => {
                end = frame.entries.iter().fold(frame.before, |head, entry| head.next(entry));
            }
            Part::Damaged { at, why } => tracing::error!(
                segment = header.header.number,
                at,
                why,
                "audit: DAMAGED; the chain goes on behind it, see `kms audit verify`"
            ),
            Part::Torn { at } => {
                tracing::info!(segment = header.header.number, at, "audit: the last write was broken off");
            }
        }
    }
    end
}
