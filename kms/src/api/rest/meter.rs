//! What a host counts of its requests. Labels are routes, methods, statuses and error words: their number is bounded by this program.

use super::{
    call::{App, Note},
    reply::error_id,
};
use crate::{
    audit::{Recorder, State},
    error::{Code, Error},
    metrics::text,
};
use http::{Method, StatusCode};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::time::Duration;

/// Upper bounds of the latency's buckets, seconds.
const BUCKETS: [f64; 13] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    error: &'static str,
}

/// The counts of a host since its start.
pub(super) struct Meter {
    registry: Registry,
    requests: Family<Asked, Counter>,
    latency: Family<Route, Histogram>,
    errors: Family<Cause, Counter>,
    refused: Counter,
    can_read: Gauge,
    can_write: Gauge,
    sealed: Gauge,
    connections: Gauge,
    audit: AuditGauges,
}

#[derive(Default)]
struct AuditGauges {
    recording: Gauge,
    bytes: Gauge,
    head: Gauge,
    forwarded: Gauge,
}

impl Meter {
    /// Nothing counted yet.
    pub(super) fn new(audited: bool) -> Meter {
        let latency = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let mut meter = Meter {
            registry: Registry::with_prefix("kms"),
            requests: Family::default(),
            latency,
            errors: Family::default(),
            refused: Counter::default(),
            can_read: Gauge::default(),
            can_write: Gauge::default(),
            sealed: Gauge::default(),
            connections: Gauge::default(),
            audit: AuditGauges::default(),
        };
        let registry = &mut meter.registry;
        registry.register("requests", "Requests answered", meter.requests.clone());
        let help = "From the head of a request to its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, meter.latency.clone());
        registry.register("errors", "Errors answered, by their word", meter.errors.clone());
        registry.register(
            "writes_refused",
            "Requests to change something that were refused",
            meter.refused.clone(),
        );
        registry.register("can_serve", "Whether a database answers reads", meter.can_read.clone());
        registry.register("can_write", "Whether writes would be accepted", meter.can_write.clone());
        registry.register("sealed", "Whether it waits to be unsealed", meter.sealed.clone());
        registry.register("connections", "Connections of clients", meter.connections.clone());
        if audited {
            let AuditGauges { recording, bytes, head, forwarded } = &meter.audit;
            registry.register("audit_recording", "Whether requests can be recorded", recording.clone());
            registry.register_with_unit("audit_spool", "Size of the audit spool", Unit::Bytes, bytes.clone());
            registry.register("audit_entries", "Sequence of the newest audit entry", head.clone());
            registry.register(
                "audit_forwarded",
                "Sequence of the newest entry that was sent on",
                forwarded.clone(),
            );
        }
        meter
    }

    /// A request was answered.
    pub(super) fn count(
        &self,
        note: &Note,
        method: &Method,
        status: StatusCode,
        error: Option<&Error>,
        took: Duration,
    ) {
        let route = note.path.get().map_or("-", |path| path.as_str()).to_owned();
        let asked = Asked { route: route.clone(), method: method_word(method), status: status.as_u16() };
        self.requests.get_or_create(&asked).inc();
        self.latency.get_or_create(&Route { route }).observe(took.as_secs_f64());
        if let Some(error) = error {
            self.errors.get_or_create(&Cause { error: error_id(error.code()) }).inc();
            if error.code() == Code::Refused && note.changes() {
                self.refused.inc();
            }
        }
    }

    /// All of it, and what the host is now.
    pub(super) fn tell(&self, app: &App, connections: usize) -> String {
        let health = app.service.health();
        self.can_read.set(i64::from(health.can_read));
        self.can_write.set(i64::from(health.can_write));
        self.sealed.set(i64::from(app.service.is_sealed()));
        self.connections.set(i64::try_from(connections).unwrap_or(i64::MAX));
        let standing = app.audit.as_ref().and_then(Recorder::audit).map(|audit| audit.standing());
        let recording = standing.as_ref().is_some_and(|standing| standing.state == State::Recording);
        self.audit.recording.set(i64::from(recording));
        if let Some(standing) = standing {
            let told = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            self.audit.bytes.set(told(standing.bytes));
            self.audit.head.set(told(standing.head.sequence));
            self.audit.forwarded.set(told(standing.forwarded.unwrap_or_default()));
        }
        text(&self.registry)
    }
}

/// A method that some route takes; clients may send any word.
fn method_word(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "LIST" => "LIST",
        _ => "other",
    }
}
