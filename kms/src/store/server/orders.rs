//! The operator's orders to a database: the steps of a rebuild (R12-R16), to serve alone (R10), to listen to another witness (R17a), to end
//! the service of a domain (G14). Each is
//! durable before it is answered, and may be given again. Believes nothing that the operator has not signed,
//! and no registered epoch that the witness does not know.

use super::{
    connection::{Behind, Node},
    fill, replace, terminate,
    view::Shared,
};
use crate::{
    config::Zone,
    store::{
        engine::promote,
        epoch::{Identity, Phase, Registered, Statement, begins},
        log::Position,
        replacement::Replaced,
        witness::{self, Known},
    },
    wire::epoch::{Order, OrderKind, Signed},
};
use std::sync::Arc;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Carries out an order; `Err` is for the operator to read.
pub(super) async fn carry_out(behind: &Behind, order: &Order) -> Result<(), String> {
    let node = &behind.node;
    let signed = order.statement.as_ref().ok_or("an order without a statement")?;
    let statement = Statement::verify(signed, &node.operator, &node.config.region).map_err(text)?;
    let shared = || {
        behind
            .member
            .as_ref()
            .map(|(shared, _)| shared)
            .ok_or_else(|| "no store here: it is blank".to_owned())
    };
    match (OrderKind::try_from(order.kind), statement) {
        (Ok(OrderKind::Adopt), Statement::Epoch(record)) => {
            adopt(node, shared()?, &Registered { record, signed: signed.clone() }).await
        }
        (Ok(OrderKind::Retire), Statement::Epoch(record)) => {
            let epoch = Registered { record, signed: signed.clone() };
            known_at_witness(node, &epoch).await?;
            retire(shared()?, &epoch).await
        }
        (Ok(OrderKind::Fence), Statement::Fence(epoch, _)) => {
            let fence = signed.clone();
            shared()?
                .change_identity(|_, identity| {
                    if identity.epoch() != epoch || !identity.is_source() {
                        return Err(format!("not the source of epoch {epoch}, but in {}", identity.epoch()));
                    }
                    identity.fence = Some(fence);
                    Ok(())
                })
                .await
        }
        (Ok(OrderKind::Fill), Statement::Epoch(record)) => {
            order_fill(behind, &Registered { record, signed: signed.clone() }).await
        }
        (Ok(OrderKind::Learn), Statement::Epoch(record)) => {
            let epoch = Registered { record, signed: signed.clone() };
            let activation = order.activation.as_ref().ok_or("an order to learn without an activation")?;
            epoch.activated_by(activation, &node.operator, &node.config.region).map_err(text)?;
            learn(behind, &epoch, activation).await
        }
        (Ok(OrderKind::ServeAlone), Statement::Alone { epoch, database, start }) => {
            serve_alone(node, shared()?, signed, (epoch, database, start)).await
        }
        (Ok(OrderKind::ReplaceWitness), Statement::Witness(record)) => {
            replace::order(behind, Replaced { record, signed: signed.clone() }).await
        }
        (Ok(OrderKind::TerminateDomain), Statement::Terminate(termination)) => {
            terminate::order(behind, termination, signed).await
        }
        _ => Err("the statement does not fit the order".to_owned()),
    }
}

async fn known_at_witness(node: &Node, epoch: &Registered) -> Result<Known, String> {
    witness::read_registered((&node.env, &node.tls), &node.config, &node.operator, epoch).await
}

/// R12: from now on no writes, no confirmations, no link; reads go on.
async fn adopt(node: &Node, shared: &Arc<Shared>, epoch: &Registered) -> Result<(), String> {
    if shared.identity().epoch == *epoch {
        return Ok(());
    }
    known_at_witness(node, epoch).await?;
    // R11: one that retired for a fence, in the last epoch that was active, has missed nothing.
    store_adopted(shared, epoch, true).await
}

