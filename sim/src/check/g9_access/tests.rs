//! Every kind of violation has a history that shows it, and one beside it that does not.

use super::{check, model::means};
use crate::{
    access::{Attempt, Bearer, Change, Policy, Said},
    check::testing::{
        Build, MS, S, assert_held, create, encrypt, get, kinds, ok_key, rejected, rename, view,
    },
    history::{Answer, Call, Micros, Outcome, What},
    report::Judgement,
};
use proptest::prelude::*;

const LOAD: u32 = 1;
/// Its credential is registered as that of ann.
const ANN: u32 = 2;
/// Has a token for bob.
const BOB: u32 = 3;
/// Of another domain.
const ELSE: u32 = 4;
const NOBODY: u32 = 5;

fn list(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn policy(name: &str, who: &[&str], allow: &[&str], deny: &[&str], on: &[&str]) -> Change {
    let on = on.iter().map(|on| format!("urn:v1:eu:resource:okms:d{on}")).collect();
    Change::Policy(Policy {
        name: name.into(),
        identities: list(who),
        allow: list(allow),
        deny: list(deny),
        resources: on,
    })
}

fn changed(build: &mut Build, change: &Change, begun: Micros, done: Option<(Micros, Attempt)>) {
    let what = |step| What::Access { domain: "d".into(), change: change.clone(), step };
    build.event(begun, what(Attempt::Begun));
    if let Some((at, step)) = done {
        build.event(at, what(step));
    }
}

/// A change that is acknowledged 10 ms after it was sent.
fn done(build: &mut Build, change: &Change, at: Micros) {
    changed(build, change, at, Some((at + 10 * MS, Attempt::Acknowledged)));
}

/// Ann may read all keys but one through the group, bob may encrypt, the load's client everything.
fn region() -> Build {
    let mut build = Build::new();
    build.domains = [(LOAD, "d"), (ANN, "d"), (BOB, "d"), (ELSE, "e"), (NOBODY, "d")]
        .map(|(client, domain)| (client, domain.to_owned()))
        .into();
    build.bearers = [
        (LOAD, Bearer::Certificate("load".into())),
        (ANN, Bearer::Certificate("a".into())),
        (BOB, Bearer::Token { issuer: "idp".into(), subject: "bob".into() }),
        (ELSE, Bearer::Certificate("e".into())),
        (NOBODY, Bearer::Nobody("nothing".into())),
    ]
    .into();
    build.visitors_from = ANN;
    (build.history.load_from, build.history.faults_from) = (2 * S, 2 * S);
    let group = Change::Group { name: "staff".into(), members: list(&["urn:v1:eu:identity:user:ann"]) };
    for change in [
        policy("load", &["urn:v1:eu:identity:credential:d/load"], &["*"], &[], &["*"]),
        Change::Credential { id: "a".into(), identities: list(&["urn:v1:eu:identity:user:ann"]) },
        Change::Issuer { name: "idp".into(), prefix: "urn:v1:eu:identity:user:".into() },
        group,
        policy(
            "read",
            &["urn:v1:eu:identity:group:d/staff"],
            &["okms:apikms:serviceKey/get"],
            &[],
            &["/serviceKey/*"],
        ),
        policy("no", &["*"], &[], &["okms:*"], &["/serviceKey/hidden"]),
        policy(
            "seal",
            &["urn:v1:eu:identity:user:b*"],
            &["okms:apikms:serviceKey/encrypt"],
            &[],
            &["/serviceKey/k"],
        ),
    ] {
        done(&mut build, &change, 100 * MS);
    }
    let change = policy("all", &["*"], &["*"], &[], &["*"]);
    changed(&mut build, &change, 200 * MS, Some((210 * MS, Attempt::Refused)));
    build.created("k", "n", 3 * S);
    build.created("hidden", "h", 3 * S);
    build
}

fn asks(build: &mut Build, client: u32, call: Call, at: Micros, outcome: Outcome) {
    build.op(call, at, at + 10 * MS, outcome);
    if let Some(op) = build.history.ops.last_mut() {
        op.client = client;
    }
}

fn read() -> Outcome {
    ok_key("k", "n", "active")
}

fn sealed() -> Outcome {
    Outcome::Ok(Answer::Ciphertext("c".into()))
}

fn judged(ask: impl FnOnce(&mut Build)) -> Vec<String> {
    let mut build = region();
    ask(&mut build);
    kinds(&check(&build.input())).into_iter().map(str::to_owned).collect()
}

#[test]
fn without_bearers_nothing_is_judged() {
    let mut build = region();
    build.bearers.clear();
    assert_eq!(check(&build.input()).judgement(), Judgement::NotExercised);
}

#[test]
fn what_policies_say_comes() {
    let mut build = region();
    asks(&mut build, ANN, get("k"), 4 * S, read());
    asks(&mut build, ANN, get("none"), 4 * S, rejected(404));
    asks(&mut build, ANN, get("hidden"), 4 * S, rejected(403));
    asks(&mut build, ANN, encrypt("k"), 4 * S, rejected(403));
    asks(&mut build, BOB, encrypt("k"), 4 * S, sealed());
    asks(&mut build, BOB, get("k"), 4 * S, rejected(403));
    asks(&mut build, NOBODY, get("k"), 4 * S, rejected(401));
    asks(&mut build, LOAD, rename("k", "m"), 4 * S, ok_key("k", "m", "active"));
    asks(&mut build, ANN, get("k"), 4 * S, Outcome::Refused);
    let verdict = check(&build.input());
    assert_held(&verdict);
    assert_eq!(verdict.measures["denied_count"], 4.0);
}

#[test]
fn whoever_is_served_or_denied_against_the_policies_is_found() {
    assert_eq!(judged(|build| asks(build, BOB, get("k"), 4 * S, read())), ["served"]);
    assert_eq!(judged(|build| asks(build, ANN, get("hidden"), 4 * S, read())), ["served"]);
    assert_eq!(judged(|build| asks(build, NOBODY, encrypt("k"), 4 * S, sealed())), ["served"]);
    assert_eq!(judged(|build| asks(build, ANN, get("k"), 4 * S, rejected(403))), ["denied"]);
    assert_eq!(judged(|build| asks(build, BOB, get("none"), 4 * S, rejected(404))), ["discloses"]);
    assert_eq!(judged(|build| asks(build, ANN, encrypt("k"), 4 * S, rejected(401))), ["other-denial"]);
    // The operator was refused that one.
    assert_eq!(judged(|build| asks(build, ANN, encrypt("k"), S, sealed())), ["served"]);
}

#[test]
fn a_change_holds_a_second_after_it_was_acknowledged() {
    let at = 10 * S;
    let served = |change: &Change, after: Micros| {
        judged(|build| {
            done(build, change, at);
            asks(build, ANN, get("k"), at + 10 * MS + after, read());
        })
    };
    let others = Change::Group { name: "staff".into(), members: list(&["urn:v1:eu:identity:user:zoe"]) };
    let all = [
        Change::PolicyGone { name: "read".into() },
        Change::GroupGone { name: "staff".into() },
        Change::Revoked { id: "a".into() },
        policy("no", &["*"], &[], &["okms:*"], &["/serviceKey/*"]),
        others,
    ];
    for change in &all {
        assert!(served(change, S - MS).is_empty(), "{change:?}");
        assert_eq!(served(change, S), ["served"], "{change:?}");
    }
    // And the other way round.
    let grant = policy("more", &["*"], &["*"], &[], &["/serviceKey/k"]);
    let denied = |after: Micros| {
        judged(|build| {
            done(build, &grant, at);
            asks(build, BOB, get("k"), at + 10 * MS + after, rejected(403));
        })
    };
    assert!(denied(S - MS).is_empty());
    assert_eq!(denied(S), ["denied"]);
    let gone = Change::IssuerGone { name: "idp".into() };
    let with_token = |outcome: Outcome| {
        judged(|build| {
            done(build, &gone, at);
            asks(build, BOB, encrypt("k"), at + 2 * S, outcome);
        })
    };
    assert!(with_token(rejected(401)).is_empty());
    assert_eq!(with_token(sealed()), ["served"]);
}

#[test]
fn old_knowledge_is_measured() {
    let mut build = region();
    done(&mut build, &Change::Revoked { id: "a".into() }, 10 * S);
    asks(&mut build, ANN, get("k"), 10 * S + 510 * MS, read());
    let verdict = check(&build.input());
    assert_eq!(verdict.measures["old_knowledge_ms_max"], 500.0, "{verdict:?}");
    assert!(verdict.violations.is_empty());
}

#[test]
fn while_nobody_knows_whether_it_was_done_either_will_do() {
    let revoked = Change::Revoked { id: "a".into() };
    let unknown = |done: Option<(Micros, Attempt)>, outcome: Outcome, at: Micros| {
        judged(|build| {
            changed(build, &revoked, 10 * S, done);
            asks(build, ANN, get("k"), at, outcome);
        })
    };
    for done in [None, Some((11 * S, Attempt::Unknown))] {
        assert!(unknown(done, read(), 50 * S).is_empty());
        assert!(unknown(done, rejected(401), 50 * S).is_empty());
        assert_eq!(unknown(done, rejected(401), 9 * S), ["denied"]);
    }
    let refused = Some((11 * S, Attempt::Refused));
    assert_eq!(unknown(refused, rejected(401), 50 * S), ["denied"]);
}

#[test]
fn lists_show_what_may_be_read_and_all_of_it() {
    let page = |keys: &[&str]| {
        let keys = keys.iter().map(|key| view(key, "x", "active")).collect();
        Outcome::Ok(Answer::Page { keys, token: "t".into(), truncated: false })
    };
    let call = || Call::List { state: "all".into(), token: None, max: 100 };
    let listed = |client, outcome: Outcome| judged(|build| asks(build, client, call(), 4 * S, outcome));
    assert!(listed(ANN, page(&["k"])).is_empty());
    assert_eq!(listed(ANN, page(&["hidden", "k"])), ["listed"]);
    assert_eq!(listed(ANN, page(&[])), ["left-out"]);
    assert!(listed(BOB, rejected(403)).is_empty());
    assert_eq!(listed(BOB, page(&[])), ["served"]);
    // Ann may be denied some keys, so perhaps all of them: that is not looked into.
    assert_eq!(listed(LOAD, rejected(401)), ["denied"]);
}

#[test]
fn nothing_is_done_abroad_and_nothing_seen() {
    let abroad = || Call::Abroad { domain: "d".into(), call: Box::new(get("k")) };
    let from = |client, outcome: Outcome| {
        judged(|build| {
            let there = Change::PolicyGone { name: "x".into() };
            build.event(S, What::Access { domain: "e".into(), change: there, step: Attempt::Acknowledged });
            asks(build, client, abroad(), 4 * S, outcome);
        })
    };
    assert!(from(ELSE, rejected(403)).is_empty());
    assert_eq!(from(ELSE, rejected(404)), ["abroad"]);
    assert_eq!(from(BOB, rejected(403)), ["abroad"]);
    assert_eq!(from(ELSE, read()), ["abroad", "tenant"]);
}

#[test]
fn a_denial_says_the_same_of_everything() {
    let said = |texts: [&str; 2]| {
        judged(|build| {
            for text in texts {
                asks(build, ANN, encrypt("k1"), 4 * S, rejected(403));
                let op = build.history.ops.len() as u64 - 1;
                build.history.denials.push(Said { op, status: 403, text: text.into() });
            }
        })
    };
    assert!(said(["no", "no"]).is_empty());
    assert_eq!(said(["no", "never"]), ["discloses"]);
    assert_eq!(said(["not k1", "not k1"]), ["discloses", "discloses"]);
}

#[test]
fn what_was_denied_is_never_seen() {
    let seen = |outcome: Outcome| {
        judged(|build| {
            asks(build, BOB, rename("k", "other"), 4 * S, rejected(403));
            asks(build, BOB, create("l", "more"), 4 * S, rejected(403));
            asks(build, ANN, get("k"), 5 * S, outcome);
        })
    };
    assert!(seen(read()).is_empty());
    assert_eq!(seen(ok_key("k", "other", "active")), ["done-though-denied"]);
}

#[test]
fn what_had_to_be_denied_is_never_seen_even_if_nobody_was_told() {
    let seen = |who: u32| {
        judged(|build| {
            asks(build, who, rename("k", "other"), 4 * S, Outcome::Unknown);
            asks(build, ANN, get("k"), 5 * S, ok_key("k", "other", "active"));
        })
    };
    assert!(seen(LOAD).is_empty());
    assert_eq!(seen(BOB), ["done-though-denied"]);
}

#[test]
fn a_calm_moment_has_exact_answers() {
    let calm = |outcome: Outcome| {
        judged(|build| {
            build.history.ops.clear();
            build.created("k", "n", S);
            asks(build, BOB, encrypt("k"), S + 200 * MS, outcome);
        })
    };
    assert!(calm(sealed()).is_empty());
    assert_eq!(calm(rejected(409)), ["not-done"]);
    assert_eq!(calm(Outcome::Refused), ["not-decided"]);
}

fn plainly(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| plainly(rest, &text[skip..])),
        Some((byte, rest)) => {
            text.split_first().is_some_and(|(first, text)| first == byte && plainly(rest, text))
        }
    }
}

proptest! {
    #[test]
    fn stars_mean_what_they_mean(pattern in "[ab*]{0,7}", text in "[ab]{0,9}") {
        prop_assert_eq!(means(&pattern, &text), plainly(pattern.as_bytes(), text.as_bytes()));
    }
}
