//! `kms dev`: a whole region in this process, with real disks and real certificates.

use super::{
    Failure,
    output::{complain, program, say},
    region::{self, read_text},
    serve::EndSignals,
};
use clap::Args;
use futures_util::{StreamExt, stream::FuturesUnordered};
use kms::{
    config::{NodeConfig, Role, Zone},
    entry::probe::Probe,
    env::{Env, StoreAt, StoreConfig},
    init::{Addresses, AdminAt, NODE_FILE, REST_PORT, RegionSpec, STORE_DIR, plan_region},
    limits::Limits,
    node::{self, Running},
    operator::OperatorConfig,
    places::backup_regions,
};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// The region it plays.
const REGION: &str = "eu-west-rbx";
/// Hosts in each zone if nothing is said.
const HOSTS_PER_ZONE: u32 = 2;
/// How long the nodes may take to find each other before we say so.
const READY_WITHIN: Duration = Duration::from_secs(15);
/// Longest wait for one answer about health.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "The first start makes certificates, keys and stores; later starts use them again.\n\
    Data survives kill -9. Not for production: all zones share one machine and one process.")]
pub(super) struct Options {
    /// Where certificates, keys and data are kept
    #[arg(long, value_name = "DIR", default_value = "./kms-dev")]
    dir: PathBuf,
    /// Port of the REST endpoint; the nodes use the ports after it [default: 8443]
    #[arg(long)]
    port: Option<u16>,
    /// Hosts in each of the two zones [default: 2]
    #[arg(long, value_name = "N")]
    hosts_per_zone: Option<u32>,
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    let mut end = EndSignals::listen().map_err(Failure::runtime)?;
    let dir = std::path::absolute(&options.dir).map_err(Failure::usage)?;
    let region_dir = dir.join("region");
    let operator_file = region_dir.join("operator").join("operator.toml");
    let made = env.disk.read(&operator_file).map_err(|error| unusable(&dir, &error))?.is_none();
    if made {
        make(&env, &dir, &region_dir, &options)?;
    }
    let operator = OperatorConfig::load(&*env.disk, &operator_file).map_err(Failure::usage)?;
    agrees(&operator, &options, &dir)?;
    let (mut nodes, blank) = start(&env, &region_dir).await?;
    let yaml = read_text(&*env.disk, &region_dir.join("okms.yaml"))?;
    env.disk.write_atomic(&dir.join("okms.yaml"), yaml.as_bytes(), false).map_err(Failure::runtime)?;
    let domains = read_text(&*env.disk, &region_dir.join("domains.txt"))?;
    let guide = guide(&dir, &region_dir, &operator, domains.trim(), &yaml);
    let lost = blank.what_to_do(&dir);

    let ended = {
        let mut ends: FuturesUnordered<_> = nodes
            .iter_mut()
            .map(|(name, node)| async move { format!("{name} ended: {}", node.stopped().await) })
            .collect();
        let work = async {
            if made {
                say("A new region was made.\n");
            }
            // What has no store waits for a person, and nobody for that.
            if lost.is_none()
                && let Err(error) = ready(&env, &operator).await
            {
                complain(format_args!("warning: no key writes yet, {error}\n"));
            }
            say(&guide);
            if let Some(lost) = &lost {
                say(lost);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            _ = end.next() => None,
            reason = ends.next() => reason,
            () = work => None,
        }
    };
    say("Stopping.\n");
    // Clients first, then the hosts, then the databases they need.
    for (_, node) in nodes.into_iter().rev() {
        node.shutdown().await;
    }
    ended.map_or(Ok(()), |reason| Err(Failure::Runtime(reason)))
}

fn unusable(dir: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("{}: {error}; choose a directory that can be made with --dir", dir.display()))
}

