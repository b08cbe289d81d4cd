//! Bodies of the service-key API, named as documented, and their way to and from the engine's types.

use super::body::Whole;
use crate::{
    crypto::{
        SecretBytes, TAG_BYTES,
        asymmetric::{Curve, Jwk, PublicKey, Shape, SignatureAlgorithm},
    },
    dates::rfc3339,
    engine::{
        Carried, CarriedFormat, Class, Context, KeyName, KeyPage, KeyType, KeyView, Message, NewKey,
        Operations, Reason, Signature, ToVerify, Way,
    },
    error::{Code, Error},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Visitor},
};
use std::{fmt, time::Duration};
use uuid::Uuid;

/// Longest base64 plaintext, characters.
const PLAINTEXT_MAX_CHARS: usize = 5464;
/// Longest ciphertext read, characters: the JWE of a plaintext of 4096 bytes, with room. The documented limit
/// of 5464 would not take back what the service itself makes of the largest plaintext.
const CIPHERTEXT_MAX_CHARS: usize = 6144;
/// Longest data key blob, characters.
const BLOB_MAX_CHARS: usize = 5000;
/// Longest signature or token read, characters: a token of the longest message.
const SIGNATURE_MAX_CHARS: usize = 8192;
const OPERATIONS_MAX: usize = 32;

/// `CreateImportServiceKeyRequest`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct CreateBody {
    name: String,
    id: Option<Uuid>,
    context: Option<String>,
    r#type: Option<String>,
    size: Option<Whole>,
    curve: Option<String>,
    operations: Option<Vec<String>>,
    protection_level: Option<String>,
    keys: Option<Vec<Jwk>>,
    extractable: Option<bool>,
    wrapped_keys: Option<Vec<WrappedKeyBody>>,
}

/// A key that was encrypted to a transport key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WrappedKeyBody {
    key_format_type: String,
    wrapping_key_id: Uuid,
    ciphertext: String,
}

impl WrappedKeyBody {
    pub(super) fn new(transport: Uuid, way: &Way, ciphertext: String) -> WrappedKeyBody {
        let key_format_type = way.format.word().to_owned();
        WrappedKeyBody { key_format_type, wrapping_key_id: transport, ciphertext }
    }

    /// The transport key, and what was encrypted to it.
    fn into_carried(self) -> Result<(Uuid, Carried), Error> {
        if self.ciphertext.len() > BLOB_MAX_CHARS {
            return Err(Error::bad("ciphertext of a wrapped key is longer than 5000 characters"));
        }
        let format = CarriedFormat::of_word(&self.key_format_type)
            .ok_or_else(|| Error::bad("keyFormatType must be RAW, JWK, PKCS1 or PKCS8"))?;
        Ok((self.wrapping_key_id, Carried { format, token: self.ciphertext }))
    }
}

/// Where the key comes from.
pub(super) enum Source {
    /// It is made.
    Made(KeyType),
    /// It is sent in clear.
    Sent(Box<Jwk>),
    /// It is sent encrypted to a transport key.
    Carried(Uuid, Carried),
}

fn operations(words: &[String]) -> Result<Operations, Error> {
    if words.len() > OPERATIONS_MAX {
        return Err(Error::bad("more than 32 operations"));
    }
    words.iter().try_fold(Operations::NONE, |all, word| {
        let one =
            Operations::of_word(word).ok_or_else(|| Error::bad("an operation is not a documented one"))?;
        Ok(all.with(one))
    })
}

/// The only one of a list, if there is one.
fn only<T>(list: Option<Vec<T>>, several: &'static str) -> Result<Option<T>, Error> {
    let mut list = list.unwrap_or_default();
    if list.len() > 1 {
        return Err(Error::bad(several));
    }
    Ok(list.pop())
}

