//! How secrets are changed: what is known of the secret and the domain's configuration are read as settled, the new state is
//! computed, and all records are written in one transaction that expects the secret (and the configuration, where it was used) as
//! read. After a conflict it starts over while there is time. What a client said to expect (`cas`) is compared by the computation:
//! if it does not match, that is the client's answer and no reason to try again.
//!
//! Data of versions that were dropped is destroyed in the same transaction as far as there is room, the rest in further ones right
//! after it, and the secret's record says what is left: whoever changes the secret next goes on.

use super::{
    path::{
        ID_BYTES, SecretPath, config_key, path_hash, secret_key, version_key, version_number, version_prefix,
    },
    record::{ConfigRecord, Doomed, Secret, SecretRecord, VersionRecord},
    settings::Settings,
};
use crate::{
    crypto::SecretBytes,
    engine::{
        HostService,
        read::Held,
        write::{ATTEMPTS, Attempt, Batch},
    },
    env::{Mono, Purpose},
    error::{Code, Error},
    record::{RecordKey, Version},
    vault::BadSeal,
};
use uuid::Uuid;

/// Versions whose data one transaction destroys: each is expected and put, beside four records that are changed anyway.
pub(super) const DESTROYED_AT_ONCE: usize = 24;
const _: () = assert!(DESTROYED_AT_ONCE * 2 + 8 <= crate::limits::TRANSACTION_MAX_RECORDS);
/// Numbers in a row that may be found taken.
const TAKEN_MAX: u32 = 64;

/// What a change is computed from.
pub(super) struct Now<'a> {
    /// The secret, if there is one.
    pub(super) secret: Option<&'a Secret>,
    /// What holds for the domain.
    pub(super) domain: &'a Settings,
    /// The data of the current version, if it was asked for and is there.
    pub(super) data: Option<&'a SecretBytes>,
    /// Seconds since the Unix epoch.
    pub(super) now_s: u64,
    /// Greatest number of a version that cannot be used.
    pub(super) taken: u32,
    /// An id for a new secret.
    pub(super) fresh_id: [u8; ID_BYTES],
    /// Whether something is left to be destroyed.
    pub(super) doomed: bool,
}

/// What is to be written.
pub(super) struct Write<A> {
    /// The secret as it shall be; `None` deletes it.
    pub(super) secret: Option<Secret>,
    /// Data of a new version, by its number.
    pub(super) add: Option<(u32, SecretBytes)>,
    /// Numbers of versions that were dropped from the secret.
    pub(super) dropped: std::ops::Range<u32>,
    /// Numbers of versions whose data goes, at most [`DESTROYED_AT_ONCE`].
    pub(super) destroyed: Vec<u32>,
    /// The answer once it is done.
    pub(super) answer: A,
}

impl<A> Write<A> {
    /// Nothing but the secret itself.
    pub(super) fn of(secret: Secret, answer: A) -> Write<A> {
        Write { secret: Some(secret), add: None, dropped: 0..0, destroyed: Vec::new(), answer }
    }
}

/// What becomes of a request.
pub(super) enum Plan<A> {
    /// Nothing to write; the answer is true already.
    Keep(A),
    /// To be written.
    Write(Box<Write<A>>),
}

impl<A> Plan<Result<A, Error>> {
    /// The error of its answer, if that is one.
    pub(super) fn ok(self) -> Result<Plan<A>, Error> {
        Ok(match self {
            Plan::Keep(answer) => Plan::Keep(answer?),
            Plan::Write(write) => {
                let Write { secret, add, dropped, destroyed, answer } = *write;
                Plan::Write(Box::new(Write { secret, add, dropped, destroyed, answer: answer? }))
            }
        })
    }
}

/// How a change begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// The secret alone.
    Secret,
    /// The data of its current version too.
    Data,
}

fn unknown(error: Error) -> Error {
    match error.code() {
        Code::Unknown => {
            Error::new(Code::Unknown, "outcome unknown: read what is there now before repeating it")
                .because(error.detail().unwrap_or_default().to_owned())
        }
        _ => error,
    }
}

impl HostService {
    pub(super) async fn secret_at(&self, domain: Uuid, path: &SecretPath) -> Result<RecordKey, Error> {
        let domain_key = self.domain_key(domain).await?;
        Ok(secret_key(domain, &path_hash(path, &domain_key)))
    }

