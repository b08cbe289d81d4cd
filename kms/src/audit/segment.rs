//! A segment: one file of the spool, as bytes. Knows no disk.
//!
//! Integers are big-endian. The header comes first, then frames until the end of the file:
//!
//! ```text
//! header   0  8  magic "kms-audt"          frame   0  8  magic "kms-audf"
//!          8  8  format, 1                         8  4  length of what is sealed
//!         16  8  number of the segment            12  4  entries in it
//!         24  8  sequence of its first entry      16  8  sequence of the first of them
//!         32 32  hash of the entry before         24 12  nonce
//!         64  8  made at, Unix milliseconds       36     sealed: hash of the entry before the first (32), then each
//!         72 16  salt                                    entry with its length (u32) in front; then the tag (16)
//!         88 12  nonce
//!        100 16  tag over all of it
//! ```
//!
//! A frame is what one sync made durable. Everything is sealed with AES-256-GCM under a key that is derived from the root key for the
//! audit of this host, this segment's number and salt. The hash of an entry is SHA-256 over the hash of the one before and its bytes.

use crate::{
    crypto::{
        Canonical, DoesNotOpen, NONCE_BYTES, SealingKey, Secret, SecretBytes, TAG_BYTES, hkdf_expand, sha256,
    },
    vault::RootKey,
};

/// Length of a header.
pub(super) const HEADER_BYTES: usize = CLEAR_BYTES + NONCE_BYTES + TAG_BYTES;
const CLEAR_BYTES: usize = 88;
const FRAME_HEAD_BYTES: usize = 36;
const MAGIC: [u8; 8] = *b"kms-audt";
const FRAME_MAGIC: [u8; 8] = *b"kms-audf";
const FORMAT: u64 = 1;
/// Largest frame. Larger lengths are damage.
pub(super) const FRAME_MAX_BYTES: usize = 1 << 20;
/// How many places are tried for a frame behind a damaged one.
const TRIES_MAX: usize = 4_096;

/// The place of an entry in the chain: its sequence number, and the hash over it and all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// Of the entry; 0 before the first.
    pub sequence: u64,
    /// Of the entry and those before it; zeros before the first.
    pub hash: [u8; 32],
}

impl Link {
    /// The link of the entry that comes next.
    #[must_use]
    pub fn next(&self, entry: &[u8]) -> Link {
        Link {
            sequence: self.sequence.saturating_add(1),
            hash: sha256(&[self.hash.as_slice(), entry].concat()),
        }
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.sequence, hex::encode(self.hash))
    }
}

impl std::str::FromStr for Link {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Link, &'static str> {
        const FORM: &str = "a head is SEQUENCE:HASH, as `kms audit verify` prints it";
        let (sequence, hash) = text.split_once(':').ok_or(FORM)?;
        let mut link = Link { sequence: sequence.parse().map_err(|_| FORM)?, hash: [0; 32] };
        hex::decode_to_slice(hash, &mut link.hash).map_err(|_| FORM)?;
        Ok(link)
    }
}

/// The key above all segments of one host's spool.
pub struct AuditKey {
    key: Secret<32>,
    host: String,
}

impl AuditKey {
    /// Derived from the root key for this purpose and this host.
    pub fn new(root: &RootKey, host: &str) -> AuditKey {
        AuditKey { key: root.subkey("audit", host.as_bytes()), host: host.to_owned() }
    }

    /// The host.
    pub fn host(&self) -> &str {
        &self.host
    }

    fn sealing(&self, number: u64, salt: &[u8; 16]) -> SealingKey {
        let info = Canonical::new("okms/audit/segment/v1").add(&number.to_be_bytes()).add(salt);
        SealingKey::new(&hkdf_expand(&self.key, &[info.bytes()]))
    }

    /// Seals the anchor of a spool.
    pub(super) fn tag(&self, nonce: [u8; NONCE_BYTES], clear: &[u8]) -> [u8; TAG_BYTES] {
        tag(&self.anchoring(), nonce, &aad("okms/audit/anchor/v1", &self.host, clear))
    }

