//! The conformance bodies on the real machine: what the simulated world is held to, the real one must do.

#![cfg(not(madsim))]

use kms::{
    env::{ObjectName, StoreAt, StoreConfig},
    os,
};
use kms_sim::conformance;
use std::path::Path;

#[tokio::test]
async fn the_real_disk_conforms() {
    let env = os::env();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("conformance-{}", std::process::id()));
    let done = conformance::disk::all(&*env.disk, &dir);
    let _ = std::fs::remove_dir_all(&dir);
    done.expect("conforms");
}

#[tokio::test]
async fn the_real_clock_conforms() {
    conformance::clock::all(&os::env()).await.expect("conforms");
}

#[tokio::test]
async fn the_real_network_conforms() {
    conformance::net::all(&os::env(), "127.0.0.1:0").await.expect("conforms");
}

#[tokio::test]
async fn a_real_directory_conforms_as_object_store() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("objects-{}", std::process::id()));
    let config = StoreConfig { region: "eu-west-sbg".to_owned(), at: StoreAt::Directory(dir.clone()) };
    let store = os::env().stores.open(&config).await.expect("opens");
    let done = conformance::objects::all(&*store).await;
    let name = |text| ObjectName::new(text).expect("a name");
    store.put(&name("a/b"), vec![1]).await.expect("puts");
    let other_kinds = [store.get(&name("a")).await, store.get(&name("a/b/c")).await];
    store.delete(&name("a/b/c")).await.expect("nothing to delete");
    let _ = std::fs::remove_dir_all(&dir);
    done.expect("conforms");
    assert_eq!(other_kinds, [Ok(None), Ok(None)], "a directory is no object, an object no directory");
}
