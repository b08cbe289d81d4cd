//! `kms serve`.

use super::Failure;
use clap::Args;
use kms::{
    env::Env,
    node::{self, NodeError},
};
use std::{io, path::PathBuf};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[derive(Debug, Args)]
#[command(
    after_help = "SIGINT or SIGTERM ends the node cleanly; so does kill -9, only less politely: a node that\n\
    starts again recovers by itself."
)]
pub(super) struct Options {
    /// The node's configuration, as `kms init` writes it
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Failure {
        if error.is_configuration() { Failure::usage(error) } else { Failure::runtime(error) }
    }
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    let mut end = EndSignals::listen().map_err(Failure::runtime)?;
    let mut node = node::serve(env, &options.config).await?;
    tokio::select! {
        biased;
        name = end.next() => tracing::info!(signal = name, "stopping"),
        reason = node.stopped() => return Err(Failure::runtime(format!("the node ended: {reason}"))),
    }
    node.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

/// SIGINT and SIGTERM.
pub(super) struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl EndSignals {
    /// From here on the signals no longer kill the process.
    pub(super) fn listen() -> io::Result<EndSignals> {
        Ok(EndSignals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next one's name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
