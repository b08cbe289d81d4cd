//! One-way links between nodes: cuts, slowness, and what waits for a join.

use super::{
    super::{Inner, Span, locked, timer::Due},
    Attempt, Conn,
};
use crate::{actions::CutMode, history::What};
use std::{io, sync::Arc};

/// One direction between two nodes.
pub(super) struct Link {
    pub(super) span: Span,
    pub(super) extra_us: u64,
    pub(super) cut: Option<CutMode>,
    pub(super) held: Vec<Held>,
}

/// Something that waits for a join.
pub(in crate::world) enum Held {
    /// The frames of one direction of a stream.
    Frames(Arc<Conn>, usize),
    /// A request to connect.
    Syn(Arc<Attempt>),
    /// Its answer.
    Answer(Arc<Attempt>, io::Result<Arc<Conn>>),
}

impl Link {
    pub(super) fn new(span: Span) -> Link {
        Link { span, extra_us: 0, cut: None, held: Vec::new() }
    }
}

impl super::NetState {
    /// Cuts both ways without an event.
    pub(in crate::world) fn seclude(&mut self, one: usize, other: usize, mode: CutMode) {
        self.links[one][other].cut = Some(mode);
        self.links[other][one].cut = Some(mode);
    }
}

impl Inner {
    /// Cuts a link one way. What is on the wire is caught by the cut.
    pub(in crate::world) fn cut(&self, from: usize, to: usize, mode: CutMode) {
        let before = locked(&self.net).links[from][to].cut.replace(mode);
        if before.is_none() {
            self.record(from, What::Cut { from: self.name(from), to: self.name(to) });
        }
    }

    /// Ends a one-way cut; what waited moves on after a drawn time, as retransmissions do.
    pub(in crate::world) fn join(self: &Arc<Self>, from: usize, to: usize) {
        let held = {
            let mut net = locked(&self.net);
            let link = &mut net.links[from][to];
            if link.cut.take().is_none() {
                return;
            }
            std::mem::take(&mut link.held)
        };
        self.record(from, What::Joined { from: self.name(from), to: self.name(to) });
        for one in held {
            match one {
                Held::Frames(conn, direction) => self.release(&conn, direction),
                Held::Syn(attempt) => {
                    self.at(self.rejoin_ns(), Due::Syn(attempt));
                }
                Held::Answer(attempt, answer) => {
                    self.at(self.rejoin_ns(), Due::SynAnswer(attempt, answer));
                }
            }
        }
    }

    /// All one-way cuts there are.
    pub(in crate::world) fn cuts(&self) -> Vec<(usize, usize)> {
        let net = locked(&self.net);
        let nodes = net.links.len();
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        pairs.filter(|&(from, to)| net.links[from][to].cut.is_some()).collect()
    }

    pub(in crate::world) fn slow_link(&self, from: usize, to: usize, extra_us: u64) {
        locked(&self.net).links[from][to].extra_us = extra_us;
        self.trace("slow-link", from, to, extra_us, 0, &[]);
    }

    pub(super) fn rejoin_ns(&self) -> u64 {
        let span = self.settings.rejoin;
        self.now_ns() + locked(&self.net).stream.range(span.low_us, span.high_us) * 1_000
    }

    fn name(&self, index: usize) -> String {
        self.node(index).name()
    }
}
