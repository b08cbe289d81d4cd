//! A replica's store: opened, held, and changed by what is fed. An entry counts as taken when it is durable here.

use super::{Node, give::Reading};
use crate::store::{
    codec,
    engine::{Engine, EngineError, KEYRING_DIR, Loaded, STORE_DIR, keyring_objects},
    epoch::{Epoch, Identity, Registered},
    held::{Closed, Held},
    log::{Entry, Position},
    termination::{Ended, Termination, erase_keys},
};
use crate::{env::Env, wire::epoch as wire};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    path::{Path, PathBuf},
};
use tokio::sync::oneshot;
use uuid::Uuid;

/// What must be over before the store may be opened again, or the node is said to have stopped.
#[derive(Default)]
pub(super) struct Closing {
    /// The store in use.
    store: Option<Closed>,
    /// Other open stores, and work on the data directory.
    others: Vec<Closed>,
}

impl Closing {
    /// The store in use is this one from now on.
    pub(super) fn store(&mut self, closed: Closed) {
        self.others.extend(self.store.replace(closed));
    }

    /// Something else is open; answers its place, for [`Closing::in_use`].
    pub(super) fn other(&mut self, closed: Closed) -> usize {
        self.others.push(closed);
        self.others.len() - 1
    }

    /// What was opened as `at` is the store in use from now on.
    pub(super) fn in_use(&mut self, at: usize) {
        let closed = self.others.remove(at);
        self.store(closed);
    }

    /// Waits until nothing else is open or at work.
    pub(super) async fn others(&mut self) {
        while let Some(closed) = self.others.last_mut() {
            let _ = closed.await;
            self.others.pop();
        }
    }

    /// Waits until nothing is open or at work. Whoever calls this has let go of the store.
    pub(super) async fn all(&mut self) {
        self.others.extend(self.store.take());
        self.others().await;
    }

    /// Runs work on the data directory; it goes on to its end, and is waited for, also if nobody waits for what it answers.
    pub(super) async fn blocking<T: Send + 'static>(
        &mut self,
        env: &Env,
        name: &'static str,
        work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let (working, over) = oneshot::channel::<Infallible>();
        self.others.push(over);
        // What it answers goes first.
        match env.blocking(name, move || (work(), working)).await {
            Ok((done, _working)) => done,
            Err(_) => Err(EngineError::Io(std::io::Error::other(format!("panicked in {name}")))),
        }
    }
}

/// An open store and where it stands.
pub(super) struct Kept {
    held: Held,
    identity: Identity,
    last: Position,
    ended: Ended,
}

/// What keeps a replica from taking something.
pub(super) enum Trouble {
    /// Its own disk: the store is to be opened again.
    Disk(String),
    /// What the source sends.
    Source(String),
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Trouble {
        Trouble::Disk(storage(error))
    }
}

/// In words.
pub(super) fn storage(error: EngineError) -> String {
    format!("own disk: {error}")
}

impl Kept {
    pub(super) fn new(engine: Engine, loaded: Loaded) -> (Kept, Closed) {
        let (held, closed) = Held::new(engine);
        let ended = Ended::new(loaded.terminated);
        (Kept { held, identity: loaded.identity, last: loaded.last, ended }, closed)
    }

    /// A store that was just filled, and is in its place.
    pub(super) fn filled(
        held: Held,
        (identity, last): (Identity, Position),
        terminated: Vec<Termination>,
    ) -> Kept {
        Kept { held, identity, last, ended: Ended::new(terminated) }
    }

    /// The domains whose service has ended.
    pub(super) fn ended(&self) -> &Ended {
        &self.ended
    }

