//! Who asks, and whether they may. [`Authorized`] is the only way into the engine, and only this module makes one: an identity's
//! [`Rights`] say so, which come from the policies of the domain. An [`Authorized`] is good for one action on one resource. What the
//! operator may is something else: [`Administrator`] opens what administers access, and no key.

pub mod action;
mod certificate;
mod credential;
mod decide;
mod pattern;
mod policy;
mod resource;
mod token;

use crate::{
    error::{Code, Error},
    wire::identity::{Peer, PeerRole},
};
use std::{collections::BTreeSet, marker::PhantomData, sync::Arc};
use uuid::Uuid;

pub use action::Action;
pub use credential::{Credential, IDENTITIES_MAX, LIFE_MAX_DAYS, credential_urn};
pub use decide::{Compiled, Document, Explanation};
pub use policy::{DEFAULT_POLICY, Group, Policy, check_name};
pub use resource::{PATH_MAX_CHARS, Resource, SecretPath, TheDomain, domain_urn};
pub use token::{Bearer, Issuer, Known};

/// A client, as its certificate names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    domain: Uuid,
    serial: String,
    id: Option<Uuid>,
    expires_s: u64,
}

/// Evidence: the identity may do `A` on this resource of the domain.
pub struct Authorized<A: Action> {
    domain: Uuid,
    of: A::Of,
    action: PhantomData<fn() -> A>,
}

impl<A: Action> Authorized<A> {
    /// The domain it is good for.
    pub fn domain(&self) -> Uuid {
        self.domain
    }

    /// The resource it is good for.
    pub fn of(&self) -> &A::Of {
        &self.of
    }
}

/// Evidence: the identity may do `A` on what this says, of all that a domain has. What it does not say may not even be counted.
pub struct Selection<A: Action> {
    domain: Uuid,
    outcomes: Arc<[Arc<Compiled>]>,
    action: PhantomData<fn() -> A>,
}

impl<A: Action> Selection<A> {
    /// The domain it is good for.
    pub fn domain(&self) -> Uuid {
        self.domain
    }

    /// Whether the action may be done on this. While a change of policies is in doubt: under both outcomes.
    pub fn has(&self, of: &A::Of) -> bool {
        let urn = of.urn(self.domain);
        self.outcomes.iter().all(|rights| rights.allows(A::PLACE, &urn))
    }
}

/// What somebody may do in a domain: under each outcome of a change of its policies, if one is in doubt.
#[derive(Clone)]
pub struct Rights {
    domain: Uuid,
    /// Who it is.
    identities: Arc<BTreeSet<String>>,
    outcomes: Arc<[Arc<Compiled>]>,
}

fn forbidden<A: Action>() -> Error {
    Error::new(Code::Forbidden, "operation is not authorized").because(A::NAME)
}

fn in_doubt() -> Error {
    Error::refused("a change of the domain's policies is in doubt")
}

impl Rights {
    /// Of somebody with these identities, under each of one or two outcomes.
    pub fn new<'a>(
        domain: Uuid,
        documents: impl IntoIterator<Item = &'a Document>,
        identities: &BTreeSet<String>,
    ) -> Rights {
        let outcomes = documents.into_iter().map(|document| document.compiled(identities)).collect();
        Rights { domain, identities: Arc::new(identities.clone()), outcomes }
    }

    /// What was found for each outcome apart.
    pub fn joined(domain: Uuid, each: &[Rights]) -> Rights {
        let identities = each.iter().flat_map(|rights| rights.identities.iter().cloned()).collect();
        let outcomes = each.iter().flat_map(|rights| rights.outcomes.iter().cloned()).collect();
        Rights { domain, identities: Arc::new(identities), outcomes }
    }

    /// Whom it is about, as URNs.
    pub fn identities(&self) -> &Arc<BTreeSet<String>> {
        &self.identities
    }

    /// Decides whether `A` may be done on a resource.
    ///
    /// # Errors
    /// [`Code::Forbidden`], the same whether or not the resource exists; [`Code::Refused`] while that hangs on a change in doubt.
    pub fn authorize<A: Action>(&self, of: A::Of) -> Result<Authorized<A>, Error> {
        let urn = of.urn(self.domain);
        let mut decisions = self.outcomes.iter().map(|rights| rights.allows(A::PLACE, &urn));
        match decisions.next() {
            Some(first) if decisions.all(|other| other == first) => match first {
                true => Ok(Authorized { domain: self.domain, of, action: PhantomData }),
                false => Err(forbidden::<A>()),
            },
            Some(_) => Err(in_doubt()),
            None => Err(forbidden::<A>()),
        }
    }

    /// On what of the domain `A` may be done.
    ///
    /// # Errors
    /// [`Code::Forbidden`] if there is nothing that could allow it.
    pub fn select<A: Action>(&self) -> Result<Selection<A>, Error> {
        let some = !self.outcomes.is_empty() && self.outcomes.iter().all(|rights| rights.may_allow(A::PLACE));
        match some {
            true => Ok(Selection {
                domain: self.domain,
                outcomes: Arc::clone(&self.outcomes),
                action: PhantomData,
            }),
            false => Err(forbidden::<A>()),
        }
    }
}

