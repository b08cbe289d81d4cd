//! Tests of the whole path from history to decision.
use super::model::{Change, Check, Life, State, Use};
use super::search::{Machine, Step};
use super::*;
use crate::check::testing::{Build, MS, S, create, encrypt, get, ok_key, rejected, rename, view};
use crate::history::{Answer, Call, Outcome};
use proptest::prelude::*;

fn decide(items: &[Item], max: usize) -> (Decision, usize) {
    super::search::decide::<State>(items, max)
}

fn decision(build: &Build, key: &str) -> Decision {
    analyse(&build.history, &build.domains, 10_000).keys[key].decision.clone()
}

fn violated(build: &Build, key: &str) -> bool {
    matches!(decision(build, key), Decision::Violated(_))
}

const DONE: Outcome = Outcome::Ok(Answer::Done);

fn deactivate(key: &str) -> Call {
    Call::Deactivate { key: key.into(), reason: "unspecified".into() }
}

#[test]
fn a_stale_read_is_found_and_explained() {
    let mut build = Build::new();
    build.created("k", "one", S);
    let write = build.op(rename("k", "two"), 2 * S, 3 * S, DONE);
    build.read("k", 2 * S + 1, ok_key("k", "one", "active"));
    assert_eq!(decision(&build, "k"), Decision::Linearizable);
    let stale = build.read("k", 4 * S, ok_key("k", "one", "active"));
    let Decision::Violated(explanation) = decision(&build, "k") else { panic!("accepted") };
    assert_eq!((explanation.op, explanation.after), (stale, vec![0, write]));
}

#[test]
fn an_unknown_write_happens_once_or_never() {
    let mut build = Build::new();
    build.created("k", "one", S);
    build.op(rename("k", "two"), 2 * S, 3 * S, Outcome::Unknown);
    build.read("k", 4 * S, ok_key("k", "one", "active"));
    build.read("k", 5 * S, ok_key("k", "two", "active"));
    assert_eq!(decision(&build, "k"), Decision::Linearizable);
    build.op(rename("k", "three"), 6 * S, 7 * S, DONE);
    build.read("k", 8 * S, ok_key("k", "two", "active"));
    assert!(violated(&build, "k"), "took effect twice");
}

#[test]
fn a_refused_write_never_happens() {
    let mut build = Build::new();
    build.created("k", "one", S);
    build.op(rename("k", "two"), 2 * S, 3 * S, Outcome::Refused);
    build.read("k", 2 * S + MS, ok_key("k", "two", "active"));
    assert!(violated(&build, "k"));
    let mut build = Build::new();
    build.created("k", "one", S);
    build.op(deactivate("k"), 2 * S, 3 * S, Outcome::Refused);
    build.op(encrypt("k"), 4 * S, 5 * S, rejected(409));
    assert!(violated(&build, "k"));
}

#[test]
fn a_conflict_needs_an_existing_key() {
    let mut build = Build::new();
    build.op(create("k", "one"), S, 2 * S, Outcome::Unknown);
    build.op(create("k", "two"), 3 * S, 4 * S, rejected(409));
    assert_eq!(decision(&build, "k"), Decision::Linearizable);
    build.read("k", 5 * S, rejected(404));
    assert!(violated(&build, "k"), "409 from an in-doubt entry");
}

#[test]
fn a_destroyed_key_stays_destroyed() {
    let mut build = Build::new();
    build.created("k", "one", S);
    build.op(deactivate("k"), 2 * S, 3 * S, DONE);
    build.op(Call::Delete { key: "k".into() }, 4 * S, 5 * S, DONE);
    build.read("k", 6 * S, ok_key("k", "one", "destroyed"));
    build.op(encrypt("k"), 6 * S, 7 * S, rejected(404));
    assert_eq!(decision(&build, "k"), Decision::Linearizable);
    let mut again = Build::new();
    again.history = build.history.clone();
    again.created("k", "two", 8 * S);
    assert!(violated(&again, "k"), "created again");
    build.op(encrypt("k"), 8 * S, 9 * S, Outcome::Ok(Answer::Ciphertext("x".into())));
    assert!(violated(&build, "k"), "works again");
}

