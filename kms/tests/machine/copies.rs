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

/// The new witness is told what was active before the restore began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_is_lost_after_the_replica_has_adopted_leaves_the_replica_as_good_as_it_was() {
    let third = Third::new("copies-adopted");
    let region = &third.region;
    let (witness, head, tail) = region.begin_work().await;
    let replica = third.start().await;
    let had = third.until("has all", |status| status.last >= 1 && status.lag_ms.is_some()).await;
    for node in [head, tail] {
        node.shutdown().await;
    }
    for node in ["db-a", "db-b"] {
        region.lose_disk(node);
    }
    let (head, tail) = region.databases().await;
    let operator = region.operator();
    let plan = |witness_lost| RestorePlan { witness_lost, ..RestorePlan::default() };
    // Twice: what it knows of the last active epoch outlives a start, and another restore that comes to nothing.
    let (mut witness, mut replica) = (witness, replica);
    for witness_lost in [false, true] {
        let unsaid = operator.restore(&plan(witness_lost), &mut Says::new(false)).await;
        assert!(matches!(unsaid, Err(RebuildError::NotStated(_))), "{unsaid:?}");
        third.until("has adopted", |status| !status.active).await;
        witness.shutdown().await;
        replica.shutdown().await;
        region.lose_disk("witness");
        witness = region.witness().await;
        replica = third.start().await;
        third.until("has adopted still", |status| status.phase == "replica" && !status.active).await;
    }
    let restored = operator.restore(&plan(true), &mut Says::new(true)).await.expect("restored");
    assert_eq!(restored.position.seq, had.last);
    region.commit("more").await;
    third.until("follows again", |status| status.last == had.last + 1).await;
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
    witness.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_the_past_is_not_taken_while_a_backup_has_more() {
    let third = Third::of(Region::with_backups("copies-past", "eu-west-sbg", ["eu-west-sbg", "eu-west-gra"]));
    let region = &third.region;
    let (witness, head, tail) = region.begin_work().await;
    let replica = third.start().await;
    let first = third.until_backed_up(1).await;
    replica.shutdown().await;
    region.save("replica", "past");
    let replica = third.start().await;
    region.commit("second").await;
    let second = third.until_backed_up(first.last + 1).await;
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
    for node in ["db-a", "db-b"] {
        region.lose_disk(node);
    }
    region.restore("replica", "past");
    let replica = third.start().await;
    let (head, tail) = region.databases().await;
    third.until("stands", |status| status.phase == "replica" && status.last == first.last).await;
    let operator = region.operator();
    let refused = operator.restore(&RestorePlan::default(), &mut Says::new(true)).await;
    assert!(
        matches!(&refused, Err(RebuildError::Refused(why)) if why.contains("its disk is of the past")),
        "{refused:?}"
    );
    assert_eq!(operator.known().await.expect("answers").pending, None, "nothing was registered");
    let plan = RestorePlan { from: Copy::Backup { store: None, at_ms: None }, ..RestorePlan::default() };
    let restored = operator.restore(&plan, &mut Says::new(true)).await.expect("restored");
    assert_eq!(restored.position.seq, second.last);
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
    witness.shutdown().await;
}
