//! Reads the hosts' spools at the end of a run, with the service's own reader and the region's root key. Judges nothing (see
//! `check::audit_trail`).

use super::sim::NODE_DIR;
use crate::{
    check::{NodeKind, Topology},
    history::{AuditEntry, AuditRead},
    plan::Plan,
    world::World,
};
use kms::{
    audit::{self, AuditKey},
    init::{self, Bundle},
    vault::RootKey,
};
use std::path::Path;

/// Reads spools of one run.
pub(super) struct Auditor {
    world: World,
    keys: Vec<AuditKey>,
}

impl Auditor {
    /// `None` if the hosts keep no audit.
    ///
    /// # Errors
    /// A host has no root key: a harness error.
    pub(super) fn new(plan: &Plan, world: &World, bundle: &Bundle) -> Result<Option<Auditor>, String> {
        if !plan.topology.audit {
            return Ok(None);
        }
        let topology = Topology::standard(plan.topology.hosts_per_zone, false);
        let key = |host: &str| {
            let files = bundle.node(host).map(|node| node.files.as_slice()).unwrap_or_default();
            let root = files.iter().find_map(|file| RootKey::parse(&file.contents));
            root.map(|root| AuditKey::new(&root, host)).ok_or_else(|| format!("{host} has no root key"))
        };
        let keys = topology.of_kind(NodeKind::Host).map(key).collect::<Result<_, _>>()?;
        Ok(Some(Auditor { world: world.clone(), keys }))
    }

    /// All spools, as they are now.
    pub(super) fn read_all(&self) -> Vec<AuditRead> {
        self.keys.iter().map(|key| self.read(key)).collect()
    }

    fn read(&self, key: &AuditKey) -> AuditRead {
        let host = key.host().to_owned();
        let mut entries = Vec::new();
        let see = |read: &audit::Read<'_>| {
            if let Some(entry) = &read.entry {
                let event = &entry.event;
                entries.push(AuditEntry {
                    request: event.request_id.clone(),
                    domain: event.domain_id.clone(),
                    urn: event.res_urn.clone(),
                    identities: event.iam_identities.len(),
                    status: event.http_status,
                });
            }
            Ok(())
        };
        let data = Path::new(NODE_DIR).join(init::DATA_DIR);
        let findings = match audit::read(&self.world.env(&host), &data, key, None, see) {
            Ok(found) => found.findings.iter().map(ToString::to_string).collect(),
            Err(error) => vec![format!("cannot be read: {error}")],
        };
        AuditRead { host, findings, entries }
    }
}
