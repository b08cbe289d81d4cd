//! Domain keys: one per domain, sealed by the root key into a small object that is kept beside the log,
//! never inside it.

use super::{BadSeal, RootKey, secret_copy};
use crate::{
    crypto::{Canonical, NONCE_BYTES, SealingKey, Secret, SecretBytes, TAG_BYTES, hkdf_expand},
    env::{Env, Purpose},
};
use std::io;
use uuid::Uuid;

const VERSION: u8 = 1;
const LEN: usize = 1 + NONCE_BYTES + 32 + TAG_BYTES;

/// The key above all records of one domain.
pub struct DomainKey {
    pub(super) domain: Uuid,
    pub(super) key: Secret<32>,
}

impl DomainKey {
    /// The domain it belongs to.
    pub fn domain(&self) -> Uuid {
        self.domain
    }

    /// A key for another purpose than sealing records (list tokens, lookups).
    pub fn subkey(&self, purpose: &str) -> Secret<32> {
        let info =
            Canonical::new("okms/domain-subkey/v1").add(self.domain.as_bytes()).add(purpose.as_bytes());
        hkdf_expand(&self.key, &[info.bytes()])
    }
}

fn bound_to(domain: Uuid) -> Canonical {
    Canonical::new("okms/domain-key/v1").add(&[VERSION]).add(domain.as_bytes())
}

fn sealing_key(root: &RootKey, domain: Uuid) -> SealingKey {
    SealingKey::new(&hkdf_expand(&root.0, &[bound_to(domain).bytes()]))
}

/// A new domain key, sealed: the object that goes into the keyrings. The key itself is dropped.
///
/// # Errors
/// When there is no randomness to be had.
pub fn new_domain_key(env: &Env, root: &RootKey, domain: Uuid) -> io::Result<Vec<u8>> {
    let nonce: [u8; NONCE_BYTES] = env.random(Purpose::Public)?;
    let mut sealed = SecretBytes::random(env, 32)?.into_sealable();
    sealing_key(root, domain).seal(nonce, bound_to(domain).bytes(), &mut sealed);
    let mut object = Vec::with_capacity(LEN);
    object.push(VERSION);
    object.extend_from_slice(&nonce);
    object.extend_from_slice(&sealed);
    Ok(object)
}

/// Opens a keyring object.
///
/// # Errors
/// [`BadSeal`] if it is not the object of this domain under this root key.
pub fn open_domain_key(root: &RootKey, domain: Uuid, object: &[u8]) -> Result<DomainKey, BadSeal> {
    let (&version, rest) = object.split_first().ok_or(BadSeal)?;
    if version != VERSION || object.len() != LEN {
        return Err(BadSeal);
    }
    let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES).ok_or(BadSeal)?;
    let nonce = nonce.try_into().map_err(|_| BadSeal)?;
    let mut sealed = secret_copy(sealed);
    let clear = sealing_key(root, domain)
        .open(nonce, bound_to(domain).bytes(), sealed.expose_mut())
        .map_err(|_| BadSeal)?;
    let key = Secret::copy_from(clear).ok_or(BadSeal)?;
    Ok(DomainKey { domain, key })
}
