//! What the service may rely on from `kms::env`, as code that runs on every world: the real one and the
//! simulated one must pass the same body. Says nothing of faults, which the real world cannot be asked for.

pub mod clock;
pub mod disk;
pub mod net;
pub mod objects;

use kms::env::{BadName, Elapsed, ObjectError, Panicked};
use std::io;

/// An expectation that did not hold.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// In words.
    #[error("not so: {0}")]
    Expected(&'static str),
    /// An error where none is allowed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// An object store's error where none is allowed.
    #[error(transparent)]
    Store(#[from] ObjectError),
    /// A name that should be one.
    #[error(transparent)]
    Name(#[from] BadName),
    /// It took too long.
    #[error("took too long")]
    Late(#[from] Elapsed),
    /// A task of the test died.
    #[error(transparent)]
    Task(#[from] Panicked),
}

fn expect(holds: bool, what: &'static str) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(Failed::Expected(what)) }
}
