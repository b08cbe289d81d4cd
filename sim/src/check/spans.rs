//! Sets of moments as sorted, disjoint, half-open spans of microseconds. No meaning attached.

use crate::history::Micros;

/// Never ends.
pub const FOREVER: Micros = Micros::MAX;

/// A set of moments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans(Vec<(Micros, Micros)>);

impl Spans {
    /// From any spans `[from, until)`, in any order, overlapping or not. Empty ones vanish.
    pub fn of(spans: impl IntoIterator<Item = (Micros, Micros)>) -> Spans {
        let mut sorted: Vec<_> = spans.into_iter().filter(|(from, until)| from < until).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(Micros, Micros)> = Vec::with_capacity(sorted.len());
        for (from, until) in sorted {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(until),
                _ => merged.push((from, until)),
            }
        }
        Spans(merged)
    }

    /// The spans, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Micros, Micros)> + '_ {
        self.0.iter().copied()
    }

    /// Whether it holds no moment.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Moments in any of the sets.
    pub fn union<'a>(sets: impl IntoIterator<Item = &'a Spans>) -> Spans {
        Spans::of(sets.into_iter().flat_map(Spans::iter))
    }

    /// Moments in neither.
    pub fn complement(&self) -> Spans {
        let mut out = Vec::with_capacity(self.0.len() + 1);
        let mut from = 0;
        for (start, end) in self.iter() {
            if from < start {
                out.push((from, start));
            }
            from = end;
        }
        if from < FOREVER {
            out.push((from, FOREVER));
        }
        Spans(out)
    }

    /// Moments in both.
    pub fn intersect(&self, other: &Spans) -> Spans {
        Spans::union([&self.complement(), &other.complement()]).complement()
    }

    /// Each span lasts `by` longer.
    pub fn extended(&self, by: Micros) -> Spans {
        Spans::of(self.iter().map(|(from, until)| (from, until.saturating_add(by))))
    }

    /// The span that holds `at`.
    pub fn at(&self, at: Micros) -> Option<(Micros, Micros)> {
        let index = self.0.partition_point(|(_, until)| *until <= at);
        self.0.get(index).copied().filter(|(from, _)| *from <= at)
    }

    /// Whether `at` is in it.
    pub fn contains(&self, at: Micros) -> bool {
        self.at(at).is_some()
    }

    /// Whether any moment of `[from, to]`, both ends included, is in it.
    pub fn touches(&self, from: Micros, to: Micros) -> bool {
        let index = self.0.partition_point(|(_, until)| *until <= from);
        self.0.get(index).is_some_and(|(start, _)| *start <= to)
    }

    /// Whether every moment of `[from, to]`, both ends included, is in it.
    pub fn covers(&self, from: Micros, to: Micros) -> bool {
        self.at(from).is_some_and(|(_, until)| to < until)
    }

    /// Whether a stretch of at least `length` of it lies inside `[from, to]`.
    pub fn has_stretch(&self, from: Micros, to: Micros, length: Micros) -> bool {
        self.iter().any(|(start, end)| {
            let (start, end) = (start.max(from), end.min(to));
            start < end && end - start >= length
        })
    }

    /// Begins of its spans.
    pub fn starts(&self) -> impl Iterator<Item = Micros> + '_ {
        self.iter().map(|(from, _)| from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn normalises() {
        let spans = Spans::of([(5, 7), (1, 3), (3, 4), (9, 9), (6, 8)]);
        assert_eq!(spans.iter().collect::<Vec<_>>(), [(1, 4), (5, 8)]);
        assert!(Spans::of([(4, 4)]).is_empty());
    }

    #[test]
    fn asks() {
        let spans = Spans::of([(10, 20), (30, FOREVER)]);
        assert!(!spans.contains(9) && spans.contains(10) && spans.contains(19) && !spans.contains(20));
        assert!(spans.touches(5, 10) && !spans.touches(5, 9) && !spans.touches(20, 29));
        assert!(spans.covers(10, 19) && !spans.covers(10, 20) && spans.covers(40, FOREVER - 1));
        assert!(spans.has_stretch(0, 100, 10) && !spans.has_stretch(11, 31, 10));
        assert_eq!(spans.extended(10), Spans::of([(10, FOREVER)]));
    }

    proptest! {
        #[test]
        fn set_algebra(a in spans(), b in spans(), at in 0u64..60) {
            let both = a.intersect(&b);
            let any = Spans::union([&a, &b]);
            prop_assert_eq!(both.contains(at), a.contains(at) && b.contains(at));
            prop_assert_eq!(any.contains(at), a.contains(at) || b.contains(at));
            prop_assert_eq!(a.complement().contains(at), !a.contains(at));
            prop_assert_eq!(a.complement().complement(), a);
        }

        #[test]
        fn ranges(a in spans(), from in 0u64..60, length in 0u64..20) {
            let to = from + length;
            prop_assert_eq!(a.touches(from, to), (from..=to).any(|at| a.contains(at)));
            prop_assert_eq!(a.covers(from, to), (from..=to).all(|at| a.contains(at)));
        }
    }

    fn spans() -> impl Strategy<Value = Spans> {
        proptest::collection::vec((0u64..50, 0u64..10), 0..6)
            .prop_map(|list| Spans::of(list.into_iter().map(|(from, length)| (from, from + length))))
    }
}
