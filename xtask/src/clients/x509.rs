//! `okms x509`: certificates, requests and revocation lists whose signatures are made by service keys. openssl judges them.

use super::keys::make;
use super::okms::Answer;
use super::table::{Missed, Session, Story};
use super::{NOBODY, code, tool};
use std::fs;

/// All of it, with a CA of each kind of key.
pub fn all(session: &mut Session) {
    if session.openssl.is_none() {
        session.quirk("x509 sign", "there is no openssl here: no signature was checked");
    }
    let _ = authority(session, &["--type", "rsa", "--size", "2048"]);
    let _ = authority(session, &["--type", "ec", "--curve", "P-384"]);
    for command in ["x509 create ca", "x509 create cert", "x509 create csr"] {
        session.check(command, "with a key that is not there", &[NOBODY, "--cn", "x"], |answer| {
            answer.refused(&[code::KEY_NOT_FOUND])
        });
    }
}

/// Puts what was printed into a file, if it is PEM of this kind.
fn pem(answer: &Answer, kind: &str, file: &str) -> Result<(), String> {
    let text = answer.text()?;
    if !text.starts_with(&format!("-----BEGIN {kind}-----")) {
        return Err(answer.told("not PEM"));
    }
    fs::write(file, format!("{text}\n")).map_err(|error| error.to_string())
}

/// What openssl says, or nothing if there is none.
fn openssl(session: &mut Session, command: &str, what: &str, arguments: &[&str]) -> Option<String> {
    let program = session.openssl.clone()?;
    match tool(&program, arguments) {
        Ok(text) => {
            session.found(command, what, Ok(()));
            Some(text)
        }
        Err(why) => {
            session.found(command, what, Err(why));
            None
        }
    }
}

fn authority(session: &mut Session, kind: &[&str]) -> Story {
    let (ca_key, key) =
        (make(session, "ca", kind)?, make(session, "leaf", &["--type", "ec", "--curve", "P-256"])?);
    let home = session.client.home.clone();
    let [ca, certificate, request, signed, list] = ["ca", "cert", "csr", "signed", "crl"]
        .map(|name| home.join(format!("{name}.pem")).to_string_lossy().into_owned());
    let arguments = [ca_key.as_str(), "--cn", "Test CA", "--validity", "48h"];
    session.step("x509 create ca", "self-signed", &arguments, |answer| pem(answer, "CERTIFICATE", &ca))?;
    openssl(session, "x509 create ca", "its signature", &["verify", "-check_ss_sig", "-CAfile", &ca, &ca]);
    if let Some(text) =
        openssl(session, "x509 create ca", "its text", &["x509", "-in", &ca, "-noout", "-text"])
    {
        let right = text.contains("CA:TRUE") && text.contains("Test CA");
        session.found("x509 create ca", "it is a CA", if right { Ok(()) } else { Err(text) });
    }
    let arguments = [key.as_str(), "--cn", "self", "--server-auth", "--dns-names", "a.example.com"];
    session.check("x509 create cert", "self-signed", &arguments, |answer| {
        pem(answer, "CERTIFICATE", &certificate)
    });
    let arguments = ["verify", "-check_ss_sig", "-partial_chain", "-CAfile", &certificate, &certificate];
    openssl(session, "x509 create cert", "its signature", &arguments);
    let arguments = ["x509", "-in", &certificate, "-noout", "-text"];
    if let Some(text) = openssl(session, "x509 create cert", "its text", &arguments) {
        let right = text.contains("DNS:a.example.com") && text.contains("TLS Web Server Authentication");
        session.found("x509 create cert", "its names and use", if right { Ok(()) } else { Err(text) });
    }
    let arguments = [key.as_str(), "--cn", "leaf", "--dns-names", "b.example.com"];
    session.step("x509 create csr", "a request", &arguments, |answer| {
        pem(answer, "CERTIFICATE REQUEST", &request)
    })?;
    openssl(session, "x509 create csr", "its signature", &["req", "-in", &request, "-noout", "-verify"]);
    let by: [(&str, &[&str]); 3] = [
        ("by the key that the CA names", &["--server-auth"]),
        ("by a key that is named", &[&ca_key, "--client-auth"]),
        ("as a CA", &["--new-ca"]),
    ];
    for (what, more) in by {
        let arguments = [&[request.as_str(), &ca], more].concat();
        let made = session.step("x509 sign", what, &arguments, |answer| pem(answer, "CERTIFICATE", &signed));
        if made.is_ok() {
            let _ = judged(session, what, &ca, &signed, more);
        }
    }
    session.check("x509 sign", "by a key that is not the CA's", &[&request, &ca, &key], |answer| {
        answer.refused(&["Error"])
    });
    let entries =
        r#"[{"serialNumber":"12345678901234567890","revocationDate":"2026-01-01T00:00:00Z","reasonCode":1}]"#;
    let revoked = home.join("revoked.json").to_string_lossy().into_owned();
    let _ = fs::write(&revoked, entries);
    let arguments = [ca.as_str(), &revoked, "--crlNumber", "42"];
    session
        .step("x509 create crl", "one certificate", &arguments, |answer| pem(answer, "X509 CRL", &list))?;
    if let Some(program) = session.openssl.clone() {
        // openssl says what it thinks of the signature on stderr, and ends with 0 either way.
        let said = super::said(&program, &["crl", "-in", &list, "-CAfile", &ca, "-noout", "-text"]);
        let right =
            said.contains("verify OK") && said.to_lowercase().contains("serial number: ab54a98ceb1f0ad2");
        session.found("x509 create crl", "its signature and entry", if right { Ok(()) } else { Err(said) });
    }
    session.check("x509 create crl", "by a key that is not the CA's", &[&ca, &revoked, &key], |answer| {
        answer.refused(&["Error"])
    });
    Ok(())
}

/// A certificate that the CA signed: the signature must hold. Its dates and uses are the client's to write.
fn judged(session: &mut Session, what: &str, ca: &str, signed: &str, more: &[&str]) -> Result<(), Missed> {
    let Some(program) = session.openssl.clone() else { return Ok(()) };
    openssl(session, "x509 sign", what, &["verify", "-no_check_time", "-CAfile", ca, signed])
        .ok_or(Missed)?;
    if tool(&program, &["verify", "-CAfile", ca, signed]).is_err() {
        session.quirk(
            "x509 sign",
            "writes no end into what it signs (openssl finds it expired), whatever --validity says",
        );
    }
    let text = openssl(session, "x509 sign", "its text", &["x509", "-in", signed, "-noout", "-text"])
        .ok_or(Missed)?;
    let right = text.contains("CN = leaf") && text.contains("DNS:b.example.com");
    session.found("x509 sign", "its names", if right { Ok(()) } else { Err(text.clone()) });
    if more.contains(&"--client-auth") && !text.contains("TLS Web Client Authentication") {
        session.quirk("x509 sign", "--client-auth does not make a certificate for clients");
    }
    Ok(())
}
