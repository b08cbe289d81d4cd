//! A datasheet for people: `datasheet.md`.

use super::sheet::{Edition, LossLine, PromiseLine, WindowLine};
use std::fmt::Write;

/// How the figures came about.
const HOW: &str = "\
## How to read it

* **Exercised** is how often the promise's precondition was met, added up over the runs; what is counted differs from promise to promise (for
  G8 it is bytes searched), and each checker's file says it. **Not exercised** is no pass: nothing is known. **Runs** are those in which it was met at least
  once; one run is one scenario with one seed.
* **Broken in less than**: of n runs that met it none broke it, so with 95 % confidence a run breaks it with a probability below 3/n (the rule of
  three). It is a statement about runs drawn as these were, from these scenarios: about neither a year of operation nor faults that no scenario has.
* **Times**: a run tells p50, p99 and max of its own samples. Over runs, max is the largest of all. Where each run has one sample (marked `=`) p50
  and p99 are over the runs' values, nearest rank, and exact. Elsewhere p50 is the middle run's p50, and p99 is the worst run's p99,
  which is never less than the p99 of all samples together.
* **Losses**: one value per run in which the region was lost and made anew; p50 and p99 over the runs, nearest rank. *Seconds lost* is from the
  acknowledgement of the oldest key that is gone to the loss. An operator in the simulator waits before acting: how long a region is away is mostly that.
* Faults, clients and the operator are those of the scenarios; bounds are explained in [docs/promises.md](../docs/promises.md). All times are simulated.
";

/// The whole text.
pub fn markdown(edition: &Edition) -> String {
    let mut text = String::from("# Datasheet\n\n");
    let _ = writeln!(
        text,
        "Commit {}, seeds {} of {} scenarios: {} runs, {:.0} s simulated, {} failed. Made by `cargo xtask datasheet`; \
         `datasheet.json` beside it has every figure.\n",
        edition.commit,
        edition.seeds,
        edition.scenarios.len(),
        edition.runs,
        edition.sim_seconds,
        edition.failed.len()
    );
    promises(&mut text, &edition.promises);
    windows(&mut text, &edition.windows);
    losses(&mut text, &edition.losses);
    by_scenario(&mut text, edition);
    failed(&mut text, edition);
    text.push_str(HOW);
    text
}

fn promises(text: &mut String, lines: &[PromiseLine]) {
    text.push_str("## Promises\n\n");
    row(
        text,
        ["promise", "", "verdict", "exercised", "runs", "scenarios", "failures", "broken in less than"],
    );
    row(text, ["---", "---", "---", "--:", "--:", "--:", "--:", "--:"]);
    for line in lines {
        let below =
            line.broken_per_run_below.map_or("-".into(), |share| format!("{:.2} % of runs", share * 100.0));
        let failures = match (line.runs_broken, line.runs_undecided) {
            (broken, 0) => broken.to_string(),
            (broken, undecided) => format!("{broken}, and {undecided} undecided"),
        };
        let met = line.runs_exercised > 0;
        let or_dash = |shown: String| if met { shown } else { "-".to_owned() };
        row(
            text,
            [
                line.id.as_str(),
                &line.name,
                line.verdict,
                &or_dash(line.exercised.to_string()),
                &or_dash(line.runs_exercised.to_string()),
                &or_dash(line.scenarios.len().to_string()),
                &if met || line.runs_broken + line.runs_undecided > 0 { failures } else { "-".to_owned() },
                &below,
            ],
        );
    }
    text.push('\n');
}

fn windows(text: &mut String, lines: &[WindowLine]) {
    text.push_str("## Times\n\n");
    row(text, ["promise", "what", "bound", "runs", "samples", "p50", "p99", "max"]);
    row(text, ["---", "---", "---", "--:", "--:", "--:", "--:", "--:"]);
    for line in lines {
        let mark = if line.exact { "= " } else { "" };
        row(
            text,
            [
                line.promise.as_str(),
                &line.what,
                line.bound.as_deref().unwrap_or("none: measured"),
                &line.runs.to_string(),
                &line.samples.to_string(),
                &format!("{mark}{}", time(line.p50_ms)),
                &format!("{mark}{}", time(line.p99_ms)),
                &time(line.max_ms),
            ],
        );
    }
    text.push('\n');
}

fn losses(text: &mut String, lines: &[LossLine]) {
    text.push_str("## What a lost region costs\n\n");
    if lines.is_empty() {
        text.push_str("No region was lost and made anew in these runs: nothing is known.\n\n");
        return;
    }
    row(text, ["promise", "may be lost", "losses", "cost nothing", "", "p50", "p99", "max"]);
    row(text, ["---", "---", "--:", "--:", "---", "--:", "--:", "--:"]);
    for line in lines {
        let [writes, seconds] = [(line.writes, 0), (line.seconds, 3)]
            .map(|(values, digits)| values.map(|value| format!("{value:.digits$}")));
        let (losses, free) = (line.losses.to_string(), line.losses_without_cost.to_string());
        row(
            text,
            [
                &line.promise,
                line.bound,
                &losses,
                &free,
                "key writes lost",
                &writes[0],
                &writes[1],
                &writes[2],
            ],
        );
        row(text, ["", "", "", "", "seconds lost", &seconds[0], &seconds[1], &seconds[2]]);
    }
    text.push('\n');
}

