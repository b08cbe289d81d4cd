//! Ciphertexts from clients: any text. Refuses all that this key did not make; may not panic.

#![no_main]

use kms::crypto::{
    SecretBytes,
    jwe::{JweKey, JwePurpose},
};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let material = SecretBytes::new(vec![7; 32]);
        let key = JweKey { id: uuid::Uuid::nil(), version: 0, material: &material };
        // Nothing made up opens.
        assert!(key.open(JwePurpose::Encrypt, b"", text).is_err());
    }
});
