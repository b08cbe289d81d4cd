//! What an operator asks hosts: JSON over HTTP, by the operator's certificate. Any host that answers will do. A request that may change
//! something is sent to another host only if the one before definitely did nothing.

use super::OperatorConfig;
use crate::{
    api::admin::types::{CredentialList, DomainCreated, HostStatus, Tried},
    engine::access::Inventory,
    env::Env,
    iam::Explanation,
    limits::ms,
    wire::{
        asking::Asking,
        tls::{Expected, NodeTls, PeerRole},
    },
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

pub use crate::iam::{Credential, Group, Issuer, Policy};

/// Longest wait for a connection to a host.
const CONNECT_WITHIN: Duration = ms(1_500);
/// Longest wait for an answer; longer than a host's own deadline for a write.
const ANSWER_WITHIN: Duration = ms(30_000);
/// Largest answer.
const ANSWER_MAX_BYTES: usize = 16 << 20;

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody to ask.
    #[error(
        "operator.toml names no `admin` addresses: give each host an `admin_listen` in its node.toml, and list them there"
    )]
    NoAddress,
    /// No host took it. Nothing was done.
    #[error("no host answers where it is administered: {0}. Nothing was done")]
    Unreachable(String),
    /// A host took it and did not answer.
    #[error(
        "{0} was asked and did not answer: {1}. Whether it was done is not known: look before you repeat it"
    )]
    NoAnswer(String, String),
    /// A host answered, and not with success.
    #[error("{sentence} (status {status}, request {request_id})")]
    Answered {
        /// HTTP status.
        status: u16,
        /// The code, as REST errors have it.
        code: u32,
        /// What it says.
        sentence: String,
        /// For the host's log.
        request_id: String,
    },
    /// What came is not what this program knows.
    #[error("{0} answers in a way that this program does not understand: is it of the same build? {1}")]
    Strange(String, String),
}

impl AdminError {
    /// The HTTP status of an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            AdminError::Answered { status, .. } => Some(*status),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error_code: u32,
    errors: Vec<String>,
    request_id: String,
}

/// The hosts of a region, as the operator asks them.
pub struct Admin {
    env: Env,
    tls: Arc<NodeTls>,
    hosts: Vec<String>,
}

/// Why a host gave no answer.
enum Nothing {
    /// The request was not sent.
    Unsent(String),
    /// It was.
    Sent(String),
}

impl Admin {
    /// The hosts that `operator.toml` names.
    pub fn new(env: Env, config: &OperatorConfig, tls: Arc<NodeTls>) -> Admin {
        Admin { env, tls, hosts: config.admin.clone() }
    }

    /// A host whose address is known.
    pub fn at(env: Env, tls: Arc<NodeTls>, address: &str) -> Admin {
        Admin { env, tls, hosts: vec![address.to_owned()] }
    }

