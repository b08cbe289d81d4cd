//! A zone database as a node: listens, opens its store, serves hosts, its peer and the operator. A store
//! that fails (I/O error, panic) is closed, opened again and compared anew; a node without a store is Blank
//! and serves nothing: only `kms init` makes stores, and only a fill makes further ones.

mod apart;
mod connection;
mod directory;
mod feed;
mod fill;
mod head;
mod join;
mod keyring;
mod leases;
mod link;
mod orders;
mod read;
mod replace;
mod status;
mod tail;
mod terminate;
mod view;

pub use status::{DatabaseStatus, DomainCounts, FillStatus};

use crate::{
    config::NodeConfig,
    crypto::OperatorVerifier,
    env::{BoxFuture, Env, Listener, Purpose, Stream, Task},
    limits::ms,
    store::{
        engine::{Engine, EngineError, Loaded, promote},
        epoch::Phase,
    },
    wire::tls::NodeTls,
};
use connection::{Behind, Node};
use directory::{Directory, Filled};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Notify, mpsc, watch};
use view::Shared;

/// A running database node.
pub struct DatabaseNode {
    address: String,
    node: Arc<Node>,
    stop: watch::Sender<bool>,
    task: Task<String>,
}

impl DatabaseNode {
    /// The node address really bound.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks it how it is, as `kms status` does.
    pub fn asker(&self) -> impl Fn() -> BoxFuture<'static, DatabaseStatus> + Send + Sync + use<> {
        let node = Arc::clone(&self.node);
        move || {
            let node = Arc::clone(&node);
            Box::pin(async move {
                let shown = node.shown.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
                status::of(&Behind { member: shown.map(|shared| (shared, None)), node }).await
            })
        }
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
/// When the address cannot be bound, or there is no randomness.
pub async fn serve(
    env: Env,
    config: NodeConfig,
    tls: Arc<NodeTls>,
    operator: OperatorVerifier,
) -> io::Result<DatabaseNode> {
    let listen = config.listen.clone().unwrap_or_default();
    let listener = env.net.bind(&listen).await?;
    let address = listener.local_address();
    let start = env.random(Purpose::Public)?;
    let (ended, ends) = mpsc::unbounded_channel();
    let node = Arc::new(Node {
        env: env.clone(),
        config,
        tls,
        operator,
        start,
        filling: fill::Filling::default(),
        directory: Directory::default(),
        diverged: Arc::default(),
        catching_up: tokio::sync::Mutex::default(),
        filled: Notify::new(),
        shown: Mutex::default(),
        ended,
    });
    let (stop, stopping) = watch::channel(false);
    let task = env.spawn("database", supervise(Arc::clone(&node), listener, stopping, ends));
    Ok(DatabaseNode { address, node, stop, task })
}

/// Why an incarnation ended.
enum End {
    Stop,
    Failed(String),
    /// The store to go on with, if it is open already.
    Replaced(Option<Box<(Engine, Loaded)>>),
}

type Ends = mpsc::UnboundedReceiver<Option<Box<(Engine, Loaded)>>>;

async fn supervise(
    node: Arc<Node>,
    mut listener: Box<dyn Listener>,
    mut stopping: watch::Receiver<bool>,
    mut ends: Ends,
) -> String {
    let mut ready: Option<Box<(Engine, Loaded)>> = None;
    loop {
        ready = promoted(&node, &mut ends).await.or(ready);
        node.filling.forget_taken();
        let open = match ready.take() {
            Some(store) => Ok(Some(*store)),
            None => open(&node).await,
        };
        match incarnation(&node, open, &mut *listener, &mut stopping, &mut ends).await {
            End::Stop => {
                // Whoever starts next on this directory finds nobody at work there, and every file closed.
                node.filling.clear();
                drop(promoted(&node, &mut ends).await);
                drop(node.directory.filling().await);
                return "stopped".to_owned();
            }
            End::Failed(why) => tracing::error!(%why, "the store failed; opening it again"),
            End::Replaced(store) => ready = store,
        }
    }
}

/// Waits until no store is being moved; answers the one that was promoted while an incarnation ended.
async fn promoted(node: &Arc<Node>, ends: &mut Ends) -> Option<Box<(Engine, Loaded)>> {
    let _moving = node.directory.moving().await;
    let mut ready = None;
    while let Ok(store) = ends.try_recv() {
        ready = store.or(ready);
    }
    ready
}

/// Opens the store, and the one that was filled for its place; finishes putting that there if it had begun.
async fn open(node: &Arc<Node>) -> Result<Option<(Engine, Loaded)>, String> {
    let (disk, data, keep) =
        (node.env.disk.clone(), node.config.data_dir.clone(), node.config.limits.log_keep_entries);
    let moving = node.directory.moving().await;
    // A fill under way, or one that was given up and is at its last step, has the store that it fills open itself.
    let right = if node.filling.status().is_some() { None } else { node.directory.filling_now() };
    let opened = node.env.blocking("open", move || -> Result<_, EngineError> {
        let _moving = moving;
        let filled = match right {
            Some(right) => Engine::open_filling(&*disk, &data, keep)?
                .map(|(engine, loaded)| (Filled::new(engine, right), loaded)),
            None => None,
        };
        let store = Engine::open(&*disk, &data, keep);
        match filled {
            Some((filled, loaded)) if loaded.identity.phase == Phase::Member => {
                let old = store.ok().flatten().map(|(_, old)| (old.identity.db_id, old.identity.epoch().no));
                promote(&*disk, &data, old)?;
                Ok((Some((filled.moved(), loaded)), None))
            }
            filled => Ok((store?, filled)),
        }
    });
    match opened.await {
        Ok(Ok((store, filled))) => {
            if let Some((filled, loaded)) = filled {
                node.filling.found(filled, loaded);
            }
            Ok(store)
        }
        Ok(Err(error @ EngineError::Corrupt { .. })) => {
            tracing::error!(target: "kms::probe", name = "loud:corrupt", %error, "the store cannot be used");
            Err(error.to_string())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("storage panicked while opening".to_owned()),
    }
}

async fn keep_purging(shared: Arc<Shared>, events: mpsc::UnboundedSender<head::Event>) {
    match terminate::purge(shared, events).await {}
}

async fn keep_erasing(shared: Arc<Shared>) {
    match terminate::erase(shared).await {}
}

/// One life of the store, from opening to the end of its last task.
async fn incarnation(
    node: &Arc<Node>,
    open: Result<Option<(Engine, Loaded)>, String>,
    listener: &mut dyn Listener,
    stopping: &mut watch::Receiver<bool>,
    ends: &mut Ends,
) -> End {
    let env = &node.env;
    let (fatal, mut failed) = mpsc::unbounded_channel();
    let mut behind = Behind { member: None, node: node.clone() };
    let mut parts: FuturesUnordered<Task<()>> = FuturesUnordered::new();
    let mut store_closed = None;
    match open {
        Err(why) => {
            // Until the next try: answer that nothing is served.
            let (env, pause) = (env.clone(), ms(node.config.limits.ping_ms));
            let retry = async move {
                env.sleep(pause).await;
                let _ = fatal.send(why);
            };
            parts.push(node.env.spawn("reopen", retry).abort_on_drop());
        }
        Ok(Some((engine, loaded))) => {
            tracing::info!(last = ?loaded.last, confirmed = ?loaded.confirmed, epoch = %loaded.identity.epoch(), phase = loaded.identity.phase.word(), "store opened");
            let head = loaded.identity.head;
            let (shared, closed) = Shared::new(node, (engine, &loaded), fatal);
            let shared = Arc::new(shared);
            store_closed = Some(closed);
            if let Some(begins) = loaded.identity.begins() {
                // A failure ends this incarnation, as any other of the store.
                let _ = shared.compare_with_beginning(begins).await;
            }
            keyring::find_begun(&shared).await;
            let events = head.then(|| {
                let (events, inbox) = mpsc::unbounded_channel();
                parts.push(env.spawn("head", head::Head::new(shared.clone()).run(inbox)).abort_on_drop());
                let link = link::run(shared.clone(), node.tls.clone(), events.clone());
                parts.push(env.spawn("chain-link", link).abort_on_drop());
                let purging = keep_purging(shared.clone(), events.clone());
                parts.push(env.spawn("purge", purging).abort_on_drop());
                events
            });
            parts.push(env.spawn("erase", keep_erasing(shared.clone())).abort_on_drop());
            *node.shown.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&shared);
            behind.member = Some((shared, events));
        }
        Ok(None) => tracing::error!("no store here: blank, serving nothing (see `kms status`)"),
    }
    parts.push(env.spawn("join", join::run(behind.clone())).abort_on_drop());
    let end = accept(&behind, listener, stopping, (&mut failed, ends), &mut parts).await;
    // Every task holds the store, and so does work on blocking threads whose task was aborted: wait until all have let go and
    // the file is closed, so that it can be opened again.
    drop(behind);
    drop(failed);
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
    listener: &mut dyn Listener,
    stopping: &mut watch::Receiver<bool>,
    (failed, ends): (&mut mpsc::UnboundedReceiver<String>, &mut Ends),
    parts: &mut FuturesUnordered<Task<()>>,
) -> End {
    let (env, limits) = (&behind.node.env, &behind.node.config.limits);
    let fixed = parts.len();
    loop {
        let full = parts.len() >= fixed + limits.connections_max as usize;
        tokio::select! {
            biased;
            // Asked to, or the handle of this node was dropped.
            _ = stopping.changed() => return End::Stop,
            Some(store) = ends.recv() => return End::Replaced(store),
            Some(why) = failed.recv() => return End::Failed(why),
            Some(ended) = parts.next(), if !parts.is_empty() => {
                if ended.is_err() {
                    return End::Failed("a task of the database panicked".to_owned());
                }
            }
            accepted = listener.accept(), if !full => match accepted {
                Ok((stream, from)) => {
                    let work = connection(behind.clone(), stream, from);
                    parts.push(env.spawn("connection", work).abort_on_drop());
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    env.sleep(ms(limits.ping_ms)).await;
                }
            },
        }
    }
}

async fn connection(behind: Behind, stream: Stream, from: String) {
    match behind.node.tls.clone().accept(stream).await {
        Ok((stream, peer)) => {
            let why = connection::serve(behind, stream, &peer).await;
            tracing::debug!(peer = %peer.node_id, %why, "connection ended");
        }
        Err(error) => tracing::info!(%from, %error, "handshake failed"),
    }
}
