//! One HTTPS connection through the entry, with a client certificate, kept alive and made anew after any
//! failure. Sends a request once: what becomes of it is the caller's to say. Refuses answers over 1 MiB.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use kms::{
    env::{Env, Task},
    wire::hyper_io::HyperIo,
};
use rustls::{ClientConfig, RootCertStore, client::Resumption, time_provider::TimeProvider};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use std::{fmt, sync::Arc, time::Duration};

const ANSWER_MAX_BYTES: usize = 1 << 20;

/// Who a client is, and where it goes.
#[derive(Clone)]
pub struct Endpoint {
    /// `host:port` of the entry (or of a host).
    pub address: String,
    /// The name in the server's certificate.
    pub server_name: String,
    /// CA of the server, PEM.
    pub ca_pem: String,
    /// Client certificate, PEM; empty = none.
    pub cert_pem: String,
    /// Its private key, PEM.
    pub key_pem: String,
    /// A bearer token.
    pub token: Option<String>,
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// What the service calls the request; empty if it does not say.
    pub request_id: String,
    /// Body.
    pub body: Bytes,
}

/// No answer came.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct NoReply(String);

fn lost(what: &str) -> impl Fn(&dyn fmt::Display) -> NoReply {
    let what = what.to_owned();
    move |error| NoReply(format!("{what}: {error}"))
}

/// The connection.
pub struct Http {
    env: Env,
    endpoint: Endpoint,
    server_name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    open: Option<Open>,
    /// Connections made so far.
    pub connections: u64,
}

struct Open {
    requests: SendRequest<Full<Bytes>>,
    // Drives the connection; ends with it.
    _driver: Task<()>,
}

struct EnvTime(Env);

impl fmt::Debug for EnvTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvTime")
    }
}

impl TimeProvider for EnvTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.clock.wall()))
    }
}

fn tls(env: &Env, endpoint: &Endpoint) -> Result<ClientConfig, String> {
    let text = |error: &dyn fmt::Display| error.to_string();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(endpoint.ca_pem.as_bytes()) {
        roots.add(certificate.map_err(|error| text(&error))?).map_err(|error| text(&error))?;
    }
    let builder = ClientConfig::builder_with_details(
        Arc::new(rustls::crypto::ring::default_provider()),
        Arc::new(EnvTime(env.clone())),
    )
    .with_safe_default_protocol_versions()
    .map_err(|error| text(&error))?
    .with_root_certificates(roots);
    let mut config = if endpoint.cert_pem.is_empty() {
        builder.with_no_client_auth()
    } else {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(endpoint.cert_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| text(&error))?;
        let key = PrivateKeyDer::from_pem_slice(endpoint.key_pem.as_bytes()).map_err(|error| text(&error))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| text(&error))?
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

impl Http {
    /// A client that is not connected yet.
    ///
    /// # Errors
    /// The certificates or the server's name cannot be read: a mistake of the harness.
    pub fn new(env: Env, endpoint: Endpoint) -> Result<Http, String> {
        let tls = Arc::new(tls(&env, &endpoint)?);
        let server_name =
            ServerName::try_from(endpoint.server_name.clone()).map_err(|error| error.to_string())?;
        Ok(Http { env, endpoint, server_name, tls, open: None, connections: 0 })
    }

    /// Drops the connection; the next request makes a new one.
    pub fn disconnect(&mut self) {
        self.open = None;
    }

    /// Sends one request and waits for its answer, both within `within`.
    ///
    /// # Errors
    /// [`NoReply`]: no connection, a lost one, or no answer in time. The request may have been carried out.
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        body: Option<String>,
        within: Duration,
    ) -> Result<Reply, NoReply> {
        let env = self.env.clone();
        let done = match env.timeout(within, self.exchange(method, path, body)).await {
            Ok(done) => done,
            Err(elapsed) => Err(lost("timeout")(&elapsed)),
        };
        if done.is_err() {
            // Whatever is still on its way must never be taken for the answer to a later request.
            self.disconnect();
        }
        done
    }

    async fn exchange(&mut self, method: &str, path: &str, body: Option<String>) -> Result<Reply, NoReply> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, self.endpoint.server_name.as_str());
        if let Some(token) = &self.endpoint.token {
            request = request.header(http::header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| lost("request")(&error))?;
        let mut open = match self.open.take() {
            Some(open) if open.requests.is_ready() => open,
            // In a box of its own: it is large, and every request would be moved about with room for it.
            _ => Box::pin(self.connect()).await?,
        };
        let answer = open.requests.send_request(request).await.map_err(|error| lost("send")(&error))?;
        let status = answer.status().as_u16();
        let request_id = answer.headers().get("x-request-id").and_then(|id| id.to_str().ok());
        let request_id = request_id.unwrap_or_default().to_owned();
        let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES)
            .collect()
            .await
            .map_err(|error| lost("body")(&error))?
            .to_bytes();
        // Without this the next request may find the connection not yet idle, and make another one.
        if open.requests.ready().await.is_ok() {
            self.open = Some(open);
        }
        Ok(Reply { status, request_id, body })
    }

    async fn connect(&mut self) -> Result<Open, NoReply> {
        self.connections += 1;
        let stream =
            self.env.net.connect(&self.endpoint.address).await.map_err(|error| lost("connect")(&error))?;
        let stream = tokio_rustls::TlsConnector::from(self.tls.clone())
            .connect(self.server_name.clone(), stream)
            .await
            .map_err(|error| lost("tls")(&error))?;
        let (requests, connection) = hyper::client::conn::http1::handshake(HyperIo::new(stream))
            .await
            .map_err(|error| lost("http")(&error))?;
        let driver = self.env.spawn("client-connection", async move {
            // Its error reaches the request in flight, if there is one.
            let _ = connection.await;
        });
        Ok(Open { requests, _driver: driver.abort_on_drop() })
    }
}
