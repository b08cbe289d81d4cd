//! Paths and methods of a host's administration, one small handler each.

use super::{
    call::{Admin, Call},
    seal::{self, SEAL, SHARES, UNSEAL},
    types::{CredentialList, DomainCreated, HostStatus, Tried},
};
use crate::{
    api::rest::{
        body,
        call::uuid,
        reply::{Failure, Reply, json, no_content},
    },
    engine::access::{Asked, Part},
    error::{Code, Error},
    iam::{Credential, Group, Issuer, Policy},
};
use axum::{
    Router,
    body::Body,
    routing::{self, get, post},
};
use http::{Request, StatusCode};
use std::sync::Arc;

/// All paths.
pub(super) fn router(admin: Arc<Admin>) -> Router {
    let of = |rest: &str| format!("/admin/v1/domain/{{domain}}/{rest}");
    Router::new()
        .route("/admin/v1/status", get(status))
        .route(SEAL, get(seal::state).post(seal::seal))
        .route(UNSEAL, post(seal::unseal).delete(seal::forget))
        .route(SHARES, routing::put(seal::rotate))
        .route("/admin/v1/domain/{domain}", routing::put(create_domain))
        .route(&of("inventory"), get(inventory))
        .route(&of("policies"), get(list::<Policy>))
        .route(&of("policies/{name}"), routing::put(put::<Policy>).delete(delete::<Policy>))
        .route(&of("groups"), get(list::<Group>))
        .route(&of("groups/{name}"), routing::put(put::<Group>).delete(delete::<Group>))
        .route(&of("issuers"), get(list::<Issuer>))
        .route(&of("issuers/{name}"), routing::put(put::<Issuer>).delete(delete::<Issuer>))
        .route(&of("credentials"), get(credentials).post(register))
        .route(&of("credentials/{name}"), get(credential).delete(revoke))
        .route(&of("test"), post(test))
        .fallback(no_path)
        .with_state(admin)
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

async fn create_domain(call: Call) -> Reply {
    let domain = call.domain()?;
    let new = call.admin.app.service.create_domain(&call.may, domain).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    json(status, &DomainCreated { domain, new })
}

async fn inventory(call: Call) -> Reply {
    json(StatusCode::OK, &call.admin.app.service.inventory(&call.may, call.domain()?).await?)
}

/// The name in the path must be that of the body.
fn same_name<T: Part>(call: &Call, part: &T) -> Result<(), Error> {
    match call.name()? == part.name() {
        true => Ok(()),
        false => Err(Error::bad("the name in the path is not that of the body")),
    }
}

async fn list<T: Part>(call: Call) -> Reply {
    json(StatusCode::OK, &call.admin.app.service.parts::<T>(&call.may, call.domain()?).await?)
}

async fn put<T: Part>(call: Call, request: Request<Body>) -> Reply {
    let part: T = body::json(&call.admin.app, request).await?;
    same_name(&call, &part)?;
    call.admin.app.service.put_part(&call.may, call.domain()?, part).await?;
    no_content()
}

async fn delete<T: Part>(call: Call) -> Reply {
    call.admin.app.service.delete_part::<T>(&call.may, call.domain()?, call.name()?).await?;
    no_content()
}

async fn credentials(call: Call, request: Request<Body>) -> Reply {
    let after = body::query(&request, "after")?.map(|text| uuid(&text, "after")).transpose()?;
    let (credentials, more) = call.admin.app.service.credentials(&call.may, call.domain()?, after).await?;
    json(StatusCode::OK, &CredentialList { credentials, more })
}

async fn register(call: Call, request: Request<Body>) -> Reply {
    let credential: Credential = body::json(&call.admin.app, request).await?;
    call.admin.app.service.register_credential(&call.may, call.domain()?, credential).await?;
    no_content()
}

async fn credential(call: Call) -> Reply {
    let id = call.credential()?;
    json(StatusCode::OK, &call.admin.app.service.credential(&call.may, call.domain()?, id).await?)
}

async fn revoke(call: Call) -> Reply {
    let id = call.credential()?;
    call.admin.app.service.revoke_credential(&call.may, call.domain()?, id).await?;
    no_content()
}

async fn test(call: Call, request: Request<Body>) -> Reply {
    let tried: Tried = body::json(&call.admin.app, request).await?;
    let (service, domain) = (&call.admin.app.service, call.domain()?);
    let mut identities = tried.identities;
    if let Some(id) = tried.credential {
        identities.extend(service.identities_of(&call.may, domain, id).await?);
    }
    let asked = Asked { identities: &identities, action: &tried.action, resource: &tried.resource };
    json(StatusCode::OK, &service.explain(&call.may, domain, &asked).await?)
}
