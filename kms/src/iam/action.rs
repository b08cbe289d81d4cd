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
}
