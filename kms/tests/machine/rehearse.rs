//! A rehearsal of a restore beside a region that serves, over real sockets and files.

use crate::{region::Region, replica::Third};
use kms::{replica::Rehearsal, store::row, wire::restore::BackupWanted};
use std::path::{Path, PathBuf};

const STORES: [&str; 2] = ["eu-west-sbg", "eu-west-gra"];

fn rehearsal(region: &Region, scratch: &Path) -> Rehearsal {
    let (mut config, tls, operator) = region.parts("replica");
    config.data_dir = scratch.to_owned();
    Rehearsal::new(&region.env, config, tls, operator).expect("a backup key")
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in dir.read_dir().expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_taken_beside_the_region_that_serves() {
    let third = Third::of(Region::with_backups("rehearse", STORES[0], STORES));
    let region = &third.region;
    let (_witness, head, tail) = region.begin_work().await;
    let replica = third.start().await;
    region.commit("second").await;
    let had = third.until_backed_up(2).await;

    let scratch = region.scratch.path("rehearsal");
    let one = rehearsal(region, &scratch);
    let taken = one.take(&BackupWanted::default()).await.expect("taken");
    assert_eq!(taken.seen.position.as_ref().map(|position| position.seq), Some(had.last));
    assert_eq!((taken.epoch.no, taken.tombstones.changed, taken.ended.len()), (1, 0, 0));
    assert_eq!(one.keyring().await.expect("read").len(), 1, "the key of the region's domain");
    let mut rows = one.rows_after(&taken, None).await.expect("read");
    rows.sort();
    for name in ["k", "second"] {
        let found = rows.iter().find(|(key, _)| key == name.as_bytes()).expect(name);
        row::check(&found.0, &found.1).expect("whole");
    }
    let (last, count) = (rows.last().map(|(key, _)| key.clone()), rows.len());
    assert!(one.rows_after(&taken, last).await.expect("read").is_empty(), "{count} rows, in one piece");
    one.close(taken).await;
    // It is closed: nobody holds its files.
    kms::os::remove_tree(&scratch).expect("removed");

    // The region has noticed nothing.
    region.commit("third").await;
    let still = third.until("follows", |status| status.last == had.last + 1).await;
    assert_eq!((still.db_id, still.tombstones), (had.db_id, None));

    // Nothing in one store is what was put there: that one is refused, and the other one is enough.
    for path in files(&region.scratch.path(&format!("backups/{}/full", STORES[0]))) {
        let mut bytes = region.env.disk.read(&path).expect("read").expect("a file");
        *bytes.last_mut().expect("not empty") ^= 1;
        region.env.disk.write_atomic(&path, &bytes, false).expect("written");
    }
    let wanted = |store: &str| BackupWanted { store: store.to_owned(), at_ms: None };
    let damaged = rehearsal(region, &scratch);
    let why = damaged.take(&wanted(STORES[0])).await.err().expect("refused");
    assert!(why.contains("is damaged"), "{why}");
    kms::os::remove_tree(&scratch).ok();
    let other = rehearsal(region, &scratch);
    let taken = other.take(&wanted(STORES[1])).await.expect("taken");
    assert_eq!(taken.seen.backup.as_ref().map(|name| name.store.as_str()), Some(STORES[1]));
    other.close(taken).await;
    for node in [head, tail] {
        node.shutdown().await;
    }
    replica.shutdown().await;
}
