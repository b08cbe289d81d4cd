//! Random bytes for the client. Needs no record.

use super::HostService;
use crate::{
    crypto::SecretBytes,
    error::Error,
    iam::{Authorized, action},
};

/// Most bytes in one answer.
pub const RANDOM_MAX_BYTES: u32 = 4096;

impl HostService {
    /// Draws random bytes.
    ///
    /// # Errors
    /// `BadArgument` for a length outside 1 to 4096.
    pub fn random(&self, _may: &Authorized<action::Random>, length: u32) -> Result<SecretBytes, Error> {
        if !(1..=RANDOM_MAX_BYTES).contains(&length) {
            return Err(Error::bad("length must be from 1 to 4096"));
        }
        Ok(SecretBytes::random(&self.env, length as usize)?)
    }
}
