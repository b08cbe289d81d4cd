//! What a replica does when the region is made anew from it (R17): it adopts the epoch and follows nobody any more, stores the fence, and
//! learns that the epoch is active. Each is durable before it is answered, and may be ordered again. Believes nothing that the
//! operator has not signed, and no registered epoch that the witness does not know.

use super::{
    Node,
    kept::{Closing, Kept, Trouble, storage},
    load::load,
};
use crate::{
    store::{
        engine::EngineError,
        epoch::{Epoch, Identity, Registered, Statement, begins},
        witness::{self, Known},
    },
    wire::epoch::{Order, OrderKind, Signed, WitnessState},
};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};
use tokio::sync::{Notify, oneshot};

/// What the follower is to do between two connections.
pub(super) enum Command {
    /// An order, and who waits for the answer.
    Order(Order, oneshot::Sender<Result<(), String>>),
    /// What the witness says, when that matters.
    Heard(Box<Known>),
}

/// Commands on their way to the follower.
#[derive(Default)]
pub(super) struct Commands {
    queue: Mutex<VecDeque<Command>>,
    bell: Notify,
}

impl Commands {
    pub(super) fn give(&self, command: Command) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(command);
        self.bell.notify_one();
    }

    pub(super) fn take(&self) -> Option<Command> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn none(&self) -> bool {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Waits until there is one.
    pub(super) async fn any(&self) {
        while self.none() {
            self.bell.notified().await;
        }
    }
}

/// Why something was not done.
enum Undone {
    /// For who ordered it.
    Refused(String),
    /// The store is to be opened again.
    Disk(String),
}

impl From<EngineError> for Undone {
    fn from(error: EngineError) -> Undone {
        Undone::Disk(storage(error))
    }
}

fn refused<T>(why: impl Into<String>) -> Result<T, Undone> {
    Err(Undone::Refused(why.into()))
}

/// Carries a command out; nothing is followed meanwhile. `given_up` is set to an epoch that will not become active. `Err`: the
/// store is to be opened again.
pub(super) async fn carry_out(
    node: &Node,
    (kept, closing): (&mut Option<Kept>, &mut Closing),
    given_up: &mut Option<Epoch>,
    command: Command,
) -> Result<(), String> {
    let (done, answer) = match command {
        Command::Order(order, answer) if order.kind == OrderKind::Load as i32 => {
            return begin_with_backup(node, (kept, closing), &order, answer).await;
        }
        Command::Order(order, answer) => (ordered(node, kept.as_mut(), &order).await, Some(answer)),
        Command::Heard(known) => (heard(node, (kept.as_mut(), &mut *given_up), &known).await, None),
    };
    if let Some(kept) = &*kept {
        node.desk.stands(kept);
        node.opened.now(kept);
    }
    let (said, done) = match done {
        Ok(()) => (Ok(()), Ok(())),
        Err(Undone::Refused(why)) => (Err(why), Ok(())),
        Err(Undone::Disk(why)) => (Err(why.clone()), Err(why)),
    };
    if let Some(answer) = answer {
        // Who ordered may be gone: they ask again.
        let _ = answer.send(said);
    } else if let Err(why) = said {
        tracing::warn!(%why, "what the witness says cannot be followed");
    }
    done
}

/// R17, from a backup. The answer says that it has begun, or need not; how far it is, and what went wrong, is in the status.
async fn begin_with_backup(
    node: &Node,
    (kept, closing): (&mut Option<Kept>, &mut Closing),
    order: &Order,
    answer: oneshot::Sender<Result<(), String>>,
) -> Result<(), String> {
    let epoch = match may_load(node, kept.as_ref(), order).await {
        Ok(Some(epoch)) => epoch,
        Ok(None) => {
            let _ = answer.send(Ok(()));
            return Ok(());
        }
        Err(Undone::Refused(why) | Undone::Disk(why)) => {
            let _ = answer.send(Err(why));
            return Ok(());
        }
    };
    let _ = answer.send(Ok(()));
    let Some(backup) = &order.backup else { return Ok(()) };
    let why = match load(node, (kept, closing), &epoch, backup).await {
        Ok(()) => return Ok(()),
        Err(Trouble::Source(why)) => why,
        Err(Trouble::Disk(why)) => return Err(why),
    };
    tracing::error!(%why, "the backup was not taken");
    node.desk.note(|status| status.trouble = Some(why));
    Ok(())
}

/// `None`: it is done already.
async fn may_load(node: &Node, kept: Option<&Kept>, order: &Order) -> Result<Option<Registered>, Undone> {
    let said = |error: &dyn std::fmt::Display| Undone::Refused(error.to_string());
    let (Some(signed), Some(_)) = (&order.statement, &order.backup) else {
        return refused("an order to load without a statement, or without a backup");
    };
    let epoch =
        Registered::verify(signed, &node.operator, &node.config.region).map_err(|error| said(&error))?;
    if kept.is_some_and(|kept| kept.identity().epoch == epoch) {
        return Ok(None);
    }
    if !epoch.record.is_restore() {
        return refused("a backup is loaded only for the restore of a region");
    }
    if let Some(kept) = kept
        && epoch.record.epoch.no <= kept.epoch().no
    {
        return refused(format!("epoch {} does not follow {}", epoch.record.epoch, kept.epoch()));
    }
    known_at_witness(node, &epoch).await?;
    Ok(Some(epoch))
}

