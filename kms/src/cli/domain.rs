//! `kms domain create`, `terminate` and `list`: a new domain with its first credential; the end of a domain's service, and where its key
//! still is.

use super::{
    Failure,
    access::{self, In, hosts},
    credential,
    output::{complain, say, table},
    rebuild::{Terminal, failure, operator},
    region::WhichRegion,
};
use clap::{Args, Subcommand};
use kms::{
    engine::access::Inventory,
    env::{Env, Purpose},
    operator::{
        domain::{EndedDomain, Erased},
        session::Operator,
    },
};
use std::{
    collections::BTreeMap,
    io::{BufRead, IsTerminal},
    path::PathBuf,
    time::Duration,
};
use uuid::Uuid;

/// Between two looks at the places.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a domain, and the first credential of it
    Create(CreateOptions),
    /// End the service of a domain: nothing of it is ever answered again, and its key is erased everywhere
    Terminate(TerminateOptions),
    /// The domains of the region, and where the keys of those whose service has ended still are
    List(ListOptions),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Both databases must be up. A host draws the domain's key and seals it under the root key; when both databases have it\n\
    durably, the domain is there, and the credential is made as `kms credential create` does. If this is interrupted or\n\
    refused, run it again with the id that it has printed: it goes on, and there is one domain with one key. The id of a\n\
    domain whose service has ended is never used again. See docs/domains.md.\n\n\
    Example: kms domain create --name first --out DIR2 --dir DIR"
)]
struct CreateOptions {
    /// Id of the domain [default: a new one, which is printed]
    #[arg(long, value_name = "ID")]
    id: Option<Uuid>,
    /// Directory for the files <ID>.crt and <ID>.key of the credential. The key is written nowhere else
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    #[command(flatten)]
    about: credential::About,
    #[command(flatten)]
    which: WhichRegion,
}

#[derive(Debug, Args)]
#[command(
    after_help = "THIS CANNOT BE UNDONE. Both databases must be up. From the moment that the command says so, every request about\n\
    the domain is refused. Its key is then erased beside both databases, at the replica and in both backup stores; without it\n\
    nothing of the domain can be read, backups included. A place that is away erases it when it is back: nobody has to do\n\
    anything. If this is interrupted, run it again. See docs/end-of-service.md."
)]
struct TerminateOptions {
    /// Id of the domain
    domain: Uuid,
    /// The id once more. Without it you are asked to type it
    #[arg(long, value_name = "ID")]
    confirm: Option<String>,
    /// How long to wait for the places to confirm, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    #[command(flatten)]
    which: WhichRegion,
}

#[derive(Debug, Args)]
struct ListOptions {
    /// Count what each owns too: keys and secrets with what is left of destroyed ones, credentials, and sealed bytes. Looks at every
    /// record
    #[arg(long)]
    counts: bool,
    #[command(flatten)]
    which: WhichRegion,
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    match options.what {
        What::Create(options) => create(env, options).await,
        What::Terminate(options) => terminate(env, options).await,
        What::List(options) => list(env, options).await,
    }
}

async fn create(env: Env, options: CreateOptions) -> Result<(), Failure> {
    let CreateOptions { id, out, about, which } = options;
    let hosts = hosts(&env, &which)?;
    // What a person can mend is found out before anything is made.
    credential::access_ca(&env, &about, &which)?;
    let domain = match id {
        Some(id) => id,
        None => new_id(&env)?,
    };
    complain(format_args!("Making domain {domain}.\n"));
    let again = |failure| match failure {
        Failure::Runtime(why) => {
            Failure::Runtime(format!("{why}\nRun it again with --id {domain}: it goes on"))
        }
        mendable => mendable,
    };
    let new = hosts.create_domain(domain).await.map_err(|error| match error.status() {
        None | Some(503 | 504) => again(access::failure(error)),
        // Nothing would be different the next time.
        Some(_) => access::failure(error),
    })?;
    say(match new {
        true => format!("Domain {domain} is there, in both zones.\n"),
        false => format!("Domain {domain} was there already: it is as it was.\n"),
    });
    credential::make(&env, (about, &In { domain, which }), None, &out).await.map_err(again)
}

