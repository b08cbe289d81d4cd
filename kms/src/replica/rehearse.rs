//! A rehearsal of a restore: a backup is chosen and taken by the very steps with which the replica of a lost region begins, into a
//! directory that nothing else uses, beside whatever runs. It asks no node anything, follows nobody and makes no backups.

use super::{
    Node, StartError,
    kept::{Closing, Kept, Trouble, keyring, storage},
    load,
    status::{SeedStatus, Tombstones},
};
use crate::{
    config::NodeConfig,
    crypto::OperatorVerifier,
    env::Env,
    limits::FILL_PART_BYTES,
    store::{engine::FillRow, epoch::Epoch, witness::Known},
    wire::{
        restore::{BackupSeen, BackupWanted},
        tls::NodeTls,
    },
};
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

/// Somebody who rehearses.
pub struct Rehearsal {
    node: Node,
}

/// A backup that was taken, in a store that is open.
pub struct Rehearsed {
    /// What was chosen, and what its manifest says.
    pub seen: BackupSeen,
    /// The epoch that it is of, signed by the operator.
    pub epoch: Epoch,
    /// Keys that were destroyed after it was made.
    pub tombstones: Tombstones,
    /// The domains whose service has ended. Nothing of them opens any more.
    pub ended: Vec<Uuid>,
    kept: Kept,
    closing: Closing,
}

fn words(trouble: Trouble) -> String {
    match trouble {
        Trouble::Disk(why) | Trouble::Source(why) => why,
    }
}

impl Rehearsal {
    /// With a replica's configuration whose `data_dir` is a directory for this rehearsal alone.
    ///
    /// # Errors
    /// [`StartError`] says what to do.
    pub fn new(
        env: &Env,
        config: NodeConfig,
        tls: Arc<NodeTls>,
        operator: OperatorVerifier,
    ) -> Result<Rehearsal, StartError> {
        Ok(Rehearsal { node: Node::new(env.clone(), config, tls, operator)? })
    }

    /// How far it is.
    pub fn progress(&self) -> SeedStatus {
        self.node.status().seed.unwrap_or_default()
    }

    /// Chooses a backup as a restore does, and takes it. Everything is checked that a restore checks.
    ///
    /// # Errors
    /// In words for people: what is wrong with the backup or a store, and what to do.
    pub async fn take(&self, wanted: &BackupWanted) -> Result<Rehearsed, String> {
        let node = &self.node;
        let seen = load::seen(node, wanted).await?;
        let (Some(name), Some(state)) = (&seen.backup, &seen.known) else {
            return Err("no backup was chosen".to_owned());
        };
        let known = Known::verify(state, &node.operator, &node.config.region);
        let known = known.map_err(|error| format!("the epoch of the backup: {error}"))?;
        let (mut kept, mut closing) = (None, Closing::default());
        let taken = load::take(node, (&mut kept, &mut closing), &known.active, name).await;
        let Some(store) = kept else {
            closing.all().await;
            return Err(taken.map_or_else(words, |()| "nothing was taken".to_owned()));
        };
        let status = node.status();
        Ok(Rehearsed {
            epoch: known.active.record.epoch,
            tombstones: status.tombstones.unwrap_or_default(),
            ended: status.terminated.iter().map(|ended| ended.domain).collect(),
            seen,
            kept: store,
            closing,
        })
    }

    /// Rows of what was taken, in key order, those after `after`, about 1 MiB; none at the end. Each is checked against its checksum.
    ///
    /// # Errors
    /// What is wrong with the disk.
    pub async fn rows_after(
        &self,
        rehearsed: &Rehearsed,
        after: Option<Vec<u8>>,
    ) -> Result<Vec<FillRow>, String> {
        let held = rehearsed.kept.share();
        let rows = held.run(&self.node.env, "rehearse", move |engine| {
            engine.rows_after(after.as_deref(), FILL_PART_BYTES)
        });
        rows.await.map_err(storage)
    }

    /// The sealed domain keys that came with it.
    ///
    /// # Errors
    /// What is wrong with the disk.
    pub async fn keyring(&self) -> Result<BTreeMap<Uuid, Vec<u8>>, String> {
        keyring(&self.node).await
    }

    /// Returns when nothing of what was taken is open any more: its directory may be removed.
    pub async fn close(&self, rehearsed: Rehearsed) {
        let Rehearsed { kept, mut closing, .. } = rehearsed;
        self.node.desk.unshare();
        self.node.opened.closes();
        drop(kept);
        closing.all().await;
    }
}
