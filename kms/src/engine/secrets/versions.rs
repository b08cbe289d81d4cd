//! The versions of one secret: numbers, dates and states, without their data. Pure, so that it is tested against a plain model.
//! Eight bytes a version: what a secret with 24000 versions has fits in one record. Dates are in seconds.

use super::settings::{SPAN_MAX_S, VERSIONS_MAX};
use crate::container::VersionEntry;

/// The state of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionState {
    /// Its data may be read.
    Active,
    /// Its data may not be read until it is active again.
    Deactivated,
    /// Its data is gone for good.
    Deleted,
}

/// One version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionMeta {
    /// When it was made, Unix seconds.
    pub created_s: u64,
    /// When it was deactivated or will be, Unix seconds.
    pub deactivates_s: Option<u64>,
    /// Whether somebody deactivated it: then it is so at every host, whatever that host's clock says of the date.
    pub off: bool,
    /// Whether its data is gone.
    pub deleted: bool,
}

impl VersionMeta {
    /// Its state at a moment.
    pub fn state(&self, now_s: u64) -> VersionState {
        match (self.deleted, self.off, self.deactivates_s) {
            (true, ..) => VersionState::Deleted,
            (false, true, _) => VersionState::Deactivated,
            (false, false, Some(at)) if at <= now_s => VersionState::Deactivated,
            _ => VersionState::Active,
        }
    }
}

/// One version in the index: when it was made, seconds after the secret; below the two topmost bits, one more than the seconds from
/// then to its deactivation, 0 for none; whether its data is gone; and whether somebody deactivated it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u32, u32);

const DELETED: u32 = 1 << 31;
const OFF: u32 = 1 << 30;
const _: () = assert!(SPAN_MAX_S + 1 < OFF as u64, "a length of time stays below the flags");

/// The versions that are kept, in the order of their numbers, which have no gap.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Versions {
    base_s: u64,
    /// The number of the first one.
    first: u32,
    entries: Vec<Entry>,
}

impl Versions {
    /// None yet; the secret was made at `base_s`.
    pub(super) fn new(base_s: u64) -> Versions {
        Versions { base_s, first: 1, entries: Vec::new() }
    }

    /// The number of the newest version; 0 before the first.
    pub(super) fn current(&self) -> u32 {
        self.first - 1 + self.entries.len() as u32
    }

    /// The number of the oldest version that is kept, once there was an older one; until then 0.
    pub(super) fn oldest(&self) -> u32 {
        if self.first > 1 { self.first } else { 0 }
    }

    /// The numbers of all versions that are kept.
    pub(super) fn numbers(&self) -> std::ops::Range<u32> {
        self.first..self.current() + 1
    }

    fn place(&self, number: u32) -> Option<usize> {
        let place = number.checked_sub(self.first)? as usize;
        (place < self.entries.len()).then_some(place)
    }

    /// A version that is kept.
    pub(super) fn get(&self, number: u32) -> Option<VersionMeta> {
        let Entry(made, rest) = self.entries[self.place(number)?];
        let created_s = self.base_s + u64::from(made);
        let after = (rest & !(DELETED | OFF)).checked_sub(1);
        Some(VersionMeta {
            created_s,
            deactivates_s: after.map(|after| created_s + u64::from(after)),
            off: rest & OFF != 0,
            deleted: rest & DELETED != 0,
        })
    }

    /// Whether a version is kept with its data.
    pub(super) fn has_data(&self, number: u32) -> bool {
        self.get(number).is_some_and(|meta| !meta.deleted)
    }

    fn entry(&self, meta: &VersionMeta) -> Entry {
        let made = u32::try_from(meta.created_s.saturating_sub(self.base_s)).unwrap_or(u32::MAX);
        let after = |at: u64| 1 + at.saturating_sub(meta.created_s).min(SPAN_MAX_S) as u32;
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let flags = flag(meta.deleted, DELETED) | flag(meta.off, OFF);
        Entry(made, meta.deactivates_s.map_or(0, after) | flags)
    }

    fn set(&mut self, number: u32, meta: VersionMeta) -> bool {
        let entry = self.entry(&meta);
        self.place(number).is_some_and(|place| std::mem::replace(&mut self.entries[place], entry) != entry)
    }

    /// Adds the next version, to be deactivated after so many seconds, and leaves room for `keep` versions at most. Numbers up to
    /// `taken` are passed over: they count as deleted. Answers with its number and with those that are dropped; `None` if there are
    /// no numbers left.
    pub(super) fn add(
        &mut self,
        now_s: u64,
        after_s: Option<u64>,
        keep: u32,
        taken: u32,
    ) -> Option<(u32, std::ops::Range<u32>)> {
        let number = self.current().max(taken) + 1;
        if number > VERSIONS_MAX {
            return None;
        }
        let now_s = now_s.max(self.base_s);
        let passed = VersionMeta { created_s: now_s, deactivates_s: None, off: false, deleted: true };
        while self.current() + 1 < number {
            self.entries.push(self.entry(&passed));
        }
        let made = VersionMeta {
            created_s: now_s,
            deactivates_s: after_s.map(|after| now_s + after),
            off: false,
            deleted: false,
        };
        self.entries.push(self.entry(&made));
        let many = self.entries.len().saturating_sub(keep.max(1) as usize);
        self.entries.drain(..many);
        let dropped = self.first..self.first + many as u32;
        self.first = dropped.end;
        Some((number, dropped))
    }

