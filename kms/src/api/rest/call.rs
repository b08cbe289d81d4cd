//! One request as the handlers see it: who asks, for which domain and key; and what the log will say of it.

use super::{border::Dates, meter::Meter, rate::Rates, reply::Failure};
use crate::{
    audit::{Recorder, State},
    engine::{HostService, access::Who},
    env::Mono,
    error::{Blame, Code, Error},
    iam::{Action, Authorized, Bearer, Identity, Rights, SecretPath, Selection, TheDomain},
    limits::Limits,
    wire::identity::Peer,
};
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use http::{HeaderMap, header, request::Parts};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};
use uuid::Uuid;

/// What is the same for every request of a host.
pub(in crate::api) struct App {
    pub(in crate::api) env: crate::env::Env,
    pub(in crate::api) service: HostService,
    pub(super) limits: Limits,
    /// Names this start of the process.
    pub(in crate::api) start: u32,
    pub(super) dates: Dates,
    pub(super) region: String,
    /// None where nothing is recorded.
    pub(in crate::api) audit: Option<Recorder>,
    /// Whoever seals or unseals.
    pub(super) turning: Arc<tokio::sync::Mutex<()>>,
    pub(super) rates: Rates,
    /// None where metrics are told nowhere.
    pub(super) meter: Option<Meter>,
}

/// What TLS found out about the client: nobody, somebody, or a certificate that names no domain.
pub(in crate::api) type Client = Option<Result<Arc<Identity>, Error>>;

/// Who is at the other end of a connection. What the operator may do and what clients may do have nothing in common.
#[derive(Clone)]
pub(in crate::api) enum Caller {
    /// A client, at the REST endpoint.
    Client(Client),
    /// The region's operator, where hosts are administered.
    Operator(Arc<Peer>),
}

/// One request, as it will be logged and recorded. Never holds names, contexts or bodies.
pub(in crate::api) struct Note {
    /// Request id.
    pub(in crate::api) id: Uuid,
    /// When its head had come.
    pub(super) came: Mono,
    pub(in crate::api) caller: Caller,
    /// Address of the other end of the connection, without its port.
    pub(super) peer: Arc<str>,
    pub(in crate::api) path: OnceLock<Route>,
    pub(in crate::api) domain: OnceLock<Uuid>,
    pub(super) key: OnceLock<Uuid>,
    /// Where the secret is that it is about: for its hash alone.
    pub(super) secret: OnceLock<SecretPath>,
    /// It was taken: it will be recorded, whatever becomes of it.
    pub(super) begun: AtomicBool,
    pub(super) asked: Mutex<Vec<&'static str>>,
    /// Who asks, as URNs, once the domain's access has said so.
    pub(super) who: OnceLock<Arc<BTreeSet<String>>>,
}

/// The path of a request, with names where it has ids and other texts.
pub(in crate::api) enum Route {
    /// As the router found it.
    Matched(MatchedPath),
    /// As it was found without the router.
    Direct(&'static str),
}

impl Route {
    pub(in crate::api) fn as_str(&self) -> &str {
        match self {
            Route::Matched(path) => path.as_str(),
            Route::Direct(path) => path,
        }
    }
}

impl App {
    /// Whether what is done now will be recorded.
    ///
    /// # Errors
    /// `Refused` if it cannot be.
    pub(in crate::api) fn recordable(&self) -> Result<(), Error> {
        let Some(recorder) = &self.audit else { return Ok(()) };
        match recorder.audit().map(|audit| audit.state()) {
            Some(State::Recording) => Ok(()),
            Some(state) => Err(Error::refused(format!("audit: {}", state.word()))),
            None => Err(HostService::sealed_error()),
        }
    }

    /// Whether what room the audit has is kept for those whom a domain knows.
    fn is_crowded(&self) -> bool {
        self.audit.as_ref().and_then(Recorder::audit).is_some_and(|audit| audit.is_crowded())
    }
}

impl Note {
    pub(super) fn new(id: Uuid, came: Mono, caller: Caller, peer: Arc<str>) -> Note {
        let (path, domain, key, secret, begun, who) = Default::default();
        Note { id, came, caller, peer, path, domain, key, secret, begun, who, asked: Mutex::default() }
    }

