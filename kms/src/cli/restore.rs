//! `kms restore region`: a lost region made anew from its third copy. Asks for exactly the statements that are needed, and says what
//! came back and what did not.

use super::{
    Failure,
    output::say,
    rebuild::{REGION_OFF, Terminal, failure, operator},
    region::WhichRegion,
};
use clap::{Args, Subcommand, ValueEnum};
use kms::{
    dates::{self, rfc3339_ms},
    env::Env,
    operator::restore::{Copy, RestorePlan, Restored},
    replica::Tombstones,
    wire::restore::BackupSeen,
};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make both databases of the region anew
    Region(RegionOptions),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    /// What the replica has taken: all but the last moments before the loss
    Replica,
    /// The newest backup, or one of --at: for when the replica is lost as well
    Backup,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Before: both databases of the region are lost or switched off, and its entry is withdrawn, so that no client\n\
    reaches what is left of it. Start two databases with the node.toml of the old ones (the address of the replica under\n\
    [peers]), each on an empty data directory or on the old one, and the hosts. Every step is durable before the next one: if\n\
    this is interrupted, run the same command again. What the replica has not is lost; what old databases have beyond\n\
    it is kept in their directories, as retired-<id>-<epoch>, and never merged. See docs/disaster-recovery.md."
)]
struct RegionOptions {
    /// The copy that the region is made of
    #[arg(long, value_enum)]
    from: From,
    /// With --from backup: the region of the store to take it from. Without it, the one with the newest; needed while another store, or a
    /// newer backup, cannot be read
    #[arg(long, value_name = "REGION")]
    store: Option<String>,
    /// With --from backup: one made at this time or before, RFC 3339 such as 2026-11-26T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    #[command(flatten)]
    which: WhichRegion,
    /// State that the process of this database of the old region (its id, or the first 8 characters) is not running now.
    /// Twice, once for each. Without it you are asked when it matters
    #[arg(long, value_name = "ID")]
    not_running: Vec<String>,
    /// Give up a region that still serves, with all that the replica has not
    #[arg(long)]
    retire_serving: bool,
    /// The witness is lost for good as well: the blank one that runs at its address begins with this restore. This states that
    /// the old one never runs again: together with both old databases it would make the old region of them once more
    #[arg(long)]
    witness_lost: bool,
    /// Go ahead with a replica of an older epoch: all that was written since the last rebuild may be missing
    #[arg(long)]
    older_epoch: bool,
    /// Go ahead with a replica that lacks what a backup has: its disk is of the past, and what was written since is lost
    #[arg(long)]
    older_than_backup: bool,
    /// Go ahead with a replica whose log is another history than the region's
    #[arg(long)]
    diverged: bool,
    /// With --at: go ahead although the store has a newer backup and keys were destroyed after this one was made. They stay
    /// destroyed; all else that was written since is lost
    #[arg(long)]
    older_than_anchor: bool,
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    let What::Region(options) = options.what;
    let from = match options.from {
        From::Replica if options.store.is_some() || options.at.is_some() || options.older_than_anchor => {
            return Err(Failure::usage(
                "--store, --at and --older-than-anchor are for --from backup: a replica has one state, its newest",
            ));
        }
        From::Replica => Copy::Replica,
        From::Backup if options.older_epoch || options.older_than_backup || options.diverged => {
            return Err(Failure::usage(
                "--older-epoch, --older-than-backup and --diverged are for --from replica: with --from backup the replica takes a backup first",
            ));
        }
        From::Backup => {
            Copy::Backup { store: options.store, at_ms: options.at.as_deref().map(unix_ms).transpose()? }
        }
    };
    let operator = operator(&env, &options.which)?;
    let plan = RestorePlan {
        from,
        retire_serving: options.retire_serving,
        witness_lost: options.witness_lost,
        older_epoch: options.older_epoch,
        older_than_backup: options.older_than_backup,
        diverged: options.diverged,
        older_than_anchor: options.older_than_anchor,
    };
    let mut terminal = Terminal::new(&env, options.not_running, REGION_OFF);
    let restored = operator.restore(&plan, &mut terminal).await.map_err(failure)?;
    say(report(&restored));
    Ok(())
}

/// A time as people write it, in Unix milliseconds.
pub(super) fn unix_ms(text: &str) -> Result<u64, Failure> {
    let wrong = || Failure::Usage(format!("--at {text}: use a time such as 2026-11-26T12:00:00Z"));
    dates::unix_ms(text).ok_or_else(wrong)
}

