//! The witness is lost, or is to go, and another one takes its place (R17a): what it takes, what is refused, and what the old one
//! is worth when it comes back.

use crate::{
    disk::watched,
    region::{Region, Says, id, plan},
};
use kms::{
    config::Zone,
    limits::ms,
    operator::{
        rebuild::Plan,
        session::{Progress, RebuildError},
        witness::Installed,
    },
    store::{
        epoch::{Epoch, Statement},
        exchange::NoAnswer,
        replacement::Replacement,
        server::DatabaseStatus,
        witness,
    },
    wire::epoch::{OrderKind, Signed},
};
use std::sync::atomic::Ordering;

async fn replace(region: &Region) -> Result<Installed, RebuildError> {
    region.operator().replace_witness(&mut Says::new(false)).await
}

fn refusal(done: Result<impl std::fmt::Debug, RebuildError>) -> String {
    match done {
        Err(RebuildError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

/// A statement that the region's operator signs about the epoch and the witness of `status`.
fn statement(region: &Region, status: &DatabaseStatus, from: [u8; 16], to: [u8; 16]) -> Signed {
    let epoch = Epoch { no: status.epoch_no, id: id(&status.epoch_id) };
    region.sign(&Statement::Witness(Replacement { epoch, from, to }))
}

async fn give(region: &Region, zone: Zone, statement: Signed) -> Result<(), NoAnswer> {
    region.order(zone, OrderKind::ReplaceWitness, statement).await
}

/// The sentence with which the head refuses it.
async fn refused_by_the_head(region: &Region, statement: Signed) -> String {
    match give(region, Zone::A, statement).await {
        Err(NoAnswer::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

async fn listens_to(region: &Region, node: &str) -> [u8; 16] {
    id(&region.status(node).await.expect("answers").witness)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_witness_is_replaced_and_the_old_one_is_not_listened_to() {
    let (region, witness, head, tail) = Region::at_work("witness-lost").await;
    let first = listens_to(&region, "db-a").await;
    witness.shutdown().await;
    region.save("witness", "first");
    region.lose_disk("witness");
    // Nothing is begun before the process is there that is to be the new one.
    let away = replace(&region).await;
    assert!(matches!(away, Err(RebuildError::Away(..))), "{away:?}");
    let witness = region.witness().await;
    let unknown = region.operator().known().await;
    assert!(matches!(unknown, Err(RebuildError::Witness(..))), "a blank one answers nothing: {unknown:?}");
    let mut says = Says::new(false);
    let done = region.operator().replace_witness(&mut says).await.expect("replaced");
    let Installed::Now(second) = done else { panic!("{done:?}") };
    assert_eq!(says.told, [Progress::Committed(second)]);
    assert!(second != first);
    for node in ["db-a", "db-b"] {
        assert_eq!(listens_to(&region, node).await, second, "{node}");
    }
    assert_eq!(replace(&region).await.expect("done already"), Installed::Before(second));
    region.commit("l").await;
    // Both databases and the witness have it durably.
    for node in [head, tail] {
        node.shutdown().await;
    }
    witness.shutdown().await;
    let witness = region.witness().await;
    let (head, tail) = region.databases().await;
    region.commit("m").await;
    // A rebuild goes on with it, and its epoch names it.
    let (tail, epoch) = region.lose_and_rebuild_tail(tail).await;
    assert_eq!(epoch.no, 2);
    region.commit("n").await;
    for node in ["db-a", "db-b"] {
        assert_eq!(listens_to(&region, node).await, second, "{node}");
    }
    // The first one is back.
    witness.shutdown().await;
    region.save("witness", "second");
    region.restore("witness", "first");
    let witness = region.witness().await;
    assert_eq!(region.operator().known().await.expect("answers").witness, first);
    let replaced = Plan { retire_serving: true, ..plan(Zone::B) };
    let why = refusal(region.operator().rebuild(replaced, &mut Says::new(true)).await);
    assert!(why.contains("was replaced") && why.contains(&hex::encode(second)), "{why}");
    assert_eq!(region.operator().known().await.expect("answers").pending, None, "nothing was registered");
    let why = refusal(replace(&region).await);
    assert!(why.contains("empty data directory"), "{why}");
    for node in [head, tail] {
        node.shutdown().await;
    }
    let head = region.database("db-a").await;
    region.env.sleep(ms(1_000)).await;
    let status = region.status("db-a").await.expect("answers");
    assert!(!status.joined && !status.serving, "what the first one says counts for nothing: {status:?}");
    witness.shutdown().await;
    region.restore("witness", "second");
    let witness = region.witness().await;
    region.until("db-a", "serving", |status| status.serving).await;
    head.shutdown().await;
    witness.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_refused_while_a_zone_is_away_or_made_anew() {
    let (region, witness, head, tail) = Region::at_work("witness-refused").await;
    let first = listens_to(&region, "db-a").await;
    tail.shutdown().await;
    let begun = region.operator().rebuild(plan(Zone::B), &mut Says::new(false)).await;
    assert!(matches!(begun, Err(RebuildError::NotStated(_))), "registered, adopted, not fenced: {begun:?}");
    let away = replace(&region).await;
    assert!(matches!(away, Err(RebuildError::Away(..))), "{away:?}");
    let tail = region.database("db-b").await;
    region.until("db-b", "there", |status| status.phase == "member").await;
    let why = refusal(replace(&region).await);
    assert!(why.contains("in a rebuild: finish that, or abandon it, first"), "{why}");
    let source = region.status("db-a").await.expect("answers");
    let why = refused_by_the_head(&region, statement(&region, &source, first, [1; 16])).await;
    assert!(why.contains("a rebuild is under way"), "{why}");
    let give_up = Plan { abandon: true, ..plan(Zone::B) };
    region.operator().rebuild(give_up, &mut Says::new(true)).await.expect("taken back");
    // The link is down: refused, and nothing is in doubt.
    tail.shutdown().await;
    region.until("db-a", "cut off", |status| !status.writable).await;
    let alone = region.status("db-a").await.expect("answers");
    let why = refused_by_the_head(&region, statement(&region, &alone, first, [1; 16])).await;
    assert!(why.contains("nothing was changed"), "{why}");
    let after = region.status("db-a").await.expect("answers");
    assert_eq!((after.in_doubt, after.last, after.witness), (0, alone.last, hex::encode(first)));
    head.shutdown().await;
    witness.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_operators_one_is_refused_and_who_was_interrupted_goes_on() {
    let (region, witness, head, tail) = Region::at_work("witness-two").await;
    let status = region.status("db-a").await.expect("answers");
    let first = id(&status.witness);
    let mine = statement(&region, &status, first, [1; 16]);
    assert!(
        matches!(give(&region, Zone::B, mine.clone()).await, Err(NoAnswer::Refused(_))),
        "the tail orders nothing"
    );
    let mut forged = mine.clone();
    forged.signature[0] ^= 1;
    assert!(matches!(give(&region, Zone::A, forged).await, Err(NoAnswer::Refused(_))));
    assert_eq!(region.status("db-a").await.expect("answers").last, status.last, "nothing was appended");
    give(&region, Zone::A, mine.clone()).await.expect("committed");
    give(&region, Zone::A, mine).await.expect("said again");
    assert_eq!(region.status("db-a").await.expect("answers").last, status.last + 1, "once");
    let why = refused_by_the_head(&region, statement(&region, &status, first, [2; 16])).await;
    assert!(why.contains(&hex::encode([1; 16])) && why.contains("another operator"), "{why}");
    // Interrupted before the installation: the old witness runs on, and nobody listens to it.
    assert_eq!(region.operator().known().await.expect("answers").witness, first);
    let why = refusal(replace(&region).await);
    assert!(why.contains("empty data directory"), "{why}");
    // A blank one goes on, with an id that nobody can have had: the other one may have come further than is known.
    witness.shutdown().await;
    region.lose_disk("witness");
    let witness = region.witness().await;
    let Installed::Now(third) = replace(&region).await.expect("replaced") else { panic!("done") };
    assert!(third != [1; 16] && listens_to(&region, "db-b").await == third);
    for node in [head, tail] {
        node.shutdown().await;
    }
    witness.shutdown().await;
}

/// Its write fails after the file has its new contents: what they are is answered only once they are written anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failed_write_left_is_not_answered() {
    let region = Region::new("witness-unsure");
    let (env, faults) = watched(&region.env);
    let (config, tls, operator) = region.parts("witness");
    let witness = witness::serve(env, config, tls, operator).await.expect("witness");
    let (head, tail) = region.databases().await;
    region.commit("k").await;
    tail.shutdown().await;
    region.lose_disk("db-b");
    let tail = region.database("db-b").await;
    let asked = async || {
        let config = region.operator_config();
        let tls = config.tls(&region.env, ms(3_000)).expect("tls");
        witness::read_if_any(&region.env, &tls, &config.witness, &operator, ms(3_000)).await
    };
    let before = asked().await.expect("answers").expect("known");
    faults.unsure_names.store(true, Ordering::Relaxed);
    let unsure = region.operator().rebuild(plan(Zone::B), &mut Says::new(true)).await;
    assert!(unsure.is_err(), "{unsure:?}");
    let still = asked().await;
    assert!(matches!(&still, Err(NoAnswer::Refused(why)) if why.contains("cannot write")), "{still:?}");
    faults.unsure_names.store(false, Ordering::Relaxed);
    let after = asked().await.expect("answers").expect("known");
    assert!(before.pending.is_none() && after.pending.is_some(), "what the file says, written anew");
    region.operator().rebuild(plan(Zone::B), &mut Says::new(true)).await.expect("goes on with it");
    for node in [head, tail] {
        node.shutdown().await;
    }
    witness.shutdown().await;
}

/// The process before it may have been killed between the new file's name and the sync that makes it last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_starts_writes_what_it_knows_before_it_says_so() {
    let (region, witness, head, tail) = Region::at_work("witness-starts").await;
    witness.shutdown().await;
    let (env, faults) = watched(&region.env);
    faults.unsure_names.store(true, Ordering::Relaxed);
    let witness = region.witness_in(env).await;
    let unsure = region.operator().known().await;
    assert!(matches!(&unsure, Err(error) if error.to_string().contains("cannot write")), "{unsure:?}");
    faults.unsure_names.store(false, Ordering::Relaxed);
    assert_eq!(region.operator().known().await.expect("answers").pending, None);
    for node in [head, tail] {
        node.shutdown().await;
    }
    witness.shutdown().await;
}
