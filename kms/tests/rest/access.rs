//! Who may do what: policies, groups, credentials and tokens, as clients and the operator meet them.

use crate::{
    client::{Answer, Client},
    region::Region,
};
use kms::{
    api::admin::types::Tried,
    iam::{Credential, Group, Policy, action},
    init::{AccessCa, SignedCredential},
    operator::admin::AdminError,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

/// Longer than a host goes by what it knows.
const STALE: Duration = Duration::from_millis(1_100);

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn policy(name: &str, who: &[&str], allow: &[&str], deny: &[&str], on: &[&str]) -> Policy {
    let (identities, allow) = (texts(who), texts(allow));
    Policy { name: name.to_owned(), identities, allow, deny: texts(deny), resources: texts(on) }
}

/// A certificate of the first domain whose holder has these identities.
async fn registered(region: &Region, identities: &[&str]) -> (Uuid, Client) {
    let (signed, client) = certificate(region).await;
    let credential = Credential {
        id: signed.id,
        name: "test".to_owned(),
        description: String::new(),
        identities: texts(identities),
        created_s: region.env.clock.wall().as_secs(),
        expires_s: signed.expires_s,
        revoked_s: None,
        from_csr: false,
        certificate_pem: signed.certificate_pem,
    };
    region.operator().register(region.domain(), &credential).await.expect("registered");
    (signed.id, client)
}

async fn certificate(region: &Region) -> (SignedCredential, Client) {
    let (cert, key) = (region.operator_file("access-ca.crt"), region.operator_file("access-ca.key"));
    let ca = AccessCa::from_pem(&cert, &key).expect("the access CA");
    let signed = ca.sign(&region.env, region.domain(), None, 30).expect("signed");
    let own = signed.key_pem.as_ref().expect("a key").to_string();
    let client = Client::connect(region, Some((&signed.certificate_pem, &own))).await.expect("connects");
    (signed, client)
}

fn key_urn(region: &Region, key: Uuid) -> String {
    format!("urn:v1:eu:resource:okms:{}/serviceKey/{key}", region.domain())
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["error_id"].as_str().unwrap_or_default())
}

const BOB: &str = "urn:v1:eu:identity:user:acme/bob";
const EVE: &str = "urn:v1:eu:identity:user:acme/eve";

#[tokio::test]
async fn a_new_domain_has_one_policy_and_what_nothing_allows_is_denied() {
    let region = Region::new().await;
    let (operator, domain) = (region.operator(), region.domain());
    let policies = operator.policies(domain).await.expect("policies");
    assert_eq!(policies, [Policy::open()], "it is shown, although it is nowhere written");
    let mut client = region.client().await;
    let key = client.create("k").await;
    let path = format!("/servicekey/{key}");
    // Whatever is changed first, the default is written down with it.
    let more = policy("more", &[BOB], &["okms:apikms:*"], &[], &["*"]);
    operator.put_policy(domain, &more).await.expect("put");
    assert_eq!(operator.policies(domain).await.expect("policies"), [Policy::open(), more.clone()]);
    assert_eq!(client.get(&path).await.status, 200);

    operator.delete_named(domain, "policies", "default").await.expect("deleted");
    assert_eq!(operator.policies(domain).await.expect("policies"), [more]);
    assert_eq!(code(&client.get(&path).await), (403, "forbidden"), "at once at the host that was asked");
    let absent = format!("/servicekey/{}", Uuid::from_u128(7));
    assert_eq!(code(&client.get(&absent).await), (403, "forbidden"), "the same for what is not there");
    let (_, mut bob) = registered(&region, &[BOB]).await;
    assert_eq!(bob.get(&path).await.status, 200);
    // The other domain is another matter.
    let mut other = region.client_of(1).await;
    other.base = format!("/api/{}/v1", region.bundle.clients[1].domain);
    assert_eq!(other.get("/servicekey").await.status, 200);
}