fn report(restored: &Restored) -> String {
    let Restored { epoch, position, backup, tombstones, retired } = restored;
    let mut text = format!(
        "The region is whole again, in epoch {epoch}. It has everything up to position {}, and nothing of what was written \
         after it.\n",
        position.seq
    );
    if let Some(backup) = backup {
        let store = backup.backup.as_ref().map_or("", |backup| backup.store.as_str());
        text.push_str(&format!("It was made of the backup of {} in {store}.", rfc3339_ms(backup.made_ms)));
        if backup.newest_ms > 0 {
            text.push_str(&format!(" The last write in it is of {}.", rfc3339_ms(backup.newest_ms)));
        }
        text.push('\n');
        text.push_str(&of_tombstones(backup, tombstones.as_ref()));
    }
    for (id, last) in retired {
        let lost = last.saturating_sub(position.seq);
        text.push_str(&format!(
            "Old database {id} had {lost} further log entries: they are lost to the region, and kept in its directory.\n"
        ));
    }
    if retired.is_empty() {
        text.push_str("No old database was there to tell how much was written after it.\n");
    }
    text
}

/// What became of keys that were destroyed after the backup was made, and what is known of the time after it.
fn of_tombstones(backup: &BackupSeen, tombstones: Option<&Tombstones>) -> String {
    let Some(tombstones) = tombstones else {
        return "How many keys that were destroyed later stay destroyed is not known any more: see the replica's log.\n".to_owned();
    };
    let Tombstones { changed, newest_seq, newest_ms, .. } = tombstones;
    let mut text = format!("Keys that were destroyed after it was made and stay destroyed: {changed}.\n");
    if *newest_seq > 0 {
        let from = if backup.newest_ms > 0 { backup.newest_ms } else { backup.made_ms };
        let until = if *newest_ms > 0 { format!(" ({})", rfc3339_ms(*newest_ms)) } else { String::new() };
        text.push_str(&format!(
            "The region wrote on at least until position {newest_seq}{until}: but for destroyed keys, what was written from {} until \
             then, and later, may be missing.\n",
            rfc3339_ms(from)
        ));
        if backup.older {
            text.push_str(
                "A newer backup was there: this one was taken because --older-than-anchor said so.\n",
            );
        }
    }
    text.push_str(&troubles(tombstones));
    text
}

/// What of it is not as it must be.
pub(super) fn troubles(tombstones: &Tombstones) -> String {
    let unread = tombstones.unread.iter().map(|why| {
        format!("What was destroyed or ended may be back, for something could not be read: {why}\n")
    });
    let keyless = tombstones.keyless.iter().map(|domain| {
        format!(
            "The key of domain {domain} is in no backup store: NOTHING OPENS ITS RECORDS until it is found\n"
        )
    });
    unread.chain(keyless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms::store::{
        epoch::{DbId, Epoch},
        log::Position,
    };

    #[test]
    fn people_are_told_what_is_missing() {
        let position = Position { seq: 40, hash: [0; 32] };
        let epoch = Epoch { no: 2, id: [1; 16] };
        let some =
            Restored { epoch, position, backup: None, tombstones: None, retired: vec![(DbId([7; 16]), 43)] };
        assert!(report(&some).contains("had 3 further log entries"));
        let none = Restored { retired: Vec::new(), ..some };
        assert!(report(&none).contains("position 40") && report(&none).contains("No old database"));
        let ms = unix_ms("2026-11-26T12:00:00.250Z").ok();
        assert_eq!(ms.map(rfc3339_ms).as_deref(), Some("2026-11-26T12:00:00.25Z"));
        assert!(unix_ms("yesterday").is_err());
    }

    #[test]
    fn people_are_told_of_destroyed_keys() {
        let noon = 1_795_694_400_000;
        let seen = BackupSeen { made_ms: noon, newest_ms: noon, older: true, ..BackupSeen::default() };
        let some =
            Tombstones { changed: 3, newest_seq: 90, newest_ms: noon + 60_000, ..Tombstones::default() };
        let text = of_tombstones(&seen, Some(&some));
        for told in ["stay destroyed: 3", "12:00:00Z", "12:01:00Z", "position 90", "--older-than-anchor"] {
            assert!(text.contains(told), "{told}: {text}");
        }
        let unread =
            Tombstones { unread: vec!["the anchors in eu-west-gra".to_owned()], ..Tombstones::default() };
        let text = of_tombstones(&seen, Some(&unread));
        assert!(text.contains("eu-west-gra") && !text.contains("wrote on"), "{text}");
        assert!(of_tombstones(&seen, None).contains("not known"));
    }
}
