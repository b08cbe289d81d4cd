//! A lost zone made anew: register, adopt, fence, fill, activate, learn, in that order (R11-R16). Each step is
//! durable where it is taken before the next one begins, and each may be taken again: whoever runs this twice,
//! or goes on where another stopped, does no harm. Asks a person for what no program can know, and for nothing
//! else.

use super::{
    ask::ANSWER_WITHIN,
    session::{LOOK, Operator, PATIENCE, Person, Progress, RebuildError, described, hex16, message, refused},
    watch::{Mark, trouble},
};
use crate::{
    config::Zone,
    env::{Mono, Purpose},
    limits::{LEASES_OVER, ms},
    store::{
        epoch::{DbId, Epoch, EpochRecord, Registered, Statement},
        log::Position,
        server::DatabaseStatus,
        witness::Known,
    },
    wire::{
        epoch::{Order, OrderKind},
        message::Body,
    },
};
use std::time::Duration;

/// After the activation the region needs moments: looked at more often, so that the figure is worth something.
const LOOK_AT_END: Duration = ms(50);
/// Who runs a finished rebuild again is told within this what is still missing.
const ALREADY_DONE: Duration = ms(15_000);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The zone whose database is made anew.
    pub zone: Zone,
    /// Give up the registered rebuild and take the database of the last active epoch back, if it is still a
    /// member.
    pub abandon: bool,
    /// Go ahead although the database that is replaced serves (it is cut off from the other one).
    pub retire_serving: bool,
    /// Take the place of a registered rebuild of the other zone, whose source is lost.
    pub instead: bool,
}

pub(super) fn place(zone: Zone) -> usize {
    match zone {
        Zone::A => 0,
        Zone::B => 1,
    }
}

impl Operator {
    /// Makes the zone's database anew, or goes on where it was interrupted.
    ///
    /// # Errors
    /// [`RebuildError`] says what stands in the way and what to do.
    pub async fn rebuild(&self, plan: Plan, person: &mut dyn Person) -> Result<Epoch, RebuildError> {
        let known = self.known().await?;
        let source = plan.zone.other();
        self.is_heard(source, &known).await?;
        if known.pending.is_none() && self.is_active_already(plan, &known).await {
            // Interrupted after the activation: its news, or the end, are missing.
            return self.spread(plan.zone, &known, None, person).await;
        }
        // Who must be fenced is what stood when the epoch was registered: another operator may have been faster since
        // `known`.
        let (epoch, known, before) = match self.resumable(plan, &known)? {
            Some(pending) => (pending, known, true),
            None => {
                let stands = self.register(plan, &known, person).await?;
                (stands.newest().clone(), stands, false)
            }
        };
        person.told(&Progress::Registered(epoch.record.epoch, before));
        self.give(source, OrderKind::Adopt, &epoch.signed, person).await?;
        person.told(&Progress::Adopted);
        self.fence(plan.zone, &known, &epoch, person).await?;
        let over = self.env.now() + LEASES_OVER;
        let end = self.fill(plan.zone, &epoch, person).await?;
        person.told(&Progress::Filled(end));
        self.env.clock.sleep_until(over).await;
        let activation = self.sign(&Statement::Active(epoch.record.epoch, end));
        let known = self.tell_witness(Body::Activate(activation), person).await?;
        self.spread(plan.zone, &known, Some(self.env.now()), person).await
    }

    /// Whether the active epoch is the one in which this zone was made anew, and what was made then is there: it has yet to hear that
    /// it is active, or it is a member with which nothing is wrong.
    async fn is_active_already(&self, plan: Plan, known: &Known) -> bool {
        let active = &known.active.record;
        let name = active.epoch.to_string();
        let Ok(status) = self.status(plan.zone).await else { return false };
        let waits_to_learn = match &status.fill {
            Some(fill) => fill.filled && fill.epoch == name,
            None => status.phase == "filling" && status.epoch == name,
        };
        let made = active.previous.no > 0 && status.db_id == active.target.to_string();
        let member = status.phase == "member" && status.epoch == name && status.withheld.is_none();
        // A working database may be meant: then this is not about the rebuild before.
        let replaced =
            plan.retire_serving && !plan.abandon && status.serving && self.writable(active).await.is_ok();
        waits_to_learn || made && member && !replaced
    }

