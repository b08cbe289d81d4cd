//! `kms status`.

use super::{
    Failure,
    output::{say, table},
    region::WhichRegion,
    replica::{self, Replica},
};
use clap::Args;
use kms::{
    entry::probe::{Health, Probe},
    env::Env,
    operator::{
        OperatorConfig,
        ask::database_status,
        domain::Copies,
        session::{Operator, RebuildError},
    },
    store::{server::DatabaseStatus, witness::Known},
    wire::tls::NodeTls,
};
use serde::Serialize;
use std::{sync::Arc, time::Duration};

/// Longest wait for one node.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
#[command(after_help = "Exit code 0 if the region takes key writes, 2 if it does not.")]
pub(super) struct Options {
    #[command(flatten)]
    which: WhichRegion,
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
    witness: Witness,
    /// The third copy, if the region has one.
    replica: Option<Replica>,
    hosts: Vec<Host>,
    entry: Host,
    /// What to do, one sentence each; empty if there is nothing to do.
    advice: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Witness {
    address: String,
    /// The id of the one that answers there.
    id: Option<String>,
    /// The last active epoch.
    epoch: Option<String>,
    /// Its number; 0 if it is not known.
    epoch_no: u64,
    /// The ids of its databases, zone a's and zone b's.
    members: Option<[String; 2]>,
    /// The registered epoch that is not active, and the zone that is made anew.
    pending: Option<(String, String)>,
    /// Not one zone but the whole region is made anew in it.
    restoring: bool,
    error: Option<String>,
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
    sealed: bool,
    error: Option<String>,
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    let operator = options.which.load(&env)?;
    let tls = operator.tls(&env, ANSWER_WITHIN).map_err(Failure::usage)?;
    let key = operator.signer(&env).map_err(Failure::usage)?;
    let person = Operator::new(env.clone(), operator.clone(), tls.clone(), key);
    let report = ask_all(&env, &operator, &tls, &person).await;
    if options.json {
        let line = serde_json::to_string(&report).map_err(Failure::runtime)?;
        say(format_args!("{line}\n"));
    } else {
        say(text(&report));
    }
    if report.writable { Ok(()) } else { Err(Failure::Runtime("the region takes no key writes".to_owned())) }
}

async fn ask_all(env: &Env, operator: &OperatorConfig, tls: &Arc<NodeTls>, person: &Operator) -> Report {
    let databases = futures_util::future::join_all([&operator.head, &operator.tail].map(|address| async {
        let answer = database_status(env, tls, address).await;
        let error = answer.as_ref().err().map(ToString::to_string);
        Database { address: address.clone(), status: answer.ok(), error }
    }));
    let addresses: Vec<&String> = operator.hosts.iter().chain([&operator.entry]).collect();
    let hosts = futures_util::future::join_all(addresses.into_iter().map(|address| host(env, tls, address)));
    let replica = replica::ask(env, operator, tls);
    let (databases, mut hosts, known, replica) =
        futures_util::future::join4(databases, hosts, person.known(), replica).await;
    let witness = witness(operator, known);
    let entry = hosts.remove(hosts.len() - 1);
    let head = databases.first().and_then(|database| database.status.as_ref());
    let mut advice = advice(&databases, &witness);
    advice.extend(replica.as_ref().map(Replica::all_advice).unwrap_or_default());
    advice.extend(unerased(&databases, replica.as_ref()));
    Report {
        region: operator.region.clone(),
        writable: head.is_some_and(|head| head.writable) && hosts.iter().any(|host| host.can_write),
        serving: hosts.iter().any(|host| host.can_serve),
        databases,
        witness,
        replica,
        hosts,
        entry,
        advice,
    }
}

fn witness(operator: &OperatorConfig, known: Result<Known, RebuildError>) -> Witness {
    let address = operator.witness.clone();
    match known {
        Ok(known) => Witness {
            address,
            id: Some(hex::encode(known.witness)),
            epoch: Some(known.active.record.epoch.to_string()),
            epoch_no: known.active.record.epoch.no,
            members: Some(known.active.record.members.map(|id| id.to_string())),
            restoring: known.pending.as_ref().is_some_and(|pending| pending.record.is_restore()),
            pending: known.pending.map(|pending| {
                let zone = if pending.record.members[0] == pending.record.target { "a" } else { "b" };
                (pending.record.epoch.to_string(), zone.to_owned())
            }),
            error: None,
        },
        Err(error) => {
            let error = match error {
                RebuildError::Witness(_, error) => error.to_string(),
                other => other.to_string(),
            };
            Witness { address, error: Some(error), ..Witness::default() }
        }
    }
}

/// Alarms of a database that no log can mend.
const FOR_A_REBUILD: [&str; 2] = ["loud:too-far-behind", "loud:below-activation"];

/// What a person under pressure should do next.
fn advice(databases: &[Database], witness: &Witness) -> Vec<String> {
    let mut advice = Vec::new();
    advice.extend(another_witness(databases, witness));
    // What one says that was replaced may be long past, and is no reason to stop anything.
    let silent = Witness { address: witness.address.clone(), ..Witness::default() };
    let witness = if advice.is_empty() { witness } else { &silent };
    if let (Some((epoch, _)), true) = (&witness.pending, witness.restoring) {
        advice.push(format!(
            "The region is being made anew (epoch {epoch}): finish it with the same `kms restore region`."
        ));
        return advice;
    }
    advice.extend(lost_region(databases, witness));
    if let Some((epoch, zone)) = &witness.pending {
        let place = usize::from(zone == "b");
        let target = databases.get(place).and_then(|database| database.status.as_ref());
        let old = witness.members.as_ref().map(|members| members[place].as_str());
        // Only the database of the last active epoch, unless it has retired, can be taken back.
        let kept =
            target.is_none_or(|status| status.phase != "retired" && Some(status.db_id.as_str()) == old);
        let abandon = match (kept, target) {
            (true, Some(_)) => format!(", or give it up with `kms rebuild abandon {zone}`"),
            (true, None) => format!(", or bring its old database back and run `kms rebuild abandon {zone}`"),
            (false, _) => String::new(),
        };
        advice.push(format!(
            "A rebuild of zone {zone} is under way (epoch {epoch}): finish it with `kms rebuild zone {zone}`{abandon}."
        ));
    }
    for (database, zone) in databases.iter().zip(["a", "b"]) {
        let other = if zone == "a" { "b" } else { "a" };
        match &database.status {
            Some(status) if status.serving && witness.members.as_ref().is_some_and(|ids| !ids.contains(&status.db_id)) => {
                advice.push(format!(
                    "The database of zone {zone}, {}, SERVES THE PAST: it is none of the active epoch's. Stop its process \
                     now; when it starts again it asks the witness and retires.",
                    short(&status.db_id)
                ));
            }
            None if witness.pending.as_ref().is_some_and(|(_, lost)| lost == zone) => {}
            None => advice.push(format!(
                "The database of zone {zone} does not answer. Bring it back; if its disks are lost, put a blank node in its \
                 place and run `kms rebuild zone {zone}`."
            )),
            Some(status) if status.phase == "blank" && all_blank(databases) => {}
            Some(status) if witness.pending.is_none() && matches!(status.phase.as_str(), "blank" | "retired") => {
                advice.push(format!(
                    "The database of zone {zone} is {}: make it anew with `kms rebuild zone {zone}`.",
                    status.phase
                ));
            }
            Some(status) if status.phase == "member" && !status.joined && witness.error.is_some() => {
                advice.push(format!(
                    "The database of zone {zone} waits for the witness or the other database to say that its epoch is \
                     current. If neither can be brought back soon, and nobody rebuilt zone {zone} meanwhile: \
                     `kms serve-alone {zone}`."
                ));
            }
            // It may know of an earlier witness only: then it hears from nobody that it is of the past.
            Some(status) if status.phase == "member" && !status.joined && is_of_the_past(status, witness) => {
                advice.push(format!(
                    "The database of zone {zone} is of an earlier epoch, {}: make it anew with `kms rebuild zone {zone}`.",
                    status.epoch
                ));
            }
            Some(status) if status.phase == "member" && !status.joined => advice.push(format!(
                "The database of zone {zone} waits{}.",
                if witness.pending.is_some() {
                    ": it does not serve before the rebuild is given up"
                } else {
                    " to hear from the witness, which answers here: see whether it reaches it"
                }
            )),
            Some(status) if status.withheld.as_deref() == Some("diverged") => advice.push(format!(
                "The database of zone {zone} has stopped: its log and the other one's are NOT ONE HISTORY, so at least one disk \
                 does not have what it had. Keep both disks and logs. Switch off the database that went wrong; if nothing tells \
                 which, keep zone b's: what it has is what was committed. Start the other one again, alone: it serves. \
                 Then make the zone that is off anew with `kms rebuild zone`."
            )),
            Some(status)
                if status.withheld.as_deref() == Some("behind")
                    && status.alarm.as_deref().is_some_and(|alarm| FOR_A_REBUILD.contains(&alarm)) =>
            {
                advice.push(format!(
                    "The database of zone {zone} has stopped: it lost synced entries that it cannot get back from zone \
                     {other}'s log. Switch it off, put a blank node in its place, and run `kms rebuild zone {zone}`."
                ));
            }
            Some(status) if status.phase == "member" && !status.serving => advice.push(format!(
                "The database of zone {zone} does not serve ({}): if that lasts, `kms rebuild zone {zone}` copies zone \
                 {other}'s.",
                status.alarm.as_deref().unwrap_or("its log is being compared")
            )),
            Some(_) => {}
        }
    }
    if let Some(error) = witness.error.as_ref().filter(|_| !all_blank(databases)) {
        advice.push(format!(
            "The witness does not answer ({error}). Bring it back: a database that starts waits for it or for the other \
             database, and no rebuild goes on. If its disk is lost, put a blank one in its place and run \
             `kms witness replace`, while both databases are up."
        ));
    }
    advice
}

fn all_blank(databases: &[Database]) -> bool {
    databases.iter().all(|database| database.status.as_ref().is_some_and(|status| status.phase == "blank"))
}

/// What to do when neither zone has anything that the other one could be made of.
fn lost_region(databases: &[Database], witness: &Witness) -> Option<String> {
    let restore = "`kms restore region --from replica`, or `--from backup` if the replica is lost as well";
    if all_blank(databases) {
        let witness = match &witness.error {
            Some(error) => format!(
                " The witness does not answer ({error}): bring it back; if its disk is lost too, put a blank one in its place \
                 and add `--witness-lost`."
            ),
            None => String::new(),
        };
        return Some(format!("Both databases are blank: make the region anew with {restore}.{witness}"));
    }
    let silent = databases.iter().all(|database| database.status.is_none()) && witness.pending.is_none();
    silent.then(|| {
        format!("No database answers. If the disks of both are lost, put blank nodes in both places and run {restore}.")
    })
}

/// Keys of domains whose service has ended, and that may still be somewhere.
fn unerased(databases: &[Database], replica: Option<&Replica>) -> Vec<String> {
    let databases = databases.iter().map(|database| database.status.clone().ok_or(database.error.clone()));
    let databases = databases.map(|answer| answer.map_err(Option::unwrap_or_default)).collect();
    let copies = Copies { databases, replica: replica.map(Replica::answer) };
    let open = copies.ended().into_iter().filter(|ended| !ended.gone());
    open.map(|ended| {
        let places: Vec<String> =
            ended.unconfirmed().map(|place| format!("{} ({})", place.name, place.state)).collect();
        format!(
            "The service of domain {} has ended, and its key may still be in: {}. It is refused everywhere; each place deletes \
             the key by itself as soon as it can. Backups can be read with it until then: bring back what is away.",
            ended.domain,
            places.join(", ")
        )
    })
    .collect()
}

fn is_of_the_past(status: &DatabaseStatus, witness: &Witness) -> bool {
    status.epoch_no < witness.epoch_no
        && witness.members.as_ref().is_some_and(|members| !members.contains(&status.db_id))
}

/// R17a: databases listen to one witness, and to no other that answers in its place.
fn another_witness(databases: &[Database], witness: &Witness) -> Option<String> {
    let id = witness.id.as_deref()?;
    // One of an earlier epoch may know of an earlier witness only.
    let of_now = databases.iter().filter_map(|database| database.status.as_ref());
    let of_now = of_now.filter(|status| status.epoch_no >= witness.epoch_no && !status.witness.is_empty());
    let other = short(of_now.map(|status| status.witness.as_str()).find(|heard| *heard != id)?);
    Some(format!(
        "The witness at {} is {}, and is NOT LISTENED TO: the databases listen to {other}. It was replaced, and no rebuild goes \
         on with it. Stop it and start {other}; if that is lost, put a blank one there and run `kms witness replace`.",
        witness.address,
        short(id)
    ))
}

async fn host(env: &Env, tls: &Arc<NodeTls>, address: &str) -> Host {
    let mut probe = Probe::new(env.clone(), tls.clone(), address.to_owned());
    let (health, error) = match env.timeout(ANSWER_WITHIN, probe.ask()).await {
        Ok(Ok(health)) => (health, None),
        Ok(Err(error)) => (Health::default(), Some(error.to_string())),
        Err(_) => (Health::default(), Some("no answer in time".to_owned())),
    };
    let Health { can_serve, can_write, sealed, .. } = health;
    Host { address: address.to_owned(), can_serve, can_write, sealed, error }
}

fn text(report: &Report) -> String {
    let yes = |is: bool| if is { "yes" } else { "NO" }.to_owned();
    let heading = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut databases = vec![heading(&[
        "DATABASE",
        "ID",
        "ADDRESS",
        "ROLE",
        "PHASE",
        "EPOCH",
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
                short(&status.db_id),
                database.address.clone(),
                or_dash(&status.role),
                phase(status),
                or_dash(&status.epoch),
                yes(status.serving),
                // Writes enter at the head alone.
                if status.role != "head" { "-".to_owned() } else { yes(status.writable) },
                status.last.to_string(),
                status.confirmed.to_string(),
                status.in_doubt.to_string(),
                status.records.to_string(),
                note(status),
            ],
            None => {
                let mut row = vec!["?".to_owned(), "-".to_owned(), database.address.clone()];
                row.resize(12, "-".to_owned());
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
            match &host.error {
                None if host.sealed => "SEALED: run `kms unseal`".to_owned(),
                error => error.clone().unwrap_or_default(),
            },
        ]);
    }
    let members = report.witness.members.as_ref();
    let of =
        members.map(|[a, b]| format!(" (zone a: {}, zone b: {})", short(a), short(b))).unwrap_or_default();
    let epoch = match (&report.witness.epoch, &report.witness.pending) {
        (Some(epoch), None) => format!("epoch {epoch} is active{of}"),
        (Some(epoch), Some((pending, _))) if report.witness.restoring => {
            format!("epoch {epoch} is active{of}, {pending} is registered: the region is made anew")
        }
        (Some(epoch), Some((pending, zone))) => {
            format!("epoch {epoch} is active{of}, {pending} is registered: zone {zone} is made anew")
        }
        (None, _) => report.witness.error.clone().unwrap_or_default(),
    };
    let unheard = another_witness(&report.databases, &report.witness).map_or("", |_| ", NOT LISTENED TO");
    let id = report.witness.id.as_ref().map(|id| format!(" ({}{unheard})", short(id))).unwrap_or_default();
    let replica = report
        .replica
        .as_ref()
        .map(|replica| format!("{}\n{}", replica.line(), replica.backup_lines()))
        .unwrap_or_default();
    let advice: String = report.advice.iter().map(|line| format!("\n-> {line}\n")).collect();
    format!(
        "Region {}: existing keys {}, key writes {}\n\n{}\nWitness {}{id}: {epoch}\n{replica}\n{}{advice}",
        report.region,
        if report.serving { "work" } else { "DO NOT WORK" },
        if report.writable { "accepted" } else { "REFUSED" },
        table(&databases),
        report.witness.address,
        table(&hosts)
    )
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

/// As much of a database's id as names it to people; `-` for none.
fn short(id: &str) -> String {
    id.get(..8).unwrap_or("-").to_owned()
}

fn phase(status: &DatabaseStatus) -> String {
    match (status.phase.as_str(), status.active, status.source) {
        ("member", false, true) => "source".to_owned(),
        (phase, ..) => phase.to_owned(),
    }
}

fn note(status: &DatabaseStatus) -> String {
    let mut notes = Vec::new();
    if status.phase == "member" && !status.joined {
        notes.push("not joined".to_owned());
    }
    if let Some(fill) = &status.fill {
        notes.push(format!("fill of epoch {}: {} of {} records", fill.epoch, fill.rows, fill.rows_total));
        notes.extend(fill.trouble.clone());
    }
    if status.alone > 0 {
        let times = if status.alone == 1 { "once" } else { "several times" };
        notes.push(format!("was {times} told to serve alone"));
    }
    notes.extend(status.alarm.clone());
    notes.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "11111111";
    const NEW: &str = "22222222";

    fn database(db_id: &str, epoch_no: u64, witness: &str) -> Database {
        let [db_id, witness] = [db_id, witness].map(str::to_owned);
        let (phase, joined, active, serving) = ("member".to_owned(), true, true, true);
        let status =
            DatabaseStatus { db_id, witness, epoch_no, phase, joined, active, serving, ..Default::default() };
        Database { address: String::new(), status: Some(status), error: None }
    }

    fn witness(id: &str, epoch_no: u64, members: [&str; 2]) -> Witness {
        let (id, members) = (Some(id.to_owned()), Some(members.map(str::to_owned)));
        Witness { id, members, epoch_no, epoch: Some(epoch_no.to_string()), ..Witness::default() }
    }

    fn said(databases: &[Database], witness: &Witness, words: &str) -> bool {
        advice(databases, witness).iter().any(|line| line.contains(words))
    }

    #[test]
    fn a_witness_that_was_replaced_is_no_reason_to_stop_a_database() {
        let databases = [database("db-aaaaa", 2, NEW), database("db-bbbbb", 2, NEW)];
        let (old, new) =
            (witness(OLD, 1, ["db-aaaaa", "db-older"]), witness(NEW, 2, ["db-aaaaa", "db-bbbbb"]));
        assert!(said(&databases, &old, "NOT LISTENED TO"));
        assert!(!said(&databases, &old, "SERVES THE PAST"));
        assert_eq!(advice(&databases, &new), [""; 0]);
    }

    #[test]
    fn a_database_of_the_past_says_nothing_about_the_witness() {
        let new = witness(NEW, 2, ["db-aaaaa", "db-bbbbb"]);
        let mut databases = [database("db-aaaaa", 2, NEW), database("db-older", 1, OLD)];
        assert!(said(&databases, &new, "SERVES THE PAST"));
        assert!(!said(&databases, &new, "NOT LISTENED TO"));
        if let Some(status) = &mut databases[1].status {
            (status.serving, status.joined) = (false, false);
        }
        assert!(said(&databases, &new, "of an earlier epoch"));
    }

    #[test]
    fn a_lost_region_is_not_a_lost_zone() {
        let mut databases = [database("", 0, ""), database("", 0, "")];
        for status in databases.iter_mut().filter_map(|database| database.status.as_mut()) {
            (status.phase, status.joined, status.serving) = ("blank".to_owned(), false, false);
        }
        let mut at = witness(OLD, 1, ["db-aaaaa", "db-bbbbb"]);
        let told = advice(&databases, &at);
        assert!(told.len() == 1 && told[0].contains("kms restore region"), "{told:?}");
        at.error = Some("it is blank".to_owned());
        let told = advice(&databases, &at);
        assert!(told.len() == 1 && told[0].contains("--witness-lost"), "{told:?}");
        at.error = None;
        (at.pending, at.restoring) = (Some(("2:abc".to_owned(), "a".to_owned())), true);
        let told = advice(&databases, &at);
        assert!(
            told.len() == 1 && told[0].contains("finish it with the same `kms restore region`"),
            "{told:?}"
        );
        (at.pending, at.restoring) = (None, false);
        databases[1] = database("db-bbbbb", 1, OLD);
        assert!(said(&databases, &at, "kms rebuild zone a") && !said(&databases, &at, "restore region"));
        for database in &mut databases {
            database.status = None;
        }
        assert!(said(&databases, &at, "put blank nodes in both places"));
    }
}
