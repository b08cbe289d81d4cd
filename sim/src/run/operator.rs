//! The operator of a simulated region: runs the very code of `kms rebuild`, from a machine of its own, and states
//! only what is true. Tries until it is done, or there is nothing to do.

use super::sim::NODE_DIR;
use crate::{
    history::{Rebuild, What},
    world::{RebuildOrder, World},
};
use kms::{
    config::Zone,
    env::{BoxFuture, Env},
    init::{self, Bundle},
    operator::{
        OperatorConfig,
        ask::{ANSWER_WITHIN, database_status},
        rebuild::{Operator, Person, Plan, Progress, RebuildError},
    },
    store::epoch::DbId,
    wire::tls::NodeTls,
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Name of the operator's machine.
pub(super) const OPERATOR: &str = "operator";
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// After so long somebody else has to be asked.
const LIMIT: Duration = Duration::from_secs(240);

/// Who is refused for so long has been given an order that makes no sense.
const REFUSED: Duration = Duration::from_secs(40);

/// Installs the operator's files on its machine, and has it wait for orders.
///
/// # Errors
/// A harness error.
pub(super) fn hire(world: &World, bundle: &Bundle) -> Result<(), String> {
    let env = world.env(OPERATOR);
    let dir = Path::new(NODE_DIR).join("operator");
    init::write_files(&*env.disk, &dir, &bundle.operator).map_err(|error| error.to_string())?;
    let config =
        OperatorConfig::load(&*env.disk, &dir.join("operator.toml")).map_err(|error| error.to_string())?;
    let tls = config.tls(&env, ANSWER_WITHIN).map_err(|error| error.to_string())?;
    let (place, numbers) = (world.clone(), AtomicU64::new(0));
    world.hire(Box::new(move |order| {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let work = see_to(place.clone(), env.clone(), config.clone(), tls.clone(), order, number);
        drop(env.spawn("operator", work));
    }));
    Ok(())
}

async fn see_to(
    world: World,
    env: Env,
    config: OperatorConfig,
    tls: Arc<NodeTls>,
    order: RebuildOrder,
    number: u64,
) {
    let zone = if order.node == "db-a" { Zone::A } else { Zone::B };
    let plan = Plan { zone, abandon: order.abandon, retire_serving: false, instead: false };
    let (until, begun) = (env.now() + LIMIT, env.now());
    let mut interrupt = order.interrupt_us;
    let step = |step| world.happened(What::Rebuild { node: order.node.clone(), step });
    step(Rebuild::Begun);
    while env.now() < until {
        let Ok(key) = config.signer(&env) else { return step(Rebuild::GivenUp) };
        let operator = Operator::new(env.clone(), config.clone(), tls.clone(), key);
        let mut person =
            Honest { world: &world, env: &env, config: &config, tls: &tls, node: &order.node, number };
        let work = operator.rebuild(plan, &mut person);
        let done = match interrupt.take() {
            Some(after) => env.timeout(Duration::from_micros(after), work).await.ok(),
            None => Some(work.await),
        };
        match done {
            Some(Ok(epoch)) => return world.note("operator", &format!("{number}: done, epoch {epoch}")),
            Some(Err(RebuildError::Needless(why))) => {
                world.note("operator", &format!("{number}: {why}"));
                return step(Rebuild::GivenUp);
            }
            Some(Err(RebuildError::Refused(why))) if env.now() > begun + REFUSED => {
                world.note("operator", &format!("{number}: gives up: {why}"));
                return step(Rebuild::GivenUp);
            }
            Some(Err(error)) => world.note("operator", &format!("{number}: {error}")),
            None => world.note("operator", &format!("{number}: interrupted")),
        }
        env.sleep(PAUSE).await;
    }
}

/// States only what is so.
struct Honest<'a> {
    world: &'a World,
    env: &'a Env,
    config: &'a OperatorConfig,
    tls: &'a Arc<NodeTls>,
    node: &'a str,
    number: u64,
}

impl Person for Honest<'_> {
    fn told(&mut self, progress: &Progress) {
        self.world.note("operator", &format!("{}: {progress:?}", self.number));
        let step = match progress {
            Progress::Adopted => Rebuild::Adopted,
            Progress::Filled(_) => Rebuild::Activating,
            Progress::Activated(_) => {
                self.world.disk_is_good(self.node);
                self.world.probe("zone-rebuilt", self.node);
                Rebuild::Activated
            }
            Progress::Registered(..)
            | Progress::Fenced(_)
            | Progress::Filling(_)
            | Progress::Waiting(_)
            | Progress::Writable(_) => return,
        };
        self.world.happened(What::Rebuild { node: self.node.to_owned(), step });
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
