//! What stands in a container, one line of JSON each: `{"<type>": {...}}`. Numbers and words as in docs/export-format.md. Unknown types
//! and fields are refused: nothing that somebody owned is passed over in silence.

use crate::{
    crypto::SecretBytes,
    iam::{Credential, Group, Issuer, Policy},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{collections::BTreeMap, fmt};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Bytes that are carried, as base64. Wiped on drop; cannot be printed.
pub struct Carried(pub SecretBytes);

impl Serialize for Carried {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(self.0.expose())))
    }
}

impl<'de> Deserialize<'de> for Carried {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Carried, D::Error> {
        struct Reader;
        impl de::Visitor<'_> for Reader {
            type Value = Carried;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Carried, E> {
                let bytes = STANDARD.decode(text).map_err(|_| E::custom("not base64"))?;
                Ok(Carried(SecretBytes::new(bytes)))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Record {
    /// A policy of the domain.
    Policy(Policy),
    /// A group of identities.
    Group(Group),
    /// An issuer of bearer tokens: its public key.
    Issuer(Issuer),
    /// An access certificate: its public part.
    Credential(Credential),
    /// What is set for all secrets.
    SecretConfig(SecretConfig),
    /// A service key.
    Key(Box<Key>),
    /// A secret, without data; the data of its versions follows it.
    Secret(Box<Secret>),
    /// The data of a version of the secret before it.
    SecretVersion(SecretVersion),
    /// The last line of the last frame.
    End(Counts),
}

/// A service key with all that is known of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Key {
    /// Its id.
    pub id: Uuid,
    /// Friendly name.
    pub name: String,
    /// `oct`, `RSA` or `EC`.
    pub r#type: String,
    /// Bits, of `oct` and `RSA`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// The curve of `EC`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curve: Option<String>,
    /// Permitted operations.
    pub operations: Vec<String>,
    /// Given at its creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Its state.
    pub state: String,
    /// Why it was revoked, as KMIP numbers reasons; 0: it was not.
    pub revocation_reason: u32,
    /// Moments of its life, microseconds since the Unix epoch.
    pub created_us: u64,
    /// Last activated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activated_us: Option<u64>,
    /// Last deactivated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deactivated_us: Option<u64>,
    /// Declared compromised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compromised_us: Option<u64>,
    /// Destroyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destroyed_us: Option<u64>,
    /// It may leave by itself, wrapped under another key.
    pub extractable: bool,
    /// It might once have left by itself.
    pub was_extractable: bool,
    /// It was made elsewhere.
    pub imported: bool,
    /// It is a public half alone.
    pub public_only: bool,
    /// The bytes of a symmetric key, or PKCS #8 (DER) of a private one; none of destroyed keys and public halves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub material: Option<Carried>,
    /// The public half, SPKI (DER); none of symmetric and destroyed keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<Carried>,
}

impl Key {
    /// What of it may be shown: all but the material.
    pub fn shown(&self) -> Key {
        Key {
            name: self.name.clone(),
            r#type: self.r#type.clone(),
            curve: self.curve.clone(),
            operations: self.operations.clone(),
            context: self.context.clone(),
            state: self.state.clone(),
            material: None,
            public: self.public.as_ref().map(|public| Carried(public.0.duplicate())),
            ..*self
        }
    }
}

/// What is set for a secret, or for all of a domain. What is not there was never set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SecretConfig {
    /// Whether a write must name the version that it replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cas_required: Option<bool>,
    /// How many versions are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_versions: Option<u32>,
    /// How long a version is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deactivate_version_after: Option<String>,
}

/// A version of a secret: when it was made, seconds after the secret; how many seconds later it is or was deactivated, if ever; and flags:
/// 1 somebody deactivated it, 2 its data is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionEntry(pub u32, pub Option<u32>, pub u8);

impl VersionEntry {
    /// Somebody deactivated it.
    pub const OFF: u8 = 1;
    /// Its data is gone.
    pub const GONE: u8 = 2;
}

/// A secret without the data of its versions.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Secret {
    /// Names it within this container; hexadecimal, 16 bytes.
    pub id: String,
    /// Its path.
    pub path: String,
    /// What is set for it.
    pub config: SecretConfig,
    /// Names and values.
    pub custom_metadata: BTreeMap<String, String>,
    /// When it was made, Unix seconds.
    pub created_s: u64,
    /// When it was last changed, Unix seconds.
    pub updated_s: u64,
    /// The number of the first version that is kept.
    pub first_version: u32,
    /// All versions that are kept, in the order of their numbers.
    pub versions: Vec<VersionEntry>,
}

impl Secret {
    /// What is known of a version.
    pub fn version(&mut self, number: u32) -> Option<&mut VersionEntry> {
        self.versions.get_mut(number.checked_sub(self.first_version)? as usize)
    }
}

/// The data of a version.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SecretVersion {
    /// The `id` of its secret.
    pub secret: String,
    /// Its number.
    pub number: u32,
    /// The JSON object, as text.
    pub data: Carried,
}

/// How many of each there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Counts {
    /// Service keys, destroyed ones too.
    pub keys: u64,
    /// Secrets.
    pub secrets: u64,
    /// Versions with data.
    pub secret_versions: u64,
    /// Policies.
    pub policies: u64,
    /// Groups.
    pub groups: u64,
    /// Issuers.
    pub issuers: u64,
    /// Credentials.
    pub credentials: u64,
    /// 1 if something is set for all secrets.
    pub secret_configs: u64,
}

impl Counts {
    /// One more of a kind.
    pub fn add(&mut self, record: &Record) {
        *match record {
            Record::Policy(_) => &mut self.policies,
            Record::Group(_) => &mut self.groups,
            Record::Issuer(_) => &mut self.issuers,
            Record::Credential(_) => &mut self.credentials,
            Record::SecretConfig(_) => &mut self.secret_configs,
            Record::Key(_) => &mut self.keys,
            Record::Secret(_) => &mut self.secrets,
            Record::SecretVersion(_) => &mut self.secret_versions,
            Record::End(_) => return,
        } += 1;
    }
}
