//! The border of a request: its id, its log line, the error body. What hyper calls for each request.

use super::{
    call::{App, Caller, Note},
    direct::Direct,
    io::Activity,
    leftover::Leftover,
    reply::{Failure, complete},
    routes::HEALTH_PATH,
    trail::Trail,
};
use crate::{
    engine::{HostService, random_id},
    error::{Blame, Code, Error},
};
use axum::{Router, body::Body, response::IntoResponse};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body as _, Incoming};
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use time::OffsetDateTime;
use tower_service::Service;
use tracing::Instrument;
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest wait for the rest of a body that was answered before its end.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

/// The service of one connection.
#[derive(Clone)]
pub(super) struct Border {
    connection: Arc<Connection>,
}

/// What requests of one connection share.
pub(super) struct Connection {
    pub(super) app: Arc<App>,
    pub(super) router: Router,
    pub(super) caller: Caller,
    /// Address of the other end of the connection.
    pub(super) peer: Arc<str>,
    pub(super) activity: Activity,
    pub(super) ids: Ids,
}

/// The ids of a connection's requests: the first is drawn at random, and the others count on from there. So one draw is enough for a connection,
/// and two machines that are copies of each other give out no id twice: they have no connection in common.
pub(super) struct Ids {
    first: u128,
    given: AtomicU64,
}

impl Ids {
    pub(super) fn new(random: [u8; 16]) -> Ids {
        Ids { first: u128::from_be_bytes(random), given: AtomicU64::new(0) }
    }

    fn next(&self) -> Uuid {
        let given = self.given.fetch_add(1, Ordering::Relaxed);
        random_id(self.first.wrapping_add(u128::from(given)).to_be_bytes())
    }
}

impl hyper::service::Service<Request<Incoming>> for Border {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let serving = self.connection.activity.serve();
        let connection = Arc::clone(&self.connection);
        Box::pin(async move {
            let response = connection.answer(request).await;
            drop(serving);
            Ok(response)
        })
    }
}

impl Border {
    pub(super) fn new(connection: Connection) -> Border {
        Border { connection: Arc::new(connection) }
    }
}

impl Connection {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (came, id) = (self.app.env.now(), self.ids.next());
        let note = Arc::new(Note::new(id, came, self.caller.clone(), Arc::clone(&self.peer)));
        let method = request.method().clone();
        let trail = Trail::begin(&self.app, &note, &method);
        // Who asks first whether to send a body has not sent it.
        let sent = request.version() == Version::HTTP_2 || !request.headers().contains_key(header::EXPECT);
        let leftover = Leftover::default();
        let span = tracing::info_span!("request", id = %id);
        let mut request = leftover.lend(request);
        let mut response = if self.is_closed(&request, &trail) {
            Failure(HostService::sealed_error()).into_response()
        } else if let Some(direct) = self.direct(&request) {
            direct.answer(&self.app, &note, request).instrument(span).await
        } else {
            request.extensions_mut().insert(Arc::clone(&note));
            match self.router.clone().call(request).instrument(span).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        };
        // Nearly always nothing is: no timer is made for it.
        if sent && leftover.is_some() {
            // Whatever has not come by then is not waited for.
            let _ = self.app.env.timeout(DRAIN_PATIENCE, leftover.drain()).await;
        }
        let mut error = response.extensions_mut().remove::<Error>().or_else(|| of_status(response.status()));
        if let Err(unrecorded) = trail.end(response.status(), error.as_ref()).await {
            response = Failure(unrecorded.clone()).into_response();
            error = Some(unrecorded);
        }
        if let Some(error) = &error {
            complete(&mut response, error, id);
        }
        if method == Method::HEAD {
            headers_alone(&mut response);
        }
        let headers = response.headers_mut();
        let mut buffer = Uuid::encode_buffer();
        if let Ok(value) = HeaderValue::from_str(id.hyphenated().encode_lower(&mut buffer)) {
            headers.insert(REQUEST_ID, value);
        }
        if let Some(date) = self.app.dates.at(self.app.env.clock.wall().as_secs()) {
            headers.insert(header::DATE, date);
        }
        let took = self.app.env.now().since(came);
        let ms = took.as_millis() as u64;
        if let Some(meter) = &self.app.meter {
            meter.count(&note, &method, response.status(), error.as_ref(), took);
        }
        log(&note, &method, response.status(), error.as_ref(), ms);
        response
    }

    /// What a client asks for without the router.
    fn direct<B>(&self, request: &Request<B>) -> Option<Direct> {
        match self.caller {
            Caller::Client(_) => Direct::of(request.method(), request.uri().path()),
            Caller::Operator(_) => None,
        }
    }

    /// A host that is sealed tells clients how it is, and nothing else. The operator unseals it.
    fn is_closed<B>(&self, request: &Request<B>, trail: &Trail) -> bool {
        let of_client = matches!(self.caller, Caller::Client(_));
        of_client
            && request.uri().path() != HEALTH_PATH
            && (self.app.service.is_sealed() || trail.is_sealed())
    }
}

