//! `okms keys`: what is done with keys: encryption, data keys, signatures.

use super::keys::{has, is, make};
use super::table::{Session, Story};
use super::{NOBODY, code};
use std::fs;
use std::path::PathBuf;

/// The largest plaintext, in bytes.
const PLAINTEXT_BYTES: usize = 4096;
/// What is encrypted by data keys: more than one block of the client's (4 MiB).
const LARGE_BYTES: usize = 5 << 20;

/// All of it.
pub fn all(session: &mut Session) {
    let _ = encrypted(session);
    let _ = data_keys(session);
    let _ = signed(session);
}

fn same(found: &str, wanted: &str) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{found:?} is not {wanted:?}")) }
}

/// Files of the run, each with what is in it.
fn file(session: &Session, name: &str, bytes: &[u8]) -> (PathBuf, String) {
    let path = session.client.home.join(name);
    let _ = fs::write(&path, bytes);
    let argument = format!("@{}", path.display());
    (path, argument)
}

/// Text, files, contexts, the largest plaintext; and what must not open.
fn encrypted(session: &mut Session) -> Story {
    let key = make(session, "encrypts", &["--usage", "encrypt,decrypt"])?;
    let other = make(session, "other", &["--usage", "encrypt,decrypt"])?;
    let text = session.step("keys encrypt", "text", &[&key, "Hello World !!!"], |answer| {
        let text = answer.text()?;
        if text.split('.').count() == 5 { Ok(text.to_owned()) } else { Err(answer.told("not a compact JWE")) }
    })?;
    session.check("keys decrypt", "text", &[&key, &text], |answer| same(answer.text()?, "Hello World !!!"));
    session.check("keys decrypt", "as JSON", &[&key, &text, "--output", "json"], |answer| {
        is(&answer.json()?, "", "SGVsbG8gV29ybGQgISEh")
    });
    session.check("keys encrypt", "as JSON", &[&key, "x", "--output", "json"], |answer| {
        answer.json()?.as_str().map(drop).ok_or_else(|| "no string".to_owned())
    });
    session.check("keys decrypt", "with another key", &[&other, &text], |answer| {
        answer.refused(&[code::DECRYPT_FAILED])
    });
    let mut torn = text.clone();
    let last = if torn.pop() == Some('A') { 'B' } else { 'A' };
    // The last character holds spare bits: one in front of it too.
    torn.pop();
    torn.push(if text.as_bytes()[text.len() - 2] == b'A' { 'B' } else { 'A' });
    torn.push(last);
    session.check("keys decrypt", "a ciphertext that was changed", &[&key, &torn], |answer| {
        answer.refused(&[code::DECRYPT_FAILED])
    });
    let arguments = [key.as_str(), "in context", "--context", "ctx"];
    let bound = session
        .step("keys encrypt", "with a context", &arguments, |answer| answer.text().map(str::to_owned))?;
    session.check("keys decrypt", "with its context", &[&key, &bound, "--context", "ctx"], |answer| {
        same(answer.text()?, "in context")
    });
    for (what, more) in [("without its context", &[][..]), ("with another context", &["--context", "else"])] {
        session.check("keys decrypt", what, &[&[key.as_str(), &bound], more].concat(), |answer| {
            answer.refused(&[code::DECRYPT_FAILED])
        });
    }
    let bytes: Vec<u8> = (0..PLAINTEXT_BYTES).map(|n| u8::try_from(n % 251).unwrap_or(0)).collect();
    let (_, input) = file(session, "plain.bin", &bytes);
    let (sealed, opened) = (session.client.home.join("sealed.jwe"), session.client.home.join("opened.bin"));
    let (to, back) = (sealed.display().to_string(), opened.display().to_string());
    session.step("keys encrypt", "a file of 4096 bytes, to a file", &[&key, &input, &to], |answer| {
        answer.text().map(drop)
    })?;
    session.check("keys decrypt", "a file of 4096 bytes", &[&key, &format!("@{to}"), &back], |answer| {
        answer.text()?;
        if fs::read(&opened).is_ok_and(|found| found == bytes) {
            Ok(())
        } else {
            Err("not the same bytes".into())
        }
    });
    let (_, input) = file(session, "larger.bin", &vec![7; PLAINTEXT_BYTES + 1]);
    session
        .check("keys encrypt", "4097 bytes", &[&key, &input], |answer| answer.refused(&[code::BAD_ARGUMENT]));
    let signs = make(session, "signs", &["--type", "ec", "--curve", "P-256"])?;
    session.check("keys encrypt", "with a key that signs", &[&signs, "x"], |answer| {
        answer.refused(&[code::NOT_OF_THE_KEY])
    });
    Ok(())
}

