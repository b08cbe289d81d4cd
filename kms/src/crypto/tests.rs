//! Known answers for the primitives, and what a JWE must refuse.

use super::{
    jwe::{JweKey, JwePurpose},
    testing::counting,
    *,
};
use proptest::prelude::*;
use uuid::Uuid;

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).expect("hex in a test")
}

#[test]
fn hkdf_sha256_known_answers() {
    // RFC 5869, A.1 and A.3, first 32 bytes of the output.
    let salt = unhex("000102030405060708090a0b0c");
    let info = unhex("f0f1f2f3f4f5f6f7f8f9");
    let okm = hkdf(&[0x0b; 22], &salt, &[&info[..4], &info[4..]]);
    assert_eq!(hex::encode(okm.expose()), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
    let okm = hkdf(&[0x0b; 22], &[], &[]);
    assert_eq!(hex::encode(okm.expose()), "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
}

#[test]
fn hkdf_expand_is_the_second_half_of_hkdf() {
    // RFC 5869, A.1: the intermediate PRK.
    let prk = unhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
    let prk = Secret::copy_from(&prk).expect("32 bytes");
    let okm = hkdf_expand(&prk, &[&unhex("f0f1f2f3f4f5f6f7f8f9")]);
    assert_eq!(hex::encode(okm.expose()), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
}

#[test]
fn aes_256_gcm_known_answers() {
    // McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 14 and 16.
    let mut text = vec![0; 16];
    SealingKey::new(&Secret::zero()).seal([0; 12], &[], &mut text);
    assert_eq!(hex::encode(&text), "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");

    let key = unhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    let key = SealingKey::new(&Secret::copy_from(&key).expect("32 bytes"));
    let nonce: [u8; 12] = unhex("cafebabefacedbaddecaf888").try_into().expect("12 bytes");
    let aad = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let clear = unhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    );
    let mut text = clear.clone();
    key.seal(nonce, &aad, &mut text);
    assert_eq!(
        hex::encode(&text),
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
    );
    assert_eq!(key.open(nonce, &aad, &mut text).expect("opens"), &clear[..]);
}

#[test]
fn hmac_and_sha_256_known_answers() {
    assert_eq!(
        hex::encode(sha256(b"abc")),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    // RFC 4231 test case 1, its 20-byte key padded with zeros as HMAC itself does.
    let mut key = [0; 32];
    key[..20].fill(0x0b);
    let key = Secret::copy_from(&key).expect("32 bytes");
    assert_eq!(
        hex::encode(keyed_hash(&key, b"Hi There")),
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    );
}

#[test]
fn canonical_parts_cannot_be_moved_between_neighbours() {
    let one = Canonical::new("f").add(b"ab").add(b"c");
    let other = Canonical::new("f").add(b"a").add(b"bc");
    assert_ne!(one.bytes(), other.bytes());
}

fn jwe_key(id: u128, material: &SecretBytes) -> JweKey<'_> {
    JweKey { id: Uuid::from_u128(id), version: 0, material }
}

proptest! {
    #[test]
    fn messages_come_back(text in proptest::collection::vec(proptest::num::u8::ANY, 0..300), context in ".{0,64}", len in 1usize..64) {
        let env = counting();
        let material = SecretBytes::new(vec![7; len]);
        let key = jwe_key(1, &material);
        let message = key
            .seal(&env, JwePurpose::Encrypt, context.as_bytes(), SecretBytes::new(text.clone()))
            .expect("entropy");
        let opened = key.open(JwePurpose::Encrypt, context.as_bytes(), &message).expect("opens");
        prop_assert_eq!(opened.expose(), &text[..]);
        prop_assert!(key.open(JwePurpose::DataKey, context.as_bytes(), &message).is_err());
        prop_assert!(key.open(JwePurpose::Encrypt, b"not it, and longer than any context the service lets through......", &message).is_err());
        prop_assert!(jwe_key(2, &material).open(JwePurpose::Encrypt, context.as_bytes(), &message).is_err());
    }

    #[test]
    fn a_changed_character_is_refused(at in 0usize.., to in proptest::char::range('-', 'z')) {
        let env = counting();
        let material = SecretBytes::new(vec![7; 32]);
        let key = jwe_key(1, &material);
        let message = key.seal(&env, JwePurpose::Encrypt, b"c", SecretBytes::new(b"text".to_vec())).expect("entropy");
        let mut changed: Vec<char> = message.chars().collect();
        let at = at % changed.len();
        changed[at] = to;
        let changed: String = changed.into_iter().collect();
        prop_assert_eq!(key.open(JwePurpose::Encrypt, b"c", &changed).is_ok(), changed == message);
    }

    #[test]
    fn noise_is_refused(noise in "\\PC{0,80}", parts in "[A-Za-z0-9_-]{0,90}(\\.[A-Za-z0-9_-]{0,40}){4}") {
        let material = SecretBytes::new(vec![7; 32]);
        let key = jwe_key(1, &material);
        prop_assert!(key.open(JwePurpose::Encrypt, b"", &noise).is_err());
        prop_assert!(key.open(JwePurpose::Encrypt, b"", &parts).is_err());
    }
}

#[test]
fn a_message_is_a_compact_jwe_as_documented() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let env = counting();
    let material = SecretBytes::new(vec![7; 16]);
    let key = jwe_key(1, &material);
    let seal = || key.seal(&env, JwePurpose::DataKey, b"", SecretBytes::new(vec![1; 32])).expect("entropy");
    let (message, again) = (seal(), seal());
    assert_ne!(message, again);
    let parts: Vec<_> = message.split('.').collect();
    assert_eq!((parts.len(), parts[1]), (5, ""));
    let header = URL_SAFE_NO_PAD.decode(parts[0]).expect("base64url");
    let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
    assert_eq!((&header["alg"], &header["enc"]), (&"dir".into(), &"A256GCM".into()));
    assert_eq!(header["kid"], "00000000-0000-0000-0000-000000000001");
    assert_eq!(header["x-key-ver"], 0);
}

/// Made by another program after the description (docs/rest.md), with a nonce of its own as this one once made them: messages lie with customers for ever.
#[test]
fn a_message_of_long_ago_opens() {
    let message = concat!(
        "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIiwia2lkIjoiMTEyMjMzNDQtNTU2Ni00Nzg4LTk5YWEtYmJjY2RkZWVmZjAwIiwieC1rZXktdm",
        "VyIjowLCJ4LXNhbHQiOiJaR1ZtWjJocGFtdHNiVzV2Y0hGeWMzUjFkbmQ0ZVhwN2ZIMS1mNENCZ29NIn0",
        "..yMnKy8zNzs_Q0dLT.IdJnb3kG4ebOm_ROZQ.1mOyS-4WI8Lt0cqzVGlhDw"
    );
    let material = SecretBytes::new((0..32).collect());
    let id = Uuid::from_u128(0x1122_3344_5566_4788_99aa_bbcc_ddee_ff00);
    let key = JweKey { id, version: 0, material: &material };
    let opened = key.open(JwePurpose::Encrypt, b"ctx", message).expect("opens");
    assert_eq!(opened.expose(), b"made long ago");
    assert!(key.open(JwePurpose::Encrypt, b"", message).is_err());
}

#[test]
fn the_longest_header_has_room() {
    let material = SecretBytes::new(vec![7; 32]);
    let key = JweKey { id: Uuid::max(), version: u32::MAX, material: &material };
    let text = SecretBytes::new(b"text".to_vec());
    let message = key.seal(&counting(), JwePurpose::Encrypt, b"", text).expect("entropy");
    assert_eq!(key.open(JwePurpose::Encrypt, b"", &message).expect("opens").expose(), b"text");
}
