//! Makes a key, or takes one that was made elsewhere. With a client's id this is the one request that may be repeated blindly: the second
//! time it answers "conflict". A key that is taken is checked here, once.

use super::{
    Context, HostService, KeyName, KeyRecord, KeyView, Operations,
    encrypt::Use,
    lifecycle::State,
    payload::{Class, Dates, Flags, KeyType},
};
use crate::{
    crypto::{
        SecretBytes,
        asymmetric::{BadKey, Jwk, JwkKey, PrivateKey, PublicKey, RSA_BITS, Shape},
        carried::{self, BadToken},
    },
    env::Purpose,
    error::{Code, Error},
    iam::{Authorized, action},
    vault::{KIND_SERVICE_KEY, record_key},
};
use uuid::Uuid;

/// Sizes of symmetric keys, bits.
pub const SIZES: [u32; 3] = [128, 192, 256];

/// What is the same for a key that is made and one that is taken.
pub struct NewKey {
    /// Id of the client's choosing.
    pub id: Option<Uuid>,
    /// Friendly name.
    pub name: KeyName,
    /// Kept with the key.
    pub context: Option<Context>,
    /// Permitted operations; [`Operations::NONE`] means the default of its type.
    pub operations: Operations,
    /// Whether it may leave, wrapped; none: no, but for a public half alone, which always may.
    pub extractable: Option<bool>,
}

/// How the bytes of a key that is carried are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarriedFormat {
    /// A symmetric key, as it is.
    Raw,
    /// JSON (RFC 7517).
    Jwk,
    /// DER of an RSA key (RFC 8017, A.1.2).
    Pkcs1,
    /// DER (RFC 5958).
    Pkcs8,
}

impl CarriedFormat {
    /// The format of a word.
    pub fn of_word(word: &str) -> Option<CarriedFormat> {
        Some(match word {
            "RAW" => CarriedFormat::Raw,
            "JWK" => CarriedFormat::Jwk,
            "PKCS1" => CarriedFormat::Pkcs1,
            "PKCS8" => CarriedFormat::Pkcs8,
            _ => return None,
        })
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            CarriedFormat::Raw => "RAW",
            CarriedFormat::Jwk => "JWK",
            CarriedFormat::Pkcs1 => "PKCS1",
            CarriedFormat::Pkcs8 => "PKCS8",
        }
    }
}

/// A key that was encrypted to a transport key of the same domain, the one that may be unwrapped with.
pub struct Carried {
    /// What is inside.
    pub format: CarriedFormat,
    /// Compact JWE.
    pub token: String,
}

/// The material of a key with what may be shown of it.
struct Material {
    kind: KeyType,
    public: Option<PublicKey>,
    secret: SecretBytes,
}

impl Material {
    fn oct(secret: SecretBytes) -> Material {
        let bits = u32::try_from(secret.expose().len() * 8).unwrap_or(u32::MAX);
        Material { kind: KeyType::Oct(bits), public: None, secret }
    }

    fn pair(key: &PrivateKey) -> Material {
        let (kind, public) = (KeyType::Of(key.shape()), Some(key.public()));
        Material { kind, public, secret: key.to_pkcs8() }
    }

    fn of(key: JwkKey) -> Material {
        match key {
            JwkKey::Oct(secret) => Material::oct(secret),
            JwkKey::Pair(key) => Material::pair(&key),
            JwkKey::Public(key) => Material {
                kind: KeyType::Of(key.shape()),
                public: Some(key),
                secret: SecretBytes::new(Vec::new()),
            },
        }
    }

    fn class(&self) -> Class {
        match (self.kind, self.secret.expose().is_empty()) {
            (KeyType::Oct(_), _) => Class::Secret,
            (KeyType::Of(_), false) => Class::Pair,
            (KeyType::Of(_), true) => Class::Public,
        }
    }

    /// What carries no key of its own: it was inside a token.
    fn read(format: CarriedFormat, bytes: &SecretBytes) -> Result<Material, BadKey> {
        match format {
            CarriedFormat::Raw if SIZES.contains(&(bytes.expose().len() as u32 * 8)) => {
                Ok(Material::oct(bytes.duplicate()))
            }
            CarriedFormat::Raw => Err(BadKey("a RAW key must have 16, 24 or 32 bytes")),
            CarriedFormat::Jwk => {
                let jwk: Jwk = serde_json::from_slice(bytes.expose())
                    .map_err(|_| BadKey("what was carried is no JWK"))?;
                jwk.key().map(Material::of)
            }
            CarriedFormat::Pkcs1 => PrivateKey::from_pkcs1(bytes.expose()).map(|key| Material::pair(&key)),
            CarriedFormat::Pkcs8 => PrivateKey::from_pkcs8(bytes.expose()).map(|key| Material::pair(&key)),
        }
    }
}

fn bad_key(error: BadKey) -> Error {
    Error::bad(error.0)
}

