//! Seeded randomness: one named stream per use, so that turning one use off shifts no other; and the nodes'
//! entropy, whose secret bytes become needles of the secrecy search. Draws nothing from the machine.

use super::{Inner, locked};
use kms::env::{Entropy, Purpose};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    io,
    sync::{Arc, Mutex},
};

/// A named stream of the seed: ChaCha8 keyed with SHA-256(seed || name).
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream `name` of `seed`.
    pub fn new(seed: u64, name: &str) -> Stream {
        let mut input = seed.to_le_bytes().to_vec();
        input.extend_from_slice(name.as_bytes());
        let digest = ring::digest::digest(&ring::digest::SHA256, &input);
        let mut key = [0; 32];
        key.copy_from_slice(digest.as_ref());
        Stream(ChaCha8Rng::from_seed(key))
    }

    /// A number from `low` to `high`, both included; `low` if they cross.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        if low >= high { low } else { self.0.random_range(low..=high) }
    }

    /// True `times` out of `of`.
    pub fn chance(&mut self, times: u64, of: u64) -> bool {
        times > 0 && self.range(1, of.max(1)) <= times
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Random bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        self.0.fill_bytes(buffer);
    }
}

/// The entropy of one life of a node.
pub(super) struct NodeEntropy {
    inner: Arc<Inner>,
    node: usize,
    label: String,
    stream: Mutex<Stream>,
}

impl NodeEntropy {
    pub(super) fn new(inner: &Arc<Inner>, node: usize, label: String) -> NodeEntropy {
        let stream = Mutex::new(Stream::new(inner.seed, &format!("entropy/{label}")));
        NodeEntropy { inner: inner.clone(), node, label, stream }
    }
}

impl Entropy for NodeEntropy {
    fn fill(&self, purpose: Purpose, buffer: &mut [u8]) -> io::Result<()> {
        locked(&self.stream).fill(buffer);
        if purpose == Purpose::Secret {
            locked(&self.inner.secrecy).add(&self.label, buffer);
        }
        let kind = if purpose == Purpose::Secret { "draw-secret" } else { "draw" };
        self.inner.trace(kind, self.node, self.node, buffer.len() as u64, 0, buffer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Stream;

    #[test]
    fn streams_repeat_and_differ_by_name() {
        let draw = |seed, name| Stream::new(seed, name).bits();
        assert_eq!(draw(7, "disk"), draw(7, "disk"));
        assert_ne!(draw(7, "disk"), draw(7, "network"));
        assert_ne!(draw(7, "disk"), draw(8, "disk"));
    }

    #[test]
    fn range_includes_both_ends() {
        let mut stream = Stream::new(1, "range");
        let seen: std::collections::BTreeSet<u64> = (0..200).map(|_| stream.range(3, 5)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(stream.range(9, 2), 9);
    }
}
