//! Changes of a domain's access, by the operator: each is one transaction with the stamp, so all of them come one after the other. The first
//! one writes down the policy that held until then.

use super::{
    State,
    record::{Part, PartRecord, StampRecord, encoded, part_key, stamp_key},
};
use crate::{
    engine::{
        HostService,
        write::{ATTEMPTS, Attempt, Batch},
    },
    env::Mono,
    error::{Code, Error},
    iam::{Administrator, DEFAULT_POLICY, Explanation, Policy, credential_urn},
    limits::{ACCESS_BYTES_MAX, ACCESS_PART_MAX_BYTES, ACCESS_PARTS_MAX},
    record::{CommitId, Version},
};
use std::{collections::BTreeSet, sync::Arc};
use uuid::Uuid;

/// What the stamp says, and its version; none: the domain has only what holds by default.
pub(super) struct Stamp {
    pub(super) says: StampRecord,
    pub(super) version: Option<Version>,
}

pub(super) fn not_found(word: &str) -> Error {
    Error::new(Code::AccessNotFound, format!("no such {word}"))
}

/// Who and what a dry run is about.
pub struct Asked<'a> {
    /// The identities of whoever would ask.
    pub identities: &'a [String],
    /// The action, as policies name it.
    pub action: &'a str,
    /// The resource, as policies name it.
    pub resource: &'a str,
}

impl HostService {
    pub(super) async fn stamp(&self, domain: Uuid) -> Result<Stamp, Error> {
        let held = self.held::<StampRecord>(domain, &stamp_key(domain)).await?;
        Ok(Stamp { says: held.value.unwrap_or_default(), version: held.version })
    }

    /// Puts the stamp into a batch; with the default policy, if this is the first change, unless that is what is changed.
    pub(super) async fn put_stamp(
        &self,
        domain: Uuid,
        batch: &mut Batch<'_>,
        stamp: Stamp,
        changes_default: bool,
    ) -> Result<(), Error> {
        let mut says = stamp.says;
        if stamp.version.is_none() && !changes_default {
            let (policy, domain_key) = (Policy::open(), self.domain_key(domain).await?);
            says.parts += 1;
            says.bytes += encoded(&policy).len() as u64;
            batch.put(&part_key::<Policy>(&domain_key, DEFAULT_POLICY), None, &PartRecord(Some(policy)))?;
        }
        batch.put(&stamp_key(domain), stamp.version, &says)
    }

    /// Commits a change of the domain's access; `false` if another one was faster.
    pub(super) async fn commit_access(
        &self,
        domain: Uuid,
        batch: Batch<'_>,
        until: Mono,
    ) -> Result<bool, Error> {
        let done = batch.commit(until).await;
        // Whatever came of it, nothing is decided here by what was known before.
        self.access.doubt(domain);
        match done? {
            Attempt::Done => Ok(true),
            Attempt::Conflict | Attempt::EpochChanged => Ok(false),
        }
    }

    /// Makes, changes or deletes what has a name.
    async fn set<T: Part>(&self, domain: Uuid, name: &str, new: Option<T>) -> Result<(), Error> {
        let new_bytes = new.as_ref().map_or(0, |part| encoded(part).len());
        if new_bytes > ACCESS_PART_MAX_BYTES {
            return Err(Error::bad(format!("the {} is larger than {ACCESS_PART_MAX_BYTES} bytes", T::WORD)));
        }
        let key = part_key::<T>(&*self.domain_key(domain).await?, name);
        let is_default = T::KIND == Policy::KIND && name == DEFAULT_POLICY;
        let until = self.write_deadline();
        let mut mine: Vec<CommitId> = Vec::new();
        for _ in 0..ATTEMPTS {
            let mut stamp = self.stamp(domain).await?;
            if stamp.version.is_some_and(|version| mine.contains(&version.commit_id)) {
                // An earlier attempt was done after all.
                self.access.doubt(domain);
                return Ok(());
            }
            let held = self.held::<PartRecord<T>>(domain, &key).await?;
            let before = held.value.and_then(|record| record.0);
            // Before anything was said, there is one policy, which is nowhere written.
            let unwritten = is_default && stamp.version.is_none();
            match (&before, &new) {
                (None, None) if !unwritten => return Err(not_found(T::WORD)),
                (Some(before), Some(new)) if before == new => return Ok(()),
                _ => {}
            }
            let says = &mut stamp.says;
            says.parts = says.parts.saturating_sub(u32::from(before.is_some()));
            says.bytes =
                says.bytes.saturating_sub(before.as_ref().map_or(0, |part| encoded(part).len() as u64));
            says.parts += u32::from(new.is_some());
            says.bytes += new_bytes as u64;
            if new.is_some() && (says.parts > ACCESS_PARTS_MAX || says.bytes > ACCESS_BYTES_MAX) {
                return Err(Error::bad(format!(
                    "a domain has at most {ACCESS_PARTS_MAX} policies, groups and issuers, of {ACCESS_BYTES_MAX} bytes together"
                )));
            }
            let mut batch = self.batch(domain).await?;
            self.put_stamp(domain, &mut batch, stamp, is_default).await?;
            if before.is_some() || new.is_some() {
                batch.put(&key, held.version, &PartRecord(new.clone()))?;
            }
            mine.push(batch.id());
            if self.commit_access(domain, batch, until).await? {
                return Ok(());
            }
            if !self.time_left(until) {
                break;
            }
        }
        Err(Error::refused("access: conflicts until the deadline"))
    }