    /// Changes what is at a path. `plan` is asked again after each conflict, with what is there then.
    pub(super) async fn change_secret<A>(
        &self,
        domain: Uuid,
        path: &SecretPath,
        needs: Needs,
        plan: impl Fn(&Now<'_>) -> Result<Plan<A>, Error>,
    ) -> Result<A, Error> {
        let key = self.secret_at(domain, path).await?;
        let until = self.write_deadline();
        let mut conflicts = 0;
        let mut mine = Vec::new();
        for _ in 0..ATTEMPTS {
            let held: Held<SecretRecord> = self.held(domain, &key).await?;
            let by = held.version.map(|version| version.commit_id);
            if let Some(place) = mine.iter().position(|(id, _)| Some(*id) == by) {
                // An earlier attempt was done after all: once is enough.
                let (_, answer) = mine.swap_remove(place);
                return Ok(answer);
            }
            let config: Held<ConfigRecord> = self.held(domain, &config_key(domain)).await?;
            let before = held.value.unwrap_or(SecretRecord { secret: None, doomed: Vec::new() });
            let settings = config.value.unwrap_or_default().0;
            let data = match &before.secret {
                Some(secret) if needs == Needs::Data => self.current_data(domain, secret).await?,
                _ => None,
            };
            let taken = match &before.secret {
                Some(secret) if conflicts > 0 => self.taken(domain, secret).await?,
                _ => 0,
            };
            let now = Now {
                secret: before.secret.as_ref(),
                domain: &settings,
                data: data.as_ref(),
                now_s: self.wall_s(),
                taken,
                fresh_id: self.env.random(Purpose::Public)?,
                doomed: !before.doomed.is_empty(),
            };
            let write = match plan(&now)? {
                Plan::Keep(answer) => return Ok(answer),
                Plan::Write(write) => *write,
            };
            let mut batch = self.batch(domain).await?;
            let deletes = write.secret.is_none();
            let (answer, left) = self.fill(domain, &mut batch, (&key, held.version), before, write).await?;
            if !deletes {
                batch.expect(&config_key(domain), config.version);
            }
            let id = batch.id();
            match batch.commit(until).await.map_err(unknown)? {
                Attempt::Done => {
                    if left {
                        let swept = self.sweep(domain, &key).await;
                        if deletes {
                            swept.map_err(half_done)?;
                        }
                    }
                    return Ok(answer);
                }
                Attempt::Conflict => conflicts += 1,
                Attempt::EpochChanged => {}
            }
            mine.push((id, answer));
            if !self.time_left(until) {
                break;
            }
        }
        Err(Error::refused("secret: conflicts until the deadline"))
    }

    /// Puts all that is written into the batch; also whether something is left to be destroyed.
    async fn fill<A>(
        &self,
        domain: Uuid,
        batch: &mut Batch<'_>,
        (key, version): (&RecordKey, Option<Version>),
        before: SecretRecord,
        write: Write<A>,
    ) -> Result<(A, bool), Error> {
        let id = before.secret.as_ref().or(write.secret.as_ref()).map(|secret| secret.id).unwrap_or_default();
        let mut doomed = before.doomed;
        if !write.dropped.is_empty() {
            doomed.push(Doomed { id, from: write.dropped.start, until: write.dropped.end });
        }
        for number in &write.destroyed {
            let version_key = version_key(domain, &id, *number);
            let held: Held<VersionRecord> = self.held(domain, &version_key).await?;
            if held.value.is_none_or(|record| record.data.is_some()) {
                batch.put(&version_key, held.version, &VersionRecord { data: None })?;
            }
        }
        self.destroy_some(domain, batch, &mut doomed, DESTROYED_AT_ONCE - write.destroyed.len()).await?;
        if let Some((number, data)) = write.add {
            let id = write.secret.as_ref().map_or(id, |secret| secret.id);
            batch.put(&version_key(domain, &id, number), None, &VersionRecord { data: Some(data) })?;
        }
        let left = !doomed.is_empty();
        batch.put(key, version, &SecretRecord { secret: write.secret, doomed })?;
        Ok((write.answer, left))
    }

    /// Puts tombstones over the first of what is doomed, at most `most`, and takes it off the list.
    pub(super) async fn destroy_some(
        &self,
        domain: Uuid,
        batch: &mut Batch<'_>,
        doomed: &mut Vec<Doomed>,
        most: usize,
    ) -> Result<(), Error> {
        let mut room = most;
        while let Some(first) = doomed.first_mut()
            && room > 0
        {
            let many = (first.until.saturating_sub(first.from) as usize).min(room);
            let after = version_key(domain, &first.id, first.from.saturating_sub(1));
            let found = self.stored_versions(domain, first.id, after, many.max(1)).await?;
            let mut last = None;
            for (key, number, version, gone) in found.records {
                if number >= first.until {
                    break;
                }
                last = Some(number);
                if !gone {
                    batch.put(&key, Some(version), &VersionRecord { data: None })?;
                    room -= 1;
                }
            }
            match last {
                // Whatever there was up to it is a tombstone now.
                Some(last) if last + 1 < first.until && found.more => first.from = last + 1,
                _ => {
                    doomed.remove(0);
                }
            }
        }
        Ok(())
    }

    /// Destroys what the record of a secret says is left to be destroyed.
    pub(super) async fn sweep(&self, domain: Uuid, key: &RecordKey) -> Result<(), Error> {
        let mut lost = 0;
        let mut until: Mono = self.write_deadline();
        while lost < ATTEMPTS && self.time_left(until) {
            let held: Held<SecretRecord> = self.held(domain, key).await?;
            let Some(mut record) = held.value.filter(|record| !record.doomed.is_empty()) else {
                return Ok(());
            };
            let mut batch = self.batch(domain).await?;
            self.destroy_some(domain, &mut batch, &mut record.doomed, DESTROYED_AT_ONCE).await?;
            batch.put(key, held.version, &record)?;
            match batch.commit(until).await? {
                Attempt::Done => (lost, until) = (0, self.write_deadline()),
                Attempt::Conflict | Attempt::EpochChanged => lost += 1,
            }
        }
        Err(Error::refused("secret: conflicts until the deadline"))
    }

    /// The data of the current version, for a patch.
    async fn current_data(&self, domain: Uuid, secret: &Secret) -> Result<Option<SecretBytes>, Error> {
        let key = version_key(domain, &secret.id, secret.versions.current());
        let held: Held<VersionRecord> = self.held(domain, &key).await?;
        Ok(held.value.and_then(|record| record.data))
    }

    /// The greatest number in a row after the current version at which there is something already: what was written and destroyed
    /// in a history that a restore has lost.
    async fn taken(&self, domain: Uuid, secret: &Secret) -> Result<u32, Error> {
        let current = secret.versions.current();
        let mut taken = 0;
        for number in current + 1..=current + TAKEN_MAX {
            let held: Held<VersionRecord> =
                self.held(domain, &version_key(domain, &secret.id, number)).await?;
            if held.version.is_none() {
                break;
            }
            taken = number;
        }
        Ok(taken)
    }

    /// The stored versions of a secret after one.
    pub(super) async fn stored_versions(
        &self,
        domain: Uuid,
        id: [u8; ID_BYTES],
        after: RecordKey,
        limit: usize,
    ) -> Result<Stored, Error> {
        let prefix = version_prefix(domain, &id);
        self.settled_scan(domain, prefix, Some(after), limit, |domain_key, place, page| {
            let mut records = Vec::with_capacity(page.records.len());
            for (key, record) in page.records {
                let opened = self.open_record::<VersionRecord>(domain_key, place, &key, &record)?;
                let number = version_number(&key).ok_or(BadSeal)?;
                let gone = opened.value().data.is_none();
                records.push((key, number, opened.version(), gone));
            }
            Ok(Stored { records, more: page.more })
        })
        .await
    }
}

/// Versions found in the store: key, number, version, whether it is a tombstone.
pub(super) struct Stored {
    pub(super) records: Vec<(RecordKey, u32, Version, bool)>,
    pub(super) more: bool,
}

/// The change itself is done; what it destroys is not wholly gone from the stores yet.
fn half_done(error: Error) -> Error {
    Error::new(Code::Unknown, "done, and not yet to its end: repeat it, or the next change goes on with it")
        .because(error.detail().unwrap_or_default().to_owned())
}