    /// From here on it is recorded, whatever becomes of it.
    pub(in crate::api) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Whom the client's certificate names.
    pub(super) fn identity(&self) -> Option<&Identity> {
        match &self.caller {
            Caller::Client(Some(Ok(identity))) => Some(identity),
            Caller::Client(_) | Caller::Operator(_) => None,
        }
    }
}

/// What the path of a request names.
pub(super) struct Named {
    pub(super) domain: Option<Uuid>,
    /// The key, or why what stands in its place is none.
    pub(super) key: Option<Result<Uuid, Error>>,
}

impl Named {
    fn of(params: &RawPathParams) -> Result<Named, Error> {
        let (mut domain, mut key) = (None, None);
        for (name, value) in params {
            match name {
                "okmsId" => domain = Some(uuid(value, "okmsId")?),
                "keyId" => key = Some(uuid(value, "keyId")),
                _ => {}
            }
        }
        Ok(Named { domain, key })
    }
}

/// A request to the API proper.
pub(super) struct Call {
    pub(super) app: Arc<App>,
    pub(super) note: Arc<Note>,
    okms_id: Uuid,
    rights: Rights,
}

impl Call {
    /// Takes a request, once it is known who asks and whether he may ask at all. Who asks comes before what is asked: that `named` is none is
    /// told to nobody who shows no valid credential.
    ///
    /// # Errors
    /// What he is told else.
    pub(super) async fn of(
        app: &Arc<App>,
        note: Arc<Note>,
        headers: &HeaderMap,
        named: Result<Named, Error>,
    ) -> Result<Call, Failure> {
        app.recordable()?;
        let token = match note.caller {
            Caller::Client(_) => token(headers, &note),
            Caller::Operator(_) => None,
        };
        let print = token.as_ref().and_then(|token| token.as_ref().ok()).map(Bearer::fingerprint);
        let of_certificate = note.identity().map(Identity::domain);
        let known = of_certificate.is_none() && print.is_some_and(|print| app.rates.knows(&print));
        // The room that is left in the audit is kept for those whom a domain knows, and this may turn out to be one of them.
        let crowded = app.is_crowded();
        match (known, crowded) {
            (true, _) => {}
            (false, true) => count(app, &note, of_certificate)?,
            (false, false) => admit(app, &note, of_certificate)?,
        }
        let asked = ask(app, &note, token, named).await;
        match (&asked, print) {
            (Ok(_), Some(print)) => app.rates.learn(print, true),
            (Err(error), Some(print)) if error.code() == Code::Unauthorised => app.rates.learn(print, false),
            _ => {}
        }
        match &asked {
            Ok(asked) if known => admit(app, &note, Some(asked.okms_id))?,
            Ok(_) => note.begin(),
            Err(error) if crowded => {
                // Of whose domain it would have been, nobody knows.
                if known {
                    count(app, &note, None)?;
                }
                return Err(without_room(&note, error).into());
            }
            Err(_) if known => admit(app, &note, None)?,
            Err(_) => {}
        }
        let Asked { okms_id, key, rights } = asked?;
        let _ = note.who.set(Arc::clone(rights.identities()));
        key?;
        Ok(Call { app: Arc::clone(app), note, okms_id, rights })
    }

    /// Decides whether the client may do `A` on a resource of the domain.
    ///
    /// # Errors
    /// `Forbidden`; `Refused` while that hangs on a change in doubt. Who is nobody in the domain was told already.
    pub(super) fn may<A: Action>(&self, of: A::Of) -> Result<Authorized<A>, Error> {
        self.note.asks(A::NAME);
        self.rights.authorize(of)
    }

    /// Decides whether the client may do `A` on the key named in the path.
    ///
    /// # Errors
    /// As of [`Call::may`].
    pub(super) fn may_key<A: Action<Of = Uuid>>(&self) -> Result<Authorized<A>, Error> {
        self.may(self.key()?)
    }

    /// Decides whether the client may do `A` in the domain.
    ///
    /// # Errors
    /// As of [`Call::may`].
    pub(super) fn may_here<A: Action<Of = TheDomain>>(&self) -> Result<Authorized<A>, Error> {
        self.may(TheDomain)
    }

    /// On what the client may do `A`.
    ///
    /// # Errors
    /// `Forbidden` if there is nothing that could allow it.
    pub(super) fn select<A: Action>(&self) -> Result<Selection<A>, Error> {
        self.note.asks(A::NAME);
        self.rights.select()
    }

    /// The domain named in the path.
    pub(super) fn domain(&self) -> Uuid {
        self.okms_id
    }

