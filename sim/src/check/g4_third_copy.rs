//! G4: nobody waits for the third copy, and while its link is well it lags by no more than the bound. What it has is what was
//! committed, in that order and without holes: a loss of the region at any moment loses the newest writes and no others (the half
//! of G5 that a restore cannot mend).
//!
//! Judged from outside: from images of the replica's disk, taken now and then, that hold what would survive a power cut at that
//! moment, and from what clients were told.
//!
//! Does not check: what the records hold (they are sealed), activations and deactivations (they may change nothing, and then
//! write nothing; where they do, or a write of unknown outcome does, a later write of the same key that is missing is not seen), who else is told what by the replica, lag while the link or a database is not well.

use super::{
    CheckInput, FaultOf, OtherFault, region_loss::RegionLoss, spans::Spans, subject, timeline::Timeline,
    toggles::Toggles,
};
use crate::{
    history::{Call, DiskImage, Micros, Op, Outcome, What},
    report::Verdict,
};
use kms::limits::ms;
use std::collections::{BTreeMap, BTreeSet};

/// Judges. What a lost region may have taken with it is asked of nobody in `kept`.
pub fn check(input: &CheckInput<'_>, kept: &CheckInput<'_>, timeline: &Timeline) -> Verdict {
    let mut verdict = Verdict::new("G4", "g4_third_copy");
    if !input.topology.nodes.keys().any(|name| input.topology.is_replica(name)) {
        return verdict;
    }
    // Nobody feeds it before the region is there again.
    let anew = timeline.made_anew().extended(finds_again(input));
    let troubled = Spans::union([&feed_troubled(input), &anew]);
    nobody_waits(input, timeline, &mut verdict);
    let input = kept;
    let void_from = RegionLoss::of(input).and_then(|loss| loss.replica_is_void_from());
    let writes = Writes::of(input);
    let (mut lags, mut seen) = (Vec::new(), BTreeMap::new());
    for image in &input.history.copies {
        verdict.count("images", 1);
        if let Some(why) = &image.unreadable {
            let text = format!("the replica's disk at {} ms: {why}", image.acknowledged_before / 1000);
            verdict.broken("unreadable-image", &[], text);
            continue;
        }
        lag(input, &troubled, &writes, image, &mut verdict);
        in_order(&writes, image, &mut verdict);
        nothing_else(input, image, void_from, &mut verdict);
        lags.extend(writes.came(image, &mut seen, &troubled));
    }
    verdict.spans("lag", lags);
    verdict
}

/// When the replica, one of the databases, or a link between them is not well, with the time that it takes to find each other
/// again, and what there is to make up for.
pub(super) fn feed_troubled(input: &CheckInput<'_>) -> Spans {
    let of_feed = |name: &str| input.topology.is_replica(name) || input.topology.is_database(name);
    troubles(input, of_feed, |_, _| true, |fault| fault.of != FaultOf::Stores, Micros::MAX)
        .extended(finds_again(input))
}

/// The same, as far as it had begun before `at`.
pub(super) fn troubled_before(input: &CheckInput<'_>, at: Micros) -> Spans {
    let of_feed = |name: &str| input.topology.is_replica(name) || input.topology.is_database(name);
    let before = |fault: &OtherFault| fault.of != FaultOf::Stores && fault.from < at;
    troubles(input, of_feed, |_, _| true, before, at).extended(finds_again(input))
}

