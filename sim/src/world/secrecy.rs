//! The online search for secrets: every simulated wire, disk write, log line and disk image is searched for
//! every registered needle, raw, in hex and in base64 at all three offsets. Needles shorter than
//! [`NEEDLE_MIN_BYTES`] are refused (they would be found by chance); of long ones the first
//! [`VARIANT_MAX_BYTES`] of each encoding are searched.
//!
//! Four 8-byte windows of each encoding, at offsets 0 to 3, go into a table behind a bitmap (two bits of one
//! word each); text is probed at every fourth byte, so each occurrence meets exactly one of its windows.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{BuildHasherDefault, Hasher},
};

/// Shortest needle.
pub const NEEDLE_MIN_BYTES: usize = 12;
/// Longest stretch of one encoding that is compared.
pub const VARIANT_MAX_BYTES: usize = 64;
const WINDOW: usize = 8;
const STRIDE: usize = 4;
/// A stretch of zeros that is looked at as one, bytes.
const ZEROS: usize = 64;
/// Words of the bitmap, as a power of two: 512 KiB.
const BITMAP_WORDS: u32 = 16;

/// A secret found where it must not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Leak {
    /// The needle's label; its bytes are not repeated here.
    pub needle: String,
    /// `raw`, `hex`, `HEX`, `base64` or `base64url`.
    pub encoding: String,
    /// Where: a link, a file, or a log line's node.
    pub place: String,
    /// When first seen, microseconds of true time.
    pub at_us: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    needle: u32,
    variant: u8,
    offset: u8,
    next: u32,
}

const NONE: u32 = u32::MAX;

/// A search: needles, and what was found of them. See the head of this file.
pub struct Secrecy {
    needles: Vec<(u32, Box<[u8]>)>,
    labels: Vec<String>,
    known: BTreeMap<Box<[u8]>, u32>,
    bitmap: Vec<u64>,
    windows: HashMap<u64, u32, BuildHasherDefault<WindowHasher>>,
    entries: Vec<Entry>,
    leaks: Vec<Leak>,
    reported: BTreeSet<(u32, String)>,
    scanned: u64,
}

/// The end of a stream's bytes so far, for needles that span chunks.
#[derive(Default, Debug)]
pub(super) struct Carry(Vec<u8>);

fn mixed(window: u64) -> u64 {
    let mixed = window.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// The word of the bitmap and the bits in it that stand for a window.
fn place_of(window: u64) -> (usize, u64) {
    // Eight zeros, which disks are full of, get a place like any other's.
    let mixed = (window ^ 0x5851_f42d_4c95_7f2d).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bits = 1 << (mixed >> 32 & 63) | 1 << (mixed >> 40 & 63);
    ((mixed >> (64 - BITMAP_WORDS)) as usize, bits)
}

/// Windows are found by themselves: nobody chooses them to collide.
#[derive(Default)]
struct WindowHasher(u64);

impl Hasher for WindowHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, window: u64) {
        self.0 = mixed(self.0 ^ window);
    }
}

/// Encodings in the order of their numbers; `None` past the last.
fn variant(bytes: &[u8], number: u8) -> Option<(&'static str, Vec<u8>)> {
    let base64 = |engine: &base64::engine::GeneralPurpose, skip: usize| {
        let mut padded = vec![0; skip];
        padded.extend_from_slice(bytes);
        let text = engine.encode(&padded);
        // Characters that also depend on what stands before or after the needle are dropped.
        let first = (skip * 8).div_ceil(6);
        let last = padded.len() * 8 / 6;
        text.as_bytes()[first..last].to_vec()
    };
    Some(match number {
        0 => ("raw", bytes.to_vec()),
        1 => ("hex", hex::encode(bytes).into_bytes()),
        2 => ("HEX", hex::encode_upper(bytes).into_bytes()),
        3..=5 => ("base64", base64(&STANDARD_NO_PAD, usize::from(number) - 3)),
        6..=8 => ("base64url", base64(&URL_SAFE_NO_PAD, usize::from(number) - 6)),
        _ => return None,
    })
}

impl Default for Secrecy {
    fn default() -> Self {
        Secrecy::new()
    }
}

