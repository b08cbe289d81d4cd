//! Positions in the log and its entries. An entry is one batch: stored, forwarded and applied whole.

use crate::{
    record::{CommitId, RecordKey, SealedRecord, Transaction},
    store::{
        codec::{self, Malformed},
        epoch::Epoch,
        replacement::Replaced,
    },
    wire::message as wire,
};
use prost::Message;
use ring::digest::{Context, SHA256};
use std::{collections::BTreeMap, fmt};

/// A place in the log, with the hash of all history up to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Sequence number; 0 = before the first entry.
    pub seq: u64,
    /// SHA-256 over the previous hash and the entry's stored bytes; zero at 0.
    pub hash: [u8; 32],
}

impl Position {
    /// Before the first entry.
    pub const ORIGIN: Position = Position { seq: 0, hash: [0; 32] };

    /// Where the log stands after `entry`.
    pub fn after(self, entry: &[u8]) -> Position {
        let mut context = Context::new(&SHA256);
        context.update(&self.hash);
        context.update(entry);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Position { seq: self.seq + 1, hash }
    }

    /// To the wire.
    pub fn out(self) -> wire::Position {
        wire::Position { seq: self.seq, hash: self.hash.to_vec() }
    }

    /// From the wire.
    pub fn read(position: Option<&wire::Position>) -> Result<Position, Malformed> {
        let position = position.ok_or(Malformed("a position is missing"))?;
        Ok(Position { seq: position.seq, hash: codec::hash32(&position.hash)? })
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex::encode(&self.hash[..4]))
    }
}

/// One attempt as it waits, or as it stands in an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its id.
    pub id: CommitId,
    /// What it does.
    pub transaction: Transaction,
}

/// A decoded entry, with the bytes it came from (they are what is hashed and stored; never re-encoded).
#[derive(Debug, Clone)]
pub struct Entry {
    /// Position after this entry.
    pub position: Position,
    /// Position before it.
    pub previous: Position,
    /// The epoch it was written in.
    pub epoch: Epoch,
    /// When the head made it, by its wall clock, Unix milliseconds; 0 if an earlier build did. For people and backups: nothing of
    /// the store is decided by it.
    pub at_ms: u64,
    /// The batch.
    pub batch: Vec<Attempt>,
    /// The statement that another witness is listened to from here on (R17a).
    pub witness: Option<Replaced>,
    /// As stored.
    pub bytes: Vec<u8>,
}

impl Entry {
    /// Makes the entry that follows `previous`, at wall time `at_ms`.
    pub fn new(previous: Position, epoch: Epoch, at_ms: u64, batch: Vec<Attempt>) -> Entry {
        Entry::made(previous, (epoch, at_ms), batch, None)
    }

    /// Makes the entry that follows `previous` and replaces the witness; it changes no record (R17a).
    pub fn replacing(previous: Position, epoch: Epoch, at_ms: u64, witness: Replaced) -> Entry {
        Entry::made(previous, (epoch, at_ms), Vec::new(), Some(witness))
    }

    fn made(
        previous: Position,
        (epoch, at_ms): (Epoch, u64),
        batch: Vec<Attempt>,
        witness: Option<Replaced>,
    ) -> Entry {
        let message = wire::LogEntry {
            seq: previous.seq + 1,
            epoch_no: epoch.no,
            epoch_id: epoch.id.to_vec(),
            batch: batch
                .iter()
                .map(|attempt| wire::Commit {
                    commit_id: attempt.id.0.to_vec(),
                    transaction: Some(codec::transaction_out(&attempt.transaction)),
                })
                .collect(),
            witness: witness.as_ref().map(|witness| witness.signed.clone()),
            at_ms,
        };
        let bytes = message.encode_to_vec();
        Entry { position: previous.after(&bytes), previous, epoch, at_ms, batch, witness, bytes }
    }

    /// Reads the entry that follows `previous`.
    ///
    /// # Errors
    /// `Malformed` if it is not one, or not the next one.
    pub fn decode(previous: Position, bytes: Vec<u8>) -> Result<Entry, Malformed> {
        let message =
            wire::LogEntry::decode(bytes.as_slice()).map_err(|_| Malformed("a log entry does not decode"))?;
        if message.seq != previous.seq + 1 {
            return Err(Malformed("a log entry is not the next one"));
        }
        let attempt = |commit: &wire::Commit| {
            let transaction = commit.transaction.as_ref().ok_or(Malformed("an attempt is empty"))?;
            let id = CommitId(codec::id16(&commit.commit_id)?);
            let transaction = codec::transaction_in(transaction)?;
            transaction.check(id).map_err(|_| Malformed("an attempt in the log is not well formed"))?;
            Ok(Attempt { id, transaction })
        };
        let batch = message.batch.iter().map(attempt).collect::<Result<Vec<_>, Malformed>>()?;
        let epoch = Epoch { no: message.epoch_no, id: codec::id16(&message.epoch_id)? };
        let at_ms = message.at_ms;
        let witness = message.witness.map(Replaced::read).transpose()?;
        Ok(Entry { position: previous.after(&bytes), previous, epoch, at_ms, batch, witness, bytes })
    }

    /// The ids of the attempts in a stored entry.
    ///
    /// # Errors
    /// `Malformed` if it is none.
    pub fn attempts(stored: &[u8]) -> Result<Vec<CommitId>, Malformed> {
        let message = wire::LogEntry::decode(stored).map_err(|_| Malformed("a log entry does not decode"))?;
        message.batch.iter().map(|commit| codec::id16(&commit.commit_id).map(CommitId)).collect()
    }

    /// The tombstones in it: records that it ends for good, as it leaves them, by key.
    pub fn ended(&self) -> BTreeMap<RecordKey, SealedRecord> {
        let mut ended = BTreeMap::new();
        for Attempt { transaction, .. } in &self.batch {
            let put = |key: &RecordKey| transaction.put.iter().find(|(put, _)| put == key).cloned();
            ended.extend(transaction.ends.iter().filter_map(put));
        }
        ended
    }

    /// What the entry does to records: the new record, or `None` for a removal, by key.
    pub fn changes(&self) -> BTreeMap<RecordKey, Option<SealedRecord>> {
        let mut changes = BTreeMap::new();
        for attempt in &self.batch {
            for (key, record) in &attempt.transaction.put {
                changes.insert(key.clone(), Some(record.clone()));
            }
            for key in &attempt.transaction.delete {
                changes.insert(key.clone(), None);
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_entry_is_read_back_and_may_be_absent() {
        let epoch = Epoch { no: 1, id: [1; 16] };
        let entry = Entry::new(Position::ORIGIN, epoch, 1_795_694_400_000, Vec::new());
        let read = Entry::decode(Position::ORIGIN, entry.bytes.clone()).expect("decodes");
        assert_eq!((read.at_ms, read.position), (1_795_694_400_000, entry.position));
        let old = Entry::new(Position::ORIGIN, epoch, 0, Vec::new());
        assert!(old.bytes.len() < entry.bytes.len(), "as an earlier build wrote it");
        assert_eq!(Entry::decode(Position::ORIGIN, old.bytes).map(|entry| entry.at_ms), Ok(0));
    }
}
