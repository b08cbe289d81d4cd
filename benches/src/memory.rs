//! Resident memory of this process, as the kernel counts it.

use kms::env::{Env, Task};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// Resident bytes now; 0 where the kernel does not tell.
pub fn resident(env: &Env) -> u64 {
    let status = env.disk.read(Path::new("/proc/self/status")).ok().flatten().unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// The most that was resident since it began, looked at every few milliseconds.
pub struct Peak {
    bytes: Arc<AtomicU64>,
    _looking: Task<()>,
}

impl Peak {
    /// Begins.
    pub fn begin(env: &Env) -> Peak {
        let bytes = Arc::new(AtomicU64::new(resident(env)));
        let (own, most) = (env.clone(), bytes.clone());
        let looking = env.spawn("peak memory", async move {
            loop {
                most.fetch_max(resident(&own), Ordering::Relaxed);
                own.sleep(LOOK).await;
            }
        });
        Peak { bytes, _looking: looking.abort_on_drop() }
    }

    /// The most so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