/// When a node of these, such a link between databases and the replica, or something that a fault has no event for, is not well.
pub(super) fn troubles(
    input: &CheckInput<'_>,
    of_these: impl Fn(&str) -> bool,
    of_links: impl Fn(&str, &str) -> bool,
    other: impl Fn(&OtherFault) -> bool,
    before: Micros,
) -> Spans {
    let of_feed = |name: &str| input.topology.is_replica(name) || input.topology.is_database(name);
    let (mut nodes, mut links) = (Toggles::default(), Toggles::default());
    for event in input.history.events.iter().filter(|event| event.at < before) {
        let at = event.at;
        match &event.what {
            What::Down { node, .. } | What::Exited { node, .. } | What::Paused { node } if of_these(node) => {
                nodes.on(node.clone(), at);
            }
            What::Up { node } | What::Resumed { node } if of_these(node) => nodes.off(node, at, true),
            What::Cut { from, to } if of_feed(from) && of_feed(to) && of_links(from, to) => {
                links.on((from.clone(), to.clone()), at)
            }
            What::Joined { from, to } => links.off(&(from.clone(), to.clone()), at, false),
            _ => {}
        }
    }
    let (nodes, links) = (nodes.spans(), links.spans());
    let others = input
        .other_faults
        .iter()
        .filter(|fault| other(fault))
        .map(|fault| (fault.from, fault.until.unwrap_or(Micros::MAX)));
    let others = Spans::of(others);
    Spans::union(nodes.values().chain(links.values()).chain([&others]))
}

/// A source is found to be silent, another one is connected to, and what was written meanwhile is taken.
fn finds_again(input: &CheckInput<'_>) -> Micros {
    let silence = ms(input.limits.detection_ms * 4);
    let span = silence + input.limits.reunion() * 2;
    u64::try_from(span.as_micros()).unwrap_or(Micros::MAX) + input.bounds.lag_us
}

/// Key writes go on as ever while the replica is away or slow: as many, and as fast.
fn nobody_waits(input: &CheckInput<'_>, timeline: &Timeline, verdict: &mut Verdict) {
    let of_it = |name: &str| input.topology.is_replica(name);
    let links = |from: &str, to: &str| of_it(from) || of_it(to);
    let alone = troubles(input, of_it, links, |fault| fault.of.of_the_third_copy(), Micros::MAX);
    let patience = 1000 * input.limits.stall_ms;
    // A region that comes back refuses for a while on its own account.
    let disturbed = timeline.disturbed().extended(input.bounds.recovery_us);
    let mut took = Vec::new();
    for op in &input.history.ops {
        let end = op.done.unwrap_or(input.history.end);
        let without = alone.covers(op.invoked, end.min(op.invoked + patience));
        if !op.call.is_key_write() || !without || disturbed.touches(op.invoked, end) {
            continue;
        }
        verdict.exercised += 1;
        verdict.count("writes_without_replica", 1);
        let answered = matches!(op.outcome, Outcome::Ok(_) | Outcome::Rejected { .. });
        if answered && end - op.invoked <= patience {
            took.push(end - op.invoked);
        } else {
            let text = format!(
                "op {} was answered {:?} after {} ms although nothing but the replica was away",
                op.id,
                kind(&op.outcome),
                (end - op.invoked) / 1000
            );
            verdict.broken("waited-for-the-replica", &[op.id], text);
        }
    }
    verdict.spans("write_without_replica", took);
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok(_) => "ok",
        Outcome::Rejected { .. } => "rejected",
        Outcome::Refused => "refused",
        Outcome::SaidUnknown | Outcome::Unknown => "unknown",
    }
}

/// Acknowledged writes, by key, in the order of their acknowledgement.
pub(super) struct Writes<'a>(BTreeMap<&'a str, Vec<&'a Op>>);

impl<'a> Writes<'a> {
    pub(super) fn of(input: &CheckInput<'a>) -> Writes<'a> {
        let mut writes: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
        for op in &input.history.ops {
            let counts = matches!(
                op.call,
                Call::Create { .. } | Call::CreateUnnamed { .. } | Call::Rename { .. } | Call::Delete { .. }
            );
            if let (true, Some(_), Outcome::Ok(_), Some(key)) = (counts, op.done, &op.outcome, subject(op)) {
                writes.entry(key).or_default().push(op);
            }
        }
        for ops in writes.values_mut() {
            ops.sort_by_key(|op| op.done);
        }
        Writes(writes)
    }

    /// The first write of each key that was acknowledged by `at` and that the image lacks.
    pub(super) fn missing(&self, image: &DiskImage, at: Micros) -> impl Iterator<Item = &'a Op> {
        self.0.iter().filter_map(move |(key, ops)| {
            // Each write makes one version: the n-th acknowledged needs at least n.
            let stored = usize::try_from(stored(image, key)).unwrap_or(usize::MAX);
            let next = ops.get(stored)?;
            next.done.is_some_and(|done| done <= at).then_some(*next)
        })
    }