    /// Makes a version active, for good. `false` if nothing changes: it is not there, deleted, or has no end already.
    pub(super) fn activate(&mut self, number: u32) -> bool {
        match self.get(number) {
            Some(meta) if !meta.deleted => {
                self.set(number, VersionMeta { deactivates_s: None, off: false, ..meta })
            }
            _ => false,
        }
    }

    /// Deactivates a version now. `false` if nothing changes: it is not there, deleted, or was deactivated already. One whose time has
    /// come by this host's clock is deactivated all the same: by another's it may not have.
    pub(super) fn deactivate(&mut self, number: u32, now_s: u64) -> bool {
        match self.get(number) {
            Some(meta) if !meta.deleted && !meta.off => {
                let at = meta.deactivates_s.filter(|at| *at <= now_s).unwrap_or(now_s.max(meta.created_s));
                self.set(number, VersionMeta { deactivates_s: Some(at), off: true, ..meta })
            }
            _ => false,
        }
    }

    /// Marks a version as deleted. `false` if nothing changes: it is not there, or is deleted already.
    pub(super) fn delete(&mut self, number: u32) -> bool {
        match self.get(number) {
            Some(meta) => self.set(number, VersionMeta { deleted: true, ..meta }),
            None => false,
        }
    }

    /// As they are taken out of a domain.
    pub(super) fn carried(&self) -> Vec<VersionEntry> {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let carried = |Entry(made, rest): &Entry| {
            let flags =
                flag(rest & OFF != 0, VersionEntry::OFF) | flag(rest & DELETED != 0, VersionEntry::GONE);
            VersionEntry(*made, (rest & !(DELETED | OFF)).checked_sub(1), flags)
        };
        self.entries.iter().map(carried).collect()
    }

    /// Reads what [`Versions::carried`] gave, of somebody who may have written anything.
    pub(super) fn brought(base_s: u64, first: u32, entries: &[VersionEntry]) -> Option<Versions> {
        let last = u64::from(first) + entries.len() as u64;
        let brought = |VersionEntry(made, after, flags): &VersionEntry| {
            let after = match after {
                None => 0,
                Some(after) if u64::from(*after) <= SPAN_MAX_S => after + 1,
                Some(_) => return None,
            };
            let flag = |carried: u8, flag: u32| if flags & carried != 0 { flag } else { 0 };
            let known = flags & !(VersionEntry::OFF | VersionEntry::GONE) == 0;
            let rest = after | flag(VersionEntry::OFF, OFF) | flag(VersionEntry::GONE, DELETED);
            known.then_some(Entry(*made, rest))
        };
        let entries = entries.iter().map(brought).collect::<Option<Vec<_>>>()?;
        let fits = first > 0 && last <= u64::from(VERSIONS_MAX) + 1;
        fits.then_some(Versions { base_s, first, entries })
    }

    /// The index as stored, and the number of the first version.
    pub(super) fn pack(&self) -> (u32, Vec<u8>) {
        let words = self.entries.iter().flat_map(|Entry(made, rest)| [made, rest]);
        (self.first, words.flat_map(|word| word.to_be_bytes()).collect())
    }

    /// Reads what [`Versions::pack`] wrote.
    pub(super) fn unpack(base_s: u64, first: u32, bytes: &[u8]) -> Option<Versions> {
        let (whole, rest) = bytes.as_chunks::<8>();
        let last = u64::from(first) + whole.len() as u64;
        if first == 0 || !rest.is_empty() || last > u64::from(VERSIONS_MAX) + 1 {
            return None;
        }
        let word = |bytes: &[u8]| bytes.try_into().map(u32::from_be_bytes).ok();
        let entries: Option<Vec<_>> =
            whole.iter().map(|bytes| Some(Entry(word(&bytes[..4])?, word(&bytes[4..])?))).collect();
        Some(Versions { base_s, first, entries: entries? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Clone)]
    enum Step {
        Add { after: Option<u64>, keep: u32, skip: u32 },
        Activate(u32),
        Deactivate(u32),
        Delete(u32),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (proptest::option::of(1_u64..100), 0_u32..6, 0_u32..3)
                .prop_map(|(after, keep, skip)| Step::Add { after, keep, skip: skip / 2 }),
            1 => (0_u32..30).prop_map(Step::Activate),
            2 => (0_u32..30).prop_map(Step::Deactivate),
            2 => (0_u32..30).prop_map(Step::Delete),
            1 => (0_u64..50).prop_map(Step::Wait),
        ]
    }

    /// What a person would write down: every number ever, its dates, and whether it is there.
    #[derive(Default)]
    struct Model {
        kept: BTreeMap<u32, VersionMeta>,
        last: u32,
        dropped: bool,
    }

