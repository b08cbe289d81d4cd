//! The command line. The one place, with the tests, that names the real world (`kms::os`).
//!
//! Exit codes: 0 done, 1 wrong usage or configuration, 2 failed while running. Results go to stdout,
//! everything else to stderr.

mod access;
mod audit;
mod backup;
mod credential;
mod dev;
mod domain;
mod init;
mod logs;
mod output;
mod rebuild;
mod region;
mod rehearse;
mod replica;
mod restore;
mod root;
mod seal;
mod serve;
mod status;
mod transfer;
mod witness;

use clap::{Parser, Subcommand};
use kms::{env::Env, os};
use output::complain;
use std::{future::Future, process::ExitCode};

/// A key management service: one region of two zones, every key write held by both.
#[derive(Debug, Parser)]
#[command(name = "kms", version, arg_required_else_help = true)]
#[command(after_help = "Start with `kms dev`: a whole region on this machine, with example commands.\n\
                        Exit codes: 0 done, 1 wrong usage or configuration, 2 failed while running.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logs: logs::Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new region: certificates, keys, one directory per node. Overwrites nothing.
    Init(init::Options),
    /// Run one node.
    Serve(serve::Options),
    /// Run a whole region on 127.0.0.1, in one process, with its data under a directory.
    Dev(dev::Options),
    /// Ask every node of a region how it is, and what to do next.
    Status(status::Options),
    /// Make the database of a lost zone anew from the other zone's, or give that up.
    Rebuild(rebuild::Options),
    /// Let a database serve although neither the witness nor the other database answers it.
    ServeAlone(rebuild::AloneOptions),
    /// Put a new witness in the place of one that is lost, or is to go.
    Witness(witness::Options),
    /// Look after the third copy.
    Replica(replica::Options),
    /// Make a lost region anew from its third copy.
    Restore(restore::Options),
    /// Look at the backups.
    Backup(backup::Options),
    /// Give a host a share of the root key: it serves once it has enough
    Unseal(seal::UnsealOptions),
    /// Take the root key from hosts: they serve nothing until they are unsealed
    Seal(seal::SealOptions),
    /// Look at the shares that unseal hosts, or replace them
    Shares(seal::SharesOptions),
    /// Make a domain, end the service of one, or see which there are.
    Domain(domain::Options),
    /// For customers: take all that a domain has out into a sealed file.
    Export(transfer::ExportOptions),
    /// For customers: bring such a file into a domain.
    Import(transfer::ImportOptions),
    /// Access certificates: make, list and revoke them.
    Credential(credential::Options),
    /// Who may do what in a domain.
    Policy(access::PolicyOptions),
    /// Identities under one name, for policies.
    Group(access::GroupOptions),
    /// Whose bearer tokens a domain takes.
    Issuer(access::IssuerOptions),
    /// Read, check and clear the audit entries of a host.
    Audit(audit::Options),
}

/// How a command failed.
#[derive(Debug)]
enum Failure {
    /// The person can mend it: arguments, configuration.
    Usage(String),
    /// It failed while running.
    Runtime(String),
}

impl Failure {
    fn usage(error: impl ToString) -> Failure {
        Failure::Usage(error.to_string())
    }

    fn runtime(error: impl ToString) -> Failure {
        Failure::Runtime(error.to_string())
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and go to stdout.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let quiet = !matches!(cli.command, Command::Serve(_));
    let done = logs::start(&cli.logs, quiet).and_then(|()| run(cli.command));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => {
            complain(format_args!("error: {error}\n"));
            ExitCode::from(1)
        }
        Err(Failure::Runtime(error)) => {
            complain(format_args!("error: {error}\n"));
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Init(options) => in_runtime(|env| init::run(env, options)),
        Command::Serve(options) => in_runtime(|env| serve::run(env, options)),
        Command::Dev(options) => in_runtime(|env| dev::run(env, options)),
        Command::Status(options) => in_runtime(|env| status::run(env, options)),
        Command::Rebuild(options) => in_runtime(|env| rebuild::run(env, options)),
        Command::ServeAlone(options) => in_runtime(|env| rebuild::serve_alone(env, options)),
        Command::Witness(options) => in_runtime(|env| witness::run(env, options)),
        Command::Replica(options) => in_runtime(|env| replica::run(env, options)),
        Command::Restore(options) => in_runtime(|env| restore::run(env, options)),
        Command::Unseal(options) => in_runtime(|env| seal::unseal(env, options)),
        Command::Seal(options) => in_runtime(|env| seal::seal(env, options)),
        Command::Shares(options) => in_runtime(|env| seal::shares(env, options)),
        Command::Domain(options) => in_runtime(|env| domain::run(env, options)),
        Command::Export(options) => in_runtime(|env| transfer::export(env, options)),
        Command::Import(options) => in_runtime(|env| transfer::import(env, options)),
        Command::Credential(options) => in_runtime(|env| credential::run(env, options)),
        Command::Policy(options) => in_runtime(|env| access::policy(env, options)),
        Command::Group(options) => in_runtime(|env| access::group(env, options)),
        Command::Issuer(options) => in_runtime(|env| access::issuer(env, options)),
        Command::Audit(options) => in_runtime(|env| audit::run(env, options)),
        Command::Backup(options) => in_runtime(|env| backup::run(env, options)),
    }
}

fn in_runtime<F: Future<Output = Result<(), Failure>>>(work: impl FnOnce(Env) -> F) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::runtime)?;
    runtime.block_on(async { work(os::env()).await })
}