    /// R16, and waits until writes are accepted.
    pub(super) async fn spread(
        &self,
        zone: Zone,
        known: &Known,
        activated: Option<Mono>,
        person: &mut dyn Person,
    ) -> Result<Epoch, RebuildError> {
        let epoch = &known.active;
        person.told(&Progress::Activated(epoch.record.epoch));
        // They hear it from the witness too: this is only faster.
        for zone in [zone.other(), zone] {
            let learn = Order {
                activation: Some(known.activation.clone()),
                ..message(OrderKind::Learn, &epoch.signed)
            };
            let _ = self.order(zone, learn, ANSWER_WITHIN).await;
        }
        self.until_writable(&epoch.record, activated, person).await?;
        Ok(epoch.record.epoch)
    }

    /// The registered rebuild, if it is the one that is planned.
    fn resumable(&self, plan: Plan, known: &Known) -> Result<Option<Registered>, RebuildError> {
        let Some(pending) = &known.pending else {
            return if plan.abandon {
                Err(RebuildError::Needless("no rebuild is under way: there is nothing to abandon".to_owned()))
            } else {
                Ok(None)
            };
        };
        let members = known.active.record.members;
        if pending.record.is_restore() {
            return if plan.abandon {
                Ok(None)
            } else {
                Err(refused(format!(
                    "the region is being made anew from a replica (epoch {}): finish that with `kms restore region`, or \
                     give it up with `kms rebuild abandon {}`",
                    pending.record.epoch,
                    plan.zone.word()
                )))
            };
        }
        let same_zone = pending.record.target == pending.record.members[place(plan.zone)];
        let takes_back = pending.record.target == members[place(plan.zone)];
        match (same_zone, plan.abandon, plan.instead) {
            (true, true, _) if takes_back => Ok(Some(pending.clone())),
            (true, true, _) => Ok(None),
            // The database that was to be taken back may have what the source has not: then it never is.
            (true, false, _) if takes_back => Ok(None),
            (true, false, _) => Ok(Some(pending.clone())),
            (false, _, true) => Ok(None),
            (false, _, false) => Err(refused(format!(
                "a rebuild of the other zone is registered (epoch {}): finish it with `kms rebuild zone {}`. Only if its \
                 source is lost, and the database of this zone's counterpart is a member of the last active epoch, \
                 take its place with --instead",
                pending.record.epoch,
                plan.zone.other().word()
            ))),
        }
    }

    /// R11, after a look at both databases: the wrong side is never copied.
    async fn register(
        &self,
        plan: Plan,
        known: &Known,
        person: &mut dyn Person,
    ) -> Result<Known, RebuildError> {
        let (active, source) = (&known.active.record, plan.zone.other());
        let of_source = self.status(source).await;
        let of_source = of_source.map_err(|error| RebuildError::Away(self.name(source), error))?;
        let expected = active.members[place(source)];
        // R11: one that retired for a fence has missed nothing as long as no other epoch has been active.
        let revived = plan.instead && known.pending.is_some();
        let fit = of_source.phase == "member" || revived && of_source.phase == "retired";
        if !fit || of_source.db_id != expected.to_string() {
            return Err(refused(format!(
                "{} is {}, not the member {expected} of the last active epoch, {}: it may lack what was \
                 acknowledged and is not copied. If the other zone's database has everything, rebuild this one",
                self.name(source),
                described(&of_source),
                active.epoch
            )));
        }
        if !of_source.serving && !revived {
            return Err(refused(format!(
                "{} does not serve at the moment ({}): it is not copied before it does",
                self.name(source),
                if of_source.joined { "its log must be compared first" } else { "it has not joined" }
            )));
        }
        let old = active.members[place(plan.zone)];
        let of_target = self.status(plan.zone).await;
        if let Ok(status) = &of_target {
            self.may_be_replaced(plan, status, old)?;
        }
        let target = if plan.abandon {
            match &of_target {
                Ok(status) if status.db_id == old.to_string() && status.phase != "retired" => old,
                Ok(status) => {
                    return Err(refused(format!(
                        "{} is {}: the database of the last active epoch is not there any more. Finish the rebuild",
                        self.name(plan.zone),
                        described(status)
                    )));
                }
                Err(error) => return Err(refused(format!("{}: {error}", self.name(plan.zone)))),
            }
        } else {
            DbId(self.env.random(Purpose::Public)?)
        };
        let previous = known.newest().record.epoch;
        let mut members = active.members;
        members[place(plan.zone)] = target;
        let record = EpochRecord {
            epoch: Epoch { no: previous.no + 1, id: self.env.random(Purpose::Public)? },
            previous,
            source: expected,
            target,
            members,
            witness: known.witness,
        };
        let signed = self.sign(&Statement::Epoch(record));
        let registered = Registered { record, signed: signed.clone() };
        let stands = self.tell_witness(Body::Register(signed), person).await?;
        if *stands.newest() == registered {
            Ok(stands)
        } else {
            Err(refused(format!(
                "another operator registered epoch {} meanwhile",
                stands.newest().record.epoch
            )))
        }
    }

