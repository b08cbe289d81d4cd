//! The nemesis against a world that writes down what it was asked.

use super::*;
use crate::{actions::CutMode, scenario::Scenario};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

#[derive(Default)]
struct Fake {
    now: Cell<Micros>,
    down: RefCell<BTreeSet<String>>,
    armed: RefCell<BTreeMap<String, Micros>>,
    /// An armed power cut strikes after this long.
    strikes_after: Option<Micros>,
    log: RefCell<Vec<String>>,
}

impl Fake {
    fn say(&self, what: String) {
        self.log.borrow_mut().push(format!("{} {what}", self.now.get() / 1000));
    }
    fn sleep(&self, span: Micros) -> std::future::Ready<()> {
        self.now.set(self.now.get() + span);
        let due: Vec<String> = self
            .armed
            .borrow()
            .iter()
            .filter(|(_, at)| self.strikes_after.is_some_and(|after| **at + after <= self.now.get()))
            .map(|(node, _)| node.clone())
            .collect();
        for node in due {
            self.armed.borrow_mut().remove(&node);
            self.down.borrow_mut().insert(node);
        }
        std::future::ready(())
    }
}

impl Actions for Fake {
    fn now(&self) -> Micros {
        self.now.get()
    }
    fn nodes(&self) -> Vec<String> {
        ["db-a", "db-b", "entry", "host-a1", "host-b1"].map(str::to_owned).to_vec()
    }
    fn is_up(&self, node: &str) -> bool {
        !self.down.borrow().contains(node)
    }
    fn kill(&self, node: &str) {
        self.down.borrow_mut().insert(node.to_owned());
        self.say(format!("kill {node}"));
    }
    fn power_cut(&self, node: &str) {
        self.down.borrow_mut().insert(node.to_owned());
        self.say(format!("power-cut {node}"));
    }
    fn power_cut_after(&self, node: &str, operations: u64) {
        self.armed.borrow_mut().insert(node.to_owned(), self.now.get());
        self.say(format!("arm {node} {operations}"));
    }
    fn cancel_power_cut(&self, node: &str) {
        if self.armed.borrow_mut().remove(node).is_some() {
            self.say(format!("disarm {node}"));
        }
    }
    fn boot(&self, node: &str) {
        assert!(self.down.borrow_mut().remove(node), "{node} was up");
        self.say(format!("boot {node}"));
    }
    fn shutdown(&self, node: &str) {
        self.down.borrow_mut().insert(node.to_owned());
        self.say(format!("shutdown {node}"));
    }
    fn pause(&self, node: &str) {
        self.say(format!("pause {node}"));
    }
    fn resume(&self, node: &str) {
        self.say(format!("resume {node}"));
    }
    fn cut(&self, from: &str, to: &str, mode: CutMode) {
        self.say(format!("cut {from} {to} {mode:?}"));
    }
    fn join(&self, from: &str, to: &str) {
        self.say(format!("join {from} {to}"));
    }
    fn join_all(&self) {
        self.say("join-all".to_owned());
    }
    fn slow(&self, from: &str, to: &str, extra_us: Micros) {
        self.say(format!("slow {from} {to} {extra_us}"));
    }
    fn slow_disk(&self, node: &str, extra_us: Micros) {
        self.say(format!("slow-disk {node} {extra_us}"));
    }
    fn fail_syncs(&self, node: &str, failing: bool) {
        self.say(format!("fail-syncs {node} {failing}"));
    }
    fn fill_disk(&self, node: &str, full: bool) {
        self.say(format!("fill-disk {node} {full}"));
    }
    fn set_wall_offset(&self, node: &str, offset_us: i64) {
        self.say(format!("wall {node} {offset_us}"));
    }
    fn lose_disk(&self, node: &str) {
        assert!(!self.is_up(node), "its disk taken from a running node");
        self.say(format!("lose-disk {node}"));
    }
    fn return_disk(&self, node: &str) {
        assert!(!self.is_up(node), "a disk put into a running node");
        self.say(format!("return-disk {node}"));
    }
    fn remember_disk(&self, node: &str) {
        self.say(format!("remember {node}"));
    }
    fn roll_back_disk(&self, node: &str) {
        assert!(!self.is_up(node), "rolled back under a running node");
        self.say(format!("roll-back {node}"));
    }
    fn trouble_store(&self, store: &str, trouble: StoreTrouble) {
        let StoreTrouble { cut, extra_us, midway, altered, hidden } = trouble;
        self.say(format!("store {store} {cut} {extra_us} {midway} {altered} {hidden}"));
    }
    fn lose_store(&self, store: &str) {
        self.say(format!("lose-store {store}"));
    }
    fn damage_store(&self, store: &str, objects: u32, draw: u64) -> u32 {
        self.say(format!("damage-store {store} {objects} {draw}"));
        objects
    }
    fn replace_machine(&self, node: &str, near: &[String], peer: &str, _: Option<Micros>) {
        self.say(format!("replace {node} near {} peer {peer}", near.join(" ")));
    }
    fn switch_off_old(&self, node: &str) {
        self.say(format!("switch-off-old {node}"));
    }
    fn rebuild(&self, node: &str, abandon: bool, instead: bool, _: Option<Micros>) {
        self.say(format!("rebuild {node} {abandon} {instead}"));
    }
    fn replace_witness(&self, _: Option<Micros>) {
        self.say("replace-witness".to_owned());
    }

