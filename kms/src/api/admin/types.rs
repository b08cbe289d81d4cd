//! Bodies of a host's administration, as both ends read and write them. Policies, groups, issuers and credentials come and go as
//! [`crate::iam`] has them.

use crate::iam::Credential;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How a host is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Its name.
    pub node: String,
    /// Its region.
    pub region: String,
    /// Names this start of its process.
    pub start: u32,
    /// Whether requests on existing keys would be answered.
    pub can_read: bool,
    /// Whether writes would be accepted.
    pub can_write: bool,
}

/// A page of credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialList {
    /// In the order of their ids.
    pub credentials: Vec<Credential>,
    /// Whether more follow after the last one.
    pub more: bool,
}

/// What a dry run is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// Identities of whoever would ask.
    #[serde(default)]
    pub identities: Vec<String>,
    /// A credential, whose identities count too.
    #[serde(default)]
    pub credential: Option<Uuid>,
    /// The action.
    pub action: String,
    /// The resource.
    pub resource: String,
}
