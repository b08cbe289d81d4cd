//! Counts by name, for the profile of a run: how often, and how many bytes. Cheap enough for every event.

use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// Counts of one name.
pub(super) struct Row {
    name: &'static str,
    /// XXH3 of the name.
    pub(super) hash: u64,
    /// How often.
    pub(super) times: u64,
    /// Bytes of all of them.
    pub(super) bytes: u64,
}

/// See the module.
pub(super) struct Tally {
    rows: Vec<Row>,
    /// Rows that were asked for, by a few bits of the address of their names.
    recent: [u8; RECENT],
}

/// A power of two.
const RECENT: usize = 64;

impl Default for Tally {
    fn default() -> Tally {
        Tally { rows: Vec::new(), recent: [0; RECENT] }
    }
}

impl Tally {
    /// Counts once, with `bytes`.
    pub(super) fn count(&mut self, name: &'static str, bytes: usize) -> &Row {
        // There are a few dozen names, mostly literals: the address decides, and equal texts meet in `add_to`.
        let same = |row: &Row| std::ptr::eq(row.name, name);
        let slot = name.as_ptr().addr() % RECENT;
        let recent = usize::from(self.recent[slot]);
        let at = match self.rows.get(recent) {
            Some(row) if same(row) => recent,
            _ => self.rows.iter().position(same).unwrap_or_else(|| {
                self.rows.push(Row { name, hash: xxh3_64(name.as_bytes()), times: 0, bytes: 0 });
                self.rows.len() - 1
            }),
        };
        self.recent[slot] = u8::try_from(at).unwrap_or(0);
        let row = &mut self.rows[at];
        row.times += 1;
        row.bytes += bytes as u64;
        row
    }

    /// Adds `times` and `bytes` per second of `seconds` to the profile.
    pub(super) fn add_to(&self, profile: &mut BTreeMap<String, f64>, what: &str, seconds: f64) {
        for row in &self.rows {
            for (unit, amount) in [("", row.times), (" bytes", row.bytes)] {
                if amount > 0 && seconds > 0.0 {
                    *profile.entry(format!("{what} {}{unit}/s", row.name)).or_default() +=
                        amount as f64 / seconds;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second() {
        let mut tally = Tally::default();
        tally.count("write", 100);
        tally.count("write", 300);
        tally.count("sync", 0);
        let mut profile = BTreeMap::new();
        tally.add_to(&mut profile, "event", 4.0);
        assert_eq!(profile["event write/s"], 0.5);
        assert_eq!(profile["event write bytes/s"], 100.0);
        assert_eq!(profile["event sync/s"], 0.25);
        assert_eq!(profile.len(), 3);
    }
}
