//! A node in a thread of its own, with its own runtime and cores: what it does takes nothing from the others.

use crate::{cores::Cores, disk::counted};
use kms::node;
use std::{path::PathBuf, thread::JoinHandle, time::Duration};
use tokio::sync::oneshot;

/// Longer than a benchmark.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// The running node.
pub struct Apart {
    stop: oneshot::Sender<()>,
    /// Hears that the other end is gone.
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Apart {
    /// Starts the node of this `node.toml` on a disk whose syncs take so much longer; it listens when this returns. Its threads have this name.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(name: &str, config: PathBuf, slower: Duration, cores: Option<Cores>) -> Apart {
        let (stop, stopped) = oneshot::channel();
        let (listens, listening) = oneshot::channel();
        let (ends, ended) = oneshot::channel();
        let thread_name = name.to_owned();
        let work = move || {
            let _ends: oneshot::Sender<()> = ends;
            // Its blocking threads are started by this one.
            cores.inspect(Cores::keep_thread);
            let mut builder = tokio::runtime::Builder::new_current_thread();
            // The time of a thread that has ended is counted nowhere.
            builder.thread_name(thread_name).thread_keep_alive(FOR_EVER).enable_all();
            let runtime = builder.build().expect("a runtime");
            runtime.block_on(async {
                let (env, _) = counted(&kms::os::env(), slower);
                let node = node::serve(env, &config).await.expect("a node");
                let _ = listens.send(());
                let _ = stopped.await;
                node.shutdown().await;
            });
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread");
        listening.await.expect("the node listens");
        Apart { stop, ended, thread }
    }

    /// Stops it.
    ///
    /// # Panics
    /// If it panicked.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.ended.await;
        self.thread.join().expect("the node ended well");
    }
}
