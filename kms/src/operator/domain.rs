//! The end of a domain's service (G14), as a person sees it: ordered at the head, which has the chain commit it, then confirmed
//! place by place - both databases, the replica, each backup store - as they say that the domain's key is gone there. Orders
//! nothing of those places: whoever holds the record of the end deletes the key by itself, and tries until it is done.

use super::{
    ask::{domains, replica_status},
    session::{Operator, Person, RebuildError},
};
use crate::{
    config::Zone,
    replica::ReplicaStatus,
    store::{
        epoch::Statement,
        server::DatabaseStatus,
        termination::{TerminatedStatus, Termination},
    },
    wire::epoch::OrderKind,
};
use futures_util::future::join3;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use uuid::Uuid;

/// Whether a domain's key is gone from a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erased {
    /// The place says so.
    Yes,
    /// The place says that it may still have it.
    NotYet,
    /// The place has not heard yet that the domain's service has ended.
    Unheard,
    /// The place says nothing, or nobody can ask it; why.
    Unknown(String),
}

impl fmt::Display for Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Erased::Yes => f.write_str("erased"),
            Erased::NotYet => f.write_str("not erased yet"),
            Erased::Unheard => f.write_str("has not heard of it yet"),
            Erased::Unknown(why) => write!(f, "no answer: {why}"),
        }
    }
}

/// One of the places that a domain's key is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// For people.
    pub name: String,
    /// Whether it is gone from there.
    pub state: Erased,
}

/// A domain whose service has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedDomain {
    /// The domain.
    pub domain: Uuid,
    /// When that was stated, Unix milliseconds.
    pub made_ms: u64,
    /// All places.
    pub places: Vec<Place>,
}

impl EndedDomain {
    /// Places that have not confirmed.
    pub fn unconfirmed(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| place.state != Erased::Yes)
    }

    /// Whether every place has confirmed: nothing of the domain can be read any more, wherever it still lies.
    pub fn gone(&self) -> bool {
        self.unconfirmed().next().is_none()
    }
}

/// What the nodes that hold copies answered.
#[derive(Debug, Clone)]
pub struct Copies {
    /// Those of zone a and zone b.
    pub databases: Vec<Result<DatabaseStatus, String>>,
    /// None: the region has none.
    pub replica: Option<Result<ReplicaStatus, String>>,
}

fn state<T>(
    answer: &Result<T, String>,
    domain: Uuid,
    terminated: impl Fn(&T) -> &[TerminatedStatus],
) -> Erased {
    match answer {
        Err(why) => Erased::Unknown(why.clone()),
        Ok(status) => match terminated(status).iter().find(|ended| ended.domain == domain) {
            Some(ended) if ended.erased => Erased::Yes,
            Some(_) => Erased::NotYet,
            None => Erased::Unheard,
        },
    }
}

impl Copies {
    /// Every domain whose service has ended, as far as anybody who answers knows.
    pub fn ended(&self) -> Vec<EndedDomain> {
        let databases = self.databases.iter().flatten().flat_map(|status| &status.terminated);
        let replica = self.replica.iter().flatten().flat_map(|status| &status.terminated);
        let known: BTreeMap<Uuid, u64> =
            databases.chain(replica).map(|ended| (ended.domain, ended.made_ms)).collect();
        let ended = |(domain, made_ms)| EndedDomain { domain, made_ms, places: self.places(domain) };
        known.into_iter().map(ended).collect()
    }

    /// Where the key of a domain is or was.
    fn places(&self, domain: Uuid) -> Vec<Place> {
        let mut places = Vec::new();
        for (zone, database) in ["a", "b"].iter().zip(&self.databases) {
            let state = state(database, domain, |status| &status.terminated);
            places.push(Place { name: format!("database of zone {zone}"), state });
        }
        let Some(replica) = &self.replica else { return places };
        let here = state(replica, domain, |status| &status.terminated);
        let stores = replica.as_ref().map(|status| status.backups.as_slice()).unwrap_or_default();
        for store in stores {
            let state = match &here {
                // The replica says what is in the stores, and deletes there what it has not itself.
                Erased::Unheard => Erased::Unheard,
                _ if store.unerased.contains(&domain) => Erased::NotYet,
                _ => Erased::Yes,
            };
            places.push(Place { name: format!("backups in {}", store.store), state });
        }
        if let Err(why) = replica {
            let state = Erased::Unknown(format!("the replica looks after them: {why}"));
            places.push(Place { name: "backup stores".to_owned(), state });
        }
        places.push(Place { name: "replica".to_owned(), state: here });
        places
    }
}

/// The domains of a region.
#[derive(Debug, Clone)]
pub struct Domains {
    /// Those that are served.
    pub served: BTreeSet<Uuid>,
    /// Those whose making was begun and is not at its end, as far as the head says so: it goes on when it is ordered again.
    pub half_made: BTreeSet<Uuid>,
    /// Those whose service has ended.
    pub ended: Vec<EndedDomain>,
}

