//! What both views of secrets have in common: the path in the URL, pages in headers, dates. A path may come with plain slashes or
//! percent-encoded; it is decoded once.

use super::{
    body::{number, percent_decoded},
    call::Note,
    reply::{Reply, json},
};
use crate::{
    engine::secrets::{PageQuery, SecretPath},
    error::Error,
    iam::domain_urn,
};
use axum::body::Body;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use serde::Serialize;
use std::sync::Arc;
use uuid::Uuid;

const PAGE_SIZE: HeaderName = HeaderName::from_static("x-pagination-size");
const CURSOR: HeaderName = HeaderName::from_static("x-pagination-cursor");
const NEXT: HeaderName = HeaderName::from_static("x-pagination-cursor-next");
const DEFAULT_PAGE: usize = 100;

/// What stands in the URL's path after so many parts, as it was sent.
pub(super) fn rest_of_path(request: &Request<Body>, parts: usize) -> &str {
    request.uri().path().splitn(parts + 2, '/').nth(parts + 1).unwrap_or_default()
}

/// Undoes percent-encoding, once.
pub(super) fn decoded(text: &str) -> Result<String, Error> {
    percent_decoded(text, false).ok_or_else(|| Error::bad("path is not well formed"))
}

/// A path in the URL, or in a part of it. Noted for the audit, which shows no more than its hash.
pub(super) fn path(request: &Request<Body>, raw: &str) -> Result<SecretPath, Error> {
    let path = SecretPath::new(decoded(raw)?)?;
    if let Some(note) = request.extensions().get::<Arc<Note>>() {
        let _ = note.secret.set(path.clone());
    }
    Ok(path)
}

fn header<'a>(request: &'a Request<Body>, name: &HeaderName) -> Result<Option<&'a str>, Error> {
    let text = |value: &'a HeaderValue| value.to_str().map_err(|_| Error::bad(format!("{name} is not text")));
    let mut values = request.headers().get_all(name).into_iter();
    match (values.next(), values.next()) {
        (value, None) => value.map(text).transpose(),
        (_, Some(_)) => Err(Error::bad(format!("{name} is given twice"))),
    }
}

/// Which page the request asks for.
pub(super) fn page(request: &Request<Body>) -> Result<PageQuery, Error> {
    let size = match header(request, &PAGE_SIZE)? {
        None => DEFAULT_PAGE,
        Some(text) => number(text).ok_or_else(|| Error::bad("X-Pagination-Size is not a number"))?,
    };
    let cursor = header(request, &CURSOR)?.filter(|cursor| !cursor.is_empty()).map(str::to_owned);
    Ok(PageQuery { cursor, size })
}

/// An answer that may have another page after it.
pub(super) fn paged<T: Serialize>(body: &T, next: Option<String>) -> Reply {
    let mut response = json(StatusCode::OK, body)?;
    if let Some(next) = next {
        let next = HeaderValue::from_str(&next).map_err(|_| Error::internal("cursor is no header"))?;
        response.headers_mut().insert(NEXT, next);
    }
    Ok(response)
}

/// RFC 3339 in seconds, UTC.
pub(super) fn date(seconds: u64) -> String {
    super::types::date(seconds.saturating_mul(1_000_000))
}

/// The name of a secret in access policies.
pub(super) fn urn(domain: Uuid, path: &str) -> String {
    format!("{}/secret/{path}", domain_urn(domain))
}

/// `true` or `false` in a query.
pub(super) fn flag(request: &Request<Body>, name: &'static str) -> Result<bool, Error> {
    match super::body::query(request, name)?.as_deref() {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(Error::bad(format!("{name} must be true or false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_once() {
        assert_eq!(decoded("foo%2Fbar").ok().as_deref(), Some("foo/bar"));
        assert_eq!(decoded("foo/b%61r").ok().as_deref(), Some("foo/bar"));
        assert_eq!(decoded("a%252Fb").ok().as_deref(), Some("a%2Fb"));
        for bad in ["%", "%2", "%zz", "%ff", "%+1"] {
            assert!(decoded(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_rest_of_a_path_is_as_it_was_sent() {
        let request = Request::builder().uri("/api/x/v2/secret/foo%2Fbar/version/3?includeData=true");
        let request = request.body(Body::empty()).expect("a request");
        assert_eq!(rest_of_path(&request, 4), "foo%2Fbar/version/3");
    }

    #[test]
    fn dates_are_in_seconds() {
        assert_eq!(date(784_111_777), "1994-11-06T08:49:37Z");
    }
}