    /// Deletes the keys of domains whose service has ended, if some may be left; tried again until it succeeds.
    pub(super) async fn erase(&mut self, node: &Node) {
        let domains = self.ended.unerased();
        if domains.is_empty() {
            return;
        }
        let (disk, data, of) = (node.env.disk.clone(), node.config.data_dir.clone(), domains.clone());
        match node.env.blocking("erase", move || erase_keys(&*disk, &data, &of)).await {
            Ok(Ok(())) => {
                tracing::info!(domains = domains.len(), "keys of domains whose service has ended are gone");
                self.ended.erased(&domains);
                node.desk.stands(self);
                node.desk.keys_gone.notify_one();
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "a key of a domain whose service has ended is not deleted yet")
            }
            Err(_) => tracing::error!("panicked while keys were deleted"),
        }
    }

    /// A share in the store.
    pub(super) fn share(&self) -> Held {
        self.held.clone()
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.identity.epoch()
    }

    /// End of the log, durably.
    pub(super) fn last(&self) -> Position {
        self.last
    }

    /// Whether `entries` follow this log and may stand in it; decoded.
    pub(super) fn check(&self, node: &Node, entries: Vec<Vec<u8>>) -> Result<Vec<Entry>, String> {
        let mut end = self.last;
        let mut checked = Vec::with_capacity(entries.len());
        for bytes in entries {
            let entry = Entry::decode(end, bytes).map_err(|error| error.to_string())?;
            if entry.epoch.no > self.epoch().no {
                // R18: the newer epoch is to be durable here first.
                return Err(format!("an entry of epoch {}, which was not announced", entry.epoch));
            }
            entry
                .check(&node.operator, &node.config.region)
                .map_err(|error| format!("an entry may not stand in this log: {error}"))?;
            end = entry.position;
            checked.push(entry);
        }
        Ok(checked)
    }

    /// Takes entries that follow, each durably, in order.
    pub(super) async fn take(&mut self, node: &Node, entries: Vec<Entry>) -> Result<(), EngineError> {
        let taken = self.held.run(&node.env, "follow", move |engine| {
            for entry in &entries {
                engine.append_and_apply(entry)?;
            }
            Ok(entries)
        });
        for entry in taken.await? {
            assert_eq!(self.last.seq + 1, entry.position.seq, "a replica's log has no holes");
            self.last = entry.position;
            self.ended.applied(&entry);
            if let Some(identity) = self.identity.after(&entry) {
                self.identity = identity;
            }
        }
        Ok(())
    }

    /// From here on the log is that of a newer epoch, whose history is this one's.
    pub(super) async fn change_epoch(
        &mut self,
        node: &Node,
        epoch: &Registered,
        activation: &wire::Signed,
        lineage: Vec<(Epoch, Position)>,
    ) -> Result<(), EngineError> {
        assert!(epoch.record.epoch.no > self.epoch().no, "epochs rise");
        let newer = |identity: &mut Identity| {
            identity.epoch = epoch.clone();
            identity.activation = Some(activation.clone());
            identity.fence = None;
            identity.lineage = lineage;
            identity.replaced = None;
        };
        self.change_identity(node, newer).await?;
        tracing::info!(epoch = %self.epoch(), last = ?self.last, "the replica follows a newer epoch");
        Ok(())
    }

    /// Changes who this store is, durably.
    pub(super) async fn change_identity(
        &mut self,
        node: &Node,
        change: impl FnOnce(&mut Identity),
    ) -> Result<(), EngineError> {
        let mut identity = self.identity.clone();
        change(&mut identity);
        let stored = identity.clone();
        self.held.run(&node.env, "identity", move |engine| engine.set_identity(&stored)).await?;
        self.identity = identity;
        Ok(())
    }

    /// For those who only read.
    pub(super) fn reading(&self) -> Reading {
        Reading { held: self.held.clone(), identity: self.identity.clone(), last: self.last }
    }

    /// Number of records, for people.
    pub(super) async fn records(&self, node: &Node) -> u64 {
        self.held.run(&node.env, "status", Engine::records).await.unwrap_or(0)
    }
}

/// The sealed domain keys beside the store, by domain.
pub(super) async fn keyring(node: &Node) -> Result<BTreeMap<Uuid, Vec<u8>>, String> {
    let (disk, dir) = (node.env.disk.clone(), node.config.data_dir.join(STORE_DIR));
    let read = node.env.blocking("backup-keyring", move || keyring_objects(&*disk, &dir)).await;
    let objects = match read {
        Ok(Ok(objects)) => objects,
        Ok(Err(error)) => return Err(format!("own disk: {error}")),
        Err(panicked) => return Err(format!("own disk: {panicked}")),
    };
    let domain = |name: PathBuf| name.to_str()?.parse().ok();
    Ok(objects.into_iter().filter_map(|(name, sealed)| Some((domain(name)?, sealed))).collect())
}

/// Keeps the sealed domain keys that a part brings, in `dir`; not those of domains whose service has ended.
pub(super) async fn keep_keyring(
    node: &Node,
    (dir, ended): (&Path, &Ended),
    mut objects: Vec<wire::FillRow>,
) -> Result<(), Trouble> {
    objects.retain(|object| !Uuid::from_slice(&object.key).is_ok_and(|domain| ended.has(domain)));
    if objects.is_empty() {
        return Ok(());
    }
    let (disk, dir) = (node.env.disk.clone(), dir.join(KEYRING_DIR));
    let kept = node.env.blocking("keyring", move || {
        disk.create_dir(&dir)?;
        for object in objects {
            let domain =
                codec::id16(&object.key).map_err(|error| std::io::Error::other(error.to_string()))?;
            let path = dir.join(Uuid::from_bytes(domain).to_string());
            match disk.read(&path)? {
                None => disk.write_atomic(&path, &object.value, true)?,
                Some(own) if own == object.value => {}
                // A sealed key never changes: one of the two is damaged, and only a host can tell which.
                Some(_) => {
                    let domain = Uuid::from_bytes(domain);
                    tracing::error!(%domain, "the sealed key of a domain is another one at the source: the one here is kept");
                }
            }
        }
        // Also of those that were written before: the sync may have failed then.
        disk.sync_dir(&dir)?;
        disk.sync_dir(dir.parent().unwrap_or(&dir))
    });
    match kept.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Trouble::Disk(format!("own disk: {error}"))),
        Err(_) => Err(Trouble::Disk("own disk: panicked".to_owned())),
    }
}
