//! The actions of the regional REST interface, one type each, named as in the service's access policies. Each is done on one sort of
//! resource.

use super::resource::{Resource, SecretPath, TheDomain};
use uuid::Uuid;

/// Something that may be allowed or denied.
pub trait Action {
    /// What it is done on.
    type Of: Resource;
    /// Its name in policies.
    const NAME: &'static str;
    /// Its place in [`NAMES`].
    const PLACE: usize;
}

/// Actions on all that a domain has at once: `*` in a policy does not allow them, only their full names do. It does deny them.
pub const BY_NAME_ONLY: [&str; 2] = [DomainExport::NAME, DomainImport::NAME];

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident($of:ty) = $text:literal;)*) => {
        /// The places of actions in [`NAMES`].
        enum Place { $($name),* }
        $(
            $(#[$doc])*
            pub enum $name {}
            impl Action for $name {
                type Of = $of;
                const NAME: &'static str = concat!("okms:apikms:", $text);
                const PLACE: usize = Place::$name as usize;
            }
        )*
        /// All actions there are, as policies name them.
        pub const NAMES: &[&str] = &[$(<$name as Action>::NAME),*];
    };
}

actions! {
    /// Take out all that the domain has, keys that are not extractable among it. The documents do not name this action.
    DomainExport(TheDomain) = "domain/export";
    /// Bring in what was taken out of a domain. The documents do not name this action.
    DomainImport(TheDomain) = "domain/import";
    /// Make a key.
    Create(TheDomain) = "serviceKey/create";
    /// Take a key that was made elsewhere.
    Import(TheDomain) = "serviceKey/import";
    /// Read attributes of a key, or of the keys listed.
    Get(Uuid) = "serviceKey/get";
    /// Rename.
    Update(Uuid) = "serviceKey/update";
    /// Destroy.
    Delete(Uuid) = "serviceKey/delete";
    /// Activate.
    Activate(Uuid) = "serviceKey/activate";
    /// Deactivate or declare compromised.
    Deactivate(Uuid) = "serviceKey/deactivate";
    /// Sign.
    Sign(Uuid) = "serviceKey/sign";
    /// Say whether a signature is a key's.
    Verify(Uuid) = "serviceKey/verify";
    /// Carry another key out, as its transport key. The documents do not name this action.
    Wrap(Uuid) = "serviceKey/wrapKey";
    /// Bring another key in, as its transport key. The documents do not name this action.
    Unwrap(Uuid) = "serviceKey/unwrapKey";
    /// Encrypt.
    Encrypt(Uuid) = "serviceKey/encrypt";
    /// Decrypt.
    Decrypt(Uuid) = "serviceKey/decrypt";
    /// Make a data key.
    CreateDataKey(Uuid) = "serviceKey/dataKey/create";
    /// Unwrap a data key.
    DecryptDataKey(Uuid) = "serviceKey/dataKey/decrypt";
    /// Draw random bytes.
    Random(TheDomain) = "random/get";
    /// Make a secret.
    SecretCreate(SecretPath) = "secret/create";
    /// Read what is known of a secret, or of the secrets listed, without data.
    SecretGet(SecretPath) = "secret/get";
    /// Change settings and custom metadata of a secret.
    SecretUpdateMetadata(SecretPath) = "secret/updateMetadata";
    /// Delete a secret with all its versions.
    SecretDelete(SecretPath) = "secret/delete";
    /// Make another version of a secret.
    SecretVersionCreate(SecretPath) = "secret/version/create";
    /// Read the data of a version.
    SecretVersionGetData(SecretPath) = "secret/version/getData";
    /// Make a version active again.
    SecretVersionActivate(SecretPath) = "secret/version/activate";
    /// Deactivate a version.
    SecretVersionDeactivate(SecretPath) = "secret/version/deactivate";
    /// Destroy the data of a version.
    SecretVersionDelete(SecretPath) = "secret/version/delete";
    /// Read the names in the data of a version.
    SecretSubKeysGet(SecretPath) = "secret/subKeys/get";
    /// Read the configuration of secrets.
    SecretConfigGet(TheDomain) = "secretConfig/get";
    /// Change the configuration of secrets.
    SecretConfigUpdate(TheDomain) = "secretConfig/update";
}
