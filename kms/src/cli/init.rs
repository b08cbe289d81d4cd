//! `kms init`.

use super::{
    Failure,
    output::{program, say},
    region,
};
use clap::Args;
use kms::{
    env::{Env, StoreAt, StoreConfig},
    init::{Addresses, AdminAt, NODE_PORT, REST_PORT, RegionSpec, plan_region},
    limits::Limits,
    places::backup_regions,
};
use std::{collections::BTreeMap, path::PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "Example, a region on eight machines:\n  \
    kms init --out ./rbx --address db-a=10.0.1.1,db-b=10.0.2.1,host-a1=10.0.1.11,host-a2=10.0.1.12 \\\n    \
    --address host-b1=10.0.2.11,host-b2=10.0.2.12,replica=10.9.0.1,entry=10.0.0.1 \
    --endpoint-name kms.example.com\n\n\
    Then copy ./rbx/<node> to each machine and start it with `kms serve --config <node>/node.toml`.\n\
    Without --address the whole region is on 127.0.0.1.")]
pub(super) struct Options {
    /// Directory to make; must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Region id
    #[arg(long, default_value = "eu-west-rbx")]
    region: String,
    /// Region that the replica stands in [default: the first backup region, where one is documented]
    #[arg(long, value_name = "REGION", conflicts_with = "no_replica")]
    replica: Option<String>,
    /// Make a region without a third copy: it does not survive the loss of the region
    #[arg(long)]
    no_replica: bool,
    /// Make the witness a process of its own, on a machine of its own. Else it is part of the replica's process, if there is a replica
    #[arg(long)]
    witness_apart: bool,
    /// Directory for backups, and the region it lies in: given twice, for two regions other than the main one. As the
    /// replica's machine sees it; relative: to the replica's directory. For a bucket see docs/backups.md
    #[arg(long, value_name = "REGION=DIRECTORY", conflicts_with = "no_replica")]
    backup_store: Vec<String>,
    /// Hosts in each of the two zones
    #[arg(long, default_value_t = 2, value_name = "N")]
    hosts_per_zone: u32,
    /// Customer domains
    #[arg(long, default_value_t = 1, value_name = "N")]
    domains: u32,
    /// Client certificates in each domain
    #[arg(long, default_value_t = 1, value_name = "N")]
    clients: u32,
    /// DNS name or IP address that clients call the REST endpoint by; may be given several times
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    endpoint_name: Vec<String>,
    /// Where hosts take the operator's requests about access: on 127.0.0.1, for who is on a host's machine or has a tunnel to it, or
    /// on their own addresses. Port 8445; only the operator's certificate is let in
    #[arg(long, value_name = "WHERE", default_value = "loopback")]
    admin_on: AdminOn,
    /// Give no host the root key: it is sealed, and split into so many shares for as many people. A host that starts serves nothing
    /// before enough of them have run `kms unseal`
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "5")]
    shares: Option<u8>,
    /// Shares that unseal a host
    #[arg(long, value_name = "N", default_value_t = 3, requires = "shares")]
    threshold: u8,
    /// IP address of a node (db-a, db-b, host-a1, ..., replica, entry, and the witness if that is a process of its own); either all
    /// nodes or none
    #[arg(long, value_name = "NODE=IP", value_delimiter = ',')]
    address: Vec<String>,
}

/// Where hosts are administered.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum AdminOn {
    /// On 127.0.0.1 of the host's machine
    Loopback,
    /// On the host's own address
    Node,
}

impl From<AdminOn> for AdminAt {
    fn from(on: AdminOn) -> AdminAt {
        match on {
            AdminOn::Loopback => AdminAt::Loopback,
            AdminOn::Node => AdminAt::Node,
        }
    }
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    let out = std::path::absolute(&options.out).map_err(Failure::usage)?;
    let documented = backup_regions(&options.region).map(|regions| regions[0].to_owned());
    let replica = options.replica.clone().or(documented).filter(|_| !options.no_replica);
    if replica.is_none() && !options.no_replica {
        return Err(Failure::Usage(format!(
            "name the region that the replica of {:?} stands in with --replica, or say --no-replica (region ids are such as \
             eu-west-rbx)",
            options.region
        )));
    }
    let backups = backups(&options)?;
    let spec = RegionSpec {
        audit: true,
        witness_with_replica: replica.is_some() && !options.witness_apart,
        replica,
        backups,
        shares: options.shares.map(|count| (options.threshold, count)),
        region: options.region,
        hosts_per_zone: options.hosts_per_zone,
        domains: options.domains,
        clients: options.clients,
        addresses: addresses(&options.address)?,
        admin: options.admin_on.into(),
        names: options.endpoint_name,
        limits: Limits::default(),
    };
    let bundle = plan_region(&env, &spec)?;
    region::write(&env, &out, &bundle)?;
    let mut text = format!("Made region {} in {}:\n", spec.region, out.display());
    for node in &bundle.nodes {
        text += &match &node.within {
            Some(other) => format!("  {:10} part of the process of the {other}\n", node.node_id),
            None => format!(
                "  {:10} {} serve --config {}\n",
                node.node_id,
                program(),
                out.join(node.dir()).join("node.toml").display()
            ),
        };
    }
    text += &format!(
        "\n  operator/  operator's certificate, and the CAs with their private keys: keep it off the nodes\n  \
           clients/   client certificates; they verify https://{} with ca.pem\n",
        bundle.endpoint
    );
    text += &rooted(&spec);
    text += &kept(&spec);
    for domain in &bundle.domains {
        text += &format!("Domain {domain}: https://{}/api/{domain}\n", bundle.endpoint);
    }
    text += &format!("Ask how it is with: {} status --dir {}\n", program(), out.display());
    say(text);
    Ok(())
}