    fn may_be_replaced(&self, plan: Plan, status: &DatabaseStatus, old: DbId) -> Result<(), RebuildError> {
        if plan.abandon || plan.retire_serving || !status.serving || status.db_id != old.to_string() {
            return Ok(());
        }
        Err(RebuildError::Needless(format!(
            "{} serves: nothing of it is lost. If only the link between the zones is down, mend that; to replace \
             the database all the same, add --retire-serving",
            self.name(plan.zone)
        )))
    }

    /// R13: after the source has adopted, and not before.
    async fn fence(
        &self,
        zone: Zone,
        known: &Known,
        epoch: &Registered,
        person: &mut dyn Person,
    ) -> Result<(), RebuildError> {
        let source = zone.other();
        let of_source = self.status(source).await;
        if of_source.is_ok_and(|status| status.fenced && status.epoch == epoch.record.epoch.to_string()) {
            return Ok(());
        }
        let mut fenced = Vec::new();
        for (at, old) in known.active.record.members.into_iter().enumerate() {
            if epoch.record.members.contains(&old) {
                continue;
            }
            let retired = at == place(zone) && self.retired(zone, old, epoch).await;
            if !retired && !person.states(zone, old).await {
                return Err(RebuildError::NotStated(old));
            }
            fenced.push((old, retired));
        }
        let by_itself = fenced.iter().all(|(_, retired)| *retired);
        let statement = self.sign(&Statement::Fence(epoch.record.epoch, fenced));
        self.give(source, OrderKind::Fence, &statement, person).await?;
        person.told(&Progress::Fenced(by_itself));
        Ok(())
    }

    /// Whether the old database, asked now, answers that it has retired.
    pub(super) async fn retired(&self, zone: Zone, old: DbId, epoch: &Registered) -> bool {
        let there = self.status(zone).await.is_ok_and(|status| status.db_id == old.to_string());
        let retire = message(OrderKind::Retire, &epoch.signed);
        there
            && self.order(zone, retire, ANSWER_WITHIN).await.is_ok()
            && self
                .status(zone)
                .await
                .is_ok_and(|status| status.db_id == old.to_string() && status.phase == "retired")
    }

    /// R14; answers where both logs end.
    async fn fill(
        &self,
        zone: Zone,
        epoch: &Registered,
        person: &mut dyn Person,
    ) -> Result<Position, RebuildError> {
        let name = epoch.record.epoch.to_string();
        let (mut mark, mut moved) = (Mark::default(), self.env.now());
        loop {
            self.retire_what_stands(zone, epoch).await;
            self.give(zone, OrderKind::Fill, &epoch.signed, person).await?;
            let source = self.status(zone.other()).await;
            let target = self.status(zone).await;
            match (&source, &target) {
                (Ok(source), Ok(target)) if source.epoch == name => {
                    let at = |status: &DatabaseStatus| (status.last, status.hash.clone());
                    let filled = match &target.fill {
                        Some(fill) if fill.epoch == name => {
                            person.told(&Progress::Filling(fill.clone()));
                            fill.filled.then(|| (fill.last, fill.hash.clone()))
                        }
                        _ if target.db_id == epoch.record.target.to_string() => Some(at(target)),
                        _ => None,
                    };
                    if filled.is_some_and(|filled| filled == at(source)) {
                        return position("source", source.last, &source.hash);
                    }
                    if source.active || target.active && target.epoch == name {
                        // Interrupted after it had become active.
                        return position("source", source.last, &source.hash);
                    }
                }
                (Ok(source), Ok(_)) => {
                    return Err(refused(format!(
                        "the source is in epoch {} now, not in {name}",
                        source.epoch
                    )));
                }
                (Err(error), _) | (_, Err(error)) => person.told(&Progress::Waiting(error.to_string())),
            }
            let (now, reached) = (self.env.now(), Mark::of(&source, &target));
            if reached.as_ref().is_some_and(|reached| *reached != mark) {
                (mark, moved) = (reached.unwrap_or_default(), now);
            }
            let waited = now.since(moved);
            if waited > mark.patience() {
                let zone = zone.word();
                let why = trouble(&source, &target).map(|why| format!(" ({why})")).unwrap_or_default();
                return Err(RebuildError::Stuck { zone, why, waited, epoch: epoch.record.epoch });
            }
            self.env.sleep(LOOK).await;
        }
    }

