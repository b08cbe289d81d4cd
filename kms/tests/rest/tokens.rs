//! Bearer tokens at the REST endpoint. What a token must be is tested beside the code that reads it.

use crate::{client::Client, region::Region};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use http_body_util::Full;
use kms::{
    config::AuditConfig,
    crypto::asymmetric::{Curve, Jwk, PrivateKey, Shape, SignatureAlgorithm},
    iam::{Issuer, Policy},
    limits::Limits,
};
use serde_json::{Value, json};

fn issuer(key: &PrivateKey) -> Issuer {
    Issuer {
        name: "idp".to_owned(),
        issuer: "https://idp".to_owned(),
        algorithm: "ES256".to_owned(),
        key: serde_json::to_value(Jwk::of_public(&key.public())).expect("JSON"),
        audience: None,
        identity_prefix: "urn:v1:eu:identity:user:acme/".to_owned(),
    }
}

fn token(region: &Region, key: &PrivateKey, claims: &Value) -> String {
    let header = json!({"alg": "ES256", "typ": "JWT"}).to_string();
    let signed = format!("{}.{}", B64.encode(header), B64.encode(claims.to_string()));
    let algorithm = SignatureAlgorithm::of_word("ES256").expect("an algorithm");
    let digest = algorithm.hash().digest(signed.as_bytes());
    let signature = key.sign(&region.env, algorithm, &digest).expect("signed");
    format!("{signed}.{}", B64.encode(signature))
}

async fn with(client: &mut Client, path: &str, header: &str, value: &str) -> u16 {
    let path = if path.starts_with("/api") { path.to_owned() } else { format!("{}{path}", client.base) };
    let request = http::Request::builder().uri(path).header("host", "kms").header(header, value);
    client.send(request.body(Full::default()).expect("a request")).await.expect("an answer").status
}

#[tokio::test]
async fn a_token_in_use_counts_for_its_domain_and_strangers_do_not_keep_it_out() {
    let limits = Limits {
        stranger_requests_per_s: 3,
        domain_requests_per_s: 1,
        domain_burst: 30,
        ..Limits::default()
    };
    let region = Region::with(limits).await;
    let key = PrivateKey::generate(&region.env, Shape::Ec(Curve::P256)).expect("a key");
    let issuer = issuer(&key);
    region.operator().put_issuer(region.domain(), &issuer).await.expect("put");
    let now = region.env.clock.wall().as_secs();
    let of = |exp| {
        let claims = json!({"iss": "https://idp", "sub": "bob", "exp": exp});
        format!("Bearer {}", token(&region, &key, &claims))
    };
    let (bob, another) = (of(now + 600), of(now + 601));
    let mut nobody = region.anonymous().await;
    assert_eq!(with(&mut nobody, "/random", "authorization", &bob).await, 200);
    let (mut drained, mut others, mut own) = (false, 0, 0);
    for _ in 0..50 {
        drained |= with(&mut nobody, "/random", "authorization", "Bearer x.y.z").await == 429;
        others += u32::from(with(&mut nobody, "/random", "authorization", &another).await == 429);
        own += u32::from(with(&mut nobody, "/random", "authorization", &bob).await == 429);
    }
    assert!(
        drained && others > 0,
        "strangers are held back, and a token that nobody knows yet is one of them"
    );
    assert!(own > 0, "the domain has its limit too");
    // What fails before anybody knows whether to believe it counts for strangers.
    let mut odd = Vec::new();
    for _ in 0..50 {
        odd.push(with(&mut nobody, "/api/x/v1/random", "authorization", &bob).await);
    }
    assert!(odd.contains(&429) && odd.iter().all(|status| [400, 429].contains(status)), "{odd:?}");
    let mut after = Vec::new();
    for _ in 0..100 {
        after.push(with(&mut nobody, "/random", "authorization", "Bearer x.y.z").await);
        // A second of the domain's is enough for one.
        region.env.sleep(std::time::Duration::from_millis(30)).await;
        after.push(with(&mut nobody, "/random", "authorization", &bob).await);
    }
    assert!(after.contains(&200), "strangers take nothing of the domain's: {after:?}");
}