/// Data keys, and what the client encrypts with them itself.
fn data_keys(session: &mut Session) -> Story {
    let key = make(session, "wraps", &["--usage", "wrapKey,unwrapKey"])?;
    for (bits, characters) in [("256", 44), ("64", 12), ("4096", 684)] {
        let arguments = [key.as_str(), "--size", bits, "--name", "dk", "--output", "json"];
        let (plain, sealed) = session.step("keys datakeys new", bits, &arguments, |answer| {
            let made = answer.json()?;
            let text = |name: &str| made[name].as_str().map(str::to_owned).ok_or(format!("no {name}"));
            Ok((text("plain")?, text("encrypted")?))
        })?;
        let length =
            if plain.len() == characters { Ok(()) } else { Err(format!("{} characters", plain.len())) };
        session.found("keys datakeys new", "its length", length);
        session.check("keys datakeys decrypt", bits, &[&key, &sealed, "--output", "json"], |answer| {
            is(&answer.json()?, "", plain.as_str())
        });
        session.check("keys datakeys decrypt", "as a table", &[&key, &sealed], |answer| {
            // Longer ones are broken into lines.
            if characters > 44 { answer.text().map(drop) } else { has(answer, &[&plain]) }
        });
    }
    session.check("keys datakeys new", "as text", &[&key], |answer| {
        has(answer, &["Plain key: ", "Encrypted key: "])
    });
    session.check("keys datakeys new", "65 bits", &[&key, "--size", "65"], |answer| {
        answer.refused(&[code::BAD_ARGUMENT])
    });
    session.check("keys datakeys decrypt", "what is no data key", &[&key, "a.b.c.d.e"], |answer| {
        answer.refused(&["Error"])
    });
    session.check(
        "keys datakeys decrypt",
        "with a key that is not there",
        &[NOBODY, "a.b.c.d.e"],
        |answer| answer.refused(&["Error"]),
    );
    let bytes: Vec<u8> = (0..LARGE_BYTES).map(|n| u8::try_from(n % 253).unwrap_or(0)).collect();
    let (_, input) = file(session, "large.bin", &bytes);
    let home = session.client.home.clone();
    for (what, more) in
        [("--dk", &[][..]), ("--dk, base64", &["--base64"]), ("--dk, a context", &["--context", "c"])]
    {
        let (sealed, opened) = (home.join("large.sealed"), home.join("large.opened"));
        let (to, back) = (sealed.display().to_string(), opened.display().to_string());
        let common = ["--dk", "--no-progress", &key];
        let arguments = [&common[..], &[&input, &to], more].concat();
        let Ok(()) = session.step("keys encrypt", what, &arguments, |answer| answer.text().map(drop)) else {
            continue;
        };
        let from = format!("@{to}");
        session.check("keys decrypt", what, &[&common[..], &[&from, &back], more].concat(), |answer| {
            answer.text()?;
            if fs::read(&opened).is_ok_and(|found| found == bytes) {
                Ok(())
            } else {
                Err("not the same bytes".into())
            }
        });
        if more.first() == Some(&"--context") {
            let arguments = [&common[..], &[&from, &back, "--context", "else"]].concat();
            session.check("keys decrypt", "--dk, another context", &arguments, |answer| {
                answer.refused(&["Error"])
            });
        }
    }
    Ok(())
}

/// All nine algorithms: a signature holds, at the service and at the client; another text, another signature and another algorithm do not.
fn signed(session: &mut Session) -> Story {
    let kinds: [(&[&str], &[&str], &str); 4] = [
        (
            &["--type", "rsa", "--size", "2048"],
            &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
            "ES256",
        ),
        (&["--type", "ec", "--curve", "P-256"], &["ES256"], "ES384"),
        (&["--type", "ec", "--curve", "P-384"], &["ES384"], "ES512"),
        (&["--type", "ec", "--curve", "P-521"], &["ES512"], "RS256"),
    ];
    for (how, algorithms, wrong) in kinds {
        let Ok(key) = make(session, "signs", how) else { continue };
        for algorithm in algorithms {
            let _ = signature(session, &key, algorithm, wrong);
        }
    }
    let help = session.client.help("keys sign").unwrap_or_default();
    if help.contains("When --digest is unset") && !help.contains("  --digest ") {
        session
            .quirk("keys sign", "its help speaks of digests and --digest; it always hashes what it is given");
    }
    if !help.contains("  --format ") {
        session.quirk("keys sign", "has no --format: jws and jwt cannot be asked for");
    }
    Ok(())
}

fn signature(session: &mut Session, key: &str, algorithm: &str, wrong: &str) -> Story {
    let common = ["--no-progress", "--alg", algorithm, key];
    let ask = |more: &[&'static str]| [&common[..], more].concat();
    let signature =
        session.step("keys sign", algorithm, &ask(&["hello"]), |answer| answer.text().map(str::to_owned))?;
    let signature = signature.as_str();
    session.check(
        "keys sign",
        &format!("{algorithm} as JSON"),
        &ask(&["hello", "--output", "json"]),
        |answer| answer.json()?.as_str().map(drop).ok_or_else(|| "no string".to_owned()),
    );
    let with = |text: &'static str, more: &[&'static str]| [&common[..], &[text, signature], more].concat();
    session
        .check("keys verify", algorithm, &with("hello", &[]), |answer| has(answer, &["Signature is valid"]));
    session.check(
        "keys verify",
        &format!("{algorithm} as JSON"),
        &with("hello", &["--output", "json"]),
        |answer| is(&answer.json()?, "", true),
    );
    session.check("keys verify", &format!("{algorithm} --local"), &with("hello", &["--local"]), |answer| {
        has(answer, &["Signature is valid"])
    });
    session.check(
        "keys verify",
        &format!("{algorithm} of another text"),
        &with("hallo", &["--output", "json"]),
        |answer| {
            answer.refused(&["Signature invalid"])?;
            same(answer.out.trim(), "false")
        },
    );
    session.check(
        "keys verify",
        &format!("{algorithm} of another text, --local"),
        &with("hallo", &["--local"]),
        |answer| answer.refused(&["Error"]),
    );
    let noise = [&common[..], &["hello", "YmFkIHNpZ25hdHVyZQo="]].concat();
    session.check("keys verify", &format!("{algorithm}: noise"), &noise, |answer| {
        answer.refused(&["Signature invalid"])
    });
    let arguments = ["--no-progress", "--alg", wrong, key, "hello"];
    session.check("keys sign", "an algorithm of other keys", &arguments, |answer| {
        answer.refused(&[code::BAD_ARGUMENT])
    });
    let arguments = ["--no-progress", "--alg", wrong, key, "hello", signature];
    session.check("keys verify", "an algorithm of other keys", &arguments, |answer| {
        answer.refused(&[code::BAD_ARGUMENT])
    });
    Ok(())
}
