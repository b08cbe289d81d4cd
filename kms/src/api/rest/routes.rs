//! Paths and methods of the service-key API, one small handler each.

use super::{
    body,
    call::{App, Call},
    reply::{Failure, Reply, json, no_content},
    secrets_v1, secrets_v2,
    types::*,
};
use crate::{
    engine::{ListQuery, StateFilter},
    error::{Code, Error},
    iam::action,
};
use axum::{
    Router,
    body::Body,
    extract::State,
    routing::{get, post},
};
use http::{Request, StatusCode};
use std::sync::Arc;

/// All paths.
pub(super) fn router(app: Arc<App>) -> Router {
    let keys = "/api/{okmsId}/v1/servicekey";
    let key = |rest: &str| format!("{keys}/{{keyId}}{rest}");
    Router::new()
        .route("/healthz", get(health))
        .route(keys, post(create).get(list))
        .route(&key(""), get(get_key).patch(rename).delete(delete))
        .route(&key("/activate"), post(activate))
        .route(&key("/deactivate"), post(deactivate))
        .route(&key("/encrypt"), post(encrypt))
        .route(&key("/decrypt"), post(decrypt))
        .route(&key("/datakey"), post(create_data_key))
        .route(&key("/datakey/decrypt"), post(decrypt_data_key))
        .route(&key("/sign"), post(not_offered))
        .route(&key("/verify"), post(not_offered))
        .route("/api/{okmsId}/v1/random", get(random))
        .merge(secrets_v2::routes())
        .merge(secrets_v1::routes())
        .fallback(no_path)
        .with_state(app)
}

async fn no_path() -> Failure {
    Failure(Error::new(Code::PathNotFound, "no such path"))
}

async fn not_offered(_call: Call) -> Failure {
    Failure(Error::new(Code::NotOffered, "sign and verify need RSA or EC keys, which are not offered yet"))
}

async fn health(State(app): State<Arc<App>>) -> Reply {
    let health = app.service.health();
    let status = if health.can_read { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = HealthBody { can_serve: health.can_read, can_write: health.can_write, start: app.start };
    json(status, &body)
}

/// `format` may only be `jwk`; the answer is the same, for the material of symmetric keys is never shown.
fn check_format(request: &Request<Body>) -> Result<(), Error> {
    match body::query(request, "format")?.as_deref() {
        None | Some("jwk") => Ok(()),
        Some(_) => Err(Error::bad("format must be jwk")),
    }
}

async fn create(call: Call, request: Request<Body>) -> Reply {
    let may = call.may::<action::Create>()?;
    check_format(&request)?;
    let body: CreateBody = body::json(&call.app, request).await?;
    let new = body.into_new_key()?;
    if let Some(id) = new.id {
        let _ = call.note.key.set(id);
    }
    let view = call.app.service.create(&may, new).await?;
    json(StatusCode::CREATED, &KeyBody::from(view))
}

async fn list(call: Call, request: Request<Body>) -> Reply {
    let may = call.may::<action::Get>()?;
    let filter = match body::query(&request, "state")? {
        None => StateFilter::default(),
        Some(word) => {
            StateFilter::of_word(&word).ok_or_else(|| Error::bad("state is not a documented one"))?
        }
    };
    let token = body::query(&request, "continuation-token")?.filter(|token| !token.is_empty());
    let max = body::query_number(&request, "max", 100)? as usize;
    let page = call.app.service.list(&may, &ListQuery { filter, token, max }).await?;
    json(StatusCode::OK, &ListBody::from(page))
}

async fn get_key(call: Call, request: Request<Body>) -> Reply {
    let may = call.may::<action::Get>()?;
    check_format(&request)?;
    let view = call.app.service.get(&may, call.key()?).await?;
    json(StatusCode::OK, &KeyBody::from(view))
}

async fn rename(call: Call, request: Request<Body>) -> Reply {
    let may = call.may::<action::Update>()?;
    let body: RenameBody = body::json(&call.app, request).await?;
    let view = call.app.service.rename(&may, call.key()?, body.into_name()?).await?;
    json(StatusCode::OK, &KeyBody::from(view))
}

async fn delete(call: Call) -> Reply {
    let may = call.may::<action::Delete>()?;
    call.app.service.delete(&may, call.key()?).await?;
    no_content()
}

async fn activate(call: Call) -> Reply {
    let may = call.may::<action::Activate>()?;
    call.app.service.activate(&may, call.key()?).await?;
    no_content()
}

async fn deactivate(call: Call, request: Request<Body>) -> Reply {
    let may = call.may::<action::Deactivate>()?;
    let body: DeactivateBody = body::json(&call.app, request).await?;
    call.app.service.deactivate(&may, call.key()?, body.reason()?).await?;
    no_content()
}

async fn encrypt(call: Call, request: Request<Body>) -> Reply {
    let may = call.may::<action::Encrypt>()?;
    let body: EncryptBody = body::json(&call.app, request).await?;
    let (plaintext, context) = body.into_parts()?;
    let ciphertext = call.app.service.encrypt(&may, call.key()?, plaintext, &context).await?;
    json(StatusCode::OK, &CiphertextBody { ciphertext })
}

async fn decrypt(call: Call, request: Request<Body>) -> Reply {
    let may = call.may::<action::Decrypt>()?;
    let body: DecryptBody = body::json(&call.app, request).await?;
    let (ciphertext, context) = body.into_parts()?;
    let plaintext = call.app.service.decrypt(&may, call.key()?, &ciphertext, &context).await?;
    json(StatusCode::OK, &PlaintextBody { plaintext: plaintext.into() })
}

async fn create_data_key(call: Call, request: Request<Body>) -> Reply {
    let may = call.may::<action::CreateDataKey>()?;
    let body: DataKeyBody = body::json(&call.app, request).await?;
    let (key, plaintext) = call.app.service.create_data_key(&may, call.key()?, body.bits()?).await?;
    json(StatusCode::CREATED, &NewDataKeyBody { key, plaintext: plaintext.into() })
}

async fn decrypt_data_key(call: Call, request: Request<Body>) -> Reply {
    let may = call.may::<action::DecryptDataKey>()?;
    let body: DecryptDataKeyBody = body::json(&call.app, request).await?;
    let plaintext = call.app.service.decrypt_data_key(&may, call.key()?, &body.into_blob()?).await?;
    json(StatusCode::OK, &PlaintextBody { plaintext: plaintext.into() })
}

async fn random(call: Call, request: Request<Body>) -> Reply {
    let may = call.may::<action::Random>()?;
    let length = body::query_number(&request, "length", 1)?;
    let bytes = call.app.service.random(&may, length)?;
    json(StatusCode::OK, &RandomBody { bytes: bytes.into() })
}
