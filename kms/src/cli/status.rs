//! `kms status`.

use super::{
    Failure,
    output::{say, table},
};
use clap::{ArgGroup, Args};
use kms::{
    entry::probe::{Health, Probe},
    env::Env,
    operator::{OperatorConfig, ask::database_status},
    store::server::DatabaseStatus,
    wire::tls::NodeTls,
};
use serde::Serialize;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Longest wait for one node.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
#[command(after_help = "Exit code 0 if the region takes key writes, 2 if it does not.")]
#[command(group(ArgGroup::new("which region").required(true).args(["config", "dir"])))]
pub(super) struct Options {
    /// The operator's configuration, as `kms init` writes it to DIR/operator/operator.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of `kms init --out` or `kms dev --dir`, instead of --config
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// One line of JSON instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    region: String,
    /// The head takes writes, and a host passes them on.
    writable: bool,
    /// A host answers requests on existing keys.
    serving: bool,
    databases: Vec<Database>,
    hosts: Vec<Host>,
    entry: Host,
}

#[derive(Debug, Serialize)]
struct Database {
    address: String,
    status: Option<DatabaseStatus>,
    error: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Host {
    address: String,
    can_serve: bool,
    can_write: bool,
    error: Option<String>,
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    let file = operator_file(&env, &options)?;
    let operator = OperatorConfig::load(&*env.disk, &file).map_err(Failure::usage)?;
    let tls = operator.tls(&env, ANSWER_WITHIN).map_err(Failure::usage)?;
    let report = ask_all(&env, &operator, &tls).await;
    if options.json {
        let line = serde_json::to_string(&report).map_err(Failure::runtime)?;
        say(format_args!("{line}\n"));
    } else {
        say(text(&report));
    }
    if report.writable { Ok(()) } else { Err(Failure::Runtime("the region takes no key writes".to_owned())) }
}

fn operator_file(env: &Env, options: &Options) -> Result<PathBuf, Failure> {
    let Some(dir) = &options.dir else {
        return options.config.clone().ok_or_else(|| Failure::usage("give --config or --dir"));
    };
    let places = [dir.join("operator/operator.toml"), dir.join("region/operator/operator.toml")];
    for place in &places {
        if env.disk.read(place).map_err(Failure::runtime)?.is_some() {
            return Ok(place.clone());
        }
    }
    Err(Failure::Usage(format!("no region in {}: make one with `kms init` or `kms dev`", dir.display())))
}

async fn ask_all(env: &Env, operator: &OperatorConfig, tls: &Arc<NodeTls>) -> Report {
    let databases = futures_util::future::join_all([&operator.head, &operator.tail].map(|address| async {
        let answer = database_status(env, tls, address).await;
        let error = answer.as_ref().err().map(ToString::to_string);
        Database { address: address.clone(), status: answer.ok(), error }
    }));
    let addresses: Vec<&String> = operator.hosts.iter().chain([&operator.entry]).collect();
    let hosts = futures_util::future::join_all(addresses.into_iter().map(|address| host(env, tls, address)));
    let (databases, mut hosts) = futures_util::future::join(databases, hosts).await;
    let entry = hosts.remove(hosts.len() - 1);
    let head = databases.first().and_then(|database| database.status.as_ref());
    Report {
        region: operator.region.clone(),
        writable: head.is_some_and(|head| head.writable) && hosts.iter().any(|host| host.can_write),
        serving: hosts.iter().any(|host| host.can_serve),
        databases,
        hosts,
        entry,
    }
}

async fn host(env: &Env, tls: &Arc<NodeTls>, address: &str) -> Host {
    let mut probe = Probe::new(env.clone(), tls.clone(), address.to_owned());
    let (health, error) = match env.timeout(ANSWER_WITHIN, probe.ask()).await {
        Ok(Ok(health)) => (health, None),
        Ok(Err(error)) => (Health::default(), Some(error.to_string())),
        Err(_) => (Health::default(), Some("no answer in time".to_owned())),
    };
    Host { address: address.to_owned(), can_serve: health.can_serve, can_write: health.can_write, error }
}

fn text(report: &Report) -> String {
    let yes = |is: bool| if is { "yes" } else { "NO" }.to_owned();
    let heading = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut databases = vec![heading(&[
        "DATABASE",
        "ADDRESS",
        "ROLE",
        "PHASE",
        "SERVES",
        "WRITES",
        "LAST",
        "CONFIRMED",
        "IN DOUBT",
        "RECORDS",
        "NOTE",
    ])];
    for database in &report.databases {
        databases.push(match &database.status {
            Some(status) => vec![
                status.node.clone(),
                database.address.clone(),
                status.role.clone(),
                status.phase.clone(),
                yes(status.serving),
                // Writes enter at the head alone.
                if status.role == "tail" { "-".to_owned() } else { yes(status.writable) },
                status.last.to_string(),
                status.confirmed.to_string(),
                status.in_doubt.to_string(),
                status.records.to_string(),
                status.alarm.clone().unwrap_or_default(),
            ],
            None => {
                let mut row = vec!["?".to_owned(), database.address.clone()];
                row.resize(10, "-".to_owned());
                row.push(database.error.clone().unwrap_or_default());
                row
            }
        });
    }
    let mut hosts = vec![heading(&["HOST", "SERVES", "WRITES", "NOTE"])];
    let entry = Host { address: format!("{} (entry)", report.entry.address), ..report.entry.clone() };
    for host in report.hosts.iter().chain([&entry]) {
        hosts.push(vec![
            host.address.clone(),
            yes(host.can_serve),
            yes(host.can_write),
            host.error.clone().unwrap_or_default(),
        ]);
    }
    format!(
        "Region {}: existing keys {}, key writes {}\n\n{}\n{}",
        report.region,
        if report.serving { "work" } else { "DO NOT WORK" },
        if report.writable { "accepted" } else { "REFUSED" },
        table(&databases),
        table(&hosts)
    )
}
