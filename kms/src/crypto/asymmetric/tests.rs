//! Known answers (RFC 7515, RFC 7516 and RFC 7520), and that what was made is read back.

use super::*;
use crate::crypto::testing::counting;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use proptest::prelude::*;

fn jwk(json: &str) -> Jwk {
    serde_json::from_str(json).expect("a JWK")
}

fn pair(json: &str) -> PrivateKey {
    match jwk(json).key().map_err(|error| error.0) {
        Ok(JwkKey::Pair(key)) => key,
        Ok(_) => panic!("no private key"),
        Err(why) => panic!("{why}"),
    }
}

/// RFC 7515, A.2.1.
const RFC7515_RSA: &str = r#"{"kty":"RSA",
"n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
"e":"AQAB",
"d":"Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ",
"p":"4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc",
"q":"uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc"}"#;

/// What is signed there: A.2.1's header and payload.
const RFC7515_A2_INPUT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const RFC7515_A2_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

/// A.3.1 and its signature.
const RFC7515_P256: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
const RFC7515_A3_INPUT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const RFC7515_A3_SIGNATURE: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

/// A.4.1 and its signature.
const RFC7515_P521: &str = r#"{"kty":"EC","crv":"P-521","x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk","y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2","d":"AY5pb7A0UFiB3RELSD64fTLOSV_jazdF7fLYyuTw8lOfRhWg6Y6rUrPAxerEzgdRhajnu0ferB0d53vM9mE15j2C"}"#;
const RFC7515_A4_INPUT: &str = "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA";
const RFC7515_A4_SIGNATURE: &str = "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn";

fn known(key: &PrivateKey, algorithm: &str, input: &str, signature: &str) {
    let algorithm = SignatureAlgorithm::of_word(algorithm).expect("an algorithm");
    let digest = algorithm.hash().digest(input.as_bytes());
    let mut signature = B64.decode(signature).expect("base64url");
    let public = key.public();
    assert!(public.verify(algorithm, &digest, &signature).expect("fits"));
    let own = key.sign(&counting(), algorithm, &digest).expect("signs");
    if matches!(algorithm, SignatureAlgorithm::Rs(_)) {
        assert_eq!(own, signature, "PKCS #1 v1.5 leaves no choice");
    }
    assert!(public.verify(algorithm, &digest, &own).expect("fits"));
    let of_message = key.sign_message(&counting(), algorithm, input.as_bytes()).expect("signs");
    assert!(public.verify(algorithm, &digest, &of_message).expect("fits"));
    if matches!(algorithm, SignatureAlgorithm::Rs(_)) {
        assert_eq!(of_message, own);
    }
    let last = signature.len() - 1;
    signature[last] ^= 1;
    assert!(!public.verify(algorithm, &digest, &signature).expect("fits"));
    assert!(!public.verify(algorithm, &digest, &signature[1..]).expect("fits"));
    assert!(matches!(public.verify(algorithm, &digest[1..], &own), Err(KeyError::DigestLength)));
}

#[test]
fn published_signatures_verify_and_own_ones_too() {
    known(&pair(RFC7515_RSA), "RS256", RFC7515_A2_INPUT, RFC7515_A2_SIGNATURE);
    known(&pair(RFC7515_P256), "ES256", RFC7515_A3_INPUT, RFC7515_A3_SIGNATURE);
    known(&pair(RFC7515_P521), "ES512", RFC7515_A4_INPUT, RFC7515_A4_SIGNATURE);
}

/// RFC 6979, A.2.5 and A.2.6: the nonce, and so the signature, follows from key and digest.
#[test]
fn ecdsa_is_deterministic_as_rfc_6979_says() {
    let cases = [
        (
            Curve::P256,
            "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721",
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
        ),
        (
            Curve::P384,
            "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5",
            "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE4699EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8",
        ),
    ];
    for (curve, d, signature) in cases {
        let number = hex::decode(d).expect("hex");
        let key = PrivateKey::from(EcPrivate::of_number(curve, &number).expect("a key"));
        let algorithm = SignatureAlgorithm::Es(curve);
        let signed = key.sign(&counting(), algorithm, &algorithm.hash().digest(b"sample")).expect("signs");
        assert_eq!(hex::encode_upper(signed), signature, "{curve:?}");
    }
}

#[test]
fn every_algorithm_of_a_key_and_no_other() {
    let env = counting();
    let keys = [pair(RFC7515_RSA), pair(RFC7515_P256), pair(RFC7515_P521)];
    let words = ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    let mut done = 0;
    for key in &keys {
        for word in words {
            let algorithm = SignatureAlgorithm::of_word(word).expect("an algorithm");
            assert_eq!(algorithm.word(), word);
            let digest = algorithm.hash().digest(b"message");
            for signed in [key.sign(&env, algorithm, &digest), key.sign_message(&env, algorithm, b"message")]
            {
                match signed {
                    Ok(signature) => {
                        done += 1;
                        assert!(key.public().verify(algorithm, &digest, &signature).expect("fits"));
                        let other = algorithm.hash().digest(b"massage");
                        assert!(!key.public().verify(algorithm, &other, &signature).expect("fits"));
                    }
                    Err(error) => {
                        assert!(matches!(error, KeyError::WrongAlgorithm), "{error}");
                        assert!(key.public().verify(algorithm, &digest, &[0; 64]).is_err());
                    }
                }
            }
        }
    }
    assert_eq!(done, 2 * 8);
}

/// Else nothing that was measured of signatures is so.
#[test]
fn messages_are_signed_by_the_faster_way_wherever_it_takes_the_key() {
    for (shape, takes) in [
        (Shape::Ec(Curve::P256), true),
        (Shape::Ec(Curve::P384), true),
        (Shape::Ec(Curve::P521), false),
        (Shape::Rsa(2048), true),
    ] {
        let key = PrivateKey::generate(&counting(), shape).expect("made");
        assert_eq!(WholeSigner::new(&key.kind).is_some(), takes, "{shape:?}");
    }
}

