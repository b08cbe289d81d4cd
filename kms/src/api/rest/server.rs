//! The listening side: accepts, shakes hands, serves each connection as a task of the node, and lets what is
//! in flight end when it is asked to stop. Never serves in clear. The same for clients and for the operator; who is let in differs.

use super::{
    border::{Border, Connection, Dates, Ids},
    call::{App, Caller, Client},
    io::{Activity, NodeExecutor, Patience, Patient},
    meter::Meter,
    rate::Rates,
    routes::router,
    tls::{TlsError, server_config},
};
use crate::{
    audit::Recorder,
    config::NodeConfig,
    engine::HostService,
    env::{Env, Listener, Purpose, Stream, Task},
    iam::Identity,
    limits::{DRAIN_MS, HEAD_MAX_BYTES, ms},
    metrics::Gather,
    store::api::RecordStore,
    vault::{RootKey, RootSource},
    wire::tls::{NodeTls, PeerRole},
};
use axum::Router;
use hyper::server::conn::{http1, http2};
use std::{io, pin::pin, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Pause after a failed accept (out of file descriptors, for one).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the REST endpoint could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration does not say where to listen.
    #[error("a host needs `{0}`")]
    NoAddress(&'static str),
    /// The address could not be bound.
    #[error("cannot listen on {0}: {1}")]
    Bind(String, io::Error),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No randomness.
    #[error("no randomness: {0}")]
    Random(io::Error),
}

/// A REST endpoint that listens. Dropping it stops it.
pub struct RestServer {
    app: Arc<App>,
    endpoint: Endpoint,
}

/// An address that is served. Dropping it stops it.
pub(in crate::api) struct Endpoint {
    address: String,
    stop: watch::Sender<bool>,
    env: Env,
    connections: Arc<Semaphore>,
    connections_max: u32,
    accepting: Task<()>,
}

/// Who is let in.
#[derive(Clone)]
pub(in crate::api) enum Door {
    /// Whoever comes; a certificate that is shown must be one of the access CA.
    Clients(TlsAcceptor),
    /// The region's operator, by a certificate of the node CA.
    Operator(Arc<NodeTls>),
}

/// What every connection needs.
#[derive(Clone)]
struct Shared {
    env: Env,
    app: Arc<App>,
    router: Router,
    door: Door,
    stop: watch::Receiver<bool>,
}

/// Starts the REST endpoint of a host; returns once it listens.
///
/// # Errors
/// [`ServeError`] when certificates or the address are not usable.
pub async fn serve(
    env: Env,
    config: &NodeConfig,
    store: Arc<dyn RecordStore>,
    root: (Option<RootKey>, RootSource),
) -> Result<RestServer, ServeError> {
    let address = config.rest_listen.as_deref().ok_or(ServeError::NoAddress("rest_listen"))?;
    let tls = server_config(&env, config)?;
    let limits = config.limits.clone();
    let audit = recorder(&env, config);
    if let (Some(recorder), Some(root)) = (&audit, &root.0) {
        recorder.begin(root).await;
    }
    let service = HostService::new(env.clone(), store, root, limits.clone());
    // Never 0, which says nothing.
    let start = u32::from_be_bytes(env.random(Purpose::Public).map_err(ServeError::Random)?) | 1;
    let meter = config.metrics_listen.as_ref().map(|_| Meter::new(audit.is_some()));
    let app = Arc::new(App {
        env,
        service,
        start,
        dates: Dates::default(),
        region: config.region.clone(),
        audit,
        turning: Arc::default(),
        rates: Rates::new(&limits),
        meter,
        limits,
    });
    let door = Door::Clients(TlsAcceptor::from(Arc::new(tls)));
    let endpoint = Endpoint::start("rest-accept", address, &app, router(Arc::clone(&app)), door).await?;
    Ok(RestServer { app, endpoint })
}

/// What requests are recorded in; none if the configuration says so.
fn recorder(env: &Env, config: &NodeConfig) -> Option<Recorder> {
    let spool = config.audit.clone().unwrap_or_default();
    if !spool.enabled {
        tracing::warn!("audit is off: nothing is recorded of what is done");
        return None;
    }
    Some(Recorder::new(env, config.data_dir.clone(), config.node_id.clone(), spool))
}

impl RestServer {
    /// The address really bound.
    pub fn address(&self) -> &str {
        &self.endpoint.address
    }

    /// What is served.
    pub(in crate::api) fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Gathers what this endpoint counts; nothing unless the configuration names a listener for metrics.
    pub fn gather(&self) -> Gather {
        let (app, connections) = (Arc::clone(&self.app), Arc::clone(&self.endpoint.connections));
        let most = self.endpoint.connections_max as usize;
        Arc::new(move || {
            let open = most.saturating_sub(connections.available_permits());
            let told = app.meter.as_ref().map(|meter| meter.tell(&app, open)).unwrap_or_default();
            Box::pin(std::future::ready(told))
        })
    }

    /// Returns if the endpoint ends by itself, which it should not; says why.
    pub async fn stopped(&mut self) -> String {
        self.endpoint.stopped().await;
        "the REST endpoint's listening task ended".to_owned()
    }

    /// Stops accepting and waits for requests in flight, for at most [`DRAIN_MS`].
    pub async fn shutdown(self) {
        self.endpoint.shutdown().await;
    }
}

impl Endpoint {
    /// Listens at an address, and serves who is let in.
    pub(in crate::api) async fn start(
        name: &'static str,
        address: &str,
        app: &Arc<App>,
        router: Router,
        door: Door,
    ) -> Result<Endpoint, ServeError> {
        let env = app.env.clone();
        let bound = env.net.bind(address).await;
        let listener = bound.map_err(|error| ServeError::Bind(address.to_owned(), error))?;
        let address = listener.local_address();
        let connections_max = app.limits.connections_max;
        let (stop, stopped) = watch::channel(false);
        let shared = Shared { env: env.clone(), app: Arc::clone(app), router, door, stop: stopped };
        let connections = Arc::new(Semaphore::new(connections_max as usize));
        let accepting = env.spawn(name, accept(shared, listener, Arc::clone(&connections))).abort_on_drop();
        Ok(Endpoint { address, stop, env, connections, connections_max, accepting })
    }

    /// The address really bound.
    pub(in crate::api) fn address(&self) -> &str {
        &self.address
    }

    /// Returns when it does not listen any more.
    pub(in crate::api) async fn stopped(&mut self) {
        let _ = (&mut self.accepting).await;
    }

    /// Stops accepting and waits for requests in flight, for at most [`DRAIN_MS`].
    pub(in crate::api) async fn shutdown(self) {
        let _ = self.stop.send(true);
        let drained = self.connections.acquire_many(self.connections_max);
        if self.env.timeout(ms(DRAIN_MS), drained).await.is_err() {
            tracing::warn!("stopping with requests in flight");
        }
    }
}

impl Door {
    /// Who it is, once hands are shaken.
    async fn open(&self, stream: Stream) -> io::Result<(TlsStream<Stream>, Caller)> {
        match self {
            Door::Clients(acceptor) => {
                let stream = acceptor.accept(stream).await?;
                let caller = Caller::Client(client(stream.get_ref().1.peer_certificates()));
                Ok((stream, caller))
            }
            Door::Operator(tls) => {
                let (stream, peer) = tls.accept_http(stream).await?;
                if peer.role != PeerRole::Operator {
                    let why = format!("{peer} is not the operator");
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
                }
                Ok((stream, Caller::Operator(Arc::new(peer))))
            }
        }
    }
}

async fn accept(mut shared: Shared, mut listener: Box<dyn Listener>, connections: Arc<Semaphore>) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = shared.stop.changed() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept");
                shared.env.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            tracing::warn!(%peer, "too many connections");
            continue;
        };
        let mine = shared.clone();
        shared.env.spawn("rest-connection", async move {
            connection(mine, stream, &peer).await;
            drop(permit);
        });
    }
}