    /// The key named in the path.
    ///
    /// # Errors
    /// `Internal` on a route without one.
    fn key(&self) -> Result<Uuid, Error> {
        self.note.key.get().copied().ok_or_else(|| Error::internal("route without a key"))
    }
}

/// The token that a request bears. Vault's clients send one in a header of their own, and send something there with a certificate too.
fn token(headers: &HeaderMap, note: &Note) -> Option<Result<Bearer, Error>> {
    // One that begins like a token and is none never falls back to the certificate of who passed it on.
    let mut given = headers.get_all(header::AUTHORIZATION).into_iter();
    match (given.next(), given.next()) {
        (Some(one), None) => {
            let of =
                |bytes: &[u8]| bytes.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"));
            if of(one.as_bytes()) {
                let token = one.to_str().ok().and_then(|text| text[6..].strip_prefix(' '));
                return Some(Bearer::parse(token.unwrap_or_default().trim_ascii()));
            }
        }
        (Some(_), Some(_)) => {
            let sentence = "the header authorization is given twice";
            return Some(Err(Error::new(Code::Unauthorised, sentence)));
        }
        (None, _) => {}
    }
    let of_vault = note.path.get().is_some_and(|path| path.as_str().starts_with("/api/{okmsId}/v1/secret/"));
    let nobody = matches!(note.caller, Caller::Client(None));
    let of_vault = (of_vault && nobody).then(|| headers.get("x-vault-token")).flatten();
    of_vault.and_then(|value| value.to_str().ok()).map(|token| Bearer::parse(token.trim_ascii()))
}

fn identity(note: &Note) -> Result<&Identity, Error> {
    match &note.caller {
        Caller::Client(Some(Ok(identity))) => Ok(identity),
        Caller::Client(Some(Err(error))) => Err(error.clone()),
        Caller::Client(None) | Caller::Operator(_) => {
            Err(Error::new(Code::Unauthorised, "a client certificate or a bearer token is required"))
        }
    }
}

/// Counts a request, if whoever it counts for has not had too many.
fn count(app: &App, note: &Note, domain: Option<Uuid>) -> Result<(), Error> {
    match app.rates.takes(domain, note.came) {
        true => Ok(()),
        false => Err(Error::new(Code::TooMany, "too many requests: try again later")),
    }
}

/// Takes a request: it is counted, and will be recorded.
fn admit(app: &App, note: &Note, domain: Option<Uuid>) -> Result<(), Error> {
    count(app, note, domain)?;
    note.begin();
    Ok(())
}

/// The note of a request, which is told the route.
pub(in crate::api) fn note_of(parts: &Parts) -> Result<Arc<Note>, Error> {
    let note = parts.extensions.get::<Arc<Note>>().cloned();
    let note = note.ok_or_else(|| Error::internal("request without a note"))?;
    if let Some(path) = parts.extensions.get::<MatchedPath>() {
        let _ = note.path.set(Route::Matched(path.clone()));
    }
    Ok(note)
}

pub(in crate::api) fn uuid(text: &str, what: &'static str) -> Result<Uuid, Error> {
    Uuid::try_parse(text).map_err(|_| Error::bad(format!("{what} is not a UUID")))
}

impl FromRequestParts<Arc<App>> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Call, Failure> {
        let note = note_of(parts)?;
        let named = match RawPathParams::from_request_parts(parts, app).await {
            Ok(params) => Named::of(&params),
            Err(_) => Err(Error::bad("the path is not UTF-8")),
        };
        Call::of(app, note, &parts.headers, named).await
    }
}

/// What is told to who showed nothing that counts, when there is no room to record it: what is wrong on his side is not told.
fn without_room(note: &Note, error: &Error) -> Error {
    let why = error.code().category();
    tracing::info!(request_id = %note.id, peer = %note.peer, why, "refused without an audit entry");
    match error.code().blame() {
        Blame::Caller => Error::refused("audit: the room that is left is kept for valid credentials"),
        Blame::Us | Blame::Peer | Blame::Disk => error.clone(),
    }
}

/// What a request is about, and what who asks may do there.
struct Asked {
    okms_id: Uuid,
    /// Whether the key that is named in the path, if one is, has the form of one.
    key: Result<(), Error>,
    rights: Rights,
}

/// Who asks for what, and what he may do there. Who asks comes before what is asked.
async fn ask(
    app: &App,
    note: &Note,
    token: Option<Result<Bearer, Error>>,
    named: Result<Named, Error>,
) -> Result<Asked, Error> {
    let token = token.transpose()?;
    let who = match &token {
        Some(bearer) => Who::Token(bearer),
        None => Who::Certificate(identity(note)?),
    };
    let Named { domain, key } = named?;
    let okms_id = domain.ok_or_else(|| Error::internal("route without a domain"))?;
    let _ = note.domain.set(okms_id);
    let key = key.transpose().map(|key| {
        if let Some(key) = key {
            let _ = note.key.set(key);
        }
    });
    let rights = app.service.rights(who, okms_id).await?;
    Ok(Asked { okms_id, key, rights })
}
