//! `kms policy`, `kms group` and `kms issuer`: who may do what in a domain.

use super::{
    Failure,
    output::{say, table},
    region::{WhichRegion, read_text},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use clap::{Args, Subcommand};
use kms::{
    api::admin::types::Tried,
    crypto::asymmetric::{Curve, Hash, Jwk, JwkKey, PrivateKey, Shape, SignatureAlgorithm},
    env::Env,
    iam::{Group, Issuer, Policy},
    init::{FileSpec, write_files},
    operator::admin::{Admin, AdminError},
};
use std::{path::PathBuf, time::Duration};
use uuid::Uuid;

/// Longest TLS handshake with a host.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Which domain of which region.
#[derive(Debug, Args)]
pub(super) struct In {
    /// Id of the domain
    #[arg(long, value_name = "ID")]
    pub(super) domain: Uuid,
    #[command(flatten)]
    pub(super) which: WhichRegion,
}

/// The hosts of a region, with the operator's certificate.
pub(super) fn hosts(env: &Env, which: &WhichRegion) -> Result<Admin, Failure> {
    let config = which.load(env)?;
    let tls = config.tls(env, HANDSHAKE).map_err(Failure::usage)?;
    Ok(Admin::new(env.clone(), &config, tls))
}

/// What a person can mend is wrong usage.
pub(super) fn failure(error: AdminError) -> Failure {
    match error {
        AdminError::NoAddress => Failure::usage(error),
        AdminError::Answered { status: 400..=499, .. } => Failure::usage(error),
        _ => Failure::runtime(error),
    }
}

pub(super) fn pretty<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(Failure::runtime)
}

#[derive(Debug, Args)]
#[command(
    after_help = "A new domain has one policy, `default`: whoever has a certificate of the domain may do everything in it. Change or\n\
    delete it to narrow that; what no policy allows is denied, and deny goes before allow. A change holds on every host within a\n\
    second. Resources: urn:v1:eu:resource:okms:DOMAIN, .../serviceKey/ID, .../secret/PATH, with * at the end. See docs/access.md.\n\n\
    Example: kms policy put signers --domain ID --dir DIR --identity 'urn:v1:eu:identity:group:ID/staff' \\\n      \
    --allow 'okms:apikms:serviceKey/sign' --resource 'urn:v1:eu:resource:okms:ID/serviceKey/*'"
)]
pub(super) struct PolicyOptions {
    #[command(subcommand)]
    what: PolicyWhat,
}

#[derive(Debug, Subcommand)]
enum PolicyWhat {
    /// The policies of a domain
    List(In),
    /// One policy, as JSON
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        at: In,
    },
    /// Make a policy, or put another one in its place
    Put(PutPolicy),
    /// Delete a policy
    Delete {
        /// Its name
        name: String,
        #[command(flatten)]
        at: In,
    },
    /// Say whether something is allowed, and which entry of which policy decides; does nothing
    Test(TestPolicy),
}

#[derive(Debug, Args)]
struct PutPolicy {
    /// Its name
    name: String,
    /// Who: the URN of an identity or a group; * stands for anything. May be given several times
    #[arg(long, value_name = "URN", required_unless_present = "file")]
    identity: Vec<String>,
    /// An action that is allowed; * stands for anything. May be given several times
    #[arg(long, value_name = "ACTION")]
    allow: Vec<String>,
    /// An action that is denied, whatever else allows it. May be given several times
    #[arg(long, value_name = "ACTION")]
    deny: Vec<String>,
    /// On what. May be given several times
    #[arg(long, value_name = "URN", required_unless_present = "file")]
    resource: Vec<String>,
    /// The policy as JSON, as `show` prints it, instead of all that
    #[arg(long, value_name = "FILE", conflicts_with_all = ["identity", "allow", "deny", "resource"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    at: In,
}

#[derive(Debug, Args)]
struct TestPolicy {
    /// Who would ask: the URN of an identity. May be given several times
    #[arg(long, value_name = "URN", required_unless_present = "credential")]
    identity: Vec<String>,
    /// Whose certificate it would be: the id of a credential
    #[arg(long, value_name = "ID")]
    credential: Option<Uuid>,
    /// The action, such as okms:apikms:serviceKey/sign
    #[arg(long, value_name = "ACTION")]
    action: String,
    /// The resource
    #[arg(long, value_name = "URN")]
    resource: String,
    #[command(flatten)]
    at: In,
}

fn from_file<T: serde::de::DeserializeOwned>(env: &Env, file: &std::path::Path) -> Result<T, Failure> {
    serde_json::from_str(&read_text(&*env.disk, file)?)
        .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))
}

fn named<T>(found: Vec<T>, is: impl Fn(&T) -> bool, word: &str, name: &str) -> Result<T, Failure> {
    found.into_iter().find(is).ok_or_else(|| Failure::Usage(format!("no {word} {name}")))
}

