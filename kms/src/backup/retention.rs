//! What is to be deleted, as a pure function of a listing and the time. A day's backups stand on objects of that day alone, so
//! a day goes as a whole: once its last backup is 30 days old. Its keys go first, and its manifests only once no key is listed
//! any more: a key whose destruction failed is found again and tried again.
//!
//! Anchors of tombstones go with their day. They are wanted as long as there is a backup of before them; such a backup is of the anchor's
//! day or an earlier one (`anchor.rs` sees to that), and days expire in order, since the last backup of a day is made before any of
//! the next: once an anchor's day goes, no backup of before it can be read.

use super::names::{Day, KEYRING, Name, TOMBSTONES};
use crate::{
    env::{Listed, ObjectName},
    limits::BACKUP_KEEP_MS,
};
use std::collections::BTreeMap;

/// What is to be done, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Day keys to destroy. One that cannot be destroyed is an alarm.
    pub destroy: Vec<ObjectName>,
    /// Other objects to delete.
    pub delete: Vec<ObjectName>,
    /// Objects that nothing of this build made. They are left alone; a person should look.
    pub unknown: Vec<ObjectName>,
    /// Backups that claim to be made after now: somebody's clock is or was wrong. They are kept.
    pub from_future: Vec<ObjectName>,
}

#[derive(Default)]
struct OfDay {
    last_made_ms: Option<u64>,
    keys: Vec<ObjectName>,
    manifests: Vec<ObjectName>,
    others: Vec<ObjectName>,
}

/// When the backups of a day expire, Unix milliseconds: 30 days after the last one was made, or after the day's end if none is
/// listed.
pub fn expires_ms(day: Day, last_made_ms: Option<u64>) -> u64 {
    last_made_ms.unwrap_or(day.ends_ms()).saturating_add(BACKUP_KEEP_MS)
}

/// What to delete at `now_ms`, Unix milliseconds, of what a store lists.
pub fn plan(listed: &[Listed], now_ms: u64) -> Plan {
    let mut plan = Plan::default();
    let mut days: BTreeMap<Day, OfDay> = BTreeMap::new();
    for Listed { name, .. } in listed {
        let Some(read) = Name::read(name) else {
            let beside = [KEYRING, TOMBSTONES].iter().any(|prefix| name.as_str().starts_with(prefix));
            if !beside {
                plan.unknown.push(name.clone());
            }
            continue;
        };
        let of_day = days.entry(read.day()).or_default();
        match read {
            Name::DayKey(..) => of_day.keys.push(name.clone()),
            Name::Manifest(found) => {
                if found.made_ms > now_ms {
                    plan.from_future.push(name.clone());
                }
                of_day.last_made_ms = of_day.last_made_ms.max(Some(found.made_ms));
                of_day.manifests.push(name.clone());
            }
            _ => of_day.others.push(name.clone()),
        }
    }
    for (day, of_day) in days {
        if now_ms < expires_ms(day, of_day.last_made_ms) {
            continue;
        }
        plan.delete.extend(of_day.others);
        if of_day.keys.is_empty() {
            plan.delete.extend(of_day.manifests);
        }
        plan.destroy.extend(of_day.keys);
    }
    plan
}
