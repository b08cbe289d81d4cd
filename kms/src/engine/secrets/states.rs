//! States of versions: active, deactivated, and deleted, from which nothing leads back: the data is destroyed with that write. And
//! the end of a whole secret.

use super::{
    change::{DESTROYED_AT_ONCE, Needs, Plan, Write},
    path::SecretPath,
    versions::VersionState,
    view::VersionView,
};
use crate::{
    engine::HostService,
    error::{Code, Error},
    iam::{Authorized, action},
};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Versions that one request may name.
pub const NAMED_MAX: usize = 1_000;

/// What one state asks of who sets it.
pub enum MaySet {
    /// To activate.
    Activate(Authorized<action::SecretVersionActivate>),
    /// To deactivate.
    Deactivate(Authorized<action::SecretVersionDeactivate>),
    /// To delete.
    Delete(Authorized<action::SecretVersionDelete>),
}

impl MaySet {
    fn domain(&self) -> Uuid {
        match self {
            MaySet::Activate(may) => may.domain(),
            MaySet::Deactivate(may) => may.domain(),
            MaySet::Delete(may) => may.domain(),
        }
    }

    fn of(&self) -> &SecretPath {
        match self {
            MaySet::Activate(may) => may.of(),
            MaySet::Deactivate(may) => may.of(),
            MaySet::Delete(may) => may.of(),
        }
    }

    fn state(&self) -> VersionState {
        match self {
            MaySet::Activate(_) => VersionState::Active,
            MaySet::Deactivate(_) => VersionState::Deactivated,
            MaySet::Delete(_) => VersionState::Deleted,
        }
    }
}

impl HostService {
    /// Sets the state of one version that is there, and answers with it.
    ///
    /// # Errors
    /// `SecretNotFound`, `VersionNotFound`, `VersionDeleted` if it is and another state was asked for, `Refused`, `Unknown`.
    pub async fn set_version_state(&self, may: &MaySet, number: u32) -> Result<VersionView, Error> {
        let path = may.of();
        let state = may.state();
        self.change_secret(may.domain(), path, Needs::Secret, |now| {
            let mut secret = now.secret.ok_or_else(Error::secret_not_found)?.clone();
            let before = secret.version(number, now.now_s).ok_or_else(Error::version_not_found)?;
            if before.state == VersionState::Deleted && state != VersionState::Deleted {
                return Err(Error::new(Code::VersionDeleted, "the version is deleted, for good"));
            }
            let destroyed = if state == VersionState::Deleted { vec![before.number] } else { Vec::new() };
            let changed = match state {
                VersionState::Active => secret.versions.activate(before.number),
                VersionState::Deactivated => secret.versions.deactivate(before.number, now.now_s),
                VersionState::Deleted => secret.versions.delete(before.number),
            };
            let secret = if changed { secret.touched(now.now_s) } else { secret };
            let answer = secret.version(before.number, now.now_s).ok_or_else(Error::version_not_found)?;
            if !changed {
                return Ok(Plan::Keep(answer));
            }
            Ok(Plan::Write(Box::new(Write { destroyed, ..Write::of(secret, answer) })))
        })
        .await
    }

    /// Sets the state of several versions; 0 is the current one. Numbers of versions that are not there, and of deleted ones, are
    /// passed over. Up to 24 versions change together, more in several steps.
    ///
    /// # Errors
    /// `SecretNotFound`, `BadArgument` for more than a thousand, `Refused`, `Unknown`.
    pub async fn set_version_states(&self, may: &MaySet, numbers: &[u32]) -> Result<(), Error> {
        let path = may.of();
        if numbers.len() > NAMED_MAX {
            return Err(Error::bad("at most 1000 versions in one request"));
        }
        let numbers: BTreeSet<u32> = numbers.iter().copied().collect();
        let numbers: Vec<u32> = numbers.into_iter().collect();
        let state = may.state();
        let steps = if state == VersionState::Deleted { DESTROYED_AT_ONCE } else { NAMED_MAX };
        for (step, numbers) in numbers.chunks(steps).enumerate() {
            let done = self.change_secret(may.domain(), path, Needs::Secret, |now| {
                let mut secret = now.secret.ok_or_else(Error::secret_not_found)?.clone();
                let mut changed = Vec::new();
                for number in numbers {
                    let number = if *number == 0 { secret.versions.current() } else { *number };
                    let did = match state {
                        VersionState::Active => secret.versions.activate(number),
                        VersionState::Deactivated => secret.versions.deactivate(number, now.now_s),
                        VersionState::Deleted => secret.versions.delete(number),
                    };
                    if did {
                        changed.push(number);
                    }
                }
                if changed.is_empty() {
                    return Ok(Plan::Keep(()));
                }
                let destroyed = if state == VersionState::Deleted { changed } else { Vec::new() };
                let secret = secret.touched(now.now_s);
                Ok(Plan::Write(Box::new(Write { destroyed, ..Write::of(secret, ()) })))
            });
            done.await.map_err(|error| match (step, error.code()) {
                (1.., Code::Refused) => Error::unknown("some versions are done, the others are refused"),
                _ => error,
            })?;
        }
        Ok(())
    }

    /// Deletes a secret with all of its versions. What is left of a deletion that was not carried to its end is done first.
    ///
    /// # Errors
    /// `SecretNotFound`, `Refused`, `Unknown`.
    pub async fn delete_secret(&self, may: &Authorized<action::SecretDelete>) -> Result<(), Error> {
        let path = may.of();
        let went_on = self
            .change_secret(may.domain(), path, Needs::Secret, |now| match now.secret {
                Some(secret) => {
                    let dropped = secret.versions.numbers();
                    let write =
                        Write { secret: None, add: None, dropped, destroyed: Vec::new(), answer: false };
                    Ok(Plan::Write(Box::new(write)))
                }
                None if now.doomed => Ok(Plan::Keep(true)),
                None => Err(Error::secret_not_found()),
            })
            .await?;
        if went_on {
            let key = self.secret_at(may.domain(), path).await?;
            self.sweep(may.domain(), &key).await?;
        }
        Ok(())
    }
}
