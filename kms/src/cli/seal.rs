//! `kms unseal`, `kms seal` and `kms shares`: hosts that serve only while people let them.

use super::{
    Failure,
    output::{complain, say, table},
    region::WhichRegion,
    root::shares_in,
};
use clap::{Args, Subcommand};
use kms::{
    env::Env,
    init::{FileSpec, write_files},
    operator::{
        rotation,
        unseal::{HostSeal, Seals, new_shares},
    },
    vault::unseal::{UnsealError, UnsealKey, UnsealShare, share_file},
};
use std::{
    io::{BufRead, IsTerminal},
    path::PathBuf,
    time::Duration,
};

/// Longest handshake with a host.
const HANDSHAKE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(after_help = "Run by each keeper of a share, until the host has enough:\n  \
    kms unseal --dir ./rbx\n\
    The share is typed, or pasted, and not shown; --share FILE reads it from a file. A host that has its root key in a file, and was\n\
    sealed, is unsealed by --key-file. See docs/sealing.md.")]
pub(super) struct UnsealOptions {
    /// File with a share, instead of typing it; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    share: Vec<PathBuf>,
    /// Have the hosts read their root key files again
    #[arg(long, conflicts_with = "forget")]
    key_file: bool,
    /// Have the hosts forget the shares that they were given so far
    #[arg(long, conflicts_with = "share")]
    forget: bool,
    #[command(flatten)]
    hosts: WhichHosts,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A sealed host answers every request with 503 and /healthz with `can_serve: false`, so the entry sends clients to others.\n\
    Seal all of them and the region serves nothing. The root key and all keys opened with it are wiped from memory."
)]
pub(super) struct SealOptions {
    #[command(flatten)]
    hosts: WhichHosts,
}

#[derive(Debug, Args)]
pub(super) struct SharesOptions {
    #[command(subcommand)]
    what: Shares,
}

#[derive(Debug, Subcommand)]
enum Shares {
    /// Which hosts are sealed, and how many shares they have and want
    Status(SealOptions),
    /// Put another set of shares in the place of the one there is
    Rotate(RotateOptions),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Needs as many of the old shares as unseal a host, and at the beginning an answer of every host. The new ones are written\n\
    first; then each host is told. A host that does not answer then keeps the old set: keep those shares, and run the same command\n\
    again when it is back. Where it was done it changes nothing. When every host wants the new set, give each new share to another\n\
    person, delete the files, and have the old ones destroyed."
)]
struct RotateOptions {
    /// File with a share of the set there is; as many as unseal a host
    #[arg(long, value_name = "FILE", required = true)]
    share: Vec<PathBuf>,
    /// Directory for the new shares; if they are there already, all of them, they are used again
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many new shares
    #[arg(long, value_name = "N", default_value_t = 5)]
    shares: u8,
    /// How many of them unseal a host
    #[arg(long, value_name = "N", default_value_t = 3)]
    threshold: u8,
    #[command(flatten)]
    hosts: WhichHosts,
}

#[derive(Debug, Args)]
struct WhichHosts {
    /// Only the host that is administered at this address
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    #[command(flatten)]
    which: WhichRegion,
}

impl WhichHosts {
    fn seals(&self, env: &Env) -> Result<Seals, Failure> {
        self.only(env, self.host.as_deref())
    }

    /// All hosts of the region, or one of them.
    fn only(&self, env: &Env, host: Option<&str>) -> Result<Seals, Failure> {
        let config = self.which.load(env)?;
        let tls = config.tls(env, HANDSHAKE).map_err(Failure::usage)?;
        if let Some(host) = host.filter(|host| config.admin.iter().all(|address| address != host)) {
            let there = config.admin.join(", ");
            return Err(Failure::Usage(format!("no host is administered at {host}: there are {there}")));
        }
        Seals::new(env, &config, &tls, host).map_err(Failure::usage)
    }
}

pub(super) async fn unseal(env: Env, options: UnsealOptions) -> Result<(), Failure> {
    let seals = options.hosts.seals(&env)?;
    if options.forget {
        return told(&seals.forget().await, |_| true);
    }
    if options.key_file {
        return told(&seals.unseal(None).await, |host| !host.sealed);
    }
    let shares =
        if options.share.is_empty() { vec![typed(&env).await?] } else { shares_in(&env, &options.share)? };
    let mut last = Vec::new();
    for share in &shares {
        last = seals.unseal(Some(share)).await;
    }
    told(&last, |_| true)
}

pub(super) async fn seal(env: Env, options: SealOptions) -> Result<(), Failure> {
    told(&options.hosts.seals(&env)?.seal().await, |host| host.sealed)
}

pub(super) async fn shares(env: Env, options: SharesOptions) -> Result<(), Failure> {
    match options.what {
        Shares::Status(options) => told(&options.hosts.seals(&env)?.states().await, |_| true),
        Shares::Rotate(options) => rotate(env, options).await,
    }
}

