//! A new domain: its key is drawn and sealed here, and lies beside the logs of both databases before anything says that the domain is
//! there. Who may do what in it is decided as in any other; nothing is written in it.

use super::HostService;
use crate::{
    error::{Code, Error},
    iam::Administrator,
    vault::{CreateError, DomainError},
};
use uuid::Uuid;

impl HostService {
    /// Makes a domain, or finds that it is there: true if it is new.
    ///
    /// # Errors
    /// `BadArgument`; `WrongState` if the service of a domain of this id has ended; `Refused` if a database is not to be had, and then
    /// the domain is not there; `Unknown`; `Integrity` if there is a key that does not open.
    pub async fn create_domain(&self, _: &Administrator, domain: Uuid) -> Result<bool, Error> {
        if domain.is_nil() {
            return Err(Error::bad("this id is nobody's: choose another"));
        }
        let new = match self.keyring.domain(domain).await {
            Ok(_) => false,
            Err(DomainError::NotFound) => true,
            Err(DomainError::Ended) => return Err(self.never_again(domain)),
            Err(DomainError::Sealed) => return Err(HostService::sealed_error()),
            Err(DomainError::Damaged) => return Err(Error::integrity("keyring object")),
            Err(DomainError::Unreachable(why)) => return Err(Error::refused(format!("keyring: {why}"))),
        };
        self.keyring.create(&self.env, domain).await.map_err(|error| match error {
            CreateError::Sealed => HostService::sealed_error(),
            CreateError::Ended => self.never_again(domain),
            CreateError::Not(..) => {
                let sentence = "refused: both databases must take the key of a new domain, and one does not; the domain is not there: \
                    repeat it with the same id";
                Error::new(Code::Refused, sentence).because(error.to_string())
            }
            CreateError::Unknown => {
                let sentence = "outcome unknown: repeat it with the same id";
                Error::new(Code::Unknown, sentence).because(error.to_string())
            }
            CreateError::Differing(_) => {
                let sentence = "the databases have different keys for this id: choose another";
                Error::new(Code::Integrity, sentence).because(error.to_string())
            }
            CreateError::Damaged => Error::integrity(error.to_string()),
            CreateError::Entropy(error) => error.into(),
        })?;
        Ok(new)
    }

    fn never_again(&self, domain: Uuid) -> Error {
        let _ = self.ended(domain);
        Error::new(
            Code::WrongState,
            "the service of this domain has ended: its id is never used again, choose another",
        )
    }
}
