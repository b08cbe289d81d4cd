//! Published answers for every primitive of the service and every form that keys are read in. `tests/vectors/README.md` says where they come
//! from, and what is not among them. What the service as a whole makes of them is in `rest/known_answers.rs`.

#[path = "vectors/reader.rs"]
mod vectors;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
use kms::crypto::{
    SealingKey, Secret,
    asymmetric::{Curve, Hash, Jwk, JwkKey, OaepHash, PrivateKey, PublicKey, SignatureAlgorithm},
    carried, hkdf, hkdf_expand, keyed_hash, sha256,
};
use serde_json::{Value, json};
use vectors::{Case, read};

fn secret(bytes: &[u8]) -> Secret<32> {
    Secret::copy_from(bytes).expect("32 bytes")
}

fn key(jwk: Value) -> Result<JwkKey, &'static str> {
    let jwk: Jwk = serde_json::from_value(jwk).expect("a JWK");
    jwk.key().map_err(|error| error.0)
}

fn private(jwk: Value) -> PrivateKey {
    match key(jwk) {
        Ok(JwkKey::Pair(key)) => key,
        Ok(_) => panic!("no private key"),
        Err(why) => panic!("{why}"),
    }
}

fn algorithm(word: &str) -> SignatureAlgorithm {
    SignatureAlgorithm::of_word(word).unwrap_or_else(|| panic!("no algorithm {word}"))
}

