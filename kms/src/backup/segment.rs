//! Log entries in an object: bytes as they are stored in the log, never encoded again, in order. The hash chain of the log
//! proves them: an entry that is missing, altered or out of place leads to another position.

use super::{Malformed, frames};
use crate::{
    limits::BACKUP_PART_BYTES,
    store::log::{Entry, Position},
};

/// Entries on their way into one object.
pub struct Segment {
    first: u64,
    end: Position,
    text: Vec<u8>,
}

impl Segment {
    /// Takes entries that follow `from`.
    pub fn after(from: Position) -> Segment {
        Segment { first: from.seq.saturating_add(1), end: from, text: Vec::new() }
    }

    /// Takes the next entry, as stored.
    ///
    /// # Errors
    /// [`Malformed`] if it is larger than any can be.
    pub fn add(&mut self, entry: &[u8]) -> Result<(), Malformed> {
        frames::put(&mut self.text, entry)?;
        self.end = self.end.after(entry);
        Ok(())
    }

    /// Sequence number of the first entry.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Position after the last entry.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Whether there is none in it.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether the next entry belongs in another object.
    pub fn is_full(&self) -> bool {
        self.text.len() >= BACKUP_PART_BYTES
    }

    /// The text to seal.
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

/// Entries on their way out of one object's text.
pub struct SegmentReader {
    text: Vec<u8>,
    at: usize,
    position: Position,
}

impl SegmentReader {
    /// Reads entries that follow `from`.
    pub fn new(text: Vec<u8>, from: Position) -> SegmentReader {
        SegmentReader { text, at: 0, position: from }
    }

    /// Position after the last entry read.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// [`Malformed`] if what stands there is not the entry that follows.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Malformed> {
        let Some(bytes) = frames::take(&self.text, &mut self.at)? else { return Ok(None) };
        if self.position.seq == u64::MAX {
            return Err(Malformed("nothing can follow the last position there is"));
        }
        let entry = Entry::decode(self.position, bytes.to_vec())
            .map_err(|_| Malformed("a log entry does not follow the one before it"))?;
        self.position = entry.position;
        Ok(Some(entry))
    }
}
