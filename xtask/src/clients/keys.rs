//! `okms keys`: making, importing, showing, and the life of keys. What is done with keys is in `crypto`.

use super::okms::Answer;
use super::table::{Missed, Session, Story};
use super::{NOBODY, code};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

/// Key material as the client takes it, base64, and its size in bits. The second one begins with a zero byte, which the client loses.
const SYMMETRIC: [(&str, u64); 4] = [
    ("YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=", 256),
    ("AAECAwQFBgcICQoLDA0ODw==", 128),
    ("YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh", 192),
    ("AAAAYWFhYWFhYWFhYWFhYQ==", 128),
];

/// All of it.
pub fn all(session: &mut Session) {
    let _ = shown(session);
    let _ = listed(session);
    let _ = exported(session);
    let _ = imported(session);
    let _ = life(session);
    refused(session);
}

/// Makes a key and gives its id.
pub fn make(session: &mut Session, name: &str, arguments: &[&str]) -> Result<String, Missed> {
    let all = [&[name, "--output", "json"], arguments].concat();
    session.step("keys generate", name, &all, |answer| id_of(&answer.json()?))
}

fn id_of(key: &Value) -> Result<String, String> {
    key["id"].as_str().map(str::to_owned).ok_or_else(|| format!("no id in {key}"))
}

/// Whether a member of `value` is as it should be.
pub fn is(value: &Value, pointer: &str, wanted: impl Into<Value>) -> Result<(), String> {
    let wanted = wanted.into();
    match value.pointer(pointer) {
        Some(found) if *found == wanted => Ok(()),
        found => Err(format!("{pointer} is {found:?}, not {wanted}")),
    }
}

fn state(session: &mut Session, key: &str, wanted: &str) {
    session.check("keys get", &format!("the key is {wanted}"), &[key, "--output", "json"], |answer| {
        is(&answer.json()?, "/attributes/state", wanted)
    });
}

/// Every type, size and curve; the aliases; the forms that `get` and `update` show.
fn shown(session: &mut Session) -> Story {
    let kinds: [(&str, &[&str], &str, Value); 9] = [
        ("oct-128", &["--size", "128"], "/size", 128.into()),
        ("oct-192", &["--type", "oct", "--size", "192"], "/size", 192.into()),
        ("oct-default", &[], "/size", 256.into()),
        ("rsa-2048", &["--type", "rsa", "--size", "2048"], "/size", 2048.into()),
        ("rsa-3072", &["--type", "rsa", "--size", "3072"], "/size", 3072.into()),
        ("rsa-4096", &["--type", "rsa", "--size", "4096"], "/size", 4096.into()),
        ("ec-256", &["--type", "ec", "--curve", "P-256"], "/curve", "P-256".into()),
        ("ec-384", &["--type", "ec", "--curve", "P-384"], "/curve", "P-384".into()),
        ("ec-521", &["--type", "ec", "--curve", "P-521"], "/curve", "P-521".into()),
    ];
    for (name, arguments, pointer, wanted) in kinds {
        let Ok(key) = make(session, name, arguments) else { continue };
        session.check("keys get", name, &[&key, "--output", "json"], |answer| {
            let key = answer.json()?;
            is(&key, pointer, wanted)?;
            is(&key, "/name", name)?;
            is(&key, "/attributes/state", "active")
        });
    }
    for alias in ["new", "gen", "create", "add"] {
        let answer = session.client.ask(&format!("keys {alias}"), &["by-alias", "--output", "json"]);
        let made = answer.map_err(|failure| failure.what).and_then(|answer| id_of(&answer.json()?).map(drop));
        session.found("keys generate", alias, made);
    }
    let key =
        make(session, "operations", &["--usage", "encrypt,decrypt,wrapKey,unwrapKey", "--context", "c"])?;
    session.check("keys get", "operations", &[&key, "--output", "json"], |answer| {
        let key = answer.json()?;
        let operations = key["operations"].as_array().cloned().unwrap_or_default();
        let found: BTreeSet<&str> = operations.iter().filter_map(Value::as_str).collect();
        let wanted = BTreeSet::from(["encrypt", "decrypt", "wrapKey", "unwrapKey"]);
        if found == wanted { Ok(()) } else { Err(format!("operations are {found:?}")) }
    });
    session.check("keys get", "as a table", &[&key], |answer| has(answer, &[&key, "operations", "active"]));
    let arguments = [key.as_str(), "--name", "renamed", "--output", "json"];
    let table = session.step("keys update", "another name", &arguments, |answer| {
        has(answer, &["renamed"])?;
        Ok(answer.json().is_err())
    });
    if matches!(table, Ok(true)) {
        session.quirk("keys update", "prints a table, whatever --output says");
    }
    session.check("keys get", "the other name", &[&key, "--output", "json"], |answer| {
        is(&answer.json()?, "/name", "renamed")
    });
    session.check("keys update", "a name that is too long", &[&key, "--name", &"n".repeat(33)], |answer| {
        answer.refused(&[code::BAD_ARGUMENT])
    });
    Ok(())
}

