//! What the benchmarks are made of: a whole region in this process, kept client connections, bare peers to
//! compare with, a disk that counts. Compares within one run only, never with a number of another day.

pub mod apart;
pub mod bare;
pub mod bulk;
pub mod client;
pub mod cores;
pub mod disk;
pub mod operator;
pub mod paced;
pub mod peers;
pub mod process;
pub mod region;
pub mod report;
pub mod scratch;

use kms::env::Env;
use scratch::Scratch;
use std::{path::Path, time::Duration};

/// The runtime that benchmarks share with the region they measure: two worker threads.
///
/// # Panics
/// If there is none to be had.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Runs the parts of a benchmark that the command line asks for, as criterion does: a word that is no flag chooses. Each has an empty
/// directory of its own, below `base`.
pub fn parts<T: Copy>((base, benchmark): (&str, &str), all: &[(&str, T)], run: impl AsyncFn(&Env, &Path, T)) {
    let runtime = runtime();
    let _inside = runtime.enter();
    let env = kms::os::env();
    let chosen = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| chosen.as_ref().is_none_or(|chosen| name.contains(chosen));
    for (name, what) in all.iter().filter(|(name, _)| wanted(name)) {
        let scratch = Scratch::new(&env, Path::new(base), &format!("{benchmark}-bench-{name}"));
        runtime.block_on(run(&env, scratch.path(), *what));
    }
}

/// Time one operation took, as the mean over `count` of them in a row.
pub async fn mean_of(env: &Env, count: u32, mut operation: impl AsyncFnMut()) -> Duration {
    let before = env.now();
    for _ in 0..count {
        operation().await;
    }
    env.now().since(before) / count.max(1)
}

/// Operations per second of `lanes` doing `operation` one after another for `span`, side by side.
pub async fn per_second<L>(
    env: &Env,
    span: Duration,
    lanes: &mut [L],
    operation: impl AsyncFn(&mut L),
) -> f64 {
    let before = env.now();
    let until = before + span;
    let operation = &operation;
    let lanes = lanes.iter_mut().map(|lane| async move {
        let mut done = 0_u32;
        while env.now() < until {
            operation(lane).await;
            done += 1;
        }
        done
    });
    let done: u32 = futures_util::future::join_all(lanes).await.into_iter().sum();
    f64::from(done) / env.now().since(before).as_secs_f64()
}