async fn ordered(node: &Node, kept: Option<&mut Kept>, order: &Order) -> Result<(), Undone> {
    let said = |error: &dyn std::fmt::Display| Undone::Refused(error.to_string());
    let signed = order.statement.as_ref();
    let signed = signed.ok_or_else(|| Undone::Refused("an order without a statement".to_owned()))?;
    let statement = Statement::verify(signed, &node.operator, &node.config.region);
    let statement = statement.map_err(|error| said(&error))?;
    let Some(kept) = kept else {
        return refused("this replica is blank: there is nothing to restore from. Load a backup first");
    };
    match (OrderKind::try_from(order.kind), statement) {
        (Ok(OrderKind::Adopt), Statement::Epoch(record)) => {
            adopt(node, kept, Registered { record, signed: signed.clone() }).await
        }
        (Ok(OrderKind::Fence), Statement::Fence(epoch, _)) => {
            if kept.epoch() != epoch || !kept.identity().is_source() {
                return refused(format!("not the source of epoch {epoch}, but in {}", kept.epoch()));
            }
            let fence = signed.clone();
            Ok(kept.change_identity(node, move |identity| identity.fence = Some(fence)).await?)
        }
        (Ok(OrderKind::Learn), Statement::Epoch(record)) => {
            let epoch = Registered { record, signed: signed.clone() };
            let Some(activation) = &order.activation else {
                return refused("an order to learn without an activation");
            };
            let by = epoch.activated_by(activation, &node.operator, &node.config.region);
            by.map_err(|error| said(&error))?;
            learn(node, kept, &epoch, activation).await
        }
        _ => refused("the statement does not fit the order, or a replica does not do that"),
    }
}

/// R12, of a restore: from now on nobody of an earlier epoch feeds this replica.
async fn adopt(node: &Node, kept: &mut Kept, epoch: Registered) -> Result<(), Undone> {
    let (identity, record) = (kept.identity(), &epoch.record);
    if identity.epoch == epoch {
        return Ok(());
    }
    if !record.is_restore() || record.source != identity.db_id {
        return refused(format!("the source is {}, this is {}", record.source, identity.db_id));
    }
    if record.epoch.no <= kept.epoch().no {
        return refused(format!("epoch {} does not follow {}", record.epoch, kept.epoch()));
    }
    let known = known_at_witness(node, &epoch).await?;
    if record.witness != identity.witness() && !known.begins_with_restore() {
        // F28: registered at one that was replaced, it may run beside another of the same number.
        return refused(format!(
            "epoch {} was registered at witness {}, and the region listens to {}",
            record.epoch,
            hex::encode(record.witness),
            hex::encode(identity.witness())
        ));
    }
    tracing::warn!(epoch = %record.epoch, last = ?kept.last(), "the region is made anew from this replica");
    let adopted = move |identity: &mut Identity| {
        identity.before = last_active(identity);
        identity.epoch = epoch;
        identity.replaced = None;
        identity.activation = None;
        identity.fence = None;
    };
    Ok(kept.change_identity(node, adopted).await?)
}

/// The last epoch that is known to have been active, as a witness would know it.
pub(super) fn last_active(identity: &Identity) -> Option<WitnessState> {
    let Some(activation) = identity.activation.clone() else { return identity.before.clone() };
    let known = Known {
        witness: identity.witness(),
        active: identity.epoch.clone(),
        activation,
        pending: None,
        replaced: identity.replaced.clone(),
    };
    Some(known.out(&identity.region))
}

async fn known_at_witness(node: &Node, epoch: &Registered) -> Result<Known, Undone> {
    let known = witness::read_registered((&node.env, &node.tls), &node.config, &node.operator, epoch);
    known.await.map_err(Undone::Refused)
}

/// R16: the epoch is active, and follows where this log ends.
async fn learn(node: &Node, kept: &mut Kept, epoch: &Registered, activation: &Signed) -> Result<(), Undone> {
    if kept.identity().epoch != *epoch {
        return refused(format!("this replica is in epoch {}", kept.epoch()));
    }
    if kept.identity().active() {
        return Ok(());
    }
    let begins = begins(activation).map_err(|error| Undone::Refused(error.to_string()))?;
    if begins != kept.last() {
        return refused("the epoch begins elsewhere than this log ends");
    }
    let (epoch, activation) = (kept.epoch(), activation.clone());
    let active = move |identity: &mut Identity| {
        identity.before = None;
        identity.activation = Some(activation);
        identity.lineage.push((epoch, begins));
    };
    kept.change_identity(node, active).await?;
    tracing::info!(%epoch, "the region was made anew; this replica follows it");
    Ok(())
}

/// What the witness says to the source of an epoch that is not known to be active.
async fn heard(
    node: &Node,
    (kept, given_up): (Option<&mut Kept>, &mut Option<Epoch>),
    known: &Known,
) -> Result<(), Undone> {
    let Some(kept) = kept.filter(|kept| !kept.identity().active()) else { return Ok(()) };
    let own = kept.identity().epoch.clone();
    // Whichever witness says so: the operator has signed it, and the witness that it was registered at may have been replaced since.
    if known.active == own {
        return learn(node, kept, &own, &known.activation).await;
    }
    if known.witness != own.record.witness {
        return Ok(());
    }
    let (own, newest) = (own.record.epoch, known.newest().record.epoch);
    if newest.no > own.no && *given_up != Some(own) {
        tracing::warn!(epoch = %own, "the restore from this replica was given up");
        *given_up = Some(own);
    }
    Ok(())
}
