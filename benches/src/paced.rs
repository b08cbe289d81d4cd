//! Requests at a fixed rate, whatever the answers take. A request that is due while its connection still waits
//! for the answer before is timed from when it was due.

use crate::report::Series;
use kms::env::{Env, Mono};
use std::time::Duration;

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When it was sent; if that was late, when it was due.
    pub at: Mono,
    /// Until its answer.
    pub took: Duration,
    /// Whether it was done; else it was refused.
    pub done: bool,
}

/// Requests of one span.
pub type Samples = Vec<Sample>;

/// What those took that were done, and the number of the others.
pub fn done(samples: &Samples) -> (Series, usize) {
    let mut series = Series::NONE;
    samples.iter().filter(|sample| sample.done).for_each(|sample| series.add(sample.took));
    let refused = samples.len() - series.rounds();
    (series, refused)
}

/// `rate` operations per second, spread over `lanes`, until `end` says so; `operation` answers whether it was done.
pub async fn paced<L>(
    env: &Env,
    rate: f64,
    lanes: &mut [L],
    end: impl Fn() -> bool,
    operation: impl AsyncFn(&mut L) -> bool,
) -> Samples {
    let period = Duration::from_secs_f64(lanes.len() as f64 / rate);
    let (operation, end, begun, count) = (&operation, &end, env.now(), lanes.len() as u32);
    let lanes = (0..).zip(lanes).map(|(place, lane): (u32, _)| async move {
        let mut samples = Samples::new();
        let mut due = begun + period * place / count;
        while !end() {
            let early = env.now() < due;
            if early {
                env.clock.sleep_until(due).await;
            }
            // A timer's own lateness is nobody's latency.
            let at = if early { env.now() } else { due };
            let done = operation(lane).await;
            samples.push(Sample { at, took: env.now().since(at), done });
            due = due + period;
        }
        samples
    });
    futures_util::future::join_all(lanes).await.concat()
}
