//! Another witness in the place of one that is lost, or is to go (R17a): a new random id, committed by the chain, then
//! told to the blank process that is to have it. In that order: before the entry is committed nobody may answer under the new
//! id, and afterwards nobody listens to the old one. Can be run again at any moment; asks a person for nothing.

use super::{
    ask::{ANSWER_WITHIN, begins_with},
    session::{LOOK, Operator, PATIENCE, Person, Progress, RebuildError, described, hex16, refused},
};
use crate::{
    config::Zone,
    env::Purpose,
    store::{
        epoch::{Epoch, Statement},
        exchange::NoAnswer,
        replacement::Replacement,
        server::DatabaseStatus,
        witness::{self, Known},
    },
    wire::{epoch::OrderKind, message::Body},
};

/// Which witness is in place now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// This one, by this run.
    Now([u8; 16]),
    /// It was before, and both databases listen to it: nothing was done.
    Before([u8; 16]),
}

impl Operator {
    /// Has both databases listen to a new witness, and makes it of the blank one that runs at the witness' address.
    ///
    /// # Errors
    /// [`RebuildError`] says what stands in the way and what to do.
    pub async fn replace_witness(&self, person: &mut dyn Person) -> Result<Installed, RebuildError> {
        let (epoch, from) = self.both_listen().await?;
        match self.there().await? {
            Some(there) if there.witness == from => return Ok(Installed::Before(from)),
            Some(there) => {
                let why =
                    format!("it is {}, and they listen to {}", hex::encode(there.witness), hex::encode(from));
                return Err(self.occupied(&why));
            }
            None => {}
        }
        let begin = self.commit(epoch, from, person).await?;
        self.install(&begin, person).await?;
        Ok(Installed::Now(begin.witness))
    }

    /// R17a: what is registered at a witness that the source does not listen to is registered nowhere.
    pub(super) async fn is_heard(&self, source: Zone, known: &Known) -> Result<(), RebuildError> {
        let witness = hex::encode(known.witness);
        match self.status(source).await {
            Ok(status) if !status.witness.is_empty() && status.witness != witness => Err(refused(format!(
                "the witness at {} is {witness}, and {} listens to {}: it was replaced. Stop it and start the one that \
                 took its place; if that is lost, put a blank one there and run `kms witness replace`",
                self.config.witness,
                self.name(source),
                status.witness
            ))),
            _ => Ok(()),
        }
    }

    /// The epoch and the witness of both databases, which are up.
    async fn both_listen(&self) -> Result<(Epoch, [u8; 16]), RebuildError> {
        let away = |zone| move |error| RebuildError::Away(self.name(zone), error);
        let head = self.status(Zone::A).await.map_err(away(Zone::A))?;
        let tail = self.status(Zone::B).await.map_err(away(Zone::B))?;
        for (zone, status) in [(Zone::A, &head), (Zone::B, &tail)] {
            self.works(zone, status)?;
        }
        if !head.writable || head.epoch_id != tail.epoch_id {
            return Err(refused(format!(
                "{} takes no writes: both databases must have the new witness before it says anything",
                self.name(Zone::A)
            )));
        }
        if head.witness.is_empty() || tail.witness.is_empty() {
            return Err(refused(
                "a database does not say which witness it listens to: its build is older than this command",
            ));
        }
        if head.witness != tail.witness {
            return Err(refused(
                "a replacement that was begun before is not confirmed yet: run this again in a moment",
            ));
        }
        match (hex16(&head.epoch_id), hex16(&head.witness)) {
            (Some(epoch), Some(witness)) => Ok((Epoch { no: head.epoch_no, id: epoch }, witness)),
            _ => Err(refused("the head names no epoch, or no witness")),
        }
    }

    fn works(&self, zone: Zone, status: &DatabaseStatus) -> Result<(), RebuildError> {
        if status.phase == "member" && status.active && status.serving {
            return Ok(());
        }
        let why = if status.phase != "member" {
            described(status)
        } else if !status.active {
            "in a rebuild: finish that, or abandon it, first".to_owned()
        } else {
            "not serving at the moment".to_owned()
        };
        Err(refused(format!(
            "{} is {why}. A witness is replaced only while both databases are up",
            self.name(zone)
        )))
    }

    /// What the witness at its address is: `None`, blank.
    async fn there(&self) -> Result<Option<Known>, RebuildError> {
        let address = &self.config.witness;
        witness::read_if_any(&self.env, &self.tls, address, &self.verifier, ANSWER_WITHIN).await.map_err(
            |error| {
                RebuildError::Away(
                    format!("the new witness, {address} (start it on an empty data directory first)"),
                    error,
                )
            },
        )
    }

    fn occupied(&self, why: &str) -> RebuildError {
        refused(format!(
            "the witness at {} is not the one that the databases listen to: {why}. Stop it, start it on an empty data \
             directory, and run this again",
            self.config.witness
        ))
    }

    async fn begin(&self) -> Result<Known, RebuildError> {
        begins_with(&self.env, &self.tls, &self.config.head, &self.verifier)
            .await
            .map_err(|error| RebuildError::Away(self.name(Zone::A), error))
    }

    /// A new id, committed by the chain; answers with what the witness of that id begins.
    async fn commit(
        &self,
        epoch: Epoch,
        from: [u8; 16],
        person: &mut dyn Person,
    ) -> Result<Known, RebuildError> {
        // Never the id of a run before: whoever had it may have registered something, and may come back.
        let to = self.env.random(Purpose::Public)?;
        let statement = self.sign(&Statement::Witness(Replacement { epoch, from, to }));
        self.give(Zone::A, OrderKind::ReplaceWitness, &statement, person).await?;
        let begin = self.begin().await?;
        if begin.witness != to {
            return Err(refused("another operator has replaced the witness meanwhile: run this again"));
        }
        person.told(&Progress::Committed(to));
        Ok(begin)
    }

    /// Only the run that made the id gives it to a process, and only once: a second one of that id would not know what was
    /// registered at the first.
    async fn install(&self, begin: &Known, person: &mut dyn Person) -> Result<(), RebuildError> {
        let until = self.env.now() + PATIENCE;
        let address = &self.config.witness;
        let mut perhaps = false;
        loop {
            if perhaps {
                match self.there().await {
                    Ok(Some(known)) if known.witness == begin.witness => return Ok(()),
                    Ok(Some(_)) => return Err(self.occupied("it is another one")),
                    Ok(None) => {
                        return Err(refused("the new witness has lost what it was told: run this again"));
                    }
                    Err(error) if self.env.now() > until => return Err(error),
                    Err(error) => person.told(&Progress::Waiting(error.to_string())),
                }
            } else {
                let body = Body::Install(begin.out(&self.config.region));
                let told =
                    witness::change(&self.env, &self.tls, address, &self.verifier, body, ANSWER_WITHIN);
                match told.await {
                    Ok(known) if known.witness == begin.witness => return Ok(()),
                    Ok(_) => return Err(self.occupied("it is another one")),
                    Err(NoAnswer::Refused(why)) => return Err(self.occupied(&why)),
                    Err(error) => {
                        perhaps = !matches!(error, NoAnswer::Connect(_));
                        person.told(&Progress::Waiting(format!("the new witness, {address}: {error}")));
                        if self.env.now() > until {
                            return Err(RebuildError::Away(format!("the new witness, {address}"), error));
                        }
                    }
                }
            }
            self.env.sleep(LOOK).await;
        }
    }
}
