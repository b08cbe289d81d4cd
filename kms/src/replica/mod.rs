//! The third copy (R18): a node in another region that follows the committed log of either zone, in order and without holes.
//! Nobody waits for it. It serves no host; it is what a lost region is made anew from. A new or damaged one begins with a
//! snapshot, while the region goes on.

mod backup;
mod follow;
mod give;
mod kept;
mod load;
mod orders;
mod overlay;
mod rehearse;
mod seed;
mod status;

pub use backup::{Asked, BackupStatus, Backups, ListedBackup, StoreBackups, Verification, VerifiedBackup};
pub use rehearse::{Rehearsal, Rehearsed};
pub use status::{ReplicaStatus, SeedStatus, Tombstones};

use crate::{
    backup::BackupKeyError,
    config::NodeConfig,
    crypto::OperatorVerifier,
    env::{Env, Listener, Task},
    limits::Limits,
    store::{desk, exchange::ORDER_AGAIN},
    wire::{
        epoch::Order,
        message::{Body, ENVELOPE_VERSION, Empty, Envelope},
        tls::{NodeTls, Peer, PeerRole},
    },
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{
    io::AsyncWrite,
    sync::{Notify, oneshot, watch},
};

/// A running replica.
pub struct ReplicaNode {
    address: String,
    node: Arc<Node>,
    stop: watch::Sender<bool>,
    task: Task<()>,
}

impl ReplicaNode {
    /// The node address really bound.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks it how it is, as `kms status` does.
    pub fn asker(&self) -> impl Fn() -> ReplicaStatus + Send + Sync + use<> {
        let node = Arc::clone(&self.node);
        move || node.status()
    }

    /// Stops following and closes the store.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        // A panicked task has closed its store by unwinding.
        let _ = self.task.await;
    }

    /// Returns if the node ends by itself; says why.
    pub async fn stopped(&mut self) -> String {
        let _ = (&mut self.task).await;
        "the replica's task ended".to_owned()
    }
}

/// What all tasks of a replica share.
struct Node {
    env: Env,
    config: NodeConfig,
    tls: Arc<NodeTls>,
    operator: OperatorVerifier,
    desk: status::Desk,
    /// A person wants the replica to begin with a snapshot.
    reseed: Reseed,
    /// Rung when the witness knows a newer epoch than is followed.
    newer: Notify,
    /// What the follower is to do between two connections.
    commands: orders::Commands,
    /// The store while it is open.
    opened: give::Opened,
    /// Rung when the store could not be read: it is to be opened again.
    broken: Notify,
    /// None: it makes no backups.
    backups: Option<Backups>,
}

