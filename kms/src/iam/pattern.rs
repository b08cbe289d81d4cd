//! Texts with `*`, which stands for any run of characters. Resources may end in one only, so that thousands of them are matched with one
//! look at a sorted list.

use std::collections::BTreeSet;

/// Whether `text` is one of those that `pattern` means. Takes no longer than the lengths of both multiplied.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on if what follows the last star does not fit here.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Patterns with a star at their end or none, compiled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endings {
    exact: BTreeSet<String>,
    /// Sorted; none begins with another one.
    prefixes: Vec<String>,
}

impl Endings {
    /// Compiles patterns.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Endings {
        let (mut exact, mut prefixes) = (BTreeSet::new(), BTreeSet::new());
        for pattern in patterns {
            match pattern.strip_suffix('*') {
                Some(prefix) => prefixes.insert(prefix),
                None => exact.insert(pattern.to_owned()),
            };
        }
        let mut kept: Vec<String> = Vec::new();
        for prefix in prefixes {
            if kept.last().is_none_or(|shorter| !prefix.starts_with(shorter.as_str())) {
                kept.push(prefix.to_owned());
            }
        }
        Endings { exact, prefixes: kept }
    }

    /// Whether there is nothing that they mean.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    /// Whether one of them means `text`.
    pub fn mean(&self, text: &str) -> bool {
        if self.exact.contains(text) {
            return true;
        }
        // A prefix of the text is sorted before it, and whatever stands between the two begins with that prefix: nothing does.
        let after = self.prefixes.partition_point(|prefix| prefix.as_str() <= text);
        after.checked_sub(1).is_some_and(|at| text.starts_with(self.prefixes[at].as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a person would write down.
    fn plainly(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skip| plainly(rest, &text[skip..])),
            Some((byte, rest)) => {
                text.split_first().is_some_and(|(first, text)| first == byte && plainly(rest, text))
            }
        }
    }

    proptest! {
        #[test]
        fn stars_mean_what_they_mean(pattern in "[ab*]{0,7}", text in "[ab]{0,9}") {
            prop_assert_eq!(matches(&pattern, &text), plainly(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn compiled_endings_mean_the_same(
            patterns in proptest::collection::vec("[ab/]{0,5}\\*?", 0..12),
            text in "[ab/]{0,7}",
        ) {
            let one = patterns.iter().any(|pattern| matches(pattern, &text));
            let all = Endings::new(patterns.iter().map(String::as_str));
            prop_assert_eq!(all.mean(&text), one);
            prop_assert_eq!(all.is_empty(), patterns.is_empty());
        }
    }
}