#[test]
fn an_answer_that_shows_another_name_than_was_written_is_found() {
    let mut build = Build::new();
    build.op(create("k", "one"), S, 2 * S, ok_key("k", "other", "active"));
    assert!(violated(&build, "k"));
    let mut build = Build::new();
    build.created("k", "one", S);
    build.read("k", 2 * S, ok_key("k", "one", "pre_active"));
    assert!(violated(&build, "k"), "no such state");
}

fn page(keys: &[&str], token: &str) -> Outcome {
    let keys = keys.iter().map(|key| view(key, "n", "active")).collect();
    Outcome::Ok(Answer::Page { keys, token: token.into(), truncated: !token.is_empty() })
}

fn list(state: &str, token: Option<&str>) -> Call {
    Call::List { state: state.into(), token: token.map(str::to_owned), max: 2 }
}

#[test]
fn pages_are_reads_of_what_they_show_and_of_what_they_leave_out() {
    let mut build = Build::new();
    for key in ["a", "b", "c", "d"] {
        build.created(key, "n", S);
    }
    build.op(list("all", None), 2 * S, 3 * S, page(&["a", "b"], "t1"));
    build.op(list("all", Some("t1")), 4 * S, 5 * S, page(&["d"], ""));
    assert!(violated(&build, "c"), "left out of a page that covers it");
    for key in ["a", "b", "d"] {
        assert_eq!(decision(&build, key), Decision::Linearizable, "{key}");
    }
    let mut build = Build::new();
    build.created("a", "n", S);
    build.op(deactivate("a"), 2 * S, 3 * S, DONE);
    build.op(list("active", None), 2 * S, 4 * S, page(&["a"], ""));
    build.op(list("active", None), 2 * S, 4 * S, page(&[], ""));
    assert_eq!(decision(&build, "a"), Decision::Linearizable);
    build.op(list("active", None), 5 * S, 6 * S, page(&["a"], ""));
    assert!(violated(&build, "a"), "listed as active after its deactivation");
}

#[test]
fn a_later_page_begins_after_the_one_its_token_came_from() {
    let mut build = Build::new();
    for key in ["a", "b", "c"] {
        build.created(key, "n", S);
    }
    build.op(list("active", None), 4 * S, 5 * S, page(&["a"], "t"));
    build.op(list("active", Some("t")), 8 * S, 9 * S, page(&["c"], ""));
    assert_eq!(decision(&build, "a"), Decision::Linearizable);
    assert!(violated(&build, "b"));
}

#[test]
fn pages_say_nothing_of_other_domains_and_tombstones_need_all() {
    let mut build = Build::new();
    build.created("a", "n", S);
    build.history.ops[0].client = 2;
    build.op(list("all", None), 4 * S, 5 * S, page(&[], ""));
    assert!(violated(&build, "a"));
    build.domains = BTreeMap::from([(1, "x".to_owned()), (2, "y".to_owned())]);
    assert_eq!(decision(&build, "a"), Decision::Linearizable);
    build.domains.clear();
    build.history.ops.pop();
    build.op(deactivate("a"), 2 * S, 3 * S, DONE);
    build.op(Call::Delete { key: "a".into() }, 4 * S, 5 * S, DONE);
    build.op(list("", None), 6 * S, 7 * S, page(&[], ""));
    assert_eq!(decision(&build, "a"), Decision::Linearizable);
    build.op(list("all", None), 8 * S, 9 * S, page(&[], ""));
    assert!(violated(&build, "a"));
}

#[test]
fn shown_ids_need_a_create() {
    let mut build = Build::new();
    build.op(Call::CreateUnnamed { name: "n".into() }, S, 2 * S, Outcome::Unknown);
    build.op(list("all", None), 3 * S, 4 * S, page(&["x"], ""));
    assert!(analyse(&build.history, &build.domains, 100).invented.is_empty());
    assert_eq!(decision(&build, "x"), Decision::Linearizable);
    let op = build.op(list("all", None), 5 * S, 6 * S, page(&["x", "y"], ""));
    let invented = analyse(&build.history, &build.domains, 100).invented;
    assert_eq!(invented, BTreeMap::from([("y".to_owned(), op)]));
}

