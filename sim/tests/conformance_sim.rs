//! The simulated world behaves as `kms::env` promises: the same body as the real world's.

use kms::env::{StoreAt, StoreConfig};
use kms_sim::{
    conformance,
    world::{NodeSpec, World, run},
};
use std::path::Path;

fn machine(world: &World, name: &str) -> kms::env::Env {
    world.add_node(NodeSpec {
        name: name.to_owned(),
        ip: format!("10.0.0.{}", world.seed() + 1),
        zone: Some('a'),
        region: "r".to_owned(),
        wall_offset_us: 0,
    });
    world.env(name)
}

#[test]
fn net() {
    for seed in 0..5 {
        let result = run(seed, |world| async move {
            let env = machine(&world, "one");
            conformance::net::all(&env, "0.0.0.0:0").await
        });
        assert!(result.is_ok(), "seed {seed}: {result:?}");
    }
}

#[test]
fn disk() {
    let result = run(1, |world| async move {
        conformance::disk::all(&*machine(&world, "one").disk, Path::new("/srv/kms"))
    });
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn clock() {
    for seed in 0..5 {
        let result = run(seed, |world| async move { conformance::clock::all(&machine(&world, "one")).await });
        assert!(result.is_ok(), "seed {seed}: {result:?}");
    }
}

#[test]
fn objects() {
    for seed in 0..3 {
        let result = run(seed, |world| async move {
            world.add_store("eu-west-sbg");
            let at = StoreAt::Directory("unused".into());
            let config = StoreConfig { region: "eu-west-sbg".to_owned(), at };
            let store = machine(&world, "one").stores.open(&config).await?;
            conformance::objects::all(&*store).await
        });
        assert!(result.is_ok(), "seed {seed}: {result:?}");
    }
}
