//! An operator's session with a region: signs statements, asks and orders single nodes until they answer, and tells the
//! person who runs it. What is done with that is in [`super::rebuild`] and [`super::witness`].

use super::{
    OperatorConfig,
    ask::{ANSWER_WITHIN, database_status, order, replica_status},
};
use crate::{
    config::Zone,
    crypto::{OperatorKey, OperatorVerifier},
    env::{BoxFuture, Env, Mono},
    limits::ms,
    replica::SeedStatus,
    store::{
        epoch::{DbId, Epoch, Statement},
        exchange::NoAnswer,
        log::Position,
        server::{DatabaseStatus, FillStatus},
        witness::{self, Known},
    },
    wire::{
        epoch::{Order, OrderKind, Signed},
        message::Body,
        tls::NodeTls,
    },
};
use std::{sync::Arc, time::Duration};

/// Between two looks at something that takes a while.
pub(super) const LOOK: Duration = ms(200);
/// How long a node that does not answer is waited for, in steps that cannot go on without it.
pub(super) const PATIENCE: Duration = ms(60_000);
/// A log comparison is one order: it may take this long.
const CATCH_UP_WITHIN: Duration = ms(60_000);
/// What happens meanwhile, for a person to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The epoch is registered at the witness; true: it was before.
    Registered(Epoch, bool),
    /// The source takes no writes any more; reads go on.
    Adopted,
    /// How far the replica is with the backup that it begins with.
    Loading(SeedStatus),
    /// The replica has adopted the epoch: nobody feeds it, and what it has stands still (R17).
    ReplicaStands,
    /// Nobody can serve an earlier epoch any more; true: the old database said so itself.
    Fenced(bool),
    /// How far the fill is.
    Filling(FillStatus),
    /// How far the fill of one zone of a region is that is made anew.
    FillingZone(Zone, FillStatus),
    /// Something does not answer; it is tried again.
    Waiting(String),
    /// Something that ought to be looked at does not answer; it goes on without.
    Unknown(String),
    /// Both logs end here.
    Filled(Position),
    /// The epoch is active.
    Activated(Epoch),
    /// The chain has committed that another witness is listened to.
    Committed([u8; 16]),
    /// Key writes are accepted: both databases say so. So long after the activation, if that was in this run.
    Writable(Option<Duration>),
}

/// The person who runs it.
pub trait Person: Send {
    /// Is told.
    fn told(&mut self, progress: &Progress);
    /// States what is asked of it about database `id` of zone `zone`: in a rebuild, that its process is not running
    /// *now*; before it serves alone, that no newer epoch is in use. False stops everything.
    fn states(&mut self, zone: Zone, id: DbId) -> BoxFuture<'_, bool>;
}

/// Why it stopped. What was done stays; the same command goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The witness does not answer.
    #[error("the witness at {0}: {1}. Nothing can be registered without it; bring it back first")]
    Witness(String, NoAnswer),
    /// The witness, or a database, refuses.
    #[error("{0}")]
    Refused(String),
    /// There is nothing to do; nothing was changed.
    #[error("{0}")]
    Needless(String),
    /// A database that is needed does not answer.
    #[error("{0} does not answer: {1}")]
    Away(String, NoAnswer),
    /// The fill does not go on.
    #[error(
        "the fill of zone {zone} has made no progress for {} s{why}. Nothing is lost: reads go on, key writes stay \
         refused. See to that, then run the same command again: it goes on with epoch {epoch}. Or take the old database back, \
         if it is whole, with `kms rebuild abandon {zone}`",
        waited.as_secs()
    )]
    Stuck {
        /// The zone that is filled.
        zone: &'static str,
        /// What the target or the source says, in brackets; empty if they say nothing.
        why: String,
        /// How long.
        waited: Duration,
        /// The registered epoch.
        epoch: Epoch,
    },
    /// The fills of a restore do not go on.
    #[error(
        "neither database has taken anything for {} s{why}. The replica keeps what it has. See to that, then run the same \
         command again: it goes on with epoch {epoch}",
        waited.as_secs()
    )]
    Standstill {
        /// What they say, in brackets; empty if they say nothing.
        why: String,
        /// How long.
        waited: Duration,
        /// The registered epoch.
        epoch: Epoch,
    },
    /// The person did not state what is needed.
    #[error(
        "not stated that database {0} is not running: nobody may serve from it while another takes its place. \
         Switch it off, then run this again"
    )]
    NotStated(DbId),
    /// No randomness.
    #[error("no randomness: {0}")]
    Entropy(#[from] std::io::Error),
}

/// A process whose answer may take long.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    /// The database of a zone.
    Database(Zone),
    /// The replica.
    Replica,
}

/// Who runs it, and where.
pub struct Operator {
    pub(super) env: Env,
    pub(super) config: OperatorConfig,
    pub(super) tls: Arc<NodeTls>,
    key: OperatorKey,
    pub(super) verifier: OperatorVerifier,
}

/// An order with its statement.
pub(super) fn message(kind: OrderKind, statement: &Signed) -> Order {
    Order { kind: kind as i32, statement: Some(statement.clone()), activation: None, backup: None }
}

pub(super) fn refused(text: impl Into<String>) -> RebuildError {
    RebuildError::Refused(text.into())
}

/// What a database is, for people: a blank one has no id.
pub(super) fn described(status: &DatabaseStatus) -> String {
    if status.db_id.is_empty() {
        format!("{}: it has no store", status.phase)
    } else {
        format!("{} ({})", status.phase, status.db_id)
    }
}

