//! Who may name whom: the order of the modules of `kms`, and the few doors by which the simulator enters.

use super::source::{bare, paths};
use super::{Finding, Outcome, Tree};
use std::collections::BTreeMap;
use std::path::Path;

/// One line of the block in ARCHITECTURE.md: a module, and what it may use if that is less than all below.
#[derive(Debug, PartialEq, Eq)]
struct Layer {
    name: String,
    only: Option<Vec<String>>,
}

/// Paths of `kms` that the simulator may name, and why.
const DOORS: [(&str, &str); 15] = [
    ("node", "what `kms serve` calls"),
    ("init", "what `kms init` calls"),
    ("operator", "what `kms rebuild` calls"),
    ("env", "the seam it implements"),
    ("limits", "the bounds that verdicts use"),
    ("record", "types on the wire"),
    ("config", "types of node.toml"),
    ("wire", "types on the wire"),
    ("backup", "the service's own reader of backups, and the names of their objects"),
    ("audit", "the service's own reader of a host's spool"),
    ("vault::RootKey", "what the key of a spool is made of"),
    ("store::engine", "where a row's blob lies, for the step that swaps records at rest"),
    ("store::api", "types on the wire"),
    ("store::epoch", "the id of a database, which the operator's statements are about"),
    ("store::row", "the layout of a stored row, for the same step"),
];

/// Files of the simulator that stand beside the real world instead of a simulated one.
fn runs_for_real(file: &Path) -> bool {
    ["sim/tests", "sim/s3", "sim/src/crash", "sim/src/bin"].iter().any(|place| file.starts_with(place))
}

/// The test that drives the store's engine alone, over a disk that fails, may make the entries it is given.
const ENGINE_TEST: (&str, [&str; 2]) = ("sim/tests/store_cuts.rs", ["store::log", "crypto::OperatorKey"]);

/// A module of `kms` uses only modules below it.
pub fn order(tree: &Tree, outcome: &mut Outcome) {
    let layers = match parse(&tree.text("ARCHITECTURE.md")) {
        Some(layers) => layers,
        None => {
            let what = "no block ```layers with the order of the modules of kms";
            return outcome.findings.push(Finding::new("ARCHITECTURE.md", 0, what));
        }
    };
    let place: BTreeMap<&str, usize> =
        layers.iter().enumerate().map(|(place, layer)| (layer.name.as_str(), place)).collect();
    for file in tree.under("kms/src", "rs") {
        let Some(module) = module(file) else { continue };
        let Some(own) = place.get(module.as_str()).copied() else {
            let what = format!("module `{module}` is not in the order of ARCHITECTURE.md");
            outcome.findings.push(Finding::new(file, 0, what));
            continue;
        };
        let source = untested(&bare(&tree.text(file)));
        let named = paths(&source, "crate").into_iter().chain(paths(&source, "kms"));
        for (line, path) in named.chain(reaching_up(file, &source)) {
            let Some((other, at)) = path.first().and_then(|name| Some((name, *place.get(name.as_str())?)))
            else {
                continue;
            };
            if at > own {
                let what = format!("`{module}` uses `{other}`, which stands above it");
                outcome.findings.push(Finding::new(file, line, what));
            } else if let Some(only) = &layers[own].only
                && at < own
                && !only.contains(other)
            {
                let what = format!("`{module}` uses `{other}`; it may use only {}", only.join(", "));
                outcome.findings.push(Finding::new(file, line, what));
            }
        }
    }
}

/// The simulator names only the doors.
pub fn simulator(tree: &Tree, outcome: &mut Outcome) {
    for file in tree.under("sim", "rs") {
        for (line, path) in paths(&untested(&bare(&tree.text(file))), "kms") {
            let path = path.join("::");
            let door = DOORS.iter().any(|(door, _)| {
                path.strip_prefix(door).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            });
            let real = runs_for_real(file) && (path == "os" || path.starts_with("os::"));
            let (test, entries) = ENGINE_TEST;
            let engine = file.starts_with(test) && entries.iter().any(|prefix| path.starts_with(prefix));
            if !door && !real && !engine {
                let what =
                    format!("the simulator may not name `kms::{path}`: it would test a wiring of its own");
                outcome.findings.push(Finding::new(file, line, what));
            }
        }
    }
}

