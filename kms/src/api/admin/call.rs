//! One request of the operator's as the handlers see it.

use super::seal;
use crate::{
    api::rest::{
        call::{App, Caller, Note, note_of, uuid},
        reply::Failure,
    },
    engine::HostService,
    error::{Code, Error},
    iam::Administrator,
    wire::identity::Peer,
};
use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use std::sync::Arc;
use uuid::Uuid;

/// What is the same for every request of the operator's to a host.
pub(super) struct Admin {
    pub(super) app: Arc<App>,
    /// The host.
    pub(super) node: Peer,
}

impl Admin {
    pub(super) fn new(app: Arc<App>, node: &Peer) -> Arc<Admin> {
        Arc::new(Admin { app, node: node.clone() })
    }
}

/// A request that the operator has sent. There is no other way to get one.
pub(super) struct Call {
    pub(super) admin: Arc<Admin>,
    pub(super) note: Arc<Note>,
    /// Opens what administers access.
    pub(super) may: Administrator,
    domain: Option<Uuid>,
    name: Option<String>,
}

impl Call {
    /// The domain named in the path.
    ///
    /// # Errors
    /// `Internal` on a route without one.
    pub(super) fn domain(&self) -> Result<Uuid, Error> {
        self.domain.ok_or_else(|| Error::internal("route without a domain"))
    }

    /// What the path names in the domain.
    ///
    /// # Errors
    /// `Internal` on a route without one.
    pub(super) fn name(&self) -> Result<&str, Error> {
        self.name.as_deref().ok_or_else(|| Error::internal("route without a name"))
    }

    /// The credential that the path names.
    ///
    /// # Errors
    /// `BadArgument` if it is no UUID.
    pub(super) fn credential(&self) -> Result<Uuid, Error> {
        uuid(self.name()?, "the credential")
    }
}

impl FromRequestParts<Arc<Admin>> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Call, Failure> {
        let note = note_of(parts)?;
        let may = match &note.caller {
            Caller::Operator(peer) => Administrator::of(peer)?,
            Caller::Client(_) => {
                return Err(Error::new(Code::Unauthorised, "the operator's certificate is required").into());
            }
        };
        let sealed = admin.app.service.is_sealed();
        let exempt = note.path.get().is_some_and(|path| seal::unrecorded(path.as_str(), sealed));
        let ready = if sealed { Err(HostService::sealed_error()) } else { admin.app.recordable() };
        match ready {
            Ok(()) => note.begin(),
            Err(error) if !exempt => return Err(error.into()),
            Err(_) => {}
        }
        let params = RawPathParams::from_request_parts(parts, admin)
            .await
            .map_err(|_| Error::bad("the path is not UTF-8"))?;
        let (mut domain, mut name) = (None, None);
        for (key, value) in &params {
            match key {
                "domain" => {
                    let id = uuid(value, "the domain")?;
                    domain = Some(id);
                    let _ = note.domain.set(id);
                }
                _ => name = Some(value.to_owned()),
            }
        }
        Ok(Call { admin: Arc::clone(admin), note, may, domain, name })
    }
}
