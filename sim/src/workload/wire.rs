//! Calls as HTTP requests and answers as outcomes, in the words of the REST API. Pure; anything that does not
//! look as documented is said to be malformed, never guessed at.

use super::{
    http::Reply,
    kind::{Kind, algorithm, of_pool},
    wire_secrets,
};
use crate::history::{Answer, Call, KeyView, Outcome};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// Error code of a refusal (503).
pub const REFUSED: u32 = 50_425_858;
/// Error code of an unknown outcome (504).
pub const UNKNOWN: u32 = 83_976_193;

/// An HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// JSON body.
    pub body: Option<String>,
}

/// What an earlier operation answered, for the calls that send it back.
pub type Earlier<'a> = &'a dyn Fn(u64) -> Option<Outcome>;

/// The request of a call in a domain. `None` if it refers to an operation that gave no ciphertext.
pub fn request(domain: &str, call: &Call, earlier: Earlier<'_>) -> Option<Request> {
    let keys = format!("/api/{domain}/v1/servicekey");
    let get = |path: String| Some(Request { method: "GET", path, body: None });
    let post =
        |path: String, body: Value| Some(Request { method: "POST", path, body: Some(body.to_string()) });
    match call {
        Call::Create { key, name } => post(keys, create_body(Some(key), name)),
        Call::CreateUnnamed { name } => post(keys, create_body(None, name)),
        Call::Get { key } => get(format!("{keys}/{key}")),
        Call::List { state, token, max } => {
            let token = token.as_ref().map(|token| format!("&continuation-token={}", escaped(token)));
            get(format!("{keys}?state={state}&max={max}{}", token.unwrap_or_default()))
        }
        Call::Rename { key, name } => Some(Request {
            method: "PATCH",
            path: format!("{keys}/{key}"),
            body: Some(json!({ "name": name }).to_string()),
        }),
        Call::Activate { key } => {
            Some(Request { method: "POST", path: format!("{keys}/{key}/activate"), body: None })
        }
        Call::Deactivate { key, reason } => {
            post(format!("{keys}/{key}/deactivate"), json!({ "reason": reason }))
        }
        Call::Delete { key } => Some(Request { method: "DELETE", path: format!("{keys}/{key}"), body: None }),
        Call::Encrypt { key, plaintext, context } => post(
            format!("{keys}/{key}/encrypt"),
            json!({ "plaintext": STANDARD.encode(plaintext), "context": context }),
        ),
        Call::Decrypt { key, from, context } => match earlier(*from)? {
            Outcome::Ok(Answer::Ciphertext(ciphertext)) => {
                post(format!("{keys}/{key}/decrypt"), json!({ "ciphertext": ciphertext, "context": context }))
            }
            _ => None,
        },
        Call::DataKey { key, bits } => post(format!("{keys}/{key}/datakey"), json!({ "size": bits })),
        Call::DataKeyDecrypt { key, from } => match earlier(*from)? {
            Outcome::Ok(Answer::DataKey { blob, .. }) => {
                post(format!("{keys}/{key}/datakey/decrypt"), json!({ "key": blob }))
            }
            _ => None,
        },
        Call::Sign { key, message } => post(format!("{keys}/{key}/sign"), signed(key, message)),
        Call::Verify { key, message, from } => match earlier(*from)? {
            Outcome::Ok(Answer::Signature(signature)) => {
                let mut body = signed(key, message);
                body["signature"] = json!(signature);
                post(format!("{keys}/{key}/verify"), body)
            }
            _ => None,
        },
        Call::Random { length } => get(format!("/api/{domain}/v1/random?length={length}")),
        Call::Secret { path, dialect, ask } => wire_secrets::request(domain, path, *dialect, ask),
        Call::Secrets => Some(wire_secrets::list(domain)),
        Call::Abroad { domain, call } => request(domain, call, earlier),
    }
}

fn create_body(key: Option<&String>, name: &str) -> Value {
    let mut body = match key.map_or(Kind::Oct, |key| Kind::of(key)) {
        Kind::Oct => json!({
            "name": name,
            "type": "oct",
            "size": 256,
            "operations": ["encrypt", "decrypt", "wrapKey", "unwrapKey"],
        }),
        Kind::Ec => json!({ "name": name, "type": "EC", "curve": "P-256" }),
        Kind::Rsa => json!({ "name": name, "keys": [key.map(|key| of_pool(key))] }),
    };
    if let (Some(key), Some(body)) = (key, body.as_object_mut()) {
        body.insert("id".to_owned(), json!(key));
    }
    body
}

