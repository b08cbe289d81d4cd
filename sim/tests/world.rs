//! Faults of the simulated world do what they say.

use kms::env::{Env, OpenMode};
use kms_sim::{
    actions::{Actions, CutMode},
    history::{Stop, What, WorldEvent},
    world::{NodeSpec, World, run},
};
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ECHO: &str = "10.0.0.1:7000";

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn add(world: &World, name: &str, ip: &str, zone: Option<char>) {
    let (name, ip, region) = (name.to_owned(), ip.to_owned(), "r".to_owned());
    world.add_node(NodeSpec { name, ip, zone, region, wall_offset_us: 0 });
}

async fn echo(env: Env) -> String {
    let mut listener = match env.net.bind("0.0.0.0:7000").await {
        Ok(listener) => listener,
        Err(error) => return error.to_string(),
    };
    while let Ok((mut stream, _)) = listener.accept().await {
        env.spawn("echo", async move {
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..count]).await.is_err() {
                    break;
                }
            }
        });
    }
    "the listener ended".to_owned()
}

/// A world with an echo server `db` that runs, and a client `client`.
fn two(world: &World) -> Env {
    add(world, "db", "10.0.0.1", Some('a'));
    add(world, "client", "10.0.0.2", None);
    world.set_main("db", Arc::new(|env| Box::pin(echo(env))));
    world.boot("db");
    world.env("client")
}

