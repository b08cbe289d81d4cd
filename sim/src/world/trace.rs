//! The trace: a running 128-bit hash (XXH3) over everything that happened, the last events in a ring, a
//! checkpoint of the hash every thousand events, and one line per event when somebody asked for lines.
//! It is a fingerprint against accidents, not a cryptographic commitment.

use super::tally::Tally;
use std::{collections::VecDeque, fmt::Write as _, io};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Events kept for failure reports.
pub const TAIL_EVENTS: usize = 2_000;
/// Events between two checkpoints of the hash.
pub const CHECKPOINT_EVENTS: u64 = 1_000;

/// One event: what, where, two numbers whose meaning depends on what, and a text if it has one.
#[derive(Debug, Clone)]
struct Event {
    index: u64,
    at_ns: u64,
    kind: &'static str,
    from: u16,
    to: u16,
    a: u64,
    b: u64,
    digest: u64,
    text: Option<Box<str>>,
}

impl Event {
    fn format(&self, names: &[String], out: &mut String) {
        let name = |index: u16| names.get(usize::from(index)).map_or("?", String::as_str);
        let (seconds, nanos) = (self.at_ns / 1_000_000_000, self.at_ns % 1_000_000_000);
        // Writing to a String cannot fail.
        let _ = write!(out, "{} {seconds}.{nanos:09} {} {}", self.index, self.kind, name(self.from));
        if self.to != self.from {
            let _ = write!(out, ">{}", name(self.to));
        }
        let _ = write!(out, " {} {}", self.a, self.b);
        if self.digest != 0 {
            let _ = write!(out, " #{:016x}", self.digest);
        }
        if let Some(text) = &self.text {
            let _ = write!(out, " {}", text.escape_debug());
        }
    }
}

/// The last events of a run. They are made lines of only when somebody wants to read them.
#[derive(Debug, Clone, Default)]
pub struct TraceTail {
    events: VecDeque<Event>,
    names: Vec<String>,
}

impl TraceTail {
    /// One line per event.
    pub fn lines(&self) -> Vec<String> {
        let line = |event: &Event| {
            let mut out = String::new();
            event.format(&self.names, &mut out);
            out
        };
        self.events.iter().map(line).collect()
    }
}

/// See the module.
pub(super) struct Trace {
    hash: Xxh3,
    events: u64,
    tally: Tally,
    tail: VecDeque<Event>,
    checkpoints: Vec<u64>,
    sink: Option<Box<dyn io::Write + Send>>,
    names: Vec<String>,
    line: String,
}

impl Trace {
    pub(super) fn new() -> Trace {
        Trace {
            hash: Xxh3::new(),
            events: 0,
            tally: Tally::default(),
            tail: VecDeque::with_capacity(TAIL_EVENTS),
            checkpoints: Vec::new(),
            sink: None,
            names: Vec::new(),
            line: String::new(),
        }
    }

    pub(super) fn set_sink(&mut self, sink: Option<Box<dyn io::Write + Send>>) {
        self.sink = sink;
    }

    pub(super) fn name(&mut self, index: usize, name: &str) {
        if self.names.len() <= index {
            self.names.resize(index + 1, String::new());
        }
        self.names[index] = name.to_owned();
    }

    #[expect(clippy::too_many_arguments, reason = "one flat row of the trace")]
    pub(super) fn event(
        &mut self,
        at_ns: u64,
        kind: &'static str,
        from: usize,
        to: usize,
        a: u64,
        b: u64,
        bytes: &[u8],
        text: Option<&str>,
    ) {
        let size = bytes.len() + text.map_or(0, str::len);
        let kind_hash = self.tally.count(kind, size).hash;
        let mut head = [0; 48];
        head[0..8].copy_from_slice(&at_ns.to_le_bytes());
        head[8..16].copy_from_slice(&kind_hash.to_le_bytes());
        head[16..20].copy_from_slice(&(from as u32).to_le_bytes());
        head[20..24].copy_from_slice(&(to as u32).to_le_bytes());
        head[24..32].copy_from_slice(&a.to_le_bytes());
        head[32..40].copy_from_slice(&b.to_le_bytes());
        head[40..48].copy_from_slice(&(size as u64).to_le_bytes());
        self.hash.update(&head);
        if !bytes.is_empty() {
            self.hash.update(bytes);
        }
        if let Some(text) = text {
            self.hash.update(text.as_bytes());
        }
        // The digest of the event alone: a cheap mark for the tail, the exact one only when lines are written.
        let digest = if self.sink.is_some() { xxh3_64(bytes) } else { 0 };
        let text = text.map(Into::into);
        let event =
            Event { index: self.events, at_ns, kind, from: from as u16, to: to as u16, a, b, digest, text };
        self.events += 1;
        if self.events.is_multiple_of(CHECKPOINT_EVENTS) {
            self.checkpoints.push(self.hash.digest());
        }
        if self.sink.is_some() {
            self.write_line(&event);
        }
        if self.tail.len() == TAIL_EVENTS {
            self.tail.pop_front();
        }
        self.tail.push_back(event);
    }

    fn write_line(&mut self, event: &Event) {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        event.format(&self.names, &mut line);
        line.push('\n');
        if let Some(sink) = &mut self.sink {
            // A trace that cannot be written must not change the run: it is simply shorter.
            let _ = sink.write_all(line.as_bytes());
        }
        self.line = line;
    }

    pub(super) fn hash(&self) -> u128 {
        self.hash.digest128()
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(super) fn checkpoints(&self) -> Vec<u64> {
        self.checkpoints.clone()
    }

    /// Takes the last events out.
    pub(super) fn take_tail(&mut self) -> TraceTail {
        TraceTail { events: std::mem::take(&mut self.tail), names: self.names.clone() }
    }

    pub(super) fn flush(&mut self) {
        if let Some(sink) = &mut self.sink {
            // As in `write_line`.
            let _ = sink.flush();
        }
    }
}

/// Where two runs of one seed part: the first 1,000 events among which they differ, by their checkpoints.
/// `None` if all common checkpoints agree.
pub fn first_difference(one: &[u64], other: &[u64]) -> Option<std::ops::Range<u64>> {
    let at = one.iter().zip(other).position(|(a, b)| a != b)? as u64;
    Some(at * CHECKPOINT_EVENTS..(at + 1) * CHECKPOINT_EVENTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_covers_every_field() {
        let hash = |kind, from, a, bytes: &[u8], text| {
            let mut trace = Trace::new();
            trace.event(1, kind, from, 0, a, 0, bytes, text);
            trace.hash()
        };
        let base = hash("x", 0, 1, b"abc", None);
        assert_eq!(base, hash("x", 0, 1, b"abc", None));
        for other in [
            hash("y", 0, 1, b"abc", None),
            hash("x", 1, 1, b"abc", None),
            hash("x", 0, 2, b"abc", None),
            hash("x", 0, 1, b"abd", None),
            hash("x", 0, 1, b"abc", Some("t")),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn checkpoints_name_the_first_difference() {
        let run = |odd: u64| {
            let mut trace = Trace::new();
            for index in 0..3_500 {
                trace.event(index, "tick", 0, 0, u64::from(index == odd), 0, &[], None);
            }
            assert_eq!(trace.take_tail().lines().len(), TAIL_EVENTS);
            trace.checkpoints()
        };
        assert_eq!(first_difference(&run(9_999), &run(9_999)), None);
        assert_eq!(first_difference(&run(9_999), &run(1_234)), Some(1_000..2_000));
    }
}