fn by_scenario(text: &mut String, edition: &Edition) {
    text.push_str("## Runs that met a promise, by scenario\n\n");
    let met: Vec<&PromiseLine> = edition.promises.iter().filter(|line| line.runs_exercised > 0).collect();
    let ids = met.iter().map(|line| line.id.clone());
    row(text, ["scenario".to_owned(), "runs".to_owned()].into_iter().chain(ids));
    row(text, std::iter::once("---").chain(vec!["--:"; met.len() + 1]));
    for (scenario, runs) in &edition.scenarios {
        let cells = met.iter().map(|line| {
            line.scenarios.get(scenario).map_or_else(|| "-".to_owned(), |it| it.runs_exercised.to_string())
        });
        row(text, [scenario.clone(), runs.to_string()].into_iter().chain(cells));
    }
    text.push('\n');
}

fn failed(text: &mut String, edition: &Edition) {
    if edition.failed.is_empty() {
        return;
    }
    text.push_str("## Runs that did not hold\n\n");
    row(text, ["replay", "status", "why"]);
    row(text, ["---", "--:", "---"]);
    for run in &edition.failed {
        let replay = format!("`{}`", crate::sim::replay(&run.scenario, run.seed));
        row(text, [replay, run.exit.to_string(), run.why.replace('|', "/").replace('\n', " ")]);
    }
    text.push('\n');
}

fn row(text: &mut String, cells: impl IntoIterator<Item = impl AsRef<str>>) {
    text.push('|');
    for cell in cells {
        let _ = write!(text, " {} |", cell.as_ref());
    }
    text.push('\n');
}

fn time(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms:.0} ms") } else { format!("{:.1} s", ms / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::super::sheet::tests::edition;
    use super::*;

    fn line<'a>(text: &'a str, start: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(start)).unwrap_or_default()
    }

    #[test]
    fn a_promise_that_was_never_met_is_shown_as_such() {
        let run = r#"{"scenario":"calm","seed":1,"sim_seconds":90,"verdicts":[{"promise":"G1","exercised":5,"checker":"a"},{"promise":"G2","exercised":0}]}"#;
        let text = markdown(&edition(&[run; 5]));
        assert_eq!(line(&text, "| G1 "), "| G1 | name of G1 | held | 25 | 5 | 1 | 0 | 60.00 % of runs |");
        assert_eq!(line(&text, "| G2 "), "| G2 | name of G2 | not exercised | - | - | - | - | - |");
        assert_eq!(line(&text, "| G14"), "| G14 | name of G14 | not exercised | - | - | - | - | - |");
        assert_eq!(line(&text, "| calm"), "| calm | 5 | 5 |");
        assert!(text.contains("seeds 1..2 of 1 scenarios: 5 runs, 450 s simulated, 0 failed"), "{text}");
        assert!(text.contains("nothing is known") && !text.contains("did not hold"), "{text}");
    }

    #[test]
    fn failures_are_named_with_the_line_that_replays_them() {
        let run = r#"{"scenario":"calm","seed":9,"verdicts":[{"promise":"G2","exercised":1,"violations":[{"kind":"late","text":"a | b"}]}]}"#;
        let text = markdown(&edition(&[run]));
        assert!(line(&text, "| G2 ").contains("| BROKEN | 1 | 1 | 1 | 1 | - |"), "{text}");
        assert_eq!(line(&text, "| `"), "| `cargo xtask sim calm --seed 9` | 2 | G2 late: a / b |");
    }

    #[test]
    fn losses_and_times_stand_beside_their_bounds() {
        let run = r#"{"scenario":"region-loss","verdicts":[{"promise":"G6","exercised":9,"measures":{"creates_lost_count":3,"lost_ms_max":55320,"lost_ms_p50":1,"lost_ms_p99":2,"lost_count":3,"restored_after_count":1,"restored_after_ms_p50":98000,"restored_after_ms_p99":98000,"restored_after_ms_max":98000}}]}"#;
        let text = markdown(&edition(&[run]));
        assert!(line(&text, "| G6 | 300 s").ends_with("| 1 | 0 | key writes lost | 3 | 3 | 3 |"), "{text}");
        assert!(text.contains("| seconds lost | 55.320 | 55.320 | 55.320 |"), "{text}");
        assert!(text.contains("| none: measured | 1 | 1 | = 98.0 s | = 98.0 s | 98.0 s |"), "{text}");
    }
}
