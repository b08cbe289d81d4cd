//! The uses of a key, which are most of what a host is asked for, reach their handlers without the router: its own work was several percent of
//! what such a request costs (docs/performance.md). That holds for paths that are written as every client writes them; the router looks at all
//! others, and at every other method, and answers the same.

use super::{
    call::{App, Call, Named, Note, Route},
    leftover::Lent,
    routes::{create_data_key, decrypt, decrypt_data_key, encrypt, sign, verify},
};
use axum::{body::Body, response::IntoResponse};
use http::{Method, Request, Response};
use std::sync::Arc;
use uuid::Uuid;

/// Bytes of a UUID in its hyphenated form.
const ID_BYTES: usize = 36;

/// A use of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Encrypt,
    Decrypt,
    Sign,
    Verify,
    CreateDataKey,
    DecryptDataKey,
}

/// A request for a use of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Direct {
    /// Its path, as the router knows it.
    route: &'static str,
    used: Use,
    domain: Uuid,
    key: Uuid,
}

/// What the paths of all uses begin with, as the router knows them.
const OF_KEY: &str = "/api/{okmsId}/v1/servicekey/{keyId}";

/// All uses, by their paths.
const USES: [(&str, Use); 6] = [
    ("/api/{okmsId}/v1/servicekey/{keyId}/encrypt", Use::Encrypt),
    ("/api/{okmsId}/v1/servicekey/{keyId}/decrypt", Use::Decrypt),
    ("/api/{okmsId}/v1/servicekey/{keyId}/sign", Use::Sign),
    ("/api/{okmsId}/v1/servicekey/{keyId}/verify", Use::Verify),
    ("/api/{okmsId}/v1/servicekey/{keyId}/datakey", Use::CreateDataKey),
    ("/api/{okmsId}/v1/servicekey/{keyId}/datakey/decrypt", Use::DecryptDataKey),
];

impl Direct {
    /// What a request is, if it is one of these.
    pub(super) fn of(method: &Method, path: &str) -> Option<Direct> {
        let (domain, rest) = id(path.strip_prefix("/api/")?)?;
        let (key, rest) = id(rest.strip_prefix("/v1/servicekey/")?)?;
        let is_it = |(route, _): &&(&str, Use)| route.strip_prefix(OF_KEY) == Some(rest);
        let (route, used) = *USES.iter().find(is_it).filter(|_| method == Method::POST)?;
        Some(Direct { route, used, domain, key })
    }

    /// Answers it.
    pub(super) async fn answer(
        self,
        app: &Arc<App>,
        note: &Arc<Note>,
        request: Request<Lent>,
    ) -> Response<Body> {
        let _ = note.path.set(Route::Direct(self.route));
        let named = Named { domain: Some(self.domain), key: Some(Ok(self.key)) };
        let call = match Call::of(app, Arc::clone(note), request.headers(), Ok(named)).await {
            Ok(call) => call,
            Err(failure) => return failure.into_response(),
        };
        let answered = match self.used {
            Use::Encrypt => encrypt(call, request).await,
            Use::Decrypt => decrypt(call, request).await,
            Use::Sign => sign(call, request).await,
            Use::Verify => verify(call, request).await,
            Use::CreateDataKey => create_data_key(call, request).await,
            Use::DecryptDataKey => decrypt_data_key(call, request).await,
        };
        answered.into_response()
    }
}

/// The id that a text begins with, and what follows.
fn id(text: &str) -> Option<(Uuid, &str)> {
    let (id, rest) = text.split_at_checked(ID_BYTES)?;
    Some((Uuid::try_parse(id).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::rest::routes::paths;

    #[test]
    fn the_router_knows_every_use_by_the_same_path() {
        let taken = paths().taken;
        let (domain, key) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for (route, used) in USES {
            let known = taken.iter().find(|(path, _)| path == route);
            assert_eq!(known.map(|(_, methods)| methods.as_slice()), Some(["POST"].as_slice()), "{used:?}");
            let path = route.replace("{okmsId}", &domain.to_string()).replace("{keyId}", &key.to_string());
            assert_eq!(Direct::of(&Method::POST, &path), Some(Direct { route, used, domain, key }));
        }
    }

    #[test]
    fn whatever_else_is_left_to_the_router() {
        let id = "00000000-0000-4000-8000-000000000001";
        let path = |domain: &str, key: &str, rest: &str| format!("/api/{domain}/v1/servicekey/{key}{rest}");
        assert!(Direct::of(&Method::POST, &path(id, id, "/sign")).is_some());
        let others = [
            (Method::GET, path(id, id, "/sign")),
            (Method::POST, path(id, id, "/sign/")),
            (Method::POST, path(id, id, "")),
            (Method::POST, path(id, id, "/activate")),
            (Method::POST, path(id, "00000000000040008000000000000001", "/sign")),
            (Method::POST, path("00000000-0000-4000-8000-00000000000g", id, "/sign")),
            (Method::POST, path(&format!("%30{}", &id[1..]), id, "/sign")),
            (Method::POST, path(id, &"é".repeat(18), "/sign")),
            (Method::POST, path(id, &format!("{}é", &id[..35]), "/sign")),
            (Method::POST, "/api/".to_owned()),
            (Method::POST, String::new()),
        ];
        for (method, path) in others {
            assert_eq!(Direct::of(&method, &path), None, "{method} {path}");
        }
    }
}