fn new_id(env: &Env) -> Result<Uuid, Failure> {
    let bytes = env.random(Purpose::Public).map_err(Failure::runtime)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

async fn terminate(env: Env, options: TerminateOptions) -> Result<(), Failure> {
    let domain = options.domain;
    let operator = operator(&env, &options.which)?;
    let confirmed = match options.confirm {
        Some(confirmed) => confirmed,
        None => ask(&env, domain).await?,
    };
    if !is_it(&confirmed, domain) {
        return Err(Failure::Usage(format!("that is not {domain}: nothing was changed")));
    }
    operator.terminate_domain(domain, &mut Terminal::silent(&env)).await.map_err(failure)?;
    say(format_args!("The service of domain {domain} has ended: whatever is asked of it is refused.\n"));
    let until = env.now() + Duration::from_secs(options.wait);
    match erased(&env, &operator, domain, until).await {
        None => say("Every place has confirmed: nothing of it can be read any more, backups included.\n"),
        Some(ended) => {
            let open: Vec<String> =
                ended.unconfirmed().map(|place| format!("  {}: {}\n", place.name, place.state)).collect();
            say(format_args!(
                "NOT CONFIRMED YET:\n{}Each erases the key by itself as soon as it can; `kms domain list` and `kms status` say \
                 which are left. Until then a copy of the domain's records could be read with the key that is there.\n",
                open.concat()
            ));
        }
    }
    say("Its records are deleted 30 days later.\n");
    Ok(())
}

/// Says place by place what is confirmed; answers what was not in time.
async fn erased(env: &Env, operator: &Operator, domain: Uuid, until: kms::env::Mono) -> Option<EndedDomain> {
    let mut said: BTreeMap<String, bool> = BTreeMap::new();
    loop {
        let ended = operator.copies().await.ended().into_iter().find(|ended| ended.domain == domain);
        for place in ended.iter().flat_map(|ended| &ended.places) {
            if place.state == Erased::Yes && said.insert(place.name.clone(), true).is_none() {
                say(format_args!("  {}: {}\n", place.name, place.state));
            }
        }
        match ended {
            Some(ended) if ended.gone() => return None,
            Some(ended) if env.now() >= until => return Some(ended),
            // Nobody answers, though the head did.
            None if env.now() >= until => {
                return Some(EndedDomain { domain, made_ms: 0, places: Vec::new() });
            }
            _ => env.sleep(LOOK).await,
        }
    }
}

fn is_it(typed: &str, domain: Uuid) -> bool {
    typed.trim().parse() == Ok(domain)
}

async fn ask(env: &Env, domain: Uuid) -> Result<String, Failure> {
    complain(format_args!(
        "The service of domain {domain} will end, for good: every request about it is refused from then on, its key is erased \
         everywhere, and nobody can read its keys again, from backups either.\nTo go on, type its id:\n"
    ));
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("no terminal to ask at: add --confirm and the id; nothing was changed"));
    }
    match env.blocking("ask", || std::io::stdin().lock().lines().next()).await {
        Ok(Some(Ok(typed))) => Ok(typed),
        _ => Err(Failure::usage("nothing was typed; nothing was changed")),
    }
}

async fn list(env: Env, options: ListOptions) -> Result<(), Failure> {
    let operator = operator(&env, &options.which)?;
    let domains = operator.domains().await.map_err(failure)?;
    let hosts = if options.counts { Some(hosts(&env, &options.which)?) } else { None };
    let mut heading = vec!["DOMAIN", "SERVICE", "KEY"];
    if hosts.is_some() {
        heading.extend(["KEYS", "SECRETS", "VERSIONS", "CREDENTIALS", "BYTES"]);
    }
    let mut rows = vec![heading.into_iter().map(str::to_owned).collect()];
    for domain in &domains.served {
        let mut row = vec![domain.to_string(), "served".to_owned(), "-".to_owned()];
        if let Some(hosts) = &hosts {
            let Inventory { keys, secrets, secret_versions, credentials, bytes } =
                hosts.inventory(*domain).await.map_err(access::failure)?;
            row.extend([keys, secrets, secret_versions, credentials, bytes].map(|count| count.to_string()));
        }
        rows.push(row);
    }
    for domain in &domains.half_made {
        let again = format!("not in both zones yet: kms domain create --id {domain}");
        rows.push(vec![domain.to_string(), "half made".to_owned(), again]);
    }
    for ended in &domains.ended {
        rows.push(vec![ended.domain.to_string(), "ended".to_owned(), key_of(ended)]);
    }
    say(table(&rows));
    Ok(())
}

fn key_of(ended: &EndedDomain) -> String {
    if ended.gone() {
        return "erased everywhere".to_owned();
    }
    let open: Vec<String> =
        ended.unconfirmed().map(|place| format!("{} ({})", place.name, place.state)).collect();
    format!("NOT CONFIRMED: {}", open.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms::operator::domain::Place;

    #[test]
    fn only_the_id_itself_confirms() {
        let domain = Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
        assert!(is_it(&domain.to_string(), domain));
        assert!(is_it(" 12345678-9ABC-DEF0-1234-56789ABCDEF0\n", domain));
        for other in ["", "yes", "12345678", &Uuid::nil().to_string()] {
            assert!(!is_it(other, domain), "{other}");
        }
    }

    #[test]
    fn people_are_told_where_a_key_still_is() {
        let place = |name: &str, state| Place { name: name.to_owned(), state };
        let places = vec![place("replica", Erased::Yes), place("backups in x", Erased::NotYet)];
        let mut ended = EndedDomain { domain: Uuid::nil(), made_ms: 0, places };
        assert_eq!(key_of(&ended), "NOT CONFIRMED: backups in x (not erased yet)");
        ended.places.pop();
        assert_eq!(key_of(&ended), "erased everywhere");
    }
}
