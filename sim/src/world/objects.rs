//! Simulated object stores, by the region they lie in: whole objects, durable once they are there. Operations take drawn time
//! and may fail; one that was given up goes on by itself, as a request on the wire does. What is put is
//! searched for secrets. A store outlives every node; only [`super::World::lose_store`] empties it. What becomes of each object is
//! written down, with the node that did it.

use super::{Inner, Span, Stream, locked, node::Life, tasks::Until, timer::Due};
use crate::history::{StoreEvent, StoreWhat};
use kms::env::{
    BoxFuture, Keeping, Listed, OBJECT_LIST_MAX, OBJECT_MAX_BYTES, ObjectError, ObjectName, Objects,
    StoreConfig, Stores,
};
use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Faults of a store. Ratios are per thousand operations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreFaults {
    /// More for each operation, microseconds.
    pub extra_us: u64,
    /// Nothing is done, and every answer is an error.
    pub unavailable: bool,
    /// Puts and deletes that end with an error; half of them are carried out all the same, at once or seconds later.
    pub midway_per_mille: u64,
    /// Gets that answer with one bit turned over.
    pub damaged_per_mille: u64,
    /// Gets that answer that there is no such object.
    pub missing_per_mille: u64,
    /// The store says that it keeps old versions.
    pub keeps_versions: bool,
}

/// All stores, with chance of their own.
pub(super) struct StoreState {
    pub(super) stores: BTreeMap<String, Store>,
    latency: Stream,
    faults: Stream,
    /// What became of every object, and of the stores, in order.
    pub(super) events: Vec<StoreEvent>,
}

/// Objects by name.
pub(super) type Contents = BTreeMap<ObjectName, Arc<Vec<u8>>>;

#[derive(Default)]
pub(super) struct Store {
    pub(super) objects: Contents,
    pub(super) faults: StoreFaults,
    pub(super) puts: u64,
}

impl StoreState {
    pub(super) fn new(seed: u64) -> StoreState {
        StoreState {
            stores: BTreeMap::new(),
            latency: Stream::new(seed, "objects"),
            faults: Stream::new(seed, "object-faults"),
            events: Vec::new(),
        }
    }
}

/// The stores as one life of a node reaches them.
pub(super) struct NodeStores {
    pub(super) inner: Arc<Inner>,
    pub(super) life: Arc<Life>,
}

impl Stores for NodeStores {
    fn open<'a>(&'a self, config: &'a StoreConfig) -> BoxFuture<'a, Result<Arc<dyn Objects>, ObjectError>> {
        let place = config.region.clone();
        Box::pin(async move {
            if !locked(&self.inner.stores).stores.contains_key(&place) {
                return Err(ObjectError::Refused { place, why: "no such store".to_owned() });
            }
            let (inner, life) = (self.inner.clone(), self.life.clone());
            Ok(Arc::new(NodeObjects(Arc::new(Access { inner, life, place }))) as Arc<dyn Objects>)
        })
    }
}

struct NodeObjects(Arc<Access>);

struct Access {
    inner: Arc<Inner>,
    life: Arc<Life>,
    place: String,
}

/// What the store does with an operation that changes something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    FailedUndone,
    FailedDone,
    FailedDoneLater,
}

/// How much later, microseconds.
const LATER: Span = Span::new(1_000_000, 20_000_000);

/// A change, for the node that is named; `None` if there was nothing to change.
type Change = Box<dyn FnOnce(&mut Store, String) -> Option<StoreWhat> + Send>;

impl Access {
    fn trace(&self, kind: &'static str, number: u64, bytes: &[u8], text: &str) {
        let node = self.life.node;
        let text = format!("{} {text}", self.place);
        let now_ns = self.inner.now_ns();
        locked(&self.inner.trace).event(
            now_ns,
            kind,
            node,
            node,
            number,
            bytes.len() as u64,
            bytes,
            Some(&text),
        );
    }

    fn unavailable(&self, why: &str) -> ObjectError {
        ObjectError::Unavailable { place: self.place.clone(), why: why.to_owned() }
    }

