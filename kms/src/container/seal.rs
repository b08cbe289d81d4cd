//! Frames. Each is sealed by AES-256-GCM under a key derived from the content key and a random salt of its own, so that one that is made
//! twice - the same place, later contents - never shares a key with the other. What is authenticated with it is its number, whether it is
//! the last, and the hash of what stands before it: a frame opens in its place alone.
//!
//! Frame: length of the sealed text (u32, big-endian), flags (u8; 1 for the last), salt (32 bytes), sealed text (text and tag).

use crate::{
    crypto::{Canonical, DoesNotOpen, NONCE_BYTES, SealingKey, Secret, SecretBytes, TAG_BYTES, hkdf_expand},
    env::{Env, Purpose},
    limits::{EXPORT_PAGE_BYTES, EXPORT_TEXT_MAX_BYTES},
};
use serde::Serialize;
use std::io;
use zeroize::Zeroizing;

const NAME: &str = "okms/export-frame/v1";
const SALT_BYTES: usize = 32;
const LAST: u8 = 1;
/// Length, flags, salt.
pub(super) const FRAME_HEAD_BYTES: usize = 4 + 1 + SALT_BYTES;
/// Each frame has a key of its own.
const NONCE: [u8; NONCE_BYTES] = [0; NONCE_BYTES];

/// The key above all frames of a container.
pub struct ContentKey(pub(super) Secret<32>);

impl ContentKey {
    /// A key from 256 bits.
    pub fn new(key: Secret<32>) -> ContentKey {
        ContentKey(key)
    }

    /// Its bits.
    pub fn secret(&self) -> &Secret<32> {
        &self.0
    }

    fn of_frame(&self, salt: &[u8]) -> SealingKey {
        SealingKey::new(&hkdf_expand(&self.0, &[Canonical::new(NAME).add(salt).bytes()]))
    }
}

/// The place of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// From 0.
    pub number: u64,
    /// Whether none follows.
    pub last: bool,
    /// SHA-256 of the frame before it, the first one's of the head.
    pub before: [u8; 32],
}

impl Frame {
    fn bound(&self) -> Canonical {
        Canonical::new(NAME).add(&self.before).add(&self.number.to_be_bytes()).add(&[if self.last {
            LAST
        } else {
            0
        }])
    }
}

/// The text of a frame as it grows: lines of JSON, wiped on drop. Its buffer is never grown, so nothing is left behind in another one.
pub struct Text(Zeroizing<Vec<u8>>);

impl Default for Text {
    fn default() -> Text {
        Text(Zeroizing::new(Vec::with_capacity(EXPORT_TEXT_MAX_BYTES + TAG_BYTES)))
    }
}

impl Text {
    /// Adds a line.
    ///
    /// # Errors
    /// `StorageFull` if the frame would be too large; then it is of no more use.
    pub fn push<T: Serialize>(&mut self, record: &T) -> io::Result<()> {
        serde_json::to_writer(&mut *self, record).map_err(io::Error::other)?;
        io::Write::write_all(self, b"\n")
    }

    /// Whether the frame is to be closed.
    pub fn is_full(&self) -> bool {
        self.0.len() >= EXPORT_PAGE_BYTES
    }
}

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > EXPORT_TEXT_MAX_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Seals the text of a frame.
///
/// # Errors
/// When there is no randomness to be had.
pub fn seal_frame(env: &Env, key: &ContentKey, place: &Frame, mut text: Text) -> io::Result<Vec<u8>> {
    let salt: [u8; SALT_BYTES] = env.random(Purpose::Public)?;
    // Encrypted in its own buffer: nothing of it is left in clear.
    let mut sealed = std::mem::take(&mut *text.0);
    key.of_frame(&salt).seal(NONCE, place.bound().bytes(), &mut sealed);
    let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + sealed.len());
    frame.extend_from_slice(&(sealed.len() as u32).to_be_bytes());
    frame.push(if place.last { LAST } else { 0 });
    frame.extend_from_slice(&salt);
    frame.extend_from_slice(&sealed);
    Ok(frame)
}

/// What the head of a frame says: the length of what follows it, and whether it is the last. `None`: it is none.
pub(super) fn frame_head(head: &[u8; FRAME_HEAD_BYTES]) -> Option<(usize, bool)> {
    let len = head.first_chunk().copied().map(u32::from_be_bytes)? as usize;
    let fits = (TAG_BYTES..=EXPORT_TEXT_MAX_BYTES + TAG_BYTES).contains(&len);
    let last = match head[4] {
        0 => false,
        LAST => true,
        _ => return None,
    };
    fits.then_some((len, last))
}

/// Opens a whole frame.
///
/// # Errors
/// [`DoesNotOpen`] unless it was sealed for this place under this key.
pub fn open_frame(key: &ContentKey, place: &Frame, frame: &[u8]) -> Result<SecretBytes, DoesNotOpen> {
    let (head, sealed) = frame.split_first_chunk::<FRAME_HEAD_BYTES>().ok_or(DoesNotOpen)?;
    if frame_head(head) != Some((sealed.len(), place.last)) {
        return Err(DoesNotOpen);
    }
    let mut text = SecretBytes::new(sealed.to_vec());
    let len = key.of_frame(&head[5..]).open(NONCE, place.bound().bytes(), text.expose_mut())?.len();
    text.truncate(len);
    Ok(text)
}
