//! What is recorded of one request: ids, URNs and codes. Never names, contexts, bodies, or paths of secrets. An entry is an event in its
//! place: with its sequence number, its time and the host; as bytes it is one line of JSON, and those bytes are what is hashed.

use crate::{dates::rfc3339_ms, env::Env};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// What sort of act it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A request to the REST interface.
    Rest,
    /// An order of the operator.
    Admin,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// It was done.
    Info,
    /// It was not done, and the caller is why.
    Warn,
    /// It was not done, or nobody knows, and the service is why.
    Error,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
        }
    }
}

/// One act, with the fields that OVHcloud documents for its audit logs. A field that does not apply is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What sort of act.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// How much it matters.
    pub log_level: Level,
    /// Domain asked for; empty if the request named none.
    pub domain_id: String,
    /// As in the answer's `x-request-id`.
    pub request_id: String,
    /// Address that the connection came from, without its port.
    pub client_ip: String,
    /// Id of the access certificate; empty without one.
    pub tls_cert_id: String,
    /// What it was done to.
    pub res_urn: String,
    /// Region id.
    pub region: String,
    /// Actions that were asked for, as policies name them; joined by commas if there were several.
    pub iam_operation: String,
    /// Who asked, as URNs.
    pub iam_identities: Vec<String>,
    /// The route, with ids in their places; a secret's path stands as `{path}`.
    pub http_path: String,
    /// Status of the answer; 499 if the client had left before there was one.
    pub http_status: u16,
    /// Method.
    pub http_method: String,
    /// What the error was about, as in the error code; empty for a success.
    pub err_category: String,
}

/// An event in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts the entries of a host, from 1, without a gap.
    pub sequence: u64,
    /// When it was recorded, by the host's clock: RFC 3339, UTC, milliseconds.
    pub time: String,
    /// The host.
    pub host: String,
    /// What was done.
    #[serde(flatten)]
    pub event: Event,
}

impl Entry {
    /// The bytes that are hashed and sealed: JSON on one line.
    pub(super) fn encode(&self) -> Vec<u8> {
        // A struct of strings and numbers always serialises.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads back what [`Entry::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Option<Entry> {
        serde_json::from_slice(bytes).ok()
    }

    /// The line form of the documentation, after the time.
    pub fn line(&self) -> String {
        let Event { log_level, request_id, client_ip, res_urn, iam_operation, http_path, .. } = &self.event;
        let Event { http_method, http_status, tls_cert_id, iam_identities, .. } = &self.event;
        let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let mut line = format!(
            "{} {} | {http_method} {http_path} - {http_status} - identity: {} - operation: {} on {} - from {} with certificate {} \
             - request id: OKMS.{request_id}",
            self.time,
            log_level.word(),
            or_none(&iam_identities.join(",")),
            or_none(iam_operation),
            or_none(res_urn),
            or_none(client_ip),
            or_none(tls_cert_id),
        );
        if !self.event.err_category.is_empty() {
            let _ = write!(line, " - error: {}", self.event.err_category);
        }
        line
    }
}

pub(super) fn entry(env: &Env, host: &str, sequence: u64, event: Event) -> Entry {
    Entry { sequence, time: rfc3339_ms(env.wall_ms()), host: host.to_owned(), event }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::audit) fn event(request_id: &str) -> Event {
        Event {
            kind: Kind::Rest,
            log_level: Level::Info,
            domain_id: "d".to_owned(),
            request_id: request_id.to_owned(),
            client_ip: "10.0.0.9".to_owned(),
            tls_cert_id: "c".to_owned(),
            res_urn: "urn:v1:eu:resource:okms:d/serviceKey/k".to_owned(),
            region: "eu-west-rbx".to_owned(),
            iam_operation: "okms:apikms:serviceKey/get".to_owned(),
            iam_identities: vec!["urn:i".to_owned()],
            http_path: "/api/d/v1/servicekey/k".to_owned(),
            http_status: 200,
            http_method: "GET".to_owned(),
            err_category: String::new(),
        }
    }

    #[test]
    fn entries_read_back_and_have_the_documented_line() {
        let entry =
            Entry { sequence: 7, time: rfc3339_ms(1_500), host: "host-a1".to_owned(), event: event("r") };
        assert_eq!(Entry::decode(&entry.encode()), Some(entry.clone()));
        assert_eq!(
            entry.line(),
            "1970-01-01T00:00:01.5Z INFO | GET /api/d/v1/servicekey/k - 200 - identity: urn:i - operation: \
             okms:apikms:serviceKey/get on urn:v1:eu:resource:okms:d/serviceKey/k - from 10.0.0.9 with certificate c - request \
             id: OKMS.r"
        );
    }
}