impl CreateBody {
    /// Checks the shape; what is documented but not offered says so (501).
    pub(super) fn into_parts(self) -> Result<(Source, NewKey), Error> {
        match self.protection_level.as_deref() {
            None | Some("SOFTWARE") => {}
            Some("HSM" | "MANAGED_HSM") => {
                return Err(Error::new(Code::NotOffered, "protection level HSM is not offered"));
            }
            Some(_) => return Err(Error::bad("protectionLevel must be SOFTWARE or HSM")),
        }
        let mut asked = operations(&self.operations.unwrap_or_default())?;
        let sent = only(self.keys, "more than one key: a request takes one")?;
        let carried = only(self.wrapped_keys, "more than one wrapped key: a request takes one")?;
        let said = Said { kind: self.r#type, size: self.size.map(|Whole(bits)| bits), curve: self.curve };
        let from = match (sent, carried) {
            (Some(_), Some(_)) => {
                return Err(Error::bad("keys and wrappedKeys: a request takes one of them"));
            }
            (Some(jwk), None) => {
                said.fits(&jwk)?;
                if asked == Operations::NONE {
                    asked = operations(jwk.key_ops.as_deref().unwrap_or_default())?;
                }
                Source::Sent(Box::new(jwk))
            }
            (None, Some(wrapped)) => {
                let (transport, carried) = wrapped.into_carried()?;
                Source::Carried(transport, carried)
            }
            (None, None) => Source::Made(said.to_be_made()?),
        };
        let new = NewKey {
            id: self.id,
            name: KeyName::new(self.name)?,
            context: self.context.map(Context::new).transpose()?,
            operations: asked,
            extractable: self.extractable,
        };
        Ok((from, new))
    }
}

/// What a request says of a key's type.
struct Said {
    kind: Option<String>,
    size: Option<u32>,
    curve: Option<String>,
}

impl Said {
    fn to_be_made(&self) -> Result<KeyType, Error> {
        match (self.kind.as_deref(), self.curve.as_deref(), self.size) {
            (None | Some("oct"), None, size) => Ok(KeyType::Oct(size.unwrap_or(256))),
            (None | Some("oct"), Some(_), _) => Err(Error::bad("an oct key has no curve")),
            (Some("RSA"), None, size) => Ok(KeyType::Of(Shape::Rsa(size.unwrap_or(2048)))),
            (Some("RSA"), Some(_), _) => Err(Error::bad("an RSA key has no curve")),
            (Some("EC"), curve, None) => Curve::of_word(curve.unwrap_or("P-256"))
                .map(|curve| KeyType::Of(Shape::Ec(curve)))
                .ok_or_else(|| Error::bad("curve must be P-256, P-384 or P-521")),
            (Some("EC"), _, Some(_)) => Err(Error::bad("an EC key has a curve, and no size")),
            (Some(_), ..) => Err(Error::bad("type must be oct, RSA or EC")),
        }
    }

    /// What is said beside a key must be true of it.
    fn fits(&self, jwk: &Jwk) -> Result<(), Error> {
        if self.kind.as_ref().is_some_and(|kind| *kind != jwk.kty) {
            return Err(Error::bad("type is another one than kty of the key"));
        }
        if self.curve.is_some() && self.curve != jwk.crv {
            return Err(Error::bad("curve is another one than crv of the key"));
        }
        Ok(())
    }
}

/// Body of a change: a name, whether the key may leave, or both.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ChangeBody {
    name: Option<String>,
    extractable: Option<bool>,
}

impl ChangeBody {
    pub(super) fn into_parts(self) -> Result<(Option<KeyName>, Option<bool>), Error> {
        if self.name.is_none() && self.extractable.is_none() {
            return Err(Error::bad("nothing to change: name or extractable is missing"));
        }
        Ok((self.name.map(KeyName::new).transpose()?, self.extractable))
    }
}

/// `SignRequest` and the like: what a signature is of.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignBody {
    message: String,
    alg: String,
    isdigest: Option<bool>,
}

fn message(text: String, isdigest: Option<bool>) -> Result<Message, Error> {
    if text.len() > PLAINTEXT_MAX_CHARS {
        return Err(Error::bad("message is longer than 5464 characters"));
    }
    let bytes = STANDARD.decode(text).map_err(|_| Error::bad("message is not base64"))?;
    Ok(if isdigest == Some(true) { Message::Digest(bytes) } else { Message::Whole(bytes) })
}

fn algorithm(word: &str) -> Result<SignatureAlgorithm, Error> {
    SignatureAlgorithm::of_word(word).ok_or_else(|| Error::bad("alg is not a documented one"))
}

impl SignBody {
    pub(super) fn into_parts(self) -> Result<(Message, SignatureAlgorithm), Error> {
        let algorithm = algorithm(&self.alg)?;
        Ok((message(self.message, self.isdigest)?, algorithm))
    }
}

/// `VerifyRequest`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyBody {
    signature: String,
    message: Option<String>,
    alg: Option<String>,
    isdigest: Option<bool>,
}

impl VerifyBody {
    pub(super) fn into_asked(self) -> Result<ToVerify, Error> {
        if self.signature.len() > SIGNATURE_MAX_CHARS {
            return Err(Error::bad("signature is too long"));
        }
        let signature = if self.signature.contains('.') {
            Signature::Token(self.signature)
        } else {
            let bytes = STANDARD.decode(&self.signature);
            Signature::Raw(bytes.map_err(|_| Error::bad("signature is not base64"))?)
        };
        Ok(ToVerify {
            signature,
            message: self.message.map(|text| message(text, self.isdigest)).transpose()?,
            algorithm: self.alg.as_deref().map(algorithm).transpose()?,
        })
    }
}

