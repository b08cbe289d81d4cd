//! Whether a key, or a version of a secret, may have been in the state that an activation or deactivation asks for, or had the name that a
//! rename asks for, before it was asked: such a request changes nothing and writes nothing. An upper bound from the writes of the history: without a
//! clear outcome a write may happen at any time, writes at the same time in any order; reads narrow nothing. A region that is made
//! anew of a copy may lack the last writes of before, those that are not owed: none of them certainly followed another one any more.

use super::{end_of, in_doubt, region_loss::RegionLoss, subject};
use crate::history::{Ask, Call, Dialect, History, Micros, Op, Outcome, VersionState};
use std::collections::BTreeMap;

/// The writes that set the state of each key.
pub struct Already<'a> {
    by_key: BTreeMap<&'a str, Vec<Setting>>,
    /// The renames of each key: who tries again asks for the same name.
    names: BTreeMap<&'a str, Vec<Naming<'a>>>,
    /// Of secrets by path: states of versions that were asked for and not denied.
    by_path: BTreeMap<&'a str, Vec<VersionSetting>>,
    /// The region that was lost, if one was.
    loss: Option<RegionLoss>,
}

/// A write that may have set a state.
struct Setting {
    op: u64,
    to: To,
    invoked: Micros,
    /// `None`: without a clear outcome.
    done: Option<Micros>,
}

/// A write that may have set a name.
struct Naming<'a> {
    op: u64,
    name: &'a str,
    invoked: Micros,
    /// `None`: without a clear outcome.
    done: Option<Micros>,
}

/// A write that may have set the state of a version.
struct VersionSetting {
    op: u64,
    /// `None`: the current one.
    version: Option<u32>,
    state: VersionState,
    invoked: Micros,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Active,
    /// Of a compromised key it may change nothing.
    Deactivated,
    Compromised,
    Destroyed,
}

fn target(call: &Call) -> Option<To> {
    match call {
        Call::Create { .. } | Call::CreateUnnamed { .. } | Call::Activate { .. } => Some(To::Active),
        Call::Deactivate { reason, .. } if matches!(reason.as_str(), "key_compromise" | "ca_compromise") => {
            Some(To::Compromised)
        }
        Call::Deactivate { .. } => Some(To::Deactivated),
        Call::Delete { .. } => Some(To::Destroyed),
        _ => None,
    }
}

