//! Nothing opens but what was sealed, where it was sealed, as it was sealed.

use super::*;
use crate::{
    crypto::{SecretBytes, testing::counting},
    env::Env,
    record::{CommitId, SealedRecord, Version},
};
use proptest::prelude::*;
use std::path::Path;

/// A payload of any bytes under any header.
#[derive(Debug)]
struct Any {
    header: Header,
    bytes: Vec<u8>,
}

impl Payload for Any {
    fn header(&self) -> Header {
        self.header
    }
    fn encode(&self) -> SecretBytes {
        let Header { kind, algorithm, usage, flags } = self.header;
        let mut bytes = vec![kind, algorithm, (usage >> 8) as u8, usage as u8, flags];
        bytes.extend_from_slice(&self.bytes);
        SecretBytes::new(bytes)
    }
    fn decode(bytes: &[u8]) -> Option<Any> {
        let (&[kind, algorithm, high, low, flags], rest) = bytes.split_first_chunk::<5>()?;
        let header = Header { kind, algorithm, usage: u16::from_be_bytes([high, low]), flags };
        Some(Any { header, bytes: rest.to_vec() })
    }
}

fn domain_key(env: &Env, root: &RootKey, domain: Uuid) -> DomainKey {
    let object = new_domain_key(env, root, domain).expect("entropy");
    open_domain_key(root, domain, &object).expect("opens")
}

fn version(counter: u64, id: u8) -> Version {
    Version { counter, commit_id: CommitId([id; 16]) }
}

fn any() -> impl Strategy<Value = Any> {
    (any_header(), proptest::collection::vec(proptest::num::u8::ANY, 0..200))
        .prop_map(|(header, bytes)| Any { header, bytes })
}

fn any_header() -> impl Strategy<Value = Header> {
    (proptest::num::u8::ANY, proptest::num::u8::ANY, proptest::num::u16::ANY, proptest::num::u8::ANY)
        .prop_map(|(kind, algorithm, usage, flags)| Header { kind, algorithm, usage, flags })
}

