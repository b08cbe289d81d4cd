//! Sealing and unsealing of the host, and its shares. What a share is worth is told to nobody: it goes in and nothing of it comes out.

use super::{
    call::Call,
    types::{Line, RotateBody, SealBody, ShareBody},
};
use crate::{
    api::rest::{
        body,
        reply::{Reply, json},
    },
    error::Error,
    vault::unseal::{UnsealError, UnsealKey, UnsealShare},
};
use axum::body::Body;
use http::{Request, StatusCode};

/// How the host stands; to be sealed or not.
pub(super) const SEAL: &str = "/admin/v1/seal";
/// Shares one by one.
pub(super) const UNSEAL: &str = "/admin/v1/unseal";
/// Their set.
pub(super) const SHARES: &str = "/admin/v1/shares";

/// Whether requests of this route are taken although they cannot be recorded: to a sealed host those about shares, since it has nothing
/// to record them in; to any host the one that seals it, since a full disk must not keep keys in memory.
pub(super) fn unrecorded(route: &str, sealed: bool) -> bool {
    route == SEAL || (sealed && [UNSEAL, SHARES].contains(&route))
}

pub(super) async fn state(call: Call) -> Reply {
    json(StatusCode::OK, &SealBody::from(call.admin.app.service.seal_state()))
}

pub(super) async fn seal(call: Call) -> Reply {
    call.admin.app.seal(&call.may).await;
    state(call).await
}

/// With a share, or by the key file if the body has none.
pub(super) async fn unseal(call: Call, request: Request<Body>) -> Reply {
    let app = &call.admin.app;
    let body: ShareBody = body::secret(app, request, false).await?;
    match &body.share {
        Some(line) => app.unseal_with(&call.may, UnsealShare::parse(&line.0).map_err(bad)?).await?,
        None => app.unseal_by_file(&call.may).await?,
    }
    if !app.service.is_sealed() {
        call.note.begin();
    }
    state(call).await
}

/// Forgets the shares given so far.
pub(super) async fn forget(call: Call) -> Reply {
    call.admin.app.service.forget_shares(&call.may);
    state(call).await
}

pub(super) async fn rotate(call: Call, request: Request<Body>) -> Reply {
    let app = &call.admin.app;
    let body: RotateBody = body::secret(app, request, false).await?;
    let (old, new) = (key(&body.old)?, key(&body.new)?);
    let (before, after) = (old.set().name(), new.set().name());
    app.service.rotate_shares(&call.may, old, new).await?;
    tracing::warn!(before, after, "another set of shares unseals this host from now on");
    state(call).await
}

fn key(lines: &[Line]) -> Result<UnsealKey, Error> {
    let shares: Result<Vec<_>, _> = lines.iter().map(|line| UnsealShare::parse(&line.0)).collect();
    UnsealKey::combine(&shares.map_err(bad)?).map_err(bad)
}

fn bad(error: UnsealError) -> Error {
    Error::bad(error.to_string())
}