    /// The time that an operation with so many bytes takes to the store, ns.
    fn way_ns(&self, bytes: usize) -> u64 {
        let settings = &self.inner.settings;
        let span = settings.store_access;
        let mut state = locked(&self.inner.stores);
        let drawn_us = state.latency.range(span.low_us, span.high_us);
        let extra_us = state.stores.get(&self.place).map_or(0, |store| store.faults.extra_us);
        let transfer_us = (bytes as u64 * settings.store_mib_us) >> 20;
        (drawn_us + extra_us + transfer_us) * 1_000
    }

    async fn wait(&self, span_ns: u64) {
        let at_ns = self.inner.now_ns() + span_ns;
        Until { inner: self.inner.clone(), at_ns, ordered: None }.await;
    }

    fn faults(&self) -> StoreFaults {
        locked(&self.inner.stores)
            .stores
            .get(&self.place)
            .map(|store| store.faults.clone())
            .unwrap_or_default()
    }

    fn strikes(&self, per_mille: u64) -> bool {
        locked(&self.inner.stores).faults.chance(per_mille, 1_000)
    }

    /// A request and its answer around `look`. A dead process asks nothing.
    async fn asked<T>(&self, bytes: usize, look: impl FnOnce(&Store) -> T) -> Result<T, ObjectError> {
        let way = self.way_ns(bytes);
        self.wait(way / 2).await;
        if self.faults().unavailable {
            self.wait(way / 2).await;
            return Err(self.unavailable("it is down"));
        }
        let answer = match locked(&self.inner.stores).stores.get(&self.place) {
            Some(store) => look(store),
            None => return Err(self.unavailable("it is gone")),
        };
        self.wait(way / 2).await;
        Ok(answer)
    }

    /// Carries out a change half way through the operation, whether or not the caller still waits then.
    async fn change(
        &self,
        kind: &'static str,
        bytes: usize,
        name: &ObjectName,
        change: Change,
    ) -> Result<(), ObjectError> {
        let way = self.way_ns(bytes);
        let fate = self.fate();
        let reached = Arc::new(AtomicBool::new(false));
        if fate != Fate::FailedUndone {
            let mut after_ns = way / 2;
            if fate == Fate::FailedDoneLater {
                let mut state = locked(&self.inner.stores);
                after_ns += state.faults.range(LATER.low_us, LATER.high_us) * 1_000;
            }
            let (place, text, reached) =
                (self.place.clone(), format!("{} {name}", self.place), reached.clone());
            let node = self.life.node;
            let apply = Due::Call(Box::new(move |inner: &Arc<Inner>| {
                let mut state = locked(&inner.stores);
                let Some(store) = state.stores.get_mut(&place) else { return };
                if fate == Fate::Done && store.faults.unavailable {
                    return;
                }
                if let Some(what) = change(store, inner.node(node).name()) {
                    state.events.push(StoreEvent { at: inner.now_us(), store: place, what });
                }
                reached.store(true, Ordering::Relaxed);
                drop(state);
                inner.trace_text(kind, node, 0, &text);
            }));
            self.inner.at(self.inner.now_ns() + after_ns, apply);
        }
        self.wait(way).await;
        match fate {
            Fate::Done if reached.load(Ordering::Relaxed) => Ok(()),
            Fate::Done => Err(self.unavailable("it is down")),
            _ => Err(self.unavailable("the connection broke")),
        }
    }

    fn fate(&self) -> Fate {
        let midway = self.faults().midway_per_mille;
        let state = &mut *locked(&self.inner.stores);
        if !state.faults.chance(midway, 1_000) {
            return Fate::Done;
        }
        match state.faults.range(0, 3) {
            0 | 1 => Fate::FailedUndone,
            2 => Fate::FailedDone,
            _ => Fate::FailedDoneLater,
        }
    }

    fn too_large(&self, name: &ObjectName, bytes: usize) -> Result<(), ObjectError> {
        if bytes <= OBJECT_MAX_BYTES {
            return Ok(());
        }
        Err(ObjectError::TooLarge { place: self.place.clone(), name: name.clone(), bytes: bytes as u64 })
    }
}

impl Objects for NodeObjects {
    fn place(&self) -> &str {
        &self.0.place
    }

