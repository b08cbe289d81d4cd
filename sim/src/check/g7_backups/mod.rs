//! G7: while a store and the replica are well, the store's newest backup is never older than the interval and some; backups lie in the
//! two regions that the documentation names, are made by the replica alone, are numbered without gaps, can be read, hold what
//! was acknowledged before they were made and nothing that was not, and go after 30 days, their keys first.
//!
//! Judged from outside: from what the world saw become of each object of each store, by their names; from backups read in full by the
//! service's own reader out of copies of the stores; and from what clients were told. Each store is judged by itself, so with
//! one of them away the other must go on.
//!
//! Does not check: what records hold (they are sealed), activations and deactivations (as in G4), that a backup can be made a
//! region again, how old backups are while the replica's wall clock is wrong or its disk is being filled anew.

mod contents;
pub(super) mod stores;
#[cfg(test)]
mod tests;

use super::{
    CheckInput, FaultOf,
    g4_third_copy::{feed_troubled, troubles},
    spans::{FOREVER, Spans},
    timeline::Timeline,
};
use crate::{
    history::{Micros, What},
    report::Verdict,
};
use kms::backup::Day;
use std::collections::BTreeMap;
use stores::{Log, Object};

/// How long a backup is kept.
const KEPT_US: Micros = 30 * 86_400_000_000;

/// Where the backups of a region lie, as the documentation says.
pub(super) fn documented(region: &str) -> &'static [&'static str] {
    match region {
        "eu-west-rbx" => &["eu-west-sbg", "eu-west-gra"],
        "eu-west-sbg" => &["eu-west-rbx", "eu-west-gra"],
        _ => &[],
    }
}

/// Judges.
pub fn check(input: &CheckInput<'_>, timeline: &Timeline) -> Verdict {
    let mut verdict = Verdict::new("G7", "g7_backups");
    let Some(region) = input.topology.backups_of.as_deref() else { return verdict };
    // A replica makes backups of an epoch that is known to be active, and of no other: none while the region is made anew of it.
    let anew = timeline.made_anew().extended(input.bounds.recovery_us);
    let maker = Spans::union([&maker_troubled(input), &anew]);
    let logs: BTreeMap<&str, Log<'_>> =
        documented(region).iter().map(|place| (*place, Log::of(input.history, place))).collect();
    right_places(input, documented(region), &mut verdict);
    for (place, log) in &logs {
        let others =
            Spans::union(logs.iter().filter(|(name, _)| *name != place).map(|(_, log)| &log.troubled));
        let judged = Store { input, log, troubled: Spans::union([&maker, &log.troubled]), others };
        judged.young(&mut verdict);
        judged.numbered(&mut verdict);
        judged.made_by_the_replica(&mut verdict);
        judged.kept_and_no_longer(&mut verdict);
        judged.keys_first(&mut verdict);
        judged.figures(&mut verdict);
    }
    let fed = Spans::union([&feed_troubled(input), &anew]);
    contents::check(input, &logs, &fed, &mut verdict);
    verdict
}

/// When the replica cannot be expected to make backups: it is off, or its disk is slow or failing; where a disk of its was lost, also
/// while it cannot be fed.
fn maker_troubled(input: &CheckInput<'_>) -> Spans {
    let lost = |what: &What| matches!(what, What::DiskLost { node } if input.topology.is_replica(node));
    if input.history.events.iter().any(|event| lost(&event.what)) {
        return feed_troubled(input);
    }
    troubles(
        input,
        |name| input.topology.is_replica(name),
        |_: &str, _: &str| false,
        |fault| fault.of == FaultOf::Replica && !fault.what.ends_with("-link"),
        Micros::MAX,
    )
}

fn right_places(input: &CheckInput<'_>, documented: &[&str], verdict: &mut Verdict) {
    for event in &input.history.stores {
        if !documented.contains(&event.store.as_str()) {
            verdict.broken("wrong-region", &[], format!("an object was put into {}", event.store));
            return;
        }
    }
}

/// One store, while it is judged.
struct Store<'a> {
    input: &'a CheckInput<'a>,
    log: &'a Log<'a>,
    /// When no new backup can be expected in it.
    troubled: Spans,
    /// When the other store is not well.
    others: Spans,
}

