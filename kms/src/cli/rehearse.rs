//! `kms backup rehearse`: a backup is taken as the restore of a lost region would take it, beside whatever runs, and looked at to its
//! last seal. What was taken is removed again.

use super::{
    Failure,
    backup::{moment, replica_config, size},
    output::{complain, say},
    region::below,
    restore::{troubles, unix_ms},
    root::WhichRoot,
};
use clap::{ArgGroup, Args};
use kms::{
    env::{Env, Purpose},
    init::NODE_FILE,
    operator::seals::{SealCheck, Seals},
    os,
    replica::{Rehearsal, Rehearsed, Tombstones},
    store::termination::is_termination,
    vault::RootKey,
    wire::{
        restore::BackupWanted,
        tls::{NodeTls, load_operator},
    },
};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Between two lines about how far it is.
const TELL: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("which replica").required(true).args(["config", "dir"])),
    after_help = "Takes the newest backup that can be read, of either store, and checks what a restore checks: hashes, seals of the backup,\n\
    rows and their digest, the log's hash chain and positions, the operator's signature of the epoch, tombstones. With --root-key, or --sealed-root\n\
    and shares, also whether every record opens; nothing of it is shown. Asks no node anything and changes no store. Needs room for the region's records, the replica's\n\
    node.toml with the backup key and the credentials that it names, and reaches the stores. Exit code 2 if a restore would fail, or a\n\
    record does not open."
)]
pub(super) struct Options {
    /// The node.toml of the replica, or of the one that would take its place
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of `kms init --out` or `kms dev --dir`, instead of --config
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    root: WhichRoot,
    /// The region of the store to take it from; without it, the one with the newest that can be read
    #[arg(long, value_name = "REGION")]
    store: Option<String>,
    /// A backup made at this time or before, RFC 3339 such as 2026-11-26T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Where to take it: into a new directory in this one [default: beside the replica's data directory]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Leave there what was taken. Delete it yourself: when the service of a domain ends, nobody else erases the sealed key there
    #[arg(long)]
    keep: bool,
    /// As one line of JSON
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    /// Region of the store.
    store: String,
    /// When the backup was made, Unix milliseconds.
    made_ms: u64,
    /// Wall time of its newest log entry, Unix milliseconds; 0: not known.
    newest_ms: u64,
    /// Epoch that it is of.
    epoch: String,
    /// It holds everything up to here.
    position: u64,
    /// Records that a region made of it has.
    records: u64,
    /// Their bytes, as stored.
    bytes: u64,
    /// Seconds that it took to take it.
    seconds: f64,
    /// A restore of it asks for --older-than-anchor: keys were destroyed after it, and its store has a newer one.
    older_than_anchor: bool,
    /// Keys that were destroyed later, what could not be read of them, and domains without a key.
    tombstones: Tombstones,
    /// None without a root key.
    seals: Option<Seals>,
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    let path = match (options.config, &options.dir) {
        (Some(config), _) => config,
        (None, Some(dir)) => below(&env, dir, &format!("replica/{NODE_FILE}"))?,
        (None, None) => return Err(Failure::usage("give --config or --dir")),
    };
    let mut config = replica_config(&env, &path)?;
    if config.backups.is_empty() {
        return Err(Failure::Usage(format!("{} names no backup stores", path.display())));
    }
    let root = options.root.load(&env, None)?;
    let wanted = BackupWanted {
        store: options.store.unwrap_or_default(),
        at_ms: options.at.as_deref().map(unix_ms).transpose()?,
    };
    let tls = NodeTls::load(&env, &config).map_err(Failure::usage)?;
    let operator =
        config.operator_cert.as_deref().ok_or_else(|| Failure::usage("node.toml has no operator_cert"))?;
    let operator = load_operator(&env, operator).map_err(Failure::usage)?;
    // A directory of its own: whatever else is there, another rehearsal too, is not touched.
    let beside = config.data_dir.parent().unwrap_or(Path::new(".")).to_owned();
    let tag: [u8; 4] = env.random(Purpose::Public).map_err(Failure::runtime)?;
    let name = format!("rehearsal-{}", tag.map(|byte| format!("{byte:02x}")).concat());
    let scratch = options.scratch.unwrap_or(beside).join(name);
    config.data_dir.clone_from(&scratch);
    let rehearsal = Rehearsal::new(&env, config, tls, operator).map_err(Failure::usage)?;
    let on_disk = |error| Failure::Runtime(format!("{}: {error}", scratch.display()));
    env.disk.create_dir(&scratch).map_err(on_disk)?;
    let done = rehearse(&env, &rehearsal, &wanted, root.as_ref()).await;
    let left = if options.keep { Ok(()) } else { os::remove_tree(&scratch).map_err(on_disk) };
    let report = done.map_err(Failure::Runtime)?;
    if options.json {
        say(format_args!("{}\n", serde_json::to_string(&report).map_err(Failure::runtime)?));
    } else {
        say(words(&report));
    }
    left?;
    complain(if options.keep {
        format!("what was taken is in {}\n", scratch.display())
    } else {
        "what was taken is removed again\n".to_owned()
    });
    let opens = report.seals.as_ref().is_none_or(|seals| seals.troubles.is_empty());
    if report.tombstones.keyless.is_empty() && report.tombstones.unread.is_empty() && opens {
        Ok(())
    } else {
        Err(Failure::runtime("a region made of this backup would not be whole: see above"))
    }
}

