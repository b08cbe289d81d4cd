//! Read leases (R21): a host answers from what it was granted until the lease is over. Time is left out: a lease
//! is over at any moment, and who must wait for its end cannot go on before.

use crate::defect::Defect;
use crate::history;
use crate::protocol::Protocol;
use crate::state::{Kind, Lease, Message, Phase, Role, State};

impl Protocol {
    /// Only a head grants, and only what is not in doubt.
    pub(crate) fn grant(&self, state: &mut State, at: u8) -> bool {
        let database = *state.at(at);
        let head = database.role == Role::Head;
        let may = head || self.lacks(Defect::TailGrants);
        let certain = !database.in_doubt() || self.lacks(Defect::LeaseInDoubt);
        let left = state.spent.leases < self.bounds.leases && state.lease.is_none();
        if !self.serves(&database) || !may || !certain || !left {
            return false;
        }
        state.spent.leases += 1;
        let log = if head { database.log.prefix(database.confirmed) } else { database.log };
        state.lease = Some(Lease { version: log.last(), by_head: head });
        state.change(at).granted = head;
        true
    }

    /// A host answers from its lease.
    pub(crate) fn use_lease(&self, state: &mut State) -> bool {
        let Some(lease) = state.lease else { return false };
        state.history.read(history::shown(lease.version), self.bounds.writes);
        true
    }

    /// The longest lease is over, for all who wait for it.
    pub(crate) fn end_lease(&self, state: &mut State) -> bool {
        state.lease = None;
        for database in &mut state.databases {
            database.granted = false;
        }
        true
    }

    /// A head forwards what is in doubt when no host can use what it replaces: its own leases are over, and
    /// after a start it has waited for the longest that it may have granted before.
    pub(crate) fn forward(&self, state: &mut State, at: u8) -> bool {
        let database = *state.at(at);
        let held = match self.defect {
            Some(Defect::ForwardUnderLease) => false,
            Some(Defect::LeaseForgotten) => database.granted,
            _ => state.lease.is_some_and(|lease| lease.by_head),
        };
        let member = database.phase == Phase::Member && database.active;
        if held || !member || database.role != Role::Head {
            return false;
        }
        for length in database.confirmed + 1..=database.log.len() {
            let log = database.log.prefix(length);
            state.send(Message { kind: Kind::Append, epoch: database.epoch, nonce: database.link, log });
        }
        true
    }
}
