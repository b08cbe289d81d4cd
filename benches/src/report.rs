//! Measured series and the lines printed at the end of a benchmark. Draws no conclusion beyond a limit met
//! or missed, and fails nothing: a shared machine is no judge.

use std::{
    fmt::Display,
    io::{self, Write},
    time::Duration,
};

/// Means of one operation over several rounds, seconds.
#[derive(Debug, Clone, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// No rounds yet.
    pub const NONE: Series = Series(Vec::new());

    /// Adds a round's mean.
    pub fn add(&mut self, span: Duration) {
        self.0.push(span.as_secs_f64());
    }

    /// Mean of the rounds, seconds.
    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len().max(1) as f64
    }

    /// Median of the rounds, seconds.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        match sorted.len() {
            0 => 0.0,
            len if len % 2 == 1 => sorted[len / 2],
            len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
        }
    }

    /// The value that the `share` of all rounds do not exceed, seconds.
    pub fn quantile(&self, share: f64) -> f64 {
        let sorted = self.sorted();
        let place = (sorted.len() as f64 * share) as usize;
        sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }

    /// Number of rounds.
    pub fn rounds(&self) -> usize {
        self.0.len()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// A number of one series or a sum of several, by means and by medians.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// By means, seconds.
    pub mean: f64,
    /// By medians, seconds.
    pub median: f64,
}

impl Figure {
    /// Nothing.
    pub const NONE: Figure = Figure { mean: 0.0, median: 0.0 };

    /// This and `times` of a series.
    #[must_use]
    pub fn and(self, times: f64, series: &Series) -> Figure {
        Figure { mean: self.mean + times * series.mean(), median: self.median + times * series.median() }
    }
}

impl From<&Series> for Figure {
    fn from(series: &Series) -> Figure {
        Figure::NONE.and(1.0, series)
    }
}

/// Millions of bytes.
pub fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// One line to stdout.
pub fn line(text: impl Display) {
    // A closed pipe is not worth dying of.
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// A measured time.
pub fn time(what: &str, figure: impl Into<Figure>) {
    let figure = figure.into();
    line(format_args!("  {what:<52} mean {:>9}  median {:>9}", span(figure.mean), span(figure.median)));
}

/// A ratio; smaller is better where there is a limit.
pub fn ratio(what: &str, over: impl Into<Figure>, under: impl Into<Figure>, limit: Option<f64>) {
    let (over, under) = (over.into(), under.into());
    let (mean, median) = (over.mean / under.mean, over.median / under.median);
    let limit = limit.map_or(String::new(), |limit| {
        format!(" (limit {limit}: {})", if median <= limit { "met" } else { "missed" })
    });
    line(format_args!("ratio: {what} = {median:.2} by medians, {mean:.2} by means{limit}"));
}

/// A figure with the most it may be.
pub fn at_most(what: &str, figure: f64, unit: &str, limit: f64) {
    let met = if figure <= limit { "met" } else { "missed" };
    line(format_args!("ratio: {what} = {figure:.2}{unit} (limit {limit}{unit}: {met})"));
}

/// A figure with the least it may be.
pub fn at_least(what: &str, figure: f64, unit: &str, limit: f64) {
    let met = if figure >= limit { "met" } else { "missed" };
    line(format_args!("ratio: {what} = {figure:.2}{unit} (at least {limit}{unit}: {met})"));
}

fn span(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s => format!("{:.2} ms", s * 1e3),
    }
}

/// How the benchmark was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `cargo bench`.
    Measure,
    /// `cargo test --benches`: everything once, figures mean nothing.
    Test,
    /// Names only.
    List,
}

/// Reads the command line as criterion does.
pub fn mode() -> Mode {
    let is = |flag: &str| std::env::args().any(|argument| argument == flag);
    if is("--list") {
        Mode::List
    } else if is("--test") || !is("--bench") {
        Mode::Test
    } else {
        Mode::Measure
    }
}
