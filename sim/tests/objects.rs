//! Faults of simulated object stores do what they say, secrets in objects are found, and a run repeats.

use kms::env::{Env, ObjectError, ObjectName, Objects, StoreAt, StoreConfig};
use kms_sim::{
    history::StoreWhat,
    world::{NodeSpec, World, run},
};
use std::{sync::Arc, time::Duration};

const PLACE: &str = "eu-west-sbg";

async fn store(world: &World) -> (Env, Arc<dyn Objects>) {
    world.add_node(NodeSpec {
        name: "replica".to_owned(),
        ip: "10.0.0.1".to_owned(),
        zone: None,
        region: PLACE.to_owned(),
        wall_offset_us: 0,
    });
    world.add_store(PLACE);
    let env = world.env("replica");
    let config = StoreConfig { region: PLACE.to_owned(), at: StoreAt::Directory("unused".into()) };
    let store = env.stores.open(&config).await.expect("opens");
    (env, store)
}

fn name(number: u32) -> ObjectName {
    ObjectName::new(format!("things/{number:04}")).expect("a name")
}

fn is_unavailable<T>(done: &Result<T, ObjectError>) -> bool {
    matches!(done, Err(ObjectError::Unavailable { .. }))
}

#[test]
fn a_store_that_was_not_added_is_refused_and_one_that_is_down_does_nothing() {
    run(1, |world| async move {
        let (env, store) = store(&world).await;
        let config = StoreConfig { region: "mars".to_owned(), at: StoreAt::Directory("unused".into()) };
        assert!(matches!(env.stores.open(&config).await.err(), Some(ObjectError::Refused { .. })));
        store.put(&name(1), vec![1]).await.expect("puts");
        world.set_store_faults(PLACE, |faults| faults.unavailable = true);
        assert!(is_unavailable(&store.get(&name(1)).await));
        assert!(is_unavailable(&store.put(&name(2), vec![2]).await));
        assert!(is_unavailable(&store.delete(&name(1)).await));
        assert!(is_unavailable(&store.list("", None).await));
        assert!(is_unavailable(&store.keeping().await));
        env.sleep(Duration::from_secs(60)).await;
        world.set_store_faults(PLACE, |faults| faults.unavailable = false);
        assert_eq!(store.list("", None).await.expect("lists").len(), 1);
        world.set_store_faults(PLACE, |faults| faults.keeps_versions = true);
        assert!(store.keeping().await.expect("answers").versions);
    });
}

#[test]
fn a_slow_store_takes_its_time_and_a_request_goes_on_when_it_is_given_up() {
    run(2, |world| async move {
        let (env, store) = store(&world).await;
        let begin = env.now();
        store.put(&name(1), vec![1]).await.expect("puts");
        assert!(env.now().since(begin) < Duration::from_millis(100));
        world.set_store_faults(PLACE, |faults| faults.extra_us = 3_000_000);
        let begin = env.now();
        assert!(env.timeout(Duration::from_secs(1), store.put(&name(2), vec![2])).await.is_err());
        assert_eq!(store.get(&name(1)).await, Ok(Some(vec![1])));
        assert!(env.now().since(begin) > Duration::from_secs(4));
        assert_eq!(store.get(&name(2)).await, Ok(Some(vec![2])), "it was on its way");
    });
}

#[test]
fn puts_that_fail_midway_are_done_or_not_or_later() {
    run(3, |world| async move {
        let (env, store) = store(&world).await;
        world.set_store_faults(PLACE, |faults| faults.midway_per_mille = 500);
        let mut failed = Vec::new();
        for number in 0..200 {
            match store.put(&name(number), vec![7; 10]).await {
                Ok(()) => assert_eq!(store.get(&name(number)).await, Ok(Some(vec![7; 10]))),
                Err(error) => {
                    assert!(matches!(error, ObjectError::Unavailable { .. }));
                    failed.push((number, store.get(&name(number)).await.expect("gets").is_some()));
                }
            }
        }
        env.sleep(Duration::from_secs(30)).await;
        let mut outcomes = [0; 3];
        for (number, at_once) in &failed {
            let there = store.get(&name(*number)).await.expect("gets").is_some();
            assert!(there || !at_once, "what is there stays");
            outcomes[usize::from(there) + usize::from(*at_once)] += 1;
        }
        assert!(failed.len() > 60 && outcomes.iter().all(|count| *count > 5), "{outcomes:?}");
    });
}

