//! The sealed domain keys beside the backups of a store: what a region's copy has is put, and the key of a domain whose service has
//! ended is deleted. Nothing of them is opened here. The operator's statement lies there instead: another store that was
//! away may have the key still, and an absent one alone says nothing, for a store can be emptied or damaged. Nor does it say
//! anything that the region's copy has a key no more: it may have lost it, and this may be the last one there is.
//! A statement that the region's copy does not know is believed all the same, if it is the operator's: a copy of the past puts no key back.

use super::{
    names::{ENDED, KEYRING, keyring},
    place::BackupPlace,
};
use crate::env::{ObjectError, ObjectName};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What was put into a store, so that nothing is put twice. What a store has lost since is put again: it is listed each time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyringKept {
    /// Domains whose end was put.
    ended: BTreeSet<Uuid>,
    /// Domains whose key was put, or was there.
    put: BTreeSet<Uuid>,
}

/// What is in a store and ought not to be as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyringLeft {
    /// Domains whose keys ought to be gone and may still be there.
    pub undeleted: Vec<(Uuid, ObjectError)>,
    /// Domains whose keys the region's copy has not, although their service goes on.
    pub lacking: Vec<Uuid>,
    /// Domains whose keys are others there than the region's copy has.
    pub differing: Vec<Uuid>,
    /// Domains whose service has ended, as the operator's statement there says, and whose keys the region's copy has all the same.
    pub unheard: Vec<Uuid>,
}

/// The domain whose key an object is; `None` if it is something else.
pub fn domain_of(name: &ObjectName) -> Option<Uuid> {
    let domain = name.as_str().strip_prefix(KEYRING)?.parse().ok()?;
    (keyring(domain) == *name).then_some(domain)
}

/// Where it is told that the service of a domain has ended.
fn ended(domain: Uuid) -> ObjectName {
    let name = format!("{}{ENDED}", keyring(domain).as_str());
    ObjectName::new(name).expect("the name of a key, and letters")
}

/// The domain whose end an object tells of; `None` if it is something else.
pub fn ended_of(name: &ObjectName) -> Option<Uuid> {
    let domain = name.as_str().strip_prefix(KEYRING)?.strip_suffix(ENDED)?.parse().ok()?;
    (ended(domain) == *name).then_some(domain)
}

