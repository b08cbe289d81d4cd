//! The audit entry of a request: what it says, and what a client is told when it could not be made durable. Requests that reach no
//! operation (unknown paths, `/healthz`, what was refused before anything was done) leave none.

use super::call::{App, Caller, Note};
use crate::{
    audit::{Audit, Event, Kind, Level, Recorder},
    error::{Blame, Code, Error},
    iam::{Action, Identity, Resource, action, domain_urn},
};
use http::{Method, StatusCode};
use std::sync::{Arc, PoisonError, atomic::Ordering};
use uuid::Uuid;

/// The status of a request whose client had left before there was an answer.
const CLIENT_LEFT: u16 = 499;
/// Longest method that is recorded whole; a longer one is no method.
const METHOD_MAX_BYTES: usize = 16;

/// Operations that change nothing, whatever they answer.
const HARMLESS: [&str; 15] = [
    action::DomainExport::NAME,
    action::Get::NAME,
    action::Sign::NAME,
    action::Verify::NAME,
    action::Wrap::NAME,
    action::Unwrap::NAME,
    action::Encrypt::NAME,
    action::Decrypt::NAME,
    action::CreateDataKey::NAME,
    action::DecryptDataKey::NAME,
    action::Random::NAME,
    action::SecretGet::NAME,
    action::SecretVersionGetData::NAME,
    action::SecretSubKeysGet::NAME,
    action::SecretConfigGet::NAME,
];

/// A request whose entry is still to be made. Dropped before its end, it makes one that says so.
pub(super) struct Trail {
    app: Arc<App>,
    /// There is none while the host is sealed; the request that unseals it finds one at its end.
    audit: Option<Arc<Audit>>,
    note: Arc<Note>,
    method: Method,
    open: bool,
}

impl Trail {
    pub(super) fn begin(app: &Arc<App>, note: &Arc<Note>, method: &Method) -> Trail {
        let (open, audit) = (app.audit.is_some(), app.audit.as_ref().and_then(Recorder::audit));
        Trail { app: Arc::clone(app), audit, note: Arc::clone(note), method: method.clone(), open }
    }

    /// Whether the host was sealed when the request came, as far as its entry is concerned.
    pub(super) fn is_sealed(&self) -> bool {
        self.open && self.audit.is_none()
    }

    /// Where the entry belongs, if there is to be one.
    fn audit(&mut self) -> Option<Option<Arc<Audit>>> {
        let recorder = self.app.audit.as_ref().filter(|_| self.note.begun.load(Ordering::Relaxed))?;
        Some(self.audit.take().or_else(|| recorder.audit()))
    }

    /// Makes the entry durable.
    ///
    /// # Errors
    /// What the client must be told instead of the answer that there was.
    pub(super) async fn end(mut self, status: StatusCode, error: Option<&Error>) -> Result<(), Error> {
        self.open = false;
        let Some(audit) = self.audit() else { return Ok(()) };
        let recorded = match audit {
            Some(audit) => audit.record(self.event(status.as_u16(), error)).await.is_ok(),
            None => false,
        };
        if recorded { Ok(()) } else { Err(unrecorded(self.changes(), error)) }
    }

    fn event(&self, status: u16, error: Option<&Error>) -> Event {
        let note = &self.note;
        let domain = note.domain.get();
        let identity = note.identity();
        let credential = identity.map(|identity| credential(identity.serial())).unwrap_or_default();
        let (kind, who) = match &note.caller {
            Caller::Operator(peer) => (Kind::Admin, vec![peer.to_string()]),
            Caller::Client(_) => match note.who.get() {
                Some(who) => (Kind::Rest, who.iter().cloned().collect()),
                None => (Kind::Rest, identity.map(Identity::urn).into_iter().collect()),
            },
        };
        let log_level = match error.map(|error| error.code().blame()) {
            None if status == CLIENT_LEFT => Level::Error,
            None => Level::Info,
            Some(Blame::Caller) => Level::Warn,
            Some(_) => Level::Error,
        };
        Event {
            kind,
            log_level,
            domain_id: domain.map(Uuid::to_string).unwrap_or_default(),
            request_id: note.id.to_string(),
            client_ip: note.peer.to_string(),
            tls_cert_id: credential,
            res_urn: domain.map(|domain| self.resource(*domain)).unwrap_or_default(),
            region: self.app.region.clone(),
            iam_operation: note.asked().join(","),
            iam_identities: who,
            http_path: path(note),
            http_status: status,
            http_method: self.method.as_str().chars().take(METHOD_MAX_BYTES).collect(),
            err_category: error.map_or("", |error| error.code().category()).to_owned(),
        }
    }

