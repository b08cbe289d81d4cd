//! What a domain is taken out in: a container that its owner alone can open, byte by byte in docs/export-format.md. A head in clear, which
//! carries the content key encrypted to the owner's public key, then frames, each sealed under a key of its own and bound to all that
//! stands before it. Proves that a container is whole and as whoever knew the content key wrote it; not who that was.

mod head;
mod read;
mod record;
mod seal;
#[cfg(test)]
mod tests;

pub use head::{Head, NewHead, WRAPPING_BITS_MIN, thumbprint};
pub use read::{Reader, Sheet};
pub use record::{Carried, Counts, Key, Record, Secret, SecretConfig, SecretVersion, VersionEntry};
pub use seal::{ContentKey, Frame, Text, open_frame, seal_frame};

use std::io;

/// The format that this build writes; it reads no other.
pub const FORMAT: u16 = 1;
/// What a container begins with.
pub const MAGIC: &[u8; 8] = b"okms-exp";

/// Why a container cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadContainer {
    /// It begins with something else.
    #[error("this is no export of a domain: it does not begin with `okms-exp`")]
    NoContainer,
    /// A later build wrote it.
    #[error("the container is of format {0}, and this program reads up to {FORMAT}: use a newer one")]
    Newer(u16),
    /// The head does not read.
    #[error("the head of the container is damaged: {0}")]
    Head(&'static str),
    /// It is for somebody else.
    #[error(
        "the container is for the key with the thumbprint {wanted}, and the key that was given has {given}"
    )]
    OtherKey {
        /// SHA-256 of the public key that it was made for.
        wanted: String,
        /// That of the key that was given.
        given: String,
    },
    /// The private key is the right one, and what is encrypted to it does not open.
    #[error("the content key does not open: the head of the container was altered")]
    ContentKey,
    /// It ends before its last frame.
    #[error("the container is cut off in frame {0}: it has no end")]
    Truncated(u64),
    /// Something stands behind its last frame.
    #[error("something stands behind the end of the container")]
    Trailing,
    /// A frame does not open in its place.
    #[error("frame {0} was altered, moved, or is another container's: it does not open")]
    Frame(u64),
    /// What opened is not what this format says.
    #[error("frame {frame}, line {line}: {why}")]
    Record {
        /// Which frame.
        frame: u64,
        /// Which line of it, from 1.
        line: usize,
        /// What is wrong; nothing of what stands there.
        why: &'static str,
    },
    /// The disk.
    #[error("it cannot be read: {0}")]
    Disk(#[from] io::Error),
}