    fn terminate_domain(&self, _: u64) {
        self.say("terminate-domain".to_owned());
    }

    fn seal(&self, node: &str, sealed: bool) {
        self.say(format!("seal {node} {sealed}"));
    }

    fn rotate_shares(&self) {
        self.say("rotate-shares".to_owned());
    }

    fn create_domain(&self, _: u64) {
        self.say("create-domain".to_owned());
    }

    fn restore(&self, backup: bool, _: Option<Micros>) {
        self.say(format!("restore {backup}"));
    }
    fn swap_records(&self, node: &str, draw: u64) -> Vec<String> {
        assert!(!self.is_up(node), "swapped under a running node");
        self.say(format!("swap {node} {draw}"));
        vec!["00".to_owned()]
    }
}

fn plan(heal: Heal, faults: Vec<Fault>) -> Plan {
    let text = "name = \"x\"\nabout = \"y\"\npromises = []\n[topology]\nregion = \"r\"\nhosts_per_zone = 1\n\
                [phases]\nfaults = \"10s\"\nsettle = \"1s\"\n";
    let mut plan = Plan::draw(&Scenario::parse(text).expect("scenario"), 1).expect("plan");
    plan.phases.heal = heal;
    plan.faults = faults;
    plan.check().expect("plan");
    plan
}

fn fault(at_ms: u64, until_ms: Option<u64>, act: Act) -> Fault {
    Fault { at_us: at_ms * 1000, until_us: until_ms.map(|until| until * 1000), act }
}

