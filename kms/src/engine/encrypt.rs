//! Encrypts up to 4 KiB with an active key. While a write to the key is in doubt it goes on as long as the
//! key is usable, with the same material, under either outcome.

use super::{
    Context, HostService, KeyRecord, KeyView, Operations, leased::LeasedKey, lifecycle::State, parsed::Which,
    payload::Class, read::Same,
};
use crate::{
    crypto::{
        SecretBytes,
        asymmetric::{PrivateKey, PublicKey},
        jwe::{JweKey, JwePurpose},
    },
    error::{Code, Error},
    iam::{Authorized, action},
    record::{RecordKey, Version},
    store::api::Leased,
    vault::{KIND_SERVICE_KEY, Opened, open, record_key},
};
use std::sync::Arc;
use uuid::Uuid;

/// Largest plaintext, bytes.
pub const PLAINTEXT_MAX_BYTES: usize = 4096;

/// Which states allow a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Encrypt, sign, wrap: what an active key does.
    Protect,
    /// Decrypt, verify, unwrap: what it does as long as its material exists.
    Process,
}

/// A key that may be used for what was asked.
pub(super) struct Usable {
    record: Arc<KeyRecord>,
    domain: Uuid,
    /// The version that this was read as.
    version: Version,
}

impl Usable {
    /// What it is.
    pub(super) fn view(&self) -> &KeyView {
        &self.record.view
    }

    /// What it is made of: of a pair, its private half.
    pub(super) fn material(&self) -> &SecretBytes {
        &self.record.material
    }

    /// The key as a message is bound to it.
    pub(super) fn jwe(&self) -> JweKey<'_> {
        JweKey { id: self.view().id, version: 0, material: self.material() }
    }

    /// What keys that were read are kept by.
    pub(super) fn which(&self) -> Which {
        Which { domain: self.domain, id: self.view().id, version: self.version }
    }

    /// Its private half, read anew: [`HostService::private_half`] keeps it.
    ///
    /// # Errors
    /// `WrongUse` if it has none.
    pub(super) fn private(&self) -> Result<PrivateKey, Error> {
        if self.view().class() != Class::Pair {
            return Err(Error::new(Code::WrongUse, "the key has no private half"));
        }
        PrivateKey::from_pkcs8(self.material().expose())
            .map_err(|_| Error::integrity("a sealed key does not read"))
    }

    /// Its public half, read anew: [`HostService::public_half`] keeps it.
    ///
    /// # Errors
    /// `WrongUse` if it has none.
    pub(super) fn public(&self) -> Result<PublicKey, Error> {
        let spki = self.view().public.as_ref();
        let spki = spki.ok_or_else(|| Error::new(Code::WrongUse, "the key has no public half"))?;
        PublicKey::from_spki(spki).map_err(|_| Error::integrity("a sealed key does not read"))
    }
}

/// What it is used for is the same under both: its name, or a date, is not part of that.
impl Same for Usable {
    fn same(&self, other: &Self) -> bool {
        let (one, two) = (self.view(), other.view());
        self.material().same(other.material())
            && (one.id, one.kind, one.flags) == (two.id, two.kind, two.flags)
            && one.public == two.public
    }
}

/// Whether the state and operations of a key allow the use.
fn may_be_used(view: &KeyView, operation: Operations, state_allows: fn(State) -> bool) -> Result<(), Error> {
    if !state_allows(view.state) {
        let sentence = format!("the key is {}", view.state.word().replace('_', " "));
        return Err(Error::new(Code::WrongState, sentence));
    }
    if !view.operations.allow(operation) {
        return Err(Error::new(Code::WrongUse, "the key's operations do not include this one"));
    }
    Ok(())
}

/// A key, if its state and operations allow the use.
fn usable(
    domain: Uuid,
    found: Option<Opened<KeyRecord>>,
    operation: Operations,
    state_allows: fn(State) -> bool,
) -> Result<Usable, Error> {
    let opened = found.ok_or_else(Error::key_not_found)?;
    let version = opened.version();
    may_be_used(&opened.value().view, operation, state_allows)?;
    Ok(Usable { record: Arc::new(opened.into_value()), domain, version })
}

impl HostService {
    /// A key to be used, the same under every outcome of a write in doubt.
    pub(super) async fn to_use(
        &self,
        domain: Uuid,
        id: Uuid,
        (operation, how): (Operations, Use),
    ) -> Result<Usable, Error> {
        let key = record_key(KIND_SERVICE_KEY, domain, id);
        let state_allows = match how {
            Use::Protect => State::may_protect,
            Use::Process => State::may_process,
        };
        let look = self.leased.look(&key, self.env.now(), &self.store.epoch());
        if let Some(generation) = look.ask {
            self.ask_for_lease(domain, &key, generation);
        }
        if let Some(held) = look.held {
            tracing::debug!(target: "kms::probe", name = "used-by-lease");
            may_be_used(&held.record.view, operation, state_allows)?;
            return Ok(Usable { record: Arc::clone(&held.record), domain, version: held.version });
        }
        self.decide_opened(domain, &key, |found| {
            if found.as_ref().is_some_and(|found: &Opened<KeyRecord>| found.value().view.state.is_destroyed())
            {
                self.forget_key(domain, id);
            }
            usable(domain, found, operation, state_allows)
        })
        .await?
    }

    /// Asks for a lease on a key, beside what goes on (R21).
    fn ask_for_lease(&self, domain: Uuid, key: &RecordKey, generation: u64) {
        let Some(domain_key) = self.keyring.kept(domain) else {
            return self.leased.answered(generation, key, None);
        };
        let (store, leased, key) = (Arc::clone(&self.store), Arc::clone(&self.leased), key.clone());
        self.env.spawn("lease", async move {
            let answer = store.lease(key.clone()).await.and_then(|Leased { record, until, epoch }| {
                // One that does not open is reported by whoever reads it to use it.
                let opened = open::<KeyRecord>(&domain_key, &key, &record).ok()?;
                let version = opened.version();
                Some(LeasedKey { record: Arc::new(opened.into_value()), version, until, epoch })
            });
            leased.answered(generation, &key, answer);
        });
    }

    /// Encrypts `plaintext`; the answer is a compact JWE.
    ///
    /// # Errors
    /// `BadArgument`, `KeyNotFound`, `WrongState`, `WrongUse`, `Refused`, `Integrity`.
    pub async fn encrypt(
        &self,
        may: &Authorized<action::Encrypt>,
        plaintext: SecretBytes,
        context: &Context,
    ) -> Result<String, Error> {
        let id = *may.of();
        if plaintext.expose().len() > PLAINTEXT_MAX_BYTES {
            return Err(Error::bad("plaintext is longer than 4096 bytes"));
        }
        let usable = self.to_use(may.domain(), id, (Operations::ENCRYPT, Use::Protect)).await?;
        Ok(usable.jwe().seal(&self.env, JwePurpose::Encrypt, context.bytes(), plaintext)?)
    }
}
