//! Metrics of a node in the OpenMetrics text format, on a listener of its own: plain HTTP, for the machine itself or a network of the
//! operator's. What is told is numbers, states and codes; never a name, and of customers no id but those of their domains.

use crate::{
    env::{BoxFuture, Env, Listener, Stream, Task},
    replica::ReplicaStatus,
    store::server::DatabaseStatus,
    wire::hyper_io::HyperIo,
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use std::{convert::Infallible, io, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// What the text is, for whoever asks.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Connections at a time.
const CONNECTIONS_MAX: usize = 16;
/// How long one may last.
const CONNECTION_LIFE: Duration = Duration::from_secs(30);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Gathers a node's metrics as they are now.
pub type Gather = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// A listener that tells metrics. Dropping it stops it.
pub struct MetricsServer {
    address: String,
    _accepting: Task<()>,
}

impl MetricsServer {
    /// The address really bound.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// Starts telling metrics at `address`: `GET /metrics`.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(env: &Env, address: &str, gather: Gather) -> io::Result<MetricsServer> {
    let listener = env.net.bind(address).await?;
    let address = listener.local_address();
    let accepting = env.spawn("metrics", accept(env.clone(), listener, gather)).abort_on_drop();
    Ok(MetricsServer { address, _accepting: accepting })
}

async fn accept(env: Env, mut listener: Box<dyn Listener>, gather: Gather) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "metrics: accept");
                env.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else { continue };
        let (mine, gather) = (env.clone(), Arc::clone(&gather));
        env.spawn("metrics-connection", async move {
            // Who keeps a connection longer opens another one.
            let _ = mine.timeout(CONNECTION_LIFE, connection(stream, gather)).await;
            drop(permit);
        });
    }
}

async fn connection(stream: Stream, gather: Gather) {
    let service = service_fn(move |request: Request<Incoming>| {
        let gather = Arc::clone(&gather);
        async move { Ok::<_, Infallible>(answer(&request, &gather).await) }
    });
    let mut builder = http1::Builder::new();
    builder.auto_date_header(false).header_read_timeout(None).half_close(false);
    // An error shows at the other end.
    let _ = builder.serve_connection(HyperIo::new(stream), service).await;
}

async fn answer(request: &Request<Incoming>, gather: &Gather) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, gather().await),
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        _ => (StatusCode::NOT_FOUND, String::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(CONTENT_TYPE));
    response
}

/// The text of a registry.
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, registry);
    text
}

/// Gauges that are set anew each time somebody asks.
pub struct Gauges(Registry);

impl Gauges {
    /// None yet.
    pub fn new() -> Gauges {
        Gauges(Registry::with_prefix("kms"))
    }

    /// One number.
    #[must_use]
    pub fn is(mut self, name: &str, help: &str, value: u64) -> Gauges {
        self.0.register(name, help, gauge(value));
        self
    }

    /// Yes (1) or no (0).
    #[must_use]
    pub fn whether(self, name: &str, help: &str, value: bool) -> Gauges {
        self.is(name, help, u64::from(value))
    }

    /// A span of time; not there if there is none.
    #[must_use]
    pub fn span(mut self, name: &str, help: &str, ms: Option<u64>) -> Gauges {
        if let Some(ms) = ms {
            let seconds = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
            seconds.set(ms as f64 / 1_000.0);
            self.0.register_with_unit(name, help, Unit::Seconds, seconds);
        }
        self
    }

    /// The one of several states that it is in.
    #[must_use]
    pub fn state(mut self, name: &str, help: &str, state: &str) -> Gauges {
        let family = Family::<State, Gauge>::default();
        family.get_or_create(&State { state: state.to_owned() }).set(1);
        self.0.register(name, help, family);
        self
    }

    /// The text.
    pub fn text(&self) -> String {
        text(&self.0)
    }
}

impl Default for Gauges {
    fn default() -> Gauges {
        Gauges::new()
    }
}