fn nodes(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn run(plan: &Plan, fake: &Fake) -> (Vec<String>, Done) {
    let mut work = std::pin::pin!(carry_out(plan, fake, fake.now(), |span| fake.sleep(span)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(done) = work.as_mut().poll(&mut context) else {
        panic!("the fake never waits")
    };
    (fake.log.borrow().clone(), done)
}

#[test]
fn overlapping_faults_keep_a_node_down_until_the_last_ends() {
    let plan = plan(
        Heal::All,
        vec![
            fault(1000, Some(3000), Act::Kill { nodes: nodes(&["db-a"]) }),
            fault(2000, Some(5000), Act::PowerCut { nodes: nodes(&["db-a", "host-a1"]), operation: None }),
        ],
    );
    let (log, done) = run(&plan, &Fake::default());
    assert_eq!(
        log,
        ["1000 kill db-a", "2000 power-cut host-a1", "5000 boot db-a", "5000 boot host-a1", "10000 join-all"]
    );
    assert_eq!(done.counts["kill"], 1);
    assert!(done.left_down.is_empty());
}

#[test]
fn a_replaced_machine_stays_with_its_hosts_until_it_is_switched_off() {
    let replaced = Act::ReplaceMachine { node: "db-b".to_owned(), wakes_us: None };
    let rebuilt =
        Act::Rebuild { node: "db-b".to_owned(), abandon: false, instead: false, interrupt_us: None };
    let plan = plan(Heal::All, vec![fault(1000, Some(3000), replaced), fault(2000, None, rebuilt)]);
    let (log, done) = run(&plan, &Fake::default());
    assert_eq!(
        log,
        [
            "1000 cut host-b1 db-a Hold",
            "1000 cut db-a host-b1 Hold",
            "1000 replace db-b near host-b1 peer db-a",
            "2000 rebuild db-b false false",
            "3000 switch-off-old db-b",
            "3000 join host-b1 db-a",
            "3000 join db-a host-b1",
            "10000 join-all"
        ]
    );
    assert_eq!(done.counts["replace-machine"], 1);
}

#[test]
fn a_power_cut_inside_a_disk_operation_takes_the_zone_with_it() {
    let act = Act::PowerCut { nodes: nodes(&["db-a", "host-a1"]), operation: Some(4) };
    let plan = plan(Heal::All, vec![fault(1000, Some(3000), act)]);
    let fake = Fake { strikes_after: Some(100_000), ..Fake::default() };
    let (log, done) = run(&plan, &fake);
    assert_eq!(
        log,
        [
            "1000 arm db-a 4",
            "1100 power-cut host-a1",
            "3000 boot db-a",
            "3000 boot host-a1",
            "10000 join-all"
        ]
    );
    assert_eq!(done.counts["power-cut-inside-disk-op"], 1);
}

#[test]
fn a_power_cut_that_finds_no_disk_operation_falls_back_to_time_or_is_withdrawn() {
    let act = |node: &str| Act::PowerCut { nodes: nodes(&[node]), operation: Some(9) };
    let plan = plan(Heal::All, vec![fault(0, Some(2000), act("db-b")), fault(1000, None, act("db-a"))]);
    let (log, done) = run(&plan, &Fake::default());
    assert_eq!(
        log,
        [
            "0 arm db-b 9",
            "1000 arm db-a 9",
            "2000 disarm db-b",
            "4000 disarm db-a",
            "4000 power-cut db-a",
            "10000 boot db-a",
            "10000 join-all"
        ]
    );
    assert_eq!(done.counts["power-cut-by-time-limit"], 1);
    assert_eq!(done.counts["power-cut-never-struck"], 1);
}

#[test]
fn links_are_joined_when_the_last_cut_ends_and_slowness_is_the_greatest() {
    let link = vec![("db-a".to_owned(), "db-b".to_owned())];
    let cut = |mode| Act::CutLink { links: link.clone(), mode };
    let slow = |extra_us| Act::SlowLink { links: link.clone(), extra_us };
    let plan = plan(
        Heal::All,
        vec![
            fault(1000, Some(3000), cut(CutMode::Hold)),
            fault(2000, Some(4000), cut(CutMode::Reset)),
            fault(5000, Some(7000), slow(9)),
            fault(6000, Some(8000), slow(4)),
        ],
    );
    let (log, _) = run(&plan, &Fake::default());
    assert_eq!(
        log,
        [
            "1000 cut db-a db-b Hold",
            "4000 join db-a db-b",
            "5000 slow db-a db-b 9",
            "6000 slow db-a db-b 9",
            "7000 slow db-a db-b 4",
            "8000 slow db-a db-b 0",
            "10000 join-all"
        ]
    );
}

#[test]
fn healing_nothing_or_some_leaves_the_rest_broken() {
    let faults = vec![
        fault(1000, None, Act::Kill { nodes: nodes(&["db-a"]) }),
        fault(1000, None, Act::Pause { nodes: nodes(&["host-a1"]) }),
        fault(1000, None, Act::FailSyncs { nodes: nodes(&["db-b"]) }),
    ];
    let started = ["1000 kill db-a", "1000 pause host-a1", "1000 fail-syncs db-b true"];
    let (log, done) = run(&plan(Heal::None, faults.clone()), &Fake::default());
    assert_eq!(log, started);
    assert_eq!(done.left_down, ["db-a"]);
    let some = Heal::Kinds([crate::scenario::FaultKind::FailSyncs, crate::scenario::FaultKind::Pause].into());
    let (log, done) = run(&plan(some, faults), &Fake::default());
    assert_eq!(log[3..], ["10000 resume host-a1", "10000 fail-syncs db-b false"]);
    assert_eq!(done.left_down, ["db-a"]);
}

#[test]
fn records_are_swapped_while_the_database_is_down_and_clocks_come_back() {
    let mut plan = plan(
        Heal::All,
        vec![
            fault(1000, Some(2000), Act::SwapRecords { node: "db-b".to_owned(), draw: 5 }),
            fault(3000, Some(4000), Act::WallOffset { nodes: nodes(&["db-a"]), offset_us: -50 }),
        ],
    );
    plan.clocks.insert("db-a".to_owned(), 7);
    let (log, done) = run(&plan, &Fake::default());
    assert_eq!(
        log,
        [
            "1000 kill db-b",
            "1000 swap db-b 5",
            "2000 boot db-b",
            "3000 wall db-a -43",
            "4000 wall db-a 7",
            "10000 join-all"
        ]
    );
    assert_eq!(done.counts["records-swapped"], 1);
}

#[test]
fn troubles_of_a_store_add_up_and_end_one_by_one() {
    let mut plan = plan(Heal::All, Vec::new());
    plan.topology.region = "eu-west-rbx".to_owned();
    (plan.topology.replica, plan.topology.backups) = (true, true);
    let stores = || nodes(&["eu-west-sbg"]);
    let store = || "eu-west-sbg".to_owned();
    plan.faults = vec![
        fault(1000, Some(3000), Act::CutStore { stores: stores() }),
        fault(2000, None, Act::FlakyStore { stores: stores(), midway: 1, altered: 2, hidden: 3 }),
        fault(4000, Some(5000), Act::SlowStore { stores: stores(), extra_us: 9 }),
        fault(6000, None, Act::DamageStore { store: store(), objects: 2, draw: 5 }),
        fault(7000, None, Act::LoseStore { store: store() }),
    ];
    plan.check().expect("plan");
    assert_eq!(Plan::parse(&plan.to_string()).expect("parses"), plan);
    let (log, done) = run(&plan, &Fake::default());
    assert_eq!(
        log,
        [
            "1000 store eu-west-sbg true 0 0 0 0",
            "2000 store eu-west-sbg true 0 1 2 3",
            "3000 store eu-west-sbg false 0 1 2 3",
            "4000 store eu-west-sbg false 9 1 2 3",
            "5000 store eu-west-sbg false 0 1 2 3",
            "6000 damage-store eu-west-sbg 2 5",
            "7000 lose-store eu-west-sbg",
            "10000 store eu-west-sbg false 0 0 0 0",
            "10000 join-all"
        ]
    );
    assert_eq!(done.counts["objects-damaged"], 2);
    // One of the two keeps everything, and there are two.
    plan.faults.push(fault(8000, None, Act::LoseStore { store: "eu-west-gra".to_owned() }));
    assert!(matches!(plan.check(), Err(crate::plan::BadPlan::OverBudget(_))));
    plan.faults.pop();
    plan.faults.push(fault(8000, None, Act::LoseStore { store: "eu-west-rbx".to_owned() }));
    assert!(matches!(plan.check(), Err(crate::plan::BadPlan::NoSuchStore(_))));
}
