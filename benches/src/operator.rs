//! A rebuild of zone b in a running region, or the restore of a lost region, by the code of `kms rebuild` and `kms restore`, with the
//! moments of their steps.

use crate::{process::processor_time_of, region::Region, report};
use kms::{
    config::Zone,
    env::{BoxFuture, Env, Mono},
    operator::{
        ask::ANSWER_WITHIN,
        rebuild::Plan,
        restore::{Copy, RestorePlan},
        session::{Operator, Person, Progress},
    },
    store::{epoch::DbId, server::FillStatus},
};

/// The node whose disk is lost.
pub const LOST: &str = "db-b";

/// What works in a restore: the replica, and both databases.
pub const RESTORERS: [&str; 3] = ["replica", "db-a", "db-b"];

/// When the steps were taken, as the operator is told.
#[derive(Debug, Clone, Default)]
pub struct Steps {
    /// The witness has the epoch.
    pub registered: Mono,
    /// The fill was first heard of.
    pub filling: Option<Mono>,
    /// The replica has what the region is made anew of.
    pub stands: Option<Mono>,
    /// Processor time of each of [`RESTORERS`] by then, seconds; of those that run apart.
    pub stands_cpu: [f64; 3],
    /// Both logs end at one place.
    pub filled: Mono,
    /// The witness has the activation.
    pub activated: Mono,
    /// As [`Steps::stands_cpu`], by then.
    pub activated_cpu: [f64; 3],
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
    region.lose_node(LOST).await;
    region.start_node(LOST).await;
}

fn operator(env: &Env, region: &Region) -> Operator {
    let config = region.operator().clone();
    let tls = config.tls(env, ANSWER_WITHIN).expect("operator's certificate");
    let key = config.signer(env).expect("operator's key");
    Operator::new(env.clone(), config, tls, key)
}

fn watch(env: &Env) -> Watch {
    Watch { env: env.clone(), steps: Steps::default(), shown: Mono::default() }
}

/// Makes a lost region, whose databases and replica are blank, anew of the newest backup.
///
/// # Panics
/// If that is refused or breaks off.
pub async fn restore(env: &Env, region: &Region) -> Steps {
    let from = Copy::Backup { store: None, at_ms: None };
    let plan = RestorePlan { from, ..RestorePlan::default() };
    let mut watch = watch(env);
    operator(env, region).restore(&plan, &mut watch).await.expect("a restore");
    watch.steps
}

/// Rebuilds zone b, whose database is blank.
///
/// # Panics
/// If the rebuild is refused or breaks off.
pub async fn rebuild(env: &Env, region: &Region) -> Steps {
    let plan = Plan { zone: Zone::B, abandon: false, retire_serving: false, instead: false };
    let mut watch = watch(env);
    operator(env, region).rebuild(plan, &mut watch).await.expect("a rebuild");
    watch.steps
}

/// Processor time of each, seconds.
pub fn restorers(env: &Env) -> [f64; 3] {
    RESTORERS.map(|node| processor_time_of(env, node))
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
            Progress::Activated(_) => (steps.activated, steps.activated_cpu) = (now, restorers(&self.env)),
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
            Progress::ReplicaStands if steps.stands.is_none() => {
                (steps.stands, steps.stands_cpu) = (Some(now), restorers(&self.env));
            }
            Progress::FillingZone(_, fill) => steps.fill = fill.clone(),
            Progress::Loading(load) => {
                if now.since(self.shown).as_secs() >= 5 {
                    self.shown = now;
                    report::line(format_args!("  loading: {} of {} records", load.rows, load.rows_total));
                }
            }
            Progress::Adopted
            | Progress::ReplicaStands
            | Progress::Fenced(_)
            | Progress::Waiting(_)
            | Progress::Unknown(_)
            | Progress::Committed(_) => {}
        }
    }

    /// Whoever lost its disk was stopped before.
    fn states(&mut self, _: Zone, _: DbId) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }
}