    /// How long ago what has come since the image before was acknowledged, if nothing was wrong meanwhile.
    fn came(&self, image: &DiskImage, seen: &mut BTreeMap<&'a str, usize>, troubled: &Spans) -> Vec<Micros> {
        let at = image.acknowledged_before;
        let mut lags = Vec::new();
        for (key, ops) in &self.0 {
            let before = seen.entry(key).or_default();
            let now = usize::try_from(stored(image, key)).unwrap_or(usize::MAX).min(ops.len());
            for op in ops.iter().take(now).skip(*before) {
                // Acknowledged after the image, and in it: it came before it was told to the client.
                let lag = op.done.map_or(0, |done| at.saturating_sub(done));
                if !troubled.touches(at - lag, at) {
                    lags.push(lag);
                }
            }
            *before = (*before).max(now);
        }
        lags
    }
}

fn stored(image: &DiskImage, key: &str) -> u64 {
    image.records.get(key).copied().unwrap_or(0)
}

fn lag(
    input: &CheckInput<'_>,
    troubled: &Spans,
    writes: &Writes<'_>,
    image: &DiskImage,
    verdict: &mut Verdict,
) {
    let at = image.acknowledged_before;
    let due = at.saturating_sub(input.bounds.lag_us);
    if troubled.touches(due, at) {
        return;
    }
    verdict.exercised += 1;
    for op in writes.missing(image, due) {
        let text = format!(
            "op {}, acknowledged {} ms earlier, is not at the replica although its link was well",
            op.id,
            (at - op.done.unwrap_or(at)) / 1000
        );
        verdict.broken("lags", &[op.id], text);
    }
}

/// What is missing is a suffix of the commit order: nothing is there that began after something missing was acknowledged.
pub(super) fn in_order(writes: &Writes<'_>, image: &DiskImage, verdict: &mut Verdict) {
    let Some(hole) = writes.missing(image, image.acknowledged_before).min_by_key(|op| op.done) else {
        return;
    };
    verdict.count("images_of_a_past", 1);
    let acknowledged = hole.done.unwrap_or(Micros::MAX);
    for (key, ops) in &writes.0 {
        let there = usize::try_from(stored(image, key)).unwrap_or(usize::MAX);
        // The create of a key is there if anything of it is. One whose outcome is not known is not among these.
        let created =
            |op: &&&Op| matches!(op.call, Call::Create { .. } | Call::CreateUnnamed { .. }) && there > 0;
        if let Some(first) = ops.first().filter(created)
            && first.invoked > acknowledged
        {
            let text = format!(
                "{} at {} ms has op {}, which began after op {} was acknowledged, and lacks that",
                image.node,
                image.acknowledged_before / 1000,
                first.id,
                hole.id
            );
            verdict.broken("hole", &[first.id, hole.id], text);
            return;
        }
    }
}

