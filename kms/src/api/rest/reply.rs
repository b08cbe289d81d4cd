//! Answers: JSON of a success, or the documented error body. The error's status comes from its code; the body
//! is completed with the request id at the border, where the id is known.

use crate::error::{Code, Error};
use axum::{body::Body, response::IntoResponse};
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use uuid::Uuid;

/// An error on its way to the border.
pub(in crate::api) struct Failure(pub(in crate::api) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status(self.0.code());
        response.extensions_mut().insert(self.0);
        response
    }
}

fn status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A handler's result.
pub(in crate::api) type Reply = Result<Response<Body>, Failure>;

/// A success with a body.
pub(in crate::api) fn json<T: Serialize>(status: StatusCode, body: &T) -> Reply {
    let bytes = serde_json::to_vec(body).map_err(|_| Error::internal("answer not serialisable"))?;
    written(status, bytes)
}

/// A success that says one thing: a text of base64url and dots, so that nothing of it has to be escaped in JSON.
pub(super) fn token(status: StatusCode, name: &'static str, text: String) -> Reply {
    debug_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
    // Written around the text where it stands, if there is room.
    let mut json = text;
    json.reserve(name.len() + 7);
    json.insert_str(0, &["{\"", name, "\":\""].concat());
    json.push_str("\"}");
    written(status, json.into_bytes())
}

/// A success with a body of JSON.
fn written(status: StatusCode, json: Vec<u8>) -> Reply {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// A success without one.
pub(in crate::api) fn no_content() -> Reply {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// What an error answer says besides the error.
#[derive(Clone)]
struct Besides(serde_json::Value);

/// An error that tells something besides, as `data`.
pub(super) fn failure_with<T: Serialize>(error: Error, data: &T) -> Reply {
    let data = serde_json::to_value(data).map_err(|_| Error::internal("answer not serialisable"))?;
    let mut response = Failure(error).into_response();
    response.extensions_mut().insert(Besides(data));
    Ok(response)
}

/// `ErrorResponse` of the API.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error_id: &'a str,
    error_code: u32,
    errors: [&'a str; 1],
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<serde_json::Value>,
}

/// Gives an error response its body and headers.
pub(super) fn complete(response: &mut Response<Body>, error: &Error, request_id: Uuid) {
    let mut buffer = Uuid::encode_buffer();
    let request_id: &str = request_id.hyphenated().encode_lower(&mut buffer);
    let data = response.extensions_mut().remove::<Besides>().map(|Besides(data)| data);
    let body = ErrorBody {
        error_id: error_id(error.code()),
        error_code: error.code().number(),
        errors: [error.public()],
        request_id,
        data,
    };
    *response.body_mut() = Body::from(serde_json::to_vec(&body).unwrap_or_default());
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if matches!(error.code(), Code::Refused | Code::TooMany | Code::Full) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if matches!(error.code(), Code::TooLarge | Code::Timeout) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// A word for people; programs read the number.
pub(super) fn error_id(code: Code) -> &'static str {
    match code {
        Code::BadArgument => "bad_argument",
        Code::DecryptFailed => "decrypt_failed",
        Code::WrongUse => "operation_not_permitted_by_key",
        Code::NotOffered => "not_offered",
        Code::NotExtractable => "not_extractable",
        Code::Unauthorised => "unauthorized",
        Code::Forbidden => "forbidden",
        Code::KeyNotFound => "key_not_found",
        Code::SecretNotFound => "secret_not_found",
        Code::VersionNotFound => "secret_version_not_found",
        Code::AccessNotFound => "access_object_not_found",
        Code::DomainNotFound => "domain_not_found",
        Code::PathNotFound => "path_not_found",
        Code::MethodNotAllowed => "method_not_allowed",
        Code::Timeout => "request_timeout",
        Code::Conflict => "conflict",
        Code::WrongState => "wrong_key_state",
        Code::VersionDeleted => "secret_version_deleted",
        Code::CasMismatch => "check_and_set_mismatch",
        Code::CasRequired => "check_and_set_required",
        Code::TooMany => "too_many_requests",
        Code::Full => "quota_reached",
        Code::TooLarge => "body_too_large",
        Code::WrongType => "unsupported_media_type",
        Code::Refused => "refused",
        Code::Unknown => "outcome_unknown",
        Code::Integrity => "integrity",
        Code::Internal => "internal",
    }
}
