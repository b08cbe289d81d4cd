//! A trace in plain words: one sentence for each step, said from the states before and after it.

use crate::action::Action;
use crate::defect::Defect;
use crate::history::{DELETE, Write};
use crate::log::{Log, bit};
use crate::protocol::Protocol;
use crate::run::Trace;
use crate::state::{Kind, Message, Phase, REPLICA, Role, State};

/// A database's name.
pub fn name(id: u8) -> String {
    match id {
        0 => "H".into(),
        1 => "T".into(),
        2 => "N".into(),
        3 => "M".into(),
        4 => "O".into(),
        REPLICA => "the third copy".into(),
        _ => "nobody".into(),
    }
}

fn role(state: &State, id: u8) -> &'static str {
    match state.at(id).role {
        Role::Head => "head",
        Role::Tail => "tail",
    }
}

fn write_name(write: Write) -> &'static str {
    match (write.id, write.expect) {
        (1, _) => "`create v1`",
        (2, _) => "the rival `create v2`",
        (3, _) => "`update v1 to v3`",
        (DELETE, 3) => "`delete v3`",
        _ => "`delete v1`",
    }
}

/// A version as a reader sees it.
pub fn version(value: u8) -> String {
    match value {
        0 | DELETE => "nothing there".into(),
        value => format!("v{value}"),
    }
}

fn log(log: Log) -> String {
    let entries: Vec<String> =
        log.ids().map(|id| if id == DELETE { "delete".into() } else { format!("v{id}") }).collect();
    format!("[{}]", entries.join(", "))
}

/// Numbered sentences, and the promise that the last state breaks.
pub fn trace(model: &Protocol, trace: &Trace) -> Vec<String> {
    let mut lines = Vec::new();
    for (place, pair) in trace.windows(2).enumerate() {
        let [(before, Some(action)), (after, _)] = pair else { continue };
        lines.push(format!("{:>3}. {}", place + 1, sentence(model, before, *action, after)));
    }
    if let Some(promise) = trace.last().and_then(|(last, _)| model.broken(last)) {
        lines.push(format!("     {} is broken: {}.", promise.name(), promise.when_broken()));
    }
    lines
}

fn sentence(model: &Protocol, before: &State, action: Action, after: &State) -> String {
    let write = |id: u8| model.write(id).map_or("a write", write_name);
    match action {
        Action::Commit { id, at } if after.history.conflicted & bit(id) != 0 => {
            format!("{} reaches {}, which answers `conflict`", write(id), name(at))
        }
        Action::Commit { id, at } => appended(write(id), before, after, at, id),
        Action::Repeat { id, at } => {
            format!("the request of {} arrives again at {}, which appends it again", write(id), name(at))
        }
        Action::HangUp { id } => format!("the connection of {}'s client ends before its answer", write(id)),
        Action::Resend { id, at } => {
            let refused = after.history.refused & bit(id) != 0;
            let answer = if refused {
                "the link is down now: it answers `refused`"
            } else {
                "is answered `conflict`, and passes it on"
            };
            format!("the host sends {} to {} again, {answer}", write(id), name(at))
        }
        Action::Refuse { id } => {
            format!("the deadline of {} passes, and its client is told `refused`", write(id))
        }
        Action::Read { at } => {
            let seen = model.answer(before.at(at)).map_or("nothing".into(), version);
            format!(
                "a reader at {} ({}, epoch {:?}) sees {seen}",
                name(at),
                role(before, at),
                before.at(at).epoch
            )
        }
        Action::Deliver { message, at } => delivered(model, before, message, at, after),
        Action::Grant { at } => {
            format!("{} ({}) grants a host a lease on {}", name(at), role(before, at), leased(after))
        }
        Action::UseLease => format!("the host answers from its lease: {}", leased(before)),
        Action::EndLease => "the lease is over".into(),
        Action::Forward { at } => format!("{} forwards what is in doubt", name(at)),
        Action::Follow { from } => {
            format!("the third copy follows {}: {}", name(from), log(after.replica))
        }
        _ => ran(model, before, action, after),
    }
}