/// 16 bytes of a status.
pub(super) fn hex16(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

impl Operator {
    /// With the operator's own certificate and key.
    pub fn new(env: Env, config: OperatorConfig, tls: Arc<NodeTls>, key: OperatorKey) -> Operator {
        Operator { env, config, tls, verifier: key.verifier(), key }
    }

    pub(super) fn address(&self, zone: Zone) -> &str {
        match zone {
            Zone::A => &self.config.head,
            Zone::B => &self.config.tail,
        }
    }

    pub(super) fn name(&self, zone: Zone) -> String {
        format!("the database of zone {}, {}", zone.word(), self.address(zone))
    }

    pub(super) fn sign(&self, statement: &Statement) -> Signed {
        let made_ms = u64::try_from(self.env.clock.wall().as_millis()).unwrap_or(0);
        statement.sign(&self.key, &self.config.region, made_ms)
    }

    /// What stands at the witness.
    ///
    /// # Errors
    /// [`RebuildError::Witness`].
    pub async fn known(&self) -> Result<Known, RebuildError> {
        let address = &self.config.witness;
        witness::read_epoch(&self.env, &self.tls, address, &self.verifier, ANSWER_WITHIN)
            .await
            .map_err(|error| RebuildError::Witness(address.clone(), error))
    }

    pub(super) async fn status(&self, zone: Zone) -> Result<DatabaseStatus, NoAnswer> {
        database_status(&self.env, &self.tls, self.address(zone)).await
    }

    /// Tells the witness; a broken connection is no answer, so it is asked again.
    pub(super) async fn tell_witness(
        &self,
        body: Body,
        person: &mut dyn Person,
    ) -> Result<Known, RebuildError> {
        let until = self.env.now() + PATIENCE;
        loop {
            let (address, body) = (&self.config.witness, body.clone());
            match witness::change(&self.env, &self.tls, address, &self.verifier, body, ANSWER_WITHIN).await {
                Ok(known) => return Ok(known),
                Err(NoAnswer::Refused(why)) => return Err(refused(format!("the witness refuses: {why}"))),
                Err(error) => {
                    let waiting = format!("the witness: {error}");
                    let over = RebuildError::Witness(address.clone(), error);
                    self.wait_on(until, waiting, over, person).await?;
                }
            }
        }
    }

    /// Waits before something that does not answer is asked again; past `until` it is not, and that is `over`.
    pub(super) async fn wait_on(
        &self,
        until: Mono,
        waiting: String,
        over: RebuildError,
        person: &mut dyn Person,
    ) -> Result<(), RebuildError> {
        if self.env.now() > until {
            return Err(over);
        }
        person.told(&Progress::Waiting(waiting));
        self.env.sleep(LOOK).await;
        Ok(())
    }

    pub(super) async fn order(&self, zone: Zone, message: Order, limit: Duration) -> Result<(), NoAnswer> {
        order(&self.env, &self.tls, (zone, self.address(zone)), message, limit).await
    }

    /// Gives an order until it is carried out or refused.
    pub(super) async fn give(
        &self,
        zone: Zone,
        kind: OrderKind,
        statement: &Signed,
        person: &mut dyn Person,
    ) -> Result<(), RebuildError> {
        let until = self.env.now() + PATIENCE;
        let long = kind == OrderKind::Fill;
        let limit = if long { CATCH_UP_WITHIN } else { ANSWER_WITHIN };
        loop {
            // On the heap: futures of orders are large, and so would be all that wait for them.
            let order = Box::pin(self.order(zone, message(kind, statement), limit));
            match if long { self.while_it_runs(Asked::Database(zone), order).await } else { order.await } {
                Ok(()) => return Ok(()),
                Err(error) => self.again(until, (self.name(zone), error), person).await?,
            }
        }
    }

    /// Names the start of a process.
    async fn start_of(&self, asked: Asked) -> Result<String, NoAnswer> {
        match asked {
            Asked::Database(zone) => Ok(self.status(zone).await?.start),
            Asked::Replica => {
                let address = self.config.replica.as_deref().unwrap_or_default();
                Ok(replica_status(&self.env, &self.tls, address).await?.start)
            }
        }
    }

    /// Waits as long as the process that was asked runs: one whose machine lost its power never closes the
    /// connection.
    pub(super) async fn while_it_runs<T>(
        &self,
        asked: Asked,
        work: impl Future<Output = Result<T, NoAnswer>>,
    ) -> Result<T, NoAnswer> {
        let ended = Box::pin(async {
            let mut first = None;
            loop {
                match self.start_of(asked).await {
                    Ok(start) if *first.get_or_insert_with(|| start.clone()) == start => {}
                    Ok(_) => return NoAnswer::Closed,
                    Err(error) => return error,
                }
                self.env.sleep(ANSWER_WITHIN).await;
            }
        });
        tokio::select! {
            biased;
            done = work => done,
            error = ended => Err(error),
        }
    }

    /// After an order that was not carried out, waits before it is given again; what is refused for good is over.
    pub(super) async fn again(
        &self,
        until: Mono,
        (name, error): (String, NoAnswer),
        person: &mut dyn Person,
    ) -> Result<(), RebuildError> {
        let (passes, waiting) = (error.may_pass(), format!("{name}: {error}"));
        let over = match error {
            NoAnswer::Refused(why) => refused(format!("{name} refuses: {why}")),
            error => RebuildError::Away(name, error),
        };
        if passes { self.wait_on(until, waiting, over, person).await } else { Err(over) }
    }
}
