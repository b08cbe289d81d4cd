//! A rebuild of zone b in a running region, by the code of `kms rebuild`, with the moments of its steps.

use crate::{region::Region, report};
use kms::{
    config::Zone,
    env::{BoxFuture, Env, Mono},
    operator::{
        ask::ANSWER_WITHIN,
        rebuild::Plan,
        session::{Operator, Person, Progress},
    },
    store::{epoch::DbId, server::FillStatus},
};

/// The node whose disk is lost.
pub const LOST: &str = "db-b";

/// When the steps were taken, as the operator is told.
#[derive(Debug, Clone, Default)]
pub struct Steps {
    /// The witness has the epoch.
    pub registered: Mono,
    /// The fill was first heard of.
    pub filling: Option<Mono>,
    /// Both logs end at one place.
    pub filled: Mono,
    /// The witness has the activation.
    pub activated: Mono,
    /// Key writes are accepted.
    pub writable: Mono,
    /// The fill, as last heard of.
    pub fill: FillStatus,
}

/// Stops [`LOST`], removes its data, and starts it again, blank.
///
/// # Panics
/// If its directory cannot be removed.
pub async fn lose_disk(region: &mut Region) {
    region.stop_node(LOST).await;
    std::fs::remove_dir_all(region.data_dir(LOST)).expect("its data directory is removed");
    region.start_node(LOST).await;
}

/// Rebuilds zone b, whose database is blank.
///
/// # Panics
/// If the rebuild is refused or breaks off.
pub async fn rebuild(env: &Env, region: &Region) -> Steps {
    let config = region.operator().clone();
    let tls = config.tls(env, ANSWER_WITHIN).expect("operator's certificate");
    let key = config.signer(env).expect("operator's key");
    let operator = Operator::new(env.clone(), config, tls, key);
    let plan = Plan { zone: Zone::B, abandon: false, retire_serving: false, instead: false };
    let mut watch = Watch { env: env.clone(), steps: Steps::default(), shown: Mono::default() };
    operator.rebuild(plan, &mut watch).await.expect("a rebuild");
    watch.steps
}

/// Notes when what happened.
struct Watch {
    env: Env,
    steps: Steps,
    shown: Mono,
}

impl Person for Watch {
    fn told(&mut self, progress: &Progress) {
        let (now, steps) = (self.env.now(), &mut self.steps);
        match progress {
            Progress::Registered(..) => steps.registered = now,
            Progress::Filled(_) => steps.filled = now,
            Progress::Activated(_) => steps.activated = now,
            Progress::Writable(_) => steps.writable = now,
            Progress::Filling(fill) => {
                if steps.filling.is_none() {
                    (steps.filling, self.shown) = (Some(now), now);
                }
                if let Some(trouble) = &fill.trouble {
                    report::line(format_args!("  the fill starts over: {trouble}"));
                }
                if now.since(self.shown).as_secs() >= 5 {
                    self.shown = now;
                    report::line(format_args!("  filling: {} of {} records", fill.rows, fill.rows_total));
                }
                steps.fill = fill.clone();
            }
            Progress::Adopted
            | Progress::ReplicaStands
            | Progress::Loading(_)
            | Progress::FillingZone(..)
            | Progress::Fenced(_)
            | Progress::Waiting(_)
            | Progress::Committed(_) => {}
        }
    }

    /// [`lose_disk`] stopped its process.
    fn states(&mut self, zone: Zone, _: DbId) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(zone == Zone::B))
    }
}
