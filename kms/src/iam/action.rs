//! The actions of the regional REST interface, one type each, named as in the service's access policies.

/// Something that may be allowed or denied.
pub trait Action {
    /// Its name, without the prefix `okms:apikms:`.
    const NAME: &'static str;
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => { $(
        $(#[$doc])*
        pub enum $name {}
        impl Action for $name {
            const NAME: &'static str = $text;
        }
    )* };
}

actions! {
    /// Make a key.
    Create = "serviceKey/create";
    /// Take a key that was made elsewhere.
    Import = "serviceKey/import";
    /// Read attributes of a key, or of the keys listed.
    Get = "serviceKey/get";
    /// Rename.
    Update = "serviceKey/update";
    /// Destroy.
    Delete = "serviceKey/delete";
    /// Activate.
    Activate = "serviceKey/activate";
    /// Deactivate or declare compromised.
    Deactivate = "serviceKey/deactivate";
    /// Sign.
    Sign = "serviceKey/sign";
    /// Say whether a signature is a key's.
    Verify = "serviceKey/verify";
    /// Carry another key out, as its transport key. The documents do not name this action.
    Wrap = "serviceKey/wrapKey";
    /// Bring another key in, as its transport key. The documents do not name this action.
    Unwrap = "serviceKey/unwrapKey";
    /// Encrypt.
    Encrypt = "serviceKey/encrypt";
    /// Decrypt.
    Decrypt = "serviceKey/decrypt";
    /// Make a data key.
    CreateDataKey = "serviceKey/dataKey/create";
    /// Unwrap a data key.
    DecryptDataKey = "serviceKey/dataKey/decrypt";
    /// Draw random bytes.
    Random = "random/get";
    /// Make a secret.
    SecretCreate = "secret/create";
    /// Read what is known of a secret, or of the secrets listed, without data.
    SecretGet = "secret/get";
    /// Change settings and custom metadata of a secret.
    SecretUpdateMetadata = "secret/updateMetadata";
    /// Delete a secret with all its versions.
    SecretDelete = "secret/delete";
    /// Make another version of a secret.
    SecretVersionCreate = "secret/version/create";
    /// Read the data of a version.
    SecretVersionGetData = "secret/version/getData";
    /// Make a version active again.
    SecretVersionActivate = "secret/version/activate";
    /// Deactivate a version.
    SecretVersionDeactivate = "secret/version/deactivate";
    /// Destroy the data of a version.
    SecretVersionDelete = "secret/version/delete";
    /// Read the names in the data of a version.
    SecretSubKeysGet = "secret/subKeys/get";
    /// Read the configuration of secrets.
    SecretConfigGet = "secretConfig/get";
    /// Change the configuration of secrets.
    SecretConfigUpdate = "secretConfig/update";
}
