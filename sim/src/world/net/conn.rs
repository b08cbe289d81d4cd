//! One simulated TCP connection: two directions of frames in flight, each delivered in order, with a bounded
//! window whose credit comes back over the reverse link, half-close, and resets. Bytes are never removed from
//! the middle of a stream: a cut holds them, a reset ends them.

use super::{
    super::{Inner, locked, node::Life, secrecy::Carry, timer::Due},
    Held,
};
use crate::actions::CutMode;
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Writes that follow each other within this time share a segment.
const COALESCE_NS: u64 = 20_000;
/// Largest segment, bytes.
const SEGMENT_BYTES: usize = 64 << 10;

/// A connection; end 0 asked for it, end 1 accepted it. Direction `d` carries what end `d` sends.
pub(in crate::world) struct Conn {
    number: u64,
    pub(super) client_address: String,
    lives: [Arc<Life>; 2],
    state: Mutex<State>,
}

struct State {
    ends: [End; 2],
    pipes: [Pipe; 2],
}

#[derive(Default)]
struct End {
    phase: Phase,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A process holds it.
    #[default]
    Open,
    /// The process let go of it: its machine answers data with a reset.
    Closed,
    /// Its machine lost power: silence until it is back, then as closed.
    Dark,
}

#[derive(Default)]
struct Pipe {
    flight: VecDeque<(u64, Frame)>,
    /// An event for the first frame is in the heap.
    ordered: bool,
    /// It waits for a join or for a machine's power.
    held: bool,
    inbox: VecDeque<(Vec<u8>, usize)>,
    /// Sent and not credited, bytes.
    outstanding: usize,
    /// Read and not yet told to the sender, bytes.
    read_uncredited: usize,
    last_sent_ns: u64,
    sent: u64,
    fin_sent: bool,
    fin_seen: bool,
    carry: Carry,
}

enum Frame {
    Data(Vec<u8>),
    Fin,
    Reset,
    /// The receiver of the other direction has read so many bytes.
    Credit(usize),
}

impl Conn {
    pub(super) fn new(number: u64, lives: [Arc<Life>; 2], client_address: String) -> Arc<Conn> {
        let state = Mutex::new(State { ends: Default::default(), pipes: Default::default() });
        Arc::new(Conn { number, client_address, lives, state })
    }

    /// Nothing will ever move on it again.
    pub(super) fn is_over(&self) -> bool {
        let state = locked(&self.state);
        state.ends.iter().all(|end| end.phase != Phase::Open)
            && state.pipes.iter().all(|pipe| pipe.flight.is_empty())
    }

    pub(super) fn is_open_end(&self, end: usize, life: &Arc<Life>) -> bool {
        Arc::ptr_eq(&self.lives[end], life) && locked(&self.state).ends[end].phase == Phase::Open
    }

    fn link(&self, direction: usize) -> (usize, usize) {
        (self.lives[direction].node, self.lives[1 - direction].node)
    }
}

impl State {
    fn wake(&mut self, end: usize) {
        let end = &mut self.ends[end];
        end.reader.take().into_iter().chain(end.writer.take()).for_each(Waker::wake);
    }

    /// The end learns that the stream was reset: it may read what has arrived, and no more.
    fn reset(&mut self, end: usize) {
        self.ends[end].reset = true;
        self.pipes[end].flight.clear();
        self.wake(end);
    }
}

impl Inner {
    /// Puts a frame on the wire.
    fn send(&self, conn: &Arc<Conn>, state: &mut State, direction: usize, frame: Frame) {
        let (from, to) = conn.link(direction);
        let now_ns = self.now_ns();
        let pipe = &mut state.pipes[direction];
        let bytes = if let Frame::Data(bytes) = &frame { bytes.len() as u64 } else { 0 };
        let mut at = locked(&self.net).arrival(&self.settings, now_ns, from, to);
        if let Some((last, _)) = pipe.flight.back() {
            at = at.max(*last);
        }
        if let Some(span_ms) = (bytes * 1_000_000).checked_div(self.settings.bytes_per_ms) {
            at += span_ms;
        }
        pipe.last_sent_ns = now_ns;
        pipe.flight.push_back((at, frame));
        self.order(conn, pipe, direction);
    }

