//! Object stores as the harness sees them: made, troubled, emptied, hurt, and read from outside, without any time passing.

use super::{
    World, locked,
    objects::{Contents, Store, StoreFaults, below, turn_bit},
};
use crate::{
    dice::Dice,
    history::{StoreEvent, StoreWhat},
};
use kms::env::{BoxFuture, Keeping, Listed, OBJECT_LIST_MAX, ObjectError, ObjectName, Objects};
use std::sync::Arc;

impl World {
    /// Adds an empty object store. Places are unique.
    pub fn add_store(&self, place: &str) {
        let before = locked(&self.0.stores).stores.insert(place.to_owned(), Store::default());
        assert!(before.is_none(), "store {place} exists");
    }

    /// Changes the faults of a store.
    pub fn set_store_faults(&self, place: &str, change: impl FnOnce(&mut StoreFaults)) {
        let (faults, well) = self.with_store(place, |store| {
            change(&mut store.faults);
            (format!("{place} {:?}", store.faults), store.faults == StoreFaults::default())
        });
        self.became(place, if well { StoreWhat::Well } else { StoreWhat::Troubled });
        self.note("store-faults", &faults);
    }

    /// Everything in a store is gone; the store itself stays, as a new bucket would.
    pub fn lose_store(&self, place: &str) {
        let objects = self.with_store(place, |store| std::mem::take(&mut store.objects).len());
        self.became(place, StoreWhat::Lost);
        self.note("store-lost", &format!("{place} {objects}"));
    }

    /// Names and sizes of all objects of a store, in order.
    pub fn store_listing(&self, place: &str) -> Vec<(String, u64)> {
        let listed = |store: &mut Store| {
            let each = store.objects.iter();
            each.map(|(name, object)| (name.to_string(), object.len() as u64)).collect()
        };
        self.with_store(place, listed)
    }

    /// Turns one bit of a stored object over, for good; false if there is no such object.
    pub fn damage_object(&self, place: &str, name: &str, draw: u64) -> bool {
        let done = self.with_store(place, |store| {
            let found = store.objects.iter_mut().find(|(have, _)| have.as_str() == name);
            found.map(|(_, object)| turn_bit(Arc::make_mut(object).as_mut_slice(), draw)).is_some()
        });
        if done {
            self.became(place, StoreWhat::Hurt { name: name.to_owned(), gone: false });
        }
        self.note("object-damaged", &format!("{place} {name} {draw} {done}"));
        done
    }

    /// Takes a stored object away; false if there is none.
    pub fn lose_object(&self, place: &str, name: &str) -> bool {
        let done = self.with_store(place, |store| {
            let before = store.objects.len();
            store.objects.retain(|have, _| have.as_str() != name);
            store.objects.len() < before
        });
        if done {
            self.became(place, StoreWhat::Hurt { name: name.to_owned(), gone: true });
        }
        self.note("object-lost", &format!("{place} {name} {done}"));
        done
    }

    /// Alters or takes away so many objects of a store, for good; how many there were to do it to.
    pub(super) fn hurt_objects(&self, place: &str, objects: u32, draw: u64) -> u32 {
        let mut dice = Dice::named(draw, "damage-store");
        let mut done = 0;
        while done < objects {
            let listed = self.store_listing(place);
            let Some((name, _)) = dice.pick(&listed) else { break };
            let hurt = if dice.chance(1, 2) {
                self.damage_object(place, name, dice.bits())
            } else {
                self.lose_object(place, name)
            };
            done += u32::from(hurt);
        }
        done
    }

    /// Objects put into a store so far, replaced ones among them.
    pub fn store_puts(&self, place: &str) -> u64 {
        self.with_store(place, |store| store.puts)
    }

    /// What became of every object and every store so far, in order.
    pub fn store_events(&self) -> Vec<StoreEvent> {
        locked(&self.0.stores).events.clone()
    }

    /// A store as it is now, to be read without faults and without any time passing.
    pub fn frozen_store(&self, place: &str) -> Arc<dyn Objects> {
        let contents = self.with_store(place, |store| store.objects.clone());
        Arc::new(Frozen { place: place.to_owned(), contents })
    }

    fn became(&self, place: &str, what: StoreWhat) {
        let event = StoreEvent { at: self.0.now_us(), store: place.to_owned(), what };
        locked(&self.0.stores).events.push(event);
    }

    fn with_store<T>(&self, place: &str, work: impl FnOnce(&mut Store) -> T) -> T {
        match locked(&self.0.stores).stores.get_mut(place) {
            Some(store) => work(store),
            None => panic!("no object store is in {place}"),
        }
    }

    /// Searches every stored object for every needle known by now.
    pub(super) fn search_stores(&self) {
        let state = locked(&self.0.stores);
        let mut secrecy = locked(&self.0.secrecy);
        for (place, store) in &state.stores {
            for (name, object) in &store.objects {
                secrecy.scan(self.0.now_us(), object, || format!("stored object {place}:{name}"));
            }
        }
    }
}

struct Frozen {
    place: String,
    contents: Contents,
}

impl Frozen {
    fn refused<T>(&self) -> Result<T, ObjectError> {
        Err(ObjectError::Refused { place: self.place.clone(), why: "it can only be read".to_owned() })
    }
}

impl Objects for Frozen {
    fn place(&self) -> &str {
        &self.place
    }

    fn put<'a>(&'a self, _: &'a ObjectName, _: Vec<u8>) -> BoxFuture<'a, Result<(), ObjectError>> {
        Box::pin(async { self.refused() })
    }

    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Vec<u8>>, ObjectError>> {
        Box::pin(async { Ok(self.contents.get(name).map(|object| object.to_vec())) })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a ObjectName>,
    ) -> BoxFuture<'a, Result<Vec<Listed>, ObjectError>> {
        let listed = below(&self.contents, prefix, after)
            .map(|(name, object)| Listed { name: name.clone(), bytes: object.len() as u64 });
        let listed = listed.take(OBJECT_LIST_MAX).collect();
        Box::pin(async { Ok(listed) })
    }

    fn delete<'a>(&'a self, _: &'a ObjectName) -> BoxFuture<'a, Result<(), ObjectError>> {
        Box::pin(async { self.refused() })
    }

    fn keeping(&self) -> BoxFuture<'_, Result<Keeping, ObjectError>> {
        Box::pin(async { Ok(Keeping::default()) })
    }
}