async fn rehearse(
    env: &Env,
    rehearsal: &Rehearsal,
    wanted: &BackupWanted,
    root: Option<&RootKey>,
) -> Result<Report, String> {
    let began = env.now();
    let mut taking = std::pin::pin!(rehearsal.take(wanted));
    let taken = loop {
        match env.timeout(TELL, &mut taking).await {
            Ok(taken) => break taken?,
            Err(_) => {
                let far = rehearsal.progress();
                complain(format_args!("{} of {} records, {}\n", far.rows, far.rows_total, size(far.bytes)));
            }
        }
    };
    let seconds = env.now().since(began).as_secs_f64();
    let looked = look(rehearsal, &taken, root).await;
    let name = taken.seen.backup.clone().unwrap_or_default();
    let report = looked.map(|(records, bytes, seals)| Report {
        store: name.store,
        made_ms: taken.seen.made_ms,
        newest_ms: taken.seen.newest_ms,
        epoch: taken.epoch.to_string(),
        position: taken.seen.position.as_ref().map_or(0, |position| position.seq),
        records,
        bytes,
        seconds,
        older_than_anchor: taken.seen.older && taken.seen.anchor_seq > 0,
        tombstones: taken.tombstones.clone(),
        seals,
    });
    rehearsal.close(taken).await;
    report
}

/// Reads all that was taken: how many records there are, how many bytes, and whether they open.
async fn look(
    rehearsal: &Rehearsal,
    taken: &Rehearsed,
    root: Option<&RootKey>,
) -> Result<(u64, u64, Option<Seals>), String> {
    let keyring = rehearsal.keyring().await?;
    let mut check = root.map(|root| SealCheck::new(root, &keyring, &taken.ended));
    let (mut records, mut bytes, mut after) = (0, 0, None);
    loop {
        let rows = rehearsal.rows_after(taken, after).await?;
        let Some((last, _)) = rows.last() else { break };
        after = Some(last.clone());
        for (key, row) in rows.iter().filter(|(key, _)| !is_termination(key)) {
            records += 1;
            bytes += (key.len() + row.len()) as u64;
            if let Some(check) = &mut check {
                check.row(key, row);
            }
        }
    }
    Ok((records, bytes, check.map(SealCheck::done)))
}

fn words(report: &Report) -> String {
    let Report { store, made_ms, epoch, position, records, bytes, seconds, tombstones, seals, .. } = report;
    let mut text = format!(
        "{store}: the backup of {} was taken as a restore takes it: {records} records up to {position}, epoch {epoch}, {} in {seconds:.1} s\n",
        moment(*made_ms),
        size(*bytes)
    );
    if tombstones.changed > 0 {
        text.push_str(&format!(
            "Keys destroyed after it was made, which stay destroyed: {}\n",
            tombstones.changed
        ));
    }
    if report.older_than_anchor {
        text.push_str("To restore it takes --older-than-anchor: its store has a newer one, and keys were destroyed in between\n");
    }
    text.push_str(&troubles(tombstones));
    match seals {
        Some(seals) => {
            let Seals { opened, domains, of_ended, closed, troubles } = seals;
            text.push_str(&format!("Opened with the root key: {opened} records; domain keys: {domains}"));
            if *of_ended > 0 {
                text.push_str(&format!("; {of_ended} of domains whose service has ended, as they must not"));
            }
            text.push('\n');
            if *closed > 0 {
                text.push_str(&format!("DO NOT OPEN: {closed} records\n"));
            }
            for why in troubles {
                text.push_str(&format!("  {why}\n"));
            }
        }
        None => text.push_str("Whether the records open was not looked at: give --root-key\n"),
    }
    text
}
