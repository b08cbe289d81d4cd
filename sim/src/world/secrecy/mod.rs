//! The online search for secrets: every simulated wire, disk write, log line and disk image is searched for
//! every registered needle, raw, in hex and in base64 at all three offsets. Needles shorter than
//! [`NEEDLE_MIN_BYTES`] are refused (they would be found by chance); of long ones the first
//! [`VARIANT_MAX_BYTES`] of each encoding are searched.
//!
//! Four 8-byte windows of each encoding, at offsets 0 to 3, go into a table behind two bitmaps (two bits of one
//! word each); text is probed at every fourth byte, so each occurrence meets exactly one of its windows. Of a
//! stream every window is probed once, and one that a needle beyond the end may have is kept for later.

mod encoding;

use encoding::{RAW, encode};
use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasherDefault, Hasher},
};

/// Shortest needle.
pub const NEEDLE_MIN_BYTES: usize = 12;
/// Longest stretch of one encoding that is compared.
pub const VARIANT_MAX_BYTES: usize = 64;
const WINDOW: usize = 8;
const STRIDE: usize = 4;
/// Windows that are looked at together, and the bytes they cover.
const BATCH: usize = 4;
const BATCH_BYTES: usize = (BATCH - 1) * STRIDE + WINDOW;
/// A stretch of zeros that is looked at as one, bytes.
const ZEROS: usize = 64;
/// Words of the two bitmaps as powers of two. Every window is looked for in the small one, of 128 KiB: more would
/// not stay in the nearer caches, and waiting for memory is what a search costs. The other one, of 512 KiB, sorts
/// out most of what the first lets pass.
const NEAR_BITS: u32 = 14;
const FAR_BITS: u32 = 16;
/// Bytes of a stream that are looked at in one go: they stay in the processor's nearest cache.
const PIECE_BYTES: usize = 8 << 10;

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
    near: Box<[u64; 1 << NEAR_BITS]>,
    far: Box<[u64; 1 << FAR_BITS]>,
    windows: HashMap<u64, u32, BuildHasherDefault<WindowHasher>>,
    entries: Vec<Entry>,
    leaks: Vec<Leak>,
    reported: BTreeSet<(u32, String)>,
    scanned: u64,
    /// Room for [`Secrecy::suspects`] and for encodings, kept from call to call.
    suspects: Vec<usize>,
    encoded: Vec<u8>,
}

/// The end of a stream's bytes so far, for needles that span chunks. Each window of a stream is looked at once,
/// as soon as it is whole.
#[derive(Default, Debug)]
pub(super) struct Carry {
    bytes: Vec<u8>,
    /// The first window in `bytes` that is not whole yet.
    next: usize,
    /// Windows of needles that go on beyond `bytes`.
    open: Vec<usize>,
}

fn bitmap<const WORDS: usize>() -> Box<[u64; WORDS]> {
    match vec![0; WORDS].into_boxed_slice().try_into() {
        Ok(bitmap) => bitmap,
        Err(_) => unreachable!("a slice of that very length"),
    }
}

fn window_at(bytes: &[u8; BATCH_BYTES], at: usize) -> u64 {
    let mut window = [0; WINDOW];
    window.copy_from_slice(&bytes[at..at + WINDOW]);
    u64::from_le_bytes(window)
}

fn is_zero(bytes: &[u8; ZEROS]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) == 0
}

fn mixed(window: u64) -> u64 {
    let mixed = window.wrapping_mul(FACTOR);
    mixed ^ (mixed >> 29)
}

/// The word of a bitmap and the bits in it that stand for a window.
type Place = (usize, u64);

fn place_near(window: u64) -> Place {
    let mixed = window.wrapping_mul(FACTOR);
    ((mixed >> (64 - NEAR_BITS)) as usize, BITS[(mixed >> 41) as usize % BITS.len()])
}

