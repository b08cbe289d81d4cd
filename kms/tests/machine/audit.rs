//! `kms audit` as an auditor meets it: over the spool of a host that was made by `kms init`.

use crate::common::{Scratch, bundle, spec};
use kms::{
    audit::{Audit, Event, Kind, Level, Recorder},
    config::{AuditConfig, NodeConfig},
    init::install,
    os,
    vault::RootKey,
};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

fn kms(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kms")).args(arguments).output().expect("runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn event(domain: &str, id: u64) -> Event {
    Event {
        kind: Kind::Rest,
        log_level: Level::Info,
        domain_id: domain.to_owned(),
        request_id: id.to_string(),
        client_ip: "10.0.0.9".to_owned(),
        tls_cert_id: String::new(),
        res_urn: "urn:k".to_owned(),
        region: "eu-west-rbx".to_owned(),
        iam_operation: "okms:apikms:serviceKey/get".to_owned(),
        iam_identities: Vec::new(),
        http_path: "/x".to_owned(),
        http_status: 200,
        http_method: "GET".to_owned(),
        err_category: String::new(),
    }
}

const DOMAIN: &str = "01234567-89ab-4def-8123-456789abcdef";

/// A host's directory with twenty entries in its spool; its writer still runs.
async fn spool(scratch: &Scratch) -> (PathBuf, Arc<Audit>) {
    let env = os::env();
    let bundle = bundle(&env, &spec());
    let dir = scratch.path("host-a1");
    install(&*env.disk, &dir, bundle.node("host-a1").expect("a host")).expect("installs");
    let file = dir.join("node.toml");
    let config = NodeConfig::load(&*env.disk, &file).expect("a configuration");
    assert_eq!(config.audit, Some(AuditConfig::default()), "on unless somebody says otherwise");
    let root = RootKey::load(&*env.disk, config.root_key.as_deref().expect("a path")).expect("a root key");
    let small = AuditConfig { segment_bytes: 4_096, ..AuditConfig::default() };
    let recorder = Recorder::new(&env, config.data_dir, config.node_id, small);
    recorder.begin(&root).await;
    let audit = recorder.audit().expect("it records");
    for id in 0..20 {
        let domain = if id % 2 == 0 { DOMAIN } else { "" };
        audit.record(event(domain, id)).await.expect("recorded");
    }
    (file, audit)
}

fn segments(file: &Path) -> Vec<PathBuf> {
    let dir = file.parent().expect("a directory").join("data/audit");
    let names = os_list(&dir).into_iter().filter(|name| name.extension().is_some_and(|is| is == "seg"));
    names.map(|name| dir.join(name)).collect()
}

#[expect(clippy::disallowed_methods, reason = "a test looks at what the program wrote; the names are sorted")]
fn os_list(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| PathBuf::from(entry.expect("an entry").file_name())).collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_auditor_exports_verifies_and_prunes_beside_a_running_host() {
    let scratch = Scratch::new("cli-audit");
    let (file, audit) = spool(&scratch).await;
    let config = file.to_str().expect("UTF-8");
    let run = |what: &str, more: &[&str]| kms(&[&["audit", what, "--config", config][..], more].concat());

    let export = run("export", &[]);
    assert!(export.status.success(), "{}", text(&export.stderr));
    let lines: Vec<_> = text(&export.stdout).lines().collect();
    assert_eq!(lines.len(), 20);
    let last: serde_json::Value = serde_json::from_str(lines[19]).expect("JSON");
    for field in [
        "domain_id",
        "request_id",
        "type",
        "log_level",
        "client_ip",
        "tls_cert_id",
        "res_urn",
        "region",
        "iam_operation",
        "iam_identities",
        "http_path",
        "http_status",
        "http_method",
        "err_category",
    ] {
        assert!(last.get(field).is_some(), "no {field} in {last}");
    }
    let head = format!("20:{}", last["hash"].as_str().expect("a hash"));
    let one = run("export", &["--format", "text", "--domain", DOMAIN, "--after", "10"]);
    assert_eq!(text(&one.stdout).lines().count(), 5);
    assert!(text(&one.stdout).contains("INFO | GET /x - 200 - identity: -"), "{}", text(&one.stdout));
    assert_eq!(text(&run("export", &["--until", "2020-01-01"]).stdout), "");

    let verified = run("verify", &["--expect-head", &head]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    assert!(text(&verified.stdout).contains(&format!("head: {head}")), "{}", text(&verified.stdout));
    let other = run("verify", &["--expect-head", &head.replace("20:", "21:")]);
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other.stderr).contains("expected"), "{}", text(&other.stderr));
    assert_eq!(run("verify", &["--expect-head", "20"]).status.code(), Some(1));

    let future = run("prune", &["--before", "9000-01-01"]);
    assert_eq!(future.status.code(), Some(1));
    let before = segments(&file).len();
    assert!(before > 2);
    os::env().sleep(Duration::from_millis(1_100)).await;
    let now = kms::dates::rfc3339_ms(os::env().wall_ms());
    let pruned = run("prune", &["--before", &now]);
    assert!(pruned.status.success(), "{}", text(&pruned.stderr));
    assert_eq!(segments(&file).len(), 1, "{}", text(&pruned.stdout));
    audit.record(event(DOMAIN, 20)).await.expect("the host goes on");
    let report = run("verify", &["--json", "--expect-head", &head]);
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).expect("JSON");
    assert_eq!((&report["whole"], &report["expected_head_found"]), (&true.into(), &true.into()), "{report}");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test damages what the program wrote")]
async fn damage_is_told_with_its_place() {
    let scratch = Scratch::new("cli-audit-damage");
    let (file, _audit) = spool(&scratch).await;
    let config = file.to_str().expect("UTF-8");
    let second = segments(&file)[1].clone();
    let mut bytes = std::fs::read(&second).expect("a segment");
    bytes[200] ^= 1;
    std::fs::write(&second, bytes).expect("writes");
    let verified = kms(&["audit", "verify", "--config", config]);
    assert_eq!(verified.status.code(), Some(2));
    let error = text(&verified.stderr);
    assert!(error.contains("NOT WHOLE") && error.contains("segment 2, byte 116"), "{error}");
    let export = kms(&["audit", "export", "--config", config]);
    assert_eq!(export.status.code(), Some(2));
    assert!(text(&export.stdout).lines().count() >= 15, "what can be read is written all the same");
    let stranger = kms(&["audit", "verify", "--config", "/nowhere/node.toml"]);
    assert_eq!(stranger.status.code(), Some(1));
}
