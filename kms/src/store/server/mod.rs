//! A zone database as a node: listens, opens its store, serves hosts, its peer and the operator. A store
//! that fails (I/O error, panic) is closed, opened again and compared anew; a node without a store is Blank
//! and serves nothing: only `kms init` makes stores.

mod connection;
mod head;
mod link;
mod read;
mod tail;
mod view;

use crate::{
    config::NodeConfig,
    env::{Env, Listener, Stream, Task},
    limits::ms,
    store::engine::{Engine, EngineError},
    wire::tls::NodeTls,
};
use connection::Behind;
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde::{Deserialize, Serialize};
use std::{io, sync::Arc};
use tokio::sync::{mpsc, watch};
use view::Shared;

/// What `kms status` shows of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseStatus {
    /// Node id.
    pub node: String,
    /// `head` or `tail`.
    pub role: String,
    /// `member` or `blank`.
    pub phase: String,
    /// Epoch number and id.
    pub epoch: String,
    /// Database id, hex.
    pub db_id: String,
    /// End of the log.
    pub last: u64,
    /// History hash there, hex.
    pub hash: String,
    /// Confirmed index.
    pub confirmed: u64,
    /// Batches in doubt (0 or 1).
    pub in_doubt: u64,
    /// Records stored.
    pub records: u64,
    /// Answers reads.
    pub serving: bool,
    /// Accepts writes.
    pub writable: bool,
    /// The last integrity alarm, if there was one.
    pub alarm: Option<String>,
}

/// A running database node.
pub struct DatabaseNode {
    address: String,
    stop: watch::Sender<bool>,
    task: Task<String>,
}

impl DatabaseNode {
    /// The node address really bound.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Stops serving and closes the store.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        // A panicked task has closed its store by unwinding.
        let _ = self.task.await;
    }

    /// Waits until the node ends by itself; returns why.
    pub async fn stopped(&mut self) -> String {
        (&mut self.task).await.unwrap_or_else(|_| "the database task panicked".to_owned())
    }
}

/// Starts the database of `config`. Returns once it listens.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(env: Env, config: NodeConfig, tls: Arc<NodeTls>) -> io::Result<DatabaseNode> {
    let listen = config.listen.clone().unwrap_or_default();
    let listener = env.net.bind(&listen).await?;
    let address = listener.local_address();
    let (stop, stopping) = watch::channel(false);
    let task = env.spawn("database", supervise(env.clone(), config, tls, listener, stopping));
    Ok(DatabaseNode { address, stop, task })
}

/// Why an incarnation ended.
enum End {
    Stop,
    Failed(String),
}

async fn supervise(
    env: Env,
    config: NodeConfig,
    tls: Arc<NodeTls>,
    mut listener: Box<dyn Listener>,
    mut stopping: watch::Receiver<bool>,
) -> String {
    loop {
        match incarnation(&env, &config, &tls, &mut *listener, &mut stopping).await {
            End::Stop => return "stopped".to_owned(),
            End::Failed(why) => tracing::error!(%why, "the store failed; opening it again"),
        }
    }
}

async fn open(env: &Env, config: &NodeConfig) -> Result<Option<(Engine, super::engine::Loaded)>, String> {
    let (disk, dir) = (env.disk.clone(), config.data_dir.clone());
    let opened = env.blocking("open", move || Engine::open(&*disk, &dir)).await;
    match opened {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error @ EngineError::Corrupt { .. })) => {
            tracing::error!(target: "kms::probe", name = "loud:corrupt", %error, "the store cannot be used");
            Err(error.to_string())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("storage panicked while opening".to_owned()),
    }
}

/// One life of the store, from opening to the end of its last task.
async fn incarnation(
    env: &Env,
    config: &NodeConfig,
    tls: &Arc<NodeTls>,
    listener: &mut dyn Listener,
    stopping: &mut watch::Receiver<bool>,
) -> End {
    let (fatal, mut failed) = mpsc::unbounded_channel();
    let mut behind = Behind { member: None, env: env.clone(), region: config.region.clone() };
    let mut parts: FuturesUnordered<Task<()>> = FuturesUnordered::new();
    let mut store_closed = None;
    match open(env, config).await {
        Err(why) => {
            // Until the next try: answer that nothing is served.
            let (env, pause) = (env.clone(), ms(config.limits.ping_ms));
            let retry = async move {
                env.sleep(pause).await;
                let _ = fatal.send(why);
            };
            parts.push(behind.env.spawn("reopen", retry).abort_on_drop());
        }
        Ok(Some((engine, loaded))) => {
            tracing::info!(last = ?loaded.last, confirmed = ?loaded.confirmed, "store opened");
            let head = loaded.genesis.head;
            let (shared, closed) = Shared::new(env.clone(), config.clone(), engine, &loaded, fatal);
            let shared = Arc::new(shared);
            store_closed = Some(closed);
            let events = head.then(|| {
                let (events, inbox) = mpsc::unbounded_channel();
                parts.push(env.spawn("head", head::Head::new(shared.clone()).run(inbox)).abort_on_drop());
                let link = link::run(shared.clone(), tls.clone(), events.clone());
                parts.push(env.spawn("chain-link", link).abort_on_drop());
                events
            });
            behind.member = Some((shared, events));
        }
        Ok(None) => tracing::error!("no store here: blank, serving nothing (`kms init` makes stores)"),
    }
    let end = accept(&behind, config, tls, listener, stopping, &mut failed, &mut parts).await;
    // Every task holds the store, and so does work on blocking threads whose task was aborted: wait until all have let go and
    // the file is closed, so that it can be opened again.
    drop(behind);
    for part in parts.iter() {
        part.abort();
    }
    while parts.next().await.is_some() {}
    if let Some(closed) = store_closed {
        let _ = closed.await;
    }
    end
}

async fn accept(
    behind: &Behind,
    config: &NodeConfig,
    tls: &Arc<NodeTls>,
    listener: &mut dyn Listener,
    stopping: &mut watch::Receiver<bool>,
    failed: &mut mpsc::UnboundedReceiver<String>,
    parts: &mut FuturesUnordered<Task<()>>,
) -> End {
    let fixed = parts.len();
    loop {
        let full = parts.len() >= fixed + config.limits.connections_max as usize;
        tokio::select! {
            biased;
            // Asked to, or the handle of this node was dropped.
            _ = stopping.changed() => return End::Stop,
            Some(why) = failed.recv() => return End::Failed(why),
            Some(ended) = parts.next(), if !parts.is_empty() => {
                if ended.is_err() {
                    return End::Failed("a task of the database panicked".to_owned());
                }
            }
            accepted = listener.accept(), if !full => match accepted {
                Ok((stream, from)) => {
                    let work = connection(behind.clone(), tls.clone(), stream, from);
                    parts.push(behind.env.spawn("connection", work).abort_on_drop());
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    behind.env.sleep(ms(config.limits.ping_ms)).await;
                }
            },
        }
    }
}

async fn connection(behind: Behind, tls: Arc<NodeTls>, stream: Stream, from: String) {
    match tls.accept(stream).await {
        Ok((stream, peer)) => {
            let why = connection::serve(behind, stream, &peer).await;
            tracing::debug!(peer = %peer.node_id, %why, "connection ended");
        }
        Err(error) => tracing::info!(%from, %error, "handshake failed"),
    }
}
