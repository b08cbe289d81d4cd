//! What an operator does to a region of real nodes: serve alone, replace what still serves, take the place of a rebuild whose
//! source is lost, run a finished rebuild again.

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
    },
    store::{
        epoch::{DbId, Epoch, Statement},
        server::DatabaseStatus,
    },
    wire::epoch::OrderKind,
};
use std::sync::atomic::Ordering;

/// The same statement a second time, made at another moment: it is stored, so it needs a sync.
async fn state_again(region: &Region, status: &DatabaseStatus) -> bool {
    let statement = Statement::Alone {
        epoch: Epoch { no: status.epoch_no, id: id(&status.epoch_id) },
        database: DbId(id(&status.db_id)),
        start: hex::decode(&status.start).expect("hex"),
    };
    region.order(Zone::A, OrderKind::ServeAlone, region.sign(&statement)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_it_serves_by_statement_until_its_process_ends() {
    let (region, witness, head, tail) = Region::at_work("operator-alone").await;
    for node in [head, tail] {
        node.shutdown().await;
    }
    witness.shutdown().await;
    let (env, faults) = watched(&region.env);
    let head = region.database_in("db-a", env).await;
    region.until("db-a", "open", |status| status.phase == "member").await;
    region.env.sleep(ms(500)).await;
    let status = region.status("db-a").await.expect("answers");
    assert!(!status.serving && !status.joined, "nobody has said that its epoch is current");
    let operator = region.operator();
    let silent = operator.serve_alone(Zone::A, &mut Says::new(false)).await;
    assert!(matches!(silent, Err(RebuildError::NotStated(_))), "{silent:?}");
    assert!(!region.status("db-a").await.expect("answers").serving);
    let mut says = Says::new(true);
    let served = operator.serve_alone(Zone::A, &mut says).await.expect("serves");
    assert_eq!(says.asked, [(Zone::A, served)]);
    region.until("db-a", "serving", |status| status.serving && !status.writable && status.alone == 1).await;
    let again = operator.serve_alone(Zone::A, &mut says).await;
    assert!(matches!(again, Err(RebuildError::Refused(_))), "it needs no second one: {again:?}");
    // The store fails, and is opened again: the statement was about this start of the process.
    let before = faults.opens.load(Ordering::Relaxed);
    faults.fail_syncs.store(true, Ordering::Relaxed);
    assert!(!state_again(&region, &status).await, "the disk fails");
    faults.fail_syncs.store(false, Ordering::Relaxed);
    region.until("db-a", "serving again", |status| status.serving).await;
    assert!(faults.opens.load(Ordering::Relaxed) > before, "the store was opened again");
    // Another start is not what it was about.
    head.shutdown().await;
    let head = region.database("db-a").await;
    region.until("db-a", "open", |status| status.phase == "member").await;
    region.env.sleep(ms(1_000)).await;
    let status = region.status("db-a").await.expect("answers");
    assert!(!status.serving && status.alone > 0, "{status:?}");
    head.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_serves_is_replaced_only_when_that_is_said() {
    let (region, _witness, head, tail) = Region::at_work("operator-retire").await;
    let operator = region.operator();
    let before = region.status("db-b").await.expect("answers");
    let mut says = Says::new(false);
    let needless = operator.rebuild(plan(Zone::B), &mut says).await;
    let Err(RebuildError::Needless(why)) = &needless else { panic!("{needless:?}") };
    assert!(why.contains("nothing of it is lost") && why.contains("--retire-serving"), "{why}");
    assert_eq!(region.status("db-b").await, Some(before.clone()), "nothing was changed");
    let replace = Plan { retire_serving: true, ..plan(Zone::B) };
    let epoch = operator.rebuild(replace, &mut says).await.expect("replaced");
    assert!(says.asked.is_empty(), "the old database said itself that it retired");
    assert!(says.told.contains(&Progress::Fenced(true)));
    assert!(says.told.iter().any(|told| matches!(told, Progress::Writable(Some(_)))));
    let status = region.status("db-b").await.expect("answers");
    assert!(status.db_id != before.db_id && status.records == before.records && status.serving);
    region.commit("l").await;
    // Run again it has nothing to do, says so, and changes nothing.
    let mut says = Says::new(false);
    assert_eq!(operator.rebuild(plan(Zone::B), &mut says).await.expect("done already"), epoch);
    assert_eq!(says.told, [Progress::Activated(epoch), Progress::Writable(None)]);
    // The other database was not made anew.
    let needless = operator.rebuild(plan(Zone::A), &mut says).await;
    assert!(matches!(needless, Err(RebuildError::Needless(_))), "{needless:?}");
    head.shutdown().await;
    tail.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_whose_source_is_lost_is_replaced_by_the_other_ones() {
    let (region, _witness, head, tail) = Region::at_work("operator-instead").await;
    tail.shutdown().await;
    let operator = region.operator();
    let begun = operator.rebuild(plan(Zone::B), &mut Says::new(false)).await;
    assert!(matches!(begun, Err(RebuildError::NotStated(_))), "registered, adopted, not fenced: {begun:?}");
    // Now the source is lost, and the database that was to be replaced is back.
    head.shutdown().await;
    region.lose_disk("db-a");
    let (head, tail) = region.databases().await;
    region.until("db-b", "there", |status| status.phase == "member" && !status.serving).await;
    let refused = operator.rebuild(plan(Zone::A), &mut Says::new(true)).await;
    let Err(RebuildError::Refused(why)) = &refused else { panic!("{refused:?}") };
    assert!(why.contains("--instead"), "{why}");
    let refused = operator.rebuild(plan(Zone::B), &mut Says::new(true)).await;
    assert!(matches!(refused, Err(RebuildError::Refused(_))), "a blank source adopts nothing: {refused:?}");
    let mut says = Says::new(true);
    let epoch =
        operator.rebuild(Plan { instead: true, ..plan(Zone::A) }, &mut says).await.expect("made anew");
    assert_eq!(epoch.no, 3);
    assert_eq!(says.asked.len(), 1, "the lost source is stated as not running");
    region.commit("l").await;
    assert_eq!(region.status("db-a").await.expect("answers").records, 2);
    head.shutdown().await;
    tail.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emptiness_is_never_copied_and_the_refusal_reads_well() {
    let region = Region::new("operator-blank");
    region.lose_disk("db-b");
    let _witness = region.witness().await;
    let (head, tail) = region.databases().await;
    region.until("db-a", "serving", |status| status.serving).await;
    region.until("db-b", "blank", |status| status.phase == "blank").await;
    let refused = region.operator().rebuild(plan(Zone::A), &mut Says::new(true)).await;
    let Err(RebuildError::Refused(why)) = &refused else { panic!("{refused:?}") };
    assert!(why.contains("is blank: it has no store, not the member"), "{why}");
    head.shutdown().await;
    tail.shutdown().await;
}

/// A store that cannot be read ends an incarnation every tenth of a second; a promotion takes longer than that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_outlasts_incarnations_and_nobody_opens_its_store_meanwhile() {
    let region = Region::new("operator-promotion");
    let _witness = region.witness().await;
    let store = region.scratch.path("db-b").join("data/store/store.redb");
    region.env.disk.write_atomic(&store, &[7; 9_000], false).expect("written");
    let (env, faults) = watched(&region.env);
    faults.slow_renames.store(true, Ordering::Relaxed);
    let (head, tail) = (region.database("db-a").await, region.database_in("db-b", env).await);
    region.until("db-a", "serving", |status| status.serving).await;
    region.operator().rebuild(plan(Zone::B), &mut Says::new(true)).await.expect("made anew");
    region.commit("k").await;
    assert!(!faults.opened_twice.load(Ordering::Relaxed), "a store was opened while it was open");
    tail.shutdown().await;
    assert_eq!(faults.open_files(), 0, "whoever starts next finds every file closed");
    let tail = region.database("db-b").await;
    region.commit("l").await;
    head.shutdown().await;
    tail.shutdown().await;
}
