//! What became of each object of one store, from the world's events. Judges nothing.

use crate::{
    check::spans::Spans,
    history::{History, Micros, StoreWhat},
};
use kms::{
    backup::{Day, Found, KEYRING, Name, TOMBSTONES},
    env::ObjectName,
};
use std::collections::{BTreeMap, BTreeSet};

/// A put that was given up may still arrive after so long.
pub(super) const ARRIVES_LATE_US: Micros = 25_000_000;

/// One object, from its put to its end. Put again, it is another one.
pub(in crate::check) struct Object<'a> {
    pub name: &'a str,
    /// `None` if it is no part of a backup.
    pub read: Option<Name>,
    pub node: &'a str,
    pub put: Micros,
    pub gone: Option<Micros>,
    /// Whether a node deleted it.
    pub deleted: bool,
    /// When it was altered, or vanished, for good.
    pub hurt: Option<Micros>,
    pub bytes: u64,
}

impl Object<'_> {
    pub fn is_day_key(&self) -> bool {
        matches!(self.read, Some(Name::DayKey(..)))
    }

    pub fn day(&self) -> Option<Day> {
        self.read.map(Name::day)
    }

    /// Whether it is one of those that lie beside the backups.
    pub fn beside(&self) -> bool {
        [KEYRING, TOMBSTONES].iter().any(|prefix| self.name.starts_with(prefix))
    }
}

/// One backup, complete from its put on.
pub(in crate::check) struct Made<'a> {
    pub name: &'a str,
    pub found: Found,
    /// When it was made, as its name says, and not later than it was there.
    pub made: Micros,
    pub put: Micros,
    /// Expired, lost or hurt.
    pub gone: Option<Micros>,
    /// Not listed any more.
    pub unlisted: Option<Micros>,
}

/// Everything of one store.
pub(in crate::check) struct Log<'a> {
    pub place: &'a str,
    pub objects: Vec<Object<'a>>,
    pub manifests: Vec<Made<'a>>,
    /// When everything in it was lost.
    pub lost: Vec<Micros>,
    /// When it did not do what it should, or lost something.
    pub troubled: Spans,
    /// When it did not do what it should, and until everything that was given up has arrived.
    pub flaky: Spans,
}

impl<'a> Log<'a> {
    pub fn of(history: &'a History, place: &'a str) -> Log<'a> {
        let mut log = Log {
            place,
            objects: Vec::new(),
            manifests: Vec::new(),
            lost: Vec::new(),
            troubled: Spans::default(),
            flaky: Spans::default(),
        };
        let mut there: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut hurts, mut troubles, mut since) = (Vec::new(), Vec::new(), None);
        for event in history.stores.iter().filter(|event| event.store == place) {
            let at = event.at;
            match &event.what {
                StoreWhat::Put { node, name, bytes } => {
                    if let Some(before) = there.insert(name, log.objects.len()) {
                        log.objects[before].gone = Some(at);
                    }
                    let read = ObjectName::new(name.as_str()).ok().and_then(|name| Name::read(&name));
                    let (gone, deleted, hurt) = (None, false, None);
                    log.objects.push(Object {
                        name,
                        read,
                        node,
                        put: at,
                        gone,
                        deleted,
                        hurt,
                        bytes: *bytes,
                    });
                }
                StoreWhat::Deleted { name, .. } => {
                    if let Some(index) = there.remove(name.as_str()) {
                        (log.objects[index].gone, log.objects[index].deleted) = (Some(at), true);
                    }
                }
                StoreWhat::Hurt { name, gone } => {
                    if let Some(index) = there.get(name.as_str()).copied() {
                        log.objects[index].hurt.get_or_insert(at);
                        if *gone {
                            log.objects[index].gone = Some(at);
                            there.remove(name.as_str());
                        }
                    }
                    hurts.push((at, at + 1));
                }
                StoreWhat::Lost => {
                    for index in std::mem::take(&mut there).into_values() {
                        log.objects[index].gone = Some(at);
                    }
                    log.lost.push(at);
                    hurts.push((at, at + 1));
                }
                StoreWhat::Troubled => {
                    since.get_or_insert(at);
                }
                StoreWhat::Well => {
                    troubles.extend(since.take().map(|from| (from, at + ARRIVES_LATE_US)));
                }
            }
        }
        troubles.extend(since.map(|from| (from, Micros::MAX)));
        log.flaky = Spans::of(troubles);
        log.troubled = Spans::union([&log.flaky, &Spans::of(hurts)]);
        log.manifests = log.backups(history.wall_from_ms);
        log
    }

    /// The manifests, each once, in order of their puts: a put that is tried again changes nothing.
    fn backups(&self, wall_from_ms: u64) -> Vec<Made<'a>> {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let mut made: Vec<Made<'a>> = Vec::new();
        for object in &self.objects {
            let Some(Name::Manifest(found)) = object.read else { continue };
            let (gone, unlisted) = (object.hurt.or(object.gone), object.gone);
            match seen.get(object.name).copied().map(|index| &mut made[index]) {
                Some(before) if before.unlisted == Some(object.put) => {
                    (before.gone, before.unlisted) = (gone, unlisted);
                }
                _ => {
                    seen.insert(object.name, made.len());
                    let begun = found.made_ms.saturating_sub(wall_from_ms) * 1000;
                    let (name, put) = (object.name, object.put);
                    made.push(Made { name, found, made: begun.min(put), put, gone, unlisted });
                }
            }
        }
        made
    }

    /// From when to when which backup was the newest one there: (from, until, made). Before the first one, the region is new.
    pub fn newest(&self, end: Micros) -> Vec<(Micros, Micros, Micros)> {
        let mut moments: BTreeSet<Micros> = [0, end].into();
        moments.extend(self.manifests.iter().map(|backup| backup.put));
        let hurts = self.manifests.iter().filter_map(|backup| backup.gone);
        moments.extend(hurts);
        let moments: Vec<Micros> = moments.into_iter().filter(|at| *at <= end).collect();
        let mut spans: Vec<(Micros, Micros, Micros)> = Vec::new();
        let mut by_put = self.manifests.iter().peekable();
        let mut there: BTreeSet<(Micros, Micros)> = BTreeSet::new();
        for pair in moments.windows(2) {
            let (from, until) = (pair[0], pair[1]);
            while let Some(backup) = by_put.next_if(|backup| backup.put <= from) {
                there.insert((backup.made, backup.gone.unwrap_or(Micros::MAX)));
            }
            there.retain(|(_, gone)| *gone > from);
            let made = there.last().map_or(0, |(made, _)| *made);
            match spans.last_mut() {
                Some(last) if last.2 == made => last.1 = until,
                _ => spans.push((from, until, made)),
            }
        }
        spans
    }

    /// How many full snapshots were made.
    pub fn snapshots(&self) -> usize {
        self.objects.iter().filter(|object| matches!(object.read, Some(Name::FullIndex(..)))).count()
    }
}
