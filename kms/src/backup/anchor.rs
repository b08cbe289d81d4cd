//! Anchors: the tombstones of a log entry, put beside the backups soon after the entry is committed, so that a key which was destroyed stays
//! destroyed when an older backup is restored. A tombstone is a record that an entry ends for good; an anchor is read over what a
//! backup has, whatever that is, since nothing leads back from a tombstone.
//!
//! An anchor is named by its entry, so putting it again changes nothing, and no two texts are ever sealed under one name.

use super::{
    Malformed,
    names::{Day, EntryId, Name, TOMBSTONES},
    place::{BackupPlace, ReadError},
    seal::{self, Kind},
};
use crate::{
    env::ObjectError,
    limits::RECORD_KEY_MAX_BYTES,
    store::{
        codec,
        engine::FillRow,
        epoch::Epoch,
        log::{Entry, Position},
        row,
    },
    wire::message as wire,
};
use prost::Message;

/// An anchor belongs to the day that it is after so long: a backup of before its entry may be named only after it was put, and must
/// not be of a later day, or it would outlive the anchor.
const MARGIN_MS: u64 = 3_600_000;

/// The tombstones of one entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Where the log stands after the entry.
    pub position: Position,
    /// The epoch that it was written in.
    pub epoch: Epoch,
    /// When the head made it, by its wall clock, Unix milliseconds; 0 if that is not known.
    pub at_ms: u64,
    /// Record keys and the tombstones, as they are stored; in key order.
    pub tombstones: Vec<FillRow>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TombstoneMessage {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    row: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnchorMessage {
    #[prost(message, optional, tag = "1")]
    position: Option<wire::Position>,
    #[prost(uint64, tag = "2")]
    epoch_no: u64,
    #[prost(bytes = "vec", tag = "3")]
    epoch_id: Vec<u8>,
    #[prost(uint64, tag = "4")]
    at_ms: u64,
    #[prost(message, repeated, tag = "5")]
    tombstones: Vec<TombstoneMessage>,
}

fn entry_id(position: Position) -> EntryId {
    let mut id = [0; 16];
    id.copy_from_slice(&position.hash[..16]);
    EntryId(id)
}

impl Anchor {
    /// Of an entry; `None` if it ends no record.
    pub fn of(entry: &Entry) -> Option<Anchor> {
        let row = |(key, record): (_, _)| (row::encode(&key, &record), key.0);
        let tombstones: Vec<FillRow> =
            entry.ended().into_iter().map(row).map(|(row, key)| (key, row)).collect();
        let Entry { position, epoch, at_ms, .. } = *entry;
        (!tombstones.is_empty()).then_some(Anchor { position, epoch, at_ms, tombstones })
    }

    /// What names it in every store, whatever the day.
    pub fn id(&self) -> (u64, EntryId) {
        (self.position.seq, entry_id(self.position))
    }

    /// Whether a log that stands at `position`, and whose epochs begin as `epochs` says, has its entry.
    pub fn is_in(&self, epochs: &[(Epoch, Position)], position: Position) -> bool {
        let seq = self.position.seq;
        let written = epochs.iter().rfind(|(_, begins)| begins.seq < seq).map(|(epoch, _)| *epoch);
        seq <= position.seq && written == Some(self.epoch)
    }

    /// The text to seal.
    pub fn text(&self) -> Vec<u8> {
        let message = |(key, row): &FillRow| TombstoneMessage { key: key.clone(), row: row.clone() };
        let message = AnchorMessage {
            position: Some(self.position.out()),
            epoch_no: self.epoch.no,
            epoch_id: self.epoch.id.to_vec(),
            at_ms: self.at_ms,
            tombstones: self.tombstones.iter().map(message).collect(),
        };
        message.encode_to_vec()
    }

    /// Reads what [`Anchor::text`] wrote.
    ///
    /// # Errors
    /// [`Malformed`], also if a tombstone does not match its checksum.
    pub fn read(text: &[u8]) -> Result<Anchor, Malformed> {
        const BAD: Malformed = Malformed("an anchor does not decode");
        let message = AnchorMessage::decode(text).map_err(|_| BAD)?;
        let mut tombstones: Vec<FillRow> = Vec::with_capacity(message.tombstones.len());
        for TombstoneMessage { key, row } in message.tombstones {
            let follows = tombstones.last().is_none_or(|(before, _)| *before < key);
            if key.is_empty() || key.len() > RECORD_KEY_MAX_BYTES || !follows {
                return Err(Malformed("a tombstone is out of order"));
            }
            row::check(&key, &row).map_err(|_| Malformed("a tombstone does not match its checksum"))?;
            tombstones.push((key, row));
        }
        Ok(Anchor {
            position: Position::read(message.position.as_ref()).map_err(|_| BAD)?,
            epoch: Epoch { no: message.epoch_no, id: codec::id16(&message.epoch_id).map_err(|_| BAD)? },
            at_ms: message.at_ms,
            tombstones,
        })
    }
}

/// The newest of listed anchors: of the last day the one with the highest number.
pub fn newest_anchor(anchors: &[Name]) -> Option<Name> {
    anchors.iter().filter(|name| matches!(name, Name::Anchor(..))).max().copied()
}

impl BackupPlace {
    /// Every anchor there is, by name, in order of days and positions.
    ///
    /// # Errors
    /// The store's own.
    pub async fn anchors(&self) -> Result<Vec<Name>, ObjectError> {
        let listed = self.list(TOMBSTONES).await?;
        let names = listed.iter().filter_map(|listed| Name::read(&listed.name));
        Ok(names.filter(|name| matches!(name, Name::Anchor(..))).collect())
    }

    /// Puts an anchor. Putting it again is harmless.
    ///
    /// # Errors
    /// [`ReadError`]: the store's own, or the day's key.
    pub async fn put_anchor(&self, anchor: &Anchor) -> Result<(), ReadError> {
        let day = Day::of(self.env.wall_ms().saturating_add(MARGIN_MS));
        let (key, _) = self.sealing_key(day).await?;
        let (seq, id) = anchor.id();
        let name = Name::Anchor(day, seq, id);
        let object = seal::seal(&key, &self.region, name, Kind::Tombstones, &anchor.text());
        Ok(self.put(name, &object).await?)
    }

    /// Reads an anchor.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn anchor(&self, name: Name) -> Result<Anchor, ReadError> {
        let stored = self.stored(name).await?;
        let text = self.opened(name, Kind::Tombstones, stored).await?;
        let anchor = Anchor::read(&text).map_err(ReadError::malformed(name))?;
        let (seq, id) = anchor.id();
        if !matches!(name, Name::Anchor(_, named, of) if (named, of) == (seq, id)) {
            return Err(ReadError::Damaged { name: name.object(), why: "it is of another entry" });
        }
        Ok(anchor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::{
        expires_ms,
        names::DAY_MS,
        testing::{Fixture, Region, epoch, now},
    };
    use proptest::prelude::*;

    /// A region whose last entry ends the record that it made.
    fn destroyed() -> (Region, Anchor) {
        let mut region = Region::new();
        region.write(50, 7_000);
        region.destroy(8_000);
        let anchor = Anchor::of(region.log.last().expect("an entry")).expect("a tombstone");
        (region, anchor)
    }

    #[test]
    fn an_anchor_is_the_tombstone_as_the_region_stores_it() {
        let (region, anchor) = destroyed();
        assert_eq!(Anchor::of(&region.log[0]), None);
        assert_eq!((anchor.position, anchor.epoch, anchor.at_ms), (region.position(), epoch(1), 8_000));
        let rows: Vec<FillRow> = region.rows.clone().into_iter().collect();
        assert_eq!(anchor.tombstones, rows);
        assert_eq!(Anchor::read(&anchor.text()), Ok(anchor));
    }

    #[test]
    fn put_again_it_is_the_same_object_and_reads_back_elsewhere() {
        let (fixture, (_, anchor)) = (Fixture::new(), destroyed());
        assert_eq!(now(fixture.place.put_anchor(&anchor)), Ok(()));
        let before = fixture.store.lock().objects.clone();
        assert_eq!(now(fixture.elsewhere().put_anchor(&anchor)), Ok(()));
        assert_eq!(fixture.store.lock().objects, before);
        let names = now(fixture.place.anchors()).expect("lists");
        assert_eq!(names.len(), 1);
        assert_eq!(now(fixture.elsewhere().anchor(names[0])), Ok(anchor.clone()));
        // Under another entry's name it does not open.
        let other = Name::Anchor(names[0].day(), 3, anchor.id().1);
        let object = before[&names[0].object()].clone();
        fixture.store.lock().objects.insert(other.object(), object);
        assert!(now(fixture.place.anchor(other)).is_err_and(|error| error.is_of_backup()));
        assert_eq!(now(fixture.place.anchors()).map(|names| newest_anchor(&names)), Ok(Some(other)));
    }

    #[test]
    fn it_is_in_a_log_of_its_epoch_that_reaches_so_far() {
        let (_, anchor) = destroyed();
        let at = |seq| Position { seq, hash: [1; 32] };
        let epochs = [(epoch(1), Position::ORIGIN)];
        assert!(
            anchor.is_in(&epochs, at(2)) && anchor.is_in(&epochs, at(9)) && !anchor.is_in(&epochs, at(1))
        );
        // Made anew of what was there before it: the entry of that number is another one.
        let anew = [(epoch(1), Position::ORIGIN), (epoch(2), at(1))];
        assert!(!anchor.is_in(&anew, at(9)));
        assert!(anchor.is_in(&[(epoch(1), Position::ORIGIN), (epoch(2), at(2))], at(9)));
    }

    #[test]
    fn an_anchor_goes_with_its_day_and_not_before_any_older_backup() {
        let (fixture, (mut region, anchor)) = (Fixture::new(), destroyed());
        // The last moment of a day: the view of a backup is taken before, and its name is of the next day.
        fixture.clock.set(fixture.today().ends_ms() - 1);
        now(fixture.place.put_anchor(&anchor)).expect("put");
        fixture.pass(2);
        let older = now(fixture.place.write(&mut region)).expect("written").found;
        let gone_ms = expires_ms(older.day, Some(older.made_ms));
        let left = |now_ms: u64| {
            now(fixture.place.expire(now_ms)).expect("lists");
            let names = now(fixture.place.anchors()).expect("lists");
            names.iter().filter(|name| now(fixture.elsewhere().anchor(**name)).is_ok()).count()
        };
        assert_eq!(left(gone_ms - 1), 1);
        assert!(now(fixture.elsewhere().verify(older)).is_ok());
        assert_eq!(left(gone_ms), 0, "no backup of before it is left");
        assert!(now(fixture.elsewhere().verify(older)).is_err());
        left(gone_ms + DAY_MS);
        assert_eq!(fixture.store.names(), []);
    }

    proptest! {
        #[test]
        fn noise_is_no_anchor(noise in proptest::collection::vec(proptest::num::u8::ANY, 0..200), at in 0usize.., bit in 0u8..8) {
            let (_, anchor) = destroyed();
            if let Ok(read) = Anchor::read(&noise) {
                prop_assert!(read.tombstones.is_empty());
            }
            let mut altered = anchor.text();
            let at = at % altered.len();
            altered[at] ^= 1 << bit;
            if let Ok(read) = Anchor::read(&altered) {
                prop_assert!(read.tombstones.is_empty() || read.tombstones == anchor.tombstones);
            }
        }
    }
}
