//! Values that a host keeps while they are used. Bounded in number, in bytes and in idle time; the one that was used longest ago goes first.

use crate::env::Mono;
use std::{collections::BTreeMap, time::Duration};

struct Slot<V> {
    value: V,
    bytes: usize,
    /// The turn that it was used in last, and when that was.
    turn: u64,
    used: Mono,
}

/// Values by key.
pub(super) struct Lru<K, V> {
    slots: BTreeMap<K, Slot<V>>,
    /// By the turn that they were used in last.
    order: BTreeMap<u64, K>,
    turns: u64,
    bytes: usize,
}

impl<K, V> Default for Lru<K, V> {
    fn default() -> Self {
        Lru { slots: BTreeMap::new(), order: BTreeMap::new(), turns: 0, bytes: 0 }
    }
}

impl<K: Ord + Clone, V: Default> Lru<K, V> {
    pub(super) fn has(&self, key: &K) -> bool {
        self.slots.contains_key(key)
    }

    /// A value, used now; made if there is none.
    pub(super) fn used(&mut self, key: &K, now: Mono) -> &mut V {
        self.turns += 1;
        if !self.slots.contains_key(key) {
            let made = Slot { value: V::default(), bytes: 0, turn: 0, used: now };
            self.slots.insert(key.clone(), made);
        }
        let slot = self.slots.get_mut(key).expect("it was there, or was made");
        let named = self.order.remove(&slot.turn).unwrap_or_else(|| key.clone());
        self.order.insert(self.turns, named);
        (slot.turn, slot.used) = (self.turns, now);
        &mut slot.value
    }

    /// A value, not used by that.
    pub(super) fn get(&mut self, key: &K) -> Option<&mut V> {
        self.slots.get_mut(key).map(|slot| &mut slot.value)
    }

    /// Counts what a value takes.
    pub(super) fn weigh(&mut self, key: &K, bytes: usize) {
        if let Some(slot) = self.slots.get_mut(key) {
            self.bytes = self.bytes - slot.bytes + bytes;
            slot.bytes = bytes;
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some(slot) = self.slots.remove(key) {
            self.order.remove(&slot.turn);
            self.bytes -= slot.bytes;
        }
    }

    /// Drops what stands from `first` on, as long as `of` says so.
    pub(super) fn remove_from(&mut self, first: &K, of: impl Fn(&K) -> bool) {
        let all: Vec<K> =
            self.slots.range(first..).map(|(key, _)| key).take_while(|key| of(key)).cloned().collect();
        all.iter().for_each(|key| self.remove(key));
    }

    /// The one that was used longest ago.
    fn oldest(&self) -> Option<&K> {
        self.order.first_key_value().map(|(_, key)| key)
    }

    /// Drops the oldest until no more than so many are left, and so many bytes.
    pub(super) fn fit(&mut self, count: usize, bytes: usize) {
        while (self.slots.len() > count || self.bytes > bytes)
            && let Some(oldest) = self.oldest().cloned()
        {
            self.remove(&oldest);
        }
    }

    /// Drops what was not used for so long.
    pub(super) fn expire(&mut self, now: Mono, idle: Duration) {
        let is_idle = |slot: &Slot<V>| now.since(slot.used) >= idle;
        while let Some(oldest) = self.oldest().filter(|key| self.slots.get(key).is_some_and(is_idle)).cloned()
        {
            self.remove(&oldest);
        }
    }

    /// How many there are, and their bytes.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        assert_eq!(self.order.len(), self.slots.len());
        assert_eq!(self.bytes, self.slots.values().map(|slot| slot.bytes).sum::<usize>());
        (self.slots.len(), self.bytes)
    }
}
