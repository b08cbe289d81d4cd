//! Plans repeat, print and parse back equal, and stay inside the budget.

use super::*;
use crate::scenario::{Scenario, WITNESS};
use proptest::prelude::*;

const STORM: &str = r#"
name = "storm"
about = "everything"
promises = ["G1", "G11"]
[topology]
region = "eu-west-rbx"
hosts_per_zone = "1..3"
clients = "2..6"
domains = "1..2"
[clocks]
offset = "0s..30s"
[storm]
count = "0..12"
kinds = { power-cut = 4, kill = 2, pause = 2, shutdown = 1, cut-link = 3, slow-link = 1, slow-disk = 1, wall-offset = 1, fail-syncs = 1 }
leave_out = "1/3"
nodes = { "zone:any" = 1, "database:any" = 3, "host:any" = 3, "zone:both" = 1 }
links = { "link:zones" = 2, "link:databases" = 2, "link:host-far" = 1, "link:host-near" = 1 }
at = "0s..55s"
for = "200ms..15s"
[[fault]]
do = "restart"
target = "nodes:all"
at = "5s"
for = "1s..2s"
chance = "1/2"
how = { shutdown = 1, kill = 1, power-cut = 1 }
[[fault]]
do = "swap-records"
target = "database:any"
at = "5s"
for = "3s"
chance = "1/4"
[phases]
faults = "60s"
heal = "all"
settle = "20s"
"#;

fn drawn(seed: u64) -> Plan {
    let scenario = Scenario::parse(STORM).expect("scenario");
    Plan::draw(&scenario, seed).expect("plan")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn text_parses_back_equal(seed in any::<u64>()) {
        let plan = drawn(seed);
        let text = plan.to_string();
        prop_assert_eq!(&Plan::parse(&text).expect("parses"), &plan);
        prop_assert_eq!(Plan::parse(&text).expect("parses").to_string(), text);
    }

    #[test]
    fn damaged_text_never_panics(seed in any::<u64>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = drawn(seed).to_string().into_bytes();
        let index = at.index(text.len());
        text[index] = byte;
        if let Ok(text) = String::from_utf8(text) {
            let _ = Plan::parse(&text);
        }
    }
}

fn with_visitors(seed: u64) -> Plan {
    let visitors = "[access]\nvisitors = \"2..5\"\nchanges = \"0..20\"\nmix = { policy = 2, group = 1, credential = 2, issuer = 1 }\n";
    // Swapped records take access with them.
    let text = STORM.replace("swap-records", "pause").replacen("[storm]", &format!("{visitors}[storm]"), 1);
    Plan::draw(&Scenario::parse(&text).expect("scenario"), seed).expect("plan")
}

#[test]
fn visitors_and_changes_of_access_are_drawn_print_and_parse_back() {
    let mut kinds = BTreeSet::new();
    for seed in 0..40 {
        let plan = with_visitors(seed);
        assert_eq!(Plan::parse(&plan.to_string()).expect("parses"), plan);
        let access = plan.access.expect("access");
        assert_eq!(access.exhibits.len(), plan.topology.domains as usize);
        assert!((2 * plan.topology.domains as usize..).contains(&access.visitor.len()));
        kinds.extend(access.change.iter().map(|planned| {
            let change = format!("{:?}", planned.change);
            change.split([' ', '(']).next().unwrap_or_default().to_owned()
        }));
        let first = access.change.iter().filter(|planned| planned.at_us.is_none());
        assert!(first.count() >= 10);
    }
    assert_eq!(kinds.len(), 8, "{kinds:?}");
}

#[test]
fn a_change_of_access_names_what_is_there() {
    let mut plan = with_visitors(3);
    let stranger = plan.visitor(99);
    let access = plan.access.as_mut().expect("access");
    let id = format!("{{client-{stranger}}}");
    access.change[0].change = crate::access::Change::Revoked { id };
    assert!(plan.check().is_err());
}

#[test]
fn a_seed_repeats_and_seeds_differ() {
    assert_eq!(drawn(7), drawn(7));
    assert_ne!(drawn(7).faults, drawn(8).faults);
}

