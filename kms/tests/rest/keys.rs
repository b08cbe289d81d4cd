//! Keys of every type as a client walks them: made, imported, signed with, carried in and out. Signatures are verified by another library than
//! the one that makes them, where that has the algorithm.

use crate::{client::Client, region::Region};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as URL},
};
use ring::{digest, signature};
use serde_json::{Value, json};

const MESSAGE: &[u8] = b"what is signed";

async fn made(client: &mut Client, body: Value) -> Value {
    let answer = client.post("/servicekey?format=jwk", body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body
}

fn id(key: &Value) -> &str {
    key["id"].as_str().expect("an id")
}

fn member(key: &Value, name: &str) -> Vec<u8> {
    URL.decode(key["keys"][0][name].as_str().expect("a member")).expect("base64url")
}

/// With the public half that the service shows.
fn verifies(key: &Value, algorithm: &str, message: &[u8], signed: &[u8]) -> bool {
    if key["type"] == "EC" {
        let point = [vec![4], member(key, "x"), member(key, "y")].concat();
        let with: &dyn signature::VerificationAlgorithm = match algorithm {
            "ES256" => &signature::ECDSA_P256_SHA256_FIXED,
            "ES384" => &signature::ECDSA_P384_SHA384_FIXED,
            other => panic!("{other}"),
        };
        return signature::UnparsedPublicKey::new(with, point).verify(message, signed).is_ok();
    }
    let with = match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        other => panic!("{other}"),
    };
    let (n, e) = (member(key, "n"), member(key, "e"));
    signature::RsaPublicKeyComponents { n, e }.verify(with, message, signed).is_ok()
}

fn hash(algorithm: &str) -> &'static digest::Algorithm {
    match &algorithm[2..] {
        "256" => &digest::SHA256,
        "384" => &digest::SHA384,
        _ => &digest::SHA512,
    }
}

/// Signs a message and its digest, and asks the service and another library.
async fn signs(client: &mut Client, key: &Value, algorithm: &str, elsewhere: bool) {
    let path = format!("/servicekey/{}", id(key));
    let whole = json!({"message": STANDARD.encode(MESSAGE), "alg": algorithm});
    let digest = digest::digest(hash(algorithm), MESSAGE);
    let hashed = json!({"message": STANDARD.encode(digest), "alg": algorithm, "isdigest": true});
    for body in [whole.clone(), hashed] {
        let answer = client.post(&format!("{path}/sign"), body.clone()).await;
        assert_eq!(answer.status, 200, "{algorithm}: {}", answer.body);
        let signed = STANDARD.decode(answer.text("signature")).expect("base64");
        assert!(!elsewhere || verifies(key, algorithm, MESSAGE, &signed), "{algorithm}");
        for (changed, right) in
            [(body, true), (whole.clone(), true), (json!({"message": "AAAA", "alg": algorithm}), false)]
        {
            let mut asked = changed;
            asked["signature"] = json!(answer.text("signature"));
            let verified = client.post(&format!("{path}/verify"), asked).await;
            assert_eq!((verified.status, &verified.body["result"]), (200, &json!(right)), "{algorithm}");
        }
    }
    let token = client.post(&format!("{path}/sign?format=jws"), whole).await;
    let token = token.text("signature").to_owned();
    let (input, signed) = token.rsplit_once('.').expect("three parts");
    let signed = URL.decode(signed).expect("base64url");
    assert!(!elsewhere || verifies(key, algorithm, input.as_bytes(), &signed), "{algorithm}");
    let verified = client.post(&format!("{path}/verify"), json!({"signature": token})).await;
    assert_eq!(verified.body["result"], true, "{algorithm}");
}

#[tokio::test]
async fn elliptic_curve_keys_sign() {
    let region = Region::new().await;
    let mut client = region.client().await;
    for (curve, algorithm) in [("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512")] {
        let key = made(&mut client, json!({"name": "k", "type": "EC", "curve": curve})).await;
        assert_eq!(
            (&key["curve"], &key["class"], &key["size"]),
            (&json!(curve), &json!("KEY_PAIR"), &Value::Null)
        );
        assert_eq!(key["operations"], json!(["sign", "verify"]));
        assert_eq!(key["keys"][0]["d"], Value::Null, "nothing of the private half");
        signs(&mut client, &key, algorithm, curve != "P-521").await;
        let path = format!("/servicekey/{}", id(&key));
        let other = client.post(&format!("{path}/sign"), json!({"message": "AAAA", "alg": "RS256"})).await;
        assert_eq!((other.status, other.text("error_id")), (400, "bad_argument"));
        let use_ = client.post(&format!("{path}/encrypt"), json!({"plaintext": "AAAA"})).await;
        assert_eq!((use_.status, use_.text("error_id")), (400, "operation_not_permitted_by_key"));
        // Deactivated it verifies, and does not sign.
        client.post(&format!("{path}/deactivate"), json!({"reason": "superseded"})).await;
        let body = json!({"message": "AAAA", "alg": algorithm});
        assert_eq!(client.post(&format!("{path}/sign"), body).await.status, 409);
        let verified = client
            .post(
                &format!("{path}/verify"),
                json!({"message": "AAAA", "alg": algorithm, "signature": "AAAA"}),
            )
            .await;
        assert_eq!((verified.status, &verified.body["result"]), (200, &json!(false)));
        assert_eq!(client.call("DELETE", &path, None).await.status, 204);
        let gone = client.get(&format!("{path}?format=jwk")).await;
        assert_eq!(
            (&gone.body["attributes"]["state"], &gone.body["keys"]),
            (&json!("destroyed"), &Value::Null)
        );
    }
}