fn make(env: &Env, dir: &Path, region_dir: &Path, options: &Options) -> Result<(), Failure> {
    let rest_port = options.port.unwrap_or(REST_PORT);
    let spec = RegionSpec {
        audit: true,
        region: REGION.to_owned(),
        witness_with_replica: true,
        shares: None,
        replica: backup_regions(REGION).map(|regions| regions[0].to_owned()),
        backups: backup_regions(REGION).map(|regions| {
            regions.map(|place| StoreConfig {
                region: place.to_owned(),
                at: StoreAt::Directory(dir.join("backups").join(place)),
            })
        }),
        hosts_per_zone: options.hosts_per_zone.unwrap_or(HOSTS_PER_ZONE),
        domains: 1,
        clients: 1,
        addresses: Addresses::Loopback { rest_port, node_port: rest_port.saturating_add(1) },
        admin: AdminAt::Loopback,
        names: Vec::new(),
        limits: Limits::default(),
    };
    let bundle = plan_region(env, &spec)?;
    env.disk.create_dir(dir).map_err(|error| unusable(dir, &error))?;
    region::write(env, region_dir, &bundle)
}

/// Refuses options that differ from what the region was made with.
fn agrees(operator: &OperatorConfig, options: &Options, dir: &Path) -> Result<(), Failure> {
    let port = operator.entry.parse::<SocketAddr>().map_err(Failure::usage)?.port();
    let per_zone = operator.hosts.len() / 2;
    let other = |what: &str| {
        Err(Failure::Usage(format!(
            "the region in {} was made with {what}: start it so, or choose another --dir",
            dir.display()
        )))
    };
    if options.port.is_some_and(|wanted| wanted != port) {
        return other(&format!("--port {port}"));
    }
    if options.hosts_per_zone.is_some_and(|wanted| wanted as usize != per_zone) {
        return other(&format!("--hosts-per-zone {per_zone}"));
    }
    Ok(())
}

/// Nodes that start without a store.
#[derive(Debug, Default)]
struct Blank {
    a: bool,
    b: bool,
    replica: bool,
}

impl Blank {
    fn note(&mut self, env: &Env, config: &NodeConfig) {
        let listed = env.disk.list(&config.data_dir).unwrap_or_default();
        let blank = !listed.iter().any(|name| name.as_os_str() == STORE_DIR);
        match (config.role, config.zone) {
            (Role::Database, Some(Zone::A)) => self.a = blank,
            (Role::Database, Some(Zone::B)) => self.b = blank,
            (Role::Replica, _) => self.replica = blank,
            _ => {}
        }
    }

    /// The command that makes the databases anew, if one is blank. A blank replica makes itself anew, if the region has anything.
    fn what_to_do(&self, dir: &Path) -> Option<String> {
        let (what, command) = match self {
            Blank { a: false, b: false, .. } => return None,
            Blank { a: true, b: false, .. } => ("The database of zone a has", "rebuild zone a"),
            Blank { a: false, b: true, .. } => ("The database of zone b has", "rebuild zone b"),
            Blank { replica: false, .. } => {
                ("The databases of both zones have", "restore region --from replica")
            }
            Blank { .. } => {
                ("The databases of both zones, and the replica, have", "restore region --from backup")
            }
        };
        Some(format!(
            "\n{what} no store. Everything else runs; in another shell:\n  {} {command} --dir {}\n",
            program(),
            quoted(dir)
        ))
    }
}

