//! Calls about secrets as HTTP requests and answers as views, in the words of both interfaces. Pure; anything that does not look as
//! documented is no answer.

use super::wire::Request;
use crate::{
    history::{Answer, Ask, Dialect, SecretView, VersionState, VersionView},
    veiled,
};
use serde_json::{Value, json};

/// Error codes of docs/secrets.md: no such secret.
pub(crate) const NO_SECRET: u32 = 17_125_377;
/// No such version, or its data is not to be had.
pub(crate) const NO_VERSION: u32 = 17_125_378;
/// There is a secret at this path.
pub(crate) const EXISTS: u32 = 50_438_145;
/// The version is deleted, for good.
pub(crate) const VERSION_DELETED: u32 = 50_634_753;
/// Another version is the current one.
pub(crate) const MISMATCH: u32 = 50_626_561;

/// The field of the data, and of the custom metadata, that says something.
const FIELD: &str = "value";
const OWNER: &str = "owner";

/// The request of a page of secrets.
pub(super) fn list(domain: &str) -> Request {
    Request { method: "GET", path: format!("/api/{domain}/v2/secret"), body: None }
}

/// The request of what is asked of a secret. `None` for what an interface has no words for.
pub(super) fn request(domain: &str, path: &str, dialect: Dialect, ask: &Ask) -> Option<Request> {
    let (method, rest, body) = match dialect {
        Dialect::Native => native(path, ask)?,
        Dialect::Vault => vault(path, ask)?,
    };
    let version = if dialect == Dialect::Native { 2 } else { 1 };
    let path = format!("/api/{domain}/v{version}/secret{rest}");
    Some(Request { method, path, body: body.map(|body| body.to_string()) })
}

