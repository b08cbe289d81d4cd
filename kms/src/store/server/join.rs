//! R10: a database that starts serves nothing until somebody who may know has told it, since that start, that
//! its epoch is current. Asks the witness; the peer may be faster (see the handshake). Also hears there that a
//! registered epoch has become active, or that this database is one of the past.

use super::{
    connection::Behind,
    orders::{learn, retire, store_adopted},
    view::Shared,
};
use crate::{
    limits::ms,
    store::{
        backoff::Backoff,
        epoch::Phase,
        witness::{self, Known},
    },
};
use std::sync::Arc;

/// Asks whenever there is something to be learned, as long as it runs.
pub(super) async fn run(behind: Behind) {
    let node = behind.node.clone();
    let Some(address) = node.config.peers.witness.clone() else { return };
    let limit = ms(node.config.limits.connect_ms);
    let mut backoff = Backoff::new(&node.config.limits);
    let mut warned = false;
    loop {
        wait_for_a_question(&behind).await;
        let before = node.env.now();
        match witness::read_epoch(&node.env, &node.tls, &address, &node.operator, limit).await {
            Ok(known) => {
                warned = false;
                if let Err(why) = heard(&behind, &known).await {
                    tracing::warn!(%why, "what the witness says cannot be followed");
                }
                // While an epoch is pending it is asked again soon: writes wait for the answer.
                node.env.sleep(ms(node.config.limits.ping_ms)).await;
            }
            Err(error) => {
                if !warned && open_question(&behind) {
                    tracing::warn!(%error, "the witness does not answer; waiting for it or for the peer");
                    warned = true;
                }
                backoff.pause(&node.env, before).await;
            }
        }
    }
}

fn open_question(behind: &Behind) -> bool {
    let of_member = behind.member.as_ref().is_some_and(|(shared, _)| {
        let view = shared.view();
        view.identity.phase != Phase::Retired && !(view.joined && !view.alone && view.identity.active())
    });
    of_member || behind.node.filling.waits_for().is_some()
}

async fn wait_for_a_question(behind: &Behind) {
    while !open_question(behind) {
        let filled = behind.node.filled.notified();
        match &behind.member {
            Some((shared, _)) => {
                tokio::select! {
                    biased;
                    // Something in what a peer or a host says does not fit: worth a question of its own.
                    () = shared.ask.notified() => return,
                    () = filled => {}
                }
            }
            None => filled.await,
        }
    }
}

async fn heard(behind: &Behind, known: &Known) -> Result<(), String> {
    if let Some(epoch) = behind.node.filling.waits_for()
        && known.witness == epoch.record.witness
    {
        if known.active == epoch {
            return learn(behind, &epoch, &known.activation).await;
        }
        if known.pending.as_ref() != Some(&epoch) {
            tracing::warn!(epoch = %epoch.record.epoch, "the epoch that was filled for is given up");
            behind.node.filling.clear();
        }
    }
    match &behind.member {
        Some((shared, _)) => member_heard(behind, shared, known).await,
        None => Ok(()),
    }
}

async fn member_heard(behind: &Behind, shared: &Arc<Shared>, known: &Known) -> Result<(), String> {
    let identity = shared.identity();
    if identity.phase == Phase::Retired {
        return Ok(());
    }
    if known.witness != identity.witness() {
        // F28: a witness that was replaced may be anywhere in the past.
        return Err(format!(
            "it is witness {}, and this database listens to {}",
            hex::encode(known.witness),
            hex::encode(identity.witness())
        ));
    }
    let (active, own) = (&known.active, &identity.epoch);
    if own == active {
        if !identity.active() {
            learn(behind, own, &known.activation).await?;
        }
        return match &known.pending {
            Some(pending) if pending.record.source == identity.db_id => {
                store_adopted(shared, pending, false).await
            }
            // R10: somebody may be about to make this one a database of the past.
            Some(_) if !shared.view().joined => Ok(()),
            _ => {
                joined(shared);
                Ok(())
            }
        };
    }
    if known.pending.as_ref() == Some(own) {
        if identity.is_source() {
            joined(shared);
        }
        return Ok(());
    }
    match &known.pending {
        // The epoch that was adopted was given up for another one with the same source.
        Some(pending)
            if pending.record.source == identity.db_id && own.record.epoch.no < pending.record.epoch.no =>
        {
            store_adopted(shared, pending, false).await
        }
        _ if own.record.epoch.no < active.record.epoch.no => match active
            .record
            .members
            .contains(&identity.db_id)
        {
            false => retire(shared, active).await,
            true => Err(
                "this database is a member of an epoch that it has forgotten: its disk went back in time; \
                         rebuild it"
                    .to_owned(),
            ),
        },
        _ => Ok(()),
    }
}

fn joined(shared: &Arc<Shared>) {
    let mut view = shared.view();
    view.alone = false;
    if !view.joined {
        view.joined = true;
        tracing::info!(epoch = %view.identity.epoch(), "joined: the witness knows the epoch as current");
    }
}