#[tokio::test]
async fn rsa_keys_sign_and_are_not_shown() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let key = made(&mut client, json!({"name": "k", "type": "RSA", "operations": ["verify", "sign"]})).await;
    assert_eq!((&key["size"], &key["type"]), (&json!(2048), &json!("RSA")));
    for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        signs(&mut client, &key, algorithm, true).await;
    }
    let path = format!("/servicekey/{}", id(&key));
    let plain = client.get(&path).await.body;
    assert_eq!(plain["keys"], Value::Null, "only when it is asked for");
    let shown = client.get(&format!("{path}?format=jwk")).await.body;
    assert_eq!(shown["keys"], key["keys"]);
    let jwt = json!({"message": STANDARD.encode(br#"{"sub":"me"}"#), "alg": "RS256"});
    let token = client.post(&format!("{path}/sign?format=jwt"), jwt).await;
    let header = token.text("signature").split('.').next().expect("a header").to_owned();
    let header: Value = serde_json::from_slice(&URL.decode(header).expect("base64url")).expect("JSON");
    assert_eq!(header, json!({"alg": "RS256", "typ": "JWT", "kid": id(&key)}));
    let claims = json!({"message": "AAAA", "alg": "RS256"});
    assert_eq!(client.post(&format!("{path}/sign?format=jwt"), claims).await.status, 400);
    let short = json!({"message": "AAAA", "alg": "RS256", "isdigest": true});
    assert_eq!(client.post(&format!("{path}/sign"), short).await.status, 400);
}

/// Keys are kept ready for use, and what the database says of them is not.
#[tokio::test]
async fn every_signature_asks_a_database() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let key = made(&mut client, json!({"name": "k", "type": "EC"})).await;
    let path = format!("/servicekey/{}", id(&key));
    let body = json!({"message": "AAAA", "alg": "ES256"});
    let reads = || region.store.lock().reads;
    for _ in 0..3 {
        let before = reads();
        let signed = client.post(&format!("{path}/sign"), body.clone()).await;
        assert_eq!((signed.status, reads() - before), (200, 1));
        let mut asked = body.clone();
        asked["signature"] = json!(signed.text("signature"));
        let verified = client.post(&format!("{path}/verify"), asked).await;
        assert_eq!((&verified.body["result"], reads() - before), (&json!(true), 2));
    }
    // By another host, as far as this one can tell: the record is gone.
    let records = std::mem::take(&mut region.store.lock().records);
    assert_eq!(client.post(&format!("{path}/sign"), body.clone()).await.status, 404);
    // With no database there is no signature.
    region.store.lock().records = records;
    (region.store.lock().near_down, region.store.lock().far_down) = (true, true);
    assert_eq!(client.post(&format!("{path}/sign"), body.clone()).await.status, 503);
    (region.store.lock().near_down, region.store.lock().far_down) = (false, false);
    assert_eq!(client.post(&format!("{path}/sign"), body).await.status, 200);
}

#[tokio::test]
async fn a_symmetric_key_that_lost_its_zeros_is_the_same_key() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let jwk = |k: &str| json!({"context": "i", "name": "i", "keys": [{"k": k, "key_ops": [], "kid": "i", "kty": "oct"}]});
    let short = made(&mut client, jwk("AQIDBAUGBwgJCgsMDQ4P")).await;
    assert_eq!((&short["size"], &short["type"]), (&json!(128), &json!("oct")));
    assert_eq!(short["attributes"]["always_sensitive"], false);
    assert_eq!(short["attributes"]["never_extractable"], false);
    assert_eq!(short["keys"], Value::Null, "nothing of it is shown");
    let path = format!("/servicekey/{}", id(&short));
    let sealed = client.post(&format!("{path}/encrypt"), json!({"plaintext": "aGVsbG8="})).await;
    assert_eq!(sealed.status, 200);
    let long = json!({"name": "i", "type": "RSA", "keys": [{"kty": "oct", "k": "AAAA"}]});
    assert_eq!(client.post("/servicekey", long).await.status, 400, "type and kty differ");
}