#[test]
fn objects_are_damaged_hidden_and_lost() {
    run(4, |world| async move {
        let (_, store) = store(&world).await;
        let whole = vec![0xa5; 1_000];
        store.put(&name(1), whole.clone()).await.expect("puts");
        store.put(&name(2), whole.clone()).await.expect("puts");
        world.set_store_faults(PLACE, |faults| faults.damaged_per_mille = 1_000);
        let got = store.get(&name(1)).await.expect("gets").expect("there");
        let differs: u32 = got.iter().zip(&whole).map(|(one, other)| (one ^ other).count_ones()).sum();
        assert_eq!((got.len(), differs), (1_000, 1));
        world.set_store_faults(PLACE, |faults| {
            faults.damaged_per_mille = 0;
            faults.missing_per_mille = 1_000;
        });
        assert_eq!(store.get(&name(1)).await, Ok(None));
        world.set_store_faults(PLACE, |faults| faults.missing_per_mille = 0);
        assert_eq!(store.get(&name(1)).await, Ok(Some(whole.clone())), "only the answers were bad");
        assert!(world.damage_object(PLACE, "things/0001", 12_345));
        assert_ne!(store.get(&name(1)).await, Ok(Some(whole.clone())));
        assert!(world.lose_object(PLACE, "things/0001") && !world.lose_object(PLACE, "things/0001"));
        assert_eq!(world.store_listing(PLACE), [("things/0002".to_owned(), 1_000)]);
        assert_eq!(world.store_puts(PLACE), 2);
        world.lose_store(PLACE);
        assert_eq!(store.list("", None).await, Ok(Vec::new()));
        store.put(&name(3), vec![3]).await.expect("it can be used again");
    });
}

#[test]
fn a_secret_in_an_object_is_found_at_once_or_at_the_end() {
    run(5, |world| async move {
        let (_, store) = store(&world).await;
        let (known, later) = (b"a secret known before it was put", b"a secret that is told afterwards");
        world.needle("known", known);
        store.put(&name(1), [&b"x"[..], known].concat()).await.expect("puts");
        store.put(&name(2), [&b"y"[..], later].concat()).await.expect("puts");
        let places = |world: &World| -> Vec<String> {
            world.leaks().into_iter().map(|leak| format!("{} in {}", leak.needle, leak.place)).collect()
        };
        assert_eq!(places(&world), ["known in object store eu-west-sbg:things/0001"]);
        world.needle("later", later);
        world.search_disks();
        assert!(places(&world).contains(&"later in stored object eu-west-sbg:things/0002".to_owned()));
    });
}

#[test]
fn a_run_repeats_and_every_operation_counts() {
    let hash = |seed, contents: &'static [u8]| {
        run(seed, |world| async move {
            let (_, store) = store(&world).await;
            world.set_store_faults(PLACE, |faults| faults.midway_per_mille = 300);
            for number in 0..30 {
                let _ = store.put(&name(number), contents.to_vec()).await;
                let _ = store.get(&name(number / 2)).await;
            }
            let _ = store.list("", None).await;
            world.trace_hash()
        })
    };
    assert_eq!(hash(6, b"one"), hash(6, b"one"));
    assert_ne!(hash(6, b"one"), hash(6, b"two"));
    assert_ne!(hash(6, b"one"), hash(7, b"one"));
}

#[test]
fn what_becomes_of_objects_is_written_down_and_a_copy_does_not_change() {
    run(9, |world| async move {
        let (_, store) = store(&world).await;
        store.put(&name(1), vec![1]).await.expect("puts");
        store.put(&name(2), vec![2]).await.expect("puts");
        let copy = world.frozen_store(PLACE);
        store.delete(&name(1)).await.expect("deletes");
        store.delete(&name(7)).await.expect("nothing to delete");
        assert!(world.damage_object(PLACE, name(2).as_str(), 3));
        world.lose_store(PLACE);
        assert_eq!(copy.list("things/", None).await.expect("lists").len(), 2);
        assert_eq!(copy.list("things/", Some(&name(1))).await.expect("lists").len(), 1);
        assert_eq!(copy.list("thing/", None).await.expect("lists").len(), 0);
        assert_eq!(copy.get(&name(2)).await.expect("gets"), Some(vec![2]));
        assert!(copy.put(&name(3), vec![3]).await.is_err());
        let node = || "replica".to_owned();
        let put = |number: u32| StoreWhat::Put { node: node(), name: name(number).to_string(), bytes: 1 };
        let events: Vec<StoreWhat> = world.store_events().into_iter().map(|event| event.what).collect();
        assert_eq!(
            events,
            [
                put(1),
                put(2),
                StoreWhat::Deleted { node: node(), name: name(1).to_string() },
                StoreWhat::Hurt { name: name(2).to_string(), gone: false },
                StoreWhat::Lost,
            ]
        );
    });
}
