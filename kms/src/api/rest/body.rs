//! Reading what the client sent: bodies with their limits of size and time, and queries. Refuses what is not
//! JSON by its content type, and fields it does not know.

use super::call::App;
use crate::{
    error::{Code, Error},
    limits::{BODY_MAX_BYTES, SECRET_BODY_MAX_BYTES, ms},
};
use axum::body::{Body, Bytes};
use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

/// Reads a JSON body.
///
/// # Errors
/// `WrongType`, `TooLarge`, `Timeout`, or `BadArgument` with what is wrong and where.
pub(in crate::api) async fn json<T: DeserializeOwned>(app: &App, request: Request<Body>) -> Result<T, Error> {
    check_type(request.method(), request.headers())?;
    let bytes = collected(app, request, BODY_MAX_BYTES).await?;
    serde_json::from_slice(&bytes).map_err(|error| Error::bad(format!("body: {error}")))
}

/// Reads a JSON body about secrets. It may be larger, and errors tell where it is wrong, but nothing of what stands there. Vault's own
/// clients send no content type: `untyped` takes that.
///
/// # Errors
/// As of [`json`].
pub(super) async fn secret<T: DeserializeOwned>(
    app: &App,
    request: Request<Body>,
    untyped: bool,
) -> Result<T, Error> {
    if !untyped || request.headers().contains_key(header::CONTENT_TYPE) {
        check_type(request.method(), request.headers())?;
    }
    let bytes = collected(app, request, SECRET_BODY_MAX_BYTES).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let what = if error.is_data() { "is not as documented" } else { "is not JSON" };
        Error::bad(format!("body: what ends at line {} column {} {what}", error.line(), error.column()))
    })
}

async fn collected(app: &App, request: Request<Body>, most: usize) -> Result<Bytes, Error> {
    let (parts, body) = request.into_parts();
    let too_large = || Error::new(Code::TooLarge, format!("the body is larger than {most} bytes"));
    let declared =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > most as u64) {
        return Err(too_large());
    }
    let collect = Limited::new(body, most).collect();
    match app.env.timeout(ms(app.limits.client_idle_ms), collect).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Error::bad("the body did not arrive whole")),
        Err(_) => Err(Error::new(Code::Timeout, "the body did not arrive in time")),
    }
}

/// JSON, or for PATCH anything that ends in it.
fn check_type(method: &Method, headers: &HeaderMap) -> Result<(), Error> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    let fits = match essence.as_str() {
        "application/json" => true,
        "text/json" => method == Method::PATCH,
        other => method == Method::PATCH && other.starts_with("application/") && other.ends_with("+json"),
    };
    if fits { Ok(()) } else { Err(Error::new(Code::WrongType, "content type must be application/json")) }
}

/// One parameter of a query, decoded; of several the last.
///
/// # Errors
/// `BadArgument` if it is not valid percent-encoded UTF-8.
pub(in crate::api) fn query(request: &Request<Body>, name: &str) -> Result<Option<String>, Error> {
    let query = request.uri().query().unwrap_or_default();
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    match pairs.rfind(|(key, _)| *key == name) {
        None => Ok(None),
        Some((_, value)) => match percent_decoded(value, true) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::bad(format!("query parameter {name} is not well formed"))),
        },
    }
}

/// A number in a query, or its default.
///
/// # Errors
/// `BadArgument` if it is none.
pub(super) fn query_number(request: &Request<Body>, name: &str, default: u32) -> Result<u32, Error> {
    match query(request, name)? {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| Error::bad(format!("{name} is not a number"))),
    }
}

/// Undoes percent-encoding, once. In a query `+` is a space, in a path it is itself.
pub(super) fn percent_decoded(text: &str, plus_is_space: bool) -> Option<String> {
    if !text.contains(['%', '+']) {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' if plus_is_space => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let mut value = [0];
                hex::decode_to_slice(digits, &mut value).ok()?;
                value[0]
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}
