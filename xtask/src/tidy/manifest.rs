//! Dependencies and scenario files: reasons given, names in order, nothing in production that belongs to a
//! simulator.

use super::{Finding, Outcome, Tree};
use crate::shell::{World, cargo};

/// Each dependency of the workspace says why it is there, and everything is locked to crates.io.
pub fn reasons(tree: &Tree, outcome: &mut Outcome) {
    for (line, name) in unreasoned(&tree.text("Cargo.toml")) {
        let what = format!("dependency `{name}` without a reason: add `# why` to its line");
        outcome.findings.push(Finding::new("Cargo.toml", line, what));
    }
    for (number, line) in tree.text("Cargo.lock").lines().enumerate() {
        if line.starts_with("source = ") && !line.contains("github.com/rust-lang/crates.io-index") {
            outcome.findings.push(Finding::new("Cargo.lock", number + 1, "a source other than crates.io"));
        }
    }
}

fn unreasoned(manifest: &str) -> Vec<(usize, String)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (number, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.trim() == "[workspace.dependencies]";
        } else if inside
            && let Some((name, value)) = line.split_once('=')
            && !line.starts_with('#')
            && !line.contains('#')
            && !value.contains("path =")
        {
            found.push((number + 1, name.trim().to_owned()));
        }
    }
    found
}

/// The graph of `kms` alone holds no simulator, no provider whose randomness nothing can repeat, and no
/// clock that tests can turn.
pub fn production(tree: &Tree, outcome: &mut Outcome) {
    let arguments = ["tree", "-p", "kms", "-e", "normal,build,features", "--prefix", "none"];
    let graph = match cargo(&tree.root, World::Real, &arguments).output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            return outcome.findings.push(Finding::new("kms/Cargo.toml", 0, format!("cargo tree: {error}")));
        }
        Err(error) => {
            return outcome.findings.push(Finding::new("kms/Cargo.toml", 0, format!("cargo tree: {error}")));
        }
    };
    for (name, why) in unwanted(&graph) {
        outcome.findings.push(Finding::new("kms/Cargo.toml", 0, format!("links {name}: {why}")));
    }
}

fn unwanted(graph: &str) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for line in graph.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let why = if name.starts_with("madsim") || name.starts_with("turmoil") {
            "production knows no simulator"
        } else if name.starts_with("aws-lc") {
            "it draws entropy that no simulator can repeat"
        } else if line.starts_with("tokio feature \"test-util\"") {
            "production's clock cannot be turned"
        } else {
            continue;
        };
        found.push((line.trim_end_matches(" (*)").to_owned(), why));
    }
    found.sort();
    found.dedup();
    found
}

/// `scenarios/calm.toml` says `name = "calm"`.
pub fn scenarios(tree: &Tree, outcome: &mut Outcome) {
    for file in tree.under("scenarios", "toml") {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        match tree.text(file).parse::<toml::Table>() {
            Err(error) => outcome.findings.push(Finding::new(file, 0, error.to_string())),
            Ok(table) => {
                if table.get("name").and_then(toml::Value::as_str) != Some(&*stem) {
                    outcome.findings.push(Finding::new(file, 0, format!("`name` is not \"{stem}\"")));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let manifest =
            "[workspace.dependencies]\nkms = { path = \"kms\" }\na = \"1\" # why\nb = \"2\"\n[x]\nc = 1\n";
        assert_eq!(unreasoned(manifest), [(4, "b".to_owned())]);
    }

    #[test]
    fn a_simulator_in_production_is_found() {
        let graph = "kms v0.1.0\ntokio feature \"test-util\"\nmadsim v0.2.34\ntokio feature \"net\" (*)\n";
        let names: Vec<String> = unwanted(graph).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["madsim v0.2.34", "tokio feature \"test-util\""]);
    }
}