/// Whether all of these are in what was printed.
pub fn has(answer: &Answer, words: &[&str]) -> Result<(), String> {
    let text = answer.text()?;
    match words.iter().find(|word| !text.contains(**word)) {
        Some(word) => Err(answer.told(&format!("`{word}` is not in it"))),
        None => Ok(()),
    }
}

fn ids(answer: &Answer) -> Result<Vec<String>, String> {
    let list = answer.json()?;
    let keys = list["objects_list"].as_array().ok_or("no objects_list")?;
    keys.iter().map(id_of).collect()
}

/// Pages, and which states are in a list.
fn listed(session: &mut Session) -> Story {
    let (kept, stopped) = (make(session, "kept", &[])?, make(session, "stopped", &[])?);
    session.check("keys deactivate", "a key", &[&stopped], |answer| answer.text().map(drop));
    let active = session.step("keys list", "the active ones", &["--output", "json"], |answer| {
        let ids = ids(answer)?;
        let right = ids.contains(&kept) && !ids.contains(&stopped);
        if right { Ok(ids) } else { Err("not the active keys".to_owned()) }
    })?;
    let pages = ["--page-size", "10", "--output", "json"];
    session.check("keys list", "in pages of 10, each key once", &pages, |answer| {
        let paged = ids(answer)?;
        let once: BTreeSet<&String> = paged.iter().collect();
        let whole: BTreeSet<&String> = active.iter().collect();
        if active.len() <= 10 {
            return Err(format!("{} keys are no two pages", active.len()));
        }
        if once == whole && paged.len() == once.len() {
            Ok(())
        } else {
            Err("pages differ from the whole".into())
        }
    });
    session.check("keys list", "all states", &["--all", "--output", "json"], |answer| {
        let ids = ids(answer)?;
        if ids.contains(&kept) && ids.contains(&stopped) { Ok(()) } else { Err("a key is missing".into()) }
    });
    session.check("keys list", "as a table", &[], |answer| has(answer, &[&kept, "kept", "active"]));
    session.check("keys list", "pages that are too small", &["--page-size", "9"], |answer| {
        answer.refused(&[code::BAD_ARGUMENT])
    });
    Ok(())
}

/// The public halves, in every format.
fn exported(session: &mut Session) -> Story {
    let rsa = make(session, "export-rsa", &["--type", "rsa", "--size", "2048"])?;
    let ec = make(session, "export-ec", &["--type", "ec", "--curve", "P-256"])?;
    let oct = make(session, "export-oct", &[])?;
    let formats = [
        (&rsa, "pkix", "-----BEGIN PUBLIC KEY-----"),
        (&rsa, "pkcs1", "-----BEGIN RSA PUBLIC KEY-----"),
        (&rsa, "openssh", "ssh-rsa "),
        (&ec, "pkix", "-----BEGIN PUBLIC KEY-----"),
        (&ec, "openssh", "ecdsa-sha2-nistp256 "),
    ];
    for (key, format, begins) in formats {
        session.check("keys export", format, &[key, "--format", format], |answer| {
            if answer.text()?.starts_with(begins) { Ok(()) } else { Err(answer.told("not in the format")) }
        });
    }
    for (key, kty, private) in [(&rsa, "RSA", ["d", "p"]), (&ec, "EC", ["d", "k"])] {
        session.check("keys export", "jwk, and nothing secret in it", &[key, "--format", "jwk"], |answer| {
            let jwk = answer.json()?;
            is(&jwk, "/kty", kty)?;
            match private.iter().find(|name| jwk.get(**name).is_some_and(|value| !value.is_null())) {
                Some(name) => Err(format!("`{name}` is in it")),
                None => Ok(()),
            }
        });
    }
    session.check("keys export", "PKCS#1 of a curve", &[&ec, "--format", "pkcs1"], |answer| {
        answer.refused(&["only for RSA"])
    });
    session.check("keys export", "a symmetric key", &[&oct], |answer| answer.refused(&["no key"]));
    session.check("keys deactivate", "before export", &[&ec], |answer| answer.text().map(drop));
    session.check("keys export", "a key out of use", &[&ec], |answer| answer.refused(&["deactivated"]));
    Ok(())
}