#[tokio::test]
async fn the_default_policy_may_go_with_the_first_change() {
    let region = Region::new().await;
    let (operator, domain) = (region.operator(), region.domain());
    operator.delete_named(domain, "policies", "default").await.expect("deleted");
    assert_eq!(operator.policies(domain).await.expect("policies"), []);
    let again = operator.delete_named(domain, "policies", "default").await.err();
    assert_eq!(again.and_then(|error| error.status()), Some(404));
    assert_eq!(region.client().await.get("/servicekey").await.status, 403);
}

/// What each action is asked by: path, method, body, and on what it is done.
fn requests(
    key: Uuid,
    transport: Uuid,
    domain: Uuid,
) -> BTreeMap<&'static str, (&'static str, String, Option<Value>, String)> {
    let this = format!("urn:v1:eu:resource:okms:{domain}");
    let on_key = format!("{this}/serviceKey/{key}");
    let secret = format!("{this}/secret/a/b");
    let at = |rest: &str| format!("/servicekey/{key}{rest}");
    let v2 = |rest: &str| format!("/api/{domain}/v2/{rest}");
    let wrapped = json!({"name": "w", "wrappedKeys": [
        {"keyFormatType": "RAW", "wrappingKeyId": transport, "ciphertext": "a.b.c.d.e"}]});
    let state = |state: &str| Some(json!({"state": state}));
    let mut all = BTreeMap::new();
    let mut add = |action, method, path: String, body, urn: &str| {
        all.insert(action, (method, path, body, urn.to_owned()));
    };
    add(
        "serviceKey/create",
        "POST",
        "/servicekey".to_owned(),
        Some(json!({"name": "n", "type": "oct", "size": 256})),
        &this,
    );
    add(
        "serviceKey/import",
        "POST",
        "/servicekey".to_owned(),
        Some(json!({"name": "n", "keys": [{"kty": "oct", "kid": "x", "k": "AAAAAAAAAAAAAAAAAAAAAA"}]})),
        &this,
    );
    add("serviceKey/get", "GET", at(""), None, &on_key);
    add("serviceKey/update", "PATCH", at(""), Some(json!({"name": "n"})), &on_key);
    add("serviceKey/delete", "DELETE", at(""), None, &on_key);
    add("serviceKey/activate", "POST", at("/activate"), None, &on_key);
    add("serviceKey/deactivate", "POST", at("/deactivate"), Some(json!({"reason": "unspecified"})), &on_key);
    add("serviceKey/sign", "POST", at("/sign"), Some(json!({"message": "AAAA", "alg": "ES256"})), &on_key);
    add(
        "serviceKey/verify",
        "POST",
        at("/verify"),
        Some(json!({"message": "AAAA", "alg": "ES256", "signature": "AAAA"})),
        &on_key,
    );
    add("serviceKey/encrypt", "POST", at("/encrypt"), Some(json!({"plaintext": "AAAA"})), &on_key);
    add("serviceKey/decrypt", "POST", at("/decrypt"), Some(json!({"ciphertext": "a.b.c.d.e"})), &on_key);
    add("serviceKey/dataKey/create", "POST", at("/datakey"), Some(json!({"size": 256})), &on_key);
    add(
        "serviceKey/dataKey/decrypt",
        "POST",
        at("/datakey/decrypt"),
        Some(json!({"key": "a.b.c.d.e"})),
        &on_key,
    );
    add(
        "serviceKey/wrapKey",
        "GET",
        at(&format!("?wrappingKeyId={transport}")),
        None,
        &format!("{this}/serviceKey/{transport}"),
    );
    add(
        "serviceKey/unwrapKey",
        "POST",
        "/servicekey".to_owned(),
        Some(wrapped),
        &format!("{this}/serviceKey/{transport}"),
    );
    add("domain/export", "POST", "/export".to_owned(), Some(json!({"cursor": "none"})), &this);
    add("domain/import", "POST", "/import".to_owned(), Some(json!({"records": []})), &this);
    add("random/get", "GET", "/random".to_owned(), None, &this);
    add(
        "secret/create",
        "POST",
        v2("secret"),
        Some(json!({"path": "a/b", "version": {"data": {"x": 1}}})),
        &secret,
    );
    add("secret/get", "GET", v2("secret/a%2Fb"), None, &secret);
    add(
        "secret/updateMetadata",
        "PUT",
        v2("secret/a%2Fb"),
        Some(json!({"metadata": {"maxVersions": 3}})),
        &secret,
    );
    add("secret/delete", "DELETE", v2("secret/a%2Fb"), None, &secret);
    add(
        "secret/version/create",
        "POST",
        v2("secret/a%2Fb/version"),
        Some(json!({"data": {"x": 2}})),
        &secret,
    );
    add("secret/version/getData", "GET", format!("/api/{domain}/v1/secret/data/a/b"), None, &secret);
    add("secret/version/activate", "PUT", v2("secret/a%2Fb/version/1"), state("active"), &secret);
    add("secret/version/deactivate", "PUT", v2("secret/a%2Fb/version/1"), state("deactivated"), &secret);
    add("secret/version/delete", "PUT", v2("secret/a%2Fb/version/1"), state("deleted"), &secret);
    add("secret/subKeys/get", "GET", format!("/api/{domain}/v1/secret/subkeys/a/b"), None, &secret);
    add("secretConfig/get", "GET", v2("secretConfig"), None, &this);
    add("secretConfig/update", "PUT", v2("secretConfig"), Some(json!({"maxVersions": 5})), &this);
    all
}

