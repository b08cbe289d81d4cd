//! Secrets in memory: wiped on drop; cannot be printed, compared, cloned by accident or serialised.

use crate::env::{Env, Purpose};
use std::io;
use zeroize::Zeroize;

/// A secret of fixed length, on the heap so that moves leave no copies behind.
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// All zero: to be filled.
    pub(crate) fn zero() -> Secret<N> {
        Secret(Box::new([0; N]))
    }

    /// Drawn at random.
    ///
    /// # Errors
    /// When there is no randomness to be had.
    pub fn random(env: &Env) -> io::Result<Secret<N>> {
        let mut secret = Secret::zero();
        env.entropy.fill(Purpose::Secret, secret.expose_mut())?;
        Ok(secret)
    }

    /// Copies a secret; `None` if the length differs. The caller wipes the source.
    pub fn copy_from(bytes: &[u8]) -> Option<Secret<N>> {
        let mut secret = Secret::zero();
        (bytes.len() == N).then(|| {
            secret.expose_mut().copy_from_slice(bytes);
            secret
        })
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    pub(crate) fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A secret of any length. Its buffer is never grown in place.
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes over bytes.
    pub fn new(bytes: Vec<u8>) -> SecretBytes {
        SecretBytes(bytes)
    }

    /// Drawn at random.
    ///
    /// # Errors
    /// When there is no randomness to be had.
    pub fn random(env: &Env, len: usize) -> io::Result<SecretBytes> {
        let mut secret = SecretBytes(vec![0; len]);
        env.entropy.fill(Purpose::Secret, &mut secret.0)?;
        Ok(secret)
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Cuts off what is behind `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        if let Some(rest) = self.0.get_mut(len..) {
            rest.zeroize();
        }
        self.0.truncate(len);
    }

    pub(crate) fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// A second copy, where one is really needed.
    #[must_use]
    pub fn duplicate(&self) -> SecretBytes {
        SecretBytes(self.0.clone())
    }

    /// The bytes in a buffer with room for a tag, to be encrypted in place: the same buffer, if it has that room.
    pub(crate) fn into_sealable(mut self) -> Vec<u8> {
        if self.0.capacity() - self.0.len() >= super::TAG_BYTES {
            return std::mem::take(&mut self.0);
        }
        let mut buffer = Vec::with_capacity(self.0.len() + super::TAG_BYTES);
        buffer.extend_from_slice(&self.0);
        buffer
    }

    /// Whether two secrets are equal, in constant time.
    pub fn same(&self, other: &SecretBytes) -> bool {
        super::equal(&self.0, &other.0)
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