/// An answer to `HEAD` as it would be to `GET`, without its body (RFC 9110, 9.3.2): error bodies come after the router has taken bodies off.
fn headers_alone(response: &mut Response<Body>) {
    if let Some(length) = response.body().size_hint().exact().filter(|length| *length > 0) {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
}

/// What the router itself refuses without saying why.
fn of_status(status: StatusCode) -> Option<Error> {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            Some(Error::new(Code::MethodNotAllowed, "the path does not take this method"))
        }
        _ => None,
    }
}

/// The `date` header, made once a second.
#[derive(Default)]
pub(super) struct Dates(Mutex<Option<(u64, HeaderValue)>>);

impl Dates {
    fn at(&self, seconds: u64) -> Option<HeaderValue> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((second, date)) if *second == seconds => Some(date.clone()),
            _ => {
                let date = http_date(seconds)?;
                *last = Some((seconds, date.clone()));
                Some(date)
            }
        }
    }
}

/// IMF-fixdate (RFC 9110, 5.6.7).
fn http_date(seconds: u64) -> Option<HeaderValue> {
    let date = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    let (day, month) = (date.weekday().to_string(), date.month().to_string());
    let text = format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        day.get(..3)?,
        date.day(),
        month.get(..3)?,
        date.year(),
        date.hour(),
        date.minute(),
        date.second()
    );
    HeaderValue::from_str(&text).ok()
}

/// One line per request. No names, contexts, bodies or queries.
fn log(note: &Note, method: &Method, status: StatusCode, error: Option<&Error>, ms: u64) {
    let path = note.path.get().map_or("-", |path| path.as_str());
    let serial = match &note.caller {
        Caller::Client(Some(Ok(identity))) => identity.serial(),
        Caller::Client(_) => "-",
        Caller::Operator(peer) => &peer.node_id,
    };
    let (code, detail) = error.map_or((0, ""), |error| (error.code().number(), error.detail().unwrap_or("")));
    let domain = note.domain.get().map(tracing::field::display);
    let key = note.key.get().map(tracing::field::display);
    let (request_id, status) = (note.id, status.as_u16());
    match error.map(|error| error.code().blame()) {
        Some(Blame::Us | Blame::Disk) => {
            tracing::error!(%request_id, %method, path, status, code, detail, domain, key, serial, ms, "request");
        }
        Some(Blame::Peer) => {
            tracing::warn!(%request_id, %method, path, status, code, detail, domain, key, serial, ms, "request");
        }
        _ if path == "-" => {
            tracing::debug!(%request_id, %method, path, status, code, serial, ms, "request");
        }
        _ => {
            tracing::info!(%request_id, %method, path, status, code, detail, domain, key, serial, ms, "request")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_of_a_connection_are_well_formed_and_differ() {
        // The draws that count over the fixed bits of a UUID, and over all of them.
        for random in [[0; 16], [0xff; 16], [0x5a; 16], (0x3fff_ffff_ffff_ffff_u128).to_be_bytes()] {
            let ids = Ids::new(random);
            let given: BTreeSet<Uuid> = (0..1_000).map(|_| ids.next()).collect();
            assert_eq!(given.len(), 1_000, "{random:?}");
            assert!(given.iter().all(|id| id.get_version_num() == 4), "{random:?}");
        }
    }

    #[test]
    fn dates_are_imf_fixdates() {
        let date = http_date(784_111_777).expect("a date");
        assert_eq!(date, "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
