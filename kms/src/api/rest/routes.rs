//! Paths and methods of the service-key API, one small handler each.

use super::{
    body::{self, Sent},
    call::{App, Call},
    openapi,
    paths::{Paths, get, post},
    reply::{Failure, Reply, json, no_content, token},
    secrets_v1, secrets_v2, transfer,
    types::*,
};
use crate::{
    audit::{self, Recorder},
    crypto::asymmetric::OaepHash,
    engine::{CarriedFormat, KeyView, ListQuery, SignatureFormat, StateFilter, Way},
    error::{Code, Error},
    iam::{Action, action},
};
use axum::{Router, body::Body, extract::State};
use http::{Request, StatusCode};
use std::sync::Arc;
use uuid::Uuid;

/// Where a host says how it is: what a sealed one answers too.
pub(super) const HEALTH_PATH: &str = "/healthz";

/// All paths, for one application.
pub(super) fn router(app: Arc<App>) -> Router {
    paths().router(no_path, app)
}

/// All paths.
pub(super) fn paths() -> Paths {
    let keys = "/api/{okmsId}/v1/servicekey";
    let key = |rest: &str| format!("{keys}/{{keyId}}{rest}");
    Paths::new()
        .route(HEALTH_PATH, get(health))
        .route("/openapi.yaml", get(openapi::yaml))
        .route("/openapi.json", get(openapi::json))
        .route(keys, post(create).get(list))
        .route(&key(""), get(get_key).patch(change).delete(delete))
        .route(&key("/activate"), post(activate))
        .route(&key("/deactivate"), post(deactivate))
        .route(&key("/encrypt"), post(encrypt::<Body>))
        .route(&key("/decrypt"), post(decrypt::<Body>))
        .route(&key("/datakey"), post(create_data_key::<Body>))
        .route(&key("/datakey/decrypt"), post(decrypt_data_key::<Body>))
        .route(&key("/sign"), post(sign::<Body>))
        .route(&key("/verify"), post(verify::<Body>))
        .route("/api/{okmsId}/v1/random", get(random))
        .merge(transfer::routes())
        .merge(secrets_v2::routes())
        .merge(secrets_v1::routes())
}

async fn no_path() -> Failure {
    Failure(Error::new(Code::PathNotFound, "no such path"))
}

