//! Resident memory and processor time of this process, as the kernel counts them.

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

/// Ticks in a second of `/proc/self/stat`, the same on every Linux.
const TICKS_PER_S: f64 = 100.0;

/// Processor time so far, all threads, seconds; 0 where the kernel does not tell. On a busy machine it says more than
/// the time on the wall.
pub fn processor_time(env: &Env) -> f64 {
    stat(env, Path::new("/proc/self/stat")).map_or(0.0, |(_, seconds)| seconds)
}

/// The same of the threads of this name, of those that have not ended; exact to the nanosecond where the kernel tells so much.
pub fn processor_time_of(env: &Env, thread: &str) -> f64 {
    let tasks = Path::new("/proc/self/task");
    let all = env.disk.list(tasks).unwrap_or_default().into_iter().map(|task| tasks.join(task));
    let times = all.filter_map(|task| {
        let (name, in_ticks) = stat(env, &task.join("stat"))?;
        (name == thread).then(|| exact(env, &task.join("schedstat")).unwrap_or(in_ticks))
    });
    times.sum()
}

/// Processor time of a thread, seconds, of what the scheduler counts in nanoseconds.
fn exact(env: &Env, path: &Path) -> Option<f64> {
    let counts = env.disk.read(path).ok().flatten()?;
    let ns: u64 = String::from_utf8_lossy(&counts).split_whitespace().next()?.parse().ok()?;
    Some(ns as f64 / 1e9)
}

/// Name and processor time, seconds, of a process or thread.
fn stat(env: &Env, path: &Path) -> Option<(String, f64)> {
    let stat = env.disk.read(path).ok().flatten()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name may hold anything, in parentheses. After it user and system time are the 12th and 13th.
    let (name, fields) = stat.rsplit_once(')')?;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Some((name.split_once('(')?.1.to_owned(), ticks as f64 / TICKS_PER_S))
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
