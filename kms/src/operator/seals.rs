//! Whether records open with the root key: what a database, a replica and a backup cannot tell, since they have no key. Nothing of what is
//! opened leaves this module.

use crate::{
    engine::{
        KeyRecord,
        access::{PartRecord, SealedCredential, StampRecord},
        secrets::{BroughtRecord, ConfigRecord, SecretRecord, VersionRecord},
    },
    iam::{Group, Issuer, Policy},
    record::{RecordKey, SealedRecord},
    store::{row, termination},
    vault::{
        BadSeal, DomainKey, KIND_ACCESS_STAMP, KIND_CREDENTIAL, KIND_GROUP, KIND_ISSUER, KIND_POLICY,
        KIND_SECRET, KIND_SECRET_BROUGHT, KIND_SECRET_CONFIG, KIND_SECRET_VERSION, KIND_SERVICE_KEY, Payload,
        RootKey, open, open_domain_key,
    },
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Troubles that are told one by one.
const TOLD: usize = 20;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Seals {
    /// Records that opened.
    pub opened: u64,
    /// Domains whose key opened.
    pub domains: u64,
    /// Records of domains whose service has ended: their key is gone, and nothing opens them.
    pub of_ended: u64,
    /// Records that did not open.
    pub closed: u64,
    /// The first of what did not open, and why.
    pub troubles: Vec<String>,
}

/// Looks at one record after the other.
pub struct SealCheck {
    keys: BTreeMap<Uuid, DomainKey>,
    ended: BTreeSet<Uuid>,
    found: Seals,
}

impl SealCheck {
    /// With the sealed domain keys that lie beside the records, and the domains whose service has ended.
    pub fn new(root: &RootKey, keyring: &BTreeMap<Uuid, Vec<u8>>, ended: &[Uuid]) -> SealCheck {
        let mut check = SealCheck {
            keys: BTreeMap::new(),
            ended: ended.iter().copied().collect(),
            found: Seals::default(),
        };
        for (domain, sealed) in keyring {
            match open_domain_key(root, *domain, sealed) {
                Ok(key) => {
                    check.keys.insert(*domain, key);
                }
                Err(_) => {
                    check.trouble(format!("the key of domain {domain} does not open with this root key"))
                }
            }
        }
        check.found.domains = check.keys.len() as u64;
        check
    }

    fn trouble(&mut self, why: String) {
        if self.found.troubles.len() < TOLD {
            self.found.troubles.push(why);
        }
    }

    /// Takes the next row, as it is stored.
    pub fn row(&mut self, key: &[u8], stored: &[u8]) {
        if termination::is_termination(key) {
            // The operator's own signature, which was checked.
            return;
        }
        let domain = termination::domain_of(key);
        if domain.is_some_and(|domain| self.ended.contains(&domain)) {
            self.found.of_ended += 1;
            return;
        }
        match self.opens(domain, key, stored) {
            Ok(()) => self.found.opened += 1,
            Err(why) => {
                self.found.closed += 1;
                self.trouble(format!("record {}: {why}", hex::encode(key)));
            }
        }
    }

    fn opens(&self, domain: Option<Uuid>, key: &[u8], stored: &[u8]) -> Result<(), String> {
        let domain = domain.ok_or("it belongs to no domain")?;
        fn opens<T: Payload>(
            domain: &DomainKey,
            key: &RecordKey,
            record: &SealedRecord,
        ) -> Result<(), BadSeal> {
            open::<T>(domain, key, record).map(|_| ())
        }
        let opens = match key.first() {
            Some(&KIND_SERVICE_KEY) => opens::<KeyRecord>,
            Some(&KIND_SECRET) => opens::<SecretRecord>,
            Some(&KIND_SECRET_VERSION) => opens::<VersionRecord>,
            Some(&KIND_SECRET_CONFIG) => opens::<ConfigRecord>,
            Some(&KIND_SECRET_BROUGHT) => opens::<BroughtRecord>,
            Some(&KIND_ACCESS_STAMP) => opens::<StampRecord>,
            Some(&KIND_POLICY) => opens::<PartRecord<Policy>>,
            Some(&KIND_GROUP) => opens::<PartRecord<Group>>,
            Some(&KIND_ISSUER) => opens::<PartRecord<Issuer>>,
            Some(&KIND_CREDENTIAL) => opens::<SealedCredential>,
            _ => return Err("it is of a kind that this build does not know: use the newest build".to_owned()),
        };
        let domain_key =
            self.keys.get(&domain).ok_or_else(|| format!("there is no key of its domain, {domain}"))?;
        let key = RecordKey(key.to_vec());
        let record = row::decode(&key, stored).map_err(|error| error.to_string())?;
        opens(domain_key, &key, &record).map_err(|error| error.to_string())
    }

    /// What was found.
    pub fn done(self) -> Seals {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::{SecretBytes, testing::counting},
        engine::{KeyType, KeyView, Operations, lifecycle::State},
        record::{CommitId, SealedRecord, Version},
        vault::{new_domain_key, record_key, seal},
    };

    fn key_record() -> KeyRecord {
        let view = KeyView {
            id: Uuid::nil(),
            name: "a key".to_owned(),
            kind: KeyType::Oct(256),
            public: None,
            operations: Operations::ENCRYPT,
            flags: Default::default(),
            state: State::Active,
            dates: Default::default(),
        };
        KeyRecord { view, context: None, reason: 0, material: SecretBytes::new(vec![7; 32]) }
    }

    #[test]
    fn what_does_not_open_is_told_and_counted() {
        let env = counting();
        let root = RootKey::generate(&env).expect("entropy");
        let (domain, other, ended) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let sealed = new_domain_key(&env, &root, domain).expect("entropy");
        let foreign = RootKey::generate(&env).expect("entropy");
        let strange = new_domain_key(&env, &foreign, other).expect("entropy");
        let keyring = BTreeMap::from([(domain, sealed), (other, strange)]);
        let mut check = SealCheck::new(&root, &keyring, &[ended]);
        let version = Version { counter: 1, commit_id: CommitId([7; 16]) };
        let mut see = |key: RecordKey, blob: &[u8]| {
            let stored = row::encode(&key, &SealedRecord { version, blob: blob.to_vec() });
            check.row(&key.0, &stored);
        };
        let key = record_key(KIND_SERVICE_KEY, domain, Uuid::nil());
        let opened = open_domain_key(&root, domain, &keyring[&domain]).expect("its own");
        let record = seal(&env, &opened, &key, version, &key_record()).expect("entropy");
        see(key.clone(), &record.blob);
        see(record_key(KIND_SERVICE_KEY, domain, Uuid::max()), &record.blob);
        see(key, b"no seal");
        see(record_key(KIND_SERVICE_KEY, other, Uuid::nil()), b"no key");
        see(record_key(KIND_SERVICE_KEY, ended, Uuid::nil()), b"ended");
        see(record_key(9, domain, Uuid::nil()), b"of another kind");
        see(RecordKey(vec![1, 2]), b"of nobody");
        see(termination::termination_key(ended), b"signed");
        let found = check.done();
        assert_eq!((found.opened, found.domains, found.of_ended, found.closed), (1, 1, 1, 5));
        assert_eq!(found.troubles.len(), 6, "{:?}", found.troubles);
        assert!(found.troubles[0].contains("does not open with this root key"), "{:?}", found.troubles);
    }
}
