//! The seam on a real machine: tokio, files, the operating system's clocks and randomness. Holds no logic
//! of the service, and is named only by the command line, tests, benches and the crash tool.

mod clock;
mod disk;
mod entropy;
mod net;
mod objects;
mod tasks;

use crate::env::Env;
use std::{io, path::Path, sync::Arc};

/// The world of this process. To be called inside a tokio runtime with I/O and time; tasks of the
/// returned [`Env`] run on that runtime.
///
/// # Panics
/// Outside a tokio runtime.
pub fn env() -> Env {
    let disk = Arc::new(disk::OsDisk);
    Env {
        net: Arc::new(net::OsNet),
        clock: Arc::new(clock::OsClock::new()),
        tasks: Arc::new(tasks::OsTasks::current()),
        entropy: Arc::new(entropy::OsEntropy::new()),
        stores: Arc::new(objects::OsStores { disk: disk.clone() }),
        disk,
    }
}

/// Removes a directory with all that is in it. For one that a command has just made for itself: nodes remove files one by one.
///
/// # Errors
/// The file system's.
pub fn remove_tree(dir: &Path) -> io::Result<()> {
    std::fs::remove_dir_all(dir)
}