/// A signature, or a token.
#[derive(Serialize)]
pub(super) struct SignatureBody {
    signature: String,
}

impl From<Signature> for SignatureBody {
    fn from(signature: Signature) -> SignatureBody {
        let signature = match signature {
            Signature::Raw(bytes) => STANDARD.encode(bytes),
            Signature::Token(token) => token,
        };
        SignatureBody { signature }
    }
}

/// Whether it verifies.
#[derive(Serialize)]
pub(super) struct VerifiedBody {
    pub(super) result: bool,
}

/// Body of a deactivation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeactivateBody {
    reason: String,
}

impl DeactivateBody {
    pub(super) fn reason(&self) -> Result<Reason, Error> {
        Reason::of_word(&self.reason).ok_or_else(|| Error::bad("reason is not a documented one"))
    }
}

/// `EncryptRequest`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EncryptBody {
    plaintext: SentBase64,
    context: Option<String>,
}

impl EncryptBody {
    pub(super) fn into_parts(self) -> Result<(SecretBytes, Context), Error> {
        let SentBase64 { chars, bytes } = self.plaintext;
        if chars > PLAINTEXT_MAX_CHARS {
            return Err(Error::bad("plaintext is longer than 5464 characters"));
        }
        let plaintext = bytes.ok_or_else(|| Error::bad("plaintext is not base64"))?;
        Ok((plaintext, context(self.context)?))
    }
}

/// Something secret in base64, decoded where it stands in the body: its text is copied nowhere.
struct SentBase64 {
    /// Length of the text.
    chars: usize,
    /// None: it is not base64. With room for the tag of what is made of it.
    bytes: Option<SecretBytes>,
}

impl<'de> Deserialize<'de> for SentBase64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SentBase64, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = SentBase64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<SentBase64, E> {
                let mut bytes = Vec::with_capacity(base64::decoded_len_estimate(text.len()) + TAG_BYTES);
                let decoded = STANDARD.decode_vec(text, &mut bytes).is_ok();
                let bytes = SecretBytes::new(bytes);
                Ok(SentBase64 { chars: text.len(), bytes: decoded.then_some(bytes) })
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

fn context(text: Option<String>) -> Result<Context, Error> {
    Ok(text.map(Context::new).transpose()?.unwrap_or_default())
}

/// `DecryptRequest`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DecryptBody {
    ciphertext: String,
    context: Option<String>,
}

impl DecryptBody {
    pub(super) fn into_parts(self) -> Result<(String, Context), Error> {
        if self.ciphertext.len() > CIPHERTEXT_MAX_CHARS {
            return Err(Error::bad("ciphertext is too long"));
        }
        Ok((self.ciphertext, context(self.context)?))
    }
}

/// `GenerateDataKeyRequest`. The name only appears in the audit of the original service.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DataKeyBody {
    name: Option<String>,
    size: Whole,
}

impl DataKeyBody {
    pub(super) fn bits(self) -> Result<u32, Error> {
        if let Some(name) = self.name.filter(|name| !name.is_empty()) {
            KeyName::new(name)?;
        }
        Ok(self.size.0)
    }
}

/// `DecryptDataKeyRequest`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DecryptDataKeyBody {
    key: String,
}

impl DecryptDataKeyBody {
    pub(super) fn into_blob(self) -> Result<String, Error> {
        if self.key.len() > BLOB_MAX_CHARS {
            return Err(Error::bad("key is longer than 5000 characters"));
        }
        Ok(self.key)
    }
}

/// `GetServiceKeyResponse`.
#[derive(Serialize)]
pub(super) struct KeyBody {
    id: Uuid,
    name: String,
    r#type: &'static str,
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    curve: Option<&'static str>,
    operations: Vec<&'static str>,
    #[serde(rename = "protectionLevel")]
    protection_level: &'static str,
    attributes: Attributes,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Jwk>,
    #[serde(rename = "wrappedKeys", skip_serializing_if = "Vec::is_empty")]
    wrapped_keys: Vec<WrappedKeyBody>,
}

#[derive(Serialize)]
struct Attributes {
    state: &'static str,
    original_creation_date: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation_date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deactivation_date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compromise_date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destroy_date: Option<String>,
    extractable: bool,
    never_extractable: bool,
    sensitive: bool,
    always_sensitive: bool,
}

/// RFC 3339, UTC.
pub(super) fn date(us: u64) -> String {
    rfc3339(Duration::from_micros(us)).unwrap_or_default()
}

