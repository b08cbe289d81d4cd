//! Who may touch the data directory. Work on a blocking thread goes on when the task that waited for it is dropped;
//! so the right to touch the directory travels with the work and with the open store, and ends with the last
//! of them. What is done with it is not decided here.

use crate::store::engine::Engine;
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The two rights over one data directory.
#[derive(Default)]
pub(super) struct Directory {
    moving: Arc<Mutex<()>>,
    filling: Arc<Mutex<()>>,
}

/// Right to open the stores of the directory, and to move them. Held until the work is done and whoever waits for an open
/// store has it.
pub(super) struct Moving(#[expect(dead_code, reason = "held, not used")] OwnedMutexGuard<()>);

/// Right to what is in `filling`.
pub(super) struct InFilling(#[expect(dead_code, reason = "held, not used")] OwnedMutexGuard<()>);

impl Directory {
    /// Waits until nobody opens or moves a store.
    pub(super) async fn moving(&self) -> Moving {
        Moving(self.moving.clone().lock_owned().await)
    }

    /// Waits until the store that was filled before is closed, work on it that nobody waits for any more included.
    pub(super) async fn filling(&self) -> InFilling {
        InFilling(self.filling.clone().lock_owned().await)
    }

    /// As [`Directory::filling`], if that is so now.
    pub(super) fn filling_now(&self) -> Option<InFilling> {
        self.filling.clone().try_lock_owned().ok().map(InFilling)
    }
}

/// An open store in `filling`. The right ends after the file is closed.
pub(super) struct Filled {
    pub(super) engine: Engine,
    right: InFilling,
}

impl Filled {
    pub(super) fn new(engine: Engine, right: InFilling) -> Filled {
        Filled { engine, right }
    }

    /// The store has been moved out of `filling`: the next fill may begin.
    pub(super) fn moved(self) -> Engine {
        let Filled { engine, right } = self;
        drop(right);
        engine
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ms;
    use std::sync::mpsc;

    #[tokio::test]
    async fn work_that_nobody_waits_for_keeps_its_right_until_it_ends() {
        let (env, directory) = (crate::os::env(), Directory::default());
        let (go, wait) = mpsc::channel::<()>();
        let (filling, moving) = (directory.filling().await, directory.moving().await);
        let work = env.blocking("fill", move || {
            let ended = wait.recv();
            drop((filling, moving));
            ended
        });
        assert!(env.timeout(ms(20), work).await.is_err(), "whoever waited has gone; the work goes on");
        assert!(directory.filling_now().is_none());
        assert!(env.timeout(ms(20), directory.filling()).await.is_err());
        assert!(env.timeout(ms(20), directory.moving()).await.is_err());
        go.send(()).expect("the work waits");
        drop((directory.filling().await, directory.moving().await));
        assert!(directory.filling_now().is_some());
    }
}