/// What else a request needs beside the action that it is named by.
fn needs(action: &str, key: &str, this: &str) -> Option<(&'static str, String)> {
    match action {
        "serviceKey/wrapKey" => Some(("okms:apikms:serviceKey/get", key.to_owned())),
        "serviceKey/unwrapKey" => Some(("okms:apikms:serviceKey/import", this.to_owned())),
        _ => None,
    }
}

#[tokio::test]
async fn every_action_is_its_own_right_on_its_own_resource() {
    let region = Region::new().await;
    let (operator, domain) = (region.operator(), region.domain());
    let mut client = region.client().await;
    let key = client.create("k").await;
    let transport = json!({"name": "t", "type": "RSA", "size": 2048, "operations": ["wrapKey", "unwrapKey"]});
    let transport: Uuid = client.post("/servicekey", transport).await.text("id").parse().expect("a UUID");
    let (this, on_key) = (format!("urn:v1:eu:resource:okms:{domain}"), key_urn(&region, key));
    let (_, mut bob) = registered(&region, &[BOB]).await;
    let (_, mut eve) = registered(&region, &[EVE]).await;
    operator.delete_named(domain, "policies", "default").await.expect("deleted");
    let requests = requests(key, transport, domain);
    let names: Vec<String> = requests.keys().map(|name| format!("okms:apikms:{name}")).collect();
    let mut known = texts(action::NAMES);
    known.sort();
    assert_eq!(names, known, "every action is tried");
    for (name, (method, path, body, urn)) in &requests {
        let full = format!("okms:apikms:{name}");
        let beside = needs(name, &on_key, &this);
        if let Some((action, urn)) = &beside {
            operator
                .put_policy(domain, &policy("beside", &["*"], &[action], &[], &[urn]))
                .await
                .expect("put");
        }
        // All that is not this action on this resource.
        let others: Vec<&str> = known.iter().map(String::as_str).filter(|other| *other != full).collect();
        let elsewhere = [format!("{this}/serviceKey/{}", Uuid::from_u128(9)), format!("{this}/secret/a/c")];
        let elsewhere: Vec<&str> = elsewhere.iter().map(String::as_str).collect();
        operator.put_policy(domain, &policy("others", &[BOB], &others, &[], &["*"])).await.expect("put");
        operator
            .put_policy(domain, &policy("elsewhere", &[BOB], &[&full], &[], &elsewhere))
            .await
            .expect("put");
        let denied = bob.call(method, path, body.clone()).await;
        assert_eq!(code(&denied), (403, "forbidden"), "{name} with all other rights: {}", denied.body);
        for others in ["others", "elsewhere"] {
            operator.delete_named(domain, "policies", others).await.expect("deleted");
        }
        operator.put_policy(domain, &policy("one", &[BOB], &[&full], &[], &[urn])).await.expect("put");
        let allowed = bob.call(method, path, body.clone()).await;
        assert!(![401, 403, 503].contains(&allowed.status), "{name} with this right: {}", allowed.body);
        assert_eq!(eve.call(method, path, body.clone()).await.status, 403, "{name} by somebody else");
        let denies = policy("deny", &["*"], &[], &["okms:apikms:*"], &[urn]);
        operator.put_policy(domain, &denies).await.expect("put");
        assert_eq!(bob.call(method, path, body.clone()).await.status, 403, "{name}: deny goes first");
        for gone in ["one", "deny"].into_iter().chain(beside.map(|_| "beside")) {
            operator.delete_named(domain, "policies", gone).await.expect("deleted");
        }
    }
}