#[tokio::test]
async fn strangers_leave_room_in_the_audit_for_those_whom_a_domain_knows() {
    // A mebibyte is kept free for requests under way; what is left takes some dozens of entries.
    let audit = AuditConfig { max_bytes: (1 << 20) + (64 << 10), ..AuditConfig::default() };
    let region = Region::audited(audit).await;
    let key = PrivateKey::generate(&region.env, Shape::Ec(Curve::P256)).expect("a key");
    region.operator().put_issuer(region.domain(), &issuer(&key)).await.expect("put");
    let claims = json!({"iss": "https://idp", "sub": "bob", "exp": region.env.clock.wall().as_secs() + 600});
    let bob = format!("Bearer {}", token(&region, &key, &claims));
    let mut nobody = region.anonymous().await;
    let mut refused = 0;
    while with(&mut nobody, "/random", "authorization", "Bearer x.y.z").await == 401 {
        refused += 1;
        assert!(refused < 200, "the spool is never crowded");
    }
    assert!(refused > 10, "it was not empty: {refused}");
    let there = crate::audit::entries(&region).len();
    for path in ["/random", "/servicekey", "/servicekey/x"] {
        assert_eq!(with(&mut nobody, path, "authorization", "Bearer x.y.z").await, 503);
        assert_eq!(with(&mut nobody, path, "accept", "*/*").await, 503, "who shows nothing at all");
    }
    let theirs = format!("/api/{}/v1/servicekey", region.domain());
    for path in [&theirs, &format!("{theirs}/x"), "/api/x/v1/servicekey"] {
        let answer = region.client_of(1).await.get(path).await;
        assert_eq!(
            answer.status, 503,
            "{path}: who belongs to another domain, or did not come to where it is looked at"
        );
    }
    assert_eq!(crate::audit::entries(&region).len(), there, "nothing was done, and nothing recorded");
    let mut client = region.client().await;
    let health = client.get("/healthz").await;
    assert_eq!((health.status, &health.body["audit"]), (200, &json!("ok")), "and it serves");
    assert_eq!(client.get("/random").await.status, 200);
    assert_eq!(with(&mut nobody, "/random", "authorization", &bob).await, 200, "a token that it never saw");
    assert_eq!(client.get("/servicekey/x").await.status, 400, "what is wrong with it is told to who may ask");
    assert_eq!(crate::audit::entries(&region).len(), there + 3);
    // What was believed before is no excuse.
    assert_eq!(with(&mut nobody, "/api/x/v1/random", "authorization", &bob).await, 503);
    assert_eq!(with(&mut nobody, "/servicekey/x", "authorization", &bob).await, 400);
    assert_eq!(crate::audit::entries(&region).len(), there + 4);
}

#[tokio::test]
async fn a_token_is_as_good_as_the_policies_for_its_subject() {
    let region = Region::new().await;
    let (operator, domain) = (region.operator(), region.domain());
    let key = PrivateKey::generate(&region.env, Shape::Ec(Curve::P256)).expect("a key");
    let issuer = issuer(&key);
    let now = region.env.clock.wall().as_secs();
    let of = |sub: &str, exp| token(&region, &key, &json!({"iss": "https://idp", "sub": sub, "exp": exp}));
    let bob = format!("Bearer {}", of("bob", now + 60));
    let mut nobody = region.anonymous().await;
    assert_eq!(with(&mut nobody, "/random", "authorization", &bob).await, 401, "no issuer yet");
    operator.put_issuer(domain, &issuer).await.expect("put");
    assert_eq!(with(&mut nobody, "/random", "authorization", &bob).await, 200);
    let eve = format!("Bearer {}", of("eve", now + 60));
    let narrow = Policy { identities: vec!["urn:v1:eu:identity:user:acme/bob".to_owned()], ..Policy::open() };
    operator.put_policy(domain, &narrow).await.expect("put");
    assert_eq!(with(&mut nobody, "/random", "authorization", &bob).await, 200);
    assert_eq!(with(&mut nobody, "/random", "authorization", &eve).await, 403);
    let old = format!("bearer {}", of("bob", now - 60));
    assert_eq!(with(&mut nobody, "/random", "authorization", &old).await, 401, "expired");
    assert_eq!(with(&mut nobody, "/random", "authorization", "Bearer x.y.z").await, 401);
    assert_eq!(with(&mut nobody, "/random", "authorization", "Basic eDp5").await, 401);
    // Another domain has not heard of the issuer, and one that is not there is no different.
    let theirs = format!("/api/{}/v1/random", region.bundle.clients[1].domain);
    assert_eq!(with(&mut nobody, &theirs, "authorization", &bob).await, 401);
    let none = format!("/api/{}/v1/random", uuid::Uuid::from_u128(5));
    assert_eq!(with(&mut nobody, &none, "authorization", &bob).await, 401);
    // Vault's clients have a header of their own, for secrets alone, and what stands there with a certificate is not looked at.
    let raw = of("bob", now + 60);
    assert_eq!(with(&mut nobody, "/secret/config", "x-vault-token", &raw).await, 200);
    assert_eq!(with(&mut nobody, "/random", "x-vault-token", &raw).await, 401);
    let mut client = region.client().await;
    assert_eq!(
        with(&mut client, "/secret/config", "x-vault-token", &raw).await,
        403,
        "the certificate decides"
    );
    assert_eq!(with(&mut client, "/secret/config", "authorization", &bob).await, 200, "the token decides");
    for none in ["Bearer", "bearer ", "Bearer\tx", "BEARER x.y.z"] {
        let status = with(&mut client, "/secret/config", "authorization", none).await;
        assert_eq!(status, 401, "{none:?}: what begins like a token does not fall back to the certificate");
    }
    assert_eq!(
        with(&mut client, "/secret/config", "authorization", "Basic eDp5").await,
        403,
        "the certificate decides"
    );
    operator.delete_named(domain, "issuers", "idp").await.expect("deleted");
    assert_eq!(with(&mut nobody, "/random", "authorization", &bob).await, 401);
}