#[test]
fn keys_are_made_and_read_back_in_every_form() {
    let env = counting();
    let shapes = [Shape::Ec(Curve::P256), Shape::Ec(Curve::P384), Shape::Ec(Curve::P521)];
    let mut keys: Vec<PrivateKey> =
        shapes.into_iter().map(|shape| PrivateKey::generate(&env, shape).expect("made")).collect();
    keys.push(pair(RFC7515_RSA));
    for key in keys {
        let pkcs8 = key.to_pkcs8();
        let again = PrivateKey::from_pkcs8(pkcs8.expose()).expect("reads");
        assert!(again.to_pkcs8().same(&pkcs8) && again.shape() == key.shape());
        let spki = key.public().to_spki();
        assert!(PublicKey::from_spki(&spki).expect("reads") == key.public());
        let text = serde_json::to_string(&Jwk::of_private(&key)).expect("JSON");
        assert!(pair(&text).to_pkcs8().same(&pkcs8));
        let text = serde_json::to_string(&Jwk::of_public(&key.public())).expect("JSON");
        assert!(matches!(jwk(&text).key(), Ok(JwkKey::Public(public)) if public == key.public()));
        match key.to_pkcs1() {
            Some(pkcs1) => {
                assert!(PrivateKey::from_pkcs1(pkcs1.expose()).expect("reads").to_pkcs8().same(&pkcs8));
            }
            None => assert!(matches!(key.shape(), Shape::Ec(_))),
        }
    }
}

#[test]
fn rsa_keys_are_made() {
    let key = PrivateKey::generate(&counting(), Shape::Rsa(2048)).expect("made");
    assert_eq!(key.shape(), Shape::Rsa(2048));
    let again = PrivateKey::from_pkcs8(key.to_pkcs8().expose()).expect("reads");
    assert!(again.public() == key.public());
}

#[test]
fn an_rsa_key_carries_another_key() {
    let (env, key) = (counting(), pair(RFC7515_RSA));
    let secret = SecretBytes::new(vec![7; 32]);
    for hash in [OaepHash::Sha1, OaepHash::Sha256] {
        let mut wrapped = key.public().wrap(&env, hash, &secret).expect("wraps");
        assert!(key.unwrap(&env, hash, &wrapped).expect("opens").same(&secret));
        wrapped[9] ^= 1;
        assert!(matches!(key.unwrap(&env, hash, &wrapped), Err(KeyError::DoesNotOpen)));
        assert!(matches!(key.unwrap(&env, hash, &[]), Err(KeyError::DoesNotOpen)));
    }
}

#[test]
fn zeros_in_front_that_a_client_has_dropped_are_put_back() {
    let short = jwk(r#"{"kty":"oct","k":"AQIDBAUGBwgJCgsMDQ4P"}"#);
    let Ok(JwkKey::Oct(key)) = short.key() else { panic!("taken") };
    assert_eq!(key.expose(), (0..16).collect::<Vec<u8>>());
    // A private number of P-256 that begins with a zero, without it.
    let mut number = vec![0; 32];
    number[1] = 5;
    let key = PrivateKey::from(EcPrivate::of_number(Curve::P256, &number).expect("a key"));
    let mut jwk = Jwk::of_private(&key);
    jwk.d = Some(B64.encode(&number[1..]));
    assert!(matches!(jwk.key(), Ok(JwkKey::Pair(read)) if read.to_pkcs8().same(&key.to_pkcs8())));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let why = |json: &str| jwk(json).key().err().map(|error| error.0);
    assert_eq!(why(r#"{"kty":"oct"}"#), Some("an oct key needs k"));
    assert_eq!(
        why(&format!(r#"{{"kty":"oct","k":"{}"}}"#, B64.encode([1; 33]))),
        Some("an oct key has 16, 24 or 32 bytes")
    );
    let swapped = RFC7515_P256.replace("\"x\":\"f83", "\"x\":\"g83");
    assert_eq!(why(&swapped), Some("x and y are no point of the curve"));
    let mut other = jwk(RFC7515_P256);
    other.d = Some(B64.encode([5; 32]));
    assert_eq!(other.key().err().map(|error| error.0), Some("x and y are not the public half of d"));
    assert_eq!(
        why(&RFC7515_RSA.replace("\"e\":\"AQAB\"", "\"e\":\"AQAD\"")),
        Some("the numbers of the RSA key do not belong together")
    );
    let small = r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#;
    assert!(why(small).is_some());
    // Without the primes they are found.
    let mut bare = jwk(RFC7515_RSA);
    (bare.p, bare.q) = (None, None);
    assert!(matches!(bare.key(), Ok(JwkKey::Pair(_))));
    bare.p = jwk(RFC7515_RSA).p.clone();
    assert_eq!(bare.key().err().map(|error| error.0), Some("p and q of an RSA key come together"));
}

proptest! {
    #[test]
    fn noise_is_no_key(noise in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        prop_assert!(PrivateKey::from_pkcs8(&noise).is_err());
        prop_assert!(PrivateKey::from_pkcs1(&noise).is_err());
        prop_assert!(PublicKey::from_spki(&noise).is_err());
    }

    #[test]
    fn altered_pkcs8_never_panics(at in 0usize.., bit in 0u8..8) {
        let mut der = pair(RFC7515_P256).to_pkcs8().expose().to_vec();
        let at = at % der.len();
        der[at] ^= 1 << bit;
        let _ = PrivateKey::from_pkcs8(&der);
        let _ = PrivateKey::from_pkcs8(&der[..at]);
    }
}
