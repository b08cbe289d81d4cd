//! Randomness that says what it is for.

use std::io;

/// What random bytes become. The simulator keeps the secret ones as needles: they must never be found in
/// clear on a disk, on the wire or in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Key material and anything whose disclosure breaks a promise.
    Secret,
    /// Identifiers, nonces, salts, jitter: may be seen by anybody.
    Public,
}

/// The randomness of one node.
pub trait Entropy: Send + Sync {
    /// Fills `buffer` with random bytes.
    ///
    /// # Errors
    /// When the operating system has none to give.
    fn fill(&self, purpose: Purpose, buffer: &mut [u8]) -> io::Result<()>;
}
