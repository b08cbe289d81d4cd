//! Bodies of a host's administration, as both ends read and write them. Policies, groups, issuers and credentials come and go as
//! [`crate::iam`] has them.

use crate::{engine::SealState, iam::Credential};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

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

/// A domain is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainCreated {
    /// Its id.
    pub domain: Uuid,
    /// It was not there before.
    pub new: bool,
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

/// How a host stands to its root key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealBody {
    /// It has none at the moment.
    pub sealed: bool,
    /// What shares it wants; none, if its root key is in a file.
    pub shares: Option<SharesBody>,
}

/// A set of shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharesBody {
    /// Name of the set.
    pub set: String,
    /// How many are needed.
    pub threshold: u8,
    /// How many there are.
    pub count: u8,
    /// Different ones given since the host was sealed.
    pub given: u8,
}

impl From<SealState> for SealBody {
    fn from(state: SealState) -> SealBody {
        let shares = state.shares.map(|shares| SharesBody {
            set: shares.set.name(),
            threshold: shares.set.threshold,
            count: shares.set.count,
            given: shares.given,
        });
        SealBody { sealed: state.sealed, shares }
    }
}

/// A share, as the line that its keeper has; wiped when it goes.
#[derive(Deserialize)]
#[serde(from = "String")]
pub struct Line(pub Zeroizing<String>);

impl From<String> for Line {
    fn from(line: String) -> Line {
        Line(Zeroizing::new(line))
    }
}

impl Serialize for Line {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A share; none has the host read its root key file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareBody {
    /// The line.
    #[serde(default)]
    pub share: Option<Line>,
}

/// Enough shares of the set there is, and of the one to come.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateBody {
    /// Of the set there is.
    pub old: Vec<Line>,
    /// Of the set to come.
    pub new: Vec<Line>,
}
