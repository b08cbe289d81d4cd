//! Everything that can happen in one step, and the list of what may happen next. The list is generous: the
//! rules decide what has an effect.

use crate::defect::Defect;
use crate::log::bit;
use crate::protocol::Protocol;
use crate::state::{DATABASES, Kind, Message, Phase, REPLICA, Role, State};

/// One step. Numbers are ids of databases, or of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A write reaches a head.
    Commit { id: u8, at: u8 },
    /// The request of a write arrives once more.
    Repeat { id: u8, at: u8 },
    /// A client's connection ends before its answer.
    HangUp { id: u8 },
    /// A host sends an attempt again, and believes what it is answered.
    Resend { id: u8, at: u8 },
    /// A host's deadline passes, and it answers "refused".
    Refuse { id: u8 },
    /// A message is delivered.
    Deliver { message: Message, at: u8 },
    /// What was written is synced. Only for the defects that write first.
    Sync { at: u8 },
    /// A reader asks.
    Read { at: u8 },
    /// A database stops; its disk keeps what was synced.
    Crash { at: u8 },
    /// A database stops, and its disk forgets the last entry.
    Rollback { at: u8 },
    /// A database starts.
    Restart { at: u8 },
    /// A database's disk is lost, with the process.
    LoseDisk { at: u8 },
    /// A database asks the witness.
    AskWitness { at: u8 },
    /// A database asks another one.
    AskPeer { at: u8, peer: u8 },
    /// An answer arrives.
    Heed { at: u8 },
    /// A `Hello` reaches a tail.
    Hello { at: u8 },
    /// An operator registers the next epoch at the witness.
    Register { source: u8, target: u8 },
    /// An operator sees a database off before registering anything.
    SeeOff { at: u8 },
    /// An operator states that a database does not run now.
    FenceOff { operator: u8, at: u8 },
    /// A database answers the fence: retired.
    FenceRetired { operator: u8, at: u8 },
    /// The target is filled from the source.
    Fill { operator: u8 },
    /// The epoch becomes active at the witness.
    Activate { operator: u8 },
    /// The third copy follows a database.
    Follow { from: u8 },
    /// A database grants a host a lease.
    Grant { at: u8 },
    /// A host uses its lease.
    UseLease,
    /// The lease is over.
    EndLease,
    /// A head forwards what is in doubt. A step of its own only where there are leases.
    Forward { at: u8 },
    /// The region is lost: every database off, its entry withdrawn, the next epoch registered.
    Restore,
}

impl Protocol {
    /// What may happen next. Nothing after what clients saw has ceased to be one history.
    pub fn candidates(&self, state: &State, out: &mut Vec<Action>) {
        out.clear();
        if !state.history.is_one() {
            return;
        }
        self.requests(state, out);
        for message in &state.network {
            let to_tail = matches!(message.kind, Kind::Append | Kind::Start);
            for (at, database) in (0..).zip(&state.databases) {
                let epoch = database.epoch == message.epoch || self.lacks(Defect::OldPeerServed);
                let fits = (database.role == Role::Tail) == to_tail && epoch;
                if database.up && (fits || message.kind == Kind::Record) {
                    out.push(Action::Deliver { message: *message, at });
                }
            }
        }
        for at in 0..DATABASES as u8 {
            if state.at(at).up {
                self.at_running(state, at, out);
            } else if state.at(at).phase != Phase::Blank || self.lacks(Defect::BlankStarts) {
                out.push(Action::Restart { at });
            }
            if state.spent.losses < self.bounds.losses {
                out.push(Action::LoseDisk { at });
            }
        }
        if state.lease.is_some() {
            out.extend([Action::UseLease, Action::EndLease]);
        }
        self.of_operators(state, out);
    }

    fn requests(&self, state: &State, out: &mut Vec<Action>) {
        for write in self.bounds.writes {
            let id = write.id;
            let asked = state.history.asked & bit(id) != 0;
            for (at, database) in (0..).zip(&state.databases) {
                if !database.up || database.role != Role::Head {
                    continue;
                }
                if !asked {
                    out.push(Action::Commit { id, at });
                } else if state.spent.repeats < self.bounds.repeats {
                    out.push(Action::Repeat { id, at });
                }
                if asked && self.resends() {
                    out.push(Action::Resend { id, at });
                }
            }
            if asked && (self.resends() || self.refuses()) {
                out.extend([Action::HangUp { id }, Action::Refuse { id }]);
            }
        }
    }

    fn at_running(&self, state: &State, at: u8, out: &mut Vec<Action>) {
        let (database, bounds, spent) = (state.at(at), &self.bounds, &state.spent);
        let mut add = |allowed: bool, action: Action| {
            if allowed {
                out.push(action);
            }
        };
        add(self.serves(database), Action::Read { at });
        add(database.synced < database.log.len(), Action::Sync { at });
        add(spent.crashes < bounds.crashes, Action::Crash { at });
        add(spent.rollbacks < bounds.rollbacks, Action::Rollback { at });
        add(true, Action::AskWitness { at });
        add(database.answer.is_some(), Action::Heed { at });
        for (peer, other) in (0..).zip(&state.databases) {
            let may = bounds.vouch && !database.joined && other.up && other.epoch == database.epoch;
            add(may, Action::AskPeer { at, peer });
        }
        add(bounds.nonces > 0, Action::Hello { at });
        add(spent.leases < bounds.leases, Action::Grant { at });
        add(bounds.leases > 0 && database.in_doubt(), Action::Forward { at });
        add(bounds.replica, Action::Follow { from: at });
    }

    fn of_operators(&self, state: &State, out: &mut Vec<Action>) {
        if state.spent.registers < self.bounds.registers {
            for source in [state.witness.head, state.witness.tail] {
                out.extend((0..DATABASES as u8).map(|target| Action::Register { source, target }));
            }
            if self.lacks(Defect::FenceBeforeRegister) {
                out.extend((0..DATABASES as u8).map(|at| Action::SeeOff { at }));
            }
        }
        for (operator, slot) in (0..).zip(&state.operators) {
            let Some(running) = slot else { continue };
            for (at, database) in (0..).zip(&state.databases) {
                if running.source == REPLICA || matches!(database.phase, Phase::Blank | Phase::Retired) {
                    continue;
                }
                out.push(match database.up {
                    true => Action::FenceRetired { operator, at },
                    false => Action::FenceOff { operator, at },
                });
            }
            out.push(match running.filled {
                true => Action::Activate { operator },
                false => Action::Fill { operator },
            });
        }
        if self.bounds.restore {
            out.push(Action::Restore);
        }
    }
}
