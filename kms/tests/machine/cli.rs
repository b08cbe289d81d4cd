//! The program as a person meets it: help, errors that say what to do, exit codes, a region that survives.

use crate::{common::Scratch, region::free_ports};
use kms::crypto::asymmetric::{PrivateKey, Shape};
use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

fn kms(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kms")).args(arguments).output().expect("runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// Fails with this exit code, nothing on stdout, and these words on stderr.
fn fails(arguments: &[&str], code: i32, words: &[&str]) {
    let output = kms(arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert!(output.stdout.is_empty());
    for word in words {
        assert!(error.contains(word), "{arguments:?} does not say {word:?}: {error}");
    }
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn help_shows_every_command() {
    let help = kms(&["--help"]);
    assert!(help.status.success());
    for word in ["init", "serve", "dev", "status", "kms dev", "policy", "credential", "export", "import"] {
        assert!(text(&help.stdout).contains(word), "no {word}");
    }
    let help = kms(&["init", "--help"]);
    assert!(text(&help.stdout).contains("--address db-a="));
    assert!(kms(&["--version"]).status.success());
}

#[test]
fn errors_say_what_to_do() {
    fails(&[], 1, &["Usage"]);
    fails(&["serve"], 1, &["--config"]);
    fails(&["serve", "--config", "/nowhere/node.toml"], 1, &["/nowhere/node.toml", "kms init"]);
    fails(&["status"], 1, &["--config", "--dir"]);
    fails(&["dev", "--dir", "/dev/null"], 1, &["/dev/null", "--dir"]);
    fails(&["status", "--dir", "/nowhere"], 1, &["/nowhere", "kms init"]);
    fails(&["status", "--dir", "/nowhere", "--log", "=="], 1, &["--log"]);
    let scratch = Scratch::new("cli-errors");
    let out = scratch.path("region");
    fails(&["init", "--out", utf8(&out), "--address", "db-a"], 1, &["NODE=IP"]);
    fails(&["init", "--out", utf8(&out), "--address", "db-a=10.0.0.1"], 1, &["no address for db-b"]);
    fails(&["init", "--out", utf8(&out), "--region", "RBX"], 1, &["eu-west-rbx"]);
    assert!(!out.exists(), "a refused init leaves nothing");
}

#[test]
fn init_makes_a_region_once() {
    let scratch = Scratch::new("cli-init");
    let out = scratch.path("rbx");
    let output =
        kms(&["init", "--out", utf8(&out), "--hosts-per-zone", "1", "--clients", "2", "--domains", "2"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("kms serve --config"));
    for file in [
        "db-a/node.toml",
        "db-b/data",
        "host-a1/root.key",
        "host-b1/access-ca.crt",
        "entry/node.crt",
        "operator/operator.toml",
        "operator/node-ca.key",
        "clients/client-4.key",
        "ca.pem",
        "okms.yaml",
    ] {
        assert!(out.join(file).exists(), "no {file}");
    }
    assert!(!out.join("host-a2").exists());
    fails(&["init", "--out", utf8(&out)], 1, &["exists already", "nothing was changed"]);
    assert_eq!(kms(&["status", "--dir", utf8(&out)]).status.code(), Some(2), "nothing runs");
}

/// A `kms dev` that is killed at the end, whatever happens.
pub struct Dev {
    pub child: Child,
    pub port: u16,
}

impl Dev {
    /// Starts it and waits until it says how to use it.
    fn start(dir: &Path, port: u16) -> Option<Dev> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kms"))
            .args(["dev", "--dir", utf8(dir), "--port", &port.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let out = BufReader::new(child.stdout.take().expect("stdout"));
        let said = out.lines().map_while(Result::ok).any(|line| line.contains("Ctrl-C"));
        if !said {
            let mut error = String::new();
            child.stderr.take().expect("stderr").read_to_string(&mut error).expect("reads");
            child.wait().expect("ends");
            assert!(error.contains("Address already in use"), "{error}");
            return None;
        }
        Some(Dev { child, port })
    }

    /// The same at whatever port is free: another process may take one in between.
    pub fn anywhere(scratch: &Scratch) -> (PathBuf, Dev) {
        let start = |attempt| {
            let dir = scratch.path(&format!("dev-{attempt}"));
            Dev::start(&dir, free_ports()).map(|dev| (dir, dev))
        };
        (0..10).find_map(start).expect("free ports")
    }

    fn signal(&mut self, name: &str) -> Option<i32> {
        let killed = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(killed.expect("kill runs").success());
        self.child.wait().expect("ends").code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_region_in_one_process_survives_kill() {
    let scratch = Scratch::new("cli-dev");
    let (dir, mut dev) = Dev::anywhere(&scratch);
    let yaml = text_of(&dir.join("okms.yaml"));
    assert!(yaml.contains(&format!("https://127.0.0.1:{}", dev.port)), "{yaml}");
    let status = kms(&["status", "--dir", utf8(&dir), "--json"]);
    let report = text(&status.stdout);
    assert!(status.status.success(), "{report}");
    assert!(report.contains(r#""writable":true"#) && report.lines().count() == 1, "{report}");
    fails(&["dev", "--dir", utf8(&dir), "--hosts-per-zone", "3"], 1, &["--hosts-per-zone 2"]);

    access_is_administered(&dir, &scratch.path("certificates"));
    a_domain_is_taken_out_and_brought_in(&dir, dev.port, &scratch);

    assert_eq!(dev.signal("KILL"), None);
    let certificate = text_of(&dir.join("region/clients/client-1.crt"));
    let port = dev.port;
    drop(dev);
    assert_eq!(kms(&["status", "--dir", utf8(&dir), "--json"]).status.code(), Some(2));
    let mut dev = Dev::start(&dir, port).expect("starts again");
    assert_eq!(text_of(&dir.join("region/clients/client-1.crt")), certificate);
    assert!(kms(&["status", "--dir", utf8(&dir)]).status.success());
    assert_eq!(dev.signal("TERM"), Some(0));
}

/// What a customer types, in a region that runs.
fn a_domain_is_taken_out_and_brought_in(dir: &Path, port: u16, scratch: &Scratch) {
    let domain = text_of(&dir.join("region/domains.txt")).trim().to_owned();
    let (key, public) = (scratch.path("mine.pem"), scratch.path("mine.pub.pem"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let made = runtime.block_on(async { PrivateKey::generate(&kms::os::env(), Shape::Rsa(3072)) });
    let made = made.expect("a key");
    write(&key, &pem("PRIVATE KEY", made.to_pkcs8().expose()));
    write(&public, &pem("PUBLIC KEY", &made.public().to_spki()));
    let region = dir.join("region");
    let endpoint = format!("127.0.0.1:{port}");
    let (ca, cert) = (region.join("ca.pem"), region.join("clients/client-1.crt"));
    let own = region.join("clients/client-1.key");
    let service = [
        ["--endpoint", endpoint.as_str()],
        ["--ca", utf8(&ca)],
        ["--cert", utf8(&cert)],
        ["--key", utf8(&own)],
        ["--patience", "20"],
    ]
    .concat();
    let out = scratch.path("domain.okms");
    let export = ["export", "domain", &domain, "--to", utf8(&public), "--out", utf8(&out)];
    let export: Vec<&str> = export.iter().chain(&service).copied().collect();
    fails(&export, 1, &["operation is not authorized", "status 403"]);
    assert!(!out.exists());
    let urn = format!("urn:v1:eu:resource:okms:{domain}");
    let mut allow = vec!["policy", "put", "reversible", "--domain", &domain, "--dir", utf8(dir)];
    allow.extend(["--identity", "*", "--resource", &urn]);
    allow.extend(["--allow", "okms:apikms:domain/export", "--allow", "okms:apikms:domain/import"]);
    assert!(kms(&allow).status.success());
    // The other hosts go by it within a second.
    std::iter::repeat_with(|| kms(&export))
        .take(20)
        .find(|output| output.status.success())
        .expect("exported");
    let short = ["export", "domain", &domain, "--to", utf8(&cert), "--out", utf8(&out)];
    fails(&short.iter().chain(&service).copied().collect::<Vec<_>>(), 1, &["BEGIN PUBLIC KEY"]);
    let verified = kms(&["export", "verify", utf8(&out), "--with", utf8(&key), "--list"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    assert!(text(&verified.stdout).contains(r#""name":"reversible""#), "{}", text(&verified.stdout));
    assert!(text(&verified.stderr).contains("is whole: domain"), "{}", text(&verified.stderr));
    fails(&["export", "verify", utf8(&cert), "--with", utf8(&key)], 2, &["no export of a domain"]);
    for more in [&["--dry-run"][..], &[]] {
        let import = ["import", "domain", &domain, utf8(&out), "--with", utf8(&key)];
        let done = kms(&import.iter().chain(&service).chain(more).copied().collect::<Vec<_>>());
        assert!(done.status.success(), "{}", text(&done.stderr));
        assert!(text(&done.stdout).contains("0 have something else"), "{}", text(&done.stdout));
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// What an operator types, in a region that runs.
fn access_is_administered(dir: &Path, out: &Path) {
    let domain = text_of(&dir.join("region/domains.txt")).trim().to_owned();
    let at = ["--domain", domain.as_str(), "--dir", utf8(dir)];
    let says = |arguments: &[&str], words: &[&str]| -> String {
        let output = kms(&[arguments, &at].concat());
        let (said, error) = (text(&output.stdout).to_owned(), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {error}");
        for word in words {
            assert!(said.contains(word), "{arguments:?} does not say {word:?}: {said}");
        }
        said
    };
    says(&["policy", "list"], &["default  *           *      -     *"]);
    says(&["group", "put", "staff", "--member", "urn:v1:eu:identity:user:acme/*"], &["within a second"]);
    let group = format!("urn:v1:eu:identity:group:{domain}/staff");
    let keys = format!("urn:v1:eu:resource:okms:{domain}/serviceKey/*");
    let get = "okms:apikms:serviceKey/get";
    says(&["policy", "put", "readers", "--identity", &group, "--allow", get, "--resource", &keys], &[]);
    let mut file = says(&["policy", "show", "readers"], &[get, &group]);
    file = file.replace("serviceKey/get", "serviceKey/sign");
    write(&dir.join("policy.json"), &file);
    says(&["policy", "put", "signers", "--file", utf8(&dir.join("policy.json"))], &["signers"]);
    let flies = ["policy", "put", "flyers", "--identity", "*", "--allow", "okms:fly", "--resource", "*"];
    fails(&[&flies[..], &at].concat(), 1, &["okms:fly means no action that there is"]);

    let bob = "urn:v1:eu:identity:user:acme/bob";
    let made = says(
        &["credential", "create", "--name", "ci", "--identity", bob, "--out", utf8(out)],
        &["valid until"],
    );
    let id = made.split_whitespace().nth(1).expect("an id").trim_end_matches(',').to_owned();
    assert!(text_of(&out.join(format!("{id}.key"))).contains("PRIVATE KEY"));
    let key = rcgen::KeyPair::generate().expect("a key");
    let request = rcgen::CertificateParams::default().serialize_request(&key).expect("a request");
    let csr = dir.join("request.csr");
    write(&csr, &request.pem().expect("PEM"));
    let signed = says(
        &["credential", "sign-csr", utf8(&csr), "--name", "other", "--days", "3", "--out", utf8(out)],
        &[],
    );
    let other = signed.split_whitespace().nth(1).expect("an id").trim_end_matches(',').to_owned();
    assert!(!out.join(format!("{other}.key")).exists(), "the private key is not here");
    says(
        &["policy", "test", "--credential", &id, "--action", get, "--resource", &keys],
        &["ALLOWED by policy", bob, &group],
    );
    says(&["policy", "delete", "default"], &["within a second"]);
    says(
        &["policy", "test", "--credential", &other, "--action", get, "--resource", &keys],
        &["DENIED no policy"],
    );
    assert!(kms(&["issuer", "make-key", "--out", utf8(out)]).status.success());
    let (public, private) = (out.join("issuer.jwk"), out.join("issuer.private.jwk"));
    let prefix = ["--identity-prefix", "urn:v1:eu:identity:user:acme/"];
    let put = |key: &Path| -> Vec<String> {
        let first = ["issuer", "put", "idp", "--issuer", "https://idp", "--key", utf8(key)];
        first.iter().chain(&prefix).chain(&at).map(|word| (*word).to_owned()).collect()
    };
    let private_put = put(&private);
    fails(&private_put.iter().map(String::as_str).collect::<Vec<_>>(), 1, &["public JWK"]);
    let public_put = put(&public);
    assert!(kms(&public_put.iter().map(String::as_str).collect::<Vec<_>>()).status.success());
    says(&["issuer", "list"], &["https://idp", "ES256"]);
    let sign =
        ["issuer", "sign-token", "--key", utf8(&private), "--issuer", "https://idp", "--subject", "bob"];
    assert_eq!(text(&kms(&sign).stdout).trim().split('.').count(), 3);
    says(&["credential", "revoke", &id], &["revoked"]);
    let list = says(&["credential", "list"], &["REVOKED", "READY"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    says(&["credential", "show", &other], &["BEGIN CERTIFICATE", "from_csr\": true"]);
    let counts = kms(&["domain", "list", "--counts", "--dir", utf8(dir)]);
    assert!(text(&counts.stdout).contains("CREDENTIALS"), "{}", text(&counts.stdout));
    domains(dir, out);
}

/// A domain is made, made again, and ended for good.
fn domains(dir: &Path, out: &Path) {
    let create = ["domain", "create", "--name", "first", "--dir", utf8(dir), "--out", utf8(out)];
    let says = |more: &[&str], words: &str| -> String {
        let output = kms(&[&create, more].concat());
        let (said, error) = (text(&output.stdout).to_owned(), text(&output.stderr));
        assert!(output.status.success() && said.contains(words), "{more:?}: {said} {error}");
        said
    };
    let said = says(&[], "is there, in both zones");
    let id = said.split_whitespace().nth(1).expect("an id").to_owned();
    let credential = said.split("Credential ").nth(1).and_then(|rest| rest.split(',').next()).expect("an id");
    assert!(text_of(&out.join(format!("{credential}.key"))).contains("PRIVATE KEY"));
    says(&["--id", &id], "was there already");
    let list = kms(&["domain", "list", "--dir", utf8(dir)]);
    assert!(text(&list.stdout).contains(&id), "{}", text(&list.stdout));
    let end = ["domain", "terminate", &id, "--confirm", &id, "--wait", "0", "--dir", utf8(dir)];
    assert!(kms(&end).status.success());
    fails(&[&create[..], &["--id", &id]].concat(), 1, &["never used again"]);
}

#[expect(clippy::disallowed_methods, reason = "a test writes what the program reads")]
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
}

#[expect(clippy::disallowed_methods, reason = "a test looks at what the program wrote")]
pub fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file")
}