    /// Whether an anchor is one that [`AuditKey::tag`] sealed.
    pub(super) fn is_tag(
        &self,
        nonce: [u8; NONCE_BYTES],
        clear: &[u8],
        sealed: &[u8],
    ) -> Result<(), DoesNotOpen> {
        let mut sealed = sealed.to_vec();
        let aad = aad("okms/audit/anchor/v1", &self.host, clear);
        self.anchoring().open(nonce, aad.bytes(), &mut sealed).map(|_| ())
    }

    fn anchoring(&self) -> SealingKey {
        SealingKey::new(&hkdf_expand(&self.key, &[Canonical::new("okms/audit/anchor/v1").bytes()]))
    }
}

fn aad(format: &str, host: &str, clear: &[u8]) -> Canonical {
    Canonical::new(format).add(host.as_bytes()).add(clear)
}

fn tag(key: &SealingKey, nonce: [u8; NONCE_BYTES], aad: &Canonical) -> [u8; TAG_BYTES] {
    let mut sealed = Vec::with_capacity(TAG_BYTES);
    key.seal(nonce, aad.bytes(), &mut sealed);
    let mut bytes = [0; TAG_BYTES];
    bytes.copy_from_slice(&sealed);
    bytes
}

/// What a segment begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Counts the segments of a spool, from 1.
    pub(super) number: u64,
    /// The last entry before the segment.
    pub(super) before: Link,
    pub(super) made_ms: u64,
    pub(super) salt: [u8; 16],
}

/// A header that opened, and the key of its segment.
pub(super) struct OpenHeader {
    pub(super) header: Header,
    key: SealingKey,
    host: String,
}

impl Header {
    pub(super) fn seal(self, key: &AuditKey, nonce: [u8; NONCE_BYTES]) -> (OpenHeader, Vec<u8>) {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.before.sequence.saturating_add(1).to_be_bytes());
        bytes.extend_from_slice(&self.before.hash);
        bytes.extend_from_slice(&self.made_ms.to_be_bytes());
        bytes.extend_from_slice(&self.salt);
        let sealing = key.sealing(self.number, &self.salt);
        let tag = tag(&sealing, nonce, &aad("okms/audit/header/v1", &key.host, &bytes));
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&tag);
        (OpenHeader { header: self, key: sealing, host: key.host.clone() }, bytes)
    }

    /// Reads a header.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn open(key: &AuditKey, bytes: &[u8]) -> Result<OpenHeader, &'static str> {
        let short = "the file ends inside its header";
        let (clear, rest) = bytes.split_first_chunk::<CLEAR_BYTES>().ok_or(short)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(short)?;
        let sealed = rest.first_chunk::<TAG_BYTES>().ok_or(short)?;
        if clear[..8] != MAGIC {
            return Err("the file does not begin as a segment does");
        }
        if number(clear, 8) != FORMAT {
            return Err("the segment is of a format that this build does not know");
        }
        let mut header = Header {
            number: number(clear, 16),
            before: Link { sequence: number(clear, 24).saturating_sub(1), hash: [0; 32] },
            made_ms: number(clear, 64),
            salt: [0; 16],
        };
        header.before.hash.copy_from_slice(&clear[32..64]);
        header.salt.copy_from_slice(&clear[72..]);
        let sealing = key.sealing(header.number, &header.salt);
        let aad = aad("okms/audit/header/v1", &key.host, clear);
        sealing.open(*nonce, aad.bytes(), &mut sealed.to_vec()).map_err(
            |_| "the header does not open: it was altered, or the root key or the host is another",
        )?;
        Ok(OpenHeader { header, key: sealing, host: key.host.clone() })
    }
}