fn signed(key: &str, message: &str) -> Value {
    json!({ "message": STANDARD.encode(message), "alg": algorithm(key) })
}

/// A query value, percent-encoded where it is not plainly safe.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// An answer that is not as documented: a finding about the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Status code.
    pub status: u16,
}

/// The outcome an answer means.
///
/// # Errors
/// [`Malformed`].
pub fn outcome(call: &Call, reply: &Reply) -> Result<Outcome, Malformed> {
    if let Call::Abroad { call, .. } = call {
        return outcome(call, reply);
    }
    let malformed = Malformed { status: reply.status };
    if (200..300).contains(&reply.status) {
        return answer(call, reply).map(Outcome::Ok).ok_or(malformed);
    }
    let code = error_code(&reply.body).ok_or(malformed)?;
    Ok(match (reply.status, code) {
        (503, REFUSED) => Outcome::Refused,
        (504, UNKNOWN) => Outcome::SaidUnknown,
        (status, code) => Outcome::Rejected { status, code },
    })
}

/// A denial as it was said, without what is of each request alone; `None` for any other answer.
pub fn denial(reply: &Reply) -> Option<String> {
    if !matches!(reply.status, 401 | 403) {
        return None;
    }
    let Ok(Value::Object(mut body)) = serde_json::from_slice(&reply.body) else {
        return Some("no JSON".to_owned());
    };
    body.remove("request_id");
    Some(Value::Object(body).to_string())
}

/// The code of a documented error body, all of whose fields are there.
fn error_code(body: &[u8]) -> Option<u32> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let texts = body.get("errors")?.as_array()?;
    let whole = body.get("error_id")?.is_string()
        && body.get("request_id")?.is_string()
        && !texts.is_empty()
        && texts.iter().all(Value::is_string);
    let code = u32::try_from(body.get("error_code")?.as_i64()?).ok()?;
    // 0 is what the history says of a malformed answer.
    (whole && code != 0).then_some(code)
}

fn answer(call: &Call, reply: &Reply) -> Option<Answer> {
    let expected = match call {
        Call::Create { .. } | Call::CreateUnnamed { .. } | Call::DataKey { .. } => 201,
        Call::Activate { .. } | Call::Deactivate { .. } | Call::Delete { .. } => 204,
        Call::Secret { dialect, ask, .. } => wire_secrets::status(*dialect, ask),
        _ => 200,
    };
    if reply.status != expected {
        return None;
    }
    if expected == 204 {
        return reply.body.is_empty().then_some(Answer::Done);
    }
    let mut body: Value = serde_json::from_slice(&reply.body).ok()?;
    let keys = body.get_mut("objects_list").map(Value::take);
    let text = |field: &str| Some(body.get(field)?.as_str()?.to_owned());
    let bytes = |field: &str| STANDARD.decode(body.get(field)?.as_str()?).ok();
    Some(match call {
        Call::Create { .. } | Call::CreateUnnamed { .. } | Call::Get { .. } | Call::Rename { .. } => {
            Answer::Key(key_view(body)?)
        }
        Call::List { .. } => Answer::Page {
            keys: match keys? {
                Value::Array(keys) => keys.into_iter().map(key_view).collect::<Option<_>>()?,
                _ => return None,
            },
            token: text("continuation_token")?,
            truncated: body.get("is_truncated")?.as_bool()?,
        },
        Call::Encrypt { .. } => Answer::Ciphertext(text("ciphertext")?),
        Call::Decrypt { .. } => {
            let plain = bytes("plaintext")?;
            Answer::Plaintext(
                String::from_utf8(plain).unwrap_or_else(|error| hex::encode(error.into_bytes())),
            )
        }
        // A data key is binary: always hex, so that it compares with what the data key call answered.
        Call::DataKeyDecrypt { .. } => Answer::Plaintext(hex::encode(bytes("plaintext")?)),
        Call::DataKey { .. } => {
            Answer::DataKey { blob: text("key")?, plaintext_hex: hex::encode(bytes("plaintext")?) }
        }
        Call::Sign { .. } => Answer::Signature(text("signature")?),
        Call::Verify { .. } => Answer::Verified(body.get("result")?.as_bool()?),
        Call::Random { .. } => Answer::Bytes(hex::encode(bytes("bytes")?)),
        Call::Secret { path, dialect, ask } => wire_secrets::answer(path, *dialect, ask, &body)?,
        Call::Secrets => wire_secrets::page(&body)?,
        Call::Activate { .. } | Call::Deactivate { .. } | Call::Delete { .. } | Call::Abroad { .. } => {
            return None;
        }
    })
}

