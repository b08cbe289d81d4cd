//! What one run prints: a single JSON line, and for a run that did not hold a folder to look into. Decides the
//! exit status from the verdicts; judges no promise itself.

use super::{phases::Played, probes};
use crate::{
    check::{self, Bounds, CheckInput, Leak, OtherFault, Searched, Topology},
    history::{Call, History, Micros, Op, Outcome},
    plan::{Act, Plan},
    report::{Verdict, quantile},
    world::TraceTail,
};
use serde::Serialize;
use std::{collections::BTreeMap, io, path::Path};

/// Every promise held.
pub const HELD: u8 = 0;
/// The command line, a scenario or a plan is wrong.
pub const USAGE: u8 = 1;
/// A promise was broken.
pub const BROKEN: u8 = 2;
/// The region did not come back after everything was healed.
pub const NO_PROGRESS: u8 = 3;
/// The harness itself failed.
pub const HARNESS: u8 = 5;

/// The JSON line of a run.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// Scenario.
    pub scenario: String,
    /// Seed.
    pub seed: u64,
    /// Exit status.
    pub exit: u8,
    /// Hash of everything that happened, 32 hex digits.
    pub trace_hash: String,
    /// Trace hash after each thousand events.
    pub trace_checkpoints: Vec<u64>,
    /// Simulated time.
    pub sim_seconds: f64,
    /// CPU time of the process.
    pub cpu_seconds: f64,
    /// Largest resident size of the process.
    pub peak_rss_kib: u64,
    /// What kept the simulation busy, per simulated second: events of the trace and polls of tasks, by name.
    pub profile: BTreeMap<String, f64>,
    /// One per checker.
    pub verdicts: Vec<Verdict>,
    /// What was exercised, by name.
    pub probes: BTreeMap<String, u64>,
    /// Operations.
    pub counts: Counts,
    /// What creates took.
    pub creates: Creates,
    /// Why the run did not hold, in a sentence.
    pub failure: Option<String>,
    /// The plan, if the run did not hold.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub plan: String,
    /// Commit the binary was built from, if it was told.
    pub commit: String,
}

/// Operations by outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "named as the outcomes")]
pub struct Counts {
    pub ops: u64,
    pub ok: u64,
    pub refused: u64,
    pub unknown: u64,
    pub rejected: u64,
}

impl Counts {
    /// Counts a history.
    pub fn of(history: &History) -> Counts {
        let mut counts = Counts::default();
        for op in &history.ops {
            counts.ops += 1;
            match op.outcome {
                Outcome::Ok(_) => counts.ok += 1,
                Outcome::Refused => counts.refused += 1,
                Outcome::SaidUnknown | Outcome::Unknown => counts.unknown += 1,
                Outcome::Rejected { .. } => counts.rejected += 1,
            }
        }
        counts
    }
}

/// Creates that were sent and acknowledged in the phase of faults.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Creates {
    /// Per simulated second.
    pub per_s: f64,
    /// Mean time to the answer, simulated.
    pub mean_us: f64,
    /// Median of these times.
    pub p50_us: Micros,
    /// What 99 in a hundred took at most.
    pub p99_us: Micros,
}

impl Creates {
    /// Of a history; all 0 if there was none.
    pub fn of(history: &History) -> Creates {
        let phase = history.faults_from..=history.healed_at;
        let within = |op: &&Op| phase.contains(&op.invoked) && op.done.is_some_and(|at| phase.contains(&at));
        let created = |op: &&Op| {
            matches!(op.call, Call::Create { .. } | Call::CreateUnnamed { .. })
                && matches!(op.outcome, Outcome::Ok(_))
        };
        let ops = history.ops.iter().filter(within).filter(created);
        let mut took: Vec<Micros> = ops.filter_map(|op| Some(op.done? - op.invoked)).collect();
        took.sort_unstable();
        let seconds = (history.healed_at - history.faults_from) as f64 / 1e6;
        let count = took.len() as f64;
        if count == 0.0 || seconds == 0.0 {
            return Creates::default();
        }
        Creates {
            per_s: count / seconds,
            mean_us: took.iter().sum::<Micros>() as f64 / count,
            p50_us: quantile(&took, 500),
            p99_us: quantile(&took, 990),
        }
    }
}

/// What a world leaves beside the history.
#[derive(Debug, Clone, Default)]
pub struct Left {
    /// Secrets found.
    pub leaks: Vec<Leak>,
    /// What was searched.
    pub searched: Searched,
    /// Probes of the world and the service.
    pub probes: BTreeMap<String, u64>,
    /// Hash of the trace.
    pub trace_hash: u128,
    /// See [`RunReport::trace_checkpoints`].
    pub trace_checkpoints: Vec<u64>,
    /// Last events of the trace.
    pub trace_tail: TraceTail,
    /// See [`RunReport::profile`].
    pub profile: BTreeMap<String, f64>,
}

