//! Credentials: what is known of an access certificate by its serial number, and who the bearer is.

use super::policy::check_identities;
use crate::error::{Code, Error};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Most identities of a credential.
pub const IDENTITIES_MAX: usize = 25;
/// Longest name, characters.
pub const CREDENTIAL_NAME_MAX_CHARS: usize = 50;
/// Longest description, characters.
pub const DESCRIPTION_MAX_CHARS: usize = 200;
/// Longest life, days.
pub const LIFE_MAX_DAYS: u32 = 365;

/// An access certificate that was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Its id: the serial number of the certificate.
    pub id: Uuid,
    /// For people.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Who the bearer is; none: the credential itself.
    #[serde(default)]
    pub identities: Vec<String>,
    /// When it was made, Unix seconds.
    pub created_s: u64,
    /// When it ends, Unix seconds.
    pub expires_s: u64,
    /// When it was revoked, Unix seconds.
    #[serde(default)]
    pub revoked_s: Option<u64>,
    /// Whether somebody else made its private key.
    pub from_csr: bool,
    /// The certificate, PEM.
    pub certificate_pem: String,
}

/// The identity of a credential itself.
pub fn credential_urn(domain: Uuid, id: Uuid) -> String {
    format!("urn:v1:eu:identity:credential:{domain}/{id}")
}

impl Credential {
    /// Checks a credential that is to be registered.
    ///
    /// # Errors
    /// `BadArgument`.
    pub fn check(&self) -> Result<(), Error> {
        let within = |text: &str, most| text.chars().take(most + 1).count() <= most;
        if self.name.is_empty() || !within(&self.name, CREDENTIAL_NAME_MAX_CHARS) {
            return Err(Error::bad("name must have 1 to 50 characters"));
        }
        if !within(&self.description, DESCRIPTION_MAX_CHARS) {
            return Err(Error::bad("description is longer than 200 characters"));
        }
        if self.identities.len() > IDENTITIES_MAX {
            return Err(Error::bad("a credential has at most 25 identities"));
        }
        if !self.identities.is_empty() {
            check_identities("identities", &self.identities)?;
        }
        if self.identities.iter().any(|urn| urn.contains('*')) {
            return Err(Error::bad("an identity of a credential has no *"));
        }
        if self.revoked_s.is_some() {
            return Err(Error::bad("a new credential is not revoked"));
        }
        Ok(())
    }

    /// Who the bearer is, as long as it is valid.
    ///
    /// # Errors
    /// `Unauthorised` once it is revoked, or has ended.
    pub fn valid(&self, now_s: u64) -> Result<(), Error> {
        if self.revoked_s.is_some() {
            return Err(Error::new(Code::Unauthorised, "the credential is revoked"));
        }
        if self.expires_s <= now_s {
            return Err(Error::new(Code::Unauthorised, "the credential has expired"));
        }
        Ok(())
    }

    /// `READY`, `EXPIRED` or `REVOKED`.
    pub fn status(&self, now_s: u64) -> &'static str {
        match (self.revoked_s, self.expires_s <= now_s) {
            (Some(_), _) => "REVOKED",
            (None, true) => "EXPIRED",
            (None, false) => "READY",
        }
    }
}
