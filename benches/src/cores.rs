//! Which cores of this machine work on what. A replica stands in another region, on a machine of its own: measured on one machine, it has
//! cores of its own.

use kms::env::Env;

/// Cores that threads may be kept to.
#[derive(Debug, Clone)]
pub struct Cores(#[cfg(target_os = "linux")] rustix::thread::CpuSet);

/// A core that nothing of this process is on but what is put there. When this is dropped, all of it may use all cores again.
pub struct Reserved {
    core: Cores,
    all: Cores,
    env: Env,
}

impl Reserved {
    /// Keeps all threads of this process, and those that they start, to all cores but the last; none if there is but one.
    pub fn new(env: &Env) -> Option<Reserved> {
        let all = Cores::all()?;
        let (others, core) = all.one_apart()?;
        others.keep_process(env);
        Some(Reserved { core, all, env: env.clone() })
    }

    /// The core.
    pub fn core(&self) -> &Cores {
        &self.core
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.all.keep_process(&self.env);
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::Cores;
    use kms::env::Env;
    use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
    use std::path::Path;

    impl Cores {
        /// Those that this thread may use; none if the kernel does not tell.
        pub(super) fn all() -> Option<Cores> {
            sched_getaffinity(None).ok().map(Cores)
        }

        /// All but the last, and the last one; none if there is but one.
        pub(super) fn one_apart(&self) -> Option<(Cores, Cores)> {
            let mut others = self.0;
            let last = (0..CpuSet::MAX_CPU).rfind(|core| others.is_set(*core))?;
            let mut apart = CpuSet::new();
            apart.set(last);
            others.unset(last);
            (others.count() > 0).then_some((Cores(others), Cores(apart)))
        }

        /// Keeps this thread to them, and those that it starts from now on.
        ///
        /// # Panics
        /// If the kernel refuses.
        pub fn keep_thread(&self) {
            sched_setaffinity(None, &self.0).expect("cores of this process");
        }

        /// Keeps all threads of this process to them, and those that they start.
        ///
        /// # Panics
        /// If the kernel refuses.
        pub(super) fn keep_process(&self, env: &Env) {
            let tasks = env.disk.list(Path::new("/proc/self/task")).expect("the threads of this process");
            for task in tasks {
                let id = task.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
                // One that has ended meanwhile needs no core.
                let _ = id.map(|id| sched_setaffinity(Some(id), &self.0));
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Cores {
    /// Threads are not kept to cores here.
    fn all() -> Option<Cores> {
        None
    }

    /// None.
    fn one_apart(&self) -> Option<(Cores, Cores)> {
        None
    }

    /// Changes nothing.
    pub fn keep_thread(&self) {}

    /// Changes nothing.
    fn keep_process(&self, _: &Env) {}
}
