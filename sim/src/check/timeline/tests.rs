//! Which events make which spans and losses.

use super::*;
use crate::check::testing::{Build, S};

fn timeline(build: &Build) -> Timeline {
    Timeline::new(&build.input())
}

#[test]
fn nodes_go_down_and_come_back() {
    let mut build = Build::new();
    build.down("db-b", 10 * S).up("db-b", 20 * S).paused("host-a1", 12 * S).resumed("host-a1", 13 * S);
    let timeline = timeline(&build);
    assert_eq!(timeline.unavailable("db-b"), Spans::of([(10 * S, 20 * S)]));
    assert_eq!(timeline.unavailable("host-a1"), Spans::of([(12 * S, 13 * S)]));
    assert_eq!(timeline.unavailable("db-a"), Spans::default());
    assert_eq!(timeline.chain_broken(), &Spans::of([(10 * S, 20 * S)]));
    assert_eq!(timeline.disturbed(), &Spans::of([(10 * S, 20 * S)]));
    assert_eq!(timeline.write_loss_starts(), [10 * S]);
    assert_eq!(timeline.path_loss_starts(), [12 * S]);
}

#[test]
fn a_first_up_means_down_before_and_a_second_down_changes_nothing() {
    let mut build = Build::new();
    build.up("db-a", S).down("db-a", 5 * S).down("db-a", 6 * S).up("db-a", 7 * S).up("db-a", 8 * S);
    assert_eq!(timeline(&build).unavailable("db-a"), Spans::of([(0, S), (5 * S, 7 * S)]));
}

#[test]
fn a_start_at_zero_is_a_start() {
    let mut build = Build::new();
    build.up("db-a", 0).up("host-b1", 0);
    let timeline = timeline(&build);
    assert_eq!(timeline.worst_loss(4 * S, 4 * S), Loss::Beyond);
    assert_eq!(timeline.worst_loss(6 * S, 6 * S), Loss::Nothing);
}

#[test]
fn an_exit_is_down_until_up_and_ends_a_pause() {
    let mut build = Build::new();
    build.paused("db-a", S).event(2 * S, What::Exited { node: "db-a".into(), why: "panic".into() });
    build.up("db-a", 3 * S);
    assert_eq!(timeline(&build).unavailable("db-a"), Spans::of([(S, 3 * S)]));
}

#[test]
fn a_one_way_cut_breaks_the_chain_and_lasts_until_joined() {
    let mut build = Build::new();
    build.cut("db-b", "db-a", 4 * S).joined("db-b", "db-a", 6 * S).cut("host-b1", "db-a", 7 * S);
    let timeline = timeline(&build);
    assert_eq!(timeline.chain_broken(), &Spans::of([(4 * S, 6 * S)]));
    assert_eq!(timeline.host_database_cuts(build.topology()), Spans::of([(7 * S, FOREVER)]));
    assert_eq!(timeline.worst_loss(5 * S, 5 * S), Loss::ZoneLink);
}

#[test]
fn losses_are_classified_and_recovering_nodes_count() {
    let mut build = Build::new();
    build.down("host-a1", 10 * S).up("host-a1", 12 * S);
    build.down("db-a", 30 * S).down("host-a1", 40 * S).down("host-a2", 40 * S);
    build.down("host-b1", 60 * S);
    let timeline = timeline(&build);
    assert_eq!(timeline.worst_loss(S, 9 * S), Loss::Nothing);
    assert_eq!(timeline.worst_loss(11 * S, 11 * S), Loss::Host);
    assert_eq!(timeline.worst_loss(16 * S, 16 * S), Loss::Host, "still recovering");
    assert_eq!(timeline.worst_loss(18 * S, 18 * S), Loss::Nothing);
    assert_eq!(timeline.worst_loss(29 * S, 31 * S), Loss::Database);
    assert_eq!(timeline.worst_loss(41 * S, 41 * S), Loss::Zone);
    assert_eq!(timeline.worst_loss(61 * S, 61 * S), Loss::Beyond);
}

#[test]
fn a_host_cut_off_from_every_database_is_left_while_another_is_not() {
    let mut build = Build::new();
    build
        .cut("host-a1", "db-b", 10 * S)
        .joined("host-a1", "db-b", 20 * S)
        .down("db-a", 12 * S)
        .up("db-a", 30 * S);
    assert_eq!(timeline(&build).path_loss_starts(), [12 * S]);
    // Nowhere is better: nobody is moved; until another host has a database again.
    let mut build = Build::new();
    build.down("db-a", 10 * S).down("db-b", 11 * S).cut("host-a1", "db-b", 12 * S).up("db-b", 20 * S);
    assert_eq!(timeline(&build).path_loss_starts(), [20 * S]);
    let mut build = Build::new();
    build.down("db-a", 10 * S).down("db-b", 11 * S).up("db-b", 20 * S);
    assert_eq!(timeline(&build).path_loss_starts(), [0_u64; 0]);
}

