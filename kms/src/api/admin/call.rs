//! One request of the operator's as the handlers see it.

use crate::{
    api::rest::{
        call::{App, Caller, Note},
        reply::Failure,
    },
    error::{Code, Error},
    wire::identity::Peer,
};
use axum::extract::{FromRequestParts, MatchedPath};
use http::request::Parts;
use std::sync::Arc;

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
}

impl FromRequestParts<Arc<Admin>> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Call, Failure> {
        let note = parts.extensions.get::<Arc<Note>>().cloned();
        let note = note.ok_or_else(|| Error::internal("request without a note"))?;
        if let Some(path) = parts.extensions.get::<MatchedPath>() {
            let _ = note.path.set(path.clone());
        }
        if !matches!(note.caller, Caller::Operator(_)) {
            return Err(Error::new(Code::Unauthorised, "the operator's certificate is required").into());
        }
        Ok(Call { admin: Arc::clone(admin) })
    }
}