async fn rotate(env: Env, options: RotateOptions) -> Result<(), Failure> {
    let (seals, all) = (options.hosts.seals(&env)?, options.hosts.only(&env, None)?);
    let old = shares_in(&env, &options.share)?;
    let replaced = UnsealKey::combine(&old).map_err(Failure::usage)?.set();
    let new = match rotation::begun(&*env.disk, all.states().await, replaced, &options.out) {
        Ok(Some(kept)) => again(kept, &options)?,
        Ok(None) => made(&env, &options)?,
        Err(error) => return Err(Failure::usage(error)),
    };
    let ended = told(&seals.rotate(&old, &new).await, |_| true);
    if let Err(Failure::Runtime(error)) = ended {
        return Err(Failure::Runtime(format!(
            "{error}. Keep the old shares, and run this again with the same --out when they are back"
        )));
    }
    let hosts = all.states().await;
    let others = new.first().map(|share| rotation::without(&hosts, &share.set())).unwrap_or_default();
    say(if others.is_empty() {
        "Give each new share to another person, delete the files, and have the old shares destroyed.\n"
            .to_owned()
    } else {
        let others = others.join(", ");
        format!(
            "Keep the old shares: other hosts still want them ({others}). Run this for those too, with the same --out.\n"
        )
    });
    ended
}

/// New shares that are in the directory already.
fn again(mut kept: Vec<UnsealShare>, options: &RotateOptions) -> Result<Vec<UnsealShare>, Failure> {
    let out = options.out.display();
    match kept.first().map(UnsealShare::set) {
        Some(set) if (set.threshold, set.count) != (options.threshold, options.shares) => {
            Err(Failure::Usage(format!(
                "{out} holds {} shares, {} of which unseal: say so with --shares and --threshold, or name another directory",
                set.count, set.threshold
            )))
        }
        _ => {
            say(format_args!("Using the shares in {out}.\n"));
            kept.truncate(usize::from(options.threshold));
            Ok(kept)
        }
    }
}

/// New shares, written before any host hears of them.
fn made(env: &Env, options: &RotateOptions) -> Result<Vec<UnsealShare>, Failure> {
    let failed = |error: UnsealError| match error {
        UnsealError::Numbers(..) => Failure::usage(error),
        error => Failure::runtime(error),
    };
    let mut shares = new_shares(env, options.threshold, options.shares).map_err(failed)?;
    let files: Vec<FileSpec> = shares
        .iter()
        .map(|share| FileSpec {
            path: share_file(share.index()).into(),
            contents: share.line().as_bytes().to_vec(),
            private: true,
        })
        .collect();
    write_files(&*env.disk, &options.out, &files)?;
    say(format_args!("Made {} new shares in {}.\n", files.len(), options.out.display()));
    shares.truncate(usize::from(options.threshold));
    Ok(shares)
}

/// A share that its keeper types; not shown where there is a terminal.
async fn typed(env: &Env) -> Result<UnsealShare, Failure> {
    let line = env.blocking("share", || {
        if std::io::stdin().is_terminal() {
            complain(format_args!("Your share (it is not shown): "));
            rpassword::read_password()
        } else {
            std::io::stdin().lock().lines().next().unwrap_or_else(|| Ok(String::new()))
        }
    });
    let line = line.await.map_err(Failure::runtime)?.map_err(Failure::runtime)?;
    UnsealShare::parse(&zeroize::Zeroizing::new(line)).map_err(Failure::usage)
}

/// Says how the hosts stand; fails if one did not do what it was asked.
fn told(hosts: &[HostSeal], done: impl Fn(&kms::api::admin::types::SealBody) -> bool) -> Result<(), Failure> {
    let mut rows = vec![["HOST", "SEALED", "SHARES", "NOTE"].map(str::to_owned).to_vec()];
    let mut failed = 0;
    for host in hosts {
        rows.push(match &host.state {
            Ok(state) => {
                failed += usize::from(!done(state));
                let shares = state.shares.as_ref();
                let given = |shares: &kms::api::admin::types::SharesBody| match state.sealed {
                    true => format!("{} of {} (set {})", shares.given, shares.threshold, shares.set),
                    false => format!("{} of {} (set {})", shares.threshold, shares.count, shares.set),
                };
                let sealed = if state.sealed { "YES" } else { "no" }.to_owned();
                let by = shares.map_or_else(|| "root key in a file".to_owned(), given);
                vec![host.address.clone(), sealed, by, String::new()]
            }
            Err(error) => {
                failed += 1;
                vec![host.address.clone(), "?".to_owned(), "-".to_owned(), error.to_string()]
            }
        });
    }
    say(table(&rows));
    if failed == 0 {
        Ok(())
    } else {
        Err(Failure::Runtime(format!("{failed} of {} hosts did not do it", hosts.len())))
    }
}