async fn health(State(app): State<Arc<App>>) -> Reply {
    let health = app.service.health();
    let recording = app.audit.as_ref().and_then(Recorder::audit).map(|audit| audit.state());
    let recorded = recording.is_none_or(|state| state == audit::State::Recording);
    let (can_serve, can_write) = (health.can_read && recorded, health.can_write && recorded);
    let status = if can_serve { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (sealed, audit) = (app.service.is_sealed(), recording.map(audit::State::word));
    let body = HealthBody { can_serve, can_write, sealed, start: app.start, audit };
    json(status, &body)
}

/// Whether the public half is asked for.
fn wants_public(request: &Request<Body>) -> Result<bool, Error> {
    match body::query(request, "format")?.as_deref() {
        None => Ok(false),
        Some("jwk") => Ok(true),
        Some(_) => Err(Error::bad("format must be jwk")),
    }
}

fn key_body(view: KeyView, public: bool) -> Result<KeyBody, Error> {
    if public { KeyBody::with_public(view) } else { Ok(KeyBody::from(view)) }
}

async fn create(call: Call, request: Request<Body>) -> Reply {
    // Whether it is made or taken stands in the body: who may do neither learns nothing of that.
    let (may_create, may_import) = (call.may_here::<action::Create>(), call.may_here::<action::Import>());
    if let (Err(error), Err(_)) = (&may_create, &may_import) {
        return Err(error.clone().into());
    }
    let public = wants_public(&request)?;
    let body: CreateBody = body::json(&call.app, request).await?;
    let (from, new) = body.into_parts()?;
    if let Some(id) = new.id {
        let _ = call.note.key.set(id);
    }
    let service = &call.app.service;
    let made = matches!(from, Source::Made(_));
    call.note.spares(if made { action::Import::NAME } else { action::Create::NAME });
    let view = match from {
        Source::Made(kind) => service.create(&may_create?, kind, new).await?,
        Source::Sent(jwk) => service.import(&may_import?, &jwk, new).await?,
        Source::Carried(transport, carried) => {
            let may_unwrap = call.may::<action::Unwrap>(transport)?;
            service.import_carried(&may_import?, &may_unwrap, &carried, new).await?
        }
    };
    let _ = call.note.key.set(view.id);
    json(StatusCode::CREATED, &key_body(view, public)?)
}

async fn list(call: Call, request: Request<Body>) -> Reply {
    let may = call.select::<action::Get>()?;
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
    let may = call.may_key::<action::Get>()?;
    let public = wants_public(&request)?;
    let Some((transport, way)) = way(&request)? else {
        let view = call.app.service.get(&may).await?;
        return json(StatusCode::OK, &key_body(view, public)?);
    };
    let may_wrap = call.may::<action::Wrap>(transport)?;
    let (view, token) = call.app.service.export(&may, &may_wrap, way).await?;
    json(StatusCode::OK, &KeyBody::with_wrapped(view, WrappedKeyBody::new(transport, &way, token)))
}

/// How the key itself is to leave, if it is, and under which transport key.
fn way(request: &Request<Body>) -> Result<Option<(Uuid, Way)>, Error> {
    let transport = body::query(request, "wrappingKeyId")?;
    let (format, algorithm) =
        (body::query(request, "wrappedKeyFormat")?, body::query(request, "wrappingAlgorithm")?);
    let Some(transport) = transport else {
        return match (format, algorithm) {
            (None, None) => Ok(None),
            _ => Err(Error::bad("wrappedKeyFormat and wrappingAlgorithm come with wrappingKeyId")),
        };
    };
    let transport = Uuid::try_parse(&transport).map_err(|_| Error::bad("wrappingKeyId is not a UUID"))?;
    let format = CarriedFormat::of_word(format.as_deref().unwrap_or("JWK"))
        .ok_or_else(|| Error::bad("wrappedKeyFormat must be RAW, JWK, PKCS1 or PKCS8"))?;
    let hash = OaepHash::of_word(algorithm.as_deref().unwrap_or("RSA-OAEP-256"))
        .ok_or_else(|| Error::bad("wrappingAlgorithm must be RSA-OAEP or RSA-OAEP-256"))?;
    Ok(Some((transport, Way { format, hash })))
}

async fn change(call: Call, request: Request<Body>) -> Reply {
    let may = call.may_key::<action::Update>()?;
    let body: ChangeBody = body::json(&call.app, request).await?;
    let (name, extractable) = body.into_parts()?;
    let view = call.app.service.change(&may, name, extractable).await?;
    json(StatusCode::OK, &KeyBody::from(view))
}

pub(super) async fn sign<B: Sent>(call: Call, request: Request<B>) -> Reply {
    let may = call.may_key::<action::Sign>()?;
    let format = match body::query(&request, "format")? {
        None => SignatureFormat::Raw,
        Some(word) => {
            SignatureFormat::of_word(&word).ok_or_else(|| Error::bad("format must be raw, jws or jwt"))?
        }
    };
    let body: SignBody = body::json(&call.app, request).await?;
    let signature = call.app.service.sign(&may, body.into_parts()?, format).await?;
    json(StatusCode::OK, &SignatureBody::from(signature))
}

pub(super) async fn verify<B: Sent>(call: Call, request: Request<B>) -> Reply {
    let may = call.may_key::<action::Verify>()?;
    let body: VerifyBody = body::json(&call.app, request).await?;
    let result = call.app.service.verify(&may, body.into_asked()?).await?;
    json(StatusCode::OK, &VerifiedBody { result })
}

async fn delete(call: Call) -> Reply {
    let may = call.may_key::<action::Delete>()?;
    call.app.service.delete(&may).await?;
    no_content()
}

async fn activate(call: Call) -> Reply {
    let may = call.may_key::<action::Activate>()?;
    call.app.service.activate(&may).await?;
    no_content()
}

async fn deactivate(call: Call, request: Request<Body>) -> Reply {
    let may = call.may_key::<action::Deactivate>()?;
    let body: DeactivateBody = body::json(&call.app, request).await?;
    call.app.service.deactivate(&may, body.reason()?).await?;
    no_content()
}

pub(super) async fn encrypt<B: Sent>(call: Call, request: Request<B>) -> Reply {
    let may = call.may_key::<action::Encrypt>()?;
    let body: EncryptBody = body::json(&call.app, request).await?;
    let (plaintext, context) = body.into_parts()?;
    let ciphertext = call.app.service.encrypt(&may, plaintext, &context).await?;
    token(StatusCode::OK, "ciphertext", ciphertext)
}

pub(super) async fn decrypt<B: Sent>(call: Call, request: Request<B>) -> Reply {
    let may = call.may_key::<action::Decrypt>()?;
    let body: DecryptBody = body::json(&call.app, request).await?;
    let (ciphertext, context) = body.into_parts()?;
    let plaintext = call.app.service.decrypt(&may, &ciphertext, &context).await?;
    json(StatusCode::OK, &PlaintextBody { plaintext: plaintext.into() })
}

pub(super) async fn create_data_key<B: Sent>(call: Call, request: Request<B>) -> Reply {
    let may = call.may_key::<action::CreateDataKey>()?;
    let body: DataKeyBody = body::json(&call.app, request).await?;
    let (key, plaintext) = call.app.service.create_data_key(&may, body.bits()?).await?;
    json(StatusCode::CREATED, &NewDataKeyBody { key, plaintext: plaintext.into() })
}

pub(super) async fn decrypt_data_key<B: Sent>(call: Call, request: Request<B>) -> Reply {
    let may = call.may_key::<action::DecryptDataKey>()?;
    let body: DecryptDataKeyBody = body::json(&call.app, request).await?;
    let plaintext = call.app.service.decrypt_data_key(&may, &body.into_blob()?).await?;
    json(StatusCode::OK, &PlaintextBody { plaintext: plaintext.into() })
}

async fn random(call: Call, request: Request<Body>) -> Reply {
    let may = call.may_here::<action::Random>()?;
    let length = body::query_number(&request, "length", 1)?;
    let bytes = call.app.service.random(&may, length)?;
    json(StatusCode::OK, &RandomBody { bytes: bytes.into() })
}
