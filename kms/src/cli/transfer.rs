//! `kms export` and `kms import`: a customer's domain into a file that the customer alone can read, and from one into a domain.

use super::{
    Failure,
    output::{complain, say},
    region::read_text,
};
use clap::{Args, Subcommand};
use kms::{
    container::{Counts, Record},
    crypto::asymmetric::{PrivateKey, PublicKey},
    customer::{self, Access, Customer, CustomerError, Imported, Mode, Progress, Tally},
    env::{BlockFile, Env, Mono, OpenMode},
};
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer, pem::PemObject};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Between two lines that say how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Where the service is, and who asks.
#[derive(Debug, Args)]
struct Service {
    /// Where the service is
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: String,
    /// Certificate authorities to verify it with, PEM [default: those that browsers trust]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Client certificate of the domain, PEM
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// How long to try again while the service refuses or does not answer
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    patience: u64,
}

#[derive(Debug, Args)]
pub(super) struct ExportOptions {
    #[command(subcommand)]
    what: ExportWhat,
}

#[derive(Debug, Subcommand)]
enum ExportWhat {
    /// Take out all keys and secrets of a domain, with who may use them
    Domain(ExportDomain),
    /// Read a file to its end: whether it is whole and opens, and what is in it. Asks nobody
    Verify {
        /// The file
        file: PathBuf,
        /// Your private key, PEM
        #[arg(long, value_name = "FILE")]
        with: PathBuf,
        /// Print what is in it too, a line of JSON each, without material of keys and data of secrets
        #[arg(long)]
        list: bool,
    },
}

#[derive(Debug, Args)]
#[command(
    after_help = "The file is sealed to your key: neither who runs the service nor who carries it can read it. Everything is in it, keys that\n\
    are not extractable too, so `*` in a policy does not allow this: one must name okms:apikms:domain/export on the domain\n\
    itself. If it is broken off, run it again: it goes on. See docs/export-format.md.\n\n\
    Example: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:4096 -out mine.pem\n         \
    openssl pkey -in mine.pem -pubout -out mine.pub.pem\n         \
    kms export domain ID --endpoint kms.example:443 --cert me.crt --key me.key --to mine.pub.pem --out domain.okms"
)]
struct ExportDomain {
    /// Id of the domain
    domain: Uuid,
    /// Your public key, PEM: RSA of 3072 bits or more
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    service: Service,
}

#[derive(Debug, Args)]
pub(super) struct ImportOptions {
    #[command(subcommand)]
    what: ImportWhat,
}

#[derive(Debug, Subcommand)]
enum ImportWhat {
    /// Bring keys and secrets in, under the ids and paths that they had
    Domain(ImportDomain),
}

#[derive(Debug, Args)]
#[command(
    after_help = "The whole file is verified, and the service asked what is in the way, before anything is written. If it is broken off, run it\n\
    again: what is in already is passed over. Policies, groups, issuers and credentials are in the file for you to read (`kms\n\
    export verify --list`); they do not come in. A policy must name okms:apikms:domain/import on the domain itself."
)]
struct ImportDomain {
    /// Id of the domain that it goes into
    domain: Uuid,
    /// The file
    file: PathBuf,
    /// Your private key, PEM
    #[arg(long, value_name = "FILE")]
    with: PathBuf,
    /// Leave what is in the way as it is, and bring the rest in
    #[arg(long)]
    skip_existing: bool,
    /// Verify the file and say what would happen; write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    service: Service,
}

fn failure(error: CustomerError) -> Failure {
    match error {
        CustomerError::Usage(_)
        | CustomerError::Conflicts(_)
        | CustomerError::Answered { status: 400..=499, .. } => Failure::usage(error),
        _ => Failure::runtime(error),
    }
}

fn customer(env: &Env, domain: Uuid, service: &Service) -> Result<Customer, Failure> {
    let text = |path: &Path| read_text(&*env.disk, path);
    let ca = service.ca.as_deref().map(text).transpose()?;
    let (cert, key) = (text(&service.cert)?, Zeroizing::new(text(&service.key)?));
    let access = Access {
        endpoint: &service.endpoint,
        domain,
        ca: ca.as_ref().map(String::as_bytes),
        cert: cert.as_bytes(),
        key: key.as_bytes(),
        patience: Duration::from_secs(service.patience),
    };
    Customer::new(env, &access).map_err(failure)
}

fn public_key(env: &Env, path: &Path) -> Result<PublicKey, Failure> {
    let bad = || Failure::usage(format!("{}: not a public key in PEM (BEGIN PUBLIC KEY)", path.display()));
    let text = read_text(&*env.disk, path)?;
    let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).map_err(|_| bad())?;
    PublicKey::from_spki(&der).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

