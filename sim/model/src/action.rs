//! Everything that can happen in one step, and the list of what may happen next. The list is generous: the
//! rules decide what has an effect.

use crate::protocol::Protocol;
use crate::state::{DATABASES, Kind, Message, REPLICA, State};

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
    /// What may happen next.
    pub fn candidates(&self, state: &State, out: &mut Vec<Action>) {
        out.clear();
        if !state.history.is_one() {
            return;
        }
        self.requests(state, out);
        for message in &state.network {
            let to_tail = matches!(message.kind, Kind::Append | Kind::Start);
            for (at, database) in (0..).zip(&state.databases) {
                let for_tail = database.role == crate::state::Role::Tail;
                if database.up && (for_tail == to_tail || message.kind == Kind::Record) {
                    out.push(Action::Deliver { message: *message, at });
                }
            }
        }
        for at in 0..DATABASES as u8 {
            self.at_database(state, at, out);
        }
        if state.lease.is_some() {
            out.extend([Action::UseLease, Action::EndLease]);
        }
        if self.bounds.registers > 0 || self.bounds.restore {
            self.of_operators(state, out);
        }
    }

    fn requests(&self, state: &State, out: &mut Vec<Action>) {
        for write in self.bounds.writes {
            let id = write.id;
            for at in 0..DATABASES as u8 {
                out.push(Action::Commit { id, at });
                out.push(Action::Repeat { id, at });
                out.push(Action::Resend { id, at });
            }
            out.push(Action::HangUp { id });
            out.push(Action::Refuse { id });
        }
        out.retain(|action| match action {
            Action::Commit { at, .. } | Action::Repeat { at, .. } => state.at(*at).up,
            Action::Resend { at, .. } => self.resends() && state.at(*at).up,
            Action::HangUp { .. } | Action::Refuse { .. } => self.resends() || self.refuses(),
            _ => true,
        });
    }

    fn at_database(&self, state: &State, at: u8, out: &mut Vec<Action>) {
        if !state.at(at).up {
            out.extend([Action::Restart { at }, Action::LoseDisk { at }]);
            return;
        }
        out.extend([
            Action::Read { at },
            Action::Sync { at },
            Action::Crash { at },
            Action::Rollback { at },
            Action::LoseDisk { at },
            Action::AskWitness { at },
            Action::Heed { at },
        ]);
        if self.bounds.vouch {
            out.extend((0..DATABASES as u8).map(|peer| Action::AskPeer { at, peer }));
        }
        if self.bounds.nonces > 0 {
            out.push(Action::Hello { at });
        }
        if self.bounds.leases > 0 {
            out.extend([Action::Grant { at }, Action::Forward { at }]);
        }
        if self.bounds.replica {
            out.push(Action::Follow { from: at });
        }
    }

    fn of_operators(&self, state: &State, out: &mut Vec<Action>) {
        for source in [state.witness.head, state.witness.tail] {
            out.extend((0..DATABASES as u8).map(|target| Action::Register { source, target }));
        }
        for at in 0..DATABASES as u8 {
            out.push(Action::SeeOff { at });
        }
        for (operator, slot) in (0..).zip(&state.operators) {
            let Some(running) = slot else { continue };
            if running.source != REPLICA {
                for at in 0..DATABASES as u8 {
                    out.extend([
                        Action::FenceOff { operator, at },
                        Action::FenceRetired { operator, at },
                    ]);
                }
            }
            out.extend([Action::Fill { operator }, Action::Activate { operator }]);
        }
        out.push(Action::Restore);
    }
}