impl KeyBody {
    /// With the public half, if there is one: what `format=jwk` asks for. Nothing else of a key is ever shown.
    pub(super) fn with_public(view: KeyView) -> Result<KeyBody, Error> {
        let jwk = view.public.as_deref().map(|spki| {
            let public = PublicKey::from_spki(spki);
            let mut jwk =
                Jwk::of_public(&public.map_err(|_| Error::integrity("a public half does not read"))?);
            jwk.kid = Some(view.id.to_string());
            jwk.key_ops = Some(view.operations.words().map(str::to_owned).collect());
            Ok::<_, Error>(jwk)
        });
        let keys = jwk.transpose()?.into_iter().collect();
        Ok(KeyBody { keys, ..KeyBody::from(view) })
    }

    /// With the key itself, as it leaves.
    pub(super) fn with_wrapped(view: KeyView, wrapped: WrappedKeyBody) -> KeyBody {
        KeyBody { wrapped_keys: vec![wrapped], ..KeyBody::from(view) }
    }
}

impl From<KeyView> for KeyBody {
    fn from(key: KeyView) -> KeyBody {
        let (dates, flags, class) = (key.dates, key.flags, key.class());
        let secret = class != Class::Public;
        KeyBody {
            id: key.id,
            r#type: key.kind.word(),
            class: match class {
                Class::Secret => "SECRET_KEY",
                Class::Pair => "KEY_PAIR",
                Class::Public => "PUBLIC_KEY",
            },
            size: key.kind.size(),
            curve: key.kind.curve().map(Curve::word),
            operations: key.operations.words().collect(),
            protection_level: "SOFTWARE",
            attributes: Attributes {
                state: key.state.word(),
                original_creation_date: date(dates.created_us),
                activation_date: dates.activated_us.map(date),
                deactivation_date: dates.deactivated_us.map(date),
                compromise_date: dates.compromised_us.map(date),
                destroy_date: dates.destroyed_us.map(date),
                extractable: flags.extractable,
                never_extractable: secret && !flags.was_extractable,
                // Nothing of a secret is ever shown in clear; one that was made elsewhere may have been there.
                sensitive: secret,
                always_sensitive: secret && !flags.imported,
            },
            name: key.name,
            keys: Vec::new(),
            wrapped_keys: Vec::new(),
        }
    }
}

/// `ListServiceKeysResponse`.
#[derive(Serialize)]
pub(super) struct ListBody {
    objects_list: Vec<KeyBody>,
    continuation_token: String,
    is_truncated: bool,
}

impl From<KeyPage> for ListBody {
    fn from(page: KeyPage) -> ListBody {
        ListBody {
            objects_list: page.keys.into_iter().map(KeyBody::from).collect(),
            continuation_token: page.token,
            is_truncated: page.truncated,
        }
    }
}

/// Bytes in base64, wiped after the answer was written.
pub(super) struct Base64(SecretBytes);

impl From<SecretBytes> for Base64 {
    fn from(bytes: SecretBytes) -> Base64 {
        Base64(bytes)
    }
}

impl Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&zeroize::Zeroizing::new(STANDARD.encode(self.0.expose())))
    }
}

/// A plaintext.
#[derive(Serialize)]
pub(super) struct PlaintextBody {
    pub(super) plaintext: Base64,
}

/// `GenerateDataKeyResponse`.
#[derive(Serialize)]
pub(super) struct NewDataKeyBody {
    pub(super) key: String,
    pub(super) plaintext: Base64,
}

/// Random bytes.
#[derive(Serialize)]
pub(super) struct RandomBody {
    pub(super) bytes: Base64,
}

/// `/healthz`.
#[derive(Serialize)]
pub(super) struct HealthBody {
    pub(super) can_serve: bool,
    pub(super) can_write: bool,
    /// It has no root key until operators unseal it.
    pub(super) sealed: bool,
    pub(super) start: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audit: Option<&'static str>,
}

/// Reads `bytes` as every request body there is (fuzzing only): none may panic.
#[cfg(fuzzing)]
pub fn read_every_body(bytes: &[u8]) {
    let _ = serde_json::from_slice::<CreateBody>(bytes).map(CreateBody::into_parts);
    let _ = serde_json::from_slice::<ChangeBody>(bytes).map(ChangeBody::into_parts);
    let _ = serde_json::from_slice::<SignBody>(bytes).map(SignBody::into_parts);
    let _ = serde_json::from_slice::<VerifyBody>(bytes).map(VerifyBody::into_asked);
    let _ = serde_json::from_slice::<DeactivateBody>(bytes).map(|body| body.reason());
    let _ = serde_json::from_slice::<EncryptBody>(bytes).map(EncryptBody::into_parts);
    let _ = serde_json::from_slice::<DecryptBody>(bytes).map(DecryptBody::into_parts);
    let _ = serde_json::from_slice::<DataKeyBody>(bytes).map(DataKeyBody::bits);
    let _ = serde_json::from_slice::<DecryptDataKeyBody>(bytes).map(DecryptDataKeyBody::into_blob);
}