#[tokio::test]
async fn lists_tell_nothing_of_what_may_not_be_read() {
    let region = Region::new().await;
    let (operator, domain) = (region.operator(), region.domain());
    let mut client = region.client().await;
    let mut keys = Vec::new();
    for n in 0..24 {
        keys.push(client.create(&format!("k{n}")).await);
    }
    let v2 = format!("/api/{domain}/v2/secret");
    for path in ["open/a", "closed/b", "open/deep/c"] {
        let made = client.post(&v2, json!({"path": path, "version": {"data": {"x": 1}}})).await;
        assert_eq!(made.status, 200, "{}", made.body);
    }
    let (_, mut bob) = registered(&region, &[BOB]).await;
    operator.delete_named(domain, "policies", "default").await.expect("deleted");
    assert_eq!(bob.get("/servicekey").await.status, 403, "nothing could allow it");
    let shown: Vec<Uuid> = keys.iter().copied().take(12).collect();
    let mut urns: Vec<String> = shown.iter().map(|key| key_urn(&region, *key)).collect();
    urns.push(format!("urn:v1:eu:resource:okms:{domain}/secret/open/*"));
    let urns: Vec<&str> = urns.iter().map(String::as_str).collect();
    let some = policy("some", &[BOB], &["okms:apikms:*/get"], &[], &urns);
    operator.put_policy(domain, &some).await.expect("put");
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let page = bob.get(&format!("/servicekey?max=10&continuation-token={token}")).await;
        assert_eq!(page.status, 200, "{}", page.body);
        let list = page.body["objects_list"].as_array().expect("a list").clone();
        found.extend(
            list.iter().map(|key| key["id"].as_str().expect("an id").parse::<Uuid>().expect("a UUID")),
        );
        if page.body["is_truncated"] == json!(false) {
            break;
        }
        assert_eq!(list.len(), 10, "a page is full unless it is the last");
        token = page.text("continuation_token").to_owned();
    }
    let mut wanted = shown.clone();
    wanted.sort();
    assert_eq!(found, wanted);
    let secrets = bob.get(&v2).await;
    let mut paths: Vec<_> =
        secrets.body.as_array().expect("a list").iter().map(|one| one["path"].clone()).collect();
    paths.sort_by_key(Value::to_string);
    assert_eq!(paths, [json!("open/a"), json!("open/deep/c")]);
    let root = bob.get(&format!("/api/{domain}/v1/secret/metadata")).await;
    assert_eq!(root.body["data"]["keys"], json!(["open/"]));
    let closed = bob.get(&format!("/api/{domain}/v1/secret/metadata/closed/?list=true")).await;
    assert_eq!(closed.status, 404, "as if nothing were there");
}

