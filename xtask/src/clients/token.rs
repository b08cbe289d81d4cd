//! A bearer token for the client, as an operator would arrange it: an issuer, a policy for one identity, and none for anybody else.

use super::okms::heard;
use crate::region::Region;
use crate::shell::{Failure, harness};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// `iss` of the tokens.
const ISSUER: &str = "https://issuer.example.com";
/// What goes before `sub`.
const PREFIX: &str = "urn:v1:eu:identity:user:clients/";
/// The subject that a policy allows everything.
const ALLOWED: &str = "okms";
/// How long an order of the operator may take.
const DONE_WITHIN: Duration = Duration::from_secs(30);
/// How soon a change of access holds on every host, with room.
const HOLDS_WITHIN: Duration = Duration::from_millis(2_500);

/// Tokens, as whoever they are for would hold them.
pub struct Granted {
    /// Of the subject that is allowed everything.
    pub allowed: String,
    /// Of one that no policy names.
    pub stranger: String,
    /// Of one whose token is signed with a key that is no issuer's.
    pub forged: String,
}

/// Configurations of the client that hold a token.
pub struct Tokens {
    /// Of the subject that is allowed everything.
    pub allowed: PathBuf,
    /// Of one that no policy names.
    pub stranger: PathBuf,
    /// Of one whose token is signed with a key that is no issuer's.
    pub forged: PathBuf,
    /// The allowed one's, but for another domain.
    pub elsewhere: PathBuf,
}

/// Has the domain take tokens, and has its policies allow everything to one subject and nothing to anybody else: from here on, the
/// client's certificate is refused too.
///
/// # Errors
/// When the operator is refused.
pub fn grant(kms: &Path, region: &Region, run: &Path) -> Result<Granted, Failure> {
    let operator = Operator { kms, region };
    let identity = format!("{PREFIX}{ALLOWED}");
    let domain = format!("urn:v1:eu:resource:okms:{}", region.domain);
    operator.at(
        &["policy", "put", "clients", "--identity", &identity, "--allow", "okms:apikms:*"],
        &["--resource", &format!("{domain}*")],
    )?;
    operator.at(&["policy", "delete", "default"], &[])?;
    let (keys, forger) = (run.join("issuer"), run.join("forger"));
    for directory in [&keys, &forger] {
        fs::create_dir_all(directory)?;
        operator.run(&["issuer", "make-key", "--out", &directory.to_string_lossy()])?;
    }
    let public = keys.join("issuer.jwk").to_string_lossy().into_owned();
    operator.at(
        &["issuer", "put", "test", "--issuer", ISSUER, "--key", &public],
        &["--identity-prefix", PREFIX],
    )?;
    std::thread::sleep(HOLDS_WITHIN);
    let sign = |keys: &Path, subject: &str| {
        let key = keys.join("issuer.private.jwk").to_string_lossy().into_owned();
        let arguments = ["issuer", "sign-token", "--key", &key, "--issuer", ISSUER, "--subject", subject];
        Ok::<String, Failure>(operator.run(&arguments)?.trim().to_owned())
    };
    Ok(Granted {
        allowed: sign(&keys, ALLOWED)?,
        stranger: sign(&keys, "stranger")?,
        forged: sign(&forger, ALLOWED)?,
    })
}

/// [`grant`], with a configuration of the command line client for each.
///
/// # Errors
/// When the operator is refused.
pub fn arrange(kms: &Path, region: &Region, run: &Path) -> Result<Tokens, Failure> {
    let granted = grant(kms, region, run)?;
    let write = |name: &str, token: &str, domain: &str| -> Result<PathBuf, Failure> {
        let file = run.join(name);
        let ca = region.directory.join("region/ca.pem");
        fs::write(&file, config(&region.address, &ca, token, domain))?;
        Ok(file)
    };
    Ok(Tokens {
        allowed: write("token.yaml", &granted.allowed, &region.domain)?,
        stranger: write("stranger.yaml", &granted.stranger, &region.domain)?,
        forged: write("forged.yaml", &granted.forged, &region.domain)?,
        elsewhere: write("elsewhere.yaml", &granted.allowed, super::NOBODY)?,
    })
}

/// A configuration of the client with a token in the place of a certificate.
fn config(address: &str, ca: &Path, token: &str, domain: &str) -> String {
    // A JSON string is a YAML string.
    let ca = serde_json::Value::from(ca.to_string_lossy());
    format!(
        "version: 1\n\
         profile: default\n\
         profiles:\n  \
           default:\n    \
             restapi:\n      \
               endpoint: \"{address}\"\n      \
               ca: {ca}\n      \
               auth: {{ type: token, token: \"{token}\", okmsId: \"{domain}\" }}\n"
    )
}

/// The operator of the region, at the command line.
struct Operator<'a> {
    kms: &'a Path,
    region: &'a Region,
}

impl Operator<'_> {
    /// An order about the domain.
    fn at(&self, first: &[&str], more: &[&str]) -> Result<String, Failure> {
        let directory = self.region.directory.to_string_lossy();
        let place = ["--domain", &self.region.domain, "--dir", &directory];
        self.run(&[first, more, &place].concat())
    }

    fn run(&self, arguments: &[&str]) -> Result<String, Failure> {
        let answer = heard(Command::new(self.kms).args(arguments), DONE_WITHIN)?;
        match answer.text() {
            Ok(text) => Ok(text.to_owned()),
            Err(why) => Err(harness(format!("{}: {why}", answer.asked))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_odd_characters_stays_one_string() {
        let text = config("https://127.0.0.1:1", Path::new("/tmp/a \"b\"/ca.pem"), "t", "d");
        assert!(text.contains("ca: \"/tmp/a \\\"b\\\"/ca.pem\"\n"), "{text}");
        assert!(text.contains("auth: { type: token, token: \"t\", okmsId: \"d\" }"), "{text}");
    }
}