type Parts = (&'static str, String, Option<Value>);

/// Both ways to write a path in a URL are documented: which one is taken is said by the path itself.
fn in_url(path: &str) -> String {
    if path.len().is_multiple_of(2) { path.to_owned() } else { path.replace('/', "%2F") }
}

fn data(tag: &str) -> Value {
    json!({ FIELD: veiled::text(tag), "user": "app" })
}

fn note(tag: &str) -> Value {
    json!({ OWNER: veiled::text(tag) })
}

/// A part of a URL, if there is something to say.
fn query(name: &str, number: Option<u32>) -> String {
    number.map(|number| format!("{name}{number}")).unwrap_or_default()
}

fn native(path: &str, ask: &Ask) -> Option<Parts> {
    let url = in_url(path);
    Some(match ask {
        Ask::Create { value, note: tag } => {
            let mut body = json!({ "path": path, "version": { "data": data(value) } });
            if let Some(tag) = tag {
                body["metadata"] = json!({ "customMetadata": note(tag) });
            }
            ("POST", String::new(), Some(body))
        }
        Ask::Write { value, cas } => {
            let rest = format!("/{url}/version{}", query("?cas=", *cas));
            ("POST", rest, Some(json!({ "data": data(value) })))
        }
        Ask::Read { version } => {
            ("GET", format!("/{url}?includeData=true{}", query("&version=", *version)), None)
        }
        Ask::Describe => ("GET", format!("/{url}"), None),
        Ask::Set { version, state } => {
            let state = match state {
                VersionState::Active => "active",
                VersionState::Deactivated => "deactivated",
                VersionState::Deleted => "deleted",
            };
            ("PUT", format!("/{url}/version/{}", (*version)?), Some(json!({ "state": state })))
        }
        Ask::Note { note: tag } => {
            ("PUT", format!("/{url}"), Some(json!({ "metadata": { "customMetadata": note(tag) } })))
        }
        Ask::Delete => ("DELETE", format!("/{url}"), None),
    })
}

fn vault(path: &str, ask: &Ask) -> Option<Parts> {
    let url = in_url(path);
    Some(match ask {
        Ask::Create { note: Some(_), .. } => return None,
        Ask::Create { value, note: None } => {
            let body = json!({ "data": data(value), "options": { "cas": 0 } });
            ("POST", format!("/data/{url}"), Some(body))
        }
        Ask::Write { value, cas } => {
            let mut body = json!({ "data": data(value) });
            if let Some(cas) = cas {
                body["options"] = json!({ "cas": cas });
            }
            ("POST", format!("/data/{url}"), Some(body))
        }
        Ask::Read { version } => ("GET", format!("/data/{url}{}", query("?version=", *version)), None),
        Ask::Describe => ("GET", format!("/metadata/{url}"), None),
        Ask::Set { version: None, state: VersionState::Deactivated } => {
            ("DELETE", format!("/data/{url}"), None)
        }
        Ask::Set { version: None, .. } => return None,
        Ask::Set { version: Some(number), state } => {
            let (method, what) = match state {
                VersionState::Active => ("POST", "undelete"),
                VersionState::Deactivated => ("POST", "delete"),
                VersionState::Deleted => ("PUT", "destroy"),
            };
            (method, format!("/{what}/{url}"), Some(json!({ "versions": [number] })))
        }
        Ask::Note { note: tag } => {
            ("POST", format!("/metadata/{url}"), Some(json!({ "custom_metadata": note(tag) })))
        }
        Ask::Delete => ("DELETE", format!("/metadata/{url}"), None),
    })
}

/// The status of a success.
pub(super) fn status(dialect: Dialect, ask: &Ask) -> u16 {
    match (dialect, ask) {
        (_, Ask::Delete) | (Dialect::Vault, Ask::Set { .. } | Ask::Note { .. }) => 204,
        _ => 200,
    }
}

/// The page in an answer.
pub(super) fn page(body: &Value) -> Option<Answer> {
    let entry = |entry: &Value| Some((entry.get("path")?.as_str()?.to_owned(), secret(entry, false)?));
    Some(Answer::Secrets { page: body.as_array()?.iter().map(entry).collect::<Option<_>>()? })
}

/// What an answer with a body shows of the secret at `path`.
pub(super) fn answer(path: &str, dialect: Dialect, ask: &Ask, body: &Value) -> Option<Answer> {
    let view = match (dialect, ask) {
        (Dialect::Native, Ask::Write { .. }) => written(version(body, false)?, None),
        (Dialect::Native, Ask::Set { .. }) => {
            SecretView { versions: vec![version(body, false)?], ..SecretView::default() }
        }
        (Dialect::Native, _) => {
            if body.get("path")?.as_str()? != path {
                return None;
            }
            secret(body, matches!(ask, Ask::Read { .. }))?
        }
        (Dialect::Vault, Ask::Create { .. } | Ask::Write { .. }) => {
            let data = body.get("data")?;
            written(of_vault(data, number(data, "version")?)?, custom(data.get("custom_metadata"))?.into())
        }
        (Dialect::Vault, Ask::Read { version }) => {
            let metadata = body.get("data")?.get("metadata")?;
            let mut shown = of_vault(metadata, number(metadata, "version")?)?;
            shown.value = Some(value(body.get("data")?.get("data")));
            SecretView {
                current: version.is_none().then_some(shown.number),
                note: Some(custom(metadata.get("custom_metadata"))?),
                versions: vec![shown],
                ..SecretView::default()
            }
        }
        (Dialect::Vault, _) => described(body.get("data")?)?,
    };
    Some(Answer::Secret(view))
}

/// A version that was just made is the current one.
fn written(version: VersionView, note: Option<String>) -> SecretView {
    SecretView { current: Some(version.number), note, versions: vec![version], ..SecretView::default() }
}

fn secret(body: &Value, with_data: bool) -> Option<SecretView> {
    let metadata = body.get("metadata")?;
    let versions = match body.get("version") {
        Some(shown) => vec![version(shown, with_data)?],
        None => Vec::new(),
    };
    Some(SecretView {
        current: Some(number(metadata, "currentVersion")?),
        oldest: Some(number(metadata, "oldestVersion")?),
        note: Some(custom(metadata.get("customMetadata"))?),
        versions,
        all: false,
    })
}

fn version(body: &Value, with_data: bool) -> Option<VersionView> {
    let state = match body.get("state")?.as_str()? {
        "active" => VersionState::Active,
        "deactivated" => VersionState::Deactivated,
        "deleted" => VersionState::Deleted,
        _ => return None,
    };
    let data = body.get("data");
    // Data that was not asked for is shown all the same, if it is there: the checkers look at it.
    let value = (data.is_some() || with_data && state == VersionState::Active).then(|| value(data));
    Some(VersionView { number: number(body, "id")?, state, value })
}

fn of_vault(body: &Value, number: u32) -> Option<VersionView> {
    let state = match (body.get("destroyed")?.as_bool()?, body.get("deletion_time")?.as_str()?) {
        (true, _) => VersionState::Deleted,
        (false, "") => VersionState::Active,
        (false, _) => VersionState::Deactivated,
    };
    Some(VersionView { number, state, value: None })
}

fn described(data: &Value) -> Option<SecretView> {
    let versions = data.get("versions")?.as_object()?;
    let mut versions: Vec<VersionView> =
        versions.iter().map(|(name, body)| of_vault(body, name.parse().ok()?)).collect::<Option<_>>()?;
    versions.sort_by_key(|version| version.number);
    Some(SecretView {
        current: Some(number(data, "current_version")?),
        oldest: Some(number(data, "oldest_version")?),
        note: Some(custom(data.get("custom_metadata"))?),
        versions,
        all: true,
    })
}

fn number(body: &Value, name: &str) -> Option<u32> {
    u32::try_from(body.get(name)?.as_u64()?).ok()
}

/// Empty for what is not as it was sent.
fn value(data: Option<&Value>) -> String {
    let text = data.and_then(|data| data.get(FIELD)).and_then(Value::as_str);
    text.map(veiled::mark_of).unwrap_or_default()
}

fn custom(metadata: Option<&Value>) -> Option<String> {
    match metadata? {
        Value::Null => Some(String::new()),
        Value::Object(entries) if entries.is_empty() => Some(String::new()),
        Value::Object(entries) => Some(veiled::mark_of(entries.get(OWNER)?.as_str()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(dialect: Dialect, ask: &Ask) -> (&'static str, String) {
        let request = request("d", "a/bc", dialect, ask).expect("a request");
        (request.method, request.path)
    }

    #[test]
    fn requests_are_in_the_words_of_each_interface() {
        let write = Ask::Write { value: "t".into(), cas: Some(3) };
        assert_eq!(sent(Dialect::Native, &write), ("POST", "/api/d/v2/secret/a/bc/version?cas=3".into()));
        assert_eq!(sent(Dialect::Vault, &write), ("POST", "/api/d/v1/secret/data/a/bc".into()));
        let destroy = Ask::Set { version: Some(2), state: VersionState::Deleted };
        assert_eq!(sent(Dialect::Native, &destroy), ("PUT", "/api/d/v2/secret/a/bc/version/2".into()));
        assert_eq!(sent(Dialect::Vault, &destroy), ("PUT", "/api/d/v1/secret/destroy/a/bc".into()));
        let latest = Ask::Set { version: None, state: VersionState::Deactivated };
        assert_eq!(sent(Dialect::Vault, &latest), ("DELETE", "/api/d/v1/secret/data/a/bc".into()));
        assert_eq!(request("d", "a/bc", Dialect::Native, &latest), None);
        let encoded = request("d", "a/b", Dialect::Native, &Ask::Describe).expect("a request");
        assert_eq!(encoded.path, "/api/d/v2/secret/a%2Fb");
    }

    #[test]
    fn no_text_stands_in_a_call_or_an_answer() {
        let ask = Ask::Create { value: "tag".into(), note: Some("owner".into()) };
        let body = request("d", "a/bc", Dialect::Native, &ask).and_then(|request| request.body);
        assert!(body.expect("a body").contains(&veiled::text("tag")));
        assert!(!format!("{ask:?}").contains(&veiled::text("tag")));
        let body = json!({ "data": { "data": data("tag"), "metadata":
            { "version": 4, "destroyed": false, "deletion_time": "", "custom_metadata": note("owner") } } });
        let shown = answer("a/bc", Dialect::Vault, &Ask::Read { version: None }, &body).expect("an answer");
        let version =
            VersionView { number: 4, state: VersionState::Active, value: Some(veiled::mark("tag")) };
        let view = SecretView {
            current: Some(4),
            note: Some(veiled::mark("owner")),
            versions: vec![version],
            ..SecretView::default()
        };
        assert_eq!(shown, Answer::Secret(view));
    }

    #[test]
    fn an_active_version_without_its_data_is_shown_as_wrong() {
        let metadata = json!({ "currentVersion": 1, "oldestVersion": 0, "customMetadata": {} });
        let body = |version: Value| json!({ "path": "a/bc", "metadata": metadata, "version": version });
        let read = Ask::Read { version: None };
        let shown = |version: Value| match answer("a/bc", Dialect::Native, &read, &body(version)) {
            Some(Answer::Secret(view)) => view.versions[0].value.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(shown(json!({ "id": 1, "state": "active" })), Some(String::new()));
        assert_eq!(shown(json!({ "id": 1, "state": "deactivated" })), None);
        assert!(shown(json!({ "id": 1, "state": "deleted", "data": data("t") })).is_some());
        assert_eq!(answer("other", Dialect::Native, &read, &body(Value::Null)), None);
    }
}
