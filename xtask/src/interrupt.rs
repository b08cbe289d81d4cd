//! Ctrl-C and termination: the children of this process are killed, what is known is printed.
//!
//! Children run in process groups of their own, so that a terminal's Ctrl-C reaches this process alone and
//! a run that is being judged is never half killed without our knowing.

use std::collections::BTreeMap;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Children that run now, and whether all is to stop. A handle; clones share the state.
#[derive(Clone, Default)]
pub struct Children {
    stop: Arc<AtomicBool>,
    running: Arc<Mutex<BTreeMap<u32, Running>>>,
}

struct Running {
    child: Child,
    since: Instant,
    overdue: bool,
}

/// How a child ended.
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// Whether it was killed for taking too long.
    pub overdue: bool,
}

impl Children {
    /// The children of this process, which SIGINT and SIGTERM kill. A second signal ends this process at
    /// once.
    pub fn watched() -> Children {
        static WATCHED: OnceLock<Children> = OnceLock::new();
        WATCHED.get_or_init(Children::watch).clone()
    }

    fn watch() -> Children {
        let children = Children::default();
        let handle = children.clone();
        std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            runtime.block_on(async {
                signal().await;
                crate::say::err("interrupted: stopping");
                handle.stop();
                signal().await;
                std::process::exit(130);
            });
        });
        children
    }

    /// Whether all is to stop.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Stops: no child starts any more, those that run are killed.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        for running in self.lock().values_mut() {
            let _ = running.child.kill();
        }
    }

    /// Starts a child and hands its stdout and stderr to `read`, which returns when they are closed.
    ///
    /// # Errors
    /// When it cannot be started, or all is to stop.
    pub fn run<T>(
        &self,
        command: &mut Command,
        read: impl FnOnce(Option<ChildStdout>, Option<ChildStderr>) -> T,
    ) -> std::io::Result<(T, Ended)> {
        std::os::unix::process::CommandExt::process_group(command, 0);
        let mut child = command.spawn()?;
        let id = child.id();
        // The pipes leave the child before it is shared, so that reading holds no lock.
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        self.lock().insert(id, Running { child, since: Instant::now(), overdue: false });
        if self.stopped() {
            self.stop();
        }
        let value = read(stdout, stderr);
        let gone = self.lock().remove(&id);
        match gone {
            Some(mut running) => {
                let status = running.child.wait()?;
                Ok((value, Ended { status, overdue: running.overdue }))
            }
            None => Err(std::io::Error::other("child vanished")),
        }
    }

    /// Kills children that have run for longer than `limit`.
    pub fn kill_overdue(&self, limit: Duration) {
        for running in self.lock().values_mut() {
            if running.since.elapsed() > limit {
                running.overdue = true;
                let _ = running.child.kill();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for SIGINT or SIGTERM.
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    let mut either = std::pin::pin!(interrupt.recv());
    let mut other = std::pin::pin!(terminate.recv());
    std::future::poll_fn(|context| {
        if either.as_mut().poll(context).is_ready() || other.as_mut().poll(context).is_ready() {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
}