impl Secrecy {
    /// Knows no needle.
    pub fn new() -> Secrecy {
        Secrecy {
            needles: Vec::new(),
            labels: Vec::new(),
            known: BTreeMap::new(),
            bitmap: vec![0; 1 << BITMAP_WORDS],
            windows: HashMap::default(),
            entries: Vec::new(),
            leaks: Vec::new(),
            reported: BTreeSet::new(),
            scanned: 0,
        }
    }

    /// Registers a needle; false if it is too short or known.
    pub fn add(&mut self, label: &str, bytes: &[u8]) -> bool {
        let bytes = &bytes[..bytes.len().min(VARIANT_MAX_BYTES)];
        if bytes.len() < NEEDLE_MIN_BYTES || self.known.contains_key(bytes) {
            return false;
        }
        let id = self.needles.len() as u32;
        let label_id = match self.labels.iter().rposition(|known| known == label) {
            Some(at) => at as u32,
            None => {
                self.labels.push(label.to_owned());
                self.labels.len() as u32 - 1
            }
        };
        self.known.insert(bytes.into(), id);
        self.needles.push((label_id, bytes.into()));
        let mut seen: Vec<Vec<u8>> = Vec::with_capacity(9);
        for number in 0..=u8::MAX {
            let Some((_, text)) = variant(bytes, number) else { break };
            if !seen.contains(&text) {
                self.index(id, number, &text);
                seen.push(text);
            }
        }
        true
    }

    fn index(&mut self, needle: u32, variant: u8, text: &[u8]) {
        for offset in 0..STRIDE {
            let Some(window) = text.get(offset..).and_then(<[u8]>::first_chunk) else { return };
            let window = u64::from_le_bytes(*window);
            let (word, bits) = place_of(window);
            self.bitmap[word] |= bits;
            let head = self.windows.entry(window).or_insert(NONE);
            self.entries.push(Entry { needle, variant, offset: offset as u8, next: *head });
            *head = self.entries.len() as u32 - 1;
        }
    }

    /// Searches `text`; `place` is asked for only when something is found.
    pub fn scan(&mut self, at_us: u64, text: &[u8], place: impl Fn() -> String) {
        self.scanned += text.len() as u64;
        if self.needles.is_empty() || text.len() < WINDOW {
            return;
        }
        let mut found = Vec::new();
        // In a stretch of zeros every window is zero, and most often no needle has that one.
        let zeros_are_dull = !self.windows.contains_key(&0);
        let mut rest = text;
        while let Some(window) = rest.first_chunk::<WINDOW>() {
            let window = u64::from_le_bytes(*window);
            if window == 0 && zeros_are_dull && rest.first_chunk() == Some(&[0; ZEROS]) {
                rest = &rest[ZEROS - WINDOW + STRIDE..];
                continue;
            }
            let (word, bits) = place_of(window);
            if self.bitmap[word] & bits == bits {
                self.candidates(window, text.len() - rest.len(), text, &mut found);
            }
            rest = &rest[STRIDE..];
        }
        for (needle, encoding) in found {
            let place = place();
            if self.reported.insert((needle, place.clone())) {
                let label = self.needles[needle as usize].0 as usize;
                let needle = self.labels[label].clone();
                self.leaks.push(Leak { needle, encoding: encoding.to_owned(), place, at_us });
            }
        }
    }

