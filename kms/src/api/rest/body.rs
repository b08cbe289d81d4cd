//! Reading what the client sent: bodies with their limits of size and time, and queries. Refuses what is not
//! JSON by its content type, and fields it does not know.

use super::call::App;
use crate::{
    error::{Code, Error},
    limits::{BODY_MAX_BYTES, IMPORT_BODY_MAX_BYTES, SECRET_BODY_MAX_BYTES, ms},
};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, Unexpected, Visitor},
};
use std::{fmt, pin::pin, str::FromStr};

/// The body of a request, as it comes.
pub(in crate::api) trait Sent: HttpBody<Data = Bytes> {}

impl<B: HttpBody<Data = Bytes>> Sent for B {}

/// Reads a JSON body. The future holds nothing else of the request: heads are large, and it is a part of larger ones.
///
/// # Errors
/// `WrongType`, `TooLarge`, `Timeout`, or `BadArgument` with what is wrong and where.
pub(in crate::api) fn json<T: DeserializeOwned>(
    app: &App,
    request: Request<impl Sent>,
) -> impl Future<Output = Result<T, Error>> {
    let typed = check_type(request.method(), request.headers());
    let collected = typed.and_then(|()| collected(app, request, BODY_MAX_BYTES));
    async move {
        let bytes = collected?.await?;
        check_object(&bytes)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::bad(format!("body: {error}")))
    }
}

/// Reads the JSON body of an import, as [`secret`] reads one. It may be as large as [`IMPORT_BODY_MAX_BYTES`].
///
/// # Errors
/// As of [`json`].
pub(super) async fn import<T: DeserializeOwned>(app: &App, request: Request<Body>) -> Result<T, Error> {
    check_type(request.method(), request.headers())?;
    discreet(&collected(app, request, IMPORT_BODY_MAX_BYTES)?.await?)
}

/// Reads a JSON body about secrets. It may be larger, and errors tell where it is wrong, but nothing of what stands there. Vault's own
/// clients send no content type: `untyped` takes that.
///
/// # Errors
/// As of [`json`].
pub(in crate::api) async fn secret<T: DeserializeOwned>(
    app: &App,
    request: Request<Body>,
    untyped: bool,
) -> Result<T, Error> {
    if !untyped || request.headers().contains_key(header::CONTENT_TYPE) {
        check_type(request.method(), request.headers())?;
    }
    discreet(&collected(app, request, SECRET_BODY_MAX_BYTES)?.await?)
}

/// Reads JSON; an error repeats nothing of what stands there.
fn discreet<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    check_object(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| {
        let what = if error.is_data() { "is not as documented" } else { "is not JSON" };
        Error::bad(format!("body: what ends at line {} column {} {what}", error.line(), error.column()))
    })
}

/// Reads a body whole, once its head says that it can be. What reads it keeps nothing else of the request.
fn collected<B: Sent>(
    app: &App,
    request: Request<B>,
    most: usize,
) -> Result<impl Future<Output = Result<Bytes, Error>>, Error> {
    check_coding(request.headers())?;
    let (parts, body) = request.into_parts();
    let too_large = move || Error::new(Code::TooLarge, format!("the body is larger than {most} bytes"));
    let declared =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > most as u64) {
        return Err(too_large());
    }
    Ok(async move {
        let whole = app.env.timeout(ms(app.limits.client_idle_ms), whole(body, most)).await;
        let whole = whole.map_err(|_| Error::new(Code::Timeout, "the body did not arrive in time"))?;
        whole.map_err(|cut| match cut {
            Cut::Short => Error::bad("the body did not arrive whole"),
            Cut::Long => too_large(),
        })
    })
}

/// Why a body is not there whole.
enum Cut {
    Short,
    Long,
}

/// A body of at most so many bytes; one that comes in one piece, as nearly all do, is copied nowhere.
async fn whole<B: Sent>(body: B, most: usize) -> Result<Bytes, Cut> {
    let mut body = pin!(body);
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Cut::Short)?.into_data() else { continue };
        if first.len() + all.len() + data.len() > most {
            return Err(Cut::Long);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// An object: of an array serde would take fields by their places.
fn check_object(bytes: &[u8]) -> Result<(), Error> {
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Error::bad("body: it must be an object"));
    }
    Ok(())
}

/// JSON, or for PATCH anything that ends in it.
fn check_type(method: &Method, headers: &HeaderMap) -> Result<(), Error> {
    let value = headers.get(header::CONTENT_TYPE);
    // As nearly everybody sends it.
    if value.is_some_and(|value| value.as_bytes() == b"application/json") {
        return Ok(());
    }
    let essence = essence(headers);
    let of_patch = || {
        let essence = essence.to_ascii_lowercase();
        essence == "text/json" || essence.starts_with("application/") && essence.ends_with("+json")
    };
    if essence.eq_ignore_ascii_case("application/json") || method == Method::PATCH && of_patch() {
        Ok(())
    } else {
        Err(Error::new(Code::WrongType, "content type must be application/json"))
    }
}

/// The type of a body without its parameters; empty if none is given.
pub(super) fn essence(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default().trim_ascii()
}

/// A body as it is: one that was compressed may become anything when it is unpacked.
fn check_coding(headers: &HeaderMap) -> Result<(), Error> {
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).into_iter().all(plain) {
        return Ok(());
    }
    Err(Error::new(Code::WrongType, "the body must not be compressed"))
}

/// One parameter of a query, decoded. Which of two is meant nobody can know.
///
/// # Errors
/// `BadArgument` if it is not valid percent-encoded UTF-8, or given twice.
pub(in crate::api) fn query(request: &Request<impl Sent>, name: &str) -> Result<Option<String>, Error> {
    let query = request.uri().query().unwrap_or_default();
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut named = pairs.filter(|(key, _)| {
        *key == name || key.contains('%') && percent_decoded(key, true).as_deref() == Some(name)
    });
    match (named.next(), named.next()) {
        (None, _) => Ok(None),
        (Some((_, value)), None) => match percent_decoded(value, true) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::bad(format!("query parameter {name} is not well formed"))),
        },
        (Some(_), Some(_)) => Err(Error::bad(format!("query parameter {name} is given twice"))),
    }
}

/// A number as it is written in a query, a header or a path: digits, and no sign.
pub(super) fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A number in a query, or its default.
///
/// # Errors
/// `BadArgument` if it is none.
pub(super) fn query_number(request: &Request<Body>, name: &str, default: u32) -> Result<u32, Error> {
    match query(request, name)? {
        None => Ok(default),
        Some(text) => number(&text).ok_or_else(|| Error::bad(format!("{name} is not a number"))),
    }
}

/// A whole number of a body. JSON knows one kind of numbers: `10.0` is as whole as `10`.
#[derive(Clone, Copy)]
pub(super) struct Whole(pub(super) u32);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Whole, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Whole;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of at most 4294967295")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Whole, E> {
                u32::try_from(value)
                    .map(Whole)
                    .map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Whole, E> {
                if value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value) {
                    return Ok(Whole(value as u32));
                }
                Err(E::invalid_value(Unexpected::Float(value), &self))
            }
        }
        deserializer.deserialize_any(Reader)
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
