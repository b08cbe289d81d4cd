//! `kms backup list` and `kms backup verify` (`rehearse` has a room of its own): which backups there are, and whether one can be read. Asks the running replica, or, given
//! the replica's own configuration, the stores.

use super::{
    Failure,
    output::{complain, say, table},
    region::WhichRegion,
};
use clap::{Args, Subcommand};
use kms::{
    backup::Day,
    config::{NodeConfig, Role},
    env::{Env, Purpose},
    operator::ask,
    replica::{Asked, Backups, StoreBackups, VerifiedBackup},
    store::exchange::NoAnswer,
    wire::tls::NodeTls,
};
use std::{path::Path, sync::Arc, time::Duration};

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Between two questions how far a verification is.
const LOOK: Duration = Duration::from_millis(500);
/// How long a replica that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(30);
/// Backups of each store that are listed if nothing is said.
const LISTED: usize = 20;

#[derive(Debug, Args)]
#[command(
    after_help = "With --dir, or with --config and the operator's configuration, the running replica is asked. With --config and the\n\
    replica's own node.toml the stores are read from here, with the backup key and the credentials that it names: for when\n\
    the replica does not run. `rehearse` always reads the stores. See docs/backups.md."
)]
pub(super) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Which backups there are, in each of the two stores
    List(ListOptions),
    /// Read a backup to its end and check all of it that can be checked without a key of the hosts
    Verify(VerifyOptions),
    /// Take a backup as a restore would, beside the running region, and check all of it
    Rehearse(super::rehearse::Options),
}

#[derive(Debug, Args)]
struct ListOptions {
    #[command(flatten)]
    which: WhichRegion,
    /// All of them, not the newest 20
    #[arg(long)]
    all: bool,
    /// As one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Checks hashes, seals, the rows' checksums and digest, the log's hash chain and the positions; keeps nothing. Whether\n\
    records open, `kms backup rehearse` tells with the root key. May take minutes; exit code 2 if a backup is not whole."
)]
struct VerifyOptions {
    /// Number of the backup, as `kms backup list` shows it [default: the newest of each store]
    number: Option<u64>,
    /// Only in the store of this region
    #[arg(long, value_name = "REGION")]
    store: Option<String>,
    #[command(flatten)]
    which: WhichRegion,
    /// As one line of JSON
    #[arg(long)]
    json: bool,
}

/// Who is asked.
enum Source {
    Replica { tls: Arc<NodeTls>, address: String },
    Stores(Backups),
}

/// The configuration of a replica, for a command that reads its stores itself.
pub(super) fn replica_config(env: &Env, path: &Path) -> Result<NodeConfig, Failure> {
    let config = NodeConfig::load(&*env.disk, path).map_err(Failure::usage)?;
    if config.role == Role::Replica {
        return Ok(config);
    }
    Err(Failure::Usage(format!(
        "{} is the configuration of a {}: backups are made by the replica: give its node.toml, or to `list` and `verify` the operator's configuration",
        path.display(),
        config.role.word()
    )))
}

fn source(env: &Env, which: &WhichRegion) -> Result<Source, Failure> {
    if let Some(path) = which.node_file(env)? {
        let config = replica_config(env, path)?;
        let backups = Backups::configured(env, &config).map_err(Failure::usage)?;
        let none = || Failure::Usage(format!("{} names no backup stores", path.display()));
        return backups.map(Source::Stores).ok_or_else(none);
    }
    let operator = which.load(env)?;
    let tls = operator.tls(env, HANDSHAKE).map_err(Failure::usage)?;
    let none =
        || Failure::usage("this region has no replica, and backups are made by it: operator.toml names none");
    Ok(Source::Replica { tls, address: operator.replica.ok_or_else(none)? })
}

fn unanswered(address: &str, error: &NoAnswer) -> Failure {
    let offline = match error {
        NoAnswer::Refused(_) => "",
        _ => {
            "; if it does not run, give --config with its node.toml, where its stores and the backup key can be reached"
        }
    };
    Failure::Runtime(format!("the replica, {address}: {error}{offline}"))
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    match options.what {
        What::List(options) => list(&env, &options).await,
        What::Verify(options) => verify(&env, options).await,
        What::Rehearse(options) => super::rehearse::run(env, options).await,
    }
}

async fn list(env: &Env, options: &ListOptions) -> Result<(), Failure> {
    let stores = match source(env, &options.which)? {
        Source::Stores(backups) => backups.list().await,
        Source::Replica { tls, address } => {
            ask::backups(env, &tls, &address).await.map_err(|error| unanswered(&address, &error))?
        }
    };
    if options.json {
        say(format_args!("{}\n", serde_json::to_string(&stores).map_err(Failure::runtime)?));
    } else {
        let most = if options.all { usize::MAX } else { LISTED };
        stores.iter().for_each(|store| say(listing(store, env.wall_ms(), most)));
    }
    match stores.iter().find_map(|store| store.error.as_ref().map(|why| format!("{}: {why}", store.store))) {
        Some(why) => Err(Failure::Runtime(why)),
        None => Ok(()),
    }
}

