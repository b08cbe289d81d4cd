//! A record store in memory: two copies, and a script of what goes wrong.

use kms::{
    env::BoxFuture,
    record::{CommitId, RecordKey, SealedRecord, Transaction},
    store::api::{
        CommitError, KeyringStep, KnownEpoch, Page, Place, PutError, ReadError, Reading, RecordStore,
        Refusal, StoreHealth,
    },
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

pub type Records = BTreeMap<RecordKey, SealedRecord>;

/// What happens to the next commit.
#[derive(Debug, Clone, Copy)]
pub enum Script {
    /// It is refused.
    Refuse(Refusal),
    /// Its outcome is not told; whether it happened all the same.
    Unknown { happens: bool },
    /// It is told as a conflict although it is none.
    Conflict,
    /// It happens, and is told as a conflict (a resend that must not be).
    HappensAsConflict,
    /// It is appended, in doubt at the near place, unknown to the far one, and its outcome is not told.
    Doubt,
}

#[derive(Default)]
pub struct Inner {
    pub records: Records,
    /// In doubt at the near place: what the records are if it happens.
    pub pending: Option<Records>,
    /// Whether the far place shows the pending state already.
    pub far_has_pending: bool,
    /// Whether the far place is in doubt as well.
    pub far_in_doubt: bool,
    /// Errors of each place.
    pub near: VecDeque<ReadError>,
    pub near_down: bool,
    pub far_down: bool,
    /// Copies of single records that were altered, by place.
    pub altered: BTreeMap<(Place, RecordKey), SealedRecord>,
    pub script: VecDeque<Script>,
    pub keyring: BTreeMap<[u8; 16], Vec<u8>>,
    /// What either place answers instead of the next objects of the keyring.
    pub keyring_errors: VecDeque<ReadError>,
    pub damaged: Vec<(Place, RecordKey)>,
    pub commits: u64,
    pub reads: u64,
}

pub struct MemoryStore(Mutex<Inner>);

impl MemoryStore {
    pub fn new(keyring: BTreeMap<[u8; 16], Vec<u8>>) -> Arc<MemoryStore> {
        Arc::new(MemoryStore(Mutex::new(Inner { keyring, ..Inner::default() })))
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("not poisoned")
    }

    /// Ends the doubt.
    pub fn settle(&self, happens: bool) {
        let mut inner = self.lock();
        if let Some(pending) = inner.pending.take()
            && happens
        {
            inner.records = pending;
        }
    }
}

impl Inner {
    fn reading<T: PartialEq>(
        &mut self,
        place: Place,
        read: impl Fn(&Records) -> T,
    ) -> Result<Reading<T>, ReadError> {
        self.reads += 1;
        match place {
            Place::Near if self.near_down => return Err(ReadError::Unreachable),
            Place::Far if self.far_down => return Err(ReadError::Unreachable),
            Place::Near => {
                if let Some(error) = self.near.pop_front() {
                    return Err(error);
                }
            }
            Place::Far => {}
        }
        let view = |records: &Records| {
            let mut records = records.clone();
            for ((altered, key), record) in &self.altered {
                if *altered == place {
                    records.insert(key.clone(), record.clone());
                }
            }
            read(&records)
        };
        let doubtful = place == Place::Near || self.far_in_doubt;
        let confirmed = view(&self.records);
        match &self.pending {
            Some(pending) if doubtful => {
                let pending = view(pending);
                if confirmed == pending {
                    return Ok(Reading::Settled(confirmed));
                }
                Ok(Reading::InDoubt { confirmed, pending })
            }
            Some(pending) if self.far_has_pending => Ok(Reading::Settled(view(pending))),
            _ => Ok(Reading::Settled(confirmed)),
        }
    }

    fn apply(records: &mut Records, transaction: Transaction) {
        for (key, record) in transaction.put {
            records.insert(key, record);
        }
        for key in transaction.delete {
            records.remove(&key);
        }
    }

    fn commit(&mut self, id: CommitId, transaction: Transaction) -> Result<(), CommitError> {
        self.commits += 1;
        transaction.check(id).expect("hosts send well-formed transactions");
        let script = self.script.pop_front();
        match script {
            Some(Script::Refuse(refusal)) => return Err(CommitError::Refused(refusal)),
            Some(Script::Conflict) => return Err(CommitError::Conflict),
            Some(Script::Unknown { happens: false }) => return Err(CommitError::Unknown),
            _ => {}
        }
        let holds = transaction
            .expect
            .iter()
            .all(|expect| self.records.get(&expect.key).map(|record| record.version) == expect.version);
        if !holds {
            return Err(CommitError::Conflict);
        }
        if let Some(Script::Doubt) = script {
            let mut pending = self.records.clone();
            Self::apply(&mut pending, transaction);
            self.pending = Some(pending);
            return Err(CommitError::Unknown);
        }
        Self::apply(&mut self.records, transaction);
        match script {
            Some(Script::Unknown { .. }) => Err(CommitError::Unknown),
            Some(Script::HappensAsConflict) => Err(CommitError::Conflict),
            _ => Ok(()),
        }
    }
}

impl RecordStore for MemoryStore {
    fn get(
        &self,
        place: Place,
        key: RecordKey,
    ) -> BoxFuture<'_, Result<Reading<Option<SealedRecord>>, ReadError>> {
        Box::pin(async move { self.lock().reading(place, |records| records.get(&key).cloned()) })
    }

    fn scan(
        &self,
        place: Place,
        prefix: Vec<u8>,
        after: Option<RecordKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Reading<Page>, ReadError>> {
        Box::pin(async move {
            self.lock().reading(place, |records| {
                let mut found = records
                    .iter()
                    .filter(|(key, _)| {
                        key.0.starts_with(&prefix) && after.as_ref().is_none_or(|after| *key > after)
                    })
                    .map(|(key, record)| (key.clone(), record.clone()));
                let page: Vec<_> = found.by_ref().take(limit).collect();
                Page { records: page, more: found.next().is_some() }
            })
        })
    }

    fn commit(&self, id: CommitId, transaction: Transaction) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move { self.lock().commit(id, transaction) })
    }

    fn keyring(&self, place: Place, domain: [u8; 16]) -> BoxFuture<'_, Result<Option<Vec<u8>>, ReadError>> {
        Box::pin(async move {
            let mut inner = self.lock();
            if place == Place::Near && inner.near_down || place == Place::Far && inner.far_down {
                return Err(ReadError::Unreachable);
            }
            if let Some(error) = inner.keyring_errors.pop_front() {
                return Err(error);
            }
            Ok(inner.keyring.get(&domain).cloned())
        })
    }

    fn put_keyring(
        &self,
        _step: KeyringStep,
        _epoch: KnownEpoch,
        domain: [u8; 16],
        sealed: Vec<u8>,
    ) -> BoxFuture<'_, Result<Vec<u8>, PutError>> {
        Box::pin(async move {
            let mut inner = self.lock();
            if inner.near_down || inner.far_down {
                return Err(PutError::Not(ReadError::Unreachable));
            }
            Ok(inner.keyring.entry(domain).or_insert(sealed).clone())
        })
    }

    fn report_damaged(&self, place: Place, key: RecordKey, _record: &SealedRecord) {
        self.lock().damaged.push((place, key));
    }

    fn health(&self) -> StoreHealth {
        let inner = self.lock();
        StoreHealth {
            can_read: !inner.near_down || !inner.far_down,
            can_write: !inner.near_down && !inner.far_down,
        }
    }
}
