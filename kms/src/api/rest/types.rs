//! Bodies of the service-key API, named as documented, and their way to and from the engine's types.

use crate::{
    crypto::SecretBytes,
    engine::{Context, KeyName, KeyPage, KeyView, NewKey, Operations, Reason},
    error::{Code, Error},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// Longest base64 plaintext, characters.
const PLAINTEXT_MAX_CHARS: usize = 5464;
/// Longest ciphertext read, characters: the JWE of a plaintext of 4096 bytes, with room. The documented limit
/// of 5464 would not take back what the service itself makes of the largest plaintext.
const CIPHERTEXT_MAX_CHARS: usize = 6144;
/// Longest data key blob, characters.
const BLOB_MAX_CHARS: usize = 5000;
const OPERATIONS_MAX: usize = 32;

/// `CreateImportServiceKeyRequest`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct CreateBody {
    name: String,
    id: Option<Uuid>,
    context: Option<String>,
    r#type: Option<String>,
    size: Option<u32>,
    curve: Option<String>,
    operations: Option<Vec<String>>,
    protection_level: Option<String>,
    keys: Option<Vec<IgnoredAny>>,
    extractable: Option<bool>,
    wrapped_keys: Option<Vec<IgnoredAny>>,
}

fn not_offered(what: &'static str) -> Error {
    Error::new(Code::NotOffered, what)
}

impl CreateBody {
    /// Checks the shape; what is documented but not built says so (501).
    pub(super) fn into_new_key(self) -> Result<NewKey, Error> {
        match self.protection_level.as_deref() {
            None | Some("SOFTWARE") => {}
            Some("HSM" | "MANAGED_HSM") => return Err(not_offered("protection level HSM is not offered")),
            Some(_) => return Err(Error::bad("protectionLevel must be SOFTWARE or HSM")),
        }
        let imports = |keys: &Option<Vec<IgnoredAny>>| keys.as_ref().is_some_and(|keys| !keys.is_empty());
        if imports(&self.keys) || imports(&self.wrapped_keys) {
            return Err(not_offered("import of keys is not offered yet"));
        }
        match self.r#type.as_deref() {
            None | Some("oct") => {}
            Some("RSA" | "EC") => return Err(not_offered("keys of type RSA and EC are not offered yet")),
            Some(_) => return Err(Error::bad("type must be oct, RSA or EC")),
        }
        if self.curve.is_some() {
            return Err(Error::bad("an oct key has no curve"));
        }
        if self.extractable == Some(true) {
            return Err(not_offered("extractable keys are not offered yet"));
        }
        let words = self.operations.unwrap_or_default();
        if words.len() > OPERATIONS_MAX {
            return Err(Error::bad("more than 32 operations"));
        }
        let mut operations = Operations::NONE;
        for word in &words {
            operations = operations.with(
                Operations::of_word(word)
                    .ok_or_else(|| Error::bad("an operation is not a documented one"))?,
            );
        }
        Ok(NewKey {
            id: self.id,
            name: KeyName::new(self.name)?,
            context: self.context.map(Context::new).transpose()?,
            size: self.size.unwrap_or(256),
            operations,
        })
    }
}

/// Body of a rename.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RenameBody {
    name: String,
    extractable: Option<bool>,
}

impl RenameBody {
    pub(super) fn into_name(self) -> Result<KeyName, Error> {
        if self.extractable == Some(true) {
            return Err(not_offered("extractable keys are not offered yet"));
        }
        KeyName::new(self.name)
    }
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
    plaintext: String,
    context: Option<String>,
}

impl EncryptBody {
    pub(super) fn into_parts(self) -> Result<(SecretBytes, Context), Error> {
        let text = zeroize::Zeroizing::new(self.plaintext);
        if text.len() > PLAINTEXT_MAX_CHARS {
            return Err(Error::bad("plaintext is longer than 5464 characters"));
        }
        let plaintext =
            STANDARD.decode(text.as_bytes()).map_err(|_| Error::bad("plaintext is not base64"))?;
        Ok((SecretBytes::new(plaintext), context(self.context)?))
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
    size: u32,
}

impl DataKeyBody {
    pub(super) fn bits(self) -> Result<u32, Error> {
        if let Some(name) = self.name.filter(|name| !name.is_empty()) {
            KeyName::new(name)?;
        }
        Ok(self.size)
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
    size: u32,
    operations: Vec<&'static str>,
    #[serde(rename = "protectionLevel")]
    protection_level: &'static str,
    attributes: Attributes,
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
}

/// RFC 3339, UTC.
fn date(us: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1000)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_default()
}

impl From<KeyView> for KeyBody {
    fn from(key: KeyView) -> KeyBody {
        let dates = key.dates;
        KeyBody {
            id: key.id,
            name: key.name,
            r#type: "oct",
            size: key.size,
            operations: key.operations.words().collect(),
            protection_level: "SOFTWARE",
            attributes: Attributes {
                state: key.state.word(),
                original_creation_date: date(dates.created_us),
                activation_date: dates.activated_us.map(date),
                deactivation_date: dates.deactivated_us.map(date),
                compromise_date: dates.compromised_us.map(date),
                destroy_date: dates.destroyed_us.map(date),
            },
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

/// A ciphertext.
#[derive(Serialize)]
pub(super) struct CiphertextBody {
    pub(super) ciphertext: String,
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
    pub(super) start: u32,
}

/// Reads `bytes` as every request body there is (fuzzing only): none may panic.
#[cfg(fuzzing)]
pub fn read_every_body(bytes: &[u8]) {
    let _ = serde_json::from_slice::<CreateBody>(bytes).map(CreateBody::into_new_key);
    let _ = serde_json::from_slice::<RenameBody>(bytes).map(RenameBody::into_name);
    let _ = serde_json::from_slice::<DeactivateBody>(bytes).map(|body| body.reason());
    let _ = serde_json::from_slice::<EncryptBody>(bytes).map(EncryptBody::into_parts);
    let _ = serde_json::from_slice::<DecryptBody>(bytes).map(DecryptBody::into_parts);
    let _ = serde_json::from_slice::<DataKeyBody>(bytes).map(DataKeyBody::bits);
    let _ = serde_json::from_slice::<DecryptDataKeyBody>(bytes).map(DecryptDataKeyBody::into_blob);
}
