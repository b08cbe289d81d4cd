//! Paths and methods of a host's administration, one small handler each.

use super::{
    call::{Admin, Call},
    types::HostStatus,
};
use crate::{
    api::rest::reply::{Failure, Reply, json},
    error::{Code, Error},
};
use axum::{Router, routing::get};
use http::StatusCode;
use std::sync::Arc;

/// All paths.
pub(super) fn router(admin: Arc<Admin>) -> Router {
    Router::new().route("/admin/v1/status", get(status)).fallback(no_path).with_state(admin)
}

async fn no_path() -> Failure {
    Failure(Error::new(Code::PathNotFound, "no such path"))
}

async fn status(call: Call) -> Reply {
    let (health, node) = (call.admin.app.service.health(), &call.admin.node);
    let status = HostStatus {
        node: node.node_id.clone(),
        region: node.region.clone(),
        start: call.admin.app.start,
        can_read: health.can_read,
        can_write: health.can_write,
    };
    json(StatusCode::OK, &status)
}
