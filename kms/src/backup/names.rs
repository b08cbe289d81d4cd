//! Names of a backup store's objects, and the days they are ordered by. Everything of a day's backups bears the day in its
//! name, so what may be deleted is known from a listing alone.
//!
//! Ids are drawn for each attempt and are part of the names: what arrives late of an attempt that was given up
//! replaces nothing, and no two texts are ever sealed under one name.

use crate::env::ObjectName;
use std::{fmt, str::FromStr};
use time::{Date, Month};
use uuid::Uuid;

/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;
/// 1970-01-01 as a Julian day.
const UNIX_JULIAN: i32 = 2_440_588;
/// Days that are written with four digits of a year.
const DAYS_MAX: u64 = 2_932_896;

/// Where day keys lie.
pub const DAYS: &str = "days/";
/// Where full snapshots lie.
pub const FULL: &str = "full/";
/// Where log segments lie.
pub const LOG: &str = "log/";
/// Where manifests lie.
pub const MANIFEST: &str = "manifest/";
/// Where the sealed domain keys lie: beside the backups, never inside.
pub const KEYRING: &str = "keyring/";
/// What the name of the operator's statement that a domain's service has ended has after that of its key.
pub(super) const ENDED: &str = ".ended";
/// Where the anchors of tombstones lie.
pub const TOMBSTONES: &str = "tombstones/";

/// A day in UTC, counted from 1970-01-01.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(u32);

impl Day {
    /// The day that a wall time, Unix milliseconds, belongs to. Times beyond the year 9999 belong to its last day.
    pub fn of(wall_ms: u64) -> Day {
        Day(u32::try_from((wall_ms / DAY_MS).min(DAYS_MAX)).unwrap_or(u32::MAX))
    }

    /// When it ends and the next one begins, Unix milliseconds.
    pub fn ends_ms(self) -> u64 {
        (u64::from(self.0) + 1) * DAY_MS
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = i32::try_from(self.0).ok().and_then(|days| Date::from_julian_day(UNIX_JULIAN + days).ok());
        match date {
            Some(date) => write!(f, "{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day()),
            None => f.write_str("9999-12-31"),
        }
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a day like 2026-11-26")]
pub struct BadDay;

impl FromStr for Day {
    type Err = BadDay;
    fn from_str(text: &str) -> Result<Day, BadDay> {
        let mut parts = text.split('-');
        let (Some(year), Some(month), Some(day), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadDay);
        };
        let year: i32 = year.parse().map_err(|_| BadDay)?;
        let month: u8 = month.parse().map_err(|_| BadDay)?;
        let month = Month::try_from(month).map_err(|_| BadDay)?;
        let date =
            Date::from_calendar_date(year, month, day.parse().map_err(|_| BadDay)?).map_err(|_| BadDay)?;
        let day = u32::try_from(date.to_julian_day() - UNIX_JULIAN).map(Day).map_err(|_| BadDay)?;
        // One way to write each.
        if day.to_string() == text { Ok(day) } else { Err(BadDay) }
    }
}

/// Names one attempt at one backup.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AttemptId(pub [u8; 16]);

/// Names one key of one day.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DayKeyId(pub [u8; 8]);

/// Names an entry of the log beside its number: the first half of the history hash after it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EntryId(pub [u8; 16]);

/// What an object of a backup store is, by its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Name {
    /// A day key.
    DayKey(Day, DayKeyId),
    /// The list of the parts of a full snapshot: day, position, attempt.
    FullIndex(Day, u64, AttemptId),
    /// A part of it, counted from 0.
    FullPart(Day, u64, AttemptId, u32),
    /// Log entries from one sequence number to another, both included.
    Log(Day, u64, u64, AttemptId),
    /// The manifest of a backup.
    Manifest(Found),
    /// The anchor of an entry's tombstones: day, sequence number, entry.
    Anchor(Day, u64, EntryId),
}

/// A backup as its manifest's name tells of it. Nothing of it is verified.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Found {
    /// Day it belongs to: the one it was made on.
    pub day: Day,
    /// Its number: one more than the one before it in this store.
    pub number: u64,
    /// When it was made, Unix milliseconds.
    pub made_ms: u64,
    /// The attempt that made it.
    pub id: AttemptId,
}

impl Name {
    /// The day it belongs to.
    pub fn day(self) -> Day {
        match self {
            Name::DayKey(day, _)
            | Name::FullIndex(day, ..)
            | Name::FullPart(day, ..)
            | Name::Log(day, ..)
            | Name::Anchor(day, ..)
            | Name::Manifest(Found { day, .. }) => day,
        }
    }

