//! A copy of the tree with every planted bug in it, each behind its switch. The tree itself is not touched.

use super::header::Header;
use crate::shell::{self, Failure, World, harness, usage};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A patch and its head.
#[derive(Debug, Clone)]
pub struct Bug {
    /// What the patch says of itself.
    pub header: Header,
    patch: PathBuf,
}

/// The patches of `sim/planted`, by id.
///
/// # Errors
/// When there are none, or a head is wrong.
pub fn bugs(root: &Path) -> Result<Vec<Bug>, Failure> {
    let folder = root.join("sim/planted");
    let mut bugs = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(|_| usage("no folder sim/planted"))? {
        let patch = entry?.path();
        let stem = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if patch.extension().is_some_and(|extension| extension == "patch") && stem != "guard" {
            let header = Header::parse(&shell::text(&patch))
                .map_err(|error| usage(format!("sim/planted/{stem}.patch: {error}")))?;
            bugs.push(Bug { header, patch });
        }
    }
    bugs.sort_by(|left, right| left.header.id.cmp(&right.header.id));
    if bugs.is_empty() || !folder.join("guard.patch").is_file() {
        return Err(usage("sim/planted has no patches, or no guard.patch"));
    }
    Ok(bugs)
}

/// Copies the tree, applies all patches, builds the simulator, and answers where it is.
///
/// # Errors
/// When a patch does not apply or the result does not build.
pub fn build(root: &Path, bugs: &[Bug]) -> Result<PathBuf, Failure> {
    let place = root.join("target/planted");
    let (fresh, source) = (place.join("src.new"), place.join("src"));
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh)?;
    }
    for file in shell::files(root) {
        copy(&root.join(&file), &fresh.join(&file))?;
    }
    apply(&fresh, &root.join("sim/planted/guard.patch"))?;
    for bug in bugs {
        apply(&fresh, &bug.patch)?;
    }
    update(&fresh, &source)?;
    std::fs::remove_dir_all(&fresh)?;
    let target = place.join("sim");
    if !target.exists() {
        share_dependencies(&root.join("target/sim/sim"), &target.join("sim"))?;
    }
    // Built once and run a few times: with many units both cores build, and the runs are an eighth slower.
    let units = ["kms", "kms-sim"].map(|name| format!("profile.sim.package.{name}.codegen-units=16"));
    let [kms, sim] = &units;
    let arguments = ["build", "-p", "kms-sim", "--bin", "kms-sim", "--config", kms, "--config", sim];
    if !shell::run(&mut shell::cargo_into(&source, World::Madsim, &target, &arguments))? {
        return Err(harness("the simulator with planted bugs does not build"));
    }
    Ok(target.join("sim/kms-sim"))
}

/// Gives a new target directory what the simulator's own has of other people's crates, which are the same ones, by links: that
/// saves half of the time of a first build. Cargo looks at all of it, and builds what does not fit.
fn share_dependencies(from: &Path, to: &Path) -> Result<(), Failure> {
    if !from.is_dir() {
        return Ok(());
    }
    let mut files = Vec::new();
    for part in ["deps", "build", ".fingerprint"] {
        if from.join(part).is_dir() {
            list(from, Path::new(part), &mut files)?;
        }
    }
    let own = |file: &PathBuf| file.iter().any(|part| part.to_string_lossy().contains("kms"));
    for file in files.iter().filter(|file| !own(file)) {
        let link = to.join(file);
        if let Some(folder) = link.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Two file systems: then cargo builds it.
        let _ = std::fs::hard_link(from.join(file), link);
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::copy(from, to)?;
    Ok(())
}

/// Applies a patch with git, where need be with less context (a neighbour may have moved its surroundings),
/// or with `patch` where there is no git.
fn apply(tree: &Path, patch: &Path) -> Result<(), Failure> {
    let mut errors = String::new();
    let ways: [(&str, &[&str]); 3] = [
        ("git", &["apply", "--whitespace=nowarn"]),
        ("git", &["apply", "--whitespace=nowarn", "-C1", "--recount"]),
        ("patch", &["--strip=1", "--forward", "--batch", "--no-backup-if-mismatch", "--input"]),
    ];
    for (program, arguments) in ways {
        let mut command = Command::new(program);
        command.args(arguments).arg(patch).current_dir(tree).stdin(Stdio::null());
        // Inside a repository git would take paths from its root, and skip those outside this folder.
        if let Some(above) = tree.parent() {
            command.env("GIT_CEILING_DIRECTORIES", above);
        }
        match command.output() {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                errors.push_str(&String::from_utf8_lossy(&output.stdout));
                errors.push_str(&String::from_utf8_lossy(&output.stderr));
            }
            Err(error) => errors.push_str(&format!("{program}: {error}\n")),
        }
    }
    Err(harness(format!("{} does not apply:\n{errors}", patch.display())))
}

/// Makes `to` equal to `from` and leaves equal files alone, so that cargo builds what changed only.
fn update(from: &Path, to: &Path) -> Result<(), Failure> {
    let mut wanted = Vec::new();
    list(from, Path::new(""), &mut wanted)?;
    for file in &wanted {
        let new = std::fs::read(from.join(file))?;
        if std::fs::read(to.join(file)).ok().as_ref() != Some(&new) {
            // A copy is dated now, so cargo sees that it is newer than what was built from the old one.
            copy(&from.join(file), &to.join(file))?;
        }
    }
    let wanted: BTreeSet<PathBuf> = wanted.into_iter().collect();
    let mut present = Vec::new();
    list(to, Path::new(""), &mut present)?;
    for file in present.iter().filter(|file| !wanted.contains(*file)) {
        std::fs::remove_file(to.join(file))?;
    }
    Ok(())
}

fn list(root: &Path, under: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in std::fs::read_dir(root.join(under))? {
        let entry = entry?;
        let path = under.join(entry.file_name());
        if entry.file_type()?.is_dir() { list(root, &path, found)? } else { found.push(path) }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_applies_inside_a_repository_and_equal_files_stay() {
        let place = shell::root().join("target").join(format!("planted-test-{}", std::process::id()));
        let (fresh, kept) = (place.join("new"), place.join("kept"));
        std::fs::create_dir_all(&fresh).expect("a folder");
        std::fs::write(fresh.join("a.txt"), "one\ntwo\nthree\n").expect("a file");
        std::fs::write(fresh.join("b.txt"), "same\n").expect("a file");
        let patch = place.join("p.patch");
        let text = "# id: x\n\ndiff --git a/a.txt b/a.txt\n--- a/a.txt\n+++ b/a.txt\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";
        std::fs::write(&patch, text).expect("a file");
        apply(&fresh, &patch).expect("applies");
        assert_eq!(shell::text(&fresh.join("a.txt")), "one\n2\nthree\n");
        std::fs::create_dir_all(&kept).expect("a folder");
        std::fs::write(kept.join("stale.txt"), "x").expect("a file");
        std::fs::write(kept.join("b.txt"), "same\n").expect("a file");
        let before = std::fs::metadata(kept.join("b.txt")).and_then(|meta| meta.modified()).expect("a time");
        update(&fresh, &kept).expect("updates");
        let after = std::fs::metadata(kept.join("b.txt")).and_then(|meta| meta.modified()).expect("a time");
        assert_eq!(before, after);
        assert!(!kept.join("stale.txt").exists());
        assert_eq!(shell::text(&kept.join("a.txt")), "one\n2\nthree\n");
        assert!(apply(&fresh, &patch).is_err(), "a patch that does not fit is an error");
        std::fs::remove_dir_all(place).expect("removed");
    }
}