impl BackupPlace {
    /// Puts the operator's `statements` about domains whose service has ended, then the sealed key of each domain that is new, then
    /// deletes the keys of ended domains, also of those whose statement is there only and is the operator's, as `is_word` says. What could not be deleted is tried again the next time. A key that lies there is never written over.
    ///
    /// # Errors
    /// The store's own, when an object could not be put: a backup that is made now may hold records that nothing could open.
    pub async fn keep_keyring(
        &self,
        known: &mut KeyringKept,
        have: &BTreeMap<Uuid, Vec<u8>>,
        statements: &BTreeMap<Uuid, Vec<u8>>,
        is_word: &(dyn Fn(Uuid, &[u8]) -> bool + Sync),
    ) -> Result<KeyringLeft, ObjectError> {
        let listed = self.list(KEYRING).await?;
        // A store may have been emptied, and a put that was given up may have arrived since.
        let told: BTreeSet<Uuid> = listed.iter().filter_map(|object| ended_of(&object.name)).collect();
        let there: BTreeSet<Uuid> = listed.iter().filter_map(|object| domain_of(&object.name)).collect();
        known.ended.retain(|domain| told.contains(domain));
        known.put.retain(|domain| there.contains(domain));
        for (domain, statement) in statements {
            // Once for each process: what lies there may be damaged.
            if !known.ended.contains(domain) {
                let name = ended(*domain);
                self.patiently(|| self.store.put(&name, statement.clone())).await?;
                known.ended.insert(*domain);
            }
        }
        let mut left = KeyringLeft::default();
        for (domain, sealed) in have.iter().filter(|(domain, _)| !statements.contains_key(domain)) {
            if told.contains(domain) {
                let name = ended(*domain);
                let statement = self.patiently(|| self.store.get(&name)).await?;
                if statement.is_some_and(|statement| is_word(*domain, &statement)) {
                    left.unheard.push(*domain);
                    continue;
                }
            }
            if known.put.contains(domain) {
                continue;
            }
            let name = keyring(*domain);
            let read = || self.patiently(|| self.store.get(&name));
            if there.contains(domain)
                && let Some(found) = read().await?
            {
                if found == *sealed {
                    known.put.insert(*domain);
                } else if read().await? == Some(found) {
                    // A sealed key never changes, and the store did not just read it wrong: one of the two is damaged, and only a host
                    // can tell which.
                    left.differing.push(*domain);
                }
                continue;
            }
            self.patiently(|| self.store.put(&name, sealed.clone())).await?;
            known.put.insert(*domain);
        }
        for domain in there {
            if !statements.contains_key(&domain) && !left.unheard.contains(&domain) {
                if !have.contains_key(&domain) {
                    left.lacking.push(domain);
                }
                continue;
            }
            known.put.remove(&domain);
            let name = keyring(domain);
            if let Err(error) = self.patiently(|| self.store.delete(&name)).await {
                left.undeleted.push((domain, error));
            }
        }
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::testing::{Fixture, now};

    #[test]
    fn a_store_has_the_keys_that_the_region_has_and_none_of_what_has_ended() {
        let fixture = Fixture::new();
        let names = || fixture.store.names();
        let is_word = |_: Uuid, statement: &[u8]| statement == [7];
        let [one, two, three] = [1, 2, 3].map(Uuid::from_u128);
        let mut have = BTreeMap::from([(one, vec![1]), (two, vec![2])]);
        let mut ends = BTreeMap::new();
        let mut known = KeyringKept::default();
        let mut keep = |have: &BTreeMap<_, _>, ends: &BTreeMap<_, _>| {
            now(fixture.place.keep_keyring(&mut known, have, ends, &is_word))
        };
        let nothing = || Ok(KeyringLeft::default());
        let stranger = ObjectName::new("keyring/readme").expect("a name");
        {
            let objects = &mut fixture.store.lock().objects;
            objects.insert(keyring(three), vec![3]);
            objects.insert(stranger.clone(), Vec::new());
        }
        // What the region has not, and nobody has ended, may be the last there is.
        let lacking = KeyringLeft { lacking: vec![three], ..KeyringLeft::default() };
        assert_eq!(keep(&have, &ends), Ok(lacking));
        assert_eq!(names(), [keyring(one), keyring(two), keyring(three), stranger.clone()]);
        let puts = fixture.store.lock().puts;

        // The end of a domain is told once, and stays; its key goes.
        ends.insert(three, vec![7]);
        for _ in 0..2 {
            assert_eq!(keep(&have, &ends), nothing());
        }
        assert_eq!(fixture.store.lock().puts, puts + 1, "what is there is not put again");
        assert_eq!(names(), [keyring(one), keyring(two), ended(three), stranger.clone()]);
        assert_eq!(ended_of(&keyring(three)), None);
        assert_eq!(domain_of(&ended(three)), None);

        // Another one is left alone and told, by a process that has not put it.
        let other = BTreeMap::from([(one, vec![1]), (two, vec![22])]);
        let mut anew = KeyringKept::default();
        let left = now(fixture.place.keep_keyring(&mut anew, &other, &ends, &is_word)).expect("put");
        assert_eq!((left.differing, left.lacking, left.undeleted), (vec![two], vec![], vec![]));

        // Ended: it stays as long as the store does not delete it, and is told.
        have.remove(&one);
        ends.insert(one, vec![7]);
        fixture.store.lock().refuses_deletes = true;
        let left = keep(&have, &ends).expect("put");
        assert_eq!(left.undeleted.iter().map(|(domain, _)| *domain).collect::<Vec<_>>(), [one]);
        assert_eq!(fixture.store.lock().objects[&keyring(two)], [2]);
        fixture.store.lock().refuses_deletes = false;
        assert_eq!(keep(&have, &ends), nothing());
        assert_eq!(names(), [ended(one), keyring(two), ended(three), stranger]);

        // A put that arrives late is found by the next look.
        fixture.store.lock().objects.insert(keyring(one), vec![1]);
        assert_eq!(keep(&have, &ends), nothing());
        assert!(!names().contains(&keyring(one)));

        // What cannot be put is an error, and put the next time.
        let four = Uuid::from_u128(4);
        have.insert(four, vec![4]);
        fixture.store.lock().puts_left = Some(0);
        assert!(keep(&have, &ends).is_err());
        fixture.store.lock().puts_left = None;
        assert_eq!(keep(&have, &ends), nothing());
        assert!(names().contains(&keyring(four)));

        // A store that was emptied has all of it again.
        fixture.store.lock().objects.clear();
        assert_eq!(keep(&have, &ends), nothing());
        assert_eq!(names(), [ended(one), keyring(two), ended(three), keyring(four)]);
    }

    #[test]
    fn a_copy_of_the_past_puts_no_key_back_whose_domain_has_ended() {
        let fixture = Fixture::new();
        let [one, two] = [1, 2].map(Uuid::from_u128);
        let have = BTreeMap::from([(one, vec![1]), (two, vec![2])]);
        let is_word = |domain: Uuid, statement: &[u8]| domain == one && statement == [7];
        let mut known = KeyringKept::default();
        let mut keep =
            || now(fixture.place.keep_keyring(&mut known, &have, &BTreeMap::new(), &is_word)).expect("put");
        {
            let objects = &mut fixture.store.lock().objects;
            objects.insert(ended(one), vec![7]);
            // Not the operator's.
            objects.insert(ended(two), vec![7]);
        }
        for _ in 0..2 {
            assert_eq!(keep(), KeyringLeft { unheard: vec![one], ..KeyringLeft::default() });
            assert_eq!(fixture.store.names(), [ended(one), keyring(two), ended(two)]);
        }
        // It was put back before anybody looked, or arrives late.
        fixture.store.lock().objects.insert(keyring(one), vec![1]);
        assert_eq!(keep().unheard, [one]);
        assert_eq!(fixture.store.names(), [ended(one), keyring(two), ended(two)]);
        fixture.store.lock().objects.insert(keyring(one), vec![1]);
        fixture.store.lock().refuses_deletes = true;
        let left = keep();
        assert_eq!(left.undeleted.iter().map(|(domain, _)| *domain).collect::<Vec<_>>(), [one]);
    }
}
