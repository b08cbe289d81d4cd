//! Which operations are further tries of one request. A client has one request at a time, and what it asks for is unique, so the tries of
//! a request are those operations of a client that ask for exactly the same.

use crate::history::{Call, History};
use std::collections::BTreeMap;

/// How often each request that makes something was sent.
pub(super) struct Tries<'a> {
    creates: BTreeMap<(u32, &'a str, &'a str), usize>,
    unnamed: BTreeMap<&'a str, usize>,
}

impl<'a> Tries<'a> {
    /// Of a history.
    pub(super) fn of(history: &'a History) -> Tries<'a> {
        let mut tries = Tries { creates: BTreeMap::new(), unnamed: BTreeMap::new() };
        for op in &history.ops {
            match &op.call {
                Call::Create { key, name } => {
                    *tries.creates.entry((op.client, key.as_str(), name.as_str())).or_default() += 1;
                }
                Call::CreateUnnamed { name } => *tries.unnamed.entry(name).or_default() += 1,
                _ => {}
            }
        }
        tries
    }

    /// How often each create with an id was sent.
    pub(super) fn creates(&self) -> impl Iterator<Item = usize> {
        self.creates.values().copied()
    }

    /// How often each create without an id was sent, by the name it gives.
    pub(super) fn unnamed(&self) -> impl Iterator<Item = (&'a str, usize)> {
        self.unnamed.iter().map(|(name, tries)| (*name, *tries))
    }
}