fn private_key(env: &Env, path: &Path) -> Result<PrivateKey, Failure> {
    let bad = |why: &dyn std::fmt::Display| Failure::usage(format!("{}: {why}", path.display()));
    let text = Zeroizing::new(read_text(&*env.disk, path)?);
    let der = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| bad(&"not a private key in PEM (BEGIN PRIVATE KEY)"))?;
    let key = match &der {
        PrivateKeyDer::Pkcs1(der) => PrivateKey::from_pkcs1(der.secret_pkcs1_der()),
        other => PrivateKey::from_pkcs8(other.secret_der()),
    };
    key.map_err(|error| bad(&error))
}

fn open(env: &Env, path: &Path) -> Result<Box<dyn BlockFile>, Failure> {
    let opened = env.disk.open(path, OpenMode::Existing);
    opened.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

/// Says now and then how far it is.
struct Telling {
    env: Env,
    next: Mono,
}

impl Telling {
    fn new(env: &Env) -> Telling {
        Telling { env: env.clone(), next: env.now() + TELL_EVERY }
    }
}

impl Progress for Telling {
    fn done(&mut self, what: &'static str, counts: &Counts, bytes: u64) {
        if self.env.now() >= self.next {
            complain(format_args!("{what}: {} ({bytes} bytes)\n", numbers(counts)));
            self.next = self.env.now() + TELL_EVERY;
        }
    }

    fn conflict(&mut self, what: &str) {
        complain(format_args!("in the way: {what}\n"));
    }
}

fn numbers(counts: &Counts) -> String {
    let Counts { keys, secrets, secret_versions, .. } = counts;
    format!("{keys} keys, {secrets} secrets with {secret_versions} versions")
}

pub(super) async fn export(env: Env, options: ExportOptions) -> Result<(), Failure> {
    match options.what {
        ExportWhat::Domain(options) => {
            let to = public_key(&env, &options.to)?;
            let mut customer = customer(&env, options.domain, &options.service)?;
            let mut telling = Telling::new(&env);
            let done = customer::export(&mut customer, &to, &options.out, &mut telling).await;
            let done = done.map_err(failure)?;
            let again = if done.resumed { ", begun before and finished now" } else { "" };
            say(format_args!(
                "{}: {}, {} bytes{again}.\nIt opens with the private key of {} alone: keep that, apart from the file.\n",
                options.out.display(),
                numbers(&done.counts),
                done.bytes,
                options.to.display()
            ));
            Ok(())
        }
        ExportWhat::Verify { file, with, list } => {
            let with = private_key(&env, &with)?;
            let opened = open(&env, &file)?;
            let each = |record: &Record| {
                if list {
                    say(line(record));
                }
            };
            let (head, counts) =
                customer::verify(&env, &*opened, &with, each).map_err(|error| failure(error.into()))?;
            complain(format_args!(
                "{} is whole: domain {} of {}, begun {}: {}, {} policies, {} groups, {} issuers, {} credentials.\n",
                file.display(),
                head.domain,
                head.region,
                head.started,
                numbers(&counts),
                counts.policies,
                counts.groups,
                counts.issuers,
                counts.credentials
            ));
            Ok(())
        }
    }
}

/// A record without what is secret in it.
fn line(record: &Record) -> String {
    let value = match record {
        Record::SecretVersion(version) => Ok(serde_json::json!({
            "secretVersion": {"secret": version.secret, "number": version.number}
        })),
        Record::Key(key) => serde_json::to_value(Record::Key(Box::new(key.shown()))),
        other => serde_json::to_value(other),
    };
    value.map(|value| format!("{value}\n")).unwrap_or_default()
}

pub(super) async fn import(env: Env, options: ImportOptions) -> Result<(), Failure> {
    let ImportWhat::Domain(options) = options.what;
    let with = private_key(&env, &options.with)?;
    let mut customer = customer(&env, options.domain, &options.service)?;
    let file = open(&env, &options.file)?;
    let mode = Mode { dry_run: options.dry_run, skip_existing: options.skip_existing };
    let mut telling = Telling::new(&env);
    let done = customer::import(&mut customer, &*file, &with, mode, &mut telling).await.map_err(failure)?;
    say(told(&done, mode));
    Ok(())
}

fn told(done: &Imported, mode: Mode) -> String {
    let came = if mode.dry_run { "would come in" } else { "came in" };
    let line = |what: &str, tally: &Tally| {
        format!(
            "{what}: {} {came}, {} were there already, {} have something else in their place\n",
            tally.new, tally.present, tally.conflict
        )
    };
    let mut text = line("keys", &done.keys) + &line("secrets", &done.secrets);
    if !mode.dry_run {
        text += &line("versions", &done.versions);
    }
    text + &line("configuration of secrets", &done.configs)
}
