//! How fast the world is, without the service: simulated seconds per CPU second, printed (`--nocapture`), and
//! against a floor far below what is usual, so that only a mistake of another order fails. The figures that the
//! project promises are measured by `cargo xtask bench`.
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use kms::env::{Env, Stream};
use kms_sim::{
    actions::Actions,
    world::{NodeSpec, World, run},
};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const NODES: u64 = 13;

#[expect(clippy::disallowed_methods, reason = "CPU time of this process, not of a simulated one")]
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: f64 = stat.split(' ').skip(13).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / 100.0
}

async fn serve(env: Env) -> String {
    let mut listener = env.net.bind("0.0.0.0:7000").await.expect("binds");
    let mut files = 0u32;
    while let Ok((mut stream, _)) = listener.accept().await {
        files += 1;
        let (env_, file) = (env.clone(), files);
        env.spawn("echo", async move {
            let mut buffer = vec![0; 4096];
            let file = env_.disk.open(Path::new(&format!("f{file}")), kms::env::OpenMode::CreateNew);
            let file = Arc::new(file.expect("creates"));
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                if count > 100 {
                    let (file, data) = (file.clone(), buffer[..count].to_vec());
                    let work =
                        move || (0..4).try_for_each(|at| file.write(at * 4096, &data).and(file.sync_data()));
                    env_.blocking("commit", work).await.expect("no panic").expect("writes");
                }
                let answer = stream.write_all(&buffer[..count]);
                if env_.timeout(Duration::from_secs(1), answer).await.is_err() {
                    break;
                }
            }
        });
    }
    "ended".to_owned()
}

/// Each node asks its neighbour every `pause_ms` with `bytes`; returns simulated seconds per CPU second.
fn speed(pause_ms: u64, bytes: usize, seconds: u64) -> f64 {
    let before = cpu_s();
    let events = run(1, |world: World| async move {
        for node in 0..NODES {
            world.add_node(NodeSpec {
                name: format!("n{node}"),
                ip: format!("10.0.0.{node}"),
                zone: Some(if node % 2 == 0 { 'a' } else { 'b' }),
                region: "r".to_owned(),
                wall_offset_us: 0,
            });
            let main = move |env: Env| -> kms::env::BoxFuture<'static, String> {
                let asking = env.clone();
                env.spawn("ask", async move {
                    asking.sleep(Duration::from_millis(10)).await;
                    let to = format!("n{}:7000", (node + 1) % NODES);
                    let mut stream: Stream = asking.net.connect(&to).await.expect("connects");
                    let (question, mut answer) = (vec![7; bytes], vec![0; bytes]);
                    loop {
                        stream.write_all(&question).await.expect("writes");
                        let read = stream.read_exact(&mut answer);
                        asking.timeout(Duration::from_secs(5), read).await.expect("in time").expect("reads");
                        asking.sleep(Duration::from_millis(pause_ms)).await;
                    }
                });
                Box::pin(serve(env))
            };
            world.set_main(&format!("n{node}"), Arc::new(main));
            world.boot(&format!("n{node}"));
        }
        world.sleep_us(seconds * 1_000_000).await;
        world.trace_events()
    });
    let cpu = (cpu_s() - before).max(0.01);
    println!(
        "every {pause_ms} ms {bytes} bytes: {events} events, {:.0} simulated s per CPU s",
        seconds as f64 / cpu
    );
    seconds as f64 / cpu
}

/// A debug build on a busy machine reaches several times as much.
const FLOOR: f64 = 20.0;

#[test]
fn simulated_time_passes_much_faster_than_time() {
    println!("idle:");
    assert!(speed(87, 64, 200) > FLOOR);
    println!("50 requests/s, each with 4 writes and syncs:");
    assert!(speed(260, 1_500, 100) > FLOOR);
}
