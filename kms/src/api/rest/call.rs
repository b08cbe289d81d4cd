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
pub(super) struct App {
    pub(super) env: crate::env::Env,
    pub(super) service: HostService,
    pub(super) limits: Limits,
    /// Names this start of the process.
    pub(super) start: u32,
    pub(super) dates: Dates,
}

/// What TLS found out about the client: nobody, somebody, or a certificate that names no domain.
pub(super) type Client = Option<Result<Arc<Identity>, Error>>;

/// One request, as it will be logged. Never holds names, contexts or bodies.
pub(super) struct Note {
    /// Request id.
    pub(super) id: Uuid,
    pub(super) client: Client,
    pub(super) path: OnceLock<MatchedPath>,
    pub(super) domain: OnceLock<Uuid>,
    pub(super) key: OnceLock<Uuid>,
}

impl Note {
    pub(super) fn new(id: Uuid, client: Client) -> Note {
        Note { id, client, path: OnceLock::new(), domain: OnceLock::new(), key: OnceLock::new() }
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
    match &note.client {
        Some(Ok(identity)) => Ok(identity),
        Some(Err(error)) => Err(error.clone()),
        None => Err(Error::new(Code::Unauthorised, "a client certificate is required")),
    }
}

fn uuid(text: &str, what: &'static str) -> Result<Uuid, Error> {
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
