//! Things that begin and end by events, as spans. Knows nothing of what they are.

use super::spans::{FOREVER, Spans};
use crate::history::Micros;
use std::collections::BTreeMap;

/// Things that are on or off, by event.
#[derive(Debug)]
pub(super) struct Toggles<K> {
    since: BTreeMap<K, Option<Micros>>,
    spans: BTreeMap<K, Vec<(Micros, Micros)>>,
}

impl<K> Default for Toggles<K> {
    fn default() -> Self {
        Toggles { since: BTreeMap::new(), spans: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Toggles<K> {
    /// Begins, unless it has.
    pub(super) fn on(&mut self, key: K, at: Micros) {
        self.since.entry(key).or_insert(None).get_or_insert(at);
    }

    /// Whether it lasts.
    pub(super) fn is_on(&self, key: &K) -> bool {
        self.since.get(key).is_some_and(Option::is_some)
    }

    /// Ends. `from_start`: if this is the first that is heard of it, it was on since the start of the run.
    pub(super) fn off(&mut self, key: &K, at: Micros, from_start: bool) {
        let since = match self.since.insert(key.clone(), None) {
            None if from_start => Some(0),
            None => None,
            Some(since) => since,
        };
        if let Some(since) = since {
            // A start at 0 still is a start: the moment before is kept, so that recovery follows it.
            let at = if since == 0 { at.max(1) } else { at };
            self.spans.entry(key.clone()).or_default().push((since, at));
        }
    }

    /// All spans; what lasts has no end.
    pub(super) fn spans(mut self) -> BTreeMap<K, Spans> {
        for (key, since) in self.since {
            if let Some(since) = since {
                self.spans.entry(key).or_default().push((since, FOREVER));
            }
        }
        self.spans.into_iter().map(|(key, spans)| (key, Spans::of(spans))).collect()
    }
}
