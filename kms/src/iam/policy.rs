//! Policies and groups, as the operator writes them. Whatever is wrong with one is said when it is written, and never later.

use super::{
    action,
    pattern::matches,
    resource::{SecretPath, domain_urn},
};
use crate::error::Error;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest name of a policy, a group or an issuer, characters.
pub const NAME_MAX_CHARS: usize = 64;
/// Most entries in one list of a policy or a group.
pub const LIST_MAX: usize = 256;
/// Longest entry, characters.
pub const ENTRY_MAX_CHARS: usize = 512;
/// The policy that a domain has before anything was said.
pub const DEFAULT_POLICY: &str = "default";

/// Who may, or may not, do what on what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// URNs of identities and groups; `*` stands for anything.
    pub identities: Vec<String>,
    /// Actions that are allowed; `*` stands for anything.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Actions that are denied, whatever else allows them.
    #[serde(default)]
    pub deny: Vec<String>,
    /// URNs of resources of the domain; `*` at the end stands for whatever follows.
    pub resources: Vec<String>,
}

/// Identities under one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name; its URN ends with it.
    pub name: String,
    /// URNs of identities; `*` stands for anything. Groups are not members of groups.
    pub members: Vec<String>,
}

/// Checks the name of a policy, a group or an issuer.
///
/// # Errors
/// `BadArgument`.
pub fn check_name(name: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.is_empty() || name.len() > NAME_MAX_CHARS || !name.chars().all(plain) {
        return Err(Error::bad("a name must have 1 to 64 characters of a-z A-Z 0-9 _ . -"));
    }
    Ok(())
}

fn check_list(what: &'static str, list: &[String], may_be_empty: bool) -> Result<(), Error> {
    if list.is_empty() && !may_be_empty {
        return Err(Error::bad(format!("{what} must not be empty")));
    }
    if list.len() > LIST_MAX {
        return Err(Error::bad(format!("{what} must have at most {LIST_MAX} entries")));
    }
    let plain = |entry: &String| {
        (1..=ENTRY_MAX_CHARS).contains(&entry.len()) && entry.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match list.iter().all(plain) {
        true => Ok(()),
        false => Err(Error::bad(format!(
            "an entry of {what} must have 1 to {ENTRY_MAX_CHARS} visible ASCII characters"
        ))),
    }
}

/// Checks the URNs of identities, with stars or without.
///
/// # Errors
/// `BadArgument`.
pub fn check_identities(what: &'static str, list: &[String]) -> Result<(), Error> {
    check_list(what, list, false)?;
    match list.iter().find(|urn| *urn != "*" && !urn.starts_with("urn:v1:eu:identity:")) {
        Some(urn) => Err(Error::bad(format!("{what}: {urn} does not begin with urn:v1:eu:identity:"))),
        None => Ok(()),
    }
}

impl Policy {
    /// What holds in a domain before anything was said: whoever has a certificate of the domain may do everything in it.
    pub fn open() -> Policy {
        let any = || vec!["*".to_owned()];
        Policy {
            name: DEFAULT_POLICY.to_owned(),
            identities: any(),
            allow: any(),
            deny: Vec::new(),
            resources: any(),
        }
    }

    /// Checks a policy of a domain.
    ///
    /// # Errors
    /// `BadArgument` says what is wrong: an action that there is none of, a resource of another domain, a star in the wrong place.
    pub fn check(&self, domain: Uuid) -> Result<(), Error> {
        check_name(&self.name)?;
        check_identities("identities", &self.identities)?;
        check_list("allow", &self.allow, true)?;
        check_list("deny", &self.deny, true)?;
        check_list("resources", &self.resources, false)?;
        if self.allow.is_empty() && self.deny.is_empty() {
            return Err(Error::bad("a policy must allow or deny something"));
        }
        for pattern in self.allow.iter().chain(&self.deny) {
            if !action::NAMES.iter().any(|name| matches(pattern, name)) {
                return Err(Error::bad(format!("{pattern} means no action that there is")));
            }
        }
        let own = domain_urn(domain);
        for urn in self.resources.iter().filter(|urn| *urn != "*") {
            let rest = urn.strip_prefix(own.as_str());
            let known = |rest: &str| {
                matches!(rest, "" | "*" | "/*")
                    || rest.strip_prefix("/serviceKey/").is_some_and(means_keys)
                    || rest.strip_prefix("/secret/").is_some_and(means_secrets)
            };
            if !rest.is_some_and(known) {
                return Err(Error::bad(format!(
                    "{urn} is no resource of this domain: {own}, {own}/serviceKey/ID or {own}/secret/PATH, with * at the end if \
                     need be"
                )));
            }
        }
        Ok(())
    }
}

/// Whether a key can have this id, or one that begins so: a policy for what there cannot be would forbid nothing.
fn means_keys(id: &str) -> bool {
    match id.strip_suffix('*') {
        Some(begin) => begin.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')),
        None => Uuid::try_parse(id).is_ok_and(|parsed| parsed.to_string() == id),
    }
}

/// Whether a secret can have this path, or one that begins so.
fn means_secrets(path: &str) -> bool {
    match path.strip_suffix('*') {
        Some(begin) => !begin.contains('*'),
        None => SecretPath::new(path.to_owned()).is_ok(),
    }
}

impl Group {
    /// Checks a group.
    ///
    /// # Errors
    /// `BadArgument`.
    pub fn check(&self) -> Result<(), Error> {
        check_name(&self.name)?;
        check_identities("members", &self.members)
    }

    /// Its name in policies.
    pub fn urn(&self, domain: Uuid) -> String {
        format!("urn:v1:eu:identity:group:{domain}/{}", self.name)
    }
}
