//! What the third copy costs those who create keys, in the simulated world: nothing, whether it is well, slow, cut off, off, or not there
//! at all. Time is simulated, so the machine and its load have no part in these figures; the same seeds draw the same network.
//!
//! The load is creates alone, each client sending the next one when it has the answer.

use super::{part, put, runs};
use crate::say;
use crate::shell::{self, Failure, harness};
use crate::sim::pool::Pool;
use crate::sim::report::Report;
use crate::sim::table;
use std::path::Path;

/// Mean time of a create over that without a replica, at most; its inverse for creates per second, at least.
const MOST: f64 = 1.01;
/// Phase of faults that is measured.
const SPAN: &str = "5s";

/// Ways the third copy can be.
const WAYS: [(&str, Option<&str>); 5] = [
    ("absent", None),
    ("well", Some("")),
    ("slow", Some("do = \"slow-disk\"\ntarget = \"node:replica\"\nat = \"0s\"\nextra = \"100ms..100ms\"\n")),
    ("cut off", Some("do = \"cut-link\"\ntarget = \"link:replica\"\nat = \"0s\"\n")),
    ("off", Some("do = \"kill\"\ntarget = \"node:replica\"\nat = \"0s\"\n")),
];

/// Creates of several runs.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Creates {
    per_s: f64,
    mean_us: f64,
    p50_us: f64,
    p99_us: f64,
}

/// Measures and prints; whether all limits are met.
pub(super) fn run(pool: &Pool, root: &Path, seeds: u64) -> Result<bool, Failure> {
    let calm = shell::text(&root.join("scenarios/calm.toml"));
    let mut seen = Vec::new();
    for (way, fault) in WAYS {
        let name = format!("creates-replica-{}", way.replace(' ', "-"));
        let path = put(root, &format!("{name}.toml"), &scenario(&calm, &name, fault)?)?;
        let reports = runs(pool, &path.to_string_lossy(), seeds, 1);
        if let Some(failed) = reports.iter().find(|report| report.exit != 0) {
            return Err(harness(format!("{name}: seed {}: {}", failed.seed, failed.reason())));
        }
        let creates = mean(&reports).ok_or_else(|| harness(format!("{name}: no creates were measured")))?;
        seen.push((way, creates));
    }
    let (rows, met) = rows(&seen);
    say::out(format_args!("creates in the simulated world, {seeds} seeds each\n{}", table::grid(&rows)));
    Ok(met)
}

/// `calm` with creates alone, as fast as they are answered, and with the third copy so.
fn scenario(calm: &str, name: &str, fault: Option<&str>) -> Result<String, Failure> {
    let wrong = |error: toml::de::Error| harness(format!("{name}: {error}"));
    let mut table: toml::Table = calm.parse().map_err(wrong)?;
    let creates = "rate_per_s = 10000\nmix = { create = 1 }\nhot_percent = 0\n";
    table.insert("name".into(), name.into());
    table.insert("load".into(), toml::Value::Table(creates.parse().map_err(wrong)?));
    part(&mut table, "topology")?.insert("replica".into(), fault.is_some().into());
    let phases = part(&mut table, "phases")?;
    phases.insert("faults".into(), SPAN.into());
    phases.insert("heal".into(), "all".into());
    if let Some(fault) = fault.filter(|fault| !fault.is_empty()) {
        let fault: toml::Table = fault.parse().map_err(wrong)?;
        table.insert("fault".into(), vec![toml::Value::Table(fault)].into());
    }
    Ok(table.to_string())
}

/// Each seed counts as much.
fn mean(reports: &[Report]) -> Option<Creates> {
    let of = |name: &str| {
        let figures = reports.iter().map(|report| report.raw.get("creates")?.get(name)?.as_f64());
        let figures: Option<Vec<f64>> = figures.collect();
        figures
            .filter(|figures| !figures.is_empty())
            .map(|figures| figures.iter().sum::<f64>() / figures.len() as f64)
    };
    let creates = Creates {
        per_s: of("per_s")?,
        mean_us: of("mean_us")?,
        p50_us: of("p50_us")?,
        p99_us: of("p99_us")?,
    };
    (creates.per_s > 0.0).then_some(creates)
}

/// The first one is what the others are compared with.
fn rows(seen: &[(&str, Creates)]) -> (Vec<Vec<String>>, bool) {
    let head = ["replica", "creates/s", "ratio", "mean ms", "ratio", "p50 ms", "p99 ms", "limit", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut all_met = true;
    let Some((_, base)) = seen.first() else { return (rows, false) };
    for (way, creates) in seen {
        let (rate, time) = (creates.per_s / base.per_s, creates.mean_us / base.mean_us);
        let met = rate * MOST >= 1.0 && time <= MOST;
        all_met &= met;
        let ms = |us: f64| format!("{:.3}", us / 1e3);
        rows.push(vec![
            (*way).to_owned(),
            format!("{:.1}", creates.per_s),
            format!("{rate:.4}"),
            ms(creates.mean_us),
            format!("{time:.4}"),
            ms(creates.p50_us),
            ms(creates.p99_us),
            format!("{MOST}"),
            if met { "met".into() } else { "MISSED".into() },
        ]);
    }
    (rows, all_met)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: &str = "name = \"calm\"\n[topology]\nregion = \"eu-west-rbx\"\n[load]\nrate_per_s = 50\n[phases]\nfaults = \"60s\"\nsettle = \"20s\"\n";

    #[test]
    fn the_third_copy_is_all_that_differs() {
        let table = |way: usize| -> toml::Table {
            scenario(CALM, "x", WAYS[way].1).expect("a scenario").parse().expect("toml")
        };
        let (absent, well, cut) = (table(0), table(1), table(3));
        assert_eq!(absent["topology"]["replica"].as_bool(), Some(false));
        assert_eq!(well["topology"]["replica"].as_bool(), Some(true));
        assert!(absent.get("fault").is_none() && well.get("fault").is_none());
        assert_eq!(cut["fault"][0]["do"].as_str(), Some("cut-link"));
        for table in [&absent, &well, &cut] {
            assert_eq!(table["load"]["mix"]["create"].as_integer(), Some(1));
            assert_eq!(table["phases"]["settle"].as_str(), Some("20s"));
            assert_eq!(table["topology"]["region"].as_str(), Some("eu-west-rbx"));
        }
    }

    #[test]
    fn a_hundredth_slower_is_met_and_more_is_missed() {
        let creates = |per_s, mean_us| Creates { per_s, mean_us, p50_us: 1.0, p99_us: 1.0 };
        let met =
            |per_s, mean_us| rows(&[("absent", creates(100.0, 100.0)), ("x", creates(per_s, mean_us))]).1;
        assert!(met(100.0, 100.9));
        assert!(!met(100.0, 101.1));
        assert!(!met(98.0, 100.0));
    }

    #[test]
    fn a_run_without_creates_measures_nothing() {
        let report =
            |json: &str| Report { raw: serde_json::from_str(json).expect("json"), ..Report::default() };
        let creates = r#"{"creates":{"per_s":10.0,"mean_us":4.0,"p50_us":3,"p99_us":9}}"#;
        let nothing = r#"{"creates":{"per_s":0.0,"mean_us":0.0,"p50_us":0,"p99_us":0}}"#;
        assert!(mean(&[report(creates)]).is_some_and(|creates| creates.p99_us == 9.0));
        assert_eq!(mean(&[report(nothing)]), None);
        assert_eq!(mean(&[report("{}")]), None);
    }
}