/// The durable half of [`adopt`]: the witness has said, since this start, that this one is the source. So it
/// has joined, also if it had not before.
pub(super) async fn store_adopted(
    shared: &Arc<Shared>,
    epoch: &Registered,
    revive: bool,
) -> Result<(), String> {
    let adopted = epoch.clone();
    shared
        .change_identity(|view, identity| {
            let record = &adopted.record;
            if identity.epoch == adopted {
                return Ok(());
            }
            if record.source != identity.db_id {
                return Err(format!("the source is {}, this is {}", record.source, identity.db_id));
            }
            let fit = identity.phase == Phase::Member || revive && identity.phase == Phase::Retired;
            if !fit || !view.withheld.nothing() {
                return Err(
                    "only a member with an undoubted log can be the source: this one may lack what was \
                            acknowledged"
                        .to_owned(),
                );
            }
            if record.epoch.no <= identity.epoch().no {
                return Err(format!("epoch {} does not follow {}", record.epoch, identity.epoch()));
            }
            if record.witness != identity.witness() {
                // F28: registered at one that was replaced, it may run beside another of the same number.
                return Err(format!(
                    "epoch {} was registered at witness {}, and this database listens to {}",
                    record.epoch,
                    hex::encode(record.witness),
                    hex::encode(identity.witness())
                ));
            }
            identity.epoch = adopted;
            identity.replaced = None;
            identity.phase = Phase::Member;
            identity.activation = None;
            identity.fence = None;
            Ok(())
        })
        .await?;
    shared.view().joined = true;
    Ok(())
}

/// R13: never serves again.
pub(super) async fn retire(shared: &Arc<Shared>, epoch: &Registered) -> Result<(), String> {
    let record = epoch.record;
    shared
        .change_identity(|_, identity| {
            if record.members.contains(&identity.db_id) {
                return Err(format!("this database is a member of epoch {}", record.epoch));
            }
            if record.epoch.no <= identity.epoch().no {
                return Err(format!("this database is in epoch {} already", identity.epoch()));
            }
            identity.phase = Phase::Retired;
            Ok(())
        })
        .await
}

async fn order_fill(behind: &Behind, epoch: &Registered) -> Result<(), String> {
    let node = &behind.node;
    known_at_witness(node, epoch).await?;
    if let Some((shared, _)) = &behind.member {
        let identity = shared.identity();
        if epoch.record.is_target(identity.db_id) {
            return give_up_and_catch_up(node, shared, epoch).await;
        }
        if identity.phase == Phase::Member {
            return Err(format!(
                "a member of epoch {} is here and has not retired: it is not overwritten",
                identity.epoch()
            ));
        }
    }
    let head = node.config.zone == Some(Zone::A);
    let target = epoch.record.target_at(head).ok_or("the target is of the other zone")?;
    fill::begin(node, epoch, (head, target));
    Ok(())
}

/// R11, abandon: the database of the epoch before becomes the target, without a new store.
async fn give_up_and_catch_up(
    node: &Arc<Node>,
    shared: &Arc<Shared>,
    epoch: &Registered,
) -> Result<(), String> {
    let target = epoch.clone();
    shared
        .change_identity(|_, identity| {
            if identity.epoch == target {
                return Ok(());
            }
            if identity.phase == Phase::Retired || target.record.epoch.no <= identity.epoch().no {
                return Err(format!("retired, or in epoch {} already", identity.epoch()));
            }
            identity.phase = Phase::Filling;
            identity.epoch = target;
            identity.replaced = None;
            identity.activation = None;
            identity.filled = None;
            Ok(())
        })
        .await?;
    let _one = node.catching_up.lock().await;
    if shared.identity().filled.is_none() {
        fill::catch_up(node, shared, epoch).await?;
        shared
            .change_identity(|view, identity| {
                identity.filled = Some(view.last);
                Ok(())
            })
            .await?;
    }
    Ok(())
}