async fn connection(mut shared: Shared, stream: Stream, peer: &str) {
    let patience = ms(shared.app.limits.handshake_ms);
    let door = shared.door.clone();
    // On the heap: the state of a handshake is large.
    let shake = shared.env.timeout(patience, Box::pin(door.open(stream)));
    let (stream, caller) = tokio::select! {
        biased;
        _ = shared.stop.changed() => return,
        shaken = shake => match shaken {
            Ok(Ok(shaken)) => shaken,
            Ok(Err(error)) => return tracing::debug!(peer, %error, "TLS handshake"),
            Err(_) => return tracing::debug!(peer, "TLS handshake not done in time"),
        },
    };
    // Without randomness requests would have the ids of others.
    let of = match shared.env.random(Purpose::Public) {
        Ok(random) => (ip(peer), random),
        Err(error) => return tracing::error!(peer, %error, "a connection is closed"),
    };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let ended = if http2 {
        serve_http2(shared, stream, caller, of).await
    } else {
        serve_http1(shared, stream, caller, of).await
    };
    if let Err(error) = ended {
        tracing::debug!(peer, %error, "connection");
    }
}

/// An address without its port.
fn ip(peer: &str) -> Arc<str> {
    let ip = peer.rsplit_once(':').map_or(peer, |(ip, _)| ip);
    ip.trim_start_matches('[').trim_end_matches(']').into()
}

