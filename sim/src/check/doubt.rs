//! Until when a write without a clear outcome keeps its key in doubt. An upper bound: the chain, once whole
//! for the recovery bound, has settled everything that was pending.

use super::{
    CheckInput, end_of, in_doubt,
    spans::{FOREVER, Spans},
    subject,
    timeline::Timeline,
};
use crate::history::Micros;
use std::collections::BTreeMap;

/// When which key was in doubt.
#[derive(Debug, Clone, Default)]
pub struct Doubts {
    by_key: BTreeMap<String, Spans>,
    any: Spans,
}

impl Doubts {
    /// Reads the writes of a run.
    pub fn new(input: &CheckInput<'_>, timeline: &Timeline) -> Doubts {
        let whole = Spans::union([timeline.chain_broken(), &timeline.made_anew()]).complement();
        let recovery = input.bounds.recovery_us;
        let mut spans: BTreeMap<String, Vec<(Micros, Micros)>> = BTreeMap::new();
        let mut all = Vec::new();
        for op in input.history.ops.iter().filter(|op| op.call.is_write() && in_doubt(&op.outcome)) {
            let end = end_of(op, input.history);
            let settled = whole.iter().find_map(|(from, until)| {
                let from = from.max(end);
                (from < until && until - from >= recovery).then(|| from.saturating_add(recovery))
            });
            let span = (op.invoked, settled.unwrap_or(FOREVER));
            all.push(span);
            if let Some(key) = subject(op) {
                spans.entry(key.to_owned()).or_default().push(span);
            }
        }
        let by_key = spans.into_iter().map(|(key, spans)| (key, Spans::of(spans))).collect();
        Doubts { by_key, any: Spans::of(all) }
    }

    /// Whether the key (`None`: any key) was in doubt at some moment of `[from, to]`.
    pub fn touches(&self, key: Option<&str>, from: Micros, to: Micros) -> bool {
        match key {
            Some(key) => self.by_key.get(key).is_some_and(|spans| spans.touches(from, to)),
            None => self.any.touches(from, to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Build, S, rename};
    use crate::history::Outcome;

    #[test]
    fn doubt_lasts_until_the_chain_was_whole_for_long_enough() {
        let mut build = Build::new();
        build.op(rename("k", "x"), 9 * S, 11 * S, Outcome::Unknown);
        build.op(rename("l", "x"), 9 * S, 11 * S, Outcome::Refused);
        build.down("db-b", 10 * S).up("db-b", 20 * S).down("db-b", 22 * S).up("db-b", 30 * S);
        let input = build.input();
        let doubts = Doubts::new(&input, &Timeline::new(&input));
        assert!(doubts.touches(Some("k"), 9 * S, 9 * S) && doubts.touches(Some("k"), 34 * S, 34 * S));
        assert!(!doubts.touches(Some("k"), 35 * S, 36 * S) && !doubts.touches(Some("k"), S, 8 * S));
        assert!(!doubts.touches(Some("l"), 0, 99 * S) && doubts.touches(None, 20 * S, 20 * S));
    }
}
