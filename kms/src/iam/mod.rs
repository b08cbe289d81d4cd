//! Who asks, and whether they may. [`Authorized`] is the only way into the engine, and only this module makes
//! one. So far a valid access certificate of a domain may do everything in that domain and nothing in any
//! other; policies per identity come with the access part of the service.

pub mod action;
mod certificate;

use crate::error::{Code, Error};
use std::marker::PhantomData;
use uuid::Uuid;

pub use action::Action;

/// A client, as its certificate names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    domain: Uuid,
    serial: String,
}

/// Evidence: the identity may do `A` in the domain.
pub struct Authorized<A> {
    domain: Uuid,
    action: PhantomData<fn() -> A>,
}

impl<A> Authorized<A> {
    /// The domain it is good for.
    pub fn domain(&self) -> Uuid {
        self.domain
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

    /// Serial number of the certificate (the credential id), hexadecimal.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Decides whether this identity may do `A` in the domain of the request.
    ///
    /// # Errors
    /// [`Code::Forbidden`]; the same whether or not the other domain exists.
    pub fn authorize<A: Action>(&self, okms_id: Uuid) -> Result<Authorized<A>, Error> {
        if okms_id != self.domain {
            return Err(Error::new(Code::Forbidden, "operation is not authorized").because(A::NAME));
        }
        Ok(Authorized { domain: okms_id, action: PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_domain_is_forbidden() {
        let identity = Identity { domain: Uuid::from_u128(1), serial: String::new() };
        assert!(identity.authorize::<action::Encrypt>(Uuid::from_u128(1)).is_ok());
        let refused =
            identity.authorize::<action::Encrypt>(Uuid::from_u128(2)).err().map(|error| error.code());
        assert_eq!(refused, Some(Code::Forbidden));
    }

    #[test]
    fn garbage_is_no_certificate() {
        assert!(Identity::from_certificate(b"\x30\x82\xff\xff").is_err());
        assert!(Identity::from_certificate(b"").is_err());
    }
}
