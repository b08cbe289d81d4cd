//! Published keys, signatures and tokens through the service itself: what others have signed verifies, what has one right answer is
//! answered so, in whatever form the key came. `tests/vectors/README.md` says where they come from.

use crate::{client::Client, region::Region, vectors};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as URL},
};
use kms::crypto::{
    SecretBytes,
    asymmetric::{Jwk, JwkKey, OaepHash, PrivateKey, PublicKey, SignatureAlgorithm},
    carried,
};
use serde_json::{Value, json};
use uuid::Uuid;

fn jose(part: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../vectors/jose.json")).expect("JSON");
    let cases = file[part].as_array().expect("cases").clone();
    assert!(!cases.is_empty(), "{part}");
    cases
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}"))
}

async fn taken(client: &mut Client, body: Value) -> Value {
    let answer = client.post("/servicekey?format=jwk", body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body
}

/// What a key says of a signature.
async fn verified(client: &mut Client, key: &Value, asked: Value) -> Value {
    let answer = client.post(&format!("/servicekey/{}/verify", text(key, "id")), asked).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["result"].clone()
}

async fn signed(client: &mut Client, key: &Value, message: &[u8], algorithm: &str) -> Vec<u8> {
    asked_to_sign(client, key, json!({"message": STANDARD.encode(message), "alg": algorithm})).await
}

async fn signed_digest(client: &mut Client, key: &Value, digest: &[u8], algorithm: &str) -> Vec<u8> {
    let body = json!({"message": STANDARD.encode(digest), "alg": algorithm, "isdigest": true});
    asked_to_sign(client, key, body).await
}

async fn asked_to_sign(client: &mut Client, key: &Value, body: Value) -> Vec<u8> {
    let answer = client.post(&format!("/servicekey/{}/sign", text(key, "id")), body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    STANDARD.decode(answer.text("signature")).expect("base64")
}

#[tokio::test]
async fn signed_tokens_of_the_rfcs_verify() {
    let region = Region::new().await;
    let mut client = region.client().await;
    for case in jose("signatures") {
        let (source, algorithm, token) = (text(&case, "source"), text(&case, "alg"), text(&case, "token"));
        let pair = taken(&mut client, json!({"name": "pair", "keys": [case["private"]]})).await;
        let mut public = case.get("public").unwrap_or(&pair["keys"][0]).clone();
        public["key_ops"] = json!([]);
        let public = taken(&mut client, json!({"name": "public", "keys": [public]})).await;
        assert_eq!(public["class"], "PUBLIC_KEY", "{source}");
        let (input, signature) = token.rsplit_once('.').expect("three parts");
        let (header, payload) = input.split_once('.').expect("three parts");
        let signature = URL.decode(signature).expect("base64url");
        let raw = json!({"signature": STANDARD.encode(&signature), "alg": algorithm, "message": STANDARD.encode(input)});
        let mut payload = URL.decode(payload).expect("base64url");
        payload[0] ^= 1;
        let altered = format!("{header}.{}.{}", URL.encode(payload), URL.encode(&signature));
        for key in [&pair, &public] {
            assert_eq!(verified(&mut client, key, json!({"signature": token})).await, true, "{source}");
            assert_eq!(verified(&mut client, key, raw.clone()).await, true, "{source}");
            assert_eq!(verified(&mut client, key, json!({"signature": altered})).await, false, "{source}");
        }
        let own = signed(&mut client, &pair, input.as_bytes(), algorithm).await;
        if case["exact"] == true {
            assert_eq!(own, signature, "{source}: PKCS #1 v1.5 leaves no choice");
        }
        let mut asked = raw.clone();
        asked["signature"] = json!(STANDARD.encode(own));
        assert_eq!(verified(&mut client, &public, asked).await, true, "{source}");
        // Signed by no key of this kind, by nobody, or over something else than what it shows.
        for other in jose("others") {
            let asked = json!({"signature": text(&other, "token")});
            assert_eq!(verified(&mut client, &public, asked).await, false, "{}", other["source"]);
        }
    }
}

#[tokio::test]
async fn keys_of_the_rfcs_are_taken() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let expected = [
        ("EC", "PUBLIC_KEY"),
        ("RSA", "PUBLIC_KEY"),
        ("EC", "KEY_PAIR"),
        ("RSA", "KEY_PAIR"),
        ("oct", "SECRET_KEY"),
        ("oct", "SECRET_KEY"),
    ];
    let cases = jose("keys");
    assert_eq!(cases.len(), expected.len());
    for (case, (kind, class)) in cases.iter().zip(expected) {
        let key = taken(&mut client, json!({"name": "k", "keys": [case["key"]]})).await;
        assert_eq!((text(&key, "type"), text(&key, "class")), (kind, class), "{}", case["source"]);
        for member in ["n", "e", "crv", "x", "y"] {
            assert_eq!(key["keys"][0][member], case["key"][member], "{}: {member}", case["source"]);
        }
    }
}

/// A key that the test has both halves of, as the transport key of the service.
async fn transport(client: &mut Client, jwk: &Value) -> (Uuid, PrivateKey) {
    let body = json!({"name": "t", "operations": ["wrapKey", "unwrapKey"], "keys": [jwk]});
    let id = text(&taken(client, body).await, "id").parse().expect("a UUID");
    let jwk: Jwk = serde_json::from_value(jwk.clone()).expect("a JWK");
    let Ok(JwkKey::Pair(key)) = jwk.key() else { panic!("a private key") };
    (id, key)
}

#[tokio::test]
async fn encrypted_tokens_of_the_rfcs_are_opened() {
    let region = Region::new().await;
    let mut client = region.client().await;
    for case in jose("carried") {
        let (id, _) = transport(&mut client, &case["key"]).await;
        let mut token = text(&case, "token").to_owned();
        let mut import = async |token: &str| {
            let wrapped = json!([{"keyFormatType": "RAW", "wrappingKeyId": id, "ciphertext": token}]);
            let answer = client.post("/servicekey", json!({"name": "k", "wrappedKeys": wrapped})).await;
            (answer.status, answer.text("error_id").to_owned())
        };
        // What is inside is a sentence and no key, and that is what the service says of it; altered it says less.
        assert_eq!(import(&token).await, (400, "bad_argument".to_owned()), "{}", case["source"]);
        let last = token.len() - 2;
        let other = if token.as_bytes()[last] == b'A' { "B" } else { "A" };
        token.replace_range(last..=last, other);
        assert_eq!(import(&token).await, (400, "decrypt_failed".to_owned()), "{}", case["source"]);
    }
}

#[tokio::test]
async fn carried_keys_sign_as_published() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let (id, key) = transport(&mut client, &jose("carried")[1]["key"]).await;
    let import = |format: &str, bytes: Vec<u8>| {
        let to = (id, &key.public());
        let token = carried::seal(&region.env, to, OaepHash::Sha1, SecretBytes::new(bytes)).expect("wraps");
        json!([{"keyFormatType": format, "wrappingKeyId": id, "ciphertext": token}])
    };
    for case in vectors::read(include_str!("../vectors/rsa-siggen15.rsp")) {
        let (algorithm, _) = case.set.split_once(' ').expect("algorithm and size");
        let member = |name| URL.encode(case.bytes(name));
        let jwk = json!({"kty": "RSA", "e": "AQAB", "n": member("n"), "d": member("d"), "p": member("p"), "q": member("q")});
        let mut bodies = vec![json!({"name": "k", "keys": [jwk]})];
        for (format, bytes) in [
            ("JWK", serde_json::to_vec(&jwk).expect("JSON")),
            ("PKCS1", case.bytes("PKCS1")),
            ("PKCS8", case.bytes("PKCS8")),
        ] {
            bodies.push(json!({"name": "k", "wrappedKeys": import(format, bytes)}));
        }
        for body in bodies {
            let key = taken(&mut client, body).await;
            assert_eq!(key["keys"][0]["n"], member("n"), "{}", case.set);
            let signature = signed(&mut client, &key, &case.bytes("Msg"), algorithm).await;
            assert_eq!(signature, case.bytes("S"), "{}", case.set);
        }
    }
    for case in vectors::read(include_str!("../vectors/rfc6979.rsp")) {
        let key =
            taken(&mut client, json!({"name": "k", "wrappedKeys": import("PKCS8", case.bytes("PKCS8"))}))
                .await;
        let algorithm = SignatureAlgorithm::of_word(&case.set).expect("an algorithm");
        let digest = algorithm.hash().digest(case.text("Msg").as_bytes());
        let signature = signed_digest(&mut client, &key, &digest, &case.set).await;
        assert_eq!(signature, case.bytes("S"), "{}, line {}", case.set, case.line);
        // Of a message the nonce is random; it fits all the same.
        let of_message = signed(&mut client, &key, case.text("Msg").as_bytes(), &case.set).await;
        let public = PublicKey::from_spki(&case.bytes("SPKI")).expect("a key");
        assert!(public.verify(algorithm, &digest, &of_message).expect("fits"), "{}", case.set);
    }
}

