//! A full snapshot: rows in key order over any number of objects, and the list of these objects. A row is checked by its own
//! checksum when it is read; the digest over all of them is the one that a fill compares.

use super::{Malformed, frames};
use crate::{
    limits::{BACKUP_PART_BYTES, FILL_PART_BYTES, RECORD_KEY_MAX_BYTES},
    store::{engine::FillRow, log::Position, row},
    wire::message as wire,
};
use prost::Message;

/// Most parts of a snapshot: their list must fit in one object.
pub const PARTS_MAX: usize = 100_000;

/// Rows on their way into one object.
#[derive(Default)]
pub struct Part {
    rows: u64,
    text: Vec<u8>,
}

impl Part {
    /// Takes the next row.
    ///
    /// # Errors
    /// [`Malformed`] if it is larger than any can be.
    pub fn add(&mut self, row: &FillRow) -> Result<(), Malformed> {
        frames::put(&mut self.text, &row.0)?;
        frames::put(&mut self.text, &row.1)?;
        self.rows += 1;
        Ok(())
    }

    /// Rows in it.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether the next row belongs in another object.
    pub fn is_full(&self) -> bool {
        self.text.len() >= BACKUP_PART_BYTES
    }

    /// The text to seal.
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

/// Whether a row's key may follow another one's; `None` before the first.
pub(super) fn follows(before: Option<&[u8]>, key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= RECORD_KEY_MAX_BYTES && before.is_none_or(|before| before < key)
}

/// Rows on their way out of one object's text.
pub struct PartReader {
    text: Vec<u8>,
    at: usize,
}

impl PartReader {
    /// Reads the rows of a part.
    pub fn new(text: Vec<u8>) -> PartReader {
        PartReader { text, at: 0 }
    }

    /// The next rows, about [`FILL_PART_BYTES`] of them; none at the end. `before` is the last key so far, and is moved on.
    ///
    /// # Errors
    /// [`Malformed`] if a row is out of order, cut off, or does not match its checksum.
    pub fn next_rows(&mut self, before: &mut Option<Vec<u8>>) -> Result<Vec<FillRow>, Malformed> {
        let (mut rows, mut taken) = (Vec::new(), 0);
        while taken < FILL_PART_BYTES {
            let Some(key) = frames::take(&self.text, &mut self.at)? else { break };
            let stored = frames::take(&self.text, &mut self.at)?.ok_or(Malformed("a row is cut off"))?;
            if !follows(before.as_deref(), key) {
                return Err(Malformed("a row is out of order"));
            }
            row::check(key, stored).map_err(|_| Malformed("a row does not match its checksum"))?;
            *before = Some(key.to_vec());
            taken += key.len() + stored.len();
            rows.push((key.to_vec(), stored.to_vec()));
        }
        Ok(rows)
    }
}

/// One part in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartEntry {
    /// Size of the object, bytes.
    pub bytes: u64,
    /// SHA-256 of the object as it is stored.
    pub sha256: [u8; 32],
}

/// The list of a snapshot's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullIndex {
    /// The rows show the state at this position.
    pub position: Position,
    /// Number of rows.
    pub rows: u64,
    /// Digest over all rows, as in a fill.
    pub digest: [u8; 32],
    /// Parts, in order.
    pub parts: Vec<PartEntry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PartMessage {
    #[prost(uint64, tag = "1")]
    bytes: u64,
    #[prost(bytes = "vec", tag = "2")]
    sha256: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct IndexMessage {
    #[prost(message, optional, tag = "1")]
    position: Option<wire::Position>,
    #[prost(uint64, tag = "2")]
    rows: u64,
    #[prost(bytes = "vec", tag = "3")]
    digest: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    parts: Vec<PartMessage>,
}

impl FullIndex {
    /// The text to seal.
    pub fn text(&self) -> Vec<u8> {
        let part = |part: &PartEntry| PartMessage { bytes: part.bytes, sha256: part.sha256.to_vec() };
        let message = IndexMessage {
            position: Some(self.position.out()),
            rows: self.rows,
            digest: self.digest.to_vec(),
            parts: self.parts.iter().map(part).collect(),
        };
        message.encode_to_vec()
    }

    /// Reads what [`FullIndex::text`] wrote.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(text: &[u8]) -> Result<FullIndex, Malformed> {
        const BAD: Malformed = Malformed("a list of parts does not decode");
        let message = IndexMessage::decode(text).map_err(|_| BAD)?;
        if message.parts.len() > PARTS_MAX {
            return Err(BAD);
        }
        let part = |part: &PartMessage| {
            let sha256 = part.sha256.as_slice().try_into().map_err(|_| BAD)?;
            Ok(PartEntry { bytes: part.bytes, sha256 })
        };
        Ok(FullIndex {
            position: Position::read(message.position.as_ref()).map_err(|_| BAD)?,
            rows: message.rows,
            digest: message.digest.as_slice().try_into().map_err(|_| BAD)?,
            parts: message.parts.iter().map(part).collect::<Result<_, Malformed>>()?,
        })
    }
}