pub(super) async fn policy(env: Env, options: PolicyOptions) -> Result<(), Failure> {
    match options.what {
        PolicyWhat::List(at) => {
            let policies = hosts(&env, &at.which)?.policies(at.domain).await.map_err(failure)?;
            let mut rows =
                vec![["POLICY", "IDENTITIES", "ALLOW", "DENY", "RESOURCES"].map(str::to_owned).to_vec()];
            for policy in policies {
                let lists = [policy.identities, policy.allow, policy.deny, policy.resources];
                let cells = lists.map(|list| if list.is_empty() { "-".to_owned() } else { list.join(",") });
                rows.push([vec![policy.name], cells.to_vec()].concat());
            }
            say(table(&rows));
        }
        PolicyWhat::Show { name, at } => {
            let policies = hosts(&env, &at.which)?.policies(at.domain).await.map_err(failure)?;
            say(pretty(&named(policies, |policy| policy.name == name, "policy", &name)?)?);
        }
        PolicyWhat::Put(put) => {
            let policy = match &put.file {
                Some(file) => Policy { name: put.name, ..from_file(&env, file)? },
                None => Policy {
                    name: put.name,
                    identities: put.identity,
                    allow: put.allow,
                    deny: put.deny,
                    resources: put.resource,
                },
            };
            let at = put.at;
            hosts(&env, &at.which)?.put_policy(at.domain, &policy).await.map_err(failure)?;
            say(format_args!("Policy {} holds on every host within a second.\n", policy.name));
        }
        PolicyWhat::Delete { name, at } => {
            hosts(&env, &at.which)?.delete_named(at.domain, "policies", &name).await.map_err(failure)?;
            say(format_args!("Policy {name} is deleted: on every host within a second.\n"));
        }
        PolicyWhat::Test(test) => {
            let (identities, action, resource) = (test.identity, test.action, test.resource);
            let tried = Tried { identities, credential: test.credential, action, resource };
            let at = test.at;
            let why = hosts(&env, &at.which)?.test(at.domain, &tried).await.map_err(failure)?;
            let decision = if why.allowed { "ALLOWED" } else { "DENIED" };
            let reason = match (why.policy, why.action, why.resource) {
                (Some(policy), Some(action), Some(resource)) => {
                    format!("by policy {policy}: {action} on {resource}")
                }
                _ => "no policy allows it".to_owned(),
            };
            say(format_args!("{decision} {reason}\nConsidered: {}\n", why.identities.join(", ")));
        }
    }
    Ok(())
}

#[derive(Debug, Args)]
#[command(
    after_help = "A group's URN, for policies, is urn:v1:eu:identity:group:DOMAIN/NAME. Groups are not members of groups."
)]
pub(super) struct GroupOptions {
    #[command(subcommand)]
    what: GroupWhat,
}

#[derive(Debug, Subcommand)]
enum GroupWhat {
    /// The groups of a domain
    List(In),
    /// Make a group, or put another one in its place
    Put {
        /// Its name
        name: String,
        /// The URN of an identity; * stands for anything. May be given several times
        #[arg(long, value_name = "URN", required = true)]
        member: Vec<String>,
        #[command(flatten)]
        at: In,
    },
    /// Delete a group
    Delete {
        /// Its name
        name: String,
        #[command(flatten)]
        at: In,
    },
}

pub(super) async fn group(env: Env, options: GroupOptions) -> Result<(), Failure> {
    match options.what {
        GroupWhat::List(at) => {
            let groups = hosts(&env, &at.which)?.groups(at.domain).await.map_err(failure)?;
            let mut rows = vec![["GROUP", "URN", "MEMBERS"].map(str::to_owned).to_vec()];
            for group in groups {
                let (urn, members) = (group.urn(at.domain), group.members.join(","));
                rows.push(vec![group.name, urn, members]);
            }
            say(table(&rows));
        }
        GroupWhat::Put { name, member, at } => {
            let group = Group { name, members: member };
            hosts(&env, &at.which)?.put_group(at.domain, &group).await.map_err(failure)?;
            say(format_args!("{} holds on every host within a second.\n", group.urn(at.domain)));
        }
        GroupWhat::Delete { name, at } => {
            hosts(&env, &at.which)?.delete_named(at.domain, "groups", &name).await.map_err(failure)?;
            say(format_args!("Group {name} is deleted: on every host within a second.\n"));
        }
    }
    Ok(())
}

#[derive(Debug, Args)]
#[command(
    after_help = "Tokens are JWT in the header `Authorization: Bearer`, signed by the issuer with its algorithm, and with iss, sub and exp.\n\
    The identity of their bearer is the prefix and sub. See docs/access.md."
)]
pub(super) struct IssuerOptions {
    #[command(subcommand)]
    what: IssuerWhat,
}

