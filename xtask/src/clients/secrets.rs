//! `okms secrets` (the native interface) and `okms vault` (Vault's KV version 2): what one writes, the other reads.

use super::code;
use super::keys::{has, is};
use super::okms::Answer;
use super::table::{Session, Story};
use serde_json::Value;
use std::fs;

/// All of it.
pub fn all(session: &mut Session) {
    let _ = settings(session);
    let _ = native(session);
    let _ = versions(session);
    let _ = vault(session);
    let _ = vault_states(session);
    let _ = vault_metadata(session);
}

fn well(answer: &Answer) -> Result<(), String> {
    answer.text().map(drop)
}

/// A path of this session's own: the one with a token must find nothing of the one with a certificate.
fn path(session: &Session, name: &str) -> String {
    format!("clients/{}/{name}", session.how)
}

/// A file with an object of several levels.
fn nested(session: &Session) -> String {
    let file = session.client.home.join("nested.json");
    let _ = fs::write(&file, r#"{"database":{"user":"u","password":{"old":"o","new":"n"}},"plain":"p"}"#);
    format!("@{}", file.display())
}

/// What holds for every secret: written through the one, read through the other, and taken back.
fn settings(session: &mut Session) -> Story {
    let some = ["--max-versions", "24", "--deactivate-after", "1d", "--cas-required=false"];
    session.step("secrets config update", "some", &some, well)?;
    session.check("secrets config get", "what was set", &["--output", "json"], |answer| {
        let found = answer.json()?;
        is(&found, "/maxVersions", 24)?;
        is(&found, "/deactivateVersionAfter", "1d")?;
        is(&found, "/casRequired", false)
    });
    session.check("secrets config get", "as a table", &[], |answer| has(answer, &["24", "1d"]));
    let other = ["--max-versions", "12", "--delete-after", "2h", "--cas-required=true"];
    session.step("vault config write", "other ones", &other, well)?;
    session.check("vault config read", "what was set", &["--output", "json"], |answer| {
        let found = answer.json()?;
        is(&found, "/data/max_versions", 12)?;
        is(&found, "/data/delete_version_after", "2h")?;
        is(&found, "/data/cas_required", true)
    });
    session.check("vault config read", "as a table", &[], |answer| has(answer, &["12", "2h"]));
    session.check(
        "secrets create",
        "cas is required of a new version",
        &[&path(session, "strict"), "a=b"],
        well,
    );
    session.check("vault put", "without cas", &[&path(session, "strict"), "a=c"], |answer| {
        answer.refused(&[code::CAS_REQUIRED])
    });
    let none = ["--max-versions", "0", "--delete-after", "0s", "--cas-required=false"];
    session.step("vault config write", "back", &none, well)?;
    session.check("vault config write", "a time that is none", &["--delete-after", "soon"], |answer| {
        answer.refused(&[code::BAD_ARGUMENT])
    });
    Ok(())
}

/// A secret as a whole.
fn native(session: &mut Session) -> Story {
    let at = path(session, "native");
    let arguments = [
        "--cas-required=true",
        "--max-versions",
        "10",
        "--deactivate-version-after",
        "1d",
        "--custom-metadata",
        "team=a",
        &at,
        "user=u",
        "password=p1",
        "--output",
        "json",
    ];
    session.step("secrets create", "with metadata", &arguments, |answer| {
        let made = answer.json()?;
        is(&made, "/path", at.as_str())?;
        is(&made, "/metadata/currentVersion", 1)?;
        is(&made, "/metadata/oldestVersion", 0)?;
        is(&made, "/metadata/casRequired", true)?;
        is(&made, "/metadata/maxVersions", 10)?;
        is(&made, "/metadata/deactivateVersionAfter", "1d")
    })?;
    session.check("secrets create", "one that is there", &[&at, "a=b"], |answer| {
        answer.refused(&[code::CONFLICT])
    });
    session.check("secrets get", "with data", &[&at, "--output", "json"], |answer| {
        let found = answer.json()?;
        is(&found, "/version/id", 1)?;
        is(&found, "/version/data/password", "p1")?;
        is(&found, "/metadata/customMetadata/team", "a")
    });
    session.check("secrets get", "as tables", &[&at], |answer| has(answer, &[&at, "password", "p1"]));
    session.check(
        "secrets get",
        "without data",
        &[&at, "--include-data=false", "--output", "json"],
        |answer| {
            let found = answer.json()?;
            let data = found.pointer("/version/data");
            if data.is_none_or(Value::is_null) { Ok(()) } else { Err("there is data".into()) }
        },
    );
    for (what, more, refused) in
        [("without cas", &[][..], code::CAS_REQUIRED), ("another cas", &["--cas", "7"], code::CAS_MISMATCH)]
    {
        session.check("secrets update", what, &[&[at.as_str(), "password=p2"], more].concat(), |answer| {
            answer.refused(&[refused])
        });
    }
    let arguments = ["--cas", "1", &at, "password=p2", "--output", "json"];
    session.step("secrets update", "with cas", &arguments, |answer| {
        is(&answer.json()?, "/metadata/currentVersion", 2)
    })?;
    let now = session.step("secrets get", "the new version", &[&at, "--output", "json"], |answer| {
        let found = answer.json()?;
        is(&found, "/version/data", serde_json::json!({ "password": "p2" }))?;
        Ok(found.pointer("/metadata/customMetadata/team").is_some())
    });
    if matches!(now, Ok(false)) {
        session.quirk("secrets update", "without --custom-metadata sends an empty one, which takes it away");
    }
    session.check("secrets get", "the old version", &[&at, "--version", "1", "--output", "json"], |answer| {
        is(&answer.json()?, "/version/data/password", "p1")
    });
    let arguments = ["--cas", "2", "--cas-required=false", "--max-versions", "5", &at, "password=p3"];
    session.check("secrets update", "data and metadata", &arguments, well);
    session.check("secrets get", "metadata that was changed", &[&at, "--output", "json"], |answer| {
        let found = answer.json()?;
        is(&found, "/metadata/casRequired", false)?;
        is(&found, "/metadata/maxVersions", 5)?;
        is(&found, "/version/data/password", "p3")
    });
    session.check("secrets list", "it is in it", &["--output", "json"], |answer| {
        let list = answer.json()?;
        let secrets = list.as_array().ok_or("not a list")?;
        let there = secrets.iter().any(|secret| secret["path"] == at.as_str());
        if there { Ok(()) } else { Err(format!("{at} is not in it")) }
    });
    session.check("secrets list", "as a table", &[], |answer| has(answer, &[&at]));
    session.check("vault get", "what the native interface wrote", &[&at, "--output", "json"], |answer| {
        is(&answer.json()?, "/data/data/password", "p3")
    });
    session.check("secrets create", "a file", &[&path(session, "file"), &nested(session)], well);
    session.check(
        "secrets get",
        "what came from a file",
        &[&path(session, "file"), "--output", "json"],
        |answer| is(&answer.json()?, "/version/data/database/password/new", "n"),
    );
    session.check("secrets create", "a path that is none", &["a//b", "a=b"], |answer| {
        answer.refused(&[code::BAD_ARGUMENT])
    });
    session.step("secrets delete", "it", &[&at], |answer| has(answer, &["successfully deleted"]))?;
    for command in ["secrets get", "secrets delete", "secrets version list", "vault get"] {
        session.check(command, "what is not there any more", &[&at], |answer| {
            answer.refused(&[code::SECRET_NOT_FOUND])
        });
    }
    session.check("secrets update", "what is not there any more", &[&at, "a=b"], |answer| {
        answer.refused(&[code::SECRET_NOT_FOUND])
    });
    Ok(())
}

/// Versions one by one, and their states.
fn versions(session: &mut Session) -> Story {
    let at = path(session, "versions");
    session.step("secrets create", "for versions", &[&at, "n=1"], well)?;
    session.step("secrets version create", "a second", &[&at, "n=2", "--output", "json"], |answer| {
        let made = answer.json()?;
        is(&made, "/id", 2)?;
        is(&made, "/state", "active")
    })?;
    session.check("secrets version create", "a third, with cas", &[&at, "--cas", "2", "n=3"], well);
    session.check("secrets version create", "another cas", &[&at, "--cas", "1", "n=4"], |answer| {
        answer.refused(&[code::CAS_MISMATCH])
    });
    session.check("secrets version list", "three", &[&at, "--output", "json"], |answer| {
        let list = answer.json()?;
        let numbers: Vec<u64> =
            list.as_array().ok_or("not a list")?.iter().filter_map(|v| v["id"].as_u64()).collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        if sorted == [1, 2, 3] { Ok(()) } else { Err(format!("versions {numbers:?}")) }
    });
    let second = [at.as_str(), "--version", "2", "--output", "json"];
    session.check("secrets version get", "without data", &second, |answer| {
        let found = answer.json()?;
        is(&found, "/id", 2)?;
        if found["data"].is_null() { Ok(()) } else { Err("there is data".into()) }
    });
    let with_data = [&second[..], &["--include-data"]].concat();
    session
        .check("secrets version get", "with data", &with_data, |answer| is(&answer.json()?, "/data/n", "2"));
    session.check("secrets version get", "one that is not there", &[&at, "--version", "9"], |answer| {
        answer.refused(&[code::VERSION_NOT_FOUND])
    });
    let state = |wanted: &'static str| move |answer: &Answer| is(&answer.json()?, "/state", wanted);
    let to = |name: &'static str| [&second[..], &["--state", name]].concat();
    session.check("secrets version update", "deactivated", &to("deactivated"), state("deactivated"));
    session.check("secrets version get", "no data of one out of use", &with_data, |answer| {
        let found = answer.json()?;
        is(&found, "/state", "deactivated")?;
        if found["data"].is_null() { Ok(()) } else { Err("there is data".into()) }
    });
    session.check("secrets version update", "active", &to("active"), state("active"));
    session
        .check("secrets version get", "data again", &with_data, |answer| is(&answer.json()?, "/data/n", "2"));
    session.check("secrets version deactivate", "the second", &second, state("deactivated"));
    session.check("secrets version activate", "the second", &second, state("active"));
    session.check("secrets version delete", "the second", &second, state("deleted"));
    session.check("secrets version activate", "one that is deleted", &second, |answer| {
        answer.refused(&[code::VERSION_DELETED])
    });
    session.check("secrets version update", "deleted, again", &to("deleted"), state("deleted"));
    session.check(
        "secrets get",
        "the others are as they were",
        &[&at, "--version", "3", "--output", "json"],
        |answer| is(&answer.json()?, "/version/data/n", "3"),
    );
    Ok(())
}

/// Data: written, read, merged, looked into.
fn vault(session: &mut Session) -> Story {
    let at = path(session, "vault");
    session.step(
        "vault put",
        "the first",
        &[&at, "--cas", "0", "a=1", "b=2", "--output", "json"],
        |answer| is(&answer.json()?, "/data/version", 1),
    )?;
    session.check("vault put", "cas 0 where there is one", &[&at, "--cas", "0", "a=1"], |answer| {
        answer.refused(&[code::CAS_MISMATCH])
    });
    session.step("vault put", "the second", &[&at, "--cas", "1", "a=3", "b=4"], |answer| {
        has(answer, &["Version"])
    })?;
    session.check("vault get", "the newest", &[&at, "--output", "json"], |answer| {
        let found = answer.json()?;
        is(&found, "/data/data", serde_json::json!({ "a": "3", "b": "4" }))?;
        is(&found, "/data/metadata/version", 2)
    });
    session.check("vault get", "the first", &[&at, "--version", "1", "--output", "json"], |answer| {
        is(&answer.json()?, "/data/data/a", "1")
    });
    session.check("vault get", "as tables", &[&at], |answer| has(answer, &["Metadata", "Data", "a", "3"]));
    session.step("vault patch", "one member", &[&at, "b=5", "--output", "json"], |answer| {
        is(&answer.json()?, "/data/version", 3)
    })?;
    session.check("vault get", "the other member is as it was", &[&at, "--output", "json"], |answer| {
        is(&answer.json()?, "/data/data", serde_json::json!({ "a": "3", "b": "5" }))
    });
    session.check("vault patch", "another cas", &[&at, "--cas", "1", "b=6"], |answer| {
        answer.refused(&[code::CAS_MISMATCH])
    });
    session.check("vault patch", "where there is none", &[&path(session, "none"), "b=6"], |answer| {
        answer.refused(&[code::SECRET_NOT_FOUND])
    });
    session.check("secrets get", "what Vault's interface wrote", &[&at, "--output", "json"], |answer| {
        is(&answer.json()?, "/version/data/b", "5")
    });
    let deep = path(session, "deep");
    session.step("vault put", "a file", &[&deep, &nested(session)], well)?;
    session.check("vault subkeys", "all levels, and no values", &[&deep, "--output", "json"], |answer| {
        let found = answer.json()?;
        let wanted = serde_json::json!({ "database": { "user": null, "password": { "old": null, "new": null } }, "plain": null });
        is(&found, "/data/subkeys", wanted)
    });
    session.check("vault subkeys", "two levels", &[&deep, "--depth", "2", "--output", "json"], |answer| {
        let wanted = serde_json::json!({ "database": { "user": null, "password": null }, "plain": null });
        is(&answer.json()?, "/data/subkeys", wanted)
    });
    session.check("vault subkeys", "of a version", &[&at, "--version", "1", "--output", "json"], |answer| {
        is(&answer.json()?, "/data/subkeys", serde_json::json!({ "a": null, "b": null }))
    });
    session.check("vault subkeys", "where there is none", &[&path(session, "none")], |answer| {
        answer.refused(&[code::SECRET_NOT_FOUND])
    });
    Ok(())
}

/// Versions that are deleted, come back, and are destroyed.
fn vault_states(session: &mut Session) -> Story {
    let at = path(session, "states");
    for text in ["n=1", "n=2", "n=3"] {
        session.step("vault put", "for its states", &[&at, text], well)?;
    }
    let read = |session: &mut Session, version: &str, there: bool| {
        let arguments = [at.as_str(), "--version", version, "--output", "json"];
        session.check("vault get", &format!("version {version}, there: {there}"), &arguments, |answer| {
            if there {
                return is(&answer.json()?, "/data/data/n", version);
            }
            // 404 is answered with the version's metadata in it.
            answer.refused(&["Error"])
        });
    };
    session.step("vault delete", "the newest", &[&at], well)?;
    read(session, "3", false);
    read(session, "2", true);
    session.step("vault undelete", "the newest", &[&at, "--versions", "3"], well)?;
    read(session, "3", true);
    session.step("vault delete", "two versions", &[&at, "--versions", "1,2"], well)?;
    read(session, "1", false);
    read(session, "2", false);
    session.step("vault undelete", "two versions", &[&at, "--versions", "1,2"], well)?;
    read(session, "1", true);
    session.step("vault destroy", "one version", &[&at, "--versions", "1"], well)?;
    read(session, "1", false);
    read(session, "2", true);
    session.check("vault metadata get", "one is destroyed", &[&at, "--output", "json"], |answer| {
        let found = answer.json()?;
        is(&found, "/data/versions/1/destroyed", true)?;
        is(&found, "/data/versions/2/destroyed", false)
    });
    for command in ["vault delete", "vault undelete", "vault destroy"] {
        let nowhere = path(session, "none");
        session.check(command, "where there is none", &[&nowhere, "--versions", "1"], |answer| {
            answer.refused(&[code::SECRET_NOT_FOUND])
        });
    }
    Ok(())
}

/// Metadata without data.
fn vault_metadata(session: &mut Session) -> Story {
    let at = path(session, "metadata");
    let arguments = [
        at.as_str(),
        "--max-versions",
        "3",
        "--delete-after",
        "10h",
        "--cas-required=true",
        "--custom-metadata",
        "a=1",
        "--custom-metadata",
        "b=2",
    ];
    session.step("vault metadata put", "where there was none", &arguments, well)?;
    session.check("vault metadata get", "what was put", &[&at, "--output", "json"], |answer| {
        let found = answer.json()?;
        is(&found, "/data/max_versions", 3)?;
        is(&found, "/data/delete_version_after", "10h")?;
        is(&found, "/data/cas_required", true)?;
        is(&found, "/data/current_version", 0)?;
        is(&found, "/data/custom_metadata", serde_json::json!({ "a": "1", "b": "2" }))
    });
    session.check("vault metadata get", "as a table", &[&at], |answer| has(answer, &["10h", "true"]));
    let arguments = [at.as_str(), "--cas-required=false", "--custom-metadata", "b=3"];
    session.step("vault metadata patch", "two members", &arguments, well)?;
    session.check(
        "vault metadata get",
        "the others are as they were",
        &[&at, "--output", "json"],
        |answer| {
            let found = answer.json()?;
            is(&found, "/data/max_versions", 3)?;
            is(&found, "/data/cas_required", false)?;
            is(&found, "/data/custom_metadata", serde_json::json!({ "a": "1", "b": "3" }))
        },
    );
    for text in ["n=1", "n=2", "n=3", "n=4"] {
        session.step("vault put", "more than are kept", &[&at, text], well)?;
    }
    session.check("vault get", "the oldest is gone", &[&at, "--version", "1"], |answer| {
        answer.refused(&["Error"])
    });
    session.check("vault metadata get", "three are kept", &[&at, "--output", "json"], |answer| {
        let found = answer.json()?;
        is(&found, "/data/oldest_version", 2)?;
        is(&found, "/data/current_version", 4)
    });
    session.check(
        "vault metadata patch",
        "where there is none",
        &[&path(session, "none"), "--max-versions", "1"],
        |answer| answer.refused(&[code::SECRET_NOT_FOUND]),
    );
    session.step("vault metadata delete", "all of it", &[&at], well)?;
    for command in ["vault metadata get", "vault get", "secrets get"] {
        session.check(command, "what is not there any more", &[&at], |answer| {
            answer.refused(&[code::SECRET_NOT_FOUND])
        });
    }
    Ok(())
}
