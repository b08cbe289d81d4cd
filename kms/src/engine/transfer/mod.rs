//! A whole domain out, and in: everything that its owner has there, sealed to the owner's key. For who was given the right by its full
//! name: `extractable` says what may leave by itself, and an export is of all there is. No operator can ask for it, and none can read it.

mod cursor;
mod export;
mod import;
mod key;

use crate::{dates::rfc3339, error::Error};
use std::time::Duration;

pub use export::{ExportFrom, ExportPage};

/// Moments that come in: some that have a text (RFC 3339).
pub(super) fn check_dates(moments: impl IntoIterator<Item = Duration>) -> Result<(), Error> {
    match moments.into_iter().all(|moment| rfc3339(moment).is_some()) {
        true => Ok(()),
        false => Err(Error::bad("a date is after the year 9999")),
    }
}

/// What became of a record that was brought in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there: it is now, or would be if this were not for trying.
    New,
    /// It is there already, as it is brought in or as it became since.
    Present,
    /// Something else is in its place, or what is left of something destroyed; or the data of a version is missing. Nothing was changed.
    Conflict,
}

impl Outcome {
    /// The word in answers.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::New => "new",
            Outcome::Present => "present",
            Outcome::Conflict => "conflict",
        }
    }
}