#[test]
fn a_swarm_leaves_kinds_out_and_no_kind_always() {
    let mut seen = BTreeMap::new();
    for seed in 0..200 {
        let kinds: BTreeSet<_> = drawn(seed).faults.iter().map(|fault| fault.act.kind()).collect();
        for kind in kinds {
            *seen.entry(kind).or_insert(0) += 1;
        }
    }
    assert!(seen.len() >= 9, "{seen:?}");
    assert!(seen.values().all(|count| *count < 200), "{seen:?}");
}

#[test]
fn taking_a_fault_away_leaves_the_others() {
    let scenario = Scenario::parse(STORM).expect("scenario");
    let mut less = scenario.clone();
    less.fault.pop();
    let (all, less) = (Plan::draw(&scenario, 3).expect("plan"), Plan::draw(&less, 3).expect("plan"));
    let without: Vec<_> =
        all.faults.into_iter().filter(|fault| fault.act.kind() != FaultKind::SwapRecords).collect();
    assert_eq!(without, less.faults);
}

#[test]
fn plans_beyond_the_budget_are_refused() {
    let swap = |node: &str| Fault {
        at_us: 1,
        until_us: Some(2),
        act: Act::SwapRecords { node: node.to_owned(), draw: u64::MAX },
    };
    let mut plan = drawn(1);
    plan.faults = vec![swap("db-a")];
    assert_eq!(plan.check(), Ok(()));
    plan.faults.push(swap("db-b"));
    assert!(matches!(plan.check(), Err(BadPlan::OverBudget(_))));
    let replaced = |node: &str| Act::ReplaceMachine { node: node.to_owned(), wakes_us: None };
    let at_once = |act| Fault { at_us: 0, until_us: None, act };
    let rebuilt = |node: &str| Act::Rebuild {
        node: node.to_owned(),
        abandon: false,
        instead: false,
        interrupt_us: None,
    };
    plan.faults = vec![at_once(replaced("db-a")), at_once(rebuilt("db-a"))];
    assert_eq!(plan.check(), Ok(()));
    plan.faults = vec![at_once(replaced("db-a"))];
    assert!(matches!(plan.check(), Err(BadPlan::OverBudget(_))), "nobody makes it anew");
    plan.faults = vec![at_once(replaced("db-a")), at_once(replaced("db-a")), at_once(rebuilt("db-a"))];
    assert!(matches!(plan.check(), Err(BadPlan::OverBudget(_))), "there is one spare machine");
    let instead = Act::Rebuild { node: "db-a".to_owned(), abandon: false, instead: true, interrupt_us: None };
    plan.faults = vec![at_once(replaced("db-a")), at_once(instead.clone())];
    assert_eq!(plan.check(), Ok(()));
    plan.faults = vec![at_once(instead)];
    assert!(matches!(plan.check(), Err(BadPlan::OverBudget(_))), "it is whole");
    plan.faults = vec![at_once(replaced("host-a1")), at_once(rebuilt("db-a"))];
    assert!(matches!(plan.check(), Err(BadPlan::OverBudget(_))), "a host keeps nothing");
    plan.faults =
        vec![Fault { at_us: 0, until_us: None, act: Act::Kill { nodes: vec!["entry".to_owned()] } }];
    assert!(matches!(plan.check(), Err(BadPlan::OverBudget(_))));
    plan.faults = vec![Fault { at_us: 0, until_us: None, act: Act::Kill { nodes: vec!["db-c".to_owned()] } }];
    assert_eq!(plan.check(), Err(BadPlan::NoSuchNode("db-c".to_owned())));
    plan.faults =
        vec![Fault { at_us: 5, until_us: Some(4), act: Act::Kill { nodes: vec!["db-a".to_owned()] } }];
    assert!(matches!(plan.check(), Err(BadPlan::Senseless(_))));
}

