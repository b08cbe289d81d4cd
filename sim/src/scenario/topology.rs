//! The region of a scenario: how many nodes it has, and which.

use super::Counts;
use serde::Deserialize;

/// The region's size.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Region id, such as `eu-west-rbx`.
    pub region: String,
    /// Hosts in each zone, 1 to 8.
    #[serde(default = "two")]
    pub hosts_per_zone: Counts,
    /// Clients, 1 to 32.
    #[serde(default = "four")]
    pub clients: Counts,
    /// Domains, 1 to 8; clients are dealt to them in turn.
    #[serde(default = "one")]
    pub domains: Counts,
    /// Whether there is a replica, in another region.
    #[serde(default)]
    pub replica: bool,
    /// Whether the replica makes backups, into a store in each of the two regions that the documentation names.
    #[serde(default)]
    pub backups: bool,
    /// Whether the replica's process is the witness too, on the replica's machine; else the witness is a node of its own.
    #[serde(default)]
    pub witness_with_replica: bool,
    /// Whether hosts keep an audit, as they do in a real region.
    #[serde(default)]
    pub audit: bool,
    /// Whether hosts are unsealed by shares, 3 of 5, which their keepers give to each after each of its starts.
    #[serde(default)]
    pub shares: bool,
}

impl Topology {
    pub(super) fn check(&self) -> Result<(), String> {
        let within = |name: &str, counts: Counts, low: u64, high: u64| {
            if counts.low < low || counts.high > high {
                return Err(format!("{name} must be {low} to {high}"));
            }
            Ok(())
        };
        within("hosts_per_zone", self.hosts_per_zone, 1, 8)?;
        within("clients", self.clients, 1, 32)?;
        within("domains", self.domains, 1, 8)?;
        if self.witness_with_replica && !self.replica {
            return Err(
                "the witness is with a replica that is not there: say `replica = true` too".to_owned()
            );
        }
        if self.backups {
            if !self.replica {
                return Err("backups are made by the replica: say `replica = true` too".to_owned());
            }
            if kms::init::backup_regions(&self.region).is_none() {
                return Err(format!("nobody names backup regions for {}", self.region));
            }
        }
        Ok(())
    }
}

fn one() -> Counts {
    Counts { low: 1, high: 1 }
}

fn two() -> Counts {
    Counts { low: 2, high: 2 }
}

fn four() -> Counts {
    Counts { low: 4, high: 4 }
}
