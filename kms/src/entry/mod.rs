//! The entry: passes client connections on to healthy hosts of both zones, byte by byte; while no host can
//! serve, to hosts that at least answer, so that clients hear a refusal instead of nothing. Ends no TLS of
//! clients, holds no key, reads no request; moves no connection from one host to another.

mod health;
mod pass;
pub mod probe;

use crate::{
    config::NodeConfig,
    env::{Env, Listener, Task},
    limits::{Limits, ms},
    wire::tls::NodeTls,
};
use health::{Hosts, Left};
use pass::Traffic;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Pause after an accept that failed (out of file descriptors, usually).
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Why an entry did not start.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The configuration lacks something.
    #[error("an entry needs `{0}` in node.toml")]
    Needs(&'static str),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(String, io::Error),
}

/// A running entry. Dropping it ends it.
pub struct Entry {
    address: String,
    stop: watch::Sender<bool>,
    shared: Arc<Shared>,
    accepting: Task<()>,
    checks: Vec<Task<()>>,
}

struct Shared {
    env: Env,
    hosts: Arc<Hosts>,
    next: AtomicUsize,
    /// Whether the last client had to be turned away: said once, not per client.
    deserted: AtomicBool,
    slots: Arc<Semaphore>,
    limits: Limits,
}

/// Starts an entry; it listens when this returns.
///
/// # Errors
/// [`EntryError`].
pub async fn serve(env: &Env, config: &NodeConfig, tls: Arc<NodeTls>) -> Result<Entry, EntryError> {
    let listen = config.rest_listen.as_deref().ok_or(EntryError::Needs("rest_listen"))?;
    let listener =
        env.net.bind(listen).await.map_err(|error| EntryError::Listen(listen.to_owned(), error))?;
    let address = listener.local_address();
    let hosts = Arc::new(Hosts::new(&config.peers.hosts));
    let checks = (0..hosts.len())
        .map(|host| {
            let check = health::watch(env.clone(), hosts.clone(), host, tls.clone(), config.limits.clone());
            env.spawn("entry health", check).abort_on_drop()
        })
        .collect();
    let shared = Arc::new(Shared {
        env: env.clone(),
        hosts,
        next: AtomicUsize::new(0),
        deserted: AtomicBool::new(false),
        slots: Arc::new(Semaphore::new(config.limits.connections_max as usize)),
        limits: config.limits.clone(),
    });
    let (stop, stopped) = watch::channel(false);
    let accepting = env.spawn("entry accept", accept(shared.clone(), listener, stopped)).abort_on_drop();
    Ok(Entry { address, stop, shared, accepting, checks })
}

impl Entry {
    /// The address clients connect to.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Stops listening, closes every connection, returns once all are closed.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        let _ = (&mut self.accepting).await;
        self.checks.clear();
        // Each open connection holds a slot.
        let _ = self.shared.slots.acquire_many(self.shared.limits.connections_max).await;
    }

    /// Returns if the entry ends by itself; says why.
    pub async fn stopped(&mut self) -> String {
        let _ = (&mut self.accepting).await;
        "the entry's listening task ended".to_owned()
    }
}

async fn accept(shared: Arc<Shared>, mut listener: Box<dyn Listener>, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let (client, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                shared.env.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Over the bound: the client sees a closed connection at once.
        let Ok(slot) = shared.slots.clone().try_acquire_owned() else {
            tracing::warn!(%peer, max = shared.limits.connections_max, "too many connections");
            continue;
        };
        let work = pass_on(shared.clone(), client, stop.clone(), slot);
        drop(shared.env.spawn("entry connection", work));
    }
}

async fn pass_on(
    shared: Arc<Shared>,
    client: crate::env::Stream,
    mut stop: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
) {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = shared.pass_on(client) => {}
    }
}

impl Shared {
    async fn pass_on(&self, client: crate::env::Stream) {
        // Nothing was read from the client yet, so a host that cannot be reached costs it only time.
        for _ in 0..self.hosts.len() {
            let Some(host) = self.choose() else {
                break;
            };
            let left = self.hosts.left(&self.env, host, self.limits.parting());
            let address = self.hosts.address(host);
            let span = ms(self.limits.entry_check_ms);
            match self.env.timeout(span, self.env.net.connect(address)).await {
                Ok(Ok(stream)) => {
                    let traffic = Traffic::new();
                    let leave = async {
                        if left.await == Left::ForBetter {
                            // Nobody hurries: what was asked is answered first, if it is answered at all.
                            let patience = ms(self.limits.entry_check_ms);
                            let _ = self.env.timeout(patience, traffic.rests(&self.env)).await;
                        }
                    };
                    let idle = ms(self.limits.client_idle_ms);
                    tokio::select! {
                        biased;
                        () = leave => {}
                        () = pass::pass(&self.env, client, stream, idle, &traffic) => {}
                    }
                    return;
                }
                Ok(Err(error)) => tracing::debug!(host = address, %error, "host not reached"),
                Err(_) => tracing::debug!(host = address, "host does not answer"),
            }
        }
        if self.choose().is_none() && !self.deserted.swap(true, Ordering::Relaxed) {
            tracing::error!("no host answers: clients are turned away");
        }
    }

    /// The next of the best hosts in turn. The list alternates between the zones, so the connections do.
    fn choose(&self) -> Option<usize> {
        let best = self.hosts.best();
        if best.is_empty() {
            return None;
        }
        self.deserted.store(false, Ordering::Relaxed);
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        Some(best[turn % best.len()])
    }
}
