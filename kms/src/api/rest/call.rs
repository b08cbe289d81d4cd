//! One request as the handlers see it: who asks, for which domain and key; and what the log will say of it.

use super::{border::Dates, meter::Meter, rate::Rates, reply::Failure};
use crate::{
    audit::{Audit, State},
    engine::{HostService, secrets::SecretPath},
    error::{Code, Error},
    iam::{Action, Authorized, Identity},
    limits::Limits,
};
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use http::request::Parts;
use std::sync::{Arc, Mutex, OnceLock};
use uuid::Uuid;

/// What is the same for every request of a host.
pub(super) struct App {
    pub(super) env: crate::env::Env,
    pub(super) service: HostService,
    pub(super) limits: Limits,
    /// Names this start of the process.
    pub(super) start: u32,
    pub(super) dates: Dates,
    pub(super) region: String,
    /// None where nothing is recorded.
    pub(super) audit: Option<Audit>,
    pub(super) rates: Rates,
    /// None where metrics are told nowhere.
    pub(super) meter: Option<Meter>,
}

/// What TLS found out about the client: nobody, somebody, or a certificate that names no domain.
pub(super) type Client = Option<Result<Arc<Identity>, Error>>;

/// One request, as it will be logged and recorded. Never holds names, contexts or bodies.
pub(super) struct Note {
    /// Request id.
    pub(super) id: Uuid,
    pub(super) client: Client,
    /// Address of the other end of the connection, without its port.
    pub(super) peer: Arc<str>,
    pub(super) path: OnceLock<MatchedPath>,
    pub(super) domain: OnceLock<Uuid>,
    pub(super) key: OnceLock<Uuid>,
    /// Where the secret is that it is about: for its hash alone.
    pub(super) secret: OnceLock<SecretPath>,
    /// It was taken: it will be recorded, whatever becomes of it.
    pub(super) begun: OnceLock<()>,
    pub(super) asked: Mutex<Vec<&'static str>>,
}

impl Note {
    pub(super) fn new(id: Uuid, client: Client, peer: Arc<str>) -> Note {
        let (path, domain, key, secret, begun) = Default::default();
        Note { id, client, peer, path, domain, key, secret, begun, asked: Mutex::default() }
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
        self.note.asks(A::NAME);
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

/// Takes a request, if it could be recorded and its domain has not had too many.
fn admit(app: &App, note: &Note) -> Result<(), Error> {
    match app.audit.as_ref().map(Audit::state) {
        None | Some(State::Recording) => {}
        Some(state) => return Err(Error::refused(format!("audit: {}", state.word()))),
    }
    let domain =
        note.client.as_ref().and_then(|client| client.as_ref().ok()).map(|identity| identity.domain());
    if !app.rates.takes(domain, app.env.now()) {
        return Err(Error::new(Code::TooMany, "too many requests: try again later"));
    }
    let _ = note.begun.set(());
    Ok(())
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
        admit(app, &note)?;
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