#[tokio::test]
async fn a_published_symmetric_key_comes_back_as_it_was() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let (id, key) = transport(&mut client, &jose("carried")[1]["key"]).await;
    let jwk = jose("keys")[5]["key"].clone();
    let bytes = URL.decode(text(&jwk, "k")).expect("base64url");
    let sealed = |text: Vec<u8>| {
        carried::seal(&region.env, (id, &key.public()), OaepHash::Sha256, SecretBytes::new(text))
            .expect("wraps")
    };
    let carried = |format: &str, token: String| {
        json!({"name": "k", "extractable": true,
            "wrappedKeys": [{"keyFormatType": format, "wrappingKeyId": id, "ciphertext": token}]})
    };
    let bodies = [
        json!({"name": "k", "extractable": true, "keys": [jwk]}),
        carried("RAW", sealed(bytes.clone())),
        carried("JWK", sealed(serde_json::to_vec(&jwk).expect("JSON"))),
    ];
    for body in bodies {
        let taken = taken(&mut client, body).await;
        assert_eq!(taken["size"], 256);
        for format in ["RAW", "JWK"] {
            let query = format!("?wrappingKeyId={id}&wrappedKeyFormat={format}&wrappingAlgorithm=RSA-OAEP");
            let left = client.get(&format!("/servicekey/{}{query}", text(&taken, "id"))).await;
            assert_eq!(left.status, 200, "{}", left.body);
            let token = text(&left.body["wrappedKeys"][0], "ciphertext").to_owned();
            let opened = carried::open(&region.env, &key, &token).expect("opens");
            if format == "RAW" {
                assert_eq!(opened.expose(), bytes);
            } else {
                let read: Value = serde_json::from_slice(opened.expose()).expect("JSON");
                assert_eq!((&read["kty"], &read["k"]), (&json!("oct"), &jwk["k"]));
            }
        }
    }
}
