//! Bodies of a host's administration, as both ends read and write them.

use serde::{Deserialize, Serialize};

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