#[test]
fn cuts_are_classified() {
    let topology = Topology::standard(2, false);
    let link = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let ask = |lost: &[&str], links: &[(String, String)]| {
        classify(&topology, lost.iter().copied().collect(), links.iter().collect())
    };
    assert_eq!(ask(&[], &[link("host-a1", "host-b1")]), Loss::Nothing);
    assert_eq!(ask(&[], &[link("host-a1", "db-a")]), Loss::Host);
    assert_eq!(ask(&[], &[link("host-a1", "db-b"), link("db-a", "db-b")]), Loss::ZoneLink);
    assert_eq!(ask(&[], &[link("host-a1", "db-a"), link("host-b1", "db-a")]), Loss::Database);
    assert_eq!(ask(&[], &[link("host-a1", "db-a"), link("host-b1", "db-b")]), Loss::Beyond);
    assert_eq!(ask(&["db-a"], &[link("host-a1", "db-a"), link("db-b", "db-a")]), Loss::Database);
    assert_eq!(ask(&["db-a"], &[link("host-a1", "db-b")]), Loss::Beyond);
    assert_eq!(ask(&[], &[link("entry", "host-a1")]), Loss::Host);
    assert_eq!(ask(&[], &[link("client-1", "entry")]), Loss::Beyond);
    assert_eq!(ask(&["entry"], &[]), Loss::Beyond);
    assert_eq!(ask(&["client-1"], &[]), Loss::Nothing);
    assert_eq!(ask(&["host-a1", "host-b1"], &[]), Loss::Beyond);
}

#[test]
fn hosts_live_while_the_entry_reaches_one() {
    let mut build = Build::new();
    for host in ["host-a1", "host-a2", "host-b1"] {
        build.down(host, S);
    }
    build.cut("entry", "host-b2", 2 * S).joined("entry", "host-b2", 3 * S).down("entry", 4 * S);
    let living = timeline(&build).living_host().clone();
    assert_eq!(living, Spans::of([(0, 2 * S), (3 * S + S / 2, 4 * S)]));
}

#[test]
fn a_host_with_a_full_disk_turns_clients_away_until_they_are_sent_elsewhere() {
    let full = |node: &str| What::DiskFull { node: node.into() };
    let freed = |node: &str| What::DiskFreed { node: node.into() };
    let mut build = Build::new();
    build.event(10 * S, full("host-a1")).event(20 * S, freed("host-a1"));
    let one = timeline(&build);
    assert_eq!(one.worst_loss(15 * S, 15 * S), Loss::Host);
    assert_eq!(one.turned_away(3 * S), Spans::of([(10 * S, 13 * S)]));
    for host in ["host-a1", "host-a2", "host-b1", "host-b2"] {
        build.event(40 * S, full(host)).event(45 * S, freed(host));
    }
    let all = timeline(&build).turned_away(3 * S);
    assert!(all.covers(40 * S, 46 * S) && !all.contains(48 * S), "{all:?}");
}

#[test]
fn other_faults_disturb() {
    let mut build = Build::new();
    build.other_faults.push(crate::check::OtherFault {
        from: S,
        until: None,
        what: "slow disk".into(),
        of: crate::check::FaultOf::Region,
    });
    assert_eq!(timeline(&build).worst_loss(2 * S, 2 * S), Loss::Beyond);
    assert!(timeline(&build).disturbed().contains(2 * S));
}

#[test]
fn a_node_that_was_asked_to_stop_is_leaving_until_it_is_down() {
    let stopped = |node: &str| What::Down { node: node.into(), how: Stop::Shutdown };
    let mut build = Build::new();
    let asked = What::Probe { name: SHUTDOWN_ASKED.into(), node: "db-a".into() };
    build.event(10 * S, asked).event(13 * S, stopped("db-a")).up("db-a", 20 * S);
    build.event(40 * S, stopped("host-a1"));
    let timeline = timeline(&build);
    assert_eq!(timeline.chain_broken(), &Spans::of([(13 * S, 20 * S)]));
    assert_eq!(timeline.databases_leaving(build.topology()), Spans::of([(10 * S, 13 * S)]));
    assert_eq!(timeline.unavailable("db-a"), Spans::of([(10 * S, 20 * S)]));
    assert_eq!(timeline.write_loss_starts(), [10 * S, 13 * S]);
    assert_eq!(timeline.path_loss_starts(), [39 * S, 40 * S]);
}

