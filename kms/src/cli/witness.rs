//! `kms witness replace`: another witness in the place of one whose disk is lost, or that is to go.

use super::{
    Failure,
    output::say,
    rebuild::{Terminal, failure, operator},
    region::WhichRegion,
};
use clap::{Args, Subcommand};
use kms::{env::Env, operator::witness::Installed};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Have both databases listen to a new witness, and make it of the blank one that runs in its place
    Replace(ReplaceOptions),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Before: stop the old witness, and start one with the same node.toml, certificates and address on an\n\
    empty data directory. Both databases must be up, and no rebuild under way. Keys are not affected. If this is\n\
    interrupted, run it again. The old witness is never listened to again, whatever its disk says.\n\
    See docs/rebuild.md."
)]
struct ReplaceOptions {
    #[command(flatten)]
    which: WhichRegion,
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    let What::Replace(options) = options.what;
    let operator = operator(&env, &options.which)?;
    let mut terminal = Terminal::silent(&env);
    let installed = operator.replace_witness(&mut terminal).await.map_err(failure)?;
    match installed {
        Installed::Now(id) => {
            say(format_args!("Witness {} is in place; both databases listen to it.\n", hex::encode(id)));
        }
        Installed::Before(id) => say(format_args!(
            "Nothing to do: witness {} answers, and both databases listen to it. To replace it, stop it and start a \
             blank one in its place.\n",
            hex::encode(id)
        )),
    }
    Ok(())
}