/// What a key of a type and class may do, if nothing is said; an error if more is asked for.
pub(super) fn operations(kind: KeyType, class: Class, asked: Operations) -> Result<Operations, Error> {
    use Operations as O;
    let signs = O::SIGN.with(O::VERIFY);
    let carries = O::WRAP.with(O::UNWRAP);
    let (default, sets, sentence): (O, &[O], &str) = match (kind, class) {
        (KeyType::Oct(_), _) => (
            O::ENCRYPT.with(O::DECRYPT),
            &[O::ENCRYPT.with(O::DECRYPT).with(carries)],
            "operations of an oct key are encrypt, decrypt, wrapKey and unwrapKey",
        ),
        (KeyType::Of(Shape::Rsa(_)), Class::Public) => (
            O::VERIFY,
            &[O::VERIFY, O::WRAP],
            "operations of a public RSA key are verify, or wrapKey, and not both",
        ),
        (KeyType::Of(Shape::Rsa(_)), _) => (
            signs,
            &[signs, carries],
            "operations of an RSA key are sign and verify, or wrapKey and unwrapKey, and not both",
        ),
        (KeyType::Of(Shape::Ec(_)), Class::Public) => {
            (O::VERIFY, &[O::VERIFY], "the operation of a public EC key is verify")
        }
        (KeyType::Of(Shape::Ec(_)), _) => (signs, &[signs], "operations of an EC key are sign and verify"),
    };
    match asked {
        O::NONE => Ok(default),
        asked if sets.iter().any(|set| set.allow(asked)) => Ok(asked),
        _ => Err(Error::bad(sentence)),
    }
}

impl HostService {
    /// Makes a key, active at once.
    ///
    /// # Errors
    /// `BadArgument`, `Conflict` when the id is taken, `Refused`, `Unknown`.
    pub async fn create(
        &self,
        may: &Authorized<action::Create>,
        kind: KeyType,
        new: NewKey,
    ) -> Result<KeyView, Error> {
        match kind {
            KeyType::Oct(bits) if !SIZES.contains(&bits) => {
                return Err(Error::bad("size of an oct key must be 128, 192 or 256"));
            }
            KeyType::Of(Shape::Rsa(bits)) if !RSA_BITS.contains(&bits) => {
                return Err(Error::bad("size of an RSA key must be 2048, 3072 or 4096"));
            }
            KeyType::Oct(_) | KeyType::Of(_) => {}
        }
        // Nothing is drawn for what would be refused.
        let class = if matches!(kind, KeyType::Oct(_)) { Class::Secret } else { Class::Pair };
        operations(kind, class, new.operations)?;
        let material = match kind {
            KeyType::Oct(bits) => Material::oct(SecretBytes::random(&self.env, bits as usize / 8)?),
            KeyType::Of(shape) => {
                let env = self.env.clone();
                // Primes take their time: others are not to wait for it.
                let made = self.env.blocking("generate-key", move || {
                    PrivateKey::generate(&env, shape).map(|key| Material::pair(&key))
                });
                made.await.map_err(|_| Error::internal("generation panicked"))??
            }
        };
        self.keep(may.domain(), material, new, false).await
    }

    /// Takes a key that a client sends, active at once. Zeros in front that the client dropped are put back.
    ///
    /// # Errors
    /// `BadArgument` says what is wrong with it; `Conflict` when the id is taken, `Refused`, `Unknown`.
    pub async fn import(
        &self,
        may: &Authorized<action::Import>,
        jwk: &Jwk,
        new: NewKey,
    ) -> Result<KeyView, Error> {
        let material = Material::of(jwk.key().map_err(bad_key)?);
        self.keep(may.domain(), material, new, true).await
    }

    /// Takes a key that was encrypted to a transport key.
    ///
    /// # Errors
    /// As [`HostService::import`]; also `DecryptFailed`, and what stands against the use of the transport key.
    pub async fn import_carried(
        &self,
        may: &Authorized<action::Import>,
        may_unwrap: &Authorized<action::Unwrap>,
        from: &Carried,
        new: NewKey,
    ) -> Result<KeyView, Error> {
        let domain = may.domain();
        if may_unwrap.domain() != domain {
            return Err(Error::internal("rights of two domains"));
        }
        let transport =
            self.to_use(may_unwrap.domain(), *may_unwrap.of(), (Operations::UNWRAP, Use::Process)).await?;
        let key = self.private_half(&transport)?;
        let opened = carried::open(&self.env, &key, &from.token).map_err(|error| match error {
            BadToken::Form(sentence) => Error::bad(sentence),
            BadToken::DoesNotOpen => {
                Error::new(Code::DecryptFailed, "the transport key does not open the carried key")
            }
        })?;
        let material = Material::read(from.format, &opened).map_err(bad_key)?;
        self.keep(domain, material, new, true).await
    }

    async fn keep(
        &self,
        domain: Uuid,
        material: Material,
        new: NewKey,
        imported: bool,
    ) -> Result<KeyView, Error> {
        let class = material.class();
        let public_only = class == Class::Public;
        if public_only && new.extractable == Some(false) {
            return Err(Error::bad("a public key is always extractable"));
        }
        let extractable = new.extractable.unwrap_or(public_only);
        let id = match new.id {
            Some(id) => id,
            None => random_id(self.env.random(Purpose::Public)?),
        };
        let now = self.wall_us();
        let view = KeyView {
            id,
            name: new.name.into_string(),
            kind: material.kind,
            public: material.public.as_ref().map(PublicKey::to_spki),
            operations: operations(material.kind, class, new.operations)?,
            // What was elsewhere was extractable there.
            flags: Flags { extractable, was_extractable: extractable || imported, imported, public_only },
            state: State::Active,
            dates: Dates { created_us: now, activated_us: Some(now), ..Dates::default() },
        };
        let context = new.context.map(Context::into_string);
        let record = KeyRecord { view, context, reason: 0, material: material.secret };
        let key = record_key(KIND_SERVICE_KEY, domain, id);
        let taken = || Error::new(Code::Conflict, "a key with this id exists");
        self.insert(domain, &key, &record, taken).await?;
        Ok(record.view)
    }
}

/// A version 4 UUID of random bits (RFC 9562, 5.4).
pub(crate) fn random_id(mut bytes: [u8; 16]) -> Uuid {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uuid::from_bytes(bytes)
}