    fn order(&self, conn: &Arc<Conn>, pipe: &mut Pipe, direction: usize) {
        if pipe.ordered || pipe.held {
            return;
        }
        if let Some((at, _)) = pipe.flight.front() {
            pipe.ordered = true;
            self.at(*at, Due::Frames(conn.clone(), direction));
        }
    }

    /// What waited for a join or a machine moves on.
    pub(super) fn release(&self, conn: &Arc<Conn>, direction: usize) {
        let earliest = self.rejoin_ns();
        let mut state = locked(&conn.state);
        let pipe = &mut state.pipes[direction];
        pipe.held = false;
        for (at, _) in &mut pipe.flight {
            *at = (*at).max(earliest);
        }
        self.order(conn, pipe, direction);
    }

    /// Frames of one direction arrive.
    pub(in crate::world) fn deliver(&self, conn: &Arc<Conn>, direction: usize) {
        let (from, to) = conn.link(direction);
        let receiver = 1 - direction;
        let mut state = locked(&conn.state);
        let state = &mut *state;
        state.pipes[direction].ordered = false;
        loop {
            let due = state.pipes[direction].flight.front().is_some_and(|(at, _)| *at <= self.now_ns());
            if !due || state.pipes[direction].held {
                break;
            }
            let cut = locked(&self.net).links[from][to].cut;
            if cut == Some(CutMode::Hold) {
                state.pipes[direction].held = true;
                locked(&self.net).links[from][to].held.push(Held::Frames(conn.clone(), direction));
                break;
            }
            if cut == Some(CutMode::Reset) {
                self.trace("cut-reset", from, to, conn.number, direction as u64, &[]);
                state.reset(0);
                state.reset(1);
                break;
            }
            if state.ends[receiver].phase == Phase::Dark && !self.node(to).powered() {
                state.pipes[direction].held = true;
                locked(&self.net).dark.entry(to).or_default().push((conn.clone(), direction));
                break;
            }
            if let Some((_, frame)) = state.pipes[direction].flight.pop_front() {
                self.arrive(conn, state, direction, frame);
            }
        }
        self.order(conn, &mut state.pipes[direction], direction);
    }

    fn arrive(&self, conn: &Arc<Conn>, state: &mut State, direction: usize, frame: Frame) {
        let (from, to) = conn.link(direction);
        let (sender, receiver) = (direction, 1 - direction);
        let gone = state.ends[receiver].phase != Phase::Open || state.ends[receiver].reset;
        match frame {
            Frame::Fin if gone && state.ends[receiver].phase == Phase::Closed => {}
            Frame::Data(_) | Frame::Fin if gone => {
                // A machine that knows nothing of the stream answers with a reset.
                if state.ends[sender].phase == Phase::Open && !state.ends[sender].reset {
                    self.send(conn, state, receiver, Frame::Reset);
                }
            }
            Frame::Data(bytes) => {
                self.trace("bytes", from, to, conn.number, direction as u64, &bytes);
                state.pipes[direction].inbox.push_back((bytes, 0));
                if let Some(waker) = state.ends[receiver].reader.take() {
                    waker.wake();
                }
            }
            Frame::Fin => {
                self.trace("fin", from, to, conn.number, direction as u64, &[]);
                state.pipes[direction].fin_seen = true;
                state.wake(receiver);
            }
            Frame::Reset => {
                self.trace("reset", from, to, conn.number, direction as u64, &[]);
                state.reset(receiver);
            }
            Frame::Credit(bytes) => {
                let pipe = &mut state.pipes[receiver];
                pipe.outstanding = pipe.outstanding.saturating_sub(bytes);
                if let Some(waker) = state.ends[receiver].writer.take() {
                    waker.wake();
                }
            }
        }
    }

    /// A process lets go of its end, or dies: the peer sees the stream end, after what was sent.
    pub(super) fn close(&self, conn: &Arc<Conn>, end: usize) {
        let mut state = locked(&conn.state);
        let state = &mut *state;
        if state.ends[end].phase != Phase::Open {
            return;
        }
        state.ends[end].phase = Phase::Closed;
        state.wake(end);
        let inbox = std::mem::take(&mut state.pipes[1 - end].inbox);
        if state.ends[end].reset {
            return;
        }
        if !inbox.is_empty() {
            self.send(conn, state, end, Frame::Reset);
        } else if !state.pipes[end].fin_sent {
            state.pipes[end].fin_sent = true;
            self.send(conn, state, end, Frame::Fin);
        }
    }

