//! G8: no registered secret was found on a disk, in a backup store, in a crash image, on the wire outside TLS, or in a log.
//!
//! Does not check: secrets that were not registered, encodings that the search does not know (it knows raw,
//! hex and base64), memory of processes. Finds what the world's search reports; searches nothing itself.

use super::CheckInput;
use crate::report::Verdict;

/// Judges.
pub fn check(input: &CheckInput<'_>) -> Verdict {
    let mut verdict = Verdict::new("G8", "g8_sealed_at_rest");
    verdict.count("needles", input.searched.needles);
    for (place, bytes) in &input.searched.bytes {
        verdict.measures.insert(format!("searched_{}_bytes", place.replace('-', "_")), *bytes as f64);
    }
    verdict.measures.insert("searched_in_stores_bytes".to_owned(), input.searched.in_stores as f64);
    if input.searched.needles > 0 {
        verdict.exercised = input.searched.bytes.values().sum();
    }
    for leak in input.leaks {
        let text = format!("a secret ({}) is in clear: {}, {}", leak.label, leak.place, leak.context);
        verdict.broken("in-clear", &[], text);
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{
        Leak,
        testing::{Build, assert_held, kinds},
    };
    use crate::report::Judgement;

    #[test]
    fn without_needles_or_bytes_nothing_was_searched() {
        let mut build = Build::new();
        build.searched.bytes.insert("disk".into(), 100);
        assert_eq!(check(&build.input()).judgement(), Judgement::NotExercised);
        build.searched.needles = 3;
        assert_held(&check(&build.input()));
        build.searched.bytes.clear();
        assert_eq!(check(&build.input()).judgement(), Judgement::NotExercised);
    }

    #[test]
    fn a_leak_is_a_violation() {
        let mut build = Build::new();
        build.leaks.push(Leak { label: "name".into(), place: "disk".into(), context: "db-a store".into() });
        assert_eq!(kinds(&check(&build.input())), ["in-clear"]);
    }
}
