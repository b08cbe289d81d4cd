//! What clients saw, reduced to the question whether it is one history: every order of the writes that is
//! still possible, as a set. Exact for one record, for writes that each happen at most once, and for reads and
//! conflicts that begin and end within one step; it keeps no list of what was seen.
//!
//! A history is linearizable while the set is not empty. A test compares it with stateright's tester.

use crate::log::{Log, bit};

/// What a reader sees where there is nothing, or no longer anything.
pub const ABSENT: u8 = 0;
/// The write that deletes; as a value, its tombstone.
pub const DELETE: u8 = 4;

/// A conditional write: its commit id, which is also the version it leaves, and the version it expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Commit id, 1 to 4.
    pub id: u8,
    /// The version that must be there.
    pub expect: u8,
}

/// Creates the record; expects nothing there, a tombstone included.
pub const CREATE: Write = Write { id: 1, expect: ABSENT };
/// Another client's create of the same record.
pub const RIVAL: Write = Write { id: 2, expect: ABSENT };
/// Changes what the first create made.
pub const UPDATE: Write = Write { id: 3, expect: 1 };
/// Deletes what the first create made.
pub const REMOVE: Write = Write { id: DELETE, expect: 1 };
/// Deletes what the update left.
pub const REMOVE_UPDATED: Write = Write { id: DELETE, expect: 3 };

/// What a reader is shown of a version.
pub fn shown(version: u8) -> u8 {
    if version == DELETE { ABSENT } else { version }
}

/// What clients asked and saw. Sets of writes are bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct History {
    /// One bit for each pair of (writes that have happened, version there) that explains everything seen.
    possible: u128,
    /// Sent to a head.
    pub asked: u8,
    /// Answered with success.
    pub acknowledged: u8,
    /// Answered with a definite "no", which promises that nothing of it ever appears.
    pub refused: u8,
    /// Answered "conflict".
    pub conflicted: u8,
    /// Gone with a region that was lost; they may not come back.
    pub lost: u8,
    /// Whose client's connection ended before an answer.
    pub hung_up: u8,
}

impl Default for History {
    fn default() -> History {
        History { possible: 1, asked: 0, acknowledged: 0, refused: 0, conflicted: 0, lost: 0, hung_up: 0 }
    }
}

impl History {
    /// Whether everything seen so far is one history.
    pub fn is_one(&self) -> bool {
        self.possible != 0
    }

    /// Writes whose fate is open: sent, and not answered.
    pub fn open(&self) -> u8 {
        (self.may_happen() | self.lost) & !self.acknowledged
    }

    fn may_happen(&self) -> u8 {
        self.asked & !self.refused & !self.conflicted & !self.lost
    }

    /// A write is sent and appended.
    pub fn ask(&mut self, id: u8, program: &[Write]) {
        self.asked |= bit(id);
        self.close(program);
    }

    /// A write is answered with success.
    pub fn acknowledge(&mut self, id: u8, program: &[Write]) {
        self.acknowledged |= bit(id);
        // What went with a region has not happened in the history that goes on.
        let gone = self.lost & bit(id) != 0;
        self.keep(program, |happened, _| !gone && happened & bit(id) != 0);
    }

    /// A write is answered "refused".
    pub fn refuse(&mut self, id: u8, program: &[Write]) {
        self.refused |= bit(id);
        self.keep(program, |happened, _| happened & bit(id) == 0);
    }

    /// A write is sent and answered "conflict": what it expects must not be there now, and it never happens.
    pub fn conflict(&mut self, write: Write, program: &[Write]) {
        self.asked |= bit(write.id);
        self.conflicted |= bit(write.id);
        self.keep(program, |happened, version| version != write.expect && happened & bit(write.id) == 0);
    }

    /// A reader sees this.
    pub fn read(&mut self, seen: u8, program: &[Write]) {
        self.keep(program, |_, version| shown(version) == seen);
    }

    /// The region is lost and made again from this log: what else was asked is gone for good.
    pub fn restore(&mut self, log: Log) {
        let kept = log.set();
        self.lost |= self.may_happen() & !kept;
        self.possible = mark(kept | self.lost, log.last());
    }

    fn keep(&mut self, program: &[Write], wanted: impl Fn(u8, u8) -> bool) {
        let mut kept = 0;
        for (happened, version) in pairs(self.possible) {
            if wanted(happened, version) {
                kept |= mark(happened, version);
            }
        }
        self.possible = kept;
        self.close(program);
    }