#[tokio::test]
async fn a_public_half_verifies_what_its_pair_signed() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let pair = made(&mut client, json!({"name": "k", "type": "EC"})).await;
    let mut half = pair["keys"][0].clone();
    half["key_ops"] = json!([]);
    let public = made(&mut client, json!({"name": "p", "keys": [half]})).await;
    assert_eq!((&public["class"], &public["operations"]), (&json!("PUBLIC_KEY"), &json!(["verify"])));
    assert_eq!(public["attributes"]["extractable"], true);
    let body = json!({"message": "AAAA", "alg": "ES256"});
    let signed = client.post(&format!("/servicekey/{}/sign", id(&pair)), body.clone()).await;
    let mut asked = body.clone();
    asked["signature"] = json!(signed.text("signature"));
    let verified = client.post(&format!("/servicekey/{}/verify", id(&public)), asked).await;
    assert_eq!(verified.body["result"], true);
    let refused = client.post(&format!("/servicekey/{}/sign", id(&public)), body).await;
    assert_eq!((refused.status, refused.text("error_id")), (400, "operation_not_permitted_by_key"));
    let path = format!("/servicekey/{}", id(&public));
    let fixed = client.call("PATCH", &path, Some(json!({"extractable": false}))).await;
    assert_eq!(fixed.status, 400);
}

#[tokio::test]
async fn a_key_leaves_under_a_transport_key_and_comes_back() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let transport =
        made(&mut client, json!({"name": "t", "type": "RSA", "operations": ["wrapKey", "unwrapKey"]})).await;
    let transport = id(&transport).to_owned();
    let kinds = [
        (json!({"name": "k", "type": "oct", "size": 192, "extractable": true}), ["RAW", "JWK"].as_slice()),
        (json!({"name": "k", "type": "EC", "curve": "P-384", "extractable": true}), &["JWK", "PKCS8"]),
        (json!({"name": "k", "type": "RSA", "extractable": true}), &["JWK", "PKCS8", "PKCS1"]),
    ];
    for (body, formats) in kinds {
        let key = made(&mut client, body).await;
        assert_eq!(key["attributes"]["extractable"], true);
        assert_eq!(key["attributes"]["never_extractable"], false);
        let path = format!("/servicekey/{}", id(&key));
        for format in ["RAW", "JWK", "PKCS1", "PKCS8"] {
            for algorithm in ["RSA-OAEP", "RSA-OAEP-256"] {
                let query = format!(
                    "?wrappingKeyId={transport}&wrappedKeyFormat={format}&wrappingAlgorithm={algorithm}"
                );
                let left = client.get(&format!("{path}{query}")).await;
                if !formats.contains(&format) {
                    assert_eq!(left.status, 400, "{format}");
                    continue;
                }
                assert_eq!(left.status, 200, "{format}: {}", left.body);
                let wrapped = left.body["wrappedKeys"].clone();
                assert_eq!(wrapped[0]["keyFormatType"], format);
                let back =
                    client.post("/servicekey?format=jwk", json!({"name": "b", "wrappedKeys": wrapped})).await;
                assert_eq!(back.status, 201, "{format}: {}", back.body);
                assert_eq!(back.body["keys"][0]["n"], key["keys"][0]["n"]);
                assert_eq!(back.body["keys"][0]["x"], key["keys"][0]["x"]);
                assert_eq!((&back.body["size"], &back.body["type"]), (&key["size"], &key["type"]));
                assert_eq!(back.body["attributes"]["extractable"], false);
                assert_eq!(back.body["attributes"]["never_extractable"], false);
            }
        }
        // It stays known that it might have left.
        let fixed = client.call("PATCH", &path, Some(json!({"extractable": false}))).await;
        assert_eq!(fixed.body["attributes"]["extractable"], false);
        assert_eq!(fixed.body["attributes"]["never_extractable"], false);
        let refused = client.get(&format!("{path}?wrappingKeyId={transport}")).await;
        assert_eq!((refused.status, refused.text("error_id")), (400, "not_extractable"));
    }
    let inner = client.create("inner").await;
    let refused = client.get(&format!("/servicekey/{inner}?wrappingKeyId={transport}")).await;
    assert_eq!((refused.status, refused.text("error_id")), (400, "not_extractable"));
    let inner = client.get(&format!("/servicekey/{inner}")).await;
    assert_eq!(inner.body["attributes"]["never_extractable"], true);
    assert_eq!(inner.body["attributes"]["always_sensitive"], true);
    let other =
        made(&mut client, json!({"name": "t", "type": "RSA", "operations": ["wrapKey", "unwrapKey"]})).await;
    let key = made(&mut client, json!({"name": "k", "extractable": true})).await;
    let left = client.get(&format!("/servicekey/{}?wrappingKeyId={transport}", id(&key))).await;
    let mut wrapped = left.body["wrappedKeys"].clone();
    wrapped[0]["wrappingKeyId"] = other["id"].clone();
    let refused = client.post("/servicekey", json!({"name": "b", "wrappedKeys": wrapped})).await;
    assert_eq!((refused.status, refused.text("error_id")), (400, "decrypt_failed"));
    wrapped[0]["wrappingKeyId"] = key["id"].clone();
    let refused = client.post("/servicekey", json!({"name": "b", "wrappedKeys": wrapped})).await;
    assert_eq!((refused.status, refused.text("error_id")), (400, "operation_not_permitted_by_key"));
}
