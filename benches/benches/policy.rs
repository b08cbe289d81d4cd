//! What a decision about access costs in a domain with 1,000 policies, all of them about whoever asks, against a P-256 signature of bare *ring*.

use criterion::Criterion;
use kms::{
    crypto::asymmetric::{Curve, PrivateKey, Shape},
    env::Env,
    iam::{Document, Policy, Rights, action},
};
use kms_benches::{
    bare::Keys,
    report::{self, Mode, Series},
};
use std::{collections::BTreeSet, hint::black_box, path::Path, time::Duration};
use uuid::Uuid;

/// Policies of the domain.
const POLICIES: u32 = 1_000;
/// Interleaved rounds behind each printed ratio, and operations in each.
const ROUNDS: u32 = 200;
const IN_ROUND: u32 = 100;
/// Share of a signature that a decision may cost.
const LIMIT: f64 = 0.125;

const DOMAIN: Uuid = Uuid::from_u128(7);

/// Whose keys begin so.
fn begin(number: u32) -> String {
    format!("{number:08x}")
}

/// A key that a policy is about.
fn key(number: u32) -> Uuid {
    Uuid::from_u128(u128::from(number) << 96 | 5)
}

/// Each policy allows two identities, a group and whoever asks to use the keys whose ids begin with its number; of each tenth it denies one.
fn document(who: &str) -> Document {
    let policy = |number: u32| {
        let urn = format!("urn:v1:eu:resource:okms:{DOMAIN}/serviceKey/");
        let denies = number.is_multiple_of(10);
        let others = (0..2).map(|other| format!("urn:v1:eu:identity:account:other-{number}-{other}"));
        Policy {
            name: format!("policy-{number}"),
            identities: others.chain([who.to_owned()]).collect(),
            allow: if denies { Vec::new() } else { vec!["okms:apikms:serviceKey/*".to_owned()] },
            deny: if denies { vec!["okms:apikms:serviceKey/encrypt".to_owned()] } else { Vec::new() },
            resources: vec![format!("{urn}{}*", begin(number))],
        }
    };
    let policies: Vec<Policy> = (0..POLICIES).map(policy).collect();
    policies.iter().for_each(|policy| policy.check(DOMAIN).expect("a policy that may be written"));
    Document::new(DOMAIN, policies, Vec::new(), Vec::new())
}

/// What a host does for each request: finds what concerns whoever asks, and decides.
fn decide(document: &Document, who: &BTreeSet<String>, of: Uuid) -> bool {
    Rights::new(DOMAIN, [document], who).authorize::<action::Encrypt>(of).is_ok()
}

async fn policy(env: &Env) {
    let who = format!("urn:v1:eu:identity:account:{DOMAIN}");
    let (document, identities) = (document(&who), BTreeSet::from([who]));
    let cases = [
        ("allowed", key(POLICIES - 1), true),
        ("denied by a policy", key(POLICIES - 10), false),
        ("allowed by none", key(POLICIES + 1), false),
    ];
    let [ec, rsa] = [Shape::Ec(Curve::P256), Shape::Rsa(2048)]
        .map(|shape| PrivateKey::generate(env, shape).expect("made"));
    let bare = Keys::new(ec.to_pkcs8().expose(), rsa.to_pkcs8().expose());
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    let mut group = criterion.benchmark_group(format!("decision, {POLICIES} policies"));
    for (what, of, expected) in cases {
        assert_eq!(decide(&document, &identities, of), expected, "{what}");
        group.bench_function(what, |b| b.iter(|| decide(&document, &identities, of)));
    }
    group.finish();
    criterion.final_summary();
    let rounds = if report::mode() == Mode::Measure { ROUNDS } else { 1 };
    report::line(format_args!("a decision with {POLICIES} policies, turn by turn:"));
    for (what, of, _) in cases {
        let (mut decision, mut signature) = (Series::NONE, Series::NONE);
        for _ in 0..rounds {
            let before = env.now();
            (0..IN_ROUND).for_each(|_| drop(black_box(bare.sign_ec(&[5; 256]))));
            signature.add(env.now().since(before) / IN_ROUND);
            let before = env.now();
            (0..IN_ROUND)
                .for_each(|_| assert!(black_box(decide(&document, &identities, of)) || what != "allowed"));
            decision.add(env.now().since(before) / IN_ROUND);
        }
        report::time(what, &decision);
        report::time("P-256 signature of bare ring", &signature);
        report::ratio(
            &format!("a decision, {what} / P-256 of bare ring"),
            &decision,
            &signature,
            Some(LIMIT),
        );
    }
}

fn main() {
    if report::mode() == Mode::List {
        return;
    }
    let base = (env!("CARGO_TARGET_TMPDIR"), "policy");
    kms_benches::parts(base, &[("policy", ())], async |env: &Env, _: &Path, ()| policy(env).await);
}