#[test]
fn a_search_that_gives_up_says_so() {
    let mut build = Build::new();
    for number in 0..12 {
        build.op(rename("k", &format!("n{number}")), S, 2 * S, Outcome::Unknown);
        let name = format!("n{number}");
        build.op(get("k"), S, 2 * S, ok_key("k", &name, "active"));
    }
    build.op(create("k", "x"), 0, S, Outcome::Unknown);
    build.read("k", 3 * S, rejected(418));
    assert_eq!(analyse(&build.history, &build.domains, 3).keys["k"].decision, Decision::Undecided);
}

/// A history made by playing changes and reads one after the other, each inside its interval.
fn played(steps: &[(u8, u8, u8, u8)]) -> Vec<Item> {
    let mut state = State::ABSENT;
    let mut items = Vec::new();
    for (index, (what, name, before, after)) in steps.iter().enumerate() {
        let at = 1000 + index as u64 * 10;
        let (call, ret) = (at - u64::from(*before % 60), at + u64::from(*after % 60));
        let name = u32::from(*name % 4);
        let change = match what % 12 {
            0 | 1 => Some(Change::Create(name)),
            2 | 3 => Some(Change::Rename(name)),
            4 => Some(Change::Activate),
            5 => Some(Change::Deactivate),
            6 => Some(Change::Compromise),
            7 if name == 0 => Some(Change::Delete),
            _ => None,
        };
        let op = index as u64;
        let step = match (change, change.and_then(|change| state.after(&change))) {
            (Some(change), Some(next)) => {
                state = next;
                if after % 7 == 0 {
                    Step::Perhaps(change)
                } else {
                    Step::Changed(change, Some(Check::Shown(next)))
                }
            }
            (Some(change), None) => {
                let status = if state.life == Life::Absent { 404 } else { 409 };
                Step::Saw(Check::Denied { change, status })
            }
            (None, _) if state.life == Life::Absent => Step::Saw(Check::Missing),
            (None, _) if state.life == Life::Active && name == 1 => Step::Saw(Check::Worked(Use::Protect)),
            (None, _) => Step::Saw(Check::Shown(state)),
        };
        let ret = if matches!(step, Step::Perhaps(_)) { u64::MAX } else { ret };
        items.push(Item { op, call, ret, step });
    }
    items
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn played_histories_are_accepted(steps in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 0..120)) {
        prop_assert_eq!(decide(&played(&steps), 2_000_000).0, Decision::Linearizable);
    }

    #[test]
    fn a_read_of_what_was_never_written_is_rejected(
        steps in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 1..60), at in any::<prop::sample::Index>(),
    ) {
        let mut items = played(&steps);
        let index = at.index(items.len());
        items[index].step = Step::Saw(Check::Shown(State { life: Life::Active, name: 77 }));
        items[index].ret = items[index].ret.min(1_000_000);
        prop_assert!(matches!(decide(&items, 2_000_000).0, Decision::Violated(_)));
    }

    #[test]
    fn a_read_after_everything_sees_the_end(steps in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 1..60)) {
        let certain: Vec<_> = steps.iter().map(|(what, name, _, _)| (*what, *name, 0, 1)).collect();
        let mut items = played(&certain);
        let mut state = State::ABSENT;
        for item in &items {
            if let Step::Changed(change, _) = item.step {
                state = state.after(&change).expect("played");
            }
        }
        let wrong = if state.life == Life::Active { Life::Deactivated } else { Life::Active };
        let last = Item { op: 999, call: 5000, ret: 5001, step: Step::Saw(Check::Shown(State { life: wrong, ..state })) };
        items.push(last);
        prop_assert!(matches!(decide(&items, 100_000).0, Decision::Violated(_)));
    }
}

/// Twelve writers at a time on one key, 600 operations, 1 of 7 writes with an unknown outcome: far worse than
/// what a scenario does.
#[test]
fn a_crowded_key_is_decided_within_few_configurations() {
    let mut steps = Vec::new();
    let mut seed = 12345_u32;
    for _ in 0..600 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [a, b, c, d] = seed.to_be_bytes();
        // Creation first, no destruction, unknown outcomes in one of seven writes.
        let what = if steps.is_empty() { 0 } else { a % 7 + 2 + u8::from(a % 7 == 5) * 4 };
        steps.push((what, b ^ d, c, d));
    }
    let (decision, visited) = decide(&played(&steps), 100_000);
    assert_eq!(decision, Decision::Linearizable);
    assert!(visited < 50_000, "{visited} configurations");
}