/// One store's backups, the newest first.
fn listing(store: &StoreBackups, now_ms: u64, most: usize) -> String {
    if let Some(why) = &store.error {
        return format!("{}: {why}\n\n", store.store);
    }
    let mut rows = vec![["NUMBER", "MADE", "AGE"].map(str::to_owned).to_vec()];
    rows.extend(store.backups.iter().rev().take(most).map(|backup| {
        let age = now_ms.saturating_sub(backup.made_ms);
        vec![backup.number.to_string(), moment(backup.made_ms), span(age)]
    }));
    let left = store.backups.len().saturating_sub(most);
    let more = if left > 0 { format!("and {left} older ones (--all)\n") } else { String::new() };
    format!("{}: {} backups\n{}{more}\n", store.store, store.backups.len(), table(&rows))
}

async fn verify(env: &Env, options: VerifyOptions) -> Result<(), Failure> {
    let asked = Asked { number: options.number, store: options.store };
    let done = match source(env, &options.which)? {
        Source::Stores(backups) => backups.verify(&asked).await.map_err(Failure::Usage)?,
        Source::Replica { tls, address } => wait(env, &tls, &address, &asked).await?,
    };
    if options.json {
        say(format_args!("{}\n", serde_json::to_string(&done).map_err(Failure::runtime)?));
    } else {
        done.iter().for_each(|backup| say(verdict(backup)));
    }
    let whole = done.iter().all(|backup| backup.error.is_none());
    if whole { Ok(()) } else { Err(Failure::runtime("not every backup that was looked at is whole")) }
}

/// Has the replica verify, and asks until it is done.
async fn wait(
    env: &Env,
    tls: &NodeTls,
    address: &str,
    asked: &Asked,
) -> Result<Vec<VerifiedBackup>, Failure> {
    let ticket: [u8; 16] = env.random(Purpose::Public).map_err(Failure::runtime)?;
    let (mut heard, mut told) = (env.now(), false);
    loop {
        match ask::verify_backup(env, tls, address, (ticket, asked)).await {
            Ok(verification) if !verification.running => return Ok(verification.done),
            Ok(_) => heard = env.now(),
            Err(error) if matches!(error, NoAnswer::Refused(_)) || env.now() > heard + PATIENCE => {
                return Err(unanswered(address, &error));
            }
            Err(_) => {}
        }
        if env.now() > heard + LOOK && !told {
            complain("the replica does not answer: asking again\n");
            told = true;
        }
        env.sleep(LOOK).await;
    }
}

fn verdict(backup: &VerifiedBackup) -> String {
    let VerifiedBackup { store, number, rows, entries, position, .. } = backup;
    match &backup.error {
        Some(why) => format!("{store}: backup {number} is NOT WHOLE: {why}\n"),
        None => format!(
            "{store}: backup {number} of {} is whole: {rows} records and {entries} log entries up to {position}, {}\n",
            moment(backup.made_ms),
            size(backup.bytes)
        ),
    }
}

/// A wall time, in UTC.
pub(super) fn moment(wall_ms: u64) -> String {
    let seconds = wall_ms / 1_000 % 86_400;
    format!("{} {:02}:{:02}:{:02}Z", Day::of(wall_ms), seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// A length of time, in words.
pub(super) fn span(millis: u64) -> String {
    match millis / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// A number of bytes, in words.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms::replica::ListedBackup;

    #[test]
    fn people_read_times_and_sizes() {
        assert_eq!(moment(1_795_694_400_000 + 3_661_000), "2026-11-26 13:01:01Z");
        assert_eq!([119_999, 120_000, 7_200_000, 172_800_000].map(span), ["119 s", "2 min", "2 h", "2 days"]);
        assert_eq!([726, 90_464, 31_000_000_000].map(size), ["726 bytes", "90 kB", "31000 MB"]);
    }

    #[test]
    fn the_newest_come_first_and_the_rest_is_counted() {
        let backup = |number: u64| ListedBackup { number, made_ms: 1_795_694_400_000 + number * 240_000 };
        let store = StoreBackups {
            store: "eu-west-gra".to_owned(),
            backups: (1..=25).map(backup).collect(),
            error: None,
        };
        let text = listing(&store, 1_795_694_400_000 + 26 * 240_000, 20);
        assert!(text.starts_with("eu-west-gra: 25 backups\n") && text.contains("and 5 older ones"), "{text}");
        assert_eq!(text.lines().nth(2), Some("25      2026-11-26 13:40:00Z  4 min"), "{text}");
    }
}
