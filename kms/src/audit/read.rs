//! Reads a spool from beginning to end, as an auditor does: with the root key, beside a running host or without one. Checks seals, the
//! chain and that nothing is missing, and says where what is wrong. Changes nothing.

use super::{
    event::Entry,
    segment::{AuditKey, Header, Link, Part},
    spool::{Anchor, Place},
};
use crate::env::Env;
use std::{fmt, io, path::Path};

/// Something that is not as a host wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The segment; 0 for the spool as a whole.
    pub segment: u64,
    /// Byte of the segment's file.
    pub at: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.segment {
            0 => f.write_str(&self.what),
            segment => write!(f, "segment {segment}, byte {}: {}", self.at, self.what),
        }
    }
}

/// What a spool was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What is before the first entry that is kept.
    pub begins_after: Link,
    /// The newest entry.
    pub head: Link,
    /// Segments read.
    pub segments: u64,
    /// Entries read.
    pub entries: u64,
    /// What is wrong, in the order of the spool.
    pub findings: Vec<Finding>,
    /// Where the last segment has the beginning of a write that was broken off, or is under way: no damage.
    pub torn: Option<Finding>,
    /// Whether the head that was expected stands in the chain; true if none was.
    pub expected: bool,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty() && self.expected
    }
}

/// An entry as it was read.
pub struct Read<'a> {
    /// The entry's JSON, as it was hashed.
    pub json: &'a str,
    /// The same, read; `None` if a later build wrote what this one does not know.
    pub entry: Option<Entry>,
    /// Its place in the chain.
    pub link: Link,
}

impl Read<'_> {
    /// The entry as one line of JSON with its hash as the last member. Without that member it is what was hashed, so whoever has
    /// the lines can check the chain without a key.
    pub fn line(&self) -> String {
        let open = self.json.strip_suffix('}').unwrap_or(self.json);
        format!("{open},\"hash\":\"{}\"}}", hex::encode(self.link.hash))
    }
}

/// Reads the spool below a host's data directory; `see` is called for each entry that opens, in order, also where something is wrong
/// around it. `expect` is a head that was noted earlier: it must stand in the chain, which shows that its end was not cut off.
///
/// # Errors
/// The disk's, or those of `see`.
pub fn read(
    env: &Env,
    data_dir: &Path,
    key: &AuditKey,
    expect: Option<Link>,
    mut see: impl FnMut(&Read<'_>) -> io::Result<()>,
) -> io::Result<Verified> {
    let place = Place::new(env, data_dir);
    let mut reader = Reader::begin(&place, key, expect)?;
    for number in reader.numbers.clone() {
        reader.segment(&place, key, number, &mut see)?;
    }
    Ok(reader.done)
}

struct Reader {
    numbers: Vec<u64>,
    /// Number of the segment that comes next.
    next: u64,
    expect: Option<Link>,
    done: Verified,
}

impl Reader {
    fn begin(place: &Place, key: &AuditKey, expect: Option<Link>) -> io::Result<Reader> {
        // A host may remove old segments meanwhile: it records the anchor first, so what is listed after it was read is there
        // from the anchor on, or the anchor is a newer one.
        let mut before = place.anchor(key)?;
        let numbers = loop {
            let numbers = place.segments()?;
            let anchor = place.anchor(key)?;
            if anchor == before {
                break numbers;
            }
            before = anchor;
        };
        let mut findings = Vec::new();
        let anchor = before.unwrap_or_else(|why| {
            findings.push(Finding { segment: 0, at: 0, what: why.to_owned() });
            Anchor::default()
        });
        // One that was to be removed, and was not yet.
        let numbers: Vec<u64> = numbers.into_iter().filter(|number| *number >= anchor.next).collect();
        if numbers.is_empty() && anchor != Anchor::default() {
            let what = format!("all segments from {} on are missing", anchor.next);
            findings.push(Finding { segment: 0, at: 0, what });
        }
        let expected = expect.is_none_or(|expect| expect == anchor.before);
        let (begins_after, head) = (anchor.before, anchor.before);
        let done = Verified { begins_after, head, segments: 0, entries: 0, findings, torn: None, expected };
        Ok(Reader { numbers, next: anchor.next, expect, done })
    }

    fn wrong(&mut self, segment: u64, at: usize, what: impl Into<String>) {
        self.done.findings.push(Finding { segment, at: at as u64, what: what.into() });
    }

    fn segment(
        &mut self,
        place: &Place,
        key: &AuditKey,
        number: u64,
        see: &mut impl FnMut(&Read<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        if number != self.next {
            let what = match number - 1 {
                last if last == self.next => format!("segment {last} is missing"),
                last => format!("segments {} to {last} are missing", self.next),
            };
            self.wrong(0, 0, what);
        }
        self.next = number.saturating_add(1);
        let Some(bytes) = place.read(number)? else {
            self.wrong(number, 0, "it was removed while the spool was read: read it again");
            return Ok(());
        };
        self.done.segments += 1;
        self.done.torn = None;
        let header = match Header::open(key, &bytes) {
            Ok(header) => header,
            Err(why) => {
                self.wrong(number, 0, why);
                return Ok(());
            }
        };
        if header.header.number != number {
            let what = format!("this is segment {} under another name", header.header.number);
            self.wrong(number, 0, what);
        }
        self.goes_on(number, 0, header.header.before);
        for part in header.parts(&bytes) {
            match part {
                Part::Frame(frame) => {
                    self.goes_on(number, frame.at, frame.before);
                    for bytes in &frame.entries {
                        self.entry(number, frame.at, bytes, see)?;
                    }
                }
                Part::Damaged { at, why } => self.wrong(number, at, why),
                // Was never told durable; else it is missing before what comes next, and found there.
                Part::Torn { at } => {
                    let what = "a write was broken off here, or is under way".to_owned();
                    self.done.torn = Some(Finding { segment: number, at: at as u64, what });
                }
            }
        }
        Ok(())
    }

    /// Checks that what comes next stands after the newest entry read; goes on from there in either case.
    fn goes_on(&mut self, segment: u64, at: usize, before: Link) {
        let head = self.done.head;
        if before != head {
            let what = match before.sequence.checked_sub(head.sequence) {
                Some(0) => format!("entry {} is another one than was written here before", head.sequence),
                Some(1) => format!("entry {} is missing before this", before.sequence),
                Some(_) => {
                    format!("entries {} to {} are missing before this", head.sequence + 1, before.sequence)
                }
                None => format!(
                    "goes on after entry {}, but entry {} stands before it",
                    before.sequence, head.sequence
                ),
            };
            self.wrong(segment, at, what);
        }
        self.done.head = before;
    }

    fn entry(
        &mut self,
        segment: u64,
        at: usize,
        bytes: &[u8],
        see: &mut impl FnMut(&Read<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.done.head = self.done.head.next(bytes);
        self.done.entries += 1;
        let link = self.done.head;
        if self.expect == Some(link) {
            self.done.expected = true;
        }
        let Ok(json) = std::str::from_utf8(bytes) else {
            self.wrong(segment, at, format!("entry {} is not text", link.sequence));
            return Ok(());
        };
        see(&Read { json, entry: Entry::decode(bytes), link })
    }
}
