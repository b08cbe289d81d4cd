//! Log lines of the simulated nodes: a tracing layer that formats each event once, searches it for secrets,
//! hashes it into the trace, and counts events of target `probe`. It prints nothing.

use super::{World, executor::current_node, locked};
use std::fmt::Write as _;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

/// Target of events that are probes; the event's message is the probe's name.
pub const PROBE_TARGET: &str = "probe";

/// Room for most lines.
const LINE_BYTES: usize = 384;

/// See the module. Give it to a `tracing_subscriber::Registry`.
pub struct LogLayer {
    world: World,
    level: tracing::Level,
}

impl World {
    /// A layer that takes log lines at `level` and above.
    pub fn log_layer(&self, level: tracing::Level) -> LogLayer {
        LogLayer { world: self.clone(), level }
    }

    /// A log line by another way than [`World::log_layer`]: searched and traced.
    pub fn log_line(&self, line: &str) {
        let node = current_node();
        let inner = &self.0;
        locked(&inner.secrecy)
            .scan(inner.now_us(), line.as_bytes(), || format!("log of {}", inner.node(node).name()));
        inner.trace_text("log", node, 0, line);
    }
}

/// The fields of one event as text.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // As above. Without quotes and escapes, so that needles stay what they are.
        let _ = match field.name() {
            "message" => write!(self.0, " {value}"),
            name => write!(self.0, " {name}={value}"),
        };
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.is_event() && (*metadata.level() <= self.level || metadata.target() == PROBE_TARGET)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Line(String::with_capacity(LINE_BYTES));
        if metadata.target() != PROBE_TARGET {
            // As above.
            let _ = write!(line.0, "{} {}:", metadata.level(), metadata.target());
        }
        event.record(&mut line);
        if metadata.target() == PROBE_TARGET {
            let node = self.world.0.node(current_node());
            self.world.0.probe(line.0.trim(), &node);
        } else {
            self.world.log_line(&line.0);
        }
    }
}
