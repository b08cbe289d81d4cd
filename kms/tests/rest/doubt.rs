//! Answers while a write is in doubt, after refusals and unknown outcomes, with a copy damaged or away.

use crate::{client::Client, region::Region, store::Script};
use kms::store::api::{Place, ReadError, Refusal};
use serde_json::{Value, json};
use uuid::Uuid;

const REFUSED: (u16, u64) = (503, 50_425_858);
const UNKNOWN: (u16, u64) = (504, 83_976_193);

async fn start() -> (Region, Client, Uuid) {
    let region = Region::sure().await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    (region, client, key)
}

async fn encrypt(client: &mut Client, key: Uuid) -> (u16, u64, Value) {
    let answer = client.post(&format!("/servicekey/{key}/encrypt"), json!({"plaintext": "aGVsbG8="})).await;
    (answer.status, answer.code(), answer.body["ciphertext"].clone())
}

#[tokio::test]
async fn a_domain_that_is_full_is_told_so_with_a_429() {
    let region = Region::new().await;
    let mut client = region.client().await;
    client.create("k").await;
    region.store.lock().script.push_back(Script::Refuse(Refusal::Full));
    let told = client.post("/servicekey", json!({"name": "l", "type": "oct"})).await;
    assert_eq!((told.status, told.code(), told.text("error_id")), (429, 50_434_050, "quota_reached"));
    assert!(told.headers.contains_key("retry-after"));
    assert!(told.body["errors"][0].as_str().is_some_and(|why| why.contains("as many keys")), "{}", told.body);
    assert_eq!(client.get("/servicekey").await.body["objects_list"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_refused_write_is_a_503_with_retry_after_and_leaves_nothing() {
    let (region, mut client, key) = start().await;
    for refusal in [Refusal::NoHead, Refusal::NoTail, Refusal::Stalled, Refusal::InDoubt, Refusal::NotServing]
    {
        region.store.lock().script.push_back(Script::Refuse(refusal));
        let answer = client.post("/servicekey", json!({"name": "n"})).await;
        assert_eq!((answer.status, answer.code()), REFUSED);
        assert_eq!(answer.headers["retry-after"], "1");
        assert!(!answer.body.to_string().contains("database"), "where it failed is for the logs");
    }
    let list = client.get("/servicekey").await;
    assert_eq!(list.body["objects_list"].as_array().expect("a list").len(), 1);
    region.store.lock().script.push_back(Script::Refuse(Refusal::NoTail));
    let answer = client.call("PATCH", &format!("/servicekey/{key}"), Some(json!({"name": "n"}))).await;
    assert_eq!((answer.status, answer.code()), REFUSED);
}

#[tokio::test]
async fn an_unknown_outcome_is_a_504_and_is_not_repeated() {
    let (region, mut client, key) = start().await;
    for happens in [false, true] {
        let before = region.store.lock().commits;
        region.store.lock().script.push_back(Script::Unknown { happens });
        let answer =
            client.post(&format!("/servicekey/{key}/deactivate"), json!({"reason": "unspecified"})).await;
        assert_eq!((answer.status, answer.code()), UNKNOWN);
        assert!(!answer.headers.contains_key("retry-after"));
        assert_eq!(answer.body["errors"], json!(["outcome unknown: repeat only with an id"]));
        assert_eq!(region.store.lock().commits, before + 1, "an attempt is sent once");
    }
    assert_eq!(client.state(key).await, "deactivated");
}

#[tokio::test]
async fn an_epoch_change_is_a_new_attempt() {
    let (region, mut client, key) = start().await;
    region.store.lock().script.push_back(Script::Refuse(Refusal::EpochChanged));
    region.store.lock().near.extend([ReadError::EpochChanged]);
    let answer =
        client.post(&format!("/servicekey/{key}/deactivate"), json!({"reason": "unspecified"})).await;
    assert_eq!(answer.status, 204);
    region.store.lock().near.extend([ReadError::EpochChanged]);
    assert_eq!(client.state(key).await, "deactivated");
}

#[tokio::test]
async fn conflicts_are_read_again_and_tried_again() {
    let (region, mut client, key) = start().await;
    region.store.lock().script.extend([Script::Conflict, Script::Conflict]);
    let renamed = client.call("PATCH", &format!("/servicekey/{key}"), Some(json!({"name": "new"}))).await;
    assert_eq!((renamed.status, renamed.text("name")), (200, "new"));
    // A create whose own attempt is there is a success, not a conflict.
    let id = Uuid::from_u128(7);
    region.store.lock().script.push_back(Script::HappensAsConflict);
    let made = client.post("/servicekey", json!({"name": "n", "id": id})).await;
    assert_eq!(made.status, 201);
    let again = client.post("/servicekey", json!({"name": "n", "id": id})).await;
    assert_eq!((again.status, again.code()), (409, 50_438_145));
}

#[tokio::test]
async fn a_create_in_doubt_is_neither_found_nor_missing() {
    let (region, mut client, _) = start().await;
    let id = Uuid::from_u128(7);
    let path = format!("/servicekey/{id}");
    region.store.lock().script.push_back(Script::Doubt);
    region.store.lock().far_in_doubt = true;
    let made = client.post("/servicekey", json!({"name": "n", "id": id})).await;
    assert_eq!((made.status, made.code()), UNKNOWN);
    let answer = client.get(&path).await;
    assert_eq!((answer.status, answer.code()), REFUSED);
    // The other zone knows: either way.
    region.store.lock().far_in_doubt = false;
    assert_eq!(client.get(&path).await.status, 404);
    region.store.lock().far_has_pending = true;
    assert_eq!(client.get(&path).await.status, 200);
    // With the other zone away nobody knows.
    region.store.lock().far_down = true;
    let answer = client.get(&path).await;
    assert_eq!((answer.status, answer.code()), REFUSED);
    region.store.settle(true);
    assert_eq!(client.get(&path).await.status, 200);
}

#[tokio::test]
async fn under_doubt_what_is_true_either_way_is_answered() {
    let (region, mut client, key) = start().await;
    let (_, _, ciphertext) = encrypt(&mut client, key).await;
    let decrypt = format!("/servicekey/{key}/decrypt");
    region.store.lock().far_in_doubt = true;

    // A rename in doubt: the material is the same, the name is not.
    region.store.lock().script.push_back(Script::Doubt);
    let renamed = client.call("PATCH", &format!("/servicekey/{key}"), Some(json!({"name": "n"}))).await;
    assert_eq!((renamed.status, renamed.code()), UNKNOWN);
    assert_eq!(encrypt(&mut client, key).await.0, 200);
    assert_eq!(client.post(&decrypt, json!({"ciphertext": ciphertext})).await.status, 200);
    let get = client.get(&format!("/servicekey/{key}")).await;
    assert_eq!((get.status, get.code()), REFUSED);
    let list = client.get("/servicekey").await;
    assert_eq!((list.status, list.code()), REFUSED);
    assert_eq!(client.get("/servicekey?state=deactivated").await.body["objects_list"], json!([]));
    region.store.settle(false);

    // A deactivation in doubt: it decrypts either way, it encrypts only in one.
    region.store.lock().script.push_back(Script::Doubt);
    client.post(&format!("/servicekey/{key}/deactivate"), json!({"reason": "unspecified"})).await;
    let refused = encrypt(&mut client, key).await;
    assert_eq!((refused.0, refused.1), REFUSED);
    assert_eq!(client.post(&decrypt, json!({"ciphertext": ciphertext})).await.status, 200);
    region.store.settle(true);

    // A destruction in doubt: neither.
    region.store.lock().script.push_back(Script::Doubt);
    client.call("DELETE", &format!("/servicekey/{key}"), None).await;
    let refused = client.post(&decrypt, json!({"ciphertext": ciphertext})).await;
    assert_eq!((refused.status, refused.code()), REFUSED);
    // Encrypting is wrong either way.
    assert_eq!(encrypt(&mut client, key).await.0, 409);
}

#[tokio::test]
async fn writes_build_on_nothing_in_doubt() {
    let (region, mut client, key) = start().await;
    region.store.lock().far_in_doubt = true;
    region.store.lock().script.push_back(Script::Doubt);
    client.post(&format!("/servicekey/{key}/deactivate"), json!({"reason": "unspecified"})).await;
    let before = region.store.lock().commits;
    let answer = client.call("DELETE", &format!("/servicekey/{key}"), None).await;
    assert_eq!((answer.status, answer.code()), REFUSED);
    assert_eq!(region.store.lock().commits, before);
}

#[tokio::test]
async fn reads_go_to_the_other_zone() {
    let (region, mut client, key) = start().await;
    for error in [ReadError::Unreachable, ReadError::NotServing, ReadError::Behind, ReadError::Damaged] {
        region.store.lock().near.push_back(error);
        assert_eq!(client.state(key).await, "active");
    }
    region.store.lock().near_down = true;
    assert_eq!(encrypt(&mut client, key).await.0, 200);
    region.store.lock().far_down = true;
    let refused = encrypt(&mut client, key).await;
    assert_eq!((refused.0, refused.1), REFUSED);
}

#[tokio::test]
async fn a_host_without_a_domain_s_key_waits_for_a_database_that_is_behind() {
    use ReadError::{Behind, EpochChanged, NotServing, Unreachable};
    for (errors, status) in [
        (vec![Unreachable, Behind, Unreachable, Behind], 200),
        (vec![Behind, Unreachable, EpochChanged, NotServing], 200),
        (vec![NotServing, Unreachable], 503),
        (vec![Behind; 1000], 503),
    ] {
        let region = Region::sure().await;
        let asked = errors.len();
        region.store.lock().keyring_errors = errors.into();
        assert_eq!(region.client().await.get("/servicekey").await.status, status);
        let left = region.store.lock().keyring_errors.len();
        assert!(if asked < 1000 { left == 0 } else { left > 900 }, "asked {asked}, left {left}");
    }
}

#[tokio::test]
async fn a_swapped_blob_is_reported_and_never_answers() {
    let (region, mut client, first) = start().await;
    let second = client.create("other").await;
    {
        let mut inner = region.store.lock();
        let keys: Vec<_> = inner.records.keys().cloned().collect();
        let records: Vec<_> = keys.iter().map(|key| inner.records[key].clone()).collect();
        inner.altered.insert((Place::Near, keys[0].clone()), records[1].clone());
        inner.altered.insert((Place::Near, keys[1].clone()), records[0].clone());
    }
    for key in [first, second] {
        let answer = client.get(&format!("/servicekey/{key}")).await;
        assert_eq!((answer.status, answer.text("id").to_owned()), (200, key.to_string()));
        assert_eq!(encrypt(&mut client, key).await.0, 200);
        let renamed = client.call("PATCH", &format!("/servicekey/{key}"), Some(json!({"name": "n"}))).await;
        assert_eq!(renamed.status, 200);
    }
    assert_eq!(client.get("/servicekey").await.body["objects_list"].as_array().map(Vec::len), Some(2));
    assert!(region.store.lock().damaged.len() >= 4);
    // Bad in both zones: an integrity error, and nothing else.
    {
        let mut inner = region.store.lock();
        let altered: Vec<_> =
            inner.altered.iter().map(|((_, key), record)| (key.clone(), record.clone())).collect();
        for (key, record) in altered {
            inner.altered.insert((Place::Far, key), record);
        }
    }
    let answer = client.get(&format!("/servicekey/{first}")).await;
    assert_eq!((answer.status, answer.text("error_id")), (500, "integrity"));
    let answer = client.get("/servicekey").await;
    assert_eq!(answer.status, 500);
}

#[tokio::test]
async fn a_spoilt_domain_key_is_an_integrity_error() {
    let region = Region::sure().await;
    for object in region.store.lock().keyring.values_mut() {
        object[20] ^= 1;
    }
    let mut client = region.client().await;
    let answer = client.post("/servicekey", json!({"name": "n"})).await;
    assert_eq!((answer.status, answer.text("error_id")), (500, "integrity"));
    region.store.lock().keyring.clear();
    let answer = client.post("/servicekey", json!({"name": "n"})).await;
    assert_eq!((answer.status, answer.code()), (404, 16_994_305));
}
