//! One request as the handlers see it: who asks, for which domain and key; and what the log will say of it.

use super::{border::Dates, reply::Failure};
use crate::{
    engine::HostService,
    error::{Code, Error},
    iam::{Action, Authorized, Identity},
    limits::Limits,
};
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use http::request::Parts;
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

/// What is the same for every request of a host.
pub(in crate::api) struct App {
    pub(in crate::api) env: crate::env::Env,
    pub(in crate::api) service: HostService,
    pub(super) limits: Limits,
    /// Names this start of the process.
    pub(in crate::api) start: u32,
    pub(super) dates: Dates,
}

/// What TLS found out about the client: nobody, somebody, or a certificate that names no domain.
pub(in crate::api) type Client = Option<Result<Arc<Identity>, Error>>;

/// Who is at the other end of a connection. What the operator may do and what clients may do have nothing in common.
#[derive(Clone)]
pub(in crate::api) enum Caller {
    /// A client, at the REST endpoint.
    Client(Client),
    /// The region's operator, where hosts are administered; its name.
    Operator(Arc<str>),
}

/// One request, as it will be logged. Never holds names, contexts or bodies.
pub(in crate::api) struct Note {
    /// Request id.
    pub(in crate::api) id: Uuid,
    pub(in crate::api) caller: Caller,
    pub(in crate::api) path: OnceLock<MatchedPath>,
    pub(in crate::api) domain: OnceLock<Uuid>,
    pub(super) key: OnceLock<Uuid>,
}

impl Note {
    pub(super) fn new(id: Uuid, caller: Caller) -> Note {
        Note { id, caller, path: OnceLock::new(), domain: OnceLock::new(), key: OnceLock::new() }
    }
}

/// A request to the API proper.
pub(super) struct Call {
    pub(super) app: Arc<App>,
    pub(super) note: Arc<Note>,
    okms_id: Uuid,
}

impl Call {
    /// Decides whether the client may do `A`.
    ///
    /// # Errors
    /// `Forbidden` in another domain than the certificate's; no certificate was told already.
    pub(super) fn may<A: Action>(&self) -> Result<Authorized<A>, Error> {
        identity(&self.note)?.authorize(self.okms_id)
    }

    /// The domain named in the path.
    pub(super) fn domain(&self) -> Uuid {
        self.okms_id
    }

    /// The key named in the path.
    ///
    /// # Errors
    /// `Internal` on a route without one.
    pub(super) fn key(&self) -> Result<Uuid, Error> {
        self.note.key.get().copied().ok_or_else(|| Error::internal("route without a key"))
    }
}

fn identity(note: &Note) -> Result<&Identity, Error> {
    match &note.caller {
        Caller::Client(Some(Ok(identity))) => Ok(identity),
        Caller::Client(Some(Err(error))) => Err(error.clone()),
        Caller::Client(None) | Caller::Operator(_) => {
            Err(Error::new(Code::Unauthorised, "a client certificate is required"))
        }
    }
}

pub(in crate::api) fn uuid(text: &str, what: &'static str) -> Result<Uuid, Error> {
    Uuid::try_parse(text).map_err(|_| Error::bad(format!("{what} is not a UUID")))
}

impl FromRequestParts<Arc<App>> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Call, Failure> {
        let note = parts.extensions.get::<Arc<Note>>().cloned();
        let note = note.ok_or_else(|| Error::internal("request without a note"))?;
        if let Some(path) = parts.extensions.get::<MatchedPath>() {
            let _ = note.path.set(path.clone());
        }
        // Who asks comes before what is asked.
        identity(&note)?;
        let params = RawPathParams::from_request_parts(parts, app)
            .await
            .map_err(|_| Error::bad("the path is not UTF-8"))?;
        let mut okms_id = None;
        for (name, value) in &params {
            match name {
                "okmsId" => {
                    let id = uuid(value, "okmsId")?;
                    okms_id = Some(id);
                    let _ = note.domain.set(id);
                }
                "keyId" => {
                    let _ = note.key.set(uuid(value, "keyId")?);
                }
                _ => {}
            }
        }
        let okms_id = okms_id.ok_or_else(|| Error::internal("route without a domain"))?;
        Ok(Call { app: Arc::clone(app), note, okms_id })
    }
}