impl<'a> Already<'a> {
    /// Reads the writes of a run.
    pub fn new(history: &'a History, loss: Option<RegionLoss>) -> Already<'a> {
        let mut by_key: BTreeMap<&str, Vec<Setting>> = BTreeMap::new();
        let mut by_path: BTreeMap<&str, Vec<VersionSetting>> = BTreeMap::new();
        let mut names: BTreeMap<&str, Vec<Naming>> = BTreeMap::new();
        for op in &history.ops {
            let clear = matches!(op.outcome, Outcome::Ok(_));
            if let Call::Rename { key, name } = &op.call
                && (clear || in_doubt(&op.outcome))
            {
                let done = clear.then(|| end_of(op, history));
                names.entry(key).or_default().push(Naming { op: op.id, name, invoked: op.invoked, done });
            }
            if let Call::Secret { path, ask: Ask::Set { version, state }, .. } = &op.call
                && (matches!(op.outcome, Outcome::Ok(_)) || in_doubt(&op.outcome))
            {
                let (op, invoked) = (op.id, op.invoked);
                let setting = VersionSetting { op, version: *version, state: *state, invoked };
                by_path.entry(path).or_default().push(setting);
            }
            let (Some(to), Some(key)) = (target(&op.call), subject(op)) else { continue };
            if clear || in_doubt(&op.outcome) {
                let done = clear.then(|| end_of(op, history));
                by_key.entry(key).or_default().push(Setting { op: op.id, to, invoked: op.invoked, done });
            }
        }
        Already { by_key, names, by_path, loss }
    }

    /// Whether the key or version may have been so before `op`, an acknowledged activation, deactivation or rename.
    pub fn possibly(&self, op: &Op, end: Micros) -> bool {
        if let Call::Secret { path, dialect, ask: Ask::Set { version, state } } = &op.call {
            return self.possibly_of_version(op, end, path, *dialect, (*version, *state));
        }
        if let Call::Rename { key, name } = &op.call {
            return self.possibly_named(op, end, key, name);
        }
        let (Some(wanted), Some(key)) = (target(&op.call), op.call.key()) else { return false };
        let before: Vec<&Setting> = self
            .by_key
            .get(key)
            .into_iter()
            .flatten()
            .filter(|setting| setting.op != op.id && setting.invoked <= end)
            .collect();
        let back =
            |loss: &RegionLoss| loss.back.filter(|(at, _)| *at <= end).map(|(at, _)| (loss.owed_before, at));
        let may_lack = self.loss.as_ref().and_then(back);
        let kept =
            |done: Micros| may_lack.is_none_or(|(owed_before, back)| done < owed_before || done >= back);
        // The last word may be of any write that no other certainly followed, and that was not over too early.
        let last = before.iter().filter(|setting| {
            let followed = |later: &Setting, done: Micros| {
                later.invoked > done && later.done.is_some_and(|later| later < op.invoked && kept(later))
            };
            let over = |done: Micros| before.iter().any(|later| followed(later, done));
            !setting.done.is_some_and(over)
        });
        let compromised = before.iter().any(|setting| setting.to == To::Compromised);
        last.map(|setting| setting.to).any(|to| match wanted {
            To::Active => to == To::Active,
            To::Deactivated => matches!(to, To::Deactivated | To::Compromised),
            To::Compromised => to == To::Compromised || to == To::Deactivated && compromised,
            To::Destroyed => false,
        })
    }

    /// Somebody asked for the same name, and nobody certainly gave the key another one after that and before this. What a restore may have taken
    /// back only makes names that are followed less certain, so it is not looked at where nothing was lost.
    fn possibly_named(&self, op: &Op, end: Micros, key: &str, name: &str) -> bool {
        let all = self.names.get(key).map(Vec::as_slice).unwrap_or_default();
        let followed = |done: Micros| {
            self.loss.is_none()
                && all.iter().any(|later| {
                    later.name != name
                        && later.invoked > done
                        && later.done.is_some_and(|later| later < op.invoked)
                })
        };
        all.iter().any(|other| {
            other.op != op.id
                && other.name == name
                && other.invoked <= end
                && !other.done.is_some_and(followed)
        })
    }

    /// A version is active until somebody says otherwise. Vault's clients have passed over what is not there, or deleted.
    fn possibly_of_version(
        &self,
        op: &Op,
        end: Micros,
        path: &str,
        dialect: Dialect,
        (version, state): (Option<u32>, VersionState),
    ) -> bool {
        let same = |other: &VersionSetting| {
            other.op != op.id
                && other.invoked <= end
                && other.state == state
                && (version.is_none() || other.version.is_none() || other.version == version)
        };
        dialect == Dialect::Vault
            || state == VersionState::Active
            || self.by_path.get(path).is_some_and(|settings| settings.iter().any(same))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::testing::{Build, MS, S},
        history::Answer,
    };

    #[test]
    fn a_version_is_deactivated_once_unless_it_was_before() {
        let set = |dialect, state| Call::Secret {
            path: "p".into(),
            dialect,
            ask: Ask::Set { version: Some(1), state },
        };
        let off = || set(Dialect::Native, VersionState::Deactivated);
        let mut build = Build::new();
        let first = build.op(off(), S, 2 * S, Outcome::Ok(Answer::Done));
        let possibly = |build: &Build, op: u64| {
            let op = &build.history.ops[op as usize];
            Already::new(&build.history, None).possibly(op, op.done.unwrap_or_default())
        };
        assert!(!possibly(&build, first), "nobody did before");
        let second = build.op(off(), 3 * S, 4 * S, Outcome::Ok(Answer::Done));
        assert!(possibly(&build, second));
        let deleted = set(Dialect::Native, VersionState::Deleted);
        let deleted = build.op(deleted, 5 * S, 6 * S, Outcome::Ok(Answer::Done));
        assert!(!possibly(&build, deleted));
        let lenient = set(Dialect::Vault, VersionState::Deleted);
        let lenient = build.op(lenient, 5 * S, 6 * S, Outcome::Ok(Answer::Done));
        assert!(possibly(&build, lenient));
    }

    fn activate() -> Call {
        Call::Activate { key: "k".into() }
    }

    fn deactivate(reason: &str) -> Call {
        Call::Deactivate { key: "k".into(), reason: reason.into() }
    }

    fn done() -> Outcome {
        Outcome::Ok(Answer::Done)
    }

    /// Asks at 10 s, after `writes` of (call, invoked, done, outcome).
    fn possibly(writes: Vec<(Call, Micros, Micros, Outcome)>, asked: Call) -> bool {
        let mut build = Build::new();
        build.created("k", "n", S);
        for (call, invoked, done, outcome) in writes {
            build.op(call, invoked, done, outcome);
        }
        let id = build.op(asked, 10 * S, 10 * S + MS, done());
        let op = build.history.ops[id as usize].clone();
        Already::new(&build.history, None).possibly(&op, 10 * S + MS)
    }

    #[test]
    fn what_certainly_differed_was_not_already_so() {
        assert!(possibly(vec![], activate()));
        assert!(!possibly(vec![], deactivate("superseded")));
        let off = || (deactivate("superseded"), 2 * S, 3 * S, done());
        assert!(!possibly(vec![off()], activate()));
        assert!(possibly(vec![off()], deactivate("superseded")));
        assert!(!possibly(vec![off()], deactivate("key_compromise")));
        assert!(!possibly(vec![off(), (activate(), 4 * S, 5 * S, done())], deactivate("superseded")));
        assert!(!possibly(vec![off(), (activate(), 4 * S, 5 * S, Outcome::Refused)], activate()));
    }

    #[test]
    fn a_name_is_asked_for_again_by_who_tries_again() {
        let named = |name: &str| Call::Rename { key: "k".into(), name: name.into() };
        assert!(!possibly(vec![], named("x")), "nobody asked for it before");
        let lost = || (named("x"), 2 * S, 3 * S, Outcome::Unknown);
        assert!(possibly(vec![lost()], named("x")));
        assert!(!possibly(vec![lost()], named("y")));
        assert!(!possibly(vec![(named("x"), 2 * S, 3 * S, Outcome::Refused)], named("x")));
        let kept = || (named("x"), 2 * S, 3 * S, done());
        assert!(possibly(vec![kept()], named("x")));
        assert!(
            !possibly(vec![kept(), (named("y"), 4 * S, 5 * S, done())], named("x")),
            "it has another one since"
        );
        assert!(
            possibly(vec![lost(), (named("y"), 4 * S, 5 * S, done())], named("x")),
            "it may have come late"
        );
    }

    #[test]
    fn what_a_restored_region_may_lack_did_not_certainly_follow() {
        let asked = |owed_before: Micros, restored_at: Micros, asked: Call| {
            let mut build = Build::new();
            build.created("k", "n", S);
            build.op(deactivate("superseded"), 2 * S, 3 * S, done());
            build.op(activate(), 4 * S, 5 * S, done());
            build.op(activate(), 7 * S, 8 * S, done());
            let id = build.op(asked, 10 * S, 10 * S + MS, done());
            let op = build.history.ops[id as usize].clone();
            let loss = RegionLoss {
                at: restored_at - S / 2,
                owed_before,
                carried_before: owed_before,
                back: Some((restored_at, true)),
            };
            Already::new(&build.history, Some(loss)).possibly(&op, 10 * S + MS)
        };
        let off = || deactivate("superseded");
        // The last activation came after it, and holds.
        assert!(!asked(0, 6 * S, off()) && asked(0, 6 * S, activate()));
        // It is of before: what it followed may stand again, unless it is owed.
        assert!(asked(0, 9 * S, off()) && asked(0, 9 * S, activate()));
        assert!(!asked(6 * S, 9 * S, off()), "the first activation is owed");
        assert!(!asked(9 * S - 1, 9 * S, off()), "all of before is owed");
        assert!(!asked(0, 11 * S, off()), "what happens later changes nothing");
    }

    #[test]
    fn what_is_unknown_or_at_the_same_time_widens_it() {
        let off = |invoked, done, outcome| (deactivate("superseded"), invoked, done, outcome);
        assert!(possibly(vec![off(2 * S, 3 * S, Outcome::Unknown)], deactivate("superseded")));
        assert!(possibly(vec![off(2 * S, 3 * S, Outcome::SaidUnknown)], activate()));
        // Happens perhaps only after the write that followed it.
        let on = || (activate(), 4 * S, 5 * S, done());
        assert!(possibly(vec![off(2 * S, 3 * S, Outcome::Unknown), on()], deactivate("superseded")));
        // Two at the same time, and one that is under way when it is asked.
        let both = || vec![off(4 * S, 5 * S, done()), on()];
        assert!(possibly(both(), deactivate("superseded")) && possibly(both(), activate()));
        assert!(possibly(vec![off(9 * S, 11 * S, done())], deactivate("superseded")));
        // A deactivation leaves a compromised key as it is.
        let compromise = (deactivate("key_compromise"), 2 * S, 3 * S, done());
        let again = vec![compromise, off(4 * S, 5 * S, done())];
        assert!(possibly(again, deactivate("key_compromise")));
    }
}