#[test]
fn a_rebuild_is_over_when_that_of_the_other_database_takes_its_place() {
    let step = |node: &str, step| What::Rebuild { node: node.into(), step };
    let mut build = Build::new();
    build.event(10 * S, step("db-b", Rebuild::Begun)).event(11 * S, step("db-b", Rebuild::Adopted));
    build.down("db-a", 20 * S).event(20 * S, What::DiskLost { node: "db-a".into() }).up("db-a", 21 * S);
    build.event(30 * S, step("db-a", Rebuild::Begun)).event(31 * S, step("db-a", Rebuild::Adopted));
    build.event(32 * S, step("db-a", Rebuild::Activating)).event(33 * S, step("db-a", Rebuild::Activated));
    build.event(40 * S, step("db-b", Rebuild::GivenUp));
    let over = timeline(&build);
    assert_eq!(over.chain_broken(), &Spans::of([(11 * S, 32 * S)]));
    assert_eq!(over.unavailable("db-b"), Spans::of([(10 * S, 33 * S)]));
    assert_eq!(over.unavailable("db-a"), Spans::of([(20 * S, 33 * S)]));
    // One that was finished before has nothing to do with it.
    let mut build = Build::new();
    build.event(10 * S, step("db-b", Rebuild::Begun)).event(11 * S, step("db-b", Rebuild::Adopted));
    build.event(12 * S, step("db-b", Rebuild::Activated)).event(20 * S, step("db-b", Rebuild::Begun));
    build.event(30 * S, step("db-a", Rebuild::Adopted)).event(31 * S, step("db-a", Rebuild::Activated));
    assert_eq!(timeline(&build).unavailable("db-b"), Spans::of([(10 * S, 12 * S), (20 * S, FOREVER)]));
}

/// A region is restored, and while its databases become active, one of them gets the disk back that it had before.
#[test]
fn an_activation_says_nothing_of_a_disk_that_was_put_in_meanwhile() {
    let mut build = Build::new();
    let databases = ["db-a", "db-b"];
    let all = |build: &mut Build, at, step: Rebuild| {
        for node in databases {
            build.event(at, What::Rebuild { node: node.into(), step });
        }
    };
    for node in databases {
        build.down(node, 10 * S).event(10 * S, What::DiskLost { node: node.into() }).up(node, 11 * S);
    }
    all(&mut build, 20 * S, Rebuild::Begun);
    all(&mut build, 21 * S, Rebuild::Adopted);
    all(&mut build, 22 * S, Rebuild::Activating);
    build.down("db-b", 23 * S).event(23 * S, What::DiskReturned { node: "db-b".into() });
    all(&mut build, 24 * S, Rebuild::Activated);
    build.up("db-b", 25 * S);
    let step = |step| What::Rebuild { node: "db-b".into(), step };
    build.event(30 * S, step(Rebuild::Begun)).event(31 * S, step(Rebuild::Adopted));
    build.event(32 * S, step(Rebuild::Activating)).event(33 * S, step(Rebuild::Activated));
    let timeline = timeline(&build);
    assert_eq!(timeline.unavailable("db-a"), Spans::of([(10 * S, 24 * S)]));
    assert_eq!(timeline.unavailable("db-b"), Spans::of([(10 * S, 33 * S)]));
}

#[test]
fn a_replica_that_is_the_witness_too_is_away_like_one() {
    let mut build = Build::new();
    build.down("replica", 10 * S).event(10 * S, What::DiskLost { node: "replica".into() });
    build.up("replica", 11 * S).event(20 * S, What::WitnessHeard);
    let apart = Topology::standard(2, true);
    let unseen = Timeline::read(&build.history, &apart);
    assert_eq!(unseen.unavailable("replica"), Spans::default(), "nobody waits for a third copy");
    let topology = apart.with_the_witness_at_the_replica();
    assert!(topology.witness() == "replica" && !topology.nodes.contains_key("witness"));
    let seen = Timeline::read(&build.history, &topology);
    assert_eq!(seen.unavailable("replica"), Spans::of([(10 * S, 20 * S)]));
}

#[test]
fn a_witness_without_its_disk_is_away_until_it_is_replaced_and_excuses_no_refusal() {
    let mut build = Build::new();
    build.down("witness", 10 * S).event(10 * S, What::DiskLost { node: "witness".into() });
    build.up("witness", 11 * S).event(20 * S, What::WitnessHeard);
    build.event(30 * S, What::DiskReturned { node: "witness".into() });
    let timeline = timeline(&build);
    assert_eq!(timeline.unavailable("witness"), Spans::of([(10 * S, 20 * S), (30 * S, FOREVER)]));
    assert!(timeline.chain_broken().is_empty() && timeline.made_anew().is_empty());
    assert!(timeline.write_loss_starts().is_empty() && timeline.path_loss_starts().is_empty());
}

#[test]
fn clients_come_and_go() {
    let mut build = Build::new();
    build.up("reader", 50 * S).down("reader", 60 * S);
    let timeline = timeline(&build);
    assert!(timeline.disturbed().is_empty() && timeline.loss_starts().is_empty());
}

#[test]
fn the_last_moment_before() {
    assert_eq!(last_before(&[2, 4], 1), None);
    assert_eq!(last_before(&[2, 4], 3), Some(2));
    assert_eq!(last_before(&[2, 4], 4), Some(4));
}
