//! `cargo xtask clients`: clients that others wrote against a running region: the public command line, OVHcloud's library for Go, and one of Vault's.
//!
//! Starts `kms dev` on 127.0.0.1 in a directory of its own and has each, `okms` first of all, do all that it can do with keys, secrets and certificates:
//! first with the certificate in the `okms.yaml` that `kms dev` writes, then with a bearer token. What the client prints is looked at, not its
//! exit status alone. Which commands it has is asked of itself, so that none can be left out. Where there is no client, and none can be installed,
//! nothing is proven and the command says so; that is not a failure.

mod crypto;
mod keys;
mod okms;
mod sdk;
mod secrets;
mod table;
mod token;
mod vault;
mod x509;

use crate::region::Region;
use crate::shell::{self, Failure, World, harness};
use crate::sim::table::grid;
use crate::{exit, say};
use okms::{Answer, Built, Client};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use table::Session;

/// An id that nothing has.
pub const NOBODY: &str = "00000000-0000-4000-8000-00000000dead";
/// How long a tool beside the client may take.
const TOOL_WITHIN: Duration = Duration::from_secs(60);

/// Error codes, as the client prints them (docs/rest.md, docs/secrets.md).
pub mod code {
    /// bad_argument.
    pub const BAD_ARGUMENT: &str = "50561025";
    /// decrypt_failed.
    pub const DECRYPT_FAILED: &str = "50561026";
    /// operation_not_permitted_by_key.
    pub const NOT_OF_THE_KEY: &str = "50561027";
    /// not_offered.
    pub const NOT_OFFERED: &str = "50561028";
    /// unauthorized.
    pub const UNAUTHORIZED: &str = "50475011";
    /// forbidden.
    pub const FORBIDDEN: &str = "50479105";
    /// key_not_found.
    pub const KEY_NOT_FOUND: &str = "17190913";
    /// conflict.
    pub const CONFLICT: &str = "50438145";
    /// wrong_key_state.
    pub const WRONG_STATE: &str = "50569217";
    /// check_and_set_mismatch.
    pub const CAS_MISMATCH: &str = "50626561";
    /// check_and_set_required.
    pub const CAS_REQUIRED: &str = "50626562";
    /// secret_not_found.
    pub const SECRET_NOT_FOUND: &str = "17125377";
    /// secret_version_not_found.
    pub const VERSION_NOT_FOUND: &str = "17125378";
    /// secret_version_deleted.
    pub const VERSION_DELETED: &str = "50634753";
}

/// Arguments of `cargo xtask clients`.
#[derive(clap::Args, Default)]
pub struct Args {
    /// The client [default: the one in PATH, else the one that go installs below target/]
    #[arg(long, value_name = "FILE")]
    okms: Option<PathBuf>,
    /// Install no okms: one that is named, in PATH, or was installed before, or its row is not exercised. Libraries come in pinned versions all the same
    #[arg(long)]
    no_install: bool,
    /// The service to start, instead of the one that is built here
    #[arg(long, value_name = "FILE")]
    kms: Option<PathBuf>,
}

impl Args {
    /// What is asked if nobody says anything, and nothing is installed for.
    pub fn without_installing() -> Args {
        Args { no_install: true, ..Args::default() }
    }
}

/// What came of it.
pub enum Came {
    /// Every command did what it must.
    Held,
    /// One did not; logs are in this directory.
    Broken(PathBuf),
    /// Nothing was asked, for this reason.
    NotExercised(String),
}

/// What came of each client, by its name.
pub type AllCame = [(&'static str, Came); 3];

/// Runs the command and answers its exit status.
///
/// # Errors
/// When the region cannot be built or started, or the client not be started.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let root = shell::root();
    let commit = shell::commit(&root);
    let mut code = exit::HELD;
    for (name, came) in come(&root, args)? {
        let word = match came {
            Came::Held => "held".to_owned(),
            Came::Broken(run) => {
                code = exit::BROKEN;
                format!("BROKEN; see {}", run.display())
            }
            Came::NotExercised(why) => format!("NOT EXERCISED: {why}"),
        };
        say::out(format_args!("clients, {name}, commit {commit}: {word}"));
    }
    Ok(code)
}

/// Tries everything.
///
/// # Errors
/// When the region cannot be built or started, or the client not be started.
pub fn come(root: &Path, args: &Args) -> Result<AllCame, Failure> {
    let target = shell::target(root)?;
    let home = target.join("clients");
    let kms = match &args.kms {
        Some(file) => std::path::absolute(file)?,
        None => {
            if !shell::run(&mut shell::cargo(root, World::Real, &["build", "-p", "kms", "--bin", "kms"]))? {
                return Err(harness("kms does not build"));
            }
            target.join("debug/kms")
        }
    };
    let apart = |what: &str, ask: &dyn Fn(&Path) -> Result<Came, Failure>| {
        let started = Instant::now();
        let name = |n: u32| home.join(format!("{what}-{}-{n}", std::process::id()));
        let run = (1..).map(name).find(|run| !run.exists()).unwrap_or_else(|| name(0));
        fs::create_dir_all(&run)?;
        let mut came = ask(&run)?;
        say::out(format_args!("{what}: {:.0} s", started.elapsed().as_secs_f64()));
        let log = shell::text(&run.join("kms.log"));
        if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
            say::out(format_args!("a node of the region panicked: {line}"));
            came = Came::Broken(run.clone());
        }
        if !matches!(came, Came::Broken(_)) {
            fs::remove_dir_all(&run)?;
        }
        Ok::<Came, Failure>(came)
    };
    Ok([
        ("okms", apart("okms", &|run| public_client(args, &home, &kms, run))?),
        ("OVHcloud's library for Go", apart("sdk", &|run| sdk::come(root, &home, &kms, run))?),
        ("Vault's KV version 2 by hvac", apart("hvac", &|run| vault::come(root, &home, &kms, run))?),
    ])
}

