//! Who may take a domain out and bring one in, what is taken of what they send, and what is recorded of it.

use crate::{
    client::Client,
    region::Region,
    transfer::{
        OWNER, Scratch, Told, allow, brought, client_of, env, large, made, owner, records, region, taken, to,
    },
    walk::turned_away,
};
use kms::{
    config::AuditConfig,
    crypto::asymmetric::{Jwk, PrivateKey, PublicKey, Shape},
    customer::{self, Access, Customer, CustomerError, Mode},
    iam::Policy,
};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

#[tokio::test]
async fn only_who_was_given_the_right_by_its_name_may() {
    let region = Region::new().await;
    let jwk = serde_json::to_value(Jwk::of_public(&to())).expect("JSON");
    let (begin, records) = (json!({"wrappingKey": jwk}), json!({"records": []}));
    let mut client = client_of(&region, 0).await;
    let (operator, domain) = (region.operator(), region.domain());
    for stars in ["*", "okms:apikms:*", "okms:apikms:domain/*"] {
        let open = Policy { allow: vec![stars.to_owned()], ..Policy::open() };
        operator.put_policy(domain, &open).await.expect("put");
        for (what, body) in [("export", &begin), ("import", &records)] {
            let answer = client.post(&format!("/v1/{what}"), body.clone()).await;
            assert_eq!((answer.status, answer.text("error_id")), (403, "forbidden"), "{stars} {what}");
            assert!(answer.body.get("data").is_none());
        }
    }
    allow(&region, 0, "domain/export").await;
    let page = client.post("/v1/export", begin.clone()).await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!(client.post("/v1/import", records.clone()).await.status, 403, "one is not the other");
    // As large as they come: it is read before the answer, or the answer is lost with the connection.
    let large = json!({"dryRun": true, "records": [{"key": "x".repeat(1_900_000)}]});
    assert_eq!(client.post("/v1/import", large).await.status, 403);
    assert_eq!(client.post("/v1/import", records.clone()).await.status, 403, "the connection stays");
    allow(&region, 0, "domain/import").await;
    assert_eq!(client.post("/v1/import", records.clone()).await.body, json!({"outcomes": []}));

    // The other tenant, by its own certificate and by the path of the first; and nobody.
    let mut other = client_of(&region, 1).await;
    assert_eq!(other.post("/v1/export", begin.clone()).await.status, 403, "in its own domain nobody gave it");
    other.base = client.base.clone();
    assert_eq!(other.post("/v1/export", begin.clone()).await.status, 403);
    let path = format!("/api/{domain}/v1/export");
    assert_eq!(region.anonymous().await.post(&path, begin.clone()).await.status, 401);

    // The operator gets no connection where clients are served, and has no such path where it is.
    let (cert, key) = (region.operator_file("operator.crt"), region.operator_file("operator.key"));
    assert!(turned_away(&region, &cert, &key).await);
    let mut operator = Client::connect_admin(&region, Some((&cert, &key))).await.expect("let in");
    for path in [path, format!("/admin/v1/domain/{domain}/export")] {
        assert_eq!(operator.post(&path, begin.clone()).await.status, 404, "{path}");
    }

    // A deny of anything that means it goes first.
    let denies = Policy {
        deny: vec!["okms:*".to_owned()],
        allow: Vec::new(),
        name: "no".to_owned(),
        ..Policy::open()
    };
    region.operator().put_policy(domain, &denies).await.expect("put");
    assert_eq!(client.post("/v1/export", begin).await.status, 403);
}

