//! Named streams of chance: one per use, each seeded by `SHA-256(seed || name)`, so that taking one away
//! does not shift another. Integers only; refuses floats and empty ranges of weights.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// One named stream of random integers.
#[derive(Debug, Clone)]
pub struct Dice(ChaCha12Rng);

impl Dice {
    /// The stream `name` of the seed.
    pub fn named(seed: u64, name: &str) -> Dice {
        Dice::from_seed(stream_seed(seed, name))
    }

    /// A stream from its own 32-byte seed (see [`stream_seed`]).
    pub fn from_seed(seed: [u8; 32]) -> Dice {
        Dice(ChaCha12Rng::from_seed(seed))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `0..bound`; 0 if `bound` is 0 or 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound < 2 {
            return 0;
        }
        // The largest multiple of `bound` that fits: draws at or above it would favour small values.
        let fair = u64::MAX - u64::MAX % bound;
        loop {
            let draw = self.bits();
            if draw < fair {
                return draw % bound;
            }
        }
    }

    /// Uniform in `low..=high`; `low` if the range is empty.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        match high.saturating_sub(low).checked_add(1) {
            Some(bound) => low + self.below(bound),
            None => self.bits(),
        }
    }

    /// True in `of` out of `out_of` cases.
    pub fn chance(&mut self, of: u64, out_of: u64) -> bool {
        self.below(out_of) < of
    }

    /// One of `items`; `None` if there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let index = usize::try_from(self.below(items.len() as u64)).ok()?;
        items.get(index)
    }

    /// One of `items` by integer weight; `None` if all weights are 0.
    pub fn weighted<'a, T>(
        &mut self,
        items: impl IntoIterator<Item = (&'a T, u32)> + Clone,
    ) -> Option<&'a T> {
        let total: u64 = items.clone().into_iter().map(|(_, weight)| u64::from(weight)).sum();
        if total == 0 {
            return None;
        }
        let mut draw = self.below(total);
        for (item, weight) in items {
            match draw.checked_sub(u64::from(weight)) {
                None => return Some(item),
                Some(rest) => draw = rest,
            }
        }
        None
    }

    /// `length` characters of `a-z0-9`.
    pub fn word(&mut self, length: usize) -> String {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut word = String::with_capacity(length);
        word.extend((0..length).map(|_| char::from(LETTERS[(self.below(36)) as usize])));
        word
    }

    /// A version 4 UUID.
    pub fn uuid(&mut self) -> uuid::Uuid {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

/// The 32-byte seed of the stream `name`.
pub fn stream_seed(seed: u64, name: &str) -> [u8; 32] {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    hash.update(&seed.to_le_bytes());
    hash.update(name.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_apart_and_repeat() {
        let draw = |seed, name| Dice::named(seed, name).bits();
        assert_eq!(draw(1, "faults"), draw(1, "faults"));
        assert_ne!(draw(1, "faults"), draw(1, "workload"));
        assert_ne!(draw(1, "faults"), draw(2, "faults"));
    }

    #[test]
    fn draws_stay_in_range_and_reach_both_ends() {
        let mut dice = Dice::named(7, "test");
        let draws: Vec<u64> = (0..1000).map(|_| dice.between(3, 6)).collect();
        assert_eq!(draws.iter().min(), Some(&3));
        assert_eq!(draws.iter().max(), Some(&6));
        assert_eq!(dice.between(9, 9), 9);
        assert_eq!(dice.between(9, 2), 9);
    }

    #[test]
    fn weights_of_zero_are_never_drawn() {
        let mut dice = Dice::named(7, "test");
        let items = [("a", 0), ("b", 3), ("c", 1)];
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..400 {
            let picked = dice.weighted(items.iter().map(|(item, weight)| (item, *weight)));
            *seen.entry(picked.copied()).or_insert(0) += 1;
        }
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [Some("b"), Some("c")]);
        assert_eq!(dice.weighted([(&1, 0)]), None);
    }
}
