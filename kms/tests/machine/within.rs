//! The witness in the replica's process: one process and one machine, two nodes.

use crate::{
    common::{Scratch, bundle, spec},
    region::{Region, Says},
    replica::Third,
};
use kms::{
    config::{ConfigError, NodeConfig},
    init::{Addresses, InitError, RegionSpec, install, plan_region},
    node::{self, Running},
    operator::witness::Installed,
};
use std::collections::BTreeMap;

fn with_replica() -> RegionSpec {
    RegionSpec { replica: Some("eu-west-sbg".to_owned()), witness_with_replica: true, ..spec() }
}

/// The process that is both.
async fn start(region: &Region) -> Running {
    node::serve(region.env.clone(), &region.scratch.path("replica/node.toml")).await.expect("starts")
}

async fn follows(third: &Third) {
    let head = third.region.status("db-a").await.expect("answers").confirmed;
    third.until("follows", |status| status.last == head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replicas_process_is_the_witness_too() {
    let third = Third::of(Region::of("within", with_replica(), |_| {}));
    let region = &third.region;
    let process = start(region).await;
    // Both start, and neither serves before the witness has answered one of them.
    let (head, tail) = region.databases().await;
    region.commit("k").await;
    follows(&third).await;
    let first = region.status("db-a").await.expect("answers").witness;

    // The machine is lost, and another one has nothing: the replica makes itself anew, the witness is replaced.
    process.shutdown().await;
    region.lose_disk("replica");
    region.lose_disk("replica/witness");
    let process = start(region).await;
    let replaced = region.operator().replace_witness(&mut Says::new(false)).await.expect("replaced");
    let Installed::Now(second) = replaced else { panic!("{replaced:?}") };
    assert_ne!(hex::encode(second), first);
    region.commit("l").await;
    follows(&third).await;

    // A zone is lost: its rebuild is registered at that witness.
    let (tail, epoch) = region.lose_and_rebuild_tail(tail).await;
    assert_eq!(epoch.no, 2);
    region.commit("m").await;
    follows(&third).await;

    // Started again, it is still both.
    process.shutdown().await;
    let process = start(region).await;
    assert_eq!(region.operator().known().await.expect("answers").witness, second);
    follows(&third).await;
    for database in [head, tail] {
        database.shutdown().await;
    }
    process.shutdown().await;
}

#[tokio::test]
async fn the_witness_lies_in_the_replicas_directory() {
    let env = kms::os::env();
    let apart = bundle(&env, &RegionSpec { witness_with_replica: false, ..with_replica() });
    assert_eq!(apart.node("witness").expect("planned").dir().to_str(), Some("witness"));
    let bundle = bundle(&env, &with_replica());
    let scratch = Scratch::new("within-files");
    for node in &bundle.nodes {
        install(&*env.disk, &scratch.path(node.dir().to_str().expect("text")), node).expect("installs");
    }
    assert!(!scratch.path("witness").exists(), "no process of its own");
    let load = |node: &str| NodeConfig::load(&*env.disk, &scratch.path(node).join("node.toml"));
    let replica = load("replica").expect("valid");
    let witness = replica.witness_within(&*env.disk).expect("valid").expect("there");
    assert_eq!(witness.data_dir, scratch.path("replica/witness/data"));
    let listens = [&replica, &witness].map(|config| config.listen.clone());
    assert_ne!(listens[0], listens[1]);
    assert_eq!(load("db-a").expect("valid").peers.witness, listens[1]);
    assert_eq!(load("db-b").expect("valid").witness_within(&*env.disk).expect("valid"), None);

    // What is written by hand is checked.
    let path = scratch.path("replica/node.toml");
    let text = String::from_utf8(env.disk.read(&path).expect("readable").expect("there")).expect("text");
    let write = |text: &str| env.disk.write_atomic(&path, text.as_bytes(), false).expect("written");
    let other = |file: &str| {
        write(&text.replace("witness/node.toml", file));
        load("replica").expect("valid").witness_within(&*env.disk).expect_err("refused")
    };
    assert!(other("../db-a/node.toml").to_string().contains("of a database, not of a witness"));
    assert!(matches!(other("../nowhere/node.toml"), ConfigError::Missing(_)));
    let stray = scratch.path("db-a/node.toml");
    let database = String::from_utf8(env.disk.read(&stray).expect("readable").expect("there")).expect("text");
    env.disk
        .write_atomic(&stray, format!("witness = \"w/node.toml\"\n{database}").as_bytes(), false)
        .expect("written");
    let refused = load("db-a").expect_err("refused").to_string();
    assert!(refused.contains("`witness` is not for a database"), "{refused}");
    let strange = text.replace("region = \"eu-west-rbx\"", "region = \"eu-west-gra\"");
    write(&strange);
    let foreign =
        load("replica").expect("valid").witness_within(&*env.disk).expect_err("refused").to_string();
    assert!(foreign.contains("the witness of eu-west-rbx"), "{foreign}");
}

#[tokio::test]
async fn its_address_is_that_of_the_replicas_machine() {
    let env = kms::os::env();
    let nodes = ["db-a", "db-b", "host-a1", "host-b1", "host-a2", "host-b2", "replica", "entry"];
    let ips: BTreeMap<String, String> =
        (1..).zip(nodes).map(|(number, node)| (node.to_owned(), format!("10.0.0.{number}"))).collect();
    let of = |addresses| RegionSpec { addresses: Addresses::PerNode(addresses), ..with_replica() };
    let bundle = bundle(&env, &of(ips.clone()));
    let file = &bundle.node("db-a").expect("planned").files;
    let text = crate::common::file(file, "node.toml");
    assert!(String::from_utf8_lossy(text).contains("witness = \"10.0.0.7:8445\""));
    let refused = |spec: &RegionSpec| match plan_region(&env, spec) {
        Err(InitError::Spec(why)) => why,
        _ => panic!("not refused"),
    };
    let mut twice = ips;
    twice.insert("witness".to_owned(), "10.0.0.9".to_owned());
    assert!(refused(&of(twice)).contains("part of the replica's process"));
    assert!(refused(&RegionSpec { replica: None, ..with_replica() }).contains("no replica"));
}
