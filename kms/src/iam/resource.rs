//! What an action is done on: a domain itself, a key or a secret in it. Each has a URN, by which policies name it.

use crate::error::Error;
use uuid::Uuid;

/// Longest path of a secret, characters.
pub const PATH_MAX_CHARS: usize = 255;

/// What the URNs of all domains begin with.
const URN_PREFIX: &str = "urn:v1:eu:resource:okms:";

/// What actions are done on.
pub trait Resource: Clone + PartialEq {
    /// Its name in policies.
    fn urn(&self, domain: Uuid) -> String;
}

/// The domain itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TheDomain;

/// The name of a domain in policies.
pub fn domain_urn(domain: Uuid) -> String {
    urn(domain, "", "")
}

/// The URN of something in a domain.
fn urn(domain: Uuid, kind: &str, name: &str) -> String {
    let mut buffer = Uuid::encode_buffer();
    [URN_PREFIX, domain.hyphenated().encode_lower(&mut buffer), kind, name].concat()
}

impl Resource for TheDomain {
    fn urn(&self, domain: Uuid) -> String {
        domain_urn(domain)
    }
}

/// A service key.
impl Resource for Uuid {
    fn urn(&self, domain: Uuid) -> String {
        urn(domain, "/serviceKey/", self.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

/// Where a secret is: parts joined by `/`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretPath(String);

fn well_formed(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.:/=@-".contains(c);
    text.len() <= PATH_MAX_CHARS
        && text.chars().all(plain)
        && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

impl SecretPath {
    /// Checks a path.
    ///
    /// # Errors
    /// `BadArgument` if it is empty, too long, has other characters than the documented ones, or an empty part, `.` or `..`.
    pub fn new(text: String) -> Result<SecretPath, Error> {
        if well_formed(&text) {
            return Ok(SecretPath(text));
        }
        Err(Error::bad(
            "path must have 1 to 255 characters of a-z A-Z 0-9 _ . : / = @ - and no part that is empty, '.' or '..'",
        ))
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Resource for SecretPath {
    fn urn(&self, domain: Uuid) -> String {
        urn(domain, "/secret/", &self.0)
    }
}