/// Where backups go: as said; beside the nodes if all are on this machine; else nowhere, as long as nobody says where.
fn backups(options: &Options) -> Result<Option<[StoreConfig; 2]>, Failure> {
    let directory = |region: &str, directory: PathBuf| StoreConfig {
        region: region.to_owned(),
        at: StoreAt::Directory(directory),
    };
    if options.no_replica {
        return Ok(None);
    }
    if options.backup_store.is_empty() {
        let documented = backup_regions(&options.region).filter(|_| options.address.is_empty());
        return Ok(documented
            .map(|regions| regions.map(|place| directory(place, PathBuf::from("../backups").join(place)))));
    }
    let mut stores = Vec::new();
    for given in &options.backup_store {
        match given.split_once('=') {
            Some((region, path)) if !path.is_empty() => stores.push(directory(region, path.into())),
            _ => {
                return Err(Failure::Usage(format!(
                    "--backup-store {given}: write REGION=DIRECTORY, such as eu-west-gra=/mnt/gra/backups"
                )));
            }
        }
    }
    let stores = <[StoreConfig; 2]>::try_from(stores);
    stores
        .map(Some)
        .map_err(|_| Failure::usage("give --backup-store twice, for two regions other than the main one"))
}

/// What is said of the root key.
fn rooted(spec: &RegionSpec) -> String {
    match spec.shares {
        None => "  root.key   in each host's directory: without it no key of the region can ever be read again.\n             \
                 Keep a copy in a safe place.\n\n"
            .to_owned(),
        Some((threshold, count)) => format!(
            "  operator/shares/  {count} shares, {threshold} of which unseal a host: give each to another person, and delete the files.\n                    \
               With fewer than {threshold} left no key of the region can ever be read again.\n                    \
               Hosts serve nothing before {threshold} people have run `kms unseal`: see docs/sealing.md.\n\n"
        ),
    }
}

/// What is said of backups.
fn kept(spec: &RegionSpec) -> String {
    let places = || match backup_regions(&spec.region) {
        Some(regions) => format!("{} and {}", regions[0], regions[1]),
        None => "two other regions".to_owned(),
    };
    let key = "  backup.key in the replica's directory and in operator/: without it no backup can ever be read.\n             \
               Keep a copy in a safe place.\n\n";
    match (&spec.replica, &spec.backups) {
        (None, _) => "NO BACKUPS: they are made by the replica, and this region has none.\n\n".to_owned(),
        (Some(_), Some(stores)) => {
            let line = |store: &StoreConfig| match &store.at {
                StoreAt::Directory(path) => format!("  backups    {}: {}\n", store.region, path.display()),
                StoreAt::S3(s3) => format!("  backups    {}: bucket {}\n", store.region, s3.bucket),
            };
            format!("{}{key}", stores.iter().map(line).collect::<String>())
        }
        (Some(_), None) => format!(
            "{key}NO BACKUPS are made before replica/node.toml names two stores, in {}: add [[backups]] there as \
             docs/backups.md shows,\nor make the region with --backup-store.\n\n",
            places()
        ),
    }
}

fn addresses(given: &[String]) -> Result<Addresses, Failure> {
    if given.is_empty() {
        return Ok(Addresses::Loopback { rest_port: REST_PORT, node_port: NODE_PORT });
    }
    let mut addresses = BTreeMap::new();
    for pair in given {
        let (node, ip) = pair.split_once('=').ok_or_else(|| {
            Failure::usage(format!("--address {pair}: write NODE=IP, such as db-a=10.0.1.1"))
        })?;
        if addresses.insert(node.to_owned(), ip.to_owned()).is_some() {
            return Err(Failure::usage(format!("--address names {node} twice")));
        }
    }
    Ok(Addresses::PerNode(addresses))
}