/// R16: the epoch is active. Source and target store it. An order to learn may be old news, so it joins nobody:
/// the target serves once the witness, asked since its start, has said so too (R10).
pub(super) async fn learn(behind: &Behind, epoch: &Registered, activation: &Signed) -> Result<(), String> {
    let begins = begins(activation).map_err(text)?;
    if behind.node.filling.waits_for().as_ref() == Some(epoch) {
        return become_member(behind, epoch, activation, begins).await;
    }
    let Some((shared, _)) = &behind.member else {
        return Err("nothing is filled here for that epoch".to_owned());
    };
    let identity = shared.identity();
    if identity.epoch == *epoch && !identity.active() {
        // R15: both logs ended there. Nothing was appended since.
        shared.compare_with_beginning(begins).await.map_err(text)?;
    }
    let activation = activation.clone();
    shared
        .change_identity(|_, identity| {
            if identity.epoch != *epoch {
                return Err(format!("this database is in epoch {}", identity.epoch()));
            }
            if identity.phase == Phase::Filling && identity.filled.is_none() {
                return Err("this database is not filled".to_owned());
            }
            begin_epoch(identity, begins, activation);
            Ok(())
        })
        .await
}

fn begin_epoch(identity: &mut Identity, begins: Position, activation: Signed) {
    if identity.activation.is_none() {
        identity.activation = Some(activation);
        identity.phase = Phase::Member;
        identity.lineage.push((identity.epoch(), begins));
    }
}

/// The filled store takes the place of whatever was served from here before. What has begun goes on to its end, also when
/// nobody waits for it any more and when the incarnation ends meanwhile: the next one begins with what comes out of it.
async fn become_member(
    behind: &Behind,
    epoch: &Registered,
    activation: &Signed,
    begins: Position,
) -> Result<(), String> {
    let node = behind.node.clone();
    let moving = node.directory.moving().await;
    let Some((filled, mut loaded)) = node.filling.take(epoch) else {
        return Err("the store that was filled has been taken or given up meanwhile".to_owned());
    };
    begin_epoch(&mut loaded.identity, begins, activation.clone());
    let old = behind.member.as_ref().map(|(shared, _)| {
        let identity = shared.identity();
        (identity.db_id, identity.epoch().no)
    });
    let (disk, data) = (node.env.disk.clone(), node.config.data_dir.clone());
    let identity = loaded.identity.clone();
    let work = node.clone();
    let promotion = node.env.spawn("promotion", async move {
        let moved = work.env.blocking("promote", move || {
            filled.engine.set_identity(&identity).map_err(text)?;
            promote(&*disk, &data, old).map_err(text)?;
            Ok::<_, String>(filled.moved())
        });
        let moved = moved.await.unwrap_or_else(|_| Err("storage panicked".to_owned()));
        // After a failure the disk is read again, to see how far it came.
        let (store, done) = match moved {
            Ok(engine) => (Some((engine, loaded)), Ok(())),
            Err(why) => (None, Err(why)),
        };
        work.end_with(store);
        drop(moving);
        done
    });
    promotion.await.unwrap_or_else(|_| Err("the promotion was cut short".to_owned()))
}

/// R10: the audited way out when neither the witness nor the peer answers.
async fn serve_alone(
    node: &Node,
    shared: &Arc<Shared>,
    signed: &Signed,
    (epoch, database, start): (crate::store::epoch::Epoch, crate::store::epoch::DbId, Vec<u8>),
) -> Result<(), String> {
    if start != node.start {
        return Err(
            "the statement is about an earlier start of this process: ask its status again".to_owned()
        );
    }
    let statement = signed.clone();
    shared
        .change_identity(|_, identity| {
            if identity.db_id != database || identity.epoch() != epoch || identity.phase != Phase::Member {
                return Err(format!(
                    "this is database {} of epoch {}, {}",
                    identity.db_id,
                    identity.epoch(),
                    identity.phase.word()
                ));
            }
            if !identity.alone.contains(&statement) {
                identity.alone.push(statement);
            }
            Ok(())
        })
        .await?;
    tracing::warn!(%epoch, %database, "serving alone, by the operator's statement");
    {
        let mut view = shared.view();
        view.alone = !view.joined;
        view.joined = true;
    }
    shared.ask.notify_one();
    Ok(())
}