    /// Whether something that was asked for changes anything.
    fn changes(&self) -> bool {
        match self.note.caller {
            Caller::Operator(_) => self.method != Method::GET && self.method != Method::HEAD,
            Caller::Client(_) => self.note.changes(),
        }
    }

    /// What the request is about, without names: a secret goes by the hash of its path that its record is kept under.
    fn resource(&self, domain: Uuid) -> String {
        let secret = self.note.secret.get().map(|path| self.app.service.secret_id(domain, path));
        match (self.note.key.get(), secret) {
            (Some(key), _) => key.urn(domain),
            (None, Some(Some(id))) => format!("{}/secret/{id}", domain_urn(domain)),
            (None, Some(None)) => format!("{}/secret", domain_urn(domain)),
            (None, None) => domain_urn(domain),
        }
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if self.open
            && let Some(Some(audit)) = self.audit()
        {
            audit.leave(self.event(CLIENT_LEFT, None));
        }
    }
}

/// The id of a credential: the serial number of its certificate, which is a UUID in those that this service issued.
fn credential(serial: &str) -> String {
    Uuid::try_parse(serial).map_or_else(|_| serial.to_owned(), |id| id.to_string())
}

/// The route with the ids of this request. What else the path holds, such as the path of a secret, stays as the route names it.
fn path(note: &Note) -> String {
    let mut path = note.path.get().map_or("", |path| path.as_str()).to_owned();
    for (name, id) in [("{okmsId}", note.domain.get()), ("{keyId}", note.key.get())] {
        if let Some(id) = id {
            path = path.replace(name, &id.to_string());
        }
    }
    path.replace("{*", "{")
}

/// What is answered although something else was to be. Refused must mean that nothing was changed.
fn unrecorded(changes: bool, error: Option<&Error>) -> Error {
    let nothing_changed = match error.map(Error::code) {
        Some(Code::Unknown | Code::Internal | Code::Integrity) | None => !changes,
        Some(_) => true,
    };
    let why = "audit: the entry is not known to be durable";
    if nothing_changed { Error::refused(why) } else { Error::unknown(why) }
}

fn changes(asked: &[&str]) -> bool {
    !asked.iter().all(|name| HARMLESS.contains(name))
}

impl Note {
    /// The actions asked for so far, by name.
    pub(super) fn asked(&self) -> Vec<&'static str> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether something that was asked for changes anything.
    pub(super) fn changes(&self) -> bool {
        changes(&self.asked())
    }

    /// An action is asked for.
    pub(super) fn asks(&self, name: &'static str) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.contains(&name) {
            asked.push(name);
        }
    }

    /// Of what was asked for, this was not needed after all.
    pub(super) fn spares(&self, name: &'static str) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).retain(|asked| *asked != name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_means_that_nothing_was_changed() {
        let code = |asked: &[&str], error: Option<Error>| unrecorded(changes(asked), error.as_ref()).code();
        assert_eq!(code(&[action::Encrypt::NAME], None), Code::Refused);
        assert_eq!(code(&[action::Create::NAME], None), Code::Unknown);
        assert_eq!(code(&[action::Get::NAME, action::Delete::NAME], None), Code::Unknown);
        assert_eq!(code(&[action::Create::NAME], Some(Error::bad("no"))), Code::Refused);
        assert_eq!(code(&[action::Create::NAME], Some(Error::unknown("no"))), Code::Unknown);
        assert_eq!(code(&[action::Create::NAME], Some(Error::internal("no"))), Code::Unknown);
        assert_eq!(code(&[], Some(Error::new(Code::Unauthorised, "who"))), Code::Refused);
    }

    #[test]
    fn credentials_are_uuids_where_they_can_be() {
        assert_eq!(credential("4f0102030405060708090a0b0c0d0e0f"), "4f010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(credential("01"), "01");
    }
}