fn gauge(value: u64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    gauge
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Store {
    store: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Domain {
    domain: String,
}

/// What a database tells.
pub fn of_database(status: &DatabaseStatus) -> String {
    let mut gauges = Gauges::new()
        .state("database_phase", "What the database is in its epoch", &status.phase)
        .whether("database_serving", "Whether it answers reads", status.serving)
        .whether("database_writable", "Whether it accepts writes", status.writable)
        .whether("database_alarm", "Whether its integrity alarm is on", status.alarm.is_some())
        .whether(
            "database_withheld",
            "Whether it has joined and still does not serve",
            status.withheld.is_some(),
        )
        .is("epoch", "Number of the epoch", status.epoch_no)
        .is("log_end", "Position of the end of the log", status.last)
        .is("log_confirmed", "Position up to which the log is confirmed", status.confirmed)
        .is("log_kept_from", "Position where the kept log begins", status.kept_from)
        .is("log_in_doubt", "Batches in doubt", status.in_doubt)
        .is("records", "Records stored", status.records);
    let (keys, secrets) = (Family::<Domain, Gauge>::default(), Family::<Domain, Gauge>::default());
    for counts in &status.domains {
        let of = Domain { domain: counts.domain.to_string() };
        keys.get_or_create(&of).set(i64::try_from(counts.keys).unwrap_or(i64::MAX));
        secrets.get_or_create(&of).set(i64::try_from(counts.secrets).unwrap_or(i64::MAX));
    }
    gauges.0.register("domain_keys", "Service keys of the domain, destroyed ones among them", keys);
    gauges.0.register("domain_secrets", "Secrets of the domain, deleted ones among them", secrets);
    let gauges = match status.replica {
        None => gauges,
        Some(replica) => {
            gauges.is("replica_fed", "Position that a replica fed from here has come to", replica)
        }
    };
    gauges.text()
}

/// What a replica tells.
pub fn of_replica(status: &ReplicaStatus) -> String {
    let mut gauges = Gauges::new()
        .state("replica_phase", "What the replica is", &status.phase)
        .whether("replica_following", "Whether it follows a database", status.source.is_some())
        .whether("replica_trouble", "Whether something keeps it from following", status.trouble.is_some())
        .is("epoch", "Number of the epoch that is followed", status.epoch_no)
        .is("log_end", "Position of the end of its log", status.last)
        .is("source_end", "Position of the end of its source's log, as last heard", status.source_last)
        .span("replica_lag", "All that was acknowledged longer ago is here", status.lag_ms);
    let age = Family::<Store, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
    let (alarm, trouble) = (Family::<Store, Gauge>::default(), Family::<Store, Gauge>::default());
    for backup in &status.backups {
        let store = Store { store: backup.store.clone() };
        if let Some(ms) = backup.age_ms {
            age.get_or_create(&store).set(ms as f64 / 1_000.0);
        }
        alarm.get_or_create(&store).set(i64::from(backup.alarm.is_some()));
        trouble.get_or_create(&store).set(i64::from(backup.trouble.is_some()));
    }
    let registry = &mut gauges.0;
    registry.register_with_unit("backup_age", "Age of the newest complete backup", Unit::Seconds, age);
    registry.register("backup_alarm", "Whether what ought to be unreadable there is not", alarm);
    registry.register("backup_trouble", "Whether something keeps a newer one from being there", trouble);
    gauges.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::BackupStatus;

    #[test]
    fn databases_and_replicas_tell_positions_and_states() {
        let status = DatabaseStatus {
            phase: "member".to_owned(),
            last: 7,
            confirmed: 6,
            writable: true,
            ..DatabaseStatus::default()
        };
        let text = of_database(&status);
        for line in [
            "kms_database_phase{state=\"member\"} 1",
            "kms_log_end 7",
            "kms_log_confirmed 6",
            "kms_database_writable 1",
            "kms_database_serving 0",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} in {text}");
        }
        assert!(!text.contains("replica_fed") && text.ends_with("# EOF\n"));
        let backup =
            BackupStatus { store: "eu-west-gra".to_owned(), age_ms: Some(90_500), ..BackupStatus::default() };
        let status = ReplicaStatus { lag_ms: Some(250), backups: vec![backup], ..ReplicaStatus::default() };
        let text = of_replica(&status);
        for line in ["kms_replica_lag_seconds 0.25", "kms_backup_age_seconds{store=\"eu-west-gra\"} 90.5"] {
            assert!(text.lines().any(|told| told == line), "{line} in {text}");
        }
    }
}