fn place_far(window: u64) -> Place {
    let mixed = window.wrapping_mul(FACTOR);
    ((mixed >> (64 - FAR_BITS)) as usize, BITS[(mixed >> 32) as usize % BITS.len()])
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Two different bits of a word each: looked up, which is cheaper than made.
const BITS: [u64; 1 << 9] = {
    let mut all = [0; 1 << 9];
    let mut at = 0;
    while at < all.len() {
        let (one, apart) = (at % 64, 1 + at / 64 * 7);
        all[at] = 1 << one | 1 << ((one + apart) % 64);
        at += 1;
    }
    all
};

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
            near: bitmap(),
            far: bitmap(),
            windows: HashMap::default(),
            entries: Vec::new(),
            leaks: Vec::new(),
            reported: BTreeSet::new(),
            scanned: 0,
            suspects: Vec::new(),
            encoded: Vec::new(),
        }
    }

    /// Registers a needle; false if it is too short or known.
    pub fn add(&mut self, label: &str, bytes: &[u8]) -> bool {
        let bytes = &bytes[..bytes.len().min(VARIANT_MAX_BYTES)];
        if bytes.len() < NEEDLE_MIN_BYTES || self.is_known(bytes) {
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
        self.needles.push((label_id, bytes.into()));
        let mut text = std::mem::take(&mut self.encoded);
        for number in 0..=u8::MAX {
            let Some(_) = encode(bytes, number, &mut text) else { break };
            self.index(id, number, &text);
        }
        self.encoded = text;
        true
    }

    fn is_known(&self, bytes: &[u8]) -> bool {
        let Some(window) = bytes.first_chunk() else { return false };
        let mut next = self.windows.get(&u64::from_le_bytes(*window)).copied().unwrap_or(NONE);
        while let Some(entry) = self.entries.get(next as usize) {
            next = entry.next;
            if entry.variant == RAW && entry.offset == 0 && *self.needles[entry.needle as usize].1 == *bytes {
                return true;
            }
        }
        false
    }

    fn index(&mut self, needle: u32, variant: u8, text: &[u8]) {
        for offset in 0..STRIDE {
            let Some(window) = text.get(offset..).and_then(<[u8]>::first_chunk) else { return };
            let window = u64::from_le_bytes(*window);
            let (near, far) = (place_near(window), place_far(window));
            self.near[near.0] |= near.1;
            self.far[far.0] |= far.1;
            let head = self.windows.entry(window).or_insert(NONE);
            self.entries.push(Entry { needle, variant, offset: offset as u8, next: *head });
            *head = self.entries.len() as u32 - 1;
        }
    }

    /// Searches `text`; `place` is asked for only when something is found.
    pub fn scan(&mut self, at_us: u64, text: &[u8], place: impl Fn() -> String) {
        self.scanned += text.len() as u64;
        let mut suspects = std::mem::take(&mut self.suspects);
        self.suspects(text, 0, &mut suspects);
        if !suspects.is_empty() {
            let mut found = Vec::new();
            for position in suspects.drain(..) {
                self.candidates(text, position, &mut found);
            }
            self.report(at_us, &found, place);
        }
        self.suspects = suspects;
    }

    /// As [`Secrecy::scan`] for the next chunk of a stream.
    pub(super) fn scan_stream(
        &mut self,
        at_us: u64,
        carry: &mut Carry,
        chunk: &[u8],
        place: impl Fn() -> String,
    ) {
        self.scanned += chunk.len() as u64;
        for piece in chunk.chunks(PIECE_BYTES) {
            self.scan_piece(at_us, carry, piece, &place);
        }
    }

    fn scan_piece(&mut self, at_us: u64, carry: &mut Carry, piece: &[u8], place: impl Fn() -> String) {
        carry.bytes.extend_from_slice(piece);
        let mut suspects = std::mem::take(&mut self.suspects);
        suspects.append(&mut carry.open);
        carry.next = self.suspects(&carry.bytes, carry.next, &mut suspects);
        if !suspects.is_empty() {
            let mut found = Vec::new();
            for position in suspects.drain(..) {
                if self.candidates(&carry.bytes, position, &mut found) {
                    carry.open.push(position);
                }
            }
            self.report(at_us, &found, place);
        }
        self.suspects = suspects;
        // What may still belong to a needle: the longest offset of a window before the first that counts.
        let first = carry.open.iter().copied().min().unwrap_or(carry.next).min(carry.next);
        let gone = first.saturating_sub(STRIDE - 1).min(carry.bytes.len());
        carry.bytes.drain(..gone);
        carry.next -= gone;
        carry.open.iter_mut().for_each(|position| *position -= gone);
    }

    /// Collects the positions of windows that may be those of a needle, of every fourth from `at` on; gives the
    /// position of the first window that does not fit any more.
    fn suspects(&self, text: &[u8], at: usize, out: &mut Vec<usize>) -> usize {
        let mut rest = text.get(at..).unwrap_or_default();
        let position = |rest: &[u8]| text.len() - rest.len();
        if !self.needles.is_empty() {
            // In a stretch of zeros every window is zero, and most often no needle has that one.
            let zeros_are_dull = !self.windows.contains_key(&0);
            while let Some(batch) = rest.first_chunk::<BATCH_BYTES>() {
                let windows: [u64; BATCH] = std::array::from_fn(|number| window_at(batch, number * STRIDE));
                if zeros_are_dull && windows.iter().fold(0, |all, window| all | window) == 0 {
                    let wide = rest.first_chunk::<ZEROS>().is_some_and(is_zero);
                    rest = &rest[if wide { ZEROS - WINDOW + STRIDE } else { BATCH * STRIDE }..];
                    continue;
                }
                // All of them first: one branch that is hardly ever taken.
                if windows.iter().fold(false, |any, window| any | self.may_know(*window)) {
                    let known = (0..BATCH).filter(|number| self.likely_knows(windows[*number]));
                    out.extend(known.map(|number| position(rest) + number * STRIDE));
                }
                rest = &rest[BATCH * STRIDE..];
            }
        }
        while let Some(window) = rest.first_chunk::<WINDOW>() {
            if self.likely_knows(u64::from_le_bytes(*window)) {
                out.push(position(rest));
            }
            rest = &rest[STRIDE..];
        }
        at.max(position(rest))
    }

    fn may_know(&self, window: u64) -> bool {
        let (word, bits) = place_near(window);
        self.near[word] & bits == bits
    }

    fn likely_knows(&self, window: u64) -> bool {
        let (word, bits) = place_far(window);
        self.may_know(window) && self.far[word] & bits == bits
    }

    /// The needles that have the window at `position` and stand in `text`; true if one may go on beyond it.
    fn candidates(&self, text: &[u8], position: usize, found: &mut Vec<(u32, &'static str)>) -> bool {
        let Some(window) = text.get(position..).and_then(<[u8]>::first_chunk) else { return false };
        let mut next = self.windows.get(&u64::from_le_bytes(*window)).copied().unwrap_or(NONE);
        let (mut encoded, mut goes_on) = (Vec::new(), false);
        while let Some(entry) = self.entries.get(next as usize) {
            next = entry.next;
            let Some((_, bytes)) = self.needles.get(entry.needle as usize) else { continue };
            let Some(name) = encode(bytes, entry.variant, &mut encoded) else { continue };
            encoded.truncate(VARIANT_MAX_BYTES);
            let Some(start) = position.checked_sub(usize::from(entry.offset)) else { continue };
            let there = &text[start..text.len().min(start + encoded.len())];
            if there == encoded {
                if !found.iter().any(|(needle, _)| *needle == entry.needle) {
                    found.push((entry.needle, name));
                }
            } else {
                goes_on |= encoded.starts_with(there);
            }
        }
        goes_on
    }

    fn report(&mut self, at_us: u64, found: &[(u32, &'static str)], place: impl Fn() -> String) {
        for (needle, encoding) in found {
            let place = place();
            if self.reported.insert((*needle, place.clone())) {
                let label = self.needles[*needle as usize].0 as usize;
                let needle = self.labels[label].clone();
                self.leaks.push(Leak { needle, encoding: (*encoding).to_owned(), place, at_us });
            }
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
mod tests;