#[derive(Debug, Subcommand)]
enum IssuerWhat {
    /// The issuers whose tokens a domain takes
    List(In),
    /// Take the tokens of an issuer, or change how
    Put(PutIssuer),
    /// Make a key to try tokens with: DIR/issuer.jwk, its public half, and DIR/issuer.private.jwk
    MakeKey {
        /// Where
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
    /// Sign a token with such a key, and print it. To try: who is to have tokens is for an issuer of your own to say
    SignToken(SignToken),
    /// Take no tokens of an issuer any more
    Delete {
        /// Its name
        name: String,
        #[command(flatten)]
        at: In,
    },
}

#[derive(Debug, Args)]
struct SignToken {
    /// The private key, as `make-key` writes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// `iss`
    #[arg(long, value_name = "ISS")]
    issuer: String,
    /// `sub`
    #[arg(long, value_name = "SUB")]
    subject: String,
    /// `aud`
    #[arg(long, value_name = "AUD")]
    audience: Option<String>,
    /// How long it is valid
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    minutes: u64,
}

#[derive(Debug, Args)]
struct PutIssuer {
    /// Its name here
    name: String,
    /// The `iss` of its tokens
    #[arg(long, value_name = "ISS")]
    issuer: String,
    /// ES256, ES384, ES512, RS256, RS384, RS512, PS256, PS384 or PS512: tokens of another one are not taken
    #[arg(long, default_value = "ES256")]
    algorithm: String,
    /// Its public key, a file with a JWK
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What `aud` must hold; without it anything may
    #[arg(long, value_name = "AUD")]
    audience: Option<String>,
    /// What goes before `sub` to make the URN of an identity, such as urn:v1:eu:identity:user:acme/
    #[arg(long, value_name = "PREFIX")]
    identity_prefix: String,
    #[command(flatten)]
    at: In,
}

fn token(env: &Env, sign: &SignToken) -> Result<String, Failure> {
    let jwk: Jwk = from_file(env, &sign.key)?;
    let JwkKey::Pair(key) = jwk.key().map_err(Failure::usage)? else {
        return Err(Failure::usage("the key has no private half: give issuer.private.jwk"));
    };
    let algorithm = match key.shape() {
        Shape::Ec(curve) => SignatureAlgorithm::Es(curve),
        Shape::Rsa(_) => SignatureAlgorithm::Rs(Hash::Sha256),
    };
    let header = serde_json::json!({ "alg": algorithm.word(), "typ": "JWT" });
    let until = env.clock.wall().as_secs() + sign.minutes.saturating_mul(60);
    let mut claims = serde_json::json!({ "iss": sign.issuer, "sub": sign.subject, "exp": until });
    if let Some(audience) = &sign.audience {
        claims["aud"] = audience.as_str().into();
    }
    let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
    let digest = algorithm.hash().digest(signed.as_bytes());
    let signature = key.sign(env, algorithm, &digest).map_err(Failure::runtime)?;
    Ok(format!("{signed}.{}", B64.encode(signature)))
}

pub(super) async fn issuer(env: Env, options: IssuerOptions) -> Result<(), Failure> {
    match options.what {
        IssuerWhat::List(at) => {
            let issuers = hosts(&env, &at.which)?.issuers(at.domain).await.map_err(failure)?;
            let mut rows =
                vec![["NAME", "ISSUER", "ALGORITHM", "AUDIENCE", "IDENTITIES"].map(str::to_owned).to_vec()];
            for issuer in issuers {
                let audience = issuer.audience.unwrap_or_else(|| "-".to_owned());
                let identities = format!("{}SUB", issuer.identity_prefix);
                rows.push(vec![issuer.name, issuer.issuer, issuer.algorithm, audience, identities]);
            }
            say(table(&rows));
        }
        IssuerWhat::Put(put) => {
            let issuer = Issuer {
                name: put.name,
                issuer: put.issuer,
                algorithm: put.algorithm,
                key: from_file(&env, &put.key)?,
                audience: put.audience,
                identity_prefix: put.identity_prefix,
            };
            // A private key does not leave this machine by mistake.
            issuer.known().map_err(Failure::usage)?;
            hosts(&env, &put.at.which)?.put_issuer(put.at.domain, &issuer).await.map_err(failure)?;
            say(format_args!("Tokens of {} are taken on every host within a second.\n", issuer.issuer));
        }
        IssuerWhat::MakeKey { out } => {
            let key = PrivateKey::generate(&env, Shape::Ec(Curve::P256)).map_err(Failure::runtime)?;
            let file = |name: &str, jwk: &Jwk, private| -> Result<FileSpec, Failure> {
                let contents = serde_json::to_vec_pretty(jwk).map_err(Failure::runtime)?;
                Ok(FileSpec { path: name.into(), contents, private })
            };
            let files = [
                file("issuer.jwk", &Jwk::of_public(&key.public()), false)?,
                file("issuer.private.jwk", &Jwk::of_private(&key), true)?,
            ];
            write_files(&*env.disk, &out, &files)?;
            say(format_args!("Made {}, and its private half beside it.\n", out.join("issuer.jwk").display()));
        }
        IssuerWhat::SignToken(sign) => say(format_args!("{}\n", token(&env, &sign)?)),
        IssuerWhat::Delete { name, at } => {
            hosts(&env, &at.which)?.delete_named(at.domain, "issuers", &name).await.map_err(failure)?;
            say(format_args!("Issuer {name} is deleted: on every host within a second.\n"));
        }
    }
    Ok(())
}
