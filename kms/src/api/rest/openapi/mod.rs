//! The description of the interface (OpenAPI 3.1), as YAML and as JSON, to anybody who asks. It is the only thing here that is
//! compressed: everything else may hold what is secret beside what a client chose, and the length of a compressed answer would tell of
//! the one by the other (BREACH). Lists are among that: names of keys and paths of secrets stand in them side by side.

use super::reply::Reply;
use axum::body::Body;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};

const YAML: Form = Form {
    content_type: "application/yaml",
    plain: include_bytes!("../openapi.yaml"),
    gzip: include_bytes!(concat!(env!("OUT_DIR"), "/openapi.yaml.gz")),
};
const JSON: Form = Form {
    content_type: "application/json",
    plain: include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json")),
    gzip: include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.gz")),
};
/// Entity tags: of the text, and of it compressed.
const TAG: &str = concat!("\"", env!("KMS_OPENAPI_TAG"), "\"");
const GZIP_TAG: &str = concat!("\"", env!("KMS_OPENAPI_TAG"), "-gzip\"");

/// One form of the document.
struct Form {
    content_type: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
}

/// `GET /openapi.yaml`
pub(super) async fn yaml(request: Request<Body>) -> Reply {
    Ok(answer(&YAML, request.headers()))
}

/// `GET /openapi.json`
pub(super) async fn json(request: Request<Body>) -> Reply {
    Ok(answer(&JSON, request.headers()))
}

fn answer(form: &Form, asked: &HeaderMap) -> Response<Body> {
    let gzip = takes_gzip(asked);
    let tag = if gzip { GZIP_TAG } else { TAG };
    let known = has(asked, tag);
    let bytes = if gzip { form.gzip } else { form.plain };
    let mut response = Response::new(if known { Body::empty() } else { Body::from(bytes) });
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::ETAG, tag);
    set(header::VARY, "accept-encoding");
    set(header::CACHE_CONTROL, "no-cache");
    if !known {
        set(header::CONTENT_TYPE, form.content_type);
        if gzip {
            set(header::CONTENT_ENCODING, "gzip");
        }
    }
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response
}

/// The elements of all headers of a name that is a list.
fn elements(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',').map(str::trim))
}

/// Whether the client takes gzip (RFC 9110, 12.5.3): named, or by `*`, and not with a weight of 0.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let weight = |wanted: &str| {
        elements(headers, header::ACCEPT_ENCODING).find_map(|element| {
            let (coding, parameters) = element.split_once(';').unwrap_or((element, ""));
            let q = parameters.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.trim().parse::<f32>().ok());
            coding.trim().eq_ignore_ascii_case(wanted).then_some(q.unwrap_or(0.0))
        })
    };
    weight("gzip").or_else(|| weight("*")).is_some_and(|q| q > 0.0)
}

/// Whether the client has what bears this tag (RFC 9110, 13.1.2).
fn has(headers: &HeaderMap, tag: &str) -> bool {
    elements(headers, header::IF_NONE_MATCH)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests;
