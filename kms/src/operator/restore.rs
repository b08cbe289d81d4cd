//! A lost region made anew from its replica, or from a backup that the replica takes first (R17): register, adopt, fence, fill both databases, activate, learn, in that order.
//! Each step is durable where it is taken before the next one begins, and each may be taken again. What the replica has not is lost;
//! what databases of the old region have beyond it is listed, and never merged.

use super::{
    ask::{ANSWER_WITHIN, look_at_backup, order_replica, replica_knows, replica_status},
    meant::{
        goes_on, goes_on_with, is_of, knows_the_copy, nothing_newer, of_no_past, of_old_region,
        older_than_anchor,
    },
    rebuild::{place, position},
    session::{
        Asked, LOOK, Operator, PATIENCE, Person, Progress, RebuildError, described, hex16, message, refused,
    },
};
use crate::{
    config::Zone,
    env::Purpose,
    limits::{LEASES_OVER, ms},
    replica::{ReplicaStatus, Tombstones},
    store::{
        epoch::{DbId, Epoch, EpochRecord, Registered, Statement},
        exchange::NoAnswer,
        log::Position,
        server::DatabaseStatus,
        witness::{self, Known},
    },
    wire::{
        epoch::{Order, OrderKind},
        message::Body,
        restore::{BackupSeen, BackupWanted},
    },
};
use std::time::Duration;

/// Neither database moves for so long: it does not go on by itself.
const NO_PROGRESS: Duration = ms(30 * 60_000);
/// Longest wait for the replica to find a backup: it asks its stores.
const FOUND_WITHIN: Duration = ms(120_000);
/// As long, if the backup is only to be compared with what the replica has.
const COMPARED_WITHIN: Duration = ms(15_000);
/// How often a replica is told to begin with a backup that it cannot take.
const LOAD_TRIES: u32 = 3;

