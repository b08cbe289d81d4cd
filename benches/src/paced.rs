//! Requests at a fixed rate, whatever the answers take. A request that is due while its connection still waits
//! for the answer before is timed from when it was due.

use crate::report::Series;
use kms::env::{Env, Mono};
use std::time::Duration;

/// When each request was due or sent, and what it took.
pub type Samples = Vec<(Mono, Duration)>;

/// `rate` operations per second, spread over `lanes`, until `done` says so.
pub async fn paced<L>(
    env: &Env,
    rate: f64,
    lanes: &mut [L],
    done: impl Fn() -> bool,
    operation: impl AsyncFn(&mut L),
) -> Samples {
    let period = Duration::from_secs_f64(lanes.len() as f64 / rate);
    let (operation, done, begun, count) = (&operation, &done, env.now(), lanes.len() as u32);
    let lanes = (0..).zip(lanes).map(|(place, lane): (u32, _)| async move {
        let mut samples = Samples::new();
        let mut due = begun + period * place / count;
        while !done() {
            let early = env.now() < due;
            if early {
                env.clock.sleep_until(due).await;
            }
            // A timer's own lateness is nobody's latency.
            let from = if early { env.now() } else { due };
            operation(lane).await;
            samples.push((from, env.now().since(from)));
            due = due + period;
        }
        samples
    });
    futures_util::future::join_all(lanes).await.concat()
}

/// What the requests of `samples` took that began within the span.
pub fn within(samples: &Samples, from: Mono, until: Mono) -> Series {
    let mut series = Series::NONE;
    for (_, took) in samples.iter().filter(|(at, _)| (from..until).contains(at)) {
        series.add(*took);
    }
    series
}