/// A hot key in a storm: one write in four with an unknown outcome, then a read that nothing explains. The
/// search must exhaust everything.
#[test]
fn a_violation_after_a_storm_is_decided() {
    for start in 0..4_u32 {
        let mut steps = vec![(0, 0, 0, 1)];
        let mut seed = start;
        for _ in 0..300 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [a, b, c, d] = seed.to_be_bytes();
            let (before, after) = (c % 30, if d % 8 == 0 { 7 } else { 1 + d % 25 });
            steps.push((if a % 3 == 0 { 2 + a / 3 % 5 } else { 9 }, b, before, after));
        }
        let mut items = played(&steps);
        let unknown = items.iter().filter(|item| matches!(item.step, Step::Perhaps(_))).count();
        let shown = Check::Shown(State { life: Life::Active, name: 77 });
        items.push(Item { op: 999, call: 9_000, ret: 9_001, step: Step::Saw(shown) });
        let (decision, visited) = decide(&items, 5_000_000);
        assert!(matches!(decision, Decision::Violated(_)), "{unknown} unknown, {visited} configurations");
        assert!(visited < 50_000, "{unknown} unknown, {visited} configurations");
    }
}

/// Every order of every choice of uncertain writes, without any cleverness.
fn brute_force(items: &[Item], placed: u32, state: State) -> bool {
    let open = |index: &usize| placed >> index & 1 == 0;
    let must = |item: &Item| !matches!(item.step, Step::Perhaps(_));
    if (0..items.len()).filter(open).all(|index| !must(&items[index])) {
        return true;
    }
    let limit = (0..items.len()).filter(open).map(|index| &items[index]).filter(|item| must(item));
    let limit = limit.map(|item| item.ret).min().unwrap_or(u64::MAX);
    (0..items.len()).filter(open).filter(|index| items[*index].call <= limit).any(|index| {
        let after = match items[index].step {
            Step::Saw(check) => state.explains(&check).then_some(state),
            Step::Perhaps(change) => state.after(&change),
            Step::Changed(change, view) => {
                state.after(&change).filter(|state| view.is_none_or(|view| state.explains(&view)))
            }
        };
        after.is_some_and(|after| brute_force(items, placed | 1 << index, after))
    })
}

fn any_item() -> impl Strategy<Value = Item> {
    let life = prop_oneof![
        Just(Life::Active),
        Just(Life::Deactivated),
        Just(Life::Compromised),
        Just(Life::Destroyed)
    ];
    let change = prop_oneof![
        3 => (0u32..2).prop_map(Change::Create),
        2 => (0u32..2).prop_map(Change::Rename),
        1 => Just(Change::Activate),
        2 => Just(Change::Deactivate),
        1 => Just(Change::Compromise),
        1 => Just(Change::Delete),
    ];
    let state = (life, 0u32..2).prop_map(|(life, name)| State { life, name });
    let step = prop_oneof![
        3 => change.clone().prop_map(|change| Step::Changed(change, None)),
        3 => change.clone().prop_map(Step::Perhaps),
        3 => state.prop_map(|state| Step::Saw(Check::Shown(state))),
        1 => Just(Step::Saw(Check::Missing)),
        1 => Just(Step::Saw(Check::Worked(Use::Protect))),
        1 => Just(Step::Saw(Check::Failed(Use::Open, 409))),
        1 => change.prop_map(|change| Step::Saw(Check::Denied { change, status: 409 })),
    ];
    (step, 0u64..12, 0u64..8).prop_map(|(step, call, length)| {
        let ret = if matches!(step, Step::Perhaps(_)) { u64::MAX } else { call + length };
        Item { op: 0, call, ret, step }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn the_search_agrees_with_brute_force(items in proptest::collection::vec(any_item(), 0..7)) {
        let expected = brute_force(&items, 0, State::ABSENT);
        prop_assert_eq!(decide(&items, 100_000).0 == Decision::Linearizable, expected);
    }
}
