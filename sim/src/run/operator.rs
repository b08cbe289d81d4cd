//! The operator of a simulated region: runs the very code of `kms rebuild` and `kms witness replace`, from a machine of its own, and states
//! only what is true. Tries until it is done, or there is nothing to do.

use super::{
    created::{Badges, Making},
    keepers::Keepers,
    sim::NODE_DIR,
};
use crate::{
    actions::Actions,
    dice::Dice,
    history::{Micros, Rebuild, Termination, What},
    scenario::REPLICA,
    workload::Endpoint,
    world::{OperatorOrder, World},
};
use kms::{
    config::Zone,
    env::{BoxFuture, Env, Mono},
    init::{self, Bundle, ClientIdentity, FileSpec},
    operator::{
        OperatorConfig,
        ask::{ANSWER_WITHIN, database_status},
        rebuild::Plan,
        restore::{Copy, RestorePlan},
        session::{Operator, Person, Progress, RebuildError},
        witness::Installed,
    },
    store::epoch::DbId,
    wire::tls::NodeTls,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use uuid::Uuid;

/// Name of the operator's machine.
pub(super) const OPERATOR: &str = "operator";
/// What a region is made of.
const DATABASES: [&str; 2] = ["db-a", "db-b"];
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// After so long somebody else has to be asked.
const LIMIT: Duration = Duration::from_secs(240);

/// Before a witness that holds something is made blank, or a store does without the other, a person makes sure for so long that it has to be.
const MAKES_SURE: Duration = Duration::from_secs(20);

/// Who is refused for so long has been given an order that makes no sense.
const REFUSED: Duration = Duration::from_secs(40);

/// Installs the operator's files on its machine, and has it wait for orders. Answers where the badges of those appear whose domains it makes.
///
/// # Errors
/// A harness error.
pub(super) fn hire(
    world: &World,
    bundle: &Bundle,
    witness: &'static str,
    endpoint: &dyn Fn(&ClientIdentity, String) -> Endpoint,
) -> Result<Badges, String> {
    let env = world.env(OPERATOR);
    // Shares are handed out, and their files deleted.
    let (shares, files): (Vec<FileSpec>, Vec<FileSpec>) =
        bundle.operator.iter().cloned().partition(|file| file.path.starts_with(init::SHARES_DIR));
    init::write_files(&*env.disk, &operator_dir(), &files).map_err(|error| error.to_string())?;
    let (config, tls) = operator_config(&env)?;
    let keepers = match shares.is_empty() {
        true => None,
        false => Some(Keepers::hire(world, bundle, (&config, &tls), endpoint)?),
    };
    let domains = bundle.domains.clone();
    let (place, numbers, heard) = (world.clone(), AtomicU64::new(0), Arc::default());
    let badges = Badges::default();
    let issued = badges.clone();
    world.hire(Box::new(move |order| {
        match (&order, &keepers) {
            (OperatorOrder::Seal { node, sealed }, Some(keepers)) => {
                return keepers.seal(node.clone(), *sealed);
            }
            (OperatorOrder::RotateShares, Some(keepers)) => return keepers.rotate(),
            _ => {}
        }
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let desk = Desk {
            heard: Arc::clone(&heard),
            badges: issued.clone(),
            domains: domains.clone(),
            witness,
            world: place.clone(),
            env: env.clone(),
            config: config.clone(),
            tls: tls.clone(),
            number,
            until: env.now() + LIMIT,
        };
        drop(env.spawn("operator", desk.see_to(order)));
    }));
    Ok(badges)
}

/// A file of the operator's, as text.
///
/// # Errors
/// A harness error.
pub(super) fn operator_file(env: &Env, name: &str) -> Result<String, String> {
    let read = env.disk.read(&operator_dir().join(name)).map_err(|error| error.to_string())?;
    String::from_utf8(read.ok_or_else(|| format!("no {name}"))?).map_err(|error| error.to_string())
}

fn operator_dir() -> PathBuf {
    Path::new(NODE_DIR).join("operator")
}

/// What an operator knows of the region, and shows its nodes.
///
/// # Errors
/// A harness error.
pub(super) fn operator_config(env: &Env) -> Result<(OperatorConfig, Arc<NodeTls>), String> {
    let config = OperatorConfig::load(&*env.disk, &operator_dir().join("operator.toml"))
        .map_err(|error| error.to_string())?;
    let tls = config.tls(env, ANSWER_WITHIN).map_err(|error| error.to_string())?;
    Ok((config, tls))
}

/// What operators were told, all of them together.
#[derive(Default)]
struct Heard {
    /// Epochs that are active.
    active: BTreeSet<String>,
    /// The epoch of the restore that was registered last, and whether it is of a backup.
    restoring: Option<(String, bool)>,
}

/// One order, and who sees to it.
struct Desk {
    heard: Arc<Mutex<Heard>>,
    badges: Badges,
    domains: Vec<Uuid>,
    /// The machine that the witness runs on.
    witness: &'static str,
    world: World,
    env: Env,
    config: OperatorConfig,
    tls: Arc<NodeTls>,
    number: u64,
    until: Mono,
}

impl Desk {
    async fn see_to(self, order: OperatorOrder) {
        match order {
            OperatorOrder::Rebuild { node, abandon, instead, interrupt_us } => {
                let zone = if node == "db-a" { Zone::A } else { Zone::B };
                let plan = Plan { zone, abandon, retire_serving: false, instead };
                self.rebuild(&node, plan, interrupt_us).await;
            }
            OperatorOrder::ReplaceWitness { interrupt_us } => self.replace_witness(interrupt_us).await,
            OperatorOrder::TerminateDomain { draw } => self.terminate(draw).await,
            OperatorOrder::CreateDomain { draw } => self.create(draw).await,
            OperatorOrder::Restore { backup, interrupt_us } => self.restore(backup, interrupt_us).await,
            // Whoever keeps shares sees to it, and there are none.
            OperatorOrder::Seal { .. } | OperatorOrder::RotateShares => {}
        }
    }

    fn note(&self, text: &str) {
        self.world.note("operator", &format!("{}: {text}", self.number));
    }

    fn operator(&self) -> Option<Operator> {
        let key = self.config.signer(&self.env).ok()?;
        Some(Operator::new(self.env.clone(), self.config.clone(), self.tls.clone(), key))
    }

    /// Who works on these nodes.
    fn person<'a>(&'a self, nodes: &'a [&'a str]) -> Honest<'a> {
        let Desk { heard, witness, world, env, config, tls, number, .. } = self;
        Honest {
            heard,
            witness,
            epoch: String::new(),
            world,
            env,
            config,
            tls,
            nodes,
            restores: None,
            number: *number,
        }
    }

    /// `None`: interrupted.
    async fn for_a_while<T>(
        &self,
        interrupt: &mut Option<Micros>,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        match interrupt.take() {
            Some(after) => self.env.timeout(Duration::from_micros(after), work).await.ok(),
            None => Some(work.await),
        }
    }

    async fn rebuild(&self, node: &str, plan: Plan, mut interrupt: Option<Micros>) {
        let begun = self.env.now();
        let step = |step| self.world.happened(What::Rebuild { node: node.to_owned(), step });
        step(Rebuild::Begun);
        while self.env.now() < self.until {
            let Some(operator) = self.operator() else { return step(Rebuild::GivenUp) };
            let nodes = [node];
            let mut person = self.person(&nodes);
            let work = operator.rebuild(plan, &mut person);
            match self.for_a_while(&mut interrupt, work).await {
                Some(Ok(epoch)) => return self.note(&format!("done, epoch {epoch}")),
                Some(Err(RebuildError::Needless(why))) => {
                    self.note(&why);
                    return step(Rebuild::GivenUp);
                }
                Some(Err(RebuildError::Refused(why))) if self.env.now() > begun + REFUSED => {
                    self.note(&format!("gives up: {why}"));
                    return step(Rebuild::GivenUp);
                }
                Some(Err(error)) => self.note(&error.to_string()),
                None => self.note("interrupted"),
            }
            self.env.sleep(PAUSE).await;
        }
    }

    /// Makes a domain, and the first credential of it.
    async fn create(&self, draw: u64) {
        let mut making = Making::new(&self.env, (&self.config, &self.tls), &self.badges, draw);
        while self.env.now() < self.until {
            match making.attempt().await {
                Ok(()) => {
                    self.note(&format!("domain {} is there", making.domain()));
                    self.world.probe("domain-created", DATABASES[0]);
                    break;
                }
                Err(error) => self.note(&error),
            }
            self.env.sleep(PAUSE).await;
        }
        // Somebody has not heard of it, and asks once more.
        self.env.sleep(making.pause()).await;
        while self.env.now() < self.until {
            match making.again().await {
                Ok(()) => return self.world.probe("domain-created-again", DATABASES[0]),
                Err(error) => self.note(&error),
            }
            self.env.sleep(PAUSE).await;
        }
    }

    /// Ends the service of one of the domains but the first.
    async fn terminate(&self, draw: u64) {
        let others = self.domains.get(1..).unwrap_or_default();
        let Some(domain) = Dice::named(draw, "terminate-domain").pick(others).copied() else { return };
        let step = |step| self.world.happened(What::Termination { domain: domain.to_string(), step });
        step(Termination::Begun);
        while self.env.now() < self.until {
            let Some(operator) = self.operator() else { return };
            match operator.terminate_domain(domain, &mut self.person(&[])).await {
                Ok(()) => {
                    step(Termination::Ended);
                    self.note(&format!("the service of {domain} has ended"));
                    self.world.probe("domain-terminated", DATABASES[0]);
                    return;
                }
                Err(error) => self.note(&error.to_string()),
            }
            self.env.sleep(PAUSE).await;
        }
    }

    /// Whether every answer for a while has `told` the person to do something: only then it is done.
    fn is_sure(&self, told: bool, since: &mut Option<Mono>) -> bool {
        if !told {
            *since = None;
            return false;
        }
        let now = self.env.now();
        now >= *since.get_or_insert(now) + MAKES_SURE
    }

    /// Does what it is told to: a witness that was given an id by an operator who was overtaken begins anew. Not at once: until it
    /// does, nobody can register anything, and after the first try somebody else may have put it right.
    fn make_room(&self, error: &RebuildError, told_since: &mut Option<Mono>) {
        let told = error.to_string().contains("start it on an empty data directory, and run this again");
        if self.is_sure(told, told_since) {
            *told_since = None;
            self.world.power_cut(self.witness);
            self.world.lose_disk(self.witness);
            self.world.boot(self.witness);
            self.world.probe("witness-made-blank", self.witness);
        }
    }

    /// The region is made anew in this epoch. Whoever was interrupted before the witness had answered was not told so: answers whether
    /// this is the first that is heard of it.
    fn is_news(&self, epoch: &str, backup: bool) -> bool {
        let news = self.heard.lock().unwrap_or_else(PoisonError::into_inner).active.insert(epoch.to_owned());
        if news {
            DATABASES.iter().for_each(|node| self.world.disk_is_good(node));
            made_anew(&self.world, self.witness, backup);
        }
        news
    }

    async fn restore(&self, backup: bool, mut interrupt: Option<Micros>) {
        let begun = self.env.now();
        let (mut store, mut offered_since) = (None, None);
        let step = |step| {
            for node in DATABASES {
                self.world.happened(What::Rebuild { node: node.to_owned(), step });
            }
        };
        step(Rebuild::Begun);
        while self.env.now() < self.until {
            let Some(operator) = self.operator() else { return step(Rebuild::GivenUp) };
            let mut person = self.person(&DATABASES);
            person.restores = Some(backup);
            let witness_lost = self.world.disk_is_void(self.witness);
            let from =
                if backup { Copy::Backup { store: store.clone(), at_ms: None } } else { Copy::Replica };
            let plan = RestorePlan { from, witness_lost, ..RestorePlan::default() };
            let work = operator.restore(&plan, &mut person);
            match self.for_a_while(&mut interrupt, work).await {
                Some(Ok(restored)) => {
                    if self.is_news(&restored.epoch.to_string(), backup) {
                        step(Rebuild::Activated);
                    }
                    return self
                        .note(&format!("restored, epoch {}, {:?}", restored.epoch, restored.position));
                }
                Some(Err(RebuildError::Needless(why))) => {
                    self.note(&why);
                    // The region serves: then what somebody had begun is done.
                    let begun = self.heard.lock().unwrap_or_else(PoisonError::into_inner).restoring.clone();
                    let news = begun.is_some_and(|(epoch, backup)| self.is_news(&epoch, backup));
                    return step(if news { Rebuild::Activated } else { Rebuild::GivenUp });
                }
                Some(Err(RebuildError::Refused(why))) if self.env.now() > begun + REFUSED => {
                    self.note(&format!("gives up: {why}"));
                    return step(Rebuild::GivenUp);
                }
                Some(Err(error)) => {
                    let why = error.to_string();
                    self.note(&why);
                    // What cannot be read now may be there in a moment. After that the other store has to do.
                    let offered = why.rsplit_once("--store ").map(|(_, store)| store.to_owned());
                    let sure = self.is_sure(offered.is_some(), &mut offered_since);
                    store = offered.filter(|_| sure);
                    if store.is_some() {
                        self.world.probe("store-named", REPLICA);
                    }
                }
                None => {
                    self.note("interrupted");
                    self.world.probe("restore-interrupted", REPLICA);
                }
            }
            self.env.sleep(PAUSE).await;
        }
    }

    async fn replace_witness(&self, mut interrupt: Option<Micros>) {
        let mut told_since = None;
        while self.env.now() < self.until {
            let Some(operator) = self.operator() else { return };
            let nodes = [self.witness];
            let mut person = self.person(&nodes);
            let work = operator.replace_witness(&mut person);
            match self.for_a_while(&mut interrupt, work).await {
                Some(Ok(installed)) => {
                    self.note(&format!("witness {installed:?}"));
                    self.world.disk_is_good(self.witness);
                    self.world.happened(What::WitnessHeard);
                    if matches!(installed, Installed::Now(_)) {
                        self.world.probe("witness-replaced", self.witness);
                    }
                    return;
                }
                Some(Err(error)) => {
                    self.note(&error.to_string());
                    self.make_room(&error, &mut told_since);
                }
                None => {
                    self.note("interrupted");
                    self.world.probe("witness-replacement-interrupted", self.witness);
                }
            }
            self.env.sleep(PAUSE).await;
        }
    }
}