/// The module of a file: `kms/src/store/api.rs` is `store`; `lib.rs` has none.
fn module(file: &Path) -> Option<String> {
    let inside = file.strip_prefix("kms/src").ok()?;
    let first = inside.components().next()?.as_os_str().to_string_lossy().into_owned();
    let name = first.strip_suffix(".rs").map_or(first.clone(), str::to_owned);
    (name != "lib").then_some(name)
}

/// Paths that leave their module by `super::`, as seen from the root of the crate.
fn reaching_up(file: &Path, source: &str) -> Vec<(usize, Vec<String>)> {
    let inside = file.strip_prefix("kms/src").unwrap_or(file);
    let is_mod = file.file_name().is_some_and(|name| name == "mod.rs");
    let depth = inside.components().count() - usize::from(is_mod);
    let mut found = paths(source, "super");
    for (_, path) in &mut found {
        let supers = 1 + path.iter().take_while(|name| *name == "super").count();
        // With fewer the path stays inside the module; `order` ignores an empty one.
        let rest = if supers >= depth { path.split_off(supers - 1) } else { Vec::new() };
        *path = rest;
    }
    found
}

/// Source up to its tests: they stand at the end of a file and may name anything.
fn untested(source: &str) -> String {
    let mut kept = String::new();
    let mut lines = source.lines().peekable();
    while let Some(line) = lines.next() {
        let test_module = line.trim() == "#[cfg(test)]"
            && lines.peek().is_some_and(|next| next.trim_start().starts_with("mod "));
        if test_module {
            break;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// The order, lowest first, from the block ```` ```layers ````: one `name` or `name (only a, b)` a line, then
/// anything.
fn parse(text: &str) -> Option<Vec<Layer>> {
    let block = text.split("```layers\n").nth(1)?.split("```").next()?;
    let layers = block.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let name = line.split_whitespace().next().unwrap_or_default().to_owned();
        let only = line.split_once("(only ").and_then(|(_, rest)| rest.split_once(')'));
        let only = only.map(|(list, _)| list.split(',').map(|name| name.trim().to_owned()).collect());
        Layer { name, only }
    });
    Some(layers.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_read() {
        let text = "x\n```layers\nenv    the seam\nos     (only env) the real one\n```\n";
        let layers = parse(text).expect("a block");
        assert_eq!(layers[0], Layer { name: "env".into(), only: None });
        assert_eq!(layers[1].only, Some(vec!["env".to_owned()]));
        assert!(parse("none").is_none());
    }

    #[test]
    fn files_belong_to_modules() {
        assert_eq!(module(Path::new("kms/src/store/api.rs")).as_deref(), Some("store"));
        assert_eq!(module(Path::new("kms/src/limits.rs")).as_deref(), Some("limits"));
        assert_eq!(module(Path::new("kms/src/lib.rs")), None);
    }

    #[test]
    fn tests_may_name_anything() {
        let source = "use crate::a;\n#[cfg(test)]\nmod tests {\n use crate::b;\n}\n";
        assert_eq!(untested(source), "use crate::a;\n");
    }

    fn findings(rule: fn(&Tree, &mut Outcome), files: &[(&str, &str)]) -> Vec<String> {
        let root = std::env::temp_dir().join(format!("tidy-{}-{}", std::process::id(), files.len()));
        for (name, text) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        let tree = Tree { root: root.clone(), files: files.iter().map(|(name, _)| name.into()).collect() };
        let mut outcome = Outcome::default();
        rule(&tree, &mut outcome);
        std::fs::remove_dir_all(root).expect("removed");
        outcome.findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_module_that_reaches_up_is_found() {
        let found = findings(
            order,
            &[
                ("ARCHITECTURE.md", "```layers\nenv\nstore\nos (only env)\n```\n"),
                ("kms/src/env/mod.rs", "use crate::store::Y; use super::os::Z;"),
                ("kms/src/env/disk.rs", "use super::store::Y; use super::super::{env::A, store::B};"),
                ("kms/src/os.rs", "use crate::{env::A, store};"),
                ("kms/src/other.rs", ""),
            ],
        );
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found[0].starts_with("kms/src/env/mod.rs:1: `env` uses `store`"), "{found:?}");
    }

    #[test]
    fn a_simulator_with_a_wiring_of_its_own_is_found() {
        let found = findings(
            simulator,
            &[("sim/src/run.rs", "use kms::node::serve;\nuse kms::{env::Env, engine::Engine};\nkms::os::X;")],
        );
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
