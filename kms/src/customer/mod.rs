//! What a customer's tools do: take a domain out into a file that they alone can read, and bring such a file into a domain. They call the
//! REST interface with a client certificate like any client; no operator has a part in it.

mod client;
mod export;
mod import;

pub use client::{Access, Customer};
pub use export::{Exported, export};
pub use import::{Imported, Mode, Tally, import, verify};

use crate::container::{BadContainer, Counts};
use std::{io, path::PathBuf};

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum CustomerError {
    /// Certificates, keys or addresses that are none.
    #[error("{0}")]
    Usage(String),
    /// No answer for longer than was to be waited.
    #[error("{endpoint} does not answer, or refuses, for too long: {why}. {resume}")]
    Patience {
        /// Who was asked.
        endpoint: String,
        /// What the last attempt came to.
        why: String,
        /// What to do.
        resume: &'static str,
    },
    /// The service said no.
    #[error("{sentence} (status {status}, request {request_id})")]
    Answered {
        /// HTTP status.
        status: u16,
        /// What it says.
        sentence: String,
        /// For the operator, who finds it in the host's log.
        request_id: String,
    },
    /// What came is not what this program knows.
    #[error("the answer is not one that this program understands: {0}")]
    Strange(String),
    /// The container.
    #[error(transparent)]
    Container(#[from] BadContainer),
    /// The file.
    #[error("{0}: {1}")]
    Disk(PathBuf, io::Error),
    /// Something else is where records were to go.
    #[error(
        "{0} records are in the way of what is to come in: nothing was changed. --skip-existing leaves them as they are"
    )]
    Conflicts(u64),
    /// Somebody was faster than the import.
    #[error("{0} records found something else in their place while the import went on; all others are in")]
    Late(u64),
}

/// Who is told how it goes on.
pub trait Progress {
    /// So much is done: what is counted, and bytes of the file.
    fn done(&mut self, what: &'static str, counts: &Counts, bytes: u64);
    /// A record is in the way.
    fn conflict(&mut self, what: &str);
}