/// Symmetric keys, private keys in each form that openssl writes, and public halves. That it is the same key is seen by a signature.
fn imported(session: &mut Session) -> Story {
    for (material, bits) in SYMMETRIC {
        let arguments =
            ["--symmetric", "--usage", "encrypt,decrypt", "imported", material, "--output", "json"];
        let key = session.step("keys import", &format!("{bits} bits"), &arguments, |answer| {
            let key = answer.json()?;
            is(&key, "/size", bits)?;
            id_of(&key)
        });
        let Ok(key) = key else { continue };
        let Ok(text) = session.step("keys encrypt", "with an imported key", &[&key, "secret"], |answer| {
            answer.text().map(str::to_owned)
        }) else {
            continue;
        };
        session.check("keys decrypt", "with an imported key", &[&key, &text], |answer| {
            if answer.text()? == "secret" { Ok(()) } else { Err(answer.told("not what was encrypted")) }
        });
    }
    let zeros = ["--symmetric", "--debug", "zeros", SYMMETRIC[1].0, "--output", "json"];
    let sent = session.step("keys import", "what is sent of zero bytes in front", &zeros, |answer| {
        answer.text()?;
        Ok(answer.err.contains("AQIDBAUGBwgJCgsMDQ4P") && !answer.err.contains("AAECAwQFBgcICQoLDA0ODw"))
    });
    if matches!(sent, Ok(true)) {
        session.quirk(
            "keys import",
            "loses zero bytes in front of a symmetric key; the service puts up to 3 back",
        );
    }
    let original = make(session, "original", &["--type", "ec", "--curve", "P-384"])?;
    let public = session.step("keys export", "to import it", &[&original], |answer| {
        answer.text().map(|text| format!("{text}\n"))
    })?;
    let file = session.client.home.join("public.pem");
    let _ = fs::write(&file, public);
    let half = pem(session, "public half", &file.to_string_lossy(), "verify")?;
    signed_and_verified(session, &original, &half, "ES384");
    let Some(openssl) = session.openssl.clone() else {
        session.quirk("keys import", "not tried with private keys: there is no openssl to make them");
        return Ok(());
    };
    let forms: [(&str, &str, &[&str]); 4] = [
        ("RSA in PKCS#8", "RS256", &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        ("RSA in PKCS#1", "PS256", &["genrsa", "-traditional", "2048"]),
        ("P-256 in PKCS#8", "ES256", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("P-521 in SEC 1", "ES512", &["ecparam", "-genkey", "-noout", "-name", "secp521r1"]),
    ];
    for (what, algorithm, made_by) in forms {
        let (private, public) =
            (session.client.home.join("private.pem"), session.client.home.join("half.pem"));
        let (private, public) =
            (private.to_string_lossy().into_owned(), public.to_string_lossy().into_owned());
        let done = super::tool(&openssl, &[&made_by[..1], &["-out", &private], &made_by[1..]].concat())
            .and_then(|_| super::tool(&openssl, &["pkey", "-in", &private, "-pubout", "-out", &public]));
        if let Err(why) = done {
            session.found("keys import", what, Err(why));
            continue;
        }
        let Ok(key) = pem(session, what, &private, "sign,verify") else { continue };
        let Ok(half) = pem(session, &format!("{what}, public half"), &public, "verify") else { continue };
        signed_and_verified(session, &key, &half, algorithm);
    }
    Ok(())
}

fn pem(session: &mut Session, what: &str, file: &str, usage: &str) -> Result<String, Missed> {
    let arguments = ["--usage", usage, "imported", &format!("@{file}"), "--output", "json"];
    session.step("keys import", what, &arguments, |answer| id_of(&answer.json()?))
}

/// A signature by one key is one to the other.
fn signed_and_verified(session: &mut Session, key: &str, half: &str, algorithm: &str) {
    let arguments = ["--alg", algorithm, "--no-progress", key, "of the two"];
    let Ok(signature) =
        session.step("keys sign", "with a key whose half is elsewhere", &arguments, |answer| {
            answer.text().map(str::to_owned)
        })
    else {
        return;
    };
    let arguments = ["--alg", algorithm, "--no-progress", half, "of the two", &signature];
    session.check("keys verify", "with the half that was imported", &arguments, |answer| {
        has(answer, &["Signature is valid"])
    });
}

/// The states, and every reason that leads to one.
fn life(session: &mut Session) -> Story {
    let reasons = [
        ("unspecified", "deactivated"),
        ("affiliation_changed", "deactivated"),
        ("superseded", "deactivated"),
        ("cessation_of_operation", "deactivated"),
        ("privilege_withdrawn", "deactivated"),
        ("key_compromise", "compromised"),
        ("ca_compromise", "compromised"),
    ];
    for (reason, wanted) in reasons {
        let Ok(key) = make(session, reason, &[]) else { continue };
        session
            .check("keys deactivate", reason, &[&key, "--reason", reason], |answer| answer.text().map(drop));
        state(session, &key, wanted);
    }
    let (one, two) = (make(session, "one", &[])?, make(session, "two", &[])?);
    session.check("keys activate", "an active key", &[&one], |answer| answer.text().map(drop));
    session.check("keys delete", "an active key", &[&one], |answer| answer.refused(&[code::WRONG_STATE]));
    session.check("keys deactivate", "two keys", &[&one, &two], |answer| answer.text().map(drop));
    state(session, &one, "deactivated");
    session.check("keys encrypt", "with a key out of use", &[&one, "x"], |answer| {
        answer.refused(&[code::WRONG_STATE])
    });
    session.check(
        "keys deactivate",
        "compromised afterwards",
        &[&two, "--reason", "key_compromise"],
        |answer| answer.text().map(drop),
    );
    state(session, &two, "compromised");
    session.check("keys activate", "two keys", &[&one, &two], |answer| answer.text().map(drop));
    session.check("keys get", "no trace of the compromise", &[&two, "--output", "json"], |answer| {
        let key = answer.json()?;
        is(&key, "/attributes/state", "active")?;
        let date = key.pointer("/attributes/compromise_date");
        if date.is_none_or(Value::is_null) { Ok(()) } else { Err("there is a compromise date".into()) }
    });
    session.check("keys deactivate", "before it is deleted", &[&one], |answer| answer.text().map(drop));
    session.check("keys delete", "a key out of use", &[&one], |answer| answer.text().map(drop));
    session.check("keys delete", "--force on an active key", &[&two, "--force"], |answer| {
        answer.text().map(drop)
    });
    for key in [&one, &two] {
        state(session, key, "destroyed");
        session
            .check("keys activate", "a destroyed key", &[key], |answer| answer.refused(&[code::WRONG_STATE]));
    }
    session.check("keys list", "destroyed ones are not in it", &["--output", "json"], |answer| {
        let ids = ids(answer)?;
        if ids.contains(&one) || ids.contains(&two) { Err("a destroyed key is".into()) } else { Ok(()) }
    });
    Ok(())
}

/// What must not be done, and how the client is told.
fn refused(session: &mut Session) {
    let hsm = ["hsm", "--type", "ec", "--curve", "P-256", "--protectionLevel", "hsm"];
    session
        .check("keys generate", "protection level HSM", &hsm, |answer| answer.refused(&[code::NOT_OFFERED]));
    let wrong_use = ["wrong", "--type", "ec", "--curve", "P-256", "--usage", "encrypt"];
    session.check("keys generate", "a curve that encrypts", &wrong_use, |answer| {
        answer.refused(&[code::BAD_ARGUMENT])
    });
    session.check("keys generate", "a size that is none", &["odd", "--size", "100"], |answer| {
        answer.refused(&[code::BAD_ARGUMENT])
    });
    let unknown: [(&str, &[&str]); 9] = [
        ("keys get", &[NOBODY]),
        ("keys export", &[NOBODY]),
        ("keys update", &[NOBODY, "--name", "n"]),
        ("keys activate", &[NOBODY]),
        ("keys deactivate", &[NOBODY]),
        ("keys delete", &[NOBODY]),
        ("keys encrypt", &[NOBODY, "x"]),
        ("keys datakeys new", &[NOBODY]),
        ("keys sign", &["--alg", "ES256", "--no-progress", NOBODY, "x"]),
    ];
    for (command, arguments) in unknown {
        session.check(command, "a key that is not there", arguments, |answer| {
            answer.refused(&[code::KEY_NOT_FOUND])
        });
    }
    session.check("keys import", "neither PEM nor base64", &["--symmetric", "bad", "%%%"], |answer| {
        answer.refused(&[])
    });
}
