//! A REST client with one kept connection: HTTP/1.1 over mTLS. Retries nothing: a benchmark that meets an
//! error is void, unless it counts errors.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, client::conn::http1, http::request::Builder};
use kms::{
    env::{Env, Task},
    init::ClientIdentity,
    wire::hyper_io::HyperIo,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use std::{io, sync::Arc};
use tokio_rustls::TlsConnector;

/// The client's side of TLS: verifies with `ca_pem`, shows the identity's certificate.
///
/// # Panics
/// If the texts are not what `kms init` writes.
pub fn client_tls(ca_pem: &str, identity: &ClientIdentity) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(ca.expect("CA in PEM")).expect("CA certificate");
    }
    let chain = CertificateDer::pem_slice_iter(identity.cert_pem.as_bytes()).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).expect("client key");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS versions of the provider")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.expect("client certificate"), key)
        .expect("client certificate and key");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// A kept connection.
pub struct Kept {
    requests: http1::SendRequest<Full<Bytes>>,
    address: String,
    _driver: Task<()>,
}

impl Kept {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// If nobody listens there, or TLS fails.
    pub async fn open(env: &Env, tls: &Arc<ClientConfig>, address: &str) -> io::Result<Kept> {
        let stream = env.net.connect(address).await?;
        let name = ServerName::try_from("127.0.0.1").map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls.clone()).connect(name, stream).await?;
        let (requests, driver) = http1::handshake(HyperIo::new(stream)).await.map_err(io::Error::other)?;
        let driver = env.spawn("bench client", async move {
            // An error shows at the request that met it.
            let _ = driver.await;
        });
        Ok(Kept { requests, address: address.to_owned(), _driver: driver.abort_on_drop() })
    }

    async fn send(&mut self, request: Builder, body: Bytes) -> io::Result<(StatusCode, Bytes)> {
        let request = request.header("host", self.address.as_str()).body(Full::new(body));
        self.requests.ready().await.map_err(io::Error::other)?;
        let answer = self.requests.send_request(request.map_err(io::Error::other)?).await;
        let answer = answer.map_err(io::Error::other)?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await.map_err(io::Error::other)?.to_bytes()))
    }

    /// Posts JSON, whatever the answer.
    ///
    /// # Panics
    /// Without an answer.
    pub async fn try_post(&mut self, path: &str, body: Bytes) -> (StatusCode, Bytes) {
        let request = Request::post(path).header("content-type", "application/json");
        self.send(request, body).await.expect("an answer")
    }

    /// Gets, and returns the body of the answer, whose status must be `expect`.
    ///
    /// # Panics
    /// At any other answer, and without one.
    pub async fn get(&mut self, path: &str, expect: StatusCode) -> Bytes {
        let (status, body) = self.send(Request::get(path), Bytes::new()).await.expect("an answer");
        assert_eq!(status, expect, "{path}: {}", String::from_utf8_lossy(&body));
        body
    }

    /// Posts JSON, and returns the body of the answer, whose status must be `expect`.
    ///
    /// # Panics
    /// At any other answer, and without one.
    pub async fn post(&mut self, path: &str, body: Bytes, expect: StatusCode) -> Bytes {
        let (status, body) = self.try_post(path, body).await;
        assert_eq!(status, expect, "{path}: {}", String::from_utf8_lossy(&body));
        body
    }

    /// Whether `/healthz` says that key writes are taken.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn can_write(&mut self) -> io::Result<bool> {
        let (_, body) = self.send(Request::get("/healthz"), Bytes::new()).await?;
        let health: serde_json::Value = serde_json::from_slice(&body)?;
        Ok(health["can_write"] == true)
    }
}