fn key_view(body: Value) -> Option<KeyView> {
    let Value::Object(mut rest) = body else { return None };
    let id = string(rest.remove("id")?)?;
    let name = string(rest.remove("name")?)?;
    let state = string(rest.get_mut("attributes")?.as_object_mut()?.remove("state")?)?;
    // serde_json's map is ordered by key: the text is canonical.
    Some(KeyView { id, name, state, rest: Value::Object(rest).to_string() })
}

fn string(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, request_id: String::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
    }
    fn get() -> Call {
        Call::Get { key: "k".to_owned() }
    }
    fn error(code: u32) -> String {
        format!(r#"{{"error_id":"e","error_code":{code},"errors":["no"],"request_id":"r"}}"#)
    }

    #[test]
    fn errors_map_to_outcomes() {
        assert_eq!(outcome(&get(), &reply(503, &error(REFUSED))), Ok(Outcome::Refused));
        assert_eq!(outcome(&get(), &reply(504, &error(UNKNOWN))), Ok(Outcome::SaidUnknown));
        assert_eq!(outcome(&get(), &reply(404, &error(5))), Ok(Outcome::Rejected { status: 404, code: 5 }));
        assert_eq!(outcome(&get(), &reply(503, &error(9))), Ok(Outcome::Rejected { status: 503, code: 9 }));
    }

    #[test]
    fn what_is_not_documented_is_malformed() {
        for (status, body) in [
            (200, "{}"),
            (200, "not json"),
            (201, r#"{"id":"k","name":"n","attributes":{"state":"active"}}"#),
            (500, ""),
            (404, r#"{"error_code":5}"#),
            (404, &error(0)),
            (204, ""),
        ] {
            assert_eq!(outcome(&get(), &reply(status, body)), Err(Malformed { status }), "{status} {body}");
        }
        assert_eq!(
            outcome(&Call::Activate { key: "k".to_owned() }, &reply(204, "")),
            Ok(Outcome::Ok(Answer::Done))
        );
    }

    #[test]
    fn a_key_is_split_into_what_changes_and_the_rest() {
        let body = r#"{"name":"n","type":"oct","id":"k","attributes":{"state":"active","a":"1"},"size":256}"#;
        let Ok(Outcome::Ok(Answer::Key(view))) = outcome(&get(), &reply(200, body)) else { panic!("a key") };
        assert_eq!((view.id.as_str(), view.name.as_str(), view.state.as_str()), ("k", "n", "active"));
        assert_eq!(view.rest, r#"{"attributes":{"a":"1"},"size":256,"type":"oct"}"#);
    }

    #[test]
    fn calls_that_need_an_earlier_answer_need_it() {
        let call = Call::Decrypt { key: "k".to_owned(), from: 3, context: "c".to_owned() };
        assert_eq!(request("d", &call, &|_| Some(Outcome::Unknown)), None);
        let made =
            request("d", &call, &|id| (id == 3).then(|| Outcome::Ok(Answer::Ciphertext("x".to_owned()))));
        let made = made.expect("a request");
        assert_eq!(made.path, "/api/d/v1/servicekey/k/decrypt");
        assert_eq!(made.body.as_deref(), Some(r#"{"ciphertext":"x","context":"c"}"#));
        let list = Call::List { state: "all".to_owned(), token: Some("a+b/=".to_owned()), max: 10 };
        let made = request("d", &list, &|_| None).expect("a request");
        assert!(made.path.ends_with("?state=all&max=10&continuation-token=a%2Bb%2F%3D"), "{}", made.path);
    }
}