impl Operator {
    /// Has both databases refuse the domain from now on, for good: true under every outcome when this returns. Its key goes from
    /// every place by itself; see [`Operator::copies`].
    ///
    /// # Errors
    /// [`RebuildError`] says what stands in the way and what to do.
    pub async fn terminate_domain(&self, domain: Uuid, person: &mut dyn Person) -> Result<(), RebuildError> {
        let end = Termination { domain, made_ms: self.env.wall_ms() };
        let statement = self.sign(&Statement::Terminate(end));
        self.give(Zone::A, OrderKind::TerminateDomain, &statement, person).await
    }

    /// Asks everybody who holds a copy.
    pub async fn copies(&self) -> Copies {
        // A handshake's state is large: three of them at once do not go on the stack.
        let replica = async {
            match &self.config.replica {
                Some(address) => Some(replica_status(&self.env, &self.tls, address).await),
                None => None,
            }
        };
        let (head, tail, replica) =
            join3(Box::pin(self.status(Zone::A)), Box::pin(self.status(Zone::B)), Box::pin(replica)).await;
        let databases = [head, tail].map(|answer| answer.map_err(|error| error.to_string()));
        let replica = replica.map(|answer| answer.map_err(|error| error.to_string()));
        Copies { databases: databases.into(), replica }
    }

    /// The domains of the region, those whose service has ended among them.
    ///
    /// # Errors
    /// [`RebuildError::Away`] if neither database answers.
    pub async fn domains(&self) -> Result<Domains, RebuildError> {
        let mut answer = domains(&self.env, &self.tls, self.address(Zone::A)).await;
        if answer.is_err() {
            answer = domains(&self.env, &self.tls, self.address(Zone::B)).await;
        }
        let keys = answer.map_err(|error| RebuildError::Away("neither database".to_owned(), error))?;
        let copies = self.copies().await;
        let ended = copies.ended();
        let is_over = |domain: &Uuid| ended.iter().any(|ended| ended.domain == *domain);
        let served: BTreeSet<Uuid> = keys.into_iter().filter(|domain| !is_over(domain)).collect();
        let begun = copies.databases.iter().flatten().flat_map(|status| &status.half_made).copied();
        let half_made = begun.filter(|domain| !is_over(domain) && !served.contains(domain)).collect();
        Ok(Domains { served, half_made, ended })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::BackupStatus;

    #[test]
    fn a_domain_is_gone_when_every_place_says_so() {
        let domain = Uuid::from_u128(7);
        let says = |erased| vec![TerminatedStatus { domain, made_ms: 5, erased }];
        let database = |erased| Ok(DatabaseStatus { terminated: says(erased), ..DatabaseStatus::default() });
        let store =
            |unerased| BackupStatus { store: "eu-west-gra".to_owned(), unerased, ..Default::default() };
        let replica = |unerased| {
            let (terminated, backups) = (says(true), vec![store(unerased)]);
            Some(Ok(ReplicaStatus { terminated, backups, ..ReplicaStatus::default() }))
        };
        let open = |databases, replica| -> Vec<(String, String)> {
            let ended = Copies { databases, replica }.ended();
            assert_eq!((ended.len(), ended[0].domain, ended[0].made_ms), (1, domain, 5));
            let line = |place: &Place| (place.name.clone(), place.state.to_string());
            ended[0].unconfirmed().map(line).collect()
        };
        assert_eq!(open(vec![database(true), database(true)], replica(vec![])), []);
        assert_eq!(open(vec![database(true), database(true)], None), [], "a region may have no replica");
        let words = |open: Vec<(String, String)>| -> Vec<String> {
            open.into_iter().map(|(name, state)| format!("{name}: {state}")).collect()
        };
        let away = || Err("away".to_owned());
        assert_eq!(
            words(open(vec![database(false), Ok(DatabaseStatus::default())], replica(vec![domain]))),
            [
                "database of zone a: not erased yet",
                "database of zone b: has not heard of it yet",
                "backups in eu-west-gra: not erased yet"
            ]
        );
        assert_eq!(
            words(open(vec![database(true), away()], Some(Err("away".to_owned())))),
            [
                "database of zone b: no answer: away",
                "backup stores: no answer: the replica looks after them: away",
                "replica: no answer: away"
            ]
        );
        // A replica that has not heard says nothing about the stores either.
        let unheard = ReplicaStatus { backups: vec![store(vec![])], ..ReplicaStatus::default() };
        let open = open(vec![database(true), database(true)], Some(Ok(unheard)));
        assert_eq!(open.len(), 2, "{open:?}");
    }
}
