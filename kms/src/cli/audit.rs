//! `kms audit export`, `verify` and `prune`: what an auditor does with the spool of one host, running or not. Needs the host's root key,
//! or the shares that it is unsealed by.

use super::{
    Failure,
    output::{complain, say},
    root::WhichRoot,
};
use clap::{Args, Subcommand, ValueEnum};
use kms::{
    audit::{self, AuditKey, Link, Read, Verified},
    config::{NodeConfig, Role},
    dates::{moment_ms, rfc3339_ms},
    env::Env,
};
use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
};
use uuid::Uuid;

#[derive(Debug, Args)]
#[command(after_help = "Each host has a spool of its own. See docs/audit.md.")]
pub(super) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write the entries to stdout, one a line, and check them on the way
    Export(ExportOptions),
    /// Check that nothing was altered, removed or moved, and print the head of the chain
    Verify(VerifyOptions),
    /// Remove old entries; what stays can still be verified
    Prune(PruneOptions),
}

#[derive(Debug, Args)]
struct Spool {
    /// The host's node.toml: it names the root key, or the sealed one, and the data directory
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Another data directory than that of node.toml, such as a copy
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    root: WhichRoot,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit code 2 if the spool is not whole: what could be read is written all the same.")]
struct ExportOptions {
    #[command(flatten)]
    spool: Spool,
    /// As JSON Lines with the documented fields, or as the documented lines of text
    // An id of its own: `format` is that of the logs.
    #[arg(id = "entries_as", long = "format", value_enum, default_value = "json")]
    format: Format,
    /// Only entries after this sequence number
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    after: u64,
    /// Only entries from this time on (2026-11-27 or 2026-11-27T20:00:00Z)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only entries before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only entries of this domain
    #[arg(long, value_name = "ID")]
    domain: Option<Uuid>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Finds what was altered, removed, cut out or put in another order. That the newest entries were cut off can only be\n\
    found against a head that was noted before: keep what this prints somewhere else, and give it with --expect-head.\n\
    Exit code 2 if the spool is not whole."
)]
struct VerifyOptions {
    #[command(flatten)]
    spool: Spool,
    /// A head that was printed earlier: it must stand in the chain
    #[arg(long, value_name = "SEQUENCE:HASH")]
    expect_head: Option<Link>,
    /// As one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Whole segments are removed, whose entries are all older; never the last one. The host may run. Export them first:\n\
    they are not kept anywhere else."
)]
struct PruneOptions {
    #[command(flatten)]
    spool: Spool,
    /// Remove what was recorded before this time (2026-11-27 or 2026-11-27T20:00:00Z)
    #[arg(long, value_name = "TIME")]
    before: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Json,
    Text,
}

impl Spool {
    fn open(&self, env: &Env) -> Result<(PathBuf, AuditKey), Failure> {
        let config = NodeConfig::load(&*env.disk, &self.config).map_err(Failure::usage)?;
        if config.role != Role::Host {
            return Err(Failure::Usage(format!(
                "{} is the configuration of a {}: only hosts have an audit spool",
                self.config.display(),
                config.role.word()
            )));
        }
        let missing = || Failure::usage("no root key is named: give --root-key");
        let root = self.root.load(env, Some(&config))?.ok_or_else(missing)?;
        let data_dir = self.data_dir.clone().unwrap_or(config.data_dir);
        Ok((data_dir, AuditKey::new(&root, &config.node_id)))
    }
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    let work_env = env.clone();
    let work = move || match options.what {
        What::Export(options) => export(&work_env, &options),
        What::Verify(options) => verify(&work_env, &options),
        What::Prune(options) => prune(&work_env, &options),
    };
    env.blocking("audit command", work).await.map_err(Failure::runtime)?
}

fn time(text: Option<&String>) -> Result<Option<u64>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let wrong = || Failure::Usage(format!("{text:?} is no time: write 2026-11-27 or 2026-11-27T20:00:00Z"));
    moment_ms(text).map(Some).ok_or_else(wrong)
}

