//! One process per seed, several at a time. A process that dies by a signal, says nothing or takes too long
//! is a harness error with the end of its stderr.

use super::report::Report;
use crate::exit;
use crate::interrupt::Children;
use crate::shell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

/// Longest a single seed may take, real time.
const RUN_LIMIT: Duration = Duration::from_secs(900);
/// How much of a dead child's stderr is shown.
const STDERR_TAIL_LINES: usize = 20;

/// One run to make.
#[derive(Debug, Clone)]
pub struct Job {
    /// Scenario name or path, as the simulator takes it.
    pub scenario: String,
    /// Its name, for people.
    pub name: String,
    /// The seed.
    pub seed: u64,
    /// Further arguments of the simulator.
    pub extra: Vec<String>,
    /// The caller's own mark.
    pub tag: usize,
}

/// How runs are made.
pub struct Pool {
    /// The simulator.
    pub binary: PathBuf,
    /// Processes at a time.
    pub jobs: usize,
    /// Where a failing run leaves its folder.
    pub out: Option<PathBuf>,
    /// Run each seed in two processes and compare.
    pub twice: bool,
    /// Pass the trace on to stdout.
    pub trace: bool,
    /// The children, and whether to stop.
    pub children: Children,
}

impl Pool {
    /// Makes every run that `jobs` yields and hands each result to `done`, on this thread, as they end.
    /// After an interrupt no further job is taken and runs cut short are not reported.
    pub fn run(&self, jobs: impl Iterator<Item = Job> + Send, mut done: impl FnMut(&Job, Report)) {
        let jobs = Mutex::new(jobs);
        let finished = AtomicBool::new(false);
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                let (sender, jobs) = (sender.clone(), &jobs);
                scope.spawn(move || {
                    while !self.children.stopped() {
                        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some(job) = next else { break };
                        let report = self.one(&job);
                        if self.children.stopped() || sender.send((job, report)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            scope.spawn(|| {
                while !finished.load(Ordering::SeqCst) {
                    self.children.kill_overdue(RUN_LIMIT);
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
            for (job, report) in receiver {
                done(&job, report);
            }
            finished.store(true, Ordering::SeqCst);
        });
    }

    fn one(&self, job: &Job) -> Report {
        let mut report = self.start(job, self.trace);
        if self.twice && report.exit != exit::HARNESS {
            let second = self.start(job, false);
            if second.exit == exit::HARNESS {
                return second;
            }
            if report.trace_hash.is_empty() || report.trace_hash != second.trace_hash {
                let why = self.first_difference(job, &report, &second);
                report.fail(exit::NOT_DETERMINISTIC, &why);
            }
        }
        report
    }

    /// The run's own: the simulator writes right into what it is given.
    fn folder(&self, job: &Job) -> Option<PathBuf> {
        self.out.as_ref().map(|out| out.join(format!("{}-{}", job.name, job.seed)))
    }

    fn command(&self, job: &Job) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(["run", &job.scenario, "--seed", &job.seed.to_string()]).args(&job.extra);
        // The simulator finds scenarios by name from the root of the workspace.
        command.current_dir(shell::root());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// One process; `trace` passes what it prints, but its report, on to stdout.
    fn start(&self, job: &Job, trace: bool) -> Report {
        let mut command = self.command(job);
        if trace {
            command.arg("--trace");
        }
        if let Some(folder) = self.folder(job) {
            command.arg("--out").arg(folder);
        }
        let run = self.children.run(&mut command, |stdout, stderr| {
            std::thread::scope(|scope| {
                let errors = scope.spawn(move || stderr.map_or_else(String::new, tail));
                let report = stdout.and_then(|stdout| last_report(stdout, trace));
                (report, errors.join().unwrap_or_default())
            })
        });
        let failed = |why: String| Report::harness(&job.name, job.seed, why);
        let ((report, errors), ended) = match run {
            Ok(run) => run,
            Err(error) => return failed(format!("{}: {error}", self.binary.display())),
        };
        if ended.overdue {
            return failed(format!("no end after {} s; stderr:\n{errors}", RUN_LIMIT.as_secs()));
        }
        match (report, ended.status.code()) {
            (Some(mut report), Some(code)) => {
                report.exit = report.exit.max(u8::try_from(code).unwrap_or(exit::HARNESS));
                report.settle();
                report
            }
            (None, Some(code)) if code == i32::from(exit::USAGE) => {
                let mut report = failed(errors);
                report.exit = exit::USAGE;
                report
            }
            _ => {
                failed(format!("the simulator ended with {} and no report; stderr:\n{errors}", ended.status))
            }
        }
    }

    /// Runs the seed twice more with its trace in files, and names the first line that differs.
    fn first_difference(&self, job: &Job, first: &Report, second: &Report) -> String {
        let hashes = format!("trace hash {} then {}", first.trace_hash, second.trace_hash);
        let Some(folder) = self.folder(job) else { return hashes };
        let paths = [folder.join("trace-1.txt"), folder.join("trace-2.txt")];
        let written = std::fs::create_dir_all(&folder).and_then(|()| {
            paths.iter().try_for_each(|path| {
                let mut command = self.command(job);
                command.arg("--trace").stdout(File::create(path)?);
                self.children.run(&mut command, |_, stderr| stderr.map(tail)).map(|_| ())
            })
        });
        if let Err(error) = written {
            return format!("{hashes}; traces not written: {error}");
        }
        match differing_line(&paths[0], &paths[1]) {
            Ok(Some(difference)) => format!("{hashes}; first difference: {difference}"),
            Ok(None) => format!("{hashes}; two further runs with the trace printed were equal"),
            Err(error) => format!("{hashes}; traces not read: {error}"),
        }
    }
}

/// The report among the lines of a run; the other lines go to stdout if `pass` says so.
fn last_report(stdout: impl Read, pass: bool) -> Option<Report> {
    let mut report = None;
    for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        match Report::parse(&line) {
            Some(found) => report = Some(found),
            None if pass => crate::say::out(line),
            None => {}
        }
    }
    report
}

/// The end of a child's stderr.
fn tail(stderr: impl Read) -> String {
    let mut lines = std::collections::VecDeque::new();
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        if lines.len() == STDERR_TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(&line).into_owned());
    }
    Vec::from(lines).join("\n")
}

/// The first line, counted from 1, in which two traces differ. The report at the end is no part of a trace.
fn differing_line(left: &Path, right: &Path) -> std::io::Result<Option<String>> {
    let lines = |path: &Path| -> std::io::Result<_> {
        Ok(BufReader::new(File::open(path)?)
            .split(b'\n')
            .map_while(Result::ok)
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .filter(|line| Report::parse(line).is_none()))
    };
    let (mut left, mut right) = (lines(left)?, lines(right)?);
    for number in 1_u64.. {
        let end = || "(end of trace)".to_owned();
        match (left.next(), right.next()) {
            (None, None) => break,
            (one, two) if one == two => {}
            (one, two) => {
                let (one, two) = (one.unwrap_or_else(end), two.unwrap_or_else(end));
                return Ok(Some(format!("line {number}: `{one}` / `{two}`")));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_found_among_other_lines() {
        let text = "noise\n{\"verdicts\":[],\"seed\":4}\n";
        assert_eq!(last_report(text.as_bytes(), false).map(|report| report.seed), Some(4));
        assert!(last_report("noise\n".as_bytes(), false).is_none());
    }

    #[test]
    fn a_failing_run_has_a_folder_of_its_own() {
        let pool = Pool {
            binary: "kms-sim".into(),
            jobs: 1,
            out: Some("out".into()),
            twice: false,
            trace: false,
            children: Children::default(),
        };
        let job = |seed| Job {
            scenario: "a/calm.plan".into(),
            name: "calm".into(),
            seed,
            extra: Vec::new(),
            tag: 0,
        };
        assert_eq!(pool.folder(&job(7)), Some("out/calm-7".into()));
        assert_eq!(Pool { out: None, ..pool }.folder(&job(7)), None);
    }

    #[test]
    fn the_tail_is_short() {
        let text: String = (0..100).map(|line| format!("{line}\n")).collect();
        assert_eq!(tail(text.as_bytes()).lines().next(), Some("80"));
    }
}
