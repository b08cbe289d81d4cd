//! Reads the files of published vectors that stand beside it: `name = value` in hex, cases apart by empty lines, `[set]` above those of one
//! kind. A name that no test knows fails, and so does a file without cases.

use std::collections::BTreeMap;

/// Names that may stand in a case.
const NAMES: [&str; 31] = [
    "AAD", "C", "CT", "FAIL", "IKM", "IV", "Key", "L", "Len", "MD", "Msg", "OKM", "PKCS1", "PKCS8", "PRK",
    "PT", "Qx", "Qy", "R", "Result", "S", "SPKI", "Tag", "d", "e", "info", "k", "n", "p", "q", "salt",
];

/// One case.
pub struct Case {
    /// What it is a case of.
    pub set: String,
    /// The line that it ends at.
    pub line: usize,
    fields: BTreeMap<&'static str, String>,
}

impl Case {
    /// Whether it has a member of this name.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// A member as it is written.
    pub fn text(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("line {}: no {name}", self.line))
    }

    /// A member in hex.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        hex::decode(self.text(name)).unwrap_or_else(|error| panic!("line {}: {name}: {error}", self.line))
    }

    /// A number, with zeros before it up to `len` bytes.
    pub fn number(&self, name: &str, len: usize) -> Vec<u8> {
        let digits = format!("{:0>1$}", self.text(name), len * 2);
        let bytes = hex::decode(digits).unwrap_or_else(|error| panic!("line {}: {name}: {error}", self.line));
        let zeros = bytes.len() - len;
        assert!(bytes[..zeros].iter().all(|byte| *byte == 0), "line {}: {name} is too long", self.line);
        bytes[zeros..].to_vec()
    }
}

/// All cases of a file.
pub fn read(file: &str) -> Vec<Case> {
    let (mut cases, mut set, mut fields) = (Vec::new(), String::new(), BTreeMap::new());
    let end = file.lines().count();
    for (number, line) in file.lines().chain([""]).enumerate() {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut set);
        } else if let Some((name, value)) = line.split_once('=') {
            let known = NAMES.into_iter().find(|known| *known == name.trim());
            let name = known.unwrap_or_else(|| panic!("line {}: nobody knows {name}", number + 1));
            assert!(fields.insert(name, value.trim().to_owned()).is_none(), "line {}: twice", number + 1);
        } else if line.is_empty() && !fields.is_empty() {
            let line = number.min(end);
            cases.push(Case { set: set.clone(), line, fields: std::mem::take(&mut fields) });
        } else {
            assert!(line.is_empty(), "line {}: what is this?", number + 1);
        }
    }
    assert!(!cases.is_empty(), "a file without cases");
    cases
}
