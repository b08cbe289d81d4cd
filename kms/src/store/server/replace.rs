//! The operator's order to listen to another witness (R17a), and what that one is to begin with. The order goes to the
//! head, whose task has the chain commit it; nothing is told to a new witness that is not committed.

use super::{
    connection::Behind,
    head::{Event, Replacing},
};
use crate::{
    limits::ms,
    store::{replacement::Replaced, witness::Known},
    wire::message::{Body, NotDone},
};
use tokio::sync::oneshot;

/// Has the chain commit it. `Ok`: both databases have it durably, and listen to the new witness. `Err` is for the operator to
/// read.
pub(super) async fn order(behind: &Behind, witness: Replaced) -> Result<(), String> {
    let Some((shared, events)) = &behind.member else {
        return Err("no store here: it is blank".to_owned());
    };
    let Some(events) = events else {
        return Err("a witness is replaced at the head: this is the tail".to_owned());
    };
    if !shared.identity().active() {
        return Err("a rebuild is under way: finish it, or abandon it, first".to_owned());
    }
    let (answer, answered) = oneshot::channel();
    let until = shared.env.now() + ms(shared.config.limits.queue_ms);
    if events.send(Event::Replace(Replacing { witness, answer, until })).is_err() {
        return Err("the store is being opened again; nothing was changed".to_owned());
    }
    match answered.await {
        Ok(Body::Committed(_)) => Ok(()),
        Ok(Body::Conflict(_)) => Err(format!(
            "the members listen to witness {} in epoch {}: another operator was faster. Run it again",
            hex::encode(shared.identity().witness()),
            shared.epoch()
        )),
        Ok(Body::NotDone(why)) => Err(refused(why).to_owned()),
        _ => Err("whether both databases have it is not known yet: run it again".to_owned()),
    }
}

fn refused(why: i32) -> &'static str {
    match NotDone::try_from(why) {
        Ok(NotDone::NoTail | NotDone::Stalled) => {
            "the other database does not confirm: the witness is replaced only while both are up; nothing was changed"
        }
        Ok(NotDone::InDoubt) => "a write before it is not confirmed yet; nothing was changed",
        _ => "it does not take writes at the moment; nothing was changed",
    }
}

/// With what the witness begins that this head listens to: its own epoch, which is active. A replacement shows here once
/// it is confirmed, and not before.
pub(super) fn begins_with(behind: &Behind) -> Body {
    let Some((shared, Some(_))) = &behind.member else {
        return Body::BadRequest("no head is here to say with what a witness begins".to_owned());
    };
    let (identity, serving) = {
        let view = shared.view();
        (view.identity.clone(), view.serving())
    };
    match (&identity.activation, serving) {
        (Some(activation), true) => {
            let known = Known {
                witness: identity.witness(),
                active: identity.epoch.clone(),
                activation: activation.clone(),
                pending: None,
                replaced: identity.replaced.clone(),
            };
            Body::EpochAnswer(known.out(&identity.region))
        }
        _ => Body::BadRequest("this database does not serve in an active epoch".to_owned()),
    }
}
