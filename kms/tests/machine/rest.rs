//! A small HTTPS client of a domain: one kept connection, JSON in and out.

use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http1::SendRequest};
use kms::{env::Env, wire::hyper_io::HyperIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::Value;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use uuid::Uuid;

pub struct Client {
    env: Env,
    sender: SendRequest<Full<Bytes>>,
    base: String,
}

pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    pub fn next(&self) -> Option<String> {
        self.headers.get("x-pagination-cursor-next").map(|next| next.to_str().expect("text").to_owned())
    }
}

impl Client {
    /// TLS to where a region serves, with a client certificate and its key, PEM.
    pub async fn connect(
        env: &Env,
        address: &str,
        ca_pem: &str,
        (cert_pem, key_pem): (&str, &str),
        domain: Uuid,
    ) -> Client {
        let mut roots = RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            roots.add(ca.expect("PEM")).expect("a CA");
        }
        let chain = CertificateDer::pem_slice_iter(cert_pem.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).expect("PEM");
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.collect::<Result<_, _>>().expect("PEM"), key)
            .expect("a client certificate");
        let stream = env.net.connect(address).await.expect("connects");
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(HyperIo::new(stream)).await.expect("HTTP");
        env.spawn("test client", async move {
            let _ = connection.await;
        });
        Client { env: env.clone(), sender, base: format!("/api/{domain}") }
    }

    /// Sends again what was refused: a busy machine may seem to have lost a zone for a moment.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        for _ in 0..50 {
            let answer = self.send_once(method, path, headers, body.clone()).await;
            if answer.status != 503 {
                return answer;
            }
            self.env.sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("{method} {path} is refused for 5 s");
    }

    async fn send_once(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request =
            http::Request::builder().method(method).uri(format!("{}{path}", self.base)).header("host", "kms");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.sender.ready().await.expect("ready");
        let request = request.body(Full::new(body.into())).expect("a request");
        let (parts, body) = self.sender.send_request(request).await.expect("an answer").into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON") };
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub async fn call(&mut self, method: &str, path: &str, body: Value) -> Answer {
        let bytes = serde_json::to_vec(&body).expect("JSON");
        self.send(method, path, &[("content-type", "application/json")], bytes).await
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], Vec::new()).await
    }

    pub async fn delete(&mut self, path: &str) -> Answer {
        self.send("DELETE", path, &[], Vec::new()).await
    }
}