    fn candidates(&self, window: u64, position: usize, text: &[u8], found: &mut Vec<(u32, &'static str)>) {
        let mut next = self.windows.get(&window).copied().unwrap_or(NONE);
        while let Some(entry) = self.entries.get(next as usize) {
            next = entry.next;
            let Some((_, bytes)) = self.needles.get(entry.needle as usize) else { continue };
            let Some((name, mut encoded)) = variant(bytes, entry.variant) else { continue };
            encoded.truncate(VARIANT_MAX_BYTES);
            let Some(start) = position.checked_sub(usize::from(entry.offset)) else { continue };
            if text.get(start..start + encoded.len()) == Some(&encoded[..])
                && !found.iter().any(|(needle, _)| *needle == entry.needle)
            {
                found.push((entry.needle, name));
            }
        }
    }

    /// As [`Secrecy::scan`] for the next chunk of a stream.
    pub(super) fn scan_stream(
        &mut self,
        at_us: u64,
        carry: &mut Carry,
        chunk: &[u8],
        place: impl Fn() -> String,
    ) {
        const KEEP: usize = VARIANT_MAX_BYTES - 1;
        if !carry.0.is_empty() {
            // Only needles that span the border: the end of what was, and the start of what comes.
            let mut border = std::mem::take(&mut carry.0);
            let kept = border.len();
            border.extend_from_slice(&chunk[..chunk.len().min(KEEP)]);
            self.scan(at_us, &border, &place);
            self.scanned -= border.len() as u64;
            if chunk.len() < KEEP {
                border.drain(..border.len().saturating_sub(KEEP).min(kept));
                carry.0 = border;
            } else {
                border.clear();
                carry.0 = border;
            }
        }
        self.scan(at_us, chunk, &place);
        if chunk.len() >= KEEP {
            carry.0.clear();
            carry.0.extend_from_slice(&chunk[chunk.len() - KEEP..]);
        } else if carry.0.is_empty() {
            carry.0.extend_from_slice(chunk);
        }
    }

    /// What was found: each needle once in each place.
    pub fn leaks(&self) -> Vec<Leak> {
        self.leaks.clone()
    }

    /// Needles known, bytes searched.
    pub fn counts(&self) -> (u64, u64) {
        (self.needles.len() as u64, self.scanned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Vec<u8> {
        (0..32u8).map(|index| index.wrapping_mul(57) ^ 0xa5).collect()
    }

    fn found(text: &[u8]) -> Option<String> {
        let mut secrecy = Secrecy::new();
        assert!(secrecy.add("key", &secret()));
        secrecy.scan(0, text, || "here".to_owned());
        secrecy.leaks().first().map(|leak| leak.encoding.clone())
    }

    #[test]
    fn finds_every_encoding_at_every_offset() {
        for lead in 0..9usize {
            let mut plain = vec![b'~'; lead];
            plain.extend_from_slice(&secret());
            plain.extend_from_slice(b"tail");
            assert_eq!(found(&plain).as_deref(), Some("raw"), "{lead}");
            assert_eq!(found(STANDARD_NO_PAD.encode(&plain).as_bytes()).as_deref(), Some("base64"));
            assert_eq!(found(URL_SAFE_NO_PAD.encode(&plain).as_bytes()).as_deref().map(|_| ()), Some(()));
            assert_eq!(found(hex::encode(&plain).as_bytes()).as_deref(), Some("hex"));
            assert_eq!(found(hex::encode_upper(&plain).as_bytes()).as_deref(), Some("HEX"));
        }
        assert_eq!(found(&[7; 4096]), None);
    }

    #[test]
    fn zeros_hide_nothing() {
        for needle in [secret(), [&[0; 11][..], b"!"].concat(), vec![0; 12]] {
            for (before, after) in (0..140).map(|lead| (lead, 140 - lead)) {
                let mut secrecy = Secrecy::new();
                secrecy.add("key", &needle);
                let text = [&vec![0; before][..], &needle, &vec![0; after]].concat();
                secrecy.scan(0, &text, || "here".to_owned());
                assert_eq!(secrecy.leaks().len(), 1, "{before} zeros before");
            }
        }
    }

    #[test]
    fn shortest_needles_are_found_and_shorter_refused() {
        let mut secrecy = Secrecy::new();
        assert!(!secrecy.add("short", b"elevenbytes"));
        assert!(secrecy.add("name", b"twelve bytes"));
        for lead in 0..4usize {
            let mut text = vec![b'.'; lead];
            text.extend_from_slice(b"twelve bytes..");
            secrecy.scan(0, &text, || format!("raw{lead}"));
            secrecy.scan(0, STANDARD_NO_PAD.encode(&text).as_bytes(), || format!("b64{lead}"));
        }
        assert_eq!(secrecy.leaks().len(), 8);
    }

    #[test]
    fn spans_chunks_however_small() {
        for size in 1..80 {
            let mut secrecy = Secrecy::new();
            secrecy.add("key", &secret());
            let mut carry = Carry::default();
            let mut text = vec![0; 100];
            text.extend_from_slice(hex::encode(secret()).as_bytes());
            text.extend_from_slice(&[0; 100]);
            for chunk in text.chunks(size) {
                secrecy.scan_stream(0, &mut carry, chunk, || "wire".to_owned());
            }
            assert_eq!(secrecy.leaks().len(), 1, "chunks of {size}");
        }
    }
}