fn leased(state: &State) -> String {
    state.lease.map_or("nothing".into(), |lease| version(lease.version))
}

/// Steps of processes and disks, and of whom a database asks.
fn ran(model: &Protocol, before: &State, action: Action, after: &State) -> String {
    match action {
        Action::Sync { at } => format!("{} syncs", name(at)),
        Action::Crash { at } => crashed(model, before, at, after),
        Action::Rollback { at } => {
            format!("{} stops, and its disk forgets the last entry: {}", name(at), log(after.at(at).log))
        }
        Action::Restart { at } if before.at(at).phase == Phase::Blank => {
            format!("{} starts on an empty disk and makes itself a store of epoch 1", name(at))
        }
        Action::Restart { at } => {
            let serves = if model.serves(after.at(at)) { "and serves at once" } else { "and waits" };
            format!("{} starts with the log {} {serves}", name(at), log(after.at(at).log))
        }
        Action::LoseDisk { at } => format!("{}'s disk is lost", name(at)),
        Action::AskWitness { at } if model.bounds.late => {
            format!("{} asks the witness; the answer is on its way: {}", name(at), said(before))
        }
        Action::AskWitness { at } => {
            format!("{} asks the witness ({}) and {}", name(at), said(before), became(before, at, after))
        }
        Action::AskPeer { at, peer } if model.bounds.late => {
            format!("{} asks {}, whose answer is on its way", name(at), name(peer))
        }
        Action::AskPeer { at, peer } => {
            let epoch = before.at(peer).epoch;
            format!("{} vouches for epoch {epoch:?}: {} {}", name(peer), name(at), became(before, at, after))
        }
        Action::Heed { at } => format!("the answer arrives: {} {}", name(at), became(before, at, after)),
        Action::Hello { at } => {
            let log = log(before.at(at).log);
            format!("{} receives a `Hello`, ends its link and says what it has: {log}", name(at))
        }
        _ => operated(before, action, after),
    }
}

fn appended(write: &str, before: &State, after: &State, at: u8, id: u8) -> String {
    let entry = after.at(at);
    let answered = after.history.acknowledged & !before.history.acknowledged & bit(id) != 0;
    let synced = if entry.synced < entry.log.len() { "without a sync" } else { "durably" };
    let answer = if answered {
        ", acknowledges it"
    } else if before.network.len() == after.network.len() {
        ""
    } else {
        ", forwards it"
    };
    format!(
        "{write} reaches {} ({}, epoch {:?}), which appends it {synced}{answer}",
        name(at),
        role(before, at),
        entry.epoch
    )
}

fn delivered(model: &Protocol, before: &State, message: Message, at: u8, after: &State) -> String {
    let (to, have) = (name(at), after.at(at).log);
    match message.kind {
        Kind::Append if before.at(at).log == have => {
            format!(
                "{to} ({}) receives an `Append` it has already, and confirms {}",
                role(before, at),
                log(have)
            )
        }
        Kind::Append => {
            let synced =
                if after.at(at).synced < have.len() { "shows it before a sync" } else { "makes it durable" };
            format!(
                "{to} ({}) receives `Append` {} of epoch {:?}, {synced}, confirms",
                role(before, at),
                log(message.log),
                message.epoch
            )
        }
        Kind::Confirm => {
            let told: Vec<&str> = model
                .bounds
                .writes
                .iter()
                .filter(|w| after.history.acknowledged & !before.history.acknowledged & bit(w.id) != 0)
                .map(|write| write_name(*write))
                .collect();
            let told = if told.is_empty() {
                String::new()
            } else {
                format!(", acknowledges {}", told.join(" and "))
            };
            format!(
                "{to} (head) counts the confirmation of {} in epoch {:?}{told}",
                log(message.log),
                message.epoch
            )
        }
        Kind::Welcome if after.at(at).phase == Phase::Retired => {
            format!(
                "{to} compares its log {} with the tail's {}: neither is a prefix, both stop",
                log(before.at(at).log),
                log(message.log)
            )
        }
        Kind::Welcome => {
            format!("{to} compares its log with the tail's {}, and has {} now", log(message.log), log(have))
        }
        Kind::Start => format!("{to} receives `Start`: it has {} now", log(have)),
        Kind::Record => format!("an old signed record reaches {to}, which {}", became(before, at, after)),
    }
}