    /// A database of an earlier epoch that was away at the fence, and is back: nothing is overwritten that has not
    /// retired.
    pub(super) async fn retire_what_stands(&self, zone: Zone, epoch: &Registered) {
        if let Ok(status) = self.status(zone).await
            && status.phase == "member"
            && let Some(id) = hex16(&status.db_id)
            && !epoch.record.members.contains(&DbId(id))
        {
            // Whether it did shows at the fill.
            let _ = self.retired(zone, DbId(id), epoch).await;
        }
    }

    async fn until_writable(
        &self,
        epoch: &EpochRecord,
        activated: Option<Mono>,
        person: &mut dyn Person,
    ) -> Result<(), RebuildError> {
        let patience = if activated.is_some() { PATIENCE } else { ALREADY_DONE };
        let until = self.env.now() + patience;
        loop {
            match self.writable(epoch).await {
                Ok(()) => {
                    let after = activated.map(|activated| self.env.now().since(activated));
                    person.told(&Progress::Writable(after));
                    return Ok(());
                }
                Err(why) if self.env.now() > until => {
                    return Err(refused(format!(
                        "epoch {} is active, but key writes are not accepted yet: {why}. See `kms status`",
                        epoch.epoch
                    )));
                }
                Err(_) => self.env.sleep(LOOK_AT_END).await,
            }
        }
    }

    /// Whether key writes are accepted, as both databases say: the head, that its link is up; the tail, that it serves in the same
    /// epoch.
    async fn writable(&self, epoch: &EpochRecord) -> Result<(), String> {
        for zone in [Zone::A, Zone::B] {
            let (name, member) = (self.name(zone), epoch.members[place(zone)].to_string());
            let status = self.status(zone).await.map_err(|error| format!("{name}: {error}"))?;
            if status.db_id != member || status.epoch != epoch.epoch.to_string() {
                return Err(format!("{name} is {} in epoch {}", described(&status), status.epoch));
            }
            if !status.serving || !status.active {
                let why = status.alarm.or(status.withheld).unwrap_or_else(|| "not joined".to_owned());
                return Err(format!("{name} does not serve ({why})"));
            }
            if zone == Zone::A && !status.writable {
                return Err(format!("{name} has no link to the other one"));
            }
        }
        Ok(())
    }

    /// R10: lets the database of `zone` serve although neither the witness nor its peer answers. The person has
    /// stated that no newer epoch is in use.
    ///
    /// # Errors
    /// [`RebuildError`].
    pub async fn serve_alone(&self, zone: Zone, person: &mut dyn Person) -> Result<DbId, RebuildError> {
        let status = self.status(zone).await;
        let status = status.map_err(|error| RebuildError::Away(self.name(zone), error))?;
        if status.joined {
            return Err(refused(format!("{} has joined already: it needs no statement", self.name(zone))));
        }
        let (Some(database), Some(id), Ok(start)) =
            (hex16(&status.db_id), hex16(&status.epoch_id), hex::decode(&status.start))
        else {
            return Err(refused(format!("{} is {}: it has nothing to serve", self.name(zone), status.phase)));
        };
        let (epoch, database) = (Epoch { no: status.epoch_no, id }, DbId(database));
        if !person.states(zone, database).await {
            return Err(RebuildError::NotStated(database));
        }
        let statement = self.sign(&Statement::Alone { epoch, database, start });
        self.give(zone, OrderKind::ServeAlone, &statement, person).await?;
        Ok(database)
    }
}

/// Where the log of `whose` ends, as its status says.
pub(super) fn position(whose: &str, last: u64, hash: &str) -> Result<Position, RebuildError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(hash, &mut bytes)
        .map_err(|_| refused(format!("the {whose} tells no position of its log")))?;
    Ok(Position { seq: last, hash: bytes })
}