    fn put<'a>(&'a self, name: &'a ObjectName, contents: Vec<u8>) -> BoxFuture<'a, Result<(), ObjectError>> {
        let access = &self.0;
        Box::pin(async move {
            access.too_large(name, contents.len())?;
            access.trace("object-put", 0, &contents, name.as_str());
            let place = || format!("object store {}:{name}", access.place);
            locked(&access.inner.secrecy).scan(access.inner.now_us(), &contents, place);
            let (bytes, owned) = (contents.len(), name.clone());
            let change: Change = Box::new(move |store, node| {
                store.puts += 1;
                let put = StoreWhat::Put { node, name: owned.to_string(), bytes: contents.len() as u64 };
                store.objects.insert(owned, Arc::new(contents));
                Some(put)
            });
            access.change("object-there", bytes, name, change).await
        })
    }

    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Vec<u8>>, ObjectError>> {
        let access = &self.0;
        Box::pin(async move {
            access.trace("object-get", 0, &[], name.as_str());
            let found = access.asked(0, |store| store.objects.get(name).cloned()).await?;
            let faults = access.faults();
            if access.strikes(faults.missing_per_mille) {
                access.trace("object-got", 0, &[], &format!("{name}: hidden"));
                return Ok(None);
            }
            let Some(found) = found else {
                access.trace("object-got", 0, &[], &format!("{name}: none"));
                return Ok(None);
            };
            let mut bytes = found.to_vec();
            if access.strikes(faults.damaged_per_mille) {
                let draw = locked(&access.inner.stores).faults.bits();
                turn_bit(&mut bytes, draw);
            }
            let transfer_ns = (bytes.len() as u64 * access.inner.settings.store_mib_us * 1_000) >> 20;
            access.wait(transfer_ns).await;
            access.trace("object-got", 1, &bytes, name.as_str());
            Ok(Some(bytes))
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a ObjectName>,
    ) -> BoxFuture<'a, Result<Vec<Listed>, ObjectError>> {
        let access = &self.0;
        Box::pin(async move {
            access.trace("object-list", 0, &[], prefix);
            let listed = access
                .asked(0, |store| {
                    let listed = below(&store.objects, prefix, after);
                    let listed = listed
                        .map(|(name, object)| Listed { name: name.clone(), bytes: object.len() as u64 });
                    listed.take(OBJECT_LIST_MAX).collect::<Vec<_>>()
                })
                .await?;
            access.trace("object-listed", listed.len() as u64, &[], prefix);
            Ok(listed)
        })
    }

    fn delete<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(), ObjectError>> {
        let access = &self.0;
        Box::pin(async move {
            access.trace("object-delete", 0, &[], name.as_str());
            let owned = name.clone();
            let change: Change = Box::new(move |store, node| {
                store.objects.remove(&owned)?;
                Some(StoreWhat::Deleted { node, name: owned.to_string() })
            });
            access.change("object-gone", 0, name, change).await
        })
    }

    fn keeping(&self) -> BoxFuture<'_, Result<Keeping, ObjectError>> {
        let access = &self.0;
        Box::pin(async move {
            let versions = access.asked(0, |store| store.faults.keeps_versions).await?;
            Ok(Keeping { versions, locks: false })
        })
    }
}

/// The objects whose names begin with `prefix` and come after `after`, in order.
pub(super) fn below<'a>(
    objects: &'a Contents,
    prefix: &'a str,
    after: Option<&'a ObjectName>,
) -> impl Iterator<Item = (&'a ObjectName, &'a Arc<Vec<u8>>)> {
    // A prefix ends with `/`, so it is no name; without the `/` it is one that nothing below it comes before.
    let start = ObjectName::new(prefix.trim_end_matches('/')).ok();
    let start = match (after, &start) {
        (Some(after), start) if start.as_ref().is_none_or(|start| after >= start) => Bound::Excluded(after),
        (_, Some(start)) => Bound::Included(start),
        (_, None) => Bound::Unbounded,
    };
    // `a-` and `a.` come before `a/`.
    let range = objects.range::<ObjectName, _>((start, Bound::Unbounded));
    let not_yet = move |(name, _): &(&ObjectName, &Arc<Vec<u8>>)| name.as_str() < prefix;
    range.skip_while(not_yet).take_while(move |(name, _)| name.as_str().starts_with(prefix))
}

pub(super) fn turn_bit(bytes: &mut [u8], draw: u64) {
    let bits = bytes.len() as u64 * 8;
    if let Some(byte) = bits.checked_sub(1).and_then(|_| bytes.get_mut((draw % bits / 8) as usize)) {
        *byte ^= 1 << (draw % 8);
    }
}
