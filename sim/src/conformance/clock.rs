//! Clock and task semantics.

use super::{Failed, expect};
use kms::env::Env;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Runs every case.
///
/// # Errors
/// The first expectation that did not hold.
pub async fn all(env: &Env) -> Result<(), Failed> {
    sleeps(env).await?;
    timeouts(env).await?;
    aborts(env).await?;
    blocking(env).await
}

async fn sleeps(env: &Env) -> Result<(), Failed> {
    let start = env.now();
    let wall = env.clock.wall();
    env.sleep(ms(50)).await;
    let slept = env.now().since(start);
    expect(slept >= ms(50), "a sleep is never too short")?;
    expect(slept < ms(5_000), "nor endless")?;
    expect(env.clock.wall() > wall, "wall time moves too")?;
    env.clock.sleep_until(start).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = [300u64, 100, 200]
        .into_iter()
        .map(|span| {
            let (env_, order) = (env.clone(), order.clone());
            env.spawn("sleeper", async move {
                env_.sleep(ms(span)).await;
                if let Ok(mut order) = order.lock() {
                    order.push(span);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    let order = order.lock().map(|order| order.clone()).unwrap_or_default();
    expect(order == [100, 200, 300], "sleepers wake in the order of their times")
}

async fn timeouts(env: &Env) -> Result<(), Failed> {
    let start = env.now();
    let late = env.timeout(ms(50), std::future::pending::<()>()).await;
    expect(late.is_err() && env.now().since(start) >= ms(50), "a timeout strikes, and not early")?;
    let done = env.timeout(ms(5_000), env.sleep(ms(10))).await;
    expect(done.is_ok(), "work that is done in time is done")?;
    let both = env.timeout(ms(0), async { 7 }).await;
    expect(both == Ok(7), "work that is ready wins over a deadline that has passed")
}

struct Mark(Arc<AtomicBool>);

impl Drop for Mark {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn aborts(env: &Env) -> Result<(), Failed> {
    let dropped = Arc::new(AtomicBool::new(false));
    let mark = Mark(dropped.clone());
    let task = env.spawn("endless", async move {
        let _mark = mark;
        std::future::pending::<()>().await;
    });
    env.sleep(ms(20)).await;
    expect(!dropped.load(Ordering::SeqCst), "a task runs on")?;
    task.abort();
    task.abort();
    expect(task.await.is_err(), "an aborted task says so")?;
    env.sleep(ms(20)).await;
    expect(dropped.load(Ordering::SeqCst), "abort drops the future")?;
    let value = env.spawn("value", async { 42 }).await?;
    expect(value == 42, "a task yields its value")?;
    let after = Arc::new(AtomicBool::new(false));
    let (flag, env_) = (after.clone(), env.clone());
    drop(env.spawn("detached", async move {
        env_.sleep(ms(20)).await;
        flag.store(true, Ordering::SeqCst);
    }));
    env.sleep(ms(200)).await;
    expect(after.load(Ordering::SeqCst), "a task outlives its handle")
}

async fn blocking(env: &Env) -> Result<(), Failed> {
    expect(env.blocking("work", || 6 * 7).await? == 42, "blocking work yields its value")?;
    let disk = env.disk.clone();
    let listed = env.blocking("list", move || disk.list(std::path::Path::new("nowhere/at/all"))).await??;
    expect(listed.is_empty(), "blocking work may use the disk")?;
    #[expect(clippy::panic, reason = "the case is a panic")]
    let bad: Result<(), _> = env.blocking("bad", || panic!("on purpose")).await;
    expect(bad.is_err(), "a panic in blocking work is an error of its caller")
}