    impl Model {
        fn add(&mut self, now: u64, after: Option<u64>, keep: u32, skip: u32) {
            for n in 0..=skip {
                let deleted = n < skip;
                let end = after.map(|after| now + after).filter(|_| !deleted);
                self.last += 1;
                self.kept.insert(
                    self.last,
                    VersionMeta { created_s: now, deactivates_s: end, off: false, deleted },
                );
            }
            while self.kept.len() > keep.max(1) as usize {
                self.kept.pop_first();
                self.dropped = true;
            }
        }
    }

    proptest! {
        #[test]
        fn versions_live_as_in_the_model(steps in proptest::collection::vec(step(), 1..80)) {
            let mut now = 1_000;
            let (mut real, mut model) = (Versions::new(now), Model::default());
            for step in steps {
                match step {
                    Step::Add { after, keep, skip } => {
                        let before = real.numbers();
                        let (number, dropped) =
                            real.add(now, after, keep, real.current() + skip).expect("numbers left");
                        model.add(now, after, keep, skip);
                        prop_assert_eq!(number, model.last);
                        prop_assert!(dropped.start == before.start && dropped.end == real.numbers().start);
                    }
                    Step::Activate(n) => {
                        real.activate(n);
                        if let Some(meta) = model.kept.get_mut(&n).filter(|meta| !meta.deleted) {
                            (meta.deactivates_s, meta.off) = (None, false);
                        }
                    }
                    Step::Deactivate(n) => {
                        real.deactivate(n, now);
                        if let Some(meta) = model.kept.get_mut(&n).filter(|meta| !meta.deleted && !meta.off) {
                            meta.off = true;
                            meta.deactivates_s = meta.deactivates_s.filter(|at| *at <= now).or(Some(now));
                        }
                    }
                    Step::Delete(n) => {
                        real.delete(n);
                        if let Some(meta) = model.kept.get_mut(&n) {
                            meta.deleted = true;
                        }
                    }
                    Step::Wait(seconds) => now += seconds,
                }
                prop_assert_eq!(real.current(), model.last);
                let oldest = model.kept.first_key_value().map_or(0, |(number, _)| *number);
                prop_assert_eq!(real.oldest(), if model.dropped { oldest } else { 0 });
                for number in 0..model.last + 3 {
                    prop_assert_eq!(real.get(number), model.kept.get(&number).copied());
                }
                let (first, bytes) = real.pack();
                let back = Versions::unpack(1_000, first, &bytes);
                prop_assert!(back == Some(real.clone()), "what was stored reads back");
                let brought = Versions::brought(1_000, first, &real.carried());
                prop_assert!(brought == Some(real.clone()), "what was taken out comes in as it was");
            }
        }

        #[test]
        fn no_stored_bytes_make_it_panic(first in any::<u32>(), bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(versions) = Versions::unpack(5, first, &bytes) {
                for number in versions.numbers() {
                    let _ = versions.get(number);
                }
            }
        }
    }

    #[test]
    fn a_version_whose_time_has_come_is_deactivated_and_can_be_made_active() {
        let mut versions = Versions::new(100);
        versions.add(100, Some(50), 10, 0).expect("added");
        let state = |versions: &Versions, now| versions.get(1).expect("there").state(now);
        assert_eq!(
            (state(&versions, 149), state(&versions, 150)),
            (VersionState::Active, VersionState::Deactivated)
        );
        assert!(versions.deactivate(1, 160), "by another clock it may not be");
        assert_eq!(state(&versions, 149), VersionState::Deactivated);
        assert!(!versions.deactivate(1, 170), "it is already");
        assert_eq!(versions.get(1).and_then(|meta| meta.deactivates_s), Some(150), "since its time came");
        assert!(versions.activate(1));
        assert_eq!(state(&versions, 1_000_000), VersionState::Active);
        assert!(versions.delete(1) && !versions.activate(1) && !versions.delete(1));
    }

    #[test]
    fn what_was_deactivated_is_so_by_every_clock() {
        let mut versions = Versions::new(1_000);
        versions.add(1_300, None, 10, 0).expect("added");
        assert!(versions.deactivate(1, 1_000), "by a clock that is five minutes behind");
        for now in [0, 999, 1_000, 1_299, 1_300, 9_000] {
            assert_eq!(versions.get(1).expect("there").state(now), VersionState::Deactivated, "{now}");
        }
        assert!(versions.activate(1));
        assert_eq!(versions.get(1).expect("there").state(9_000), VersionState::Active);
    }

    #[test]
    fn numbers_end_at_24000_and_the_index_fits() {
        let mut versions = Versions::new(0);
        for n in 1..=VERSIONS_MAX {
            assert_eq!(versions.add(n.into(), None, VERSIONS_MAX, 0).map(|(number, _)| number), Some(n));
        }
        assert_eq!(versions.add(1, None, VERSIONS_MAX, 0), None);
        assert_eq!(versions.pack().1.len(), 192_000);
    }
}
