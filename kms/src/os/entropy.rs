//! The operating system's randomness. Makes no difference between purposes: all of it is fit for secrets.

use crate::env::{Entropy, Purpose};
use ring::rand::{SecureRandom, SystemRandom};
use std::io;

pub(super) struct OsEntropy {
    source: SystemRandom,
}

impl OsEntropy {
    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    pub(super) fn new() -> Self {
        OsEntropy { source: SystemRandom::new() }
    }
}

impl Entropy for OsEntropy {
    fn fill(&self, _purpose: Purpose, buffer: &mut [u8]) -> io::Result<()> {
        self.source.fill(buffer).map_err(|_| io::Error::other("the operating system gives no randomness"))
    }
}