impl Store<'_> {
    /// Oldest that the newest backup may be.
    fn bound(&self) -> Micros {
        self.input.limits.backup_interval_ms * 1000 + self.input.bounds.backup_slack_us
    }

    /// The newest backup is never too old.
    fn young(&self, verdict: &mut Verdict) {
        let bound = self.bound();
        // Moments before which everything was well for as long as a backup may be old.
        let well = self.troubled.complement();
        let expected = Spans::of(well.iter().map(|(from, until)| (from.saturating_add(bound), until)));
        let mut ages = Vec::new();
        for (from, until, made) in self.log.newest(self.input.history.end) {
            let too_old = Spans::of([(from.max(made.saturating_add(bound)), until)]);
            if let Some(at) = too_old.intersect(&expected).starts().next() {
                let text = format!(
                    "at {} s the newest backup in {} is {} s old, although all was well for {} s",
                    at / 1_000_000,
                    self.log.place,
                    (until.min(self.input.history.end) - made) / 1_000_000,
                    bound / 1_000_000
                );
                verdict.broken("too-old", &[], text);
            }
            if until < self.input.history.end && !self.troubled.touches(made, until) {
                ages.push(until - made);
                verdict.exercised += 1;
                verdict.count("backups_in_time", 1);
                if self.others.touches(made, until) {
                    verdict.count("backups_while_the_other_store_was_away", 1);
                }
            }
        }
        verdict.spans(&format!("age_in_{}", self.log.place.replace('-', "_")), ages);
    }

    /// Numbers rise by one from 1. A number is taken twice only by attempts that somebody gave up.
    fn numbered(&self, verdict: &mut Verdict) {
        let mut broken = |kind: &str, at: Micros, number: u64, highest: u64| {
            let text = format!(
                "backup {number} was put into {} at {} s, and the newest one there was {highest}",
                self.log.place,
                at / 1_000_000
            );
            verdict.broken(kind, &[], text);
        };
        for backup in &self.log.manifests {
            // Of an attempt from before everything was lost.
            if self.log.lost.iter().any(|lost| backup.made < *lost && *lost <= backup.put) {
                continue;
            }
            let before = self.log.manifests.iter().filter(|other| {
                other.put < backup.put
                    && other.unlisted.is_none_or(|gone| gone > backup.made)
                    && !std::ptr::eq(*other, backup)
            });
            let highest = before.map(|other| other.found.number).max().unwrap_or(0);
            let late = self.troubled.touches(backup.put.saturating_sub(self.bound()), backup.put);
            if backup.found.number > highest + 1 {
                broken("number-skipped", backup.put, backup.found.number, highest);
            } else if backup.found.number <= highest && !late {
                broken("number-twice", backup.put, backup.found.number, highest);
            }
        }
    }

    fn made_by_the_replica(&self, verdict: &mut Verdict) {
        for object in &self.log.objects {
            if object.read.is_none() && !object.beside() {
                let text =
                    format!("{} was put into {}: it is no part of a backup", object.name, self.log.place);
                verdict.broken("unknown-object", &[], text);
            }
            if object.read.is_some() && !self.input.topology.is_replica(object.node) {
                let text = format!("{} put {} into {}", object.node, object.name, self.log.place);
                verdict.broken("not-by-the-replica", &[], text);
            }
        }
    }

    /// When the last backup of each day was made.
    fn last_made(&self) -> BTreeMap<Day, Micros> {
        let mut last = BTreeMap::new();
        for backup in &self.log.manifests {
            let made = last.entry(backup.found.day).or_insert(backup.made);
            *made = backup.made.max(*made);
        }
        last
    }

    /// What belongs to a day is there until the day's last backup is 30 days old, and soon after the day is 30 days over it is not.
    fn kept_and_no_longer(&self, verdict: &mut Verdict) {
        // Looked for every hour, after a backup; manifests go at the look after the one at which the keys did.
        let late = self.input.bounds.expiry_us + 2 * self.bound();
        let well = self.troubled.complement();
        let expected = Spans::of(well.iter().map(|(from, until)| (from.saturating_add(late), until)));
        let last = self.last_made();
        let mut expired = std::collections::BTreeSet::new();
        for object in &self.log.objects {
            let Some(day) = object.read.map(|name| name.day()) else { continue };
            let ended = (day.ends_ms().saturating_sub(self.input.history.wall_from_ms)) * 1000;
            let until = object.gone.unwrap_or(self.input.history.end);
            let over = Spans::of([(object.put.max(ended + KEPT_US + late), until)]);
            if let Some(at) = over.intersect(&expected).starts().next() {
                let text = format!("{} is still in {} at {} s", object.name, self.log.place, at / 1_000_000);
                verdict.broken("kept-too-long", &[], text);
            }
            if !object.deleted {
                continue;
            }
            let kept_until = last.get(&day).copied().unwrap_or(ended) + KEPT_US;
            if until < kept_until {
                let text = format!(
                    "{} was deleted from {} at {} s, {} s before its time",
                    object.name,
                    self.log.place,
                    until / 1_000_000,
                    (kept_until - until) / 1_000_000
                );
                verdict.broken("deleted-early", &[], text);
            } else if expired.insert(day) {
                verdict.exercised += 1;
                verdict.count("days_expired", 1);
            }
        }
    }

    /// Nothing of a day is deleted while a key of it is there.
    fn keys_first(&self, verdict: &mut Verdict) {
        let mut keys: BTreeMap<Day, Vec<&Object<'_>>> = BTreeMap::new();
        for object in self.log.objects.iter().filter(|object| object.is_day_key()) {
            keys.entry(object.day().unwrap_or(Day::of(0))).or_default().push(object);
        }
        for object in self.log.objects.iter().filter(|object| object.deleted) {
            let (Some(day), Some(gone)) = (object.day(), object.gone) else { continue };
            if object.is_day_key() {
                verdict.count("day_keys_destroyed", 1);
                continue;
            }
            let there =
                |key: &&&Object<'_>| key.put < gone && key.gone.is_none_or(|destroyed| destroyed > gone);
            // A delete that failed is tried again, and what follows it goes on.
            let late = self.log.troubled.touches(gone.saturating_sub(self.bound()), gone);
            if let Some(key) = keys.get(&day).into_iter().flatten().find(there)
                && !late
            {
                let text = format!("{} is in {} when {} is deleted", key.name, self.log.place, object.name);
                verdict.broken("key-outlives", &[], text);
                return;
            }
        }
    }

    fn figures(&self, verdict: &mut Verdict) {
        let there = |object: &&Object<'_>| object.gone.unwrap_or(FOREVER) > self.input.history.end;
        let bytes: u64 = self.log.objects.iter().filter(there).map(|object| object.bytes).sum();
        let place = self.log.place.replace('-', "_");
        verdict.measures.insert(format!("bytes_in_{place}_max"), bytes as f64);
        verdict.count("backups", self.log.manifests.len() as u64);
        verdict.count("full_snapshots", self.log.snapshots() as u64);
    }
}