/// What the region is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Copy {
    /// What the replica has taken.
    #[default]
    Replica,
    /// A backup, which the replica takes first.
    Backup {
        /// Region of the store; none = the one with the newest that can be read.
        store: Option<String>,
        /// Made then or before, Unix milliseconds; none = the newest.
        at_ms: Option<u64>,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestorePlan {
    /// What the region is made of.
    pub from: Copy,
    /// Go ahead although a database of the old region serves.
    pub retire_serving: bool,
    /// The witness is lost as well: the blank one that runs at its address begins with this restore.
    pub witness_lost: bool,
    /// Go ahead although the replica is of an older epoch than the region was.
    pub older_epoch: bool,
    /// Go ahead although a backup has more than the replica.
    pub older_than_backup: bool,
    /// Go ahead although the replica's log is known to be another history than the region's.
    pub diverged: bool,
    /// Go ahead with a backup that is not the newest of its store although tombstones of after it are known.
    pub older_than_anchor: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored {
    /// The epoch that is active now.
    pub epoch: Epoch,
    /// The region has everything up to here, and nothing of what came after.
    pub position: Position,
    /// The backup that it was made of, if this run took one.
    pub backup: Option<BackupSeen>,
    /// The tombstones that were put over it, as far as the replica knows: not if it was started anew since.
    pub tombstones: Option<Tombstones>,
    /// Databases of the old region that were asked, and how far their logs go: what is above [`Restored::position`] is lost to the
    /// region, and kept in their directories.
    pub retired: Vec<(DbId, u64)>,
}

impl Operator {
    /// Makes both databases anew from the replica or a backup, or goes on where it was interrupted.
    ///
    /// # Errors
    /// [`RebuildError`] says what stands in the way and what to do.
    pub async fn restore(
        &self,
        plan: &RestorePlan,
        person: &mut dyn Person,
    ) -> Result<Restored, RebuildError> {
        let mut seen = self.look_at_backup(plan).await?;
        // After the look, which may take long: another operator may be at work, and what the replica says has to be of now.
        let replica = self.ask_replica().await?;
        if let Some(seen) = seen.as_ref().filter(|seen| seen.older && seen.anchor_seq > 0)
            && !plan.older_than_anchor
        {
            return Err(older_than_anchor(seen));
        }
        let (known, lost) = self.stands(plan, &replica, seen.as_ref()).await?;
        if !lost {
            let backup = seen.as_ref().map(|seen| self.known_of(seen)).transpose()?;
            knows_the_copy(&known, &replica, backup.as_ref())?;
        }
        if known.pending.is_none()
            && known.active.record.is_restore()
            && is_of(&replica, &known.active)
            && Box::pin(self.is_to_be_finished(plan, &known)).await?
        {
            // Interrupted after the activation, or another operator is at it: its news, or the end, are missing.
            return self.finish(&known, (Vec::new(), None, None), person).await;
        }
        let pending = known.pending.as_ref().filter(|pending| pending.record.is_restore());
        let begun = pending.is_some_and(|pending| is_of(&replica, pending));
        if let Some(seen) = seen.as_ref().filter(|_| !begun) {
            nothing_newer(plan, seen)?;
        }
        if seen.is_none() && !begun {
            self.has_all_that_backups_have(plan, &replica, person).await?;
        }
        let (epoch, known, before) = match pending {
            Some(pending)
                if goes_on(&replica, pending, seen.is_some())
                    && (begun || self.nobody_began(pending).await) =>
            {
                (pending.clone(), known, true)
            }
            _ => {
                let copy = (&replica, seen.is_some());
                let stands = self.register_restore(plan, (&known, lost), copy, person).await?;
                (stands.newest().clone(), stands, false)
            }
        };
        person.told(&Progress::Registered(epoch.record.epoch, before));
        let loaded = replica.epoch == epoch.record.epoch.to_string() && is_of(&replica, &epoch);
        if loaded && let Some(now) = seen.take() {
            seen = goes_on_with(plan, &replica, now)?;
        }
        let tombstones = match &seen {
            Some(wanted) if !loaded => {
                let stands = self.load(&epoch, wanted, person).await?;
                // Another load of this epoch may have been under way already.
                seen = goes_on_with(plan, &stands, wanted.clone())?;
                stands.tombstones
            }
            _ => {
                self.give_replica(message(OrderKind::Adopt, &epoch.signed), person).await?;
                replica.tombstones.clone().filter(|_| plan.from != Copy::Replica)
            }
        };
        person.told(&Progress::ReplicaStands);
        let retired = self.fence_region(plan, &known, &epoch, person).await?;
        let over = self.env.now() + LEASES_OVER;
        let end = self.fill_both(&epoch, person).await?;
        person.told(&Progress::Filled(end));
        self.env.clock.sleep_until(over).await;
        let activation = self.sign(&Statement::Active(epoch.record.epoch, end));
        let known = self.tell_witness(Body::Activate(activation), person).await?;
        self.finish(&known, (retired, seen, tombstones), person).await
    }

    /// Whether both databases answer, and neither has begun to be filled in this epoch: what is loaded for it now is all that it is made of.
    async fn nobody_began(&self, epoch: &Registered) -> bool {
        let name = epoch.record.epoch.to_string();
        for zone in [Zone::A, Zone::B] {
            let Ok(status) = self.status(zone).await else { return false };
            let is_member = status.db_id == epoch.record.members[place(zone)].to_string();
            if is_member || status.fill.is_some_and(|fill| fill.epoch == name) {
                return false;
            }
        }
        true
    }

    /// Whether the active epoch, which is of this very copy, has only to be heard of: a database was filled for it and waits, or both are
    /// its members already. A database that does not answer may be about to become one: it says nothing of the region being lost again.
    async fn is_to_be_finished(&self, plan: &RestorePlan, known: &Known) -> Result<bool, RebuildError> {
        let name = known.active.record.epoch.to_string();
        let (mut members, mut away) = (0, None);
        for zone in [Zone::A, Zone::B] {
            match self.status(zone).await {
                Ok(status) if status.fill.as_ref().is_some_and(|fill| fill.filled && fill.epoch == name) => {
                    return Ok(true);
                }
                Ok(status) => {
                    let member = known.active.record.members[place(zone)].to_string();
                    members += u32::from(status.phase == "member" && status.db_id == member);
                }
                Err(error) => away = Some(RebuildError::Away(self.name(zone), error)),
            }
        }
        match away {
            Some(away) => Err(away),
            None => Ok(members == 2 && plan.from == Copy::Replica),
        }
    }

    /// The backup that is meant, as the replica finds it.
    async fn look_at_backup(&self, plan: &RestorePlan) -> Result<Option<BackupSeen>, RebuildError> {
        let Copy::Backup { store, at_ms } = &plan.from else { return Ok(None) };
        let wanted = BackupWanted { store: store.clone().unwrap_or_default(), at_ms: *at_ms };
        let address = self.replica_address()?;
        let look = Box::pin(look_at_backup(&self.env, &self.tls, address, wanted, FOUND_WITHIN));
        match self.while_it_runs(Asked::Replica, look).await {
            Ok(seen) => Ok(Some(seen)),
            Err(NoAnswer::Refused(why)) => Err(refused(format!("the replica, {address}: {why}"))),
            Err(error) => Err(RebuildError::Away(format!("the replica, {address}"), error)),
        }
    }

    /// Backups are made from the replica: one that has more shows that the replica's disk is of the past. Stores that do not answer say nothing.
    async fn has_all_that_backups_have(
        &self,
        plan: &RestorePlan,
        replica: &ReplicaStatus,
        person: &mut dyn Person,
    ) -> Result<(), RebuildError> {
        if replica.backups.is_empty() || plan.older_than_backup {
            return Ok(());
        }
        let (address, any) = (self.replica_address()?, BackupWanted::default());
        match look_at_backup(&self.env, &self.tls, address, any, COMPARED_WITHIN).await {
            Ok(seen) => of_no_past(replica, self.known_of(&seen)?.active.record.epoch, &seen),
            Err(error) => {
                let unknown = format!("whether a backup has more than the replica cannot be seen: {error}");
                person.told(&Progress::Unknown(unknown));
                Ok(())
            }
        }
    }

    /// Has the replica begin with the backup, and waits until it has.
    async fn load(
        &self,
        epoch: &Registered,
        seen: &BackupSeen,
        person: &mut dyn Person,
    ) -> Result<ReplicaStatus, RebuildError> {
        let order = Order { backup: seen.backup.clone(), ..message(OrderKind::Load, &epoch.signed) };
        let (mut before, mut moved, mut tries) = (None, self.env.now(), 0);
        loop {
            let status = self.ask_replica().await;
            match status {
                Ok(status) if is_of(&status, epoch) && status.seed.is_none() => return Ok(status),
                Ok(ReplicaStatus { seed: Some(seed), .. }) => {
                    let reached = (seed.rows, seed.bytes);
                    if before != Some(reached) {
                        (before, moved) = (Some(reached), self.env.now());
                    }
                    person.told(&Progress::Loading(seed));
                }
                Ok(status) => {
                    if let Some(why) = status.trouble.filter(|_| tries > 0) {
                        person.told(&Progress::Waiting(format!("the replica: {why}")));
                    }
                    if tries >= LOAD_TRIES {
                        return Err(refused(format!(
                            "the replica could not take the backup (see `kms status` and its log). Try the other store: \
                             --store. The epoch {} stays registered",
                            epoch.record.epoch
                        )));
                    }
                    tries += 1;
                    self.give_replica(order.clone(), person).await?;
                }
                Err(error) => person.told(&Progress::Waiting(error.to_string())),
            }
            if self.env.now().since(moved) > NO_PROGRESS {
                return Err(refused(
                    "the replica has taken nothing of the backup for half an hour: see its log",
                ));
            }
            self.env.sleep(LOOK).await;
        }
    }

    fn replica_address(&self) -> Result<&str, RebuildError> {
        self.config.replica.as_deref().ok_or_else(|| {
            refused("operator.toml names no `replica`: write the address of the one that has the copy")
        })
    }

    async fn ask_replica(&self) -> Result<ReplicaStatus, RebuildError> {
        let address = self.replica_address()?;
        let status = replica_status(&self.env, &self.tls, address).await;
        status.map_err(|error| RebuildError::Away(format!("the replica, {address}"), error))
    }

    /// What stands at the witness; with a lost one, what the copy knows, unless the new one knows already. True: it is the copy's word,
    /// and the witness is blank.
    async fn stands(
        &self,
        plan: &RestorePlan,
        replica: &ReplicaStatus,
        seen: Option<&BackupSeen>,
    ) -> Result<(Known, bool), RebuildError> {
        let address = &self.config.witness;
        let read = witness::read_if_any(&self.env, &self.tls, address, &self.verifier, ANSWER_WITHIN).await;
        let there = read.map_err(|error| RebuildError::Witness(address.clone(), error))?;
        match (there, plan.witness_lost) {
            (Some(known), _) => Ok((known, false)),
            (None, false) => Err(refused(format!(
                "the witness at {address} is blank. If the one before is lost for good, add --witness-lost: this one then \
                 begins with the restore"
            ))),
            (None, true) => {
                if let Some(seen) = seen {
                    return Ok((self.known_of(seen)?, true));
                }
                let address = self.replica_address()?;
                let known = replica_knows(&self.env, &self.tls, address, &self.verifier).await;
                let known = known.map_err(|error| {
                    RebuildError::Away(format!("the replica {}, {address}", replica.db_id), error)
                })?;
                Ok((known, true))
            }
        }
    }

    /// What a witness would know of the epoch that a backup was made in.
    fn known_of(&self, seen: &BackupSeen) -> Result<Known, RebuildError> {
        let known = seen.known.as_ref().ok_or_else(|| refused("the backup names no epoch"))?;
        let known = Known::verify(known, &self.verifier, &self.config.region);
        known.map_err(|error| refused(format!("the epoch of the backup: {error}")))
    }

    /// R11 of a restore, after a look at everybody: a region that serves is not thrown away by mistake.
    async fn register_restore(
        &self,
        plan: &RestorePlan,
        (known, lost): (&Known, bool),
        (replica, backup): (&ReplicaStatus, bool),
        person: &mut dyn Person,
    ) -> Result<Known, RebuildError> {
        let active = &known.active.record;
        let mut members = 0;
        for zone in [Zone::A, Zone::B] {
            let Ok(status) = self.status(zone).await else { continue };
            let is_of_region = of_old_region(&status, known, zone);
            if is_of_region && status.serving && !plan.retire_serving {
                return Err(RebuildError::Needless(self.serves(zone)));
            }
            members += u32::from(is_of_region && status.phase == "member");
        }
        if members == 2 && !plan.retire_serving {
            // So they are in the moment after another operator's restore.
            return Err(RebuildError::Needless(format!(
                "both databases are members of epoch {}, and none serves yet: the region is not lost. See `kms status`; to give up what they \
                 have beyond the replica, add --retire-serving",
                active.epoch
            )));
        }
        let source = if backup {
            DbId(self.env.random(Purpose::Public)?)
        } else {
            if !matches!(replica.phase.as_str(), "replica" | "diverged") || replica.seed.is_some() {
                let what =
                    if replica.seed.is_some() { "in the middle of a snapshot" } else { &replica.phase };
                return Err(refused(format!("the replica has nothing to restore from: it is {what}")));
            }
            hex16(&replica.db_id).map(DbId).ok_or_else(|| refused("the replica names no store"))?
        };
        if !backup && replica.phase == "diverged" && !plan.diverged {
            return Err(refused(
                "the replica's log is another history than the region's (see `kms status` and its log): what it has may be of the past, or \
                 of another disk. Use `--from backup`; if there is no better copy, add --diverged",
            ));
        }
        if !backup && replica.epoch_no < active.epoch.no && !plan.older_epoch {
            return Err(refused(format!(
                "the replica is of epoch {}, and the region was in {}: everything written since is missing in it. If \
                 there is no better copy, add --older-epoch",
                replica.epoch, active.epoch
            )));
        }
        let previous = known.newest().record.epoch;
        let (no, witness) = if lost {
            // R17: what was registered at the lost one is not known. Seconds are above every number that was counted, but for one that was
            // taken in this very second and that the replica has adopted.
            let seconds = self.env.clock.wall().as_secs();
            (seconds.max(previous.no.max(replica.epoch_no) + 1), self.env.random(Purpose::Public)?)
        } else {
            (previous.no + 1, known.witness)
        };
        let members = [DbId(self.env.random(Purpose::Public)?), DbId(self.env.random(Purpose::Public)?)];
        let record = EpochRecord {
            epoch: Epoch { no, id: self.env.random(Purpose::Public)? },
            previous,
            source,
            target: members[0],
            members,
            witness,
        };
        let signed = self.sign(&Statement::Epoch(record));
        let registered = Registered { record, signed: signed.clone() };
        let body = if lost {
            let begin = Known { witness, pending: Some(registered.clone()), ..known.clone() };
            Body::Install(begin.out(&self.config.region))
        } else {
            Body::Register(signed)
        };
        let stands = self.tell_witness(body, person).await?;
        if *stands.newest() == registered {
            Ok(stands)
        } else {
            let other = stands.newest().record.epoch;
            Err(refused(format!("another operator registered epoch {other} meanwhile: run this again")))
        }
    }

    /// Gives the replica an order until it is carried out or refused.
    async fn give_replica(&self, order: Order, person: &mut dyn Person) -> Result<(), RebuildError> {
        let (address, until) = (self.replica_address()?, self.env.now() + PATIENCE);
        loop {
            match order_replica(&self.env, &self.tls, address, order.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => self.again(until, (format!("the replica, {address}"), error), person).await?,
            }
        }
    }

    fn serves(&self, zone: Zone) -> String {
        format!(
            "{} serves: the region is not lost. If the other zone is, run `kms rebuild zone {}`; to give up what \
             this one has beyond the replica, add --retire-serving",
            self.name(zone),
            zone.other().word()
        )
    }

    /// R13: no database of the old region runs, or each has retired. After the replica has adopted, and not before. One that serves is not
    /// retired unless that is meant: it may have come back since the registration.
    async fn fence_region(
        &self,
        plan: &RestorePlan,
        known: &Known,
        epoch: &Registered,
        person: &mut dyn Person,
    ) -> Result<Vec<(DbId, u64)>, RebuildError> {
        let (mut fenced, mut retired) = (Vec::new(), Vec::new());
        let done =
            self.ask_replica().await.is_ok_and(|it| it.fenced && it.epoch == epoch.record.epoch.to_string());
        for zone in [Zone::A, Zone::B] {
            let there = self.status(zone).await.ok().filter(|status| of_old_region(status, known, zone));
            let answers = there.as_ref().and_then(|status| hex16(&status.db_id)).map(DbId);
            let old = answers.unwrap_or(known.active.record.members[place(zone)]);
            if let Some(status) = &there {
                retired.push((old, status.last));
            }
            if done {
                continue;
            }
            if there.is_some_and(|status| status.serving) && !plan.retire_serving {
                let registered = epoch.record.epoch;
                return Err(refused(format!("{}. Epoch {registered} stays registered", self.serves(zone))));
            }
            let by_itself = self.retired(zone, old, epoch).await;
            if !by_itself && !person.states(zone, old).await {
                return Err(RebuildError::NotStated(old));
            }
            fenced.push((old, by_itself));
        }
        if !done {
            let by_itself = fenced.iter().all(|(_, by_itself)| *by_itself);
            let statement = self.sign(&Statement::Fence(epoch.record.epoch, fenced));
            self.give_replica(message(OrderKind::Fence, &statement), person).await?;
            person.told(&Progress::Fenced(by_itself));
        }
        Ok(retired)
    }

    /// R14, both zones side by side; answers where all three logs end.
    async fn fill_both(&self, epoch: &Registered, person: &mut dyn Person) -> Result<Position, RebuildError> {
        let name = epoch.record.epoch.to_string();
        let (mut before, mut moved) = (None, self.env.now());
        loop {
            let replica = self.replica_in(person).await?;
            if replica.epoch != name {
                return Err(refused(format!("the replica is in epoch {} now, not in {name}", replica.epoch)));
            }
            let (mut filled, mut seen, mut trouble) = (0, Vec::new(), None);
            for zone in [Zone::A, Zone::B] {
                self.retire_what_stands(zone, epoch).await;
                self.give(zone, OrderKind::Fill, &epoch.signed, person).await?;
                let status = match self.status(zone).await {
                    Ok(status) => status,
                    Err(error) => {
                        person.told(&Progress::Waiting(format!("{}: {error}", self.name(zone))));
                        continue;
                    }
                };
                let at = self.filled_at(zone, &status, epoch, person);
                trouble = trouble.or(status.fill.as_ref().and_then(|fill| fill.trouble.clone()));
                seen.push(status.fill.map(|fill| (fill.rows, fill.bytes, fill.filled)));
                filled += usize::from(at == Some((replica.last, replica.hash.clone())));
            }
            if filled == 2 {
                return position("replica", replica.last, &replica.hash);
            }
            let now = self.env.now();
            if before.as_ref() != Some(&seen) {
                (before, moved) = (Some(seen), now);
            }
            let waited = now.since(moved);
            if waited > NO_PROGRESS {
                let why = trouble.map(|why| format!(" ({why})")).unwrap_or_default();
                return Err(RebuildError::Standstill { why, waited, epoch: epoch.record.epoch });
            }
            self.env.sleep(LOOK).await;
        }
    }

    /// The status of the replica, waited for.
    async fn replica_in(&self, person: &mut dyn Person) -> Result<ReplicaStatus, RebuildError> {
        let until = self.env.now() + PATIENCE;
        loop {
            match self.ask_replica().await {
                Err(error) => self.wait_on(until, error.to_string(), error, person).await?,
                done => return done,
            }
        }
    }

    /// Where the new store of a zone ends, once it is complete.
    fn filled_at(
        &self,
        zone: Zone,
        status: &DatabaseStatus,
        epoch: &Registered,
        person: &mut dyn Person,
    ) -> Option<(u64, String)> {
        match &status.fill {
            Some(fill) if fill.epoch == epoch.record.epoch.to_string() => {
                person.told(&Progress::FillingZone(zone, fill.clone()));
                fill.filled.then(|| (fill.last, fill.hash.clone()))
            }
            _ if status.db_id == epoch.record.members[place(zone)].to_string() => {
                Some((status.last, status.hash.clone()))
            }
            _ => {
                let what = format!("{}: {}", self.name(zone), described(status));
                person.told(&Progress::Waiting(what));
                None
            }
        }
    }

    /// R16, and waits until writes are accepted.
    async fn finish(
        &self,
        known: &Known,
        (retired, backup, tombstones): (Vec<(DbId, u64)>, Option<BackupSeen>, Option<Tombstones>),
        person: &mut dyn Person,
    ) -> Result<Restored, RebuildError> {
        let (active, activated) = (&known.active, self.env.now());
        let activation = Some(known.activation.clone());
        self.give_replica(Order { activation, ..message(OrderKind::Learn, &active.signed) }, person).await?;
        let epoch = self.spread(Zone::A, known, Some(activated), person).await?;
        let position = crate::store::epoch::begins(&known.activation)
            .map_err(|error| refused(format!("the activation of epoch {epoch}: {error}")))?;
        Ok(Restored { epoch, position, backup, tombstones, retired })
    }
}