#[tokio::test]
async fn what_is_asked_for_must_be_well_formed_and_ones_own() {
    let region = region().await;
    let mut client = client_of(&region, 0).await;
    let jwk = |key: &PublicKey| serde_json::to_value(Jwk::of_public(key)).expect("JSON");
    let short = PrivateKey::generate(&env(), Shape::Rsa(2048)).expect("a key").public();
    let private = serde_json::to_value(Jwk::of_private(&OWNER[0])).expect("JSON");
    for body in [
        json!({}),
        json!({"wrappingKey": jwk(&short)}),
        json!({"wrappingKey": private}),
        json!({"wrappingKey": {"kty": "oct", "k": "AAECAwQFBgcICQoLDA0ODw"}}),
        json!({"wrappingKey": {"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}}),
        json!({"wrappingKey": jwk(&to()), "cursor": "x"}),
        json!({"cursor": ""}),
        json!({"cursor": "AAAA"}),
        json!({"cursor": "A".repeat(4_000)}),
    ] {
        let answer = client.post("/v1/export", body.clone()).await;
        assert_eq!((answer.status, answer.text("error_id")), (400, "bad_argument"), "{body}");
    }
    // A cursor is of one domain, and as it was given.
    large(&mut client, 12).await;
    let cursor =
        client.post("/v1/export", json!({"wrappingKey": jwk(&to())})).await.text("cursor").to_owned();
    assert_eq!(client.post("/v1/export", json!({"cursor": cursor})).await.status, 200);
    allow(&region, 1, "domain/export").await;
    let mut other = client_of(&region, 1).await;
    assert_eq!(other.post("/v1/export", json!({"cursor": cursor})).await.status, 400);
    for at in (0..cursor.len()).step_by(7) {
        let mut altered = cursor.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).expect("text");
        assert_eq!(client.post("/v1/export", json!({"cursor": altered})).await.status, 400, "{at}");
    }
}

#[tokio::test]
async fn records_that_are_none_are_refused_before_any_is_written() {
    let region = region().await;
    let mut client = client_of(&region, 1).await;
    let before = records(&region);
    let good = json!({"id": Uuid::from_u128(1), "name": "good", "type": "oct", "size": 128, "operations": ["encrypt"],
        "state": "active", "revocationReason": 0, "createdUs": 1, "extractable": false, "wasExtractable": false,
        "imported": false, "publicOnly": false, "material": "bmVlZGxlbmVlZGxlbmVlZA=="});
    let with = |changes: Value| {
        let mut key = good.clone();
        for (name, value) in changes.as_object().expect("an object") {
            key[name] = value.clone();
        }
        json!({"key": key})
    };
    let secret = |changes: Value| {
        let mut secret = json!({"id": "00".repeat(16), "path": "a", "config": {}, "customMetadata": {}, "createdS": 1,
            "updatedS": 1, "firstVersion": 1, "versions": [[0, null, 0]]});
        for (name, value) in changes.as_object().expect("an object") {
            secret[name] = value.clone();
        }
        json!({"secret": secret})
    };
    for bad in [
        with(json!({"size": 256})),
        with(json!({"size": 100})),
        with(json!({"material": null})),
        with(json!({"material": "!"})),
        with(json!({"state": "destroyed"})),
        with(json!({"state": "sleeping"})),
        with(json!({"name": ""})),
        with(json!({"context": "x".repeat(65)})),
        with(json!({"operations": ["sign"]})),
        with(json!({"revocationReason": 8})),
        with(json!({"publicOnly": true})),
        with(json!({"type": "EC", "size": null, "curve": "P-256"})),
        with(json!({"colour": 1})),
        with(json!({"createdUs": u64::MAX})),
        with(json!({"destroyedUs": u64::MAX})),
        secret(json!({"updatedS": u64::MAX})),
        secret(json!({"path": "/a"})),
        secret(json!({"id": "00"})),
        secret(json!({"firstVersion": 0})),
        secret(json!({"firstVersion": 24_000, "versions": [[0, null, 0], [0, null, 0]]})),
        secret(json!({"versions": [[0, null, 4]]})),
        secret(json!({"versions": [[0, u32::MAX, 0]]})),
        secret(json!({"config": {"maxVersions": 24_001}})),
        secret(json!({"createdS": 253_402_300_000_u64, "versions": [[u32::MAX, null, 0]]})),
        secret(json!({"createdS": 253_402_300_000_u64, "versions": [[0, 1_000, 0]]})),
        json!({"secretVersion": {"secret": "00".repeat(16), "number": 0, "data": "e30="}}),
        json!({"secretVersion": {"secret": "00".repeat(16), "number": 24_001, "data": "e30="}}),
        json!({"secretVersion": {"secret": "00".repeat(16), "number": 1, "data": "W10="}}),
        json!({"policy": Policy::open()}),
        json!({"kmipObject": {}}),
    ] {
        // The good one stands before it where secrets do not come last.
        let answer = client.post("/v1/import", json!({"dryRun": false, "records": [bad.clone()]})).await;
        assert_eq!((answer.status, answer.text("error_id")), (400, "bad_argument"), "{bad}");
        assert!(!answer.body.to_string().contains("bmVlZGxl"), "{}", answer.body);
    }
    let alone = client.post("/v1/import", json!({"records": [secret(json!({}))]})).await;
    assert_eq!(alone.body, json!({"outcomes": ["conflict"]}), "the data of its version is not there");
    let both = json!({"records": [with(json!({})), with(json!({"state": "sleeping"}))]});
    assert_eq!(client.post("/v1/import", both).await.status, 400);
    assert!(records(&region) == before);
    let many = vec![with(json!({})); 257];
    assert_eq!(client.post("/v1/import", json!({"records": many})).await.status, 400);
    let large = json!({"records": [], "x": "x".repeat(2 << 20)});
    assert_eq!(client.post("/v1/import", large).await.status, 413);
    // That ended the connection.
    let mut client = client_of(&region, 1).await;
    let mixed = json!({"records": [secret(json!({})), with(json!({})), {"secretVersion": {"secret": "00".repeat(16),
        "number": 1, "data": "e30="}}]});
    let answer = client.post("/v1/import", mixed.clone()).await;
    assert_eq!(answer.body, json!({"outcomes": ["new", "new", "new"]}), "data goes before its secret");
    let answer = client.post("/v1/import", mixed).await;
    assert_eq!(answer.body, json!({"outcomes": ["present", "present", "present"]}));
}

#[tokio::test]
async fn each_page_and_each_import_leaves_an_entry_of_its_own_action() {
    let region = Region::audited(AuditConfig::default()).await;
    let scratch = Scratch::new("audit");
    allow(&region, 0, "domain/export").await;
    allow(&region, 1, "domain/import").await;
    made(&mut client_of(&region, 0).await, json!({"name": "needle", "type": "oct"})).await;
    let file = scratch.file();
    taken(&region, &file).await;
    brought(&region, 1, &file, Mode::default()).await.expect("brought in");
    let refused =
        customer::export(&mut owner(&region, 1), &to(), &scratch.0.join("x"), &mut Told::default()).await;
    assert!(matches!(refused, Err(CustomerError::Answered { status: 403, .. })), "{refused:?}");
    let entries = crate::audit::entries(&region);
    let of = |name: &str| {
        let named = format!("okms:apikms:domain/{name}");
        let found = entries.iter().map(|entry| &entry.event).filter(|event| event.iam_operation == named);
        found.map(|event| (event.res_urn.clone(), event.http_status)).collect::<Vec<_>>()
    };
    let urn = |index: usize| format!("urn:v1:eu:resource:okms:{}", region.bundle.clients[index].domain);
    assert_eq!(of("export"), [(urn(0), 200), (urn(1), 403)]);
    assert_eq!(of("import"), [(urn(1), 200), (urn(1), 200)], "the dry run, and the import");
}

#[tokio::test]
async fn a_customer_needs_certificates_that_are_some() {
    let env = env();
    let access = |endpoint| Access {
        endpoint,
        domain: Uuid::nil(),
        ca: None,
        cert: b"",
        key: b"",
        patience: Duration::ZERO,
    };
    assert!(matches!(Customer::new(&env, &access("kms:443")), Err(CustomerError::Usage(_))));
}
