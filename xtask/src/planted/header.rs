//! The head of a planted bug's patch: who should find it, where, and what it breaks.

/// The `# name: value` lines before the diff.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// The bug, as in the file's name and in `planted::is(..)`.
    pub id: String,
    /// Promises it breaks, such as `G1`.
    pub promises: Vec<String>,
    /// Checkers of which each finding counts, lower case, such as `g1`.
    pub checkers: Vec<String>,
    /// Rules of the protocol it removes, such as `R1`; empty for `none`.
    pub rules: Vec<String>,
    /// Scenarios to run it in, in turn.
    pub scenarios: Vec<String>,
    /// What the defect is, in a sentence.
    pub about: String,
}

impl Header {
    /// Reads the head of a patch.
    ///
    /// # Errors
    /// A sentence that says what to mend.
    pub fn parse(patch: &str) -> Result<Header, String> {
        let mut header = Header::default();
        for line in patch.lines().take_while(|line| !line.starts_with("diff ") && !line.starts_with("--- ")) {
            if line.trim().is_empty() || line.trim() == "#" {
                continue;
            }
            let (name, value) = line
                .strip_prefix("# ")
                .and_then(|line| line.split_once(':'))
                .ok_or_else(|| format!("`{line}` is not `# name: value`"))?;
            let value = value.trim();
            match name {
                "id" => header.id = value.to_owned(),
                "promise" => header.promises = list(value),
                "checker" => header.checkers = list(&value.to_lowercase()),
                "rule" => header.rules = list(value),
                "scenario" => header.scenarios = list(value),
                "about" => header.about = value.to_owned(),
                other => {
                    return Err(format!(
                        "`# {other}:` is not one of id, promise, checker, rule, scenario, about"
                    ));
                }
            }
        }
        header.rules.retain(|rule| rule != "none");
        let missing = [
            ("id", header.id.is_empty()),
            ("promise", header.promises.is_empty()),
            ("checker", header.checkers.is_empty()),
            ("scenario", header.scenarios.is_empty()),
            ("about", header.about.is_empty()),
        ];
        match missing.iter().find(|(_, missing)| *missing) {
            Some((name, _)) => Err(format!("no `# {name}:` line before the diff")),
            None => Ok(header),
        }
    }

    /// Whether it names the rule, or the promise.
    pub fn breaks(&self, name: &str) -> bool {
        self.rules.iter().chain(&self.promises).any(|rule| rule == name)
    }

    /// Whether a finding of this checker, on this promise, is the one meant. A checker may be called by its
    /// promise, or by what its name begins with (`g1` for `g1_durability`).
    pub fn meant(&self, checker: &str, promise: &str) -> bool {
        let checker = checker.to_lowercase();
        self.checkers.iter().any(|meant| {
            let rest = checker.strip_prefix(meant.as_str());
            promise.eq_ignore_ascii_case(meant)
                || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        })
    }
}

fn list(value: &str) -> Vec<String> {
    value.split([',', ' ']).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "# id: ack-before-tail\n# promise: G1\n# checker: g1\n# rule: R1, R3\n# scenario: zone-loss, crash-storm\n# about: acknowledges: too early\n\ndiff --git a/x b/x\n--- a/x\n# id: not part of the head\n";

    #[test]
    fn a_head_is_read() {
        let header = Header::parse(PATCH).expect("a header");
        assert_eq!(header.id, "ack-before-tail");
        assert_eq!(header.rules, ["R1", "R3"]);
        assert_eq!(header.scenarios, ["zone-loss", "crash-storm"]);
        assert_eq!(header.about, "acknowledges: too early");
        assert!(header.breaks("R3") && header.breaks("G1") && !header.breaks("R2"));
        assert!(
            header.meant("durability", "G1") && header.meant("g1_x", "") && !header.meant("g11_x", "G11")
        );
    }

    #[test]
    fn a_head_with_a_gap_says_which() {
        let without = PATCH.replace("# checker: g1\n", "");
        assert_eq!(Header::parse(&without), Err("no `# checker:` line before the diff".into()));
        let other = PATCH.replace("# rule:", "# rules:");
        assert!(Header::parse(&other).is_err());
        assert!(Header::parse("text\ndiff").is_err());
        let none = PATCH.replace("R1, R3", "none");
        assert_eq!(Header::parse(&none).map(|header| header.rules), Ok(Vec::new()));
    }
}
