//! Two logs that are not one history, and logs that lack what they must have: whose log it is stops serving, says so,
//! and says so again after each new link; the way out is a person's.

use crate::region::{Region, Says, key, plan};
use kms::{
    config::Zone,
    crypto::OperatorKey,
    init::Bundle,
    limits::ms,
    store::{
        api::{Place, RecordStore},
        epoch::Statement,
        log::Position,
        server::DatabaseStatus,
    },
};

fn stopped(status: &DatabaseStatus) -> bool {
    status.alarm.is_some() && !status.serving && !status.writable
}

/// Both databases begin alike, then each lives through writes of its own; returns with neither running.
async fn two_histories(region: &Region, at_head: usize, at_tail: usize) {
    let both = async || region.databases().await;
    let (head, tail) = both().await;
    region.commit("common").await;
    head.shutdown().await;
    tail.shutdown().await;
    region.save("db-a", "common-a");
    region.save("db-b", "common-b");
    for (writes, life) in [(at_head, "first"), (at_tail, "second")] {
        let (head, tail) = both().await;
        for number in 0..writes {
            region.commit(&format!("{life}-{number}")).await;
        }
        head.shutdown().await;
        tail.shutdown().await;
        if life == "first" {
            region.save("db-a", "other-a");
            region.restore("db-a", "common-a");
            region.restore("db-b", "common-b");
        }
    }
    region.restore("db-a", "other-a");
}

/// R6: not a prefix: both stop, loud, whichever log is longer, and stop again when they meet again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_histories_stop_both_databases() {
    for (case, at_head, at_tail) in [("equal", 1, 1), ("head", 3, 1), ("tail", 1, 3)] {
        let region = Region::new(&format!("apart-{case}"));
        let _witness = region.witness().await;
        two_histories(&region, at_head, at_tail).await;
        let (head, tail) = region.databases().await;
        for node in ["db-a", "db-b"] {
            region.until(node, "stopped", stopped).await;
        }
        let client = region.client("host-b1");
        region.env.sleep(ms(500)).await;
        for place in [Place::Near, Place::Far] {
            assert!(client.get(place, key("common")).await.is_err(), "{case}: nobody answers");
        }
        tail.shutdown().await;
        let tail = region.database("db-b").await;
        for node in ["db-b", "db-a"] {
            region.until(node, "stopped", stopped).await;
        }
        // A person decides which one is right: that one, started alone, serves and is copied.
        head.shutdown().await;
        tail.shutdown().await;
        let tail = region.database("db-b").await;
        region.until("db-b", "serving", |status| status.serving).await;
        region.lose_disk("db-a");
        let head = region.database("db-a").await;
        region.operator().rebuild(plan(Zone::A), &mut Says::new(true)).await.expect("made anew");
        region.commit("after").await;
        head.shutdown().await;
        tail.shutdown().await;
    }
}

/// A region whose statement of activation says that both logs had five entries, which they have not.
fn lost_entries(bundle: &mut Bundle, known: bool) {
    let pem = bundle.operator.iter().find(|file| file.path.ends_with("operator.key")).expect("a key");
    let key = OperatorKey::from_pem(&pem.contents).expect("a key");
    for node in &mut bundle.nodes {
        if let Some(genesis) = &mut node.genesis {
            let end = Position { seq: 5, hash: [1; 32] };
            let activation = Statement::Active(genesis.epoch(), end).sign(&key, &genesis.region, 0);
            genesis.activation = known.then_some(activation);
        }
    }
    let identity = bundle.nodes.iter().find_map(|node| node.genesis.clone()).expect("a database");
    let end = Position { seq: 5, hash: [1; 32] };
    let activation = Statement::Active(identity.epoch(), end).sign(&key, &identity.region, 0);
    for node in &mut bundle.nodes {
        if let Some(state) = &mut node.witness {
            state.activation = Some(activation.clone());
        }
    }
}

/// R15, R16: whose log ends before the epoch began has lost synced entries: it serves nothing, whether it hears of the activation
/// only now or knew of it, and another one that lost them too is no help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_ends_before_its_epoch_began_serves_nothing() {
    for (case, known) in [("learns", false), ("knows", true)] {
        let region = Region::altered(&format!("apart-{case}"), |bundle| lost_entries(bundle, known));
        let _witness = region.witness().await;
        let tail = region.database("db-b").await;
        region.until("db-b", "stopped", |status| stopped(status) && status.joined && status.active).await;
        let head = region.database("db-a").await;
        region.until("db-a", "stopped", |status| stopped(status) && status.joined && status.active).await;
        region.env.sleep(ms(1_000)).await;
        for node in ["db-a", "db-b"] {
            assert!(region.status(node).await.is_some_and(|status| stopped(&status)), "{case}: {node}");
        }
        head.shutdown().await;
        tail.shutdown().await;
    }
}