/// Starts every node found: the witness, alone or in the replica, databases, hosts, the entry, a replica without the witness. Says
/// which have no store.
async fn start(env: &Env, region_dir: &Path) -> Result<(Vec<(String, Running)>, Blank), Failure> {
    let (mut found, mut blank) = (Vec::new(), Blank::default());
    for name in env.disk.list(region_dir).map_err(Failure::runtime)? {
        let file = region_dir.join(&name).join(NODE_FILE);
        if env.disk.read(&file).ok().flatten().is_some() {
            let config = NodeConfig::load(&*env.disk, &file).map_err(Failure::usage)?;
            let turn = match config.role {
                Role::Witness => 0,
                // What it is beside the witness waits for nobody.
                Role::Replica if config.witness.is_some() => 0,
                Role::Database => 1,
                Role::Host => 2,
                Role::Entry => 3,
                Role::Replica => 4,
            };
            blank.note(env, &config);
            found.push((turn, config.node_id, file));
        }
    }
    found.sort();
    let mut nodes = Vec::new();
    for (_, name, file) in found {
        let node = node::serve(env.clone(), &file).await.map_err(|error| {
            Failure::Runtime(format!(
                "{name}: {error}\nIs another `kms dev` running? A second one needs a new --dir and a --port of its own; \
                 a region keeps the ports it was made with."
            ))
        })?;
        nodes.push((name, node));
    }
    Ok((nodes, blank))
}

/// Waits until every host takes key writes, and the entry knows a host.
async fn ready(env: &Env, operator: &OperatorConfig) -> Result<(), String> {
    let tls = operator.tls(env, ANSWER_WITHIN).map_err(|error| error.to_string())?;
    let until = env.now() + READY_WITHIN;
    for address in operator.hosts.iter().chain([&operator.entry]) {
        let mut probe = Probe::new(env.clone(), tls.clone(), address.clone());
        loop {
            let why = match env.timeout(ANSWER_WITHIN, probe.ask()).await {
                Ok(Ok(health)) if health.can_serve && health.can_write => break,
                Ok(Ok(_)) => "it cannot write".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            if env.now() > until {
                return Err(format!("{address}: {why}"));
            }
            env.sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// As a shell takes it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// What to do with it.
fn guide(dir: &Path, region_dir: &Path, operator: &OperatorConfig, domain: &str, yaml: &str) -> String {
    let curl = format!(
        "curl -sS --cacert {} --cert {} --key {}",
        quoted(&region_dir.join("ca.pem")),
        quoted(&region_dir.join("clients/client-1.crt")),
        quoted(&region_dir.join("clients/client-1.key")),
    );
    format!(
        "Region {region} runs: https://{entry}, domain {domain}\n\
         \n\
         {okms} (configuration of the okms command line tool):\n\
         {yaml}\n\
         # once per shell\n\
         keys() {{ {curl} \\\n  \
           -H 'content-type: application/json' \"https://{entry}/api/{domain}/v1/servicekey$1\" -d \"$2\"; }}\n\
         field() {{ sed 's/.*\"'$1'\":\"\\([^\"]*\\)\".*/\\1/'; }}\n\
         # make a key, encrypt (plaintext is base64), decrypt\n\
         KEY=$(keys '' '{{\"name\":\"demo\",\"type\":\"oct\",\"size\":256,\"operations\":[\"encrypt\",\"decrypt\"]}}' | field id); echo $KEY\n\
         TEXT=$(keys /$KEY/encrypt '{{\"plaintext\":\"aGVsbG8=\"}}' | field ciphertext); echo $TEXT\n\
         keys /$KEY/decrypt '{{\"ciphertext\":\"'$TEXT'\"}}'; echo\n\
         \n\
         How it is: {kms} status --dir {dir}\n\
         Ctrl-C stops it.\n",
        region = operator.region,
        entry = operator.entry,
        okms = dir.join("okms.yaml").display(),
        dir = quoted(dir),
        kms = program(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_store_is_named_with_the_command_for_it() {
        let told = |a, b, replica| Blank { a, b, replica }.what_to_do(Path::new("it's"));
        assert_eq!(told(false, false, true), None, "a replica makes itself");
        let said = |told: Option<String>, words: &str| told.is_some_and(|told| told.contains(words));
        assert!(said(told(false, true, true), r"rebuild zone b --dir 'it'\''s'"));
        assert!(said(told(true, false, false), "rebuild zone a"));
        assert!(said(told(true, true, false), "restore region --from replica"));
        assert!(said(told(true, true, true), "restore region --from backup"));
    }
}
