//! A database's log, and the number and id of an epoch, packed into a few bytes: a search holds millions of
//! them. A log is the sequence of commit ids alone; two logs are equal when their (last, hash) would be.

use std::fmt;

/// The commit ids of a log, oldest first, three bits each. Ids are 1 to 7; an empty log is zero.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Log(u16);

impl Log {
    /// Entries that fit.
    pub const MAX: u8 = 5;

    /// All of it as a number.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// How many entries there are.
    pub fn len(self) -> u8 {
        // At most 16 bits: the quotient is at most 5.
        ((16 - self.0.leading_zeros()).div_ceil(3)) as u8
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The first `length` entries.
    pub fn prefix(self, length: u8) -> Log {
        if length >= Log::MAX { self } else { Log(self.0 & ((1 << (3 * length)) - 1)) }
    }

    /// The id at a place from 0, or 0 where there is none.
    pub fn at(self, place: u8) -> u8 {
        if place >= Log::MAX { 0 } else { ((self.0 >> (3 * place)) & 7) as u8 }
    }

    /// The last id; 0 for an empty log.
    pub fn last(self) -> u8 {
        self.len().checked_sub(1).map_or(0, |place| self.at(place))
    }

    /// With one more entry.
    pub fn with(self, id: u8) -> Log {
        debug_assert!(self.len() < Log::MAX, "a log of the model is full");
        Log(self.0 | (u16::from(id) << (3 * self.len())))
    }

    /// Whether this log is a prefix of the other, or equal to it.
    pub fn begins(self, other: Log) -> bool {
        other.prefix(self.len()) == self
    }

    /// Whether one of the two is a prefix of the other.
    pub fn agrees(self, other: Log) -> bool {
        self.begins(other) || other.begins(self)
    }

    /// Whether the id stands in it.
    pub fn holds(self, id: u8) -> bool {
        self.ids().any(|have| have == id)
    }

    /// The ids, oldest first.
    pub fn ids(self) -> impl Iterator<Item = u8> {
        (0..self.len()).map(move |place| self.at(place))
    }

    /// The ids as a set of bits, the lowest for id 1.
    pub fn set(self) -> u8 {
        self.ids().fold(0, |set, id| set | bit(id))
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// The bit of a commit id in a set.
pub fn bit(id: u8) -> u8 {
    1 << (id - 1)
}

/// An epoch: its number, and an id that no other registration has.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u8);

impl Epoch {
    /// The epoch that the region was made with.
    pub const FIRST: Epoch = Epoch(1 << 4);

    /// An epoch of this number and id.
    pub fn new(number: u8, id: u8) -> Epoch {
        Epoch(number << 4 | id)
    }

    /// Number and id as one.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0 >> 4
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())?;
        match self.0 & 15 {
            0 => Ok(()),
            id => write!(f, "{}", char::from(b'a' + id - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_a_list() {
        let log = Log::default().with(3).with(1).with(7);
        assert_eq!(log.ids().collect::<Vec<_>>(), [3, 1, 7]);
        assert_eq!((log.len(), log.last(), log.at(1), log.at(4)), (3, 7, 1, 0));
        assert_eq!(log.prefix(2).ids().collect::<Vec<_>>(), [3, 1]);
        assert!(log.prefix(0).is_empty() && log.prefix(9) == log);
        assert!(log.holds(7) && !log.holds(2));
        assert_eq!(log.set(), 0b100_0101);
        assert_eq!(Log::default().with(4).with(4).with(4).with(4).with(4).len(), 5);
    }

    #[test]
    fn prefixes_agree() {
        let long = Log::default().with(1).with(2);
        assert!(long.prefix(1).begins(long) && !long.begins(long.prefix(1)));
        assert!(long.agrees(long.prefix(1)) && !long.agrees(Log::default().with(2)));
    }

    #[test]
    fn epochs_are_told_apart_by_id() {
        assert_eq!(Epoch::FIRST.number(), 1);
        assert_ne!(Epoch::new(2, 1), Epoch::new(2, 2));
        assert_eq!(format!("{:?} {:?}", Epoch::FIRST, Epoch::new(2, 2)), "1 2b");
    }
}