async fn talk(env: &Env, stream: &mut kms::env::Stream) -> io::Result<()> {
    let exchange = async {
        stream.write_all(b"ping").await?;
        stream.read_exact(&mut [0; 4]).await.map(drop)
    };
    env.timeout(ms(2_000), exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn kill_ends_streams_and_the_machine_refuses() {
    run(1, |world| async move {
        let env = two(&world);
        env.sleep(ms(1)).await;
        let mut stream = env.net.connect(ECHO).await.expect("connects");
        talk(&env, &mut stream).await.expect("echo");
        let at = env.now();
        world.kill("db");
        assert!(!world.is_up("db"));
        assert_eq!(stream.read(&mut [0; 4]).await.expect("end of stream"), 0);
        assert!(env.now().since(at) < ms(5));
        assert_eq!(kind(env.net.connect(ECHO).await), Some(io::ErrorKind::ConnectionRefused));
        world.boot("db");
        env.sleep(ms(1)).await;
        let mut stream = env.net.connect(ECHO).await.expect("connects again");
        talk(&env, &mut stream).await.expect("echo");
        let whats: Vec<What> = world.events().into_iter().map(|event| event.what).collect();
        let node = || "db".to_owned();
        assert_eq!(
            whats,
            [
                What::Up { node: node() },
                What::Down { node: node(), how: Stop::Kill },
                What::Up { node: node() }
            ]
        );
    });
}

#[test]
fn power_cut_is_silent_until_the_machine_is_back() {
    run(2, |world| async move {
        let env = two(&world);
        env.sleep(ms(1)).await;
        let mut stream = env.net.connect(ECHO).await.expect("connects");
        let mut idle = env.net.connect(ECHO).await.expect("connects");
        world.power_cut("db");
        assert_eq!(kind(talk(&env, &mut stream).await), Some(io::ErrorKind::TimedOut));
        let hangs = env.timeout(ms(5_000), env.net.connect(ECHO)).await;
        assert!(hangs.is_err(), "a machine without power answers nothing");
        let connecting = env.clone();
        let waits = env.spawn("waits", async move { connecting.net.connect(ECHO).await });
        env.sleep(ms(100)).await;
        world.boot("db");
        let end = env.timeout(ms(2_000), stream.read(&mut [0; 4])).await.expect("an answer");
        assert_eq!(kind(end), Some(io::ErrorKind::ConnectionReset));
        let silent = env.timeout(ms(2_000), idle.read(&mut [0; 4])).await;
        assert!(silent.is_err(), "who does not write is told nothing");
        assert_eq!(kind(talk(&env, &mut idle).await), Some(io::ErrorKind::ConnectionReset));
        let late = env.timeout(ms(20_000), waits).await.expect("in time").expect("no panic");
        assert!(late.is_ok(), "a request to connect is repeated until the machine answers");
    });
}

#[test]
fn cuts_hold_and_reset_one_way() {
    run(3, |world| async move {
        let env = two(&world);
        env.sleep(ms(1)).await;
        let mut stream = env.net.connect(ECHO).await.expect("connects");
        world.cut("db", "client", CutMode::Hold);
        stream.write_all(b"held").await.expect("taken");
        let got = env.timeout(ms(3_000), stream.read_exact(&mut [0; 4])).await;
        assert!(got.is_err());
        let connecting = env.clone();
        let hangs = env.spawn("connect", async move { connecting.net.connect(ECHO).await });
        env.sleep(ms(50)).await;
        world.join("db", "client");
        let mut bytes = [0; 4];
        env.timeout(ms(500), stream.read_exact(&mut bytes)).await.expect("in time").expect("held bytes");
        assert_eq!(&bytes, b"held");
        hangs.await.expect("no panic").expect("connects once joined");
        world.cut("client", "db", CutMode::Hold);
        world.kill("db");
        let quiet = env.timeout(ms(500), stream.read(&mut bytes)).await;
        assert_eq!(quiet.expect("the way back is open").expect("end"), 0);
        world.join_all();
        world.boot("db");
        env.sleep(ms(1)).await;
        let mut stream = env.net.connect(ECHO).await.expect("connects");
        world.cut("client", "db", CutMode::Reset);
        assert_eq!(kind(talk(&env, &mut stream).await), Some(io::ErrorKind::ConnectionReset));
        world.join_all();
        world.slow("client", "db", 30_000);
        let at = env.now();
        let mut stream = env.net.connect(ECHO).await.expect("connects");
        talk(&env, &mut stream).await.expect("echo");
        assert!(env.now().since(at) >= ms(60));
    });
}

#[test]
fn a_paused_node_keeps_its_streams() {
    run(4, |world| async move {
        let env = two(&world);
        env.sleep(ms(1)).await;
        let mut stream = env.net.connect(ECHO).await.expect("connects");
        world.pause("db");
        stream.write_all(b"wait").await.expect("taken");
        assert!(env.timeout(ms(3_000), stream.read_exact(&mut [0; 4])).await.is_err());
        world.resume("db");
        env.timeout(ms(5), stream.read_exact(&mut [0; 4])).await.expect("in time").expect("echo");
    });
}

#[test]
fn a_panic_ends_the_process_and_nothing_else() {
    run(5, |world| async move {
        add(&world, "db", "10.0.0.1", None);
        #[expect(clippy::panic, reason = "the case")]
        world.set_main(
            "db",
            Arc::new(|env: Env| {
                Box::pin(async move {
                    env.spawn("bad", async { panic!("on purpose") });
                    std::future::pending().await
                })
            }),
        );
        world.boot("db");
        world.sleep_us(1_000).await;
        assert!(!world.is_up("db"));
        let why = world.events().into_iter().find_map(|event| match event.what {
            What::Exited { why, .. } => Some(why),
            _ => None,
        });
        let why = why.expect("an exit is recorded");
        assert!(why.contains("task bad: on purpose at ") && why.contains("world.rs"), "{why}");
    });
}

#[test]
fn shutdown_is_asked_for() {
    run(6, |world| async move {
        add(&world, "db", "10.0.0.1", None);
        let weak = world.clone();
        world.set_main(
            "db",
            Arc::new(move |env: Env| {
                let stop = weak.machine("db").stopping();
                Box::pin(async move {
                    stop.await;
                    env.sleep(ms(30)).await;
                    "asked".to_owned()
                })
            }),
        );
        world.boot("db");
        world.sleep_us(1_000).await;
        world.shutdown("db");
        assert!(!world.is_up("db"), "asked to stop is not up");
        let down = What::Down { node: "db".to_owned(), how: Stop::Shutdown };
        let is_down = |event: &WorldEvent| event.what == down;
        assert!(!world.events().iter().any(is_down), "but it has its time");
        world.sleep_us(40_000).await;
        assert!(!world.is_up("db"));
        assert!(world.events().iter().any(is_down));
        // One that is started again before it has stopped does not stop the new one.
        world.boot("db");
        world.sleep_us(1_000).await;
        world.shutdown("db");
        world.boot("db");
        assert!(world.is_up("db"));
        world.sleep_us(40_000).await;
        assert!(world.is_up("db"));
    });
}

#[test]
fn clocks_deviate_per_node() {
    run(7, |world| async move {
        let env = two(&world);
        let here = |env: &Env| env.clock.wall().as_secs();
        let right = here(&world.env("harness"));
        world.set_wall_offset("client", -3_600_000_000);
        assert_eq!(here(&env), right - 3_600);
        world.set_drift("client", -1_000_000, 100_000);
        let (wall, at, true_us) = (env.clock.wall(), env.now(), world.now());
        env.sleep(ms(1_100)).await;
        assert_eq!(env.clock.wall(), wall, "frozen");
        assert!(env.now().since(at) >= ms(1_100));
        let passed = world.now() - true_us;
        assert!((999_000..1_010_000).contains(&passed), "a fast clock sleeps shorter: {passed}");
    });
}

#[test]
fn secrets_are_found_where_they_leak() {
    run(8, |world| async move {
        let env = two(&world);
        env.sleep(ms(1)).await;
        let secret: [u8; 32] = env.random(kms::env::Purpose::Secret).expect("entropy");
        let mut stream = env.net.connect(ECHO).await.expect("connects");
        talk(&env, &mut stream).await.expect("echo");
        env.disk.write_atomic(Path::new("root.key"), &secret, true).expect("writes");
        world.search_disks();
        assert_eq!(world.leaks(), []);
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let (one, two) = hex.split_at(11);
        stream.write_all(one.as_bytes()).await.expect("writes");
        env.sleep(ms(5)).await;
        stream.write_all(two.as_bytes()).await.expect("writes");
        env.disk.write_atomic(Path::new("data/x"), b"no directory", false).expect_err("no directory");
        env.disk.write_atomic(Path::new("open"), &secret, false).expect("writes");
        world.log_line(&format!("oops {hex}"));
        let places: Vec<String> = world.leaks().into_iter().map(|leak| leak.place).collect();
        assert_eq!(places, ["wire client > db", "disk client:open", "log of harness"]);
        world.search_disks();
        assert_eq!(world.leaks().len(), 4, "{:?}", world.leaks());
    });
}

#[test]
fn a_dead_life_writes_nothing_more() {
    run(9, |world| async move {
        add(&world, "db", "10.0.0.1", None);
        struct WritesOnDrop(Env);
        impl Drop for WritesOnDrop {
            fn drop(&mut self) {
                let written = self.0.disk.write_atomic(Path::new("late"), b"x", false);
                assert!(written.is_err(), "the disk is fenced");
            }
        }
        world.set_main(
            "db",
            Arc::new(|env: Env| {
                Box::pin(async move {
                    let _late = WritesOnDrop(env.clone());
                    let file = env.disk.open(Path::new("file"), OpenMode::CreateNew);
                    assert!(file.is_ok());
                    std::future::pending().await
                })
            }),
        );
        world.boot("db");
        world.sleep_us(1_000).await;
        world.kill("db");
        assert!(world.env("db").disk.read(Path::new("late")).expect("reads").is_none());
        assert!(world.events().iter().all(|event| !matches!(event.what, What::Exited { .. })));
    });
}

/// Has a process of the node `db` do something to its end: what is changed from outside is durable at once.
async fn by_process(world: &World, work: fn(&Env, &World)) {
    add(world, "db", "10.0.0.1", None);
    let done = Arc::new(AtomicU64::new(0));
    let (handle, count) = (world.clone(), done.clone());
    world.set_main(
        "db",
        Arc::new(move |env: Env| {
            let (world, done) = (handle.clone(), count.clone());
            Box::pin(async move {
                work(&env, &world);
                done.store(1, Ordering::Relaxed);
                std::future::pending().await
            })
        }),
    );
    world.boot("db");
    world.sleep_us(1_000).await;
    assert_eq!(done.load(Ordering::Relaxed), 1, "{:?}", world.events());
}

#[test]
fn disk_faults_have_their_errno() {
    run(10, |world| async move {
        by_process(&world, |env, world| {
            let file = env.disk.open(Path::new("f"), OpenMode::CreateNew).expect("creates");
            file.write(0, &[1; 4096]).expect("writes");
            world.set_disk_faults("db", |faults| faults.capacity_bytes = Some(8_192));
            let full = file.set_len(10_000).expect_err("full");
            assert_eq!((full.kind(), full.raw_os_error()), (io::ErrorKind::StorageFull, Some(28)));
            world.fail_syncs("db", true);
            assert_eq!(file.sync_data().expect_err("fails").raw_os_error(), Some(5));
            world.fail_syncs("db", false);
            file.sync_data().expect("syncs");
        })
        .await;
    });
}

/// Paths of a node's files, as they are shown or as they are durable, and whether a name of each is durable.
fn image(world: &World, durable: bool) -> Vec<(String, bool)> {
    let files = world.disk_image("db").into_iter().filter(|file| file.durable == durable);
    files.map(|file| (file.path, file.named)).collect()
}

/// Renames a file, and looks at the disk's image after each step.
fn rename_slowly(env: &Env, world: &World) {
    let is = |path: &str, named: bool| vec![(path.to_owned(), named)];
    let disk = &env.disk;
    disk.create_dir(Path::new("d")).expect("made");
    disk.sync_dir(Path::new("")).expect("synced");
    let file = disk.open(Path::new("d/old"), OpenMode::CreateNew).expect("creates");
    file.write(0, &[1]).expect("writes");
    file.sync_data().expect("synced");
    assert_eq!(image(world, true), is("d/old", false), "the name is not durable, whatever the bytes are");
    disk.sync_dir(Path::new("d")).expect("synced");
    disk.rename(Path::new("d/old"), Path::new("d/new")).expect("renamed");
    assert_eq!((image(world, false), image(world, true)), (is("d/new", true), is("d/old", true)));
    disk.sync_dir(Path::new("d")).expect("synced");
    assert_eq!((image(world, false), image(world, true)), (is("d/new", true), is("d/new", true)));
    disk.remove(Path::new("d/new")).expect("removed");
    assert_eq!(image(world, true), is("d/new", true), "it may come back");
}

#[test]
fn an_image_has_what_is_durable_under_the_names_that_are_durable() {
    run(11, |world| async move { by_process(&world, rename_slowly).await });
}
