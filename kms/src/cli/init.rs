//! `kms init`.

use super::{
    Failure,
    output::{program, say},
    region,
};
use clap::Args;
use kms::{
    env::Env,
    init::{Addresses, NODE_PORT, REST_PORT, RegionSpec, plan_region},
    limits::Limits,
    places::backup_regions,
};
use std::{collections::BTreeMap, path::PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "Example, a region on nine machines:\n  \
    kms init --out ./rbx --address db-a=10.0.1.1,db-b=10.0.2.1,host-a1=10.0.1.11,host-a2=10.0.1.12 \\\n    \
    --address host-b1=10.0.2.11,host-b2=10.0.2.12,witness=10.9.0.1,replica=10.9.0.2,entry=10.0.0.1 \
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
    /// IP address of a node (db-a, db-b, host-a1, ..., witness, replica, entry); either all nodes or none
    #[arg(long, value_name = "NODE=IP", value_delimiter = ',')]
    address: Vec<String>,
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    let out = std::path::absolute(&options.out).map_err(Failure::usage)?;
    let documented = backup_regions(&options.region).map(|regions| regions[0].to_owned());
    let replica = options.replica.or(documented).filter(|_| !options.no_replica);
    if replica.is_none() && !options.no_replica {
        return Err(Failure::Usage(format!(
            "name the region that the replica of {:?} stands in with --replica, or say --no-replica (region ids are such as \
             eu-west-rbx)",
            options.region
        )));
    }
    let spec = RegionSpec {
        replica,
        region: options.region,
        hosts_per_zone: options.hosts_per_zone,
        domains: options.domains,
        clients: options.clients,
        addresses: addresses(&options.address)?,
        names: options.endpoint_name,
        limits: Limits::default(),
    };
    let bundle = plan_region(&env, &spec)?;
    region::write(&env, &out, &bundle)?;
    let mut text = format!("Made region {} in {}:\n", spec.region, out.display());
    for node in &bundle.nodes {
        text += &format!(
            "  {:10} {} serve --config {}\n",
            node.node_id,
            program(),
            out.join(&node.node_id).join("node.toml").display()
        );
    }
    text += &format!(
        "\n  operator/  operator's certificate, and the CAs with their private keys: keep it off the nodes\n  \
           clients/   client certificates; they verify https://{} with ca.pem\n  \
           root.key   in each host's directory: without it no key of the region can ever be read again.\n             \
                      Keep a copy in a safe place.\n\n",
        bundle.endpoint
    );
    for domain in &bundle.domains {
        text += &format!("Domain {domain}: https://{}/api/{domain}\n", bundle.endpoint);
    }
    text += &format!("Ask how it is with: {} status --dir {}\n", program(), out.display());
    say(text);
    Ok(())
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
