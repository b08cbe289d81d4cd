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
    env::Env,
    operator::restore::{RestorePlan, Restored},
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
    #[command(flatten)]
    which: WhichRegion,
    /// State that the process of this database of the old region (its id, or the first 8 characters) is not running now.
    /// Twice, once for each. Without it you are asked when it matters
    #[arg(long, value_name = "ID")]
    not_running: Vec<String>,
    /// Give up a region that still serves, with all that the replica has not
    #[arg(long)]
    retire_serving: bool,
    /// The witness is lost for good as well: the blank one that runs at its address begins with this restore
    #[arg(long)]
    witness_lost: bool,
    /// Go ahead with a replica of an older epoch: all that was written since the last rebuild may be missing
    #[arg(long)]
    older_epoch: bool,
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    let What::Region(options) = options.what;
    let From::Replica = options.from;
    let operator = operator(&env, &options.which)?;
    let plan = RestorePlan {
        retire_serving: options.retire_serving,
        witness_lost: options.witness_lost,
        older_epoch: options.older_epoch,
    };
    let mut terminal = Terminal::new(&env, options.not_running, REGION_OFF);
    let restored = operator.restore(plan, &mut terminal).await.map_err(failure)?;
    say(report(&restored));
    Ok(())
}

fn report(restored: &Restored) -> String {
    let Restored { epoch, position, retired } = restored;
    let mut text = format!(
        "The region is whole again, in epoch {epoch}. It has everything up to position {}, and nothing of what was written \
         after it.\n",
        position.seq
    );
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
        let some = Restored { epoch, position, retired: vec![(DbId([7; 16]), 43)] };
        assert!(report(&some).contains("had 3 further log entries"));
        let none = Restored { retired: Vec::new(), ..some };
        assert!(report(&none).contains("position 40") && report(&none).contains("No old database"));
    }
}
