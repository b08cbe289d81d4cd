//! Words that may not stand in the repository, and links that must lead somewhere.

use super::{Finding, Outcome, Tree};
use std::path::{Component, Path, PathBuf};

/// What is searched for, and why it may not stand. Written in halves, so that this file passes.
const FORBIDDEN: [(&str, &str); 13] = [
    (concat!("todo", "!("), "unfinished code"),
    (concat!("unimplemented", "!("), "unfinished code"),
    (concat!("dbg", "!("), "a debugging aid"),
    (concat!("FIX", "ME"), "unfinished code"),
    (concat!("X", "XX"), "unfinished code"),
    (concat!("#[ig", "nore"), "a switched-off test"),
    (concat!("#[al", "low("), "use #[expect(.., reason = \"..\")]"),
    (concat!("#![al", "low("), "use #![expect(.., reason = \"..\")]"),
    (concat!("/wo", "rk/"), "a path of somebody's machine"),
    (concat!("/tmp/", "wt"), "a path of somebody's machine"),
    (concat!("/tmp/", "tgt"), "a path of somebody's machine"),
    (concat!("/ho", "me/"), "a path of somebody's machine"),
    (concat!("../sha", "red"), "a folder that users do not have"),
];

const TEXT: [&str; 12] =
    ["rs", "md", "toml", "sh", "yml", "yaml", "patch", "plan", "lock", "txt", "go", "py"];

/// No forbidden word in any text file.
pub fn forbidden(tree: &Tree, outcome: &mut Outcome) {
    for file in tree.files.iter().filter(|file| is_text(file)) {
        for (number, line) in tree.text(file).lines().enumerate() {
            for (word, why) in FORBIDDEN {
                if stands(line, word) {
                    outcome.findings.push(Finding::new(file, number + 1, format!("`{word}`: {why}")));
                }
            }
        }
    }
}

fn is_text(file: &Path) -> bool {
    let extension = file.extension().unwrap_or_default().to_string_lossy();
    TEXT.contains(&extension.as_ref()) || file.starts_with(".ci") || file.starts_with(".cargo")
}

/// Whether the word stands in the line, not as the end of a longer path (`/network/` is no machine's path).
fn stands(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|character| !character.is_alphanumeric() && character != '_')
    })
}

/// A relative link of a document leads to a file of the tree.
pub fn links(tree: &Tree, outcome: &mut Outcome) {
    for file in tree.under("", "md") {
        for (number, line) in tree.text(file).lines().enumerate() {
            for target in targets(line) {
                let path = target.split('#').next().unwrap_or_default();
                if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                    continue;
                }
                let path = plain(&file.parent().unwrap_or(Path::new("")).join(path));
                if !tree.files.iter().any(|known| known.starts_with(&path)) {
                    outcome.findings.push(Finding::new(
                        file,
                        number + 1,
                        format!("link to `{target}` leads nowhere"),
                    ));
                }
            }
        }
    }
}

/// What stands in the parentheses of `[..](..)`.
fn targets(line: &str) -> Vec<&str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_inside_a_longer_path_is_another_word() {
        let path = concat!("/wo", "rk/");
        assert!(stands(&format!("see {path}main"), path));
        assert!(!stands(&format!("a/net{}", &path[1..]), path));
        assert!(!stands(&format!("docs{path}x"), path));
    }

    #[test]
    fn links_are_read() {
        assert_eq!(targets("[a](b.md) and [c](d#e)"), ["b.md", "d#e"]);
        assert_eq!(plain(Path::new("docs/../README.md")), Path::new("README.md"));
    }
}
