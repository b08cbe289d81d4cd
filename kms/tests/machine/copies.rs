//! Which copy a lost region is made of, and what must not be taken for the region that was lost.

use crate::{
    region::{Region, Says},
    replica::Third,
};
use kms::operator::{
    restore::{Copy, RestorePlan},
    session::{Progress, RebuildError},
};

/// It would count epochs anew, and hosts that know greater numbers would never be served again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_of_the_past_is_refused() {
    let third = Third::new("copies-witness");
    let region = &third.region;
    let (witness, head, tail) = region.begin_work().await;
    let replica = third.start().await;
    region.save("witness", "past");
    let (tail, epoch) = region.lose_and_rebuild_tail(tail).await;
    third.until("follows the newer epoch", |status| status.epoch_no == epoch.no && status.active).await;
    for node in [head, tail] {
        node.shutdown().await;
    }
    witness.shutdown().await;
    region.restore("witness", "past");
    for node in ["db-a", "db-b"] {
        region.lose_disk(node);
    }
    let witness = region.witness().await;
    let (head, tail) = region.databases().await;
    let refused = region.operator().restore(&RestorePlan::default(), &mut Says::new(true)).await;
    assert!(
        matches!(&refused, Err(RebuildError::Refused(why)) if why.contains("a witness of the past")),
        "{refused:?}"
    );
    assert_eq!(region.operator().known().await.expect("answers").pending, None, "nothing was registered");
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
    witness.shutdown().await;
}

/// The copy does not know its epoch, and it has all that was written in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_an_epoch_after_the_copys_is_not_given_up() {
    let third = Third::new("copies-newer");
    let region = &third.region;
    let (witness, head, tail) = region.begin_work().await;
    let replica = third.start().await;
    third.until("has all", |status| status.last >= 1 && status.lag_ms.is_some()).await;
    replica.shutdown().await;
    let (tail, _) = region.lose_and_rebuild_tail(tail).await;
    region.commit("after").await;
    head.shutdown().await;
    witness.shutdown().await;
    for node in ["db-a", "witness"] {
        region.lose_disk(node);
    }
    let witness = region.witness().await;
    let head = region.database("db-a").await;
    let replica = third.start().await;
    third.until("stands", |status| status.phase == "replica").await;
    region.until("db-b", "serving", |status| status.serving).await;
    let plan = RestorePlan { witness_lost: true, ..RestorePlan::default() };
    let needless = region.operator().restore(&plan, &mut Says::new(true)).await;
    assert!(matches!(&needless, Err(RebuildError::Needless(why)) if why.contains("serves")), "{needless:?}");
    assert!(region.operator().known().await.is_err(), "nothing was registered");
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
    witness.shutdown().await;
}

/// One database is filled from a replica that is lost then; what it takes now is another backup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_of_which_a_database_has_another_backup_begins_anew() {
    let third = Third::of(Region::with_backups("copies-anew", "eu-west-sbg", ["eu-west-sbg", "eu-west-gra"]));
    let region = &third.region;
    let (witness, head, tail) = region.begin_work().await;
    let replica = third.start().await;
    let first = third.until_backed_up(1).await;
    let before_ms = region.env.wall_ms();
    region.commit("second").await;
    let second = third.until_backed_up(first.last + 1).await;
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
    for node in ["db-a", "db-b", "replica"] {
        region.lose_disk(node);
    }
    let replica = third.start().await;
    let head = region.database("db-a").await;
    let operator = region.operator();
    let of = |at_ms| RestorePlan { from: Copy::Backup { store: None, at_ms }, ..RestorePlan::default() };
    let (older, mut says) = (of(Some(before_ms)), Says::new(true));
    tokio::select! {
        done = operator.restore(&older, &mut says) => panic!("zone b is not there: {done:?}"),
        () = region.until("db-a", "filled", |status| {
            status.fill.as_ref().is_some_and(|fill| fill.filled && fill.last == first.last)
        }) => {}
    }
    replica.shutdown().await;
    region.lose_disk("replica");
    let replica = third.start().await;
    let tail = region.database("db-b").await;
    let mut says = Says::new(true);
    let restored = operator.restore(&of(None), &mut says).await.expect("restored");
    assert!(matches!(says.told.first(), Some(Progress::Registered(_, false))), "{:?}", says.told);
    assert_eq!(restored.position.seq, second.last);
    region.commit("third").await;
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
    witness.shutdown().await;
}