    /// How the first host is that answers.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn status(&self) -> Result<HostStatus, AdminError> {
        self.get("/admin/v1/status").await
    }

    /// Makes a domain; one that is there stays as it is. True if it is new.
    ///
    /// # Errors
    /// [`AdminError`]. After any of them it may be repeated with the same id.
    pub async fn create_domain(&self, domain: Uuid) -> Result<bool, AdminError> {
        let created: DomainCreated = self.order(Method::PUT, &format!("/admin/v1/domain/{domain}")).await?;
        Ok(created.new)
    }

    /// The policies of a domain.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn policies(&self, domain: Uuid) -> Result<Vec<Policy>, AdminError> {
        self.get(&of(domain, "policies")).await
    }

    /// Makes or changes a policy.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn put_policy(&self, domain: Uuid, policy: &Policy) -> Result<(), AdminError> {
        self.send(Method::PUT, &of(domain, &format!("policies/{}", policy.name)), policy).await
    }

    /// The groups of a domain.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn groups(&self, domain: Uuid) -> Result<Vec<Group>, AdminError> {
        self.get(&of(domain, "groups")).await
    }

    /// Makes or changes a group.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn put_group(&self, domain: Uuid, group: &Group) -> Result<(), AdminError> {
        self.send(Method::PUT, &of(domain, &format!("groups/{}", group.name)), group).await
    }

    /// The issuers of a domain.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn issuers(&self, domain: Uuid) -> Result<Vec<Issuer>, AdminError> {
        self.get(&of(domain, "issuers")).await
    }

    /// Makes or changes an issuer.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn put_issuer(&self, domain: Uuid, issuer: &Issuer) -> Result<(), AdminError> {
        self.send(Method::PUT, &of(domain, &format!("issuers/{}", issuer.name)), issuer).await
    }

    /// Deletes what has a name among `list`: `policies`, `groups` or `issuers`.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn delete_named(&self, domain: Uuid, list: &str, name: &str) -> Result<(), AdminError> {
        self.delete(&of(domain, &format!("{list}/{name}"))).await
    }

    /// All credentials of a domain.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn credentials(&self, domain: Uuid) -> Result<Vec<Credential>, AdminError> {
        let mut all: Vec<Credential> = Vec::new();
        loop {
            let after = all.last().map(|last| format!("?after={}", last.id)).unwrap_or_default();
            let page: CredentialList = self.get(&of(domain, &format!("credentials{after}"))).await?;
            let more = page.more && !page.credentials.is_empty();
            all.extend(page.credentials);
            if !more {
                return Ok(all);
            }
        }
    }

    /// One credential.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn credential(&self, domain: Uuid, id: Uuid) -> Result<Credential, AdminError> {
        self.get(&of(domain, &format!("credentials/{id}"))).await
    }

    /// Registers a certificate.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn register(&self, domain: Uuid, credential: &Credential) -> Result<(), AdminError> {
        self.send(Method::POST, &of(domain, "credentials"), credential).await
    }

    /// Revokes a credential, for good.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn revoke(&self, domain: Uuid, id: Uuid) -> Result<(), AdminError> {
        self.delete(&of(domain, &format!("credentials/{id}"))).await
    }

    /// What would be decided, and why.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn test(&self, domain: Uuid, tried: &Tried) -> Result<Explanation, AdminError> {
        self.send(Method::POST, &of(domain, "test"), tried).await
    }

    /// What a domain owns, in numbers.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn inventory(&self, domain: Uuid) -> Result<Inventory, AdminError> {
        self.get(&of(domain, "inventory")).await
    }

    /// Reads.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AdminError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Sends a body.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<T, AdminError> {
        let strange =
            |error: serde_json::Error| AdminError::Strange("this program".to_owned(), error.to_string());
        self.call(method, path, serde_json::to_vec(body).map_err(strange)?.into()).await
    }

    /// Sends no body, and is told how things are then.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn order<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, AdminError> {
        self.call(method, path, Bytes::new()).await
    }

    /// Deletes.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn delete(&self, path: &str) -> Result<(), AdminError> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, AdminError> {
        let mut why = Vec::new();
        let mut refused = None;
        for host in &self.hosts {
            // On the heap: the state of a handshake is large.
            match Box::pin(self.ask(host, &method, path, body.clone())).await {
                Ok((status, bytes)) if status.is_success() => {
                    let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
                    return serde_json::from_slice(bytes)
                        .map_err(|error| AdminError::Strange(host.clone(), error.to_string()));
                }
                // Definitely not done: another host may be better off.
                Ok((StatusCode::SERVICE_UNAVAILABLE, bytes)) => {
                    refused = Some(answered(host, StatusCode::SERVICE_UNAVAILABLE, &bytes));
                }
                Ok((status, bytes)) => return Err(answered(host, status, &bytes)),
                Err(Nothing::Unsent(error)) => why.push(format!("{host}: {error}")),
                Err(Nothing::Sent(error)) if method == Method::GET => why.push(format!("{host}: {error}")),
                Err(Nothing::Sent(error)) => return Err(AdminError::NoAnswer(host.clone(), error)),
            }
        }
        Err(match refused {
            Some(refused) => refused,
            None if self.hosts.is_empty() => AdminError::NoAddress,
            None => AdminError::Unreachable(why.join("; ")),
        })
    }

    async fn ask(
        &self,
        host: &str,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Nothing> {
        let unsent = |error: &dyn std::fmt::Display| Nothing::Unsent(error.to_string());
        let connecting = async {
            let stream = self.env.net.connect(host).await.map_err(|error| unsent(&error))?;
            let expect = Expected { role: PeerRole::Host, zone: None };
            let (stream, _) = self.tls.connect(stream, &expect).await.map_err(|error| unsent(&error))?;
            Asking::over(&self.env, "admin connection", stream).await.map_err(|error| unsent(&error))
        };
        let mut connection = self
            .env
            .timeout(CONNECT_WITHIN, connecting)
            .await
            .unwrap_or_else(|_| Err(Nothing::Unsent("no connection in time".to_owned())))?;
        let mut request = Request::builder().method(method).uri(path).header("host", host);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|error| unsent(&error))?;
        let asked = self.env.timeout(ANSWER_WITHIN, connection.ask(request, ANSWER_MAX_BYTES)).await;
        let asked = asked.map_err(|_| Nothing::Sent("no answer in time".to_owned()))?;
        asked.map_err(|error| Nothing::Sent(error.to_string()))
    }
}

fn of(domain: Uuid, rest: &str) -> String {
    format!("/admin/v1/domain/{domain}/{rest}")
}

fn answered(host: &str, status: StatusCode, bytes: &[u8]) -> AdminError {
    match serde_json::from_slice::<ErrorBody>(bytes) {
        Ok(body) => AdminError::Answered {
            status: status.as_u16(),
            code: body.error_code,
            sentence: body.errors.join("; "),
            request_id: body.request_id,
        },
        Err(error) => AdminError::Strange(host.to_owned(), format!("status {status}: {error}")),
    }
}
