//! Results as a JUnit file, for build servers that read nothing else.

use super::report::Report;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The file's text: one suite per scenario, one case per seed.
pub fn text(reports: &[Report]) -> String {
    let mut suites: BTreeMap<&str, Vec<&Report>> = BTreeMap::new();
    for report in reports {
        suites.entry(&report.scenario).or_default().push(report);
    }
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (scenario, mut runs) in suites {
        runs.sort_by_key(|report| report.seed);
        let failures = runs.iter().filter(|report| report.exit != 0).count();
        let name = escape(scenario);
        let _ = writeln!(text, r#"<testsuite name="{name}" tests="{}" failures="{failures}">"#, runs.len());
        for run in runs {
            let _ = write!(
                text,
                r#"<testcase classname="{name}" name="seed {}" time="{:.3}">"#,
                run.seed, run.cpu_seconds
            );
            if run.exit != 0 {
                let reason = escape(&run.reason());
                let replay = escape(&super::replay(&run.scenario, run.seed));
                let _ = write!(text, r#"<failure message="{reason}">{replay}</failure>"#);
            }
            let _ = writeln!(text, "</testcase>");
        }
        let _ = writeln!(text, "</testsuite>");
    }
    text.push_str("</testsuites>\n");
    text
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no way to write most control characters.
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_escaped_and_replays() {
        let mut report = Report::harness("calm", 7, "a < \"b\" &\u{1b}".into());
        report.cpu_seconds = 0.5;
        let text = text(&[report]);
        assert!(text.contains("a &lt; &quot;b&quot; &amp; "), "{text}");
        assert!(text.contains("cargo xtask sim calm --seed 7"), "{text}");
        assert!(text.contains(r#"tests="1" failures="1""#), "{text}");
    }
}