/// Reads the client's certificate, once per connection.
fn client(chain: Option<&[rustls_pki_types::CertificateDer<'static>]>) -> Client {
    let certificate = chain?.first()?;
    Some(Identity::from_certificate(certificate).map(Arc::new))
}

fn parts(
    shared: &Shared,
    stream: TlsStream<Stream>,
    caller: Caller,
    (peer, random): (Arc<str>, [u8; 16]),
    http2: bool,
) -> (Patient<TlsStream<Stream>>, Border, Patience) {
    let (env, activity) = (&shared.env, Activity::new(shared.env.now()));
    let (idle, rest) = (ms(shared.app.limits.client_idle_ms), ms(shared.app.limits.keep_alive_ms));
    let io = Patient::new(stream, env.clone(), activity.clone(), http2, idle);
    let patience = Patience::new(env.clone(), activity.clone(), idle, rest);
    let app = Arc::clone(&shared.app);
    let router = shared.router.clone();
    let connection = Connection { app, router, caller, peer, activity, ids: Ids::new(random) };
    (io, Border::new(connection), patience)
}

async fn serve_http1(
    mut shared: Shared,
    stream: TlsStream<Stream>,
    caller: Caller,
    of: (Arc<str>, [u8; 16]),
) -> hyper::Result<()> {
    let (io, border, mut patience) = parts(&shared, stream, caller, of, false);
    let mut builder = http1::Builder::new();
    builder.auto_date_header(false).header_read_timeout(None).half_close(false).max_buf_size(HEAD_MAX_BYTES);
    let mut connection = pin!(builder.serve_connection(io, border));
    tokio::select! {
        biased;
        _ = shared.stop.changed() => {}
        ended = connection.as_mut() => return ended,
        () = &mut patience => return Ok(()),
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = patience => Ok(()),
    }
}

async fn serve_http2(
    mut shared: Shared,
    stream: TlsStream<Stream>,
    caller: Caller,
    of: (Arc<str>, [u8; 16]),
) -> hyper::Result<()> {
    let (io, border, mut patience) = parts(&shared, stream, caller, of, true);
    let mut builder = http2::Builder::new(NodeExecutor(shared.env.clone()));
    builder.auto_date_header(false).max_concurrent_streams(64).max_header_list_size(HEAD_MAX_BYTES as u32);
    let mut connection = pin!(builder.serve_connection(io, border));
    tokio::select! {
        biased;
        _ = shared.stop.changed() => {}
        ended = connection.as_mut() => return ended,
        () = &mut patience => return Ok(()),
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = patience => Ok(()),
    }
}