#[tokio::test]
async fn a_revoked_credential_is_refused_within_the_bound_and_for_good() {
    let region = Region::new().await;
    let (operator, domain) = (region.operator(), region.domain());
    let (id, mut bob) = registered(&region, &[BOB]).await;
    assert_eq!(bob.get("/servicekey").await.status, 200);
    assert_eq!(operator.credentials(domain).await.expect("a list").len(), 1);
    operator.revoke(domain, id).await.expect("revoked");
    let refused = bob.get("/servicekey").await;
    assert_eq!(code(&refused), (401, "unauthorized"), "on a connection that was open");
    operator.revoke(domain, id).await.expect("it is already");
    let shown = operator.credential(domain, id).await.expect("it is kept");
    assert!(shown.revoked_s.is_some());
    let again = operator.register(domain, &Credential { revoked_s: None, ..shown }).await.err();
    assert_eq!(again.and_then(|error| error.status()), Some(409));
}

/// The access document as another host changes it: records of the shared store, of which this host hears nothing.
#[tokio::test]
async fn what_another_host_changed_holds_within_a_second_and_nothing_older_is_gone_by() {
    let region = Region::new().await;
    let (operator, domain) = (region.operator(), region.domain());
    let mut client = region.client().await;
    let key = client.create("k").await;
    let path = format!("/servicekey/{key}");
    assert_eq!(client.get(&path).await.status, 200);
    let before = region.store.lock().records.clone();
    operator.delete_named(domain, "policies", "default").await.expect("deleted");
    let after = region.store.lock().records.clone();
    // As if it had not happened yet: the host goes by that for a while.
    region.store.lock().records = before;
    assert_eq!(client.get(&path).await.status, 200);
    region.store.lock().records = after;
    region.env.sleep(STALE).await;
    assert_eq!(client.get(&path).await.status, 403, "the bound is over");

    operator.put_policy(domain, &Policy::open()).await.expect("put");
    assert_eq!(client.get("/random").await.status, 200);
    let down = |down| {
        let mut store = region.store.lock();
        (store.near_down, store.far_down) = (down, down);
    };
    down(true);
    assert_eq!(client.get("/random").await.status, 200, "what was known a moment ago");
    region.env.sleep(STALE).await;
    assert_eq!(code(&client.get("/random").await), (503, "refused"), "nobody says what holds now");
    down(false);
    assert_eq!(client.get("/random").await.status, 200);
}

#[tokio::test]
async fn a_stamp_or_a_policy_that_is_missing_is_not_taken_for_none() {
    let region = Region::new().await;
    let (operator, domain) = (region.operator(), region.domain());
    let narrow = policy("default", &[BOB], &["*"], &[], &["*"]);
    operator.put_policy(domain, &narrow).await.expect("put");
    let mut client = region.client().await;
    assert_eq!(client.get("/random").await.status, 403);
    let whole = region.store.lock().records.clone();
    for kind in [kms::vault::KIND_ACCESS_STAMP, kms::vault::KIND_POLICY] {
        region.env.sleep(STALE).await;
        assert_eq!(client.get("/random").await.status, 403, "all is there");
        region.store.lock().records.retain(|key, _| key.0[0] != kind);
        region.env.sleep(STALE).await;
        let answer = client.get("/random").await;
        let found = if kind == kms::vault::KIND_POLICY { 403 } else { 500 };
        // A missing policy shows when the document is read again, which a host does that has none.
        assert_eq!(answer.status, found, "{}", answer.body);
        let listed = operator.policies(domain).await.err();
        assert_eq!(listed.and_then(|error| error.status()), Some(500), "kind {kind}");
        region.store.lock().records = whole.clone();
        assert_eq!(client.get("/random").await.status, 403, "whole again, and known");
    }
}

