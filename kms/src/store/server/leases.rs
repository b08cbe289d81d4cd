//! Leases (R21): a host that holds one on a record may use what it read without asking, until the lease ends. Only the head of an active
//! epoch grants them, never on a record that a write may be about to change; and it appends nothing that touches a leased record before
//! the lease has ended, by its own clock and with room for two clocks that drift apart. What is not in this table after a restart
//! was granted by somebody who is gone: nothing at all is appended until the longest lease is over.

use crate::{
    env::Mono,
    record::{RecordKey, Transaction},
    store::termination::{domain_of, is_termination, termination_key},
};
use std::collections::{BTreeMap, BTreeSet};

/// Records with a lease, at most: no more are granted until some have ended.
const LEASED_MAX: usize = 65_536;

/// The leases of one head.
#[derive(Debug)]
pub(super) struct Leases {
    /// When the last lease on each record ends.
    ends: BTreeMap<RecordKey, Mono>,
    /// Records that a write waits for: none is granted on them.
    awaited: BTreeSet<RecordKey>,
    /// Before this nothing is appended.
    first_write: Mono,
}

/// The records that a transaction changes.
fn changed(transaction: &Transaction) -> impl Iterator<Item = &RecordKey> {
    transaction.put.iter().map(|(key, _)| key).chain(&transaction.delete)
}

impl Leases {
    /// None; others may have granted some that end before `first_write`.
    pub(super) fn new(first_write: Mono) -> Leases {
        Leases { ends: BTreeMap::new(), awaited: BTreeSet::new(), first_write }
    }

    /// Grants a lease that is over by `until`, unless a write waits for the record.
    pub(super) fn grant(&mut self, key: &RecordKey, now: Mono, until: Mono) -> bool {
        if self.awaited.contains(key) || self.domain_awaited(key) {
            return false;
        }
        if self.ends.len() >= LEASED_MAX {
            self.ends.retain(|_, end| *end > now);
            if self.ends.len() >= LEASED_MAX {
                return false;
            }
        }
        let end = self.ends.entry(key.clone()).or_default();
        *end = (*end).max(until);
        true
    }

    /// Whether the end of the service of the record's domain waits.
    fn domain_awaited(&self, key: &RecordKey) -> bool {
        domain_of(&key.0).is_some_and(|domain| self.awaited.contains(&termination_key(domain)))
    }

    /// From now on no lease is granted on what this changes.
    pub(super) fn await_also(&mut self, transaction: &Transaction) {
        self.awaited.extend(changed(transaction).cloned());
    }

    /// The same for these, and for nothing else.
    pub(super) fn await_all<'a>(&mut self, transactions: impl Iterator<Item = &'a Transaction>) {
        self.awaited.clear();
        self.awaited.extend(transactions.flat_map(changed).cloned());
    }

    /// When a transaction may be appended; `None`: now.
    pub(super) fn free_at(&self, transaction: &Transaction, now: Mono) -> Option<Mono> {
        let of_records = changed(transaction).filter_map(|key| self.ends.get(key));
        let of_domains = changed(transaction).filter(|key| is_termination(&key.0)).flat_map(|key| {
            let domain = key.0.get(1..);
            let of_it = move |other: &RecordKey| {
                domain_of(&other.0).is_some_and(|of| Some(of.as_bytes().as_slice()) == domain)
            };
            self.ends.iter().filter(move |(other, _)| of_it(other)).map(|(_, end)| end)
        });
        let free = of_records.chain(of_domains).copied().fold(self.first_write, Mono::max);
        (free > now).then_some(free)
    }

    /// Nothing is appended before this: somebody else may have granted leases until now.
    pub(super) fn wait_until(&mut self, at: Mono) {
        self.first_write = self.first_write.max(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        limits::ms,
        record::{CommitId, Expect, SealedRecord, Version},
    };
    use uuid::Uuid;

    fn at(millis: u64) -> Mono {
        Mono(ms(millis))
    }

    fn key(domain: u128, id: u8) -> RecordKey {
        let mut key = vec![1];
        key.extend_from_slice(Uuid::from_u128(domain).as_bytes());
        key.extend_from_slice(&[id; 16]);
        RecordKey(key)
    }

    fn put(key: RecordKey) -> Transaction {
        let id = CommitId([1; 16]);
        Transaction {
            expect: vec![Expect { key: key.clone(), version: None }],
            put: vec![(key, SealedRecord { version: Version { counter: 1, commit_id: id }, blob: vec![1] })],
            ..Transaction::default()
        }
    }

    #[test]
    fn a_write_waits_for_the_last_lease_on_what_it_changes_and_no_other() {
        let mut leases = Leases::new(at(0));
        assert!(leases.grant(&key(1, 1), at(0), at(100)));
        assert!(leases.grant(&key(1, 1), at(10), at(110)));
        assert!(leases.grant(&key(1, 2), at(10), at(500)));
        assert_eq!(leases.free_at(&put(key(1, 1)), at(20)), Some(at(110)));
        assert_eq!(leases.free_at(&put(key(1, 1)), at(110)), None);
        assert_eq!(leases.free_at(&put(key(1, 3)), at(20)), None);
        let reads = Transaction { expect: put(key(1, 1)).expect, ..put(key(1, 3)) };
        assert_eq!(leases.free_at(&reads, at(20)), None, "what is only expected does not change");
        let removes = Transaction { put: Vec::new(), delete: vec![key(1, 2)], ..put(key(1, 2)) };
        assert_eq!(leases.free_at(&removes, at(20)), Some(at(500)));
    }

    #[test]
    fn none_is_granted_on_what_a_write_waits_for() {
        let mut leases = Leases::new(at(0));
        leases.await_all([&put(key(1, 1))].into_iter());
        assert!(!leases.grant(&key(1, 1), at(0), at(100)));
        assert!(leases.grant(&key(1, 2), at(0), at(100)));
        leases.await_all(std::iter::empty());
        assert!(leases.grant(&key(1, 1), at(0), at(100)));
    }

    #[test]
    fn the_end_of_a_domain_waits_for_all_its_leases_and_stops_new_ones() {
        let mut leases = Leases::new(at(0));
        assert!(leases.grant(&key(1, 1), at(0), at(100)) && leases.grant(&key(2, 1), at(0), at(900)));
        let end = put(termination_key(Uuid::from_u128(1)));
        assert_eq!(leases.free_at(&end, at(1)), Some(at(100)));
        leases.await_all([&end].into_iter());
        assert!(!leases.grant(&key(1, 9), at(2), at(102)));
        assert!(leases.grant(&key(2, 9), at(2), at(102)));
    }

    #[test]
    fn after_a_start_everything_waits_once() {
        let mut leases = Leases::new(at(110));
        assert_eq!(leases.free_at(&put(key(1, 1)), at(0)), Some(at(110)));
        leases.wait_until(at(50));
        assert_eq!(leases.free_at(&put(key(1, 1)), at(110)), None);
        leases.wait_until(at(300));
        assert_eq!(leases.free_at(&put(key(1, 1)), at(110)), Some(at(300)));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut leases = Leases::new(at(0));
        let many = |n: usize| RecordKey(n.to_be_bytes().to_vec());
        for n in 0..LEASED_MAX {
            assert!(leases.grant(&many(n), at(0), at(100)));
        }
        assert!(!leases.grant(&many(LEASED_MAX), at(50), at(150)));
        assert!(leases.grant(&many(LEASED_MAX), at(100), at(200)), "those that ended make room");
        assert_eq!(leases.ends.len(), 1);
    }
}
