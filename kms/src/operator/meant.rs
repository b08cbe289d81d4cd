//! Which copy a restore is meant to take, and which database is of the region that was lost: what must not be taken for something else is
//! refused, and says what to do.

use super::{
    rebuild::place,
    restore::{Copy, RestorePlan},
    session::{RebuildError, refused},
};
use crate::{
    config::Zone,
    replica::ReplicaStatus,
    store::{
        epoch::{Epoch, Registered},
        server::DatabaseStatus,
        witness::Known,
    },
    wire::restore::BackupSeen,
};

/// Whether the database is one of the region that was lost: a member of the last epoch that is known, or of one that began after that,
/// which a copy of before does not know.
pub(super) fn of_old_region(status: &DatabaseStatus, known: &Known, zone: Zone) -> bool {
    let active = &known.active.record;
    status.db_id == active.members[place(zone)].to_string()
        || status.phase == "member" && status.epoch_no > active.epoch.no
}

/// The witness knows at least the epoch of the copy: one that does not is not the region's last one, and would count numbers anew.
///
/// # Errors
/// [`RebuildError::Refused`].
pub(super) fn knows_the_copy(
    known: &Known,
    replica: &ReplicaStatus,
    backup: Option<&Known>,
) -> Result<(), RebuildError> {
    let newest = known.newest().record.epoch;
    let (what, no, name) = match backup.map(|backup| backup.active.record.epoch) {
        Some(epoch) => ("backup", epoch.no, epoch.to_string()),
        None => ("replica", replica.epoch_no, replica.epoch.clone()),
    };
    if no < newest.no || name == newest.to_string() {
        return Ok(());
    }
    Err(refused(format!(
        "the {what} is of epoch {name}, and the newest that the witness knows is {newest}: it is a witness of the past, or of another \
         region. Put the right one at its address, or if that is lost for good a blank one, and add --witness-lost"
    )))
}

/// Nothing that could not be read may be newer than the backup that was found, unless its store was named.
///
/// # Errors
/// [`RebuildError::Refused`].
pub(super) fn nothing_newer(plan: &RestorePlan, seen: &BackupSeen) -> Result<(), RebuildError> {
    let named = matches!(&plan.from, Copy::Backup { store: Some(_), .. });
    if named || seen.unread.is_empty() {
        return Ok(());
    }
    let store = seen.backup.as_ref().map_or("", |backup| backup.store.as_str());
    let position = end(seen);
    Err(refused(format!(
        "there may be a newer backup than the one that was found, in {store}, which ends at position {position}: {}. Mend that and run this \
         again, or name the store to go ahead with what it has: --store {store}",
        seen.unread.join("; ")
    )))
}

/// The replica has what the newest backup has, and the entry of the newest anchor that is not in that.
///
/// # Errors
/// [`RebuildError::Refused`].
pub(super) fn of_no_past(
    replica: &ReplicaStatus,
    of_backup: Epoch,
    seen: &BackupSeen,
) -> Result<(), RebuildError> {
    let has = (replica.epoch_no, replica.last);
    let newest = (of_backup.no, end(seen)).max((seen.anchor_epoch_no, seen.anchor_seq));
    if newest <= has {
        return Ok(());
    }
    Err(refused(format!(
        "the backup stores have something of position {} in epoch {}, and the replica ends at {} in epoch {}: its disk is of the past. Use \
         `--from backup`; if what was written since is to be given up, add --older-than-backup",
        newest.1, newest.0, has.1, has.0
    )))
}

/// Keys were destroyed after it was made.
pub(super) fn older_than_anchor(seen: &BackupSeen) -> RebuildError {
    let position = end(seen);
    refused(format!(
        "its store has a newer backup, and keys were destroyed after this one was made: it ends at position {position}, and the newest \
         anchor of tombstones is of {}. Without --at the newest one is taken. To go ahead with this one add \
         --older-than-anchor: keys that were destroyed stay destroyed, and all else that was written since is lost",
        seen.anchor_seq
    ))
}

/// It holds everything up to there.
fn end(seen: &BackupSeen) -> u64 {
    seen.position.as_ref().map_or(0, |position| position.seq)
}

/// Whether a registered restore is the one that is meant. One of what the replica has is not gone on with from a backup, unless the
/// replica has adopted it already.
pub(super) fn goes_on(replica: &ReplicaStatus, pending: &Registered, backup: bool) -> bool {
    let adopted = replica.epoch == pending.record.epoch.to_string();
    if backup { adopted || !is_of(replica, pending) } else { is_of(replica, pending) }
}

/// The replica has begun with a backup already: that is the one that is gone on with, if it may be. None: it is another one than was found
/// now, and nobody knows more of it than where it ends.
pub(super) fn goes_on_with(
    plan: &RestorePlan,
    replica: &ReplicaStatus,
    found: BackupSeen,
) -> Result<Option<BackupSeen>, RebuildError> {
    let ends = end(&found);
    let named = matches!(&plan.from, Copy::Backup { store, at_ms } if store.is_some() || at_ms.is_some());
    if replica.last == ends {
        return Ok(Some(found));
    }
    if !named && replica.last > ends {
        return Ok(None);
    }
    Err(refused(format!(
        "the replica has begun already with a backup that ends at position {}, and the one that is meant now ends at {ends}. To go on with \
         the former, run this as it was run before (--at, --store); to take the latter, start the replica on an empty data directory, and run \
         this again",
        replica.last
    )))
}

/// Whether it keeps what the restore in this epoch is made of.
pub(super) fn is_of(replica: &ReplicaStatus, epoch: &Registered) -> bool {
    replica.db_id == epoch.record.source.to_string()
}