proptest! {
    #[test]
    fn records_come_back_as_they_were(payload in any(), counter in 1u64.., id in 0u128..) {
        let env = counting();
        let root = RootKey::generate(&env).expect("entropy");
        let domain = domain_key(&env, &root, Uuid::from_u128(1));
        let key = record_key(KIND_SERVICE_KEY, domain.domain(), Uuid::from_u128(id));
        let version = version(counter, id as u8);
        let sealed = seal(&env, &domain, &key, version, &payload).expect("entropy");
        let opened = open::<Any>(&domain, &key, &sealed).expect("opens");
        prop_assert_eq!(&opened.value().bytes, &payload.bytes);
        prop_assert_eq!(opened.value().header, payload.header);
        prop_assert_eq!(opened.version(), version);
    }

    #[test]
    fn any_bit_flipped_anywhere_is_refused(payload in any(), flip in 0usize..) {
        let env = counting();
        let root = RootKey::generate(&env).expect("entropy");
        let domain = domain_key(&env, &root, Uuid::from_u128(1));
        let key = record_key(KIND_SERVICE_KEY, domain.domain(), Uuid::from_u128(7));
        let mut sealed = seal(&env, &domain, &key, version(1, 1), &payload).expect("entropy");
        let bit = flip % (sealed.blob.len() * 8);
        sealed.blob[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(open::<Any>(&domain, &key, &sealed).is_err());
    }

    #[test]
    fn noise_and_cut_blobs_are_refused(blob in proptest::collection::vec(proptest::num::u8::ANY, 0..120)) {
        let env = counting();
        let root = RootKey::generate(&env).expect("entropy");
        let domain = domain_key(&env, &root, Uuid::from_u128(1));
        let key = record_key(KIND_SERVICE_KEY, domain.domain(), Uuid::from_u128(7));
        let record = SealedRecord { version: version(1, 1), blob: blob.clone() };
        prop_assert!(open::<Any>(&domain, &key, &record).is_err());
        prop_assert!(open_domain_key(&root, domain.domain(), &blob).is_err());
        prop_assert!(RootKey::parse(&blob).is_none());
    }
}

#[test]
fn a_row_opens_only_in_its_place_and_as_its_version() {
    let env = counting();
    let root = RootKey::generate(&env).expect("entropy");
    let domain = domain_key(&env, &root, Uuid::from_u128(1));
    let header = Header { kind: 1, algorithm: 1, usage: 12, flags: 0 };
    let payload = Any { header, bytes: b"material".to_vec() };
    let key = |id| record_key(KIND_SERVICE_KEY, domain.domain(), Uuid::from_u128(id));
    let sealed = seal(&env, &domain, &key(7), version(3, 1), &payload).expect("entropy");
    assert!(open::<Any>(&domain, &key(7), &sealed).is_ok());
    assert!(open::<Any>(&domain, &key(8), &sealed).is_err(), "another row");
    for version in [version(2, 1), version(4, 1), version(3, 2)] {
        let renumbered = SealedRecord { version, blob: sealed.blob.clone() };
        assert!(open::<Any>(&domain, &key(7), &renumbered).is_err(), "another version");
    }
    let other = domain_key(&env, &root, Uuid::from_u128(2));
    assert!(open::<Any>(&other, &key(7), &sealed).is_err(), "another domain");
    let same = domain_key(&env, &root, Uuid::from_u128(1));
    assert!(open::<Any>(&same, &key(7), &sealed).is_err(), "another key of the same domain");
}

#[test]
fn domain_keys_open_under_their_root_and_name_alone() {
    let env = counting();
    let root = RootKey::generate(&env).expect("entropy");
    let domain = Uuid::from_u128(1);
    let object = new_domain_key(&env, &root, domain).expect("entropy");
    assert!(open_domain_key(&root, domain, &object).is_ok());
    assert!(open_domain_key(&root, Uuid::from_u128(2), &object).is_err());
    let other = RootKey::generate(&env).expect("entropy");
    assert!(open_domain_key(&other, domain, &object).is_err());
    for at in 0..object.len() {
        let mut spoilt = object.clone();
        spoilt[at] ^= 1;
        assert!(open_domain_key(&root, domain, &spoilt).is_err());
        assert!(open_domain_key(&root, domain, &object[..at]).is_err());
    }
}

#[test]
fn subkeys_differ_by_purpose_and_domain() {
    let env = counting();
    let root = RootKey::generate(&env).expect("entropy");
    let one = domain_key(&env, &root, Uuid::from_u128(1));
    assert_eq!(one.subkey("a").expose(), one.subkey("a").expose());
    assert_ne!(one.subkey("a").expose(), one.subkey("b").expose());
}

#[test]
fn root_key_files_read_back_and_say_what_is_wrong() {
    let env = counting();
    let root = RootKey::generate(&env).expect("entropy");
    let read = RootKey::parse(&root.file()).expect("reads back");
    assert_eq!(read.0.expose(), root.0.expose());
    assert!(RootKey::parse(b"okms-root-key-v2 AAAA\n").is_none());
    let missing = RootKey::load(&*env.disk, Path::new("none.key")).err().expect("an error").to_string();
    assert!(missing.contains("kms init"), "{missing}");
    let bad = RootKey::load(&*env.disk, Path::new("bad.key")).err().expect("an error").to_string();
    assert!(bad.contains("okms-root-key-v1") && !bad.contains("c2hvcnQ"), "{bad}");
}

#[test]
fn record_keys_give_their_ids_back() {
    let (domain, id) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let key = record_key(KIND_SERVICE_KEY, domain, id);
    assert_eq!(key.0.len(), 33);
    assert_eq!(record_id(KIND_SERVICE_KEY, domain, &key), Some(id));
    assert_eq!(record_id(KIND_SERVICE_KEY, Uuid::from_u128(3), &key), None);
}