/// The public client, against a region of its own in `run`.
fn public_client(args: &Args, home: &Path, kms: &Path, run: &Path) -> Result<Came, Failure> {
    let program = match okms::find(args.okms.as_deref(), !args.no_install, home)? {
        Ok(program) => program,
        Err(why) => return Ok(Came::NotExercised(why)),
    };
    let built = okms::built(&program)?;
    match &built {
        Built::Client(version) if version == okms::VERSION => {
            say::out(format_args!("the client is okms {version}"))
        }
        Built::Client(version) => {
            say::out(format_args!(
                "the client is okms {version}; the table was written for {}",
                okms::VERSION
            ));
        }
        Built::Other(what) => say::out(format_args!("this is NOT the client: {what}")),
        Built::Unknown => say::out("the client is of a version that nobody here can tell"),
    }
    let region = Region::start(kms, run)?;
    if !tried(&program, kms, &region, run)? {
        return Ok(Came::Broken(run.to_path_buf()));
    }
    // What only stands in for the client may try this command, and the service, but says nothing of the client.
    Ok(match built {
        Built::Other(what) => Came::NotExercised(format!("all went well, but with {what}: not the client")),
        Built::Client(_) | Built::Unknown => Came::Held,
    })
}

/// Whether every command does what it must, with each way of saying who one is.
fn tried(program: &Path, kms: &Path, region: &Region, run: &Path) -> Result<bool, Failure> {
    let openssl = okms::on_path("openssl");
    let client = |config: PathBuf, name: &str| -> Result<Client, Failure> {
        let home = run.join(name);
        fs::create_dir_all(&home)?;
        Ok(Client { program: program.to_path_buf(), config, home })
    };
    let certificate = region.directory.join("okms.yaml");
    let mut first = Session::new(client(certificate, "mtls")?, "mTLS", openssl.clone());
    let version = first.client.version()?;
    say::out(format_args!("it calls itself {version}"));
    let commands = first.client.commands()?;
    all(&mut first)?;
    let tokens = token::arrange(kms, region, run)?;
    let mut second = Session::new(client(tokens.allowed.clone(), "token")?, "token", openssl);
    all(&mut second)?;
    strangers(&mut first, &mut second, &tokens);
    let sessions = [first, second];
    let sum = table::sum(&commands, &sessions);
    say::out(format_args!("\n{}", grid(&sum.rows)));
    for quirk in &sum.quirks {
        say::out(format_args!("quirk of the client: {quirk}"));
    }
    say::out(format_args!("{} commands; {} ok, {} not", commands.len(), sum.ok, sum.not_ok));
    Ok(sum.not_ok == 0)
}

/// Everything with one identity.
fn all(session: &mut Session) -> Result<(), Failure> {
    type Stories = fn(&mut Session);
    let stories = [
        ("keys", keys::all as Stories),
        ("keys in use", crypto::all),
        ("secrets", secrets::all),
        ("x509", x509::all),
    ];
    for (name, story) in stories {
        let started = Instant::now();
        story(session);
        if let Some(failure) = session.failure() {
            return Err(failure);
        }
        say::err(format_args!("{}, {name}: {:.0} s", session.how, started.elapsed().as_secs_f64()));
    }
    Ok(())
}

/// Whom no policy names, or no issuer of the domain has signed for, or whose domain it is not: refused, in words, whatever is asked.
fn strangers(first: &mut Session, second: &mut Session, tokens: &token::Tokens) {
    let asked: [(&str, &[&str]); 4] = [
        ("keys list", &[]),
        ("keys generate", &["n"]),
        ("secrets get", &["clients/token/vault"]),
        ("vault get", &["clients/token/vault"]),
    ];
    for (command, arguments) in asked {
        first.check(command, "a certificate that no policy names", arguments, |answer| {
            answer.refused(&[code::FORBIDDEN])
        });
        let who = [
            (&tokens.stranger, "a token that no policy names", code::FORBIDDEN),
            (&tokens.forged, "a token of another key", code::UNAUTHORIZED),
            (&tokens.elsewhere, "a domain that is not there", "Error"),
        ];
        for (config, what, wanted) in who {
            let own = std::mem::replace(&mut second.client.config, config.clone());
            second.check(command, what, arguments, |answer| answer.refused(&[wanted]));
            second.client.config = own;
        }
    }
}

/// What a tool beside the client prints.
///
/// # Errors
/// What it complains of.
pub fn tool(program: &Path, arguments: &[&str]) -> Result<String, String> {
    asked(program, arguments)?.text().map(str::to_owned)
}

/// All that a tool beside the client says, however it ends.
pub fn said(program: &Path, arguments: &[&str]) -> String {
    asked(program, arguments).map_or_else(|why| why, |answer| format!("{}\n{}", answer.err, answer.out))
}

fn asked(program: &Path, arguments: &[&str]) -> Result<Answer, String> {
    okms::heard(Command::new(program).args(arguments), TOOL_WITHIN).map_err(|failure| failure.what)
}
