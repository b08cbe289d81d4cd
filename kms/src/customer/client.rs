//! Asks the REST interface: one kept connection, a client certificate, JSON. Each request here may be sent again whatever became of it,
//! so it is, as long as somebody's patience lasts.

use super::CustomerError;
use crate::{
    env::{Env, Mono},
    error::Code,
    limits::ms,
    wire::{asking::Asking, tls::WallTime},
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde::{Deserialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};
use tokio_rustls::TlsConnector;
use uuid::Uuid;

/// Longest wait for a connection.
const CONNECT_WITHIN: Duration = ms(5_000);
/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = ms(60_000);
/// Between two attempts.
const PAUSE: Duration = ms(1_000);
/// Largest answer: a page of an export, as base64.
const ANSWER_MAX_BYTES: usize = 16 << 20;

/// Where the service is, and who asks.
pub struct Access<'a> {
    /// `host:port`, as `https://` addresses have it.
    pub endpoint: &'a str,
    /// Which domain.
    pub domain: Uuid,
    /// The authorities that the service's certificate is verified with, PEM; none: those that browsers trust.
    pub ca: Option<&'a [u8]>,
    /// The client certificate, PEM.
    pub cert: &'a [u8],
    /// Its private key, PEM.
    pub key: &'a [u8],
    /// How long to try again for one request that is refused or not answered.
    pub patience: Duration,
}

/// A customer of one domain.
pub struct Customer {
    env: Env,
    tls: TlsConnector,
    name: ServerName<'static>,
    endpoint: String,
    domain: Uuid,
    patience: Duration,
    connection: Option<Asking<Full<Bytes>>>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error_code: u32,
    errors: Vec<String>,
    request_id: String,
}

/// What one attempt came to, if it was not the answer.
enum Failed {
    /// It may be tried again.
    Passing(String),
    /// Not.
    For(CustomerError),
}

fn usage(what: &str) -> impl Fn(&dyn std::fmt::Display) -> CustomerError {
    move |error| CustomerError::Usage(format!("{what}: {error}"))
}

impl Customer {
    /// Reads certificates; asks nobody yet.
    ///
    /// # Errors
    /// [`CustomerError::Usage`] says which of them is none.
    pub fn new(env: &Env, access: &Access<'_>) -> Result<Customer, CustomerError> {
        let mut roots = RootCertStore::empty();
        match access.ca {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(pem) => {
                for ca in CertificateDer::pem_slice_iter(pem) {
                    let ca = ca.map_err(|error| usage("the CA file")(&error))?;
                    roots.add(ca).map_err(|error| usage("the CA file")(&error))?;
                }
            }
        }
        if roots.is_empty() {
            return Err(CustomerError::Usage("the CA file holds no certificate".to_owned()));
        }
        let chain: Vec<_> = CertificateDer::pem_slice_iter(access.cert)
            .collect::<Result<_, _>>()
            .map_err(|error| usage("the client certificate")(&error))?;
        let key =
            PrivateKeyDer::from_pem_slice(access.key).map_err(|error| usage("the client's key")(&error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_details(provider, WallTime::of(env))
            .with_safe_default_protocol_versions()
            .map_err(|error| usage("TLS")(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| usage("client certificate and key")(&error))?;
        let endpoint = access.endpoint.strip_prefix("https://").unwrap_or(access.endpoint);
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let (host, _) = endpoint
            .rsplit_once(':')
            .ok_or_else(|| CustomerError::Usage("the endpoint must be HOST:PORT".to_owned()))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| usage("the endpoint")(&error))?;
        Ok(Customer {
            env: env.clone(),
            tls: TlsConnector::from(Arc::new(config)),
            name,
            endpoint,
            domain: access.domain,
            patience: access.patience,
            connection: None,
        })
    }

    pub(super) fn env(&self) -> &Env {
        &self.env
    }

    /// Sends a body until there is an answer.
    ///
    /// # Errors
    /// [`CustomerError`].
    pub(super) async fn ask<T: DeserializeOwned>(
        &mut self,
        what: &str,
        body: Bytes,
        resume: &'static str,
    ) -> Result<T, CustomerError> {
        let until: Mono = self.env.now() + self.patience;
        loop {
            let why = match self.attempt(what, body.clone()).await {
                Ok((status, bytes)) if status.is_success() => {
                    return serde_json::from_slice(&bytes)
                        .map_err(|error| CustomerError::Strange(error.to_string()));
                }
                Ok((status, bytes)) => match answered(status, &bytes) {
                    Failed::Passing(why) => why,
                    Failed::For(error) => return Err(error),
                },
                Err(why) => {
                    self.connection = None;
                    why
                }
            };
            if self.env.now() + PAUSE > until {
                return Err(CustomerError::Patience { endpoint: self.endpoint.clone(), why, resume });
            }
            self.env.sleep(PAUSE).await;
        }
    }

    async fn attempt(&mut self, what: &str, body: Bytes) -> Result<(StatusCode, Bytes), String> {
        let mut connection = match self.connection.take() {
            Some(kept) if !kept.is_closed() => kept,
            _ => self
                .env
                .timeout(CONNECT_WITHIN, Box::pin(self.connect()))
                .await
                .map_err(|_| "no connection in time".to_owned())??,
        };
        let request = Request::post(format!("/api/{}/v1/{what}", self.domain))
            .header("host", &self.endpoint)
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let asked = self.env.timeout(ANSWER_WITHIN, connection.ask(request, ANSWER_MAX_BYTES)).await;
        let answer = asked.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn connect(&self) -> Result<Asking<Full<Bytes>>, String> {
        let stream = self.env.net.connect(&self.endpoint).await.map_err(|error| error.to_string())?;
        let stream = self.tls.connect(self.name.clone(), stream).await.map_err(|error| error.to_string())?;
        Asking::over(&self.env, "customer connection", stream).await.map_err(|error| error.to_string())
    }
}

/// An answer that is no success. What is refused or unknown may be asked again: nothing here is done twice.
fn answered(status: StatusCode, bytes: &[u8]) -> Failed {
    let Ok(ErrorBody { error_code, errors, request_id }) = serde_json::from_slice(bytes) else {
        return Failed::For(CustomerError::Strange(format!("status {status}")));
    };
    let sentence = errors.join("; ");
    match status.as_u16() {
        // More room does not come by itself.
        429 if error_code == Code::Full.number() => {
            Failed::For(CustomerError::Answered { status: 429, sentence, request_id })
        }
        429 | 503 | 504 => Failed::Passing(format!("{sentence} (status {status}, request {request_id})")),
        status => Failed::For(CustomerError::Answered { status, sentence, request_id }),
    }
}