impl Identity {
    /// Reads the identity out of an access certificate that TLS has verified.
    ///
    /// # Errors
    /// [`Code::Unauthorised`] if the certificate names no domain.
    pub fn from_certificate(der: &[u8]) -> Result<Identity, Error> {
        certificate::parse(der)
            .ok_or_else(|| Error::new(Code::Unauthorised, "the client certificate names no OKMS domain"))
    }

    /// The domain the certificate was issued for.
    pub fn domain(&self) -> Uuid {
        self.domain
    }

    /// Serial number of the certificate, hexadecimal.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The credential: the serial number as a UUID; none: it is too long for one.
    pub fn credential(&self) -> Option<Uuid> {
        self.id
    }

    /// The identity of a certificate that nobody has registered.
    pub fn urn(&self) -> String {
        match self.id {
            Some(id) => credential_urn(self.domain, id),
            None => format!("urn:v1:eu:identity:credential:{}/{}", self.domain, self.serial),
        }
    }

    /// Whether the certificate is good in this domain at this moment; TLS has looked at it when the connection began.
    ///
    /// # Errors
    /// [`Code::Forbidden`] in another domain; the same whether or not that exists. [`Code::Unauthorised`] once it has expired.
    pub fn check(&self, okms_id: Uuid, now_s: u64) -> Result<(), Error> {
        if okms_id != self.domain {
            return Err(Error::new(Code::Forbidden, "operation is not authorized").because("another domain"));
        }
        if self.expires_s <= now_s {
            return Err(Error::new(Code::Unauthorised, "the client certificate has expired"));
        }
        Ok(())
    }
}

/// Evidence: this is the region's operator, who administers access and uses nothing.
pub struct Administrator(());

impl Administrator {
    /// The operator, by the name in a certificate that TLS has verified.
    ///
    /// # Errors
    /// [`Code::Unauthorised`] for anybody else.
    pub fn of(peer: &Peer) -> Result<Administrator, Error> {
        match peer.role {
            PeerRole::Operator => Ok(Administrator(())),
            _ => Err(Error::new(Code::Unauthorised, "the operator's certificate is required")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(policies: Vec<Policy>) -> Rights {
        let document = Document::new(Uuid::from_u128(1), policies, Vec::new(), Vec::new());
        Rights::new(
            Uuid::from_u128(1),
            [&document],
            &BTreeSet::from(["urn:v1:eu:identity:user:x/y".to_owned()]),
        )
    }

    fn code<T>(result: Result<T, Error>) -> Option<Code> {
        result.err().map(|error| error.code())
    }

    #[test]
    fn another_domain_is_forbidden_and_an_old_certificate_is_none() {
        let (domain, serial) = (Uuid::from_u128(1), String::new());
        let identity = Identity { domain, serial, id: None, expires_s: 100 };
        assert!(identity.check(Uuid::from_u128(1), 99).is_ok());
        assert_eq!(code(identity.check(Uuid::from_u128(2), 99)), Some(Code::Forbidden));
        assert_eq!(code(identity.check(Uuid::from_u128(1), 100)), Some(Code::Unauthorised));
    }

    #[test]
    fn what_is_allowed_on_one_key_is_not_on_another() {
        let domain = Uuid::from_u128(1);
        let (one, other) = (Uuid::from_u128(2), Uuid::from_u128(3));
        let policy = Policy { resources: vec![Resource::urn(&one, domain)], ..Policy::open() };
        let rights = rights(vec![policy]);
        let may = rights.authorize::<action::Encrypt>(one).expect("allowed");
        assert_eq!((may.domain(), *may.of()), (domain, one));
        assert_eq!(code(rights.authorize::<action::Encrypt>(other)), Some(Code::Forbidden));
        assert_eq!(code(rights.authorize::<action::Random>(TheDomain)), Some(Code::Forbidden));
        let shown = rights.select::<action::Get>().expect("something");
        assert!(shown.has(&one) && !shown.has(&other));
    }

    #[test]
    fn what_hangs_on_a_change_in_doubt_is_refused() {
        let (open, closed) = (rights(vec![Policy::open()]), rights(Vec::new()));
        let domain = Uuid::from_u128(1);
        let both = |one: &Rights, two: &Rights| Rights::joined(domain, &[one.clone(), two.clone()]);
        let key = Uuid::from_u128(2);
        assert!(both(&open, &open).authorize::<action::Get>(key).is_ok());
        assert_eq!(code(both(&open, &closed).authorize::<action::Get>(key)), Some(Code::Refused));
        assert_eq!(code(both(&closed, &closed).authorize::<action::Get>(key)), Some(Code::Forbidden));
        assert_eq!(code(both(&open, &closed).select::<action::Get>()), Some(Code::Forbidden));
    }

    #[test]
    fn nobody_but_the_operator_administers() {
        let name = |role, zone| Peer { role, region: "r".to_owned(), zone, node_id: "n".to_owned() };
        assert!(Administrator::of(&name(PeerRole::Operator, None)).is_ok());
        assert!(Administrator::of(&name(PeerRole::Host, Some(crate::config::Zone::A))).is_err());
    }

    #[test]
    fn garbage_is_no_certificate() {
        assert!(Identity::from_certificate(b"\x30\x82\xff\xff").is_err());
        assert!(Identity::from_certificate(b"").is_err());
    }
}