/// Why a replica did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its address cannot be bound.
    #[error(transparent)]
    Listen(#[from] io::Error),
    /// It is to make backups, and there is no key for them.
    #[error(transparent)]
    BackupKey(#[from] BackupKeyError),
    /// The operating system gives no randomness.
    #[error("no randomness: {0}")]
    Entropy(io::Error),
}

/// Starts the replica of `config`. Returns once it listens.
///
/// # Errors
/// When the address cannot be bound, or the backup key not be read.
pub async fn serve(
    env: Env,
    config: NodeConfig,
    tls: Arc<NodeTls>,
    operator: OperatorVerifier,
) -> Result<ReplicaNode, StartError> {
    let node = Arc::new(Node::new(env.clone(), config, tls, operator)?);
    let listener = env.net.bind(node.config.listen.as_deref().unwrap_or_default()).await?;
    let address = listener.local_address();
    let (stop, stopping) = watch::channel(false);
    let task = env.spawn("replica", run(Arc::clone(&node), listener, stopping));
    Ok(ReplicaNode { address, node, stop, task })
}

async fn run(node: Arc<Node>, listener: Box<dyn Listener>, stopping: watch::Receiver<bool>) {
    let watching = node.env.spawn("replica-witness", follow::watch_the_witness(node.clone())).abort_on_drop();
    let backing = node.env.spawn("replica-backups", backup::keep(node.clone())).abort_on_drop();
    let mut following = node.env.spawn("replica-follow", follow::keep(node.clone(), stopping.clone()));
    tokio::select! {
        biased;
        () = desk::listen(node.clone(), node.tls.clone(), listener, stopping) => {}
        // It ends by itself only when it was asked to: else it panicked, and a replica that follows nothing is none.
        _ = &mut following => return,
    }
    drop((watching, backing));
    // It ends by itself, and closes the store.
    let _ = following.await;
}

/// An order that holds until a snapshot is complete.
#[derive(Default)]
struct Reseed {
    ordered: AtomicBool,
    bell: Notify,
}

impl Reseed {
    fn order(&self) {
        self.ordered.store(true, Ordering::Relaxed);
        self.bell.notify_one();
    }

    fn stands(&self) -> bool {
        self.ordered.load(Ordering::Relaxed)
    }

    fn done(&self) {
        self.ordered.store(false, Ordering::Relaxed);
    }

    /// Waits for one that nobody has heard of yet.
    async fn heard(&self) {
        while !self.stands() {
            self.bell.notified().await;
        }
    }
}

impl Node {
    /// Nothing of it runs yet.
    fn new(
        env: Env,
        config: NodeConfig,
        tls: Arc<NodeTls>,
        operator: OperatorVerifier,
    ) -> Result<Node, StartError> {
        let backups = Backups::configured(&env, &config)?;
        let desk = status::Desk::new(&env).map_err(StartError::Entropy)?;
        Ok(Node {
            env,
            config,
            tls,
            operator,
            desk,
            reseed: Reseed::default(),
            newer: Notify::new(),
            commands: orders::Commands::default(),
            opened: give::Opened::default(),
            broken: Notify::new(),
            backups,
        })
    }

    /// Has the follower carry an order out, between two connections.
    async fn order(&self, order: Order) -> Body {
        let (answer, answered) = oneshot::channel();
        self.commands.give(orders::Command::Order(order, answer));
        match answered.await {
            Ok(Ok(())) => Body::Done(Empty {}),
            Ok(Err(why)) => Body::BadRequest(why),
            Err(_) => Body::BadRequest(format!("the store is being opened again: {ORDER_AGAIN}")),
        }
    }

    /// What a new witness may begin with if the one before is lost (R17): the active epoch that is followed, or was until a restore from here
    /// began.
    fn begins_with(&self) -> Body {
        let known = self.opened.reading().and_then(|reading| orders::last_active(&reading.identity));
        known.map_or_else(
            || Body::BadRequest("this replica follows no active epoch".to_owned()),
            Body::EpochAnswer,
        )
    }

    fn envelope(&self, call: u64, body: Body) -> Envelope {
        Envelope {
            version: ENVELOPE_VERSION,
            region: self.config.region.clone(),
            call,
            body: Some(body),
            ..Envelope::default()
        }
    }
}

impl desk::Desk for Node {
    const CONNECTION: &'static str = "replica-connection";

    fn env(&self) -> &Env {
        &self.env
    }

    fn limits(&self) -> &Limits {
        &self.config.limits
    }

    fn region(&self) -> &str {
        &self.config.region
    }

    async fn answer(&self, role: PeerRole, asked: Option<Body>) -> Body {
        match (role, asked) {
            (PeerRole::Operator, Some(Body::Status(_))) => match serde_json::to_string(&self.status()) {
                Ok(json) => Body::StatusAnswer(json),
                Err(error) => Body::BadRequest(error.to_string()),
            },
            (PeerRole::Operator, Some(Body::Reseed(_))) => {
                tracing::warn!("an operator has ordered that this replica begins with a snapshot");
                self.reseed.order();
                Body::Done(Empty {})
            }
            (PeerRole::Operator, Some(Body::Order(order))) => self.order(order).await,
            (PeerRole::Operator, Some(Body::ReadEpoch(_))) => self.begins_with(),
            (PeerRole::Operator, Some(Body::LookAtBackup(wanted))) => load::look(self, &wanted).await,
            (PeerRole::Operator, Some(Body::Backups(_))) => {
                backup::answer(self.backups.as_ref(), &self.env, None).await
            }
            (PeerRole::Operator, Some(Body::VerifyBackup(asked))) => {
                backup::answer(self.backups.as_ref(), &self.env, Some(asked)).await
            }
            _ => Body::BadRequest(format!("a {} may not ask this of a replica", role.word())),
        }
    }

    async fn take_over<W: AsyncWrite + Unpin + Send>(
        &self,
        peer: &Peer,
        asked: &Envelope,
        write: &mut W,
    ) -> Option<String> {
        match &asked.body {
            Some(Body::FillBegin(begin)) => Some(give::serve(self, peer, (asked, begin), write).await),
            _ => None,
        }
    }
}