    /// The machine of an end lost power. What is on the wire may still arrive; nothing else ever will.
    pub(super) fn darken(&self, conn: &Arc<Conn>, end: usize) {
        let mut state = locked(&conn.state);
        state.ends[end].phase = Phase::Dark;
        state.pipes[1 - end].inbox.clear();
        if state.pipes[end].held {
            state.pipes[end].flight.clear();
        }
        state.wake(end);
    }
}

/// One end of a connection, in a process' hands.
pub(super) struct SimStream {
    inner: Arc<Inner>,
    conn: Arc<Conn>,
    end: usize,
}

impl SimStream {
    pub(super) fn new(inner: &Arc<Inner>, conn: Arc<Conn>, end: usize) -> SimStream {
        SimStream { inner: inner.clone(), conn, end }
    }

    fn write(&self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let (inner, conn, end) = (&self.inner, &self.conn, self.end);
        let mut state = locked(&conn.state);
        let state = &mut *state;
        if state.ends[end].reset || state.ends[end].phase != Phase::Open {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let pipe = &mut state.pipes[end];
        if pipe.fin_sent {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let offered: usize = parts.iter().map(|part| part.len()).sum();
        let room = inner.settings.window_bytes.saturating_sub(pipe.outstanding);
        let taken = offered.min(room);
        if taken == 0 && offered > 0 {
            state.ends[end].writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.outstanding += taken;
        pipe.sent += taken as u64;
        let fresh = inner.now_ns().saturating_sub(pipe.last_sent_ns) > COALESCE_NS;
        let mut segment = match pipe.flight.back_mut() {
            Some((_, Frame::Data(bytes))) if !fresh && bytes.len() + taken <= SEGMENT_BYTES => {
                std::mem::take(bytes)
            }
            _ => Vec::with_capacity(taken),
        };
        let before = segment.len();
        let mut left = taken;
        for part in parts {
            let piece = &part[..part.len().min(left)];
            segment.extend_from_slice(piece);
            left -= piece.len();
        }
        locked(&inner.secrecy).scan_stream(inner.now_us(), &mut pipe.carry, &segment[before..], || {
            let (from, to) = conn.link(end);
            format!("wire {} > {}", inner.node(from).name(), inner.node(to).name())
        });
        if before > 0 {
            if let Some((_, Frame::Data(bytes))) = pipe.flight.back_mut() {
                *bytes = segment;
            }
        } else if taken > 0 {
            inner.send(conn, state, end, Frame::Data(segment));
        }
        Poll::Ready(Ok(taken))
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (conn, end) = (&self.conn, self.end);
        let mut state = locked(&conn.state);
        let state = &mut *state;
        let pipe = &mut state.pipes[1 - end];
        let mut read = 0;
        while let Some((bytes, from)) = pipe.inbox.front_mut() {
            let count = (bytes.len() - *from).min(buffer.remaining());
            if count == 0 {
                break;
            }
            buffer.put_slice(&bytes[*from..*from + count]);
            *from += count;
            read += count;
            if *from == bytes.len() {
                pipe.inbox.pop_front();
            }
        }
        if read > 0 {
            pipe.read_uncredited += read;
            if pipe.read_uncredited >= self.inner.settings.window_bytes / 4 {
                let credit = std::mem::take(&mut pipe.read_uncredited);
                self.inner.send(conn, state, end, Frame::Credit(credit));
            }
            return Poll::Ready(Ok(()));
        }
        if buffer.remaining() == 0 || pipe.fin_seen {
            return Poll::Ready(Ok(()));
        }
        if state.ends[end].reset || state.ends[end].phase != Phase::Open {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        state.ends[end].reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = locked(&self.conn.state);
        let state = &mut *state;
        if state.ends[self.end].reset || state.ends[self.end].phase != Phase::Open {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        if !std::mem::replace(&mut state.pipes[self.end].fin_sent, true) {
            self.inner.send(&self.conn, state, self.end, Frame::Fin);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.inner.close(&self.conn, self.end);
    }
}
