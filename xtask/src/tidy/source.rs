//! Rules about single source files, and the reading of source that other rules need: text without comments
//! and strings, and the paths a file names.

use super::{Finding, Outcome, Tree};

const LINES_NOTED: usize = 600;
const LINES_MAX: usize = 800;

/// No source file is too long to read in one sitting.
pub fn length(tree: &Tree, outcome: &mut Outcome) {
    for file in ["rs", "go"].iter().flat_map(|extension| tree.under("", extension)) {
        let lines = tree.text(file).lines().count();
        if lines > LINES_MAX {
            outcome.findings.push(Finding::new(file, 0, format!("{lines} lines, more than {LINES_MAX}")));
        } else if lines > LINES_NOTED {
            outcome.notes.push(format!("{}: {lines} lines, more than {LINES_NOTED}", file.display()));
        }
    }
}

/// Every file begins with a line that says what it does.
pub fn heads(tree: &Tree, outcome: &mut Outcome) {
    for folder in ["kms", "sim", "xtask"] {
        for file in tree.under(folder, "rs") {
            // `#![no_main]` and its like may stand before.
            let text = tree.text(file);
            let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("#!["));
            if !lines.next().is_some_and(|line| line.starts_with("//!")) {
                let what = "does not begin with `//!`: say what the file does and what it refuses to do";
                outcome.findings.push(Finding::new(file, 1, what));
            }
        }
    }
}

/// Unsafe code stays in the one file whose work cannot be done without.
pub fn unsafe_code(tree: &Tree, outcome: &mut Outcome) {
    for file in tree.under("", "rs").filter(|file| !file.ends_with("sim/src/world/hook.rs")) {
        for (number, line) in bare(&tree.text(file)).lines().enumerate() {
            if words_of(line).any(|word| word == "unsafe") {
                let what = "unsafe code: only sim/src/world/hook.rs may have it";
                outcome.findings.push(Finding::new(file, number + 1, what));
            }
        }
    }
}

/// The identifiers of a text.
pub fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
}

/// Source with comments, strings and characters blanked, line by line as long as before.
pub fn bare(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => end_of_comment(bytes, at),
            b'"' => end_of_string(bytes, at),
            b'r' if starts_raw(bytes, at) => end_of_raw(bytes, at),
            b'\'' => end_of_character(bytes, at),
            _ => {
                out.push(bytes[at]);
                at += 1;
                continue;
            }
        };
        out.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn end_of_comment(bytes: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0_usize);
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn starts_raw(bytes: &[u8], at: usize) -> bool {
    let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    let byte_string = at > 0 && bytes[at - 1] == b'b';
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    (!word_before || byte_string) && bytes.get(at + 1 + hashes) == Some(&b'"')
}

fn end_of_raw(bytes: &[u8], from: usize) -> usize {
    let hashes = bytes[from + 1..].iter().take_while(|byte| **byte == b'#').count();
    let mut end = vec![b'"'];
    end.extend(std::iter::repeat_n(b'#', hashes));
    let start = from + 2 + hashes;
    bytes[start.min(bytes.len())..]
        .windows(end.len())
        .position(|window| window == end)
        .map_or(bytes.len(), |length| start + length + end.len())
}

/// A character literal, or the one byte of a lifetime's quote.
fn end_of_character(bytes: &[u8], from: usize) -> usize {
    match bytes.get(from + 1) {
        Some(b'\\') => {
            let rest = bytes.get(from + 3..).unwrap_or_default();
            rest.iter().position(|byte| *byte == b'\'').map_or(bytes.len(), |length| from + 4 + length)
        }
        _ => {
            // A literal closes after one character, of at most four bytes.
            let close = (2..=5).find(|offset| bytes.get(from + offset) == Some(&b'\''));
            let character = close.and_then(|close| std::str::from_utf8(&bytes[from + 1..from + close]).ok());
            match (close, character.map(|text| text.chars().count())) {
                (Some(close), Some(1)) => from + close + 1,
                _ => from + 1,
            }
        }
    }
}

/// Every path below `start::` that bare source names, with its line: `use` groups are unfolded.
pub fn paths(bare: &str, start: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let marker = format!("{start}::");
    let mut from = 0;
    while let Some(offset) = bare[from..].find(&marker) {
        let at = from + offset;
        from = at + marker.len();
        let before = bare[..at].chars().next_back();
        if before.is_some_and(|character| character.is_alphanumeric() || character == '_' || character == ':')
        {
            continue;
        }
        let line = bare[..at].matches('\n').count() + 1;
        let mut reader = Reader { rest: &bare[from..] };
        reader.tree(&mut Vec::new(), &mut |path| found.push((line, path.to_vec())), 0);
    }
    found
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    /// Reads `a::b`, `a::{b, c::d}`, `{a, b}` or `*`, and hands out each full path.
    fn tree(&mut self, path: &mut Vec<String>, out: &mut impl FnMut(&[String]), depth: usize) {
        self.space();
        if depth < 16 && self.take("{") {
            loop {
                let length = path.len();
                self.tree(path, out, depth + 1);
                path.truncate(length);
                self.space();
                while !self.rest.is_empty() && !self.rest.starts_with([',', '}']) {
                    // `as name`: not part of a path.
                    let next = self.rest.find([',', '}']).unwrap_or(self.rest.len());
                    self.rest = &self.rest[next..];
                }
                if !self.take(",") || self.rest.trim_start().starts_with('}') {
                    self.space();
                    self.take("}");
                    return;
                }
            }
        }
        let length = self
            .rest
            .find(|character: char| !character.is_alphanumeric() && character != '_')
            .unwrap_or(self.rest.len());
        if length == 0 {
            out(path);
            return;
        }
        path.push(self.rest[..length].to_owned());
        self.rest = &self.rest[length..];
        if self.take("::") { self.tree(path, out, depth) } else { out(path) }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths_of(source: &str) -> Vec<String> {
        paths(&bare(source), "crate")
            .into_iter()
            .map(|(line, path)| format!("{line} {}", path.join("::")))
            .collect()
    }

    #[test]
    fn comments_and_strings_are_no_source() {
        let source = "a /* b /* c */ d */ \"e\\\" // f\" 'g' '\\'' r#\"h\"i\"# // j\n&'k l";
        let words: Vec<String> = words_of(&bare(source)).map(str::to_owned).collect();
        assert_eq!(words, ["a", "k", "l"]);
        assert_eq!(bare(source).lines().count(), source.lines().count());
    }

    #[test]
    fn groups_are_unfolded() {
        assert_eq!(
            paths_of("use crate::{env::{Disk, Net as N}, limits};\nlet x = crate::store::api::Y;"),
            ["1 env::Disk", "1 env::Net", "1 limits", "2 store::api::Y"]
        );
        assert_eq!(paths_of("use crate::{\n  env::*,\n  limits,\n};"), ["1 env", "1 limits"]);
        assert!(paths_of("// crate::os\nmy_crate::os").is_empty());
    }
}