/// The region is, and the witness with it if it was lost as well.
fn made_anew(world: &World, witness: &str, backup: bool) {
    if world.disk_is_void(witness) {
        world.disk_is_good(witness);
        world.happened(What::WitnessHeard);
        world.probe("witness-began-with-a-restore", witness);
    }
    world.happened(What::Restored { backup });
    world.probe("region-restored", REPLICA);
}

/// States only what is so.
struct Honest<'a> {
    heard: &'a Mutex<Heard>,
    witness: &'static str,
    /// What it is about.
    epoch: String,
    world: &'a World,
    env: &'a Env,
    config: &'a OperatorConfig,
    tls: &'a Arc<NodeTls>,
    nodes: &'a [&'a str],
    /// The region is made anew, of a backup or not.
    restores: Option<bool>,
    number: u64,
}

impl Person for Honest<'_> {
    fn told(&mut self, progress: &Progress) {
        self.world.note("operator", &format!("{}: {progress:?}", self.number));
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let step = match progress {
            // Another operator has finished meanwhile: nothing is adopted any more, whatever this one had ordered.
            Progress::Adopted | Progress::ReplicaStands | Progress::Filled(_)
                if heard.active.contains(&self.epoch) =>
            {
                return;
            }
            Progress::Adopted | Progress::ReplicaStands => Rebuild::Adopted,
            Progress::Filled(_) => Rebuild::Activating,
            Progress::Registered(epoch, _) => {
                self.epoch = epoch.to_string();
                if let Some(backup) = self.restores {
                    heard.restoring = Some((self.epoch.clone(), backup));
                }
                return;
            }
            Progress::Activated(epoch) => {
                let news = heard.active.insert(epoch.to_string());
                if self.restores.is_some() && !news {
                    return;
                }
                for node in self.nodes {
                    self.world.disk_is_good(node);
                }
                if let Some(backup) = self.restores {
                    made_anew(self.world, self.witness, backup);
                } else {
                    self.nodes.iter().for_each(|node| self.world.probe("zone-rebuilt", node));
                }
                Rebuild::Activated
            }
            Progress::Fenced(_)
            | Progress::Filling(_)
            | Progress::FillingZone(..)
            | Progress::Loading(_)
            | Progress::Waiting(_)
            | Progress::Unknown(_)
            | Progress::Committed(_)
            | Progress::Writable(_) => return,
        };
        for node in self.nodes {
            self.world.happened(What::Rebuild { node: (*node).to_owned(), step });
        }
    }

    fn states(&mut self, zone: Zone, id: DbId) -> BoxFuture<'_, bool> {
        let (node, address) = match zone {
            Zone::A => ("db-a", self.config.head.as_str()),
            Zone::B => ("db-b", self.config.tail.as_str()),
        };
        Box::pin(async move {
            // Nobody who has looked says so of a machine that runs out of sight.
            if self.world.old_is_running(node) {
                return false;
            }
            // A machine runs one process: if that is another store's, this one's is not running.
            !self.world.is_running(node)
                || database_status(self.env, self.tls, address)
                    .await
                    .is_ok_and(|status| status.db_id != id.to_string() || status.phase == "retired")
        })
    }
}
