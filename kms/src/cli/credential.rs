//! `kms credential`: access certificates. They are signed here, where the access CA's key is, and registered at a host.

use super::{
    Failure,
    access::{In, failure, hosts, pretty},
    output::{say, table},
    region::{WhichRegion, read_text},
};
use clap::{Args, Subcommand};
use kms::{
    dates::rfc3339,
    env::Env,
    iam::{Credential, LIFE_MAX_DAYS},
    init::{AccessCa, FileSpec, SignedCredential, write_files},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use uuid::Uuid;

#[derive(Debug, Args)]
#[command(
    after_help = "A certificate that was never registered, as `kms init` makes them, is known by its serial number alone. Its holder is\n\
    urn:v1:eu:identity:credential:DOMAIN/SERIAL. See docs/access.md."
)]
pub(super) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a key and a certificate for it
    Create {
        /// Directory for the files <ID>.crt and <ID>.key. The key is written nowhere else
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
        #[command(flatten)]
        new: New,
    },
    /// Make a certificate for the key of a certificate signing request: the private key stays where it was made
    SignCsr {
        /// The request, PKCS #10 in PEM; of what it says nothing but its key is taken
        csr: PathBuf,
        /// Directory for the file <ID>.crt
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
        #[command(flatten)]
        new: New,
    },
    /// The credentials of a domain
    List(In),
    /// One credential, as JSON
    Show {
        /// Its id
        id: Uuid,
        #[command(flatten)]
        at: In,
    },
    /// Take a credential back, for good: no host takes its certificate after a second
    Revoke {
        /// Its id
        id: Uuid,
        #[command(flatten)]
        at: In,
    },
}

#[derive(Debug, Args)]
struct New {
    #[command(flatten)]
    about: About,
    #[command(flatten)]
    at: In,
}

/// What a new credential is to be.
#[derive(Debug, Args)]
pub(super) struct About {
    /// Its name, for people
    #[arg(long)]
    name: String,
    /// What it is for, for people
    #[arg(long, default_value = "")]
    description: String,
    /// Who its holder is: the URN of an identity. May be given up to 25 times; without it, the credential itself
    #[arg(long, value_name = "URN")]
    identity: Vec<String>,
    /// How long it is valid
    #[arg(long, value_name = "DAYS", default_value_t = LIFE_MAX_DAYS)]
    days: u32,
    /// Directory with access-ca.crt and access-ca.key [default: that of operator.toml]
    #[arg(long, value_name = "DIR")]
    ca: Option<PathBuf>,
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    match options.what {
        What::Create { out, new } => make(&env, (new.about, &new.at), None, &out).await,
        What::SignCsr { csr, out, new } => {
            let request = read_text(&*env.disk, &csr)?;
            make(&env, (new.about, &new.at), Some(&request), &out).await
        }
        What::List(at) => list(&env, &at).await,
        What::Show { id, at } => {
            let credential = hosts(&env, &at.which)?.credential(at.domain, id).await.map_err(failure)?;
            say(pretty(&credential)?);
            Ok(())
        }
        What::Revoke { id, at } => {
            hosts(&env, &at.which)?.revoke(at.domain, id).await.map_err(failure)?;
            say(format_args!("Credential {id} is revoked: no host takes it after a second.\n"));
            Ok(())
        }
    }
}

/// The access CA, where the options say or beside operator.toml.
pub(super) fn access_ca(env: &Env, about: &About, which: &WhichRegion) -> Result<AccessCa, Failure> {
    let dir = match &about.ca {
        Some(dir) => dir.clone(),
        None => which.operator_dir(env)?,
    };
    let file = |name: &str| read_text(&*env.disk, &dir.join(name));
    let key = zeroize::Zeroizing::new(file("access-ca.key")?);
    Ok(AccessCa::from_pem(&file("access-ca.crt")?, &key)?)
}

/// Signs a certificate, registers it, and writes its files to `out`.
pub(super) async fn make(
    env: &Env,
    (about, at): (About, &In),
    request: Option<&str>,
    out: &Path,
) -> Result<(), Failure> {
    let ca = access_ca(env, &about, &at.which)?;
    let About { name, description, identity, days, .. } = about;
    let signed = ca.sign(env, at.domain, request, days)?;
    let SignedCredential { id, certificate_pem, key_pem, expires_s } = signed;
    let from_csr = key_pem.is_none();
    let credential = Credential {
        id,
        name,
        description,
        identities: identity,
        created_s: env.clock.wall().as_secs(),
        expires_s,
        revoked_s: None,
        from_csr,
        certificate_pem: certificate_pem.clone(),
    };
    hosts(env, &at.which)?.register(at.domain, &credential).await.map_err(failure)?;
    let file = |ending: &str, contents: &str, private| FileSpec {
        path: format!("{id}.{ending}").into(),
        contents: contents.as_bytes().to_vec(),
        private,
    };
    let mut files = vec![file("crt", &certificate_pem, false)];
    files.extend(key_pem.map(|key| file("key", &key, true)));
    write_files(&*env.disk, out, &files)?;
    say(format_args!("Credential {id}, valid until {}:\n", date(expires_s)));
    for file in &files {
        say(format_args!("  {}\n", out.join(&file.path).display()));
    }
    Ok(())
}

fn date(seconds: u64) -> String {
    rfc3339(Duration::from_secs(seconds)).unwrap_or_default()
}

async fn list(env: &Env, at: &In) -> Result<(), Failure> {
    let credentials = hosts(env, &at.which)?.credentials(at.domain).await.map_err(failure)?;
    let now_s = env.clock.wall().as_secs();
    let mut rows = vec![["CREDENTIAL", "NAME", "STATUS", "UNTIL", "IDENTITIES"].map(str::to_owned).to_vec()];
    for credential in credentials {
        let identities = match credential.identities.is_empty() {
            true => "itself".to_owned(),
            false => credential.identities.join(","),
        };
        let (id, status) = (credential.id.to_string(), credential.status(now_s).to_owned());
        rows.push(vec![id, credential.name, status, date(credential.expires_s), identities]);
    }
    say(table(&rows));
    Ok(())
}