/// The big-endian number at a place of a header, which has it.
fn number(bytes: &[u8; CLEAR_BYTES], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// The entries that one sync made durable.
pub(super) struct Frame {
    /// Where it begins.
    pub(super) at: usize,
    /// The last entry before it.
    pub(super) before: Link,
    pub(super) entries: Vec<Vec<u8>>,
}

/// What became of the end of a segment, or of a part in the middle of it.
pub(super) enum Part {
    Frame(Frame),
    /// Frames follow it: it was whole once.
    Damaged {
        at: usize,
        why: &'static str,
    },
    /// Nothing follows it: a write that was broken off, or one that is under way.
    Torn {
        at: usize,
    },
}

impl OpenHeader {
    /// The bytes of a frame.
    pub(super) fn frame(&self, before: &Link, entries: &[Vec<u8>], nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        let size: usize = entries.iter().map(|entry| entry.len() + 4).sum();
        let mut clear = Vec::with_capacity(32 + size);
        clear.extend_from_slice(&before.hash);
        for entry in entries {
            clear.extend_from_slice(&u32::try_from(entry.len()).unwrap_or(u32::MAX).to_be_bytes());
            clear.extend_from_slice(entry);
        }
        let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + clear.len() + TAG_BYTES);
        frame.extend_from_slice(&FRAME_MAGIC);
        frame.extend_from_slice(&u32::try_from(clear.len() + TAG_BYTES).unwrap_or(u32::MAX).to_be_bytes());
        frame.extend_from_slice(&u32::try_from(entries.len()).unwrap_or(u32::MAX).to_be_bytes());
        frame.extend_from_slice(&before.sequence.saturating_add(1).to_be_bytes());
        let mut sealed = SecretBytes::new(clear).into_sealable();
        self.key.seal(nonce, self.frame_aad(&frame).bytes(), &mut sealed);
        frame.extend_from_slice(&nonce);
        frame.extend_from_slice(&sealed);
        frame
    }

    fn frame_aad(&self, head: &[u8]) -> Canonical {
        aad("okms/audit/frame/v1", &self.host, head).add(&self.header.number.to_be_bytes())
    }

    /// The frame at a place, and where it ends.
    fn read(&self, bytes: &[u8], at: usize) -> Result<(Frame, usize), &'static str> {
        let short = "the file ends inside a frame";
        let rest = bytes.get(at..).ok_or(short)?;
        let (head, rest) = rest.split_first_chunk::<FRAME_HEAD_BYTES>().ok_or(short)?;
        let (head, nonce) = head.split_at(FRAME_HEAD_BYTES - NONCE_BYTES);
        if head[..8] != FRAME_MAGIC {
            return Err("no frame begins here");
        }
        let field = |from: usize, to: usize| {
            head.get(from..to)
                .map_or(0, |bytes| bytes.iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte)))
        };
        let length = usize::try_from(field(8, 12)).unwrap_or(usize::MAX);
        if length > FRAME_MAX_BYTES {
            return Err("the length of a frame is impossible");
        }
        let mut sealed = rest.get(..length).ok_or(short)?.to_vec();
        let nonce = nonce.try_into().map_err(|_| short)?;
        let wrong = "a frame does not open: it was altered, or belongs elsewhere";
        let clear = self.key.open(nonce, self.frame_aad(head).bytes(), &mut sealed).map_err(|_| wrong)?;
        let (hash, mut clear) = clear.split_first_chunk::<32>().ok_or(wrong)?;
        let mut entries = Vec::new();
        while let Some((length, rest)) = clear.split_first_chunk::<4>() {
            let (entry, rest) = rest
                .split_at_checked(usize::try_from(u32::from_be_bytes(*length)).map_err(|_| wrong)?)
                .ok_or(wrong)?;
            entries.push(entry.to_vec());
            clear = rest;
        }
        if entries.len() as u64 != field(12, 16) {
            return Err(wrong);
        }
        let before = Link { sequence: field(16, 24).saturating_sub(1), hash: *hash };
        Ok((Frame { at, before, entries }, at + FRAME_HEAD_BYTES + length))
    }

    /// All that is in a segment, in the order of the file.
    pub(super) fn parts(&self, bytes: &[u8]) -> Vec<Part> {
        let (mut parts, mut at) = (Vec::new(), HEADER_BYTES);
        while at < bytes.len() {
            match self.read(bytes, at) {
                Ok((frame, end)) => {
                    parts.push(Part::Frame(frame));
                    at = end;
                }
                Err(why) => match self.next_frame(bytes, at + 1) {
                    Some(next) => {
                        parts.push(Part::Damaged { at, why });
                        at = next;
                    }
                    None => {
                        parts.push(Part::Torn { at });
                        break;
                    }
                },
            }
        }
        parts
    }

    /// Where the first whole frame from `from` on begins.
    fn next_frame(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let begins = |at: &usize| bytes.get(*at..).is_some_and(|rest| rest.starts_with(&FRAME_MAGIC));
        (from..bytes.len()).filter(begins).take(TRIES_MAX).find(|at| self.read(bytes, *at).is_ok())
    }
}
