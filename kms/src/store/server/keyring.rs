//! A new domain, at a database (R23): its sealed key is put beside the store in the writer's turn, so that no entry ends the domain
//! meanwhile and no other epoch begins. A key is never replaced, and never put for a domain whose service has ended. Opens none.

use super::{
    terminate::keyless,
    view::{Shared, View},
};
use crate::{
    limits::DOMAIN_KEY_MAX_BYTES,
    record::Transaction,
    store::{
        codec::{Malformed, id16},
        engine::{Beside, Lies, STORE_DIR, begun},
        epoch::Epoch,
        termination::domain_of,
    },
    wire::{
        keyring::{KeyringObject, KeyringStep, PutKeyring},
        message::{Body, NotRead},
    },
};
use std::sync::Arc;
use uuid::Uuid;

/// One step, as a host asks for it.
struct Put {
    epoch: Epoch,
    domain: Uuid,
    sealed: Vec<u8>,
    step: KeyringStep,
    /// The greatest position that the host has seen (R9).
    seen: u64,
}

impl Put {
    fn read(message: PutKeyring, seen: u64) -> Result<Put, Malformed> {
        let step = message.step();
        if step == KeyringStep::Unspecified {
            return Err(Malformed("no step of a new domain"));
        }
        let (id, domain) = (id16(&message.epoch_id)?, id16(&message.domain)?);
        if message.sealed.is_empty() || message.sealed.len() > DOMAIN_KEY_MAX_BYTES {
            return Err(Malformed("no sealed key of a domain"));
        }
        let epoch = Epoch { no: message.epoch_no, id };
        Ok(Put { epoch, domain: Uuid::from_bytes(domain), sealed: message.sealed, step, seen })
    }

    /// Why it is not taken, if it is not.
    fn refused(&self, view: &View) -> Option<NotRead> {
        if let Some(why) = view.not_read() {
            return Some(why);
        }
        // The steps before may have been taken in an epoch that another database was a member of.
        if view.identity.epoch() != self.epoch {
            return Some(NotRead::EpochChanged);
        }
        // From a source that is filled from, nothing is taken: what is filled must have all of it.
        if !view.identity.active() {
            return Some(NotRead::NotServing);
        }
        if view.has_ended(Some(self.domain)) {
            return Some(NotRead::Terminated);
        }
        view.ending(Some(self.domain)).then_some(NotRead::InDoubt)
    }
}

/// Takes one step; answers what lies there then.
pub(super) async fn put(shared: &Arc<Shared>, message: PutKeyring, seen: u64) -> Body {
    let put = match Put::read(message, seen) {
        Ok(put) => put,
        Err(error) => return Body::BadRequest(error.to_string()),
    };
    if shared.head != (put.step != KeyringStep::Keep) {
        return Body::BadRequest("this step of a new domain is the other database's".to_owned());
    }
    let own = shared.clone();
    // It keeps its turn to the end, also when the host has gone: the disk may be at it still.
    let work = shared.env.spawn("keyring", async move { take(&own, put).await });
    work.await.unwrap_or(Body::NotRead(NotRead::NotServing as i32))
}

async fn take(shared: &Arc<Shared>, put: Put) -> Body {
    let _writer = shared.writer.lock().await;
    {
        let view = shared.view();
        if let Some(why) = put.refused(&view) {
            return Body::NotRead(why as i32);
        }
        if view.last.seq < put.seen {
            drop(view);
            shared.found_behind();
            return Body::NotRead(NotRead::Behind as i32);
        }
    }
    let (domain, step) = (put.domain, put.step);
    let (disk, dir) = (shared.env.disk.clone(), shared.config.data_dir.join(STORE_DIR));
    if step == KeyringStep::Begin {
        // Records that another key was made for would never open again.
        match keyless(shared, domain).await {
            Ok(false) => {}
            Ok(true) => return Body::NotRead(NotRead::Damaged as i32),
            Err(_) => return Body::NotRead(NotRead::NotServing as i32),
        }
    }
    // The store has no part in it: a key file that cannot be written is no reason to close it.
    let work = move || {
        let beside = Beside::new(&*disk, &dir, domain);
        let lies = match step {
            KeyringStep::Keep => beside.keep(put.sealed).map(Some),
            KeyringStep::End => beside.end(put.sealed),
            _ => beside.begin(put.sealed),
        };
        (lies, begun(&*disk, &dir))
    };
    let (lies, begun) = match shared.env.blocking("keyring", work).await {
        Ok((Ok(lies), Ok(begun))) => (lies, begun),
        Ok((Err(error), _) | (_, Err(error))) => {
            tracing::error!(%error, "own disk: a step of a new domain");
            // It may lie there all the same, under either name.
            shared.keyring.send_modify(|keyring| *keyring += 1);
            find_begun(shared).await;
            return Body::NotRead(NotRead::NotServing as i32);
        }
        Err(_) => return Body::NotRead(NotRead::NotServing as i32),
    };
    let Some(Lies { sealed, new }) = lies else {
        shared.view().begun = begun;
        return Body::BadRequest(
            "there are as many domains as a region can have, or none was begun".to_owned(),
        );
    };
    if new {
        // A replica gets keys when a feed begins: none that began before gives an entry from here on.
        shared.keyring.send_modify(|keyring| *keyring += 1);
    }
    shared.view().begun = begun;
    Body::KeyringObject(KeyringObject { sealed: Some(sealed) })
}

/// Finds out which domains are begun here; a failure ends the incarnation.
pub(super) async fn find_begun(shared: &Shared) {
    let (disk, dir) = (shared.env.disk.clone(), shared.config.data_dir.join(STORE_DIR));
    if let Ok(found) = shared.engine("keyring", move |_| Ok(begun(&*disk, &dir)?)).await {
        shared.view().begun = found;
    }
}

/// Whether a host writes in a domain that is begun and not there yet: it has the key from the other database, and here a replica
/// would get the record without it.
pub(super) fn is_early(view: &View, transaction: &Transaction) -> bool {
    let mut domains = transaction.keys().filter_map(|key| domain_of(&key.0));
    let early = |domain| view.begun.contains(&domain) && !view.has_ended(Some(domain));
    !view.begun.is_empty() && domains.any(early)
}