#[tokio::test]
async fn while_a_change_is_in_doubt_only_what_holds_either_way_is_decided() {
    let region = Region::new().await;
    let (operator, domain) = (region.operator(), region.domain());
    let mut client = region.client().await;
    let (_, mut bob) = registered(&region, &[BOB]).await;
    let mine = policy("bob", &[BOB], &["*"], &[], &["*"]);
    operator.put_policy(domain, &mine).await.expect("put");
    region.store.lock().script.push_back(crate::store::Script::Doubt);
    region.store.lock().far_down = true;
    let unknown = operator.delete_named(domain, "policies", "default").await.err();
    assert_eq!(unknown.and_then(|error| error.status()), Some(504));
    assert_eq!(bob.get("/random").await.status, 200, "allowed under both outcomes");
    assert_eq!(code(&client.get("/random").await), (503, "refused"), "allowed under one");
    region.store.settle(true);
    region.env.sleep(Duration::from_millis(300)).await;
    assert_eq!(client.get("/random").await.status, 403);
    assert_eq!(bob.get("/random").await.status, 200);
}

#[tokio::test]
async fn groups_count_and_a_dry_run_says_why() {
    let region = Region::new().await;
    let (operator, domain) = (region.operator(), region.domain());
    let staff = Group { name: "staff".to_owned(), members: texts(&["urn:v1:eu:identity:user:acme/*"]) };
    operator.put_group(domain, &staff).await.expect("put");
    let urn = staff.urn(domain);
    let this = format!("urn:v1:eu:resource:okms:{domain}");
    let random = "okms:apikms:random/get";
    operator.put_policy(domain, &policy("default", &[&urn], &[random], &[], &[&this])).await.expect("put");
    let (id, mut bob) = registered(&region, &[BOB]).await;
    assert_eq!(bob.get("/random").await.status, 200);
    let tried = |credential, identities: &[&str]| Tried {
        identities: texts(identities),
        credential,
        action: random.to_owned(),
        resource: this.clone(),
    };
    let why = operator.test(domain, &tried(Some(id), &[])).await.expect("a decision");
    assert!(why.allowed && why.identities.contains(&urn), "{why:?}");
    assert_eq!((why.policy.as_deref(), why.action.as_deref()), (Some("default"), Some(random)));
    let why =
        operator.test(domain, &tried(None, &["urn:v1:eu:identity:user:other/x"])).await.expect("a decision");
    assert_eq!((why.allowed, why.policy), (false, None));
    operator.delete_named(domain, "groups", "staff").await.expect("deleted");
    assert_eq!(bob.get("/random").await.status, 403, "no group, no right");
}

#[tokio::test]
async fn what_makes_no_sense_is_said_at_once() {
    let region = Region::new().await;
    let (operator, domain) = (region.operator(), region.domain());
    let this = format!("urn:v1:eu:resource:okms:{domain}");
    let other = format!("urn:v1:eu:resource:okms:{}", region.bundle.clients[1].domain);
    let good = policy("p", &["*"], &["*"], &[], &[&this]);
    let cases = [
        ("no action", Policy { allow: texts(&["okms:apikms:serviceKey/fly"]), ..good.clone() }),
        ("no resource", Policy { resources: vec![other], ..good.clone() }),
        ("no resource", Policy { resources: vec![format!("{this}/serviceKey/*/x")], ..good.clone() }),
        ("urn:v1:eu:identity:", Policy { identities: texts(&["bob"]), ..good.clone() }),
        ("must allow or deny", Policy { allow: Vec::new(), ..good.clone() }),
    ];
    for (words, policy) in cases {
        match operator.put_policy(domain, &policy).await {
            Err(AdminError::Answered { status: 400, sentence, .. }) => {
                assert!(sentence.contains(words), "{sentence}");
            }
            other => panic!("{words}: {other:?}"),
        }
    }
    let nowhere = operator.policies(Uuid::from_u128(5)).await.err();
    assert_eq!(nowhere.and_then(|error| error.status()), Some(404));
    let counted = operator.inventory(domain).await.expect("counts");
    assert_eq!((counted.keys, counted.secrets), (0, 0));
    region.client().await.create("k").await;
    let counted = operator.inventory(domain).await.expect("counts");
    assert!(counted.keys == 1 && counted.bytes > 0);
}