fn crashed(model: &Protocol, before: &State, at: u8, after: &State) -> String {
    let lost = before.at(at).log.len() - after.at(at).log.len();
    let mut text = format!("{} stops", name(at));
    if lost > 0 {
        text += &format!(", and has {} after it", log(after.at(at).log));
    }
    if before.at(at).epoch != after.at(at).epoch && model.lacks(Defect::EpochForgotten) {
        text += &format!(", and has forgotten epoch {:?}", before.at(at).epoch);
    }
    text
}

fn said(state: &State) -> String {
    let record = &state.witness;
    if record.active {
        format!("epoch {:?} is active, of {} and {}", record.epoch, name(record.head), name(record.tail))
    } else {
        format!("epoch {:?} is pending, its source is {}", record.epoch, name(record.source))
    }
}

fn became(before: &State, at: u8, after: &State) -> String {
    let (old, new) = (before.at(at), after.at(at));
    if new.phase == Phase::Retired {
        "retires".into()
    } else if new.active && (!old.active || old.epoch != new.epoch) {
        format!("learns that epoch {:?} is active, and serves", new.epoch)
    } else if old.epoch != new.epoch {
        let again = if old.phase == Phase::Retired { ", a member again" } else { "" };
        format!("adopts epoch {:?}{again}", new.epoch)
    } else if new.joined && !old.joined {
        format!("joins epoch {:?}, and serves {}", new.epoch, log(new.log))
    } else {
        "does nothing".into()
    }
}

fn operated(before: &State, action: Action, after: &State) -> String {
    let of = |slot: u8| before.operators[usize::from(slot)];
    let epoch = |slot: u8| of(slot).map_or(before.witness.epoch, |operator| operator.epoch);
    match action {
        Action::Register { source, target } => {
            let what = if before.at(target).phase == Phase::Member {
                "the old database"
            } else {
                "the new database"
            };
            let epoch = after.witness.epoch;
            format!(
                "an operator registers epoch {epoch:?} at the witness: source {}, target {what} {}",
                name(source),
                name(target)
            )
        }
        Action::SeeOff { at } => format!("an operator sees that {} does not run", name(at)),
        Action::FenceOff { operator, at } => {
            format!(
                "fence of epoch {:?}: the operator states that {} does not run now",
                epoch(operator),
                name(at)
            )
        }
        Action::FenceRetired { operator, at } => {
            format!("fence of epoch {:?}: {} answers that it has retired", epoch(operator), name(at))
        }
        Action::Fill { operator } => match of(operator) {
            Some(running) if running.source == REPLICA => {
                let (head, tail) = (name(running.target), name(running.target + 1));
                format!(
                    "{head} and {tail} are filled from the third copy: {}",
                    log(after.at(running.target).log)
                )
            }
            Some(running) if before.at(running.target).phase == Phase::Member => {
                format!("{} and {} compare their logs", name(running.source), name(running.target))
            }
            Some(running) => {
                format!(
                    "{} is filled from {}: {}",
                    name(running.target),
                    name(running.source),
                    log(after.at(running.target).log)
                )
            }
            None => "nothing is filled".into(),
        },
        Action::Activate { operator } => {
            let record = &after.witness;
            format!(
                "epoch {:?} becomes active at the witness, of {} and {}",
                epoch(operator),
                name(record.head),
                name(record.tail)
            )
        }
        Action::Restore => format!(
            "the region is lost, all is off; an operator registers epoch {:?} with the third copy {} as source",
            after.witness.epoch,
            log(after.replica)
        ),
        _ => format!("{action:?}"),
    }
}
