//! A small HTTPS client: one kept connection, JSON in and out.

use crate::region::Region;
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Bytes,
    client::conn::{http1::SendRequest, http2},
};
use kms::{
    env::{Env, Stream},
    wire::hyper_io::HyperIo,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::Value;
use std::{io, sync::Arc};
use tokio_rustls::{TlsConnector, client::TlsStream};
use uuid::Uuid;

pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    pub base: String,
}

pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn code(&self) -> u64 {
        self.body["error_code"].as_u64().unwrap_or_default()
    }

    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.body))
    }
}

/// TLS to the host, with a client certificate or without.
pub async fn tls(region: &Region, pair: Option<(&str, &str)>) -> io::Result<TlsStream<Stream>> {
    tls_offering(region, pair, &[]).await
}

/// The same, offering protocols by ALPN.
pub async fn tls_offering(
    region: &Region,
    pair: Option<(&str, &str)>,
    protocols: &[&str],
) -> io::Result<TlsStream<Stream>> {
    tls_at(region, region.server.address(), pair, protocols).await
}

#[derive(Clone)]
struct Executor(Env);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, work: F) {
        self.0.spawn("test stream", work);
    }
}

/// HTTP/2 to the host, with the first client's certificate, offering protocols by ALPN of which the host must pick `h2`.
pub async fn http2(region: &Region, protocols: &[&str]) -> http2::SendRequest<Full<Bytes>> {
    let identity = &region.bundle.clients[0];
    let pair = Some((identity.cert_pem.as_str(), identity.key_pem.as_str()));
    let stream = tls_offering(region, pair, protocols).await.expect("connects");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) =
        http2::handshake(Executor(region.env.clone()), HyperIo::new(stream)).await.expect("HTTP/2");
    region.env.spawn("test client", async move {
        let _ = connection.await;
    });
    sender
}

/// The same, at another address of the host.
pub async fn tls_at(
    region: &Region,
    address: &str,
    pair: Option<(&str, &str)>,
    protocols: &[&str],
) -> io::Result<TlsStream<Stream>> {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(region.bundle.ca_pem.as_bytes()) {
        roots.add(ca.expect("PEM")).expect("a CA");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match pair {
        None => config.with_no_client_auth(),
        Some((cert, key)) => {
            let chain =
                CertificateDer::pem_slice_iter(cert.as_bytes()).collect::<Result<_, _>>().expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            config.with_client_auth_cert(chain, key).expect("a client certificate")
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = region.env.net.connect(address).await?;
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

impl Client {
    pub async fn connect(region: &Region, pair: Option<(&str, &str)>) -> io::Result<Client> {
        Client::over(region, tls(region, pair).await?).await
    }

    /// A client where the host is administered.
    pub async fn connect_admin(region: &Region, pair: Option<(&str, &str)>) -> io::Result<Client> {
        Client::over(region, tls_at(region, region.admin.address(), pair, &[]).await?).await
    }

    async fn over(region: &Region, stream: TlsStream<Stream>) -> io::Result<Client> {
        let (sender, connection) =
            hyper::client::conn::http1::handshake(HyperIo::new(stream)).await.map_err(io::Error::other)?;
        region.env.spawn("test client", async move {
            let _ = connection.await;
        });
        Ok(Client { sender, base: format!("/api/{}/v1", region.domain()) })
    }

    /// The answer as it comes.
    pub async fn response(
        &mut self,
        request: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<hyper::body::Incoming>, hyper::Error> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    pub async fn send(&mut self, request: http::Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        let (parts, body) = self.response(request).await?.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON") };
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    pub async fn call(&mut self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let path = if path.starts_with("/api") || path.starts_with("/admin") || path == "/healthz" {
            path.to_owned()
        } else {
            format!("{}{path}", self.base)
        };
        let mut request = http::Request::builder().method(method).uri(path).header("host", "kms");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let bytes = body.map(|body| serde_json::to_vec(&body).expect("JSON")).unwrap_or_default();
        self.send(request.body(Full::new(bytes.into())).expect("a request")).await.expect("an answer")
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    pub async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.call("POST", path, Some(body)).await
    }

    /// Makes a key for everything.
    pub async fn create(&mut self, name: &str) -> Uuid {
        let operations = ["encrypt", "decrypt", "wrapKey", "unwrapKey"];
        let body = serde_json::json!({ "name": name, "type": "oct", "size": 256, "operations": operations });
        let answer = self.post("/servicekey", body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.text("id").parse().expect("a UUID")
    }

    pub async fn state(&mut self, key: Uuid) -> String {
        let answer = self.get(&format!("/servicekey/{key}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["attributes"]["state"].as_str().expect("a state").to_owned()
    }
}
