//! What a domain owns, in numbers: never names, and no more than an operator sees in the databases' own records.

use crate::{
    engine::HostService,
    error::Error,
    iam::Administrator,
    limits::SCAN_MAX_RECORDS,
    vault::{
        KIND_ACCESS_STAMP, KIND_CREDENTIAL, KIND_GROUP, KIND_ISSUER, KIND_POLICY, KIND_SECRET,
        KIND_SECRET_BROUGHT, KIND_SECRET_CONFIG, KIND_SECRET_VERSION, KIND_SERVICE_KEY, record_prefix,
    },
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// All kinds of records that a domain has; the first ones are told apart.
const KINDS: [u8; 10] = [
    KIND_SERVICE_KEY,
    KIND_SECRET,
    KIND_SECRET_VERSION,
    KIND_CREDENTIAL,
    KIND_SECRET_CONFIG,
    KIND_SECRET_BROUGHT,
    KIND_ACCESS_STAMP,
    KIND_POLICY,
    KIND_GROUP,
    KIND_ISSUER,
];

/// Records of a domain. What was deleted counts as long as something of it is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Service keys, destroyed ones too.
    pub keys: u64,
    /// Secrets, and paths of deleted ones.
    pub secrets: u64,
    /// Versions of secrets, destroyed ones too.
    pub secret_versions: u64,
    /// Access certificates that were registered.
    pub credentials: u64,
    /// Sealed bytes of all that the domain has: of these, its policies, groups and issuers, its configuration, and marks of what was brought in.
    pub bytes: u64,
}

impl HostService {
    /// Counts what a domain owns. Looks at each of its records once, and opens none.
    ///
    /// # Errors
    /// `DomainNotFound`, `Refused`.
    pub async fn inventory(&self, _: &Administrator, domain: Uuid) -> Result<Inventory, Error> {
        let mut bytes = 0;
        let mut count = [0_u64; KINDS.len()];
        for (kind, count) in KINDS.into_iter().zip(&mut count) {
            let prefix = record_prefix(kind, domain);
            let mut after = None;
            loop {
                let (many, sum, last) = self
                    .settled_scan(domain, prefix.clone(), after, SCAN_MAX_RECORDS, |_, _, page| {
                        let sum: u64 = page.records.iter().map(|(_, record)| record.blob.len() as u64).sum();
                        let last = page.records.last().map(|(key, _)| key.clone()).filter(|_| page.more);
                        Ok((page.records.len() as u64, sum, last))
                    })
                    .await?;
                *count += many;
                bytes += sum;
                match last {
                    Some(last) => after = Some(last),
                    None => break,
                }
            }
        }
        let [keys, secrets, secret_versions, credentials, ..] = count;
        Ok(Inventory { keys, secrets, secret_versions, credentials, bytes })
    }
}