/// Whether a signature of a message is right.
fn verifies(key: &PublicKey, algorithm: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> bool {
    let digest = algorithm.hash().digest(message);
    key.verify(algorithm, &digest, signature).expect("an algorithm of the key's")
}

#[test]
fn hashes() {
    let files = [
        (include_str!("vectors/sha256.rsp"), Hash::Sha256),
        (include_str!("vectors/sha384.rsp"), Hash::Sha384),
        (include_str!("vectors/sha512.rsp"), Hash::Sha512),
    ];
    for (file, hash) in files {
        for case in read(file) {
            let mut message = case.bytes("Msg");
            let bits: usize = case.text("Len").parse().expect("a number");
            message.truncate(bits / 8);
            let digest = hash.digest(&message);
            assert_eq!(digest, case.bytes("MD"), "{}, line {}", case.set, case.line);
            assert_eq!(digest.len(), hash.bytes());
            assert!(hash != Hash::Sha256 || sha256(&message) == *digest);
        }
    }
}

#[test]
fn keyed_hashes() {
    let mut done = 0;
    for case in read(include_str!("vectors/rfc4231.rsp")) {
        let mut key = case.bytes("Key");
        // Keys here have 32 bytes: shorter ones are those with zeros behind them (RFC 2104, 2), longer ones cannot be given.
        if key.len() > 32 {
            continue;
        }
        key.resize(32, 0);
        assert_eq!(keyed_hash(&secret(&key), &case.bytes("Msg")), *case.bytes("MD"), "line {}", case.line);
        done += 1;
    }
    assert_eq!(done, 4);
}

#[test]
fn derived_keys() {
    for case in read(include_str!("vectors/rfc5869.rsp")) {
        let (salt, info) = (case.bytes("salt"), case.bytes("info"));
        let expected = &case.bytes("OKM")[..32];
        let (one, two) = info.split_at(info.len() / 2);
        assert_eq!(hkdf(&case.bytes("IKM"), &salt, &[one, two]).expose(), expected, "line {}", case.line);
        assert_eq!(hkdf_expand(&secret(&case.bytes("PRK")), &[&info]).expose(), expected);
    }
}

#[test]
fn aes_256_gcm() {
    let nonce = |case: &Case| case.bytes("IV").try_into().expect("96 bits");
    for case in read(include_str!("vectors/gcm256-encrypt.rsp")) {
        let key = SealingKey::new(&secret(&case.bytes("Key")));
        let mut text = case.bytes("PT");
        key.seal(nonce(&case), &case.bytes("AAD"), &mut text);
        assert_eq!(text, [case.bytes("CT"), case.bytes("Tag")].concat(), "{}, line {}", case.set, case.line);
    }
    let (mut opened, mut refused) = (0, 0);
    for case in read(include_str!("vectors/gcm256-decrypt.rsp")) {
        let key = SealingKey::new(&secret(&case.bytes("Key")));
        let mut sealed = [case.bytes("CT"), case.bytes("Tag")].concat();
        let text = key.open(nonce(&case), &case.bytes("AAD"), &mut sealed);
        if case.has("FAIL") {
            assert!(text.is_err(), "{}, line {}", case.set, case.line);
            refused += 1;
        } else {
            assert_eq!(text.expect("opens"), case.bytes("PT"), "{}, line {}", case.set, case.line);
            opened += 1;
        }
    }
    assert!(opened > 50 && refused > 25, "{opened} and {refused}");
}

/// The public key of a case on a curve, and its signature as `r` and `s` side by side.
fn ec_case(case: &Case) -> (SignatureAlgorithm, Result<JwkKey, &'static str>, Vec<u8>) {
    let algorithm = algorithm(&case.set);
    let SignatureAlgorithm::Es(curve) = algorithm else { panic!("{} is of no curve", case.set) };
    let number = |name| case.number(name, curve.bytes());
    let jwk = json!({"kty": "EC", "crv": curve.word(), "x": URL.encode(number("Qx")), "y": URL.encode(number("Qy"))});
    (algorithm, key(jwk), [number("R"), number("S")].concat())
}

#[test]
fn ecdsa_signatures_of_nist() {
    let (mut right, mut wrong) = (0, 0);
    for case in read(include_str!("vectors/ecdsa-sigver.rsp")) {
        let (algorithm, key, signature) = ec_case(&case);
        let taken = match key {
            Ok(JwkKey::Public(key)) => verifies(&key, algorithm, &case.bytes("Msg"), &signature),
            Ok(_) => panic!("no public key"),
            // "Q changed": it need be no point of the curve any more.
            Err(_) => false,
        };
        let expected = case.text("Result").starts_with('P');
        assert_eq!(taken, expected, "{}, line {}: {}", case.set, case.line, case.text("Result"));
        *if expected { &mut right } else { &mut wrong } += 1;
    }
    assert!(right >= 9 && wrong > 30, "{right} and {wrong}");
    for case in read(include_str!("vectors/ecdsa-siggen.rsp")) {
        let (algorithm, key, signature) = ec_case(&case);
        let Ok(JwkKey::Public(key)) = key else { panic!("line {}: no public key", case.line) };
        assert!(
            verifies(&key, algorithm, &case.bytes("Msg"), &signature),
            "{}, line {}",
            case.set,
            case.line
        );
    }
}

/// The nonce, and so the signature, follows from key and digest.
#[tokio::test]
async fn ecdsa_is_deterministic_as_rfc_6979_says() {
    let env = kms::os::env();
    for case in read(include_str!("vectors/rfc6979.rsp")) {
        let algorithm = algorithm(&case.set);
        let key = PrivateKey::from_pkcs8(&case.bytes("PKCS8")).expect("a key");
        let digest = algorithm.hash().digest(case.text("Msg").as_bytes());
        let signature = key.sign(&env, algorithm, &digest).expect("signs");
        assert_eq!(signature, case.bytes("S"), "{}, line {}", case.set, case.line);
        let public = PublicKey::from_spki(&case.bytes("SPKI")).expect("a key");
        assert!(public == key.public() && public.to_spki() == case.bytes("SPKI"));
        assert!(public.verify(algorithm, &digest, &signature).expect("fits"));
    }
}

#[test]
fn rsa_signatures_of_nist() {
    let (mut right, mut wrong, mut weak) = (0, 0, 0);
    for case in read(include_str!("vectors/rsa-sigver15.rsp")) {
        let (word, bits) = case.set.split_once(' ').expect("algorithm and size");
        let (n, e) = (URL.encode(case.bytes("n")), URL.encode(case.bytes("e")));
        let key = key(json!({"kty": "RSA", "n": n, "e": e}));
        if case.text("e") != "010001" {
            assert_eq!(key.err(), Some("the public exponent must be odd, and 65537 or greater"));
            weak += 1;
            continue;
        }
        let Ok(JwkKey::Public(key)) = key else { panic!("line {}: no public key", case.line) };
        assert_eq!(format!("{:?}", key.shape()), format!("Rsa({bits})"));
        let taken = verifies(&key, algorithm(word), &case.bytes("Msg"), &case.bytes("S"));
        let expected = case.text("Result").starts_with('P');
        assert_eq!(taken, expected, "{}, line {}: {}", case.set, case.line, case.text("Result"));
        *if expected { &mut right } else { &mut wrong } += 1;
    }
    assert!(right >= 9 && wrong > 30 && weak == 6, "{right}, {wrong} and {weak}");
}

#[tokio::test]
async fn rsa_keys_sign_as_published_in_whatever_form_they_come() {
    let env = kms::os::env();
    for case in read(include_str!("vectors/rsa-siggen15.rsp")) {
        let (word, _) = case.set.split_once(' ').expect("algorithm and size");
        let algorithm = algorithm(word);
        let member = |name| URL.encode(case.bytes(name));
        let jwk = json!({"kty": "RSA", "e": "AQAB", "n": member("n"), "d": member("d"), "p": member("p"), "q": member("q")});
        let keys = [
            private(jwk),
            PrivateKey::from_pkcs1(&case.bytes("PKCS1")).expect("a key"),
            PrivateKey::from_pkcs8(&case.bytes("PKCS8")).expect("a key"),
        ];
        for key in keys {
            let signature =
                key.sign(&env, algorithm, &algorithm.hash().digest(&case.bytes("Msg"))).expect("signs");
            assert_eq!(signature, case.bytes("S"), "{}, line {}", case.set, case.line);
            let of_message = key.sign_message(&env, algorithm, &case.bytes("Msg")).expect("signs");
            assert_eq!(of_message, signature, "{}, line {}", case.set, case.line);
            assert_eq!(key.to_pkcs8().expose(), case.bytes("PKCS8"));
            assert_eq!(key.to_pkcs1().expect("an RSA key").expose(), case.bytes("PKCS1"));
        }
    }
}

#[tokio::test]
async fn rsa_oaep() {
    let env = kms::os::env();
    for case in read(include_str!("vectors/oaep.rsp")) {
        let hash = OaepHash::of_word(&case.set).expect("a hash");
        let key = PrivateKey::from_pkcs8(&case.bytes("PKCS8")).expect("a key");
        let mut wrapped = case.bytes("C");
        let opened = key.unwrap(&env, hash, &wrapped).expect("opens");
        assert_eq!(opened.expose(), case.bytes("Msg"), "{}, line {}", case.set, case.line);
        let other = if hash == OaepHash::Sha1 { OaepHash::Sha256 } else { OaepHash::Sha1 };
        assert!(key.unwrap(&env, other, &wrapped).is_err());
        wrapped[100] ^= 1;
        assert!(key.unwrap(&env, hash, &wrapped).is_err());
    }
}

#[tokio::test]
async fn tokens_that_carry_a_text() {
    let env = kms::os::env();
    let file: Value = serde_json::from_str(include_str!("vectors/jose.json")).expect("JSON");
    let cases = file["carried"].as_array().expect("cases");
    assert_eq!(cases.len(), 2);
    for case in cases {
        let (source, token) = (&case["source"], case["token"].as_str().expect("a token"));
        let key = private(case["key"].clone());
        let opened = carried::open(&env, &key, token).expect("opens");
        assert_eq!(hex::encode(opened.expose()), case["plaintext"].as_str().expect("a text"), "{source}");
        // Any part of it altered, and it does not open.
        for part in 0..5 {
            let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
            let at = parts[part].len() / 2;
            let other = if parts[part].as_bytes()[at] == b'A' { "B" } else { "A" };
            parts[part].replace_range(at..=at, other);
            assert!(carried::open(&env, &key, &parts.join(".")).is_err(), "{source}, part {part}");
        }
    }
}

/// P-521 alone has fields that are no whole number of bytes.
#[test]
fn lengths_of_curves() {
    assert_eq!([Curve::P256, Curve::P384, Curve::P521].map(Curve::bytes), [32, 48, 66]);
}
