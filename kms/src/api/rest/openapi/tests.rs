//! The description and the service are held together: routes, error codes, the form of requests for it.

use super::*;
use crate::{
    api::rest::{reply::error_id, routes::paths},
    error::Code,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const VERBS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

fn document() -> Value {
    serde_json::from_slice(JSON.plain).expect("JSON")
}

/// What `$ref` leads to, or the value itself.
fn followed<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        None => value,
        Some(place) => {
            let place = place.strip_prefix('#').expect("within the document");
            document.pointer(place).unwrap_or_else(|| panic!("nothing at {place}"))
        }
    }
}

/// Every operation: path, method, and what is said of it.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &'static str, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    paths.iter().flat_map(|(path, item)| {
        VERBS.into_iter().filter_map(move |verb| Some((path.as_str(), verb, item.get(verb)?)))
    })
}

fn words(list: &Value) -> BTreeSet<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn every_route_is_described_and_everything_described_is_a_route() {
    let mut taken: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, names) in paths().taken {
        // Vault's clients put a slash behind a folder; it is the same path.
        let path = path.strip_suffix('/').unwrap_or(&path).to_owned();
        taken.entry(path).or_default().extend(names.iter().map(|name| name.to_lowercase()));
    }
    let mut described: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let document = document();
    for (path, verb, _) in operations(&document) {
        described.entry(path.to_owned()).or_default().insert(verb.to_owned());
    }
    assert!(taken.len() > 20, "the routes are gone");
    assert_eq!(taken, described);
}

#[test]
fn every_error_is_described_under_its_status_and_no_other_is() {
    let document = document();
    let mut described: BTreeMap<u16, (BTreeSet<String>, BTreeSet<u64>)> = BTreeMap::new();
    let mut seen = |status: u16, response: &Value| {
        let properties =
            &followed(&document, response)["content"]["application/json"]["schema"]["properties"];
        let (ids, numbers) = described.entry(status).or_default();
        let (id, number) = (&properties["error_id"]["enum"], &properties["error_code"]["enum"]);
        ids.extend(id.as_array().expect("ids").iter().map(|id| id.as_str().expect("a word").to_owned()));
        numbers.extend(
            number.as_array().expect("numbers").iter().map(|number| number.as_u64().expect("a number")),
        );
    };
    for (path, verb, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().expect("responses") {
            let status: u16 = status.parse().expect("a status");
            if status >= 400 && path != "/healthz" {
                assert!(followed(&document, response).get("content").is_some(), "{verb} {path} {status}");
                seen(status, response);
            }
        }
    }
    // Of no operation that is described.
    seen(405, &document["components"]["responses"]["MethodNotAllowed"]);
    let mut real: BTreeMap<u16, (BTreeSet<String>, BTreeSet<u64>)> = BTreeMap::new();
    // Of a host's administration alone.
    for code in Code::ALL.into_iter().filter(|code| *code != Code::AccessNotFound) {
        let (ids, numbers) = real.entry(code.status()).or_default();
        ids.insert(error_id(code).to_owned());
        numbers.insert(code.number().into());
    }
    assert_eq!(described, real);
}

#[test]
fn operations_say_what_every_request_of_their_kind_may_come_to() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (path, verb, operation) in operations(&document) {
        let what = format!("{verb} {path}");
        assert!(
            ids.insert(operation["operationId"].as_str().expect("an id").to_owned()),
            "{what}: id not its own"
        );
        let responses = operation["responses"].as_object().expect("responses");
        let has = |status: &str| responses.contains_key(status);
        let domain = path.starts_with("/api/");
        for status in ["400", "401", "403", "429", "500", "503"] {
            // A sealed host says 503 to everything.
            assert_eq!(has(status), domain || status == "503", "{what} {status}");
        }
        let body = operation.get("requestBody").is_some();
        for status in ["408", "413", "415"] {
            assert_eq!(has(status), body, "{what} {status}");
        }
        let writes = has("504");
        assert!(!writes || verb != "get", "{what}: reading has no unknown outcome");
        assert!(!writes || has("503"), "{what}: a write may be refused");
        for (status, response) in responses {
            let headers = &followed(&document, response)["headers"];
            assert!(headers.get("X-Request-Id").is_some(), "{what} {status}: every answer has a request id");
        }
    }
    assert!(ids.len() > 40, "the operations are gone");
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    fn collect(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(place) = map.get("$ref").and_then(Value::as_str) {
                    found.insert(place.to_owned());
                }
                map.values().for_each(|value| collect(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut used = BTreeSet::from(["#/components/responses/MethodNotAllowed".to_owned()]);
    collect(&document, &mut used);
    for place in &used {
        assert!(document.pointer(place.trim_start_matches('#')).is_some(), "nothing at {place}");
    }
    for (kind, components) in document["components"].as_object().expect("components") {
        for name in components.as_object().expect("a map").keys().filter(|_| kind != "securitySchemes") {
            let place = format!("#/components/{kind}/{name}");
            assert!(used.contains(&place), "{place} is not used");
        }
    }
}

#[test]
fn bodies_of_answers_are_closed() {
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        if schema["type"] == "object" && schema.get("properties").is_some() {
            assert_eq!(schema["additionalProperties"], false, "{name} may have anything in it");
        }
    }
}

#[test]
fn every_required_name_is_a_name() {
    fn look(value: &Value) {
        match value {
            Value::Object(map) => {
                // Readers of YAML disagree on what an `n` without quotes is.
                for name in map.get("required").and_then(Value::as_array).into_iter().flatten() {
                    assert!(name.is_string(), "{name} in {value}");
                }
                map.values().for_each(look);
            }
            Value::Array(list) => list.iter().for_each(look),
            _ => {}
        }
    }
    look(&document());
}

#[test]
fn the_version_is_that_of_the_service() {
    assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn limits_are_those_of_the_service() {
    let document = document();
    let schema = |name: &str| &document["components"]["schemas"][name];
    use crate::engine::{SIZES, lifecycle::STATES, secrets::VERSIONS_MAX};
    let states: BTreeSet<&str> = STATES.iter().map(|state| state.word()).collect();
    assert_eq!(words(&schema("KeyState")["enum"]), states);
    let sizes: Vec<Value> = SIZES.into_iter().map(Value::from).chain([Value::Null]).collect();
    assert_eq!(schema("MakeOct")["properties"]["size"]["enum"], Value::from(sizes));
    assert_eq!(schema("VersionCount")["maximum"], VERSIONS_MAX);
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn gzip_is_for_those_who_take_it() {
    for takes in ["gzip", "deflate, gzip;q=0.5", "GZIP", "*", "br;q=1, *;q=0.1", "gzip; q=1.0"] {
        assert!(takes_gzip(&headers(&[("accept-encoding", takes)])), "{takes}");
    }
    for not in ["", "identity", "gzip;q=0", "*, gzip;q=0.0", "*;q=0", "br", "gzip;q=x"] {
        assert!(!takes_gzip(&headers(&[("accept-encoding", not)])), "{not}");
    }
    assert!(!takes_gzip(&headers(&[])));
    assert!(takes_gzip(&headers(&[("accept-encoding", "br"), ("accept-encoding", "gzip")])));
}

#[test]
fn tags_are_compared_as_lists() {
    let list = headers(&[("if-none-match", "\"a\", W/\"b\"")]);
    assert!(has(&list, "\"a\"") && has(&list, "\"b\"") && !has(&list, "\"c\""));
    assert!(has(&headers(&[("if-none-match", "*")]), "\"c\""));
}