/// Judges a run that was played, or says why it was not.
pub fn judge(plan: &Plan, played: &Result<Played, String>, history: &History, left: &Left) -> RunReport {
    let mut probes = left.probes.clone();
    probes::coverage(history, plan.limits.detection_ms * 1000, &mut probes);
    let mut report = RunReport {
        scenario: plan.scenario.clone(),
        seed: plan.seed,
        exit: HARNESS,
        trace_hash: format!("{:032x}", left.trace_hash),
        trace_checkpoints: left.trace_checkpoints.clone(),
        sim_seconds: history.end as f64 / 1e6,
        cpu_seconds: 0.0,
        peak_rss_kib: 0,
        profile: left
            .profile
            .iter()
            .map(|(name, rate)| (name.clone(), (rate * 10.0).round() / 10.0))
            .collect(),
        verdicts: Vec::new(),
        probes: probes.clone(),
        counts: Counts::of(history),
        creates: Creates::of(history),
        failure: None,
        plan: String::new(),
        commit: option_env!("KMS_COMMIT").unwrap_or_default().to_owned(),
    };
    match played {
        Err(why) => report.failure = Some(format!("harness: {why}")),
        Ok(played) => {
            for (name, count) in &played.done.counts {
                *report.probes.entry(format!("nemesis:{name}")).or_insert(0) += count;
            }
            // What the databases call their blocking work that makes a change of the log durable: append, confirm,
            // append and apply (the journal, and redb when that is full).
            if let Some(count) = left.probes.get("cut-inside:commit") {
                report.probes.insert("cut-inside-store-commit".to_owned(), *count);
            }
            report.probes.insert("end-check-keys".to_owned(), played.keys_read);
            report.verdicts = check::check_all(&CheckInput {
                history,
                limits: &plan.limits,
                bounds: Bounds::default(),
                topology: &topology(plan),
                domains: &played.domains,
                bearers: &played.bearers,
                visitors_from: plan.visitor(0),
                calm: plan.faults.iter().all(|fault| fault.act.of().of_the_third_copy()),
                honest_disks: honest_disks(plan),
                other_faults: &other_faults(plan, played),
                leaks: &left.leaks,
                searched: &left.searched,
                probes: &probes,
            });
            decide(&mut report, played);
        }
    }
    if report.exit != HELD {
        report.plan = plan.to_string();
    }
    (report.cpu_seconds, report.peak_rss_kib) = process_figures();
    report
}

/// A broken promise weighs more than no progress, and that more than an undecided checker.
fn decide(report: &mut RunReport, played: &Played) {
    let broken = report.verdicts.iter().find_map(|verdict| {
        let first = verdict.violations.first()?;
        Some(format!("{} {} {}: {}", verdict.promise, verdict.checker, first.kind, first.text))
    });
    let undecided = report
        .verdicts
        .iter()
        .find_map(|verdict| Some(format!("{}: {}", verdict.checker, verdict.harness_error.as_ref()?)));
    let malformed = report.probes.keys().find(|name| name.starts_with("malformed-answer"));
    (report.exit, report.failure) = match (broken, &played.stuck, undecided, malformed) {
        (Some(text), ..) => (BROKEN, Some(text)),
        (_, Some(text), ..) => (NO_PROGRESS, Some(text.clone())),
        (_, _, Some(text), _) => (HARNESS, Some(text)),
        (_, _, _, Some(name)) => (HARNESS, Some(format!("the service gave an undocumented answer: {name}"))),
        _ => (HELD, None),
    };
}

fn topology(plan: &Plan) -> Topology {
    let standard = Topology::standard(plan.topology.hosts_per_zone, plan.topology.replica);
    let topology = Topology {
        backups_of: plan.topology.backups.then(|| plan.topology.region.clone()),
        shares: plan.topology.shares,
        ..standard
    };
    if plan.topology.witness_with_replica { topology.with_the_witness_at_the_replica() } else { topology }
}

/// Swapped records and forgotten syncs are disks that lie.
fn honest_disks(plan: &Plan) -> bool {
    let lies = |act: &Act| matches!(act, Act::SwapRecords { .. } | Act::RollBackDisk { .. });
    plan.faults.iter().all(|fault| !lies(&fault.act))
}

/// Faults that leave no event in the history, with their times in the run.
fn other_faults(plan: &Plan, played: &Played) -> Vec<OtherFault> {
    let silent = |act: &Act| {
        let of_store = matches!(act, Act::CutStore { .. } | Act::SlowStore { .. } | Act::FlakyStore { .. });
        of_store || matches!(act, Act::SlowLink { .. } | Act::SlowDisk { .. } | Act::FailSyncs { .. })
    };
    let healed = |act: &Act| match &plan.phases.heal {
        crate::plan::Heal::All => true,
        crate::plan::Heal::None => false,
        crate::plan::Heal::Kinds(kinds) => kinds.contains(&act.kind()),
    };
    let faults = plan.faults.iter().filter(|fault| silent(&fault.act));
    faults
        .map(|fault| {
            let ended = fault.until_us.filter(|until| *until < plan.phases.faults_us);
            let until: Option<Micros> = match ended {
                Some(until) => Some(played.faults_from + until),
                None => healed(&fault.act).then_some(played.healed_at),
            };
            let what = fault.act.kind().word().to_owned();
            OtherFault { from: played.faults_from + fault.at_us, until, what, of: fault.act.of() }
        })
        .collect()
}

/// CPU seconds and peak resident KiB of this process, as the kernel says; 0 where it does not. Read from files:
/// the simulator answers the clock functions of libc with simulated time.
fn process_figures() -> (f64, u64) {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let status = crate::library::read(Path::new("/proc/self/status")).unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    (used.tv_sec as f64 + used.tv_nsec as f64 / 1e9, peak)
}

/// Leaves plan, history, trace tail and verdicts of a failed run in a folder.
///
/// # Errors
/// The file system's own.
#[expect(clippy::disallowed_methods, reason = "the harness writes its findings outside the simulated world")]
pub fn leave(dir: &Path, plan: &Plan, history: &History, left: &Left, report: &RunReport) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("plan.txt"), plan.to_string())?;
    std::fs::write(dir.join("history.json"), serde_json::to_vec(history)?)?;
    std::fs::write(dir.join("trace-tail.txt"), left.trace_tail.lines().join("\n"))?;
    std::fs::write(dir.join("verdicts.json"), serde_json::to_vec_pretty(report)?)
}
