//! Structured logs on stderr, and what is logged of a panic.

use super::Failure;
use clap::{Args, ValueEnum};
use std::io;
use tracing_subscriber::{
    Layer, filter::Targets, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt,
};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// What to log: a level (error, warn, info, debug, trace), or several as `kms::store=debug,warn`
    #[arg(long = "log", global = true, value_name = "FILTER", display_order = 900)]
    filter: Option<String>,
    /// Form of the log lines on stderr
    #[arg(long = "log-format", global = true, value_enum, display_order = 901, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Starts logging: from `warn` upwards if `quiet`, from `info` otherwise, unless told.
pub(super) fn start(options: &Options, quiet: bool) -> Result<(), Failure> {
    let filter = options.filter.as_deref().unwrap_or(if quiet { "warn" } else { "info" });
    let filter: Targets = filter.parse().map_err(|error: tracing_subscriber::filter::ParseError| {
        Failure::usage(format!("--log {filter}: {error}; try --log debug"))
    })?;
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match options.format {
        Format::Text => lines.with_ansi(false).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let started = registry().with(lines.with_filter(filter)).try_init();
    started.map_err(Failure::runtime)?;
    std::panic::set_hook(Box::new(|panic| {
        // A literal holds no secret; a formatted message might, so its text is left out.
        let message = panic.payload().downcast_ref::<&'static str>().unwrap_or(&"(text withheld)");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, message, "panic");
    }));
    Ok(())
}