fn export(env: &Env, options: &ExportOptions) -> Result<(), Failure> {
    let (since, until) = (time(options.since.as_ref())?, time(options.until.as_ref())?);
    let (data_dir, key) = options.spool.open(env)?;
    let domain = options.domain.map(|domain| domain.to_string());
    let mut out = BufWriter::new(io::stdout().lock());
    let mut unknown = 0_u64;
    let wanted = |read: &Read<'_>| {
        let Some(entry) = &read.entry else { return true };
        let at = moment_ms(&entry.time);
        read.link.sequence > options.after
            && since.is_none_or(|since| at >= Some(since))
            && until.is_none_or(|until| at < Some(until))
            && domain.as_ref().is_none_or(|domain| *domain == entry.event.domain_id)
    };
    let done = audit::read(env, &data_dir, &key, None, |read| match (options.format, &read.entry) {
        _ if !wanted(read) => Ok(()),
        (Format::Json, _) => writeln!(out, "{}", read.line()),
        (Format::Text, Some(entry)) => writeln!(out, "{}", entry.line()),
        (Format::Text, None) => {
            unknown += 1;
            Ok(())
        }
    });
    let done = done.and_then(|done| out.flush().map(|()| done)).map_err(Failure::runtime)?;
    if unknown > 0 {
        complain(format_args!(
            "{unknown} entries are of a later build and were left out: try --format json\n"
        ));
    }
    judge(&done)
}

fn verify(env: &Env, options: &VerifyOptions) -> Result<(), Failure> {
    let (data_dir, key) = options.spool.open(env)?;
    let done =
        audit::read(env, &data_dir, &key, options.expect_head, |_| Ok(())).map_err(Failure::runtime)?;
    if options.json {
        let findings: Vec<String> = done.findings.iter().map(ToString::to_string).collect();
        let report = serde_json::json!({
            "host": key.host(),
            "whole": done.is_whole(),
            "entries": done.entries,
            "segments": done.segments,
            "begins_after": done.begins_after.to_string(),
            "head": done.head.to_string(),
            "expected_head_found": options.expect_head.map(|_| done.expected),
            "findings": findings,
        });
        say(format_args!("{report}\n"));
        return judge(&done);
    }
    let mut text = format!("{}: {} entries in {} segments\n", key.host(), done.entries, done.segments);
    if done.begins_after.sequence > 0 {
        text += &format!("begins after entry {}: older ones were removed\n", done.begins_after);
    }
    text += &format!("head: {}\n", done.head);
    if let Some(torn) = &done.torn {
        text += &format!("{torn}; nothing that was answered is in it\n");
    }
    say(text);
    judge(&done)?;
    say("whole: nothing was altered, removed or moved\n");
    Ok(())
}

fn judge(done: &Verified) -> Result<(), Failure> {
    if done.is_whole() {
        return Ok(());
    }
    let mut lines: Vec<String> = done.findings.iter().map(|finding| format!("  {finding}\n")).collect();
    if !done.expected {
        lines.push(
            "  the head that was expected is not in it: entries were cut off the end, or replaced\n"
                .to_owned(),
        );
    }
    Err(Failure::Runtime(format!("the audit spool is NOT WHOLE:\n{}", lines.concat())))
}

fn prune(env: &Env, options: &PruneOptions) -> Result<(), Failure> {
    let before = time(Some(&options.before))?.unwrap_or_default();
    if before > env.wall_ms() {
        return Err(Failure::usage("--before is in the future; nothing was removed"));
    }
    let (data_dir, key) = options.spool.open(env)?;
    let gone = audit::prune(env, &data_dir, &key, before).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Failure::runtime("the host is removing old segments itself: try again"),
        _ => Failure::runtime(error),
    })?;
    say(format_args!(
        "{gone} segments are gone, all of whose entries were recorded before {}\n",
        rfc3339_ms(before)
    ));
    Ok(())
}