    /// The object's name.
    pub fn object(self) -> ObjectName {
        let text = match self {
            Name::DayKey(day, id) => format!("{DAYS}{day}-{}.key", hex::encode(id.0)),
            Name::FullIndex(day, seq, id) => format!("{FULL}{day}/{seq:020}-{}/index", hex::encode(id.0)),
            Name::FullPart(day, seq, id, part) => {
                format!("{FULL}{day}/{seq:020}-{}/{part:08}", hex::encode(id.0))
            }
            Name::Log(day, first, last, id) => {
                format!("{LOG}{day}/{first:020}-{last:020}-{}", hex::encode(id.0))
            }
            Name::Manifest(Found { day, number, made_ms, id }) => {
                format!("{MANIFEST}{day}/{number:020}-{made_ms:020}-{}", hex::encode(id.0))
            }
            Name::Anchor(day, seq, id) => format!("{TOMBSTONES}{day}/{seq:020}-{}", hex::encode(id.0)),
        };
        ObjectName::new(text).expect("lower case letters, digits and `-./`, below 200 bytes")
    }

    /// Reads a name; `None` for what is no part of a backup.
    pub fn read(name: &ObjectName) -> Option<Name> {
        let read = Name::parse(name.as_str())?;
        // One way to write each.
        (read.object() == *name).then_some(read)
    }

    fn parse(text: &str) -> Option<Name> {
        if let Some(rest) = text.strip_prefix(DAYS) {
            let (day, id) = rest.strip_suffix(".key")?.rsplit_once('-')?;
            return Some(Name::DayKey(day.parse().ok()?, DayKeyId(bytes(id)?)));
        }
        let (kind, rest) = text.split_once('/')?;
        let (day, rest) = rest.split_once('/')?;
        let day = day.parse().ok()?;
        match kind {
            "full" => {
                let (snapshot, part) = rest.split_once('/')?;
                let (seq, id) = snapshot.split_once('-')?;
                let (seq, id) = (seq.parse().ok()?, AttemptId(bytes(id)?));
                Some(match part {
                    "index" => Name::FullIndex(day, seq, id),
                    part => Name::FullPart(day, seq, id, part.parse().ok()?),
                })
            }
            "tombstones" => {
                let (seq, id) = rest.split_once('-')?;
                Some(Name::Anchor(day, seq.parse().ok()?, EntryId(bytes(id)?)))
            }
            "log" | "manifest" => {
                let (first, rest) = rest.split_once('-')?;
                let (second, id) = rest.split_once('-')?;
                let (first, second) = (first.parse().ok()?, second.parse().ok()?);
                let id = AttemptId(bytes(id)?);
                Some(match kind {
                    "log" => Name::Log(day, first, second, id),
                    _ if Day::of(second) != day => return None,
                    _ => Name::Manifest(Found { day, number: first, made_ms: second, id }),
                })
            }
            _ => None,
        }
    }
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// The object of a domain's sealed key.
pub fn keyring(domain: Uuid) -> ObjectName {
    ObjectName::new(format!("{KEYRING}{domain}")).expect("a UUID is lower case letters, digits and `-`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> impl Strategy<Value = Name> {
        let day = 0u32..=DAYS_MAX as u32;
        (day, 0u64.., 0u64.., 0u128.., 0u32.., 0..6).prop_map(|(day, one, other, id, part, kind)| {
            let (day, id) = (Day(day), AttemptId(id.to_be_bytes()));
            match kind {
                0 => Name::DayKey(day, DayKeyId(one.to_be_bytes())),
                1 => Name::FullIndex(day, one, id),
                2 => Name::FullPart(day, one, id, part),
                3 => Name::Log(day, one, other, id),
                4 => Name::Anchor(day, one, EntryId(id.0)),
                _ => {
                    let made_ms = u64::from(day.0) * DAY_MS + other % DAY_MS;
                    Name::Manifest(Found { day, number: one, made_ms, id })
                }
            }
        })
    }

    proptest! {
        #[test]
        fn names_read_back(name in names()) {
            prop_assert_eq!(Name::read(&name.object()), Some(name));
        }

        #[test]
        fn listing_order_is_order_of_making(day in 0u32..100, one in 0u64.., other in 0u64..) {
            let of = |number| {
                let day = Day(day);
                Name::Manifest(Found { day, number, made_ms: 0, id: AttemptId([0; 16]) }).object()
            };
            prop_assert_eq!(of(one).cmp(&of(other)), one.cmp(&other));
        }

        #[test]
        fn noise_is_no_name(text in "(days|full|log|manifest|keyring|tombstones)/[-0-9a-f/.key]{0,60}") {
            if let Ok(name) = ObjectName::new(text)
                && let Some(read) = Name::read(&name)
            {
                prop_assert_eq!(read.object(), name);
            }
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let day = Day::of(1_795_694_400_000);
        assert_eq!(day.to_string(), "2026-11-26");
        assert_eq!(Day::of(day.ends_ms() - 1), day);
        assert_eq!(Day::of(day.ends_ms()).to_string(), "2026-11-27");
        assert_eq!("2024-02-29".parse::<Day>().map(|day| day.to_string()), Ok("2024-02-29".to_owned()));
        assert_eq!(Day::of(u64::MAX).to_string(), "9999-12-31");
        for bad in ["2026-02-29", "2026-1-01", "1969-12-31", "", "2026-11-26-", "+2026-11-26"] {
            assert_eq!(bad.parse::<Day>(), Err(BadDay), "{bad}");
        }
    }
}
