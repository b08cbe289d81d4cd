//! Hand-written histories for the checkers' own tests.

use super::{Bounds, CheckInput, Leak, OtherFault, Searched, Topology};
use crate::{
    access::Bearer,
    history::{Answer, Call, History, KeyView, Micros, Op, Outcome, Phase, Stop, What, WorldEvent},
    report::Verdict,
};
use kms::limits::Limits;
use std::collections::BTreeMap;

/// A second.
pub(super) const S: Micros = 1_000_000;
/// A millisecond.
pub(super) const MS: Micros = 1_000;

/// A run under construction. Operations are in order of invocation as added.
pub(super) struct Build {
    pub(super) history: History,
    limits: Limits,
    topology: Topology,
    pub(super) domains: BTreeMap<u32, String>,
    pub(super) bearers: BTreeMap<u32, Bearer>,
    pub(super) visitors_from: u32,
    pub(super) calm: bool,
    pub(super) honest_disks: bool,
    pub(super) other_faults: Vec<OtherFault>,
    pub(super) leaks: Vec<Leak>,
    pub(super) searched: Searched,
    pub(super) probes: BTreeMap<String, u64>,
}

impl Build {
    pub(super) fn new() -> Build {
        Build {
            history: History { healed_at: 100 * S, end: 200 * S, ..History::default() },
            limits: Limits::default(),
            topology: Topology::standard(2, false),
            domains: BTreeMap::new(),
            bearers: BTreeMap::new(),
            visitors_from: u32::MAX,
            calm: false,
            honest_disks: true,
            other_faults: Vec::new(),
            leaks: Vec::new(),
            searched: Searched::default(),
            probes: BTreeMap::new(),
        }
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    pub(super) fn topology_mut(&mut self) -> &mut Topology {
        &mut self.topology
    }

    pub(super) fn input(&self) -> CheckInput<'_> {
        CheckInput {
            history: &self.history,
            limits: &self.limits,
            bounds: Bounds::default(),
            topology: &self.topology,
            domains: &self.domains,
            bearers: &self.bearers,
            visitors_from: self.visitors_from,
            calm: self.calm,
            honest_disks: self.honest_disks,
            other_faults: &self.other_faults,
            leaks: &self.leaks,
            searched: &self.searched,
            probes: &self.probes,
        }
    }

    pub(super) fn event(&mut self, at: Micros, what: What) -> &mut Build {
        self.history.events.push(WorldEvent { at, what });
        self
    }

    pub(super) fn down(&mut self, node: &str, at: Micros) -> &mut Build {
        self.event(at, What::Down { node: node.into(), how: Stop::PowerCut })
    }

    pub(super) fn up(&mut self, node: &str, at: Micros) -> &mut Build {
        self.event(at, What::Up { node: node.into() })
    }

    pub(super) fn paused(&mut self, node: &str, at: Micros) -> &mut Build {
        self.event(at, What::Paused { node: node.into() })
    }

    pub(super) fn resumed(&mut self, node: &str, at: Micros) -> &mut Build {
        self.event(at, What::Resumed { node: node.into() })
    }

    pub(super) fn cut(&mut self, from: &str, to: &str, at: Micros) -> &mut Build {
        self.event(at, What::Cut { from: from.into(), to: to.into() })
    }

    pub(super) fn joined(&mut self, from: &str, to: &str, at: Micros) -> &mut Build {
        self.event(at, What::Joined { from: from.into(), to: to.into() })
    }

    /// An operation of the load phase.
    pub(super) fn op(&mut self, call: Call, invoked: Micros, done: Micros, outcome: Outcome) -> u64 {
        self.op_in(Phase::Load, call, invoked, done, outcome)
    }

    pub(super) fn op_in(
        &mut self,
        phase: Phase,
        call: Call,
        invoked: Micros,
        done: Micros,
        outcome: Outcome,
    ) -> u64 {
        let id = self.history.ops.len() as u64;
        self.history.ops.push(Op { id, client: 1, call, invoked, done: Some(done), outcome, phase });
        id
    }

    /// A create that is acknowledged 10 ms after `at`.
    pub(super) fn created(&mut self, id: &str, key_name: &str, at: Micros) -> u64 {
        self.op(create(id, key_name), at, at + 10 * MS, ok_key(id, key_name, "active"))
    }

    /// A read that is answered 10 ms after `at`.
    pub(super) fn read(&mut self, id: &str, at: Micros, outcome: Outcome) -> u64 {
        self.op(get(id), at, at + 10 * MS, outcome)
    }
}

pub(super) fn create(key: &str, name: &str) -> Call {
    Call::Create { key: key.into(), name: name.into() }
}

pub(super) fn get(key: &str) -> Call {
    Call::Get { key: key.into() }
}

pub(super) fn rename(key: &str, name: &str) -> Call {
    Call::Rename { key: key.into(), name: name.into() }
}

pub(super) fn encrypt(key: &str) -> Call {
    Call::Encrypt { key: key.into(), plaintext: "clear".into(), context: "context".into() }
}

pub(super) fn decrypt(key: &str, from: u64) -> Call {
    Call::Decrypt { key: key.into(), from, context: "context".into() }
}

pub(super) fn ok_key(key: &str, name: &str, state: &str) -> Outcome {
    Outcome::Ok(Answer::Key(view(key, name, state)))
}

pub(super) fn view(key: &str, name: &str, state: &str) -> KeyView {
    let rest = r#"{"attributes":{"original_creation_date":"2026-01-01T00:00:00Z"},"size":256,"type":"oct"}"#;
    KeyView { id: key.into(), name: name.into(), state: state.into(), rest: rest.into() }
}

pub(super) fn rejected(status: u16) -> Outcome {
    Outcome::Rejected { status, code: 0 }
}

/// The kinds of the violations, in order.
pub(super) fn kinds(verdict: &Verdict) -> Vec<&str> {
    verdict.violations.iter().map(|violation| violation.kind.as_str()).collect()
}

/// Asserts that it was exercised and held.
pub(super) fn assert_held(verdict: &Verdict) {
    assert!(verdict.exercised > 0, "not exercised: {verdict:?}");
    assert!(verdict.violations.is_empty() && verdict.harness_error.is_none(), "{verdict:?}");
}
