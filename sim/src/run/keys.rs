//! Looks, from outside, for the sealed keys of domains on all disks and in all backup stores. Judges nothing (see
//! `check::g14_end_of_service`).

use crate::{
    actions::Actions,
    history::KeysSeen,
    plan::{Act, Plan},
    world::World,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use uuid::Uuid;

/// How often.
const PAUSE: Duration = Duration::from_secs(10);

/// What was seen so far.
pub(super) type Looks = Arc<Mutex<Vec<KeysSeen>>>;

/// Looks now and then, until it is dropped; not in a run that ends no domain's service.
pub(super) async fn look(plan: Plan, world: World, looks: Looks) {
    if !plan.faults.iter().any(|fault| matches!(fault.act, Act::TerminateDomain { .. })) {
        return;
    }
    let env = world.env("harness");
    loop {
        env.sleep(PAUSE).await;
        let seen = seen(&plan, &world);
        looks.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }
}

/// What was seen.
pub(super) fn taken(looks: &Looks) -> Vec<KeysSeen> {
    std::mem::take(&mut looks.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What is there now.
fn seen(plan: &Plan, world: &World) -> KeysSeen {
    let mut keys = BTreeSet::new();
    for node in plan.nodes() {
        let durable = world.disk_image(&node).into_iter().filter(|file| file.durable);
        let domains = durable.filter_map(|file| domain_in(&file.path));
        keys.extend(domains.map(|domain| (node.clone(), domain)));
    }
    for store in plan.topology.stores() {
        let listed = world.store_listing(&store);
        let domains = listed.iter().filter_map(|(name, _)| domain_in(&format!("/{name}")));
        keys.extend(domains.map(|domain| (format!("store {store}"), domain)));
    }
    KeysSeen { at: world.now(), keys }
}

/// The domain whose key a file or object is.
fn domain_in(path: &str) -> Option<String> {
    let (_, name) = path.rsplit_once("/keyring/")?;
    name.parse::<Uuid>().ok().map(|domain| domain.to_string())
}