    /// What holds now. Whoever changes it wants to see what is there, not what was a second ago.
    async fn settled_access(&self, domain: Uuid) -> Result<Arc<State>, Error> {
        self.access.doubt(domain);
        let state = self.access(domain).await?;
        match state.outcomes.len() {
            1 => Ok(state),
            _ => Err(Error::refused("a change of the domain's access is in doubt")),
        }
    }

    /// Makes or changes a policy, a group or an issuer.
    ///
    /// # Errors
    /// `BadArgument`, `DomainNotFound`, `Refused`, `Unknown`.
    pub async fn put_part<T: Part>(&self, _: &Administrator, domain: Uuid, part: T) -> Result<(), Error> {
        part.check(domain)?;
        let name = part.name().to_owned();
        self.set(domain, &name, Some(part)).await
    }

    /// Deletes a policy, a group or an issuer.
    ///
    /// # Errors
    /// `AccessNotFound`, `DomainNotFound`, `Refused`, `Unknown`.
    pub async fn delete_part<T: Part>(
        &self,
        _: &Administrator,
        domain: Uuid,
        name: &str,
    ) -> Result<(), Error> {
        self.set::<T>(domain, name, None).await
    }

    /// All policies, groups or issuers, by name.
    ///
    /// # Errors
    /// `DomainNotFound`, `Refused`, `Integrity`.
    pub async fn parts<T: Part>(&self, _: &Administrator, domain: Uuid) -> Result<Vec<T>, Error> {
        let state = self.settled_access(domain).await?;
        Ok(state.documents().flat_map(|document| T::all_of(document).to_vec()).collect())
    }

    /// What would be decided, and why. Decides as requests are decided, and says so if the reason were another one.
    ///
    /// # Errors
    /// As of [`HostService::parts`]; `BadArgument` for an action that there is none of.
    pub async fn explain(
        &self,
        _: &Administrator,
        domain: Uuid,
        asked: &Asked<'_>,
    ) -> Result<Explanation, Error> {
        let place = crate::iam::action::NAMES.iter().position(|name| *name == asked.action);
        let place = place.ok_or_else(|| Error::bad("there is no such action"))?;
        let state = self.settled_access(domain).await?;
        let document = state.documents().next().ok_or_else(|| Error::internal("no document"))?;
        let identities: BTreeSet<String> = asked.identities.iter().cloned().collect();
        let explanation = document.explain(&identities, asked.action, asked.resource);
        if document.compiled(&identities).allows(place, asked.resource) != explanation.allowed {
            return Err(Error::internal("a decision and its reason differ"));
        }
        Ok(explanation)
    }

    /// The identities of a credential, for a dry run.
    ///
    /// # Errors
    /// As of [`HostService::credential`].
    pub async fn identities_of(
        &self,
        administrator: &Administrator,
        domain: Uuid,
        id: Uuid,
    ) -> Result<Vec<String>, Error> {
        let credential = self.credential(administrator, domain, id).await?;
        Ok(match credential.identities.is_empty() {
            true => vec![credential_urn(domain, id)],
            false => credential.identities,
        })
    }
}