    /// Adds what open writes may lead to.
    fn close(&mut self, program: &[Write]) {
        let may = self.may_happen();
        loop {
            let before = self.possible;
            for (happened, version) in pairs(before) {
                for write in program {
                    if may & !happened & bit(write.id) != 0 && write.expect == version {
                        self.possible |= mark(happened | bit(write.id), write.id);
                    }
                }
            }
            if self.possible == before {
                return;
            }
        }
    }
}

fn mark(happened: u8, version: u8) -> u128 {
    1 << (u32::from(happened) * 8 + u32::from(version))
}

fn pairs(mut set: u128) -> impl Iterator<Item = (u8, u8)> {
    std::iter::from_fn(move || {
        if set == 0 {
            return None;
        }
        let place = set.trailing_zeros() as u8;
        set &= set - 1;
        Some((place / 8, place % 8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

    #[derive(Clone, Debug, PartialEq)]
    struct Record(u8);
    #[derive(Clone, Debug, PartialEq)]
    enum Ask {
        Write(Write),
        Read,
    }
    #[derive(Clone, Debug, PartialEq)]
    enum Answer {
        Done,
        Conflict,
        Seen(u8),
    }
    impl SequentialSpec for Record {
        type Op = Ask;
        type Ret = Answer;
        fn invoke(&mut self, ask: &Ask) -> Answer {
            match ask {
                Ask::Read => Answer::Seen(shown(self.0)),
                Ask::Write(write) if write.expect == self.0 => {
                    self.0 = write.id;
                    Answer::Done
                }
                Ask::Write(_) => Answer::Conflict,
            }
        }
    }

    /// Every sequence of events up to a length, judged by both.
    fn compare(
        history: History,
        tester: &LinearizabilityTester<u8, Record>,
        reader: u8,
        left: u8,
        judged: &mut usize,
    ) {
        const PROGRAM: [Write; 4] = [CREATE, RIVAL, UPDATE, REMOVE];
        assert_eq!(history.is_one(), tester.is_consistent(), "{history:?}\n{tester:?}");
        *judged += 1;
        if left == 0 || !history.is_one() {
            return;
        }
        let mut next = |history: History, tester: LinearizabilityTester<u8, Record>| {
            compare(history, &tester, reader + 1, left - 1, judged);
        };
        for write in PROGRAM {
            if history.asked & bit(write.id) == 0 {
                let (mut seen, mut judge) = (history, tester.clone());
                seen.ask(write.id, &PROGRAM);
                judge.on_invoke(write.id, Ask::Write(write)).expect("a valid history");
                next(seen, judge);
                let (mut seen, mut judge) = (history, tester.clone());
                seen.conflict(write, &PROGRAM);
                judge.on_invret(write.id, Ask::Write(write), Answer::Conflict).expect("a valid history");
                next(seen, judge);
            } else if history.open() & bit(write.id) != 0 {
                let (mut seen, mut judge) = (history, tester.clone());
                seen.acknowledge(write.id, &PROGRAM);
                judge.on_return(write.id, Answer::Done).expect("a valid history");
                next(seen, judge);
            }
        }
        for value in [ABSENT, 1, 2, 3] {
            let (mut seen, mut judge) = (history, tester.clone());
            seen.read(value, &PROGRAM);
            judge.on_invret(reader, Ask::Read, Answer::Seen(value)).expect("a valid history");
            next(seen, judge);
        }
    }

    #[test]
    fn agrees_with_a_linearizability_tester() {
        let mut judged = 0;
        let tester = LinearizabilityTester::new(Record(ABSENT));
        compare(History::default(), &tester, 10, 5, &mut judged);
        assert!(judged > 5_000, "{judged}");
    }

    #[test]
    fn a_restore_forgets_and_forbids() {
        let program = [CREATE, UPDATE];
        let mut history = History::default();
        history.ask(1, &program);
        history.acknowledge(1, &program);
        history.ask(3, &program);
        history.acknowledge(3, &program);
        history.restore(Log::default().with(1));
        assert_eq!(history.lost, bit(3));
        let mut back = history;
        back.read(3, &program);
        assert!(!back.is_one());
        history.read(1, &program);
        assert!(history.is_one());
    }
}
