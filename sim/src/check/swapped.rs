//! Which keys had stored bytes put in another's place, and since when. The world names stored records by
//! their record keys in hex; a client's key is recognised in one if its id is a part of it, as bytes or as
//! text.

use crate::history::{History, Micros, What};

/// The swaps of a run.
#[derive(Debug, Clone, Default)]
pub struct Swaps {
    /// (when, record key in hex).
    touched: Vec<(Micros, String)>,
}

impl Swaps {
    /// Reads the events of a run.
    pub fn new(history: &History) -> Swaps {
        let touched = history.events.iter().flat_map(|event| match &event.what {
            What::Swapped { keys, .. } => {
                keys.iter().map(|key| (event.at, key.to_ascii_lowercase())).collect::<Vec<_>>()
            }
            _ => Vec::new(),
        });
        Swaps { touched: touched.collect() }
    }

    /// Whether anything was swapped.
    pub fn any(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Whether the key was touched before `until`.
    pub fn touched(&self, key: &str, until: Micros) -> bool {
        let raw: String = key.chars().filter(|c| *c != '-').collect::<String>().to_ascii_lowercase();
        let text = hex::encode(key);
        let names = |record: &str| record == key || record.contains(&raw) || record.contains(&text);
        !key.is_empty() && self.touched.iter().any(|(at, record)| *at <= until && names(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Build, S};

    #[test]
    fn keys_are_recognised_in_record_keys() {
        let mut build = Build::new();
        let id = "0123abcd-0000-4000-8000-00000000cafe";
        let bytes = format!("ff01{}", id.replace('-', ""));
        build.event(S, What::Swapped { node: "db-a".into(), keys: vec![bytes, hex::encode("k/other")] });
        let swaps = Swaps::new(&build.history);
        assert!(swaps.any() && swaps.touched(id, S) && !swaps.touched(id, S - 1));
        assert!(swaps.touched("other", S) && !swaps.touched("0123abcd-0000-4000-8000-00000000caff", S));
    }
}