#[test]
fn a_witness_that_is_lost_is_replaced_before_a_database_is() {
    let at = |at_us, act| Fault { at_us, until_us: Some(at_us), act };
    let lost = |node: &str| Act::LoseDisk { nodes: vec![node.to_owned()] };
    let returned = || Act::ReturnDisk { node: WITNESS.to_owned() };
    let replaced = || Act::ReplaceWitness { interrupt_us: None };
    let rebuilt =
        || Act::Rebuild { node: "db-a".to_owned(), abandon: false, instead: false, interrupt_us: None };
    let checked = |acts: Vec<Act>| {
        let mut plan = drawn(1);
        plan.faults = acts.into_iter().zip(1..).map(|(act, at_us)| at(at_us, act)).collect();
        assert_eq!(
            Plan::parse(&toml::to_string(&plan).expect("text")).ok(),
            plan.check().ok().map(|()| plan.clone())
        );
        plan.check()
    };
    for good in [
        vec![lost("witness"), replaced()],
        vec![lost("witness"), replaced(), lost("db-a"), rebuilt()],
        vec![lost("witness"), replaced(), returned(), returned()],
        vec![lost("witness"), replaced(), returned(), lost("witness"), replaced()],
    ] {
        assert_eq!(checked(good.clone()), Ok(()), "{good:?}");
    }
    for bad in [
        vec![lost("witness")],
        vec![returned(), replaced()],
        vec![lost("witness"), replaced(), returned()],
        vec![lost("witness"), lost("db-a"), replaced(), rebuilt()],
    ] {
        assert!(matches!(checked(bad.clone()), Err(BadPlan::OverBudget(_))), "{bad:?}");
    }
}

#[test]
fn a_witness_in_the_replicas_process_is_lost_with_it() {
    let drawn = |rest: &str| {
        let text = format!(
            "name = \"x\"\nabout = \"x\"\npromises = []\n[topology]\nregion = \"eu-west-rbx\"\nreplica = true\n\
             witness_with_replica = true\n[phases]\nfaults = \"9s\"\nheal = \"all\"\nsettle = \"9s\"\n{rest}"
        );
        Plan::draw(&Scenario::parse(&text).expect("a scenario"), 1)
    };
    let fault = |what: &str, target: &str, at: u32| {
        format!("[[fault]]\ndo = \"{what}\"\ntarget = \"{target}\"\nat = \"{at}s\"\n")
    };
    let lost = fault("lose-disk", "node:replica", 1);
    let replaced = fault("replace-witness", "node:witness", 2);
    let zone = fault("lose-disk", "database:a", 3) + &fault("rebuild", "database:a", 4);
    let plan = drawn(&format!("{lost}{replaced}{zone}")).expect("a plan");
    assert_eq!(plan.topology.witness(), REPLICA);
    assert!(!plan.nodes().iter().any(|node| node == WITNESS), "{:?}", plan.nodes());
    assert_eq!(Plan::parse(&plan.to_string()), Ok(plan));
    let killed = drawn(&fault("kill", "node:witness", 1)).expect("a plan");
    assert_eq!(killed.faults[0].act, Act::Kill { nodes: vec![REPLICA.to_owned()] });
    let everything = fault("lose-disk", "nodes:region-and-replica", 1);
    let restored = fault("restore-from-backup", "node:replica", 2);
    drawn(&format!("{everything}{restored}")).expect("the witness begins with the restore");
    for bad in [
        lost.clone(),
        format!("{lost}{zone}"),
        everything.clone(),
        everything + &fault("restore-from-replica", "node:replica", 2),
        fault("lose-disk", "database:a", 1)
            + &fault("lose-disk", "nodes:region-and-replica", 2)
            + &fault("replace-witness", "node:witness", 3),
    ] {
        assert!(matches!(drawn(&bad), Err(BadPlan::OverBudget(_))), "{bad}");
    }
}

#[test]
fn every_committed_scenario_draws() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut files = crate::library::scenario_files(&dir).expect("scenarios");
    assert!(files.len() >= 8, "{files:?}");
    files.extend(crate::library::scenario_files(&dir.join("stories")).expect("stories"));
    for file in files {
        let text = crate::library::read(&file).expect("readable");
        let scenario = Scenario::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(file.file_stem().and_then(|stem| stem.to_str()), Some(scenario.name.as_str()));
        for seed in 0..50 {
            let plan =
                Plan::draw(&scenario, seed).unwrap_or_else(|error| panic!("{}: {error}", scenario.name));
            assert!(plan.load.rate_per_s == 0 || plan.load.hot_percent >= 20, "{}", scenario.name);
        }
    }
}
