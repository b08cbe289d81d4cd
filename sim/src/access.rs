//! Who may do what, in the words of the harness: what an operator changes, and whom clients are. Shared by plans, which say it before a
//! region is there, and by histories, which say it of one. Decides nothing (see `check::g9_access`).

use serde::{Deserialize, Serialize};

/// A change of a domain's access, as an operator makes it. In a plan `{domain}` stands for the domain's id, and `{client-N}` for that of
/// the credential of client N.
#[expect(missing_docs, reason = "named as in the administration of hosts")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// Make a policy, or put another one in its place.
    Policy(Policy),
    PolicyGone {
        name: String,
    },
    /// Make a group, or put another one in its place.
    Group {
        name: String,
        members: Vec<String>,
    },
    GroupGone {
        name: String,
    },
    /// Register a credential; without identities its holder is the credential itself.
    Credential {
        id: String,
        identities: Vec<String>,
    },
    /// Revoke a credential.
    Revoked {
        id: String,
    },
    /// Take the tokens of the domain's issuer: what they say of themselves follows this prefix.
    Issuer {
        name: String,
        prefix: String,
    },
    IssuerGone {
        name: String,
    },
}

/// A policy.
#[expect(missing_docs, reason = "as in docs/access.md")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub name: String,
    pub identities: Vec<String>,
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    pub resources: Vec<String>,
}

impl Change {
    /// What of a domain's access it sets: the sort of thing, and its name.
    pub fn part(&self) -> (&'static str, &str) {
        match self {
            Change::Policy(Policy { name, .. }) | Change::PolicyGone { name } => ("policies", name),
            Change::Group { name, .. } | Change::GroupGone { name } => ("groups", name),
            Change::Issuer { name, .. } | Change::IssuerGone { name } => ("issuers", name),
            Change::Credential { id, .. } | Change::Revoked { id } => ("credentials", id),
        }
    }

    /// The same with every text as `fill` makes it.
    #[must_use]
    pub fn filled(&self, fill: &dyn Fn(&str) -> String) -> Change {
        let all = |texts: &[String]| texts.iter().map(|text| fill(text)).collect();
        match self {
            Change::Policy(policy) => Change::Policy(Policy {
                name: policy.name.clone(),
                identities: all(&policy.identities),
                allow: policy.allow.clone(),
                deny: policy.deny.clone(),
                resources: all(&policy.resources),
            }),
            Change::Group { name, members } => Change::Group { name: name.clone(), members: all(members) },
            Change::Credential { id, identities } => {
                Change::Credential { id: fill(id), identities: all(identities) }
            }
            Change::Revoked { id } => Change::Revoked { id: fill(id) },
            Change::PolicyGone { .. }
            | Change::GroupGone { .. }
            | Change::Issuer { .. }
            | Change::IssuerGone { .. } => self.clone(),
        }
    }
}

/// What came of an attempt at a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attempt {
    /// It is about to be sent.
    Begun,
    /// A host says that it is done.
    Acknowledged,
    /// It was definitely not done.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// Whom a client is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bearer {
    /// It has the certificate of this credential, registered or not.
    Certificate(String),
    /// It has a token of the domain's issuer for this subject.
    Token {
        /// The issuer's name.
        issuer: String,
        /// What follows the issuer's prefix.
        subject: String,
    },
    /// What it shows is good for nothing, and why.
    Nobody(String),
}

/// A denial, as it was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The operation.
    pub op: u64,
    /// Status code.
    pub status: u16,
    /// The body, without what is of each request alone.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_filled_and_names_are_not() {
        let policy = Policy {
            name: "{domain}".into(),
            identities: vec!["a{domain}".into()],
            allow: vec!["*".into()],
            deny: Vec::new(),
            resources: vec!["{domain}/*".into()],
        };
        let filled = Change::Policy(policy).filled(&|text| text.replace("{domain}", "d"));
        let Change::Policy(filled) = filled else { panic!("a policy") };
        assert_eq!((filled.name.as_str(), filled.identities[0].as_str()), ("{domain}", "ad"));
        assert_eq!(filled.resources, ["d/*"]);
        let revoked = Change::Revoked { id: "{client-3}".into() };
        assert_eq!(revoked.filled(&|_| "x".into()).part(), ("credentials", "x"));
    }
}