/// Nothing is there that was refused, or that the region does not have afterwards.
pub(super) fn nothing_else(
    input: &CheckInput<'_>,
    image: &DiskImage,
    void_from: Option<Micros>,
    verdict: &mut Verdict,
) {
    let mut accepted = BTreeSet::new();
    let mut refused = Vec::new();
    for op in &input.history.ops {
        match (&op.call, &op.outcome) {
            (Call::Create { key, .. }, Outcome::Refused) => refused.push((key.as_str(), op)),
            (Call::Create { key, .. }, _) => {
                accepted.insert(key.as_str());
            }
            // Destroyed keys leave a tombstone: an unknown id is one that was never committed.
            (call, Outcome::Rejected { status: 404, .. })
                if op.invoked > image.acknowledged_before
                    && void_from.is_none_or(|from| image.acknowledged_before > from || op.invoked < from)
                    && call.key().is_some_and(|key| image.records.contains_key(key)) =>
            {
                let text = format!("op {} finds nothing of a key that {} had before", op.id, image.node);
                verdict.broken("never-committed", &[op.id], text);
            }
            _ => {}
        }
    }
    for (key, op) in refused {
        if image.records.contains_key(key) && !accepted.contains(key) {
            let text = format!("op {} was refused, and its key is in {}", op.id, image.node);
            verdict.broken("refused-and-there", &[op.id], text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{
            Topology,
            testing::{Build, MS, S, assert_held, create, kinds, ok_key},
        },
        history::Stop,
        report::Judgement,
    };

    fn judge(build: &Build) -> Verdict {
        let topology = Topology::standard(2, true);
        let input = CheckInput { topology: &topology, ..build.input() };
        check(&input, &input, &Timeline::new(&input))
    }

    /// Two keys, acknowledged at 11 s and 13 s.
    fn two() -> Build {
        let mut build = Build::new();
        build.op(create("k", "n"), 10 * S, 11 * S, ok_key("k", "n", "active"));
        build.op(create("l", "n"), 12 * S, 13 * S, ok_key("l", "n", "active"));
        build
    }

    fn image(build: &mut Build, at: Micros, keys: &[&str]) {
        build.history.copies.push(DiskImage {
            node: "replica".into(),
            down: String::new(),
            acknowledged_before: at,
            records: keys.iter().map(|key| ((*key).to_owned(), 1)).collect(),
            unreadable: None,
        });
    }

    #[test]
    fn without_a_replica_nothing_is_exercised() {
        let build = two();
        let input = build.input();
        assert_eq!(check(&input, &input, &Timeline::new(&input)).judgement(), Judgement::NotExercised);
    }

    #[test]
    fn what_was_acknowledged_longer_ago_than_the_bound_is_there() {
        let mut build = two();
        image(&mut build, 14 * S, &["k"]);
        image(&mut build, 16 * S, &["k", "l"]);
        assert_held(&judge(&build));
        image(&mut build, 17 * S, &["k"]);
        assert_eq!(kinds(&judge(&build)), ["lags"]);
    }

    #[test]
    fn a_replica_that_is_away_may_lag_and_nobody_waits() {
        let mut build = two();
        build.event(9 * S, What::Down { node: "replica".into(), how: Stop::PowerCut });
        build.event(40 * S, What::Up { node: "replica".into() });
        image(&mut build, 20 * S, &[]);
        assert_eq!(kinds(&judge(&build)), ["waited-for-the-replica", "waited-for-the-replica"]);
        let mut build = Build::new();
        build.op(create("k", "n"), 10 * S, 10 * S + 200 * MS, ok_key("k", "n", "active"));
        build.event(9 * S, What::Down { node: "replica".into(), how: Stop::PowerCut });
        image(&mut build, 20 * S, &[]);
        assert_held(&judge(&build));
        build.event(30 * S, What::Up { node: "replica".into() });
        image(&mut build, 50 * S, &[]);
        assert_eq!(kinds(&judge(&build)), ["lags"]);
    }

    #[test]
    fn a_hole_is_a_violation_however_new_it_is() {
        let mut build = two();
        image(&mut build, 13 * S - 100 * MS, &["l"]);
        assert_eq!(kinds(&judge(&build)), ["hole"]);
    }

    #[test]
    fn what_was_refused_or_never_committed_is_not_there() {
        let mut build = Build::new();
        build.op(create("k", "n"), 10 * S, 11 * S, Outcome::Refused);
        image(&mut build, 12 * S, &["k"]);
        assert_eq!(kinds(&judge(&build)), ["refused-and-there"]);
        let mut build = Build::new();
        build.op(create("k", "n"), 10 * S, 11 * S, Outcome::Unknown);
        image(&mut build, 12 * S, &["k"]);
        assert_held(&judge(&build));
        let gone = Outcome::Rejected { status: 404, code: 1 };
        build.op(Call::Get { key: "k".into() }, 13 * S, 14 * S, gone);
        assert_eq!(kinds(&judge(&build)), ["never-committed"]);
    }
}
