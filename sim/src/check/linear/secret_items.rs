//! From operations to steps per secret, as `items` does for keys. Data and custom metadata become numbers, by what they are known by.

use super::{
    items::{item, says_nothing},
    search::{Item, Step},
    secret::{Change, Check, Shown, Why},
};
use crate::{
    check::in_doubt,
    history::{Answer, Ask, Call, Dialect, History, Op, Outcome, Phase, SecretView},
    veiled,
    workload::wire_secrets::{EXISTS, MISMATCH, NO_SECRET, NO_VERSION, VERSION_DELETED},
};
use std::collections::BTreeMap;

type SecretStep = Step<Change, Check>;

/// The steps of one secret, with the phase each was made in.
pub(super) type Steps = Vec<(Item<Change, Check>, Phase)>;

/// The steps of every secret, by path.
pub(super) fn by_path(history: &History) -> BTreeMap<String, Steps> {
    let mut collect = Collect { history, marks: BTreeMap::new(), out: BTreeMap::new() };
    for op in &history.ops {
        collect.operation(op);
    }
    collect.out
}

struct Collect<'a> {
    history: &'a History,
    /// What data and metadata are known by, as numbers.
    marks: BTreeMap<String, u32>,
    out: BTreeMap<String, Steps>,
}

impl Collect<'_> {
    /// 0 for nothing.
    fn number(&mut self, mark: String) -> u32 {
        if mark.is_empty() {
            return 0;
        }
        let next = u32::try_from(self.marks.len()).unwrap_or(u32::MAX).saturating_add(1);
        *self.marks.entry(mark).or_insert(next)
    }

    fn add(&mut self, path: &str, op: &Op, step: SecretStep) {
        self.out.entry(path.to_owned()).or_default().push(item(self.history, op, step));
    }

    fn operation(&mut self, op: &Op) {
        if let Outcome::Ok(Answer::Secrets { page }) = &op.outcome {
            for (path, view) in page {
                let shown = self.shown(view);
                self.add(path, op, Step::Saw(Check::Shown(shown)));
            }
            return;
        }
        let Call::Secret { path, dialect, ask } = &op.call else { return };
        let step = match self.change(*dialect, ask) {
            Some(change) => self.write(op, change),
            None => self.read(op, *dialect, ask),
        };
        if let Some(step) = step {
            self.add(path, op, step);
        }
    }

    fn change(&mut self, dialect: Dialect, ask: &Ask) -> Option<Change> {
        let vault = dialect == Dialect::Vault;
        Some(match ask {
            // Vault's clients have no other word for it than "the current version is none".
            Ask::Create { value, .. } if vault => {
                Change::Add { value: self.number(veiled::mark(value)), cas: Some(0), make: true }
            }
            Ask::Create { value, note } => Change::Create {
                value: self.number(veiled::mark(value)),
                note: note.as_ref().map_or(0, |note| self.number(veiled::mark(note))),
            },
            Ask::Write { value, cas } => {
                Change::Add { value: self.number(veiled::mark(value)), cas: *cas, make: vault }
            }
            Ask::Set { version, state } => Change::Set { version: *version, state: *state, strict: !vault },
            Ask::Note { note } => Change::Note { note: self.number(veiled::mark(note)), make: vault },
            Ask::Delete => Change::Delete,
            Ask::Read { .. } | Ask::Describe => return None,
        })
    }

    fn write(&mut self, op: &Op, change: Change) -> Option<SecretStep> {
        Some(match &op.outcome {
            Outcome::Ok(Answer::Secret(view)) => {
                let shown = self.shown(view);
                Step::Changed(change, Some(Check::Shown(shown)))
            }
            Outcome::Ok(_) => Step::Changed(change, None),
            outcome if in_doubt(outcome) => Step::Perhaps(change),
            Outcome::Rejected { status, code } => {
                let why = match *code {
                    NO_SECRET => Why::NoSecret,
                    NO_VERSION => Why::NoVersion,
                    EXISTS => Why::Exists,
                    VERSION_DELETED => Why::Deleted,
                    MISMATCH => Why::Mismatch,
                    _ if says_nothing(*status) => return None,
                    _ => return Some(Step::Saw(Check::Never)),
                };
                Step::Saw(Check::Denied(change, why))
            }
            _ => return None,
        })
    }

    fn read(&mut self, op: &Op, dialect: Dialect, ask: &Ask) -> Option<SecretStep> {
        let check = match &op.outcome {
            Outcome::Ok(Answer::Secret(view)) => Check::Shown(self.shown(view)),
            Outcome::Ok(_) => Check::Never,
            Outcome::Rejected { code: NO_SECRET, .. } => Check::Missing,
            Outcome::Rejected { code: NO_VERSION, .. } => match ask {
                Ask::Read { version } => {
                    Check::NoVersion { version: *version, active: dialect == Dialect::Vault }
                }
                _ => Check::Never,
            },
            Outcome::Rejected { status, .. } if says_nothing(*status) => return None,
            Outcome::Rejected { .. } => Check::Never,
            _ => return None,
        };
        Some(Step::Saw(check))
    }

    fn shown(&mut self, view: &SecretView) -> Shown {
        let versions = view.versions.iter();
        let versions = versions
            .map(|version| {
                // What should have been there and is not is like no data that was ever written.
                let value = version.value.as_ref().map(|mark| self.number(mark.clone()));
                (version.number, version.state, value)
            })
            .collect();
        Shown {
            current: view.current,
            oldest: view.oldest,
            note: view.note.as_ref().map(|mark| self.number(mark.clone())),
            versions,
            all: view.all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{
            linear::{analyse, search::Decision},
            testing::{Build, MS, S},
        },
        history::{VersionState, VersionView},
    };

    fn call(dialect: Dialect, ask: Ask) -> Call {
        Call::Secret { path: "p/q".into(), dialect, ask }
    }

    fn write(value: &str, cas: Option<u32>) -> Call {
        call(Dialect::Native, Ask::Write { value: value.into(), cas })
    }

    fn made(number: u32) -> Outcome {
        shown(number, number, VersionState::Active, None)
    }

    fn shown(current: u32, number: u32, state: VersionState, value: Option<&str>) -> Outcome {
        let value = value.map(veiled::mark);
        let versions = vec![VersionView { number, state, value }];
        Outcome::Ok(Answer::Secret(SecretView { current: Some(current), versions, ..SecretView::default() }))
    }

    fn read(version: Option<u32>) -> Call {
        call(Dialect::Native, Ask::Read { version })
    }

    fn build() -> Build {
        let mut build = Build::new();
        let create = Ask::Create { value: "one".into(), note: None };
        build.op(call(Dialect::Native, create), S, S + MS, made(1));
        build
    }

    fn holds(build: &Build) -> bool {
        let analysis = analyse(&build.history, &build.domains, 10_000);
        let [secret] = analysis.secrets.values().collect::<Vec<_>>()[..] else { panic!("one secret") };
        match secret.decision {
            Decision::Linearizable => true,
            Decision::Violated(_) => false,
            Decision::Undecided => panic!("undecided"),
        }
    }

    #[test]
    fn both_dialects_tell_of_the_same_secret() {
        let mut build = build();
        let add = Ask::Write { value: "two".into(), cas: Some(1) };
        build.op(call(Dialect::Vault, add), 2 * S, 3 * S, made(2));
        build.op(read(None), 4 * S, 5 * S, shown(2, 2, VersionState::Active, Some("two")));
        let off = Ask::Set { version: None, state: VersionState::Deactivated };
        build.op(call(Dialect::Vault, off), 6 * S, 7 * S, Outcome::Ok(Answer::Done));
        let gone = Outcome::Rejected { status: 404, code: NO_VERSION };
        build.op(call(Dialect::Vault, Ask::Read { version: None }), 8 * S, 9 * S, gone);
        build.op(read(Some(1)), 8 * S, 9 * S, shown(2, 1, VersionState::Active, Some("one")));
        assert!(holds(&build));
        build.op(read(None), 10 * S, 11 * S, shown(2, 2, VersionState::Active, Some("two")));
        assert!(!holds(&build), "a version that was deactivated is served");
    }

    #[test]
    fn a_stale_check_and_set_that_is_accepted_is_found() {
        let mut build = build();
        build.op(write("two", Some(1)), 2 * S, 3 * S, made(2));
        build.op(write("three", Some(1)), 4 * S, 5 * S, Outcome::Rejected { status: 400, code: MISMATCH });
        assert!(holds(&build));
        build.op(write("four", Some(1)), 6 * S, 7 * S, made(3));
        assert!(!holds(&build));
    }

    #[test]
    fn an_unknown_version_may_be_there_once() {
        let mut build = build();
        build.op(write("two", None), 2 * S, 3 * S, Outcome::Unknown);
        build.op(read(None), 4 * S, 5 * S, shown(1, 1, VersionState::Active, Some("one")));
        build.op(write("three", None), 6 * S, 7 * S, made(3));
        build.op(read(Some(2)), 8 * S, 9 * S, shown(3, 2, VersionState::Active, Some("two")));
        assert!(holds(&build));
        build.op(write("four", None), 10 * S, 11 * S, made(5));
        assert!(!holds(&build), "a number is passed over");
    }

    #[test]
    fn the_data_of_another_version_is_found() {
        let mut build = build();
        build.op(write("two", None), 2 * S, 3 * S, made(2));
        build.op(read(Some(1)), 4 * S, 5 * S, shown(2, 1, VersionState::Active, Some("two")));
        assert!(!holds(&build));
    }

    #[test]
    fn pages_show_secrets_too() {
        let mut build = build();
        let view = |current| SecretView { current: Some(current), ..SecretView::default() };
        let page = |current| Outcome::Ok(Answer::Secrets { page: vec![("p/q".into(), view(current))] });
        build.op(Call::Secrets, 2 * S, 3 * S, page(1));
        assert!(holds(&build));
        build.op(Call::Secrets, 4 * S, 5 * S, page(2));
        assert!(!holds(&build));
    }
}
