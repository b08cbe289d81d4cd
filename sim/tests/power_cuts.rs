//! redb on the simulated disk, with the power cut inside any disk operation: what a commit acknowledged is
//! there after the next start, and a transaction is there whole or not at all.

use kms::env::{Disk, Env, OpenMode};
use kms_sim::{
    actions::Actions,
    history::What,
    world::{NodeSpec, Stream, run, swap::Backend},
};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::{
    path::Path,
    sync::{Arc, Mutex},
};

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("t");
/// Rows written by each transaction, all with its number.
const ROWS: u64 = 8;

fn path() -> &'static Path {
    Path::new("data/store.redb")
}

fn open(disk: &dyn Disk) -> Result<Database, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    match disk.open(path(), OpenMode::Existing) {
        Ok(file) => Database::builder().create_with_backend(Backend(file)).map_err(|error| text(&error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            disk.create_dir(Path::new("data")).map_err(|error| text(&error))?;
            disk.sync_dir(Path::new("")).map_err(|error| text(&error))?;
            // Created under another name: a file half made must not be taken for a store.
            let fresh = Path::new("data/store.new");
            let _ = disk.remove(fresh);
            let file = disk.open(fresh, OpenMode::CreateNew).map_err(|error| text(&error))?;
            drop(Database::builder().create_with_backend(Backend(file)).map_err(|error| text(&error))?);
            disk.rename(fresh, path()).map_err(|error| text(&error))?;
            disk.sync_dir(Path::new("data")).map_err(|error| text(&error))?;
            open(disk)
        }
        Err(error) => Err(text(&error)),
    }
}

/// The number of the last transaction seen in the store.
fn check(database: &Database) -> Result<u64, redb::Error> {
    let table = match database.begin_read()?.open_table(TABLE) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let mut seen = Vec::new();
    for row in table.iter()? {
        let (_, value) = row?;
        let value = value.value();
        assert!(value.iter().all(|byte| *byte == value[0]), "a row is of one piece");
        seen.push((u64::from(value[0]), value.len()));
    }
    assert_eq!(seen.len() as u64, ROWS);
    assert!(seen.iter().all(|one| *one == seen[0]), "no mixed state: {seen:?}");
    // The length tells transactions with the same byte apart.
    Ok(seen[0].1 as u64)
}

fn commit(database: &Database, number: u64) -> Result<(), redb::Error> {
    let mut writing = database.begin_write()?;
    writing.set_durability(Durability::Immediate)?;
    {
        let mut table = writing.open_table(TABLE)?;
        let value = vec![number as u8; number as usize];
        for row in 0..ROWS {
            table.insert(row, value.as_slice())?;
        }
    }
    writing.commit()?;
    Ok(())
}

/// Opens, checks against what was acknowledged, and commits until something stops it.
async fn serve(env: Env, acknowledged: Arc<Mutex<u64>>) -> String {
    let disk = env.disk.clone();
    let database = match env.blocking("open", move || open(&*disk)).await {
        Ok(Ok(database)) => Arc::new(database),
        Ok(Err(error)) => return format!("open: {error}"),
        Err(panic) => return format!("open: {panic}"),
    };
    let last = *acknowledged.lock().expect("lock");
    let seen = check(&database).expect("reads");
    assert!(seen == last || seen == last + 1, "{last} acknowledged, {seen} found");
    for number in seen + 1.. {
        let database = database.clone();
        let done = env.blocking("commit", move || commit(&database, number)).await;
        if let Ok(Err(error)) = done {
            return error.to_string();
        }
        *acknowledged.lock().expect("lock") = number;
    }
    "never".to_owned()
}

/// Cuts the power `rounds` times; how many cuts fell inside a disk operation, and commits acknowledged.
fn storm(seed: u64, rounds: u64) -> (usize, u64) {
    run(seed, |world| async move {
        let (name, ip) = ("db".to_owned(), "10.0.0.1".to_owned());
        world.add_node(NodeSpec { name, ip, zone: None, region: "r".to_owned(), wall_offset_us: 0 });
        let acknowledged = Arc::new(Mutex::new(0));
        let shared = acknowledged.clone();
        world.set_main("db", Arc::new(move |env| Box::pin(serve(env, shared.clone()))));
        let mut faults: Stream = world.stream("faults");
        let mut inside = 0;
        for _ in 0..rounds {
            world.power_cut_after("db", faults.range(1, 60));
            world.boot("db");
            world.sleep_us(1_000_000).await;
            if world.is_up("db") {
                world.power_cut("db");
            } else {
                inside += 1;
            }
        }
        for event in world.events() {
            if let What::Exited { why, .. } = event.what {
                assert!(why.contains("power lost"), "{why}");
            }
        }
        let count = *acknowledged.lock().expect("lock");
        (inside, count)
    })
}

#[test]
fn acknowledged_commits_survive_cuts_inside_any_operation() {
    let (mut inside, mut commits) = (0, 0);
    for seed in 0..40 {
        let (cuts, acknowledged) = storm(seed, 15);
        inside += cuts;
        commits += acknowledged;
    }
    assert!(inside > 500, "cuts inside an operation: {inside}");
    assert!(commits > 300, "commits acknowledged: {commits}");
}
