//! The vocabulary is closed, and every committed scenario is in it.

use super::*;

const SMALL: &str = r#"
name = "x"
about = "y"
promises = ["G1"]
[topology]
region = "eu-west-rbx"
[phases]
faults = "10s"
settle = "5s"
"#;

fn with(fault: &str) -> Result<Scenario, BadScenario> {
    Scenario::parse(&format!("{SMALL}\n[[fault]]\n{fault}"))
}

#[test]
fn the_smallest_scenario_reads() {
    let scenario = Scenario::parse(SMALL).expect("reads");
    assert_eq!(scenario.load.rate_per_s, 50);
    assert_eq!(scenario.phases.heal, HealSpec::Word(HealWord::All));
    assert!(!scenario.long);
}

#[test]
fn faults_read() {
    for good in [
        "do = \"power-cut\"\ntarget = \"zone:any\"\nat = \"1s..2s\"\nfor = \"3s\"",
        "do = \"power-cut\"\ntarget = \"database:a\"\nat = \"1s\"\ninside = { disk-op = 2, time = 1 }\noperations = \"1..9\"",
        "do = { kill = 1, pause = 2 }\ntarget = { \"host:any\" = 1, \"node:db-a\" = 1 }\nat = \"1s\"",
        "do = \"cut-link\"\ntarget = \"link:zones\"\nat = \"1s\"\nways = \"a-to-b\"\nmode = { hold = 1, reset = 1 }",
        "do = \"restart\"\ntarget = \"nodes:all\"\nat = \"1s\"\nfor = \"1s\"\nhow = \"kill\"\ngap = \"2s\"",
        "do = \"return-disk\"\ntarget = \"node:witness\"\nat = \"1s\"\nfor = \"1s\"",
        "do = \"replace-witness\"\ntarget = \"node:witness\"\nat = \"1s\"\ninterrupt = \"5ms..1s\"",
        "do = \"rebuild\"\ntarget = \"database:a\"\nat = \"1s\"\ninstead = true",
    ] {
        with(good).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
}

#[test]
fn faults_of_stores_need_stores() {
    let backups = SMALL.replace("[phases]", "replica = true\nbackups = true\n[phases]");
    let with = |fault: &str| Scenario::parse(&format!("{backups}\n[[fault]]\n{fault}"));
    for good in [
        "do = \"cut-store\"\ntarget = \"store:both\"\nat = \"1s\"\nfor = \"2s\"",
        "do = { slow-store = 1, cut-store = 2 }\ntarget = \"store:first\"\nat = \"1s\"\nfor = \"2s\"\nextra = \"1s..5s\"",
        "do = \"flaky-store\"\ntarget = \"store:any\"\nat = \"1s\"\nmidway = \"100..500\"\naltered = 0\nhidden = 1",
        "do = \"lose-store\"\ntarget = \"store:second\"\nat = \"1s\"",
        "do = \"damage-store\"\ntarget = \"store:any\"\nat = \"1s\"\nobjects = \"1..9\"",
    ] {
        with(good).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    for bad in [
        "do = \"cut-store\"\ntarget = \"store:third\"\nat = \"1s\"",
        "do = \"cut-store\"\ntarget = \"node:replica\"\nat = \"1s\"",
        "do = \"kill\"\ntarget = \"store:any\"\nat = \"1s\"",
        "do = \"lose-store\"\ntarget = \"store:both\"\nat = \"1s\"",
        "do = \"flaky-store\"\ntarget = \"store:any\"\nat = \"1s\"\nmidway = 1001",
        "do = \"cut-store\"\ntarget = \"store:any\"\nat = \"1s\"\nobjects = 2",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
    assert!(Scenario::parse(&backups.replace("replica = true", "")).is_err());
    assert!(Scenario::parse(&backups.replace("eu-west-rbx", "eu-west-other")).is_err());
}

#[test]
fn what_is_not_in_the_vocabulary_is_refused() {
    for bad in [
        "do = \"meteor\"\ntarget = \"zone:any\"\nat = \"1s\"",
        "do = \"kill\"\ntarget = \"zone:c\"\nat = \"1s\"",
        "do = \"kill\"\ntarget = \"link:zones\"\nat = \"1s\"",
        "do = \"cut-link\"\ntarget = \"zone:a\"\nat = \"1s\"",
        "do = \"fail-syncs\"\ntarget = \"host:any\"\nat = \"1s\"",
        "do = \"fill-disk\"\ntarget = \"host:any\"\nat = \"1s\"",
        "do = \"fill-disk\"\ntarget = \"database:a\"\nat = \"1s\"",
        "do = \"swap-records\"\ntarget = \"database:both\"\nat = \"1s\"",
        "do = \"kill\"\ntarget = \"zone:a\"\nat = \"2s..1s\"",
        "do = \"kill\"\ntarget = \"zone:a\"\nat = \"1.5s\"",
        "do = \"kill\"\ntarget = \"zone:a\"\nat = \"1s\"\nmode = \"hold\"",
        "do = \"kill\"\ntarget = \"zone:a\"\nat = \"1s\"\nsurprise = 1",
        "do = \"kill\"\ntarget = \"zone:a\"\nat = \"1s\"\nchance = \"2/1\"",
        "do = \"restart\"\ntarget = \"nodes:all\"\nat = \"1s\"",
        "do = \"replace-witness\"\ntarget = \"database:a\"\nat = \"1s\"",
        "do = \"abandon\"\ntarget = \"database:a\"\nat = \"1s\"\ninstead = true",
        "do = \"roll-back-disk\"\ntarget = \"node:witness\"\nat = \"1s\"",
        "do = \"cut-store\"\ntarget = \"store:any\"\nat = \"1s\"",
        "do = { kill = 0 }\ntarget = \"zone:a\"\nat = \"1s\"",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
    assert!(Scenario::parse(&SMALL.replace("G1", "G15")).is_err());
    assert!(Scenario::parse(&SMALL.replace("settle", "setle")).is_err());
    assert!(Scenario::parse(&format!("{SMALL}\nheal = \"some\"")).is_err());
    assert!(Scenario::parse(&format!("{SMALL}\n[limits]\nping_ms = 0")).is_err());
}

#[test]
fn disks_of_hosts_fail_where_they_have_an_audit() {
    let audited = SMALL.replace("[phases]", "audit = true\n[phases]");
    let with = |fault: &str| Scenario::parse(&format!("{audited}\n[[fault]]\n{fault}\nat = \"1s\""));
    with("do = \"fill-disk\"\ntarget = \"hosts:all\"").expect("reads");
    with("do = \"fail-syncs\"\ntarget = \"host:any\"").expect("reads");
    for bad in ["fill-disk\"\ntarget = \"database:a\"", "slow-disk\"\ntarget = \"host:any\""] {
        assert!(with(&format!("do = \"{bad}")).is_err(), "{bad}");
    }
}

#[test]
fn secrets_do_not_go_with_what_their_model_does_not_know() {
    let load =
        SMALL.replace("[phases]", "replica = true\nbackups = true\n[load]\nsecrets_percent = 30\n[phases]");
    let with = |fault: &str| Scenario::parse(&format!("{load}\n[[fault]]\n{fault}"));
    with("do = \"kill\"\ntarget = \"host:any\"\nat = \"1s\"").expect("reads");
    for bad in [
        "do = \"swap-records\"\ntarget = \"database:a\"\nat = \"1s\"\nfor = \"1s\"",
        "do = \"restore-from-backup\"\ntarget = \"node:replica\"\nat = \"1s\"",
    ] {
        let error = with(bad).expect_err(bad).to_string();
        assert!(error.contains("secrets_percent"), "{bad}: {error}");
    }
    assert!(Scenario::parse(&load.replace("= 30", "= 101")).is_err());
}

#[test]
fn who_may_do_what_reads_and_is_bounded() {
    let with = |access: &str| Scenario::parse(&format!("{SMALL}[access]\n{access}"));
    let access =
        with("visitors = \"2..3\"\nmix = { credential = 1 }").expect("reads").access.expect("access");
    assert_eq!((access.visitors.low, access.rate_per_s, access.mix.len()), (2, 30, 1));
    for bad in [
        "visitors = 1",
        "visitors = 9",
        "rate_per_s = 0",
        "changes = 101",
        "mix = { policy = 0 }",
        "guests = 3",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
    let restored =
        "visitors = 2\n[[fault]]\ndo = \"swap-records\"\ntarget = \"database:a\"\nat = \"1s\"\nfor = \"1s\"";
    assert!(with(restored).is_err());
}
