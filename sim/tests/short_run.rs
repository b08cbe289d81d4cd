//! Short runs of the whole service in the simulated world, from plan to verdicts. Without the simulator's build flags
//! the bytes of TLS differ from run to run; the verdicts may not.

use kms_sim::{
    plan::Plan,
    run::{report::HELD, sim},
    scenario::Scenario,
};

fn outcome(faults: &str, seed: u64) -> sim::Outcome {
    let text = format!(
        "name = \"short\"\nabout = \"a short run\"\npromises = []\n[topology]\nregion = \"eu-west-rbx\"\n\
         [phases]\nwarm = \"1s\"\nfaults = \"5s\"\nsettle = \"4s\"\n{faults}"
    );
    let scenario = Scenario::parse(&text).expect("scenario");
    sim::run(&Plan::draw(&scenario, seed).expect("plan"), None)
}

fn explained(outcome: &sim::Outcome) -> String {
    let report = &outcome.report;
    format!("{:?}\n{:?}\n{:?}\n{:#?}", report.failure, report.counts, report.probes, report.verdicts)
}

#[test]
fn nothing_fails_and_everything_holds() {
    let outcome = outcome("", 1);
    assert_eq!(outcome.report.exit, HELD, "{}", explained(&outcome));
    assert_eq!(outcome.report.counts.refused + outcome.report.counts.unknown, 0, "{}", explained(&outcome));
    assert!(outcome.report.counts.ok > 200, "{}", explained(&outcome));
    assert!(outcome.report.probes["end-check-keys"] > 10, "{}", explained(&outcome));
}

#[test]
fn a_zone_is_lost_and_comes_back() {
    let fault = "[[fault]]\ndo = \"power-cut\"\ntarget = \"zone:any\"\nat = \"1s\"\nfor = \"3s\"\ninside = \"disk-op\"\n";
    let outcome = outcome(fault, 2);
    assert_eq!(outcome.report.exit, HELD, "{}", explained(&outcome));
    assert!(outcome.report.counts.refused > 0, "{}", explained(&outcome));
}
